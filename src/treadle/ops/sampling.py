"""Random bits and numbers as pure ops: (state) -> (values, next state).

The generator is Philox4x32-10 (J. Salmon, M. Moraes, R. Dror, D. Shaw, "Parallel random numbers: as easy as 1, 2, 3",
SC 2011). A state is two uint64: the key, and the counter of the next block of four 32-bit words. A draw takes
whole blocks, so that what it gives depends on the state alone, and the counter says how much was drawn.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from treadle.core.dtypes import DType, float32, int64, uint32, uint64
from treadle.core.op import Attrs, Op, register
from treadle.core.spec import Spec
from treadle.core.tensor import Tensor

Array = np.ndarray[Any, Any]
_ROUNDS = 10
_M0, _M1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_W0, _W1 = 0x9E3779B9, 0xBB67AE85
_LOW, _32 = np.uint64(0xFFFFFFFF), np.uint64(32)
_CHUNK = 4096  # blocks at a time: the working set stays in the cache


def philox(key: int, counters: Array) -> Array:
    """The blocks at these counters (uint64, n of them) as an (n, 4) array of uint32.

    >>> [hex(word) for word in philox(0, np.zeros(1, np.uint64))[0].tolist()]
    ['0x6627e8d5', '0xe169c58d', '0xbc57ac4c', '0x9b00dbd8']
    """
    low, high = counters & _LOW, counters >> _32
    return _philox_words(key, low, high, np.zeros_like(low), np.zeros_like(low))


def _philox_words(key: int, c0: Array, c1: Array, c2: Array, c3: Array) -> Array:
    """Ten rounds on counters given as four arrays of 32-bit words in uint64."""
    k0, k1 = key & 0xFFFFFFFF, key >> 32
    for _ in range(_ROUNDS):
        p0, p1 = c0 * _M0, c2 * _M1
        c0, c1, c2, c3 = (p1 >> _32) ^ c1 ^ np.uint64(k0), p1 & _LOW, (p0 >> _32) ^ c3 ^ np.uint64(k1), p0 & _LOW
        k0, k1 = (k0 + _W0) & 0xFFFFFFFF, (k1 + _W1) & 0xFFFFFFFF
    return np.stack([c0, c1, c2, c3], axis=-1).astype(np.uint32)


def _words(state: Array, count: int, width: DType) -> tuple[Array, Array]:
    """`count` random words of uint32 or uint64, and the state after them."""
    key, counter = int(state[0]), int(state[1])
    blocks = -(-count * width.itemsize // 16)
    bits = np.empty((blocks, 4), np.uint32)
    for start in range(0, blocks, _CHUNK):
        stop = min(start + _CHUNK, blocks)
        with np.errstate(over="ignore"):
            counters = np.arange(start, stop, dtype=np.uint64) + np.uint64(counter)
        bits[start:stop] = philox(key, counters)
    after = np.array([key, (counter + blocks) & 0xFFFFFFFFFFFFFFFF], np.uint64)
    if width == uint32:
        return bits.reshape(-1)[:count], after
    halves = bits.reshape(-1, 2).astype(np.uint64)
    return (halves[:, 0] | halves[:, 1] << _32)[:count], after


def _width(dtype: DType) -> DType:
    return uint32 if dtype == float32 else uint64


def _unit(words: Array, dtype: DType) -> Array:
    """Words as floats in [0, 1), every value a multiple of 2^-24 (float32) or 2^-53 (float64)."""
    if dtype == float32:
        return (words >> np.uint32(8)).astype(np.float32) * np.float32(2.0**-24)
    return (words >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _positive(words: Array, dtype: DType) -> Array:
    """Words as floats in (0, 1], fine near 0, so that logarithms reach far into the tail."""
    scale = 2.0 ** (-8 * words.dtype.itemsize)
    result: Array = (words.astype(dtype) + dtype.type(0.5)) * dtype.type(scale)
    return result


def _uniform_body(state: Array, *, shape: tuple[int, ...], dtype: DType) -> tuple[Array, Array]:
    words, after = _words(state, math.prod(shape), _width(dtype))
    return _unit(words, dtype).reshape(shape), after


def _normal_body(state: Array, *, shape: tuple[int, ...], dtype: DType) -> tuple[Array, Array]:
    """Pairs by the method of G. E. P. Box and M. E. Muller (1958)."""
    count = math.prod(shape)
    half = (count + 1) // 2
    words, after = _words(state, 2 * half, _width(dtype))
    radius = np.sqrt(dtype.type(-2) * np.log(_positive(words[:half], dtype)))
    angle = dtype.type(2 * math.pi) * _unit(words[half:], dtype)
    return np.concatenate([radius * np.cos(angle), radius * np.sin(angle)])[:count].reshape(shape), after


def _exponential_body(state: Array, *, shape: tuple[int, ...], dtype: DType) -> tuple[Array, Array]:
    words, after = _words(state, math.prod(shape), _width(dtype))
    return -np.log(_positive(words, dtype)).reshape(shape), after


def _integers_body(state: Array, low: Array, high: Array, *, shape: tuple[int, ...]) -> tuple[Array, Array]:
    """The high half of word * range (D. Lemire, 2019); the bias is at most range / 2^64. An empty range gives `low`."""
    words, after = _words(state, math.prod(shape), uint64)
    with np.errstate(over="ignore"):
        span = np.maximum(high, low).astype(np.uint64) - low.astype(np.uint64)
        w, s = words.reshape(shape), np.broadcast_to(span, shape)
        (w0, w1), (s0, s1) = (w & _LOW, w >> _32), (s & _LOW, s >> _32)
        middle = w1 * s0 + (w0 * s0 >> _32)
        top = w1 * s1 + (middle >> _32) + ((w0 * s1 + (middle & _LOW)) >> _32)
        return (low.astype(np.uint64) + top).astype(np.int64), after


def _permutation_body(state: Array, *, size: int) -> tuple[Array, Array]:
    words, after = _words(state, size, uint64)
    return np.argsort(words, kind="stable"), after


def _drawn(specs: Sequence[Spec], attrs: Attrs) -> tuple[Spec, ...]:
    return Spec(attrs["shape"], attrs["dtype"]), specs[0]


def _op(name: str, body: Callable[..., Any], infer: Callable[..., Any] = _drawn) -> Op:
    return register(Op(name, body, infer, family="host", multiple=True))


uniform_op = _op("random_uniform", _uniform_body)
normal_op = _op("random_normal", _normal_body)
exponential_op = _op("random_exponential", _exponential_body)
integers_op = _op("random_integers", _integers_body, lambda specs, attrs: (Spec(attrs["shape"], int64), specs[0]))
permutation_op = _op(
    "random_permutation", _permutation_body, lambda specs, attrs: (Spec((attrs["size"],), int64), specs[0])
)


def _between_body(u: Array, low: Array, high: Array) -> Array:
    result: Array = low + (high - low) * u
    return result


def _between_infer(specs: Sequence[Spec], attrs: Attrs) -> tuple[Spec, ...]:
    return (Spec(specs[0].shape, specs[0].dtype),)


def _low_vjp(g: Tensor, y: Tensor, u: Tensor, low: Tensor, high: Tensor) -> Tensor:
    from treadle.ops.families import sum_to

    return sum_to(g * (1 - u), low.shape)


def _high_vjp(g: Tensor, y: Tensor, u: Tensor, low: Tensor, high: Tensor) -> Tensor:
    from treadle.ops.families import sum_to

    return sum_to(g * u, high.shape)


# A host op, not arithmetic: a kernel would contract it into one rounding, and the numbers must be the eager ones.
between_op = register(
    Op("random_between", _between_body, _between_infer, family="host", vjp=(None, _low_vjp, _high_vjp))
)
