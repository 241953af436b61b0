"""Every op of the registry: documented, inferred as it computes, the same traced, differentiated to second order.

Elementwise ops and reductions are drawn from their declarations; the rest has a case each. A new op without one fails
`test_every_op_is_reached`.
"""

from __future__ import annotations

import functools

import numpy as np
import pytest
from common import agrees, check_gradients, leaves, traced

import treadle as td
import treadle.ops.special  # noqa: F401  (imported when first used: its ops are to be found)
from treadle.autodiff.functional import grad
from treadle.control import rows
from treadle.core.op import REGISTRY
from treadle.errors import DTypeError
from treadle.ops.linalg import matmul_add_op

DTYPES = [np.dtype(name) for name in ("bool", "int8", "int32", "int64", "uint8", "uint64", "f4", "f8", "c8", "c16")]
SHAPES = {
    1: [((),), ((1,),), ((3,),), ((2, 3),), ((0,),), ((2, 0, 1),)],
    2: [((), ()), ((3,), ()), ((2, 1), (3,)), ((2, 3), (2, 3)), ((0,), (1,)), ((1, 0), (2, 1))],
    3: [((2,), (), (3, 1)), ((2, 3), (3,), (2, 1)), ((0,), (), (1,))],
}
# Where a function is smooth, when that is not (-2, 2) without a neighbourhood of 0.
DOMAINS = {
    **dict.fromkeys(("log", "log2", "log10", "sqrt", "rsqrt", "log1p", "reciprocal"), (0.3, 3.0)),
    **dict.fromkeys(("asin", "acos", "atanh"), (-0.8, 0.8)),
    "acosh": (1.3, 3.0),
    "erfinv": (-0.8, 0.8),
    **dict.fromkeys(("lgamma", "digamma", "polygamma1", "polygamma2", "polygamma3"), (0.4, 4.0)),
    "pow": (0.5, 2.5),
}
ELEMENTWISE = sorted(
    name
    for name, op in REGISTRY.items()
    if op.family == "elementwise" and name != "astype" and not name.startswith("random_")  # tested in test_random
)


def public(name):
    if name.startswith("polygamma"):
        return functools.partial(td.polygamma, int(name.removeprefix("polygamma")))
    return getattr(td, name)


def arity(op):
    made = {"where": 3}.get(op.name)
    if made is None:
        made = len(op.vjp) if isinstance(op.vjp, tuple) else public(op.name).__code__.co_argcount
    return made if op.name not in ("round", "pow") else {"round": 1, "pow": 2}[op.name]


def draw(rng, shape, dtype, low=-5, high=5):
    if dtype.kind == "b":
        return rng.random(shape) < 0.5
    if dtype.kind in "iu":
        return rng.integers(0 if dtype.kind == "u" else low, high, shape).astype(dtype)
    values = rng.normal(size=shape) * 2
    if dtype.kind == "c":
        values = values + 1j * rng.normal(size=shape)
    return np.asarray(values, dtype)


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_elementwise_infer_and_trace(name):
    op, rng = REGISTRY[name], np.random.default_rng(0)
    count = arity(op)
    taken = 0
    for dtype in DTYPES:
        for shapes in SHAPES[count]:
            arrays = [draw(rng, shape, dtype) for shape in shapes]
            try:
                with np.errstate(all="ignore"):
                    public(name)(*[td.asarray(a) for a in arrays])
            except DTypeError:
                continue
            agrees(public(name), *[td.asarray(a) for a in arrays])
            taken += 1
    assert taken >= 6


@pytest.mark.parametrize("name", [n for n in ELEMENTWISE if REGISTRY[n].vjp is not None])
def test_elementwise_gradients(name):
    op, rng = REGISTRY[name], np.random.default_rng(1)
    low, high = DOMAINS.get(name, (-2.0, 2.0))
    for shapes in SHAPES[arity(op)][1:4]:
        arrays = [rng.uniform(low, high, shape) for shape in shapes]
        if low < 0:
            arrays = [np.where(np.abs(a) < 0.2, a + 0.4, a) for a in arrays]
        if name == "where":
            condition = td.asarray(arrays[0] > 0)
            check_gradients(lambda a, b: td.where(condition, a, b), *arrays[1:])
        elif name in ("remainder", "copysign", "real", "imag", "conj"):
            order = {"remainder": 1}.get(name, 1)
            if name in ("remainder", "copysign"):
                check_gradients(public(name), *arrays, order=order)
        elif any(rule is None for rule in (op.vjp if isinstance(op.vjp, tuple) else (op.vjp,))):
            pytest.fail("an op of which one input passes no gradient needs a case of its own")
        else:
            check_gradients(public(name), *arrays)


@pytest.mark.parametrize("name", ["sum", "prod", "max", "min", "any", "all", "argmax", "argmin"])
def test_reductions(name):
    op, rng = REGISTRY[name], np.random.default_rng(2)
    assert op.family == "reduction"
    cases = [((), None), ((3,), 0), ((2, 3), None), ((2, 3), 1), ((2, 3, 2), 0), ((1, 4), -1), ((0, 2), 1)]
    if not name.startswith("arg"):
        cases += [((2, 3, 2), (0, 2)), ((2, 3), ())]
    for dtype in DTYPES:
        if dtype.kind == "c" and name in ("max", "min", "argmax", "argmin"):
            continue
        for shape, axis in cases:
            for keepdims in (False, True):
                x = draw(rng, shape, dtype)
                if 0 in shape and axis is None:
                    continue
                agrees(lambda t: public(name)(t, axis=axis, keepdims=keepdims), td.asarray(x))
                with np.errstate(all="ignore"):
                    got = public(name)(td.asarray(x), axis=axis, keepdims=keepdims).numpy()
                    want = getattr(np, name)(x, axis=axis, keepdims=keepdims)
                assert got.shape == np.shape(want)
                np.testing.assert_allclose(got, want, rtol=1e-5)
    if op.vjp is not None:
        for shape, axis in cases:
            x = rng.uniform(0.5, 2, shape) * rng.choice([-1, 1], shape)
            check_gradients(lambda t: public(name)(t, axis=axis), x)


F8 = td.float64
X = np.array([[0.3, -1.2, 0.7], [1.9, 0.4, -0.6]])
S = np.array([[2.0, 0.3, 0.1], [0.2, 1.5, -0.4], [0.5, 0.1, 3.0]])
ROWS = td.asarray([1, 0, 1])
COLUMNS = td.asarray([[2, 0, 1], [1, 1, 2]])
LEFT, RIGHT = td.asarray("left"), td.asarray(" Right ")


def symmetric(x):
    return x @ td.matrix_transpose(x)


# What reaches each op that is not drawn from its declaration: a function of one float64 array, the array, and whether
# it has gradients to check.
CASES = {
    "astype": (lambda x: td.astype(td.real(td.astype(x, td.complex128)), F8), X, True),
    "astype int": (lambda x: td.astype(x, td.int32), X, False),
    "stop_gradient": (lambda x: td.stop_gradient(x) * x, X, False),
    "constant": (lambda x: x + td.asarray([1.0, 2.0, 3.0]), X, True),
    "full": (lambda x: x + td.full((2, 3), 2.0), X, True),
    "arange": (lambda x: x * td.arange(3) + td.arange(1.0, 2.5, 0.5), X, True),
    "linspace": (lambda x: x * td.linspace(0, 1, 3), X, True),
    "linspace of tensors": (lambda x: td.linspace(x[0, 0], x[1, 2], 4), X, True),
    "eye": (lambda x: x @ td.eye(3, dtype=F8), X, True),
    "cumsum": (lambda x: td.cumsum(x, 1) + td.cumsum(x, 0, reverse=True), X, True),
    "cummax": (lambda x: td.cummax(x, 1) * td.cummax(x, reverse=True)[:3], X, True),
    "cummin": (lambda x: td.cummin(x, 0) * td.cummin(x, 1, reverse=True), X, True),
    "logcumsumexp": (lambda x: td.logcumsumexp(x, 1) * td.logcumsumexp(x, 0, reverse=True), X, True),
    "cumprod": (lambda x: td.cumulative_prod(x, axis=1) + td.cumulative_prod(x * (x > 0), axis=0), X, True),
    "mean var std": (lambda x: td.mean(x, 0) + td.var(x, 0, correction=1) + td.std(x, 0), X, True),
    "logsumexp": (lambda x: td.logsumexp(x, axis=1), X, True),
    "prod with zeros": (lambda x: td.prod(td.where(x > 1, x - td.stop_gradient(x), x), axis=1), X, False),
    "complex parts": (lambda x: td.real((x + 1j * x * x) * td.conj(1j * x)) + td.imag(x * (1j + x)), X, True),
    "complex abs": (lambda x: td.abs(x + 1j * x * x) + td.real(td.sign(x + 2j)), X, True),
    "clip": (lambda x: td.clip(x, -0.5, 1.0), X, True),
    "slice": (lambda x: x[::-1, 1:] * x[0, ::2], X, True),
    "reshape": (lambda x: td.reshape(x, (3, 2)), X, True),
    "transpose": (lambda x: td.transpose(x) @ x, X, True),
    "broadcast_to": (lambda x: td.broadcast_to(x, (2, 2, 3)), X, True),
    "concat": (lambda x: td.concat([x, x * x], axis=1), X, True),
    "gather": (lambda x: x[ROWS] * x[ROWS, 1:2], X, True),
    "take_along_axis": (lambda x: td.take_along_axis(x, COLUMNS, axis=1), X, True),
    "scatter": (
        lambda x: x.at[ROWS].add(x[:1] * x[:1]) + x.at[0].set(x[1] * 2.0) + x.at[td.asarray(1)].set(0.0),
        X,
        True,
    ),
    "dynamic_slice": (lambda x: td.dynamic_slice(x, td.asarray([0, 1]), (2, 2)), X, True),
    "dynamic_update_slice": (lambda x: td.dynamic_update_slice(x, x[:1, :2] ** 2, td.asarray([1, 0])), X, True),
    "matmul": (lambda x: x @ td.matrix_transpose(x * x), X, True),
    "windows": (lambda x: td.nn.conv2d(td.reshape(x, (1, 2, 3, 1)), td.reshape(x[:, :2], (2, 2, 1, 1))), X, True),
    "block_max": (lambda x: td.nn.max_pool2d(td.reshape(x * x, (1, 2, 3, 1)), (2, 1)), X, True),
    "sort": (lambda x: td.sort(x, axis=1), X, True),
    "argsort": (lambda x: td.argsort(x, axis=1), X, False),
    "searchsorted": (lambda x: td.searchsorted(td.sort(x[0]), x[1]), X, False),
    "isin": (lambda x: td.isin(x, x[0]), X, False),
    "inv": (lambda x: td.linalg.inv(x), S, True),
    "solve": (lambda x: td.linalg.solve(x, x[0]), S, True),
    "det": (lambda x: td.linalg.det(x), S, True),
    "slogdet": (lambda x: td.linalg.slogdet(x)[1], S, True),
    "cholesky": (lambda x: td.linalg.cholesky(symmetric(x)), S, True),
    "eigh": (lambda x: td.linalg.eigh(symmetric(x))[0], S, True),
    "qr": (lambda x: td.linalg.qr(x)[1], S, False),
    "svd": (lambda x: td.linalg.svd(x)[1], S, False),
    "pinv": (lambda x: td.linalg.pinv(x), S, False),
    "matrix_rank": (lambda x: td.linalg.matrix_rank(x), S, False),
    "join": (lambda x: (td.strings.join([LEFT, RIGHT]), td.equal(LEFT, RIGHT)), X, False),
    "strings": (lambda x: (td.strings.upper(LEFT), td.strings.lower(RIGHT), td.strings.strip(RIGHT)), X, False),
    "product added": (lambda x: matmul_add_op.bind((x, x @ x.T, x), ADDED)[0], X, True),
    "rows kept": (lambda x: rows.keep(x * x, x[:, 0] > 0), X, True),
    "rows joined": (lambda x: rows.join(rows.keep(td.reshape(x * x, (2, 3, 1)), td.all(x > -9, axis=1)), 2), X, True),
    "leading rows": (lambda x: rows.head(x * x, td.asarray(1)), X, True),
    "row": (lambda x: rows.row_op.bind((rows.keep(x * x, x[:, 0] > -9), td.asarray(1)), {})[0], X, True),
    "count of rows": (lambda x: rows.count_op.bind((rows.keep(x, x[:, 0] > 0),), {})[0], X, False),
    "all rows": (lambda x: rows.certain_op.bind((rows.keep(x, x[:, 0] > 0),), {})[0], X, False),
    "an open axis": (lambda x: rows.opened(x * x, 1), X, True),
    "no rows": (lambda x: (x, rows.no_rows(td.TensorSpec((3,)))), X, False),
    "str_length": (lambda x: td.strings.length(RIGHT), X, False),
}
ADDED = {"transpose_a": True, "transpose_b": False, "alpha": -0.5}
# Ops that hold graphs or have effects, those of tracing itself, and random ones have tests of their own.
# Rows of a stack whose length only running tells appear in gradients of loops: tests/control/test_loop_gradient.py.
ELSEWHERE = {
    "fill_rows",
    "first_rows",
    "joined_rows",
    "put_rows_at",
    "some_rows",
    "zeros_of",
    "constant",
    "dim",
    "read",
    "identity",
} | {
    *("cond", "while", "call", "print", "assert", "py_function", "hook"),
    # Changes of lists that have grown: tests/control, tests/control_flow.
    *(
        "cut_rows",
        "moved_row",
        "row_numbers",
        "same_rows",
        "uncut_rows",
        "with_room",
        "without_row",
        "zero_row_between",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_cases(name):
    f, array, smooth = CASES[name]
    agrees(f, td.asarray(array))
    if smooth:
        check_gradients(f, array)


def test_every_op_is_reached():
    reached = set(ELEMENTWISE) | {"sum", "prod", "max", "min", "any", "all", "argmax", "argmin"}
    for f, array, smooth in CASES.values():
        graphs = [traced(f, td.asarray(array))[1]]
        if smooth:
            graphs.append(traced(grad(lambda x, f=f: td.sum(f(x))), td.asarray(array))[1])
        reached |= {node.op for graph in graphs for node in graph.walk()}
    unreached = {name for name, op in REGISTRY.items() if op.family not in ("effect", "graph")} - reached - ELSEWHERE
    assert not {name for name in unreached if not name.startswith("random_")}


def test_public_functions_are_documented():
    for name in ELEMENTWISE:
        assert public(name).__doc__, name
        assert len(public(name).__doc__.splitlines()[0]) < 121


def test_elementwise_scalar_forms_name_the_operands():
    for name in ELEMENTWISE:
        op = REGISTRY[name]
        if op.scalar is not None:
            for k in range(arity(op)):
                assert f"{{{k}}}" in op.scalar, name
            assert f"{{{arity(op)}}}" not in op.scalar, name


def test_symbolic_sizes_in_reductions():
    n = td.Dim.named("n")
    spec = td.TensorSpec(("n", 3), td.float32).to_spec("_")
    x = td.asarray(np.arange(12, dtype=np.float32).reshape(4, 3))
    f = lambda t: (td.sum(t, 0), td.mean(t), td.max(t, 1), td.var(t, 0, correction=1), td.argmax(t, 1, keepdims=True))
    results, graph = traced(f, x, specs=[spec])
    assert [s.shape for s in graph.outputs] == [(3,), (), (n,), (3,), (n, 1)]
    for got, want in zip(results, leaves(f(x))):
        np.testing.assert_allclose(got.numpy(), want.numpy(), rtol=1e-6)
