"""Scaled dot-product attention, and the layer of many heads around it (Vaswani et al., 2017)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from treadle.core.arguments import share, whole
from treadle.core.tensor import Tensor
from treadle.core.variable import Variable
from treadle.errors import ShapeError
from treadle.nn.functional import dropout, softmax
from treadle.nn.layers import Layer
from treadle.ops.comparison import where
from treadle.ops.convert import as_tensor, operands
from treadle.ops.creation import ones
from treadle.ops.linalg import matmul
from treadle.ops.shaping import permute_dims, reshape


def causal_mask(queries: int, keys: int) -> Tensor:
    """(queries, keys) of bool: each position sees those up to its own, both counted from the end."""
    from treadle.core.dtypes import bool_
    from treadle.ops.arranging import tril

    return tril(ones((queries, keys), dtype=bool_), k=keys - queries)


def attention(query: Any, key: Any, value: Any, mask: Any = None) -> Tensor:
    """softmax(query @ key^T / sqrt(d)) @ value, over the last two axes (positions, d).

    mask: bool, broadcast against (..., queries, keys); False hides a position.

    >>> import treadle as td
    >>> x = td.ones((2, 5, 4))
    >>> td.nn.attention(x, x, x).shape
    (2, 5, 4)
    """
    q, k, v = operands((query, key, value), "real float", "attention")
    scores = matmul(q * (1 / math.sqrt(q.shape[-1])), k.mT)
    if mask is not None:
        scores = where(mask, scores, -math.inf)
    return matmul(softmax(scores), v)


class MultiHeadAttention(Layer):
    """Attention in `num_heads` heads of size `key_dim`; `layer(query, value, key=value)` over (n, positions, features).

    `attention_mask`: bool (n, queries, keys) or what broadcasts to it; `use_causal_mask` hides later positions.
    dropout: share of the result of the heads that is dropped while training.
    Weights: `query_kernel`, `key_kernel`, `value_kernel` (features, heads key_dim), `output_kernel`
    (heads key_dim, features of the query), each with a bias.

    >>> import treadle as td
    >>> layer = td.nn.MultiHeadAttention(num_heads=2, key_dim=3)
    >>> layer(td.ones((4, 5, 6)), td.ones((4, 7, 6))).shape
    (4, 5, 6)
    """

    query_kernel: Variable | None

    def __init__(
        self, num_heads: int, key_dim: int, dropout: float = 0.0, use_bias: bool = True, name: str | None = None
    ) -> None:
        super().__init__(name)
        self.num_heads = whole("MultiHeadAttention: num_heads", num_heads, 1)
        self.key_dim = whole("MultiHeadAttention: key_dim", key_dim, 1)
        self.dropout, self.use_bias = share("MultiHeadAttention: dropout", dropout), use_bias
        self.query_kernel = None

    def build(self, query: Sequence[Any], key: Sequence[Any], value: Sequence[Any], dtype: Any) -> None:
        """Make the weights for inputs of these shapes; called at the first call."""
        for shape in (query, key, value):
            if len(shape) != 3 or not isinstance(shape[2], int):
                raise ShapeError(f"{self.name}: takes (n, positions, features), got shape {tuple(shape)}")
        width = self.num_heads * self.key_dim
        sizes = {
            "query": (query[2], width),
            "key": (key[2], width),
            "value": (value[2], width),
            "output": (width, query[2]),
        }
        for part, (rows, columns) in sizes.items():
            kernel = self.add_weight(f"{part}_kernel", (rows, columns), dtype, "glorot_uniform")
            setattr(self, f"{part}_kernel", kernel)
            if self.use_bias:
                setattr(self, f"{part}_bias", self.add_weight(f"{part}_bias", (columns,), dtype, "zeros"))

    def _dense(self, part: str, x: Tensor) -> Tensor:
        y = matmul(x, getattr(self, f"{part}_kernel"))
        return y + getattr(self, f"{part}_bias") if self.use_bias else y

    def _heads(self, part: str, x: Tensor) -> Tensor:
        """(n, heads, positions, key_dim)."""
        y = self._dense(part, x)
        return permute_dims(reshape(y, (*y.shape[:2], self.num_heads, self.key_dim)), (0, 2, 1, 3))

    def __call__(
        self,
        query: Any,
        value: Any,
        key: Any = None,
        attention_mask: Any = None,
        use_causal_mask: bool = False,
        training: bool = False,
    ) -> Tensor:
        q, v, k = operands((query, value, value if key is None else key), "real float", "MultiHeadAttention")
        if self.query_kernel is None:
            self.build(q.shape, k.shape, v.shape, q.dtype)
        mask: Any = None
        if attention_mask is not None:
            mask = as_tensor(attention_mask)
            mask = reshape(mask, (mask.shape[0], 1, *mask.shape[1:])) if mask.ndim == 3 else mask
        if use_causal_mask:
            earlier = causal_mask(q.shape[1], k.shape[1])
            mask = earlier if mask is None else mask & earlier
        heads = attention(self._heads("query", q), self._heads("key", k), self._heads("value", v), mask)
        joined = reshape(permute_dims(heads, (0, 2, 1, 3)), (*q.shape[:2], self.num_heads * self.key_dim))
        return self._dense("output", dropout(joined, self.dropout, training))
