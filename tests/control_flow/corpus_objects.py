"""Corpus: methods, properties, closures, callees, dataclasses and other objects."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field, replace
from typing import Any

from corpus_cases import Static, case

import treadle as td

XS = [(1.53,), (-0.77,)]
XN = [(1.53, 3), (-0.52, 0)]
LIMIT = 1.25


class Base:
    def __init__(self, scale=2.0):
        self.scale = scale

    def act(self, x):
        if x > 0:
            return x * self.scale
        return x

    @property
    def half(self):
        return self.scale / 2


class Derived(Base):
    def act(self, x):
        y = super().act(x)
        if y > 1:
            return y - self.half
        return y

    @staticmethod
    def clamp(x):
        return x if x < LIMIT else x * 0 + LIMIT

    @classmethod
    def shift(cls, x):
        return x + 1 if x < 0 else x

    def __call__(self, x):
        for _ in td.range(2):
            x = self.act(x) * 0.5
        return x


@case(*XS, made=True)
def a_method():
    return Base().act


@case(*XS, made=True)
def a_method_that_calls_super():
    return Derived(3.0).act


@case(*XS, made=True)
def a_callable_object():
    return Derived(3.0)


@case(*XS)
def static_and_class_methods(x):
    return Derived.clamp(x) * Derived.shift(x)


@case(*XS)
def object_made_inside(x):
    thing = Derived(1.5)
    return thing(x) if x > 0 else thing.act(x) + thing.half


@case(*XS, made=True)
def a_partial():
    def f(k, x, power=1.0):
        if x > k:
            return x * power
        return x - k

    return functools.partial(f, 0.5, power=3.0)


@case(*XS, made=True)
def a_closure():
    factor = 2.0

    def f(x):
        if x > 0:
            return x * factor
        return x - factor

    return f


@case(*XN, made=True)
def a_closure_of_a_closure():
    a = 0.5

    def make(b):
        def f(x, n):
            for i in td.range(n):
                x = x * a + b if x > 0 else x + i
            return x

        return f

    return make(0.25)


def keep(function):
    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        result = function(*args, **kwargs)
        if result > 1:
            return result * 0.5
        return result

    return wrapper


@keep
def decorated(x):
    if x > 0:
        return x * 2
    return x


@case(*XS)
def a_decorated_callee(x):
    return decorated(x) + 1


@case(*XS, made=True)
def a_decorated_function():
    @keep
    def f(x):
        return x * 3 if x > 0 else -x

    return f


@td.function
def compiled_callee(x, n):
    for _ in td.range(n):
        if x > 1:
            x = x * 0.5
        else:
            x = x + 0.75
    return x


@case(*XN)
def a_traced_callee(x, n):
    return compiled_callee(x, n) * compiled_callee(x * 2, n)


@dataclass(frozen=True)
class Body:
    position: Any
    velocity: Any
    name: str = "body"


@case(*XN)
def a_dataclass_through_a_loop(x, n):
    body = Body(x, x * 0 + 1)
    for _ in td.range(n):
        body = Body(body.position + 0.1 * body.velocity, body.velocity - 0.1 * body.position)
    return body.position, body.velocity


@case(*XN)
def a_replaced_dataclass(x, n):
    body = Body(x, x * 2)
    for _ in td.range(n):
        body = replace(body, position=body.velocity * 0.5)
    if x > 0:
        body = replace(body, velocity=x)
    return body.position - body.velocity


@dataclass
class Counter:
    total: Any
    seen: list = field(default_factory=list)

    def add(self, x):
        self.total = self.total + x


@case(*XS)
def an_object_changed_by_its_methods(x):
    counter = Counter(x * 0)
    for k in range(3):
        counter.add(x * k)
    return counter.total if x > 0 else -counter.total


@case(*XN)
def an_attribute_set_in_a_loop(x, n):
    counter = Counter(x * 0)
    for i in td.range(n):
        counter.total = counter.total + x * i
    return counter.total


@case(*XN)
def an_attribute_set_in_a_branch(x, n):
    counter = Counter(x)
    if x > 0:
        counter.total = x * n
    return counter.total


@case(*XN)
def a_method_that_stores_in_a_loop(x, n):
    counter = Counter(x * 0)
    for i in td.range(n):
        counter.add(x * i)
    return counter.total


@case((1.5, Static((0.5, 2.0))), (-1.0, Static((0.25,))))
def star_arguments(x, factors):
    def combine(first, *rest, scale=1.0, **more):
        total = first
        for r in rest:
            total = total * r if total > 0 else total + r
        return total * scale + more.get("shift", 0.0)

    return combine(x, *factors, scale=2.0, shift=0.5)


@case(*XS)
def default_arguments(x):
    def f(t, k=2.0, *, up=True):
        if up and t > 0:
            return t * k
        return t / k

    return f(x) + f(x, 3.0) + f(x, up=False)


@case(*XS)
def functions_in_a_table(x):
    table = {"twice": lambda t: t * 2 if t > 1 else t, "minus": lambda t: -t}
    y = x
    for name in ("twice", "minus"):
        y = table[name](y)
    return y


@case(*XS)
def function_as_argument(x):
    def apply(f, t, times):
        for _ in range(times):
            t = f(t)
        return t

    return apply(lambda t: t * 0.5 if t > 0.5 else t + 1, x, 3)


@case(*XN)
def function_as_argument_of_a_staged_loop(x, n):
    def repeat(f, t, times):
        for _ in td.range(times):
            t = f(t)
        return t

    return repeat(lambda t: t * 0.5 if t > 0.5 else t + 1, x, n)


@case(*XS)
def map_over_a_python_list(x):
    return sum(map(lambda k: x * k if x > 0 else x + k, [1.0, 2.0]))


@case(*XS)
def property_of_tensors(x):
    class Holder:
        def __init__(self, value):
            self.value = value

        @property
        def doubled(self):
            return self.value * 2

        def size(self):
            return self.doubled if self.doubled > 0 else -self.value

    return Holder(x).size() * 2


@case(*XS)
def operators_of_ones_own(x):
    class Dual:
        def __init__(self, value, slope):
            self.value, self.slope = value, slope

        def __mul__(self, other):
            return Dual(self.value * other.value, self.slope * other.value + self.value * other.slope)

        def __add__(self, other):
            return Dual(self.value + other, self.slope)

    d = Dual(x, 1.0)
    y = d * d + 3.0
    return y.slope if y.value > 4 else y.value


@case(*XN)
def td_grad_inside_a_loop(x, n):
    def energy(t):
        return t * t * t if t > 0 else t * t

    x = td.asarray(x)
    for _ in td.range(n):
        x = x - 0.1 * td.grad(energy)(x)
    return x
