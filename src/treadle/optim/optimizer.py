"""`Optimizer`: pairs gradients with Variables, keeps the slots of each, counts the steps; the rules are in `rules`."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from treadle.autodiff.gradient_tape import GradientTape
from treadle.control.functional import cond
from treadle.core.arguments import real, whole
from treadle.core.dtypes import DType, dtype_name, int64
from treadle.core.mode import activate, call_user
from treadle.core.tensor import Tensor
from treadle.core.variable import Variable
from treadle.errors import ArgumentError, DTypeError, GradientWarning, ShapeError, user_location
from treadle.nn.module import Module
from treadle.ops.convert import as_tensor, cast
from treadle.ops.creation import zeros_like

Gradients = Iterable[tuple[Any, Variable]]


class Slots:
    """The state that a rule keeps for each Variable. It is no list or dict: making slots calls for no new trace."""

    def __init__(self) -> None:
        self._of: dict[int, tuple[Variable, dict[str, Variable]]] = {}

    def get(self, variable: Variable, name: str, owner: Module) -> Variable:
        """The slot of this name for a variable; of zeros when it is new."""
        _, held = self._of.setdefault(id(variable), (variable, {}))
        if name not in held:
            with activate(None):  # zeros now, whatever is being traced or recorded
                zeros = np.zeros(variable.shape, variable.dtype)
                held[name] = Variable(zeros, name=f"{owner.name}/{variable.name}/{name}", trainable=False)
        return held[name]

    def all(self) -> list[Variable]:
        """Every slot, in the order in which they were made."""
        return [slot for _, held in self._of.values() for slot in held.values()]

    def __getstate__(self) -> list[tuple[Variable, dict[str, Variable]]]:
        return list(self._of.values())  # identities do not outlive a process

    def __setstate__(self, state: list[tuple[Variable, dict[str, Variable]]]) -> None:
        self._of = {id(variable): (variable, held) for variable, held in state}


class Optimizer(Module):
    """Base of optimizers.

    learning_rate: a number (a new one makes traced functions trace again), a Variable (its value may change freely), or
                   a function of the step, 0 at the first one (see `td.optim.schedules`).
    gradient_accumulation_steps: gradients of so many steps are averaged, and applied at the last of them.
    """

    def __init__(self, learning_rate: Any, name: str | None = None, gradient_accumulation_steps: int = 1) -> None:
        kind = type(self).__name__
        if not (callable(learning_rate) or isinstance(learning_rate, (Tensor, Variable))):
            real(f"{kind}: learning_rate, unless it is a function or a Variable,", learning_rate, 0.0)
        super().__init__(name)
        self.learning_rate = learning_rate
        steps = whole(f"{kind}: gradient_accumulation_steps", gradient_accumulation_steps, 1)
        self.gradient_accumulation_steps = steps
        if self.gradient_accumulation_steps > 1:
            self.accumulated = Variable(0, dtype=int64, trainable=False)
        self.iterations = Variable(0, dtype=int64, trainable=False)
        self._slots = Slots()

    @property
    def variables(self) -> tuple[Variable, ...]:
        """The step counter, a learning rate that is a Variable, and the slots made so far."""
        return (*super().variables, *self._slots.all())

    def apply_gradients(self, grads_and_vars: Gradients) -> None:
        """Change each variable along its gradient, in the order given.

        A gradient of None is skipped with a GradientWarning that names the variable. Raises ShapeError for a gradient
        of another shape, DTypeError for one of integers: then nothing has changed. Works in traced functions; slots
        are made at the first call.
        """
        pairs = _pairs(grads_and_vars)
        for g, variable in pairs:
            if g is None:
                _warn_missing(variable)
        present = [(_fitting(g, variable), variable) for g, variable in pairs if g is not None]
        if self.gradient_accumulation_steps > 1:
            self._accumulate(present)
        else:
            self._apply(present)

    def _accumulate(self, present: Sequence[tuple[Tensor, Variable]]) -> None:
        """Add to the means of gradients; they are applied, and begin anew, when there are enough."""
        wanted = self.gradient_accumulation_steps
        means = [(self.slot(variable, "gradient"), variable) for _, variable in present]
        for (g, _), (mean, _) in zip(present, means, strict=True):
            mean.assign_add(g / wanted)
        self.accumulated.assign_add(1)

        def enough() -> None:
            self._apply([(mean.value, variable) for mean, variable in means])
            self.accumulated.assign(0)
            for mean, _ in means:
                mean.assign(zeros_like(mean.value))

        cond(self.accumulated.value >= wanted, enough, lambda: None)

    def _apply(self, present: Sequence[tuple[Tensor, Variable]]) -> None:
        """One step of the rule for each variable."""
        self.iterations.assign_add(1)
        self.begin()
        shared: dict[DType, Any] = {}  # what all variables of a dtype have in common is computed once
        for g, variable in present:
            if variable.dtype not in shared:
                shared[variable.dtype] = self.prepare(variable.dtype)
            self.update(variable, g, shared[variable.dtype])

    def minimize(self, loss_fn: Callable[[], Any], variables: Sequence[Variable]) -> Tensor:
        """One step: differentiates `loss_fn()` by the variables and applies the gradients; gives the loss."""
        if not callable(loss_fn):
            raise ArgumentError(f"minimize: loss_fn must be a function without arguments, got {loss_fn!r}")
        if isinstance(variables, (Variable, Tensor)):
            raise ArgumentError(f"minimize: variables must be a list of Variables, got {variables!r}; write [variable]")
        with GradientTape() as tape:
            tape.watch(list(variables))
            loss = as_tensor(call_user(loss_fn))
        self.apply_gradients(zip(tape.gradient(loss, list(variables)), variables, strict=True))
        return loss

    def begin(self) -> None:
        """What a rule does once a step, before the updates; `iterations` counts this step already."""

    def prepare(self, dtype: DType) -> Any:
        """What the updates of one step share, for variables of this dtype: here the learning rate."""
        return self.rate(dtype)

    def update(self, variable: Variable, g: Tensor, shared: Any) -> None:
        """Change one variable along its gradient, which has its shape and dtype."""
        raise NotImplementedError(f"{type(self).__name__} has no rule for a variable")

    def rate(self, dtype: DType) -> Any:
        """The learning rate: a Python number, or a tensor of this dtype."""
        rate = self.learning_rate
        if callable(rate):
            rate = as_tensor(call_user(rate, self.iterations.value - 1))
        return cast(as_tensor(rate), dtype) if isinstance(rate, (Tensor, Variable)) else rate

    def slot(self, variable: Variable, name: str) -> Variable:
        """The state of this name that the rule keeps for a variable."""
        return self._slots.get(variable, name, self)


def _pairs(given: Any) -> list[tuple[Any, Variable]]:
    """The pairs of a gradient and its Variable."""
    pairs = [] if isinstance(given, (Tensor, Variable, dict)) else list(given)
    if isinstance(given, (Tensor, Variable, dict)) or not all(_is_pair(pair) for pair in pairs):
        raise ArgumentError(
            "apply_gradients: takes pairs of a gradient and its Variable, as zip(gradients, variables) gives them; "
            f"got {next((pair for pair in pairs if not _is_pair(pair)), given)!r}"
        )
    return [(g, variable) for g, variable in pairs]


def _is_pair(pair: Any) -> bool:
    return isinstance(pair, (tuple, list)) and len(pair) == 2 and isinstance(pair[1], Variable)


def _fitting(g: Any, variable: Variable) -> Tensor:
    g = as_tensor(g)
    known = all(isinstance(size, int) for size in (*g.shape, *variable.shape))
    if known and tuple(g.shape) != tuple(variable.shape):
        raise ShapeError(
            f"apply_gradients: the gradient of {variable.name!r} has shape {tuple(g.shape)}, "
            f"the variable {tuple(variable.shape)}"
        )
    if g.dtype.kind not in "fc" and g.dtype != variable.dtype:
        raise DTypeError(f"apply_gradients: the gradient of {variable.name!r} is {dtype_name(g.dtype)}")
    return cast(g, variable.dtype)


def _warn_missing(variable: Variable) -> None:
    message = (
        f"apply_gradients: the gradient of the Variable {variable.name!r} is None, so it stays as it is; the loss does "
        "not depend on it, or the tape did not see how (tape.explain(loss, variable) says why)"
    )
    place = user_location()
    if place is None:
        warnings.warn(message, GradientWarning, stacklevel=3)
    else:
        warnings.warn_explicit(message, GradientWarning, place.file, place.line)
