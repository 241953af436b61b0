"""Laying out a loop over arrays that is one kernel: one call for all its steps, or calls of some steps each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from treadle.compile.run.executor import Ref
from treadle.compile.stepping.array_loop_text import ArrayLoopWriter, LoopText
from treadle.compile.stepping.array_loops import ArrayLoop, array_loop, block_of, chunk_of, plain_memory, stretch
from treadle.compile.views import Buffer, View
from treadle.core.dtypes import bool_
from treadle.core.graph import Node
from treadle.core.spec import Spec
from treadle.core.tensor import Symbol

if TYPE_CHECKING:
    from treadle.compile.lower import Lowerer

Env = dict[Symbol, View]


def lower_array_loop(lowerer: Lowerer, node: Node, env: Env, targets: Env) -> bool:
    """One kernel for the whole loop; False where it is none that fits."""
    loop = array_loop(node)
    if loop is None:
        return False
    views = [lowerer.value(s, env) for s in node.inputs]
    if not all(plain_memory(view.buffer) for view in views):
        return False
    _Layout(lowerer, loop, views, targets).call(env)
    return True


class _Layout:
    """Finds a place for each of the kernel's arguments."""

    def __init__(self, lowerer: Lowerer, loop: ArrayLoop, views: list[View], targets: Env) -> None:
        self.lowerer, self.loop, self.node = lowerer, loop, loop.node
        self.layout = loop.node.attrs["layout"]
        self.taken: list[Buffer] = []  # copies made for this loop
        self.count, carry, consts, xs = self.layout.parts(views)
        self.starts = [self._flat(v) for v in carry]
        self.consts = [self._flat(v) for v in consts]
        self.xs = [self._stepped(v) for v in xs]
        shared = {id(v.buffer) for v in (*self.starts, *self.consts, *self.xs, *views)}
        self.results = []
        for symbol in self.node.outputs:
            place = lowerer.fresh(symbol, targets)
            if id(place.buffer) in shared:  # the result's memory is that of a value that the loop still reads
                place = lowerer.memory(Spec(place.shape, place.dtype))
            shared.add(id(place.buffer))
            self.results.append(place)

    def _own(self, view: View, made: View) -> View:
        if made.buffer is not view.buffer:
            self.taken.append(made.buffer)
        return made

    def _flat(self, view: View) -> View:
        """A value in row order, over the loop's shape."""
        if view.shape and view.shape != self.loop.shape:
            view = stretch(view, self.loop.shape)
        return self._own(view, self.lowerer.contiguous(view))

    def _stepped(self, view: View) -> View:
        """Rows of which each is in row order, if with gaps."""
        return view if _gap(view) is not None else self._own(view, self.lowerer.contiguous(view))

    def call(self, env: Env) -> None:
        """The call, or the calls."""
        lowerer, asm, loop = self.lowerer, self.lowerer.asm, self.loop
        chunk = chunk_of(loop)
        steps = self.node.attrs["steps"]
        single = isinstance(steps, int) and steps <= chunk
        streams = any(_gap(view) == 1 for view in self.xs if view.shape[1:])
        held = [v for v in (*self.starts, *self.consts) if v.shape] or self.xs
        width, blocks, grain = block_of(loop, held, streams)
        shared_out = blocks >= 2 * grain
        buffers = [v.buffer for v in (*self.starts, *self.consts, *self.xs, *self.results) if v.shape]
        refs = [b.ref for b in {id(b): b for b in buffers}.values()]
        apart = len(set(refs)) == len(refs) and all(ref is not None and ref.kind != "cell" for ref in refs)
        kernel = ArrayLoopWriter(loop, apart, [_gap(view) == 1 for view in self.xs]).write()
        index = asm.counter()
        places = self._places(kernel, width, index, max(steps, 1) if single else chunk)
        going = lowerer.memory(Spec((), bool_))
        # The next call reads its scalars from a place of their own: blocks side by side all write them.
        left = [(k, v, lowerer.memory(Spec((), v.dtype))) for k, v in enumerate(self._carried()) if not v.shape]
        places["going"] = going.ref
        places.update((f"left {k}", place.ref) for k, _, place in left)
        asm.set(index, 0)
        top, end = asm.label(), asm.label()
        asm.place(top)
        note = self.node.location.short if self.node.location else None
        args: list[Any] = [places[word] for word in kernel.words]
        asm.call(lowerer.entry(kernel.text, "array_loop"), args, blocks, grain if shared_out else 0, note)
        if not single:
            asm.jump_unless(going.ref, end)
            asm.add(index, chunk)
            for _, view, place in left:
                lowerer.copy(view, place)
            asm.jump(top)
        asm.place(end)
        for view in (going, *(place for _, _, place in left)):
            lowerer.free(view.buffer)
        for buffer in self.taken:
            lowerer.free(buffer)
        env.update(zip(self.node.outputs, self.results, strict=True))

    def _carried(self) -> list[View]:
        return self.results[: self.layout.carry]

    def _places(self, kernel: LoopText, width: int, index: Ref, chunk: int) -> dict[str, Any]:
        """What each word of the kernel's arguments means."""
        lowerer = self.lowerer
        places: dict[str, Any] = {
            "size": self.loop.size,
            "width": width,
            "begin": index,
            "chunk": chunk,
            "steps": self.node.attrs["steps"],
        }
        if self.count is not None:
            places["count"] = self.count.ref
        for name, views in (("start", self.starts), ("const", self.consts), ("x", self.xs)):
            places.update((f"{name} {k}", view.ref) for k, view in enumerate(views))
        for k, view in enumerate(self.xs):
            places[f"x stride {k}"] = view.strides[0] * view.dtype.itemsize
            places[f"x gap {k}"] = _gap(view)
            if _gap(view) != 1:
                places[f"x row {k}"] = self._scratch(view.dtype)
        carried = self.layout.carry
        for k, view in enumerate(self.results):
            places[f"result {k}" if k < carried else f"y {k - carried}"] = view.ref
        for k, symbol in enumerate(kernel.stretched):
            places[f"array {k}"] = self._flat(lowerer.constant_view(symbol)).ref
        for k, symbol in enumerate(kernel.scratch):
            places[f"scratch {k}"] = self._scratch(symbol.dtype)
        for k, array in enumerate(kernel.constants):
            places[f"constant {k}"] = lowerer.asm.constant(array)
        return places

    def _scratch(self, dtype: np.dtype[Any]) -> Ref:
        """Memory over the loop's shape, of which each block uses its own."""
        memory = self.lowerer.memory(Spec(self.loop.shape, dtype))
        self.taken.append(memory.buffer)
        return memory.ref


def _gap(view: View) -> int | None:
    """How far apart the elements of each row lie; None where that is not the same for all."""
    gap, room = 1, 0
    for size, stride in zip(reversed(view.shape[1:]), reversed(view.strides[1:]), strict=True):
        if size == 1:
            continue
        if not room:
            gap = stride
        elif stride != room:
            return None
        room = size * stride
    return gap
