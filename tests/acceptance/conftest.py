"""What the acceptance tests share: running a function both ways, and the reference curve R1."""

from __future__ import annotations

import ctypes
import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import treadle as td

R1_FLOAT64 = (
    31910694.676915,
    457.42852963,
    2.34220840,
    0.0196441891,
    1.91583053e-4,
    1.97902336e-6,
    2.10452785e-8,
    2.27742055e-10,
    2.49283340e-12,
    2.74981052e-14,
)
R1_FLOAT32 = (
    31910696,
    457.42847,
    2.3422203,
    0.019792221,
    3.8475e-4,
    4.4878e-5,
    1.5464e-5,
    8.7787e-6,
    6.0387e-6,
    4.5201e-6,
)


@dataclass
class Curve:
    """The data of reference curve R1 in one dtype, and how far losses may be from it."""

    dtype: Any
    x: np.ndarray
    y: np.ndarray
    w1: np.ndarray
    w2: np.ndarray
    rate: float = 1e-6

    def check(self, losses: Any) -> None:
        """Losses at every hundredth step, from step 0 on, are those of the curve."""
        got = np.asarray([float(loss) for loss in losses])
        assert len(got) >= 5
        assert np.isfinite(got).all()
        if self.dtype == np.float64:
            wanted = np.asarray(R1_FLOAT64[: len(got)])
            np.testing.assert_allclose(got[:6], wanted[:6], rtol=2e-8)  # the page gives eight digits or more
            np.testing.assert_allclose(got[6:], wanted[6:], rtol=1e-5)  # rounding shows in losses below 1e-8
        else:
            wanted = np.asarray(R1_FLOAT32[: len(got)])
            np.testing.assert_allclose(got[:4], wanted[:4], rtol=1e-3)
            assert (np.abs(np.log10(got[4:] / wanted[4:])) < 1).all()


class Tally:
    """Counts its calls; unlike a list that is appended to, nothing that tracing would warn of."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)

    def __call__(self) -> int:
        return next(self._numbers)

    @property
    def count(self) -> int:
        """How often it was called."""
        return int(repr(self._numbers)[len("count(") : -1]) - 1


@pytest.fixture
def tally():
    """A counter of calls of Python code."""
    return Tally()


@pytest.fixture
def one_thread():
    """NumPy's OpenBLAS on one thread, where it can be found: the curve in float32 is stated for one."""
    for path in (Path(np.__file__).parents[1] / "numpy.libs").glob("libscipy_openblas64_*"):
        library = ctypes.CDLL(str(path))
        before = library.scipy_openblas_get_num_threads64_()
        library.scipy_openblas_set_num_threads64_(1)
        yield
        library.scipy_openblas_set_num_threads64_(before)
        return
    yield


def _curve(dtype: Any) -> Curve:
    rng = np.random.default_rng(0)
    shapes = [(60, 1000), (60, 10), (1000, 100), (100, 10)]
    return Curve(dtype, *[rng.standard_normal(shape).astype(dtype) for shape in shapes])


@pytest.fixture(params=["float64", "float32"])
def curve(request, one_thread):
    """Reference curve R1, in both precisions."""
    return _curve(np.dtype(request.param))


@pytest.fixture
def curve64(one_thread):
    """Reference curve R1 in float64."""
    return _curve(np.dtype("float64"))


@pytest.fixture(params=["eager", "traced"])
def run(request):
    """A decorator: nothing, or `td.function`. Its `traced` tells which."""

    def decorate(f: Any) -> Any:
        return td.function(f) if request.param == "traced" else f

    decorate.traced = request.param == "traced"
    return decorate


@pytest.fixture
def printed(capsys):
    """The lines that were printed since the last call."""

    def lines() -> list[str]:
        return capsys.readouterr().out.splitlines()

    return lines
