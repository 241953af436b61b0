"""The cache key: equal arguments meet the same trace, different ones a new trace."""

import collections
import dataclasses
import enum
import gc
import struct
import weakref

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import treadle as td


@pytest.fixture(autouse=True)
def no_retrace_warning(monkeypatch):
    monkeypatch.setattr(td.config, "retrace_warning", 0)


def counting():
    @td.function
    def f(x=0, **rest):
        return 1

    return f


def test_numbers_count_by_type_and_bits():
    f = counting()
    values = [1, True, 1.0, 0, False, 0.0, -0.0, 1j, "1", b"1", None, ...]
    for value in values:
        f(value)
    assert f.trace_count == len(values)
    for value in values:
        f(value)
        f(value)
    assert f.trace_count == len(values)


def test_nan_meets_its_trace_again():
    f = counting()
    for _ in range(3):
        f(float("nan"))
    assert f.trace_count == 1
    other = struct.unpack("<d", struct.pack("<Q", 0x7FF8000000000001))[0]
    f(other)
    assert f.trace_count == 2


def test_arguments_are_bound_first():
    @td.function
    def f(x, y=1, *, z=2):
        return x

    x = td.asarray(1.0)
    f(x)
    f(x, 1)
    f(x, y=1)
    f(x=x, z=2)
    assert f.trace_count == 1
    f(x, 2)
    assert f.trace_count == 2
    with pytest.raises(td.errors.SignatureMismatch, match="missing a required argument: 'x'"):
        f()
    with pytest.raises(TypeError, match="unexpected keyword"):
        f(x, w=1)


def test_star_arguments():
    @td.function
    def f(*args, **kwargs):
        return sum(args) + sum(kwargs.values())

    x = td.asarray(1.0)
    assert f(x, x, a=x).item() == 3.0
    assert f(x, x, a=x).item() == 3.0
    assert f.trace_count == 1
    f(x, a=x)
    assert f.trace_count == 2


def test_dict_order_does_not_matter():
    @td.function
    def f(d):
        return [d[key] for key in d]

    a, b = td.asarray(1.0), td.asarray([2.0])
    assert [x.tolist() for x in f({"a": a, "b": b})] == [1.0, [2.0]]
    assert [x.tolist() for x in f({"b": b, "a": a})] == [1.0, [2.0]]
    assert f.trace_count == 1


@dataclasses.dataclass
class Batch:
    image: object
    label: object


Pair = collections.namedtuple("Pair", "a b")


class Color(enum.Enum):
    RED = 1
    BLUE = 2


def test_nests_keep_their_kinds():
    f = counting()
    x = td.asarray(1.0)
    nests = [(x, x), [x, x], Pair(x, x), Batch(x, x), {"a": x, "b": x}, (x, (x,)), [[x, x]]]
    for value in nests * 2:
        f(value)
    assert f.trace_count == len(nests)


def test_enums_types_functions_and_values():
    f = counting()
    for value in (Color.RED, Color.BLUE, int, float, len, test_dict_order_does_not_matter, slice(1, 2), np.float32) * 2:
        f(value)
    assert f.trace_count == 8
    g = counting()
    for value in ({1, 2}, {2, 1}, {1, 3}, frozenset({1, 2}), range(3), range(4), slice(1, 3), slice(1, 3)):
        g(value)
    assert g.trace_count == 6


def test_containers_that_are_no_nests_count_by_contents():
    f = counting()
    held = collections.OrderedDict(a=1)
    f(held)
    f(collections.OrderedDict(a=1))
    assert f.trace_count == 1
    held["a"] = 2
    f(held)
    assert f.trace_count == 2


class Thing:
    pass


def test_objects_count_by_identity_and_are_not_kept_alive():
    f = counting()
    thing, other = Thing(), Thing()
    f(thing)
    f(thing)
    f(other)
    assert f.trace_count == 2
    ref = weakref.ref(thing)
    del thing
    gc.collect()
    assert ref() is None


def test_a_new_object_at_a_freed_address_is_new():
    f = counting()
    seen = set()
    for count in range(1, 20):
        thing = Thing()
        seen.add(id(thing))
        f(thing) if count < 6 else f.trace(thing)
        assert f.trace_count == count
        del thing
        if count == 5:
            break
    assert len(f.traces) <= f.trace_count


def test_bound_methods_count_by_function_and_object():
    f = counting()
    batch = Batch(1, 2)

    class Held:
        def method(self):
            return 1

    held = Held()
    f(held.method)
    f(held.method)
    assert f.trace_count == 1
    f(Held().method)
    assert f.trace_count == 2
    assert batch.image == 1


def test_variables_count_by_identity():
    @td.function
    def f(v):
        return v + 1

    a, b = td.Variable(1.0), td.Variable(2.0)
    assert f(a).item() == 2.0
    a.assign(5.0)
    assert f(a).item() == 6.0
    assert f.trace_count == 1
    assert f(b).item() == 3.0
    assert f.trace_count == 2
    ref = weakref.ref(b)
    del b
    gc.collect()
    assert ref() is None


class Versioned:
    def __init__(self):
        self.__dict__["version"] = 0
        self.scale = 2.0

    def __setattr__(self, name, value):
        self.__dict__[name] = value
        self.__dict__["version"] += 1

    @property
    def __treadle_version__(self):
        return self.version


def test_modules_count_by_identity_and_version():
    @td.function
    def f(m, x):
        return m.scale * x

    m, x = Versioned(), td.asarray(1.0)
    assert f(m, x).item() == f(m, x).item() == 2.0
    assert f.trace_count == 1
    m.scale = 3.0
    assert f(m, x).item() == 3.0
    assert f.trace_count == 2
    assert "an attribute of m was set" in f.traces[1].reason


def test_a_module_built_by_its_first_call_is_traced_once():
    class Lazy(Versioned):
        def __init__(self):
            super().__init__()
            self.kernel = None

        def __call__(self, x):
            if self.kernel is None:
                self.kernel = td.Variable(3.0)
            return self.kernel * x

    @td.function
    def f(model, x):
        return model(x)

    model = Lazy()
    assert [f(model, td.asarray(k)).item() for k in (1.0, 2.0, 3.0)] == [3.0, 6.0, 9.0]
    assert f.trace_count == 1


def test_static_arguments_count_by_equality():
    @td.function(static_argnames="n")
    def f(x, n):
        return x * n

    x = td.asarray(2.0)
    assert f(x, 2).item() == f(x, 2.0).item() == 4.0
    assert f.trace_count == 1
    with pytest.raises(td.errors.SignatureMismatch, match="static argument 'n' must be hashable"):
        f(x, [1])
    with pytest.raises(td.errors.SignatureMismatch, match="no argument 'm'"):
        td.function(lambda x: x, static_argnames="m")


def test_settings_are_part_of_the_key():
    @td.function
    def f(x):
        return x * 0.5

    x = td.asarray(2)
    assert f(x).dtype == td.float32
    td.set_default_dtype(td.float64)
    try:
        assert f(x).dtype == td.float64
        assert "default dtype: float32 -> float64" in f.traces[1].reason
    finally:
        td.set_default_dtype(td.float32)
    assert f(x).dtype == td.float32
    assert f.trace_count == 2


leaves = st.one_of(
    st.integers(-2, 2),
    st.floats(width=32),
    st.booleans(),
    st.none(),
    st.sampled_from(["a", "b", ""]),
    st.tuples(st.sampled_from([(), (1,), (2,), (2, 1)]), st.sampled_from(["float32", "float64", "int64", "bool"])).map(
        lambda t: ("array", *t)
    ),
)
nests = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner, max_size=2), st.dictionaries(st.sampled_from("abc"), inner, max_size=2), st.tuples(inner, inner)
    ),
    max_leaves=4,
)


def build(plan, as_tensor):
    """A value from its plan: arrays are made anew each time."""
    if isinstance(plan, tuple) and plan and plan[0] == "array":
        array = np.zeros(plan[1], plan[2])
        return td.asarray(array) if as_tensor else array
    if isinstance(plan, dict):
        return {key: build(value, as_tensor) for key, value in reversed(plan.items())}
    if isinstance(plan, (list, tuple)):
        return type(plan)([build(item, as_tensor) for item in plan])
    return plan


def meaning(plan):
    """What the plan means for the key, told independently of the library."""
    if isinstance(plan, tuple) and plan and plan[0] == "array":
        return plan
    if isinstance(plan, float):
        return "float", struct.pack("<d", plan)
    if isinstance(plan, dict):
        return "dict", tuple(sorted((key, meaning(value)) for key, value in plan.items())) if plan else ()
    if isinstance(plan, (list, tuple)):
        return type(plan).__name__, tuple(meaning(item) for item in plan)
    return type(plan).__name__, plan


@settings(derandomize=True, deadline=None, max_examples=60)
@given(nests, nests)
def test_equal_keys_exactly_for_equal_meaning(a, b):
    from treadle.function.keys import Walk

    def key(plan, as_tensor):
        walk = Walk()
        walk.add(build(plan, as_tensor))
        return tuple(walk.parts)

    assert key(a, True) == key(a, False)
    assert hash(key(a, True)) == hash(key(a, False))
    assert (key(a, True) == key(b, True)) == (repr(meaning(a)) == repr(meaning(b)))


@settings(derandomize=True, deadline=None, max_examples=15)
@given(st.lists(st.tuples(st.sampled_from([(), (1,), (2, 3)]), st.sampled_from(["float32", "int64"])), max_size=5))
def test_one_trace_for_each_dtype_and_shape(calls):
    f = td.function(lambda x: x + x)
    for shape, dtype in calls:
        x = np.ones(shape, dtype)
        result = f(td.asarray(x))
        assert result.shape == shape
        assert result.dtype == x.dtype
        np.testing.assert_array_equal(f(x).numpy(), x + x)
    assert f.trace_count == len(set(calls))
