"""Corpus: effects in program order, in branches and loops: print, variables, random numbers."""

from __future__ import annotations

from corpus_cases import case

import treadle as td

XN = [(1.53, 3), (-0.52, 0), (0.26, 2)]
counter = td.Variable(0, name="counter")
total = td.Variable(1.0, dtype=td.float64, name="total")
weights = td.Variable([1.0, 2.0], dtype=td.float64, name="weights")


@case(*XN)
def print_in_order(x, n):
    td.print("start", n)
    if x > 0:
        td.print("positive")
        x = x * 2
    else:
        td.print("not")
    td.print("end")
    return x


@case(*XN)
def print_in_loops(x, n):
    for i in td.range(n):
        td.print("round", i)
        for j in td.range(i):
            td.print(" inner", j)
        if i == 1:
            td.print("one")
            continue
        td.print("not one")
    td.print("done")
    return x


@case(*XN)
def print_before_break(x, n):
    i = 0
    while True:
        td.print("at", i)
        if i >= n:
            td.print("leave")
            break
        i += 1
    else:
        td.print("never")
    return x * i


@case(*XN)
def print_in_short_circuits(x, n):
    def shown(value, name):
        td.print("asked", name)
        return value

    if shown(x > 0, "a") and shown(n > 2, "b"):
        td.print("both")
    if shown(x > 1, "c") or shown(n > 1, "d"):
        td.print("one of them")
    return x


@case(*XN)
def assign_in_a_branch(x, n):
    if x > 0:
        counter.assign(n * 2)
    else:
        counter.assign_add(5)
    return x + counter


@case(*XN, numeric=False)
def assign_in_a_loop(x, n):
    for i in td.range(n):
        counter.assign_add(i)
        total.assign(total * 0.5 + x)
    return total.value * 1.0, counter.value + 0


@case(*XN, numeric=False)
def assign_in_a_loop_and_read_later(x, n):
    i = 0
    while i < n:
        if total > 2:
            total.assign_sub(1.0)
        else:
            total.assign_add(x * x)
        i += 1
    return total * x


@case(*XN)
def assign_and_return_early(x, n):
    for i in td.range(n):
        counter.assign_add(1)
        if i == 1:
            return x * counter
    counter.assign_add(100)
    return x + 0


@case(*XN, numeric=False)
def assign_vector(x, n):
    for i in td.range(n):
        weights.assign(weights * 0.5 + x * i)
    if x > 0:
        weights.assign_add([1.0, 1.0])
    return weights * 2


@case(*XN)
def print_and_assign_in_order(x, n):
    td.print(counter)
    counter.assign_add(1)
    td.print(counter)
    for _ in td.range(2):
        counter.assign_add(counter)
        td.print("now", counter)
    return x * n


@case(*XN)
def read_before_and_after(x, n):
    before = total + 0.0
    for _ in td.range(n):
        total.assign(total * 2)
    return before * x + total


@case(*XN)
def condition_on_a_variable(x, n):
    if counter < 1:
        counter.assign(n)
        return x * 2
    return x


@case(*XN)
def while_on_a_variable(x, n):
    while counter < n:
        counter.assign_add(1)
        x = x * 1.5
    return x


@case(*XN, gradient=False)
def random_in_a_branch(x, n):
    td.random.seed(7)
    if x > 0:
        y = td.random.uniform((), dtype=td.float64)
    else:
        y = td.random.uniform((), dtype=td.float64) + td.random.uniform((), dtype=td.float64)
    return y + td.random.uniform((), dtype=td.float64)


@case(*XN, gradient=False)
def random_in_a_loop(x, n):
    td.random.seed(11)
    s = x
    for _ in td.range(n):
        s = s + td.random.uniform((), dtype=td.float64)
    return s


@case(*XN)
def finally_prints(x, n):
    for i in td.range(n):
        try:
            if i == 1:
                break
            td.print("body", i)
        finally:
            td.print("finally", i)
    return x


@case(*XN)
def effects_in_a_callee(x, n):
    def log(value):
        if value > 1:
            td.print("large")
            counter.assign_add(1)
        return value

    for i in td.range(n):
        x = log(x + i)
    return x


@case(*XN)
def effects_in_a_conditional_expression(x, n):
    def bump(k):
        counter.assign_add(k)
        return counter + 0

    y = bump(n) if x > 0 else bump(100)
    return x * y
