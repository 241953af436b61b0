"""Cases of `op_cases` that move values: views, joins, gathers, scatters, ranges, windows."""

from __future__ import annotations

from typing import Any

import numpy as np

import treadle as td
from harness.op_inputs import Array, Case, Make, lines, normal, rows, side, square, whole
from treadle.ops.windows import block_max_op, block_share_op, fold_op, windows_op


def _scatter_add(x: Array, i: Array) -> Array:
    out = np.zeros_like(x)
    np.add.at(out, i, x)
    return out


def _set_rows(x: Array, i: Array) -> Array:
    out = x.copy()
    out[i] = 1.0
    return out


def _add_along(x: Array, i: Array) -> Array:
    out = np.zeros_like(x)
    np.add.at(out, (np.arange(len(x))[:, None], i), x)
    return out


def _set_slice(x: Array) -> Array:
    out = x.copy()
    out[1:-1] = 2.0
    return out


def _pad_slice(x: Array) -> Array:
    out = np.zeros(len(x) + 2, x.dtype)
    out[1:-1] = x
    return out


def _update(x: Array, v: Array, i: Array) -> Array:
    out = x.copy()
    out[i[0] : i[0] + len(v)] = v
    return out


def _gradient_of_take(x: Any, i: Any) -> Any:
    with td.GradientTape() as tape:
        tape.watch(x)
        loss = td.sum(td.take(x, i, axis=0) * 2.0)
    return tape.gradient(loss, x)


def images(n: int) -> tuple[int, int, int, int]:
    """The shape of four images of 4 channels (for few elements: one of one)."""
    return (4, side(n // 16), side(n // 16), 4) if n >= 1000 else (1, side(n), side(n), 1)


def even(n: int) -> tuple[int, int, int, int]:
    """The shape of images with sides that blocks of 2 x 2 fill."""
    count, height, width, channels = images(n)
    return count, height // 2 * 2, width // 2 * 2, channels


def _largest(x: Array) -> Array:
    n, height, width, channels = x.shape
    largest: Array = x.reshape(n, height // 2, 2, width // 2, 2, channels).max((2, 4))
    return largest


def _shares(x: Any) -> Any:
    largest = block_max_op.bind((x,), {"sizes": (2, 2)})[0]
    return block_share_op.bind((largest, largest, x), {"sizes": (2, 2)})[0]


def _fold(x: Array) -> Array:
    out = np.zeros_like(x)
    height, width = x.shape[1] - 2, x.shape[2] - 2
    for i in range(3):
        for j in range(3):
            out[:, i : i + height, j : j + width] += x[:, i : i + height, j : j + width]
    return out


def _windows(x: Any) -> Any:
    return windows_op.bind((x,), {"sizes": (3, 3), "strides": (1, 1), "dilations": (1, 1)})[0]


def _gradient_of_windows(x: Any) -> Any:
    back = {"shape": x.shape[1:-1], "sizes": (3, 3), "strides": (1, 1), "dilations": (1, 1)}
    return fold_op.bind((_windows(x),), back)[0]


def _sliding(x: Array) -> Array:
    return np.lib.stride_tricks.sliding_window_view(x, (3, 3), (1, 2)).transpose(0, 1, 2, 4, 5, 3)


def moving() -> list[Case]:
    """Views, joins, gathers, scatters, ranges."""
    plane = normal(1, square)
    start: Make = lambda rng, n: [*normal()(rng, n), np.array([n // 4])]  # noqa: E731
    update: Make = lambda rng, n: [*normal()(rng, n), *normal()(rng, n // 2), np.array([n // 4])]  # noqa: E731
    return [
        Case("astype", normal(), lambda x: td.astype(x, td.float64), lambda x: x.astype(np.float64)),
        Case("transpose", plane, lambda x: td.transpose(x) + x, lambda x: x.T + x),
        Case("transpose copy", plane, lambda x: td.transpose(x), lambda x: np.ascontiguousarray(x.T)),
        Case("reshape", plane, lambda x: td.reshape(x, (-1,)) + 1.0, lambda x: x.reshape(-1) + np.float32(1)),
        Case("slice", plane, lambda x: x[1:, ::2] * 2.0, lambda x: x[1:, ::2] * np.float32(2)),
        Case("slice flip", plane, lambda x: td.flip(x, axis=1), lambda x: np.ascontiguousarray(np.flip(x, 1))),
        Case(
            "broadcast_to",
            normal(1, lambda n: (1, side(n))),
            lambda x: td.broadcast_to(x, (x.shape[1], x.shape[1])),
            lambda x: np.broadcast_to(x, (x.shape[1], x.shape[1])).copy(),
        ),
        Case("broadcast_to tile", normal(1, lambda n: (n // 4,)), lambda x: td.tile(x, 4), lambda x: np.tile(x, 4)),
        Case("broadcast_to repeat", normal(1, lambda n: (n // 4,)), lambda x: td.repeat(x, 4), lambda x: x.repeat(4)),
        Case(
            "concat",
            normal(2, lambda n: (n // 2,)),
            lambda a, b: td.concat([a, b]),
            lambda a, b: np.concatenate([a, b]),
        ),
        Case(
            "concat columns",
            normal(2, square),
            lambda a, b: td.concat([a, b], axis=1),
            lambda a, b: np.concatenate([a, b], 1),
        ),
        Case("concat stack", normal(2), lambda a, b: td.stack([a, b], axis=1), lambda a, b: np.stack([a, b], 1)),
        Case("concat roll", plane, lambda x: td.roll(x, 3, axis=1), lambda x: np.roll(x, 3, 1)),
        Case("pad_slice", normal(), lambda x: td.pad(x, 1), _pad_slice),
        Case("set_slice", normal(), lambda x: x.at[1:-1].set(2.0), _set_slice),
        Case("gather", rows, lambda x, i: td.take(x, i, axis=0), lambda x, i: np.take(x, i, axis=0)),
        Case(
            "gather elements",
            lambda rng, n: [*normal()(rng, n), rng.integers(0, n, n)],
            lambda x, i: td.take(x, i),
            lambda x, i: x[i],
        ),
        Case("gather diagonal", plane, lambda x: td.diagonal(x), lambda x: np.diagonal(x).copy()),
        Case(
            "take_along_axis",
            lines,
            lambda x, i: td.take_along_axis(x, i, axis=1),
            lambda x, i: np.take_along_axis(x, i, axis=1),
        ),
        Case("add_along_axis", lines, _gradient_along, _add_along),
        Case("scatter", rows, lambda x, i: td.zeros(x.shape).at[i].add(x), _scatter_add),
        Case("scatter gradient of take", rows, _gradient_of_take, lambda x, i: 2 * _scatter_add(np.ones_like(x), i)),
        Case("scatter set", rows, lambda x, i: x.at[i].set(1.0), _set_rows),
        Case(
            "dynamic_slice",
            start,
            lambda x, i: td.dynamic_slice(x, i, (x.shape[0] // 2,)),
            lambda x, i: x[i[0] : i[0] + len(x) // 2].copy(),
        ),
        Case("dynamic_update_slice", update, lambda x, v, i: td.dynamic_update_slice(x, v, i), _update),
        Case("windows", normal(1, images), _windows, lambda x: np.ascontiguousarray(_sliding(x))),
        Case("fold", normal(1, images), _gradient_of_windows, _fold),
        Case("block_max", normal(1, even), lambda x: block_max_op.bind((x,), {"sizes": (2, 2)})[0], _largest),
        Case(
            "block_share",
            normal(1, even),
            _shares,
            lambda x: block_share_op.body(_largest(x), _largest(x), x, sizes=(2, 2)),
        ),
        Case("full", whole(0, 2), lambda x: td.full(x.shape, 3.0), lambda x: np.full(x.shape, 3.0, np.float32)),
        Case("arange", whole(0, 2), lambda x: td.arange(x.shape[0]) * x, lambda x: np.arange(x.shape[0]) * x),
        Case("arange alone", whole(0, 2), lambda x: td.arange(x.shape[0]), lambda x: np.arange(x.shape[0])),
        Case(
            "linspace",
            whole(0, 2),
            lambda x: td.linspace(0.0, 1.0, x.shape[0]),
            lambda x: np.linspace(0, 1, x.shape[0]).astype(np.float32),
        ),
        Case("eye", plane, lambda x: td.eye(x.shape[0]) + x, lambda x: np.eye(x.shape[0], dtype=np.float32) + x),
        Case("eye tril", plane, lambda x: td.tril(x), np.tril, op="eye"),
        Case(
            "one_hot",
            lambda rng, n: [rng.integers(0, 10, n // 10)],
            lambda x: td.one_hot(x, 10),
            lambda x: np.eye(10, dtype=np.float32)[x],
            op="equal",
        ),
    ]


def _gradient_along(x: Any, i: Any) -> Any:
    with td.GradientTape() as tape:
        tape.watch(x)
        loss = td.sum(td.take_along_axis(x, i, axis=1) * td.stop_gradient(x))
    return tape.gradient(loss, x)
