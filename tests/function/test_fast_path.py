"""The way of calls like the last one: objects, numbers and tensors are told apart as by the full way."""

import gc
import weakref

import pytest

import treadle as td

pytestmark = pytest.mark.filterwarnings("ignore::treadle.errors.RetraceWarning")


class Holder:
    def __init__(self, rate):
        self.rate = rate


class Layer(td.Module):
    def __init__(self, value, rates=(2.0,)):
        super().__init__()
        self.w = td.Variable(value)
        self.rates = list(rates)

    def __call__(self, x):
        return x * self.w * self.rates[0]


@td.function
def scale(holder, x, n=1):
    return x * holder.rate * n


@td.function
def nested(pair, x):
    return pair[0](x) if pair[1] else x


def apply(layer, x):
    return layer(x)


def test_objects_are_told_apart_and_their_attributes_checked():
    a, b, x = Holder(2.0), Holder(3.0), td.asarray(1.0)
    for _ in range(3):
        for holder in (a, a, b, b):
            assert scale(holder, x).item() == holder.rate
            assert scale(holder, x, 2).item() == 2 * holder.rate
            assert scale(holder, x=x, n=2).item() == 2 * holder.rate
    assert scale.trace_count == 4
    a.rate = 5.0
    assert [scale(a, x).item(), scale(a, x).item(), scale(b, x).item()] == [5.0, 5.0, 3.0]
    assert scale(a, x, True).item() == scale(a, x, 1.0).item() == 5.0
    assert {str(t.signature).rpartition("n: ")[2] for t in scale.traces} == {"1)", "2)", "True)", "1.0)"}


def test_a_new_object_at_a_freed_address():
    f = td.function(lambda holder, x: x * holder.rate)
    x = td.asarray(1.0)
    addresses = set()
    for k in range(100):
        holder = Holder(float(k))
        addresses.add(id(holder))
        assert [f(holder, x).item() for _ in range(4)] == [float(k)] * 4
        if len(addresses) <= k:  # this address was another's before
            break
        del holder
        gc.collect()
    assert len(addresses) <= k


@pytest.mark.parametrize("change", ["attribute", "inside a list", "another variable"])
def test_a_changed_module_traces_again(change):
    f = td.function(apply)
    layer, x = Layer(3.0), td.asarray(1.0)
    assert [f(layer, x).item() for _ in range(4)] == [6.0] * 4
    assert f.trace_count == 1
    if change == "attribute":
        layer.rates = [5.0]
    elif change == "inside a list":
        layer.rates[0] = 5.0
    else:
        layer.w = td.Variable(7.5)
    assert [f(layer, x).item() for _ in range(4)] == [15.0] * 4
    assert f.trace_count == 2
    layer.w.assign(1.0)
    assert f(layer, x).item() == {"another variable": 2.0}.get(change, 5.0)
    assert f.trace_count == 2


def test_a_module_that_no_guard_looks_at():
    f = td.function(lambda layer, x: x + 1)
    layer, x = Layer(3.0), td.asarray(1.0)
    for _ in range(4):
        f(layer, x)
    layer.rates = [1.0]
    for _ in range(4):
        assert f(layer, x).item() == 2.0
    assert f.trace_count == 2  # a new version is a new key, whatever is read


def test_variables_functions_and_what_cannot_be_held():
    f = td.function(lambda v, g, d, x: g(x) * v + d["k"])
    v, w, x = td.Variable(2.0), td.Variable(3.0), td.asarray(1.0)
    for _ in range(3):
        for variable in (v, w):
            for g in (td.sin, td.cos):
                want = g(x).item() * variable.numpy() + 1
                assert f(variable, g, {"k": 1}, x).item() == pytest.approx(want, rel=1e-6)
    assert f.trace_count == 4
    for _ in range(3):
        assert nested((Layer(2.0), True), x).item() == 4.0
        assert nested((None, False), x).item() == 1.0


def test_the_fast_path_keeps_no_object_alive():
    f = td.function(lambda holder, x: x * holder.rate)
    holder, x = Holder(2.0), td.asarray(1.0)
    for _ in range(4):
        f(holder, x)
    ref = weakref.ref(holder)
    del holder
    gc.collect()
    assert ref() is None


def test_what_runs_differently_leaves_the_fast_path():
    f = td.function(lambda holder, x: x * holder.rate)
    holder, x = Holder(2.0), td.asarray(3.0)
    for _ in range(4):
        f(holder, x)
    with td.GradientTape() as tape:
        tape.watch(x)
        y = f(holder, x)
    assert tape.gradient(y, x).item() == 2.0
    with td.run_eagerly(True):
        assert f(holder, x).item() == 6.0
    td.set_default_dtype(td.float64)
    try:
        assert f(holder, x).dtype == td.float32
    finally:
        td.set_default_dtype(td.float32)
    assert f.trace_count == 2
