"""Corpus: lists that grow, comprehensions, containers that change in branches and loops."""

from __future__ import annotations

import numpy as np
from corpus_cases import Static, case

import treadle as td

XN = [(1.53, 3), (-0.52, 1), (0.31, 4)]
VS = [([0.5, 1.0, 2.0],), ([-1.0, 0.25, 0.5],)]


@case(*VS)
def append_each_item(v):
    out = []
    for x in v:
        out.append(x * x)
    return td.stack(out)


@case(*XN)
def append_in_a_range(x, n):
    out = []
    for i in td.range(n):
        x = x * 0.5 + i
        out.append(x)
    return td.stack(out)


@case(*XN)
def append_in_a_while(x, n):
    out = [x]
    while n > 0:
        x = x * 0.75
        out.append(x)
        n = n - 1
    return td.sum(td.stack(out)), len(out)


@case(*XN)
def append_then_index(x, n):
    out = []
    for i in td.range(n + 1):
        out.append(x + i)
    return out[0] * out[-1]


@case(*XN)
def append_by_augmented_addition(x, n):
    out = [x]
    for i in td.range(4):
        out += [out[-1] * 0.5 + i]
    return out[-1] + n, len(out)


@case(*XN)
def append_two_lists(x, n):
    odd, even = [x], [x]
    for i in td.range(n + 2):
        if i % 2 == 1:
            odd.append(x * i)
        else:
            even.append(x - i)
    return td.sum(td.stack(odd)), td.sum(td.stack(even))


@case(*XN)
def append_in_a_branch(x, n):
    out = [x]
    if x > 0:
        out.append(x * 2)
    return td.sum(td.stack(out)) + n


@case(*XN)
def append_until_break(x, n):
    out = [x]
    for i in td.range(10):
        if i >= n:
            break
        out.append(out[-1] * 0.5)
    return td.sum(td.stack(out)), len(out)


@case(*VS)
def append_vectors(v):
    rows = []
    for i in td.range(4):
        rows.append(v * i)
    return td.stack(rows)


@case(*VS)
def list_of_a_known_length(v):
    parts = [v[0], v[1], v[2]]
    for _ in td.range(3):
        parts = [parts[1], parts[2], parts[0] * 0.5]
    return parts


@case(*XN)
def list_item_set_in_a_branch(x, n):
    parts = [x, x * 2]
    if x > 0:
        parts[0] = x * 5
    return parts[0] + parts[1] + n


@case(*XN)
def list_item_set_in_a_loop(x, n):
    parts = [x, x * 2]
    for i in td.range(n):
        parts[0] = parts[1] * 0.5 + i
        parts[1] = parts[0]
    return parts[0] - 2 * parts[1]


@case(*XN)
def dict_item_set_in_a_loop(x, n):
    sums = {"a": x, "b": x * 0}
    for i in td.range(n):
        sums["b"] = sums["b"] + sums["a"] * i
        sums["a"] += 0.5
    return sums["a"], sums["b"]


@case((0.5, Static(4)))
def python_list_in_an_unrolled_loop(x, n):
    out = []
    for i in range(n):
        x = x * 0.5 + i
        if x > 1:
            x = x - 1
        out.append(x)
    return td.stack(out[::-1])


@case(*VS)
def comprehension_over_python_range(v):
    squares = [v[k] * v[k] if v[k] > 0 else v[k] for k in range(3)]
    return sum(squares)


@case(*VS)
def comprehension_over_a_tensor(v):
    return td.stack([x * x if x > 0.4 else -x for x in v])


@case(*XN)
def comprehension_over_a_range(x, n):
    return td.stack([x * i for i in td.range(n)])


@case(*VS)
def generator_expression(v):
    return sum(x * x for x in v)


@case(*VS)
def dict_comprehension(v):
    parts = {k: v[k] * 2 for k in range(3)}
    return parts[0] - parts[2]


@case(*VS)
def nested_comprehension(v):
    rows = [[v[i] * v[j] for j in range(2)] for i in range(3)]
    return td.stack([td.stack(row) for row in rows])


@case(*VS)
def list_through_a_helper(v):
    def collect(items, x):
        items.append(x * 2)
        return items

    out = []
    for k in range(3):
        out = collect(out, v[k])
    return td.stack(out)


@case(*XN)
def none_until_set(x, n):
    best = None
    for i in td.range(n):
        value = x * (3 - i) * i
        if best is None or value > best:
            best = value
    return best


@case(*XN)
def none_in_a_branch(x, n):
    found = None
    if x > 0:
        found = x * n
    return x if found is None else found


@case(*VS)
def running_maximum(v):
    best, where = v[0], 0
    for i, x in enumerate(v):
        if x > best:
            best, where = x, i
    return best, where


@case(*VS)
def pop_from_a_python_list(v):
    parts = [v[0], v[1], v[2]]
    last = parts.pop()
    parts.insert(0, last)
    if last > 1:
        return parts[0] * parts[1]
    return parts[1] * parts[2]


@case(*VS)
def zip_of_lists(v):
    xs, ys = [v[0], v[1]], [v[1], v[2]]
    total = 0.0
    for x, y in zip(xs, ys):
        if x < y:
            total = total + x * y
    return total


@case(*VS)
def sorted_by_python_keys(v):
    table = {"b": v[0], "a": v[1], "c": v[2]}
    s = 0.0
    for name in sorted(table):
        s = s * 0.5 + table[name]
    return s


@case(*XN)
def tuple_that_is_unpacked_in_a_loop(x, n):
    state = (x, 0)
    for _ in td.range(n):
        value, count = state
        if value > 1:
            state = (value * 0.5, count + 1)
        else:
            state = (value + 0.25, count)
    return state


@case(*VS)
def stack_of_branches(v):
    parts = []
    for k in range(3):
        parts.append(v[k] * 2 if v[k] > 0.4 else v[k])
    return np.sum(np.stack(parts))


@case((1.53, 3), (-0.52, 0), (1.01, 70), second=True)
def read_at_half_in_a_range(x, n):
    out = [x]
    for i in td.range(n):
        out.append(out[i // 2] * x * 0.5 + i)
    return out[-1], out[len(out) // 2], len(out)


@case((1.13, 3), (-0.52, 1), (1.01, 70), second=True)
def read_at_half_in_a_while(x, n):
    out = [x, x * x]
    while len(out) < n:
        out.append(out[len(out) // 2] * x + 0.5 * out[-1])
    return out[-1], out[len(out) // 3]


@case((1.5, 9), (0.5, 1), (0.9, 45), second=True)
def queue_with_a_head(x, n):
    queue, head, total = [x], 0, 0.0
    while head < len(queue):
        v = queue[head]
        head += 1
        total = total + v * v
        if len(queue) < n:
            queue.append(v * 0.5)
            queue.append(v * v * 0.25)
    return total


@case((6,), (1,), (12,))
def stack_of_work(n):
    todo, count = [n], 0
    while len(todo) > 0:
        k = todo.pop()
        count += 1
        if k > 1:
            todo.append(k - 1)
            todo.append(k - 2)
    return count


@case((1.1, 4), (0.7, 9))
def read_in_nested_ranges(x, n):
    out = [x]
    for i in td.range(n):
        for j in td.range(i + 1):
            out.append(out[j] * 0.5 * x + i)
    return out[-1], len(out)


@case((1.1, 4), (0.7, 30))
def read_in_nested_whiles(x, n):
    out, log = [x], []
    while len(out) < n:
        k = 0
        while out[k] < 3 * len(out) and k < n - len(out):
            out.append(out[k] * x + 1)
            k += 1
        out.append(out[-1] * 0.5 + out[k // 2])
        log.append(out[k])
    return out[-1], len(out), td.sum(td.stack(log))


@case((1.1, 6), (0.7, 1))
def read_in_a_loop_in_a_branch(x, n):
    out = [x]
    for i in td.range(n):
        if i % 2 == 1:
            for j in td.range(i):
                out.append(out[j] + x)
        else:
            out.append(out[i // 3] * x)
    return out[-1], len(out)


@case((1.5, 4), (0.3, 2))
def queue_of_tuples(x, n):
    queue, head, total = [(x, 0)], 0, 0.0
    while head < len(queue):
        v, depth = queue[head]
        head += 1
        total = total + v * depth
        if depth < n:
            queue.append((v * 0.5, depth + 1))
            queue.append((v + 1, depth + 1))
    return total


@case(([0.5, -1.0, 2.0, 3.0],), ([-1.0, -2.0, -3.0, 0.5],))
def read_over_what_was_kept(v):
    out = []
    for x in [x for x in v if x > 0]:
        out.append(x if len(out) == 0 else out[len(out) // 2] * x)
    return sum(out), sum([x for x in v if x > 0.6])


@case((1.5, 9), (0.1, 40))
def read_until_break(x, n):
    out = [x]
    for i in td.range(n):
        out.append(out[i // 2] + x)
        out[i // 2] = out[i // 2] * 0.5
        if out[-1] > 4:
            break
    return out[-1], len(out), sum(out)
