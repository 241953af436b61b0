"""`td.debug.check_numerics`: the first NaN or infinity raises, with the user's line, eagerly and in graphs."""

import numpy as np
import pytest

import treadle as td


def roots(x, n):
    y = x
    while n > 0:
        y = y - 1.0
        w = td.sqrt(y)
        y = y + w * 0.0
        n = n - 1
    return y


LINE = roots.__code__.co_firstlineno + 4
BAD, GOOD, N = td.asarray(2.5), td.asarray(9.5), td.asarray(5)

WAYS = {
    "eager": roots,
    "graph": td.function(roots),
    "eager gradient": td.grad(roots),
    "gradient of a graph": td.grad(td.function(roots)),
    "gradient in a graph": td.function(lambda x, n: td.grad(roots)(x, n)),
    "second gradient in a graph": td.function(lambda x, n: td.grad(td.grad(roots))(x, n)),
    "forward in a graph": td.function(lambda x, n: td.jvp(lambda x: roots(x, n), (x,), (td.ones(()),))[1]),
}


@pytest.mark.parametrize("way", WAYS)
def test_the_users_line_is_named(way):
    f = WAYS[way]
    with np.errstate(all="ignore"):
        plain = f(BAD, N)  # says nothing
    with td.debug.check_numerics():
        good = f(GOOD, N)
        with pytest.raises(td.errors.NumericsError, match=r"sqrt gave float32\[\] with 1 NaN of 1 values") as caught:
            f(BAD, N)
    assert caught.value.location.line == LINE and caught.value.location.file == __file__
    assert isinstance(caught.value, FloatingPointError)
    if way == "graph":
        (note,) = caught.value.__notes__
        assert note.startswith("in iteration 2 of the loop at test_numerics.py:")
    np.testing.assert_allclose(good.numpy(), f(GOOD, N).numpy(), rtol=1e-6)
    with np.errstate(all="ignore"):
        np.testing.assert_array_equal(f(BAD, N).numpy(), plain.numpy())  # and nothing of it stays behind


def test_inside_a_traced_function():
    @td.function
    def f(x):
        with td.debug.check_numerics():
            y = td.cond(x > 0, lambda: td.log(x), lambda: td.log(x + 1.0))
        return td.log(y)  # not checked

    assert np.isnan(f(0.5).numpy())
    with pytest.raises(td.errors.NumericsError, match="1 infinite of 1"):
        f(-1.0)


def test_a_failed_call_changes_no_variable():
    v = td.Variable(1.0)

    @td.function
    def f(x):
        v.assign(2.0)
        return td.log(x)

    with td.debug.check_numerics(), pytest.raises(td.errors.NumericsError):
        f(-1.0)
    assert v.numpy() == 1.0


def test_where_the_first_one_stands():
    x = td.asarray([[1.0, 2.0], [3.0, 0.0]])
    with td.debug.check_numerics(), pytest.raises(td.errors.NumericsError) as caught:
        1.0 / x
    assert "divide gave float32[2, 2] with 1 infinite of 4 values, the first at [1, 1]" in str(caught.value)


def test_constants_integers_and_what_came_in_may_be_anything():
    with td.debug.check_numerics():
        assert td.full((2,), td.inf).tolist() == [np.inf, np.inf]
        assert td.isnan(td.asarray(np.nan)).item()
        assert (td.asarray(4) // 2).item() == 2
        with pytest.raises(td.errors.NumericsError):
            td.asarray(np.nan) + 1.0


def test_a_training_step_finds_the_gradient_that_blew_up():
    w = td.Variable(np.zeros(3, np.float32), name="w")
    optimizer = td.optim.SGD(0.1)

    @td.function
    def train(x):
        with td.GradientTape() as tape:
            loss = td.sum(td.sqrt(w * x))
        optimizer.apply_gradients([(tape.gradient(loss, w), w)])
        return loss

    with td.debug.check_numerics(), pytest.raises(td.errors.NumericsError) as caught:
        train(td.ones((3,)))
    assert caught.value.location.source == "loss = td.sum(td.sqrt(w * x))"
    assert w.numpy().tolist() == [0, 0, 0]
