"""Our `dataclass` against the standard library's: the same classes made by both behave alike."""

import copy
import dataclasses
import inspect
import pickle
from typing import ClassVar

import pytest

from treadle import records
from treadle.records import dataclass, field, replace


def classes(module):
    """The same classes by one module's decorator."""
    dataclass, field = module.dataclass, module.field

    @dataclass(frozen=True, slots=True)
    class Point:
        """A point."""

        x: int
        y: float = 2.0
        tags: list = field(default_factory=list)
        hidden: str = field(default="h", repr=False)
        total: ClassVar[int] = 3

        def double(self):
            return 2 * self.x

    @dataclass(slots=True)
    class Loose:
        a: int
        b: int = field(kw_only=True)
        c: tuple = ()

        def __post_init__(self):
            self.a += 1

    @dataclass(frozen=True)
    class Base:
        p: int
        q: int = 5

    @dataclass(frozen=True)
    class Child(Base):
        r: int = 7

    @dataclass(slots=True, eq=False)
    class Identity:
        v: object = None

    @dataclass(frozen=True, slots=True)
    class OwnEquality:
        v: int

        def __eq__(self, other):
            return True

    return Point, Loose, Base, Child, Identity, OwnEquality


def outcome(action):
    """What an action gives: a value, or the type of what it raises."""
    try:
        return repr(action())
    except Exception as error:
        return type(error)


ACTIONS = {
    "repr": lambda c: (c[0](1), c[1](1, b=2), c[3](1, r=2), c[0](1, tags=[c[0](2)])),
    "equality": lambda c: (c[0](1) == c[0](1, 2.0), c[0](1) != c[0](2), c[2](1) == c[3](1), c[4]() == c[4]()),
    "hash": lambda c: (hash(c[2](1)) == hash(c[2](1)), hash(c[3](1)) == hash(c[3](2))),
    "hash of a list": lambda c: hash(c[0](1)),
    "no hash": lambda c: hash(c[1](1, b=2)),
    "hash beside own equality": lambda c: hash(c[5](1)) == hash(c[5](1)),
    "frozen": lambda c: setattr(c[0](1), "x", 2),
    "frozen delete": lambda c: delattr(c[0](1), "x"),
    "frozen child": lambda c: setattr(c[3](1), "z", 2),
    "loose": lambda c: (x := c[1](1, b=2), setattr(x, "a", 9), x)[-1],
    "slots": lambda c: (c[0].__slots__, c[1].__slots__, hasattr(c[0](1), "__dict__"), hasattr(c[3](1), "__dict__")),
    "no such": lambda c: setattr(c[1](1, b=2), "other", 1),
    "missing": lambda c: c[0](),
    "too many": lambda c: c[1](1, 2, 3, 4),
    "keyword only": lambda c: c[1](1, (), 2),
    "signature": lambda c: inspect.signature(c[1]).parameters.keys(),
    "fields": lambda c: [(f.name, f.repr, f.kw_only) for k in c for f in dataclasses.fields(k)],
    "standard replace": lambda c: dataclasses.replace(c[0](1, tags=[1]), y=3.0),
    "is one": lambda c: [dataclasses.is_dataclass(k) for k in c],
    "as dict": lambda c: dataclasses.asdict(c[3](1)),
    "copies": lambda c: (copy.copy(c[0](1, tags=[1])), copy.deepcopy(c[0](1, tags=[1])), copy.copy(c[1](1, b=2))),
    "match": lambda c: [k.__match_args__ for k in c],
    "defaults": lambda c: (
        c[3].q,
        c[3].r,
        c[0].total,
        c[0](1).tags is not c[0](1).tags,
        c[0].__doc__,
        c[0](4).double(),
    ),
    "names": lambda c: (c[0].__init__.__qualname__.rpartition(".")[2], c[0].__qualname__.rpartition(".")[2]),
}


@pytest.mark.parametrize("name", ACTIONS)
def test_ours_is_as_the_standard_librarys(name):
    mine, theirs = classes(records), classes(dataclasses)
    got, want = outcome(lambda: ACTIONS[name](mine)), outcome(lambda: ACTIONS[name](theirs))
    assert str(got) == str(want)


@dataclass(frozen=True, slots=True)
class Pickled:
    x: int
    inner: object = None


@dataclass
class Recursive:
    parts: list = field(default_factory=list)


def test_pickling_recursion_matching_and_replacing():
    assert pickle.loads(pickle.dumps(Pickled(1, Pickled(2)))) == Pickled(1, Pickled(2))
    loop = Recursive()
    loop.parts.append(loop)
    assert repr(loop) == "Recursive(parts=[...])"
    match Pickled(3, 4):
        case Pickled(a, b):
            assert (a, b) == (3, 4)
    assert replace(Pickled(1, 2), x=5) == Pickled(5, 2)
    with pytest.raises(TypeError):
        replace(Pickled(1), z=5)


def test_a_standard_dataclass_may_extend_ours():
    @dataclasses.dataclass(frozen=True)
    class More(Pickled):
        y: int = 9

    assert More(1, 2, 3) == More(1, 2, 3) and dataclasses.replace(More(1), y=2).y == 2
