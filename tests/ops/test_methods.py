"""Operators and methods of tensors and variables, their protocols, and what they say of traced tensors."""

from __future__ import annotations

import copy
import math
import operator
import pickle
import re

import numpy as np
import pytest
from common import traced

import treadle as td
from treadle.errors import LeakedTensor, ShapeError, TraceError

BINARY = ["add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "lt", "le", "gt", "ge", "eq", "ne"]


@pytest.mark.parametrize("name", BINARY)
def test_binary_operators(name):
    f = getattr(operator, name)
    x, a = td.asarray([1.0, 2.0, 5.0]), np.array([1, 2, 5], np.float32)
    v = td.Variable(x)
    for other in (2.0, 3, np.array([2, 2, 2], np.float32)):
        want = f(a, other)
        for one in (x, v):
            np.testing.assert_allclose(np.asarray(f(one, other)), want, rtol=1e-6)
            assert isinstance(f(one, other), td.Tensor)
            back = f(other, one)
            assert isinstance(back, td.Tensor)
            np.testing.assert_allclose(np.asarray(back), f(other, a), rtol=1e-6)
    assert isinstance(f(v, x), td.Tensor)


def test_integer_operators():
    x = td.asarray([5, 6])
    assert (x & 3).tolist() == [1, 2]
    assert (3 | x).tolist() == [7, 7]
    assert (x ^ x).tolist() == [0, 0]
    assert (~x).tolist() == [-6, -7]
    assert (x << 1).tolist() == [10, 12]
    assert (x >> 1).tolist() == [2, 3]
    assert (~(x > 5)).tolist() == [True, False]
    assert (-x).tolist() == [-5, -6]
    assert abs(-x).tolist() == [5, 6]
    assert (x @ x).item() == 61
    assert (np.array([1, 1]) @ x).item() == 11


def test_equality_and_hash():
    x = td.asarray([1, 2])
    assert (x == x).tolist() == [True, True]
    assert (x == None) is False  # noqa: E711
    assert (x != None) is True  # noqa: E711
    assert {x: 1}[x] == 1
    assert len({x, td.asarray([1, 2])}) == 2
    assert 2 in x
    assert 3 not in x


def test_python_numbers():
    assert bool(td.asarray([1])) is True
    assert int(td.asarray(2.7)) == 2
    assert float(td.asarray([[2]])) == 2.0
    assert complex(td.asarray(1j)) == 1j
    assert [10, 20, 30][td.asarray(1)] == 20
    assert list(range(td.asarray(3))) == [0, 1, 2]
    assert math.sqrt(td.asarray(4.0)) == 2
    assert td.Variable(3).value.item() == int(td.Variable(3)) == 3
    with pytest.raises(ShapeError, match=r"td\.any"):
        bool(td.asarray([1, 2]))
    with pytest.raises(ShapeError, match="one element"):
        float(td.asarray([1.0, 2.0]))
    with pytest.raises(TypeError, match="integer tensors"):
        operator.index(td.asarray(1.0))


def test_sequence_behaviour():
    x = td.asarray([[1, 2], [3, 4]])
    assert len(x) == 2
    assert [row.tolist() for row in x] == [[1, 2], [3, 4]]
    assert x.size == 4
    assert x.T.tolist() == x.mT.tolist() == [[1, 3], [2, 4]]
    assert x.reshape(4).tolist() == x.reshape((4,)).tolist() == x.reshape(2, 2).flatten().tolist() == [1, 2, 3, 4]
    assert x.transpose(1, 0).tolist() == x.transpose().tolist() == [[1, 3], [2, 4]]
    assert x.at[0].set(0).tolist() == [[0, 0], [3, 4]]
    with pytest.raises(TypeError, match=r"\.at\[index\]\.set"):
        x[0] = 1
    with pytest.raises(TypeError, match="assign"):
        td.Variable([1])[0] = 2
    for run in (lambda: len(td.asarray(1)), lambda: iter(td.asarray(1))):
        with pytest.raises(TypeError, match="0-d"):
            run()


def test_reductions_as_methods():
    x = td.asarray([[1.0, 2.0], [3.0, 5.0]])
    assert x.sum().item() == 11
    assert x.mean(0).tolist() == [2, 3.5]
    assert x.max(axis=1, keepdims=True).tolist() == [[2], [5]]
    assert x.argmax(1).tolist() == [1, 1]
    assert x.astype(td.int8).dtype == td.int8
    assert td.Variable(x).sum(axis=0).tolist() == [4, 7]
    assert x.std().item() == pytest.approx(np.std([1, 2, 3, 5]))


def test_repr_str_format():
    assert repr(td.asarray([1.0, 2.0])) == "Tensor([1., 2.], shape=(2,), dtype=float32)"
    assert repr(td.ones((2, 2))) == "Tensor([[1., 1.], [1., 1.]], shape=(2, 2), dtype=float32)"
    assert repr(td.asarray("hello world")) == "Tensor('hello world', shape=(), dtype=string)"
    assert repr(td.asarray(True)) == "Tensor(True, shape=(), dtype=bool)"
    assert repr(td.zeros((0, 2))) == "Tensor([], shape=(0, 2), dtype=float32)"
    assert "\n" in repr(td.zeros((30, 4)))
    assert "..." in repr(td.arange(5000))
    assert str(td.asarray([1, 2])) == "[1 2]"
    assert str(td.asarray("hi")) == "hi"
    assert f"{td.asarray(3.14159):.2f}" == "3.14"
    assert f"{td.asarray([1.0, 2.5]):.1f}" == "[1.0 2.5]"
    assert f"{td.asarray([1, 2])}" == "[1 2]"
    assert f"{td.Variable(2.5):.1f}" == "2.5"
    assert "<table>" in td.ones((2, 2))._repr_html_()
    assert "&lt;b&gt;" in td.asarray("<b>")._repr_html_()


def test_numpy_and_dlpack():
    x = td.asarray([1.0, 2.0])
    assert np.asarray(x).dtype == np.float32
    assert np.asarray(x, np.float64).dtype == np.float64
    assert not x.numpy().flags.writeable
    assert np.array(x).flags.writeable
    assert np.from_dlpack(x).tolist() == [1, 2]
    assert td.asarray(np.from_dlpack(x)).tolist() == [1, 2]
    assert x.__array_namespace__() is td
    with pytest.raises(ValueError, match="1999"):
        x.__array_namespace__(api_version="1999.1")


def test_pickle_and_copy():
    for x in (td.asarray([[1.0, 2.0]]), td.asarray(3), td.asarray(["a", "b"]), td.asarray("s"), td.ones((2, 3)).T):
        again = pickle.loads(pickle.dumps(x))
        assert again.tolist() == x.tolist()
        assert again.spec == x.spec
        assert copy.copy(x) is copy.deepcopy(x) is x
    v = pickle.loads(pickle.dumps(td.Variable([1.0], name="w")))
    assert v.name == "w"
    assert (v + 1).tolist() == [2.0]


@pytest.mark.parametrize(
    ("use", "words"),
    [
        (lambda x: bool(x > 0), "if.*while.*td.cond"),
        (lambda x: int(x), "td.range"),
        (lambda x: math.sqrt(x), "td.sqrt"),
        (lambda x: x.item(), "item"),
        (lambda x: x.numpy(), "numpy"),
        (lambda x: np.array([x, x]), "td.stack"),
        (lambda x: np.zeros(2).__setitem__(slice(None), x), r"\.at"),
        (lambda x: pickle.dumps(x), "pickle"),
        (lambda x: [1][x.astype(td.int32)], "td.take"),
    ],
)
def test_traced_tensors_have_no_values(use, words):
    with pytest.raises(TraceError) as caught:
        traced(lambda x: [x, use(x)][0], td.asarray(1.0))
    assert re.search(words, str(caught.value), re.S)
    assert "test_methods.py" in str(caught.value)


def test_numpy_wraps_the_error_of_an_element_assignment():
    with pytest.raises(ValueError, match="setting an array element") as caught:
        traced(lambda x: [x, np.zeros(2).__setitem__(0, x)][0], td.asarray(1.0))
    assert isinstance(caught.value.__cause__, TraceError)


def test_leaked_tensors():
    kept = []
    traced(lambda x: kept.append(x * 2) or x, td.asarray(1.0))
    for use in (lambda x: x + 1, bool, lambda x: x.numpy(), lambda x: np.asarray(x)):
        with pytest.raises(LeakedTensor, match="multiply"):
            use(kept[0])
    assert "traced tensor multiply" in repr(kept[0])
    assert td.is_traced(kept[0])
    assert not td.is_traced(td.ones(1))


def test_rows_of_unknown_number_cannot_be_iterated():
    spec = td.TensorSpec((None, 2)).to_spec("n")
    with pytest.raises(TraceError, match="scan"):
        traced(lambda x: [row for row in x], td.ones((3, 2)), specs=[spec])
    rows, _ = traced(lambda x: [row for row in x], td.ones((3, 2)))
    assert len(rows) == 3
