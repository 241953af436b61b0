"""a * b + c with one rounding on processors that have no instruction for it (x86-64-v2).

libm computes it in integers there: sin of float64 took 400 ns an element with its calls, 13 with this.
The product's rounding error comes from halves of the factors (Dekker, "A floating-point technique for extending the
available precision", 1971), that of the sum from Knuth's two-sum; both are added last. That is exact wherever the
vector functions want an exact remainder, and else within 2**-100 of the larger term before it is rounded. Factors
beyond 2**996 lose the correction.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from llvmlite import ir

from treadle.compile.llvm import loader

SPLIT = 134217729.0  # 2**27 + 1


@cache
def has_fma() -> bool:
    """Whether this processor multiplies and adds in one instruction."""
    features = loader.host()[2].split(",")
    return "+fma" in features or not any(f.lstrip("+-").startswith("sse") for f in features)


def emulated(builder: Any, a: Any, b: Any, c: Any) -> Any:
    """The instructions for float64, without branches; none of them may be merged or taken apart."""
    product = builder.fmul(a, b)
    a1, a2 = _halves(builder, a)
    b1, b2 = _halves(builder, b)
    lost = builder.fsub(builder.fmul(a1, b1), product)
    lost = builder.fadd(builder.fadd(lost, builder.fmul(a1, b2)), builder.fmul(a2, b1))
    lost = _or_zero(builder, builder.fadd(lost, builder.fmul(a2, b2)))
    total = builder.fadd(product, c)
    back = builder.fsub(total, product)
    rest = builder.fadd(builder.fsub(product, builder.fsub(total, back)), builder.fsub(c, back))
    small = builder.fadd(_or_zero(builder, rest), lost)
    # A sum of nothing but zeros keeps its sign.
    none = builder.fcmp_ordered("==", small, ir.Constant(small.type, 0.0))
    return builder.select(none, total, builder.fadd(total, small))


def _halves(builder: Any, x: Any) -> tuple[Any, Any]:
    wide = builder.fmul(x, ir.Constant(x.type, SPLIT))
    high = builder.fsub(wide, builder.fsub(wide, x))
    return high, builder.fsub(x, high)


def _or_zero(builder: Any, x: Any) -> Any:
    return builder.select(builder.fcmp_ordered("==", x, x), x, ir.Constant(x.type, 0.0))
