"""What can be decorated: methods, class and static methods, lambdas, callable objects, partials; copies and pickles."""

import copy
import functools
import gc
import inspect
import pickle
import weakref

import numpy as np
import pytest

import treadle as td


@td.function
def module_level(x, y=1):
    """Adds."""
    return x + y


class Model:
    def __init__(self, scale):
        self.scale = scale

    @td.function
    def apply(self, x, times=1):
        """Scales."""
        return x * self.scale * times

    @classmethod
    @td.function
    def make(cls, x):
        return x + len(cls.__name__)

    @staticmethod
    @td.function
    def add(x, y):
        return x + y

    @td.function
    @staticmethod
    def subtract(x, y):
        return x - y


def test_wrapper_attributes():
    assert module_level.__name__ == "module_level"
    assert module_level.__doc__ == "Adds."
    assert module_level.__module__ == __name__
    assert str(inspect.signature(module_level)) == "(x, y=1)"
    assert module_level.python_function(1, 2) == 3


def test_each_instance_has_its_own_traces():
    a, b, x = Model(2.0), Model(3.0), td.asarray(1.0)
    assert a.apply(x).item() == 2.0
    assert b.apply(x, times=2).item() == 6.0
    assert b.apply(x).item() == 3.0
    assert (a.apply.trace_count, b.apply.trace_count, Model.apply.trace_count) == (1, 2, 0)
    assert repr(a.apply).startswith("<function apply(x, times) [test_methods.py:")
    assert a.apply == a.apply
    assert a.apply != b.apply
    assert a.apply.__self__ is a
    assert Model.apply(a, x).item() == 2.0


def test_instances_are_not_kept_alive():
    a = Model(2.0)
    a.apply(td.asarray(1.0))
    ref = weakref.ref(a)
    del a
    gc.collect()
    assert ref() is None
    assert len(Model.apply._instances) == len([e for e in Model.apply._instances.values() if e[0]() is not None])


def test_instances_with_slots():
    class Slotted:
        __slots__ = ("n",)

        def __init__(self, n):
            self.n = n

        @td.function
        def get(self, x):
            return x * self.n

    a, b = Slotted(2), Slotted(3)
    assert a.get(td.asarray(1)).item() == 2
    assert b.get(td.asarray(1)).item() == 3
    a.n = 5
    assert a.get(td.asarray(1)).item() == 5


def test_class_and_static_methods():
    x = td.asarray(1.0)
    assert Model.make(x).item() == Model(1.0).make(x).item() == 6.0
    assert Model.add(x, x).item() == Model(1.0).add(x, x).item() == 2.0
    assert Model.subtract(x, x).item() == Model(1.0).subtract(x, x).item() == 0.0


def test_lambdas_callable_objects_partials_and_bound_methods():
    class Scale:
        def __init__(self, n):
            self.n = n

        def __call__(self, x):
            return x * self.n

        def twice(self, x):
            return self(x) * 2

    scale, x = Scale(3.0), td.asarray(2.0)
    f = td.function(scale)
    assert f(x).item() == 6.0
    scale.n = 4.0
    assert f(x).item() == 8.0
    assert repr(f).startswith("<function Scale(x) [")
    assert td.function(scale.twice)(x).item() == 16.0
    assert td.function(lambda x: x + 1)(x).item() == 3.0
    assert td.function(functools.partial(module_level.python_function, y=5))(x).item() == 7.0
    assert td.function(name="named")(lambda x: x)(x).item() == 2.0
    assert "named" in repr(td.function(lambda x: x, name="named"))
    assert td.function(np.tanh)(td.asarray(0.0)).item() == td.function(td.tanh)(td.asarray(0.0)).item() == 0.0

    def steps(x):
        yield x

    with pytest.raises(td.errors.TraceError, match="steps is a generator"):
        td.function(steps)(x)
    with pytest.raises(TypeError, match="takes a function"):
        td.function(3)


def test_decorating_twice_is_decorating_once():
    again = td.function(module_level, name="again")
    assert again(td.asarray(1.0)).item() == 2.0
    assert again.python_function is module_level.python_function


def test_pickle_and_copies():
    assert pickle.loads(pickle.dumps(module_level)) is module_level
    fresh = copy.deepcopy(module_level)
    module_level(td.asarray(1.0))
    assert fresh.trace_count == 0
    assert fresh(td.asarray(1.0)).item() == 2.0
    model = Model(2.0)
    model.apply(td.asarray(1.0))
    twin = copy.deepcopy(model)
    twin.scale = 5.0
    assert twin.apply(td.asarray(1.0)).item() == 5.0
    assert pickle.loads(pickle.dumps(model)).apply(td.asarray(1.0)).item() == 2.0
    assert pickle.loads(pickle.dumps(model.apply))(td.asarray(1.0)).item() == 2.0


def test_inherited_method_called_through_super_in_a_traced_one():
    class Child(Model):
        @td.function
        def apply(self, x, times=1):
            return super().apply(x, times) + 1

    child = Child(2.0)
    assert child.apply(td.asarray(1.0)).item() == 3.0
    child.scale = 4.0
    assert child.apply(td.asarray(1.0)).item() == 5.0
