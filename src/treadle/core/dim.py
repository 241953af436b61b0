"""Symbolic sizes: `Dim` stands for a size that a trace does not know. Arithmetic gives polynomials over named sizes."""

from __future__ import annotations

import itertools
import math
import sys
from collections.abc import Mapping
from numbers import Integral
from typing import TYPE_CHECKING, Any, Union

from treadle.errors import TraceError, is_own_code, user_location

if TYPE_CHECKING:
    from treadle.core.tensor import Tensor

# An atom is a size's name, or ("//" | "%", Dim, Dim) for what a polynomial cannot express.
Atom = Union[str, tuple[str, "Dim", "Dim"]]  # noqa: UP007  (holds a forward reference)
Terms = dict[tuple[Atom, ...], int]
Size = Union[int, "Dim"]

_fresh = itertools.count()


def _as_size(value: object) -> Size | None:
    """A size among the operands of arithmetic, NumPy's integers included; None for anything else."""
    if isinstance(value, (int, Dim)):
        return value
    return int(value) if isinstance(value, Integral) else None


def _atom_key(atom: Atom) -> str:
    return atom if isinstance(atom, str) else f"({atom[1]}){atom[0]}({atom[2]})"


class Dim:
    """A size known only when the function runs; arithmetic works, `int()` does not.

    Comparisons that hold for every size are Python bools; others are traced.

    >>> n = Dim.named("n")
    >>> n * 2 + n
    3*n
    >>> (n + 1) - n
    1
    """

    __slots__ = ("_hash", "terms")

    def __init__(self, terms: Terms) -> None:
        self.terms = terms
        self._hash = hash(frozenset(terms.items()))

    @staticmethod
    def named(name: str) -> Dim:
        """The size called `name`."""
        return Dim({(name,): 1})

    @staticmethod
    def fresh(hint: str) -> Dim:
        """A size that equals no other."""
        return Dim.named(f"{hint}#{next(_fresh)}")

    @staticmethod
    def _terms(value: Size) -> Terms:
        if isinstance(value, Dim):
            return value.terms
        return {(): int(value)} if value else {}

    @staticmethod
    def _make(terms: Terms) -> Size:
        terms = {key: factor for key, factor in terms.items() if factor}
        if not terms:
            return 0
        if len(terms) == 1 and () in terms:
            return terms[()]
        return Dim(terms)

    def __add__(self, other: Size) -> Size:
        size = _as_size(other)
        if size is None:
            return NotImplemented
        terms = dict(self.terms)
        for key, factor in Dim._terms(size).items():
            terms[key] = terms.get(key, 0) + factor
        return Dim._make(terms)

    __radd__ = __add__

    def __neg__(self) -> Size:
        return Dim._make({key: -factor for key, factor in self.terms.items()})

    def __sub__(self, other: Size) -> Size:
        size = _as_size(other)
        if size is None:
            return NotImplemented
        return self.__add__(-size)

    def __rsub__(self, other: Size) -> Size:
        size = _as_size(other)
        if size is None:
            return NotImplemented
        difference: Size = (-self) + size
        return difference

    def __mul__(self, other: Size) -> Size:
        size = _as_size(other)
        if size is None:
            return NotImplemented
        terms: Terms = {}
        for (k1, f1), (k2, f2) in itertools.product(self.terms.items(), Dim._terms(size).items()):
            key = tuple(sorted(k1 + k2, key=_atom_key))
            terms[key] = terms.get(key, 0) + f1 * f2
        return Dim._make(terms)

    __rmul__ = __mul__

    def _divide(self, sign: str, other: Size) -> Any:
        size = _as_size(other)
        if size is None:
            return NotImplemented
        if isinstance(size, Dim):
            if self.terms == size.terms:
                return 1 if sign == "//" else 0
            return Dim({((sign, self, size),): 1})
        if size == 0:
            raise ZeroDivisionError(f"the symbolic size {self} is divided by zero")
        if all(factor % size == 0 for factor in self.terms.values()):
            exact = Dim._make({key: factor // size for key, factor in self.terms.items()})
            return exact if sign == "//" else 0
        return Dim({((sign, self, Dim({(): size})),): 1})

    def __floordiv__(self, other: Size) -> Size:
        return self._divide("//", other)  # type: ignore[no-any-return]

    def __mod__(self, other: Size) -> Size:
        return self._divide("%", other)  # type: ignore[no-any-return]

    def __rfloordiv__(self, other: int) -> Size:
        return self._into("//", other)  # type: ignore[no-any-return]

    def __rmod__(self, other: int) -> Size:
        return self._into("%", other)  # type: ignore[no-any-return]

    def _into(self, sign: str, other: int) -> Any:
        size = _as_size(other)
        if not isinstance(size, int):
            return NotImplemented
        return Dim({((sign, Dim({(): size}), self),): 1})

    def __truediv__(self, other: Any) -> Any:
        return _as_tensor(self) / other

    def __rtruediv__(self, other: Any) -> Any:
        return other / _as_tensor(self)

    def __pow__(self, exponent: int) -> Size:
        power = _as_size(exponent)
        if not isinstance(power, int) or power < 0:
            return NotImplemented
        result: Size = 1
        for _ in range(power):
            result = self * result
        return result

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Dim) and self.terms == other.terms:
            return True
        return self._equals(other, True)  # type: ignore[no-any-return]  # traced where only a run can tell

    def __ne__(self, other: object) -> bool:
        if isinstance(other, Dim) and self.terms == other.terms:
            return False
        return self._equals(other, False)  # type: ignore[no-any-return]

    def _equals(self, other: object, same: bool) -> Any:
        """Sizes that differ in form. Shapes are compared by form; user code that is traced asks for the numbers."""
        size = _as_size(other)
        if size is None or not _asked_by_user():
            return not same
        difference = self - size
        if not isinstance(difference, Dim):
            return (difference == 0) == same
        low, high = difference.bounds()
        if low > 0 or high < 0:
            return not same
        left, right = _as_tensor(self), _as_tensor(size) if isinstance(size, Dim) else size
        return left == right if same else left != right

    def __hash__(self) -> int:
        return self._hash

    @property
    def open(self) -> str | None:
        """The name, where this is the length of a loop's stack, which is only found by running; else None."""
        if len(self.terms) != 1:
            return None
        ((key, factor),) = self.terms.items()
        if len(key) == 1 and factor == 1 and isinstance(key[0], str) and "#" in key[0]:
            return key[0]
        return None

    def bounds(self) -> tuple[float, float]:
        """Least and greatest value when every named size may be anything from 0 on."""
        low = high = 0.0
        for key, factor in self.terms.items():
            least, most = 1.0, 1.0
            for atom in key:
                a, b = _atom_bounds(atom)
                if a < 0:  # may have either sign: nothing is known of products
                    return -math.inf, math.inf
                least, most = least * a, 0.0 if 0.0 in (most, b) else most * b
            if factor < 0:
                least, most = most, least
            low, high = low + factor * least, high + factor * most
        return low, high

    def _compare(self, other: Any, sign: str) -> Any:
        size = _as_size(other)
        if size is None:
            return NotImplemented
        difference = self - size
        low, high = difference.bounds() if isinstance(difference, Dim) else (difference, difference)
        if sign == "<" and (high < 0 or low >= 0):
            return high < 0
        if sign == "<=" and (high <= 0 or low > 0):
            return high <= 0
        if sign == ">" and (low > 0 or high <= 0):
            return low > 0
        if sign == ">=" and (low >= 0 or high < 0):
            return low >= 0
        left = _as_tensor(self)
        right = _as_tensor(size) if isinstance(size, Dim) else size
        return {"<": left.__lt__, "<=": left.__le__, ">": left.__gt__, ">=": left.__ge__}[sign](right)

    def __lt__(self, other: Any) -> Any:
        return self._compare(other, "<")

    def __le__(self, other: Any) -> Any:
        return self._compare(other, "<=")

    def __gt__(self, other: Any) -> Any:
        return self._compare(other, ">")

    def __ge__(self, other: Any) -> Any:
        return self._compare(other, ">=")

    def _no_int(self) -> TraceError:
        if any("#" in name for name in self.names()):  # no spec names it: a loop on tensors has made so many
            return TraceError(
                f"the size {self} counts what a loop on tensors makes (a list's elements, a stack's rows), so it "
                "is only known when the function runs and has no int(); use it in tensor expressions, loop over "
                "td.range, or give td.range a Python number and break",
                user_location(3),
            )
        return TraceError(
            f"the size {self} is not known while tracing (its TensorSpec says None or a name), so it has no int(); "
            "use it in shape arithmetic or in tensor expressions, or give the size in the spec",
            user_location(3),
        )

    def __int__(self) -> int:
        raise self._no_int()

    def __index__(self) -> int:
        raise self._no_int()

    def __bool__(self) -> bool:
        low, high = self.bounds()
        if low > 0 or high < 0:
            return True
        raise self._no_int()

    def evaluate(self, sizes: Mapping[str, Size]) -> Size:
        """The value for given sizes; names that are not among them stay symbolic."""
        total: Size = 0
        for key, factor in self.terms.items():
            product: Size = factor
            for atom in key:
                if isinstance(atom, str):
                    value: Size = sizes.get(atom, Dim.named(atom))
                else:
                    left, right = atom[1].evaluate(sizes), atom[2].evaluate(sizes)
                    value = left // right if atom[0] == "//" else left % right
                product = product * value
            total = total + product
        return total

    def names(self) -> set[str]:
        """The named sizes in it."""
        found: set[str] = set()
        for key in self.terms:
            for atom in key:
                if isinstance(atom, str):
                    found.add(atom)
                else:
                    found |= atom[1].names() | atom[2].names()
        return found

    def __repr__(self) -> str:
        parts = []
        for key, factor in self.terms.items():
            names = "*".join(_atom_key(atom).split("#")[0] for atom in key)
            if not key:
                parts.append(str(factor))
            else:
                parts.append(names if factor == 1 else f"{factor}*{names}")
        return " + ".join(parts).replace("+ -", "- ")


def _atom_bounds(atom: Atom) -> tuple[float, float]:
    """Least and greatest value of a factor."""
    if isinstance(atom, str):
        return 0.0, math.inf
    sign, left, right = atom
    low, high = left.bounds()
    divisor = right.terms.get(()) if set(right.terms) == {()} else None
    if divisor is None or divisor < 0:
        if low >= 0 and right.bounds()[0] >= 0:  # division by zero raises, so the divisor is at least 1
            return 0.0, high
        return -math.inf, math.inf
    if sign == "%":
        return 0.0, divisor - 1.0
    return (low if math.isinf(low) else low // divisor), (high if math.isinf(high) else high // divisor)


def _asked_by_user() -> bool:
    """Whether a comparison stands in code that is being traced, rather than in treadle's own or in generated code."""
    from treadle.core.tracer import active_tracer  # the tracer imports this module

    if active_tracer() is None:
        return False
    code = sys._getframe(3).f_code
    return not is_own_code(code) and code.co_filename != "<string>"


def _as_tensor(dim: Dim) -> Tensor:
    from treadle.core.tracer import dim_value  # the tracer imports this module

    return dim_value(dim)


def evaluate(value: Any, sizes: Mapping[str, Size]) -> Any:
    """Replace every Dim inside a value (an attribute, a shape) by its size."""
    if isinstance(value, Dim):
        return value.evaluate(sizes)
    if type(value) is tuple:
        return tuple(evaluate(item, sizes) for item in value)
    return value


_INT = frozenset((int,))


def is_static(shape: tuple[Any, ...]) -> bool:
    """Whether every size is a plain int."""
    return _INT.issuperset(map(type, shape))  # quicker than all() of a generator, and asked many times a node
