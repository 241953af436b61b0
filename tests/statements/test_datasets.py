"""Loops over datasets in traced functions: one node, the batches of each run, a smaller last one, exits, gradients."""

from __future__ import annotations

import numpy as np
import pytest

import treadle as td
from treadle.data import Dataset
from treadle.data.groups import Group

X, Y = np.arange(10, dtype=np.float32), np.arange(10) * 10


def rows():
    return Dataset.from_tensor_slices((X, Y))


def ops(function):
    return [node.op for node in function.traces[0].graph.nodes]


def both(function, make):
    """Eagerly and traced, each over a dataset of its own; a second call traces nothing."""
    traced = td.function(function)
    ds = make()
    wanted = function(make())
    results = [traced(ds)] if make is shuffled else [traced(ds), traced(ds)]
    for got in results:
        for a, b in zip(td.nest.flatten(got), td.nest.flatten(wanted), strict=True):
            np.testing.assert_allclose(np.asarray(a), np.asarray(b), rtol=1e-5)
    assert ops(traced).count("while") == 1
    assert traced.trace_count == 1
    return traced


def shuffled():
    mapped = rows().shuffle(10, seed=1).map(lambda a, b: (a / 2, b))
    return mapped.batch(4, drop_remainder=True).repeat(2).prefetch(2)


def weighted(ds):
    total, count = 0.0, 0
    for x, y in ds:
        total = total * 2 + td.sum(x * td.astype(y, td.float32))
        count = count + 1
    return total, count


@pytest.mark.parametrize(
    "make",
    [
        lambda: rows().batch(5),
        lambda: rows().batch(3),
        lambda: rows().batch(3, drop_remainder=True),
        lambda: rows().batch(20),
        lambda: rows(),
        lambda: rows().repeat().take(7).batch(3),
        lambda: rows().batch(3).take(2),
        lambda: rows().batch(4).map(lambda x, y: (x * 2, y + 1)),
        shuffled,
    ],
)
def test_all_batches_in_one_node(make):
    both(weighted, make)


def test_enumerate_goes_on_in_the_last_smaller_batch():
    def f(ds):
        s = 0.0
        for k, (x, _) in enumerate(ds, 1):
            s = s + k * td.sum(x)
        return s

    both(f, lambda: rows().batch(3))


def test_break_and_else():
    def f(ds):
        s = 0.0
        for x, _ in ds:
            if x[0] > 4:
                break
            s = s + td.sum(x)
        else:
            s = s + 100
        return s

    both(f, lambda: rows().batch(3))
    both(f, lambda: rows().batch(3).take(2))


def test_return_inside():
    def f(ds):
        for k, (x, _) in enumerate(ds):
            if k == 1:
                return td.sum(x)
        return td.asarray(0.0)

    both(f, lambda: rows().batch(4))


def test_nested_loops_and_zip():
    def nested(ds):
        s = 0.0
        for x, _ in ds:
            for z, _ in ds:
                s = s + td.sum(x) * td.sum(z)
        return s

    def zipped(ds):
        s = 0.0
        for (x, _), k in zip(ds, td.range(2)):
            s = s + td.sum(x) * td.astype(k, td.float32)
        return s

    both(nested, lambda: rows().batch(5))
    both(zipped, lambda: rows().batch(3, drop_remainder=True))


def test_effects_come_in_program_order(capsys):
    @td.function
    def f(ds):
        for k, (x, _) in ds.batch(4).enumerate():
            td.print(k, x)
        td.print("end")

    f(rows())
    assert capsys.readouterr().out == "0 [0. 1. 2. 3.]\n1 [4. 5. 6. 7.]\n2 [8. 9.]\nend\n"


def test_variables_and_gradients_inside():
    def train(v, ds):
        loss = 0.0
        for x, _ in ds:
            with td.GradientTape() as tape:
                loss = td.mean((v * x - 1.0) ** 2)
            v.assign_sub(0.01 * tape.gradient(loss, v))
        return loss

    eager, traced = td.Variable(2.0), td.Variable(2.0)
    wanted = train(eager, rows().batch(3))
    got = td.function(train)(traced, rows().batch(3))
    np.testing.assert_allclose([got.numpy(), traced.numpy()], [wanted.numpy(), eager.numpy()], rtol=1e-5)


def test_gradient_of_a_loop_over_batches():
    @td.function
    def f(ds, w):
        with td.GradientTape() as tape:
            tape.watch(w)
            s = w * 0
            for x, _ in ds:
                s = s + w * w * td.sum(x)
        return tape.gradient(s, w)

    assert f(rows().batch(4), td.asarray(3.0)).item() == pytest.approx(6 * X.sum())


@pytest.mark.parametrize(
    "make",
    [
        lambda: rows().batch(4).repeat(3),
        lambda: rows().batch(3).repeat(2).take(6),
        lambda: rows().batch(4).shuffle(3, seed=5),
    ],
)
def test_shapes_that_change_again_and_again(make):
    traced = td.function(weighted)
    wanted = weighted(make())
    for a, b in zip(traced(make()), wanted, strict=True):
        np.testing.assert_allclose(np.asarray(a), np.asarray(b), rtol=1e-5)
    assert ops(traced).count("while") == 1


def test_exits_and_counters_over_changing_shapes():
    def f(ds):
        s = 0.0
        for k, (x, _) in enumerate(ds):
            if k == 5:
                break
            s = s * 2 + k * td.sum(x)
        else:
            s = s + 100
        return s

    both(f, lambda: rows().batch(4).repeat(3))
    both(f, lambda: rows().batch(4).repeat(3).take(4))


def test_too_many_shapes_are_an_error():
    many = Dataset(lambda: iter(()), None, lambda: [Group(td.ones((k,)), 1) for k in range(1, 6)])
    with pytest.raises(td.errors.ShapeError, match="5 different shapes"):
        td.function(weighted)(many)


def test_random_numbers_of_the_dataset_and_of_the_function():
    def f(ds):
        s = 0.0
        for x, _ in ds:
            s = s + td.sum(x)
        return s

    def g(ds):
        return f(ds) + td.random.uniform(())

    def noisy(draw):
        return rows().map(lambda x, y: (x + draw(()), y)).batch(5)

    td.random.seed(3)
    wanted = f(noisy(td.random.uniform))
    td.random.seed(3)
    assert td.function(f)(noisy(td.random.uniform)).item() == pytest.approx(wanted.item())
    with pytest.raises(td.errors.ControlFlowError, match="the dataset of this loop draws from td.random"):
        td.function(g)(noisy(td.random.uniform))
    assert np.isfinite(td.function(g)(noisy(td.random.Generator(1).uniform)).item())


def test_a_checkpointed_loop_over_a_dataset_is_an_error():
    @td.function
    def f(ds, w):
        def inner(w):
            s = w * 0
            for x, _ in ds:
                s = s + w * w * td.sum(x)
            return s

        return td.grad(td.checkpoint(inner))(w)

    with pytest.raises(td.errors.GradientError, match="checkpointed and loops over a dataset"):
        f(rows().batch(5), td.asarray(2.0))


def test_an_item_of_another_shape_is_an_error():
    uneven = Dataset(lambda: iter([(td.ones((2,)), td.ones((2,))), (td.ones((3,)), td.ones((3,)))]), None)
    with pytest.raises(td.errors.ShapeError, match="the loop was traced for"):
        td.function(weighted)(uneven)


def test_an_empty_dataset_runs_no_round():
    total, count = td.function(weighted)(rows().take(0).batch(2))
    assert (float(total), int(count)) == (0, 0)


def test_random_numbers_of_samples_are_given_back():
    td.random.seed(4)
    first = td.random.uniform((2,)).tolist()
    td.random.seed(4)
    ds = rows().map(lambda x, y: (x + td.random.uniform(()), y)).batch(2)
    assert ds.staged_source()
    assert td.random.uniform((2,)).tolist() == first
