"""How graphs look: as Python text, as Graphviz DOT, as HTML in notebooks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from treadle.core.graph import Const, Graph, Node
from treadle.core.spec import Spec
from treadle.core.tensor import Symbol

_LONG = 60  # nodes of an inner graph that are shown


def _value(value: Any) -> str:
    if isinstance(value, Graph):
        return value.name
    if isinstance(value, Const):
        return repr(value)
    if isinstance(value, np.dtype):
        return str(value)
    return repr(value)


def _inline(symbol: Symbol) -> bool:
    """Whether a symbol is a number that is shown where it is used, and not as a line of its own."""
    return symbol.node is not None and symbol.node.op == "constant" and symbol.shape == ()


def _name(symbol: Symbol) -> str:
    return repr(symbol.node.attrs["value"]) if _inline(symbol) and symbol.node else symbol.name


def _call(node: Node) -> str:
    if node.op == "constant":
        return f"{node.attrs['value']!r}"
    parts = [_name(s) for s in node.inputs]
    parts += [
        f"{key}={_value(value)}"
        for key, value in node.attrs.items()
        if not isinstance(value, Spec) and key != "label" and value is not None
    ]
    return f"{node.op}({', '.join(parts)})"


def _lines(graph: Graph, indent: str, shown: set[int]) -> Iterator[str]:
    arguments = ", ".join(f"{s.name}: {s.spec}" for s in graph.inputs)
    yield f"{indent}def {graph.name}({arguments}):"
    inside = indent + "    "
    left = _LONG if indent else len(graph.nodes)
    nodes = [node for node in graph.nodes if not (node.outputs and _inline(node.outputs[0]))]
    for node in nodes[:left] if len(nodes) > left + 1 else nodes:
        for _, inner in node.graphs():
            if id(inner) in shown:
                yield f"{inside}# {inner.name} as above"
            else:
                shown.add(id(inner))
                yield from _lines(inner, inside, shown)
        targets = ", ".join(f"{s.name}: {s.spec}" if len(node.outputs) == 1 else s.name for s in node.outputs)
        text = f"{inside}{targets + ' = ' if targets else ''}{_call(node)}"
        yield f"{text:<70}  # {node.location.short}" if node.location else text
    if len(nodes) > left + 1:
        yield f"{inside}# ... and {len(nodes) - left} more; str(node.attrs[...]) of the node that holds it shows all"
    for slot in graph.state:
        if slot.output is not None:
            yield f"{inside}# variable {slot.name} becomes {_name(graph.outputs[slot.output])}"
    yield f"{inside}return {', '.join(map(_name, graph.outputs))}"


def graph_text(graph: Graph) -> str:
    """The graph as Python-like text, one line a node, the user's line beside it.

    Graphs that nodes hold stand above their node, once each; long ones are cut.
    """
    return "\n".join(_lines(graph, "", {id(graph)}))


def graph_dot(graph: Graph) -> str:
    """The graph in the DOT language: data edges solid, the order of effects dashed, variables as named ends."""
    lines = [f'digraph "{graph.name}" {{', "  rankdir=TB;", '  node [fontname="Helvetica", fontsize=11];']
    _dot_body(graph, "", lines)
    lines.append("}")
    return "\n".join(lines)


def _escaped(text: str) -> str:
    """Text inside a quoted label."""
    return text.replace("\\", "\\\\").replace('"', '\\"')


def _dot_body(graph: Graph, prefix: str, lines: list[str]) -> None:
    state = {slot.input: slot for slot in graph.state}
    ids: dict[Any, str] = {}
    for position, symbol in enumerate(graph.inputs):
        ids[symbol] = f'"{prefix}{symbol.name}"'
        shape = "cylinder" if position in state else "ellipse"
        lines.append(f'  {ids[symbol]} [shape={shape}, label="{symbol.name}\\n{symbol.spec}"];')
    previous = None
    outputs = set(graph.outputs)
    for node in graph.nodes:
        if node.outputs and _inline(node.outputs[0]) and node.outputs[0] not in outputs:
            continue
        name = f'"{prefix}{node.name}"'
        where = f"\\n{node.location.short}" if node.location else ""
        numbers = "".join(f" {_escaped(_name(s))}" for s in node.inputs if _inline(s))
        lines.append(f'  {name} [shape=box, label="{node.name}{numbers}{where}"];')
        for symbol in node.inputs:
            if _inline(symbol):
                continue
            lines.append(f"  {ids[symbol]} -> {name};")
        for symbol in node.outputs:
            ids[symbol] = name
        if node.definition.effect:
            if previous is not None:
                lines.append(f"  {previous} -> {name} [style=dashed];")
            previous = name
        for key, inner in node.graphs():
            inside = f"{prefix}{node.name}/{key}/"
            lines += [f'  subgraph "cluster_{inside}" {{', f'    label="{key} of {node.name}";']
            _dot_body(inner, inside, lines)
            lines.append("  }")
    written = {slot.output: slot for slot in graph.state if slot.output is not None}
    for position, symbol in enumerate(graph.outputs):
        slot = written.get(position)
        label = f"{slot.name} (new value)" if slot else f"output {position}"
        shape = "cylinder" if slot else "ellipse"
        end = f'"{prefix}output {position}"'
        lines.append(f'  {end} [shape={shape}, label="{label}"];')
        lines.append(f"  {ids[symbol]} -> {end};")


def graph_html(graph: Graph) -> str:
    """The text form, for notebooks."""
    import html

    return f"<pre>{html.escape(graph_text(graph))}</pre>"
