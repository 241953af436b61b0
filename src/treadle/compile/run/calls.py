"""The shortest way into a program: for one that needs no leases, a closure that holds all a call needs in one frame."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from treadle.compile.program import Program

Array = np.ndarray[Any, Any]


def caller(program: Program) -> Callable[[Sequence[Array]], list[Array]]:
    """What runs a program on arrays: `Program.run` and `Code.run` in one, where the program is of the plain kind."""
    code = getattr(program, "code", None)
    if code is None or program.inplace or program.open or code._special:
        return program.run
    enter, free, make_frame, go_on = code._enter, code._free, code._make_frame, code._go_on
    ends = tuple((make, shape, dtype) for _, make, shape, dtype in program.ends)
    hosts, on_status = program.hosts, program.on_status

    def run(arrays: Sequence[Array]) -> list[Array]:
        found = [make(shape, dtype) for make, shape, dtype in ends]
        inputs, outputs = tuple(arrays), tuple(found)
        try:
            frame = free.pop()
        except IndexError:
            frame = make_frame()
        holder = frame.holder
        holder[0] = inputs
        holder[1] = outputs
        try:
            reason = enter(frame.pointer)
            if reason:
                go_on(frame, reason, inputs, outputs, hosts, on_status)
        except BaseException:
            code._abandon(frame)
            raise
        holder[0] = holder[1] = None
        free.append(frame)
        return found

    return run
