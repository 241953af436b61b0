"""The pieces of a graph's work: groups of nodes, each one kernel, and single steps; and what may live in kernels."""

from __future__ import annotations

from collections.abc import Collection

from treadle.compile.cost import DRAWN_PIECE
from treadle.compile.fusion.levels import Axes
from treadle.compile.fusion.placing import inner_of
from treadle.core.dim import is_static
from treadle.core.graph import Node
from treadle.core.spec import Shape, Spec
from treadle.core.tensor import Symbol
from treadle.records import dataclass, field

KERNEL_KINDS = "biuf"
REDUCTIONS = {"sum", "prod", "max", "min", "any", "all"}
RUNNING = frozenset({"cumsum", "cumprod", "cummax", "cummin", "logcumsumexp"})
DRAWS = {"random_uniform", "random_exponential", "random_normal", "random_integers"}


@dataclass(frozen=True, slots=True)
class Virtual:
    """A value that is not stored, but made where it is read: by which node, and through which views it is read."""

    node: Node
    views: tuple[Node, ...] = ()
    sources: tuple[Symbol, ...] = ()  # what it is read from, where it lies in pieces

    @property
    def read(self) -> tuple[Symbol, ...]:
        """What making it reads."""
        return (*self.node.inputs, *self.sources)

    @property
    def picks(self) -> bool:
        """Whether it is read from memory, by indices that are checked."""
        return bool(self.node.inputs) and not self.joins and not self.draws

    @property
    def joins(self) -> bool:
        """Whether it lies in pieces."""
        return self.node.op in ("concat", "pad_slice")

    @property
    def draws(self) -> bool:
        """Whether it is random numbers, drawn from a state."""
        return self.node.op in DRAWS

    @property
    def few(self) -> bool:
        """Whether it is so few random numbers that a kernel draws all at its beginning, however it reads them."""
        return self.draws and is_few(self.node)


def is_few(node: Node) -> bool:
    """Whether a draw is of few numbers."""
    return bool(node.outputs[0].spec.size <= DRAWN_PIECE)


@dataclass(eq=False, slots=True)
class Group:
    """Nodes that become one kernel: elementwise work over `shape` and reductions of it.

    inner:  the axes of a row, where rows are reduced; `rows` are the values with one number a row.
    across: the axes (longer than 1) of the other reductions; what they make is in `ends`, not complete in the kernel.
    banded: whether sums across rows may go by blocks of rows, each with a partial result; band: of how many, if set.
    """

    shape: Shape
    nodes: list[Node] = field(default_factory=list)
    inner: Axes | None = None
    across: frozenset[Axes] = frozenset()
    order: int = 0
    after: int = 0  # bit set of groups and single nodes that must run before
    merged: Group | None = None
    made: set[Symbol] = field(default_factory=set)
    rows: set[Symbol] = field(default_factory=set)
    ends: set[Symbol] = field(default_factory=set)
    banded: bool = True
    band: int = 0
    read: set[Symbol] = field(default_factory=set)  # arrays from outside
    virtual: dict[Symbol, Virtual] = field(default_factory=dict)  # what it reads that is not stored
    moments: bool = False  # whether its nodes are those of a variance, see moments.py
    scatter: Node | None = None  # what takes the last of its values as updates, see scatters.py
    scan: Node | None = None  # the running result of the last of its values, see scans.py

    @property
    def row_axes(self) -> Axes | None:
        """The axes that a row kernel's passes go over; None where the group needs no row kernel."""
        if self.inner is not None:
            return self.inner
        return inner_of(self.shape, self.across) if self.banded else None

    @property
    def checks(self) -> bool:
        """Whether its kernel looks up indices, and may find one out of range."""
        return self.scatter is not None or any(virtual.picks for virtual in self.virtual.values())

    @property
    def draws(self) -> set[Symbol]:
        """The random numbers that its kernel draws itself."""
        return {symbol for symbol, virtual in self.virtual.items() if virtual.draws}

    def find(self) -> Group:
        """The group that this one has become part of."""
        group = self
        while group.merged is not None:
            group = group.merged
        return group


@dataclass(eq=False, slots=True)
class Single:
    """A node by itself: BLAS, a host step, a loop, a branch, a view.

    whole: False for a draw whose numbers are made where they are read, so that only the state behind it is left.
    """

    node: Node
    order: int = 0
    after: int = 0
    whole: bool = True


Item = Group | Single


def in_kernel(spec: Spec) -> bool:
    """Whether values of this spec can live in kernels."""
    try:
        return spec.in_kernel
    except AttributeError:
        spec.in_kernel = spec.dtype.kind in KERNEL_KINDS and is_static(spec.shape)
        return spec.in_kernel


def _fits(symbol: Symbol) -> bool:
    return in_kernel(symbol._spec)


def is_elementwise(node: Node) -> bool:
    """Whether a node can be part of an elementwise kernel."""
    op = node.definition
    if op.family != "elementwise" or op.scalar is None:
        return False
    return all(map(_fits, (*node.inputs, *node.outputs)))


def is_reduction(node: Node) -> bool:
    """Whether a node can be the end of a kernel."""
    if node.op not in REDUCTIONS or not node.inputs[0].shape:
        return False
    return all(in_kernel(s.spec) for s in (*node.inputs, *node.outputs)) and 0 not in node.inputs[0].shape


def is_scalar_constant(symbol: Symbol) -> bool:
    """Whether a symbol is a 0-d constant that kernels can take by value."""
    node = symbol.node
    return node is not None and node.op == "constant" and symbol.shape == () and in_kernel(symbol._spec)


def makes(item: Item) -> Collection[Symbol]:
    """The values that an item makes."""
    if isinstance(item, Group):
        return item.made
    return item.node.outputs if item.whole else item.node.outputs[1:]


def reads(item: Item) -> Collection[Symbol]:
    """The values that an item needs; constants that kernels take by value are not told of."""
    if isinstance(item, Group):
        return item.read
    return item.node.inputs if item.whole else item.node.inputs[:1]
