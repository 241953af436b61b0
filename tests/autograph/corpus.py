"""Functions with control flow, each with arguments to try: `CASES` holds (function, list of argument tuples)."""

from __future__ import annotations

import contextlib
import functools

CASES = []
STAGEABLE = []  # those that must also work when their arguments are traced
INTS = [(-3,), (0,), (1,), (2,), (5,), (8,)]
PAIRS = [(0, 0), (1, 2), (3, 1), (-2, 5), (7, 7), (4, -4)]


def case(*arguments, staged=False):
    def add(function):
        CASES.append((function, list(arguments)))
        if staged:
            STAGEABLE.append((function, list(arguments)))
        return function

    return add


# Branches ------------------------------------------------------------------------------------------------------------
@case(*INTS, staged=True)
def if_only(x):
    y = 1
    if x > 1:
        y = x * 2
    return y


@case(*INTS, staged=True)
def if_else(x):
    if x > 1:
        y = x
    else:
        y = -x
    return y


@case(*INTS, staged=True)
def elif_chain(x):
    if x < 0:
        s = -1
    elif x == 0:
        s = 0
    elif x < 3:
        s = 1
    else:
        s = 2
    return s + x


@case(*INTS, staged=True)
def early_return(x):
    if x < 0:
        return -x
    return x + 1


@case(*INTS, staged=True)
def early_returns(x):
    if x < 0:
        return -x
    if x == 0:
        return 100
    if x > 6:
        return 7 * x
    y = x * x
    return y + 1


@case(*INTS)
def falls_off(x):
    if x > 1:
        return x


@case(*INTS, staged=True)
def nested_partial_return(x):
    y = 0
    if x > 0:
        if x > 4:
            return 40 + x
        y = x
    y = y + 1
    y = y * 2
    y = y + 3
    y = y * 4
    y = y - x
    return y


@case(*INTS, staged=True)
def nested_partial_return_short(x):
    y = 0
    if x > 0:
        if x > 4:
            return 40 + x
        y = x
    return y


@case(*INTS, staged=True)
def else_partial_return(x):
    if x > 1:
        y = 1
    elif x > -1:
        return x - 10
    else:
        y = 2
    a = y + 1
    b = a * x
    c = b - a
    d = c + 2
    e = d * d
    return e


@case(*INTS)
def one_side_only(x):
    if x > 1:
        y = x
    return y


@case(*INTS, staged=True)
def one_side_unused(x):
    z = x + 1
    if x > 1:
        y = x
        z = y + z
    return z


@case(*INTS, staged=True)
def written_and_read_inside(x):
    t = x + 1
    if x > 1:
        t = t * 2
        r = t
    else:
        r = t - 1
    return r


@case(*INTS)
def none_test(x, y=None):
    if y is None:
        y = x
    if y is not None and x > 2:
        return y * 2
    return y


@case(*INTS, staged=True)
def if_with_temp(x):
    if x > 1:
        a = x * 2
        b = a + 1
        out = b
    else:
        c = x - 1
        out = c
    return out


@case(*INTS)
def unbound_elsewhere(x):
    if x > 1:
        del x
    return x


@case(*INTS)
def delete_then_set(x):
    y = x
    del y
    if x > 1:
        y = 3
    else:
        y = 4
    return y


@case(*INTS)
def delete_twice(x):
    y = 1
    if x > 1:
        del y
    del y
    return x


@case(*INTS)
def aug_unbound(x):
    if x > 1:
        total = 0
    total += x
    return total


# Loops ---------------------------------------------------------------------------------------------------------------
@case(*INTS, staged=True)
def while_sum(n):
    s = 0
    i = 0
    while i < n:
        s = s + i
        i = i + 1
    return s


@case(*INTS, staged=True)
def collatz(n):
    steps = 0
    while n > 1:
        if n % 2 == 0:
            n = n // 2
        else:
            n = 3 * n + 1
        steps += 1
    return steps


@case(*INTS, staged=True)
def while_break(n):
    i = 0
    while True:
        if i >= n:
            break
        i = i + 1
    return i


@case(*INTS, staged=True)
def while_continue(n):
    i = 0
    s = 0
    while i < n:
        i = i + 1
        if i % 2 == 0:
            continue
        s = s + i
    return s


@case(*INTS, staged=True)
def while_return(n):
    i = 0
    while i < 10:
        if i * i > n:
            return i * 100
        i = i + 1
    return -1


@case(*INTS, staged=True)
def while_true_return(n):
    i = 0
    while True:
        i = i + 1
        if i > n:
            return i


@case(*INTS, staged=True)
def while_else(n):
    i = 0
    while i < 6:
        if i == n:
            r = 1
            break
        i = i + 1
    else:
        r = 2
    return r + i


@case(*INTS)
def while_walrus(n):
    log = []
    while (m := n - len(log)) > 0:
        if m == 3:
            log.append("three")
            continue
        if m == 7:
            break
        log.append(m)
    return log, m


@case(*INTS, staged=True)
def for_range(n):
    s = 0
    for i in range(4):
        s = s + i * n
    return s, i


@case(*INTS)
def for_range_unset(n):
    for i in range(n):
        pass
    return i


@case(*INTS, staged=True)
def for_break(n):
    s = 0
    for i in range(5):
        if i > n:
            break
        s = s + i
    return s


@case(*INTS, staged=True)
def for_continue(n):
    s = 0
    for i in range(5):
        if i == n:
            continue
        s = s + i
    return s


@case(*INTS, staged=True)
def for_return(n):
    for i in range(5):
        if i == n:
            return i + 50
    return -1


@case(*INTS, staged=True)
def for_else(n):
    for i in range(5):
        if i == n:
            break
    else:
        return 99
    return i


@case(*INTS)
def for_tuple_target(n):
    out = []
    for a, (b, *c) in [(1, (2, 3, 4)), (n, (n, n))]:
        out.append((a, b, c))
    return out, a, b, c


@case(*INTS)
def for_attribute_target(n):
    class Box:
        pass

    box = Box()
    d = {}
    for box.x in range(3):
        for d["k"] in range(n):
            pass
    return box.x, d


@case(*PAIRS, staged=True)
def nested_loops(a, b):
    total = 0
    i = 0
    while i < 4:
        j = 0
        while j < 4:
            if j > a:
                break
            if i == b:
                j = j + 2
                continue
            total = total + i * j
            j = j + 1
        i = i + 1
    return total


@case(*PAIRS, staged=True)
def nested_return(a, b):
    for i in range(4):
        for j in range(4):
            if i * j > a:
                return i * 10 + j
            if j == b:
                break
        else:
            continue
        if i > 2:
            break
    return -5


@case(*PAIRS, staged=True)
def loop_with_branches(a, b):
    x = a
    for i in range(6):
        if x > b:
            x = x - 2
            if x % 2 == 0:
                x = x - 1
            else:
                x = x + i
        elif x < -b:
            x = x + 3
    return x


@case(*INTS)
def for_over_iterator(n):
    it = iter(range(10))
    for i in it:
        if i == n:
            break
    return list(it)


@case(*INTS)
def for_modifies_list(n):
    xs = [1, 2]
    for x in xs:
        if len(xs) < n:
            xs.append(x)
    return xs


@case(*INTS, staged=True)
def loop_local_temp(n):
    s = 0
    for i in range(3):
        t = i * n
        if t > 2:
            t = t - 1
        s = s + t
    return s


@case(*INTS, staged=True)
def set_in_loop(n):
    y = 0
    for i in range(3):
        y = i + n
        z = y * 2
    return z


@case(*INTS)
def break_in_try(n):
    log = []
    for i in range(5):
        try:
            if i == n:
                break
            log.append(i)
        finally:
            log.append("f")
    return log


@case(*INTS)
def continue_in_with(n):
    log = []
    for i in range(5):
        with contextlib.ExitStack() as stack:
            stack.callback(log.append, "x")
            if i == n:
                continue
            log.append(i)
    return log


@case(*INTS)
def return_in_with(n):
    with contextlib.nullcontext(n) as m:
        if m > 1:
            return m * 2
        m = m + 1
    return m


@case(*INTS)
def return_always_in_with(n):
    with contextlib.nullcontext(n) as m:
        if m > 1:
            return m * 2
        else:
            return -m


@case(*INTS)
def suppressed(n):
    y = 0
    for i in range(3):
        with contextlib.suppress(ZeroDivisionError):
            y = i / n
            z = y
        if n == 0:
            z = i
    return y, z


@case(*INTS)
def suppressed_return(n):
    with contextlib.suppress(ZeroDivisionError):
        if n < 5:
            return 1 / n
        return 1 / (n - 5)
    return "swallowed"


# Exceptions ----------------------------------------------------------------------------------------------------------
@case(*INTS)
def try_except(n):
    try:
        if n > 0:
            y = 10 / (n - 1)
        else:
            y = 0
    except ZeroDivisionError as error:
        y = str(error)
    else:
        y = y + 1
    finally:
        n = n + 1
    return y, n


@case(*INTS)
def write_before_raise(n):
    x = 0
    try:
        if n > 1:
            x = 5
            raise ValueError("five")
    except ValueError:
        pass
    return x


@case(*INTS)
def loop_write_before_raise(n):
    x = 0
    try:
        for i in range(4):
            x = x + i
            if i == n:
                raise KeyError(i)
    except KeyError as e:
        return x, e.args
    return x


@case(*INTS)
def return_in_try(n):
    try:
        if n == 0:
            return "zero"
        for i in range(3):
            if i == n:
                return i / (n - 1)
    except ZeroDivisionError:
        return "division"
    finally:
        n = 5
    return n


@case(*INTS)
def try_else_skipped(n):
    log = []
    for i in range(3):
        try:
            if i == n:
                continue
        except ValueError:
            log.append("no")
        else:
            log.append(i)
    return log


@case(*INTS)
def return_in_finally(n):
    try:
        if n > 1:
            raise ValueError
    finally:
        if n > 2:
            return "swallowed"
    return n


@case(*INTS)
def handler_name_unbound(n):
    try:
        1 / n
    except ZeroDivisionError as e:
        str(e)
    if n == 5:
        e = 3
    return e


@case(*INTS)
def reraise(n):
    try:
        [][n]
    except IndexError:
        if n > 1:
            raise
        return "caught"


@case(*INTS)
def raise_from(n):
    try:
        1 / n
    except ZeroDivisionError as e:
        raise ValueError("bad") from e
    return n


@case(*INTS)
def assertion(n):
    assert n > 0, f"n is {n}"
    assert n != 5
    return n


@case(*INTS)
def assertion_message_lazy(n):
    log = []
    assert n < 100, log.append(1)
    return log


# Expressions ---------------------------------------------------------------------------------------------------------
@case(*PAIRS, staged=True)
def boolean_operators(a, b):
    if a > 0 and b > 0 or not a < 3:
        return a + b
    return a - b


@case(*PAIRS)
def operators_give_operands(a, b):
    return (a or b), (a and b), (not a), (a or b or "none"), (a and b and "both")


@case(*PAIRS)
def short_circuit(a, b):
    log = []

    def note(x):
        log.append(x)
        return x

    r = note(a) and note(b) and note(3)
    s = note(a) or note(b) or note(4)
    return r, s, log


@case(*PAIRS, staged=True)
def chained(a, b):
    return (-3 < a < b), (a <= b <= 5 < 9)


@case(*PAIRS)
def chained_once(a, b):
    log = []

    def note(x):
        log.append(x)
        return x

    r = note(a) < note(b) <= note(5) != note(6)
    return r, log, a in [1, 2] in [[a]], a is a is not None


@case(*PAIRS, staged=True)
def conditional(a, b):
    return (a if a > b else b) - (0 if a else 1)


@case(*PAIRS)
def conditional_lazy(a, b):
    return a / b if b else a


@case(*PAIRS, staged=True)
def lambda_inside(a, b):
    f = lambda x, y=b: x if x > y else y + 1
    return f(a), f(b, a)


@case(*PAIRS)
def walrus_in_if(a, b):
    if (n := a + b) > 3:
        n = n + 1
        return n
    if a > 0 and (m := b) > 1:
        return m, n
    return n


@case(*PAIRS)
def walrus_in_test_only_inside(a, b):
    r = 0
    if (n := a + b) > 3:
        n = n + 1
        r = n
    return r


@case(*INTS)
def comprehensions(n):
    xs = [i if i > 1 else -i for i in range(n) if i != 3 and i < 7]
    d = {k: [j for j in range(k)] for k in xs if k > 0}
    s = {x for x in xs}
    g = sum(x for x in xs)
    return xs, d, s, g


@case(*INTS)
def comprehension_walrus(n):
    out = [y := i * n for i in range(3)]
    return out, y


@case(*INTS)
def generator_expression_late(n):
    k = 1
    g = (i * k for i in range(3))
    if n > 1:
        k = 5
    return list(g)


@case(*INTS)
def star_arguments(n):
    def f(*args, **kwargs):
        return args, kwargs

    xs = [1, n]
    return f(*xs, 3, *xs, a=1, **{"b": n})


@case(*INTS)
def slices_and_fstrings(n):
    xs = list(range(10))
    if n > 0:
        xs[1:n] = [0]
        xs[-1] += n
    return xs, f"{n if n > 1 else 'small'!r:>{8}}"


@case(*INTS)
def global_names(n):
    global COUNTER
    COUNTER = 1
    if n > 1:
        COUNTER = COUNTER + n
    for i in range(n):
        COUNTER += 1
    return COUNTER


@case(*INTS)
def global_unset(n):
    global MISSING_NAME
    if n > 1:
        MISSING_NAME = 3
        r = MISSING_NAME
        del MISSING_NAME
    else:
        r = 0
    return r, "MISSING_NAME" in globals()


@case(*INTS)
def annotated(n):
    x: int
    y: int = n
    if n > 1:
        x: int = y
    else:
        x = 0
    return x


@case(*INTS)
def imports(n):
    if n > 1:
        import math as m
        from os import path

        return m.floor(n + 0.5), path.basename("a/b")
    import os.path

    return os.path.basename("c/d")


@case((0,), (1,), ([1, 2],), ({"k": 3},), ("s",), ([1, 2, 3],))
def matching(v):
    match v:
        case 0:
            r = "zero"
        case [a, b]:
            if a < b:
                return a, b
            r = "pair"
        case {"k": k}:
            r = k
        case [x, *rest] if len(rest) > 1:
            return x, rest
        case _:
            return "other"
    return r


# Functions inside ----------------------------------------------------------------------------------------------------
@case(*INTS)
def closures(n):
    k = 1

    def read():
        return k

    if n > 1:
        k = n
        first = read()
    else:
        first = 0
    for k in range(3):
        pass
    return first, read()


@case(*INTS)
def nonlocal_counter(n):
    count = 0

    def bump(by=1, *, twice=False):
        nonlocal count
        if twice:
            by = by * 2
        while by > 0:
            count += 1
            by -= 1
        return count

    if n > 1:
        bump(n)
        count = count + 100
        bump(2, twice=True)
    return count, bump()


@case(*INTS)
def late_binding(n):
    fs = []
    for i in range(3):
        t = i * n
        fs.append(lambda: (i, t))
    return [f() for f in fs]


@case(*INTS)
def closure_unbound(n):
    def read():
        return y

    if n > 1:
        y = n
    return read()


@case(*INTS)
def recursion(n):
    def fact(k):
        if k <= 1:
            return 1
        return k * fact(k - 1)

    return fact(n)


@case(*INTS)
def inner_function_in_branch(n):
    if n > 1:

        def f(x):
            if x > 2:
                return x
            return 2

    else:

        def f(x):
            return -x

    return f(n)


@case(*INTS)
def inner_generator(n):
    def gen(k):
        for i in range(k):
            if i == 2:
                return
            yield i

    return list(gen(n))


@case(*INTS)
def inner_class(n):
    class Point:
        def __init__(self, x):
            self.x = x if x > 1 else 0

        def double(self):
            for _ in range(2):
                self.x = self.x + n
            return self.x

    p = Point(n)
    if n > 2:
        p.x = 1
    return p.double()


def decorator(f):
    @functools.wraps(f)
    def wrapper(*args):
        if args[0] > 3:
            return "big", f(*args)
        return f(*args)

    return wrapper


@case(*INTS)
def decorated_inner(n):
    @decorator
    def f(x):
        return x if x > 1 else -x

    return f(n)


@case(*INTS)
def wrapped_callee(n):
    return decorated_helper(n)


@decorator
def decorated_helper(x):
    while x > 2:
        x = x - 1
    return x


@case((1,), (1, 2), (0, 1, 2))
def many_parameters(a, b=2, *rest, c=3, **more):
    if a:
        b = b + c
    for r in rest:
        b += r
    return a, b, rest, c, more


# Methods -------------------------------------------------------------------------------------------------------------
class Base:
    factor = 2

    def __init__(self, x):
        self.x = x
        self.__secret = x

    def value(self):
        if self.x > 1:
            return self.x * self.factor
        return 0

    @classmethod
    def make(cls, x):
        if x < 0:
            x = -x
        return cls(x)

    @staticmethod
    def static(x):
        return x if x > 2 else 2

    @property
    def prop(self):
        if self.x > 3:
            return "big"
        return "small"

    def secret(self):
        if self.x > 1:
            self.__secret = self.__secret + 1
        return self.__secret

    def __call__(self, y):
        return self.value() if y else -1


class Derived(Base):
    def value(self):
        if self.x > 2:
            v = super().value()
        else:
            v = super(Derived, self).value() - 1
        for _ in range(2):
            v = v + super().value()
        return v

    def klass(self):
        if self.x:
            return __class__.__name__
        return None


@case(*INTS)
def use_methods(n):
    a = Base(n)
    b = Derived.make(n)
    return a.value(), b.value(), b.klass(), Base.static(n), a.prop, a.secret(), b(n), b(0)


@case(*INTS)
def partials(n):
    f = functools.partial(many_parameters, n, c=n)
    return f(), functools.partial(Base(n))(n), max(map(lambda v: v if v else 1, [n, 0]))


@case(*INTS)
def sorted_with_key(n):
    return sorted([3, n, 1], key=lambda v: -v if v > 2 else v)


@case(*INTS)
def while_with_lists(n):
    stack = [n]
    out = []
    while stack:
        top = stack.pop()
        if top <= 0 or len(out) > 20:
            continue
        out.append(top)
        stack.extend([top - 1, top - 2])
    return out


@case(*INTS)
def conditional_return_none(n):
    if n > 2:
        return
    elif n == 0:
        return None
    print(end="")
    return n


@case(*INTS, staged=True)
def docstring_and_pass(n):
    """Says something."""
    if n > 1:
        pass
    else:
        ...
    return n


@case(*PAIRS, staged=True)
def swap(a, b):
    if a > b:
        a, b = b, a
    while a < b:
        a, b = a + 1, b - 1
    return a, b


@case(*PAIRS, staged=True)
def gcd(a, b):
    a = abs(a)
    b = abs(b)
    while b > 0:
        a, b = b, a % b
    return a


@case(*INTS, staged=True)
def returns_in_nested_branches(x):
    if x > 0:
        if x > 4:
            return 1
        else:
            return 2
    else:
        if x < -1:
            return 3
    return 4


@case(*INTS, staged=True)
def bool_result(x):
    found = False
    for i in range(4):
        if i == x:
            found = True
    return found


@case(*INTS, staged=True)
def while_and(x):
    i = 0
    while i < 5 and not i == x:
        i += 1
    return i


@case(*INTS)
def module_recursion(n):
    if n <= 1:
        return 1
    return n * module_recursion(n - 1)


class Tree:
    def depth(self, n):
        if n > 1:
            return 1 + Tree().depth(n - 1)
        return 0


@case(*INTS)
def class_recursion(n):
    return Tree().depth(n)
