"""Merging what two branches give: structure, shape and dtype must agree; Python numbers take the tensor's dtype."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from treadle import nest
from treadle.control.call import zeros_like_spec
from treadle.control.rows import opened
from treadle.control.undefined import Undefined
from treadle.core.dim import Dim
from treadle.core.dtypes import DType, bool_, complex128, dtype_name, float64, promote, weak_dtype
from treadle.core.graph import Graph
from treadle.core.mode import activate
from treadle.core.spec import Spec
from treadle.core.tensor import Symbol, Tensor
from treadle.core.tracer import Tracer, active_tracer
from treadle.core.variable import Variable, read_variable
from treadle.errors import ControlFlowError, DTypeError
from treadle.ops.convert import as_tensor, astype_op
from treadle.records import dataclass

_NUMBERS = (bool, int, float, complex)


@dataclass(frozen=True, slots=True)
class Merged:
    """One name after a branch: the tensors of both sides, and how to rebuild the value from the merged ones."""

    sides: tuple[list[Tensor], list[Tensor]]
    structure: nest.Structure | None
    leaves: list[Any]  # a Python value, or _TENSOR where the next merged tensor stands

    def rebuild(self, flat: Iterator[Tensor]) -> Any:
        """The value, with the next tensors of `flat`."""
        leaves = []
        for leaf in self.leaves:
            leaves.append(next(flat) if leaf is _TENSOR or leaf is _MAYBE else leaf)
            if leaf is _MAYBE:
                leaves[-1].present = next(flat)  # type: ignore[union-attr]
        return leaves[0] if self.structure is None else nest.unflatten(self.structure, leaves)


_TENSOR = object()
_MAYBE = object()  # the next tensor, and the one after it that tells whether it is not None


def is_number(x: object) -> bool:
    """Whether a value is a Python number that can become a tensor."""
    return isinstance(x, _NUMBERS)


def number_dtype(kind: type) -> DType:
    """The dtype in which a Python number is carried: as exact as Python's own, until it meets a tensor."""
    return float64 if kind is float else complex128 if kind is complex else weak_dtype(kind)


def leaf_spec(x: Any) -> Spec:
    """The spec that a number or tensor has as a carried value."""
    if is_number(x):
        return Spec((), number_dtype(next(k for k in _NUMBERS if isinstance(x, k))), weak=True)
    return x.spec if isinstance(x, (Tensor, Variable)) else as_tensor(x).spec


def presence(value: Any) -> Tensor | bool:
    """Whether a value is one, not None: a bool, or a tensor where only running tells."""
    if value is None:
        return False
    found: Tensor | bool = getattr(value, "present", True) if type(value) is Symbol else True
    return found


def _one_side(side: str) -> str:
    return f"only the {side} branch of an `if` on a tensor sets it"


def unify(name: str, a: Any, b: Any, tracers: Sequence[Tracer], one_side: Callable[[str], str] = _one_side) -> Merged:
    """Merge one name's value of the true side with that of the false side; `one_side` says which side sets a name."""
    if a is b and not isinstance(a, Tensor):
        return Merged(([], []), None, [a])
    from treadle.control.lists import is_outer  # lists need the ops of the catalogue

    for value, other in ((a, b), (b, a)):  # what happens to the list itself is threaded by the journal
        if is_outer(value) and isinstance(other, Undefined) and other.guarded:
            return Merged(([], []), None, [value])
    if isinstance(a, Undefined) and a.guarded and not isinstance(b, Undefined):
        a = _filler(b, tracers[0])
    if isinstance(b, Undefined) and b.guarded and not isinstance(a, Undefined):
        b = _filler(a, tracers[1])
    if isinstance(a, Undefined) or isinstance(b, Undefined):
        if isinstance(a, Undefined) and isinstance(b, Undefined):
            return Merged(([], []), None, [a])
        return Merged(([], []), None, [Undefined(name, one_side("false" if isinstance(a, Undefined) else "true"))])
    left, paths, shape = nest.flatten_with_paths(a, name)
    right, other = nest.flatten_with_structure(b)
    if a is None and shape != other:  # None on one side, a nest on the other: each leaf of it may be None
        left, paths, shape = [None] * len(right), [name] * len(right), other
    elif b is None and shape != other:
        right, other = [None] * len(left), shape
    if shape != other:
        raise ControlFlowError(
            f"the branches of an `if` on a tensor give {name!r} different structures: {_describe(a)} when true, "
            f"{_describe(b)} when false; make both the same"
        )
    sides: tuple[list[Tensor], list[Tensor]] = ([], [])
    leaves: list[Any] = []
    for path, x, y in zip(paths, left, right, strict=True):
        if _same(x, y):
            leaves.append(x)
            continue
        flags = (presence(x), presence(y))
        maybe = flags[0] is not True or flags[1] is not True
        if maybe:
            x, y = _present_values(x, y, tracers)
        for found, tensor in zip(sides, _pair(path, x, y, tracers), strict=True):
            found.append(tensor)
        if maybe:
            for found, flag, tracer in zip(sides, flags, tracers, strict=True):
                with activate(tracer):
                    found.append(to_spec(flag, bool_, False))
        leaves.append(_MAYBE if maybe else _TENSOR)
    return Merged(sides, shape, leaves)


def _present_values(x: Any, y: Any, tracers: Sequence[Tracer]) -> tuple[Any, Any]:
    """Both sides' values, zeros where one is None."""
    if x is None and (is_number(y) or isinstance(y, (Tensor, Variable))):
        with activate(tracers[0]):
            x = zeros_like_spec(leaf_spec(y)) if isinstance(y, (Tensor, Variable)) else type(y)(0)
    elif y is None and (is_number(x) or isinstance(x, (Tensor, Variable))):
        with activate(tracers[1]):
            y = zeros_like_spec(leaf_spec(x)) if isinstance(x, (Tensor, Variable)) else type(x)(0)
    return x, y


def _filler(other: Any, tracer: Tracer) -> Any:
    """A value for a side that sets none and whose value nobody will read: like the other side's, tensors as zeros."""
    with activate(tracer):
        return nest.map(lambda x: _zeros(x.spec) if isinstance(x, (Tensor, Variable)) else x, other)


def _zeros(spec: Spec) -> Tensor:
    """Zeros of a spec; what stands for a weak value is weak, too."""
    zeros = zeros_like_spec(spec)
    return astype_op.bind((zeros,), {"dtype": spec.dtype, "weak": True})[0] if spec.weak else zeros


def _same(x: Any, y: Any) -> bool:
    """Whether both sides give one and the same Python value, so that nothing depends on the condition."""
    if x is y:
        return not (isinstance(x, Symbol) and x.scope is None)
    if isinstance(x, Tensor) or isinstance(y, Tensor):
        return False
    try:
        return type(x) is type(y) and bool(x == y)
    except Exception:  # any object may refuse to be compared; then it is not the same
        return False


def _pair(path: str, x: Any, y: Any, tracers: Sequence[Tracer]) -> tuple[Tensor, Tensor]:
    for value in (x, y):
        if not (is_number(value) or isinstance(value, (Tensor, Variable)) or hasattr(value, "__array__")):
            raise ControlFlowError(
                f"the branches of an `if` on a tensor give {path!r} different Python values: {_describe(x)} when "
                f"true, {_describe(y)} when false; only tensors and numbers can depend on a tensor"
            )
    specs = (leaf_spec(x), leaf_spec(y))
    dtype, weak = common(specs[0], specs[1])
    axis = _open_axis(specs[0].shape, specs[1].shape)
    if dtype is None or (specs[0].shape != specs[1].shape and axis is None):
        raise ControlFlowError(
            f"the branches of an `if` on a tensor disagree on {path!r}: {_spec_text(specs[0])} when true, "
            f"{_spec_text(specs[1])} when false; {_fix(specs[0], specs[1])}"
        )
    made = []
    for value, tracer in zip((x, y), tracers, strict=True):
        with activate(tracer):
            made.append(to_spec(value, dtype, weak))
            if axis is not None:
                made[-1] = opened(made[-1], axis)
    return made[0], made[1]


def _open_axis(a: tuple[Any, ...], b: tuple[Any, ...]) -> int | None:
    """The one axis along which two shapes differ, where only running tells one of the sizes: a declared shape."""
    differ = [axis for axis, (p, q) in enumerate(zip(a, b, strict=False)) if p != q] if len(a) == len(b) else []
    if len(differ) != 1:
        return None
    (axis,) = differ
    names = {name for size in (a[axis], b[axis]) if isinstance(size, Dim) for name in size.names()}
    return axis if any("#" in name for name in names) else None


def common(a: Spec, b: Spec) -> tuple[DType | None, bool]:
    """The dtype of a value that is `a` on one path and `b` on the other; None when two tensors disagree."""
    if a.weak or b.weak:
        try:
            dtype, weak = promote(a.dtype, b.dtype, a.weak, b.weak)
        except DTypeError:
            return None, False
        strong = None if a.weak and b.weak else (b if a.weak else a)
        if strong is not None and dtype != strong.dtype:
            return None, False  # a number of a higher kind than the tensor: the user must say which dtype is meant
        return dtype, weak
    return (a.dtype if a.dtype == b.dtype else None), False


def to_spec(value: Any, dtype: DType, weak: bool) -> Tensor:
    """A value as a tensor of this dtype, in the current mode; weak stays weak."""
    if isinstance(value, _NUMBERS) and dtype.kind in "fc" and (tracer := active_tracer()) is not None:
        return tracer.constant(np.asarray(value, dtype), weak=weak)
    t = as_tensor(value)
    if t.dtype == dtype and t.spec.weak == weak:
        return t
    if weak:
        return t if t.dtype == dtype else astype_op.bind((t,), {"dtype": dtype, "weak": True})[0]
    return astype_op.bind((t,), {"dtype": dtype})[0]


def close(
    tracers: Sequence[Tracer], outputs: Sequence[Sequence[Tensor]], arguments: int = 0
) -> tuple[list[Graph], list[Tensor], list[Variable], list[Variable]]:
    """Finish traces that are held by one op, so that their inputs agree.

    Gives the graphs, the outer tensors that both take, the variables whose values follow them, and those of the
    variables that are written (each graph gives their new values after its outputs).
    """
    captured: dict[int, Tensor] = {}
    variables: dict[int, Variable] = {}
    written: dict[int, Variable] = {}
    for tracer, results in zip(tracers, outputs, strict=True):
        for x in results:
            tracer.lift(x)
        captured.update({id(outer): outer for outer, _ in tracer.captures.values()})
        variables.update({key: entry.variable for key, entry in tracer.state.items()})
        written.update({key: entry.variable for key, entry in tracer.state.items() if entry.value is not None})
    graphs = []
    for tracer, results in zip(tracers, outputs, strict=True):
        with activate(tracer):
            for key, variable in written.items():
                if key not in tracer.state or tracer.state[key].value is None:
                    tracer.write(variable, read_variable(variable))
            lifted = [tracer.lift(x) for x in results]
            inputs = [*tracer.inputs, *(tracer.lift(x) for x in captured.values())]
            for variable in variables.values():
                tracer.read(variable)
            inputs += [tracer.state[key].initial for key in variables]
            after = [value for key in written if (value := tracer.state[key].value) is not None]
            graphs.append(Graph(tracer.scope.name, tuple(inputs), tuple(tracer.nodes), (*lifted, *after)))
    return graphs, list(captured.values()), list(variables.values()), list(written.values())


def _describe(value: Any) -> str:
    if isinstance(value, Tensor):
        return _spec_text(value.spec)
    if isinstance(value, (list, tuple, dict)):
        return _outline(value)
    return repr(value)


def _outline(value: Any) -> str:
    """A nest with its tensors as `tensor`."""
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key!r}: {_outline(item)}' for key, item in value.items())}}}"
    if type(value) is list:
        return f"[{', '.join(map(_outline, value))}]"
    if isinstance(value, (list, tuple)):
        name = "" if type(value) is tuple else type(value).__name__
        return f"{name}({', '.join(map(_outline, value))}{',' if len(value) == 1 else ''})"
    return "tensor" if isinstance(value, Tensor) else repr(value)


def _spec_text(spec: Spec) -> str:
    kind = "a Python number, " if spec.weak else ""
    shape = ", ".join(map(str, spec.shape)) + ("," if len(spec.shape) == 1 else "")
    return f"{kind}shape ({shape}), dtype {dtype_name(spec.dtype)}"


def _fix(a: Spec, b: Spec) -> str:
    if a.shape != b.shape:
        return "give both the same shape (td.broadcast_to, td.reshape, or an initial value of the final shape)"
    return f"convert one with td.astype(x, td.{dtype_name(b.dtype if a.weak else a.dtype)})"


spec_text, fix_text = _spec_text, _fix
