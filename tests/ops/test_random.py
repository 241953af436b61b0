"""Random numbers: Philox's known answers, the same eagerly and traced, distributions, the counter."""

from __future__ import annotations

import numpy as np
import pytest
from common import traced

import treadle as td
from treadle.autodiff.functional import grad
from treadle.errors import DTypeError, ShapeError
from treadle.ops.sampling import philox, philox_block, philox_blocks

DRAWS = {
    "uniform": lambda g: g.uniform((3, 5)),
    "uniform64": lambda g: g.uniform((7,), -1.0, 2.5, dtype=td.float64),
    "normal": lambda g: g.normal((3, 3)),
    "normal64": lambda g: g.normal((5,), 2.0, 0.5, dtype=td.float64),
    "integers": lambda g: g.integers((9,), -3, 40),
    "bernoulli": lambda g: g.bernoulli((4, 4), 0.25),
    "exponential": lambda g: g.exponential((3,)),
    "categorical": lambda g: g.categorical((6,), td.asarray([0.0, 1.0, 2.0])),
    "permutation": lambda g: g.permutation(10),
    "rows": lambda g: g.permutation(td.asarray([[1, 2], [3, 4], [5, 6]])),
}


def test_known_answers():
    """The vectors of the Random123 distribution for philox4x32-10."""
    cases = [
        (0, (0, 0, 0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
        (2**64 - 1, (2**32 - 1,) * 4, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
        (
            0x299F31D0_A4093822,
            (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
            (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
        ),
    ]
    for key, counter, want in cases:
        assert philox_block(key, *counter) == want
        assert philox_blocks(key, np.array([counter] * 3, np.uint64).T)[1].tolist() == list(want)
    assert philox(0, np.array([0, 1], np.uint64))[0].tolist() == list(cases[0][2])


def test_few_and_many_blocks_are_one_stream():
    few = np.concatenate([td.random.Generator(9).uniform((n,)).numpy()[-1:] for n in (1, 20, 48)])
    many = td.random.Generator(9).uniform((20_000,)).numpy()
    np.testing.assert_array_equal(few, many[[0, 19, 47]])
    pieces = td.random.Generator(9)
    joined = np.concatenate([pieces.uniform((n,)).numpy() for n in (40, 4000, 12_000, 8)])
    np.testing.assert_array_equal(joined, many[:16_048])


@pytest.mark.parametrize("name", DRAWS)
def test_same_seed_same_numbers_traced_or_not(name):
    g = td.random.Generator(7)
    first, second = DRAWS[name](g).numpy(), DRAWS[name](g).numpy()
    state = g.state.numpy()
    assert not np.array_equal(first, second) or name == "rows"
    g.seed(7)
    before = g.state.value
    outputs, graph = traced(lambda: DRAWS[name](g))
    assert g.state.numpy().tolist() == before.tolist()  # tracing draws nothing
    np.testing.assert_array_equal(outputs[0].numpy(), first)
    assert outputs[0].dtype == first.dtype
    assert len(graph.state) == 1
    DRAWS[name](g)
    DRAWS[name](g)
    assert g.state.numpy().tolist() == state.tolist()


def test_the_counter_advances_by_blocks():
    g = td.random.Generator(1)
    for shape, dtype, blocks in (
        ((4,), td.float32, 1),
        ((5,), td.float32, 2),
        ((3,), td.float64, 2),
        ((0,), td.float32, 0),
    ):
        before = int(g.state.numpy()[1])
        g.uniform(shape, dtype=dtype)
        assert int(g.state.numpy()[1]) - before == blocks


def test_module_functions_share_a_stream():
    td.random.seed(3)
    a = td.random.normal((2,)).tolist() + td.random.uniform((2,)).tolist()
    td.random.seed(3)
    assert td.random.normal((2,)).tolist() + td.random.uniform((2,)).tolist() == a
    td.random.seed()
    assert td.random.normal((2,)).tolist() != a[:2]


def test_moments():
    g = td.random.Generator(5)
    n = 20_000
    for dtype in (td.float32, td.float64):
        u = g.uniform((n,), dtype=dtype).numpy()
        assert 0 <= u.min() < u.max() < 1
        assert abs(u.mean() - 0.5) < 0.01
        assert abs(u.var() - 1 / 12) < 0.003
        z = g.normal((n,), 1.0, 2.0, dtype=dtype).numpy()
        assert abs(z.mean() - 1) < 0.06
        assert abs(z.std() - 2) < 0.05
        assert abs(((z - 1) ** 3).mean()) < 0.7
        assert abs(np.corrcoef(z[: n // 2], z[n // 2 :])[0, 1]) < 0.04
    k = g.integers((n,), 2, 7).numpy()
    assert sorted(set(k.tolist())) == [2, 3, 4, 5, 6]
    assert np.bincount(k)[2:].min() > n / 5 * 0.9
    assert abs(g.bernoulli((n,), 0.3).numpy().mean() - 0.3) < 0.015
    assert abs(g.exponential((n,)).numpy().mean() - 1) < 0.04
    c = g.categorical((n,), td.log(td.asarray([0.2, 0.5, 0.3]))).numpy()
    np.testing.assert_allclose(np.bincount(c) / n, [0.2, 0.5, 0.3], atol=0.015)
    p = g.permutation(1000).numpy()
    assert sorted(p.tolist()) == list(range(1000))
    assert abs(np.corrcoef(p, np.arange(1000))[0, 1]) < 0.15


def test_integers_over_wide_ranges():
    g = td.random.Generator(2)
    wide = g.integers((1000,), -(2**63), 2**63 - 1).numpy()
    assert wide.min() < -(2**62)
    assert wide.max() > 2**62
    small = g.integers((100,), 0, 256, dtype=td.uint8).numpy()
    assert small.dtype == np.uint8
    assert small.max() > 200
    by_bound = g.integers((500, 2), td.asarray([0, 100]), td.asarray([2, 103])).numpy()
    assert set(by_bound[:, 0].tolist()) == {0, 1}
    assert set(by_bound[:, 1].tolist()) == {100, 101, 102}


def test_gradients_flow_to_parameters():
    def f(low, high):
        return td.sum(td.random.Generator(1).uniform((3,), low, high))

    u = td.random.Generator(1).uniform((3,)).numpy()
    low, high = grad(f, argnums=(0, 1))(td.asarray(0.0), td.asarray(2.0))
    assert low.item() == pytest.approx((1 - u).sum(), rel=1e-5)
    assert high.item() == pytest.approx(u.sum(), rel=1e-5)
    z = td.random.Generator(1).normal((3,)).numpy()
    g = grad(lambda s: td.sum(td.random.Generator(1).normal((3,), 0.0, s)))(td.asarray(2.0))
    assert g.item() == pytest.approx(z.sum(), rel=1e-5)


def test_symbolic_shapes():
    spec = td.TensorSpec(("n", 2)).to_spec("_")
    g = td.random.Generator(4)
    want = g.normal((3, 2)).numpy()
    g.seed(4)
    outputs, _ = traced(lambda x: g.normal(x.shape) + x * 0, td.ones((3, 2)), specs=[spec])
    np.testing.assert_array_equal(outputs[0].numpy(), want)


def test_mistakes():
    g = td.random.Generator(0)
    with pytest.raises(DTypeError):
        g.uniform((2,), dtype=td.int32)
    with pytest.raises(DTypeError):
        g.integers((2,), 3, dtype=td.float32)
    with pytest.raises(ValueError, match="nothing lies"):
        g.integers((2,), 3, 3)
    with pytest.raises(ShapeError):
        g.normal((2,), td.zeros((3,)))
    with pytest.raises(ShapeError):
        g.categorical((2,), td.asarray(1.0))
