"""`td.function`, the decorator."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal, ParamSpec, TypeVar, overload

from treadle.function.options import Options

if TYPE_CHECKING:
    from treadle.function.function import Function

P = ParamSpec("P")
R = TypeVar("R")


@overload
def function(f: Callable[P, R]) -> Function[P, R]: ...


@overload
def function(
    f: Callable[P, R],
    *,
    input_signature: Any = ...,
    autograph: bool = ...,
    reduce_retracing: bool = ...,
    static_argnames: str | Sequence[str] = ...,
    donate_argnames: str | Sequence[str] = ...,
    name: str | None = ...,
    compile: Literal["synchronous", "background"] = ...,
) -> Function[P, R]: ...


@overload
def function(
    *,
    input_signature: Any = ...,
    autograph: bool = ...,
    reduce_retracing: bool = ...,
    static_argnames: str | Sequence[str] = ...,
    donate_argnames: str | Sequence[str] = ...,
    name: str | None = ...,
    compile: Literal["synchronous", "background"] = ...,
) -> Callable[[Callable[P, R]], Function[P, R]]: ...


def function(
    f: Any = None,
    *,
    input_signature: Any = None,
    autograph: bool = True,
    reduce_retracing: bool = False,
    static_argnames: str | Sequence[str] = (),
    donate_argnames: str | Sequence[str] = (),
    name: str | None = None,
    compile: Literal["synchronous", "background"] = "synchronous",
) -> Any:
    """Trace a function at the first call with each new signature, and run the graph from then on.

    input_signature:  nest of `td.TensorSpec`, one for each argument: one trace for all calls, others are errors.
    autograph:        let `if`, `while`, `for`, ... work on tensors.
    reduce_retracing: when a shape varies, trace once more with its sizes open.
    static_argnames:  arguments that count by hash and equality, also where they are objects.
    donate_argnames:  tensors that the caller gives up; using one afterwards is an error.
    name:             what graphs and reports call it.
    compile:          "background" lets calls run interpreted until a thread has made the program; numbers may then
                      differ in the last digits from one call to the next.

    >>> import treadle as td
    >>> @td.function
    ... def double(x):
    ...     return x + x
    >>> double(td.asarray([1., 2.]))
    Tensor([2., 4.], shape=(2,), dtype=float32)
    >>> double.trace_count
    1
    """
    from treadle.function.function import Function  # with autograph, half of all there is to import

    static = (static_argnames,) if isinstance(static_argnames, str) else tuple(static_argnames)
    donated = (donate_argnames,) if isinstance(donate_argnames, str) else tuple(donate_argnames)
    if compile not in ("synchronous", "background"):
        raise ValueError(f'td.function: compile is "synchronous" or "background", got {compile!r}')
    background = compile == "background"
    options = Options(input_signature, autograph, reduce_retracing, static, donated, name, background)

    def decorate(g: Any) -> Any:
        if isinstance(g, (classmethod, staticmethod)):
            return type(g)(Function(g.__func__, options))
        if isinstance(g, Function):
            g = g.python_function
        if not callable(g):
            raise TypeError(f"td.function takes a function, got {type(g).__name__}")
        return Function(g, options)

    return decorate if f is None else decorate(f)
