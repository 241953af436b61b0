"""Creation: asarray and its promises about memory, constants, ranges, devices, names from elsewhere."""

from __future__ import annotations

import numpy as np
import pytest
from common import same, traced

import treadle as td
from treadle.errors import DeviceError, DTypeError, ShapeError


def test_python_values():
    assert td.asarray(1.5).dtype == td.asarray([1, 2.0]).dtype == td.float32
    assert td.asarray(3).dtype == td.asarray([[1], [True]]).dtype == td.int64
    assert td.asarray(True).dtype == td.bool
    assert td.asarray([1, 2j]).dtype == td.complex64
    assert td.asarray(["a", "bc"]).dtype == td.string
    assert td.asarray([]).dtype == td.float32
    assert td.asarray(range(3)).tolist() == [0, 1, 2]
    assert td.tensor([1], td.float64).dtype == td.float64
    assert td.asarray([td.ones(2), td.zeros(2)]).shape == (2, 2)
    assert td.asarray(td.Variable([1.0])).tolist() == [1.0]


def test_arrays_keep_their_dtype():
    for dtype in ("int8", "uint16", "float32", "float64", "complex128", "bool"):
        assert td.asarray(np.ones(2, dtype)).dtype == dtype
    assert td.asarray(np.ones(2, ">f8")).dtype == td.float64
    assert td.asarray(np.float64(1)).dtype == td.float64
    assert td.asarray(np.array(["ab"])).dtype == td.string


def test_what_is_no_tensor():
    for value in (None, object(), {"a": 1}, [[1], [1, 2]], [None]):
        with pytest.raises((DTypeError, TypeError, ValueError)):
            td.asarray(value)
    with pytest.raises(DTypeError, match="float16"):
        td.asarray(np.ones(2, np.float16))


def test_memory_that_can_be_written_is_copied():
    a = np.ones(3)
    x = td.asarray(a)
    view = td.asarray(a[:2])
    a[:] = 5
    assert x.tolist() == [1, 1, 1]
    assert view.tolist() == [1, 1]
    frozen = np.ones(3)
    frozen.flags.writeable = False
    assert td.asarray(frozen).array is frozen
    sneaky = np.ones(3)
    window = sneaky[:]
    window.flags.writeable = False
    y = td.asarray(window)
    sneaky[:] = 7
    assert y.tolist() == [1, 1, 1]
    with pytest.raises(ValueError, match="copy"):
        td.asarray(np.ones(2), copy=False)
    with pytest.raises(ValueError, match="read-only"):
        x.numpy()[0] = 1
    assert td.asarray(x) is x


def test_constants():
    same(td.full((2,), 3).numpy(), np.full(2, 3))
    same(td.full(2, 0.5).numpy(), np.full(2, 0.5, np.float32))
    assert td.full((2, 2), td.asarray([1, 2])).tolist() == [[1, 2], [1, 2]]
    assert td.full((2,), True).dtype == td.bool
    x = td.ones((2, 3), dtype=td.int32)
    for f in (td.zeros_like, td.ones_like, td.empty_like, lambda x: td.full_like(x, 7)):
        assert (f(x).shape, f(x).dtype) == ((2, 3), td.int32)
    assert td.zeros_like(x, dtype=td.float64).dtype == td.float64
    same(td.eye(2, 3, k=1).numpy(), np.eye(2, 3, 1, dtype=np.float32))
    assert td.empty((0, 2)).shape == (0, 2)


@pytest.mark.parametrize("args", [(3,), (2, 5), (5, 1, -2), (0, 1, 0.25), (3, 0), (1.0, 2.0, 0.3)])
def test_arange(args):
    got = td.arange(*args).numpy()
    want = np.arange(*args)
    np.testing.assert_allclose(got, want, rtol=1e-6)
    assert got.dtype == (np.int64 if want.dtype.kind == "i" else np.float32)
    same(traced(lambda x: td.arange(*args) + x * 0, td.asarray(0))[0][0].numpy(), got)


def test_linspace():
    same(td.linspace(0, 1, 5).numpy(), np.linspace(0, 1, 5, dtype=np.float32))
    same(td.linspace(0, 1, 4, endpoint=False, dtype=td.float64).numpy(), np.linspace(0, 1, 4, endpoint=False))
    same(td.linspace(td.asarray(1.0), 3, 3).numpy(), np.array([1, 2, 3], np.float32))


def test_symbolic_shapes():
    n = td.Dim.named("n")
    spec = td.TensorSpec(("n",), td.float32).to_spec("_")
    f = lambda x: (
        td.zeros(x.shape) + x,
        td.arange(x.shape[0]),
        td.eye(x.shape[0]),
        td.full((x.shape[0] * 2,), 1),
        td.mean(x),
    )
    results, graph = traced(f, td.ones(4), specs=[spec])
    assert graph.outputs[1].shape == (n,)
    assert [r.shape for r in results] == [(4,), (4,), (4, 4), (8,), ()]
    assert results[1].tolist() == [0, 1, 2, 3]
    with pytest.raises(ShapeError, match="step of 1"):
        traced(lambda x: td.arange(0, x.shape[0], 2), td.ones(4), specs=[spec])


def test_devices():
    assert td.ones(1).device == td.device("cpu") == "cpu"
    with td.device("cpu"):
        assert td.asarray(1, device=td.device("cpu")).device == "cpu"
    for run in (lambda: td.device("cuda:0"), lambda: td.zeros(1, device="gpu"), lambda: td.ones(1).to_device("tpu")):
        with pytest.raises(DeviceError, match="cpu"):
            run()


@pytest.mark.parametrize(
    ("name", "instead"),
    [("reduce_sum", "td.sum"), ("clamp", "td.clip"), ("mm", "td.matmul"), ("constant", "td.asarray")],
)
def test_names_from_elsewhere(name, instead):
    with pytest.raises(AttributeError, match=instead):
        getattr(td, name)
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        td.nonsense
    assert not hasattr(td, name)
