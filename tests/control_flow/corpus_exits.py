"""Corpus: return, break, continue and the else of loops, everywhere."""

from __future__ import annotations

import numpy as np
from corpus_cases import case

import treadle as td

XS = [(1.53,), (-0.77,), (0.26,)]
XN = [(1.53, 4), (-0.77, 0), (0.31, 2)]
VS = [([0.53, 1.02, 2.01],), ([-1.01, 0.26, 0.52],)]


@case(*XS, second=True)
def early_return(x):
    if x > 1:
        return x * x
    return x * 3


@case(*XS)
def early_return_in_else(x):
    if x > 1:
        y = x * 2
    else:
        return x * x
    return y + 1


@case(*XS)
def return_in_one_branch_of_many(x):
    if x > 1:
        return x
    elif x > 0:
        x = x * 2
    elif x < -10:
        return x * 7
    return x * 3


@case(*XS)
def nested_partial_return(x):
    if x > 0:
        if x > 1:
            return x * 10
        x = x + 1
    return x * 2


@case(*XS)
def all_branches_return(x):
    if x > 1:
        return x, x * 2
    elif x > 0:
        return x * 2, x
    else:
        return -x, -x


@case(*XN)
def return_from_a_while(x, n):
    i = 0
    while i < n:
        x = x * 1.5
        if x > 3:
            return x + i
        i += 1
    return x - i


@case(*XN, second=True)
def return_from_a_for(x, n):
    for i in td.range(n):
        x = x + 0.5
        if x > 2.2:
            return x * i
    return x


@case(*XN)
def return_from_nested_loops(x, n):
    for i in td.range(n):
        for j in td.range(3):
            x = x + 0.25
            if x > 2:
                return x * 10 + i + 3 * j
    return x


@case(*VS)
def return_from_iteration(v):
    total = 0.0
    for x in v:
        if x > 1.5:
            return total * 2
        total += x
    return total


@case(*XN)
def break_while(x, n):
    i = 0
    while i < n:
        if x > 2:
            break
        x = x * 1.5
        i += 1
    return x, i


@case(*XN, second=True)
def break_for(x, n):
    for _ in td.range(n):
        x = x * x + 0.25
        if x > 2:
            break
    return x


@case(*XN)
def break_at_once(x, n):
    for _ in td.range(n):
        break
    return x


@case(*XN)
def continue_for(x, n):
    s = 0.0
    for i in td.range(n):
        if i % 2 == 1:
            continue
        s += x * i
    return s + x


@case(*XN)
def continue_while(x, n):
    i = 0
    while i < n:
        i += 1
        if x > 1.5:
            continue
        x = x + 0.5
    return x


@case(*XN)
def break_and_continue(x, n):
    s = x
    for i in td.range(n + 3):
        if i == 1:
            continue
        if s > 4:
            break
        s = s + x * i
    return s


@case(*XN)
def break_in_the_inner_loop(x, n):
    s = x * 0
    for i in td.range(n):
        for j in td.range(5):
            if j > i:
                break
            s = s + x * j
        s = s + 1
    return s


@case(*XN)
def continue_in_the_inner_loop(x, n):
    s = x * 0
    for i in td.range(n):
        j = 0
        while j < 3:
            j += 1
            if j == 2:
                continue
            s = s + x * j * i
    return s


@case(*XN)
def for_else(x, n):
    for i in td.range(n):
        if x + i > 2:
            x = x * 2
            break
    else:
        x = x - 1
    return x


@case(*XN)
def while_else(x, n):
    i = 0
    while i < n:
        i += 1
        if x * i > 2:
            break
    else:
        x = x * 10
    return x * i


@case(*XN)
def for_else_return(x, n):
    for i in td.range(n):
        if x + i > 2:
            return x * i
    else:
        x = x * 3
    return x


@case(*VS)
def break_in_iteration(v):
    total = 0.0
    for x in v:
        if total > 1:
            break
        total += x * x
    return total


@case(*VS)
def continue_in_iteration(v):
    total = 0.0
    for x in v:
        if x < 0:
            continue
        total += x
    return total * total


@case(*XN)
def break_on_python_loop(x, n):
    for k in range(4):
        if x > 2:
            break
        x = x + 0.5 + k
    return x + n


@case(*XN)
def return_in_python_loop(x, n):
    for k in [1.0, 2.0, 3.0]:
        x = x + k
        if x > 2:
            return x * k
    return x - n


@case(*XN)
def while_true_with_break(x, n):
    i = 0
    while True:
        if i >= n:
            break
        x = x * 1.25
        i += 1
    return x


@case(*XN)
def while_true_with_return(x, n):
    i = 0
    while True:
        if x > 3 or i >= n:
            return x, i
        x = x + 1
        i += 1


@case(*XN)
def two_breaks(x, n):
    i = 0
    while i < 10:
        if i >= n:
            break
        x = x + 0.5
        if x > 2:
            break
        i += 1
    return x, i


@case(*XN)
def break_under_two_ifs(x, n):
    for i in td.range(n):
        if x > 0:
            x = x + 0.5
            if i > 1:
                break
            x = x * 1.5
        else:
            x = x + 1
    return x


@case(*XS)
def return_a_tuple_or_more(x):
    if x > 0:
        return {"a": x, "b": [x, x * 2]}
    return {"a": -x, "b": [x * 3, x]}


@case(*XN)
def return_in_try_in_loop(x, n):
    s = x
    for _ in td.range(n):
        try:
            s = s * 1.5
            if s > 3:
                return s
        finally:
            s = s + 0.5
    return s


@case(*XS, gradient=False)
def return_python_values(x):
    if x.shape == ():
        return 3
    return 4


@case(*XN, gradient=False)
def return_numbers_by_branch(x, n):
    if x > 0:
        return 1
    for i in td.range(n):
        if i == 1:
            return 2
    return 3


@case(*VS)
def first_index_above(v):
    for i in td.range(3):
        if v[i] > 0.75:
            return i, v[i] * 2
    return -1, v[0]


@case(*XN)
def leave_two_loops_by_flag(x, n):
    done = False
    s = x
    for i in td.range(n):
        for j in td.range(3):
            s = s + 0.25 * j
            if s > 2:
                done = True
                break
        if done:
            break
        s = s + i
    return s


@case(*XN)
def long_tail_after_return(x, n):
    if x < 0:
        return x
    a = x * 2
    b = a + n
    c = np.sqrt(b)
    if c > 1.9:
        return c * a
    d = c + b
    return d
