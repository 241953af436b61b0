"""`td.data`: datasets, iterated in batches of eager tensors."""

from treadle.data.dataset import Dataset

__all__ = ["Dataset"]
