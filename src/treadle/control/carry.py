"""Staged loops: which values are carried, their dtypes found by fixed point, and the loop op built from the traces."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from treadle import nest
from treadle.control.call import zeros_like_spec
from treadle.control.loop import loop
from treadle.control.merge import close, common, fix_text, is_number, leaf_spec, spec_text, to_spec
from treadle.control.undefined import Undefined
from treadle.core.dim import Size
from treadle.core.graph import Graph, Node
from treadle.core.mode import activate
from treadle.core.spec import Spec
from treadle.core.tensor import Symbol, Tensor
from treadle.core.tracer import Tracer, active_tracer, read_op
from treadle.core.variable import Variable, read_variable, write_variable
from treadle.errors import ControlFlowError
from treadle.ops.convert import as_tensor

_MAX_ROUNDS = 8  # dtypes only go up (bool, int, float, complex; weak, strong), so this is never reached by honest code


class _Leaf:
    """One leaf of the loop's values: carried with a spec, or a Python object that must stay the same."""

    __slots__ = ("path", "spec", "value")

    def __init__(self, path: str, value: Any) -> None:
        self.path = path
        self.value = value
        carried = is_number(value) or isinstance(value, Tensor)
        self.spec: Spec | None = leaf_spec(value) if carried else None

    @property
    def missing(self) -> bool:
        return isinstance(self.value, Undefined)


def run_loop(
    body_fn: Callable[..., Any],
    values: tuple[Any, ...],
    names: tuple[str, ...],
    *,
    test_fn: Callable[..., Any] | None = None,
    length: int | Tensor | None = None,
    xs: Sequence[Tensor] = (),
    rebuild: Callable[[list[Tensor]], Any] = lambda items: None,
    collect: bool = False,
    reverse: bool = False,
) -> tuple[tuple[Any, ...], list[Tensor]]:
    """Trace and bind a loop: `body_fn(item, *values) -> values` (with `collect`: `(values, ys)`).

    Gives the final values and the stacked ys.
    """
    leaves: list[_Leaf] = []
    shapes: list[nest.Structure] = []
    for name, value in zip(names, values, strict=True):
        value = nest.map(lambda x: read_variable(x) if isinstance(x, Variable) else x, value)
        flat, paths, shape = nest.flatten_with_paths(value, name)
        leaves += [_Leaf(path, x) for path, x in zip(paths, flat, strict=True)]
        shapes.append(shape)
    for _ in range(_MAX_ROUNDS):
        traced = _trace(body_fn, test_fn, leaves, shapes, names, xs, rebuild, collect)
        if _settle(leaves, traced):
            break
        shapes = traced.shapes
    else:
        raise ControlFlowError(
            f"the dtypes of the loop's values {', '.join(names)} do not settle; convert them with td.astype"
        )
    return _bind(leaves, shapes, traced, length, xs, reverse, test_fn is not None)


class _Traced:
    """One trace of the body (and the test): tracers still open, so that casts can be added at the end."""

    def __init__(self, body: Tracer, test: Tracer | None) -> None:
        self.body = body
        self.test = test
        self.results: list[Any] = []
        self.shapes: list[nest.Structure] = []
        self.ys: list[Tensor] = []
        self.condition: Tensor | None = None


def _open(name: str) -> Tracer:
    around = active_tracer()
    assert around is not None
    tracer = Tracer(name, around.scope)
    tracer.origin = around.origin
    return tracer


def _inputs(tracer: Tracer, leaves: Sequence[_Leaf], shapes: Sequence[nest.Structure]) -> list[Any]:
    flat = [leaf.value if leaf.spec is None else tracer.input(leaf.spec, leaf.path) for leaf in leaves]
    values, position = [], 0
    for shape in shapes:
        values.append(nest.unflatten(shape, flat[position : position + shape.count]))
        position += shape.count
    return values


def _trace(
    body_fn: Callable[..., Any],
    test_fn: Callable[..., Any] | None,
    leaves: list[_Leaf],
    shapes: Sequence[nest.Structure],
    names: tuple[str, ...],
    xs: Sequence[Tensor],
    rebuild: Callable[[list[Tensor]], Any],
    collect: bool,
) -> _Traced:
    from treadle.control.staging import truth

    traced = _Traced(_open("loop_body"), _open("loop_test") if test_fn is not None else None)
    values = _inputs(traced.body, leaves, shapes)
    items = [traced.body.input(Spec(x.shape[1:], x.dtype), "item") for x in xs]
    with activate(traced.body):
        results = body_fn(rebuild(list(items)), *values)
        if collect:
            results, ys = results
            traced.ys = [as_tensor(y) for y in ys]
        results = [nest.map(lambda x: read_variable(x) if isinstance(x, Variable) else x, result) for result in results]
    position = 0
    for name, result, shape in zip(names, results, shapes, strict=True):
        flat, found = nest.flatten_with_structure(result)
        if found != shape:
            before = leaves[position : position + shape.count]
            if not all(leaf.missing for leaf in before):
                raise ControlFlowError(
                    f"the loop changes the structure of {name!r}: {shape!r} before an iteration, {found!r} after it; "
                    "keep it the same"
                )
            # A name first set inside the loop: its structure is known only now.
            leaves[position : position + shape.count] = [_Leaf(name, before[0].value) for _ in flat]
        traced.results += flat
        traced.shapes.append(found)
        position += len(flat)
    if test_fn is not None and traced.test is not None:
        with activate(traced.test):
            traced.condition = truth(test_fn(*_inputs(traced.test, leaves, shapes)), "`while`")
    return traced


def _settle(leaves: list[_Leaf], traced: _Traced) -> bool:
    """Compare what goes into an iteration with what comes out; raise specs where needed. True when all agree."""
    settled = True
    for leaf, result in zip(leaves, traced.results, strict=True):
        if leaf.spec is None:
            if leaf.missing and not isinstance(result, Undefined):
                leaf.spec = leaf_spec(result) if is_number(result) or isinstance(result, Tensor) else None
                if leaf.spec is None and leaf.value.guarded:
                    leaf.value = result  # nobody reads it before it is set, so it may as well be set from the start
                elif leaf.spec is None:
                    raise ControlFlowError(
                        f"{leaf.path!r} is first set inside a loop on tensors, to {result!r}; "
                        "only tensors and numbers can be; set it before the loop"
                    )
                settled = False
            elif not leaf.missing and not _unchanged(leaf.value, result):
                raise ControlFlowError(
                    f"the loop changes {leaf.path!r} from {leaf.value!r} to {result!r}; "
                    "only tensors and numbers can change in a loop on tensors"
                )
            continue
        if isinstance(result, Undefined) or not (
            is_number(result) or isinstance(result, Tensor) or hasattr(result, "__array__")
        ):
            raise ControlFlowError(
                f"{leaf.path!r} is {spec_text(leaf.spec)} before an iteration and {result!r} after it; "
                "only tensors and numbers can be carried through a loop on tensors"
            )
        spec = leaf_spec(result)
        dtype, weak = common(leaf.spec, spec)
        if dtype is None or leaf.spec.shape != spec.shape:
            raise ControlFlowError(
                f"the loop variable {leaf.path!r} changes: {spec_text(leaf.spec)} before an iteration, "
                f"{spec_text(spec)} after it; {fix_text(leaf.spec, spec)}"
            )
        wanted = Spec(leaf.spec.shape, dtype, weak)
        if wanted != leaf.spec:
            leaf.spec = wanted
            settled = False
    return settled


def _unchanged(before: Any, after: Any) -> bool:
    if before is after:
        return True
    try:
        return type(before) is type(after) and bool(before == after)
    except Exception:  # any object may refuse to be compared; then it has changed
        return False


def _bind(
    leaves: list[_Leaf],
    shapes: Sequence[nest.Structure],
    traced: _Traced,
    length: int | Tensor | None,
    xs: Sequence[Tensor],
    reverse: bool,
    tested: bool,
) -> tuple[tuple[Any, ...], list[Tensor]]:
    carried = [leaf for leaf in leaves if leaf.spec is not None]
    with activate(traced.body):
        outputs = [
            to_spec(result, leaf.spec.dtype, leaf.spec.weak)
            for leaf, result in zip(leaves, traced.results, strict=True)
            if leaf.spec is not None
        ]
    tracers, ends = [traced.body], [[*outputs, *traced.ys]]
    if traced.test is not None and traced.condition is not None:
        tracers.append(traced.test)
        ends.append([traced.condition])
    graphs, captures, variables, writes = close(tracers, ends)
    body, order = _arrange(graphs[0], len(carried), len(xs), len(captures), variables, writes, len(outputs))
    test = _arrange_test(graphs[1], len(carried), len(captures), order) if len(graphs) > 1 else None
    start = [_initial(leaf) for leaf in carried]
    states = [read_variable(v) for v in variables]
    written = [states[k] for k in order[0]]  # what is read in the loop counts as a read of these
    fixed = [states[k] for k in order[1]]
    count = length if isinstance(length, Tensor) else None
    known: Size | None = length if isinstance(length, int) else (xs[0].shape[0] if xs else None)
    made = list(
        loop(
            body,
            [*start, *written],
            [*captures, *fixed, *written],
            xs,
            test=test,
            count=count,
            length=known,
            reverse=reverse,
        )
    )
    for variable, value in zip([variables[k] for k in order[0]], made[len(carried) :], strict=False):
        write_variable(variable, value)
    flat = iter(made[: len(carried)])
    results = [next(flat) if leaf.spec is not None else leaf.value for leaf in leaves]
    out, position = [], 0
    for shape in shapes:
        out.append(nest.unflatten(shape, results[position : position + shape.count]))
        position += shape.count
    return tuple(out), made[len(carried) + len(written) :]


def _initial(leaf: _Leaf) -> Tensor:
    assert leaf.spec is not None
    if leaf.missing:
        return zeros_like_spec(leaf.spec)
    return to_spec(leaf.value, leaf.spec.dtype, leaf.spec.weak)


Order = tuple[list[int], list[int]]


def _arrange(
    graph: Graph,
    carried: int,
    stepped: int,
    captured: int,
    variables: Sequence[Variable],
    writes: Sequence[Variable],
    outputs: int,
) -> tuple[Graph, Order]:
    """Reorder the body's inputs to carry, consts, xs: written variables are carried, others are constant.

    A written variable comes in twice: its value now is carried, and the value that it had before the loop is a
    constant, to which the gradient of every read in the loop goes (an assignment passes none on).
    """
    written, fixed = order = _order(variables, writes)
    inputs = graph.inputs
    a, b = carried, carried + stepped
    c = b + captured
    reads, now, before = _reads([inputs[c + k] for k in written])
    arranged = (*inputs[:a], *now, *inputs[b:c], *(inputs[c + k] for k in fixed), *before, *inputs[a:b])
    ends = graph.outputs
    first = len(ends) - len(writes)
    by_variable = {id(v): ends[first + k] for k, v in enumerate(writes)}
    new = (*ends[:outputs], *(by_variable[id(variables[k])] for k in written), *ends[outputs:first])
    return Graph(graph.name, arranged, (*reads, *graph.nodes), new), order


def _order(variables: Sequence[Variable], writes: Sequence[Variable]) -> Order:
    changed = {id(v) for v in writes}
    written = [k for k, v in enumerate(variables) if id(v) in changed]
    return written, [k for k in range(len(variables)) if k not in written]


def _reads(symbols: Sequence[Symbol]) -> tuple[list[Node], list[Symbol], list[Symbol]]:
    """Nodes that make these symbols, so far inputs, from two inputs each: the value now, and that before the loop."""
    nodes, now, before = [], [], []
    for symbol in symbols:
        pair = [Symbol(symbol.spec, symbol.scope, f"{symbol.name}_{what}") for what in ("now", "before")]
        node = Node(read_op, tuple(pair), {}, f"{symbol.name}_read", None)
        node.outputs = (symbol,)
        symbol.node = node
        nodes.append(node)
        now.append(pair[0])
        before.append(pair[1])
    return nodes, now, before


def _arrange_test(graph: Graph, carried: int, captured: int, order: Order) -> Graph:
    inputs = graph.inputs
    a, b = carried, carried + captured
    written, fixed = order
    reads, now, before = _reads([inputs[b + k] for k in written])
    arranged = (*inputs[:a], *now, *inputs[a:b], *(inputs[b + k] for k in fixed), *before)
    return Graph(graph.name, arranged, (*reads, *graph.nodes), graph.outputs[:1])
