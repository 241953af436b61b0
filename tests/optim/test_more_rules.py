"""RMSprop, AdamW, Nadam, schedules and clipping against their formulas in NumPy, eager and traced."""

import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import treadle as td

BOTH = pytest.mark.parametrize("traced", [False, True], ids=["eager", "traced"])
schedules = td.optim.schedules


def rmsprop(w, grads, rate, rho, momentum, eps, centered):
    v = a = m = np.zeros_like(w)
    for g in grads:
        v = rho * v + (1 - rho) * g * g
        a = rho * a + (1 - rho) * g
        s = rate * g / np.sqrt((v - a * a if centered else v) + eps)
        m = momentum * m + s
        w = w - (m if momentum else s)
    return w


def adamw(w, grads, rate, decay, b1, b2, eps):
    m = v = np.zeros_like(w)
    for t, g in enumerate(grads, 1):
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g * g
        w = w - rate * (m / (1 - b1**t) / (np.sqrt(v / (1 - b2**t)) + eps) + decay * w)
    return w


def nadam(w, grads, rate, b1, b2, eps):
    m = v = np.zeros_like(w)
    product = 1.0
    for t, g in enumerate(grads, 1):
        now, after = b1 * (1 - 0.5 * 0.96**t), b1 * (1 - 0.5 * 0.96 ** (t + 1))
        product *= now
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g * g
        ahead = after * m / (1 - product * after) + (1 - now) * g / (1 - product)
        w = w - rate * ahead / (np.sqrt(v / (1 - b2**t)) + eps)
    return w


RULES = [
    (lambda: td.optim.RMSprop(0.05), lambda w, gs: rmsprop(w, gs, 0.05, 0.9, 0.0, 1e-7, False)),
    (
        lambda: td.optim.RMSprop(0.05, rho=0.8, momentum=0.7, epsilon=1e-3),
        lambda w, gs: rmsprop(w, gs, 0.05, 0.8, 0.7, 1e-3, False),
    ),
    (
        lambda: td.optim.RMSprop(0.05, momentum=0.5, epsilon=1e-2, centered=True),
        lambda w, gs: rmsprop(w, gs, 0.05, 0.9, 0.5, 1e-2, True),
    ),
    (lambda: td.optim.AdamW(0.02), lambda w, gs: adamw(w, gs, 0.02, 0.004, 0.9, 0.999, 1e-7)),
    (
        lambda: td.optim.AdamW(0.02, 0.3, beta_1=0.6, beta_2=0.7, epsilon=1e-3),
        lambda w, gs: adamw(w, gs, 0.02, 0.3, 0.6, 0.7, 1e-3),
    ),
    (lambda: td.optim.Nadam(0.02), lambda w, gs: nadam(w, gs, 0.02, 0.9, 0.999, 1e-7)),
    (
        lambda: td.optim.Nadam(0.02, beta_1=0.6, beta_2=0.7, epsilon=1e-3),
        lambda w, gs: nadam(w, gs, 0.02, 0.6, 0.7, 1e-3),
    ),
]
numbers = st.floats(-10, 10, width=32)


@settings(derandomize=True, deadline=None, max_examples=15)
@given(grads=st.lists(st.tuples(numbers, numbers, numbers), min_size=1, max_size=4))
def test_steps_equal_their_formulas(grads):
    start = np.array([1.0, -2.0, 0.5])
    arrays = [np.array(g) for g in grads]
    for make, wanted in RULES:
        w, optimizer = td.Variable(start), make()
        for g in arrays:
            optimizer.apply_gradients([(td.asarray(g), w)])
        np.testing.assert_allclose(w.numpy(), wanted(start, arrays), rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize(("make", "wanted"), RULES, ids=[f"{k}" for k in range(len(RULES))])
def test_traced_steps_equal_their_formulas(make, wanted):
    """Two dtypes at once: what is done once a step is done once, whatever the variables."""
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal(3) for _ in range(5)]
    start = np.array([1.0, -2.0, 0.5])
    wide, narrow, optimizer = td.Variable(start), td.Variable(start.astype(np.float32)), make()

    @td.function
    def step(g, h):
        optimizer.apply_gradients([(g, wide), (h, narrow)])

    for g in arrays:
        step(td.asarray(g), td.asarray(g.astype(np.float32)))
    assert step.trace_count == 1
    np.testing.assert_allclose(wide.numpy(), wanted(start, arrays), rtol=1e-11)
    np.testing.assert_allclose(narrow.numpy(), wanted(start, arrays), rtol=3e-5)


def test_weight_decay_can_spare_variables():
    kernel, bias = td.Variable([2.0], name="dense/kernel"), td.Variable([2.0], name="dense/bias")
    optimizer = td.optim.AdamW(0.5, weight_decay=0.5)
    optimizer.exclude_from_weight_decay(["bias"])
    optimizer.apply_gradients([(td.zeros((1,)), kernel), (td.zeros((1,)), bias)])
    assert (kernel.numpy().item(), bias.numpy().item()) == (1.5, 2.0)


def test_bad_settings():
    with pytest.raises(ValueError, match="Nadam: beta_1"):
        td.optim.Nadam(beta_1=1.0)
    with pytest.raises(ValueError, match="AdamW: beta_2"):
        td.optim.AdamW(beta_2=-1.0)
    with pytest.raises(ValueError, match="weight_decay"):
        td.optim.AdamW(weight_decay=-1.0)
    with pytest.raises(ValueError, match="RMSprop: rho"):
        td.optim.RMSprop(rho=2.0)
    with pytest.raises(ValueError, match="2 boundaries need 3 values"):
        schedules.PiecewiseConstantDecay([1, 2], [0.5, 0.25])


# -- schedules ---------------------------------------------------------------------------------------------------------

CURVES = [
    (schedules.ExponentialDecay(0.1, 10, 0.9), lambda s: 0.1 * 0.9 ** (s / 10)),
    (schedules.ExponentialDecay(0.1, 10, 0.9, staircase=True), lambda s: 0.1 * 0.9 ** (s // 10)),
    (schedules.InverseTimeDecay(0.1, 10, 0.5), lambda s: 0.1 / (1 + 0.5 * s / 10)),
    (schedules.InverseTimeDecay(0.1, 10, 0.5, staircase=True), lambda s: 0.1 / (1 + 0.5 * (s // 10))),
    (schedules.PolynomialDecay(0.1, 10, 0.01, 2.0), lambda s: 0.09 * (1 - min(s, 10) / 10) ** 2 + 0.01),
    (
        schedules.PolynomialDecay(0.1, 10, 0.01, cycle=True),
        lambda s: 0.09 * (1 - s / (10 * max(1, np.ceil(s / 10)))) + 0.01,
    ),
    (
        schedules.CosineDecay(0.1, 10, alpha=0.2),
        lambda s: 0.1 * (0.8 * 0.5 * (1 + np.cos(np.pi * min(s, 10) / 10)) + 0.2),
    ),
    (
        schedules.CosineDecay(0.0, 10, warmup_target=0.1, warmup_steps=4),
        lambda s: 0.1 * s / 4 if s < 4 else 0.05 * (1 + np.cos(np.pi * min(s - 4, 10) / 10)),
    ),
    (schedules.PiecewiseConstantDecay([5, 10], [1.0, 0.5, 0.1]), lambda s: 1.0 if s <= 5 else 0.5 if s <= 10 else 0.1),
]


@pytest.mark.parametrize(("rate", "wanted"), CURVES, ids=[f"{k}-{type(r).__name__}" for k, (r, _) in enumerate(CURVES)])
def test_schedules(rate, wanted):
    traced = td.function(lambda step: rate(step))
    for step in (0, 1, 3, 4, 5, 6, 10, 11, 13, 14, 20, 25):
        np.testing.assert_allclose(rate(step).item(), wanted(step), rtol=1e-14, atol=1e-17)
        np.testing.assert_allclose(traced(td.asarray(step)).item(), wanted(step), rtol=1e-13, atol=1e-16)
    assert traced.trace_count == 1
    assert pickle.loads(pickle.dumps(rate)) == rate


def halving(step):
    if step < 2:
        rate = 1.0
    else:
        rate = 0.5
    return rate


@BOTH
@pytest.mark.parametrize("rate", [schedules.PiecewiseConstantDecay([1], [1.0, 0.5]), halving], ids=["record", "own"])
def test_an_optimizer_asks_its_schedule_at_each_step(rate, traced):
    w, optimizer = td.Variable(0.0), td.optim.SGD(rate)

    def step():
        optimizer.apply_gradients([(td.asarray(-1.0), w)])

    f = td.function(step) if traced else step
    seen = []
    for _ in range(4):
        f()
        seen.append(w.numpy().item())
    assert seen == [1.0, 2.0, 2.5, 3.0]
    if traced:
        assert f.trace_count == 1


# -- clipping ----------------------------------------------------------------------------------------------------------


@BOTH
def test_clip_by_global_norm(traced):
    grads = {"a": td.asarray([[3.0, 0.0]]), "b": (td.asarray(np.float64(4.0)), None)}

    def clip(grads, limit):
        return td.optim.clip_by_global_norm(grads, limit)

    f = td.function(clip) if traced else clip
    clipped, norm = f(grads, 2.5)
    assert norm.item() == 5.0 and norm.dtype == td.float64
    assert clipped["a"].tolist() == [[1.5, 0.0]] and clipped["a"].dtype == td.float32
    assert clipped["b"][0].item() == 2.0 and clipped["b"][1] is None
    kept, _ = f(grads, 5.0)
    assert kept["a"].tolist() == [[3.0, 0.0]] and kept["b"][0].item() == 4.0


@pytest.mark.parametrize("bad", [np.inf, -np.inf, np.nan])
def test_clipping_what_is_no_number_gives_nan(bad):
    clipped, _ = td.optim.clip_by_global_norm([td.asarray([1.0]), td.asarray([bad])], 1.0)
    assert all(np.isnan(c.numpy()).all() for c in clipped)


def test_clipping_nothing_is_an_error():
    with pytest.raises(td.errors.GradientError, match="no tensor"):
        td.optim.clip_by_global_norm([None], 1.0)


def test_complex_gradients_count_by_modulus():
    clipped, norm = td.optim.clip_by_global_norm([td.asarray([3 + 4j])], 1.0)
    np.testing.assert_allclose(norm.numpy(), 5.0)
    np.testing.assert_allclose(clipped[0].numpy(), [0.6 + 0.8j])
