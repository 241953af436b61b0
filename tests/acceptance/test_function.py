"""`td.function` and tracing, rows F1 to F24: what traces, what does not, what is printed when, and what is told."""

from __future__ import annotations

import bdb
import random
import re
import sys
from pathlib import Path

import numpy as np
import pytest

import treadle as td

FILE = Path(__file__).name


def line_of(text: str) -> int:
    """The number of the one line of this file that ends with a marker."""
    lines = Path(__file__).read_text().splitlines()
    (found,) = [k for k, line in enumerate(lines, 1) if line.endswith(f"# {text}")]
    return found


def all_ops(graph) -> list[str]:
    """The ops of a graph and of the graphs inside."""
    return [node.op for node in graph.walk()]


# -- F1 to F9: when a function traces ----------------------------------------------------------------------------------


def linear(x, y, b):
    return td.matmul(x, y) + b


LINEAR = ([[1.0, 2.0]], [[2.0], [3.0]], 4.0)


def test_F1_traced_equals_regular():
    args = [td.asarray(v) for v in LINEAR]
    regular, traced = linear(*args), td.function(linear)(*args)
    assert regular.tolist() == traced.tolist() == [[12.0]]
    assert regular.dtype == traced.dtype == td.float32


def test_F2_an_inner_function_is_in_the_outer_graph():
    y, b = td.asarray(LINEAR[1]), td.asarray(LINEAR[2])

    def inner_function(x, y, b):
        return td.matmul(x, y) + b

    @td.function
    def outer_function(x):
        return inner_function(x, y, b)

    assert outer_function(td.asarray(LINEAR[0])).tolist() == [[12.0]]
    (trace,) = outer_function.traces
    assert {"matmul", "add"} <= {node.op for node in trace.graph.nodes}


def test_F2_a_decorated_inner_function_is_called_from_the_outer_graph():
    inner = td.function(linear)

    @td.function
    def outer(x, y, b):
        return inner(x, y, b) * 1.0

    assert outer(*[td.asarray(v) for v in LINEAR]).tolist() == [[12.0]]
    assert {"matmul", "add"} <= set(all_ops(outer.traces[0].graph))


def loud_add():
    """A function that shows when it traces and when it runs."""

    @td.function
    def my_add(a, b):
        for i in td.range(3):
            td.print(i)
        c = a + b
        print("tracing")
        return c

    return my_add


def test_F3_decoration_alone_does_nothing(printed):
    my_add = loud_add()
    assert printed() == []
    assert my_add.trace_count == 0
    assert my_add.traces == ()
    assert "0 traces" in repr(my_add)


def test_F4_tracing_comes_before_the_graph_runs(printed):
    my_add = loud_add()
    assert my_add(td.asarray("hello"), td.asarray("world")) == "helloworld"
    assert printed() == ["tracing", "0", "1", "2"]


def test_F5_the_same_signature_only_runs(printed):
    my_add = loud_add()
    my_add(td.asarray("hello"), td.asarray("world"))
    printed()
    assert my_add(td.asarray("good"), td.asarray("morning")) == "goodmorning"
    assert printed() == ["0", "1", "2"]
    assert my_add.trace_count == 1


def test_F6_another_dtype_traces_again(printed):
    my_add = loud_add()
    my_add(td.asarray("hello"), td.asarray("world"))
    printed()
    one = td.asarray(1, dtype=td.int32)
    result = my_add(one, one)
    assert (result.item(), result.dtype) == (2, td.int32)
    assert printed() == ["tracing", "0", "1", "2"]
    assert my_add.trace_count == 2


def test_F7_each_new_python_string_traces(printed):
    my_add = loud_add()
    assert my_add("hello", "world") == "helloworld"
    assert my_add("good", "morning") == "goodmorning"
    assert my_add.trace_count == 2
    printed()
    assert my_add("hello", "world") == "helloworld"
    assert printed() == ["0", "1", "2"]
    assert my_add.trace_count == 2


def test_F7_each_new_python_number_traces_and_the_report_says_so():
    @td.function
    def scaled(x, factor):
        return x * factor

    x = td.asarray([1.0, 2.0])
    for factor in range(5):
        assert scaled(x, factor).tolist() == [factor, 2 * factor]
    assert scaled.trace_count == 5
    assert scaled(x, 3).tolist() == [3, 6]
    assert scaled.trace_count == 5
    report = str(scaled.explain())
    assert "factor: 3 -> 4" in report
    assert re.search(r"pass factor as a tensor", report)


def test_F8_numpy_arrays_and_scalars_do_not_trace_for_each_value():
    @td.function
    def double(x):
        return x * 2

    for value in np.linspace(0, 1, 5):
        assert double(value).item() == 2 * value
    assert double.trace_count == 1
    for k in range(5):
        assert double(np.full(3, k)).tolist() == [2 * k] * 3
    assert double.trace_count == 2


def test_F9_one_trace_for_each_signature():
    @td.function
    def double(x):
        return x + x

    double(td.asarray(1.0))
    double(td.asarray("a"))
    double(td.asarray([1, 2], dtype=td.int32))
    first, second, third = double.traces
    assert all(isinstance(trace, td.Trace) for trace in double.traces)
    assert "float32[]" in str(first.signature)
    assert "string[]" in str(second.signature)
    assert "int32[2]" in str(third.signature)
    assert all(isinstance(trace.graph, td.Graph) for trace in double.traces)
    assert [node.op for node in first.graph.nodes] == [node.op for node in third.graph.nodes] == ["add"]
    assert third(td.asarray([3, 4], dtype=td.int32)).tolist() == [6, 8]


# -- F10, F11: shapes and signatures -----------------------------------------------------------------------------------


def test_F10_shapes_trace_but_compile_nothing_again():
    @td.function
    def f(x):
        return td.tanh(x) * 2.0 + x

    @td.function(reduce_retracing=True)
    def relaxed(x):
        return td.tanh(x) * 2.0 + x

    def made():
        stats = td.stats()
        return stats["kernels_compiled"] + stats["kernels_loaded"]

    arrays = [np.linspace(-1, 1, n, dtype=np.float32) for n in range(1, 6)]
    f(td.asarray(arrays[0]))
    before = made()
    for a in arrays:
        np.testing.assert_allclose(f(td.asarray(a)).numpy(), np.tanh(a) * 2 + a, rtol=1e-6)
    assert f.trace_count == 5
    for a in arrays:
        np.testing.assert_allclose(relaxed(td.asarray(a)).numpy(), np.tanh(a) * 2 + a, rtol=1e-6)
    assert relaxed.trace_count <= 2
    assert made() == before
    report = str(f.explain())
    assert "reduce_retracing=True" in report
    assert "x: float32[4] -> float32[5]" in report


def test_F11_an_input_signature_is_kept(printed):
    variable = td.Variable(1.0, name="x")

    @td.function(input_signature=[td.TensorSpec([], td.float32)])
    def add_print(a):
        variable.assign_add(a)
        td.print(variable)
        return variable.value

    assert add_print(td.asarray(3.0)).item() == 4.0
    assert printed() == ["4.0"]
    for bad, shown in [(td.asarray(3, dtype=td.int32), r"int32\[\]"), (td.ones((2,)), r"float32\[2\]")]:
        with pytest.raises(td.errors.SignatureMismatch) as caught:
            add_print(bad)
        message = str(caught.value)
        assert re.search(r"\ba\b", message)
        assert re.search(r"float32\[\]", message)
        assert re.search(shown, message)
        assert FILE in message
    assert isinstance(caught.value, TypeError)
    result = add_print(3)  # a Python number takes the signature's dtype
    assert (result.item(), result.dtype) == (7.0, td.float32)
    assert add_print.trace_count == 1


# -- F12 to F16: what happens once, what at each call ------------------------------------------------------------------


def test_F12_print_at_trace_and_td_print_at_each_call(printed):
    @td.function
    def f(x):
        print("traced")
        td.print("called")
        return x + 1

    for k in range(3):
        f(td.asarray(k))
    lines = printed()
    assert lines.count("traced") == 1
    assert lines.count("called") == 3


def test_F13_numpys_random_numbers_are_frozen_and_ours_are_fresh():
    @td.function
    def frozen():
        return td.asarray(np.random.randn(4))  # frozen here

    @td.function
    def fresh():
        return td.random.normal((4,))

    with pytest.warns(td.TracingWarning, match=r"np\.random\.randn was read during tracing") as caught:
        first = frozen()
    assert [(w.filename, w.lineno) for w in caught] == [(__file__, line_of("frozen here"))]
    assert first.tolist() == frozen().tolist()
    assert frozen.trace_count == 1
    assert fresh().tolist() != fresh().tolist()
    assert fresh.trace_count == 1


def test_F13_pythons_random_numbers_are_told_of_too():
    @td.function
    def frozen(x):
        return x * random.random()

    with pytest.warns(td.TracingWarning, match=r"random\.random was read during tracing"):
        frozen(td.asarray(1.0))


def test_F14_an_outer_variable_is_assigned_at_each_call(run, printed):
    x = td.Variable(1.0, name="x")

    @run
    def outer_var():
        x.assign_add(1.0)
        td.print(x)
        return x.value

    assert outer_var().item() == 2.0
    assert printed() == ["2.0"]
    assert outer_var().item() == 3.0
    assert printed() == ["3.0"]
    assert x.numpy() == 3.0


def test_F15_a_variable_made_at_each_call_is_an_error():
    @td.function
    def inner_var():
        x = td.Variable(1.0)  # made inside
        x.assign_add(1.0)
        return x.value

    with pytest.raises(td.errors.VariableCreation) as caught:
        inner_var()
        inner_var()
    message = str(caught.value)
    assert f"line {line_of('made inside')}" in message
    assert "x = td.Variable(1.0)" in message
    assert "is None:" in message


def test_F15_a_variable_made_once_and_kept_works(run):
    class Counter:
        def __init__(self):
            self.v = None

        @run
        def __call__(self, x):
            if self.v is None:
                self.v = td.Variable(0.0, name="v")
            self.v.assign_add(x)
            return self.v.value

    counter = Counter()
    assert [counter(td.asarray(2.0)).item() for _ in range(3)] == [2, 4, 6]
    assert counter.v.numpy() == 6


def test_F16_a_tensor_appended_to_an_outer_list():
    tensor_list = []

    def append(x):
        y = x + 1  # the leaking line
        tensor_list.append(y)
        return y

    for value in (4.0, 5.0):
        append(td.asarray(value))
    assert [x.item() for x in tensor_list] == [5.0, 6.0]

    tensor_list.clear()
    with pytest.raises(td.errors.LeakedTensor) as caught:
        td.function(append)(td.asarray(4.0))
    message = str(caught.value)
    assert "tensor_list" in message
    assert f"line {line_of('the leaking line')}" in message
    assert "y = x + 1" in message
    assert "Return it" in message
    assert "td.Variable" in message
    with pytest.raises(td.errors.LeakedTensor, match="outside the trace"):
        tensor_list[0] + 1


# -- F17 to F20: control flow, effects, names --------------------------------------------------------------------------


def test_F17_a_loop_over_td_range_is_one_node(run, printed):
    @run
    def total(x):
        s = x * 0.0
        for i in td.range(3):
            td.print(i)
            s = s + td.tanh(x) * td.astype(i, td.float32)
        return s

    x = td.asarray([0.5])
    np.testing.assert_allclose(total(x).numpy(), 3 * np.tanh([0.5]), rtol=1e-6)
    assert printed() == ["0", "1", "2"]
    if run.traced:
        graph = total.traces[0].graph
        assert [node.op for node in graph.nodes].count("while") == 1
        assert all_ops(graph).count("tanh") == 1
        assert all_ops(graph).count("print") == 1


def test_F18_autograph_on_and_off():
    def relu(x):
        if x > 0:  # a tensor decides
            return x
        else:
            return x * 0

    on = td.function(relu)
    assert on(td.asarray(2.0)).item() == 2
    assert on(td.asarray(-2.0)).item() == 0
    assert on.trace_count == 1
    assert "cond" in all_ops(on.traces[0].graph)
    off = td.function(relu, autograph=False)
    with pytest.raises(td.errors.TraceError, match="autograph=True") as caught:
        off(td.asarray(2.0))
    assert f"line {line_of('a tensor decides')}" in str(caught.value)
    assert "if x > 0:" in str(caught.value)
    # Python conditions need no autograph
    plain = td.function(lambda x, up: x + 1 if up else x - 1, autograph=False)
    assert plain(td.asarray(1), True).item() == 2


def test_F19_effects_keep_program_order(run, printed):
    v = td.Variable(1.0, name="v")

    @run
    def f():
        td.print("old", v)
        v.assign(2.0)
        td.print("new", v)

    f()
    assert printed() == ["old 1.0", "new 2.0"]
    v.assign(5.0)
    f()
    assert printed() == ["old 5.0", "new 2.0"]


@td.function
def simple_nn_layer(x, y):  # the decorated function
    return td.nn.relu(x @ y)


def test_F20_repr_names_signature_place_and_traces():
    line = line_of("the decorated function")
    assert repr(simple_nn_layer) == f"<function simple_nn_layer(x, y) [{FILE}:{line}]: 0 traces>"
    simple_nn_layer(td.ones((1, 2)), td.ones((2, 1)))
    assert repr(simple_nn_layer) == f"<function simple_nn_layer(x, y) [{FILE}:{line}]: 1 trace>"
    simple_nn_layer(td.ones((2, 2)), td.ones((2, 1)))
    assert repr(simple_nn_layer) == f"<function simple_nn_layer(x, y) [{FILE}:{line}]: 2 traces>"


# -- F21 to F24: objects, methods, open shapes, debugging --------------------------------------------------------------


def test_F21_one_trace_for_each_pair_of_model_and_optimizer():
    x = td.asarray(np.random.default_rng(4).normal(size=(8, 3)).astype(np.float32))

    @td.function
    def train(model, optimizer, x):
        with td.GradientTape() as tape:
            loss = td.mean((model(x) - 1.0) ** 2)
        variables = model.trainable_variables
        optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables))
        return loss

    pairs = [(td.nn.Sequential([td.nn.Dense(4, "relu"), td.nn.Dense(1)]), td.optim.Adam(0.01)) for _ in range(2)]
    for count, (model, optimizer) in enumerate(pairs, 1):
        losses = [train(model, optimizer, x).item() for _ in range(5)]
        assert train.trace_count == count
        assert losses[-1] < losses[0]
    for model, optimizer in pairs:  # the next epoch
        train(model, optimizer, x)
    assert train.trace_count == 2
    train(pairs[0][0], pairs[1][1], x)  # another pair
    assert train.trace_count == 3


def test_F22_methods_super_and_call(run):
    class Cat:
        def __init__(self, sound):
            self.sound = sound

        @run
        def speak(self):
            return self.sound

        @run
        def __call__(self, x):
            return x + self.sound

    class BlackCat(Cat):
        @run
        def speak(self):
            return super().speak() * 100 + 24

        @run
        def quiet(self, x):
            if x > 0:  # rewritten: the __class__ cell must survive
                y = super().speak() + x
            else:
                y = x * 1
            return y

    for sound in (123, td.asarray(123)):
        c = BlackCat(sound)
        assert int(c.speak()) == 12324
        assert int(super(BlackCat, c).speak()) == 123
        assert int(c(td.asarray(1))) == 124
        assert int(c.quiet(td.asarray(1))) == 124
        assert int(c.quiet(td.asarray(-1))) == -1
    if run.traced:
        other = BlackCat(7)
        assert (other.speak.trace_count, c.speak.trace_count) == (0, 1)
        assert other.speak() == 724
        c.sound = td.asarray(1)
        assert int(c.speak()) == 124


def test_F23_one_trace_for_every_batch_size():
    @td.function(input_signature=[td.TensorSpec((None, 3)), td.TensorSpec((3, 2))])
    def layer(x, w):
        return td.nn.relu(x @ w) / x.shape[0]

    rng = np.random.default_rng(5)
    w = rng.normal(size=(3, 2)).astype(np.float32)
    for batch in (60, 7, 1, 0):
        x = rng.normal(size=(batch, 3)).astype(np.float32)
        got = layer(td.asarray(x), td.asarray(w))
        assert got.shape == (batch, 2)
        if batch:
            np.testing.assert_allclose(got.numpy(), np.maximum(x @ w, 0) / batch, rtol=1e-5, atol=1e-6)
    assert layer.trace_count == 1


class Stops(bdb.Bdb):
    """A debugger that notes where breakpoints stop, and what `y` is there."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def user_line(self, frame):
        if self.get_break(frame.f_code.co_filename, frame.f_lineno):
            self.seen.append((Path(frame.f_code.co_filename).name, frame.f_lineno, frame.f_locals["y"]))
        self.set_continue()


def test_F24_run_eagerly_to_debug_then_decorate():
    @td.function
    def f(x):
        y = x * 2
        if td.sum(y) > 0:
            y = y + 1  # break here
        return y

    x = td.asarray([1.0, 2.0])
    before = sys.gettrace()
    debugger = Stops()
    debugger.set_break(__file__, line_of("break here"))
    try:
        with td.run_eagerly(True):
            debugger.runcall(f, x)
            eager = f(x)
    finally:
        debugger.clear_all_breaks()
        sys.settrace(before)
    ((file, line, y),) = debugger.seen
    assert (file, line) == (FILE, line_of("break here"))
    assert y.tolist() == [2, 4]  # the values are there to look at
    assert f.trace_count == 0
    traced = f(x)
    assert f.trace_count == 1
    assert eager.tolist() == traced.tolist() == [3, 5]
    td.run_eagerly(True)
    try:
        assert f(td.asarray(-x)).tolist() == [-2, -4]
    finally:
        td.run_eagerly(False)
    assert f.trace_count == 1
