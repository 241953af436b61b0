"""The examples in docstrings run, and give what they show.

Only files that hold examples are imported: a test runner that looks for them everywhere takes seconds in each process.
"""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path

import pytest

import treadle

ROOT = Path(treadle.__file__).parent
FILES = sorted(path for path in ROOT.rglob("*.py") if ">>>" in path.read_text())
FLAGS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@pytest.mark.parametrize("name", [name_of(path) for path in FILES])
def test_examples_in_docstrings(name: str) -> None:
    runner = doctest.DocTestRunner(verbose=False, optionflags=FLAGS)
    told: list[str] = []
    for example in doctest.DocTestFinder().find(importlib.import_module(name)):
        runner.run(example, out=told.append)
    assert runner.tries > 0, "none of the examples was found"
    assert not runner.failures, "".join(told)
