"""All vector functions compiled once for the tests of this folder."""

import sys
from pathlib import Path

import pytest

from treadle import vector

sys.path.insert(0, str(Path(__file__).parent))  # for the module that tests share


@pytest.fixture(scope="session")
def native():
    from native_loops import Native

    return Native(vector.FUNCTIONS)
