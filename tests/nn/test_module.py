"""Modules: search order, names, versions, copies."""

import copy
import gc
import pickle
import weakref

import numpy as np
import pytest

import treadle as td


class Affine(td.Module):
    def __init__(self, n_in, n_out, name=None):
        super().__init__(name=name)
        self.w = td.Variable(np.ones((n_in, n_out), np.float32), name="w")
        self.b = td.Variable(np.zeros(n_out, np.float32), name="b")

    def __call__(self, x):
        return x @ self.w + self.b


class Pair(td.Module):
    def __init__(self):
        super().__init__()
        self.dense_1 = Affine(3, 3)
        self.dense_2 = Affine(3, 2)

    def __call__(self, x):
        return self.dense_2(self.dense_1(x))


class Scale(td.Module):
    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def __call__(self, x):
        return x * self.factor


def test_variables_come_layer_by_layer_sorted_by_name():
    model = Pair()
    assert model(td.asarray([[2.0, 2.0, 2.0]])).shape == (1, 2)
    assert [v.shape for v in model.variables] == [(3,), (3, 3), (2,), (3, 2)]
    assert model.submodules == (model.dense_1, model.dense_2)
    assert model.trainable_variables == model.variables


def test_lists_tuples_dicts_and_shared_objects_are_searched_once():
    shared = td.Variable(1.0, name="shared")
    inner = Affine(1, 1)
    model = td.Module()
    model.z = {"b": shared, "a": td.Variable(2.0, name="a")}
    model.a = [inner, (shared, inner)]
    assert [v.name for v in model.variables] == ["affine/b", "affine/w", "shared", "a"]
    assert model.submodules == (inner,)


def test_variables_and_modules_are_noticed_wherever_they_appear():
    model = td.Module()
    model.layers = []
    assert model.variables == ()
    model.layers.append(Affine(2, 2))
    assert len(model.variables) == 2
    model.layers[0].extra = td.Variable(1.0)
    assert len(model.variables) == 3
    del model.layers[0].extra
    model.layers.clear()
    assert model.variables == () and model.submodules == ()


def test_replacing_a_variable_by_a_constant_drops_it():
    layer = Affine(2, 2)
    layer.w = td.ones((2, 2))
    assert layer.variables == (layer.b,)


def test_untrainable_variables_and_modules_are_left_out():
    model = Pair()
    model.steps = td.Variable(0, trainable=False)
    assert len(model.variables) == 5 and len(model.trainable_variables) == 4
    model.dense_1.trainable = False
    assert model.trainable_variables == (model.dense_2.b, model.dense_2.w)


def test_names_carry_the_scope():
    class DemoModule(td.Module):
        def __init__(self):
            super().__init__()
            with self.name_scope:
                self.x = td.Variable(1.0, name="x")
                self.y = td.Variable(1.0)
            self.z = td.Variable(1.0)

    demo = DemoModule()
    assert [v.name for v in demo.variables] == ["demo_module/x", "demo_module/y", "demo_module/z"]
    assert demo.name_scope.name == "demo_module" and demo.submodules == ()
    with td.Module(name="outer").name_scope, td.Module(name="inner").name_scope:
        assert td.Variable(1.0, name="v").name == "outer/inner/v"
    assert td.Variable(1.0, name="v").name == "v"


def test_module_by_attributes():
    module = td.Module()
    module.x = td.Variable(0.0)

    @td.function
    def add(a):
        module.x.assign_add(a)
        return module.x

    assert add(td.asarray(1.0)).item() == 1.0
    assert module.x.numpy() == 1.0


def versions_of(module, change):
    before = module.__treadle_version__
    change()
    return module.__treadle_version__ - before


def test_version_changes_with_the_configuration_only():
    model = Pair()
    model.rates = [0.1, 0.2]
    assert versions_of(model, lambda: model.dense_1.w.assign(np.zeros((3, 3), np.float32))) == 0
    assert versions_of(model, lambda: setattr(model.dense_1, "flag", True)) > 0
    assert versions_of(model, lambda: setattr(model.dense_1, "flag", True)) == 0
    assert versions_of(model, lambda: setattr(model.dense_1, "flag", 1)) > 0
    assert versions_of(model, lambda: setattr(model.dense_2, "w", td.Variable(np.ones((3, 2), np.float32)))) > 0
    assert versions_of(model, lambda: model.rates.append(0.3)) > 0
    assert versions_of(model, lambda: model.rates.__setitem__(0, 0.5)) > 0
    assert versions_of(model, lambda: delattr(model.dense_1, "flag")) > 0
    assert versions_of(model, lambda: setattr(Pair(), "other", 1)) == 0


def test_a_changed_attribute_retraces_and_is_never_stale():
    model = td.Module()
    model.inner = Scale(2.0)

    @td.function
    def f(model, x):
        return model.inner(x)

    x = td.asarray(3.0)
    assert f(model, x).item() == 6.0
    model.inner.factor = 5.0
    assert f(model, x).item() == 15.0
    assert f(model, x).item() == 15.0
    assert f.trace_count == 2


def test_a_replaced_variable_is_never_stale():
    model = Scale(td.Variable(2.0))
    f = td.function(lambda model, x: model(x))
    assert f(model, td.asarray(3.0)).item() == 6.0
    model.factor = td.Variable(4.0)
    assert f(model, td.asarray(3.0)).item() == 12.0


def test_copies_are_independent_and_pickles_come_back():
    model = Pair()
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert [v.name for v in twin.variables] == [v.name for v in model.variables]
        assert twin.dense_1 is not model.dense_1
        twin.dense_1.b.assign([1.0, 1.0, 1.0])
        assert model.dense_1.b.numpy().sum() == 0


def test_modules_die_without_the_cycle_collector():
    model = Pair()
    assert model.variables and model.__treadle_version__
    ref = weakref.ref(model)
    gc.disable()
    try:
        del model
        assert ref() is None
    finally:
        gc.enable()


def test_traced_methods_and_super():
    class Cat(td.Module):
        def speak(self):
            return td.asarray(123)

    class BlackCat(Cat):
        @td.function
        def speak(self):
            return super().speak() + 12201

    cat = BlackCat()
    assert cat.speak().item() == 12324
    assert super(BlackCat, cat).speak().item() == 123


@pytest.mark.parametrize(("name", "snake"), [("Dense", "dense"), ("GRUCell", "gru_cell"), ("Conv2D", "conv2_d")])
def test_snake_case(name, snake):
    from treadle.nn.module import snake_case

    assert snake_case(name) == snake
