"""Calls without a Python frame: which calls pass a gate, that they give what the way through Python gives, and leave
nothing behind."""

from __future__ import annotations

import gc
import os
import sys
import threading
from typing import Any

import numpy as np
import pytest
from entered import python_calls, tensor, warm

import treadle as td
from treadle.compile.run import gate
from treadle.core.tensor import Tensor
from treadle.function.gates import MOST


def test_a_call_enters_no_python_function():
    f = warm(td.function(lambda x, y: x * y + 1), tensor(1, 2), tensor(3, 4))
    result, entered = python_calls(f, tensor(5, 6), tensor(7, 8))
    assert result.tolist() == [36, 49]
    assert type(result) is td.Tensor
    assert result.dtype == np.float32
    assert entered == []


@pytest.mark.parametrize("op", [td.sin, td.add, td.sum, td.matmul, td.nn.relu])
def test_an_op_itself_can_be_decorated(op):
    args = (tensor(1, 2), tensor(3, 4))[: 2 if op in (td.add, td.matmul) else 1]
    result, entered = python_calls(warm(td.function(op), *args), *args)
    np.testing.assert_allclose(result.numpy(), op(*args).numpy(), rtol=1e-6)
    assert entered == []


@pytest.mark.parametrize(
    ("body", "want"),
    [
        (lambda x: (x + 1, x * 2), ([2, 3], [2, 4])),
        (lambda x: [x + 1, x * 2, x], [[2, 3], [2, 4], [1, 2]]),
        (lambda x: {"b": x + 1, "a": (x, x * 2)}, {"b": [2, 3], "a": ([1, 2], [2, 4])}),
        (lambda x: (x + 1,), ([2, 3],)),
        (lambda x: td.sum(x), 3.0),
        (lambda x: (x > 1, td.sum(x, dtype=td.int32)), ([False, True], 3)),
    ],
)
def test_results_keep_their_structure(body, want):
    f = warm(td.function(body), tensor(1, 2))
    result, entered = python_calls(f, tensor(1, 2))
    assert td.nest.map(lambda t: t.tolist(), result) == want
    assert type(result) is type(f.python_function(tensor(1, 2)))
    assert isinstance(want, dict) or not entered


def test_results_are_their_own_memory():
    a = np.array([1.0, 2.0], np.float32)
    f = warm(td.function(lambda x: x), a)
    result, entered = python_calls(f, a)
    a[0] = 9
    assert result.tolist() == [1, 2]
    assert entered == []
    first, second = f(a), f(a)
    assert first.array is not second.array


def test_what_is_not_alike_goes_another_way():
    f = warm(td.function(lambda x: x + 1), tensor(1, 2))
    traces = f.trace_count
    base = np.arange(8, dtype=np.float32)
    for array in (base[::4], base[:2][::-1], base.reshape(4, 2).T[0, :2]):  # same dtype and shape, other strides
        assert f(Tensor(array)).tolist() == (array + 1).tolist()
        assert f(array).tolist() == (array + 1).tolist()
    assert f.trace_count == traces
    assert f(td.asarray(np.ones(2))).dtype == np.float64
    assert f(td.asarray(np.ones((2, 1), np.float32))).shape == (2, 1)
    assert f(td.asarray(np.ones(3, np.float32))).shape == (3,)
    assert f(2.0) == 3.0
    assert f(x=tensor(1, 2)).tolist() == [2, 3]
    assert f.trace_count == traces + 4


def test_wrong_calls_raise_what_the_binder_raises():
    f = warm(td.function(lambda x: x + 1), tensor(1, 2))
    for args, kwargs in (((), {}), ((tensor(1), tensor(2)), {}), ((), {"y": tensor(1)}), ((tensor(1),), {"x": 1})):
        with pytest.raises(TypeError):
            f(*args, **kwargs)
    assert f(tensor(1, 2)).tolist() == [2, 3]


def test_many_signatures_take_turns(monkeypatch):
    monkeypatch.setattr(td.config, "retrace_warning", 0)
    f = td.function(lambda x: x + 1)
    values = [td.asarray(np.ones(n + 1, np.float32)) for n in range(MOST + 3)]
    for _ in range(3):
        for x in values:
            assert f(x).tolist() == [2.0] * x.shape[0]
    entered = [len(python_calls(f, x)[1]) for x in values]
    assert sum(count == 0 for count in entered) == MOST
    assert f.trace_count == MOST + 3


def test_other_objects_count_by_identity():
    f = td.function(lambda x, n, flag: x * n if flag else x)
    warm(f, tensor(1, 2), 3, True)
    assert python_calls(f, tensor(1, 2), 3, True)[1] == []
    assert f(tensor(1, 2), 3, False).tolist() == [1, 2]
    assert f(tensor(1, 2), 4, True).tolist() == [4, 8]
    assert f(tensor(1, 2), 3.0, True).tolist() == [3, 6]
    assert f(tensor(1, 2), 1, True).tolist() == [1, 2]
    assert f.trace_count == 5


def test_an_object_that_is_gone_is_not_none():
    class Factor:
        value = 3

    factor = Factor()
    f = td.function(lambda x, k: x * (1 if k is None else k.value))
    warm(f, tensor(1, 2), factor)
    assert f(tensor(1, 2), factor).tolist() == [3, 6]
    del factor
    gc.collect()
    assert f(tensor(1, 2), None).tolist() == [1, 2]


def test_modes_and_switches_are_seen():
    f = warm(td.function(lambda x: x * x + 0.5), tensor(3))
    x = tensor(3)
    with td.GradientTape() as tape:
        tape.watch(x)
        y = f(x)
    assert tape.gradient(y, x).tolist() == [6]
    assert td.jvp(f, (x,), (tensor(1),))[1].tolist() == [6]
    outer = td.function(lambda x: f(x) + 1)
    assert outer(x).tolist() == [10.5]
    with td.run_eagerly(True):
        assert "<lambda>" in python_calls(f, x)[1]
    made = td.function(lambda: td.ones(2) * 0.1)
    warm(made)
    assert python_calls(made)[1] == []
    td.set_default_dtype(td.float64)
    try:
        assert made().dtype == np.float64
    finally:
        td.set_default_dtype(td.float32)
    assert made().dtype == np.float32


SCALE = 2.0


def test_guards_are_asked(monkeypatch):
    f = td.function(lambda x: x * SCALE)
    warm(f, tensor(1, 2))
    monkeypatch.setitem(globals(), "SCALE", 5.0)
    assert f(tensor(1, 2)).tolist() == [5, 10]
    assert f(tensor(1, 2)).tolist() == [5, 10]
    monkeypatch.setitem(globals(), "SCALE", 2.0)
    assert f(tensor(1, 2)).tolist() == [2, 4]
    assert f.trace_count == 2


def test_captures_and_arrays_outside():
    live = np.array([1.0, 2.0], np.float32)
    f = warm(td.function(lambda x: x + td.asarray([10.0, 20.0])), tensor(1, 2))
    result, entered = python_calls(f, tensor(1, 2))
    assert result.tolist() == [11, 22]
    assert entered == []
    g = warm(td.function(lambda x: x + live), tensor(1, 2))
    live[:] = 5
    assert g(tensor(1, 2)).tolist() == [6, 7]


def test_variables_change_and_are_put_back_when_a_call_fails():
    v = td.Variable(np.zeros(2, np.float32))

    @td.function
    def f(x):
        v.assign_add(x)
        assert td.all(x > 0), f"got {x}"
        return v * 2

    warm(f, tensor(1, 2))
    assert f(tensor(1, 2)).tolist() == [6, 12]
    with pytest.raises(td.errors.AssertionFailed, match="got"):
        f(tensor(-1, 2))
    assert v.numpy().tolist() == [3, 6]


def test_errors_in_the_middle_of_a_run_leave_the_gate_in_order():
    @td.function
    def f(x):
        assert td.sum(x) > 0, f"the sum is {td.sum(x)}"
        return td.sqrt(x)

    warm(f, tensor(4, 9))
    for _ in range(3):
        with pytest.raises(td.errors.AssertionFailed, match="the sum is -2"):
            f(tensor(-1, -1))
        assert f(tensor(4, 9)).tolist() == [2, 3]


def test_host_steps_and_calls_of_itself():
    printed = []

    @td.function
    def f(x):
        y = td.py_function(look, x, out=td.TensorSpec((2,), td.float32))
        return y + 1

    def look(a):
        printed.append(a)
        if len(printed) == 4:
            assert f(tensor(7, 8)).tolist() == [15, 17]
        return a * 2

    warm(f, tensor(1, 2))
    assert f(tensor(1, 2)).tolist() == [3, 5]
    assert f(tensor(1, 2)).tolist() == [3, 5]
    assert len(printed) == 5


def test_threads_at_once():
    @td.function
    def f(x):
        for _ in td.range(3000):
            x = x * 0.5 + 1.0
        return x

    warm(f, tensor(1, 2))
    wrong: list[Any] = []

    def work(start: float) -> None:
        for k in range(40):
            got = f(tensor(start + k, 2)).tolist()
            if got != [2, 2]:
                wrong.append(got)

    threads = [threading.Thread(target=work, args=(10.0 * n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_goes_on():
    f = warm(td.function(lambda x: x + 1), tensor(1, 2))
    child = os.fork()
    if child == 0:
        os._exit(0 if f(tensor(1, 2)).tolist() == f(tensor(1, 2)).tolist() == [2, 3] else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert f(tensor(1, 2)).tolist() == [2, 3]


def test_calls_leave_nothing_behind():
    single = warm(td.function(lambda x: x + 1), tensor(1, 2))
    several = warm(td.function(lambda x: (x + 1, {"a": x * 2})), tensor(1, 2))
    v = td.Variable(np.zeros(2, np.float32))
    with_state = warm(td.function(lambda x: v.assign_add(x)), tensor(1, 2))
    large = warm(td.function(lambda x: x + 1), td.zeros((1 << 17,)))
    x, big = tensor(1, 2), td.zeros((1 << 17,))

    def counts() -> list[int]:
        gc.collect()
        held = [x, x.array, x.array.dtype, big, big.array, None, td.Tensor, np.ndarray, NotImplemented]
        held += [single, several, with_state, large]
        return [len(gc.get_objects()), *map(sys.getrefcount, held)]

    def calls(n: int) -> None:
        for _ in range(n):
            single(x)
            several(x)
            with_state(x)
            large(big)
            with pytest.raises(TypeError):
                single()

    calls(3)
    before = counts()
    calls(200)
    after = counts()
    assert all(abs(b - a) < 100 for a, b in zip(before, after, strict=True)), (before, after)


def test_methods_pass_gates_of_their_instances():
    class Layer:
        def __init__(self, k):
            self.k = k

        @td.function
        def __call__(self, x):
            return x * self.k

    two, three = Layer(2.0), Layer(3.0)
    for _ in range(3):
        assert two(tensor(1, 2)).tolist() == [2, 4]
        assert three(tensor(1, 2)).tolist() == [3, 6]
    two.k = 4.0
    assert two(tensor(1, 2)).tolist() == [4, 8]


def test_sizes_left_open():
    f = td.function(lambda x: td.sum(x, axis=0) * x.shape[0], input_signature=[td.TensorSpec((None, 2), td.float32)])
    for n in (1, 3, 1, 3, 3, 0):
        x = td.ones((n, 2))
        assert f(x).tolist() == [n * n, n * n]
    assert f.trace_count == 1


def test_keyword_calls_and_unpacking():
    f = warm(td.function(lambda x, scale=2.0, *, shift=1.0: x * scale + shift), tensor(1, 2))
    assert f(tensor(1, 2), shift=0.0).tolist() == [2, 4]
    assert f(scale=3.0, x=tensor(1, 2)).tolist() == [4, 7]
    assert f(*[tensor(1, 2)], **{}).tolist() == [3, 5]
    assert f.__call__(tensor(1, 2)).tolist() == [3, 5]
    assert list(map(lambda t: t.tolist(), map(f, [tensor(1, 2)]))) == [[3, 5]]


class Settings:
    rate = 2.0
    inner = None


def test_what_is_read_outside_is_looked_at_without_python():
    settings = Settings()
    settings.inner = Settings()
    w = tensor(10, 20)

    def make():
        z = 3

        def set_z(value):
            nonlocal z
            z = value

        return td.function(lambda x: x * settings.inner.rate + w + z), set_z

    f, set_z = make()
    warm(f, tensor(1, 2))
    result, entered = python_calls(f, tensor(1, 2))
    assert result.tolist() == [15, 27]
    assert entered == []
    settings.inner.rate = 5.0
    assert f(tensor(1, 2)).tolist() == [18, 33]
    set_z(0)
    assert f(tensor(1, 2)).tolist() == [15, 30]
    w = tensor(0, 0)
    assert f(tensor(1, 2)).tolist() == [5, 10]
    del settings.inner.rate
    assert f(tensor(1, 2)).tolist() == [2, 4]
    settings.inner = None
    with pytest.raises(AttributeError, match="rate"):
        f(tensor(1, 2))
    settings.inner = Settings()
    assert f(tensor(1, 2)).tolist() == [2, 4]


def test_two_traces_that_differ_in_what_is_outside_take_turns(monkeypatch):
    f = td.function(lambda x: x * SCALE)
    for scale in (2.0, 7.0, 2.0, 7.0, 2.0, 7.0):
        monkeypatch.setitem(globals(), "SCALE", scale)
        result, entered = python_calls(f, tensor(1, 2))
        assert result.tolist() == [scale, 2 * scale]
    assert f.trace_count == 2


def test_the_memory_of_a_result_that_nobody_holds_is_taken_again_and_no_other():
    f = warm(td.function(lambda x: x + 1), tensor(1, 2))
    first = f(tensor(1, 2)).array
    place = id(first)
    second = f(tensor(3, 4))  # the first is still held
    assert first.tolist() == [2, 3]
    assert id(second.array) != place
    view = second.array[:1]  # a view holds it too
    del second, first
    third = f(tensor(5, 6))
    assert view.tolist() == [4]
    array = third.numpy()
    del third
    assert f(tensor(7, 8)).tolist() == [8, 9]
    assert array.tolist() == [6, 7]
    changed = f(tensor(1, 1)).array
    changed.shape = (2, 1)  # what its holder did to it before letting go must not show
    del changed
    assert f(tensor(0, 0)).shape == (2,)
    locked = f(tensor(1, 1)).array
    locked.flags.writeable = False
    del locked
    assert f(tensor(9, 9)).tolist() == [10, 10]
    x = tensor(0, 0)
    for _ in range(5):
        x = f(x)
    assert x.tolist() == [5, 5]


def test_large_results_are_taken_again_only_where_nobody_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    function = td.function(lambda x: x + 1.0)
    x = td.asarray(np.arange(100_000, dtype=np.float32))
    for _ in range(3):
        function(x)
    held, view = function(x), function(x * 2.0).numpy()[::2]
    place = held.numpy().ctypes.data
    others = [function(x * 3.0) for _ in range(3)]
    np.testing.assert_array_equal(held.numpy(), np.arange(100_000) + 1)
    np.testing.assert_array_equal(view, np.arange(100_000)[::2] * 2 + 1)
    assert len({place, *(y.numpy().ctypes.data for y in others)}) == 4
    del held, others
    assert len({function(x).numpy().ctypes.data for _ in range(4)}) == 1
    monkeypatch.setattr(gate, "KEPT_OF_ALL", 0)
    other = td.function(lambda x: x - 1.0)
    before = gate._kept_bytes[0]
    for _ in range(3):
        np.testing.assert_array_equal(other(x).numpy(), np.arange(100_000) - 1)
    assert gate._kept_bytes[0] == before


def test_a_float_argument_passes_by_its_bits():
    f = td.function(lambda x, rate: x * rate)
    x, rates = tensor(1, 2), (2.5, 0.0, -0.0, float("inf"))
    for rate in (*rates, *rates):  # each trace closes the gates that stood open
        warm(f, x, rate)
    for rate in rates:
        again = float(str(rate))  # an object of its own
        assert again is not rate
        result, entered = python_calls(f, x, again)
        assert entered == []
        assert np.asarray(result).tobytes() == (np.asarray(x) * np.float32(rate)).tobytes()
    assert f.trace_count == 4
    assert f(x, 2).dtype == f(x, 2.5).dtype  # an int is another argument
    assert f.trace_count == 5


def test_a_float_that_is_not_a_number():
    f = td.function(lambda x, rate: x * rate)
    x, nan = tensor(1, 2), float("nan")
    for _ in range(4):
        assert np.isnan(f(x, nan).numpy()).all()
        assert np.isnan(f(x, float("nan")).numpy()).all()
    assert f.trace_count == 1


def test_arguments_by_name_pass_in_the_order_of_the_parameters():
    @td.function
    def f(x, y=2.0, *, z=None, plus=True):
        made = x + y if z is None else x * y - z
        return made if plus else -made

    a, b, c = tensor(1.0), tensor(2.0), tensor(5.0)
    ways = [
        (lambda: f(a, y=b), 3.0), (lambda: f(x=a, y=b), 3.0), (lambda: f(a, b, z=c), -3.0), (lambda: f(a, z=c), -3.0),
        (lambda: f(a, b, z=c, plus=False), 3.0), (lambda: f(a, b, plus=False), -3.0), (lambda: f(b, y=a, z=c), -3.0),
    ]  # fmt: skip
    for _ in range(3):
        for call, wanted in ways:
            assert call().tolist() == [wanted]
    for call, wanted in ways:
        got, entered = python_calls(call)
        assert got.tolist() == [wanted]
        assert entered == ["<lambda>"]
    assert f(y=a, x=c).tolist() == [6.0]  # not in order: by Python
    assert f(y=c, x=b).tolist() == [7.0]
    spelt = "".join(["pl", "us"])  # a name that no other object is
    assert f(a, b, **{spelt: False}).tolist() == [-3.0]
    with pytest.raises(td.errors.SignatureMismatch, match="unexpected keyword argument 'w'"):
        f(a, w=b)
    with pytest.raises(td.errors.SignatureMismatch, match="multiple values"):
        f(a, x=b)
