"""`td.optim`: rules that change Variables along their gradients, learning rates that change, clipping."""

from treadle.optim import schedules
from treadle.optim.clipping import clip_by_global_norm, global_norm
from treadle.optim.optimizer import Optimizer
from treadle.optim.rules import SGD, Adam, AdamW, Nadam, RMSprop

__all__ = [
    "SGD",
    "Adam",
    "AdamW",
    "Nadam",
    "Optimizer",
    "RMSprop",
    "clip_by_global_norm",
    "global_norm",
    "schedules",
]
