"""What builtins make of Python numbers that a loop carries acts like a Python number, as exact as Python's own."""

from __future__ import annotations

import numpy as np

import treadle as td

SEEN = {}


@td.autograph.do_not_convert
def note(**values):
    SEEN.update(values)


def test_builtins_of_carried_numbers_stay_numbers():
    @td.function
    def f(n):
        c, d = 1, 1.5
        for _ in td.range(n):
            note(most=max(c, c), of_three=max([c, 2, c]), mixed=max(c, d), least=min(d, 2.0), absolute=abs(c))
            note(rounded=round(d), tenths=round(d, 1), whole=int(d), real=float(c), power=pow(c, 2), total=sum([c, d]))
            note(first=sorted([d, c])[0], quotient=divmod(c, 2)[0], half=c / 2)
            c, d = c + 1, d * 1.0
        return c

    SEEN.clear()
    f.trace(np.int64(3))
    assert len(SEEN) == 14
    assert [name for name, value in SEEN.items() if not value.spec.weak] == []
    floats = {name for name, value in SEEN.items() if value.dtype == td.float64}
    assert floats == {"mixed", "least", "tenths", "real", "total", "first", "half"}


def test_they_take_the_dtype_of_what_they_meet():
    @td.function
    def f(y, n):
        c, k, s = 1, 0, 0.0
        for _ in td.range(n):
            if y > 0:
                c = max(c, c) + 0.5
            else:
                c = max(c, 2)
            k = min(k + 1, 100)
            s = s + 1 / k
        return c * y, s * y

    found = f(np.float64(1.0), np.int64(3))
    assert [x.item() for x in found] == [2.5, 1 + 1 / 2 + 1 / 3]
