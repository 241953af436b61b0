"""Reduced cross-entropy in eager code: one op instead of thirty. Traced code takes small ones, which fuse."""

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


def _losses(scores: Array, labels: Array) -> tuple[Array, Array, Array, tuple[Array, Array]]:
    """The loss of each sample; exp of the scores less the largest, their sums, and where the right classes are."""
    shifted = _less_largest(scores)
    raised = np.exp(shifted)
    totals = np.add.reduce(raised, axis=-1, keepdims=True)
    places = np.arange(labels.size), labels.reshape(-1)
    right = shifted.reshape(-1, shifted.shape[-1])[places].reshape(labels.shape)
    return np.asarray(np.log(totals[..., 0]) - right), raised, totals, places


def _reduced(each: Array, reduction: str) -> Array:
    if reduction == "none":
        return each
    total = np.add.reduce(each, axis=None)
    return np.asarray(total / each.dtype.type(each.size) if reduction == "mean" else total)


def _loss_body(scores: Array, labels: Array, *, reduction: str, shares: Array | None) -> Array:
    return _reduced(_losses(scores, labels)[0], reduction)


def _shares(raised: Array, totals: Array, places: tuple[Array, Array]) -> Array:
    """softmax(scores), less 1 at the right class; takes the memory of `raised`."""
    raised /= totals
    raised.reshape(-1, raised.shape[-1])[places] -= 1
    return raised


def _gradient_body(scores: Array, labels: Array) -> Array:
    return _shares(*_losses(scores, labels)[1:])


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


def _loss_vjp(g: Tensor, y: Tensor, scores: Tensor, labels: Tensor, *, reduction: str, shares: Array | None) -> Tensor:
    if reduction == "mean":
        g = g / labels.array.size
    if shares is not None and type(g) is Tensor and current() is None:
        return Tensor(shares * (g.array[..., None] if reduction == "none" else g.array))
    found = _compute_gradient(scores, labels)
    return (expand_dims(g, axis=-1) if reduction == "none" else g) * found


_loss_op = Op(
    "cross_entropy",
    _loss_body,
    lambda specs, attrs: (Spec(specs[0].shape[:-1] if attrs["reduction"] == "none" else (), specs[0].dtype),),
    family="host",
    vjp=(_loss_vjp, None),
)


def _compute_gradient(scores: Tensor, labels: Tensor) -> Tensor:
    mode = current()
    if mode is not None and not mode.plain:
        return _gradient_op.bind((scores, labels), {})[0]
    result = Tensor(_gradient_body(scores.array, labels.array))
    if mode is not None:
        mode.note(_gradient_op, (scores, labels), {}, result)
    return result


def cross_entropy(labels: Any, scores: Any, reduction: str) -> Tensor | None:
    """logsumexp(scores) - scores[label] of the samples, reduced; None where it must be done step by step.

    That is while tracing, where there is a mode that wants to see each step, and for classes out of range.
    """
    mode = current()
    if (mode is not None and not mode.plain) or type(labels) is not Tensor or type(scores) is not Tensor:
        return None
    if scores.array.dtype.kind != "f":
        return None
    classes = scores.array.shape[-1]
    numbers = labels.array
    if numbers.dtype.kind == "i":
        numbers = numbers.view(_UNSIGNED[numbers.dtype.itemsize])  # what is below 0 is large
    if not numbers.size or np.maximum.reduce(numbers, axis=None) >= classes:
        return None
    each, raised, totals, places = _losses(scores.array, labels.array)
    result = Tensor(_reduced(each, reduction))
    if mode is not None:  # a tape: what the gradient needs is nearly there
        attrs = {"reduction": reduction, "shares": _shares(raised, totals, places)}
        mode.note(_loss_op, (scores, labels), attrs, result)
    return result
