"""What is known of a value without having it: shape, dtype, and whether it is a weak Python number."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from treadle.core.arguments import whole
from treadle.core.dim import Dim, Size, is_static
from treadle.core.dtypes import DType, as_dtype, dtype_name, float32
from treadle.errors import ShapeError

Shape = tuple[Size, ...]


class Spec:
    """Shape and dtype of a tensor; `weak` marks a Python number that has met no tensor yet."""

    __slots__ = ("_nbytes", "dtype", "in_kernel", "shape", "weak")
    in_kernel: bool  # the compiler's note, once it has asked: whether values can live in kernels

    def __init__(self, shape: Shape, dtype: DType, weak: bool = False) -> None:
        self.shape = shape
        self.dtype = dtype
        self.weak = weak

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Spec)
            and self.shape == other.shape
            and self.dtype == other.dtype
            and self.weak == other.weak
        )

    def __hash__(self) -> int:
        return hash((self.shape, self.dtype, self.weak))

    def __repr__(self) -> str:
        return f"{dtype_name(self.dtype)}[{', '.join(map(str, self.shape))}]"

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def static(self) -> bool:
        """Whether every size is known."""
        return is_static(self.shape)

    @property
    def size(self) -> int:
        """Number of elements, where the shape is static."""
        return math.prod(self.shape)  # type: ignore[arg-type]

    @property
    def nbytes(self) -> int:
        """Bytes of the elements, where the shape is static."""
        try:
            return self._nbytes
        except AttributeError:
            self._nbytes: int = self.size * self.dtype.itemsize
            return self._nbytes

    def with_shape(self, shape: Shape) -> Spec:
        """The same dtype with another shape; no longer weak."""
        return shared(shape, self.dtype)


_MOST = 4096
_shared: dict[DType, dict[Shape, Spec]] = {}


def shared(shape: Shape, dtype: DType) -> Spec:
    """The spec of a shape and a dtype, one object for all values of the process: traces are full of equal ones."""
    try:
        return _shared[dtype][shape]
    except KeyError:
        known = _shared.setdefault(dtype, {})
        if len(known) >= _MOST:
            known.clear()
        return known.setdefault(shape, Spec(shape, dtype))


def spec_of(array: np.ndarray[Any, Any]) -> Spec:
    """The spec of a NumPy array."""
    return Spec(array.shape, array.dtype)


class TensorSpec:
    """The shape and dtype that an argument must have; what `input_signature` and `trace` take.

    A size of None is symbolic: one trace serves every size. A string names a size: equal names are equal sizes.

    >>> TensorSpec((None, 3))
    TensorSpec(shape=(None, 3), dtype=float32)
    """

    __slots__ = ("dtype", "name", "shape")

    def __init__(self, shape: Sequence[int | str | None], dtype: Any = float32, name: str | None = None) -> None:
        if isinstance(shape, (str, int)):
            raise ShapeError(f"TensorSpec: shape must be a sequence of sizes, got {shape!r}")
        for size in shape:
            if not (
                size is None or isinstance(size, (str, Dim)) or (isinstance(size, (int, np.integer)) and size >= 0)
            ):
                raise ShapeError(f"TensorSpec: a size is an int from 0 on, None or a name, got {size!r} in {shape!r}")
            if isinstance(size, str) and (not size or "#" in size):
                raise ShapeError(f"TensorSpec: a size's name must not be empty or hold '#', got {size!r} in {shape!r}")
        self.shape = tuple(int(size) if isinstance(size, np.integer) else size for size in shape)
        self.dtype = as_dtype(dtype)
        self.name = name

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TensorSpec) and (self.shape, self.dtype) == (other.shape, other.dtype)

    def __hash__(self) -> int:
        return hash((self.shape, self.dtype))

    def __repr__(self) -> str:
        name = f", name={self.name!r}" if self.name else ""
        return f"TensorSpec(shape={self.shape}, dtype={dtype_name(self.dtype)}{name})"

    def to_spec(self, prefix: str) -> Spec:
        """The spec with a `Dim` for each size that is not given; `prefix` makes the names of unnamed ones."""
        shape: list[Size] = []
        for axis, size in enumerate(self.shape):
            if size is None:
                shape.append(Dim.named(f"{prefix}{axis}"))
            elif isinstance(size, str):
                shape.append(Dim.named(size))
            else:
                shape.append(size)
        return Spec(tuple(shape), self.dtype)

    def accepts(self, shape: Shape, dtype: DType) -> bool:
        """Whether a tensor of this shape and dtype fits."""
        if dtype != self.dtype or len(shape) != len(self.shape):
            return False
        return all(not isinstance(want, int) or want == got for want, got in zip(self.shape, shape, strict=True))


def broadcast_sizes(a: Size, b: Size) -> Size | None:
    """The common size of two axes, or None when they do not fit."""
    if type(a) is int and a == 1:
        return b
    if type(b) is int and b == 1:
        return a
    if a == b:
        return a
    # A symbolic size that meets a known one must equal it; the sizes are checked when the function runs.
    if isinstance(a, Dim):
        return b if not isinstance(b, Dim) else a
    if isinstance(b, Dim):
        return a
    return None


def broadcast_shapes(*shapes: Shape, op: str = "broadcast") -> Shape:
    """The NumPy broadcast of shapes, symbolic sizes included. Raises ShapeError naming the shapes."""
    if len(shapes) == 2:
        a, b = shapes
        if a is b or a == b or not b:
            return a
        if not a:
            return b
        longer = len(a) - len(b)
        if longer > 0 and a[longer:] == b:  # as with a bias
            return a
        if longer < 0 and b[-longer:] == a:
            return b
    elif shapes:
        common = shapes[0]
        for shape in shapes:
            if not common:
                common = shape
            elif shape and shape != common:
                break
        else:
            return common
    rank = max((len(shape) for shape in shapes), default=0)
    result: list[Size] = []
    for axis in range(-rank, 0):
        size: Size = 1
        for shape in shapes:
            if len(shape) >= -axis:
                both = broadcast_sizes(size, shape[axis])
                if both is None:
                    listed = " and ".join(str(tuple(s)) for s in shapes)
                    raise ShapeError(
                        f"{op}: shapes {listed} do not broadcast: axis {axis} has sizes {size} and {shape[axis]}"
                    )
                size = both
        result.append(size)
    return tuple(result)


def normalize_axis(axis: int, ndim: int, op: str = "axis") -> int:
    """The axis counted from 0. Raises ShapeError when there is no such axis, ArgumentError for no whole number."""
    number = axis if type(axis) is int else whole(f"{op}: axis", axis)
    if not -ndim <= number < ndim:
        raise ShapeError(f"{op}: axis {number} is out of range for {ndim} axes")
    return number + ndim if number < 0 else number


def normalize_axes(axis: int | Sequence[int] | None, ndim: int, op: str = "axis") -> tuple[int, ...]:
    """Axes counted from 0, ascending; None means all."""
    if axis is None:
        return tuple(range(ndim))
    only: Any = axis[0] if type(axis) is tuple and len(axis) == 1 else axis
    if type(only) is int and -ndim <= only < ndim:
        return (only + ndim if only < 0 else only,)
    several = isinstance(axis, Iterable) and not isinstance(axis, str) and getattr(axis, "ndim", 1) > 0
    axes: tuple[Any, ...] = tuple(axis) if several else (axis,)  # type: ignore[arg-type]
    found = tuple(sorted(normalize_axis(a, ndim, op) for a in axes))
    if len(set(found)) != len(found):
        raise ShapeError(f"{op}: axes {axes} name one axis twice")
    return found
