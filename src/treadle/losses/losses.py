"""Losses: one number for each sample, then the reduction."""

from __future__ import annotations

from typing import Any

from treadle.core.dtypes import dtype_name
from treadle.core.spec import broadcast_shapes
from treadle.core.tensor import Tensor
from treadle.errors import DTypeError, ShapeError
from treadle.losses import at_once
from treadle.nn.functional import shift
from treadle.ops.comparison import where
from treadle.ops.convert import as_tensor, operands
from treadle.ops.effects import assert_
from treadle.ops.elementwise import exp, log, square
from treadle.ops.reductions import all, mean, sum
from treadle.ops.shaping import expand_dims

_REDUCTIONS = ("mean", "sum", "none")


class Loss:
    """Base of losses: `call` gives one number for each sample, `reduction` ("mean", "sum" or "none") joins them."""

    def __init__(self, reduction: str = "mean") -> None:
        if reduction not in _REDUCTIONS:
            raise ValueError(f"{type(self).__name__}: reduction must be one of {_REDUCTIONS}, got {reduction!r}")
        self.reduction = reduction

    def call(self, y_true: Any, y_pred: Any) -> Tensor:
        """The loss of each sample."""
        raise NotImplementedError(f"{type(self).__name__} does not say what the loss of a sample is")

    def __call__(self, y_true: Any, y_pred: Any) -> Tensor:
        each = self.call(y_true, y_pred)
        if self.reduction == "none":
            return each
        return mean(each) if self.reduction == "mean" else sum(each)


class MeanSquaredError(Loss):
    """(y_true - y_pred)**2, the mean over the last axis for each sample.

    Raises ShapeError when the shapes differ otherwise than by axes of size 1.

    >>> import treadle as td
    >>> td.losses.MeanSquaredError()(td.asarray([[1.0, 2.0]]), td.asarray([[1.0, 4.0]])).item()
    2.0
    """

    def call(self, y_true: Any, y_pred: Any) -> Tensor:
        y_true, y_pred = operands((y_true, y_pred), "float", "MeanSquaredError")
        if len(y_true.shape) != len(y_pred.shape):
            # (n,) against (n, 1) would broadcast to (n, n), a mistake that trains without a word
            raise ShapeError(
                f"MeanSquaredError: y_true has shape {tuple(y_true.shape)}, y_pred {tuple(y_pred.shape)}; "
                "bring them to one shape with td.reshape"
            )
        broadcast_shapes(y_true.shape, y_pred.shape, op="MeanSquaredError")
        squared = square(y_true - y_pred)
        return mean(squared, axis=-1) if squared.shape else squared


class SparseCategoricalCrossentropy(Loss):
    """The negative log-probability of the right class.

    y_true: integers, shape (...); y_pred: logits (or, with `from_logits=False`, probabilities), shape (..., classes).

    From logits it is logsumexp(y_pred) - y_pred[y_true], which does not overflow.
    Raises AssertionFailed for a class outside 0, ..., classes - 1; ShapeError or DTypeError where the two do not fit.

    >>> import treadle as td
    >>> loss = td.losses.SparseCategoricalCrossentropy(from_logits=True)
    >>> loss(td.asarray([0]), td.asarray([[1000.0, 0.0, -1000.0]])).item()
    0.0
    """

    def __init__(self, from_logits: bool = False, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self.from_logits = from_logits

    def __call__(self, y_true: Any, y_pred: Any) -> Tensor:
        if self.from_logits and type(y_true) is type(y_pred) is Tensor:
            _check_fit(y_true, y_pred)
            found = at_once.cross_entropy(y_true, y_pred, self.reduction)
            if found is not None:
                return found
        return super().__call__(y_true, y_pred)

    def call(self, y_true: Any, y_pred: Any) -> Tensor:
        labels = as_tensor(y_true)
        (scores,) = operands((y_pred,), "real float", "SparseCategoricalCrossentropy")
        _check_fit(labels, scores)
        hit = right_class(labels, scores)
        # Compare and select rather than gather: it fuses with its neighbours, and so does its gradient.
        if not self.from_logits:
            return -log(sum(where(hit, scores, 0), axis=-1))
        shifted = shift(scores, -1)  # before the difference is taken, so that large logits cost no digits
        return log(sum(exp(shifted), axis=-1)) - sum(where(hit, shifted, 0), axis=-1)


def _check_fit(labels: Tensor, scores: Tensor) -> None:
    if labels.dtype.kind not in "iu":
        raise DTypeError(
            f"SparseCategoricalCrossentropy: y_true must hold integers, got {dtype_name(labels.dtype)}; "
            "the order is (y_true, y_pred)"
        )
    batch = scores.shape[:-1]
    if scores.shape and labels.shape == batch:
        return
    fits = len(labels.shape) == len(batch) and _all_equal(labels.shape, batch)
    if not scores.shape or not fits:
        raise ShapeError(
            f"SparseCategoricalCrossentropy: y_true has shape {tuple(labels.shape)}, y_pred {tuple(scores.shape)}; "
            "y_pred must have one axis more, of the classes"
        )


def _all_equal(a: Any, b: Any) -> bool:
    sizes = [(x, y) for x, y in zip(a, b, strict=True) if isinstance(x, int) and isinstance(y, int)]
    return [x for x, _ in sizes] == [y for _, y in sizes]


def right_class(labels: Tensor, scores: Tensor) -> Tensor:
    """True at the class that each label names, of the scores' shape; checks the labels' range at run time."""
    classes = scores.shape[-1]
    if not isinstance(classes, int):
        raise ShapeError(
            f"SparseCategoricalCrossentropy: the number of classes must be known, got shape {scores.shape}"
        )
    assert_(all((labels >= 0) & (labels < classes)), f"y_true holds a class outside 0, ..., {classes} - 1")
    numbers = as_tensor(list(range(classes)), labels.dtype)  # a constant of the graph, made once
    return expand_dims(labels, axis=-1) == numbers
