"""Cross-entropy in eager code: one op and its gradient instead of thirty. Traced code takes small ones, which fuse."""

from __future__ import annotations

from typing import Any

import numpy as np

from treadle.core.mode import current
from treadle.core.op import Array, Op
from treadle.core.spec import Spec
from treadle.core.tensor import Tensor
from treadle.ops.elementwise import exp
from treadle.ops.reductions import sum
from treadle.ops.shaping import expand_dims

_UNSIGNED = {1: np.uint8, 2: np.uint16, 4: np.uint32, 8: np.uint64}
# Up to so many classes the rows' largest elements are found faster in a transposed copy (measured).
_NARROW = 32


def _less_largest(scores: Array) -> Array:
    """The scores less the largest of their row."""
    if scores.ndim == 2 and scores.shape[1] <= _NARROW:
        top: Array = np.maximum.reduce(scores.T.copy(), axis=0)[:, None]
    else:
        top = np.maximum.reduce(scores, axis=-1, keepdims=True)
    return np.subtract(scores, top, order="C")  # rows can be reached without a copy


def _loss_body(scores: Array, labels: Array) -> Array:
    shifted = _less_largest(scores)
    classes = shifted.shape[-1]
    right = shifted.reshape(-1, classes)[np.arange(labels.size), labels.reshape(-1)].reshape(labels.shape)
    return np.asarray(np.log(np.add.reduce(np.exp(shifted), axis=-1)) - right)


def _gradient_body(scores: Array, labels: Array) -> Array:
    """softmax(scores), less 1 at the right class."""
    raised = _less_largest(scores)
    np.exp(raised, out=raised)
    raised /= np.add.reduce(raised, axis=-1, keepdims=True)
    raised.reshape(-1, raised.shape[-1])[np.arange(labels.size), labels.reshape(-1)] -= 1
    return raised


def _gradient_vjp(g: Tensor, y: Tensor, scores: Tensor, labels: Tensor) -> Tensor:
    # softmax by its logarithm, in ops with gradients of their own: any order of derivative works
    share = exp(scores - expand_dims(_log_sum_exp(scores), axis=-1))
    return share * (g - sum(share * g, axis=-1, keepdims=True))


def _log_sum_exp(scores: Tensor) -> Tensor:
    from treadle.ops.reductions import logsumexp

    return logsumexp(scores, axis=-1)


_gradient_op = Op(
    "cross_entropy_gradient",
    _gradient_body,
    lambda specs, attrs: (specs[0],),
    family="host",
    vjp=(_gradient_vjp, None),
)


def _loss_vjp(g: Tensor, y: Tensor, scores: Tensor, labels: Tensor) -> Tensor:
    return expand_dims(g, axis=-1) * _compute(_gradient_op, scores, labels)


_loss_op = Op(
    "cross_entropy",
    _loss_body,
    lambda specs, attrs: (Spec(specs[0].shape[:-1], specs[0].dtype),),
    family="host",
    vjp=(_loss_vjp, None),
)


def _compute(op: Op, scores: Tensor, labels: Tensor) -> Tensor:
    mode = current()
    if mode is not None and not mode.plain:
        return op.bind((scores, labels), {})[0]
    result = Tensor(op.body(scores.array, labels.array))
    if mode is not None:
        mode.note(op, (scores, labels), {}, result)
    return result


def cross_entropy(labels: Any, scores: Any) -> Tensor | None:
    """logsumexp(scores) - scores[label] for each sample; None where it must be done step by step.

    That is while tracing, where there is a mode that wants to see each step, and for classes out of range.
    """
    mode = current()
    if (mode is not None and not mode.plain) or type(labels) is not Tensor or type(scores) is not Tensor:
        return None
    classes = scores.array.shape[-1]
    numbers = labels.array
    if numbers.dtype.kind == "i":
        numbers = numbers.view(_UNSIGNED[numbers.dtype.itemsize])  # what is below 0 is large
    if not numbers.size or np.maximum.reduce(numbers, axis=None) >= classes:
        return None
    return _compute(_loss_op, scores, labels)
