"""Update rules against references worked out in float64, eager and traced; minimize, slots, missing gradients."""

import copy
import pickle
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import treadle as td

BOTH = pytest.mark.parametrize("traced", [False, True], ids=["eager", "traced"])


def parabola(x):
    """(x - 1)**2, as a*x**2 + b*x + c."""
    return 1.0 * td.pow(x, 2) - 2.0 * x + 1.0


def run(optimizer, steps, dtype, traced):
    x = td.Variable(0.0, dtype=dtype, name="x")

    def step():
        with td.GradientTape() as tape:
            y = parabola(x)
        optimizer.apply_gradients([(tape.gradient(y, x), x)])
        return y

    f = td.function(step) if traced else step
    for _ in range(steps):
        f()
    if traced:
        assert f.trace_count == 1
    return x


@BOTH
@pytest.mark.parametrize(("steps", "wanted"), [(1000, 0.999998569), (500, 0.999958992)])
def test_sgd_on_a_parabola(traced, steps, wanted):
    x = run(td.optim.SGD(learning_rate=0.01), steps, td.float32, traced)
    if traced:  # kernels contract a * b + c, which rounds once
        np.testing.assert_allclose(x.numpy(), wanted, rtol=3e-7)
    else:
        assert f"{x.numpy():.9f}" == f"{wanted:.9f}"
    assert abs(parabola(x).item()) < 1e-7


def test_minimize():
    x = td.Variable(0.0)
    optimizer = td.optim.SGD(learning_rate=0.01)
    for _ in range(1000):
        optimizer.minimize(lambda: parabola(x), [x])
    assert f"y = {parabola(x).item()} ; x = {x.numpy()}" == "y = 0.0 ; x = 0.9999985694885254"
    assert optimizer.iterations.numpy() == 1000


def test_minimize_in_a_graph_converts_the_loss():
    x = td.Variable(3.0)
    optimizer = td.optim.SGD(learning_rate=0.1)

    def loss():
        if x > 1.0:
            result = x * 10.0
        else:
            result = x * 1.0
        return result

    step = td.function(lambda: optimizer.minimize(loss, [x]))
    assert [round(step().item(), 4) for _ in range(4)] == [30.0, 20.0, 1.0, 0.9]


@BOTH
@pytest.mark.parametrize(
    ("make", "wanted"),
    [
        (lambda: td.optim.SGD(0.01), 0.867380444105),
        (lambda: td.optim.SGD(0.01, momentum=0.9), 0.995771886282),
        (lambda: td.optim.Adam(0.01, epsilon=1e-8), 0.775553954768),
    ],
    ids=["sgd", "momentum", "adam"],
)
def test_references_after_100_steps(make, wanted, traced):
    np.testing.assert_allclose(run(make(), 100, td.float64, traced).numpy(), wanted, rtol=0, atol=6e-13)
    np.testing.assert_allclose(run(make(), 100, td.float32, traced).numpy(), wanted, rtol=2e-6)


def sgd_by_hand(w, grads, rate, momentum, nesterov):
    v = np.zeros_like(w)
    for g in grads:
        v = momentum * v - rate * g
        w = w + (momentum * v - rate * g if nesterov else v)
    return w


def adam_by_hand(w, grads, rate, b1, b2, eps):
    m = v = np.zeros_like(w)
    for t, g in enumerate(grads, 1):
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g * g
        w = w - rate * (m / (1 - b1**t)) / (np.sqrt(v / (1 - b2**t)) + eps)
    return w


numbers = st.floats(-10, 10, width=32)


@settings(derandomize=True, deadline=None, max_examples=25)
@given(
    grads=st.lists(st.tuples(numbers, numbers, numbers), min_size=1, max_size=4),
    momentum=st.sampled_from([0.0, 0.5, 0.9]),
    nesterov=st.booleans(),
    rate=st.floats(1e-4, 1.0),
)
def test_steps_equal_their_formulas(grads, momentum, nesterov, rate):
    start = np.array([1.0, -2.0, 0.5])
    arrays = [np.array(g) for g in grads]
    rules = [
        (td.optim.SGD(rate, momentum, nesterov), sgd_by_hand(start, arrays, rate, momentum, nesterov)),
        (td.optim.Adam(rate, 0.8, 0.95, 1e-3), adam_by_hand(start, arrays, rate, 0.8, 0.95, 1e-3)),
    ]
    for optimizer, wanted in rules:
        w = td.Variable(start)
        for g in arrays:
            optimizer.apply_gradients([(td.asarray(g), w)])
        np.testing.assert_allclose(w.numpy(), wanted, rtol=1e-12, atol=1e-14)


def test_slots():
    w = td.Variable([1.0, 2.0], name="w")
    counts = []
    for optimizer in (td.optim.SGD(), td.optim.SGD(momentum=0.5), td.optim.Adam()):
        for _ in range(2):
            optimizer.apply_gradients([(td.ones((2,)), w)])
        counts.append(len(optimizer.variables) - 1)
        assert optimizer.iterations.numpy() == 2
    assert counts == [0, 1, 2]
    assert [v.name for v in optimizer.variables] == ["adam/iterations", "adam/w/momentum", "adam/w/velocity"]
    assert optimizer.trainable_variables == ()


@BOTH
def test_missing_gradients_are_skipped_with_a_warning(traced):
    used, unused = td.Variable(1.0, name="used"), td.Variable(1.0, name="unused")
    optimizer = td.optim.SGD(0.5)

    def step():
        with td.GradientTape() as tape:
            loss = used * 2.0
        optimizer.apply_gradients(zip(tape.gradient(loss, [unused, used]), [unused, used]))

    with pytest.warns(td.GradientWarning, match="'unused'") as caught:
        (td.function(step) if traced else step)()
    assert len(caught) == 1 and caught[0].filename == __file__
    assert used.numpy() == 0.0 and unused.numpy() == 1.0


def test_a_misfit_raises_and_changes_nothing():
    w, b = td.Variable([1.0, 2.0], name="w"), td.Variable(1.0, name="b")
    optimizer = td.optim.SGD(0.5)
    with pytest.raises(td.errors.ShapeError, match=r"'w' has shape \(3,\)"):
        optimizer.apply_gradients([(td.asarray(1.0), b), (td.ones((3,)), w)])
    assert b.numpy() == 1.0 and optimizer.iterations.numpy() == 0


def test_learning_rate_as_number_and_as_variable():
    w = td.Variable(0.0)
    fixed = td.optim.SGD(1.0)
    free = td.optim.SGD(td.Variable(1.0, name="rate", trainable=False))
    by_number = td.function(lambda: fixed.apply_gradients([(td.asarray(-1.0), w)]))
    by_variable = td.function(lambda: free.apply_gradients([(td.asarray(-1.0), w)]))
    for step in (by_number, by_variable):
        step()
    fixed.learning_rate = 0.5
    free.learning_rate.assign(0.25)
    for step in (by_number, by_variable):
        step()
    assert w.numpy() == 1 + 1 + 0.5 + 0.25
    assert (by_number.trace_count, by_variable.trace_count) == (2, 1)


def test_train_step_with_model_and_optimizer_as_arguments():
    td.random.seed(2)

    @td.function
    def train(model, optimizer, x, y):
        with td.GradientTape() as tape:
            loss = td.mean((model(x) - y) ** 2)
        weights = model.trainable_variables
        optimizer.apply_gradients(zip(tape.gradient(loss, weights), weights))
        return loss

    x, y = td.ones((4, 3)), td.zeros((4, 1))
    model, optimizer = td.nn.Sequential([td.nn.Dense(4, "tanh"), td.nn.Dense(1)]), td.optim.Adam(0.05)
    losses = [train(model, optimizer, x, y).item() for _ in range(20)]
    assert train.trace_count == 1 and losses[-1] < losses[0] / 2
    train(td.nn.Dense(1), td.optim.SGD(momentum=0.9), x, y)
    assert train.trace_count == 2
    train(model, optimizer, x, y)
    assert train.trace_count == 2


def test_one_kernel_updates_a_variable():
    w = td.Variable(np.ones((50, 40), np.float32))
    optimizer = td.optim.Adam()

    @td.function
    def step(g):
        optimizer.apply_gradients([(g, w)])

    step(td.ones((50, 40)))
    assert len(step.traces[0].kernels) == 2  # the step's scalars, and the update


def test_copies_go_on_alike():
    w = td.Variable([1.0, 2.0])
    optimizer = td.optim.Adam(0.1)
    g = td.asarray([1.0, -1.0])
    optimizer.apply_gradients([(g, w)])
    for optimizer2, w2 in (copy.deepcopy((optimizer, w)), pickle.loads(pickle.dumps((optimizer, w)))):
        assert len(optimizer2.variables) == 3
        before = w.numpy().copy()
        optimizer2.apply_gradients([(g * 2, w2)])
        assert len(optimizer2.variables) == 3
        np.testing.assert_array_equal(w.numpy(), before)
    optimizer.apply_gradients([(g * 2, w)])
    np.testing.assert_array_equal(w.numpy(), w2.numpy())


def test_bad_settings():
    with pytest.raises(ValueError, match="momentum"):
        td.optim.SGD(momentum=1.5)
    with pytest.raises(ValueError, match="beta_2"):
        td.optim.Adam(beta_2=1.0)


def test_nothing_warns_where_all_is_well():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run(td.optim.Adam(), 2, td.float32, True)


@pytest.mark.parametrize(
    ("use", "words"),
    [
        (lambda v: td.optim.SGD(float("nan")), "SGD: learning_rate, unless it is a function or a Variable, must be a"),
        (lambda v: td.optim.Adam("fast"), "Adam: learning_rate, unless"),
        (lambda v: td.optim.SGD(0.1, gradient_accumulation_steps=0), "gradient_accumulation_steps must be at least 1"),
        (lambda v: td.optim.SGD(0.1, momentum=None), "SGD: momentum must be a finite number from 0 to 1, got None"),
        (lambda v: td.optim.Adam(beta_1=1.0), r"Adam: beta_1 must lie in \[0, 1\), got 1.0"),
        (lambda v: td.optim.Adam(epsilon=-1e-7), "Adam: epsilon must be a finite number of 0 or more, got -1e-07"),
        (lambda v: td.optim.AdamW(weight_decay="a"), "AdamW: weight_decay must be a finite number of 0 or more"),
        (lambda v: td.optim.Nadam(epsilon=float("nan")), "Nadam: epsilon must be a finite number"),
        (lambda v: td.optim.RMSprop(epsilon=-1.0), "RMSprop: epsilon must be a finite number of 0 or more, got -1.0"),
        (lambda v: td.optim.schedules.ExponentialDecay(0.1, 0, 0.9), "decay_steps must be more than 0, got 0"),
        (lambda v: td.optim.schedules.CosineDecay(0.1, -5), "CosineDecay: decay_steps must be a finite number of 0"),
        (lambda v: td.optim.schedules.InverseTimeDecay(-0.1, 5, 0.5), "initial_learning_rate must be a finite number"),
        (lambda v: td.optim.schedules.PolynomialDecay(0.1, 5, power="a"), "PolynomialDecay: power must be a finite"),
        (lambda v: td.optim.schedules.PiecewiseConstantDecay([5, 5], [1, 2, 3]), "boundaries must rise"),
        (
            lambda v: td.optim.SGD(0.1).apply_gradients([(v.value, v.value)]),
            "takes pairs of a gradient and its Variable",
        ),
        (lambda v: td.optim.SGD(0.1).apply_gradients(v.value), "takes pairs of a gradient and its Variable"),
        (lambda v: td.optim.SGD(0.1).apply_gradients([(v.value, v), v.value]), "takes pairs of a gradient"),
        (lambda v: td.optim.SGD(0.1).minimize(3, [v]), "minimize: loss_fn must be a function"),
        (lambda v: td.optim.SGD(0.1).minimize(lambda: v * v, v), "minimize: variables must be a list of Variables"),
    ],
)
def test_arguments_without_meaning_are_named_and_change_nothing(use, words):
    v = td.Variable([1.0, 2.0], name="v")
    with pytest.raises(td.errors.ArgumentError, match=words):
        use(v)
    assert v.numpy().tolist() == [1.0, 2.0]
