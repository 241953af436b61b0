"""`Embedding`: a learned vector for each of many whole numbers."""

from __future__ import annotations

from typing import Any

from treadle.core.arguments import whole
from treadle.core.dtypes import default_float
from treadle.core.tensor import Tensor
from treadle.core.variable import Variable
from treadle.errors import DTypeError
from treadle.nn.layers import Layer
from treadle.ops.convert import as_tensor
from treadle.ops.searching import take


class Embedding(Layer):
    """The rows of a table that integers choose; an index outside raises.

    input_dim: how many rows. output_dim: their length.
    Weight: `embeddings` (input_dim, output_dim), of the default float dtype, drawn uniformly from [-0.05, 0.05).

    >>> import treadle as td
    >>> td.nn.Embedding(10, 4)(td.asarray([[1, 2], [3, 9]])).shape
    (2, 2, 4)
    """

    embeddings: Variable | None

    def __init__(
        self, input_dim: int, output_dim: int, embeddings_initializer: Any = "uniform", name: str | None = None
    ) -> None:
        super().__init__(name)
        self.input_dim = whole("Embedding: input_dim", input_dim, 1)
        self.output_dim = whole("Embedding: output_dim", output_dim, 1)
        self.embeddings_initializer = embeddings_initializer
        self.embeddings = None

    def __call__(self, x: Any) -> Tensor:
        indices = as_tensor(x)
        if indices.dtype.kind not in "iu":
            raise DTypeError(f"{self.name}: takes integers, got {indices.dtype}")
        if self.embeddings is None:
            shape = (self.input_dim, self.output_dim)
            self.embeddings = self.add_weight("embeddings", shape, default_float(), self.embeddings_initializer)
        return take(self.embeddings, indices, axis=0)
