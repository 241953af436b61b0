"""How much room a library takes on disk, with all that it needs: read off the metadata of its installation."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from peers import PEERS

from harness.processes import environment

Row = dict[str, Any]

# Runs under the peer's own interpreter. What is asked for by an extra is left out, and so are tools to install with.
SIZE = """
import importlib.metadata as metadata, json, os, re, sys

def plain(name):
    return re.sub(r"[-_.]+", "-", name).lower()

def size(name, seen):
    if plain(name) in seen:
        return 0
    seen.add(plain(name))
    try:
        found = metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return 0
    total = 0
    for file in found.files or ():
        path = file.locate()
        if "__pycache__" not in str(path) and os.path.isfile(path):
            total += os.path.getsize(path)
    for need in found.requires or ():
        name, _, marker = need.partition(";")
        if "extra" not in marker:
            total += size(re.match(r"[A-Za-z0-9._-]+", name).group(), seen)
    return total

print(json.dumps(size(sys.argv[1], set())))
"""


def run_sizes(
    pythons: Mapping[str, str], labels: Mapping[str, str], wanted: Callable[[str], bool], show: Callable[[str], None]
) -> list[Row]:
    """One row: megabytes of each library with what it needs."""
    name = "installed with what it needs"
    if not wanted(name):
        return []
    show(name)
    cells: dict[str, Any] = {}
    for peer, python in pythons.items():
        env = environment(peer, Path(tempfile.gettempdir()) / "treadle-no-cache")
        done = subprocess.run([python, "-c", SIZE, PEERS[peer]], env=env, capture_output=True, text=True, check=True)
        total = json.loads(done.stdout)
        if peer == "treadle":  # from this tree: its files are not where the metadata of an editable install says
            total += sum(path.stat().st_size for path in (Path(__file__).parents[2] / "src").rglob("*.py"))
        cells[labels[peer]] = {"median": total / 1e6}
    return [{"name": name, "unit": "MB", "cells": cells}]
