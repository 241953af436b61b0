"""`td.optim.schedules`: learning rates that change with the step. A schedule is any callable, step -> rate.

Step counts what an optimizer has applied: 0 at the first step. In a traced step it is a traced tensor, so the rate
changes without a new trace. The classes are plain records, named as Keras names them; a function of one's own serves
as well: `td.optim.SGD(lambda step: 0.1 / (1 + step))`.
"""

from __future__ import annotations

import itertools
import math
from typing import Any

from treadle.core.arguments import positive, real, whole
from treadle.core.dtypes import float64, int64
from treadle.core.tensor import Tensor
from treadle.errors import ArgumentError
from treadle.ops.convert import as_tensor, cast
from treadle.ops.elementwise import cos, floor, maximum, minimum, where
from treadle.records import dataclass


def _real(step: Any) -> Tensor:
    """The step in float64, so that large counts and slow decays keep their digits; optimizers cast the rate."""
    return cast(as_tensor(step), float64)


def _check_decay(schedule: Any, **others: float) -> None:
    """Raise ArgumentError for an initial rate, a number of steps or (others) rates below 0, or not numbers at all."""
    kind = type(schedule).__name__
    positive(f"{kind}: decay_steps", schedule.decay_steps)
    real(f"{kind}: initial_learning_rate", schedule.initial_learning_rate, 0.0)
    for name, value in others.items():
        real(f"{kind}: {name}", value, 0.0)


@dataclass(frozen=True, slots=True)
class ExponentialDecay:
    """initial_learning_rate * decay_rate ** (step / decay_steps); staircase: the exponent is rounded down.

    >>> import treadle as td
    >>> td.optim.schedules.ExponentialDecay(0.5, 10, 0.25)(5).item()
    0.25
    """

    initial_learning_rate: float
    decay_steps: int
    decay_rate: float
    staircase: bool = False

    def __post_init__(self) -> None:
        _check_decay(self, decay_rate=self.decay_rate)

    def __call__(self, step: Any) -> Tensor:
        """The rate at a step, float64."""
        exponent = _real(step) / float(self.decay_steps)
        return self.initial_learning_rate * self.decay_rate ** (floor(exponent) if self.staircase else exponent)


@dataclass(frozen=True, slots=True)
class InverseTimeDecay:
    """initial_learning_rate / (1 + decay_rate * step / decay_steps); staircase: the quotient is rounded down."""

    initial_learning_rate: float
    decay_steps: int
    decay_rate: float
    staircase: bool = False

    def __post_init__(self) -> None:
        _check_decay(self, decay_rate=self.decay_rate)

    def __call__(self, step: Any) -> Tensor:
        """The rate at a step, float64."""
        passed = _real(step) / float(self.decay_steps)
        return self.initial_learning_rate / (1.0 + self.decay_rate * (floor(passed) if self.staircase else passed))


@dataclass(frozen=True, slots=True)
class PolynomialDecay:
    """From initial_learning_rate to end_learning_rate in decay_steps: (initial - end) * (1 - p) ** power + end.

    p is the share of decay_steps that has passed. cycle: beyond decay_steps, they are doubled, trebled, ... instead of
    staying at the end.
    """

    initial_learning_rate: float
    decay_steps: int
    end_learning_rate: float = 0.0001
    power: float = 1.0
    cycle: bool = False

    def __post_init__(self) -> None:
        _check_decay(self, end_learning_rate=self.end_learning_rate, power=self.power)

    def __call__(self, step: Any) -> Tensor:
        """The rate at a step, float64."""
        passed = _real(step) / float(self.decay_steps)
        if self.cycle:
            whole = -floor(-passed)
            passed = passed / maximum(whole, 1.0)
        left = 1.0 - minimum(passed, 1.0)
        return (self.initial_learning_rate - self.end_learning_rate) * left**self.power + self.end_learning_rate


@dataclass(frozen=True, slots=True)
class CosineDecay:
    """initial * ((1 - alpha) * (1 + cos(pi * p)) / 2 + alpha), p the share of decay_steps that has passed, at most 1.

    warmup_target, warmup_steps: first a straight line from the initial rate to the target in so many steps; the decay
    then starts from the target (Loshchilov and Hutter, "SGDR", 2017, without restarts).
    """

    initial_learning_rate: float
    decay_steps: int
    alpha: float = 0.0
    warmup_target: float | None = None
    warmup_steps: int = 0

    def __post_init__(self) -> None:
        _check_decay(self, alpha=self.alpha, warmup_target=self.warmup_target or 0.0, warmup_steps=self.warmup_steps)

    def __call__(self, step: Any) -> Tensor:
        """The rate at a step, float64."""
        count = _real(step)
        warm = self.warmup_target is not None
        target = self.initial_learning_rate if self.warmup_target is None else self.warmup_target
        share = minimum(maximum((count - (self.warmup_steps if warm else 0)) / float(self.decay_steps), 0.0), 1.0)
        decayed = target * ((1.0 - self.alpha) * 0.5 * (1.0 + cos(math.pi * share)) + self.alpha)
        if not warm or not self.warmup_steps:
            return decayed
        rising = self.initial_learning_rate + (target - self.initial_learning_rate) * count / float(self.warmup_steps)
        return where(count < float(self.warmup_steps), rising, decayed)


@dataclass(frozen=True, slots=True)
class PiecewiseConstantDecay:
    """values[0] up to and with step boundaries[0], values[1] up to boundaries[1], ..., then the last of the values.

    >>> import treadle as td
    >>> rate = td.optim.schedules.PiecewiseConstantDecay([10, 20], [1.0, 0.5, 0.25])
    >>> [rate(step).item() for step in (0, 10, 11, 21)]
    [1.0, 1.0, 0.5, 0.25]
    """

    boundaries: tuple[int, ...]
    values: tuple[float, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "boundaries", tuple(self.boundaries))
        object.__setattr__(self, "values", tuple(self.values))
        if len(self.values) != len(self.boundaries) + 1:
            raise ArgumentError(
                f"PiecewiseConstantDecay: {len(self.boundaries)} boundaries need {len(self.boundaries) + 1} values, "
                f"got {len(self.values)}"
            )
        for value in self.values:
            real("PiecewiseConstantDecay: a value", value, 0.0)
        steps = [whole("PiecewiseConstantDecay: a boundary", boundary) for boundary in self.boundaries]
        if any(a >= b for a, b in itertools.pairwise(steps)):
            raise ArgumentError(f"PiecewiseConstantDecay: boundaries must rise, got {self.boundaries}")

    def __call__(self, step: Any) -> Tensor:
        """The rate at a step, float64."""
        count = cast(as_tensor(step), int64)
        rate = as_tensor(self.values[-1], float64)
        for boundary, value in zip(reversed(self.boundaries), reversed(self.values[:-1]), strict=True):
            rate = where(count <= boundary, as_tensor(value, float64), rate)
        return rate


__all__ = ["CosineDecay", "ExponentialDecay", "InverseTimeDecay", "PiecewiseConstantDecay", "PolynomialDecay"]
