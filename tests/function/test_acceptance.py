"""The promises of `td.function` that users meet first, one test each."""

import re
import warnings

import numpy as np
import pytest

import treadle as td


def test_f1_regular_function():
    def f(x, y, b):
        return td.matmul(x, y) + b

    x, y, b = td.asarray([[1.0, 2.0]]), td.asarray([[2.0], [3.0]]), td.asarray(4.0)
    assert td.function(f)(x, y, b).tolist() == f(x, y, b).tolist() == [[12.0]]


def test_f2_nested_call_is_in_the_outer_graph():
    def inner(x, y, b):
        return td.matmul(x, y) + b

    @td.function
    def outer(x):
        return inner(x, td.asarray([[2.0], [3.0]]), td.asarray(4.0))

    assert outer(td.asarray([[1.0, 2.0]])).tolist() == [[12.0]]
    ops = [node.op for node in outer.traces[0].graph.nodes]
    assert ops.count("matmul") == 1
    assert ops.count("add") == 1


def test_a_decorated_inner_function_is_one_call_node():
    @td.function
    def inner(x):
        return x * 2

    @td.function
    def outer(x):
        return inner(x) + inner(x)

    assert outer(td.asarray(3.0)).item() == 12.0
    assert [n.op for n in outer.traces[0].graph.nodes].count("call") == 2
    assert inner.trace_count == 1


def test_f3_decoration_alone_does_nothing(capsys):
    @td.function
    def f(x):
        print("tracing")
        return x

    assert capsys.readouterr().out == ""
    assert f.trace_count == 0
    assert repr(f).endswith(": 0 traces>")


def _counter():
    @td.function
    def f(x):
        print("tracing")
        for i in td.range(3):
            td.print(i)
        return x

    return f


def test_f4_to_f6_tracing_prints_once_for_each_signature(capsys):
    f = _counter()
    f(td.asarray("hello"))
    assert capsys.readouterr().out.split() == ["tracing", "0", "1", "2"]
    f(td.asarray("world"))
    assert capsys.readouterr().out.split() == ["0", "1", "2"]
    assert f.trace_count == 1
    f(td.asarray(1, dtype=td.int32))
    assert capsys.readouterr().out.split() == ["tracing", "0", "1", "2"]
    assert f.trace_count == 2


def test_f7_each_python_value_traces():
    @td.function
    def myadd(a, b):
        return a + b

    assert myadd("hello", "world") == "helloworld"
    myadd("good", "morning")
    myadd("hello", "world")
    assert myadd.trace_count == 2

    @td.function
    def square(n):
        return td.asarray(n) * n

    for n in (0, 1, 2, 3, 4, 0, 3):
        assert square(n).item() == n * n
    assert square.trace_count == 5
    text = str(square.explain())
    assert "n: 3 -> 4" in text
    assert "td.asarray(n)" in text


def test_f8_numpy_values_do_not_retrace():
    @td.function
    def f(x):
        return x + 1

    for value in np.linspace(0.0, 1.0, 5):
        assert f(value).item() == value + 1
    for _ in range(3):
        f(np.ones((2, 2)))
    assert f.trace_count == 2


def test_f9_polymorphic_function():
    @td.function
    def f(x):
        return x + x

    f(td.asarray(1))
    f(td.asarray(1.0))
    f(td.asarray("a"))
    assert [str(t.signature) for t in f.traces] == ["(x: int64[])", "(x: float32[])", "(x: string[])"]
    assert all(isinstance(t.graph, td.Graph) for t in f.traces)
    assert f.traces[1](td.asarray(4.0)).item() == 8.0
    with pytest.raises(td.errors.SignatureMismatch, match="takes the tensors"):
        f.traces[1](td.asarray(4))


def test_f10_shapes():
    def double(x):
        return x * 2

    exact, relaxed = td.function(double), td.function(double, reduce_retracing=True)
    for n in range(1, 6):
        assert exact(td.ones((n,))).tolist() == relaxed(td.ones((n,))).tolist() == [2.0] * n
    assert exact.trace_count == 5
    assert relaxed.trace_count <= 2
    assert "reduce_retracing=True" in str(exact.explain())


def test_f11_input_signature():
    @td.function(input_signature=[td.TensorSpec([], td.float32)])
    def add_print(a):
        return a + 1

    assert add_print(td.asarray(3.0)).item() == 4.0
    result = add_print(3)
    assert result.item() == 4.0
    assert result.dtype == td.float32
    with pytest.raises(td.errors.SignatureMismatch, match=r"argument a is int32\[\].*wants float32\[\]"):
        add_print(td.asarray(3, dtype=td.int32))
    with pytest.raises(TypeError, match=r"float32\[2\]"):
        add_print(td.asarray([1.0, 2.0]))
    assert add_print.trace_count == 1


def test_f12_print_at_trace_time_and_at_run_time(capsys):
    @td.function
    def f(x):
        print("python")
        td.print("graph")
        return x

    for _ in range(3):
        f(td.asarray(1))
    out = capsys.readouterr().out.split()
    assert (out.count("python"), out.count("graph")) == (1, 3)


def test_f13_numpy_random_is_frozen_and_warned_about():
    @td.function
    def frozen(x):
        return x + np.random.randn()

    @td.function
    def fresh(x):
        return x + td.random.normal(())

    x = td.asarray(0.0)
    with pytest.warns(td.TracingWarning, match="np.random.randn was read during tracing") as caught:
        first = frozen(x).item()
    assert caught[0].filename == __file__
    assert frozen(x).item() == first
    assert fresh(x).item() != fresh(x).item()


def test_f14_assignment_to_an_outer_variable(capsys):
    x = td.Variable(1.0)

    @td.function
    def outer_var():
        x.assign_add(1.0)
        td.print(x)

    outer_var()
    outer_var()
    assert capsys.readouterr().out.split() == ["2.0", "3.0"]


def test_f15_variables_are_created_once():
    @td.function
    def bad(x):
        v = td.Variable(1.0)
        return v.assign_add(x)

    with pytest.raises(td.errors.VariableCreation, match=r"(?s)if self.v is None.*v = td.Variable\(1.0\)"):
        bad(td.asarray(1.0))
    assert bad.traces == ()

    class Counter:
        v = None

        @td.function
        def __call__(self, x):
            if self.v is None:
                self.v = td.Variable(0.0)
            return self.v.assign_add(x)

    counter = Counter()
    assert [counter(td.asarray(2.0)).item() for _ in range(3)] == [2.0, 4.0, 6.0]
    assert counter.__call__.trace_count == 1


tensor_list = []


def test_f16_a_leak_is_named():
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
    eager = append.python_function
    eager(td.asarray(4.0))
    eager(td.asarray(5.0))
    assert [t.item() for t in tensor_list] == [5.0, 6.0]


def test_f17_for_over_range_is_one_loop():
    @td.function
    def f(x):
        for _ in td.range(3):
            x = x * 2
        return x

    assert f(td.asarray(1.0)).item() == 8.0
    ops = [n.op for n in f.traces[0].graph.nodes]
    assert ops.count("while") == 1
    assert "multiply" not in ops


def test_f18_autograph_off():
    def f(x):
        if x > 0:
            return x
        return -x

    assert td.function(f)(td.asarray(-2.0)).item() == 2.0
    with pytest.raises(td.errors.TraceError, match="autograph=True"):
        td.function(f, autograph=False)(td.asarray(-2.0))


def test_f19_effects_in_program_order(capsys):
    v = td.Variable(1.0)

    @td.function
    def f():
        td.print("old", v)
        v.assign(5.0)
        td.print("new", v)

    f()
    assert capsys.readouterr().out == "old 1.0\nnew 5.0\n"


def test_f20_repr():
    @td.function
    def simple_nn_layer(x, y):
        return x @ y

    simple_nn_layer(td.ones((2, 2)), td.ones((2, 2)))
    assert re.fullmatch(
        r"<function simple_nn_layer\(x, y\) \[test_acceptance.py:\d+\]: 1 trace>", repr(simple_nn_layer)
    )
    line = simple_nn_layer.python_function.__code__.co_firstlineno + 1
    assert f":{line}]" in repr(simple_nn_layer)


class _Model:
    def __init__(self):
        self.w = td.Variable(2.0)

    def __call__(self, x):
        return self.w * x


class _Optimizer:
    rate = 0.5

    def step(self, v, g):
        v.assign_sub(self.rate * g)


def test_f21_objects_as_arguments():
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


class _Cat:
    def __init__(self, n):
        self.n = n

    @td.function
    def speak(self):
        return td.asarray(self.n)


class _BlackCat(_Cat):
    @td.function
    def speak(self):
        return super().speak() * 100 + 24


def test_f22_methods_and_super():
    c = _BlackCat(123)
    assert c.speak().item() == 12324
    assert super(_BlackCat, c).speak().item() == 123
    d = _BlackCat(1)
    assert d.speak().item() == 124
    assert c.speak.trace_count == d.speak.trace_count == 1
    assert _BlackCat.speak.trace_count == 0


def test_f23_open_batch_size():
    @td.function(input_signature=[td.TensorSpec((None, 3))])
    def mean(x):
        return td.sum(x, axis=0) / x.shape[0]

    for n in (60, 7):
        np.testing.assert_allclose(mean(np.ones((n, 3), np.float32)).numpy(), np.ones(3), rtol=1e-6)
    assert mean.trace_count == 1


def test_f23_compiled_for_a_spec_serves_every_size():
    f = td.function(lambda x: x + x.shape[0])
    f.trace(td.TensorSpec((None,)))
    assert f(td.zeros((60,)))[0].item() == 60.0
    assert f(td.zeros((7,)))[0].item() == 7.0
    assert f.trace_count == 1


def test_f24_run_eagerly():
    seen = []

    @td.function
    def f(x):
        y = x * 2
        seen.append(type(y) is td.Tensor)
        return y

    with td.run_eagerly(True):
        assert f(td.asarray(2.0)).item() == 4.0
    assert seen == [True]
    assert f.trace_count == 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", td.TracingWarning)
        assert f(td.asarray(2.0)).item() == 4.0
    assert f.trace_count == 1
