"""The declaration of an op: what it computes, what shape and dtype come out, and how gradients pass through.

An op is declared once, in `ops/`; eager execution, tracing, the interpreter, gradients and the compiler read it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from treadle.core.dtypes import string
from treadle.core.mode import current
from treadle.core.spec import Spec
from treadle.core.tensor import Tensor
from treadle.errors import GradientError

Array = np.ndarray[Any, Any]
Attrs = Mapping[str, Any]
Grad = Tensor | None
Pullback = Callable[[Sequence[Grad]], Sequence[Grad]]

REGISTRY: dict[str, Op] = {}


class Op:
    """One operation.

    name:    unique, as users know it.
    family:  elementwise, reduction, view, contraction, indexing, creation, host, effect or graph; how it is lowered.
    body:    (*arrays, **attrs) -> array, or tuple of arrays when `multiple`; NumPy's meaning is the op's meaning.
    infer:   (specs, attrs) -> tuple of Spec, one an output.
    vjp:     (g, y, *inputs, **attrs) -> gradient of each input (a tuple, or one when there is one input; None where
             none flows), written in public ops; or a tuple of such rules, one an input, of which only the wanted ones
             run. When `multiple`, g and y are tuples (entries of g may be None). None: the op passes no gradient.
    scalar:  for elementwise ops, how one element is computed in a kernel: a Python expression with {0}, {1}, ... for
             the operands, {t} for the dtype code of the first operand ("f4") and {o} for that of the result.
    effect:  must run, once, in program order (print, assert, callbacks).
    """

    __slots__ = ("body", "effect", "family", "infer", "multiple", "name", "scalar", "vjp")

    def __init__(
        self,
        name: str,
        body: Callable[..., Any],
        infer: Callable[[Sequence[Spec], Attrs], tuple[Spec, ...]],
        *,
        family: str,
        vjp: Callable[..., Any] | tuple[Callable[..., Any] | None, ...] | None = None,
        scalar: str | None = None,
        effect: bool = False,
        multiple: bool = False,
    ) -> None:
        self.name = name
        self.body = body
        self.infer = infer
        self.family = family
        self.vjp = vjp
        self.scalar = scalar
        self.effect = effect
        self.multiple = multiple

    def __repr__(self) -> str:
        return f"<op {self.name}>"

    @property
    def differentiable(self) -> bool:
        """Whether gradients may pass through."""
        return self.vjp is not None

    def bind(self, inputs: tuple[Tensor, ...], attrs: dict[str, Any]) -> tuple[Tensor, ...]:
        """Run the op in the current mode; eagerly when there is none."""
        mode = current()
        if mode is None:
            return self.run(inputs, attrs)
        return mode.process(self, inputs, attrs)

    def run(self, inputs: Sequence[Tensor], attrs: Attrs) -> tuple[Tensor, ...]:
        """Run the body on values."""
        result = self.body(*[x.array for x in inputs], **attrs)
        if self.multiple:
            return tuple([Tensor(as_array(item)) for item in result])
        return (Tensor(result if type(result) is np.ndarray else as_array(result)),)

    def record(
        self, inputs: tuple[Tensor, ...], attrs: dict[str, Any], needed: Sequence[bool]
    ) -> tuple[tuple[Tensor, ...], Pullback]:
        """Run in the current mode and give the pullback: cotangents of the outputs -> cotangents of the inputs.

        `needed` tells which inputs want a gradient; the others get None.
        """
        outputs = self.bind(inputs, attrs)

        def pullback(grads: Sequence[Grad]) -> Sequence[Grad]:
            return self.pull(grads, outputs, inputs, attrs, needed)

        return outputs, pullback

    def pull(
        self,
        grads: Sequence[Grad],
        outputs: Sequence[Tensor],
        inputs: Sequence[Tensor],
        attrs: Attrs,
        needed: Sequence[bool],
    ) -> Sequence[Grad]:
        """Apply the gradient rule."""
        rule = self.vjp
        if rule is None or (not self.multiple and grads[0] is None):
            return [None] * len(inputs)
        g: Any = tuple(grads) if self.multiple else grads[0]
        y: Any = tuple(outputs) if self.multiple else outputs[0]
        if isinstance(rule, tuple):
            return [r(g, y, *inputs, **attrs) if r and want else None for r, want in zip(rule, needed, strict=True)]
        result = rule(g, y, *inputs, **attrs)
        found: Sequence[Grad] = result if isinstance(result, (tuple, list)) else (result,)
        if len(found) != len(inputs):
            raise GradientError(f"{self.name}: its gradient rule gave {len(found)} gradients for {len(inputs)} inputs")
        return found


def as_array(value: Any) -> Array:
    """What a NumPy call gave, as an array: 0-d results come as scalars."""
    if isinstance(value, str):  # a 0-d string; NumPy would make it one of fixed width
        return np.asarray(value, string)
    return value if type(value) is np.ndarray else np.asarray(value)


def register(op: Op) -> Op:
    """Put an op into the registry; a test walks it."""
    if op.name in REGISTRY:
        raise ValueError(f"op {op.name!r} is declared twice")
    REGISTRY[op.name] = op
    return op
