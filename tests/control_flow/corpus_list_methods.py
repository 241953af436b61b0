"""Corpus: what lists that have grown can do besides: truth, search, comparison, sorting, taking out and putting in."""

from __future__ import annotations

import numpy as np
from corpus_cases import case

import treadle as td

XN = [(1.53, 3), (-0.52, 1), (0.31, 6)]
VS = [([1.1, 2.0, -1.0, 3.0, 0.3],), ([-1.0, 0.25, -0.5, -2.0, 0.7],)]


def positive(v):
    out = []
    for x in v:
        if x > 0:
            out.append(x * x)
    return out


@case((0.9, 2), (1.5, 1), second=True)
def while_the_queue_is_not_empty(x, n):
    queue, total = [(x, 0)], 0.0
    while queue:
        v, depth = queue.pop(0)
        total = total + v * v
        if depth < n:
            queue.append((v * 0.5, depth + 1))
            queue.append((v * v, depth + 1))
    return total


@case((1.5, 9), (-3.0, -5))
def while_the_stack_is_not_empty(x, n):
    stack, total = [x], 0.0
    while stack:
        v = stack.pop()
        total = total + v
        if total < n:
            stack.append(v * 1.1)
            stack.append(v * 0.9)
    return total


@case(*VS, ([-1.0, -2.0],))
def truth_of_what_was_kept(v):
    out = positive(v)
    if not out:
        return -1.0
    return out[0] if bool(out) and len(out) > 1 else out[0] * 2


@case(([1.0, 2.0, 1.0, 3.0, 2.0],), ([5.0, 5.0],), gradient=False)
def each_item_once(v):
    seen = []
    for x in v:
        if x not in seen:
            seen.append(x)
    return seen, len(seen), seen.index(v[1]), seen.count(v[0]), v[0] in seen, 17.0 in seen


@case((3,), (5,))
def until_seen_before(x):
    seen = []
    while x not in seen:
        seen.append(x)
        x = (x * x + 1) % 17
    return x, len(seen), seen.index(x)


@case(*VS, second=True)
def sorted_by_value_and_by_key(v):
    out = positive(v)
    other = sorted(out, key=lambda t: (t - 3) ** 2)
    out.sort(reverse=True)
    return out[0] * other[0] + other[-1], len(out)


@case(*VS)
def sorted_pairs(v):
    out = []
    for i, x in enumerate(v):
        if x > 0:
            out.append((x, i))
    out.sort(key=lambda p: -p[0])
    x, i = out[0]
    return x * 2, i, max(out, key=lambda p: p[0])[1]


@case((6,), (1,))
def by_priority(n):
    queue, out = [n], []
    while queue:
        queue.sort()
        k = queue.pop(0)
        out.append(k)
        if k > 2 and len(out) < 20:
            queue.append(k - 1)
            queue.append(k // 2)
    return out


@case(*VS)
def sorted_by_insertion(v):
    out = []
    for x in v:
        k = 0
        while k < len(out) and out[k] < x:
            k += 1
        out.insert(k, x)
    return out, out[1] * out[-1]


@case(*VS)
def the_smallest_removed(v):
    out = positive(v)
    while len(out) > 1:
        out.remove(min(out))
    return out


@case(*XN)
def deleted_and_inserted(x, n):
    out = []
    for i in td.range(n + 4):
        out.append(x * i)
    del out[0]
    del out[-1]
    out.insert(-1, x * 100)
    out.insert(50, x)
    out.insert(0, -x)
    y, z = out.pop(1), out.pop(-2)
    out[n % 2] = y * z
    return out, y, z, out.copy(), sum(out)


@case(*XN)
def window_of_the_last(x, n):
    out = []
    for i in td.range(n + 3):
        out.append(x * i)
        if len(out) > 3:
            del out[0]
        if i % 2 == 1:
            out.reverse()
    return out, sum(out)


@case(*XN)
def repeated_and_cut(x, n):
    out = []
    for i in td.range(n + 1):
        out.append(x + i)
    both = out[1:] + out[:1]
    twice = out * 2
    twice.extend(both)
    twice += [x]
    return both, len(twice), sum(twice), out * 0, [*both[::-1]] if n is None else both[::-1]


@case(([3.0, 1.0],), ([0.5, 2.0],), gradient=False)
def compared(v):
    a, b = [], []
    for x in v:
        if x > 0:
            a.append(x)
        if x > 1:
            b.append(x)
    return a == b, a != b, a == [3.0, 1.0], a == [], [3.0, 1.0] == a, b == [v[0]], a == a.copy()


@case((1.0,), (1.5,), gradient=False)
def searched_literals(x):
    return x in [1.0, 2.0], [x, x + 1].index(x + 1), [x, 1.5, x].count(1.5), [2, 3].index(3)


@case((1.5, 4), (0.1, 1))
def returned_as_it_grows(x, n):
    out = [x]
    while True:
        out.append(out[len(out) // 2] * 1.5 + 0.1)
        if out[-1] > n:
            return out


@case(([1.0, 2.0, -1.0, 4.0],), ([1.0, 2.0],))
def returned_from_a_loop(v):
    out = []
    for x in v:
        if x < 0:
            return out
        out.append(x * 2)
    return out


@case((1.5, 4), (0.1, 1))
def returned_from_branches(x, n):
    out = [np.float64(2.0) * x]
    if n > 2:
        for i in td.range(n):
            out.append(x * i)
        if x > 1:
            return out
    out.append(x)
    return out


@case(*XN)
def rebound_in_branches(x, n):
    out, other = [x, x + 1], [x * 2]
    if x > 1:
        out = out[1:] + out[:1]
        out.append(x * 7)
        out, other = other, out
    else:
        out.append(x * 9)
    other.append(x)
    return out, other, n


@case(*XN)
def rebound_in_a_loop(x, n):
    out = [x]
    for i in td.range(n):
        if i % 2 == 0:
            out = out + [x * i]
        else:
            out.append(x)
    return sum(out), len(out)


@case(*XN)
def cut_in_a_loop(x, n):
    out, seen = [x], 0.0
    for i in td.range(n):
        out += [x * i]
        if i > 1:
            out = out[1:]
        seen = seen + sum(out[2:])
    return out, seen


@case(*XN)
def chosen_by_a_tensor(x, n):
    items = [x, x * 2, x * x]
    items[(n + 1) % 3] = x * 5
    return items[n % 3] + items[-(n % 2) - 1], [1.0, 2.0, 4.0][0]


@case(*XN)
def put_in_before_the_last(x, n):
    out = [x]
    for i in td.range(n):
        out.insert(-1, x * i)
    return out


@case(*VS)
def truth_beside_tests(v):
    out, total = positive(v), 0.0
    while out and total < 3:
        total = total + out.pop()
    if not out or total > 4:
        return total
    return -total
