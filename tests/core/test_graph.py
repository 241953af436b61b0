"""Graphs: the verifier finds what is wrong, text and DOT show what is there, the interpreter copies faithfully."""

from __future__ import annotations

import re

import numpy as np
import pytest

import treadle as td
from treadle.autodiff.forward import jvp_graph
from treadle.autodiff.split import split
from treadle.control.call import interpret_arrays
from treadle.core.graph import Const, Graph, Node, quiet
from treadle.core.interpret import bind_sizes, concretize
from treadle.core.op import REGISTRY
from treadle.core.spec import Spec
from treadle.core.tensor import Scope, Symbol
from treadle.core.tracer import trace

GraphError = td.errors.GraphError
F4 = np.dtype(np.float32)


def graph_of(f, *args, **options):
    compiled = td.function(f, **options)
    return compiled.trace(*args).graph


def busy(x, n):
    """A bit of everything."""
    y = x
    for i in td.range(n):
        if td.sum(y) > 0:
            y = td.sin(y) * 2
        else:
            td.print("negative", y)
    return y @ y, inner(y) + inner(x)


inner = td.function(lambda x: td.exp(x) + 1, name="inner")
X, N = td.asarray([1.0, 2.0]), td.asarray(2)


# -- verify ------------------------------------------------------------------------------------------------------------


def test_what_is_traced_is_sound():
    graph_of(busy, X, N).verify()
    graph_of(lambda x, n: td.grad(lambda x: td.sum(busy(x, n)[1]))(x), X, N).verify()


def broken(graph, **changes):
    parts = {"name": graph.name, "inputs": graph.inputs, "nodes": graph.nodes, "outputs": graph.outputs}
    return Graph(**{**parts, **changes})


def test_the_verifier_names_what_is_wrong():
    graph = graph_of(lambda x: td.sin(x) * td.cos(x), X)
    with pytest.raises(GraphError, match="before it is made"):
        broken(graph, nodes=graph.nodes[::-1]).verify()
    with pytest.raises(GraphError, match="is never made"):
        broken(graph, nodes=graph.nodes[:-1]).verify()
    with pytest.raises(GraphError, match="one symbol is two inputs"):
        broken(graph, inputs=graph.inputs * 2).verify()
    wrong = Node(REGISTRY["sin"], (graph.inputs[0],), {}, "wrong", None)
    wrong.outputs = (Symbol(Spec((5,), F4), Scope("x", None), "wrong", wrong),)
    with pytest.raises(GraphError, match=r"node wrong says \[float32\[5\]\], its op infers \[float32\[2\]\]"):
        broken(graph, nodes=(wrong,), outputs=wrong.outputs).verify()


def test_the_verifier_looks_inside():
    graph = graph_of(busy, X, N)
    (loop,) = [node for node in graph.nodes if node.op == "while"]
    body = loop.attrs["body"]
    attrs = {**loop.attrs, "body": broken(body, nodes=body.nodes[1:])}
    bad = Node(loop.definition, loop.inputs, attrs, loop.name, None)
    bad.outputs = loop.outputs
    with pytest.raises(GraphError, match="loop_body"):
        broken(graph, nodes=[bad if node is loop else node for node in graph.nodes]).verify()


# -- how it looks ------------------------------------------------------------------------------------------------------


def test_text_shows_nodes_lines_and_inner_graphs():
    graph = graph_of(busy, X, N)
    lines = str(graph).splitlines()
    assert lines[0].startswith("def busy(x: float32[2], n: int64[]")
    assert lines[-1].strip().startswith("return ")
    text = "\n".join(lines)
    for word in ("def loop_body(", "def if_true(", "def if_false(", "print(", "while(", "cond("):
        assert word in text
    shown = [line for line in lines if "sin(" in line]
    assert len(shown) == 1
    assert re.search(r"# test_graph\.py:\d+$", shown[0])
    assert "0x" not in text
    # A graph that two nodes call is shown once.
    assert text.count("def inner(") == 1
    assert text.count("# inner as above") == 1
    assert graph._repr_html_().startswith("<pre>def busy")


def test_long_inner_graphs_are_cut_and_shown_in_full_by_themselves():
    def many(x, n):
        for i in td.range(n):
            for _ in range(100):
                x = td.sin(x)
        return x

    graph = graph_of(many, X, N)
    assert str(graph).count("= sin(") < 70
    assert "more; str(" in str(graph)
    (loop,) = [node for node in graph.nodes if node.op == "while"]
    assert str(loop.attrs["body"]).count("= sin(") == 100

    def flat(x):
        for _ in range(100):
            x = td.sin(x)
        return x

    assert str(graph_of(flat, X)).count("= sin(") == 100


def test_dot_names_every_node_once():
    graph = graph_of(busy, X, N)
    dot = graph.to_dot()
    assert dot.startswith('digraph "busy" {')
    assert dot.count("{") == dot.count("}")
    declared = re.findall(r'^  ("[^"]*") \[shape', dot, re.MULTILINE)
    assert len(declared) == len(set(declared))
    used = set(re.findall(r'^  ("[^"]*") -> ("[^"]*")', dot, re.MULTILINE))
    assert {end for edge in used for end in edge} <= set(declared)
    for node in graph.nodes:
        if node.op != "constant":
            assert f'"{node.name}"' in dot


def test_dot_shows_variables_and_the_order_of_effects():
    v = td.Variable(1.0, name="weights")

    def f(x):
        td.print("one")
        td.print('a "quoted" two')
        v.assign(x)
        return v * 2

    dot = graph_of(f, td.asarray(1.0)).to_dot()
    assert dot.count("style=dashed") == 1
    assert "weights (new value)" in dot
    assert "cylinder" in dot


# -- copies and parts --------------------------------------------------------------------------------------------------


def test_the_interpreter_gives_what_the_program_gives(capsys):
    f = td.function(busy)
    for x in (X, -X):
        wanted = td.nest.flatten(f(x, N))
        graph = f.traces[0].graph
        printed = capsys.readouterr().out
        for got, want in zip(interpret_arrays(graph, [x.numpy(), N.numpy()]), wanted, strict=True):
            np.testing.assert_allclose(got, want.numpy(), rtol=1e-6)
        assert capsys.readouterr().out == printed


def test_sizes_are_filled_in():
    graph = graph_of(lambda x: td.reshape(td.concat([x, x]), (2, x.shape[0])), td.TensorSpec(("n",)))
    small = concretize(graph, {"n": 3})
    assert small.inputs[0].shape == (3,)
    assert small.outputs[0].shape == (2, 3)
    small.verify()
    assert concretize(graph, {"n": 3}) is small
    assert concretize(graph, {"other": 3}) is graph
    with pytest.raises(td.errors.ShapeError, match="one name stands for one size"):
        bind_sizes(graph_of(lambda x, y: x, td.TensorSpec(("n",)), td.TensorSpec(("n",))), [(2,), (3,)])


def test_split_gives_what_the_graph_gives_and_its_gradient():
    made = trace(lambda x, y: [td.sin(x) * y, x + 1], [Spec((2,), F4), Spec((2,), F4)], "f").graph
    parts = split(made, (True, True))
    assert split(made, (True, True)) is parts
    parts.forward.verify()
    parts.backward.verify()
    x, y, g = (np.array(v, np.float32) for v in ([1, 2], [3, 4], [5, 6]))
    outputs = interpret_arrays(parts.forward, [x, y])
    np.testing.assert_allclose(outputs[0], np.sin(x) * y, rtol=1e-6)
    seeds = [g if k == 0 else np.zeros_like(g) for k in parts.cotangents]
    dx, dy = interpret_arrays(parts.backward, [*seeds, *outputs[2:]])
    np.testing.assert_allclose(dx, g * np.cos(x) * y, rtol=1e-6)
    np.testing.assert_allclose(dy, g * np.sin(x), rtol=1e-6)
    only_y = split(made, (False, True))
    assert only_y.gradients == (1,)
    assert split(made, (False, False)).gradients == ()


def test_jvp_graph_tells_which_outputs_depend():
    made = trace(lambda x, y: [x * x, y * 2, td.ones(2)], [Spec((2,), F4), Spec((2,), F4)], "f").graph
    graph, active = jvp_graph(made, (True, False))
    graph.verify()
    assert active == (0,)
    x = np.array([1, 2], np.float32)
    *_, tangent = interpret_arrays(graph, [x, x, np.ones(2, np.float32)])
    assert tangent.tolist() == [2, 4]


def test_quiet_graphs_have_no_effects():
    graph = graph_of(busy, X, N)
    assert graph.effect
    assert not quiet(graph).effect
    quiet(graph).verify()
    again = graph_of(lambda x: x + 1, X)
    assert quiet(again) is again


def test_constants_compare_by_value():
    a, b = Const(np.arange(3)), Const(np.arange(3))
    assert a == b
    assert hash(a) == hash(b)
    assert a != Const(np.arange(3.0))
    assert a != Const(np.arange(3).reshape(1, 3))
    assert Const(np.array(0.0)) != Const(np.array(-0.0))
    assert repr(a) == "[0, 1, 2]"
    assert repr(Const(np.zeros((4, 4), F4))) == "<float32[4, 4]>"


def test_leaked_tensors_name_where_they_were_made():
    kept = []

    @td.function
    def f(x):
        kept.append(x * 2)
        return x

    with pytest.raises(td.errors.LeakedTensor, match="closure kept"):
        f(X)
    for use in (lambda: kept[0] + 1, lambda: np.asarray(kept[0]), lambda: td.function(lambda y: y + kept[0])(X)):
        with pytest.raises(td.errors.LeakedTensor, match="multiply") as caught:
            use()
        assert "kept.append(x * 2)" in str(caught.value)
