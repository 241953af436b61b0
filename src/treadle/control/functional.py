"""`td.cond`, `td.while_loop`, `td.fori_loop`, `td.scan`, `td.map`: control flow as functions.

All are thin: the loops are one loop op where something is traced, plain Python where nothing is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from treadle import nest
from treadle.control import raising, staging
from treadle.control.call import zeros_like_spec
from treadle.control.carry import run_loop
from treadle.control.checkpoint import checkpoint
from treadle.core.arguments import functions
from treadle.core.dtypes import int64
from treadle.core.mode import call_user, current
from treadle.core.spec import Spec
from treadle.core.tensor import Tensor
from treadle.core.tracer import active_tracer, trace
from treadle.errors import ControlFlowError, ShapeError
from treadle.ops.arithmetic import minimum
from treadle.ops.convert import as_tensor


def cond(pred: Any, f: Callable[..., Any], g: Callable[..., Any], *operands: Any) -> Any:
    """`f(*operands)` where `pred` is true, else `g(*operands)`; only one of them runs.

    pred: a bool, or a tensor of one element. Both functions must give the same structure, shapes and dtypes.
    Raises ControlFlowError where they do not.

    >>> import treadle as td
    >>> td.cond(td.asarray(True), lambda x: x + 1, lambda x: x - 1, 10)
    11
    """
    functions("td.cond", f=f, g=g)
    if not staging.is_staged(pred):
        return call_user(f if pred else g, *operands)
    ends = raising.Ends()
    sides = [ends.branch(lambda h=h: (call_user(h, *operands),), lambda: raising.nothing("the result")) for h in (f, g)]
    (value,) = staging.staged_if(pred, sides[0], sides[1], (), ("the result of td.cond",), "td.cond")
    ends.check()
    return value


def while_loop(
    cond: Callable[..., Any],
    body: Callable[..., Any],
    vars: Any,
    max_iterations: Any = None,
    *,
    checkpoint_every: int | None = None,
    shape_invariants: Any = None,
) -> Any:
    """Run `vars = body(*vars)` while `cond(*vars)` is true; gives the final vars, a tuple or list as given.

    vars: a tuple or list of nests. Shapes must not change; Python numbers become tensors.
    max_iterations: an int, or a 0-d integer tensor: the loop ends after so many, whatever `cond` says.
    checkpoint_every: a gradient keeps the vars once in so many iterations, and runs those between again.
    shape_invariants: for each of the vars a shape with None for the axis that changes, or None where it stays (a list
    of them for a nest). See `td.set_shape_invariant`.

    >>> import treadle as td
    >>> td.while_loop(lambda i, s: i < 4, lambda i, s: (i + 1, s + i), (0, 0))
    (4, 6)
    """
    functions("td.while_loop", cond=cond, body=body)
    values = tuple(vars)
    every = _positive(checkpoint_every, "while_loop")
    if shape_invariants is not None:
        if every is not None:
            raise ValueError("while_loop: checkpoint_every and shape_invariants do not go together")
        values = _while(cond, body, values, max_iterations, _invariants(values, shape_invariants))
    elif every is None or current() is None:
        values = _while(cond, body, values, max_iterations)
    elif max_iterations is None:
        chunk = checkpoint(_named("chunk", lambda *vs: _while(cond, body, vs, every)))
        values = _while(cond, chunk, values, None)
    else:
        values = _while_limited(cond, body, values, as_tensor(max_iterations, int64), every)
    return list(values) if isinstance(vars, list) else values


def _invariants(values: tuple[Any, ...], shapes: Any) -> list[list[Any]]:
    """For each of the vars the shapes of its leaves."""
    if len(shapes) != len(values):
        raise ControlFlowError(f"while_loop: {len(values)} vars and {len(shapes)} shape_invariants; give one for each")
    found = []
    for value, shape in zip(values, shapes, strict=True):
        count = len(nest.flatten(value))
        found.append([shape] if count == 1 and not isinstance(shape, list) else list(shape or [None] * count))
    return found


def _while(
    cond: Callable[..., Any],
    body: Callable[..., Any],
    values: tuple[Any, ...],
    limit: Any,
    invariants: list[list[Any]] | None = None,
) -> tuple[Any, ...]:
    """The plain loop, by Python or staged."""
    if active_tracer() is None:
        left = None if limit is None else int(limit)
        while (left is None or left > 0) and cond(*values):
            values = _checked(body(*values), len(values))
            left = None if left is None else left - 1
        return values
    return run_loop(
        lambda item, *vs: _reached(lambda: _checked(call_user(body, *vs), len(vs)), vs),
        values,
        tuple(f"vars[{k}]" for k in range(len(values))),
        test_fn=lambda *vs: _reached(lambda: call_user(cond, *vs), False),
        length=limit,
        invariants=invariants,
    )[0]


def _reached(run: Callable[[], Any], otherwise: Any) -> Any:
    """What a function of the user gives in a loop; where it raises in any run, the loop goes on with `otherwise`."""
    return raising.bordered(run, lambda: otherwise)[0]


def _while_limited(
    cond: Callable[..., Any], body: Callable[..., Any], values: tuple[Any, ...], limit: Tensor, every: int
) -> tuple[Any, ...]:
    """Chunks of so many iterations, the last one shorter where the limit falls into it."""

    def chunk(left: Tensor, *vs: Any) -> tuple[Any, ...]:
        return (left - every, *_while(cond, body, vs, minimum(left, every)))

    def more(left: Tensor, *vs: Any) -> Any:
        return left > 0 and cond(*vs) if active_tracer() is None else staging.staged_and(left > 0, lambda: again(*vs))

    def again(*vs: Any) -> Any:
        return staging.truth(_reached(lambda: call_user(cond, *vs), False), "td.while_loop")

    return _while(more, checkpoint(chunk), (limit, *values), None)[1:]


def fori_loop(
    lower: Any, upper: Any, body: Callable[..., Any], init: Any, *, checkpoint_every: int | None = None
) -> Any:
    """Run `value = body(i, value)` for i from lower up to upper - 1, as 0-d int64 tensors; gives the final value.

    lower, upper: ints or 0-d integer tensors. init: a nest, whose shapes must not change.
    checkpoint_every: a gradient keeps the value once in so many steps, and runs those between again.

    >>> import treadle as td
    >>> td.fori_loop(1, 5, lambda i, product: product * i, td.asarray(1))
    Tensor(24, shape=(), dtype=int64)
    """
    functions("td.fori_loop", body=body)
    every = _positive(checkpoint_every, "fori_loop")
    if every is None or current() is None:
        return _fori(lower, upper, body, init)

    def chunk(start: Tensor, stop: Any, value: Any) -> Any:
        return _fori(start, stop, body, value)

    again = checkpoint(chunk)
    steps = staging.Range(lower, upper).length()
    if isinstance(steps, int):
        whole = steps // every

        def inside(start: Tensor, value: Any) -> Any:
            # So many steps, whatever the start: their stacks have a known length.
            return fori_loop(0, every, lambda k, v: call_user(body, start + k, v), value)

        repeated = checkpoint(inside)
        value = _fori(0, whole, lambda j, v: repeated(j * every + lower, v), init) if whole else init
        return again(as_tensor(lower, int64) + whole * every, upper, value) if steps % every else value
    return _fori(
        0,
        (steps + (every - 1)) // every,
        lambda j, v: again(j * every + lower, minimum(j * every + lower + every, as_tensor(upper, int64)), v),
        init,
    )


def _fori(lower: Any, upper: Any, body: Callable[..., Any], value: Any) -> Any:
    """The plain loop, by Python or staged."""
    steps = staging.Range(lower, upper)
    if active_tracer() is None:
        for i in steps:
            value = body(i, value)
        return value
    return staging.staged_for(
        steps, lambda i, v: (_reached(lambda: call_user(body, i, v), v),), (value,), ("the value",)
    )[0]


def _named(name: str, f: Callable[..., Any]) -> Callable[..., Any]:
    f.__name__ = name
    return f


def _positive(every: int | None, what: str) -> int | None:
    if every is not None and (isinstance(every, bool) or not isinstance(every, int) or every < 1):
        raise ValueError(f"{what}: checkpoint_every takes a number of steps, 1 or more, got {every!r}")
    return every


def _checked(result: Any, count: int) -> tuple[Any, ...]:
    if count == 1 and not isinstance(result, (tuple, list)):
        result = (result,)
    if not isinstance(result, (tuple, list)) or len(result) != count:
        raise ControlFlowError(
            f"the body of td.while_loop must return {count} values, as it is given; it returned {type(result).__name__}"
            + (f" of {len(result)}" if isinstance(result, (tuple, list)) else "")
        )
    return tuple(result)


def scan(
    f: Callable[..., Any],
    init: Any,
    xs: Any,
    length: int | None = None,
    reverse: bool = False,
    *,
    checkpoint_every: int | None = None,
) -> Any:
    """`carry, y = f(carry, x)` over the first axis of xs; gives the final carry and the ys, stacked.

    xs: a nest of tensors with one first axis, or None with `length` given. reverse: from the last x to the first.
    y: a nest; where it is None, so are the ys.
    checkpoint_every: a gradient keeps the carry once in so many steps, and runs those between again; the number of
    steps must be known when tracing.

    >>> import treadle as td
    >>> td.scan(lambda c, x: (c + x, c + x), 0.0, td.asarray([1., 2., 3.]))
    (Tensor(6., shape=(), dtype=float32), Tensor([1., 3., 6.], shape=(3,), dtype=float32))
    """
    functions("td.scan", f=f)
    every = _positive(checkpoint_every, "scan")
    leaves, shape = nest.flatten_with_structure(xs) if xs is not None else ([], None)
    items = [as_tensor(x) for x in leaves]
    sizes = {x.shape[0] if x.shape else None for x in items} | ({length} if length is not None else set())
    if len(sizes) != 1 or None in sizes:
        raise ShapeError(
            f"scan: xs and length must agree on the number of steps, got {sorted([str(n) for n in sizes])}"
        )
    (steps,) = sizes
    if every is not None and current() is not None:
        if not isinstance(steps, int):
            raise ShapeError(f"scan: checkpoint_every needs a number of steps known when tracing, here it is {steps}")
        return _scan_chunks(f, init, items, shape, steps, reverse, every)
    if active_tracer() is None:
        return _scan_eagerly(f, init, items, shape, int(steps), reverse)  # type: ignore[arg-type]
    found: list[tuple[nest.Structure, list[bool]]] = []

    def body(item: Any, carry: Any) -> Any:
        new, y = _reached(lambda: call_user(f, carry, item), (carry, None))
        flat, structure = nest.flatten_with_structure(y)
        found.append((structure, [leaf is None for leaf in flat]))
        return (new,), [leaf for leaf in flat if leaf is not None]

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
    return carry, _with_nones(found[-1], ys)


def _with_nones(found: tuple[nest.Structure, list[bool]], ys: Iterable[Tensor]) -> Any:
    """The ys with None where a step gives None."""
    structure, nones = found
    rest = iter(ys)
    return nest.unflatten(structure, [None if none else next(rest) for none in nones])


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
    return carry, nest.map(lambda *ys: None if ys[0] is None else stack([as_tensor(y) for y in ys]), *rows)


def _scan_chunks(
    f: Callable[..., Any],
    carry: Any,
    items: list[Any],
    shape: nest.Structure | None,
    steps: int,
    reverse: bool,
    every: int,
) -> Any:
    """A scan over scans of `every` steps, and one over the rest; each is run again for its gradient."""
    from treadle.ops.shaping import concat, reshape

    whole = steps // every * every
    parts: dict[bool, Any] = {}

    def run(carry: Any, rows: list[Any], count: int) -> Any:
        def chunk(carry: Any, rows: list[Any]) -> Any:
            return scan(f, carry, nest.unflatten(shape, rows) if shape is not None else None, count, reverse)

        return checkpoint(chunk)(carry, rows)

    def body(carry: Any, rows: Any) -> Any:
        return run(carry, rows if items else [], every)

    for is_rest in (True, False) if reverse else (False, True):
        if is_rest and steps > whole:
            carry, parts[True] = run(carry, [x[whole:] for x in items], steps - whole)
        elif not is_rest and whole:
            cut = [reshape(x[:whole], (whole // every, every, *x.shape[1:])) for x in items]
            carry, ys = scan(body, carry, cut or None, whole // every, reverse)
            parts[False] = nest.map(lambda y: None if y is None else reshape(y, (whole, *y.shape[2:])), ys)
    if not parts:
        return scan(f, carry, nest.unflatten(shape, items) if shape is not None else None, 0, reverse)
    if len(parts) == 1:
        return carry, next(iter(parts.values()))
    return carry, nest.map(lambda a, b: None if a is None else concat([a, b]), parts[False], parts[True])


def map(f: Callable[..., Any], xs: Any) -> Any:
    """`f(x)` for each row of xs, one after the other, and the results stacked: a scan that carries nothing.

    xs: a nest of tensors with one first axis. For all rows at once, write the function on whole arrays.

    >>> import treadle as td
    >>> td.map(lambda row: td.sum(row), td.asarray([[1., 2.], [3., 4.]]))
    Tensor([3., 7.], shape=(2,), dtype=float32)
    """
    return scan(lambda nothing, x: (nothing, call_user(f, x)), (), xs)[1]


def _no_rows(f: Callable[..., Any], carry: Any, items: list[Any], shape: nest.Structure | None) -> Any:
    """The ys of no steps: f is traced, not run, to see what they would be like."""
    found: list[tuple[nest.Structure, list[bool]]] = []

    def step(*row: Tensor) -> list[Tensor]:
        _, y = call_user(f, carry, nest.unflatten(shape, row) if shape is not None else None)
        flat, structure = nest.flatten_with_structure(y)
        found.append((structure, [leaf is None for leaf in flat]))
        return [as_tensor(value) for value in flat if value is not None]

    graph = trace(step, [Spec(x.shape[1:], x.dtype) for x in items], "scan").graph
    return _with_nones(found[0], [zeros_like_spec(Spec((0, *s.shape), s.dtype)) for s in graph.outputs])


__all__ = ["cond", "fori_loop", "map", "scan", "while_loop"]
