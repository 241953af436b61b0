"""`td.nn`: layers, the functions they are made of, and initialisers."""

from treadle.nn import init
from treadle.nn.attention import MultiHeadAttention, attention, causal_mask
from treadle.nn.convolution import avg_pool2d, conv2d, max_pool2d
from treadle.nn.embedding import Embedding
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
from treadle.nn.images import AvgPool2D, Conv2D, MaxPool2D
from treadle.nn.layers import Activation, Dense, Dropout, Flatten, Layer, Reshape
from treadle.nn.module import Module
from treadle.nn.normalization import BatchNorm, LayerNorm, layer_norm
from treadle.nn.recurrent import GRU, LSTM, gru_cell, lstm_cell
from treadle.nn.sequential import Sequential

__all__ = [
    "GRU",
    "LSTM",
    "Activation",
    "AvgPool2D",
    "BatchNorm",
    "Conv2D",
    "Dense",
    "Dropout",
    "Embedding",
    "Flatten",
    "Layer",
    "LayerNorm",
    "MaxPool2D",
    "Module",
    "MultiHeadAttention",
    "Reshape",
    "Sequential",
    "attention",
    "avg_pool2d",
    "causal_mask",
    "conv2d",
    "dropout",
    "elu",
    "gelu",
    "gru_cell",
    "init",
    "layer_norm",
    "log_softmax",
    "lstm_cell",
    "max_pool2d",
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
