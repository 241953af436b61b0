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


def _hit(scores: Array, labels: Array) -> Array:
    """True at the class that each label names."""
    found: Array = labels[..., None] == np.arange(scores.shape[-1], dtype=labels.dtype)
    return found


def _loss_body(scores: Array, labels: Array) -> Array:
    shifted = scores - np.maximum.reduce(scores, axis=-1, keepdims=True)
    right = np.add.reduce(np.where(_hit(scores, labels), shifted, 0), axis=-1)
    return np.asarray(np.log(np.add.reduce(np.exp(shifted), axis=-1)) - right)


def _gradient_body(scores: Array, labels: Array) -> Array:
    """softmax(scores), less 1 at the right class."""
    raised = np.exp(scores - np.maximum.reduce(scores, axis=-1, keepdims=True))
    raised /= np.add.reduce(raised, axis=-1, keepdims=True)
    np.subtract(raised, 1, out=raised, where=_hit(scores, labels))
    found: Array = raised
    return found


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
    if not labels.array.size or np.minimum.reduce(labels.array, axis=None) < 0:
        return None
    if np.maximum.reduce(labels.array, axis=None) >= classes:
        return None
    return _compute(_loss_op, scores, labels)
