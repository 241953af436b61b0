"""`td.nn`: layers, the functions they are made of, and initialisers."""

from treadle.nn import init
from treadle.nn.functional import (
    dropout,
    elu,
    gelu,
    log_softmax,
    relu,
    selu,
    sigmoid,
    silu,
    softmax,
    softplus,
    softsign,
    swish,
    tanh,
)
from treadle.nn.layers import Activation, Dense, Dropout, Flatten, Layer
from treadle.nn.module import Module
from treadle.nn.sequential import Sequential

__all__ = [
    "Activation",
    "Dense",
    "Dropout",
    "Flatten",
    "Layer",
    "Module",
    "Sequential",
    "dropout",
    "elu",
    "gelu",
    "init",
    "log_softmax",
    "relu",
    "selu",
    "sigmoid",
    "silu",
    "softmax",
    "softplus",
    "softsign",
    "swish",
    "tanh",
]
