"""Elementwise work that meets an operand in the other order, tile by tile: see `kernels`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from treadle.compile.cost import GRAIN, TILE
from treadle.compile.fusion.emit import Kernel
from treadle.config import config

if TYPE_CHECKING:
    from treadle.compile.fusion.kernels import _Writer


def tiled(writer: _Writer, across: int) -> Kernel:
    """Elementwise work that meets an operand in the other order, by tiles: its lines stay in cache for a tile.

    Whole tiles of it are turned into memory of the kernel first, by squares of vectors.
    """
    sizes, inner = writer.plan.sizes, writer.order[-1]
    outside = [k for k in writer.order[:-1] if k != across]
    for axis in outside:
        writer.bounds[axis] = writer.named(f"n{axis}", sizes[axis]) if axis != outside[0] else "lo, hi"
    down, along = (writer.named(f"n{axis}", sizes[axis]) for axis in (across, inner))
    tiles = -(-sizes[across] // TILE), -(-sizes[inner] // TILE)
    wide = writer.named("tiles", tiles[1])
    turned = _turnable(writer, across)
    for k in turned:
        writer.text.add(1, f"room{k} = room_f{writer.code_of(k)[1]}({TILE * TILE * int(writer.code_of(k)[1]) // 32})")
    indent = writer.open(outside, 1)
    whole = f"{writer.named('squares', tiles[0] * tiles[1])}" if outside else "lo, hi"
    writer.text.add(indent, f"for square in range({whole}):")
    writer.text.add(indent + 1, f"down = square // {wide} * {TILE}")
    writer.text.add(indent + 1, f"along = square % {wide} * {TILE}")
    if turned:
        writer.text.add(indent + 1, f"if down + {TILE} <= {down} and along + {TILE} <= {along}:")
        _turn(writer, indent + 2, across, inner, turned, outside)
        _tile(writer, indent + 2, across, outside, (f"down + {TILE}", f"along + {TILE}"), turned)
        writer.text.add(indent + 1, "else:")
    bounds = f"min({down}, down + {TILE})", f"min({along}, along + {TILE})"
    _tile(writer, indent + 2 if turned else indent + 1, across, outside, bounds, ())
    hi = sizes[outside[0]] if outside else tiles[0] * tiles[1]
    total = math.prod(sizes)
    grain = max(1, -(-GRAIN * hi // total)) if hi > 1 and total >= 2 * GRAIN else 0
    return Kernel(writer.finished(), tuple(writer.args), hi, grain)


def _turnable(writer: _Writer, across: int) -> list[int]:
    """Operands that lie in order along the other axis alone, and fill vectors; Numba knows no such words."""
    operands, inner = writer.plan.operands, writer.order[-1]
    if config.compiler == "numba":
        return []
    return [
        k
        for k in dict.fromkeys(writer.plan.loads.values())
        if writer.plan.steps[k][across] == 1
        and writer.plan.steps[k][inner] not in (-1, 0, 1)
        and operands.views[k].dtype.itemsize in (4, 8)
        and not (k in operands.picks or k in operands.counted or k in operands.joined or k in operands.few)
    ]


def _turn(writer: _Writer, indent: int, across: int, inner: int, turned: Sequence[int], outside: Sequence[int]) -> None:
    """A tile of each operand that lies the other way, in the order of the loops."""
    for k in turned:
        size = writer.code_of(k)[1]
        lanes, step = f"lanes_f{size}()", writer.stride(k, inner)
        start = f"{writer.address(k, outside)} + down * {size} + along * {step}"
        writer.text.add(indent, f"for u in range({TILE} // {lanes}):")
        writer.text.add(indent + 1, f"for w in range({TILE} // {lanes}):")
        source = f"{start} + u * {lanes} * {size} + w * {lanes} * {step}"
        target = f"room{k} + (u * {TILE} + w) * {lanes} * {size}"
        writer.text.add(indent + 2, f"turned_f{size}({source}, {step}, {target}, {TILE * int(size)})")


def _tile(
    writer: _Writer, indent: int, across: int, outside: Sequence[int], bounds: tuple[str, str], turned: Sequence[int]
) -> None:
    """The loops over one tile."""
    inner, loads = writer.order[-1], writer.plan.loads.values()
    writer.text.add(indent, f"for j{across} in range(down, {bounds[0]}):")
    straight = [k for k in writer.element_operands() if k not in turned]
    writer.pointers(indent + 1, [*outside, across], inner, straight)
    for k in turned:
        row = f"((j{across} - down) * {TILE} - along) * {writer.code_of(k)[1]}"
        writer.text.add(indent + 1, f"q{k} = p_{writer.code_of(k)}(room{k} + {row})")
    writer.text.add(indent + 1, f"for j{inner} in range(along, {bounds[1]}):")
    steps = writer.plan.steps
    before = {k: steps[k][inner] for k in turned if k in loads}
    for k in before:
        steps[k][inner] = 1
    writer.element(indent + 2, inner)
    for k, step in before.items():
        steps[k][inner] = step
