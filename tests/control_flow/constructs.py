"""Every construct of control flow: what it becomes, on which values, with which limits, and the message if it cannot.

`python tests/control_flow/constructs.py` writes docs/control_flow.md; `test_docs.py` runs every snippet and asserts
that the file is up to date.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import construct_snippets as snippets
import numpy as np

FILE = Path(__file__).parents[2] / "docs" / "control_flow.md"

X = np.float64(1.53)
Y = np.float64(0.52)
N = np.int64(3)
V = np.array([0.5, -1.25, 2.0])
W = np.array([1.0, 3.0, -0.5])


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table, with the snippet that shows it.

    becomes: what stands in the graph, in words; `nodes` says it in numbers: how often each op stands in all graphs.
    limits:  what does not work, with `message` the text of the error or warning that the snippet then gives.
    kind:    "same" (as plain Python on NumPy values), an error's name in td.errors, or "warns".
    """

    construct: str
    becomes: str
    values: str
    limits: str
    snippet: Callable[..., Any]
    arguments: tuple[Any, ...]
    nodes: tuple[tuple[str, int], ...] = ()
    kind: str = "same"
    message: str = ""

    @property
    def id(self) -> str:
        """The snippet's name."""
        return self.snippet.__name__


def row(
    construct: str, becomes: str, values: str, limits: str, snippet: Callable[..., Any], *arguments: Any,
    kind: str = "same", message: str = "", **nodes: int,
) -> Row:  # fmt: skip
    """A row; `cond=1, loop=0` says how many such nodes the snippet's graph holds."""
    return Row(construct, becomes, values, limits, snippet, arguments, tuple(nodes.items()), kind, message)


s = snippets
TABLE: dict[str, list[Row]] = {
    "Branches": [
        row(
            "`if` / `elif` / `else`",
            "one `cond` node for each test",
            "any one-element tensor, or a Variable",
            "names that are used later must come out with one structure, shape and dtype",
            s.if_elif_else,
            X,
            cond=2,
        ),
        row(
            "`if` on a Python value",
            "nothing: only the branch taken is traced",
            "bool, int, str, None, objects",
            "the value is part of the trace: another one means another trace",
            s.if_on_python,
            X,
            cond=0,
        ),
        row(
            "a name set in one branch only",
            "nothing, until it is used",
            "tensors, numbers",
            "using it afterwards is an error that shows which branch sets it",
            s.only_one_branch,
            X,
            kind="UndefinedVariable",
            message="sets it only when true",
        ),
        row(
            "branches that disagree in shape",
            "",
            "",
            "an error with the name and both shapes",
            s.branch_shapes,
            V,
            kind="ControlFlowError",
            message="disagree on 'y'.*shape",
        ),
        row(
            "a condition of more elements",
            "",
            "",
            "an error that proposes `td.any` and `td.all`",
            s.long_condition,
            V,
            kind="ControlFlowError",
            message="Reduce it with td.any or td.all",
        ),
        row("`a if test else b`", "one `cond` node", "as `if`", "as `if`", s.conditional, X, cond=1),
        row(
            "`and`, `or`, `not`",
            "`cond` nodes: the right side runs only when it is reached",
            "one-element tensors",
            "an operand that is no tensor keeps Python's meaning",
            s.short_circuit,
            X,
            Y,
            cond=2,
        ),
        row(
            "`a < b <= c`",
            "the comparisons joined as by `and`; each operand is evaluated once",
            "one-element tensors",
            "",
            s.chained,
            X,
            Y,
            cond=2,
        ),
        row("`match` on a Python value", "nothing: Python chooses", "Python values", "", s.match_python, X),
        row(
            "`match` that takes apart nests, with tensors in literals or guards",
            "one `cond` for each case that compares",
            "tuples, lists, mappings, classes",
            "more than 16 alternatives (`|`) that are built differently",
            s.match_parts,
            X,
            Y,
            cond=3,
        ),
        row(
            "walrus in conditions, right of `and` and `or`",
            "assigned where the condition is reached",
            "",
            "a name that was not reached reads as zeros where Python raises",
            s.walrus_in_a_condition,
            X,
            Y,
        ),
    ],
    "Loops": [
        row(
            "`while`",
            "one `while` node from the first test on a tensor",
            "any carried values",
            "shapes and dtypes of carried names stay the same",
            s.while_loop,
            X,
            loop=1,
        ),
        row(
            "`while` on Python values",
            "unrolled",
            "Python values",
            "a loop of many nodes warns",
            s.while_python,
            X,
            loop=0,
        ),
        row(
            "`for i in td.range(...)`",
            "one `while` node",
            "one to three ints or integer tensors",
            "",
            s.for_range,
            X,
            N,
            loop=1,
        ),
        row(
            "`for i in range(n)`",
            "one `while` node when n is a tensor, unrolled when it is an int",
            "as `td.range`",
            "",
            s.for_python_range,
            X,
            N,
            loop=1,
        ),
        row(
            "`for x in tensor`",
            "one `while` node over the first axis",
            "tensors with at least one axis",
            "",
            s.over_tensor,
            V,
            loop=1,
        ),
        row(
            "`zip`, `enumerate`, `reversed`, `map` of tensors",
            "one `while` node",
            "tensors, `td.range`, each other",
            "",
            s.over_zip,
            V,
            W,
            loop=1,
        ),
        row(
            "`for` over lists, dicts, objects",
            "unrolled",
            "Python iterables, of tensors too",
            "more than `td.config.unroll_warning` nodes warn",
            s.over_list,
            V,
            loop=0,
            cond=0,
        ),
        row(
            "a Python loop of very many nodes",
            "unrolled",
            "",
            "a TracingWarning with the line, once",
            s.unrolled,
            X,
            kind="warns",
            message="unrolled while tracing",
        ),
        row("`else` of loops", "a `cond` node where a traced `break` may skip it", "", "", s.loop_else, X, N, loop=1),
        row("nested loops", "`while` nodes inside `while` nodes", "", "", s.nested_loops, X, N, loop=2),
        row(
            "a carried name that changes shape",
            "",
            "",
            "an error with the name and both shapes",
            s.growing_shape,
            V,
            N,
            kind="ControlFlowError",
            message="'v'",
        ),
        row(
            "`td.scan`, `td.while_loop`, `td.cond`",
            "the same nodes, said by functions",
            "nests of tensors",
            "",
            s.functional,
            X,
            V,
            loop=1,
        ),
    ],
    "Exits": [
        row("`break`", "a flag that the loop's test asks", "", "", s.break_loop, X, N, loop=1),
        row("`continue`", "a `cond` around the rest of the body", "", "", s.continue_loop, X, N, loop=1),
        row(
            "`return` in a branch",
            "a `cond`; what follows runs in the other branch",
            "",
            "both give the same structure",
            s.early_return,
            X,
            cond=1,
        ),
        row("`return` in a loop", "a flag and the value, carried", "", "", s.return_in_loop, X, N, loop=1),
        row(
            "`return` on some paths only",
            "the value, and whether there is one: the call gives a tensor or None",
            "",
            "",
            s.return_or_fall_off,
            X,
            loop=1,
        ),
        row(
            "`raise` in a branch on a tensor",
            "an effect: raised at run time, when it is reached",
            "any exception; an f-string shows run-time values",
            "",
            s.raise_in_branch,
            np.float64(-1.0),
            kind="ValueError",
            message="negative",
        ),
        row(
            "`assert`",
            "an effect: checked at run time, with the message and the line",
            "one-element tensors",
            "",
            s.assert_fails,
            X,
            kind="AssertionFailed",
            message="x is 1.53",
        ),
        row("`try` / `finally`", "the `finally` block is traced on every way out", "", "", s.try_finally, X),
        row("`with`", "entered and left while tracing", "context managers of Python", "", s.with_block, X),
    ],
    "Names and targets": [
        row(
            "augmented assignment, tuple and starred targets, walrus, `del`",
            "names are carried like any others",
            "",
            "",
            s.targets,
            X,
            Y,
        ),
        row(
            "Python numbers that a loop carries",
            "tensors whose dtype is found by fixed point",
            "bool, int, float",
            "",
            s.carried_numbers,
            X,
            N,
            loop=1,
        ),
        row(
            "tuples, dicts, namedtuples, dataclasses",
            "their tensors are carried, the structure stays",
            "",
            "",
            s.carried_nests,
            X,
            N,
            loop=1,
        ),
        row(
            "strings, functions and objects that stay the same",
            "nothing",
            "any Python object",
            "one that changes in a loop on tensors is an error that names it",
            s.changing_string,
            X,
            N,
            kind="ControlFlowError",
            message="'name'",
        ),
        row("`None` until set", "a tensor and whether it is there", "", "", s.none_until_set, V, loop=1),
    ],
    "Lists and stores": [
        row(
            "`list.append` in a loop on tensors",
            "a stack that grows (`td.TensorList`)",
            "tensors of one shape",
            "",
            s.append_in_loop,
            V,
            loop=1,
        ),
        row(
            "reading a list in the loop in which it grows",
            "the first and the last elements (`out[0]`, `out[-1]`, `out[-2]`) are carried along",
            "",
            "",
            s.read_while_it_grows,
            X,
            N,
        ),
        row(
            "reading it at an index that depends on tensors",
            "memory for all elements that is carried, and changed in place",
            "",
            "its room is made as it grows; `td.TensorList(capacity=n)` makes it once, for at most n",
            s.read_anywhere_while_it_grows,
            X,
            N,
        ),
        row(
            "lists that grow in a loop inside a loop",
            "the rows of all rounds, joined",
            "tensors of one shape; any number a round",
            "",
            s.append_in_nested_loops,
            X,
            N,
        ),
        row(
            "`in`, `index`, `count`, `==`, `sort`, `sorted`, `reverse`, `pop(k)`, `insert`, `remove`, `del`, slices, "
            "`*`, `copy`, and the truth of lists that have grown",
            "work on all rows",
            "elements that are numbers, or nests of numbers",
            "a value that is not found raises ValueError when it runs; not `<` of lists, `index` of a part",
            s.methods_of_grown_lists,
            V,
        ),
        row(
            "taking apart a list whose length only running tells: `a, b = xs`, `tuple(xs)`, `f(*xs)`",
            "",
            "",
            "an error: index it, loop over it, or `td.stack` it",
            s.taken_apart,
            V,
            kind="TraceError",
            message="only running tells how many elements",
        ),
        row(
            "`list.append` in a branch on a tensor",
            "threaded through the `cond`",
            "",
            "",
            s.append_in_branch,
            X,
            cond=1,
        ),
        row(
            "`items[k] = x`, `d[key] = x` in staged blocks",
            "threaded through as state",
            "lists and dicts made inside",
            "",
            s.item_stores,
            X,
            N,
            loop=1,
        ),
        row(
            "`self.x = ...` in staged blocks",
            "threaded through as state",
            "objects made inside",
            "",
            s.attribute_stores,
            X,
            N,
            loop=1,
        ),
        row(
            "comprehensions",
            "unrolled over Python values, a loop over tensors and `td.range`",
            "",
            "",
            s.comprehension,
            V,
        ),
        row(
            "`x[i : i + 2]`, `x.at[i : i + 2]` with a traced `i`",
            "a window of known size",
            "bounds whose difference is known while tracing",
            "a window that leaves the tensor raises `IndexOutOfRange`, where Python would give fewer elements",
            s.moving_window,
            V,
            N,
            loop=1,
        ),
        row(
            "`x[i] = v` on a tensor",
            "",
            "",
            "an error that shows `x.at[i].set(v)`",
            s.write_into_tensor,
            V,
            kind="TypeError",
            message="x.at\\[index\\].set",
        ),
        row(
            "`td.set_shape_invariant(x, shape)`",
            "the value may grow along one axis; the loop is a step of Python",
            "loop variables",
            "one axis; the gradient keeps what each step finds",
            s.growing_as_declared,
            X,
            N,
            loop=1,
        ),
        row(
            "a store into a NumPy array in a staged block",
            "an error: use a tensor and `.at[...]`",
            "",
            "so too `np.copyto(a, ...)`, `np.add(x, y, out=a)`, `a.fill(...)`, `a.sort()` and their kin",
            s.array_store,
            X,
            kind="ControlFlowError",
            message="changes a NumPy array in a branch or loop",
        ),
        row(
            "`for` over a Dataset whose batches change their shape",
            "a `while` node over the runs of equal batches, and one in it for each shape",
            "Dataset",
            "more than 4 shapes",
            s.datasets_of_many_shapes,
            X,
            loop=3,
        ),
    ],
    "Functions": [
        row(
            "calls of your own functions, methods, callables, partials",
            "traced through, converted when they are called",
            "",
            "generators and coroutines stay as they are",
            s.callees,
            X,
            cond=2,
        ),
        row(
            "nested functions, lambdas, closures with `nonlocal`",
            "converted with the function around them",
            "",
            "",
            s.closures,
            X,
        ),
        row("`super()`, properties, class and static methods", "as in Python", "", "", s.methods, X),
        row(
            "`if` on tensors inside a property, or in `__add__`, `__getitem__` and other operators of a class",
            "converted when a tensor first decides there; what reads or calls it is converted anew",
            "instances of user classes",
            "not what Python calls by itself: `__iter__`, `__enter__`, `__bool__`, ...; these are named",
            s.property_with_if,
            X,
        ),
        row(
            "recursion on Python values",
            "traced through",
            "",
            "recursion that a tensor ends does not end while tracing",
            s.recursion,
            X,
        ),
        row(
            "builtins `min max sum abs round divmod any all ...`",
            "the ops of the same meaning",
            "tensors, numbers",
            "",
            s.builtins,
            X,
            Y,
        ),
    ],
    "Effects": [
        row("`td.print`", "an effect, in program order, in branches and loops too", "", "", s.prints, X, N),
        row(
            "`variable.assign...`",
            "state, threaded through branches and loops; nothing changes if the call fails",
            "",
            "",
            s.assigns,
            X,
            N,
        ),
        row("`td.random`", "state: fresh numbers at each call", "", "", s.random_numbers, N),
        row(
            "`print` of a traced tensor",
            "runs once for each trace",
            "",
            "a TracingWarning with the line, once",
            s.print_symbol,
            X,
            kind="warns",
            message="td.print shows the value",
        ),
        row(
            "`random`, `np.random`, `time` and their kin",
            "frozen into the trace",
            "",
            "a TracingWarning with the line, once",
            s.frozen_clock,
            X,
            kind="warns",
            message="frozen into the trace",
        ),
        row(
            "writes to outer lists, dicts, attributes, globals",
            "happen once for each trace",
            "",
            "a TracingWarning with the line, once",
            s.outer_write,
            X,
            kind="warns",
            message="changed during tracing",
        ),
        row(
            "writes into outer NumPy arrays: `a[0] = v`, `np.copyto`, `out=`, `a.sort()`, `rng.shuffle(a)`",
            "happen once for each trace",
            "",
            "a TracingWarning with the line, once",
            s.outer_array_write,
            X,
            kind="warns",
            message="global TABLE was changed during tracing",
        ),
        row(
            "`except` around a `raise` or `assert` that only running reaches",
            "",
            "",
            "an error that proposes `if`; exceptions that every run raises are caught as in Python",
            s.caught_at_run_time,
            X,
            kind="ControlFlowError",
            message="only running tells whether it is raised",
        ),
        row(
            "a traced tensor stored outside",
            "",
            "",
            "LeakedTensor, with the line that made it and the place",
            s.leak,
            X,
            kind="LeakedTensor",
            message="global KEPT",
        ),
        row(
            "an argument changed in place",
            "",
            "",
            "TraceError, with the line that changes it",
            s.argument_changed,
            [X],
            kind="TraceError",
            message="in place",
        ),
    ],
}

HEAD = """# Control flow

Written by `python tests/control_flow/constructs.py`; each row is run by `tests/control_flow/test_docs.py`: where no
message stands, the example gives as a graph what plain Python gives on NumPy values, interpreted and compiled.

On Python values everything keeps Python's meaning and costs nothing in the graph. Below, *on tensors*: what depends on
a value that only running tells. Errors show the file, line and source text of your code; those at run time also the
iteration. `f.converted_source` shows the rewritten function; `td.run_eagerly(True)` turns tracing off, so that
breakpoints in your file are hit.
"""


def markdown() -> str:
    """The document."""
    parts = [HEAD]
    for title, rows in TABLE.items():
        parts.append(f"## {title}\n")
        parts.append("| Construct | Becomes | On | Limits | Message | Example |\n|---|---|---|---|---|---|")
        for r in rows:
            message = f"{r.kind}: `{r.message}`" if r.kind != "same" else ""
            cells = (r.construct, r.becomes, r.values, r.limits, message.replace("|", "\\|"), f"[{r.id}](#{r.id})")
            parts.append("| " + " | ".join(cells) + " |")
        parts.append("")
    parts.append("## Examples\n")
    for rows in TABLE.values():
        for r in rows:
            parts.append(f"### {r.id}\n\n```python\n{inspect.getsource(r.snippet).rstrip()}\n```\n")
    return "\n".join(parts)


if __name__ == "__main__":
    FILE.parent.mkdir(exist_ok=True)
    FILE.write_text(markdown())
