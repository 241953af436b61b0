"""The rules of algebra, as pairs of functions: what is written first may be computed as what is written second.

A rule holds bit for bit, for NaN, infinities and both zeros too, unless it states a tolerance; what does not hold so
is not here: `x * 0`, `x - x` and `exp(log(x))` stay as they are for floats.
"""

from __future__ import annotations

import numpy as np

from treadle.core.op import Op
from treadle.core.tensor import Symbol, Tensor
from treadle.ops import arithmetic as td
from treadle.ops import comparison as logic
from treadle.ops.convert import operands
from treadle.optimize.match import Matcher, Rule
from treadle.optimize.sweep import Array, Step, Sweep


def never_negative_zero(sweep: Sweep, symbol: Symbol, depth: int = 6) -> bool:
    """Whether no element can be -0.0, as far as the ops just before tell."""
    if symbol.dtype.kind in "biu":
        return True
    node = sweep.made.get(symbol)
    if node is None or depth == 0:
        return False
    value = sweep.uniform(symbol)
    if value is not None:
        return not (value == 0 and np.signbit(value))
    op, inputs = node.op, node.inputs

    def all_of(symbols: tuple[Symbol, ...]) -> bool:
        return all(never_negative_zero(sweep, s, depth - 1) for s in symbols)

    if op in ("exp", "exp2", "square", "abs", "cosh", "sum", "matmul"):  # sums of NumPy and BLAS start at 0.0
        return True
    if op == "add":  # rounding to nearest: x - x is 0.0, so a sum is -0.0 only where both are
        return any(never_negative_zero(sweep, s, depth - 1) for s in inputs)
    if op == "subtract":
        return all_of(inputs[:1])
    if op == "where":
        return all_of(inputs[1:])
    return op in ("reshape", "transpose", "broadcast_to", "slice", "concat", "max", "min") and all_of(inputs)


def _without_negative_zero(values: Array) -> Array:
    return np.where(values == 0, 0, values).astype(values.dtype)


def _power(x: Tensor, exponent: float) -> Tensor:
    """The op itself: `td.pow` sees to exponents of 2 already."""
    op: Op = td.pow.op  # type: ignore[attr-defined]
    return op.bind(tuple(operands((x, exponent), "numeric", "pow")), {})[0]


RULES = (
    # sums
    Rule("x + 0", "add", lambda x: td.add(x, 0), lambda x: x, "iu"),
    Rule(
        "x + 0.0, x never -0.0",
        "add",
        lambda x: td.add(x, 0.0),
        lambda x: x,
        "f",
        guard=never_negative_zero,
        drawn=_without_negative_zero,
    ),
    Rule("x + -0.0", "add", lambda x: td.add(x, -0.0), lambda x: x, "f"),
    Rule("x - 0", "subtract", lambda x: td.subtract(x, 0), lambda x: x),
    Rule("x - x", "subtract", lambda x: td.subtract(x, x), lambda x: 0, "iu"),
    Rule("a + -b", "add", lambda a, b: td.add(a, td.negative(b)), lambda a, b: td.subtract(a, b), "iufc"),
    Rule("a - -b", "subtract", lambda a, b: td.subtract(a, td.negative(b)), lambda a, b: td.add(a, b), "iufc"),
    # signs
    Rule("-(-x)", "negative", lambda x: td.negative(td.negative(x)), lambda x: x, "iufc"),
    Rule(
        "-(x * k)", "negative", lambda x, k: td.negative(td.multiply(x, k)), lambda x, k: td.multiply(x, td.negative(k))
    ),
    Rule(
        "-a * b", "multiply", lambda a, b: td.multiply(td.negative(a), b), lambda a, b: td.negative(td.multiply(a, b))
    ),
    Rule("-a / b", "divide", lambda a, b: td.divide(td.negative(a), b), lambda a, b: td.negative(td.divide(a, b)), "f"),
    Rule("a / -b", "divide", lambda a, b: td.divide(a, td.negative(b)), lambda a, b: td.negative(td.divide(a, b)), "f"),
    Rule("abs(-x)", "abs", lambda x: td.abs(td.negative(x)), lambda x: td.abs(x), "if"),
    Rule("abs(abs(x))", "abs", lambda x: td.abs(td.abs(x)), lambda x: td.abs(x)),
    Rule("square(-x)", "square", lambda x: td.square(td.negative(x)), lambda x: td.square(x)),
    Rule("square(abs(x))", "square", lambda x: td.square(td.abs(x)), lambda x: td.square(x)),
    # products, quotients, powers
    Rule("x * 1", "multiply", lambda x: td.multiply(x, 1), lambda x: x),
    Rule("x * 0", "multiply", lambda x: td.multiply(x, 0), lambda x: 0, "iu"),
    Rule("x / 1", "divide", lambda x: td.divide(x, 1), lambda x: x, "f"),
    # x / 2**n stays: means over 64 and 30 rows share a kernel, and LLVM multiplies where the number is in the text.
    Rule("x * x", "multiply", lambda x: td.multiply(x, x), lambda x: td.square(x)),
    Rule("x ** 0", "pow", lambda x: _power(x, 0), lambda x: 1),
    Rule("x ** 1", "pow", lambda x: _power(x, 1), lambda x: x),
    Rule("x ** 2", "pow", lambda x: _power(x, 2), lambda x: td.square(x), tolerance=2),
    Rule("x ** -1", "pow", lambda x: _power(x, -1.0), lambda x: td.reciprocal(x), "f", tolerance=2),
    # choices
    Rule("maximum(x, x)", "maximum", lambda x: td.maximum(x, x), lambda x: x),
    Rule("minimum(x, x)", "minimum", lambda x: td.minimum(x, x), lambda x: x),
    Rule(
        "where(not c)",
        "where",
        lambda c, a, b: logic.where(logic.logical_not(c), a, b),
        lambda c, a, b: logic.where(c, b, a),
        "biufc",
    ),
    Rule(
        "where(c, where(c, a, b), d)",
        "where",
        lambda c, a, b, d: logic.where(c, logic.where(c, a, b), d),
        lambda c, a, b, d: logic.where(c, a, d),
        "biufc",
    ),
    Rule(
        "where(c, a, where(c, b, d))",
        "where",
        lambda c, a, b, d: logic.where(c, a, logic.where(c, b, d)),
        lambda c, a, b, d: logic.where(c, a, d),
        "biufc",
    ),
    # logic
    Rule("not not c", "logical_not", lambda c: logic.logical_not(logic.logical_not(c)), lambda c: c),
    Rule("c and c", "logical_and", lambda c: logic.logical_and(c, c), lambda c: c),
    Rule("c or c", "logical_or", lambda c: logic.logical_or(c, c), lambda c: c),
    Rule("c and true", "logical_and", lambda c: logic.logical_and(c, True), lambda c: c),
    Rule("c and false", "logical_and", lambda c: logic.logical_and(c, False), lambda c: False),
    Rule("c or false", "logical_or", lambda c: logic.logical_or(c, False), lambda c: c),
    Rule("c or true", "logical_or", lambda c: logic.logical_or(c, True), lambda c: True),
    Rule(
        "not a == b",
        "logical_not",
        lambda a, b: logic.logical_not(logic.equal(a, b)),
        lambda a, b: logic.not_equal(a, b),
        "biufc",
    ),
    Rule(
        "not a != b",
        "logical_not",
        lambda a, b: logic.logical_not(logic.not_equal(a, b)),
        lambda a, b: logic.equal(a, b),
        "biufc",
    ),
    Rule(
        "not a < b",
        "logical_not",
        lambda a, b: logic.logical_not(logic.less(a, b)),
        lambda a, b: logic.greater_equal(a, b),
        "iu",
    ),
    Rule(
        "not a <= b",
        "logical_not",
        lambda a, b: logic.logical_not(logic.less_equal(a, b)),
        lambda a, b: logic.greater(a, b),
        "iu",
    ),
    Rule(
        "not a > b",
        "logical_not",
        lambda a, b: logic.logical_not(logic.greater(a, b)),
        lambda a, b: logic.less_equal(a, b),
        "iu",
    ),
    Rule(
        "not a >= b",
        "logical_not",
        lambda a, b: logic.logical_not(logic.greater_equal(a, b)),
        lambda a, b: logic.less(a, b),
        "iu",
    ),
)

_matcher = Matcher(RULES)
algebra = Step(_matcher, may=_matcher.may)
