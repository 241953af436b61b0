"""Where a value lies: a buffer, and strides into it. View ops never move data: NumPy itself tells their strides."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np

from treadle.compile.run.executor import Ref
from treadle.core.graph import Node
from treadle.core.spec import Spec
from treadle.records import dataclass


@dataclass(eq=False, slots=True)
class Buffer:
    """A contiguous piece of memory that holds one value; `ref` is where, once it is known.

    kind: "input", "output", "constant", "arena", "cell" (an address that changes while the program runs) or "object"
    (values that are no plain memory, such as strings: they live in the run's scratch).
    """

    kind: str
    ref: Ref | None
    nbytes: int
    stack: Any = None  # for a stack of unknown length: its cells


@dataclass(frozen=True, slots=True)
class View:
    """A value in a buffer: shape, strides and offset, in elements."""

    buffer: Buffer
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    strides: tuple[int, ...]
    offset: int = 0

    @property
    def ref(self) -> Ref:
        """The address of the first element."""
        assert self.buffer.ref is not None
        return self.buffer.ref.at(self.offset * self.dtype.itemsize) if self.offset else self.buffer.ref

    @property
    def contiguous(self) -> bool:
        """Whether the elements lie one after another, in row order."""
        if self.strides == contiguous_strides(self.shape):
            return True
        return all(
            size <= 1 or stride == want
            for size, stride, want in zip(self.shape, self.strides, contiguous_strides(self.shape), strict=True)
        )

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of the elements when contiguous."""
        return self.size * self.dtype.itemsize


@lru_cache(1024)
def contiguous_strides(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Row-order strides, in elements."""
    strides = []
    step = 1
    for size in reversed(shape):
        strides.append(step)
        step *= max(size, 1)
    return tuple(reversed(strides))


def whole(buffer: Buffer, spec: Spec) -> View:
    """A value that fills its buffer in row order."""
    shape: tuple[int, ...] = spec.shape  # type: ignore[assignment]
    return View(buffer, shape, spec.dtype, contiguous_strides(shape))


_GROUND = np.zeros(16, np.uint8)


def view_of(node: Node, source: View) -> View | None:
    """The view that a view op gives of a value, or None where it would have to move data (some reshapes)."""
    out = node.outputs[0].spec
    shape: tuple[int, ...] = out.shape  # type: ignore[assignment]
    if math.prod(shape) == 0:
        return View(source.buffer, shape, out.dtype, contiguous_strides(shape), 0)
    if node.op == "reshape" and source.strides == contiguous_strides(source.shape):
        return View(source.buffer, shape, source.dtype, contiguous_strides(shape), source.offset)
    if node.op == "transpose":
        steps = tuple([source.strides[k] for k in node.attrs["axes"]])
        return View(source.buffer, shape, source.dtype, steps, source.offset)
    itemsize = source.dtype.itemsize
    # A fake array of the source's geometry: 1-byte elements, strides shifted so that nothing is out of the address
    # space; view ops compute new strides and never touch an element.
    fake = np.lib.stride_tricks.as_strided(_GROUND, source.shape, source.strides)
    start = fake.__array_interface__["data"][0]
    try:
        if node.op == "reshape":
            result = np.reshape(fake, shape, copy=False)
        else:
            result = node.definition.body(fake, **node.attrs)
    except ValueError:
        return None
    if itemsize == 0 or result.shape != shape:
        return None
    offset = result.__array_interface__["data"][0] - start
    return View(source.buffer, shape, source.dtype, tuple(result.strides), source.offset + offset)
