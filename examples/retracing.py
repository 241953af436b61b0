"""What makes a traced function trace again, and what does not. After each call the example shows the report.

python examples/retracing.py
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

import treadle as td


def title(text: str) -> None:
    print(f"\n--- {text} " + "-" * max(0, 90 - len(text)))


def call(label: str, f: Any, *args: Any) -> None:
    """Call a traced function, say whether that traced it again, and show its report."""
    before = td.stats()
    result = f(*args)
    after = td.stats()
    traced = "TRACED" if after["traces"] > before["traces"] else "no trace"
    compiled = (
        after["kernels_compiled"] + after["kernels_loaded"] - before["kernels_compiled"] - before["kernels_loaded"]
    )
    print(f"\n{label}  ->  {str(result).replace(chr(10), ' ')}    [{traced}; new kernels: {compiled}]")
    print(f.explain())


def shapes_and_dtypes() -> None:
    title("tensors count by dtype and shape, never by value")

    @td.function
    def scaled(x):  # each trace of this function is one pass of Python through these lines
        return td.tanh(x) * 2

    call("scaled([1, 2])", scaled, td.asarray([1.0, 2.0]))
    call("scaled([3, 4])", scaled, td.asarray([3.0, 4.0]))
    call("scaled([3, 4, 5]): another shape, but the same kernels", scaled, td.asarray([3.0, 4.0, 5.0]))
    call("scaled of float64: another dtype", scaled, np.array([3.0, 4.0]))


def python_numbers() -> None:
    title("Python numbers count by value: each new one is a new trace")

    @td.function
    def power(x, n):
        return x**n

    x = td.asarray([1.0, 2.0])
    call("power(x, 2)", power, x, 2)
    call("power(x, 3)", power, x, 3)
    call("power(x, 2) again", power, x, 2)
    call("power(x, td.asarray(4)): a tensor may change freely from here on", power, x, td.asarray(4))
    call("power(x, td.asarray(5))", power, x, td.asarray(5))


def open_sizes() -> None:
    title("a size that is left open: one trace for every batch")

    @td.function(input_signature=[td.TensorSpec((None, 2), td.float32)])
    def total(x):
        return td.sum(x, axis=0)

    for rows in (1, 7, 60):
        call(f"total of {rows} rows", total, td.ones((rows, 2)))


def what_is_read_from_outside() -> None:
    title("what a function reads from outside is checked at each call")
    settings = {"scale": 2.0}
    state = td.Variable(10.0, name="state")

    @td.function
    def read(x):
        return x * settings["scale"] + state

    call("read(1)", read, td.asarray(1.0))
    state.assign(20.0)
    call("read(1), the Variable has a new value", read, td.asarray(1.0))
    settings["scale"] = 3.0
    call("read(1), the dict has a new value", read, td.asarray(1.0))


def objects() -> None:
    title("a Module counts by its identity and its version")
    model = td.nn.Sequential([td.nn.Dense(2, kernel_initializer="ones")])

    @td.function
    def predict(model, x):
        return model(x)

    x = td.ones((1, 3))
    call("predict(model, x): the layer makes its weights while it is traced", predict, model, x)
    call("predict(model, x)", predict, model, x)
    model.variables[0].assign([1.0, 2.0])  # the bias; kernels read Variables at each call
    call("predict(model, x), with another bias", predict, model, x)
    model.add(td.nn.Activation("relu"))
    call("predict(model, x), with another layer", predict, model, x)


def too_many() -> None:
    title("at the sixth trace of one function a warning says what the report would say")

    @td.function
    def add(x, n):
        return x + n

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for n in range(6):
            add(td.asarray(1.0), n)
    print("\n".join(str(w.message) for w in caught if issubclass(w.category, td.RetraceWarning)))

    title("no_retrace() makes a trace an error, for loops that must not stall")
    try:
        with td.no_retrace():
            add(td.asarray(1.0), 99)
    except td.errors.TreadleError as error:
        print(f"{type(error).__name__}: {error}")


def main() -> None:
    tour: tuple[Callable[[], None], ...] = (
        shapes_and_dtypes,
        python_numbers,
        open_sizes,
        what_is_read_from_outside,
        objects,
        too_many,
    )
    td.random.seed(0)
    for stop in tour:
        stop()


if __name__ == "__main__":
    main()
