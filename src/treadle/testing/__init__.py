"""`td.testing`: checks of one's own functions."""

from treadle.testing.gradients import check_grads

__all__ = ["check_grads"]
