"""`td.cond`, `td.while_loop`, `td.scan`: control flow as functions; plain Python when nothing is traced."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from treadle import nest
from treadle.control import staging
from treadle.control.call import zeros_like_spec
from treadle.control.carry import run_loop
from treadle.core.mode import call_user
from treadle.core.spec import Spec
from treadle.core.tensor import Tensor
from treadle.core.tracer import active_tracer, trace
from treadle.errors import ControlFlowError, ShapeError
from treadle.ops.convert import as_tensor


def cond(pred: Any, f: Callable[..., Any], g: Callable[..., Any], *operands: Any) -> Any:
    """`f(*operands)` where `pred` is true, else `g(*operands)`; only one of them runs.

    pred: a bool, or a tensor of one element. Both functions must give the same structure, shapes and dtypes.
    Raises ControlFlowError where they do not.

    >>> import treadle as td
    >>> td.cond(td.asarray(True), lambda x: x + 1, lambda x: x - 1, 10)
    11
    """
    if not staging.is_staged(pred):
        return call_user(f if pred else g, *operands)
    (value,) = staging.staged_if(
        pred,
        lambda: (call_user(f, *operands),),
        lambda: (call_user(g, *operands),),
        (),
        ("the result of td.cond",),
        "td.cond",
    )
    return value


def while_loop(cond: Callable[..., Any], body: Callable[..., Any], vars: Any) -> Any:
    """Run `vars = body(*vars)` while `cond(*vars)` is true; gives the final vars, a tuple or list as given.

    vars: a tuple or list of nests. Shapes must not change; Python numbers become tensors.

    >>> import treadle as td
    >>> td.while_loop(lambda i, s: i < 4, lambda i, s: (i + 1, s + i), (0, 0))
    (4, 6)
    """
    values = tuple(vars)
    if active_tracer() is None:
        while cond(*values):
            values = _checked(body(*values), len(values))
        return type(vars)(values) if isinstance(vars, list) else values
    names = tuple(f"vars[{k}]" for k in range(len(values)))
    result = staging.staged_while(
        lambda *vs: call_user(cond, *vs), lambda *vs: _checked(call_user(body, *vs), len(vs)), values, names
    )
    return list(result) if isinstance(vars, list) else result


def _checked(result: Any, count: int) -> tuple[Any, ...]:
    if count == 1 and not isinstance(result, (tuple, list)):
        result = (result,)
    if not isinstance(result, (tuple, list)) or len(result) != count:
        raise ControlFlowError(
            f"the body of td.while_loop must return {count} values, as it is given; it returned {type(result).__name__}"
            + (f" of {len(result)}" if isinstance(result, (tuple, list)) else "")
        )
    return tuple(result)


def scan(f: Callable[..., Any], init: Any, xs: Any, length: int | None = None, reverse: bool = False) -> Any:
    """`carry, y = f(carry, x)` over the first axis of xs; gives the final carry and the ys, stacked.

    xs: a nest of tensors with one first axis, or None with `length` given. reverse: from the last x to the first.

    >>> import treadle as td
    >>> td.scan(lambda c, x: (c + x, c + x), 0.0, td.asarray([1., 2., 3.]))
    (Tensor(6., shape=(), dtype=float32), Tensor([1., 3., 6.], shape=(3,), dtype=float32))
    """
    leaves, shape = nest.flatten_with_structure(xs) if xs is not None else ([], None)
    items = [as_tensor(x) for x in leaves]
    sizes = {x.shape[0] if x.shape else None for x in items} | ({length} if length is not None else set())
    if len(sizes) != 1 or None in sizes:
        raise ShapeError(f"scan: xs and length must agree on the number of steps, got {sorted(map(str, sizes))}")
    if active_tracer() is None:
        return _scan_eagerly(f, init, items, shape, int(next(iter(sizes))), reverse)  # type: ignore[arg-type]
    found: list[nest.Structure] = []

    def body(item: Any, carry: Any) -> Any:
        new, y = call_user(f, carry, item)
        flat, structure = nest.flatten_with_structure(y)
        found.append(structure)
        return (new,), flat

    (carry,), ys = run_loop(
        body,
        (init,),
        ("carry",),
        length=length if not items else None,
        xs=items,
        rebuild=lambda values: nest.unflatten(shape, values) if shape is not None else None,
        collect=True,
        reverse=reverse,
    )
    return carry, nest.unflatten(found[-1], ys)


def _scan_eagerly(
    f: Callable[..., Any], carry: Any, items: list[Any], shape: nest.Structure | None, steps: int, reverse: bool
) -> Any:
    from treadle.ops.shaping import stack

    carry = nest.map(as_tensor, carry)
    rows: list[Any] = []
    for k in reversed(range(steps)) if reverse else range(steps):
        x = nest.unflatten(shape, [item[k] for item in items]) if shape is not None else None
        carry, y = f(carry, x)
        rows.append(y)
    if reverse:
        rows.reverse()
    if not rows:
        return carry, _no_rows(f, carry, items, shape)
    return carry, nest.map(lambda *ys: stack([as_tensor(y) for y in ys]), *rows)


def _no_rows(f: Callable[..., Any], carry: Any, items: list[Any], shape: nest.Structure | None) -> Any:
    """The ys of no steps: f is traced, not run, to see what they would be like."""
    found: list[nest.Structure] = []

    def step(*row: Tensor) -> list[Tensor]:
        _, y = call_user(f, carry, nest.unflatten(shape, row) if shape is not None else None)
        flat, structure = nest.flatten_with_structure(y)
        found.append(structure)
        return [as_tensor(value) for value in flat]

    graph = trace(step, [Spec(x.shape[1:], x.dtype) for x in items], "scan").graph
    return nest.unflatten(found[0], [zeros_like_spec(Spec((0, *s.shape), s.dtype)) for s in graph.outputs])


__all__ = ["cond", "scan", "while_loop"]
