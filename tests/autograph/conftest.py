"""Loads the corpus and the fake staging, which several test files share."""

from __future__ import annotations

import importlib.util
import sys
import types
from pathlib import Path

import pytest


def _load(name: str, path: Path) -> types.ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


_HERE = Path(__file__).parent
fake_staging = _load("treadle_tests_fake_staging", _HERE / "fake_staging.py")
corpus_module = _load("treadle_tests_corpus", _HERE / "corpus.py")


@pytest.fixture
def fake(monkeypatch):
    """Operators over the fake staging, whose tensors know their values."""
    from treadle.autograph import operators

    monkeypatch.setattr(operators, "staging", fake_staging)
    return fake_staging


@pytest.fixture
def corpus():
    return corpus_module
