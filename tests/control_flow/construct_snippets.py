"""The examples of docs/control_flow.md, one function for each row of the table in `constructs.py`."""

from __future__ import annotations

import contextlib
import time
from typing import NamedTuple

import numpy as np

import treadle as td

LOG: list[str] = []
TABLE = np.zeros(2)
KEPT = None
total = td.Variable(1.0, dtype=td.float64)


# Branches ------------------------------------------------------------------------------------------------------------
def if_elif_else(x):
    if x > 2:
        y = x * 2
    elif x > 1:
        y = x * 3
    else:
        y = -x
    return y


def if_on_python(x, mode="square"):
    if mode == "square":
        return x * x
    return x


def only_one_branch(x):
    if x > 0:
        y = x * 2
    return y


def branch_shapes(v):
    if v[0] > 0:
        y = v[:1]
    else:
        y = v
    return y


def long_condition(v):
    if v > 0:
        return v
    return -v


def conditional(x):
    return x * 2 if x > 1 else -x


def short_circuit(x, y):
    if x > 0 and 1 / x < y + 1:
        return x + y
    return x - y


def chained(x, y):
    if 0 < y < x:
        return x - y
    return y


def match_python(x, mode="twice"):
    match mode:
        case "twice":
            return x * 2
        case _:
            return x


def match_parts(x, y):
    match (x, {"sign": y}):
        case (2.5, {"sign": s}) | (s, {"sign": 2.5}):
            return s * 3
        case (a, {"sign": b}) if b > 1:
            return a * 2
        case (a, _):
            return a - 1


def walrus_in_a_condition(x, y):
    if x > 2 or (z := x + y) > 2:
        return x
    return z


# Loops ---------------------------------------------------------------------------------------------------------------
def while_loop(x):
    while x < 100:
        x = x * 3
    return x


def while_python(x):
    k = 0
    while k < 3:
        x = x * 2
        k += 1
    return x


def for_range(x, n):
    for i in td.range(n):
        x = x * 0.5 + i
    return x


def for_python_range(x, n):
    for i in range(n):
        x = x * 0.5 + i
    return x


def over_tensor(v):
    s = 0.0
    for x in v:
        s = s * 0.5 + x
    return s


def over_zip(v, w):
    s = 0.0
    for i, (x, y) in enumerate(zip(v, w)):
        s = s + i * x * y
    return s


def over_list(v):
    s = 0.0
    for x in [v[0], v[2]]:
        s = s + x * x
    return s


def unrolled(x):
    for i in range(200):
        x = x * 0.5 + i
    return x


def loop_else(x, n):
    for i in td.range(n):
        if x + i > 3:
            break
    else:
        x = x * 10
    return x


def nested_loops(x, n):
    for i in td.range(n):
        for j in td.range(i):
            x = x * 0.9 + j
    return x


def growing_shape(v, n):
    for _ in td.range(n):
        v = np.concatenate([v, v])
    return v


def functional(x, v):
    return td.scan(lambda carry, item: (carry + item, carry * item), x, v)


# Exits ---------------------------------------------------------------------------------------------------------------
def break_loop(x, n):
    for i in td.range(n):
        if x > 2:
            break
        x = x + i
    return x


def continue_loop(x, n):
    for i in td.range(n):
        if i == 1:
            continue
        x = x * 2
    return x


def early_return(x):
    if x > 1:
        return x * x
    y = x + 1
    return y * 2


def return_in_loop(x, n):
    for i in td.range(n):
        x = x * 1.5
        if x > 3:
            return x, i
    return x, -1


def return_or_fall_off(x):
    while x < 3:
        x = x + 1
        if x > 2:
            return x


def raise_in_branch(x):
    if x < 0:
        raise ValueError(f"negative: {x}")
    return x


def assert_fails(x):
    assert x > 2, f"x is {x}"
    return x


def try_finally(x):
    try:
        if x > 1:
            return x * 2
    finally:
        td.print("left with", x)
    return x


def with_block(x):
    with contextlib.nullcontext(2.0) as factor:
        if x > 0:
            return x * factor
    return x


# Names and targets ---------------------------------------------------------------------------------------------------
def targets(x, y):
    if (z := x * 2) > y:
        x, y = y, x
        y += z
    first, *rest = x, y, z
    del z
    return first + rest[0] * rest[1]


def carried_numbers(x, n):
    count, s = 0, 0
    for _ in td.range(n):
        count += 1
        s = s + x
    return count, s


class Pair(NamedTuple):
    a: object
    b: object


def carried_nests(x, n):
    pair, table = Pair(x, x * 2), {"k": (x, 0)}
    for _ in td.range(n):
        pair = Pair(pair.b * 0.5, pair.a)
        table = {"k": (table["k"][0] + 1, table["k"][1] + 1)}
    return pair.a, pair.b, table


def changing_string(x, n):
    name = "a"
    for _ in td.range(n):
        name = name + "b"
        x = x * 2
    return x, name


def none_until_set(v):
    best = None
    for x in v:
        if best is None or x > best:
            best = x
    return best


# Lists and stores ----------------------------------------------------------------------------------------------------
def append_in_loop(v):
    out = []
    for x in v:
        if x > 0:
            out.append(x * 2)
    return td.stack(out), len(out)


def methods_of_grown_lists(v):
    queue, seen = [v[0]], []
    while queue:
        x = queue.pop(0)
        if x not in seen:
            seen.append(x)
            queue += [abs(x - 1.0), x * 0.5 // 0.25 * 0.25]
    seen.sort(key=lambda t: -t)
    return seen, seen.index(v[0]), len(seen), seen == sorted(seen)


def taken_apart(v):
    kept = [x for x in v if x > 0]
    first, second = kept
    return first - second


def append_in_branch(x):
    out = [x]
    if x > 1:
        out.append(x * 2)
    return td.sum(td.stack(out))


def read_while_it_grows(x, n):
    out = [x]
    for i in td.range(n):
        out.append(out[-1] * 0.5 + i)
    return out[-1]


def read_anywhere_while_it_grows(x, n):
    out = [x]
    for i in td.range(n):
        out.append(out[i // 2] * 0.5 + i)
    return out[-1]


def append_in_nested_loops(x, n):
    out, sums = [x], []
    for i in td.range(n + 1):
        row = []
        for j in td.range(i + 1):
            row.append(x * j)
            out.append(x + i)
        sums.append(td.sum(td.stack(row)))
    return td.stack(out), td.stack(sums), len(out)


def item_stores(x, n):
    parts, table = [x, x * 2], {"s": x}
    for i in td.range(n):
        parts[0] = parts[1] * 0.5 + i
        table["s"] += parts[0]
    return parts[0], table["s"]


class Counter:
    def __init__(self, start):
        self.value = start


def attribute_stores(x, n):
    counter = Counter(x)
    for i in td.range(n):
        counter.value = counter.value + i
    return counter.value


def comprehension(v):
    squares = [x * x for x in v]
    return td.stack(squares), sum(v[k] for k in range(2))


def moving_window(v, n):
    total = 0.0
    for i in td.range(n - 1):
        first, second = v[i : i + 2]
        total = total * first + second
    return total


def write_into_tensor(v):
    v = td.asarray(v)
    v[0] = 1.0
    return v


# Functions -----------------------------------------------------------------------------------------------------------
def relu(x):
    if x > 0:
        return x
    return x * 0


def callees(x):
    return relu(x) + relu(-x)


def closures(x):
    s = x * 0

    def add(t):
        nonlocal s
        if t > 0:
            s = s + t

    add(x)
    add(-x)
    return s + (lambda t: t if t > 2 else t * 2)(x)


class Base:
    def act(self, x):
        return x * 2 if x > 0 else x


class Derived(Base):
    @property
    def one(self):
        return 1.0

    def act(self, x):
        y = super().act(x)
        return y - self.one if y > 1 else y


def methods(x):
    return Derived().act(x)


class Sized:
    def __init__(self, value):
        self.value = value

    @property
    def size(self):
        return self.value if self.value > 0 else -self.value


def property_with_if(x):
    return Sized(x).size


def power(x, k):
    return x * power(x, k - 1) if k else x * 0 + 1


def recursion(x):
    return power(x, 3)


def builtins(x, y):
    return max(x, y) - min(x, y, 1.0), abs(-x), sum([x, y]), divmod(x, y)


# Effects -------------------------------------------------------------------------------------------------------------
def prints(x, n):
    for i in td.range(n):
        if i > 0:
            td.print("round", i)
    td.print("x is", x)
    return x


def assigns(x, n):
    for _ in td.range(n):
        total.assign_add(x)
    return total * 2


def random_numbers(n):
    td.random.seed(5)
    s = td.zeros((), dtype=td.float64)
    for _ in td.range(n):
        s = s + td.random.uniform((), dtype=td.float64)
    return s


def print_symbol(x):
    print("x is", x)
    return x


def frozen_clock(x):
    return x + time.time() * 0


def outer_array_write(x):
    TABLE[0] = 1.0
    return x


def caught_at_run_time(x):
    try:
        if x < 0:
            raise ValueError("negative")
    except ValueError:
        x = -x
    return x


def outer_write(x):
    LOG.append("called")
    return x


def leak(x):
    global KEPT
    KEPT = x * 2
    return x


def argument_changed(items):
    items.append(1.0)
    return items[0]


def growing_as_declared(x, n):
    xs = td.zeros((1,), dtype=td.float64)
    for _ in td.range(n):
        td.set_shape_invariant(xs, (None,))
        xs = td.concat([xs, td.reshape(x, (1,))])
    return td.sum(xs)


def array_store(x):
    seen = np.zeros(2)
    if x > 0:
        seen[0] = 1.0
    return x + seen[0]


def datasets_of_many_shapes(x):
    rows = td.data.Dataset.from_tensor_slices(np.arange(7.0)).batch(3).repeat(2)
    for row in rows:
        x = x + td.sum(row)
    return x
