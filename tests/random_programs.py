"""Random programs over tensors: a recipe is drawn by hypothesis and can be played with treadle's ops or with NumPy's.

Values carry a mark that says whether they are exact (small dyadic numbers, integers, bools): only exact ones are
compared, rounded or branched on, so that rounding can never flip a decision between two ways of computing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import strategies as st

import treadle as td
from treadle.ops import sampling

SIZES = [0, 1, 2, 3, 5, 17]
DTYPES = ["float32", "float64", "int32", "int64", "int8", "uint8", "bool"]


@dataclass(frozen=True)
class Step:
    """One op: its name, which earlier values it takes, and what else it is given."""

    op: str
    operands: tuple[int, ...]
    extra: Any = None


@dataclass(frozen=True)
class Recipe:
    """Inputs as arrays, steps, and which values come out."""

    inputs: tuple[np.ndarray, ...]
    steps: tuple[Step, ...]
    outputs: tuple[int, ...]

    def __repr__(self) -> str:
        lines = [f"  x{k} = {a.dtype}{a.shape} strides {a.strides}: {a.tolist()}" for k, a in enumerate(self.inputs)]
        n = len(self.inputs)
        lines += [
            f"  x{n + k} = {s.op}({', '.join(f'x{o}' for o in s.operands)}, {s.extra})"
            for k, s in enumerate(self.steps)
        ]
        return "Recipe(\n" + "\n".join(lines) + f"\n  -> {self.outputs})"


def _np_float(x: np.ndarray) -> np.ndarray:
    return x if x.dtype.kind == "f" else x.astype(np.float32)


UNARY_FLOAT: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "tanh": (td.tanh, np.tanh),
    "exp": (lambda x: td.exp(td.clip(x, -3, 3)), lambda x: np.exp(np.clip(x, -3, 3))),
    "log1p": (lambda x: td.log1p(td.abs(x)), lambda x: np.log1p(np.abs(x))),
    "sqrt": (lambda x: td.sqrt(td.abs(x)), lambda x: np.sqrt(np.abs(x))),
    "sin": (td.sin, np.sin),
    "sigmoid": (td.sigmoid, lambda x: 1 / (1 + np.exp(-x))),
}
UNARY_EXACT = {"negative": (lambda x: -x, lambda x: -x), "abs": (td.abs, np.abs), "square": (td.square, np.square)}
ROUNDING = {"floor": (td.floor, np.floor), "ceil": (td.ceil, np.ceil), "round": (td.round, np.round)}
BINARY = {
    "add": (td.add, np.add),
    "subtract": (td.subtract, np.subtract),
    "multiply": (td.multiply, np.multiply),
    "maximum": (td.maximum, np.maximum),
    "minimum": (td.minimum, np.minimum),
}
INTEGER = {"floor_divide": (td.floor_divide, np.floor_divide), "remainder": (td.remainder, np.remainder)}
COMPARE = {
    "less": (td.less, np.less),
    "equal": (td.equal, np.equal),
    "greater_equal": (td.greater_equal, np.greater_equal),
}
REDUCE = {"sum": (td.sum, np.sum), "mean": (td.mean, np.mean), "max": (td.max, np.max), "min": (td.min, np.min)}


def _softmax(m: Any, x: Any, axis: int) -> Any:
    e = m.exp(x - m.max(x, axis=axis, keepdims=True))
    return e / m.sum(e, axis=axis, keepdims=True)


def _normalise(m: Any, x: Any, axis: int) -> Any:
    centred = x - m.mean(x, axis=axis, keepdims=True)
    return centred / m.sqrt(m.mean(centred * centred, axis=axis, keepdims=True) + 1) * 3


def _log_softmax(m: Any, x: Any, axis: int) -> Any:
    total = m.log(m.sum(m.exp(x), axis=axis))
    return x - m.reshape(total, tuple(1 if k == axis else size for k, size in enumerate(x.shape)))


def _weighted(m: Any, x: Any, axis: int) -> Any:
    return m.sum(_softmax(m, x, axis) * x, axis=axis)


def _blend(m: Any, x: Any, axis: int) -> Any:
    e = m.exp(x)
    other = m.tanh(m.flip(x, axis=axis)) * e
    return m.sin(m.flip(e, axis=axis)) + e / m.sum(e, axis=axis, keepdims=True) - other


def _losses(m: Any, x: Any, axis: int) -> Any:
    e = m.exp(x)
    losses = m.log(m.sum(e, axis=axis))
    others = tuple(k for k in range(len(x.shape)) if k != axis)
    return m.sum(e * 2, axis=others) + m.sum(losses)


def _many_rows(m: Any, x: Any, axis: int) -> Any:
    row = m.max(x, axis=tuple(range(len(x.shape) - 1)))
    size = x.shape[-1]
    many = np.linspace(-1, 1, (4800 // size + 1) * size).astype(str(x.dtype)).reshape(-1, size)
    shifted = m.flip(many + row, axis=0)
    return m.sum(shifted, axis=0) / 64 + m.max(shifted, axis=0)


def _picked(m: Any, x: Any, axis: int) -> Any:
    rows = m.take(x, np.arange(2 * x.shape[0])[::-1] % x.shape[0], axis=0) * 2
    return rows - m.mean(rows, axis=-1, keepdims=True)


def _masked(m: Any, x: Any, axis: int) -> Any:
    below = m.expand_dims(m.arange(x.shape[-2]), axis=1) >= m.arange(x.shape[-1])
    return _softmax(m, m.where(below, x, -9), axis) + m.arange(x.shape[-1])


def _standard(m: Any, x: Any, axis: int) -> Any:
    return m.var(m.flip(x, axis=0)) + x


def _shifted(m: Any, x: Any, axis: int) -> Any:
    long = m.sin(m.expand_dims(x, axis=-1) * np.linspace(1, 2, 40).astype(str(x.dtype)))
    frame = m.pad(long, ((0, 0),) * (len(x.shape) - 1) + ((1, 0), (2, 1)))
    near = m.roll(long, 1, axis=-1) + m.roll(long, -1, axis=axis) * frame[..., 1:, 1:-2]
    return m.sum(near) / 64 + near[..., 5]


def _framed(m: Any, x: Any, axis: int) -> Any:
    return m.pad(m.sin(x) * 2, tuple((k == axis, 1) for k in range(len(x.shape))))


def _scattered(m: Any, x: Any, axis: int) -> Any:
    updates = m.sin(m.expand_dims(x, axis=-1) * np.linspace(1, 2, 17).astype(str(x.dtype)))
    places = np.arange(x.shape[0]) % 2
    if m is td:
        return td.zeros((2, *updates.shape[1:]), dtype=x.dtype).at[places].add(updates * 2)[..., 3]
    sums = np.zeros((2, *updates.shape[1:]), x.dtype)
    np.add.at(sums, places, updates * 2)
    return sums[..., 3]


def _beside(m: Any, x: Any, axis: int) -> Any:
    total = m.sum(m.exp(x), axis=axis)
    own = m.sin(x[(0,) * (len(x.shape) - 1)])  # along the last axis of x
    along = np.linspace(1, 2, total.shape[-1]).astype(str(x.dtype))
    return total * along + m.max(x, axis=axis) * m.sum(own) + along * 0.5


def _pairs(m: Any, x: Any, axis: int) -> Any:
    points = m.reshape(m.sin(x), (-1, x.shape[-1]))
    points = (
        m.take(points, np.arange(19) % points.shape[0], axis=0) * np.linspace(1, 2, 19).astype(str(x.dtype))[:, None]
    )
    apart = m.expand_dims(points, axis=1) - m.expand_dims(points, axis=0)
    force = apart * m.expand_dims(m.exp(-m.sum(apart * apart, axis=-1)), axis=2)
    return m.sum(force, axis=0) - m.max(force, axis=1)


def _drawn(m: Any, op: Any, shape: tuple[int, ...], dtype: Any) -> Any:
    """Random numbers from a fixed state, as a pure op."""
    state = np.array([7, 2**32 - 5], np.uint64)
    attrs = {"shape": shape, "dtype": np.dtype(str(dtype))}
    return op.bind((td.asarray(state),), attrs)[0] if m is td else op.body(state, **attrs)[0]


def _noisy(m: Any, x: Any, axis: int) -> Any:
    kept = m.where(_drawn(m, sampling.uniform_op, x.shape, x.dtype) > 0.25, m.sin(x), 0)
    first = m.expand_dims(m.max(x, axis=tuple(range(1, len(x.shape)))), axis=-1)
    rows = m.max(_drawn(m, sampling.exponential_op, (x.shape[0], 80), x.dtype) * first, axis=-1)
    noise = m.mean(m.exp(_drawn(m, sampling.normal_op, (x.shape[0], 80), x.dtype) + first))
    return kept + m.sum(rows) / 64 + noise / 64 + _drawn(m, sampling.normal_op, x.shape, x.dtype) * x


def _running(m: Any, x: Any, axis: int) -> Any:
    total = m.cumsum(m.sin(x) * 2 + 1, axis=axis)
    return m.cumprod(m.cos(x) * 0.5, axis=-1) - total / x.shape[axis]


# Work on rows as it occurs in models, the same with either module; each on numbers from -3 to 3.
ROWS: dict[str, Callable[[Any, Any, int], Any]] = {
    "softmax": _softmax, "normalise": _normalise, "log softmax": _log_softmax, "weighted": _weighted, "blend": _blend,
    "losses": _losses, "many rows": _many_rows, "picked": _picked, "masked": _masked,
    "standard": _standard, "shifted": _shifted, "scattered": _scattered, "beside": _beside,
    "framed": _framed, "pairs": _pairs, "running": _running, "noisy": _noisy,
}  # fmt: skip


@dataclass(frozen=True)
class _Value:
    shape: tuple[int, ...]
    dtype: str
    exact: bool


def _branch(pred: Any, x: Any) -> Any:
    return td.cond(pred, lambda: x * 2, lambda: x - 1)


def _loop(x: Any, times: int) -> Any:
    return td.while_loop(lambda k, v: k < times, lambda k, v: (k + 1, v + k), (0, x))[1]


def play(recipe: Recipe, values: list[Any], numpy: bool) -> list[Any]:
    """The outputs of a recipe, by treadle's ops or by NumPy's."""
    values = list(values)
    side = 1 if numpy else 0
    for step in recipe.steps:
        args = [values[k] for k in step.operands]
        values.append(_apply(step, args, side))
    return [values[k] for k in recipe.outputs]


TABLES: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    **UNARY_FLOAT, **UNARY_EXACT, **ROUNDING, **BINARY, **INTEGER, **COMPARE,
}  # fmt: skip


def _apply(step: Step, args: list[Any], side: int) -> Any:
    op, extra = step.op, step.extra
    with np.errstate(all="ignore"):
        if op in TABLES:
            return TABLES[op][side](*args)
        if op in REDUCE:
            axis, keepdims = extra
            if side and op == "sum" and args[0].dtype.kind in "bi":
                return np.sum(args[0], axis=axis, keepdims=keepdims, dtype=np.int64)
            if side and op == "mean":
                return np.mean(_np_float(args[0]), axis=axis, keepdims=keepdims)
            return REDUCE[op][side](args[0], axis=axis, keepdims=keepdims)
        if op == "rows":
            m = np if side else td
            return ROWS[extra[0]](m, m.clip(args[0], -3, 3), extra[1])
        if op == "cast":
            return args[0].astype(extra)
        if op == "where":
            return (np.where if side else td.where)(*args)
        if op == "transpose":
            return np.transpose(args[0], extra) if side else td.permute_dims(args[0], extra)
        if op == "reshape":
            return (np.reshape if side else td.reshape)(args[0], extra)
        if op == "slice":
            return args[0][extra]
        if op == "flip":
            return (np.flip if side else td.flip)(args[0], axis=extra)
        if op == "broadcast":
            return (np.broadcast_to if side else td.broadcast_to)(args[0], extra)
        if op == "concat":
            return np.concatenate(args, axis=extra) if side else td.concat(args, axis=extra)
        if op == "take":
            indices, axis = extra
            return np.take(args[0], indices, axis=axis) if side else td.take(args[0], np.array(indices), axis=axis)
        if op == "matmul":
            return args[0] @ args[1]
        if op == "branch":
            return (args[1] * 2 if args[0] else args[1] - 1) if side else _branch(args[0], args[1])
        if op == "loop":
            if not side:
                return _loop(args[0], extra)
            for k in range(extra):
                args[0] = args[0] + args[0].dtype.type(k)
            return args[0]
    raise KeyError(op)


@st.composite
def arrays(draw: Any, shape: tuple[int, ...], dtype: str) -> np.ndarray:
    """An array of small exact numbers, sometimes not contiguous."""
    layout = draw(st.sampled_from(["plain", "plain", "strided", "transposed", "reversed"]))
    size = int(np.prod(shape, dtype=int))
    seed = draw(st.integers(0, 2**16))
    rng = np.random.default_rng(seed)
    numbers = rng.integers(-8, 9, size).astype(np.float64)
    if dtype.startswith("float"):
        numbers = numbers / 4
    array = (numbers > 0) if dtype == "bool" else numbers.astype(dtype)
    array = array.reshape(shape)
    if not shape or layout == "plain":
        return array
    if layout == "strided":
        wide = np.zeros((*shape[:-1], 2 * shape[-1]), array.dtype)
        wide[..., ::2] = array
        return wide[..., ::2]
    if layout == "transposed":
        return np.ascontiguousarray(array.T).T
    return np.ascontiguousarray(array[::-1])[::-1]


@st.composite
def recipes(draw: Any, max_steps: int = 7, control: bool = True, rows: str = "") -> Recipe:
    """A random program; with `rows`, one that begins with this work on the rows of an array that has some."""
    sizes = st.lists(st.sampled_from([3, 5, 17, 2]), min_size=2, max_size=3)
    base = tuple(draw(sizes if rows else st.lists(st.sampled_from(SIZES), max_size=3)))
    inputs, values = [], []
    for _ in range(draw(st.integers(1, 3))):
        kind = draw(st.integers(0, 4)) if inputs or not rows else 0
        if kind == 3:
            shape = tuple(1 if draw(st.booleans()) else s for s in base)
        elif kind == 4:  # what fits to a reduction of the others that drops axes
            shape = tuple(s for s in base if draw(st.booleans()))
        else:
            shape = base if kind < 2 else base[1:]
        dtype = draw(st.sampled_from(DTYPES[:2] if rows else DTYPES))
        inputs.append(draw(arrays(shape, dtype)))
        values.append(_Value(shape, dtype, True))
    steps: list[Step] = []
    for number in range(draw(st.integers(1, max_steps))):
        first = rows if number == 0 else ""
        made = draw(_row_steps(values, first)) if rows and number < 2 else draw(_steps(values, control))
        if made is not None:
            steps.append(made)
            values.append(_infer(made, values))
    count = len(values)
    outputs = tuple(sorted({count - 1, *draw(st.lists(st.integers(0, count - 1), max_size=2))}))
    return Recipe(tuple(inputs), tuple(steps), outputs)


def _result(op: Callable[..., Any], values: list[_Value], operands: tuple[int, ...], extra: Any, name: str) -> Any:
    stand_ins = [td.asarray(np.ones(values[k].shape, values[k].dtype)) for k in operands]
    return _apply(Step(name, operands, extra), stand_ins, 0)


def _infer(step: Step, values: list[_Value]) -> _Value:
    made = _result(lambda: None, values, step.operands, step.extra, step.op)
    inputs = [values[k] for k in step.operands]
    keeps = step.op not in UNARY_FLOAT and step.op not in (
        "mean",
        "rows",
        "matmul",
        "square",
        "multiply",
        "sum",
        "loop",
        "branch",
    )
    exact = keeps and all(v.exact for v in inputs)
    if step.op in COMPARE or str(made.dtype) in ("int32", "int64", "bool"):
        exact = all(v.exact for v in inputs)
    return _Value(tuple(made.shape), str(made.dtype), exact)


@st.composite
def _steps(draw: Any, values: list[_Value], control: bool) -> Step | None:
    """One step that fits the values there are, or None."""
    k = draw(st.integers(0, len(values) - 1))
    x = values[k]
    number = x.dtype != "bool"
    kinds = ["shape", "shape", "reduce", "cast"]
    if number:
        kinds += ["unary", "unary", "binary", "binary", "binary"]
    if number and control:
        kinds += ["control"]
    if x.dtype.startswith("float") and len(x.shape) > 1 and 0 not in x.shape:
        kinds += ["rows", "rows", "rows"]
    kind = draw(st.sampled_from(kinds))
    if kind == "unary":
        names = [*UNARY_FLOAT, *UNARY_EXACT] if x.dtype.startswith("float") else list(UNARY_EXACT)
        if x.exact and x.dtype.startswith("float"):
            names += list(ROUNDING)
        return Step(draw(st.sampled_from(names)), (k,))
    if kind == "binary":
        return draw(_binary(values, k))
    if kind == "reduce":
        if not x.shape:
            return None
        axes = draw(st.sets(st.integers(0, len(x.shape) - 1), min_size=1))
        axis = None if draw(st.booleans()) else tuple(sorted(axes))
        op = draw(st.sampled_from(["sum", "mean", "max", "min"] if number else ["sum"]))
        if op != "sum" and 0 in x.shape:
            return None
        return Step(op, (k,), (axis, draw(st.booleans())))
    if kind == "rows":
        return draw(_row_steps(values))
    if kind == "cast":
        wanted = draw(st.sampled_from(DTYPES))
        if not x.exact and (not wanted.startswith("float") or wanted > x.dtype):  # no digits where there were none
            return None
        return Step("cast", (k,), wanted)
    if kind == "control":
        flags = [j for j, v in enumerate(values) if v.shape == () and v.dtype == "bool" and v.exact]
        if flags and draw(st.booleans()):
            return Step("branch", (draw(st.sampled_from(flags)), k))
        return Step("loop", (k,), draw(st.integers(0, 3)))
    return draw(_reshaping(values, k))


@st.composite
def _row_steps(draw: Any, values: list[_Value], name: str = "") -> Step:
    fits = [k for k, v in enumerate(values) if v.dtype[0] == "f" and len(v.shape) > 1 and 0 not in v.shape]
    k = draw(st.sampled_from(fits))
    axis = draw(st.integers(0, len(values[k].shape) - 1))
    return Step("rows", (k,), (name or draw(st.sampled_from(list(ROWS))), axis))


@st.composite
def _binary(draw: Any, values: list[_Value], k: int) -> Step | None:
    x = values[k]
    fits = [j for j, v in enumerate(values) if v.dtype == x.dtype and _broadcasts(v.shape, x.shape)]
    j = draw(st.sampled_from(fits))
    names = list(BINARY)
    if x.dtype.startswith("int"):
        names += list(INTEGER)
    if x.exact and values[j].exact:
        names += list(COMPARE)
    flags = [f for f, v in enumerate(values) if v.dtype == "bool" and v.exact and _broadcasts(v.shape, x.shape)]
    if flags:
        names.append("where")
    products = [m for m in fits if len(x.shape) == 2 and len(values[m].shape) == 2 and x.shape[1] == values[m].shape[0]]
    if products:
        names.append("matmul")
    op = draw(st.sampled_from(names))
    if op == "where":
        f = draw(st.sampled_from(flags))
        if not _broadcasts(values[f].shape, np.broadcast_shapes(x.shape, values[j].shape)):
            return None
        return Step(op, (f, k, j))
    if op == "matmul":
        return Step(op, (k, draw(st.sampled_from(products))))
    return Step(op, (k, j))


def _broadcasts(a: tuple[int, ...], b: tuple[int, ...]) -> bool:
    try:
        np.broadcast_shapes(a, b)
    except ValueError:
        return False
    return True


@st.composite
def _reshaping(draw: Any, values: list[_Value], k: int) -> Step | None:
    x = values[k]
    if not x.shape:
        return Step("broadcast", (k,), (2, 3))
    op = draw(st.sampled_from(["transpose", "reshape", "slice", "flip", "broadcast", "concat", "take"]))
    axis = draw(st.integers(0, len(x.shape) - 1))
    if op == "transpose":
        return Step(op, (k,), tuple(draw(st.permutations(range(len(x.shape))))))
    if op == "reshape":
        size = int(np.prod(x.shape))
        return Step(op, (k,), draw(st.sampled_from([(size,), (1, size), (size, 1), (*x.shape, 1)])))
    if op == "slice":
        step = draw(st.sampled_from([1, 2, -1, -2]))
        start = draw(st.one_of(st.none(), st.integers(0, max(x.shape[axis], 1))))
        return Step(op, (k,), (*[slice(None)] * axis, slice(start, None, step)))
    if op == "flip":
        return Step(op, (k,), axis)
    if op == "broadcast":
        return Step(op, (k,), (2, *x.shape))
    if op == "concat":
        return Step(op, (k, k), axis)
    if x.shape[axis] == 0:
        return None
    indices = draw(st.lists(st.integers(0, x.shape[axis] - 1), min_size=1, max_size=4))
    return Step(op, (k,), (tuple(indices), axis))
