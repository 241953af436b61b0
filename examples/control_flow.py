"""Loops and branches that depend on data: Python in, one graph out, compiled, with gradients through it.

python examples/control_flow.py
"""

from __future__ import annotations

from typing import Any

import treadle as td


@td.function
def newton_sqrt(a):
    """The square root of `a` by Newton's method: as many steps as it takes."""
    x = a
    steps = 0
    while td.abs(x * x - a) > 1e-12 * a:
        x = (x + a / x) / 2
        steps += 1
    return x, steps


@td.function
def collatz(n):
    """How many steps the sequence n -> n/2 or 3n+1 takes to reach 1."""
    count = 0
    while n != 1:
        if n % 2 == 0:
            n = n // 2
        else:
            n = 3 * n + 1
        count += 1
    return count


@td.function
def first_passage(start, rate):
    """Compound growth, stopped at the first value of 100 or more; a loop with a `break`."""
    value = start
    for year in td.range(1000):
        if value >= 100.0:
            break
        value = value * (1.0 + rate)
    return value, year


def show(f: Any, *args: Any) -> None:
    """The rewritten source, the graph and the kernels of a function's latest trace."""
    trace = f.trace(*args)
    f(*args)
    print(f"\nwhat autograph makes of it:\n{f.converted_source}")
    print(f"the graph:\n{trace.graph}")
    for kernel in f.traces[-1].kernels:
        print(f"kernel {kernel.name}, from {', '.join(map(str, kernel.provenance))}:\n{kernel.source}")


def main() -> None:
    td.set_default_dtype(td.float64)

    print("== Newton's method: a while loop that ends when the data say so")
    for a in (2.0, 1e6):
        root, steps = newton_sqrt(td.asarray(a))
        print(f"sqrt({a:g}) = {root.item():.12f} after {steps.item()} steps")
    slope = td.grad(lambda a: newton_sqrt(a)[0])(td.asarray(2.0))
    print(f"d sqrt(a) / da at 2, through the loop: {slope.item():.12f}; exactly: {0.5 / 2**0.5:.12f}")
    show(newton_sqrt, td.asarray(2.0))

    print("\n== Collatz: a branch inside a loop, on integers")
    print("  ".join(f"{n}: {collatz(td.asarray(n)).item()}" for n in (1, 6, 7, 27, 97, 871)))
    print(f"one trace for all of them: {collatz}")
    show(collatz, td.asarray(27))

    print("\n== A loop with a break, and gradients through the steps that ran")
    start, rate = td.asarray(10.0), td.asarray(0.07)
    with td.GradientTape() as tape:
        tape.watch([start, rate])
        value, year = first_passage(start, rate)
    by_start, by_rate = tape.gradient(value, [start, rate])
    years = year.item()
    print(f"from 10 at 7 % a year: {value.item():.6f} after {years} years")
    print(f"d value / d start = {by_start.item():.9f}; by hand 1.07**{years} = {1.07**years:.9f}")
    print(f"d value / d rate = {by_rate.item():.6f}; by hand {10 * years * 1.07 ** (years - 1):.6f}")
    show(first_passage, start, rate)


if __name__ == "__main__":
    main()
