"""Bad input raises the named error with the user's line alone, and the function works afterwards."""

from __future__ import annotations

import os
import subprocess
import sys
import traceback
from pathlib import Path

import pytest

import treadle as td

HERE = Path(__file__)
PACKAGE = str(Path(td.__file__).parent)
outer = []


@td.function
def shapes(x, w):
    return td.tanh(x @ w)  # shapes


@td.function(input_signature=[td.TensorSpec((None, 3))])
def signature(x):
    return td.sum(x)


@td.function
def leaks(x, leak):
    if leak:
        outer.append(x * 2)  # leaks
    return x


@td.function
def branches(x, y):
    if td.sum(x) > 0:  # branches
        result = x
    else:
        result = y
    return result


@td.function
def structures(x, one):
    if td.sum(x) > 0:  # structures
        result = x, {"a": 1}
    else:
        result = x, {"a" if one else "b": 1}
    return result[0]


@td.function
def loops(x, y):
    while td.sum(x) < 10:  # loops
        x = td.concat([x, y])
    return x


@td.function
def undefined(x, known):
    if known:
        y = x
    if td.sum(x) > 0:
        y = x * 2
    return y  # undefined


@td.function
def asserts(x):
    assert td.all(x > 0), "not positive"  # asserts
    return x


@td.function
def indices(x, i):
    return x[i]  # indices


def ones(*shape):
    return td.ones(shape)


CASES = {
    "shapes": (shapes, (ones(2, 3), ones(4, 5)), td.errors.ShapeError, ["(2, 3)", "(4, 5)"], (ones(2, 3), ones(3, 5))),
    "signature": (signature, (ones(2, 4),), td.errors.SignatureMismatch, ["float32[2, 4]", "float32[None, 3]"], None),
    "leaks": (leaks, (ones(2), True), td.errors.LeakedTensor, ["outer", "Return it"], (ones(2), False)),
    "branches": (
        branches,
        (ones(2), ones(3)),
        td.errors.ControlFlowError,
        ["'result'", "(2,)", "(3,)"],
        (ones(2), ones(2)),
    ),
    "loops": (
        loops,
        (td.full((2,), 2.0), ones(1)),
        td.errors.ControlFlowError,
        ["'x'", "(2,)", "(3,)"],
        (td.full((2,), 20.0), ones(0)),
    ),
    "structures": (
        structures,
        (ones(2), False),
        td.errors.ControlFlowError,
        ["'result'", "(tensor, {'a': 1})", "(tensor, {'b': 1})"],
        (ones(2), True),
    ),
    "undefined": (undefined, (ones(2), False), td.errors.UndefinedVariable, ["'y'", "before"], (ones(2), True)),
    "asserts": (asserts, (-ones(2),), td.errors.AssertionFailed, ["not positive"], (ones(2),)),
    "indices": (indices, (ones(2), td.asarray(7)), td.errors.IndexOutOfRange, ["7", "2"], (ones(2), td.asarray(1))),
}


def line_of(text: str) -> str:
    """Which line ends with a marker."""
    (found,) = [k for k, line in enumerate(HERE.read_text().splitlines(), 1) if line.endswith(f"  # {text}")]
    return f"line {found}"


@pytest.mark.parametrize("name", CASES)
def test_bad_input_names_the_users_line_and_the_function_works_afterwards(name):
    f, bad, kind, texts, good = CASES[name]
    good = good or (ones(5, 3),)
    before = f(*good)
    for _ in range(2):  # the second time as the first
        with pytest.raises(kind) as caught:
            f(*bad)
        assert type(caught.value) is kind
        message = str(caught.value)
        assert HERE.name in message
        line = f"line {caught.tb.tb_lineno}" if name == "signature" else line_of(name)  # the call, or the marked line
        assert line in message
        for text in texts:
            assert text in message
        assert not [f for f in traceback.extract_tb(caught.tb) if f.filename.startswith(PACKAGE)]
    assert f(*good).tolist() == before.tolist()


SCRIPT = """\
import treadle as td

@td.function
def scale(x, factor):
    y = x * factor
    return td.sum(y)

print(scale(td.ones((2,)), td.ones((2,))))
scale(td.ones((2,)), td.ones((3,)))
"""


def test_a_script_shows_the_users_lines_alone(tmp_path):
    path = tmp_path / "scaling.py"
    path.write_text(SCRIPT)
    done = subprocess.run([sys.executable, str(path)], capture_output=True, text=True, env={**os.environ})
    assert done.returncode == 1
    assert done.stdout == "2.0\n"
    frames = [line.strip() for line in done.stderr.splitlines() if line.strip().startswith("File ")]
    assert frames == [
        f'File "{path}", line 9, in <module>',
        f'File "{path}", line 5, in scale',
        f'File "{path}", line 5, in scale',  # the message's own
    ]
    assert "y = x * factor" in done.stderr
    assert "ShapeError" in done.stderr


def test_a_function_without_source_says_so():
    namespace = {"td": td}
    exec("def f(x):\n    if x > 0:\n        return x\n    return -x\n", namespace)
    f = td.function(namespace["f"])
    with pytest.raises(td.errors.TraceError, match="source"):
        f(td.asarray(1.0))
    with pytest.raises(td.errors.TraceError, match="put it into a file"):
        f(td.asarray(1.0))
    with td.run_eagerly(True):
        assert f(td.asarray(-1.0)).item() == 1
