"""Compiled programs against the interpreter: the same graph, the same arrays, the same results."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import treadle as td
from treadle.compile.fusion.fuse import fuse
from treadle.compile.fusion.items import Group
from treadle.compile.llvm import build
from treadle.compile.lower import Lowerer
from treadle.compile.program import Program, program_for
from treadle.compile.run.executor import Ref
from treadle.control.call import interpret_arrays
from treadle.core.graph import Graph
from treadle.core.spec import Spec
from treadle.core.tracer import trace
from treadle.optimize.pipeline import optimize
from treadle.vector import interpreted_namespace

RTOL = {"float32": 3e-5, "float64": 1e-12}


def traced(f: Callable[..., Any], arrays: Sequence[np.ndarray]) -> tuple[Graph, list[np.ndarray]]:
    """The graph of `f` for arrays like these, and its inputs: these arrays, and what `f` captured."""
    found = trace(lambda *xs: [td.asarray(y) for y in _listed(f(*xs))], [Spec(a.shape, a.dtype) for a in arrays], "f")
    return found.graph, [*arrays, *(x.array for x in found.captures)]


def graph_of(f: Callable[..., Any], arrays: Sequence[np.ndarray]) -> Graph:
    """The graph of `f`, which captures nothing, for arrays like these."""
    graph, inputs = traced(f, arrays)
    assert len(inputs) == len(arrays)
    return graph


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else [value]


def compiled(f: Callable[..., Any], *arrays: np.ndarray) -> Program:
    """The program of `f` for arrays like these."""
    graph, inputs = traced(f, arrays)
    return program_for(graph, [a.shape for a in inputs])


def agree(f: Callable[..., Any], *arrays: np.ndarray) -> list[np.ndarray]:
    """Run `f` interpreted and compiled, check that they agree, and that inputs are as they were; the results."""
    graph, inputs = traced(f, arrays)
    before = [a.copy() for a in arrays]
    wanted = interpret_arrays(graph, inputs)
    got = program_for(graph, [a.shape for a in inputs]).run(inputs)
    for k, (mine, want) in enumerate(zip(got, wanted, strict=True)):
        same(mine, want, f"output {k}")
        assert not any(np.shares_memory(mine, a) for a in arrays)
    for a, old in zip(arrays, before, strict=True):
        np.testing.assert_array_equal(a, old)
    return got


def same(got: np.ndarray, want: np.ndarray, what: str = "") -> None:
    """Equal dtype and shape; equal values for whole numbers, close ones for floats."""
    assert got.dtype == want.dtype, f"{what}: {got.dtype}, wanted {want.dtype}"
    assert got.shape == want.shape, f"{what}: {got.shape}, wanted {want.shape}"
    if want.dtype.kind == "f":
        tolerance = RTOL[str(want.dtype)]
        np.testing.assert_allclose(got, want, rtol=tolerance, atol=20 * tolerance, err_msg=what)
    else:
        np.testing.assert_array_equal(got, want, err_msg=what)


def kernels(f: Any, *arrays: np.ndarray) -> list[str]:
    """The ops of each kernel or step."""
    items = fuse(optimize(traced(f, arrays)[0]))
    return ["+".join(n.op for n in i.nodes) if isinstance(i, Group) else i.node.op for i in items]


def compilations() -> int:
    """How many kernels have been asked for that were not in this process yet."""
    return build.counters.kernels_compiled + build.counters.kernels_loaded


def unjitted(f: Any, *arrays: np.ndarray) -> list[np.ndarray]:
    """Run a program of kernel calls alone by executing the kernels' text as plain Python."""
    graph = optimize(graph_of(f, arrays))
    lowerer = Lowerer(graph, {})
    calls: list[tuple[str, list[Any], int]] = []
    lowerer.asm.call = lambda entry, args, hi, grain=0, note=None: calls.append((entry.source.text, args, hi))  # type: ignore[method-assign]
    outputs = [np.empty(s.shape, s.dtype) for s in graph.outputs]  # type: ignore[arg-type]
    lowered = lowerer.run(lambda sources: [_Nowhere() for _ in sources])
    arena = np.zeros(lowered.code.layout.arena_bytes + 64, np.uint8)
    bases = {"input": arrays, "output": outputs, "constant": lowered.code.layout.constants}

    def place(ref: Ref | int) -> int:
        if isinstance(ref, int):
            return ref
        base = arena if ref.kind == "arena" else bases[ref.kind][ref.index]
        return int(base.ctypes.data) + ref.offset

    for text, args, hi in calls:
        names = interpreted_namespace() | _tile_words()
        exec(text, names)
        assert names["kernel"]([place(a) for a in args], 0, hi) == 0
    return outputs


def _tile_words() -> dict[str, Callable[..., int]]:
    """The words of `llvm.tiles` that kernels of elementwise work use, as Python."""
    kept: list[np.ndarray] = []

    def room(count: int) -> int:
        kept.append(np.zeros(count * 64, np.uint8))
        return int(kept[-1].ctypes.data)

    def turning(kind: str, lanes: int) -> Callable[..., int]:
        def rows(address: int, step: int) -> np.ndarray:
            nbytes = (lanes - 1) * step + lanes * int(kind[1])
            memory = np.frombuffer((ctypes.c_char * nbytes).from_address(address), np.uint8)
            return np.lib.stride_tricks.as_strided(memory.view(kind), (lanes, lanes), (step, int(kind[1])))

        def turned(source: int, down: int, target: int, following: int) -> int:
            rows(target, following)[...] = rows(source, down).T
            return 0

        return turned

    found: dict[str, Callable[..., int]] = {}
    for kind, lanes in (("f4", 8), ("f8", 4)):
        found |= {f"lanes_{kind}": lambda lanes=lanes: lanes, f"room_{kind}": room}
        found[f"turned_{kind}"] = turning(kind, lanes)
    return found


class _Nowhere:
    address = 0
