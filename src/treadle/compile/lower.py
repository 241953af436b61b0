"""Lowering: a static, optimised graph becomes a flat program: kernels, BLAS calls, jumps, and steps that Python does.

Values are views into buffers. A buffer is an input, an output, a constant, a range of the arena (handed out and taken
back as the program is laid out), or, for what is no plain memory (strings, stacks of unknown length), an object in the
run's scratch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from treadle.compile import hosts, joining, open_sizes, reuse
from treadle.compile.arena_plan import ArenaPlan
from treadle.compile.assembler import Assembler, Deferred
from treadle.compile.fusion.emit import Kernel, Template, Text, place_of
from treadle.compile.fusion.fuse import fuse
from treadle.compile.fusion.groups import call_group, lower_group
from treadle.compile.fusion.items import Group, Item, Single, in_kernel, reads
from treadle.compile.fusion.repeats import known
from treadle.compile.fusion.small_groups import copy_group, name_of
from treadle.compile.llvm.build import Source
from treadle.compile.moves.complexes import as_numbers
from treadle.compile.moves.copies import copy_bytes, copy_transposed
from treadle.compile.moves.randoms import lower_state
from treadle.compile.run.executor import Code, Ref
from treadle.compile.stepping.fitting import is_scalar_loop, is_small_loop, is_table_loop, is_tiny_loop
from treadle.compile.views import Buffer, View, contiguous_strides, view_of, whole
from treadle.compile.ways import way as way_of
from treadle.core.dim import is_static
from treadle.core.graph import Graph, Node
from treadle.core.spec import Spec
from treadle.core.tensor import Symbol
from treadle.errors import Location
from treadle.records import dataclass

Array = np.ndarray[Any, Any]
Env = dict[Symbol, View]


@dataclass(frozen=True, slots=True, eq=False)
class KernelInfo:
    """A kernel of a program, for people: its name and text, and the user's lines whose numbers the text names."""

    name: str
    text: Template
    places: tuple[Location | None, ...]

    @property
    def key(self) -> str:
        """What is compiled."""
        return self.text.key

    @property
    def source(self) -> str:
        """The generated source, with the user's line beside each operation."""
        lines = [f"{line:<60}  # {where}" if where else line for line, where in self._lines()]
        return "\n".join(lines) + "\n"

    @property
    def provenance(self) -> tuple[str, ...]:
        """The user's lines in it, in order."""
        return tuple(dict.fromkeys(where for _, where in self._lines() if where))

    def _lines(self) -> list[tuple[str, str]]:
        return [(line, place_of(self.places[k] if k >= 0 else None)) for line, k in self.text.lines]


@dataclass(frozen=True, slots=True)
class Lowered:
    """What lowering gives: the code, what Python does at host steps, and what to show of it."""

    code: Code
    hosts: tuple[Callable[[Any], None], ...]
    kernels: tuple[KernelInfo, ...]
    on_status: Callable[[Any, Any, int], None] | None


class Lowerer:
    """Lays out one program."""

    def __init__(
        self,
        graph: Graph,
        inplace: Mapping[int, int],
        work: Sequence[Item] | None = None,
        between: Mapping[Symbol, int] | None = None,
    ) -> None:
        """inplace: output position -> input position whose memory it takes over; work: what to do, in that order.

        between: values on the way from such inputs to outputs -> output position.
        """
        self.graph = graph
        self.asm = Assembler(len(graph.inputs), len(graph.outputs))
        self.arena = ArenaPlan()
        self.hosts: list[Callable[[Any], None]] = []
        self.infos: dict[str, KernelInfo] = {}
        self.deferred: dict[str, Deferred] = {}
        self.spare: dict[str, Source] = {}  # see `offer`
        self.inplace = inplace
        self.work = work
        self.between = between or {}
        self.owned: set[int] = set()  # buffers of the arena that have not been given back
        self.has_checks = False
        self.loops: list[hosts.Around] = []  # the loops around what is laid out now
        self.repeats = known  # what groups led to, by their structure
        self.joined: Env = {}  # memory of joins some of whose parts are made
        self.sized: open_sizes.Sized = {}  # where sizes that only running tells can be read
        self._buffers: list[Buffer] = []  # buffers are known by identity, so they must stay alive

    def run(self, load: Callable[[Sequence[Source]], Sequence[Any]]) -> Lowered:
        """The program; `load` compiles or finds all its kernels at once."""
        graph = self.graph
        env: Env = {}
        for k, symbol in enumerate(graph.inputs):
            env[symbol] = self._outside("input", self.asm.input(k), symbol.spec, k)
        targets: Env = {}
        ends: list[View] = []
        for k, symbol in enumerate(graph.outputs):
            if k in self.inplace:
                ends.append(env[graph.inputs[self.inplace[k]]])
            else:
                ends.append(self._outside("output", self.asm.output(k), symbol.spec, k))
            self._aim(symbol, ends[-1], targets)
        targets |= {symbol: ends[k] for symbol, k in self.between.items()}
        self.block(graph, env, targets, self.work)
        for symbol, end in zip(graph.outputs, ends, strict=True):
            self.bring(env[symbol], end, symbol)
        self.asm.reserve(self.arena.peak)
        spare = [source for key, source in self.spare.items() if key not in self.deferred]
        entries = load([*(d.source for d in self.deferred.values()), *spare])
        for d, entry in zip(self.deferred.values(), entries, strict=False):
            d.address = entry.address
        return Lowered(
            self.asm.finish(),
            tuple(self.hosts),
            tuple(self.infos.values()),
            hosts.on_status if self.has_checks else None,
        )

    def _outside(self, kind: str, ref: Ref, spec: Spec, k: int) -> View:
        if not plain(spec):
            return View(Buffer(f"object {kind}", Ref(kind, k), 0), spec.shape, spec.dtype, ())  # type: ignore[arg-type]
        return whole(Buffer(kind, ref, spec.nbytes), spec)

    def _aim(self, symbol: Symbol, end: View, targets: Env) -> None:
        """Let the node that makes an output write straight to its place; also through reshapes, which move nothing."""
        while symbol.node is not None and symbol.node.op == "reshape":
            symbol = symbol.node.inputs[0]
        if symbol.node is None or symbol in targets or "object" in end.buffer.kind or not plain(symbol.spec):
            return
        if end.shape == symbol.shape and end.strides == contiguous_strides(end.shape):
            targets[symbol] = end
        elif end.contiguous and end.size == symbol.spec.size:
            shape: tuple[int, ...] = symbol.shape  # type: ignore[assignment]
            targets[symbol] = View(end.buffer, shape, end.dtype, contiguous_strides(shape), end.offset)

    # -- blocks: the items of one graph, in order ----------------------------------------------------------------------

    def block(self, graph: Graph, env: Env, targets: Env, work: Sequence[Item] | None = None) -> None:
        """Lay out a graph's work, in the order of `work` where that is given.

        `env` is given the graph's inputs and gets all its values; `targets` tells where some are to be made.
        """
        items = fuse(graph) if work is None else work
        uses = [reads(item) for item in items]
        parts = joining.parts(self, graph, items, env, targets)
        root = {symbol: node.outputs[0] for symbol, (node, *_) in parts.items()}  # view -> the value that it shows
        for node in graph.nodes:
            if node.definition.family == "view":
                root[node.outputs[0]] = root.get(node.inputs[0], node.inputs[0])
        outputs = {root.get(s, s) for s in graph.outputs}
        last: dict[Symbol, int] = {}
        for position, symbols in enumerate(uses):
            for symbol in symbols:
                last[root.get(symbol, symbol)] = position
        wanted = set(graph.outputs).union(*uses)
        dying: dict[int, list[Symbol]] = {}
        for symbol, position in last.items():
            if symbol not in outputs:
                dying.setdefault(position, []).append(symbol)
        before = set(self.owned)
        if graph is self.graph:
            reuse.aim_back(items, targets, last, root, outputs, {node.outputs[0] for node, *_ in parts.values()})
        for position, item in enumerate(items):
            if parts and isinstance(item, Group):
                joining.aim(self, item, parts, env, targets)
            ending = [s for s in dying.get(position, ()) if s in env and id(env[s].buffer) not in before]
            if ending:
                reuse.take_over(self, item, wanted, env, targets, ending, root)
            made = self._item(item, env, targets, wanted)
            for symbol in ending:
                self.free(env[symbol].buffer)
            for symbol in made:
                key = root.get(symbol, symbol)
                if key not in last and key not in outputs and symbol in env:
                    self.free(env[symbol].buffer)
        for symbol in graph.outputs:
            if symbol not in env:
                env[symbol] = self.constant_view(symbol)

    def _item(self, item: Item, env: Env, targets: Env, wanted: set[Symbol]) -> list[Symbol]:
        if isinstance(item, Group):
            return lower_group(self, item, env, targets, wanted)
        node = item.node
        if node.definition.family == "view" and plain(node.inputs[0]._spec) and plain(node.outputs[0]._spec):
            found = view_of(node, self.value(node.inputs[0], env))
            if found is None:
                copied = self._in_order(node.inputs[0], env, targets)
                found = view_of(node, copied)
                assert found is not None
            env[node.outputs[0]] = found
            return []
        if node.op == "constant":
            env[node.outputs[0]] = self.constant_view(node.outputs[0])
        elif node.op == "full" and plain(node.outputs[0].spec):
            self.fill(node, env, targets)
        elif not item.whole:
            lower_state(self, node, env, targets)
            return list(node.outputs[1:])
        elif node.op == "assert":
            self._assert(node, env)
        elif not self._natively(node, env, targets):
            self.host(node, env, targets)
        return list(node.outputs)

    def _natively(self, node: Node, env: Env, targets: Env) -> bool:
        """Lay out a node without Python, where there is a way that fits it."""
        if node.op == "matmul":
            return self._matmul(node, env, targets)
        if node.op == "while":
            return self._loop(node, env, targets)
        if node.op == "cond":
            return self._cond(node, env, targets)
        other = way_of(node.op)
        return other is not None and other(self, node, env, targets)

    # -- values and memory ---------------------------------------------------------------------------------------------

    def value(self, symbol: Symbol, env: Env) -> View:
        """Where a value lies; constants get a place when they are first asked for."""
        found = env.get(symbol)
        if found is None:
            found = env[symbol] = self.constant_view(symbol)
        return found

    def constant_view(self, symbol: Symbol) -> View:
        """A constant's memory, kept by the program."""
        node = symbol.node
        assert node is not None, f"{symbol.name} has no value yet"
        assert node.op == "constant", f"{symbol.name} has no value yet"
        array = node.attrs["value"].array
        if not plain(symbol.spec):
            return View(Buffer("object constant", None, 0), symbol.shape, symbol.dtype, (array,))  # type: ignore[arg-type]
        return whole(Buffer("constant", self.asm.constant(array), array.nbytes), symbol.spec)

    def fresh(self, symbol: Symbol, targets: Env | None = None) -> View:
        """Memory for a value: its target, else a range of the arena, else a place in the scratch."""
        if targets is not None and symbol in targets:
            return targets[symbol]
        if not plain(symbol.spec):
            return View(Buffer("object", None, 0), symbol.shape, symbol.dtype, ())  # type: ignore[arg-type]
        return self.memory(symbol.spec)

    def memory(self, spec: Spec) -> View:
        """A range of the arena."""
        offset = self.arena.take(spec.nbytes)
        buffer = Buffer("arena", self.asm.arena(offset), spec.nbytes)
        self.owned.add(id(buffer))
        self._buffers.append(buffer)
        return whole(buffer, spec)

    def free(self, buffer: Buffer) -> None:
        """Give a range of the arena back."""
        if id(buffer) in self.owned and buffer.ref is not None:
            self.owned.discard(id(buffer))
            self.arena.give(buffer.ref.offset)

    def contiguous(self, view: View) -> View:
        """The value in row order: itself, or a copy."""
        if view.contiguous:
            return view
        target = self.memory(Spec(view.shape, view.dtype))
        self.copy(view, target)
        return target

    def _in_order(self, symbol: Symbol, env: Env, targets: Env) -> View:
        """A value in row order, where it can be at the end that it is shown at after a reshape."""
        view, end = self.value(symbol, env), targets.get(symbol)
        if end is None or end.buffer.kind != "output" or end.shape != view.shape:
            return self.contiguous(view)
        self.copy(view, end)
        return end

    def bring(self, view: View, end: View, symbol: Symbol) -> None:
        """Make sure that a value lies at its end."""
        if "object" in end.buffer.kind:
            self.hosts.append(hosts.deliver(view, end, symbol))
            self.asm.host(len(self.hosts) - 1)
        elif view.buffer is not end.buffer or view.offset != end.offset or not view.contiguous:
            self.copy(view, end)

    def copy(self, view: View, target: View) -> None:
        """Copy a value, in row order."""
        if view.size == 0:
            return
        if view.contiguous and target.contiguous:
            if view.buffer is not target.buffer or view.offset != target.offset:
                copy_bytes(self, target, view)
            return
        if view.dtype.kind == "c":
            view, target = as_numbers(view), as_numbers(target)
        if copy_transposed(self, target, view):
            return
        group, source, made = copy_group(view)
        call_group(self, group, {source: view}, {made: target}, {})

    def offer(self, source: Source) -> None:
        """A kernel that this program does not call, but with larger sizes would: compiled along with the others."""
        self.spare.setdefault(source.text, source)

    # -- kernels -------------------------------------------------------------------------------------------------------

    def call(self, kernel: Kernel, name: str, note: Any = None) -> None:
        """Emit the call of a kernel."""
        args: list[Ref | int] = []
        for arg in kernel.args:
            kind = arg.__class__
            if kind is int:
                args.append(arg)
            elif kind is View:
                args.append(arg.ref)
            elif isinstance(arg, np.ndarray):
                args.append(self.asm.constant(arg))
            else:
                args.append(arg)
        entry = self.entry(kernel.text, name, kernel.nodes)
        self.asm.call(entry, args, kernel.hi, kernel.grain, note)

    def entry(self, text: Text | Template, name: str, nodes: Sequence[Node] = ()) -> Deferred:
        """The kernel of a text, compiled later together with the others; `nodes` are those that a template names."""
        key = text.key
        found = self.deferred.get(key)
        if found is None:
            found = self.deferred[key] = Deferred(Source(name, key))
            if isinstance(text, Text):
                nodes = list(dict.fromkeys([node for _, node in text.lines if node is not None]))
                text = self.repeats.shared(Template.of(text, nodes))
            # Not the nodes: they would keep all of their graph alive, which may be laid to rest.
            self.infos[key] = KernelInfo(name, text, tuple([node.location for node in nodes]))
        return found

    def fill(self, node: Node, env: Env, targets: Env) -> None:
        """A tensor of one value."""
        symbol = node.outputs[0]
        target = env[symbol] = self.fresh(symbol, targets)
        array = np.asarray(node.definition.body(**{**node.attrs, "shape": (1,)}))
        if not target.size:
            return
        if not array.tobytes().strip(b"\0"):
            if self.inplace and target.buffer.kind == "input":
                self.asm.commit()  # a variable is overwritten
            self.asm.fill(target.ref, 0, target.nbytes)
            return
        view = whole(Buffer("constant", self.asm.constant(array), array.nbytes), Spec((), symbol.dtype))
        stretched = View(view.buffer, target.shape, view.dtype, (0,) * len(target.shape))
        self.copy(stretched, target)

    # -- BLAS ----------------------------------------------------------------------------------------------------------

    def _matmul(self, node: Node, env: Env, targets: Env) -> bool:
        from treadle.compile.matrix.products import lower_matmul

        return lower_matmul(self, node, env, targets)

    # -- control flow --------------------------------------------------------------------------------------------------

    def _loop(self, node: Node, env: Env, targets: Env) -> bool:
        from treadle.compile.flow import lower_loop
        from treadle.compile.stepping.array_loop_calls import lower_array_loop
        from treadle.compile.stepping.loop_calls import lower_scalar_loop

        if is_scalar_loop(node) or is_tiny_loop(node):
            lower_scalar_loop(self, node, env, targets)
            return True
        if lower_array_loop(self, node, env, targets):
            return True
        if is_small_loop(node) or is_table_loop(node):
            lower_scalar_loop(self, node, env, targets)
            return True
        return lower_loop(self, node, env, targets)

    def _cond(self, node: Node, env: Env, targets: Env) -> bool:
        from treadle.compile.flow import lower_cond

        return lower_cond(self, node, env, targets)

    def _assert(self, node: Node, env: Env) -> None:
        test = self.value(node.inputs[0], env)
        fine = self.asm.label()
        self.asm.jump_if(test.ref, fine)
        self.host(node, env, {})
        self.asm.place(fine)

    # -- Python's steps ------------------------------------------------------------------------------------------------

    def host(self, node: Node, env: Env, targets: Env) -> None:
        """A step that NumPy or Python does."""
        sources = [self.value(s, env) for s in node.inputs]
        ends = []
        for symbol in node.outputs:
            env[symbol] = self.fresh(symbol, targets)
            ends.append(env[symbol])
        attrs = open_sizes.attrs_of(node, env, self.sized)
        self.hosts.append(hosts.node_step(node, sources, ends, tuple(self.loops), attrs))
        self.asm.host(len(self.hosts) - 1)


def plain(spec: Spec) -> bool:
    """Whether values of a spec are plain memory of a known size."""
    return in_kernel(spec) or (spec.dtype.kind != "T" and is_static(spec.shape))


__all__ = ["Item", "KernelInfo", "Lowered", "Lowerer", "Single", "name_of", "plain"]
