"""`Sequential`: layers one after another."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

from treadle.core.mode import call_user
from treadle.errors import ArgumentError
from treadle.nn.layers import Layer
from treadle.nn.module import Module

Step = Callable[..., Any]


class Sequential(Layer):
    """Layers (or any functions of one tensor) that are called in order, each with what the one before gives.

    `training=` is handed to those layers that take it.

    >>> import treadle as td
    >>> model = td.nn.Sequential([td.nn.Dense(3, "relu"), td.nn.Dense(2)])
    >>> model(td.ones((1, 4))).shape, len(model.variables)
    ((1, 2), 4)
    """

    def __init__(self, layers: Sequence[Step] = (), name: str | None = None) -> None:
        if callable(layers):
            raise ArgumentError(f"Sequential: takes a list of layers, got {layers!r}; write [layer]")
        super().__init__(name)
        self._steps: tuple[Step, ...] = ()
        for layer in layers:
            self.add(layer)

    @property
    def layers(self) -> tuple[Step, ...]:
        """The layers, first to last."""
        return self._steps

    def add(self, layer: Step) -> None:
        """Put a layer at the end. Raises ArgumentError for what cannot be called with one tensor."""
        if not callable(layer):
            raise ArgumentError(f"Sequential: a layer must be callable, got {type(layer).__name__}")
        self._steps = (*self._steps, layer)

    def pop(self) -> Step:
        """Take the last layer away and return it. Raises IndexError when there is none."""
        if not self._steps:
            raise IndexError("Sequential: there is no layer to pop")
        *rest, last = self._steps
        self._steps = tuple(rest)
        return last

    def __call__(self, x: Any, training: bool = False) -> Any:
        for step in self._steps:
            if isinstance(step, Module) and takes_training(type(step)):
                x = call_user(step, x, training)
            else:
                x = call_user(step, x)
        return x


_takes_training: dict[type, bool] = {}


def takes_training(kind: type) -> bool:
    """Whether the second argument of a layer's call is `training`."""
    found = _takes_training.get(kind)
    if found is None:
        parameters = list(inspect.signature(kind.__call__).parameters)
        found = _takes_training[kind] = parameters[2:3] == ["training"]
    return found
