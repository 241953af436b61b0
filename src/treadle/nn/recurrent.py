"""Recurrent layers over (n, time, features): GRU and LSTM, with weights laid out as in Keras.

The products of the inputs with `kernel` are taken for all time steps at once, outside the loop.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from treadle.control.functional import scan
from treadle.core.arguments import whole
from treadle.core.tensor import Tensor
from treadle.core.variable import Variable
from treadle.errors import ArgumentError, ShapeError
from treadle.nn.layers import Layer
from treadle.ops.arranging import split
from treadle.ops.convert import as_tensor, operands
from treadle.ops.creation import zeros
from treadle.ops.elementwise import sigmoid, tanh
from treadle.ops.linalg import matmul
from treadle.ops.shaping import moveaxis


def gru_cell(projected: Any, state: Any, recurrent_kernel: Any, recurrent_bias: Any) -> Tensor:
    """One step of a GRU: the next state (Cho et al., 2014; the reset gate after the product, as in Keras).

    projected: (n, 3 units), the input's share of the gates update, reset and candidate; state: (n, units).
    """
    at_update, at_reset, at_candidate = split(projected, 3, axis=-1)
    of_update, of_reset, of_candidate = split(matmul(state, recurrent_kernel) + recurrent_bias, 3, axis=-1)
    update = sigmoid(at_update + of_update)
    candidate = tanh(at_candidate + sigmoid(at_reset + of_reset) * of_candidate)
    result: Tensor = update * state + (1 - update) * candidate
    return result


def lstm_cell(projected: Any, state: Any, carry: Any, recurrent_kernel: Any) -> tuple[Tensor, Tensor]:
    """One step of an LSTM: the next state and carry (Hochreiter and Schmidhuber, 1997).

    projected: (n, 4 units), the input's share of the gates input, forget, candidate and output.
    """
    write, keep, candidate, show = split(projected + matmul(state, recurrent_kernel), 4, axis=-1)
    carry = sigmoid(keep) * carry + sigmoid(write) * tanh(candidate)
    return sigmoid(show) * tanh(carry), carry


class _Recurrent(Layer):
    """What GRU and LSTM share: sizes, weights and the loop over time."""

    gates: int
    states: int
    kernel: Variable | None
    recurrent_kernel: Variable | None
    bias: Variable | None

    def __init__(
        self, units: int, return_sequences: bool = False, return_state: bool = False, name: str | None = None
    ) -> None:
        super().__init__(name)
        self.units = whole(f"{type(self).__name__}: units", units, 1)
        self.return_sequences, self.return_state = return_sequences, return_state
        self.kernel = None
        self.recurrent_kernel = None
        self.bias = None

    def bias_shape(self) -> tuple[int, ...]:
        """The shape of `bias`."""
        return (self.gates * self.units,)

    def build(self, shape: Sequence[Any], dtype: Any) -> None:
        """Make the weights for inputs of this shape and dtype; called at the first call."""
        if len(shape) != 3 or not isinstance(shape[2], int):
            raise ShapeError(f"{self.name}: takes (n, time, features), got shape {tuple(shape)}")
        width = self.gates * self.units
        self.kernel = self.add_weight("kernel", (shape[2], width), dtype, "glorot_uniform")
        self.recurrent_kernel = self.add_weight("recurrent_kernel", (self.units, width), dtype, "glorot_uniform")
        self.bias = self.add_weight("bias", self.bias_shape(), dtype, "zeros")

    def _start(self, x: Tensor, initial_state: Any) -> tuple[Any, ...]:
        if initial_state is None:
            return tuple([zeros((x.shape[0], self.units), dtype=x.dtype) for _ in range(self.states)])
        given = tuple(initial_state) if isinstance(initial_state, (list, tuple)) else (initial_state,)
        if len(given) != self.states:
            raise ArgumentError(f"{self.name}: initial_state must hold {self.states} tensors, got {len(given)}")
        states = tuple([as_tensor(state) for state in given])
        for state in states:
            if state.ndim != 2 or state.shape[1] != self.units or not _may_equal(state.shape[0], x.shape[0]):
                wanted = (x.shape[0], self.units)
                raise ShapeError(f"{self.name}: initial_state must have shape {wanted}, got {tuple(state.shape)}")
        return states

    def _step(self, state: Any, projected: Any) -> Any:
        raise NotImplementedError

    def _project(self, x: Tensor) -> Tensor:
        raise NotImplementedError

    def __call__(self, x: Any, initial_state: Any = None) -> Any:
        (x,) = operands((x,), "real float", type(self).__name__)
        if self.kernel is None:
            self.build(x.shape, x.dtype)
        by_time = moveaxis(self._project(x), 1, 0)
        start = self._start(x, initial_state)
        if self.return_sequences:
            last, rows = scan(lambda s, p: _twice(self._step(s, p)), start, by_time)
            result = moveaxis(rows, 0, 1)
        else:
            last, _ = scan(lambda s, p: (self._step(s, p), ()), start, by_time)
            result = last[0]
        return (result, *last) if self.return_state else result


def _twice(state: Any) -> Any:
    return state, state[0]


class GRU(_Recurrent):
    """A gated recurrent unit over (n, time, features); gives the last state (n, units), or all (n, time, units).

    return_sequences: the states of all steps. return_state: also the last state.
    `layer(x, initial_state=state)` begins with a state other than zeros.
    Weights: `kernel` (features, 3 units), `recurrent_kernel` (units, 3 units), `bias` (2, 3 units).

    >>> import treadle as td
    >>> td.nn.GRU(4, return_sequences=True)(td.ones((2, 5, 3))).shape
    (2, 5, 4)
    """

    gates, states = 3, 1

    def bias_shape(self) -> tuple[int, ...]:
        """The shape of `bias`: for the inputs and for the state."""
        return (2, 3 * self.units)

    def _project(self, x: Tensor) -> Tensor:
        assert self.bias is not None
        result: Tensor = matmul(x, self.kernel) + self.bias[0]
        return result

    def _step(self, state: Any, projected: Any) -> Any:
        assert self.bias is not None
        return (gru_cell(projected, state[0], self.recurrent_kernel, self.bias[1]),)


class LSTM(_Recurrent):
    """A long short-term memory over (n, time, features); gives the last state (n, units), or all (n, time, units).

    return_sequences: the states of all steps. return_state: also the last state and the last carry.
    `layer(x, initial_state=(state, carry))` begins with others than zeros.
    Weights: `kernel` (features, 4 units), `recurrent_kernel` (units, 4 units), `bias` (4 units,).

    >>> import treadle as td
    >>> td.nn.LSTM(4)(td.ones((2, 5, 3))).shape
    (2, 4)
    """

    gates, states = 4, 2

    def build(self, shape: Sequence[Any], dtype: Any) -> None:
        """Make the weights; the forget gate's bias begins at 1 (Jozefowicz et al., 2015)."""
        super().build(shape, dtype)
        units = self.units

        def remember(shape: Sequence[int], dtype: Any = None) -> Tensor:
            start: Tensor = zeros(shape, dtype=dtype).at[units : 2 * units].set(1)
            return start

        self.bias = self.add_weight("bias", self.bias_shape(), dtype, remember)

    def _project(self, x: Tensor) -> Tensor:
        result: Tensor = matmul(x, self.kernel) + self.bias
        return result

    def _step(self, state: Any, projected: Any) -> Any:
        return lstm_cell(projected, state[0], state[1], self.recurrent_kernel)


def _may_equal(one: Any, other: Any) -> bool:
    """Whether two sizes, which need not be known, can be the same."""
    return not (isinstance(one, int) and isinstance(other, int)) or one == other
