"""`td.testing.tensors`, a hypothesis strategy, and strategies made from the specs of arguments.

Hypothesis is imported when it is first used.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from treadle import nest
from treadle.core.dim import Dim
from treadle.core.dtypes import as_dtype, string
from treadle.core.spec import TensorSpec
from treadle.core.tensor import Tensor
from treadle.errors import ShapeError, TreadleError
from treadle.ops.convert import as_tensor

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy
else:
    SearchStrategy = "SearchStrategy"

SIZES = (1, 2, 0, 3, 5)  # what open sizes are drawn from, simplest first
BOUND = 10.0  # the largest size of numbers that are not special
SPECIAL = (0.0, -0.0, np.inf, -np.inf, np.nan)


class MissingExtra(TreadleError, ImportError):
    """A package that an extra of treadle brings is not installed."""


def hypothesis(part: str = "") -> Any:
    """The hypothesis package, or a module of it. Raises MissingExtra naming the extra that brings it."""
    try:
        return importlib.import_module(f"hypothesis{part}")
    except ImportError as error:
        raise MissingExtra(
            f"td.testing draws values with hypothesis: pip install 'treadle[testing]' ({error})"
        ) from None


def tensors(
    shape: Any = None, dtype: Any = np.float32, elements: Any = None, *, special: bool = False
) -> SearchStrategy[Tensor]:
    """A strategy for tensors.

    shape:    sizes; None and names are open ones, drawn from 0, 1, 2, 3, 5 (one name, one size); or a strategy for
              shapes. Without it, up to three open axes.
    dtype:    a dtype, or a strategy for dtypes.
    elements: a strategy for the values; by default floats from -10 to 10, integers from -10 (0) to 10, short strings.
    special:  among the default floats also both zeros, infinities, NaN and the largest and smallest numbers.

    >>> import treadle as td
    >>> td.testing.tensors(shape=("n", "n"), dtype=td.int32)
    tensors(shape=('n', 'n'), dtype=int32)
    """
    st = hypothesis(".strategies")
    if isinstance(shape, (str, int)):
        raise ShapeError(f"tensors: shape must be a sequence of sizes, got {shape!r}")
    shapes = shape if isinstance(shape, st.SearchStrategy) else st.just(None if shape is None else tuple(shape))
    dtypes = dtype if isinstance(dtype, st.SearchStrategy) else st.just(as_dtype(dtype))

    @st.composite  # type: ignore[untyped-decorator]
    def tensors(draw: Any, shape: Any, dtype: Any) -> Tensor:
        sizes = draw(shapes)
        if sizes is None:
            sizes = (None,) * draw(st.integers(0, 3))
        return draw_tensor(draw, sizes, as_dtype(draw(dtypes)), {}, elements, special)

    shown = _Shown(dtype if isinstance(dtype, st.SearchStrategy) else as_dtype(dtype).name)
    return tensors(shape=shape, dtype=shown)


class _Shown(str):
    """A word as `repr` shows it, without quotes."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


def draw_tensor(
    draw: Any, shape: Sequence[Any], dtype: np.dtype[Any], sizes: dict[str, int], elements: Any, special: bool
) -> Tensor:
    """A tensor of this shape; `sizes` holds what the names of open sizes stand for."""
    st = hypothesis(".strategies")
    known: list[int] = []
    for size in shape:
        name = repr(size) if isinstance(size, Dim) else size
        if isinstance(name, str):
            size = sizes[name] = sizes[name] if name in sizes else draw(st.sampled_from(SIZES))
        known.append(draw(st.sampled_from(SIZES)) if size is None else int(size))
    values = elements if elements is not None else elements_of(dtype, special)
    count = int(np.prod(known, dtype=np.int64))
    if count > 64:  # more than hypothesis likes to draw: numbers from one seed, or a few values again and again
        return as_tensor(_many(draw, values, count).astype(dtype).reshape(known))
    flat = draw(st.lists(values, min_size=count, max_size=count))
    return as_tensor(np.array(flat, dtype).reshape(known))


def _many(draw: Any, values: Any, count: int) -> np.ndarray[Any, Any]:
    st = hypothesis(".strategies")
    few = draw(st.lists(values, min_size=8, max_size=16))
    order = np.random.default_rng(draw(st.integers(0, 255))).integers(0, len(few), count)
    return np.array(few, object)[order]


def elements_of(dtype: np.dtype[Any], special: bool) -> Any:
    """The strategy for values of a dtype."""
    st = hypothesis(".strategies")
    if dtype == string:
        return st.text("abc xyzäß€", max_size=5)
    if dtype.kind == "b":
        return st.booleans()
    if dtype.kind in "iu":
        info = np.iinfo(dtype)
        usual = st.integers(0 if dtype.kind == "u" else -int(BOUND), int(BOUND))
        return st.one_of(usual, st.sampled_from((info.min, info.max))) if special else usual
    half = np.float32 if dtype in (np.dtype(np.float32), np.dtype(np.complex64)) else np.float64
    usual = st.floats(-BOUND, BOUND, width=8 * np.dtype(half).itemsize, allow_subnormal=False)
    # Simple numbers first: they shrink to what can be read, and meet ties and zeros.
    usual = st.one_of(st.sampled_from((0.0, 1.0, -1.0, 0.5, 2.0)), usual)
    if special:
        limits = np.finfo(half)
        usual = st.one_of(usual, st.sampled_from((*SPECIAL, float(limits.max), float(limits.tiny))))
    return usual if dtype.kind == "f" else st.builds(complex, usual, usual)


def arguments(specs: Sequence[Any], special: bool) -> tuple[SearchStrategy[tuple[Any, ...]], bool]:
    """A strategy for a call's arguments, and whether it draws anything.

    Leaves of the nests that are strategies are drawn from, specs become tensors (with one size for each name), others
    are handed on as they are.
    """
    st = hypothesis(".strategies")
    leaves, structure = nest.flatten_with_structure(tuple(specs))

    @st.composite  # type: ignore[untyped-decorator]
    def drawn(draw: Any) -> tuple[Any, ...]:
        sizes: dict[str, int] = {}
        found = []
        for leaf in leaves:
            if isinstance(leaf, TensorSpec):
                leaf = draw_tensor(draw, leaf.shape, leaf.dtype, sizes, None, special)
            elif isinstance(leaf, st.SearchStrategy):
                leaf = draw(leaf)
            found.append(leaf)
        return nest.unflatten(structure, found)  # type: ignore[no-any-return]

    return drawn(), any(isinstance(leaf, (TensorSpec, st.SearchStrategy)) for leaf in leaves)
