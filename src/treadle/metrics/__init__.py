"""`td.metrics`: called to update, `.result()`, `.reset()`; the state stands in Variables, so that they work in graphs."""

from treadle.metrics.metrics import Mean, Metric, SparseCategoricalAccuracy

__all__ = ["Mean", "Metric", "SparseCategoricalAccuracy"]
