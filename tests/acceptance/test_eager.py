"""Eager tensors, rows E1 to E8: operations run at once, show their values, and bear their standard names."""

from __future__ import annotations

import numpy as np
import pytest

import treadle as td


def test_E1_operations_run_at_once(printed):
    x = td.asarray([[1.0, 2.0], [3.0, 4.0]])
    print((x @ x).tolist())
    assert printed() == ["[[7.0, 10.0], [15.0, 22.0]]"]
    print(x + 1)
    assert printed() == ["[[2. 3.]", " [4. 5.]]"]
    td.print(td.sum(x))
    assert printed() == ["10.0"]


def test_E2_repr_shows_values_shape_and_dtype():
    assert repr(td.ones((2, 2))) == "Tensor([[1., 1.], [1., 1.]], shape=(2, 2), dtype=float32)"
    assert repr(td.asarray([1.0, 2.0])) == "Tensor([1., 2.], shape=(2,), dtype=float32)"
    assert repr(td.asarray(3)) == "Tensor(3, shape=(), dtype=int64)"


def test_E3_strings_join_and_print_without_quotes(run, printed):
    @run
    def greet(a, b):
        text = td.strings.join([a, b], separator=" ")
        td.print(text)
        return text

    text = greet(td.asarray("hello"), td.asarray("world"))
    assert printed() == ["hello world"]
    assert text.shape == ()
    assert text.dtype == td.string
    assert text.item() == "hello world"
    assert repr(text) == "Tensor('hello world', shape=(), dtype=string)"


def test_E4_the_usual_operations_under_their_array_api_names(run):
    @run
    def all_of_them(x):
        return {
            "ones": td.ones((2,)),
            "zeros": td.zeros((2,)),
            "cast": td.astype(x, td.int32),
            "pow": td.pow(x, 2),
            "multiply": td.multiply(x, x),
            "sum": td.sum(x),
            "mean": td.mean(x),
            "matmul": td.matmul(x, x),
            "relu": td.nn.relu(x),
            "sigmoid": td.sigmoid(x),
            "maximum": td.maximum(x, 0.5),
            "expand_dims": td.expand_dims(x, axis=0),
            "equal": td.equal(x, 1.0),
            "logical_not": td.logical_not(td.equal(x, 1.0)),
        }

    a = np.asarray([[-1.5, 1.0], [0.0, 2.0]], np.float32)
    got = all_of_them(td.asarray(a))
    wanted = {
        "ones": np.ones(2, np.float32),
        "zeros": np.zeros(2, np.float32),
        "cast": a.astype(np.int32),
        "pow": a**2,
        "multiply": a * a,
        "sum": np.float32(1.5),
        "mean": np.float32(0.375),
        "matmul": a @ a,
        "relu": np.maximum(a, 0),
        "sigmoid": (1 / (1 + np.exp(-a.astype(np.float64)))).astype(np.float32),
        "maximum": np.maximum(a, np.float32(0.5)),
        "expand_dims": a[None],
        "equal": a == 1,
        "logical_not": a != 1,
    }
    assert got.keys() == wanted.keys()
    for name, value in wanted.items():
        assert got[name].dtype == value.dtype, name
        assert got[name].shape == value.shape, name
        np.testing.assert_allclose(got[name].numpy(), value, rtol=3e-7, err_msg=name)


def test_E4_random_numbers(run):
    @run
    def draw():
        return td.random.uniform((1000,)), td.random.normal((1000,))

    td.random.seed(1)
    uniform, normal = draw()
    assert uniform.dtype == normal.dtype == td.float32
    assert uniform.shape == normal.shape == (1000,)
    assert 0 <= uniform.numpy().min() < uniform.numpy().max() < 1
    assert abs(uniform.numpy().mean() - 0.5) < 0.05
    assert abs(normal.numpy().mean()) < 0.15
    assert abs(normal.numpy().std() - 1) < 0.1


ELSEWHERE = {
    "reduce_sum": "sum",
    "reduce_mean": "mean",
    "reduce_max": "max",
    "reduce_min": "min",
    "reduce_prod": "prod",
    "reduce_any": "any",
    "reduce_all": "all",
    "reduce_logsumexp": "logsumexp",
    "constant": "asarray",
}


@pytest.mark.parametrize(("theirs", "ours"), ELSEWHERE.items())
def test_E4_names_from_elsewhere_say_which_to_use(theirs, ours):
    with pytest.raises(AttributeError, match=rf"{theirs}.*td\.{ours}\b"):
        getattr(td, theirs)
    assert callable(getattr(td, ours))


def test_E5_equivalents_of_the_pytorch_habits():
    td.random.seed(0)
    x = td.random.normal((3, 2))
    a = x.numpy()
    np.testing.assert_allclose((x @ x.T).numpy(), a @ a.T, rtol=1e-6)
    np.testing.assert_array_equal(td.clip(x, min=0).numpy(), np.maximum(a, 0))
    twin = td.asarray(x, copy=True)
    np.testing.assert_array_equal(twin.numpy(), a)
    assert ((x**2).sum()).item() == pytest.approx((a**2).sum())
    assert isinstance(td.pow(x, 2).sum().item(), float)


def test_E5_net_by_hand_gives_reference_curve(curve, run):
    """Forward and backward written out with td.clip, matrix products, transposes and a copied, masked gradient."""

    @run
    def step(x, y, w1, w2):
        h = x @ w1
        h_relu = td.clip(h, min=0)
        y_pred = h_relu @ w2
        loss = ((y_pred - y) ** 2).sum()
        grad_y_pred = 2.0 * (y_pred - y)
        grad_w2 = h_relu.T @ grad_y_pred
        grad_h_relu = grad_y_pred @ w2.T
        grad_h = td.asarray(grad_h_relu, copy=True).at[h < 0].set(0)
        grad_w1 = x.T @ grad_h
        return loss, w1 - curve.rate * grad_w1, w2 - curve.rate * grad_w2

    x, y, w1, w2 = [td.asarray(a) for a in (curve.x, curve.y, curve.w1, curve.w2)]
    losses = []
    for k in range(401):
        loss, w1, w2 = step(x, y, w1, w2)
        if k % 100 == 0:
            losses.append(loss.item())
    curve.check(losses)


def test_E6_masked_update_leaves_the_source_unchanged(run):
    @run
    def masked(grad_h, h):
        return grad_h.at[h < 0].set(0)

    grad_h = td.asarray([[1.0, 2.0], [3.0, 4.0]])
    h = td.asarray([[-1.0, 1.0], [0.0, -2.0]])
    assert masked(grad_h, h).tolist() == [[0, 2], [3, 0]]
    assert grad_h.tolist() == [[1, 2], [3, 4]]
    with pytest.raises(TypeError, match=r"\.at\["):
        grad_h[h < 0] = 0


def test_E7_shapes_are_python_ints_while_known(run):
    @run
    def columns(x):
        assert [type(size) for size in x.shape] == [int, int]
        total = x[:, 0]
        for t in range(1, x.shape[1]):
            total = total + t * x[:, t]
        return total, int(x.shape[1])

    x = td.asarray(np.arange(6, dtype=np.float32).reshape(2, 3))
    total, width = columns(x)
    assert total.tolist() == [0 + 1 * 1 + 2 * 2, 3 + 1 * 4 + 2 * 5]
    assert width == 3
    assert type(width) is int
    assert isinstance(x.numpy(), np.ndarray)


def test_E8_the_cpu_is_accepted_and_other_devices_are_a_clear_error():
    cpu = td.device("cpu")
    x = td.ones((2,), dtype=td.float32, device=cpu)
    assert x.tolist() == [1, 1]
    assert td.zeros((1,), device="cpu").device == x.device
    with pytest.raises(td.TreadleError, match=r"cuda.*cpu|cpu.*cuda"):
        td.device("cuda")
    with pytest.raises(td.TreadleError, match="gpu:0"):
        td.ones((2,), device="gpu:0")
