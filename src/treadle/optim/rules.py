"""Update rules. Each is elementwise for a variable and its slots, so that a compiled step is one kernel for each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from treadle.core.arguments import real, share
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
        super().__init__(learning_rate, name, gradient_accumulation_steps)
        self.momentum = real("SGD: momentum", momentum, 0.0, 1.0)
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
        super().__init__(learning_rate, name, gradient_accumulation_steps)
        self.beta_1, self.beta_2, self.epsilon = _checked(type(self).__name__, beta_1, beta_2, epsilon)

    def prepare(self, dtype: DType) -> tuple[Any, ...]:
        """rate / (1 - beta_1**t) and 1 / sqrt(1 - beta_2**t): in float64, where 1 - 0.999 keeps its digits."""
        t = cast(self.iterations.value, float64)
        rate = self.rate(float64) / (1.0 - self.beta_1**t)
        return cast(rate, dtype), cast(1.0 / sqrt(1.0 - self.beta_2**t), dtype)

    def update(self, variable: Variable, g: Tensor, shared: tuple[Any, ...]) -> None:
        rate, correction = shared
        first, second = self.slot(variable, "momentum"), self.slot(variable, "velocity")
        m = first * self.beta_1 + g * (1.0 - self.beta_1)
        v = second * self.beta_2 + square(g) * (1.0 - self.beta_2)
        first.assign(m)
        second.assign(v)
        variable.assign_sub(rate * m / (sqrt(v) * correction + self.epsilon))


class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov and Hutter, 2019): Adam's step, and w - rate * weight_decay * w.

    Both use w as it was before the step. The decay does not pass through the moments, unlike a penalty on the loss.
    """

    def __init__(
        self,
        learning_rate: Any = 0.001,
        weight_decay: float = 0.004,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        name: str | None = None,
        gradient_accumulation_steps: int = 1,
    ) -> None:
        super().__init__(learning_rate, beta_1, beta_2, epsilon, name, gradient_accumulation_steps)
        self.weight_decay = real("AdamW: weight_decay", weight_decay, 0.0)
        self._spared: tuple[str, ...] = ()

    def exclude_from_weight_decay(self, var_names: Sequence[str]) -> None:
        """Do not decay variables whose name holds one of these texts, such as "bias"."""
        self._spared = (*self._spared, *var_names)

    def prepare(self, dtype: DType) -> tuple[Any, ...]:
        return (*super().prepare(dtype), self.rate(float64))

    def update(self, variable: Variable, g: Tensor, shared: tuple[Any, ...]) -> None:
        if self.weight_decay and not any(text in variable.name for text in self._spared):
            kept = 1.0 - shared[2] * self.weight_decay
            kept = cast(kept, variable.dtype) if isinstance(kept, Tensor) else kept
            variable.assign(variable.value * kept)
        super().update(variable, g, shared[:2])


class Nadam(Optimizer):
    """Adam with Nesterov's momentum (Dozat, 2016): w - rate * m' / (sqrt(v') + epsilon).

    m and v as in Adam, v' = v / (1 - beta_2**t). With u(t) = beta_1 * (1 - 0.96**t / 2) and U(t) = u(1) * ... * u(t):
    m' = u(t+1) * m / (1 - U(t+1)) + (1 - u(t)) * g / (1 - U(t)).
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
        super().__init__(learning_rate, name, gradient_accumulation_steps)
        self.beta_1, self.beta_2, self.epsilon = _checked("Nadam", beta_1, beta_2, epsilon)
        self.momentum_product = Variable(1.0, dtype=float64, trainable=False)

    def _momentum(self, t: Tensor) -> Tensor:
        """u(t)"""
        return self.beta_1 * (1.0 - 0.5 * 0.96**t)

    def begin(self) -> None:
        """U(t) from U(t-1); all variables share it."""
        t = cast(self.iterations.value, float64)
        self.momentum_product.assign(self.momentum_product.value * self._momentum(t))

    def prepare(self, dtype: DType) -> tuple[Tensor, ...]:
        """What m and g are multiplied by, the rate included, and 1 / sqrt(1 - beta_2**t)."""
        t, product, rate = cast(self.iterations.value, float64), self.momentum_product.value, self.rate(float64)
        now, after = self._momentum(t), self._momentum(t + 1.0)
        factors = (
            rate * after / (1.0 - product * after),
            rate * (1.0 - now) / (1.0 - product),
            1.0 / sqrt(1.0 - self.beta_2**t),
        )
        return tuple(cast(factor, dtype) for factor in factors)

    def update(self, variable: Variable, g: Tensor, shared: tuple[Tensor, ...]) -> None:
        by_m, by_g, correction = shared
        first, second = self.slot(variable, "momentum"), self.slot(variable, "velocity")
        m = first * self.beta_1 + g * (1.0 - self.beta_1)
        v = second * self.beta_2 + square(g) * (1.0 - self.beta_2)
        first.assign(m)
        second.assign(v)
        variable.assign_sub((by_m * m + by_g * g) / (sqrt(v) * correction + self.epsilon))


class RMSprop(Optimizer):
    """Steps scaled by the size of recent gradients (Hinton, 2012): w - rate * g / sqrt(v + epsilon), as Keras has it.

    v = rho * v + (1 - rho) * g**2; centered: v - a**2 in place of v, with a = rho * a + (1 - rho) * g (Graves, 2013).
    momentum: the step s becomes m = momentum * m + s.
    """

    def __init__(
        self,
        learning_rate: Any = 0.001,
        rho: float = 0.9,
        momentum: float = 0.0,
        epsilon: float = 1e-7,
        centered: bool = False,
        name: str | None = None,
        gradient_accumulation_steps: int = 1,
    ) -> None:
        super().__init__(learning_rate, name, gradient_accumulation_steps)
        self.rho, self.momentum = real("RMSprop: rho", rho, 0.0, 1.0), real("RMSprop: momentum", momentum, 0.0, 1.0)
        self.epsilon = real("RMSprop: epsilon", epsilon, 0.0)
        self.centered = centered

    def update(self, variable: Variable, g: Tensor, shared: Any) -> None:
        velocity = self.slot(variable, "velocity")
        v = velocity * self.rho + square(g) * (1.0 - self.rho)
        velocity.assign(v)
        if self.centered:
            average = self.slot(variable, "average_gradient")
            a = average * self.rho + g * (1.0 - self.rho)
            average.assign(a)
            v = v - square(a)
        step = shared * g / sqrt(v + self.epsilon)
        if self.momentum:
            momentum = self.slot(variable, "momentum")
            step = momentum * self.momentum + step
            momentum.assign(step)
        variable.assign_sub(step)


def _checked(rule: str, beta_1: float, beta_2: float, epsilon: float) -> tuple[float, float, float]:
    """What Adam and its kin take beside the rate. Raises ArgumentError for what has no meaning there."""
    return share(f"{rule}: beta_1", beta_1), share(f"{rule}: beta_2", beta_2), real(f"{rule}: epsilon", epsilon, 0.0)
