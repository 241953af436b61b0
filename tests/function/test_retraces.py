"""Reports, warnings and bans; relaxed shapes; recursion; failed traces; settings of the process."""

import numpy as np
import pytest

import treadle as td


def test_the_report_names_the_path_of_the_argument():
    @td.function
    def loss(batch, scale):
        return td.sum(batch["image"]) * scale

    image = td.ones((2, 3))
    loss({"image": image, "label": 1}, 1.0)
    loss({"image": td.ones((4, 3)), "label": 1}, 1.0)
    loss({"image": image, "label": 2}, 1.0)
    loss({"image": image}, 1.0)
    reasons = [t.reason for t in loss.traces]
    assert reasons[0] == "first trace"
    assert 'batch["image"]: float32[2, 3] -> float32[4, 3]' in reasons[1]
    assert "td.TensorSpec((None, 3))" in reasons[1]
    assert 'batch["label"]: 1 -> 2' in reasons[2]
    assert "scale" not in reasons[2]
    assert "keep the structure" in reasons[3]
    report = loss.explain()
    assert str(report).startswith("loss(batch, scale) [test_retraces.py:")
    assert report.reasons == tuple(reasons)
    assert "<td>4</td>" in report._repr_html_()


def test_the_nearest_earlier_trace_is_compared():
    @td.function
    def f(a, b):
        return a

    f(1, 1)
    f(2, 2)
    f(2, 3)
    assert f.traces[2].reason.splitlines()[0] == "b: 2 -> 3"


def test_retrace_warning_once_at_the_sixth_trace():
    @td.function
    def f(n):
        return n

    for n in range(5):
        f(n)
    with pytest.warns(td.RetraceWarning, match=r"(?s)traced 6 times.*n: 4 -> 5") as caught:
        f(5)
    assert caught[0].filename == __file__
    f(6)


def test_no_retrace():
    @td.function
    def f(x):
        return x

    f(td.asarray(1.0))
    with td.no_retrace():
        f(td.asarray(2.0))
        with pytest.raises(td.errors.TraceError, match=r"x: float32\[\] -> float32\[1\]"):
            f(td.asarray([2.0]))
    f(td.asarray([2.0]))
    assert f.trace_count == 2


def test_recursion_on_one_signature_is_an_error_and_on_values_is_not():
    @td.function
    def endless(x):
        return endless(x) + 1

    with pytest.raises(td.errors.TraceError, match="calls itself"):
        endless(td.asarray(1.0))
    assert endless.traces == ()

    @td.function
    def power(x, n):
        return x if n == 0 else x * power(x, n - 1)

    assert power(td.asarray(2.0), 3).item() == 16.0


def test_recursion_tells_what_differs_from_the_calls_inside():
    @td.function
    def fib(n):
        return td.asarray(n) if n < 2 else fib(n - 1) + fib(n - 2)

    assert fib(4).item() == 3
    reasons = [reason.splitlines()[0] for reason in fib.explain().reasons]
    assert reasons == ["first trace", "n: 1 -> 0", "n: 0 -> 2", "n: 2 -> 3", "n: 3 -> 4"]


def test_a_failed_trace_leaves_nothing_and_the_function_still_works():
    @td.function
    def f(x, y):
        return x @ y

    with pytest.raises(td.errors.ShapeError) as caught:
        f(td.ones((2, 3)), td.ones((2, 3)))
    assert "return x @ y" in str(caught.value)
    assert f.traces == ()
    assert f(td.ones((2, 3)), td.ones((3, 2))).tolist() == [[3.0, 3.0]] * 2


def test_tracebacks_show_the_users_frames():
    @td.function
    def f(x):
        return x.reshape(7)

    with pytest.raises(td.errors.ShapeError) as caught:
        f(td.ones((2,)))
    own = [frame for frame in caught.traceback if "src/treadle" in str(frame.path)]
    assert len(own) <= 1


def test_two_sizes_that_vary_together_and_then_apart():
    @td.function(reduce_retracing=True)
    def f(x, y):
        return x.sum() + y.sum()

    for n, m in ((2, 2), (3, 3), (4, 4), (4, 5), (6, 7)):
        assert f(td.ones((n,)), td.ones((m,))).item() == n + m
    assert f.trace_count == 3


def test_when_the_relaxed_trace_fails_exact_ones_go_on():
    @td.function(reduce_retracing=True)
    def f(x):
        return td.asarray(list(range(int(x.shape[0])))) + 0 * x[0].astype(td.int64)

    for n in (2, 3, 4):
        assert f(td.ones((n,))).tolist() == list(range(n))
    assert f.trace_count == 3


def test_sizes_are_python_integers_in_results():
    f = td.function(lambda x: (x.shape, x.shape[0] * 2), input_signature=[td.TensorSpec((None, 3))])
    assert f(np.zeros((5, 3), np.float32)) == ((5, 3), 10)
    assert f(np.zeros((2, 3), np.float32)) == ((2, 3), 4)
    assert f.trace_count == 1


def test_input_signature_of_nests_and_equal_sizes():
    @td.function(input_signature={"batch": {"x": td.TensorSpec(("n", 2)), "y": td.TensorSpec(("n",))}})
    def f(batch, scale=2):
        return (batch["x"].sum(axis=1) + batch["y"]) * scale

    x, y = td.ones((3, 2)), td.ones((3,))
    assert f({"x": x, "y": y}).tolist() == [6.0] * 3
    assert f({"y": td.ones((4,)), "x": td.ones((4, 2))}).tolist() == [6.0] * 4
    assert f.trace_count == 1
    with pytest.raises(td.errors.SignatureMismatch, match=r'batch\["x"\] is float32\[3\]'):
        f({"x": y, "y": y})
    with pytest.raises(td.errors.SignatureMismatch, match="input_signature wants"):
        f({"x": x})
    with pytest.raises(td.errors.ShapeError, match="one name stands for one size"):
        f({"x": td.ones((4, 2)), "y": td.ones((3,))})
    with pytest.raises(td.errors.SignatureMismatch, match="there is no argument"):
        td.function(lambda x: x, input_signature=[td.TensorSpec(()), td.TensorSpec(())])


def test_numbers_and_lists_fit_an_input_signature_where_they_convert():
    f = td.function(lambda x: x * 2, input_signature=[td.TensorSpec((None,), td.int64)])
    assert f([1, 2, 3]).tolist() == [2, 4, 6]
    for wrong in (["a"], "a", None, td.ones((2,))):
        with pytest.raises(td.errors.SignatureMismatch):
            f(wrong)


def test_trace_without_running(capsys):
    @td.function
    def f(x, n):
        td.print("ran")
        return x * n

    trace = f.trace(td.TensorSpec((2,)), 3)
    assert capsys.readouterr().out == ""
    assert str(trace.signature) == "(x: float32[2], n: 3)"
    assert f(td.ones((2,)), 3).tolist() == [3.0, 3.0]
    assert f.trace_count == 1
    assert trace(td.zeros((2,))).tolist() == [0.0, 0.0]


def test_stats_count_traces():
    before = td.stats()["traces"]
    td.function(lambda x: x)(td.asarray(1.0))
    assert td.stats()["traces"] == before + 1


def test_config_is_typed():
    with pytest.raises(AttributeError, match="has no setting 'speed'"):
        td.config.speed = 1
    with pytest.raises(TypeError, match="of type bool"):
        td.config.full_tracebacks = "yes"


def test_a_donated_tensor_is_gone():
    f = td.function(lambda x, y: x + y, donate_argnames="x")
    x, y = td.asarray(1.0), td.asarray(2.0)
    assert f(x, y).item() == 3.0
    with pytest.raises(td.errors.DonatedTensor, match="donated"):
        _ = x + 1
    with pytest.raises(td.errors.DonatedTensor):
        f(x, y)
    assert f(y, td.asarray(1.0)).item() == 3.0


def test_missing_source_is_told():
    space = {}
    exec("def f(x):\n    if x > 0:\n        return x\n    return -x\n", space)
    with pytest.raises(td.errors.TraceError, match="runs as it is, without autograph"):
        td.function(space["f"])(td.asarray(1.0))


def test_clocks_are_warned_about_once():
    import datetime
    import random
    import time
    from random import choice

    def clocks(x):
        return x + time.time() * 0 + datetime.datetime.now().year * 0

    with pytest.warns(td.TracingWarning) as caught:
        td.function(clocks)(td.asarray(1.0))
    assert {str(w.message).split(" was")[0] for w in caught} == {"time.time", "datetime.datetime.now"}
    td.function(clocks)(td.asarray(1.0))

    def chance(x):
        return x + random.random() * 0 + choice([0])

    with pytest.warns(td.TracingWarning, match="use td.random") as caught:
        td.function(chance)(td.asarray(1.0))
    assert len(caught) == 2


def test_a_trace_for_a_spec_serves_every_size():
    f = td.function(lambda x: x + x.shape[0])
    f.trace(td.TensorSpec((None,)))
    assert f(td.zeros((60,)))[0].item() == 60.0
    assert f(td.zeros((7,)))[0].item() == 7.0
    assert f.trace_count == 1


def test_a_variable_of_no_lasting_leaves_no_trace():
    @td.function
    def bad(x):
        v = td.Variable(1.0)
        return v.assign_add(x)

    with pytest.raises(td.errors.VariableCreation):
        bad(td.asarray(1.0))
    assert bad.traces == ()
