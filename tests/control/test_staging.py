"""Staging: numbers find their dtype, disagreements name both sides and the fix, retraced bodies leave nothing."""

from __future__ import annotations

import numpy as np
import pytest

import treadle as td

ControlFlowError = td.errors.ControlFlowError


def traced(f, *args):
    return td.function(f)(*args)


N, X = td.asarray(3), td.asarray(np.float64(2.0))


# -- dtypes are found --------------------------------------------------------------------------------------------------


def accumulate(x, n):
    s = 0.0
    for i in td.range(n):
        s = s + x
    return s


def through_kinds(x, n):
    a, b = True, 0
    for i in td.range(n):
        a, b = b + 1, a * 0.5
    return a, b


def chain(x, n):
    a = b = c = 0
    while n > 0:
        a, b, c, n = b, c, c + x, n - 1
    return a, b, c


def number_in_a_branch(x, n):
    if n > 1:
        y = 1
    else:
        y = x
    return y


def numbers_in_both(x, n):
    if n > 1:
        y = 1
    else:
        y = 0.5
    return y


def raised_kind_meets_a_tensor(x, n):
    k = 1
    for i in td.range(n):
        k = k * 2
    if n > 100:
        y = x
    else:
        y = k / 4
    return y


@pytest.mark.parametrize(
    ("f", "dtypes"),
    [
        (accumulate, [td.float64]),
        (through_kinds, [td.float32, td.float32]),
        (chain, [td.float64] * 3),
        (number_in_a_branch, [td.float64]),
        (numbers_in_both, [td.float32]),
        (raised_kind_meets_a_tensor, [td.float64]),
    ],
)
@pytest.mark.parametrize("n", [0, 1, 2, 5])
def test_numbers_find_their_dtype(f, dtypes, n):
    got = td.nest.flatten(traced(f, X, td.asarray(n)))
    wanted = td.nest.flatten(f(X, td.asarray(n)))
    assert [g.dtype for g in got] == dtypes
    assert [g.item() for g in got] == [float(w) for w in wanted]


def test_a_counter_that_meets_nothing_is_int64():
    def f(n):
        k = 0
        while n > 0:
            n, k = n - 1, k + 1
        return k

    assert traced(f, N).dtype == td.int64


# -- what disagrees is named -------------------------------------------------------------------------------------------


def shapes_in_branches(x, n):
    if n > 1:
        picked = x
    else:
        picked = td.stack([x, x])
    return picked


def dtypes_in_branches(x, n):
    if n > 1:
        picked = x
    else:
        picked = td.astype(x, td.float32)
    return picked


def structures_in_branches(x, n):
    if n > 1:
        picked = (x, x)
    else:
        picked = [x]
    return picked


def strings_in_branches(x, n):
    if n > 1:
        picked = "left"
    else:
        picked = "right"
    return picked


def growing(x, n):
    grown = td.expand_dims(x, axis=0)
    for i in td.range(n):
        grown = td.concat([grown, grown])
    return grown


def rising(x, n):
    risen = td.asarray(0)
    while n > 0:
        risen, n = risen + x, n - 1
    return risen


def structure_changes(x, n):
    pair = (x,)
    for i in td.range(n):
        pair = (x, x)
    return pair


def label_changes(x, n):
    label = "start"
    for i in td.range(n):
        label = "inside"
    return label


def nested_leaf(x, n):
    state = {"position": x, "count": td.asarray(0)}
    for i in td.range(n):
        state = {"position": td.stack([x, x]), "count": state["count"] + 1}
    return state


MESSAGES = [
    (shapes_in_branches, ["'picked'", "shape ()", "shape (2,)", "same shape"]),
    (dtypes_in_branches, ["'picked'", "float64", "float32", "td.astype"]),
    (structures_in_branches, ["'picked'", "(tensor, tensor) when true", "[tensor] when false", "make both the same"]),
    (strings_in_branches, ["'picked'", "'left'", "'right'", "only tensors and numbers"]),
    (growing, ["'grown'", "shape (1,)", "shape (2,)", "same shape"]),
    (rising, ["'risen'", "int64", "float64", "td.astype"]),
    (structure_changes, ["'pair'", "keep it the same"]),
    (label_changes, ["'label'", "'start'", "'inside'", "only tensors and numbers"]),
    (nested_leaf, ["position", "shape ()", "shape (2,)"]),
]


@pytest.mark.parametrize(("f", "parts"), MESSAGES, ids=[f.__name__ for f, _ in MESSAGES])
def test_disagreements_are_named(f, parts):
    with pytest.raises(ControlFlowError) as caught:
        traced(f, X, N)
    text = str(caught.value)
    for part in parts:
        assert part in text, text
    location = caught.value.location
    assert location.file == __file__
    assert location.function == f.__name__
    code = f.__code__
    assert code.co_firstlineno < location.line <= max(line for *_, line in code.co_lines() if line)


def test_a_function_works_after_a_failure():
    @td.function
    def f(x, wide):
        if x > 0:
            y = x
        else:
            y = td.stack([x, x]) if wide else -x
        return y

    with pytest.raises(ControlFlowError):
        f(X, True)
    assert f(-X, False).item() == 2.0
    with pytest.raises(ControlFlowError):
        f(X, True)


def test_names_that_only_one_branch_sets():
    def f(x):
        if x > 0:
            made = x
        return made

    with pytest.raises(td.errors.UndefinedVariable, match="'made'.*only when true .*not when false"):
        traced(f, X)

    def unused(x):
        if x > 0:
            made = x  # noqa: F841
        return x

    assert traced(unused, X).item() == 2.0


def test_names_first_set_in_a_loop():
    def f(x, n):
        for i in td.range(n):
            last = x * i
        return last

    assert traced(f, X, N).item() == 4.0


def test_conditions_of_several_elements():
    def f(x):
        if x > 0:
            return x
        return -x

    with pytest.raises(ControlFlowError, match=r"`if` has shape \(2,\).*td.any or td.all"):
        traced(f, td.asarray([1.0, 2.0]))

    def g(x):
        while x > 0:
            x = x - 1
        return x

    with pytest.raises(ControlFlowError, match=r"`while` has shape \(2,\)"):
        traced(g, td.asarray([1.0, 2.0]))


# -- retraced bodies ---------------------------------------------------------------------------------------------------


def test_a_retraced_body_leaves_no_effects(capsys):
    """The dtype of s is found in the second round; the body's print must be in the graph once, and nowhere around."""
    counter = td.Variable(0, name="counter")

    @td.function
    def f(x, n):
        s = 0
        for i in td.range(n):
            td.print("step", i)
            counter.assign_add(1)
            s = s + x
            for j in td.range(1):
                s = s * 1
        return s

    assert f(X, N).item() == 6.0
    assert capsys.readouterr().out == "step 0\nstep 1\nstep 2\n"
    assert counter.numpy().item() == 3
    graph = f.traces[0].graph
    assert [node.op for node in graph.nodes if node.definition.effect] == []
    assert [node.op for node in graph.walk()].count("print") == 1


def test_a_retraced_body_leaves_no_captures_that_matter():
    @td.function
    def f(x, n):
        s = 0
        while n > 0:
            s, n = s + x, n - 1
        return s

    f(X, N)
    graph = f.traces[0].graph
    graph.verify()
    assert [s.name for s in graph.inputs] == ["x", "n"]


# -- functions ---------------------------------------------------------------------------------------------------------


@pytest.fixture(params=["eager", "traced"])
def run(request):
    return (lambda f, *args: f(*args)) if request.param == "eager" else traced


def test_while_loop_wants_as_many_values_as_it_gives(run):
    with pytest.raises(ControlFlowError, match=r"td.while_loop must return 2 values.*returned tuple of 1"):
        run(lambda n: td.while_loop(lambda i, s: i < n, lambda i, s: (i + 1,), (0, 0)), N)
    with pytest.raises(ControlFlowError, match=r"returned int"):
        run(lambda n: td.while_loop(lambda i, s: i < n, lambda i, s: 3, (0, 0)), N)


def test_while_loop_over_nests_and_lists(run):
    def f(n):
        return td.while_loop(
            lambda s: s["k"] < n, lambda s: {"k": s["k"] + 1, "v": (s["v"][0] * 2,)}, [{"k": 0, "v": (X,)}]
        )

    (state,) = run(f, N)
    assert (int(state["k"]), state["v"][0].item()) == (3, 16.0)


def test_cond_takes_operands_and_nests(run):
    def f(x):
        return td.cond(x > 1, lambda a, b: {"y": a - b}, lambda a, b: {"y": a + b}, x, x * 3)

    assert run(f, X)["y"].item() == -4.0
    assert run(f, X * 0)["y"].item() == 0.0


def test_cond_that_disagrees(run):
    if run is traced:
        with pytest.raises(ControlFlowError, match="the result of td.cond"):
            run(lambda x: td.cond(x > 0, lambda: x, lambda: td.stack([x, x])), X)


@pytest.mark.parametrize("steps", [0, 1, 4])
@pytest.mark.parametrize("reverse", [False, True])
def test_scan(run, steps, reverse):
    xs = td.asarray(np.arange(float(steps)))

    def f(xs):
        return td.scan(lambda c, x: (c + x, (c, {"p": x * c})), td.asarray(np.float64(1.0)), xs, reverse=reverse)

    carry, (before, nested) = run(f, xs)
    c, rows = 1.0, []
    for k in reversed(range(steps)) if reverse else range(steps):
        rows.append((c, k * c))
        c += k
    rows = rows[::-1] if reverse else rows
    assert carry.item() == c
    assert before.tolist() == [r[0] for r in rows]
    assert nested["p"].tolist() == [r[1] for r in rows]


def test_scan_without_xs(run):
    carry, ys = run(lambda x: td.scan(lambda c, _: (c * x, c), x, None, length=4), X)
    assert carry.item() == 32.0
    assert ys.tolist() == [2.0, 4.0, 8.0, 16.0]


def test_scan_wants_one_length(run):
    with pytest.raises(td.errors.ShapeError, match="agree on the number of steps"):
        run(lambda x: td.scan(lambda c, r: (c, c), 0.0, (td.ones(3), td.ones(4)))[0] + x, X)
    with pytest.raises(td.errors.ShapeError, match="agree on the number of steps"):
        run(lambda x: td.scan(lambda c, r: (c, c), 0.0, td.ones(3), length=4)[0] + x, X)
    with pytest.raises(td.errors.ShapeError, match="agree on the number of steps"):
        run(lambda x: td.scan(lambda c, r: (c, c), 0.0, x)[0], X)


def test_range_is_pythons(run):
    def listed(a, b, c):
        total = 0
        for i in td.range(a, b, c):
            total = total * 10 + i
        return total

    for a, b, c in [(0, 5, 1), (5, 0, -2), (2, 2, 1), (1, 8, 3), (3, 1, 1), (0, -3, -1)]:
        wanted = 0
        for i in range(a, b, c):
            wanted = wanted * 10 + i
        assert int(run(listed, *map(td.asarray, (a, b, c)))) == wanted
    with pytest.raises(td.TreadleError, match="step must not be 0"):
        td.range(0, 3, 0)
    with pytest.raises(td.TreadleError, match="takes integers"):
        td.range(td.asarray(1.5))
    with pytest.raises(td.TreadleError, match="got 0 arguments"):
        td.range()
