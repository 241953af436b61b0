"""No stale traces: what a function reads from outside is checked at each call."""

import types

import numpy as np
import pytest

import treadle as td

RATE = 0.1
SCALE = td.asarray(2.0)
TABLE = {"a": [1, 2], "b": 3.0}
ARRAY = np.ones(2, np.float32)
config = types.SimpleNamespace(rate=1.0, inner=types.SimpleNamespace(depth=2))


@pytest.fixture(autouse=True)
def restore():
    global RATE, SCALE
    yield
    RATE, SCALE = 0.1, td.asarray(2.0)
    TABLE.update(a=[1, 2], b=3.0)
    config.rate, config.inner.depth = 1.0, 2


def test_a_global_number():
    global RATE

    @td.function
    def f(x):
        return x * RATE

    x = td.asarray(10.0)
    assert f(x).item() == 1.0
    RATE = 0.2
    assert f(x).item() == 2.0
    assert f.traces[1].reason.startswith("global RATE: 0.1 -> 0.2")
    RATE = 0.1
    assert f(x).item() == 1.0
    assert f.trace_count == 2


def test_a_global_tensor():
    global SCALE

    @td.function
    def f(x):
        return x * SCALE

    x = td.asarray(10.0)
    assert f(x).item() == 20.0
    SCALE = td.asarray(3.0)
    assert f(x).item() == 30.0
    assert f(x).item() == 30.0
    assert f.trace_count == 2


def test_contents_of_containers():
    @td.function
    def f(x):
        return x * TABLE["a"][0] + TABLE["b"]

    x = td.asarray(1.0)
    assert f(x).item() == f(x).item() == 4.0
    TABLE["a"][0] = 5
    assert f(x).item() == 8.0
    TABLE["b"] = td.asarray(1.0)
    assert f(x).item() == 6.0
    assert f.trace_count == 3


def test_attribute_chains_and_callees():
    def helper(x):
        return x * config.inner.depth

    @td.function
    def f(x):
        return helper(x) + config.rate

    x = td.asarray(1.0)
    assert f(x).item() == 3.0
    config.inner.depth = 5
    assert f(x).item() == 6.0
    assert "config.inner.depth: 2 -> 5" in f.traces[1].reason
    config.rate = 2.0
    assert f(x).item() == 7.0
    assert f.trace_count == 3


def test_closure_cells():
    def make(n):
        def change(value):
            nonlocal n
            n = value

        @td.function
        def f(x):
            return x * n

        return f, change

    f, change = make(2)
    x = td.asarray(3.0)
    assert f(x).item() == 6.0
    change(4)
    assert f(x).item() == 12.0
    assert "closure n: 2 -> 4" in f.traces[1].reason


def test_a_callee_that_is_replaced():
    space = types.SimpleNamespace(act=lambda x: x + 1)

    @td.function
    def f(x):
        return space.act(x)

    assert f(td.asarray(1.0)).item() == 2.0
    space.act = lambda x: x + 2
    assert f(td.asarray(1.0)).item() == 3.0


def test_another_variable_in_the_same_place():
    holder = types.SimpleNamespace(v=td.Variable(1.0))

    @td.function
    def f():
        return holder.v + 1

    assert f().item() == 2.0
    holder.v.assign(5.0)
    assert f().item() == 6.0
    assert f.trace_count == 1
    holder.v = td.Variable(10.0)
    assert f().item() == 11.0
    assert f.trace_count == 2


def test_live_numpy_arrays_are_read_at_each_call():
    @td.function
    def f(x):
        return x + ARRAY

    x = td.zeros((2,))
    first = f(x)
    ARRAY[0] = 7.0
    try:
        assert f(x).tolist() == [7.0, 1.0]
        assert first.tolist() == [1.0, 1.0]
        assert f.trace_count == 1
    finally:
        ARRAY[0] = 1.0


def test_live_arrays_under_a_tape_and_in_a_branch():
    array = np.ones(2, np.float32)

    @td.function
    def gradient(x):
        with td.GradientTape() as tape:
            tape.watch(x)
            y = td.sum(x * array)
        return tape.gradient(y, x)

    @td.function
    def branch(x):
        if td.sum(x) > 0:
            return x * array
        return td.asarray(array)

    x = td.ones((2,))
    for value in (1.0, 5.0):
        array[:] = value
        kept = branch(-x)
        assert gradient(x).tolist() == branch(x).tolist() == kept.tolist() == [value] * 2
        array[:] = 7.0
        assert kept.tolist() == [value] * 2
    with td.GradientTape() as tape:
        tape.watch(x)
        y = branch(x)
    array[:] = 100.0
    assert tape.gradient(y, x).tolist() == [7.0] * 2


def test_properties_and_methods_of_self():
    class Layer:
        def __init__(self):
            self.factor = 2.0

        @property
        def doubled(self):
            return self.factor * 2

        def helper(self, x):
            return x * self.factor

        @td.function
        def __call__(self, x):
            return self.helper(x) + self.doubled

    layer, x = Layer(), td.asarray(1.0)
    assert layer(x).item() == layer(x).item() == 6.0
    assert layer.__call__.trace_count == 1
    layer.factor = 3.0
    assert layer(x).item() == 9.0
    assert "self.factor: 2.0 -> 3.0" in layer.__call__.traces[1].reason


def test_an_inner_function_brings_its_guards():
    global RATE

    @td.function
    def inner(x):
        return x * RATE

    @td.function
    def outer(x):
        return inner(x) + 1

    assert outer(td.asarray(10.0)).item() == 2.0
    RATE = 0.5
    assert outer(td.asarray(10.0)).item() == 6.0


def test_writes_to_outer_values_are_warned_about_and_do_not_retrace_for_ever():
    log = []

    @td.function
    def f(x):
        log.append("traced")
        return x

    with pytest.warns(td.TracingWarning, match="closure log was changed during tracing"):
        f(td.asarray(1.0))
    for _ in range(3):
        f(td.asarray(1.0))
        f(td.asarray([1.0]))
    assert log == ["traced"] * 2
    assert f.trace_count == 2


def test_attributes_set_while_building_do_not_retrace():
    class Lazy:
        built = False
        layers = ()

        @td.function
        def __call__(self, x):
            if not self.built:
                self.layers = [td.Variable(2.0)]
                self.built = True
            return x * self.layers[0]

    lazy = Lazy()
    assert [lazy(td.asarray(3.0)).item() for _ in range(3)] == [6.0] * 3
    assert lazy.__call__.trace_count == 1


def test_leaks_into_attributes_globals_and_results():
    class Holder:
        @td.function
        def __call__(self, x):
            self.kept = x * 2
            return x

    with pytest.raises(td.errors.LeakedTensor, match=r"self\.kept"):
        Holder()(td.asarray(1.0))

    @td.function
    def stores(x):
        global LEAKED
        LEAKED = x + 1
        return x

    with pytest.raises(td.errors.LeakedTensor, match="global LEAKED"):
        stores(td.asarray(1.0))

    @td.function
    def returns(x):
        return types.SimpleNamespace(value=x)

    with pytest.raises(td.errors.LeakedTensor, match="SimpleNamespace that it returns"):
        returns(td.asarray(1.0))


def test_nested_functions_over_traced_tensors_are_no_leak():
    @td.function
    def f(x):
        y = x * 2

        def inner(z):
            return z + y

        return inner(x)

    assert f(td.asarray(1.0)).item() == 3.0
    assert f.traces[0].guards is None


def test_a_decorated_function_inside_captures_traced_tensors():
    @td.function
    def outer(x):
        y = x * 2

        @td.function
        def inner(z):
            return z + y

        return inner(x) + inner(x)

    assert outer(td.asarray(1.0)).item() == 6.0
    assert outer(td.asarray(2.0)).item() == 12.0
    assert outer.trace_count == 1


tensor_list = []


def test_a_leak_into_a_global_list_is_named():
    @td.function
    def append(x):
        tensor_list.append(x + 1)
        return x

    with pytest.raises(
        td.errors.LeakedTensor, match=r"(?s)global tensor_list.*Return it.*tensor_list.append\(x \+ 1\)"
    ):
        append(td.asarray(5.0))
    with pytest.raises(td.errors.LeakedTensor):
        _ = tensor_list[0] + 1
    tensor_list.clear()


class _Model:
    def __init__(self):
        self.w = td.Variable(2.0)

    def __call__(self, x):
        return self.w * x


class _Optimizer:
    rate = 0.5

    def step(self, v, g):
        v.assign_sub(self.rate * g)


def test_objects_as_arguments_are_told_by_name():
    @td.function
    def train(model, optimizer, x):
        optimizer.step(model.w, x)
        return model(x)

    x = td.asarray(1.0)
    first, second, optimizer = _Model(), _Model(), _Optimizer()
    assert [train(first, optimizer, x).item() for _ in range(3)] == [1.5, 1.0, 0.5]
    assert train.trace_count == 1
    assert train(second, optimizer, x).item() == 1.5
    assert train.trace_count == 2
    assert "model" in train.traces[1].reason
    optimizer.rate = 1.0
    assert train(second, optimizer, x).item() == 0.5
    assert "optimizer.rate: 0.5 -> 1.0" in train.traces[2].reason


class _Thing:
    rate = 2.0


def test_an_object_that_is_gone_is_not_none():
    thing = _Thing()

    @td.function
    def f(x):
        return x if thing is None else x * 2

    x = td.asarray(1.0)
    assert f(x).item() == 2.0
    thing = None
    assert f(x).item() == 1.0


class _Layer(td.Module):
    def __init__(self):
        super().__init__()
        self.rate = 2.0

    def __call__(self, x):
        return x * self.rate


def test_a_module_found_in_two_places_is_looked_at_once():
    looks = []

    class Counted(_Layer):
        @property
        def __treadle_version__(self):
            looks.append(1)
            return super().__treadle_version__

    first = second = layer = Counted()
    f = td.function(lambda x: first(x) + second(x))
    x = td.asarray(1.0)
    assert f(x).item() == 4.0
    assert f(x).item() == 4.0
    looks.clear()
    assert f(x).item() == 4.0
    assert len(looks) == 1
    layer.rate = 3.0
    assert f(x).item() == 6.0
    second = _Layer()
    assert f(x).item() == 5.0
    assert f.trace_count == 3
