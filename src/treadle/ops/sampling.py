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
_M0, _M1, _W0, _W1 = 0xD2511F53, 0xCD9E8D57, 0x9E3779B9, 0xBB67AE85
_MULTIPLIERS = np.array([[_M0], [_M1]], np.uint64)
_MASK = 0xFFFFFFFF
_LOW, _32 = np.uint64(_MASK), np.uint64(32)
_CHUNK = 4096  # blocks at a time: the working set stays in the cache
_PACKED_FROM = 256  # words from which a sort of packed numbers beats argsort
_FEW = 12  # blocks up to which Python's integers are faster than arrays


def philox(key: int, counters: Array) -> Array:
    """The blocks at these counters (uint64, n of them) as an (n, 4) array of uint32.

    >>> [hex(word) for word in philox(0, np.zeros(1, np.uint64))[0].tolist()]
    ['0x6627e8d5', '0xe169c58d', '0xbc57ac4c', '0x9b00dbd8']
    """
    zero = np.zeros_like(counters)
    return philox_blocks(key, np.stack([counters & _LOW, counters >> _32, zero, zero]))


def philox_block(key: int, c0: int, c1: int, c2: int = 0, c3: int = 0) -> tuple[int, int, int, int]:
    """One block; the four words of its counter from the lowest on."""
    k0, k1 = key & _MASK, key >> 32
    for _ in range(_ROUNDS):
        p0, p1 = c0 * _M0, c2 * _M1
        c0, c1, c2, c3 = (p1 >> 32) ^ c1 ^ k0, p1 & _MASK, (p0 >> 32) ^ c3 ^ k1, p0 & _MASK
        k0, k1 = (k0 + _W0) & _MASK, (k1 + _W1) & _MASK
    return c0, c1, c2, c3


def philox_blocks(key: int, counters: Array) -> Array:
    """Blocks for counters of four words each, (4, n) of uint64: what `philox_block` does, two words to an operation."""
    even, odd = counters[0::2].copy(), counters[1::2]  # words 0 and 2, words 1 and 3
    product, low, high = np.empty_like(even), np.empty_like(even), np.empty_like(even)
    k0, k1 = key & _MASK, key >> 32
    for _ in range(_ROUNDS):
        np.multiply(even, _MULTIPLIERS, out=product)
        np.right_shift(product, _32, out=high)
        np.bitwise_xor(high[::-1], odd, out=even)  # the last use of the old low halves
        np.bitwise_and(product, _LOW, out=low)
        even ^= np.array([[k0], [k1]], np.uint64)
        odd = low[::-1]
        k0, k1 = (k0 + _W0) & _MASK, (k1 + _W1) & _MASK
    blocks = np.empty((counters.shape[1], 4), np.uint32)
    blocks[:, 0::2] = even.T
    blocks[:, 1::2] = odd.T
    return blocks


def _bits(key: int, counter: int, blocks: int) -> Array:
    """The blocks from a counter on."""
    if blocks <= _FEW:
        counts = [(counter + k) & 0xFFFFFFFFFFFFFFFF for k in range(blocks)]
        words = [philox_block(key, count & _MASK, count >> 32) for count in counts]
        return np.array(words, np.uint32).reshape(blocks, 4)
    bits = np.empty((blocks, 4), np.uint32)
    for start in range(0, blocks, _CHUNK):
        stop = min(start + _CHUNK, blocks)
        with np.errstate(over="ignore"):
            bits[start:stop] = philox(key, np.arange(start, stop, dtype=np.uint64) + np.uint64(counter))
    return bits


def _words(state: Array, count: int, width: DType) -> tuple[Array, Array]:
    """`count` random words of uint32 or uint64, and the state after them."""
    key, counter = int(state[0]), int(state[1])
    blocks = -(-count * width.itemsize // 16)
    bits = _bits(key, counter, blocks)
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


def order_of(words: Array) -> Array:
    """What `argsort(words, kind="stable")` gives for random uint64, by a sort of numbers, which is much quicker.

    The indices stand in the words' lowest bits meanwhile. Where words then agree in what is left, argsort decides.
    """
    count = len(words)
    if count >= _PACKED_FROM:
        width = np.uint64(count.bit_length())
        places = (np.uint64(1) << width) - np.uint64(1)
        packed = (words & ~places) | np.arange(count, dtype=np.uint64)
        packed.sort()
        high = packed >> width
        if (high[1:] != high[:-1]).all():
            return (packed & places).astype(np.int64)
    return np.argsort(words, kind="stable")


def _permutation_body(state: Array, *, size: int) -> tuple[Array, Array]:
    words, after = _words(state, size, uint64)
    return order_of(words), after


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


# The product is rounded by itself in kernels too: contracted into one rounding, the numbers were not the eager ones.
between_op = register(
    Op(
        "random_between",
        _between_body,
        _between_infer,
        family="elementwise",
        scalar="{1} + mul_apart_{t}({2} - {1}, {0})",
        vjp=(None, _low_vjp, _high_vjp),
    )
)
