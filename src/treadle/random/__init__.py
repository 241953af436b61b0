"""Random numbers that are the same eagerly and traced: counter-based (Philox4x32-10), the state a variable.

A traced function reads and writes the state as it does any variable, so that each call draws fresh numbers, and a
seed gives the same ones either way. Shapes come first.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from treadle.core.arguments import real, whole
from treadle.core.dtypes import DType, as_dtype, default_float, dtype_name, int64
from treadle.core.mode import current
from treadle.core.op import Op
from treadle.core.spec import broadcast_shapes
from treadle.core.tensor import Tensor
from treadle.core.variable import Variable, read_variable, write_variable
from treadle.errors import ArgumentError, DTypeError, ShapeError
from treadle.ops import sampling
from treadle.ops.arithmetic import add, multiply, negative
from treadle.ops.comparison import less
from treadle.ops.convert import as_tensor, cast, operands
from treadle.ops.creation import sizes
from treadle.ops.exponential import log
from treadle.ops.reductions import argmax
from treadle.ops.searching import take
from treadle.ops.shaping import broadcast_to


class Generator:
    """A stream of random numbers with a state of its own; `td.random`'s functions use one that all share.

    seed: an int gives the same stream each time; None a fresh one.
    """

    def __init__(self, seed: int | None = None) -> None:
        self.state = Variable(_seeded(seed), name="random_state", trainable=False)

    def seed(self, seed: int | None = None) -> None:
        """Start the stream that belongs to this number; None: a fresh one."""
        self.state.assign(_seeded(seed))

    def _draw(self, op: Op, inputs: tuple[Tensor, ...], attrs: dict[str, Any]) -> Tensor:
        if current() is not None:
            return self._step(op, inputs, attrs)
        with self.state._lock:  # two threads must not draw the same numbers
            return self._step(op, inputs, attrs)

    def _step(self, op: Op, inputs: tuple[Tensor, ...], attrs: dict[str, Any]) -> Tensor:
        values, state = op.bind((read_variable(self.state), *inputs), attrs)
        write_variable(self.state, state)
        return values

    def uniform(self, shape: Any = (), low: Any = 0.0, high: Any = 1.0, *, dtype: Any = None) -> Tensor:
        """Floats spread evenly over [low, high); gradients flow to the bounds.

        >>> import treadle as td
        >>> g = td.random.Generator(0)
        >>> g.uniform((2,))
        Tensor([0.39904642, 0.88052016], shape=(2,), dtype=float32)
        """
        wanted = _float("uniform", dtype)
        u = self._draw(sampling.uniform_op, (), {"shape": _shape("uniform", shape), "dtype": wanted})
        if type(low) is float and type(high) is float and (low, high) == (0.0, 1.0):
            return u
        first, last = as_tensor(low, wanted), as_tensor(high, wanted)
        _check_broadcast("uniform", u.shape, first.shape, last.shape)
        return sampling.between_op.bind((u, first, last), {})[0]

    def normal(self, shape: Any = (), mean: Any = 0.0, std: Any = 1.0, *, dtype: Any = None) -> Tensor:
        """Floats of the normal distribution; gradients flow to `mean` and `std`, which is 0 or more."""
        if isinstance(std, (int, float)):
            real("normal: std", std, 0.0)
        z = self._draw(sampling.normal_op, (), {"shape": _shape("normal", shape), "dtype": _float("normal", dtype)})
        if not (type(std) in (int, float) and std == 1):
            z = multiply(z, _parameter("normal", std, z))
        if not (type(mean) in (int, float) and mean == 0):
            z = add(z, _parameter("normal", mean, z))
        return z

    def integers(self, shape: Any, low: Any, high: Any = None, *, dtype: Any = int64) -> Tensor:
        """Integers spread evenly over low, ..., high - 1; with one bound over 0, ..., low - 1."""
        if high is None:
            low, high = 0, low
        wanted, shape = as_dtype(dtype), _shape("integers", shape)
        if wanted.kind not in "iu":
            raise DTypeError(f"integers: dtype must be an integer type, got {dtype_name(wanted)}")
        if isinstance(low, int) and isinstance(high, int):
            _check_bounds(low, high, wanted)
        first, last = (_bound(value) for value in (low, high))
        _check_broadcast("integers", shape, first.shape, last.shape)
        return cast(self._draw(sampling.integers_op, (first, last), {"shape": shape}), wanted)

    def bernoulli(self, shape: Any = (), p: Any = 0.5) -> Tensor:
        """Bools that are true with probability `p`, from 0 to 1."""
        if isinstance(p, (int, float)):
            real("bernoulli: p", p, 0.0, 1.0)
        (chance,) = operands((p,), "real float", "bernoulli")
        wanted = chance.dtype
        u = self._draw(sampling.uniform_op, (), {"shape": _shape("bernoulli", shape), "dtype": wanted})
        _check_broadcast("bernoulli", u.shape, chance.shape)
        return less(u, chance)

    def exponential(self, shape: Any = (), *, dtype: Any = None) -> Tensor:
        """Floats of the exponential distribution of mean 1."""
        wanted = _float("exponential", dtype)
        return self._draw(sampling.exponential_op, (), {"shape": _shape("exponential", shape), "dtype": wanted})

    def categorical(self, shape: Any, logits: Any) -> Tensor:
        """Classes (int64) with probabilities softmax(logits) over the last axis; other axes broadcast to `shape`."""
        (scores,) = operands((logits,), "real float", "categorical")
        if not scores.shape or scores.shape[-1] == 0:
            raise ShapeError(f"categorical: logits need an axis of classes; their shape is {scores.shape}")
        wanted = (*_shape("categorical", shape), scores.shape[-1])
        _check_broadcast("categorical", wanted, scores.shape)
        noise = self._draw(sampling.exponential_op, (), {"shape": wanted, "dtype": scores.dtype})
        # The largest of logit + Gumbel noise is a draw (E. J. Gumbel, 1954); -log of an exponential is Gumbel noise.
        return argmax(broadcast_to(scores, wanted) + negative(log(noise)), axis=-1)

    def permutation(self, x: Any) -> Tensor:
        """The numbers 0 to x - 1 in random order; of a tensor, its rows."""
        if isinstance(x, list) or (isinstance(x, (Tensor, Variable, np.ndarray)) and len(x.shape) > 0):
            rows = as_tensor(x)
            return take(rows, self.permutation(rows.shape[0]), axis=0)
        if type(x) in (bool, int, float, str):
            whole("permutation: x", x, 0)
        (size,) = sizes(x)
        return self._draw(sampling.permutation_op, (), {"size": size})


def _parameter(name: str, value: Any, drawn: Tensor) -> Tensor:
    tensor = as_tensor(value, drawn.dtype)
    _check_broadcast(name, drawn.shape, tensor.shape)
    return tensor


def _shape(name: str, shape: Any) -> Any:
    """A shape as a tuple of sizes of 0 or more."""
    try:
        found = sizes(shape)
    except TypeError:
        raise ArgumentError(f"{name}: the shape must be a whole number or a tuple of such, got {shape!r}") from None
    if any(type(size) is int and size < 0 for size in found):
        raise ArgumentError(f"{name}: a shape has no negative sizes, got {shape!r}")
    return found


def _bound(value: Any) -> Tensor:
    """A bound of integers, as int64."""
    tensor = as_tensor(value)
    if tensor.dtype.kind not in "biu":
        raise DTypeError(f"integers: the bounds must be integers, got {dtype_name(tensor.dtype)}; see td.astype")
    return cast(tensor, int64)


def _check_bounds(low: int, high: int, dtype: DType) -> None:
    if low >= high:
        raise ArgumentError(f"integers: nothing lies from {low} to {high} - 1")
    info = np.iinfo(dtype)
    if low < info.min or high - 1 > info.max:
        raise ArgumentError(f"integers: {dtype_name(dtype)} holds {info.min} to {info.max}, not {low} to {high} - 1")


def _float(name: str, dtype: Any) -> DType:
    wanted = default_float() if dtype is None else as_dtype(dtype)
    if wanted.kind != "f":
        raise DTypeError(f"{name}: dtype must be float32 or float64, got {dtype_name(wanted)}")
    return wanted


def _check_broadcast(name: str, shape: Any, *others: Any) -> None:
    if broadcast_shapes(shape, *others, op=name) != tuple(shape):
        raise ShapeError(f"{name}: parameters of shapes {[*others]} do not broadcast to the shape {tuple(shape)}")


def _seeded(seed: int | None) -> Tensor:
    key = int.from_bytes(os.urandom(8), "little") if seed is None else whole("seed", seed) & 0xFFFFFFFFFFFFFFFF
    return Tensor(np.array([key, 0], np.uint64))


default = Generator()

seed = default.seed
uniform = default.uniform
normal = default.normal
integers = default.integers
bernoulli = default.bernoulli
exponential = default.exponential
categorical = default.categorical
permutation = default.permutation
