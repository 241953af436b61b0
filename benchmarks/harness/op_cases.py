"""Cases for `never_slower.py`: every op of the registry with representative arguments, and the same in plain NumPy."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable
from typing import Any

import numpy as np

import treadle as td
import treadle.ops
from harness.op_inputs import (
    Array,
    Case,
    Make,
    between,
    definite,
    matrices,
    names,
    normal,
    side,
    square,
    truths,
    whole,
)
from harness.op_moves import moving
from harness.op_programs import programs
from treadle.core.op import REGISTRY, Op

# Ops that have no numeric work to compare: state, staging, control flow, effects, strings, or views with nothing to do.
WITHOUT = set(
    names(
        "constant dim read identity stop_gradient call cond checkpoint checkpoint_eager while custom_gradient "
        "custom_gradient_eager print assert py_function join upper lower strip str_length zeros_of fill_rows "
        "first_rows real imag conj positive random_between raise "
        "reshape_as row place_row put_rows_at open_axis with_room without_row zero_row_between moved_row row_numbers"
    )
)


INPUTS: dict[str, Make] = {
    **dict.fromkeys(names("exp expm1 exp2 sinh cosh sigmoid tanh erf erfc sin cos tan atan asinh"), normal()),
    **dict.fromkeys(names("log log1p log2 log10 sqrt rsqrt reciprocal"), between(0.1, 9.0)),
    **dict.fromkeys(names("asin acos atanh erfinv"), between(-0.9, 0.9)),
    "acosh": between(1.1, 9.0),
    **dict.fromkeys(names("lgamma digamma polygamma1 polygamma2 polygamma3"), between(0.1, 9.0)),
    "pow": between(0.1, 3.0, 2),
    "bitwise_invert": whole(-1000, 1000),
    **dict.fromkeys(names("bitwise_and bitwise_or bitwise_xor"), whole(-1000, 1000, 2)),
    **dict.fromkeys(names("bitwise_left_shift bitwise_right_shift"), whole(0, 20, 2)),
    **dict.fromkeys(names("logical_and logical_or logical_xor"), truths(2)),
    "logical_not": truths(1),
    "where": lambda rng, n: [rng.random(n) < 0.5, *normal(2)(rng, n)],
}
TWO = names(
    "equal not_equal less less_equal greater greater_equal add subtract multiply divide floor_divide remainder maximum "
    "minimum hypot copysign nextafter logaddexp atan2"
)


def elementwise() -> list[Case]:
    """The elementwise ops: NumPy's function is the op's own eager body."""
    found = []
    for name, op in REGISTRY.items():
        if op.family == "elementwise" and name not in WITHOUT and name != "astype":
            make = INPUTS.get(name) or normal(2 if name in TWO else 1)
            found.append(Case(name, make, plainly(op), op.body))
    return found


def plainly(op: Op) -> Callable[..., Any]:
    """The call with as many positional arguments as the op has."""
    body = op.body
    if isinstance(body, np.ufunc):
        count = body.nin
    else:
        given = inspect.signature(body).parameters.values()
        count = 3 if op.name == "where" else sum(p.kind is not p.KEYWORD_ONLY for p in given)
    return [
        lambda x: op.bind((x,), {})[0],
        lambda x, y: op.bind((x, y), {})[0],
        lambda x, y, z: op.bind((x, y, z), {})[0],
    ][count - 1]


def of_other_dtypes() -> list[Case]:
    """Elementwise work on integers and complex numbers, and powers with a number as the exponent."""
    small, large = whole(1, 1000, 2, "int32"), whole(1, 1000, 2)
    turns: Make = lambda rng, n: [(a + 1j * a[::-1]).astype(np.complex64) for a in normal(2)(rng, n)]  # noqa: E731
    return [
        Case("add int32", small, lambda a, b: a + b, np.add),
        Case("multiply int64", large, lambda a, b: a * b, np.multiply),
        Case("floor_divide int32", small, lambda a, b: a // b, np.floor_divide),
        Case("floor_divide int64", large, lambda a, b: a // b, np.floor_divide),
        Case("remainder int32", small, lambda a, b: a % b, np.remainder),
        Case("remainder uint8", whole(1, 200, 2, "uint8"), lambda a, b: a % b, np.remainder),
        Case("maximum int64", large, lambda a, b: td.maximum(a, b), np.maximum),
        Case("sum int64", whole(0, 9), lambda x: td.sum(x), np.sum),
        Case("multiply complex64", turns, lambda a, b: a * b, np.multiply),
        Case("exp float64", lambda rng, n: [rng.normal(size=n)], lambda x: td.exp(x), np.exp),
        Case("pow cube", normal(), lambda x: x**3, lambda x: x**3),
        Case("pow int64 cube", whole(-9, 9), lambda x: x**3, lambda x: x**3),
        Case("polygamma of order 1", between(0.1, 9.0), lambda x: td.polygamma(1, x), _trigamma, op="polygamma1"),
        Case("polygamma of order 4", between(0.1, 9.0), lambda x: td.polygamma(4, x), _of_order_4),
    ]


def _trigamma(x: Array) -> Array:
    from scipy.special import zeta

    return np.asarray(zeta(2, x.astype(np.float64)), np.float32)


def _of_order_4(x: Array) -> Array:
    from scipy.special import polygamma

    return np.asarray(polygamma(4, x.astype(np.float64)), np.float32)


def along(reduce: Callable[..., Any], axis: int | None) -> Callable[..., Any]:
    """A reduction as a function of the tensor alone."""
    return lambda x: reduce(x, axis=axis)


def reducing() -> list[Case]:
    """Reductions, running sums, orders, products."""
    plane, found = normal(1, square), []
    for name in ("sum", "prod", "max", "min", "argmax", "argmin"):
        mine, theirs = getattr(td, name), getattr(np, name)
        found.append(Case(name, normal(), along(mine, None), theirs))
        for axis in (0, 1):
            found.append(
                Case(
                    f"{name} axis {axis}",
                    plane,
                    along(mine, axis),
                    lambda x, theirs=theirs, axis=axis: theirs(x, axis=axis),
                )
            )
    rolled = normal(2, lambda n: (n,))
    batch = normal(2, matrices)
    heads: Make = lambda rng, n: [  # noqa: E731
        rng.normal(size=(max(n // 1600, 1), 10, 4, 10)).astype(np.float32) for _ in range(2)
    ]
    vector: Make = lambda rng, n: [*plane(rng, n), rng.normal(size=side(n)).astype(np.float32)]  # noqa: E731
    return [
        *found,
        Case("any", truths(1), lambda x: td.any(x & td.logical_not(x)), lambda x: np.any(x & ~x)),
        Case("all", truths(1), lambda x: td.all(x | td.logical_not(x)), lambda x: np.all(x | ~x)),
        Case("cumsum", normal(), lambda x: td.cumsum(x), np.cumsum),
        Case("cumsum rows", plane, lambda x: td.cumsum(x, 0), lambda x: np.cumsum(x, 0)),
        Case("cumprod", between(0.99, 1.01), lambda x: td.cumprod(x), np.cumprod),
        Case("cummax", normal(), lambda x: td.cummax(x), np.maximum.accumulate),
        Case("cummin rows", plane, lambda x: td.cummin(x, 0), lambda x: np.minimum.accumulate(x, 0), op="cummin"),
        Case("logcumsumexp", normal(), lambda x: td.logcumsumexp(x), np.logaddexp.accumulate),
        Case("matmul", normal(2, square), lambda a, b: td.matmul(a, b), np.matmul),
        Case("matmul transposed", normal(2, square), lambda a, b: a @ td.transpose(b), lambda a, b: a @ b.T),
        Case("matmul vector", vector, lambda a, b: td.matmul(a, b), np.matmul),
        Case("matmul dot", rolled, lambda a, b: td.matmul(a, b), np.matmul),
        Case("matmul batch", batch, lambda a, b: td.matmul(a, b), np.matmul),
        Case("matmul_add", normal(4, square), lambda a, b, c, d: a @ b + c @ d, lambda a, b, c, d: a @ b + c @ d),
        Case("matmul heads", heads, _scores, lambda a, b: a.transpose(0, 2, 1, 3) @ b.transpose(0, 2, 3, 1)),
        Case(
            "matmul integers",
            lambda rng, n: [rng.integers(0, 9, square(min(n, 10_000))) for _ in range(2)],
            lambda a, b: td.matmul(a, b),
            np.matmul,
        ),
        Case("sort", normal(), lambda x: td.sort(x), np.sort),
        Case("argsort", normal(), lambda x: td.argsort(x), lambda x: np.argsort(x, kind="stable")),
        Case("searchsorted", normal(2), lambda a, b: td.searchsorted(td.sort(a), b), _searchsorted),
        Case("isin", whole(0, 1000, 2), lambda a, b: td.isin(a, b), np.isin),
    ]


def _scores(a: Any, b: Any) -> Any:
    return td.transpose(a, (0, 2, 1, 3)) @ td.transpose(b, (0, 2, 3, 1))


def _searchsorted(a: Array, b: Array) -> Array:
    return np.searchsorted(np.sort(a), b)


def factorizing() -> list[Case]:
    """Linear algebra on batches of small matrices, as NumPy's LAPACK does them."""
    plain = normal(1, matrices)
    both: Make = lambda rng, n: [*definite(rng, n), rng.normal(size=(n // 100, 10, 2))]  # noqa: E731
    return [
        Case("inv", definite, lambda x: td.linalg.inv(x), np.linalg.inv),
        Case("solve", both, lambda a, b: td.linalg.solve(a, b), np.linalg.solve),
        Case("det", definite, lambda x: td.linalg.det(x), np.linalg.det),
        Case("slogdet", definite, lambda x: td.linalg.slogdet(x), np.linalg.slogdet),
        Case("cholesky", definite, lambda x: td.linalg.cholesky(x), np.linalg.cholesky),
        Case("eigh", definite, lambda x: td.linalg.eigh(x)[0], lambda x: np.linalg.eigh(x)[0]),
        Case("qr", plain, lambda x: td.abs(td.linalg.qr(x)[1]), lambda x: np.abs(np.linalg.qr(x)[1])),
        Case("svd", plain, lambda x: td.linalg.svd(x)[1], lambda x: np.linalg.svd(x)[1]),
        Case("pinv", definite, lambda x: td.linalg.pinv(x), np.linalg.pinv),
        Case("matrix_rank", plain, lambda x: td.linalg.matrix_rank(x), np.linalg.matrix_rank),
    ]


def drawing() -> list[Case]:
    """Random numbers, beside NumPy's default generator."""
    rng, one = np.random.default_rng(0), whole(0, 2)

    def case(name: str, mine: Callable[..., Any], theirs: Callable[..., Any]) -> Case:
        return Case(f"random_{name}", one, lambda x: mine(x.shape), lambda x: theirs(x.shape), random=True)

    return [
        case("uniform", td.random.uniform, lambda shape: rng.random(shape, np.float32)),
        case("normal", td.random.normal, lambda shape: rng.standard_normal(shape, np.float32)),
        case("exponential", td.random.exponential, lambda shape: rng.standard_exponential(shape, np.float32)),
        case("integers", lambda shape: td.random.integers(shape, 0, 100), lambda shape: rng.integers(0, 100, shape)),
        Case(
            "random_uniform bernoulli",
            one,
            lambda x: td.random.bernoulli(x.shape, 0.3),
            lambda x: rng.random(x.shape, np.float32) < 0.3,
            random=True,
        ),
        Case(
            "random_permutation",
            one,
            lambda x: td.random.permutation(x.shape[0]),
            lambda x: rng.permutation(x.shape[0]),
            random=True,
        ),
    ]


def cases() -> list[Case]:
    """All cases."""
    for module in pkgutil.iter_modules(treadle.ops.__path__):
        importlib.import_module(f"treadle.ops.{module.name}")
    return [*elementwise(), *of_other_dtypes(), *moving(), *reducing(), *factorizing(), *drawing(), *programs()]


def uncovered() -> list[str]:
    """Ops of the registry that no case is for."""
    covered = {case.covers for case in cases()} | WITHOUT
    return [name for name in REGISTRY if name not in covered and not name.endswith("_rows")]  # rows: lists that grow
