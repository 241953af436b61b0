"""`while`: the one loop op. It is while, for, scan, and the gradient of each, which is another loop in reverse."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from treadle.control.call import run_graph
from treadle.control.loop_program import as_program
from treadle.core.dim import Dim, Size
from treadle.core.dtypes import int64
from treadle.core.graph import Graph
from treadle.core.op import Attrs, Grad, Op, Pullback, register
from treadle.core.spec import Spec
from treadle.core.tensor import Tensor
from treadle.errors import add_iterations, note_iteration, place
from treadle.records import dataclass

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class Layout:
    """How a loop's inputs fall into parts: [count], carry, consts, xs."""

    counted: bool
    carry: int
    consts: int
    xs: int

    def parts(self, values: Sequence[Any]) -> tuple[Any, list[Any], list[Any], list[Any]]:
        """count (or None), carry, consts, xs."""
        first = int(self.counted)
        a, b = first + self.carry, first + self.carry + self.consts
        return (values[0] if first else None), list(values[first:a]), list(values[a:b]), list(values[b:])

    def __repr__(self) -> str:
        return f"({'count, ' if self.counted else ''}{self.carry} carried, {self.consts} constant, {self.xs} stepped)"


def joined_name(symbol: Any) -> str | None:
    """The name of an output's first size, where a loop is to join its steps' rows instead of stacking them."""
    size = symbol.shape[0] if symbol.shape else None
    name = size.open if isinstance(size, Dim) else None
    return name if name is not None and name.startswith("joined#") else None


def gathered(rows: list[Array], symbol: Any) -> Array:
    """What all steps give for one further output of the body: stacked, or joined where their numbers of rows differ."""
    if joined_name(symbol) is not None:
        none = np.empty((0, *symbol.shape[1:]), symbol.dtype)
        return np.concatenate([none, *rows]).astype(symbol.dtype, copy=False)
    shape = (len(rows), *symbol.shape)
    return np.stack(rows).astype(symbol.dtype) if rows else np.empty(shape, symbol.dtype)


def _body(
    *values: Array,
    body: Graph,
    test: Graph | None,
    layout: Layout,
    steps: Size,
    reverse: bool,
    open: Any = (),
) -> list[Array]:
    attrs = {"body": body, "test": test, "layout": layout, "steps": steps, "reverse": reverse}
    made = as_program(attrs, values)
    if made is not None:
        return made
    count, carry, consts, xs = layout.parts(values)
    limit = int(count) if layout.counted else (steps if isinstance(steps, int) else None)
    if limit is None and xs:
        limit = len(xs[0])
    stacks: list[list[Array]] = [[] for _ in body.outputs[layout.carry :]]
    done = 0
    while limit is None or done < limit:
        position = limit - 1 - done if reverse and limit is not None else done
        earlier: list[Array] = []
        try:
            if test is not None:
                more, *earlier = run_graph(test, [*carry, *consts])
                if not bool(more):
                    break
            outputs = run_graph(body, [*carry, *consts, *(x[position, ...] for x in xs)])
        except Exception as error:
            if earlier:  # this loop is one of the user's in parts
                add_iterations(error, int(earlier[0]))
            else:
                note_iteration(error, done, place())
            raise
        carry = outputs[: layout.carry]
        for stack, y in zip(stacks, outputs[layout.carry :], strict=True):
            stack.append(y)
        done += 1
    results = [np.asarray(c) for c in carry]
    for stack, symbol in zip(stacks, body.outputs[layout.carry :], strict=True):
        if reverse:
            stack.reverse()
        results.append(gathered(stack, symbol))
    return results


def _infer(specs: Sequence[Spec], attrs: Attrs) -> tuple[Spec, ...]:
    body: Graph = attrs["body"]
    carried: int = attrs["layout"].carry
    carry = [Spec(s.shape, s.dtype, s.spec.weak) for s in body.outputs[:carried]]
    joined = dict(attrs.get("open", ()))

    def whole(symbol: Any) -> Spec:
        name = joined_name(symbol)
        if name is not None:
            return Spec((joined[name], *symbol.shape[1:]), symbol.dtype)
        return Spec((attrs["steps"], *symbol.shape), symbol.dtype)

    return (*carry, *map(whole, body.outputs[carried:]))


def loop(
    body: Graph,
    carry: Sequence[Tensor],
    consts: Sequence[Tensor],
    xs: Sequence[Tensor] = (),
    *,
    test: Graph | None = None,
    count: Tensor | None = None,
    length: Size | None = None,
    reverse: bool = False,
) -> tuple[Tensor, ...]:
    """Run a loop in the current mode: the final carry, then each further output of the body, stacked.

    Outputs that `rows.joined` has made are joined along their first axis instead, as their steps' numbers differ.

    body:   carry, consts, x items -> carry, ys. test: carry, consts -> bool; also, where an iteration is a loop that
            does some of the user's iterations, how many were done before it.
    It ends after `count` steps (a 0-d int64 tensor) or `length` steps (known when tracing), or when `test` is false.
    reverse: step through xs, and fill ys, from the last to the first.
    """
    if test is None and count is None and type(length) is int and length > 0 and not reverse:
        from treadle.control.stepped_reads import stepped_reads

        body, xs = stepped_reads(body, carry, consts, xs, length)
    layout = Layout(count is not None, len(carry), len(consts), len(xs))
    known = test is None and count is None and length is not None
    steps: Size = length if known and length is not None else Dim.fresh("steps")
    operands = (*carry, *consts, *xs)
    if count is None and test is not None and length is not None:
        from treadle.ops.convert import as_tensor

        count = as_tensor(length, int64)
        layout = Layout(True, layout.carry, layout.consts, layout.xs)
    if count is not None:
        operands = (count, *operands)
    attrs = {"body": body, "test": test, "layout": layout, "steps": steps, "reverse": reverse}
    return loop_op.bind(operands, attrs)


class LoopOp(Op):
    """See `loop`."""

    __slots__ = ()

    @property
    def differentiable(self) -> bool:
        return True

    def bind(self, inputs: tuple[Tensor, ...], attrs: dict[str, Any]) -> tuple[Tensor, ...]:
        """Run the loop in the current mode; attrs["open"] names the lengths of what this one joins."""
        body: Graph = attrs["body"]
        names = {name: None for s in body.outputs[attrs["layout"].carry :] if (name := joined_name(s)) is not None}
        if names:
            attrs = {**attrs, "open": tuple([(name, Dim.fresh("rows")) for name in names])}
        return super().bind(inputs, attrs)

    def record(
        self, inputs: tuple[Tensor, ...], attrs: dict[str, Any], needed: Sequence[bool]
    ) -> tuple[tuple[Tensor, ...], Pullback]:
        from treadle.control.loop_gradient import record_loop  # the gradient of loops is a file of its own

        return record_loop(self, inputs, attrs, needed)

    def push(
        self, inputs: tuple[Tensor, ...], attrs: dict[str, Any], tangents: Sequence[Grad]
    ) -> tuple[tuple[Tensor, ...], Sequence[Grad]]:
        """Forward mode: tangents are carried along, no stacks."""
        from treadle.control.loop_forward import push_loop

        return push_loop(inputs, attrs, tangents)


loop_op: Op = register(LoopOp("while", _body, _infer, family="graph", multiple=True))

# Rows that a loop left early did not reach have gradient 0: the stack of those that it did, filled up with zeros.
fill_op: Op = register(
    Op(
        "fill_rows",
        lambda rows, like: np.concatenate([rows, np.zeros((len(like) - len(rows), *rows.shape[1:]), rows.dtype)]),
        lambda specs, attrs: (Spec(specs[1].shape, specs[0].dtype),),
        family="host",
        vjp=lambda g, y, rows, like: (take_op.bind((g, rows), {})[0], None),
    )
)
take_op: Op = register(
    Op(
        "first_rows",
        lambda x, like: x[: len(like)],
        lambda specs, attrs: (Spec(specs[1].shape, specs[0].dtype),),
        family="host",
        vjp=lambda g, y, x, like: (fill_op.bind((g, x), {})[0], None),
    )
)
