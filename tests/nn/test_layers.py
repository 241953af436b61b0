"""Layers: values, building at the first call, errors, eager against traced."""

import copy
import math
import re

import numpy as np
import pytest

import treadle as td


def test_dense_with_known_weights():
    layer = td.nn.Dense(1, activation="sigmoid")
    x = td.asarray([[0.0288, -0.3256, 0.5925]])
    layer(x)
    layer.kernel.assign([[-3.14], [-2.31], [2.16]])
    layer.bias.assign([0.0])
    y = layer(x)
    assert y.dtype == td.float32
    np.testing.assert_allclose(y.numpy(), [[0.87451726]], rtol=2e-7)


@pytest.mark.parametrize("traced", [False, True])
def test_dense_is_built_once(traced):
    layer = td.nn.Dense(4)
    f = td.function(lambda x: layer(x)) if traced else layer
    assert f(td.ones((2, 3))).shape == (2, 4)
    variables = layer.variables
    assert f(td.ones((5, 3))).shape == (5, 4)
    assert f(td.ones((2, 3))).shape == (2, 4)
    assert layer.variables == variables and len(variables) == 2
    with pytest.raises(td.errors.ShapeError, match=r"size 7.*built for 3"):
        f(td.ones((2, 7)))
    assert f(td.ones((2, 3))).shape == (2, 4)
    if traced:
        assert f.trace_count == 2


def test_a_lazily_built_model_is_traced_once():
    model = td.nn.Sequential([td.nn.Dense(3, "relu"), td.nn.Dense(2)])
    f = td.function(lambda model, x: model(x))
    x = td.ones((2, 4))
    first = f(model, x).numpy()
    assert f.trace_count == 1 and len(model.variables) == 4
    np.testing.assert_array_equal(f(model, x).numpy(), first)
    assert f.trace_count == 1
    np.testing.assert_allclose(model(x).numpy(), first, rtol=1e-6)


def test_weights_made_while_tracing_are_drawn_once():
    def build_and_draw(traced):
        td.random.seed(3)
        layer = td.nn.Dense(2)
        f = td.function(lambda x: layer(x)) if traced else layer
        f(td.ones((1, 2)))
        f(td.ones((1, 2)))
        return layer.kernel.numpy(), td.random.uniform((3,)).numpy()

    for eager, traced in zip(build_and_draw(False), build_and_draw(True), strict=True):
        np.testing.assert_array_equal(eager, traced)


def test_dense_takes_the_dtype_of_its_input():
    layer = td.nn.Dense(2)
    assert layer(td.ones((1, 3), dtype=td.float64)).dtype == td.float64 == layer.kernel.dtype
    assert td.nn.Dense(2)(td.ones((1, 3), dtype=td.int32)).dtype == td.float32


def test_dense_without_bias_and_on_more_axes():
    layer = td.nn.Dense(5, use_bias=False, kernel_initializer="ones")
    np.testing.assert_array_equal(layer(td.ones((2, 3, 4))).numpy(), np.full((2, 3, 5), 4, np.float32))
    assert len(layer.variables) == 1 and layer.bias is None


def test_dense_refuses_bad_arguments():
    with pytest.raises(td.errors.ArgumentError, match="units must be at least 1"):
        td.nn.Dense(0)
    with pytest.raises(ValueError, match="no activation 'rellu'.*relu"):
        td.nn.Dense(1, "rellu")
    with pytest.raises(ValueError, match="no initialiser 'glorot'.*glorot_uniform"):
        td.nn.Dense(1, kernel_initializer="glorot")
    with pytest.raises(td.errors.ShapeError, match="at least one axis"):
        td.nn.Dense(1)(td.asarray(1.0))


def test_sequential_from_list_add_and_pop():
    model = td.nn.Sequential()
    for units in (4, 3, 2):
        model.add(td.nn.Dense(units))
    last = model.pop()
    assert last.units == 2 and len(model.layers) == 2
    assert model(td.ones((1, 5))).shape == (1, 3)
    assert len(model.submodules) == 2
    with pytest.raises(TypeError, match="must be callable"):
        model.add(3)
    with pytest.raises(IndexError, match="no layer"):
        td.nn.Sequential().pop()


def test_sequential_takes_functions_and_converts_them():
    def clipped(x):
        if td.sum(x) > 3.0:
            x = x * 0.0
        return x

    model = td.nn.Sequential([td.nn.relu, clipped])
    f = td.function(lambda x: model(x))
    for g in (model, f):
        assert g(td.asarray([1.0, -1.0])).tolist() == [1.0, 0.0]
        assert g(td.asarray([9.0, -1.0])).tolist() == [0.0, 0.0]
    assert f.trace_count == 1


def test_sequential_hands_training_to_the_layers_that_take_it():
    model = td.nn.Sequential([td.nn.Flatten(), td.nn.Dropout(0.5), td.nn.Activation("relu")])
    x = td.ones((100, 4, 5))
    assert model(x).shape == (100, 20)
    assert td.all(model(x) == 1)
    assert set(np.unique(model(x, training=True).numpy())) == {0.0, 2.0}


def test_dropout_keeps_the_mean_and_draws_anew_in_a_graph():
    layer = td.nn.Dropout(0.25)
    f = td.function(lambda x: layer(x, training=True))
    td.random.seed(0)
    x = td.ones((200, 200))
    first, second = f(x).numpy(), f(x).numpy()
    assert abs(first.mean() - 1) < 0.02 and abs((first == 0).mean() - 0.25) < 0.02
    assert (first != second).any()
    with pytest.raises(ValueError, match=r"\[0, 1\)"):
        td.nn.Dropout(1.0)


def test_names_of_layers_are_numbered():
    class Peculiar(td.nn.Layer):
        pass

    assert [Peculiar().name, Peculiar().name, Peculiar(name="mine").name] == ["peculiar", "peculiar_1", "mine"]


def test_gradients_of_a_model_traced_and_eager():
    td.random.seed(1)
    model = td.nn.Sequential([td.nn.Dense(5, "tanh"), td.nn.Dense(3)])
    x = td.random.normal((4, 6), dtype=td.float64)
    model(x)

    def gradients(x):
        with td.GradientTape() as tape:
            loss = td.sum(model(x) ** 2)
        return tape.gradient(loss, list(model.variables))

    for a, b in zip(gradients(x), td.function(gradients)(x), strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-11)


def test_a_deep_copy_has_the_same_outputs_and_its_own_weights():
    model = td.nn.Sequential([td.nn.Dense(3, "relu"), td.nn.Dense(2)])
    x = td.ones((2, 4))
    y = model(x).numpy()
    twin = copy.deepcopy(model)
    np.testing.assert_array_equal(twin(x).numpy(), y)
    twin.variables[0].assign(td.ones((3,)))
    np.testing.assert_array_equal(model(x).numpy(), y)


@pytest.mark.parametrize(
    ("name", "variance"), [("lecun", 1 / 300), ("he", 2 / 300), ("glorot", 2 / (300 + 200))], ids=str
)
@pytest.mark.parametrize("spread", ["normal", "uniform"])
def test_variance_of_initialisers(name, variance, spread):
    td.random.seed(0)
    values = getattr(td.nn.init, f"{name}_{spread}")()((300, 200), td.float64).numpy()
    assert values.dtype == np.float64
    assert abs(values.mean()) < 5e-4
    np.testing.assert_allclose(values.var(), variance, rtol=0.03)
    if spread == "uniform":
        assert np.abs(values).max() <= np.sqrt(3 * variance)


def test_constant_initialisers_and_default_dtype():
    assert td.nn.init.zeros()((2,)).tolist() == [0.0, 0.0]
    assert td.nn.init.ones()((2,), td.float64).dtype == td.float64
    assert td.nn.init.zeros()((2,)).dtype == td.float32


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: td.nn.Dense(2.5), "Dense: units must be a whole number, got 2.5"),
        (lambda: td.nn.Conv2D("a", 3), "Conv2D: filters must be a whole number, got 'a'"),
        (lambda: td.nn.Conv2D(4, 3, strides=1.5), "Conv2D: strides must be a positive number or two, got 1.5"),
        (lambda: td.nn.Conv2D(4, 3, padding="full"), 'padding must be "valid" or "same"'),
        (lambda: td.nn.Dropout(1.0), "Dropout: the rate must lie in [0, 1), got 1.0"),
        (lambda: td.nn.Dropout("a"), "Dropout: the rate must be a finite number from 0 to 1, got 'a'"),
        (lambda: td.nn.Embedding(5, 0), "Embedding: output_dim must be at least 1, got 0"),
        (lambda: td.nn.GRU(-1), "GRU: units must be at least 1, got -1"),
        (lambda: td.nn.BatchNorm(momentum=2.0), "BatchNorm: momentum must be a finite number from 0 to 1, got 2.0"),
        (lambda: td.nn.MultiHeadAttention(2, 4, dropout=3.0), "MultiHeadAttention: dropout must be a finite number"),
        (lambda: td.nn.LayerNorm(epsilon=-1.0), "LayerNorm: epsilon must be a finite number of 0 or more, got -1.0"),
        (lambda: td.nn.layer_norm(td.ones((2,)), epsilon=math.nan), "layer_norm: epsilon must be a finite number"),
        (lambda: td.nn.Sequential(td.nn.Dense(2)), "Sequential: takes a list of layers"),
        (lambda: td.nn.Sequential([3]), "a layer must be callable, got int"),
        (lambda: td.optim.clip_by_global_norm([td.ones((2,))], -1.0), "clip_norm must be a finite number of 0 or more"),
    ],
)
def test_arguments_without_meaning_are_named(make, words):
    with pytest.raises(td.errors.ArgumentError, match=re.escape(words)):
        make()


def test_a_state_of_another_shape_is_refused():
    x = td.ones((2, 3, 4))
    for state in (td.ones((5, 3)), td.ones((3,)), 3.0, td.ones((2, 4))):
        with pytest.raises(td.errors.ShapeError, match=r"initial_state must have shape \(2, 3\), got"):
            td.nn.GRU(3)(x, initial_state=state)


def test_weights_come_and_go_as_arrays():
    model = td.nn.Sequential([td.nn.Dense(3, "relu"), td.nn.BatchNorm(), td.nn.Dense(2)])
    assert model.get_weights() == []
    x = td.ones((4, 5))
    before = model(x).numpy()
    kept = model.get_weights()
    assert [w.shape for w in kept] == [tuple(v.shape) for v in model.variables]
    doubled = [w * 2 for w in kept]
    for w in kept:
        w += 1  # arrays of one's own
    model.set_weights(doubled)
    assert all((v.numpy() == w).all() for v, w in zip(model.variables, doubled, strict=True))
    model.set_weights([w.astype(np.float64) / 2 for w in doubled])
    np.testing.assert_array_equal(model(x).numpy(), before)


def test_weights_that_do_not_fit_are_named_and_change_nothing():
    layer = td.nn.Dense(2, name="d")
    with pytest.raises(
        td.errors.ArgumentError, match=r"set_weights takes 0 arrays \(none before its first call\), got 1"
    ):
        layer.set_weights([np.ones((3, 2))])
    layer(td.ones((1, 3)))
    bias, kernel = layer.get_weights()
    with pytest.raises(td.errors.ArgumentError, match=r"2 arrays \(d/bias \(2,\), d/kernel \(3, 2\)\), got 1"):
        layer.set_weights([bias])
    with pytest.raises(td.errors.ShapeError, match=r"d/kernel has shape \(3, 2\), the array \(2, 3\)"):
        layer.set_weights([bias + 1, kernel.T])
    with pytest.raises(td.errors.DTypeError, match=r"d/kernel is float32, the array complex64"):
        layer.set_weights([bias + 1, kernel * 1j])
    np.testing.assert_array_equal(layer.bias.numpy(), bias)
