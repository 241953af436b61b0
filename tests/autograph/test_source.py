"""Finding a function's source: lambdas by column, functions without source, kinds that are left alone."""

from __future__ import annotations

import asyncio
import functools
import math

import pytest

from treadle.autograph import convert_function, missing_source
from treadle.errors import TracingWarning


def test_several_lambdas_on_one_line():
    pair = (lambda x: x if x > 1 else 0, lambda x: x if x > 2 else -1, lambda y: [lambda x: x and y])
    assert [f(2) for f in map(twin, pair[:2])] == [2, -1]
    assert twin(pair[2])(5)[0](1) == 5
    assert "x > 2" in convert_function(pair[1]).source


def test_lambda_over_lines_and_in_calls():
    f = functools.partial(
        lambda a, *, k: (
            a
            if a > k
            else k
        ),
        k=3,
    )  # fmt: skip
    assert twin(f)(1) == 3
    assert twin(sorted([lambda: 1 or 2], key=id)[0])() == 1


def test_equal_lambdas_on_one_line_are_told_apart_by_column():
    one, two = (lambda x: not x), (lambda x: not x)
    assert twin(one)(0) is True
    assert twin(two)(1) is False


def twin(function):
    made = convert_function(function)
    assert made.missing_source is None
    return made.function


def test_without_source():
    space = {}
    exec("def f(x):\n    return x if x else 1", space)
    made = convert_function(space["f"])
    assert made.function is space["f"]
    assert "source text is not available" in made.missing_source
    assert "source text is not available" in missing_source(eval("lambda x: x"))
    assert made.source == ""


def test_kinds_left_alone():
    def generator():
        yield 1

    async def coroutine():
        return 1

    for function in (generator, coroutine):
        made = convert_function(function)
        assert made.function is function
        assert "generators and coroutines" in made.missing_source
    assert asyncio.run(coroutine()) == 1
    assert missing_source(math.floor).startswith("builtin_function")
    assert missing_source(dict).startswith("type")

    def frame_reader(x):
        y = x
        return locals()

    assert "locals()" in missing_source(frame_reader)
    assert missing_source(lambda x: vars(x) or eval("x", {"x": x})) is None


def test_changed_file(tmp_path, monkeypatch):
    file = tmp_path / "changing_module.py"
    file.write_text("def f(x):\n    return x if x else 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    import changing_module

    file.write_text("def f(x, y):\n    return y\n")
    with pytest.warns(TracingWarning, match="has changed"):
        assert "has changed" in missing_source(changing_module.f)


def test_awkward_layouts():
    def string_at_the_end(x):
        if x:
            return """
dedented
"""
        return (
            x
)  # fmt: skip

    def comment_at_the_end(x):
        return x or 1

    # a comment that is indented less  # fmt: skip

    assert twin(string_at_the_end)(1) == "\ndedented\n"
    assert twin(string_at_the_end)(0) == 0
    assert twin(comment_at_the_end)(0) == 1
    assert twin(lambda x: not x)(0)


@pytest.mark.parametrize("name", ["é", "日本"])
def test_columns_count_bytes(name):
    _x, f, g = "éé", lambda v: v or "é", lambda v: v or "日本"
    assert twin({"é": f, "日本": g}[name])("") == name


def test_identity_of_code():
    def make(k):
        def f(x):
            return x + k if x else k

        return f

    one, two = make(1), make(2)
    assert (twin(one)(0), twin(two)(0)) == (1, 2)
    assert convert_function(one)._conversion is convert_function(two)._conversion


def test_warnings_of_the_text_are_not_repeated(tmp_path, monkeypatch):
    file = tmp_path / "warning_module.py"
    file.write_text("def f(x):\n    return x is 1 or '\\d'\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.warns((SyntaxWarning, DeprecationWarning)):
        import warning_module
    assert twin(warning_module.f)(2) == "\\d"


def test_a_file_written_just_now_is_converted_where_it_calls_what_it_imports(tmp_path, monkeypatch):
    (tmp_path / "treadle_written_now.py").write_text(
        "import treadle as td\n\n\ndef f(x):\n    for k in td.range(3):\n        x = td.tanh(x) + k\n    return x\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    import treadle_written_now as module

    from treadle.autograph import missing_source

    assert missing_source(module.f) is None
