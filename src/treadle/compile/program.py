"""Programs of graphs: optimised, lowered, compiled once for each set of sizes, and run on arrays."""

from __future__ import annotations

import contextlib
from collections import OrderedDict
from collections.abc import Callable, Sequence
from threading import RLock, Thread
from typing import Any

import numpy as np

from treadle.compile import inplace
from treadle.compile.llvm import build
from treadle.compile.lower import KernelInfo, Lowerer, plain
from treadle.compile.run import results
from treadle.compile.run.executor import CommittedError
from treadle.control.call import interpret_arrays
from treadle.core.dim import Dim, is_static
from treadle.core.graph import Graph
from treadle.core.interpret import bind_sizes, concretize
from treadle.core.mode import activate
from treadle.core.spec import Spec
from treadle.optimize.pipeline import optimize

Array = np.ndarray[Any, Any]
MAX_PROGRAMS = 64  # programs that one graph with symbolic sizes keeps, the least recently used going first

_lock = RLock()


class Program:
    """A graph made executable. `run` may be called by any number of threads at once."""

    __slots__ = ("code", "ends", "graph", "hosts", "inplace", "kernels", "on_status", "open")
    final = True  # whether it stays: a stand-in does not

    def __init__(self, graph: Graph, stateful: bool = False, donated: Sequence[int] = ()) -> None:
        with activate(None):
            self.graph = optimize(graph)
            plan = inplace.plan(self.graph, stateful, donated)
            self.inplace = plan.pairs
            lowered = Lowerer(self.graph, plan.pairs, plan.work, plan.between).run(build.load)
        self.code = lowered.code
        self.hosts = lowered.hosts
        self.kernels = lowered.kernels
        self.on_status = lowered.on_status
        self.ends = tuple(self._end(k, s.spec) for k, s in enumerate(self.graph.outputs))
        self.open = tuple(k for k, s in enumerate(self.graph.outputs) if not s.spec.static)

    def _end(self, k: int, spec: Spec) -> tuple[int, Callable[..., Array], Any, Any]:
        """How to make an output's array: the input that it overwrites, or -1, a function, shape and dtype.

        Where the shape is found while running, it is a box that a host step fills.
        """
        if not spec.static:
            return -1, np.empty, (), object
        large = plain(spec) and spec.nbytes >= results.LARGE
        return self.inplace.get(k, -1), results.make if large else np.empty, spec.shape, spec.dtype

    def run(self, inputs: Sequence[Array]) -> list[Array]:
        """The outputs for these inputs. Inputs that `inplace` names are overwritten, and are outputs too.

        Raises `CommittedRun` when it was interrupted after having overwritten inputs: the outputs are complete.
        """
        if self.inplace:
            outputs = [inputs[k] if k >= 0 else make(shape, dtype) for k, make, shape, dtype in self.ends]
        else:
            outputs = [make(shape, dtype) for _, make, shape, dtype in self.ends]
        try:
            self.code.run(tuple(inputs), tuple(outputs), self.hosts, self.on_status)
        except CommittedError as late:
            raise CommittedRun(outputs, late.error) from None
        if self.open:
            for k in self.open:
                outputs[k] = outputs[k][()]
        return outputs

    def reads(self, position: int) -> bool:
        """Whether the value of an input matters."""
        symbol = self.graph.inputs[position]
        read = {s for node in self.graph.nodes for s in node.inputs}
        return symbol in read or symbol in set(self.graph.outputs)


class CommittedRun(Exception):
    """A run that was interrupted by `error` after it had overwritten inputs; its outputs are complete."""

    def __init__(self, outputs: list[Array], error: BaseException) -> None:
        super().__init__(error)
        self.outputs, self.error = outputs, error


def sizes_of(graph: Graph, shapes: Sequence[tuple[int, ...]]) -> dict[str, int]:
    """The symbolic sizes that a graph's inputs fix; those of stacks stay open."""
    known_plain = graph.derived.get("plain")  # asked at each call, of graphs that rest too
    if known_plain is None:
        known_plain = graph.derived["plain"] = all(plain(s.spec) for s in graph.inputs)
    if known_plain:
        return {}
    known = [
        shape if not _open(symbol.shape) else symbol.shape for symbol, shape in zip(graph.inputs, shapes, strict=True)
    ]
    return {name: size for name, size in bind_sizes(graph, known).items() if isinstance(size, int)}


def _open(shape: tuple[Any, ...]) -> bool:
    """Whether a shape holds the length of a stack that is only known while running."""
    return any(isinstance(size, Dim) and any("#" in name for name in size.names()) for size in shape)


class Interpreted(Program):
    """Stands in for a program that another thread is making: the graph, node by node with NumPy."""

    __slots__ = ()
    final = False

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.inplace = {}
        self.kernels = ()

    def run(self, inputs: Sequence[Array]) -> list[Array]:
        """The results' arrays: fresh ones, as a program gives them."""
        results = interpret_arrays(self.graph, inputs)
        return [r.copy() if any(np.may_share_memory(r, x) for x in inputs) else r for r in results]


def program_for(graph: Graph, shapes: Sequence[tuple[int, ...]], stateful: bool = False) -> Program:
    """The graph's program for inputs of these shapes; made when it is first asked for, in the background if so told."""
    sizes = sizes_of(graph, shapes)
    programs: OrderedDict[Any, Program] = graph.derived.setdefault("programs", OrderedDict())
    found = programs.get((stateful, *sorted(sizes.items())))
    if found is None:
        if graph.derived.get("background"):
            return _begin(graph, sizes, stateful)
        found = _make(graph, sizes, stateful)
    elif len(programs) > 1:
        with contextlib.suppress(KeyError):  # another thread may have dropped it
            programs.move_to_end((stateful, *sorted(sizes.items())))
    return found


def _make(graph: Graph, sizes: dict[str, int], stateful: bool) -> Program:
    """The graph's program for these sizes, made now unless another thread has just done so."""
    key = (stateful, *sorted(sizes.items()))
    programs: OrderedDict[Any, Program] = graph.derived["programs"]
    with _lock:
        found = programs.get(key)
        if found is None:
            found = programs[key] = Program(concretize(graph, sizes), stateful)
            if sizes:  # the copy with known sizes has served its purpose
                graph.derived.pop(("concrete", tuple(sorted(sizes.items()))), None)
            if len(programs) > MAX_PROGRAMS:
                programs.popitem(last=False)
    return found


def _begin(graph: Graph, sizes: dict[str, int], stateful: bool) -> Program:
    """Let a thread make a program, unless one does already, and give a stand-in for this call."""
    making: dict[Any, Thread] = graph.derived.setdefault("making", {})
    key = (stateful, *sorted(sizes.items()))

    def work() -> None:
        try:
            _make(graph, sizes, stateful)
        except Exception:
            graph.derived["background"] = False  # the next call makes it itself, and so raises what is wrong
        finally:
            making.pop(key, None)

    thread = Thread(target=work, name="treadle compiles")
    if making.setdefault(key, thread) is thread:
        thread.start()
    return Interpreted(graph)


def donating(graph: Graph, positions: tuple[int, ...]) -> Program | None:
    """The program of a graph without variables that makes results over these inputs; None where it could do so nowhere.

    Its sizes must be known.
    """
    made: dict[tuple[int, ...], Program | None] = graph.derived.setdefault("donating", {})
    if positions not in made:
        with _lock:
            if positions not in made:
                plan = inplace.plan(optimize(graph), False, positions)
                made[positions] = Program(graph, donated=positions) if plan.pairs else None
    return made[positions]


def run_graph(graph: Graph, arrays: Sequence[Array]) -> list[Array]:
    """Run a graph by its program: what `control.call` uses once the compiler is there."""
    return program_for(graph, [a.shape for a in arrays]).run(arrays)


def prepare(graph: Graph) -> None:
    """Make the program of a graph whose sizes are all known; others wait for their first call."""
    if all(is_static(s.shape) for s in graph.inputs):
        graph.derived.setdefault("programs", OrderedDict())
        _make(graph, {}, stateful=bool(graph.state))


def kernels_of(graph: Graph) -> tuple[KernelInfo, ...]:
    """The kernels of the programs that a graph has, each once; made now where it has none and its sizes are known."""
    if not graph.derived.get("programs"):
        prepare(graph)
    found: dict[str, KernelInfo] = {}
    for program in graph.derived.get("programs", {}).values():
        for kernel in program.kernels:
            found.setdefault(kernel.key, kernel)
    return tuple(found.values())
