"""A stand-in for staging: `Staged` numbers carry their value, refuse `bool`, and both branches always run.

It is an oracle for the converter: a converted function on Staged numbers must give what Python gives on plain ones.
"""

from __future__ import annotations

import operator


class Undefined:
    def __init__(self, name, why="", *, guarded=False):
        self.name, self.why, self.guarded = name, why, guarded


class Staged:
    def __init__(self, value):
        self.value = value

    def __bool__(self):
        raise TypeError("a staged value has no truth")

    def __iter__(self):
        raise TypeError("a staged value cannot be iterated by Python")

    def __index__(self):
        raise TypeError("a staged value is no index")

    __hash__ = None


def plain(x):
    return x.value if isinstance(x, Staged) else x


def _binary(op):
    return lambda a, b: Staged(op(plain(a), plain(b)))


for _name in "add sub mul truediv floordiv mod pow lt le gt ge eq ne and_ or_".split():
    _op = getattr(operator, _name)
    _dunder = _name.rstrip("_")
    setattr(Staged, f"__{_dunder}__", _binary(_op))
    setattr(Staged, f"__r{_dunder}__", _binary(lambda a, b, op=_op: op(b, a)))
Staged.__neg__ = lambda a: Staged(-a.value)
Staged.__abs__ = lambda a: Staged(abs(a.value))


class StagedRange:
    def __init__(self, *args):
        self.items = [Staged(i) for i in range(*map(plain, args))]


class BothBranches(Exception):
    pass


def is_staged(x):
    return isinstance(x, Staged)


def is_staged_iterable(x):
    return isinstance(x, StagedRange)


def _stage(x):
    return Staged(x) if isinstance(x, (bool, int, float)) else x


def staged_if(pred, then, orelse, values, names):
    assert len(values) == len(names)
    results = []
    for branch in (then, orelse):
        try:
            results.append(branch(*values))
        except ZeroDivisionError:
            results.append(None)
    taken = results[0 if pred.value else 1]
    assert len(taken) == len(names)
    merged = []
    for name, x, *both in zip(names, taken, *(r or taken for r in results)):
        half = sum(isinstance(b, Undefined) for b in both)
        if half and all(b.guarded for b in both if isinstance(b, Undefined)):
            merged.append(_stage(next((b for b in both if not isinstance(b, Undefined)), x)))
        elif half:
            merged.append(Undefined(name))
        else:
            merged.append(_stage(x))
    return tuple(merged)


def staged_while(test, body, values, names):
    values = tuple(map(_stage, values))
    while plain(test(*values)):
        values = tuple(map(_stage, body(*values)))
        assert len(values) == len(names)
    return values


def staged_for(iterable, body, values, names, test=None):
    values = tuple(map(_stage, values))
    for item in iterable.items:
        values = tuple(map(_stage, body(item, *values)))
        assert len(values) == len(names)
        if test is not None and not plain(test(*values)):
            break
    return values


def staged_and(a, thunk):
    return _stage(plain(thunk()) if a.value else a.value)


def staged_or(a, thunk):
    return _stage(a.value if a.value else plain(thunk()))


def staged_not(a):
    return Staged(not a.value)


def staged_if_exp(pred, then, orelse):
    return _stage(plain(then() if pred.value else orelse()))


def staged_assert(test, message):
    if not test.value:
        text = message()
        raise AssertionError() if text is None else AssertionError(text)
