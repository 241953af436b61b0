"""Convolutions by products that read images where they lie, where that takes less than to copy all windows first.

A convolution is written as the product of all its windows, copied side by side, with the kernel as a matrix. Where the
kernel has few units the copy takes longer than the product. A window's row is a run of memory, though, and so the
result is a sum of as many products as the kernel has rows, each of runs of the images as they are. The gradient of the
images is the same with the kernel turned around, on images with a margin; that of the kernel a product along all
places, with zeros where windows do not fit. Sums are taken in another order: equal within their error.
"""

from __future__ import annotations

from collections.abc import Sequence

from treadle.core.dim import Size
from treadle.core.graph import Graph, Node
from treadle.core.op import REGISTRY, Op
from treadle.core.tensor import Symbol
from treadle.optimize.sweep import Counts, Kinds, Run, Step, Steps, Sweep
from treadle.records import dataclass

# Cycles (Zen 3, AVX2, float32): to copy a number into its windows; to write one and add it up again, less where all
# stay in a cache; to read and write one of the result once more. A tile of six rows takes 6 cycles for each of k with
# two vectors, 4 with one, and a column of tiles about the time of 3 rows more: see `compile.matrix.tiled`. Measured
# beside each other on one thread, images of 8 to 64, 1 to 128 channels and units: the way with copies took 0.5 to 0.9
# of the direct way's time with one to three channels or many units, 1.2 to 4.2 times with 8 to 32 of both.
COPY, FOLD, FOLD_KEPT, AGAIN = 1.5, 2.6, 1.7, 1.0
# The same to read a copied number again for the kernel's gradient, where the copies are more bytes than a cache keeps:
# while they are multiplied, and until the gradient's turn comes.
FAR, KEPT, KEPT_LONG = 1.8, 1 << 23, 1 << 20
CLEARLY = 0.9  # of the other way's time that the direct way must take: it calls more kernels
WIDEST = 800  # bytes of a run beyond which tiles of the kernel's gradient read it again from far (some 320 of them)
SHORTEST = 1 << 15  # multiplications below which calls count for more


@dataclass(frozen=True, slots=True)
class _Shape:
    """A convolution: images, their height, width and channels; kernel rows and columns, units; windows down, across."""

    images: int
    height: int
    width: int
    channels: int
    rows: int
    columns: int
    units: int
    down: int
    across: int

    @property
    def places(self) -> int:
        """How many windows there are."""
        return self.images * self.down * self.across

    @property
    def taps(self) -> int:
        """Numbers in a window."""
        return self.rows * self.columns * self.channels


def _product(m: int, k: int, n: int, itemsize: int, across: int = 0) -> float:
    """Cycles of a product, about; across: rows of the result that lie evenly, after which tiles begin anew."""
    lanes = 32 // itemsize
    tiles = n // (2 * lanes) * 6 + (0 if n % (2 * lanes) == 0 else 4 if n % (2 * lanes) <= lanes else 6)
    each = across or m
    rows = each // 6 * 6 + 4 * (each % 6).bit_count() + 3
    return m / each * rows / 6 * k * tiles


def _forward_cost(s: _Shape, size: int) -> tuple[float, float]:
    """By a product of copies (without the copy), and directly."""
    direct = _product(s.places, s.taps, s.units, size, s.across)
    again = AGAIN * size / 4 * s.places * s.units * (s.rows - 1)
    return _product(s.places, s.taps, s.units, size), direct + again


def _kernel_cost(s: _Shape, size: int) -> tuple[float, float]:
    """The same for the gradient of the kernel, whose sums are long: places are k."""
    everywhere = s.images * s.height * s.width
    if s.columns * s.channels * size > WIDEST:
        return 0.0, float("inf")
    direct = s.rows * _product(s.columns * s.channels, everywhere, s.units, size)
    # Its factors are read across, and again for each panel of the other.
    return _product(s.taps, s.places, s.units, size), 1.1 * direct + size / 4 * everywhere * s.units


def _images_cost(s: _Shape, size: int) -> tuple[float, float]:
    """The same for the gradient of the images, with the copies that are added up."""
    fold = FOLD if s.places * s.taps * size > KEPT_LONG else FOLD_KEPT
    pixels = s.images * s.height * s.width
    around = (s.down + 2 * s.rows - 2) * (s.across + 2 * s.columns - 2) * s.images * s.units
    direct = _product(pixels, s.rows * s.columns * s.units, s.channels, size, s.width)
    again = AGAIN * size / 4 * (pixels * s.channels * (s.rows - 1) + around)
    return _product(s.places, s.units, s.taps, size) + fold * size / 4 * s.places * s.taps, direct + again


def _windows_of(node: Node, units: Size) -> _Shape | None:
    """The convolution that windows are for; None where rows of windows are no runs of memory."""
    attrs, x, y = node.attrs, node.inputs[0], node.outputs[0]
    if len(attrs["sizes"]) != 2 or attrs["dilations"][1] != 1 or not (x.spec.static and y.spec.static):
        return None
    if x.dtype.kind != "f" or x.dtype.itemsize not in (4, 8) or 0 in y.shape or int(units) < 4:
        return None
    shape = _Shape(*map(int, (*x.shape, *attrs["sizes"], units, *y.shape[1:3])))
    return shape if shape.rows > 1 and shape.places * shape.taps * units >= SHORTEST else None


def _plan(graph: Graph) -> set[str]:
    """The names of the nodes, products of windows and folds of products, that are done directly."""
    if not any(node.op in ("windows", "fold") for node in graph.nodes):
        return set()
    readers: dict[Symbol, list[Node]] = {}
    for node in graph.nodes:
        for symbol in node.inputs:
            readers.setdefault(symbol, []).append(node)
    shown, chosen = set(graph.outputs), set[str]()
    for node in graph.nodes:
        if node.op == "windows" and node.outputs[0] not in shown:
            chosen |= _forward(node, readers, shown)
        elif node.op == "fold" and _backward(node, readers, shown):
            chosen.add(node.name)
    return chosen


def _forward(node: Node, readers: dict[Symbol, list[Node]], shown: set[Symbol]) -> set[str]:
    """The products that read windows as rows of a matrix, if all of them together take less directly."""
    reshapes = readers.get(node.outputs[0], [])
    if len(reshapes) != 1 or reshapes[0].op != "reshape" or reshapes[0].outputs[0] in shown:
        return set()
    patches = reshapes[0].outputs[0]
    now = direct = 0.0
    products = readers.get(patches, [])
    size = patches.dtype.itemsize
    for product in products:
        if product.op != "matmul" or product.inputs[0] is not patches or product.attrs["transpose_b"]:
            return set()
        shape = _windows_of(node, product.outputs[0].shape[-1])
        if shape is None or patches.shape != (shape.places, shape.taps) or len(product.inputs[1].shape) != 2:
            return set()
        if product.attrs["transpose_a"]:
            if not _close(node):
                return set()
            costs = _kernel_cost(shape, size)
        else:
            costs = _forward_cost(shape, size)
        now, direct = now + costs[0], direct + costs[1]
    if not products:
        return set()
    now += COPY * size / 4 * patches.spec.size
    if any(product.attrs["transpose_a"] for product in products):
        far = patches.spec.nbytes > (KEPT_LONG if len(products) > 1 else KEPT)
        now += FAR * size / 4 * patches.spec.size * far
    return {product.name for product in products} if direct < CLEARLY * now else set()


def _close(node: Node) -> bool:
    """Whether windows stand at every place, and have no gaps."""
    return set(node.attrs["strides"]) == set(node.attrs["dilations"]) == {1}


def _backward(node: Node, readers: dict[Symbol, list[Node]], shown: set[Symbol]) -> bool:
    """Whether windows that are added up are a product's with a kernel, and are found sooner directly."""
    reshape = node.inputs[0].node
    product = reshape.inputs[0].node if reshape is not None and reshape.op == "reshape" else None
    if reshape is None or product is None or product.op != "matmul" or not product.attrs["transpose_b"]:
        return False
    alone = all(len(readers[s]) == 1 and s not in shown for s in (reshape.outputs[0], product.outputs[0]))
    x, y, attrs = node.inputs[0], node.outputs[0], node.attrs
    if not alone or len(attrs["sizes"]) != 2 or product.attrs["transpose_a"] or not _close(node):
        return False
    if not (x.spec.static and y.spec.static) or x.dtype.kind != "f" or x.dtype.itemsize not in (4, 8):
        return False
    units = product.inputs[0].shape[-1]
    shape = _Shape(*map(int, (*y.shape, *attrs["sizes"], units, *x.shape[1:3])))
    if shape.rows == 1 or shape.channels < 4 or shape.places * shape.taps * shape.units < SHORTEST:
        return False
    if (shape.down + shape.rows, shape.across + shape.columns) != (shape.height + 1, shape.width + 1):
        return False
    if product.outputs[0].shape != (shape.places, shape.taps) or len(product.inputs[1].shape) != 2:
        return False
    now, direct = _images_cost(shape, x.dtype.itemsize)
    return direct < CLEARLY * now


class _Writer:
    """Nodes in the place of one."""

    def __init__(self, sweep: Sweep, node: Node) -> None:
        self.sweep, self.node = sweep, node

    def emit(self, op: str, *inputs: Symbol, **attrs: object) -> Symbol:
        """A node."""
        return self.sweep.emit(REGISTRY[op], inputs, attrs, self.node)

    def part(self, x: Symbol, axis: int, start: int, stop: int) -> Symbol:
        """A slice along one axis."""
        starts, stops = [0] * len(x.shape), list(x.shape)
        starts[axis], stops[axis] = start, stop
        return self.emit("slice", x, starts=tuple(starts), stops=tuple(stops), steps=(1,) * len(starts))

    def padded(self, x: Symbol, before: tuple[int, int], shape: tuple[int, ...]) -> Symbol:
        """Images with zeros around them."""
        starts = (0, *before, 0)
        stops = tuple([start + int(size) for start, size in zip(starts, x.shape, strict=True)])
        return self.emit("pad_slice", x, shape=shape, starts=starts, stops=stops, steps=(1, 1, 1, 1))

    def turned(self, kernel: Symbol, shape: _Shape) -> Symbol:
        """A kernel (taps, units) with rows and columns in reverse order, and channels for units."""
        kernel = self.emit("reshape", kernel, shape=(shape.rows, shape.columns, shape.channels, shape.units))
        starts, stops = (shape.rows - 1, shape.columns - 1, 0, 0), (-1, -1, shape.channels, shape.units)
        kernel = self.emit("slice", kernel, starts=starts, stops=stops, steps=(-1, -1, 1, 1))
        kernel = self.emit("transpose", kernel, axes=(0, 1, 3, 2))
        return self.emit("reshape", kernel, shape=(shape.rows * shape.columns * shape.units, shape.channels))

    def by_rows(self, windows: Symbol, kernel: Symbol) -> Symbol:
        """The sum over a kernel's rows of products of runs of the images with them."""
        n, down, across, rows, columns, channels = map(int, windows.shape)
        run = columns * channels
        result = None
        for r in range(rows):
            runs = self.emit("reshape", self.part(windows, 3, r, r + 1), shape=(n, down, across, run))
            weights = self.part(kernel, 0, r * run, (r + 1) * run)
            flags = {"transpose_a": False, "transpose_b": False}
            if result is None:
                result = self.emit("matmul", runs, weights, **flags)
            else:
                result = self.emit("matmul_add", result, runs, weights, **flags, alpha=1.0)
        assert result is not None
        return result

    def kernel_gradient(self, x: Symbol, g: Symbol, s: _Shape) -> Symbol:
        """For each of a kernel's rows the product of runs at all places, from there on, with the gradient there."""
        all_places = s.images * s.height * s.width
        lines = self.emit("reshape", x, shape=(1, all_places, s.channels))
        runs = self.emit("windows", lines, sizes=(s.columns,), strides=(1,), dilations=(1,))
        count = all_places - s.columns + 1
        runs = self.emit("reshape", runs, shape=(count, s.columns * s.channels))
        count -= (s.rows - 1) * s.width
        g = self.emit("reshape", g, shape=(s.images, s.down, s.across, s.units))
        g = self.padded(g, (0, 0), (s.images, s.height, s.width, s.units))
        g = self.part(self.emit("reshape", g, shape=(all_places, s.units)), 0, 0, count)
        flags = {"transpose_a": True, "transpose_b": False}
        starts = [r * s.width for r in range(s.rows)]
        return self.emit(
            "concat", *[self.emit("matmul", self.part(runs, 0, r, r + count), g, **flags) for r in starts], axis=0
        )


def _direct(sweep: Sweep, node: Node, chosen: set[str]) -> Sequence[Symbol] | None:
    if node.name not in chosen:
        return None
    write = _Writer(sweep, node)
    if node.op == "fold":
        reshape = sweep.made[node.inputs[0]]
        product = sweep.made[reshape.inputs[0]]
        g, kernel = product.inputs
        n, down, across, rows, columns, _ = map(int, node.inputs[0].shape)
        shape = _Shape(*map(int, (*node.outputs[0].shape, rows, columns, g.shape[-1], down, across)))
        sweep.counts["images' gradient directly"] += 1
        g = write.emit("reshape", g, shape=(n, down, across, shape.units))
        around = (n, down + 2 * rows - 2, across + 2 * columns - 2, shape.units)
        g = write.padded(g, (shape.rows - 1, shape.columns - 1), around)
        windows = write.emit("windows", g, sizes=(rows, columns), strides=(1, 1), dilations=(1, 1))
        return (write.by_rows(windows, write.turned(kernel, shape)),)
    if len(node.inputs[0].shape) != 2:  # one of those that this wrote
        return None
    reshape = sweep.made[node.inputs[0]]
    made = sweep.made.get(reshape.inputs[0])
    if made is None or made.op != "windows" or len(made.attrs["sizes"]) != 2:
        return None
    if node.attrs["transpose_a"]:
        found = _windows_of(made, node.outputs[0].shape[-1])
        assert found is not None
        sweep.counts["kernel's gradient directly"] += 1
        return (write.kernel_gradient(made.inputs[0], node.inputs[1], found),)
    sweep.counts["convolution directly"] += 1
    result = write.by_rows(made.outputs[0], node.inputs[1])
    return (write.emit("reshape", result, shape=node.outputs[0].shape),)


def _may(op: Op, before: Kinds, same: bool) -> bool:
    """Whether the operand can be windows."""
    return before[0] == "reshape"


def convolutions(graph: Graph, counts: Counts) -> Graph:
    """The graph with such convolutions done directly, itself where there is none; also in the graphs inside it."""
    chosen = {id(inner): _plan(inner) for inner in _graphs(graph)}
    if not any(chosen.values()):
        return graph

    def step(sweep: Sweep, node: Node) -> Sequence[Symbol] | None:
        return _direct(sweep, node, chosen.get(id(sweep.graph), set()))

    return Run(Steps([Step(step, frozenset(("matmul", "fold")), may=_may)]), counts).graph(graph)


def _graphs(graph: Graph) -> list[Graph]:
    """The graph and those inside it."""
    found = [graph]
    for node in graph.nodes:
        if node.op in ("while", "cond"):
            found += [inner for _, held in node.graphs() for inner in _graphs(held)]
    return found
