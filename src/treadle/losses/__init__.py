"""`td.losses`: called `(y_true, y_pred)`; a mean over the batch unless `reduction` says otherwise."""

from treadle.losses.losses import Loss, MeanSquaredError, SparseCategoricalCrossentropy

__all__ = ["Loss", "MeanSquaredError", "SparseCategoricalCrossentropy"]
