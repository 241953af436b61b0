"""Which work writes its result over a value that dies there: less memory, and lines that are in the cache already.

A kernel may when it reads each element before it writes that of the result; an update of a few elements may always.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

from treadle.compile.fusion.items import Group, Item, makes
from treadle.compile.inplace import overwrites
from treadle.compile.views import View
from treadle.compile.ways import updates_in_place
from treadle.core.tensor import Symbol

if TYPE_CHECKING:
    from treadle.compile.lower import Lowerer

Env = dict[Symbol, View]


def aim_back(
    items: Sequence[Item],
    targets: Env,
    last: Mapping[Symbol, int],
    root: Mapping[Symbol, Symbol],
    outputs: set[Symbol],
    begun: set[Symbol],
) -> None:
    """Let what is updated on the way to a result be made in the result's memory from the first update on.

    begun: values of which parts are made in their memory before it is their turn.
    """
    place = {s: k for k, item in enumerate(items) if not isinstance(item, Group) for s in makes(item)}
    for symbol, end in list(targets.items()):
        if end.buffer.kind != "output":
            continue
        new = symbol
        while new.node is not None and updates_in_place(new.node) and new in place and new not in begun:
            old = new.node.inputs[0]
            dies = last.get(old) == place[new] and old not in root and old not in outputs
            if not dies or old in targets or sum(root.get(s, s) is old for s in new.node.inputs) > 1:
                break
            if old.node is None or not (updates_in_place(old.node) or (old.node.op == "matmul" and old in place)):
                break
            targets[old] = end
            new = old


def take_over(
    lowerer: Lowerer,
    item: Item,
    wanted: set[Symbol],
    env: Env,
    targets: Env,
    dying: list[Symbol],
    root: Mapping[Symbol, Symbol],
) -> None:
    """Give results of an item the memory of values that die there; those are taken out of `dying`."""
    results = [s for s in _results(item, wanted) if s not in targets]
    if not results:
        return
    for new in results:  # `dying` shrinks as results are placed
        for old in _operands(item, dying):
            if _fits(lowerer, env.get(old), new) and _may(item, new, old, root):
                targets[new] = env[old]
                _remove(dying, old)
                break


def _results(item: Item, wanted: set[Symbol]) -> Collection[Symbol]:
    """The results of an item that may lie in memory of others."""
    if not isinstance(item, Group):
        return item.node.outputs if updates_in_place(item.node) else ()
    if item.moments or item.checks:  # a check that fails tells of what was read
        return ()
    made = [node.outputs[0] for node in item.nodes if node.definition.family != "view"]
    return [s for s in made if s in wanted and s not in item.ends]


def _operands(item: Item, dying: list[Symbol]) -> list[Symbol]:
    """Those of the values that the item reads, in the order of its nodes: sets have none that lasts."""
    ending = set(dying)
    if not isinstance(item, Group):
        return [s for s in item.node.inputs[:1] if s in ending]
    return [s for node in item.nodes for s in node.inputs if s in ending]


def _may(item: Item, new: Symbol, old: Symbol, root: Mapping[Symbol, Symbol]) -> bool:
    if isinstance(item, Group):
        return overwrites(item, new, old, root)
    inputs = item.node.inputs
    return inputs[0] is old and sum(root.get(s, s) is old for s in inputs) == 1


def _fits(lowerer: Lowerer, view: View | None, new: Symbol) -> bool:
    """Whether a value's memory is the program's own, all of it the value, and as large as the result."""
    return (
        view is not None
        and view.shape == new.shape
        and view.dtype == new.dtype
        and id(view.buffer) in lowerer.owned
        and view.contiguous
        and view.nbytes == view.buffer.nbytes
    )


def _remove(symbols: list[Symbol], symbol: Symbol) -> None:
    """Symbols compare element by element, so `list.remove` will not do."""
    del symbols[next(k for k, s in enumerate(symbols) if s is symbol)]
