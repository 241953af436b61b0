"""`td.optim`: rules that change Variables along their gradients."""

from treadle.optim.optimizer import Optimizer
from treadle.optim.rules import SGD, Adam

__all__ = ["SGD", "Adam", "Optimizer"]
