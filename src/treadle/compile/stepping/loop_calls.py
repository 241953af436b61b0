"""Laying out a loop of scalar work that is one kernel: where its values lie, and room for what it stacks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from treadle.compile import hosts
from treadle.compile.run import interrupts
from treadle.compile.run.executor import Ref
from treadle.compile.stepping.loop_kernels import LoopKernel, grows, write_loop
from treadle.compile.views import View
from treadle.core.graph import Graph, Node, apart
from treadle.core.spec import Spec
from treadle.core.tensor import Symbol
from treadle.records import replace

if TYPE_CHECKING:
    from treadle.compile.lower import Lowerer

Env = dict[Symbol, View]
INT64 = np.dtype(np.int64)


def lower_scalar_loop(lowerer: Lowerer, node: Node, env: Env, targets: Env) -> None:
    """One kernel for the whole loop."""
    _Call(lowerer, node, env, targets).emit(env)


class _Call:
    """Finds a place for each of the kernel's arguments."""

    def __init__(self, lowerer: Lowerer, node: Node, env: Env, targets: Env) -> None:
        self.lowerer, self.node, self.asm = lowerer, node, lowerer.asm
        self.layout = node.attrs["layout"]
        self.body: Graph = node.attrs["body"]
        self.kernel: LoopKernel = write_loop(node)
        self.known = isinstance(node.attrs["steps"], int)
        count, carry, consts, xs = self.layout.parts([lowerer.value(s, env) for s in node.inputs])
        self.carry = carry
        read = {id(v.buffer) for k, v in enumerate((*carry, *consts, *xs)) if k not in self.kernel.tables}
        self.results = [lowerer.fresh(s, targets) for s in node.outputs[: self.layout.carry]]
        self.stacks = [self._stack(s, targets) for s in node.outputs[self.layout.carry :]]
        for places in (self.results, self.stacks):
            for k, place in enumerate(places):
                if place.buffer.kind != "stack" and id(place.buffer) in read:  # only tables are updated where they lie
                    places[k] = lowerer.memory(Spec(place.shape, place.dtype))
        self.places: dict[str, Any] = {"state": self.asm.fresh(0), "done": self.asm.fresh(0)}
        if count is not None:
            self.places["count"] = count.ref
        for name, views in (("start", carry), ("const", consts)):
            for k, found in enumerate(views):
                view = lowerer.contiguous(found) if found.shape else found
                self.places[f"{name} {k}"] = view.ref
                self.places |= {f"size {name} {k} {axis}": size for axis, size in enumerate(view.shape)}
        for k, found in enumerate(xs):
            self._rows(k, found)
        self._steps(count, xs)

    def _stack(self, symbol: Symbol, targets: Env) -> View:
        if self.known and symbol.spec.static:
            return self.lowerer.fresh(symbol, targets)
        return hosts.new_stack(self.lowerer, symbol)

    def _rows(self, k: int, view: View) -> None:
        """Where the rows of an x lie."""
        lowerer = self.lowerer
        item = self.body.inputs[self.layout.carry + self.layout.consts + k]
        if view.buffer.kind == "stack" or "object" in view.buffer.kind:
            base, stride = hosts.array_base(lowerer, view), item.spec.size
        else:
            if not View(view.buffer, view.shape[1:], view.dtype, view.strides[1:]).contiguous:
                view = lowerer.contiguous(view)
            base, stride = view.ref, view.strides[0]
        self.places |= {f"x {k}": base, f"x stride {k}": stride}
        self.places |= {f"size x {k} {axis}": size for axis, size in enumerate(item.shape)}

    def _steps(self, count: View | None, xs: list[View]) -> None:
        """The number of steps, where it is known before the loop begins; and room for as many rows."""
        steps: int | Ref | None = None
        if count is not None:
            steps = self.asm.cell()
        elif self.known:
            steps = self.node.attrs["steps"]
        elif xs:
            steps = hosts.number_of_rows(self.lowerer, xs[0])
        self.places["steps"] = steps
        stacks = [s for s in self.stacks if s.buffer.kind == "stack"]
        if stacks and isinstance(steps, Ref) and not grows(self.node):
            if count is not None:
                self.asm.load_i8(steps, count.ref)
            for stack in stacks:
                hosts.reserve(self.lowerer, stack, steps)

    def emit(self, env: Env) -> None:
        """The call, again where stacks must grow."""
        lowerer, asm, node, kernel, places = self.lowerer, self.asm, self.node, self.kernel, self.places
        for k in kernel.tables:
            lowerer.bring(self.carry[k], self.results[k], node.outputs[k])
        places |= {f"result {k}": view.ref for k, view in enumerate(self.results)}
        places |= {f"constant {k}": asm.constant(array) for k, array in enumerate(kernel.constants)}
        if "look" in kernel.words:
            places["look"], places["signals"] = interrupts.asking()
        checks, inside = tuple(map(apart, kernel.checks)), [tuple(map(apart, loops)) for loops in kernel.inside]
        note = hosts.LoopNote(apart(node), checks, tuple(inside), None, tuple(lowerer.loops))
        if kernel.checks:
            note = replace(note, iteration=lowerer.memory(Spec((note.words,), INT64)).ref)
            places["iteration"] = note.iteration
        lowerer.has_checks = lowerer.has_checks or bool(kernel.checks)
        if grows(node):
            self._growing(note)
        else:
            for k, view in enumerate(self.stacks):
                places[f"y {k}"] = view.buffer.stack.base if view.buffer.kind == "stack" else view.ref
            self._call(note)
        env.update(zip(node.outputs, [*self.results, *self.stacks], strict=True))

    def _call(self, note: hosts.LoopNote) -> None:
        entry = self.lowerer.entry(self.kernel.text, "while_loop")
        self.asm.call(entry, [self.places[word] for word in self.kernel.words], 1, 0, note)

    def _growing(self, note: hosts.LoopNote) -> None:
        """Call, make room and call again until the test has said that it is enough."""
        asm, lowerer = self.asm, self.lowerer
        progress = lowerer.memory(Spec((3,), INT64))
        done, top = asm.counter(), asm.label()
        asm.fill(progress.ref, 0, progress.nbytes)
        asm.set(done, 0)
        asm.place(top)
        for k, stack in enumerate(self.stacks):
            self.places[f"y {k}"] = hosts.room(lowerer, stack, done)
        self.places["room"] = self.stacks[0].buffer.stack.room  # they grow alike
        self.places["progress"] = progress.ref
        self._call(note)
        asm.load_i8(done, progress.ref.at(8))
        asm.jump_if(progress.ref.at(16), top)
        for stack in self.stacks:
            asm.move(stack.buffer.stack.length, done)
        lowerer.free(progress.buffer)
