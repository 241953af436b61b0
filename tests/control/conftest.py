"""Loads what these test files share."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

_file = Path(__file__).parents[1] / "statements" / "compare.py"
_spec = importlib.util.spec_from_file_location("treadle_tests_compare", _file)
_module = importlib.util.module_from_spec(_spec)
sys.modules["treadle_tests_compare"] = _module
_spec.loader.exec_module(_module)
