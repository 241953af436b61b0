"""Autodiff, rows A1 to A18: tapes, higher orders, custom gradients, hooks, and updates that are not recorded."""

from __future__ import annotations

import numpy as np
import pytest

import treadle as td


def parabola(x, a, b, c):
    """(x - 1)² for a=1, b=-2, c=1."""
    return a * x**2 + b * x + c


def one_minus_two_one():
    return td.asarray(1.0), td.asarray(-2.0), td.asarray(1.0)


def test_A1_tape_over_a_sum_and_a_square(run, printed):
    @run
    def f(x):
        with td.GradientTape() as tape:
            tape.watch(x)
            y = td.sum(x)
            print(tape)
            z = y * y
        return y, z, tape.gradient(z, x)

    y, z, dz_dx = f(td.ones((2, 2)))
    assert y.item() == 4
    assert z.item() == 16
    assert dz_dx.tolist() == [[8, 8], [8, 8]]
    (line,) = printed()
    assert "GradientTape" in line
    assert "0x" not in line


def test_A2_nested_tapes(run):
    @run
    def derivatives(x):
        with td.GradientTape() as outer:
            outer.watch(x)
            with td.GradientTape() as inner:
                inner.watch(x)
                y = x**3
            first = inner.gradient(y, x)
        return first, outer.gradient(first, x)

    first, second = derivatives(td.asarray(1.0))
    assert first.item() == 3.0
    assert second.item() == 6.0


def test_A3_derivative_of_a_parabola(run):
    @run
    def slope(x):
        a, b, c = one_minus_two_one()
        with td.GradientTape() as tape:
            y = parabola(x, a, b, c)
        return tape.gradient(y, x)

    x = td.Variable(0.0, name="x")
    assert slope(x).item() == -2.0


def test_A4_constants_are_watched_or_have_no_gradient(run):
    x = td.Variable(0.0, name="x")

    @run
    def slopes(a, b, c):
        with td.GradientTape() as tape:
            tape.watch([a, b, c])
            y = parabola(x, a, b, c)
        return tape.gradient(y, [x, a, b, c])

    @run
    def unwatched(a, b, c):
        with td.GradientTape() as tape:
            y = parabola(x, a, b, c)
        return tape.gradient(y, [x, a])

    assert [g.item() for g in slopes(*one_minus_two_one())] == [-2, 0, 0, 1]
    dx, da = unwatched(*one_minus_two_one())
    assert dx.item() == -2
    assert da is None


def test_A5_second_derivative_by_nested_tapes(run):
    x = td.Variable(0.0, name="x")

    @run
    def both():
        a, b, c = one_minus_two_one()
        with td.GradientTape() as second_tape:
            with td.GradientTape() as first_tape:
                y = parabola(x, a, b, c)
            dy_dx = first_tape.gradient(y, x)
        return dy_dx, second_tape.gradient(dy_dx, x)

    dy_dx, dy2_dx2 = both()
    assert dy_dx.item() == -2.0
    assert dy2_dx2.item() == 2.0


def test_A5_second_derivative_in_the_create_graph_habit(run):
    """The gradient is itself differentiated: a persistent tape asked while it records, or td.grad of td.grad."""

    @run
    def by_one_tape(x):
        a, b, c = one_minus_two_one()
        with td.GradientTape(persistent=True) as tape:
            tape.watch(x)
            y = parabola(x, a, b, c)
            dy_dx = tape.gradient(y, x)
        return dy_dx, tape.gradient(dy_dx, x)

    @run
    def by_functions(x):
        def f(x):
            return parabola(x, *one_minus_two_one())

        return td.grad(f)(x), td.grad(td.grad(f))(x)

    for both in (by_one_tape, by_functions):
        first, second = both(td.asarray(0.0))
        assert first.item() == -2.0
        assert second.item() == 2.0


def test_A6_tape_inside_a_function_with_a_cast(run):
    @run
    def f(x):
        a, b, c = one_minus_two_one()
        x = td.astype(x, td.float32)
        with td.GradientTape() as tape:
            tape.watch(x)
            y = parabola(x, a, b, c)
        return tape.gradient(y, x), y

    for zero, one in [(td.asarray(0.0), td.asarray(1.0)), (td.asarray(0), td.asarray(1))]:
        assert [t.item() for t in f(zero)] == [-2, 1]
        assert [t.item() for t in f(one)] == [0, 0]
    dy_dx, y = f(td.asarray(0))
    assert dy_dx.dtype == y.dtype == td.float32


def test_A7_several_targets_add_up(run):
    @run
    def f(x1, x2):
        with td.GradientTape(persistent=True) as tape:
            tape.watch([x1, x2])
            y1 = x1 * x2
            y2 = x1 + x2
        return tape.gradient(y1, [x1, x2]), tape.gradient([y1, y2], [x1, x2])

    one, both = f(td.asarray(1.0), td.asarray(2.0))
    assert [g.item() for g in one] == [2, 1]
    assert [g.item() for g in both] == [3, 2]


X8 = np.asarray([[0.0, 0.0], [1.0, 2.0]], np.float32)


def test_A8_targets_that_are_no_scalars(run):
    @run
    def f(x, seed):
        with td.GradientTape(persistent=True) as tape:
            tape.watch(x)
            y = parabola(x, *one_minus_two_one())
        return y, tape.gradient(y, x, output_gradients=seed), tape.gradient(y, x)

    y, grad, summed = f(td.asarray(X8), td.ones((2, 2)))
    assert y.tolist() == [[1, 1], [0, 1]]
    assert grad.tolist() == [[-2, -2], [0, 2]]
    assert summed.tolist() == grad.tolist()


def test_A9_output_gradients_equal_a_weighted_sum_bit_for_bit(run):
    @run
    def both(x, weights):
        with td.GradientTape(persistent=True) as tape:
            tape.watch(x)
            y = parabola(x, *one_minus_two_one())
            z = td.sum(y * weights)
        return tape.gradient(y, x, output_gradients=weights), tape.gradient(z, x)

    seeded, summed = both(td.asarray(X8), td.ones((2, 2)))
    assert seeded.tolist() == [[-2, -2], [0, 2]]
    assert seeded.numpy().tobytes() == summed.numpy().tobytes()
    rng = np.random.default_rng(2)
    seeded, summed = both(*[td.asarray(rng.normal(size=(2, 2)).astype(np.float32)) for _ in range(2)])
    assert seeded.numpy().tobytes() == summed.numpy().tobytes()


def test_A10_a_tape_gives_its_gradient_once_unless_persistent(run):
    @run
    def twice(x):
        with td.GradientTape() as tape:
            tape.watch(x)
            y = x * x
        tape.gradient(y, x)
        return tape.gradient(y, x)

    @run
    def persistent(x):
        with td.GradientTape(persistent=True) as tape:
            tape.watch(x)
            y = x * x
        return tape.gradient(y, x), tape.gradient(y, x)

    with pytest.raises(td.TreadleError, match="persistent=True"):
        twice(td.asarray(3.0))
    first, second = persistent(td.asarray(3.0))
    assert first.item() == second.item() == 6


def test_A11_intermediate_tensors_are_sources(run):
    @run
    def f(x):
        with td.GradientTape() as tape:
            tape.watch(x)
            y1 = x + 1
            y2 = 2 * x
            loss = (y1 - y2) ** 2
        return tape.gradient(loss, [x, y1, y2, loss])

    assert [g.item() for g in f(td.asarray(3.0))] == [4, -4, 4, 1]


def test_A12_unconnected_sources_and_why(run):
    @run
    def f(x, other, count):
        with td.GradientTape(persistent=True) as tape:
            tape.watch(x)
            stopped = td.stop_gradient(x) * 2
            y = x * other
        outside = x * 3
        return (
            tape.gradient(y, [other, count]),
            tape.gradient(stopped, x),
            tape.gradient(outside, x),
            tape.gradient(y, [other], unconnected="zero"),
            [tape.explain(y, x), tape.explain(y, other), tape.explain(y, count)],
            [tape.explain(stopped, x), tape.explain(outside, x)],
        )

    none, stopped, outside, zeros, reasons, ends = f(td.asarray([1.0]), td.asarray([2.0]), td.asarray([3]))
    assert none == [None, None]
    assert stopped is None
    assert outside is None
    assert zeros[0].tolist() == [0]
    connected, unwatched, integer = reasons
    assert connected.startswith("not None")
    assert "not watched" in unwatched
    assert "int64" in integer
    assert "stop_gradient" in ends[0]
    assert "outside the tape" in ends[1]


def test_A13_gradient_hooks_are_called_in_backward_order(run, printed):
    @run
    def f(x):
        with td.GradientTape() as tape:
            tape.watch(x)
            y1 = td.gradient_hook(x + 1, lambda g: td.print("y1", g))
            y2 = td.gradient_hook(2 * x, lambda g: td.print("y2", g))
            loss = (y1 - y2) ** 2
        return tape.gradient(loss, x)

    for _ in range(2):
        assert f(td.asarray(3.0)).item() == 4
        assert printed() == ["y2 4.0", "y1 -4.0"]


def test_A13_what_a_hook_returns_replaces_the_gradient(run):
    @run
    def f(x):
        with td.GradientTape() as tape:
            tape.watch(x)
            y1 = td.gradient_hook(x + 1, lambda g: 10 * g)
            loss = (y1 - 2 * x) ** 2
        return tape.gradient(loss, x)

    assert f(td.asarray(3.0)).item() == 10 * -4 + 2 * 4


def test_A14_gradients_of_two_steps_add_up(run):
    x = td.Variable(2.0, name="x")
    total = td.Variable(0.0, name="total", trainable=False)

    @run
    def accumulate():
        with td.GradientTape() as tape:
            y = x * x
        total.assign_add(tape.gradient(y, x))
        return total.value

    assert accumulate().item() == 4
    assert accumulate().item() == 8
    total.assign(0.0)  # what zero_grad does
    assert accumulate().item() == 4


def test_A14_optimizers_accumulate_over_n_steps(run):
    x = td.Variable(2.0, name="x")
    optimizer = td.optim.SGD(0.25, gradient_accumulation_steps=2)

    @run
    def step():
        with td.GradientTape() as tape:
            y = x * x
        optimizer.apply_gradients([(tape.gradient(y, x), x)])

    values = []
    for _ in range(4):
        step()
        values.append(x.numpy().item())
    assert values == [2, 1, 1, 0.5]  # the mean of two gradients at every second step
    assert optimizer.iterations.numpy() == 2


def test_A14_two_half_batches_are_one_step_of_adam(run):
    rng = np.random.default_rng(6)
    x, y = td.asarray(rng.normal(size=(8, 3))), td.asarray(rng.normal(size=(8, 1)))

    def trained(optimizer, parts):
        w = td.Variable(np.ones((3, 1)), name="w")

        @run
        def step(x, y):
            with td.GradientTape() as tape:
                loss = td.mean((x @ w - y) ** 2)
            optimizer.apply_gradients([(tape.gradient(loss, w), w)])

        for _ in range(3):
            for part in parts:
                step(x[part], y[part])
        return w.numpy()

    whole = trained(td.optim.Adam(0.1), [slice(0, 8)])
    halves = trained(td.optim.Adam(0.1, gradient_accumulation_steps=2), [slice(0, 4), slice(4, 8)])
    np.testing.assert_allclose(halves, whole, rtol=1e-12)
    assert not np.allclose(whole, 1.0)


# -- custom gradients --------------------------------------------------------------------------------------------------


@td.custom_gradient
def function_relu(x):
    return td.clip(x, min=0.0), lambda g: td.where(x > 0, g, 0.0)


@td.custom_gradient
class MyReLU:
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return td.clip(x, min=0.0)

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        return g.at[x < 0].set(0)


@pytest.mark.parametrize("relu", [function_relu, MyReLU], ids=["function", "class"])
def test_A15_custom_gradient(run, relu):
    x = td.asarray([[-1.0, -1.0], [1.0, 1.0]])
    y = td.asarray([[2.0, 3.0]])
    w = td.Variable([[3.0, 1.0]], name="w")
    b = td.Variable([[3.0]], name="b")

    @run
    def f(x, y):
        with td.GradientTape() as tape:
            y_hat = relu(x @ td.transpose(w) + b)
            loss = td.mean((y_hat - y) ** 2)
        return loss, tape.gradient(loss, [w, b])

    loss, (dw, db) = f(x, y)
    assert loss.item() == 13.5
    assert dw.tolist() == [[4.5, 4.5]]
    assert db.tolist() == [[4.5]]
    if run.traced:
        name = "function_relu" if relu is function_relu else "MyReLU"
        assert name in str(f.traces[0].graph)
        assert name in f.traces[0].graph.to_dot()


def train(step, curve, steps):
    """The losses of `steps` steps of gradient descent, and the weights at the end."""
    w1, w2 = td.Variable(curve.w1, name="w1"), td.Variable(curve.w2, name="w2")
    x, y = td.asarray(curve.x), td.asarray(curve.y)
    losses = [step(x, y, w1, w2).item() for _ in range(steps)]
    return losses, w1.numpy(), w2.numpy()


def descent(relu, rate):
    """A step of gradient descent of the two-layer net, updating its weights."""

    def step(x, y, w1, w2):
        with td.GradientTape() as tape:
            loss = td.sum((relu(x @ w1) @ w2 - y) ** 2)
        g1, g2 = tape.gradient(loss, (w1, w2))
        w1.assign_sub(rate * g1)
        w2.assign_sub(rate * g2)
        return loss

    return step


def test_A16_custom_relu_trains_as_clamp_bit_for_bit(run, curve):
    curves = [train(run(descent(relu, curve.rate)), curve, 60) for relu in (MyReLU, lambda h: td.clip(h, min=0.0))]
    (ours, *our_weights), (theirs, *their_weights) = curves
    assert ours == theirs
    assert ours[-1] < ours[0] / 100
    for a, b in zip(our_weights, their_weights, strict=True):
        assert a.tobytes() == b.tobytes()


def test_A17_updates_while_recording_is_stopped(run):
    w = td.Variable(3.0, name="w")

    @run
    def step():
        with td.GradientTape(persistent=True) as tape:
            loss = w * w
            with tape.stop_recording():
                w.assign_sub(0.1 * tape.gradient(loss, w))
                unrecorded = w * 100
            later = w * 2
        return tape.gradient(loss, w), tape.gradient(later, w), tape.gradient(unrecorded, w), later

    first, second, unrecorded, later = step()
    assert first.item() == 6
    assert second.item() == 2
    assert unrecorded is None
    assert w.numpy().item() == pytest.approx(2.4, rel=1e-6)
    assert later.item() == pytest.approx(4.8, rel=1e-6)
    assert step()[0].item() == pytest.approx(4.8, rel=1e-6)


def by_hand(x, y, w1, w2):
    """Loss and gradients of the two-layer net, backpropagated on paper, in NumPy."""
    h = x @ w1
    h_relu = np.maximum(h, 0)
    y_pred = h_relu @ w2
    grad_y_pred = 2.0 * (y_pred - y)
    grad_h = grad_y_pred @ w2.T
    grad_h[h < 0] = 0
    return ((y_pred - y) ** 2).sum(), x.T @ grad_h, h_relu.T @ grad_y_pred


def relative(a, b):
    return np.abs(a - b).max() / np.abs(b).max()


def test_A18_gradients_equal_backpropagation_by_hand(run, curve64):
    @run
    def gradients(x, y, w1, w2):
        def loss(w1, w2):
            return td.sum((td.nn.relu(x @ w1) @ w2 - y) ** 2)

        return td.value_and_grad(loss, argnums=(0, 1))(w1, w2)

    arrays = curve64.x, curve64.y, curve64.w1, curve64.w2
    loss, (dw1, dw2) = gradients(*map(td.asarray, arrays))
    wanted, hand1, hand2 = by_hand(*arrays)
    assert loss.item() == pytest.approx(wanted, rel=1e-12)
    assert relative(dw1.numpy(), hand1) < 1e-12
    assert relative(dw2.numpy(), hand2) < 1e-12


def test_A18_training_by_the_tape_gives_reference_curve(run, curve):
    losses, _, _ = train(run(descent(td.nn.relu, curve.rate)), curve, 901 if run.traced else 401)
    curve.check(losses[::100])
