"""Cases timed call after call. The peers take turns, several rounds of them, so that noise hits all of them alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.cases import steady_cases
from harness.processes import Child, outcome, summary

PAUSE = 0.05  # seconds between turns: thread pools of the last peer stop spinning
Row = dict[str, Any]


@contextmanager
def children(pythons: Mapping[str, str], caches: Path, patience: float, cores: int) -> Iterator[dict[str, Child]]:
    """A worker for each peer, all ended on the way out."""
    running: dict[str, Child] = {}
    try:
        for name, python in pythons.items():
            running[name] = Child(name, python, caches, patience, cores)
        yield running
    finally:
        for child in running.values():
            child.close()


@dataclass(frozen=True, slots=True)
class Turns:
    """How long: `rounds` turns of `seconds` for each variant; `quick` chooses the small cases; `cores` as in Child."""

    quick: bool
    rounds: int
    seconds: float
    cores: int = 0


def run_steady(
    pythons: Mapping[str, str],
    wanted: Callable[[str], bool],
    caches: Path,
    turns: Turns,
    patience: float,
    show: Callable[[str], None],
) -> list[Row]:
    """A row for each wanted case: {"name", "cells": {variant: median, quartiles, samples, or why there is none}}."""
    chosen = [(i, case) for i, case in enumerate(steady_cases(turns.quick)) if wanted(case.name)]
    if not chosen:
        return []
    table = []
    with children(pythons, caches, patience, turns.cores) as running:
        for index, case in chosen:
            show(case.name)
            for name in running:
                if not running[name].alive:  # it crashed or was too slow at an earlier case: begin again
                    running[name].close()
                    running[name] = Child(name, pythons[name], caches, patience, turns.cores)
            cells = _cells(running, index, turns)
            table.append({"name": case.name, "steady": True, "cells": cells})
    return table


def _cells(running: Mapping[str, Child], case: int, turns: Turns) -> dict[str, Any]:
    cells: dict[str, Any] = {}
    ready: list[tuple[Child, str]] = []
    for name, child in running.items():
        for variant in child.hello.get("variants", [name]):
            answer = child.ask(do="prepare", case=case, variant=variant, quick=turns.quick)
            cells[variant] = outcome(answer)
            if not child.alive:  # what its other variants had prepared is gone with it: once more
                child.close()
                child.start()
                for other, earlier in ready:
                    if other is child:
                        child.ask(do="prepare", case=case, variant=earlier, quick=turns.quick)
            if not cells[variant]:
                ready.append((child, variant))
    samples: dict[str, list[list[float]]] = {variant: [] for _, variant in ready}
    for _ in range(turns.rounds):
        for child, variant in ready:
            time.sleep(PAUSE)
            answer = child.ask(do="time", variant=variant, seconds=turns.seconds)
            if "samples" in answer:
                samples[variant].append(answer["samples"])
            else:
                cells[variant] = outcome(answer)
    for child in running.values():
        child.ask(do="drop")
    for variant, found in samples.items():
        if found and not cells[variant]:
            # A round is one look at the machine, however many samples it had time for.
            medians = [statistics.median(round_) for round_ in found]
            cells[variant] = summary(medians) | {"best": min(min(round_) for round_ in found)}
    return cells
