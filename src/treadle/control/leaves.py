"""The leaves of what a loop carries: names and places as groups of leaves, compared before and after an iteration."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from treadle import nest
from treadle.control.invariants import agrees, open_shape
from treadle.control.journal import note, place_of
from treadle.control.lists import content, is_outer, replace_content, twin
from treadle.control.merge import common, fix_text, is_number, leaf_spec, presence, spec_text
from treadle.control.undefined import Undefined
from treadle.core.dim import Dim
from treadle.core.spec import Spec
from treadle.core.tensor import Tensor
from treadle.core.variable import Variable, read_variable
from treadle.errors import ControlFlowError
from treadle.ops.convert import as_tensor


class Leaf:
    """One leaf of the loop's values: carried with a spec, or a Python object that must stay the same."""

    __slots__ = ("declared", "elastic", "optional", "path", "spec", "value")

    def __init__(self, path: str, value: Any) -> None:
        self.path = path
        self.value = value
        self.optional = presence(value) is not True  # None until it is set; a flag is carried beside it
        carried = is_number(value) or isinstance(value, Tensor)
        self.spec: Spec | None = leaf_spec(value) if carried else None
        self.declared: tuple[Any, ...] | None = None  # a shape that changes; see `invariants`
        self.elastic = False  # memory of an open number of rows; see `elastic`

    def open(self) -> None:
        """From now on this is memory of an open number of rows."""
        assert self.spec is not None
        self.elastic = True
        self.spec = Spec((Dim.fresh("room"), *self.spec.shape[1:]), self.spec.dtype)

    @property
    def missing(self) -> bool:
        return isinstance(self.value, Undefined)


class Group:
    """One name or place that the loop carries: its leaves, and how they make its value."""

    __slots__ = ("leaves", "name", "rebound", "shape", "whole")

    def __init__(self, name: str, value: Any, whole: bool = False) -> None:
        self.name = name
        self.whole = whole  # a list that keeps its identity: the journal sees what happens to it
        self.rebound = False  # the body binds the name to another list, whose content this one takes over
        if whole:
            self.leaves, self.shape = [Leaf(name, value)], nest.LEAF
            return
        value = nest.map(_as_carried, value)
        flat, paths, self.shape = nest.flatten_with_paths(value, name)
        self.leaves = [Leaf(path, x) for path, x in zip(paths, flat, strict=True)]

    def build(self, flat: Iterator[Any]) -> Any:
        """The value with the next leaves of `flat`."""
        return nest.unflatten(self.shape, [next(flat) for _ in self.leaves])

    def rebind(self, result: Any) -> Any:
        """At the end of a body: a list that the name is bound to anew (`xs = xs + [v]`) counts as new content."""
        if not self.whole or not isinstance(result, list) or result is self.leaves[0].value:
            return result
        held = self.leaves[0].value
        if not self.rebound:
            self.rebound = True
            made, place = twin(held), place_of(held)
            if place is not None:  # the body has changed it before: what it held when the loop began
                replace_content(made, place.old)
            self.leaves[0].value = held = made
            held._born = None  # it outlives the body
        note(held, "list", None, self.name)
        replace_content(held, content(result))
        return held

    def receive(self, result: Any) -> list[Any]:
        """The leaves of what an iteration gives."""
        if is_outer(result) and all(leaf.missing and leaf.value.guarded for leaf in self.leaves):
            self.whole, self.leaves, self.shape = True, [Leaf(self.name, self.leaves[0].value)], nest.LEAF
        if self.whole:
            return [result]
        result = nest.map(lambda x: read_variable(x) if isinstance(x, Variable) else x, result)
        flat, found = nest.flatten_with_structure(result)
        if found != self.shape:
            if not all(leaf.missing or leaf.value is None for leaf in self.leaves):
                raise ControlFlowError(
                    f"the loop changes the structure of {self.name!r}: {self.shape!r} before an iteration, {found!r} "
                    "after it; keep it the same"
                )
            # A name first set inside the loop, or None until then: its structure is known only now.
            first = self.leaves[0].value
            self.leaves = [Leaf(self.name, first) for _ in flat]
            self.shape = found
        return flat


def _as_carried(x: Any) -> Any:
    """A leaf as a loop carries it: variables by their values, NumPy arrays as tensors."""
    if isinstance(x, Variable):
        return read_variable(x)
    return as_tensor(x) if isinstance(x, np.ndarray) else x


def settle(leaves: list[Leaf], results: list[Any]) -> bool:
    """Compare what goes into an iteration with what comes out; raise specs where needed. True when all agree."""
    settled = True
    for leaf, result in zip(leaves, results, strict=True):
        if leaf.optional and result is None and leaf.spec is not None:
            continue
        if leaf.spec is None and leaf.value is None and (is_number(result) or isinstance(result, Tensor)):
            leaf.spec = leaf_spec(result)
            settled = False
            continue
        if leaf.spec is None:
            if leaf.missing and not isinstance(result, Undefined):
                leaf.spec = leaf_spec(result) if is_number(result) or isinstance(result, Tensor) else None
                if leaf.spec is None and leaf.value.guarded:
                    leaf.value = result  # nobody reads it before it is set, so it may as well be set from the start
                elif leaf.spec is None:
                    raise ControlFlowError(
                        f"{leaf.path!r} is first set inside a loop on tensors, to {result!r}; "
                        "only tensors and numbers can be; set it before the loop"
                    )
                settled = False
            elif not leaf.missing and not _unchanged(leaf.value, result):
                raise ControlFlowError(
                    f"the loop changes {leaf.path!r} from {leaf.value!r} to {result!r}; "
                    "only tensors and numbers can change in a loop on tensors"
                )
            continue
        if isinstance(result, Undefined) or not (
            is_number(result) or isinstance(result, Tensor) or hasattr(result, "__array__")
        ):
            raise ControlFlowError(
                f"{leaf.path!r} is {spec_text(leaf.spec)} before an iteration and {result!r} after it; "
                "only tensors and numbers can be carried through a loop on tensors"
            )
        spec = leaf_spec(result)
        dtype, weak = common(leaf.spec, spec)
        settled &= not open_declared(leaf)
        first = int(leaf.elastic)
        same = leaf.spec.shape[first:] == spec.shape[first:]
        if leaf.declared is not None:
            same = agrees(leaf.declared, spec.shape)
        if dtype is None or not same:
            raise ControlFlowError(
                f"the loop variable {leaf.path!r} changes: {spec_text(leaf.spec)} before an iteration, "
                f"{spec_text(spec)} after it; {fix_text(leaf.spec, spec)}{_growing(leaf.spec, spec)}"
            )
        wanted = Spec(leaf.spec.shape, dtype, weak)
        if wanted != leaf.spec:
            leaf.spec = wanted
            settled = False
    return settled


def open_declared(leaf: Leaf) -> bool:
    """Give a leaf whose shape is declared its open size; whether it had none."""
    if leaf.declared is None or leaf.spec is None or leaf.spec.shape == open_like(leaf):
        return False
    leaf.spec = Spec(open_shape(leaf.declared), leaf.spec.dtype, leaf.spec.weak)
    return True


def _growing(before: Spec, after: Spec) -> str:
    """What to do about a value that gets longer in each iteration."""
    if before.ndim != after.ndim or before.shape == after.shape:
        return ""
    sizes = ", ".join("None" if a != b else str(a) for a, b in zip(before.shape, after.shape, strict=True))
    declare = f"td.set_shape_invariant(x, ({sizes}{',' if before.ndim == 1 else ''}))"
    return (
        "; what grows belongs in a list: append the parts in the loop, and td.stack or td.concat the list after it; or "
        f"declare it first in the body, {declare}, for a slower loop"
    )


def open_like(leaf: Leaf) -> Any:
    """The shape of a declared leaf's spec once it is open; None before."""
    assert leaf.spec is not None
    assert leaf.declared is not None
    shape = leaf.spec.shape
    known = all((size is None) == (type(found) is not int) for size, found in zip(leaf.declared, shape, strict=True))
    return shape if known else None


def _unchanged(before: Any, after: Any) -> bool:
    if before is after:
        return True
    try:
        return type(before) is type(after) and bool(before == after)
    except Exception:  # any object may refuse to be compared; then it has changed
        return False
