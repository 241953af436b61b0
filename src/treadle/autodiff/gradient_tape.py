"""`td.GradientTape`: records what is done with watched tensors, and gives gradients."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from treadle import nest
from treadle.autodiff.tape import Tape, Trail
from treadle.core.dtypes import dtype_name, is_float
from treadle.core.mode import _current, activate, current, modes
from treadle.core.op import Grad
from treadle.core.tensor import Scope, Symbol, Tensor
from treadle.core.tracer import active_tracer
from treadle.core.variable import Variable
from treadle.errors import GradientError, ShapeError
from treadle.ops.convert import as_tensor, cast
from treadle.ops.creation import ones, zeros
from treadle.ops.numbers import as_operand


class GradientTape:
    """Records operations, so that gradients can be asked for.

    persistent: keep the record, so that `gradient` may be called more than once.
    watch_accessed_variables: watch trainable variables that are read.

    >>> import treadle as td
    >>> x = td.asarray(3.0)
    >>> with td.GradientTape() as tape:
    ...     tape.watch(x)
    ...     y = x * x
    >>> tape.gradient(y, x)
    Tensor(6., shape=(), dtype=float32)
    """

    def __init__(self, persistent: bool = False, watch_accessed_variables: bool = True) -> None:
        self._persistent = persistent
        self._tape = Tape(watch_accessed_variables)
        self._scope: Scope | None = None
        self._used = False
        self._trail: Trail | None = None
        self._tokens: list[Any] = []

    def __enter__(self) -> GradientTape:
        if self._tokens:
            raise GradientError("this GradientTape is already recording; enter it once, or use a second tape")
        tracer = active_tracer()
        self._scope = tracer.scope if tracer is not None else None
        self._tape.outer = outer = current()
        self._tape.plain = outer is None
        self._tokens.append(_current.set(self._tape))
        return self

    def __exit__(self, *exc_info: object) -> None:
        _current.reset(self._tokens.pop())

    def watch(self, nest_of_tensors: Any) -> None:
        """Record what is done with these tensors or variables from here on. Raises GradientError for integers."""
        tracer = active_tracer()
        if self._tokens and tracer is not None and tracer.scope is not self._scope:
            raise GradientError(
                "watch: this tape was entered outside the function, branch or loop body that is being traced, which "
                "is one operation to it; watch the tensor outside, or enter a tape inside"
            )
        for x in nest.flatten(nest_of_tensors):
            if type(x) is Tensor and x.array.dtype.kind in "fc":
                self._tape.watch(x)
            elif isinstance(x, Variable):
                self._tape.watch_variable(x)
            elif isinstance(x, Tensor):
                if not is_float(x.dtype):
                    raise GradientError(
                        f"watch: gradients flow through floating tensors only, got {dtype_name(x.dtype)}; "
                        "convert it with td.astype first"
                    )
                self._tape.watch(x)
            else:
                raise GradientError(f"watch: takes tensors and variables, got {type(x).__name__}; use td.asarray")

    def stop_recording(self) -> _Paused:
        """Context manager: what runs inside is not recorded."""
        return _Paused(self._tape)

    def reset(self) -> None:
        """Forget everything recorded and watched so far."""
        self._tape.reset()
        if not self._tokens:
            self._tape.outer = None
        self._used, self._trail = False, None

    def watched_variables(self) -> tuple[Variable, ...]:
        """The variables that were read or watched, in order."""
        return tuple(variable for variable, _ in self._tape.variables.values())

    def gradient(self, target: Any, sources: Any, output_gradients: Any = None, unconnected: str = "none") -> Any:
        """The gradient of `target` with respect to each of `sources`; a nest of the sources' structure.

        target:           tensor, or nest of tensors whose gradients add up; a non-scalar target is summed.
        output_gradients: cotangents of the target's shape, instead of ones.
        unconnected:      "none": None for a source that the target does not depend on; "zero": zeros.

        Raises GradientError when a tape that is not persistent is asked twice, or is asked inside a traced function
        although it was entered outside.
        """
        if unconnected not in ("none", "zero"):
            raise GradientError(f'gradient: unconnected must be "none" or "zero", got {unconnected!r}')
        self._check_use()
        leaves, structure = nest.flatten_with_structure(sources)
        groups = [(x,) if type(x) is Tensor else self._group(x) for x in leaves]
        asked = nest.flatten(target)
        self._check_seen([*asked, *leaves])
        targets = [as_tensor(t) for t in asked if t is not None]
        seeds = self._seeds(targets, output_gradients)
        if not all(is_float(t.dtype) for t in targets):
            seeds = [seed for t, seed in zip(targets, seeds, strict=True) if is_float(t.dtype)]
            targets = [t for t in targets if is_float(t.dtype)]
        with activate(self._around()):
            grads = self._tape.backward(targets, seeds, groups)
            if unconnected == "zero":
                grads = [_zeros(x) if g is None else g for g, x in zip(grads, leaves, strict=True)]
        if not self._persistent:
            self._finish_record()
        return nest.unflatten(structure, grads)

    def jacobian(self, target: Tensor, sources: Any, unconnected: str = "none") -> Any:
        """All first derivatives: for each source a tensor of shape `target.shape + source.shape`.

        One backward pass for each element of the target, whose shape must be known.
        """
        from treadle.ops.shaping import reshape, stack

        self._check_use()
        target = as_tensor(target)
        self._check_seen([target, *nest.flatten(sources)])
        if any(not isinstance(size, int) for size in target.shape):
            raise ShapeError(f"jacobian: the target's shape must be known, got {target.shape}")
        leaves, structure = nest.flatten_with_structure(sources)
        groups = [self._group(x) for x in leaves]
        count = 1
        for size in target.shape:
            count *= size
        rows: list[list[Grad]] = []
        with activate(self._around()):
            for k in range(count):
                rows.append(self._tape.backward([target], [_basis(target, k, count)], groups))
            results: list[Grad] = []
            for position, x in enumerate(leaves):
                column = [row[position] for row in rows]
                if all(g is None for g in column):
                    results.append(_zeros(x) if unconnected == "zero" else None)
                    continue
                filled = [g if g is not None else _zeros(x) for g in column]
                results.append(reshape(stack(filled), (*target.shape, *x.shape)))
        if not self._persistent:
            self._finish_record()
        return nest.unflatten(structure, results)

    def explain(self, target: Any, source: Any) -> str:
        """Why the gradient of `target` with respect to `source` is None, or that it is not."""
        from treadle.autodiff.explain import explain

        self._group(source)
        return explain(self._trail or self._tape.trail(), as_tensor(target), source)

    def _finish_record(self) -> None:
        """A tape that is not persistent keeps no tensor alive once it has given its gradient."""
        self._used = True
        self._trail = self._tape.trail()
        self._tape.forget()

    def _around(self) -> Any:
        """The mode that gradients run in: not this tape itself, unless it is persistent and still recording."""
        mode = current()
        return self._tape.outer if mode is self._tape and not self._persistent else mode

    def _check_use(self) -> None:
        if self._used:
            raise GradientError(
                "this tape has given its gradient and forgotten its record; "
                "make it with td.GradientTape(persistent=True) to ask it more than once"
            )
        tracer = active_tracer()
        inside = tracer.scope if tracer is not None else None
        if inside is not None and (self._scope is None or not self._scope.encloses(inside)):
            raise GradientError(
                "this tape was entered outside the function that is being traced, so it cannot be asked inside it; "
                "enter a tape inside the function, or ask this one outside"
            )

    def _check_seen(self, tensors: list[Any]) -> None:
        """What a branch or a loop body makes is inside one operation of a tape that was entered around it."""
        own = self._scope
        if own is None:
            return
        for x in tensors:
            if isinstance(x, Symbol) and x.scope.owner is not own and own.encloses(x.scope):
                raise GradientError(
                    f"gradient: the tensor {x.name!r} was made inside a branch or a loop body, which is one operation "
                    "to this tape, entered outside it; ask for gradients of its results, or enter a tape inside",
                    x.location,
                )

    def _group(self, source: Any) -> Sequence[Tensor]:
        if isinstance(source, Variable):
            return self._tape.variables.get(id(source), (source, []))[1]
        if isinstance(source, Tensor):
            return (source,)
        raise GradientError(
            f"gradient: a source must be a tensor or a Variable, got {type(source).__name__}; "
            "make it with td.asarray and watch it"
        )

    def _seeds(self, targets: list[Tensor], output_gradients: Any) -> list[Tensor]:
        if output_gradients is None:
            return [_ones(t) if is_float(t.dtype) else t for t in targets]
        given = [as_tensor(g) for g in nest.flatten(output_gradients)]
        if len(given) != len(targets):
            raise GradientError(f"gradient: {len(given)} output_gradients for {len(targets)} targets")
        for t, g in zip(targets, given, strict=True):
            if t.shape != g.shape:
                raise ShapeError(f"gradient: output_gradients has shape {g.shape}, the target {t.shape}")
        return [cast(g, t.dtype) for t, g in zip(targets, given, strict=True)]

    def __repr__(self) -> str:
        state = "recording" if self._tape in modes() else "stopped"
        kind = "persistent, " if self._persistent else ""
        return f"<GradientTape: {kind}{state}, {len(self._tape.records)} operations>"


def _ones(like: Tensor) -> Tensor:
    """The cotangent of a target that is summed."""
    if type(like) is Tensor and current() is None:
        one = as_operand(1, like.array.dtype)
        return Tensor(one.copy() if not like.array.ndim else np.full(like.array.shape, one))
    return ones(like.shape, dtype=like.dtype)


def _zeros(like: Any) -> Tensor:
    """The gradient of a source that nothing depends on."""
    return zeros(like.shape, dtype=like.dtype)


class _Paused:
    """See `GradientTape.stop_recording`."""

    def __init__(self, tape: Tape) -> None:
        self._tape = tape

    def __enter__(self) -> None:
        self._before = self._tape.recording
        self._tape.recording = False

    def __exit__(self, *exc_info: object) -> None:
        self._tape.recording = self._before


def _basis(target: Tensor, k: int, count: int) -> Tensor:
    """The k-th unit vector, in the target's shape."""
    array = np.zeros(count, target.dtype)
    array[k] = 1
    array = array.reshape(target.shape)
    tracer = active_tracer()
    return tracer.constant(array) if tracer is not None and isinstance(target, Symbol) else Tensor(array)
