"""`td.testing`: checks of one's own functions."""

from treadle.testing.check import check
from treadle.testing.gradients import check_grads
from treadle.testing.strategies import MissingExtra, tensors

__all__ = ["MissingExtra", "check", "check_grads", "tensors"]
