"""`Trace`: a graph and what belongs to it: signature, captures, variables, guards, and how results are put together."""

from __future__ import annotations

import types
import weakref
from collections.abc import Sequence
from typing import Any

import numpy as np

from treadle import nest
from treadle.autograph.source import suspension
from treadle.control.merge import presence
from treadle.core.dim import Dim, is_static
from treadle.core.graph import PRUNE, Graph
from treadle.core.mode import current
from treadle.core.tensor import Scope, Symbol, Tensor, tensors_of
from treadle.core.tracer import Traced, Tracer, dim_value
from treadle.core.variable import Variable, read_variable
from treadle.errors import SignatureMismatch, TraceError
from treadle.function import keys
from treadle.function.execution import call_in_mode, protect, run_trace
from treadle.function.frozen import leak_error
from treadle.function.guards import Guards
from treadle.function.signature import Signature, array_of
from treadle.ops.convert import _writable, as_tensor, settled

_TENSOR, _INT, _VALUE, _COPY, _MAYBE = "tensor", "int", "value", "copy", "maybe"


class Result:
    """What a traced function returned: a nest with tensors left open."""

    __slots__ = ("kinds", "leaves", "plain", "single", "structure")

    def __init__(self, result: Any, name: str, scope: Scope) -> None:
        leaves, self.structure = nest.flatten_with_structure(_open_lists(result))
        self.kinds: list[str] = []
        self.leaves: list[Any] = []
        for leaf in leaves:
            kind, kept = _leaf(leaf, name, scope)
            self.kinds.append(kind)
            self.leaves.append(kept)
        self.single = self.structure is nest.LEAF and self.kinds == [_TENSOR]
        self.plain = all(kind == _TENSOR for kind in self.kinds)

    def take_outputs(self) -> list[Tensor]:
        """The tensors among the leaves; they are forgotten here."""
        outputs = []
        for position, kind in enumerate(self.kinds):
            if kind in (_TENSOR, _INT, _MAYBE):
                outputs.append(self.leaves[position])
                if kind == _MAYBE:  # a tensor, or None: what follows tells which
                    outputs.append(self.leaves[position].present)
                self.leaves[position] = None
        return outputs

    def rebuild(self, tensors: Sequence[Tensor]) -> Any:
        """The nest with these tensors."""
        if self.plain:
            return nest.unflatten(self.structure, tensors)
        found = iter(tensors)
        leaves = [_filled(kind, leaf, found) for kind, leaf in zip(self.kinds, self.leaves, strict=True)]
        return leaves[0] if self.structure is nest.LEAF else nest.unflatten(self.structure, leaves)


def _open_lists(result: Any) -> Any:
    """The result with lists that have grown in staged code as nests of their rows."""
    leaves, shape = nest.flatten_with_structure(result)
    if not any(type(leaf) in nest.LISTS for leaf in leaves):
        return result
    from treadle.control.list_forms import as_nest

    return nest.unflatten(shape, [as_nest(leaf) if type(leaf) in nest.LISTS else leaf for leaf in leaves])


def _leaf(leaf: Any, name: str, scope: Scope) -> tuple[str, Any]:
    if isinstance(leaf, Tensor):
        there = presence(leaf)
        made = settled(leaf)
        if there is True:
            return _TENSOR, made
        if made is not leaf:
            made.present = there  # type: ignore[attr-defined]
        return _MAYBE, made
    if isinstance(leaf, Variable):
        return _TENSOR, read_variable(leaf)
    if isinstance(leaf, Dim):
        return _INT, dim_value(leaf)
    if isinstance(leaf, np.ndarray):
        return _COPY, leaf
    if isinstance(leaf, (types.GeneratorType, types.CoroutineType)):
        code = leaf.gi_code if isinstance(leaf, types.GeneratorType) else leaf.cr_code
        leaf.close()
        raise TraceError(
            f"{name} is a generator or a coroutine, which cannot be traced: {code.co_name} in {code.co_filename} "
            f"{suspension(code).removeprefix('it ')}; decorate the functions that it calls"
        )
    inside = list(getattr(leaf, "__dict__", {}).values()) if not isinstance(leaf, type) else []
    if isinstance(leaf, (set, frozenset, dict, list, tuple)):
        inside += list(leaf.values()) if isinstance(leaf, dict) else list(leaf)
    for value in inside:
        if isinstance(value, Symbol) and scope.encloses(value.scope):
            raise leak_error(f"the {type(leaf).__name__} that it returns", value, name)
    return _VALUE, leaf


def _filled(kind: str, leaf: Any, found: Any) -> Any:
    if kind == _TENSOR:
        return next(found)
    if kind == _MAYBE:
        tensor, there = next(found), next(found)
        if not isinstance(there, Symbol):
            return tensor if there.array else None
        if isinstance(tensor, Symbol):
            tensor.present = there
        return tensor
    if kind == _INT:
        tensor = next(found)
        return tensor if isinstance(tensor, Symbol) else int(tensor.array)
    return leaf.copy() if kind == _COPY else leaf


def _prune(graph: Graph, feeds: Any, fetches: Any) -> Any:
    from treadle.function.prune import prune  # few programs cut graphs

    return prune(graph, feeds, fetches)


PRUNE.append(_prune)


class Trace:
    """One trace of a function: `.signature`, `.graph`, `.kernels`, `.reason`; callable with matching tensors."""

    __slots__ = (
        *("__weakref__", "capture_shapes", "captures", "graph", "guards", "home", "key", "live", "mortal", "name"),
        *("reads", "reason", "result", "signature", "single", "specs", "symbolic", "unsafe_captures", "writes"),
    )

    def __init__(
        self,
        name: str,
        signature: Signature,
        key: tuple[Any, ...],
        traced: Traced,
        tracer: Tracer,
        result: Result,
        home: Scope | None,
    ) -> None:
        self.name = name
        self.signature = signature
        self.graph: Graph = traced.graph
        self.key = key
        self.mortal = True  # whether its key names objects that may end
        self.reason = "first trace"
        self.result = result
        self.single = result.single
        self.guards: Guards | None = None
        self.home = home  # the outer trace whose tensors this one captures, if it does
        live = {id(tensor) for _, tensor in tracer.arrays.values()}
        self.captures = traced.captures
        self.live = tuple(id(x) in live for x in traced.captures)
        self.capture_shapes = tuple(x.shape for x in traced.captures)
        self.graph.derived["captures"] = len(tracer.inputs), self.captures, self.live
        self.unsafe_captures = tuple(
            x.array for x, is_live in zip(self.captures, self.live, strict=True) if is_live and _writable(x.array)
        )
        self.reads = tuple(weakref.ref(v) for v in traced.reads)
        self.writes = tuple(weakref.ref(v) for v in traced.writes)
        self.specs = tuple([s.spec for s in tracer.inputs])
        self.symbolic = False in [is_static(spec.shape) for spec in self.specs]

    @property
    def kernels(self) -> tuple[Any, ...]:
        """The native kernels of the graph, each with `.name`, `.source` and `.provenance`; made now if they must be."""
        from treadle.compile import kernels_of  # the compiler is above tracing, and only asked for here

        return tuple(kernels_of(self.graph))

    @property
    def memory(self) -> Any:
        """What a call needs and moves, in bytes: `.arguments .results .variables .constants .work .peak .traffic`.

        Of the program that ran last, where sizes are open. Raises TraceError where none of them has run yet.
        """
        from treadle.compile import memory_of

        found = memory_of(self.graph)
        if found is None:
            raise TraceError(f"{self.name}: its sizes are open; call the trace once, and ask for its memory then")
        return found

    def run(self, arrays: Sequence[np.ndarray[Any, Any]], unsafe: Sequence[np.ndarray[Any, Any]] = ()) -> Any:
        """The function's result for argument arrays; `unsafe` ones are the caller's own."""
        return self.wrap(run_trace(self, arrays), unsafe)

    def wrap(self, results: list[np.ndarray[Any, Any]], unsafe: Sequence[np.ndarray[Any, Any]] = ()) -> Any:
        """What the function returns, of the arrays that its program gives."""
        if unsafe or self.unsafe_captures:
            results = protect(results, [*unsafe, *self.unsafe_captures])
        if self.single:
            return Tensor(results[0])
        return self.result.rebuild(tensors_of(results))

    def run_tensors(self, leaves: Sequence[Any]) -> Any:
        """The function's result for tensor leaves (tensors, arrays), in the current mode."""
        if current() is not None:
            return self.result.rebuild(call_in_mode(self, [as_tensor(x) for x in leaves]))
        arrays, unsafe = [], []
        for leaf in leaves:
            array, shared = array_of(leaf)
            arrays.append(array)
            if shared:
                unsafe.append(array)
        return self.run(arrays, unsafe)

    def __call__(self, *tensors: Any) -> Any:
        """Run with the tensors of the signature, in its order. Raises SignatureMismatch when they do not fit."""
        leaves = [x for x in nest.flatten(list(tensors)) if keys.kind_of(x) in keys.TENSORS]
        sizes: dict[str, Any] = {}
        specs = [keys.spec_of(x) for x in leaves]
        wanted = self.specs
        fits = len(specs) == len(wanted) and all(
            got.dtype == want.dtype and match_shape(want.shape, got.shape, sizes)
            for want, got in zip(wanted, specs, strict=True)
        )
        if not fits:
            given = ", ".join(map(keys.describe_spec, specs)) or "no tensors"
            raise SignatureMismatch(
                f"this trace of {self.name} takes the tensors of {self.signature}, got {given}; "
                "call the function itself to have other arguments traced"
            )
        return self.run_tensors(leaves)

    def __repr__(self) -> str:
        return f"<trace {self.name}{self.signature}>"


def match_shape(want: tuple[Any, ...], got: tuple[Any, ...], sizes: dict[str, Any]) -> bool:
    """Whether a shape fits one with open sizes; `sizes` collects what each name stands for."""
    if len(want) != len(got):
        return False
    for a, b in zip(want, got, strict=True):
        if isinstance(a, Dim):
            if sizes.setdefault(repr(a), b) != b:
                return False
        elif a != b:
            return False
    return True


def matches(trace: Trace, parts: tuple[keys.Part, ...]) -> bool:
    """Whether a trace with open sizes serves the arguments with this key."""
    mine = trace.key[0]
    if len(mine) != len(parts):
        return False
    sizes: dict[str, Any] = {}
    for a, b in zip(mine, parts, strict=True):
        if a[0] == b[0] == keys.TENSOR:
            if a[1] != b[1] or a[3] != b[3] or not match_shape(a[2], b[2], sizes):
                return False
        elif a != b:
            return False
    return True
