"""The ways to run a function that `check` compares, and what a run did: result or error, and variables afterwards."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from treadle import nest
from treadle.autodiff.gradient_tape import GradientTape
from treadle.control.call import _interpreting
from treadle.core.dtypes import is_float
from treadle.core.mode import Mode, activate
from treadle.core.op import Op
from treadle.core.tensor import Tensor
from treadle.core.variable import Variable, read_variable, write_variable
from treadle.errors import RetraceWarning, TracingWarning
from treadle.function.function import Function
from treadle.function.settings import run_eagerly
from treadle.ops.convert import as_tensor
from treadle.records import dataclass, field

Array = np.ndarray[Any, Any]


@dataclass(slots=True)
class Outcome:
    """What one run did; tensors and variables are kept as arrays."""

    result: Any = None
    error: Exception | None = None
    state: dict[int, Array | None] = field(default_factory=dict)


class Watcher(Mode):
    """Eager running that notes each variable it meets, with the value that it had before."""

    def __init__(self) -> None:
        self.variables: dict[int, tuple[Variable, Array | None]] = {}

    def meet(self, variable: Variable) -> None:
        """Take in a variable."""
        if id(variable) not in self.variables:
            memory = variable._memory
            self.variables[id(variable)] = variable, None if memory is None else memory.copy()

    def process(self, op: Op, inputs: tuple[Tensor, ...], attrs: dict[str, Any]) -> tuple[Tensor, ...]:
        with activate(self.outer):
            return op.bind(inputs, attrs)

    def read(self, variable: Variable) -> Tensor:
        self.meet(variable)
        with activate(self.outer):
            return read_variable(variable)

    def write(self, variable: Variable, value: Tensor) -> None:
        self.meet(variable)
        with activate(self.outer):
            write_variable(variable, value)

    def restore(self) -> None:
        """Give all variables the values that they had."""
        for variable, before in self.variables.values():
            if before is not None:
                variable._adopt(before.copy())
            else:
                variable._memory = variable._buffer = variable._lease = None

    def state(self) -> dict[int, Array | None]:
        """What the variables hold now."""
        return {
            key: None if v._memory is None else np.array(v._memory, copy=True) for key, (v, _) in self.variables.items()
        }


def fresh(args: tuple[Any, ...]) -> tuple[Any, ...]:
    """Arguments that a run may write to or use up."""

    def one(x: Any) -> Any:
        if type(x) is Tensor:
            return Tensor(x.array)
        return x.copy() if isinstance(x, np.ndarray) else x

    return nest.map(one, args)  # type: ignore[no-any-return]


def frozen(x: Any) -> Any:
    """A leaf of a result as it is now."""
    if isinstance(x, Variable):
        x = x.value
    return np.array(x.array) if type(x) is Tensor else copy.copy(x) if isinstance(x, np.ndarray) else x


@contextmanager
def _quiet(notes: list[str]) -> Iterator[None]:
    """Retraces are expected here; other warnings of tracing are kept, to be told where a difference is found."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("ignore", RetraceWarning)
        warnings.simplefilter("always", TracingWarning)
        yield
    for w in caught:
        if issubclass(w.category, TracingWarning):
            notes.append(str(w.message))
        else:
            warnings.warn_explicit(w.message, w.category, w.filename, w.lineno)


class Stages:
    """Runs one function in several ways, each from the same state; `notes` collects what tracing warned of."""

    def __init__(self, python: Callable[..., Any], traced: Function[..., Any]) -> None:
        self.python = python
        self.traced = traced
        self.watcher = Watcher()
        self.notes: list[str] = []

    def watched(self, args: tuple[Any, ...]) -> Outcome:
        """Eagerly, noting the variables."""
        with run_eagerly(True), activate(self.watcher):
            return self._run(self.python, args)

    def eager(self, args: tuple[Any, ...]) -> Outcome:
        """Eagerly: Python runs the function line by line."""
        with run_eagerly(True):
            return self._run(self.python, args)

    def compiled(self, args: tuple[Any, ...]) -> Outcome:
        """Traced, and run by the compiled program."""
        with _quiet(self.notes):
            self._note_traced(args)
            return self._run(self.traced, args)

    def interpreted(self, args: tuple[Any, ...]) -> Outcome:
        """Traced, and the graph run node by node with NumPy."""
        with _quiet(self.notes), _interpreting(), np.errstate(all="ignore"), activate(self.watcher):
            return self._run(self.traced, args)

    def gradients(self, args: tuple[Any, ...], way: str) -> Outcome:
        """Gradients of the function's floating results, weighted and summed, in one of the ways above."""

        def run(*args: Any) -> Any:
            return self._differentiate(self.python if way == "eager" else self.traced, args)

        if way == "eager":
            with run_eagerly(True):
                return self._run(run, args)
        if way == "interpreted":
            with _quiet(self.notes), _interpreting(), np.errstate(all="ignore"):
                return self._run(run, args)
        with _quiet(self.notes):
            return self._run(run, args)

    def _note_traced(self, args: tuple[Any, ...]) -> None:
        """Take in the variables that the trace touches, though the eager function may not."""
        try:
            trace = self.traced.trace(*fresh(args))
        except Exception:  # the run will meet it again, and keep it
            return
        for ref in (*trace.reads, *trace.writes):
            variable = ref()
            if variable is not None:
                self.watcher.meet(variable)

    def _run(self, f: Callable[..., Any], args: tuple[Any, ...]) -> Outcome:
        found = Outcome()
        try:
            with np.errstate(all="ignore"):
                found.result = nest.map(frozen, f(*fresh(args)))
        except Exception as error:
            found.error = error
        found.state = self.watcher.state()
        self.watcher.restore()
        return found

    def names(self, args: tuple[Any, ...]) -> list[str]:
        """What the arguments are called."""
        binder = self.traced._binder
        if binder.plain and len(binder.names) >= len(args):
            return list(binder.names[: len(args)])
        return [f"args[{k}]" for k in range(len(args))]

    def _differentiate(self, f: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        sources: list[Any] = []
        names: list[str] = []

        def one(x: Any, path: str) -> Any:
            x = as_tensor(x) if isinstance(x, np.ndarray) else x
            if isinstance(x, Tensor) and is_float(x.dtype):
                sources.append(x)
                names.append(path)
            return x

        with GradientTape() as tape:
            changed = []
            for name, arg in zip(self.names(args), args, strict=True):
                leaves, paths, structure = nest.flatten_with_paths(arg, name)
                changed.append(nest.unflatten(structure, [one(x, path) for x, path in zip(leaves, paths, strict=True)]))
            tape.watch(sources)
            results = nest.flatten(f(*changed))
        outputs = [y for y in results if isinstance(y, Tensor) and is_float(y.dtype)]
        for v, _ in self.watcher.variables.values():
            if v.trainable and is_float(v.dtype):
                sources.append(v)
                names.append(v.name)
        found = tape.gradient(outputs, sources, [_weights(y) for y in outputs], unconnected="zero")
        return dict(zip(names, found, strict=True))


def _weights(y: Tensor) -> Tensor:
    """A cotangent whose elements differ, so that errors do not cancel in the sum."""
    count = int(np.prod(y.shape, dtype=np.int64))
    return as_tensor((1 + 0.5 * np.cos(1.0 + np.arange(count))).reshape(y.shape).astype(y.dtype))
