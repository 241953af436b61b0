"""Update rules. Each is elementwise for a variable and its slots, so that a compiled step is one kernel for each."""

from __future__ import annotations

from typing import Any

from treadle.core.dtypes import DType, float64
from treadle.core.tensor import Tensor
from treadle.core.variable import Variable
from treadle.ops.convert import cast
from treadle.ops.elementwise import sqrt, square
from treadle.optim.optimizer import Optimizer


class SGD(Optimizer):
    """Gradient descent: w - rate * g; with momentum, as Keras has it, v = momentum * v - rate * g and w + v.

    nesterov: the step looks ahead, w + momentum * v - rate * g with the new v (Sutskever et al., 2013).

    >>> import treadle as td
    >>> x = td.Variable(0.0, name="x")
    >>> optimizer = td.optim.SGD(learning_rate=0.1)
    >>> for _ in range(100):
    ...     loss = optimizer.minimize(lambda: (x - 1.0) ** 2, [x])
    >>> round(x.value.item(), 4)
    1.0
    """

    def __init__(
        self,
        learning_rate: Any = 0.01,
        momentum: float = 0.0,
        nesterov: bool = False,
        name: str | None = None,
        gradient_accumulation_steps: int = 1,
    ) -> None:
        if not 0 <= momentum <= 1:
            raise ValueError(f"SGD: momentum must lie in [0, 1], got {momentum}")
        super().__init__(learning_rate, name, gradient_accumulation_steps)
        self.momentum = float(momentum)
        self.nesterov = nesterov

    def update(self, variable: Variable, g: Tensor, shared: Any) -> None:
        step = g * shared
        if self.momentum == 0:
            variable.assign_sub(step)
            return
        velocity = self.slot(variable, "velocity")
        new = velocity * self.momentum - step
        velocity.assign(new)
        variable.assign_add(new * self.momentum - step if self.nesterov else new)


class Adam(Optimizer):
    """Adam (Kingma and Ba, 2015): w - rate * m' / (sqrt(v') + epsilon).

    m = beta_1 * m + (1 - beta_1) * g and v = beta_2 * v + (1 - beta_2) * g**2, both 0 at first;
    m' = m / (1 - beta_1**t) and v' = v / (1 - beta_2**t) at step t = 1, 2, ...
    """

    def __init__(
        self,
        learning_rate: Any = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        name: str | None = None,
        gradient_accumulation_steps: int = 1,
    ) -> None:
        for label, beta in (("beta_1", beta_1), ("beta_2", beta_2)):
            if not 0 <= beta < 1:
                raise ValueError(f"Adam: {label} must lie in [0, 1), got {beta}")
        super().__init__(learning_rate, name, gradient_accumulation_steps)
        self.beta_1, self.beta_2, self.epsilon = float(beta_1), float(beta_2), float(epsilon)

    def prepare(self, dtype: DType) -> tuple[Tensor, Tensor]:
        """rate / (1 - beta_1**t) and 1 / sqrt(1 - beta_2**t): in float64, where 1 - 0.999 keeps its digits."""
        t = cast(self.iterations.value, float64)
        rate = self.rate(float64) / (1.0 - self.beta_1**t)
        return cast(rate, dtype), cast(1.0 / sqrt(1.0 - self.beta_2**t), dtype)

    def update(self, variable: Variable, g: Tensor, shared: tuple[Tensor, Tensor]) -> None:
        rate, correction = shared
        first, second = self.slot(variable, "momentum"), self.slot(variable, "velocity")
        m = first * self.beta_1 + g * (1.0 - self.beta_1)
        v = second * self.beta_2 + square(g) * (1.0 - self.beta_2)
        first.assign(m)
        second.assign(v)
        variable.assign_sub(rate * m / (sqrt(v) * correction + self.epsilon))
