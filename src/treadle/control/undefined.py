"""`Undefined`: stands for a name that no executed code has set; using it is the error that Python would raise."""

from __future__ import annotations

from typing import Any, NoReturn

from treadle.errors import UndefinedVariable


class Undefined:
    """A name that is not bound (yet); `why` tells more, such as which branch set it.

    A `guarded` one is never read: flags of `return` and `break` see to that, so merging may fill it with any value.
    """

    __slots__ = ("guarded", "name", "why")
    guarded: bool
    name: str
    why: str

    def __init__(self, name: str, why: str = "", *, guarded: bool = False) -> None:
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "why", why)
        object.__setattr__(self, "guarded", guarded)

    def _raise(self, *args: Any, **kwargs: Any) -> NoReturn:
        why = self.why or "no executed code has set it"
        raise UndefinedVariable(f"the name {self.name!r} is used, but {why}; set it before, on every path")

    def __getattr__(self, attribute: str) -> NoReturn:
        if attribute.startswith("__") and attribute.endswith("__"):
            raise AttributeError(attribute)  # protocols that Python or NumPy look for, not the user's use
        self._raise()

    def __repr__(self) -> str:
        return f"<undefined {self.name}>"

    __bool__ = __call__ = __iter__ = __len__ = __getitem__ = __float__ = __int__ = __index__ = _raise
    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = __rtruediv__ = _raise
    __floordiv__ = __rfloordiv__ = __mod__ = __rmod__ = __pow__ = __rpow__ = __matmul__ = __rmatmul__ = _raise
    __and__ = __rand__ = __or__ = __ror__ = __xor__ = __rxor__ = __neg__ = __pos__ = __abs__ = __invert__ = _raise
    __lt__ = __le__ = __gt__ = __ge__ = __array__ = __setattr__ = _raise
