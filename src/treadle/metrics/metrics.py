"""Metrics: running totals in Variables."""

from __future__ import annotations

from typing import Any

from treadle.core.dtypes import default_float, dtype_name, float64
from treadle.core.spec import broadcast_shapes
from treadle.core.tensor import Tensor
from treadle.core.variable import Variable
from treadle.errors import DTypeError, ShapeError
from treadle.nn.module import Module
from treadle.ops.comparison import where
from treadle.ops.convert import as_tensor, cast
from treadle.ops.elementwise import astype
from treadle.ops.reductions import argmax, sum


class Metric(Module):
    """Base: a total and a count, in float64 so that long sums stay exact; the result is their quotient, 0 at first."""

    def __init__(self, name: str | None = None) -> None:
        super().__init__(name)
        self.total = Variable(0.0, dtype=float64, trainable=False)
        self.count = Variable(0.0, dtype=float64, trainable=False)

    def _add(self, values: Tensor, weights: Any = None) -> None:
        kind = type(self).__name__
        values = _numbers(kind, "values", values)
        if weights is None:
            self.total.assign_add(sum(values))
            self.count.assign_add(astype(as_tensor(values.size), float64))
        else:
            share = _numbers(kind, "sample_weight", weights)
            if broadcast_shapes(values.shape, share.shape, op=kind) != tuple(values.shape):
                raise ShapeError(f"{kind}: sample_weight of shape {share.shape} is more than the values {values.shape}")
            self.total.assign_add(sum(values * share))
            self.count.assign_add(sum(share + values * 0))

    def result(self) -> Tensor:
        """The metric over everything since the last reset, in the default float."""
        count = self.count.value
        return cast(where(count == 0, 0.0, self.total / where(count == 0, 1.0, count)), default_float())

    def reset(self) -> None:
        """Forget everything."""
        self.total.assign(0.0)
        self.count.assign(0.0)


def _numbers(metric: str, what: str, value: Any) -> Tensor:
    """Numbers or bools, as float64."""
    tensor = as_tensor(value)
    if tensor.dtype.kind not in "biuf":
        raise DTypeError(f"{metric}: {what} must be real numbers, got {dtype_name(tensor.dtype)}")
    return astype(tensor, float64)


class Mean(Metric):
    """The mean of all values that it is called with, weighted where weights are given.

    >>> import treadle as td
    >>> mean = td.metrics.Mean()
    >>> mean(2.0)
    >>> mean(td.asarray([4.0, 6.0]))
    >>> mean.result().item()
    4.0
    """

    def __call__(self, values: Any, sample_weight: Any = None) -> None:
        self._add(as_tensor(values), sample_weight)


class SparseCategoricalAccuracy(Metric):
    """How often the largest of `y_pred` (..., classes) stands at the class `y_true` (...), as a share.

    >>> import treadle as td
    >>> accuracy = td.metrics.SparseCategoricalAccuracy()
    >>> accuracy(td.asarray([0, 1]), td.asarray([[2.0, 1.0], [3.0, 0.0]]))
    >>> accuracy.result().item()
    0.5
    """

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        labels, scores = as_tensor(y_true), as_tensor(y_pred)
        if not scores.shape or tuple(labels.shape) != tuple(scores.shape[:-1]):
            raise ShapeError(
                f"{type(self).__name__}: y_true has shape {labels.shape}, y_pred {scores.shape}; y_pred must have one "
                "axis more, of the classes"
            )
        if labels.dtype.kind not in "biuf":
            raise DTypeError(f"{type(self).__name__}: y_true must hold classes, got {dtype_name(labels.dtype)}")
        self._add(cast(argmax(scores, axis=-1), labels.dtype) == labels, sample_weight)
