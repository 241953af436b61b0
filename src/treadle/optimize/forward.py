"""Forwarding: nodes that only give another name or another view of a value, alone or one after the other.

Every rule here is exact, bit for bit, for all values.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from treadle.core.graph import Node
from treadle.core.op import REGISTRY
from treadle.core.spec import Shape
from treadle.core.tensor import Symbol
from treadle.optimize.sweep import Step, Sweep

Found = Sequence[Symbol] | None


def _forward(sweep: Sweep, node: Node) -> Found:
    """What the node stands for, when that exists already or is a simpler node."""
    found = _RULES[node.op](sweep, node)
    if found is not None:
        sweep.counts[node.op] += 1
    return found


def _first(sweep: Sweep, node: Node) -> Found:
    return (node.inputs[0],)


def _same_shape(sweep: Sweep, node: Node) -> Found:
    return (node.inputs[0],) if node.inputs[0].shape == node.outputs[0].shape else None


def _astype(sweep: Sweep, node: Node) -> Found:
    (x,) = node.inputs
    if x.dtype == node.outputs[0].dtype:
        return (x,)
    full = sweep.producer(x, "full")
    if full is not None:
        value = REGISTRY["astype"].body(np.asarray(full.attrs["value"], x.dtype), dtype=node.outputs[0].dtype)
        return _full(sweep, node, value)
    before = sweep.producer(x, "astype")
    if before is not None and _holds(before.inputs[0].dtype, x.dtype, node.outputs[0].dtype):
        return (sweep.emit(node.definition, before.inputs, node.attrs, node),)
    return None


def _holds(first: np.dtype, middle: np.dtype, last: np.dtype) -> bool:
    """Whether a cast through `middle` gives what the direct cast gives: `middle` holds every value of `first`."""
    kinds = first.kind + middle.kind
    if kinds in ("bi", "bu", "bf", "bc", "ff", "fc", "cc"):
        return np.can_cast(first, middle, "safe")
    if kinds in ("ii", "uu", "ui"):  # integers wrap by their low bits, however many steps they take
        return np.can_cast(first, middle, "safe")
    if kinds in ("if", "uf"):  # NumPy calls int64 -> float64 safe, which it is not
        return first.itemsize < middle.itemsize and last.kind in "fc"
    return False


def _reshape(sweep: Sweep, node: Node) -> Found:
    (x,) = node.inputs
    if x.shape == node.outputs[0].shape:
        return (x,)
    before = sweep.producer(x, "reshape")
    if before is not None:
        return (sweep.emit(node.definition, before.inputs, node.attrs, node),)
    full = sweep.producer(x, "full")
    if full is not None:
        return _full(sweep, node, full.attrs["value"])
    spread = sweep.producer(x, "broadcast_to")
    if spread is not None and _ones(spread.inputs[0].shape):
        scalar = _reshaped(sweep, spread.inputs[0], (), node)
        return (sweep.emit(spread.definition, (scalar,), {"shape": node.outputs[0].shape}, node),)
    if spread is not None:
        return _unit_axes_after(sweep, node, spread)
    if _lies_in_order(sweep, x) and sweep.made.get(x) is not None:
        return _work_after(sweep, node)
    return _kept_axes(sweep, node)


def _lies_in_order(sweep: Sweep, x: Symbol) -> bool:
    """Whether a value is an input of the graph, or work on such, element by element, that nothing else reads."""
    made = sweep.made.get(x)
    if made is None:
        return True
    if made.definition.family != "elementwise" or len(made.outputs) != 1 or made.effect or sweep.uses(x) != 1:
        return False
    whole = [s for s in made.inputs if s.shape]
    return bool(whole) and all(s.shape == x.shape and _lies_in_order(sweep, s) for s in whole)


def _work_after(sweep: Sweep, node: Node) -> Found:
    """reshape(f(x)) where x lies in memory in its order: f(reshape(x)) is no kernel of its own before the reader's."""
    work, shape = sweep.made[node.inputs[0]], node.outputs[0].shape
    sweep.counts["work after reshape"] += 1
    inputs = [s if not s.shape else _reshaped(sweep, s, shape, node) for s in work.inputs]
    return (sweep.emit(work.definition, inputs, work.attrs, work),)


def _kept_axes(sweep: Sweep, node: Node) -> Found:
    """reshape(reduce(x, keepdims=True)) that drops the kept axes, and is all that needs it: reduce without them."""
    (x,) = node.inputs
    before = sweep.made.get(x)
    if before is None or before.definition.family != "reduction" or not before.attrs.get("keepdims"):
        return None
    left = tuple([size for k, size in enumerate(x.shape) if k not in before.attrs["axes"]])
    if left != node.outputs[0].shape or sweep.uses(x) != 1:
        return None
    return (sweep.emit(before.definition, before.inputs, {**before.attrs, "keepdims": False}, before),)


def _unit_axes_after(sweep: Sweep, node: Node, spread: Node) -> Found:
    """reshape(broadcast_to(x)) that only adds or drops axes of size 1: reshape x, then broadcast."""
    old, new = spread.outputs[0].shape, node.outputs[0].shape
    if [s for s in old if not _one(s)] != [s for s in new if not _one(s)]:
        return None
    x = spread.inputs[0]
    padded = (1,) * (len(old) - len(x.shape)) + x.shape
    kept = iter([small for small, large in zip(padded, old, strict=True) if not _one(large)])
    shape = tuple([1 if _one(size) else next(kept) for size in new])
    return (sweep.emit(spread.definition, (_reshaped(sweep, x, shape, node),), {"shape": new}, node),)


def _reshaped(sweep: Sweep, x: Symbol, shape: Shape, like: Node) -> Symbol:
    return x if x.shape == shape else sweep.emit(REGISTRY["reshape"], (x,), {"shape": shape}, like)


def _one(size: object) -> bool:
    return type(size) is int and size == 1


def _ones(shape: Shape) -> bool:
    return all(map(_one, shape))


def _transpose(sweep: Sweep, node: Node) -> Found:
    (x,) = node.inputs
    axes: tuple[int, ...] = node.attrs["axes"]
    if axes == tuple(range(len(axes))):
        return (x,)
    before = sweep.producer(x, "transpose")
    if before is not None:
        earlier = before.attrs["axes"]
        both = tuple([earlier[k] for k in axes])
        return (sweep.emit(node.definition, before.inputs, {"axes": both}, node),)
    full = sweep.producer(x, "full")
    if full is not None:
        return _full(sweep, node, full.attrs["value"])
    if [k for k in axes if not _one(x.shape[k])] == [k for k in range(len(axes)) if not _one(x.shape[k])]:
        return (sweep.emit(REGISTRY["reshape"], (x,), {"shape": node.outputs[0].shape}, node),)
    return None


def _broadcast(sweep: Sweep, node: Node) -> Found:
    (x,) = node.inputs
    shape = node.outputs[0].shape
    if x.shape == shape:
        return (x,)
    value = sweep.uniform(x)
    if value is not None and x.dtype.kind in "biufc":
        return _full(sweep, node, value)
    before = sweep.producer(x, "broadcast_to")
    if before is not None:
        return (sweep.emit(node.definition, before.inputs, node.attrs, node),)
    reshaped = sweep.producer(x, "reshape")
    if reshaped is not None:  # leading axes of size 1 come by broadcasting alone
        inner = reshaped.inputs[0].shape
        extra = len(x.shape) - len(inner)
        if extra > 0 and x.shape == (1,) * extra + inner:
            return (sweep.emit(node.definition, reshaped.inputs, node.attrs, node),)
    return None


def _slice(sweep: Sweep, node: Node) -> Found:
    (x,) = node.inputs
    starts, stops, steps = (node.attrs[key] for key in ("starts", "stops", "steps"))
    if x.shape == stops and all(s == 1 for s in steps) and all(type(a) is int and a == 0 for a in starts):
        return (x,)
    full = sweep.producer(x, "full")
    return None if full is None else _full(sweep, node, full.attrs["value"])


def _full(sweep: Sweep, node: Node, value: object) -> Found:
    if isinstance(value, (np.ndarray, np.generic)):
        value = value.item()
    (y,) = node.outputs
    return (sweep.emit(REGISTRY["full"], (), {"value": value, "shape": y.shape, "dtype": y.dtype}, node),)


def _single(sweep: Sweep, node: Node) -> Found:
    """A reduction over axes of size 1 (or none) of something that is its own maximum, product, ..."""
    (x,) = node.inputs
    shape = x.shape
    for k in node.attrs["axes"]:
        if not _one(shape[k]):
            return None
    if x.dtype != node.outputs[0].dtype:
        return None
    return (_reshaped(sweep, x, node.outputs[0].shape, node),)


def _sum(sweep: Sweep, node: Node) -> Found:
    found = _single(sweep, node)
    if found is None or node.outputs[0].dtype.kind not in "fc":
        return found
    zero = sweep.constant(np.zeros((), node.outputs[0].dtype), node)  # NumPy's sum of -0.0 is 0.0
    return (sweep.emit(REGISTRY["add"], (found[0], zero), {}, node),)


def _where(sweep: Sweep, node: Node) -> Found:
    condition, a, b = node.inputs
    shape = node.outputs[0].shape
    if a is b and a.shape == shape:
        return (a,)
    known = sweep.uniform(condition)
    if known is None:
        return None
    chosen = a if known else b
    if chosen.shape == shape:
        return (chosen,)
    return (sweep.emit(REGISTRY["broadcast_to"], (chosen,), {"shape": shape}, node),)


def _concat(sweep: Sweep, node: Node) -> Found:
    return (node.inputs[0],) if len(node.inputs) == 1 else None


_RULES: dict[str, Callable[[Sweep, Node], Found]] = {
    "identity": _first,
    "read": _first,
    "stop_gradient": _first,
    "positive": _first,
    "fill_rows": _same_shape,
    "first_rows": _same_shape,
    "astype": _astype,
    "reshape": _reshape,
    "transpose": _transpose,
    "broadcast_to": _broadcast,
    "slice": _slice,
    "sum": _sum,
    "prod": _single,
    "max": _single,
    "min": _single,
    "any": _single,
    "all": _single,
    "where": _where,
    "concat": _concat,
}

forward = Step(_forward, frozenset(_RULES), again=True)
