"""`td.metrics`: called to update, `.result()`, `.reset()`; state in Variables, so that they work in graphs."""

from treadle.metrics.metrics import Mean, Metric, SparseCategoricalAccuracy

__all__ = ["Mean", "Metric", "SparseCategoricalAccuracy"]
