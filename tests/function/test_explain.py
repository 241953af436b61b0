"""What errors that leave a trace tell: whose line, why, and what to write instead."""

from pathlib import Path

import numpy as np
import pytest

import treadle as td


def line_of(text):
    """The number of the line of this file that ends with a marker."""
    (found,) = [k for k, line in enumerate(Path(__file__).read_text().splitlines(), 1) if line.endswith(f"# {text}")]
    return found


def test_writing_into_a_numpy_array_is_our_error():
    @td.function
    def f(x):
        out = np.zeros(2)
        out[0] = x[0]  # into NumPy
        return td.asarray(out)

    with pytest.raises(td.errors.TraceError, match=r"(?s)\.at.*out\[0\] = x\[0\]") as caught:
        f(td.ones((2,)))
    assert f"line {line_of('into NumPy')}" in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__
    assert caught.traceback[-1].lineno + 1 == line_of("into NumPy")


def test_an_error_of_the_user_s_own_stays_as_it_is():
    @td.function
    def f(x):
        try:
            x.item()
        except td.errors.TraceError as error:
            raise ValueError("mine") from error

    with pytest.raises(ValueError, match="mine") as caught:
        f(td.asarray(1.0))
    assert type(caught.value) is ValueError
    assert isinstance(caught.value.__cause__, td.errors.TraceError)
    assert not hasattr(caught.value, "__notes__")


def test_an_error_of_python_in_a_branch_on_a_tensor_is_told():
    table = {"a": 1.0}

    @td.function
    def inner(x):
        while x < 3:
            if x < 0:  # the inner test
                x = x + table["b"]
            x = x + 1
        return x

    @td.function
    def outer(x):
        if x > 0:
            x = inner(x)
        return x

    def plain(x, n):
        if n > 0:
            return x + table["b"]
        return x

    with pytest.raises(KeyError, match="b") as caught:
        outer(td.asarray(1.0))
    (note,) = caught.value.__notes__
    assert f"line {line_of('the inner test')}" in note
    assert "if x < 0:" in note
    assert "Both branches are traced" in note
    with pytest.raises(KeyError) as caught:
        td.function(plain)(td.asarray(1.0), 1)
    assert not hasattr(caught.value, "__notes__")


def test_what_the_note_proposes_works():
    def refuse(bad):
        if bad:
            raise ValueError("negative")
        return td.asarray(0.0)

    @td.function
    def f(x):
        return x + td.py_function(refuse, x < 0, out=td.TensorSpec(()))

    assert f(td.asarray(1.0)).item() == 1.0
    with pytest.raises(ValueError, match="negative"):
        f(td.asarray(-1.0))


def test_a_condition_in_a_property_is_converted():
    class Holder:
        def __init__(self, value):
            self.value = value

        @property
        def size(self):
            return self.value if self.value > 0 else -self.value

        def length(self):
            return self.value if self.value > 0 else -self.value

    assert td.function(lambda x: Holder(x).size)(td.asarray(-2.0)).item() == 2.0
    assert td.function(lambda x: Holder(x).length())(td.asarray(-2.0)).item() == 2.0


def test_an_error_that_a_finally_hides_is_the_one_told():
    @td.function
    def f(x):
        k = 0
        try:
            for k in td.range(3):
                x = td.concat([x, x])
        finally:
            k += 1
        return x

    with pytest.raises(td.errors.ControlFlowError, match="'x'") as caught:
        f(td.ones((2,)))
    assert not isinstance(caught.value, td.errors.LeakedTensor)
