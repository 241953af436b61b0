"""Running traces: results and their memory, state as a transaction, gradients across calls, threads."""

import threading

import numpy as np
import pytest

import treadle as td


def test_results_keep_their_nest_and_python_values():
    v = td.Variable(2.0)

    @td.function
    def f(x):
        before = v.value
        v.assign_add(x)
        return {"t": x + 1, "n": 3, "none": None, "pair": (v, "s"), "before": before, "array": np.zeros(2)}

    for k in range(2):
        out = f(td.asarray(1.0))
        assert out["t"].item() == 2.0
        assert (out["n"], out["none"], out["pair"][1]) == (3, None, "s")
        assert isinstance(out["pair"][0], td.Tensor)
        assert (out["before"].item(), out["pair"][0].item()) == (2.0 + k, 3.0 + k)
        out["array"][:] = 1.0
    assert f.trace_count == 1


def test_results_do_not_alias_the_callers_arrays():
    @td.function
    def f(x):
        return x, x[1:], x + 0

    array = np.arange(3.0)
    results = f(array)
    array[:] = 7.0
    assert [r.tolist() for r in results] == [[0.0, 1.0, 2.0], [1.0, 2.0], [0.0, 1.0, 2.0]]
    results = f(array)
    array[:] = 8.0
    assert results[0].tolist() == [7.0] * 3


def test_a_variable_does_not_alias_the_callers_array():
    v = td.Variable(np.zeros(3))

    @td.function
    def f(x):
        v.assign(x)

    array = np.arange(3.0)
    f(array)
    array[:] = 7.0
    assert v.numpy().tolist() == [0.0, 1.0, 2.0]


def test_a_failed_call_changes_nothing():
    a, b = td.Variable(1.0), td.Variable(1.0)

    @td.function
    def f(x):
        a.assign_add(1.0)
        assert x > 0, "x must be positive"
        b.assign_add(1.0)

    f(td.asarray(1.0))
    with pytest.raises(td.errors.AssertionFailed, match="x must be positive"):
        f(td.asarray(-1.0))
    assert (a.numpy(), b.numpy()) == (2.0, 2.0)


def test_a_tensor_read_from_a_variable_never_changes():
    v = td.Variable([1.0, 2.0])

    @td.function
    def f():
        old = v.value
        v.assign_add([1.0, 1.0])
        return old

    before, first = v.value, f()
    f()
    assert before.tolist() == first.tolist() == [1.0, 2.0]
    assert v.value.tolist() == [3.0, 4.0]


def test_gradients_around_inside_and_across_functions():
    w = td.Variable(3.0)

    @td.function
    def inner(x):
        return w * x * x

    @td.function
    def inside(x):
        with td.GradientTape() as tape:
            tape.watch(x)
            y = inner(x)
        return tape.gradient(y, x)

    x = td.asarray(2.0)
    with td.GradientTape() as tape:
        tape.watch(x)
        y = inner(x)
    dx, dw = tape.gradient(y, [x, w])
    assert (dx.item(), dw.item()) == (12.0, 4.0)
    assert inside(x).item() == 12.0
    with td.GradientTape() as tape:
        tape.watch(x)
        g = inside(x)
    assert tape.gradient(g, x).item() == 6.0


def test_an_assignment_inside_passes_no_gradient_on():
    v = td.Variable(2.0)

    @td.function
    def f():
        a = v * v
        v.assign(10.0)
        return a + v * 3.0

    with td.GradientTape() as tape:
        y = f()
    assert y.item() == 34.0
    assert tape.gradient(y, v).item() == 7.0
    assert v.numpy() == 10.0


def test_variables_written_by_an_inner_function():
    v = td.Variable(1.0)

    @td.function
    def bump():
        v.assign_add(1.0)
        return v.value

    @td.function
    def outer():
        return bump() + bump(), v

    total, last = outer()
    assert (total.item(), last.item(), v.numpy()) == (5.0, 3.0, 3.0)


def test_a_variable_that_is_gone():
    v = td.Variable(1.0)
    f = td.function(lambda v: v + 1)
    trace = f.trace(v)
    del v
    with pytest.raises(td.errors.TreadleError, match="no longer exists"):
        trace()


def test_a_variable_without_a_value():
    v = td.Variable(td.TensorSpec((2,)), name="late")
    f = td.function(lambda: v + 1)
    with pytest.raises(td.errors.UndefinedVariable, match="late"):
        f()
    v.assign([1.0, 2.0])
    assert f().tolist() == [2.0, 3.0]


def test_two_threads_trace_once_and_lose_no_update():
    v = td.Variable(0)
    barrier = threading.Barrier(2)

    @td.function
    def add(x):
        v.assign_add(x)

    def work():
        barrier.wait()
        for _ in range(50):
            add(td.asarray(1))

    threads = [threading.Thread(target=work) for _ in range(2)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert v.numpy() == 100
    assert add.trace_count == 1


def test_functions_that_trace_each_other_from_two_threads():
    barrier = threading.Barrier(2)

    @td.function
    def f(x, n):
        return x if n == 0 else g(x, n - 1) + 1

    @td.function
    def g(x, n):
        return x if n == 0 else f(x, n - 1) + 1

    results = []

    def work(h):
        barrier.wait()
        results.append(h(td.asarray(0.0), 4).item())

    threads = [threading.Thread(target=work, args=(h,)) for h in (f, g)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(30)
    assert results == [4.0, 4.0]


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


def test_a_trace_takes_the_tensors_of_its_signature():
    f = td.function(lambda x: x + x)
    f(td.asarray(1))
    f(td.asarray(1.0))
    assert [str(t.signature) for t in f.traces] == ["(x: int64[])", "(x: float32[])"]
    assert f.traces[1](td.asarray(4.0)).item() == 8.0
    with pytest.raises(td.errors.SignatureMismatch, match="takes the tensors"):
        f.traces[1](td.asarray(4))
