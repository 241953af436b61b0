"""Running a function again as it ran first: what it read of variables is answered, what it assigns is not done."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from treadle.core.mode import Mode, activate, current
from treadle.core.op import Op
from treadle.core.tensor import Tensor
from treadle.core.variable import Variable, read_variable, write_variable
from treadle.errors import GradientError


class First(Mode):
    """The first run: ops run eagerly, unseen by the modes around; notes what comes in from outside.

    reads:   each read of a variable and what it gave; `through` is the mode that reads.
    written: the ids of variables that were assigned.
    outside: tensors that ops used and that were made before, in the order of their first use.
    """

    def __init__(self, through: Mode | None) -> None:
        self.through = through
        self.reads: list[tuple[Variable, Tensor]] = []
        self.written: set[int] = set()
        self.outside: dict[int, Tensor] = {}
        self._made: dict[int, Tensor] = {}  # kept alive, so that an id stays theirs

    def process(self, op: Op, inputs: tuple[Tensor, ...], attrs: dict[str, Any]) -> tuple[Tensor, ...]:
        for x in inputs:
            if id(x) not in self._made:
                self.outside.setdefault(id(x), x)
        with activate(None):
            outputs = op.bind(inputs, attrs)
        self._made.update((id(y), y) for y in outputs)
        return outputs

    def made(self, x: Tensor) -> bool:
        """Whether a tensor was made or read in this run."""
        return id(x) in self._made

    def read(self, variable: Variable) -> Tensor:
        with activate(self.through):
            value = read_variable(variable)
        self.reads.append((variable, value))
        self._made[id(value)] = value
        return value

    def write(self, variable: Variable, value: Tensor) -> None:
        self.written.add(id(variable))
        with activate(None):
            write_variable(variable, value)


class Again(Mode):
    """The second run, in the mode around: the k-th read of a variable gives `answers[k]`, or its value where None."""

    def __init__(self, answers: Sequence[Tensor | None]) -> None:
        self.outer = current()
        self._answers = iter(answers)

    def process(self, op: Op, inputs: tuple[Tensor, ...], attrs: dict[str, Any]) -> tuple[Tensor, ...]:
        with activate(self.outer):
            return op.bind(inputs, attrs)

    def read(self, variable: Variable) -> Tensor:
        try:
            answer = next(self._answers)
        except StopIteration:
            raise GradientError(
                f"a function that runs again for its gradient reads the variable {variable.name!r} once more than it "
                "did at first; it must do the same each time"
            ) from None
        if answer is not None:
            return answer
        with activate(self.outer):
            return read_variable(variable)

    def write(self, variable: Variable, value: Tensor) -> None:
        """Nothing: the variable has got this value already."""
