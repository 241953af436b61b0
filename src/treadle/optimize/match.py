"""Rules as pairs of functions: both are traced once; where the pattern's graph matches, the replacement's is put.

Parameters of the functions say what they match, by their first letter: `c` a bool tensor, `k` a constant (one number
for all elements), any other a tensor of the dtype at hand. A number in a pattern matches a constant of that value and
sign. One parameter used twice matches one symbol. Operands of commutative ops match in either order.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from treadle.core.dtypes import DType, bool_
from treadle.core.graph import Const, Graph, Node
from treadle.core.op import REGISTRY, Op
from treadle.core.spec import Spec
from treadle.core.tensor import Symbol, Tensor
from treadle.core.tracer import constant_op, trace
from treadle.ops.convert import as_tensor
from treadle.optimize.merge import COMMUTATIVE
from treadle.optimize.sweep import MAX_CHOICES, NUMBERS, Array, Kind, Kinds, Sweep
from treadle.records import dataclass, field

EXAMPLES = {kind: np.dtype(name) for kind, name in zip("biufc", ("?", "i8", "u1", "f4", "c8"), strict=True)}
_NUMBERS = ("constant", "full", "broadcast_to")  # what makes a tensor of one number
Bindings = dict[Symbol, Symbol]
Guard = Callable[[Sweep, Symbol], bool]


@dataclass(frozen=True)
class Rule:
    """`pattern(...)` may be replaced by `replacement(...)`.

    op:        the last op of the pattern, so that rules need not be traced before a node of that op comes along.
    kinds:     dtype kinds of the tensors for which it holds.
    tolerance: greatest relative error in units of the dtype's epsilon; 0 is bit for bit, special values included.
    guard:     what must be known of the value of the first parameter (drawn so in tests by `drawn`).
    """

    name: str
    op: str
    pattern: Callable[..., Any]
    replacement: Callable[..., Any]
    kinds: str = "iuf"
    tolerance: float = 0.0
    guard: Guard | None = None
    drawn: Callable[[Array], Array] | None = None
    _graphs: dict[tuple[str, DType], Graph] = field(default_factory=dict, repr=False)

    @property
    def parameters(self) -> tuple[str, ...]:
        """The names of what the pattern matches."""
        return tuple(inspect.signature(self.pattern).parameters)

    def graph(self, side: str, dtype: DType | None = None) -> Graph:
        """The "pattern" or the "replacement", traced for a dtype."""
        dtype = dtype or EXAMPLES[self.kinds[0]]
        found = self._graphs.get((side, dtype))
        if found is None:
            names, function = self.parameters, getattr(self, side)
            specs = [Spec((), bool_ if name[0] == "c" else dtype) for name in names]
            made = trace(lambda *xs: [_tensor(function(*xs), dtype)], specs, side, names, closed=True)
            found = self._graphs[(side, dtype)] = made.graph
        return found


def _tensor(value: Any, dtype: DType) -> Tensor:
    return value if isinstance(value, Tensor) else as_tensor(value, bool_ if isinstance(value, bool) else dtype)


class Matcher:
    """A list of rules to be tried on nodes. Which of them may match follows from a node's op and those before it."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self.rules = tuple(rules)
        self._candidates: dict[tuple[str, Kinds, bool], list[Rule]] = {}

    def may(self, op: Op, before: Kinds, same: bool) -> bool:
        """Whether any rule may match nodes of an op whose operands are made so; `same`: both are one symbol."""
        return bool(self._rules(op.name, before, same))

    def _rules(self, op: str, before: Kinds, same: bool) -> list[Rule]:
        key = op, before, same
        rules = self._candidates.get(key)
        if rules is None:
            if len(self._candidates) > MAX_CHOICES:
                self._candidates.clear()
            rules = self._candidates[key] = [rule for rule in self.rules if _may_match(rule, *key)]
        return rules

    def __call__(self, sweep: Sweep, node: Node) -> Sequence[Symbol] | None:
        """What the first rule that matches puts in place of the node."""
        inputs = node.inputs
        same = len(inputs) == 2 and inputs[0] is inputs[1]
        for rule in self._rules(node.op, tuple(map(sweep.kinds.get, inputs)), same):
            found = apply(sweep, rule, node)
            if found is not None:
                sweep.counts[rule.name] += 1
                return (found,)
        return None


def _may_match(rule: Rule, op: str, before: Kinds, same: bool) -> bool:
    """Whether a rule can match nodes of an op whose inputs come from these ops; `same`: both inputs are one symbol."""
    if rule.op != op:
        return False
    root = _root(rule.graph("pattern"))
    if len(root.inputs) != len(before):
        return False
    if len(before) == 2 and root.inputs[0] is root.inputs[1] and not same:
        return False
    orders = (before, before[::-1]) if op in COMMUTATIVE else (before,)
    return any(all(map(_may_come_from, root.inputs, order)) for order in orders)


def _may_come_from(pattern: Symbol, kind: Kind) -> bool:
    number = kind in _NUMBERS or isinstance(kind, tuple)
    if pattern.node is None:
        return pattern.name[0] != "k" or number
    if pattern.node.definition is constant_op:
        wanted = NUMBERS.get(pattern.node.attrs["value"].array.item())
        # A number that has a name of its own goes by no other, but where it is spread out.
        return number if wanted is None else kind in (wanted, "broadcast_to")
    return kind == pattern.node.op


def apply(sweep: Sweep, rule: Rule, node: Node) -> Symbol | None:
    """The replacement, put into the sweep, where the rule matches the node."""
    pattern = rule.graph("pattern")
    bound = _match_node(sweep, _root(pattern), node, {})
    if bound is None:
        return None
    dtype = None
    for parameter in pattern.inputs:
        found = bound[parameter]
        if parameter.name[0] == "c":
            if found.dtype != bool_:
                return None
        elif dtype is None:
            dtype = found.dtype
        elif found.dtype != dtype:
            return None
    if dtype is not None and dtype.kind not in rule.kinds:
        return None
    if rule.guard is not None and not rule.guard(sweep, bound[pattern.inputs[0]]):
        return None
    return _replace(sweep, pattern, rule.graph("replacement"), bound, dtype, node)


def _replace(
    sweep: Sweep, pattern: Graph, replacement: Graph, bound: Bindings, dtype: DType | None, node: Node
) -> Symbol:
    values = {new: bound[old] for new, old in zip(replacement.inputs, pattern.inputs, strict=True)}
    example = next((s.dtype for s in pattern.inputs if s.name[0] != "c"), None)
    for item in replacement.nodes:
        if item.definition is constant_op:
            array = item.attrs["value"].array
            made = array.astype(dtype) if dtype is not None and array.dtype == example else array
            values[item.outputs[0]] = sweep.constant(made, node)
        else:
            inputs = [values[s] for s in item.inputs]
            values[item.outputs[0]] = sweep.emit(item.definition, inputs, item.attrs, node)
    result, shape = values[replacement.outputs[0]], node.outputs[0].shape
    if result.shape != shape:
        result = sweep.emit(REGISTRY["broadcast_to"], (result,), {"shape": shape}, node)
    return result


def _root(pattern: Graph) -> Node:
    return pattern.nodes[-1]


def _match_node(sweep: Sweep, pattern: Node, node: Node, bound: Bindings) -> Bindings | None:
    if pattern.op != node.op or len(pattern.inputs) != len(node.inputs):
        return None
    found = _match_inputs(sweep, pattern.inputs, node.inputs, bound)
    if found is None and pattern.op in COMMUTATIVE:
        found = _match_inputs(sweep, pattern.inputs, node.inputs[::-1], bound)
    return found


def _match_inputs(
    sweep: Sweep, patterns: Sequence[Symbol], symbols: Sequence[Symbol], bound: Bindings
) -> Bindings | None:
    found: Bindings | None = dict(bound)
    for pattern, symbol in zip(patterns, symbols, strict=True):
        assert found is not None
        found = _match(sweep, pattern, symbol, found)
        if found is None:
            return None
    return found


def _match(sweep: Sweep, pattern: Symbol, symbol: Symbol, bound: Bindings) -> Bindings | None:
    node = pattern.node
    if node is None:
        before = bound.get(pattern)
        if before is not None:
            return bound if before is symbol else None
        if pattern.name[0] == "k" and sweep.uniform(symbol) is None:
            return None
        bound[pattern] = symbol
        return bound
    if node.definition is constant_op:
        return bound if _equals(sweep.uniform(symbol), node.attrs["value"]) else None
    producer = sweep.made.get(symbol)
    return None if producer is None else _match_node(sweep, node, producer, bound)


def _equals(value: Array | None, wanted: Const) -> bool:
    """Whether a value is the pattern's number, the sign of a zero included."""
    if value is None or value != wanted.array:
        return False
    return value.dtype.kind != "f" or bool(np.signbit(value) == np.signbit(wanted.array))
