"""Why a function was traced again: each trace against the nearest earlier one, with what to change."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import TYPE_CHECKING

from treadle.core.dtypes import dtype_name
from treadle.function import keys
from treadle.function.signature import Leaf, Signature
from treadle.records import dataclass

if TYPE_CHECKING:
    from treadle.function.trace import Trace


@dataclass(frozen=True, slots=True)
class Change:
    """One difference between two signatures: where, old, new, and what to do about it."""

    path: str
    old: str
    new: str
    advice: str

    def __str__(self) -> str:
        return f"{self.path}: {self.old} -> {self.new}"


@dataclass(frozen=True, slots=True)
class Why:
    """Why a trace was made."""

    headline: str
    changes: tuple[Change, ...] = ()

    def __str__(self) -> str:
        if not self.changes:
            return self.headline
        lines = [str(change) for change in self.changes]
        lines += [f"  {advice}" for advice in dict.fromkeys(change.advice for change in self.changes)]
        return "\n".join(lines)


LOOKED_AT = 32  # earlier traces, the latest of them, among which the nearest is sought


def why(signature: Signature, key: tuple[object, ...], earlier: Sequence[Trace]) -> Why:
    """Why these arguments need a trace of their own, against the nearest of the earlier traces."""
    if not earlier:
        return Why("first trace")
    best: tuple[Change, ...] | None = None
    for trace in reversed(earlier[-LOOKED_AT:]):
        changes = _difference(trace, signature, key)
        if changes and (best is None or len(changes) < len(best)):
            best = changes
            if len(best) == 1:
                break
    if best is None:
        return Why("an object that an earlier trace was made for no longer exists, or the trace belongs to another one")
    return Why("", best)


def _difference(trace: Trace, signature: Signature, key: tuple[object, ...]) -> tuple[Change, ...]:
    old = {leaf.path: leaf for leaf in trace.signature.leaves}
    new = {leaf.path: leaf for leaf in signature.leaves}
    changes: list[Change] = []
    covered: list[str] = []
    for path, leaf in new.items():
        if any(path.startswith(c) for c in covered):
            continue
        before = old.get(path)
        if before is None or before.part != leaf.part:
            changes.append(_change(path, before, leaf))
            if before is None or leaf.part[0] in keys.NESTS or before.part[0] in keys.NESTS:
                covered.append(path)
    for path, leaf in old.items():
        if path not in new and not any(path.startswith(c) for c in covered):
            changes.append(Change(path, leaf.text, "absent", "keep the structure of the argument the same"))
    changes += _settings(trace.key, key)
    if not changes and trace.guards is not None:
        changes = [
            Change(label, was, now, "keep it in a td.Variable, or pass it as a tensor argument")
            for label, was, now in trace.guards.changed()
        ]
    return tuple(changes)


def _settings(old: tuple[object, ...], new: tuple[object, ...]) -> list[Change]:
    a, b = old[1], new[1]
    if a == b or not isinstance(a, tuple) or not isinstance(b, tuple):
        return []
    if a[0] != b[0]:
        names = dtype_name(a[0]), dtype_name(b[0])
        return [Change("the default dtype", *names, "set td.set_default_dtype once, at the start")]
    return [Change("the settings", repr(a[1]), repr(b[1]), "each setting has traces of its own")]


def _change(path: str, old: Leaf | None, new: Leaf) -> Change:
    if old is None:
        return Change(path, "absent", new.text, "keep the structure of the argument the same")
    return Change(path, *_told_apart(old, new), _advice(path, old.part, new.part))


def _told_apart(old: Leaf, new: Leaf) -> tuple[str, str]:
    if old.text != new.text:
        return old.text, new.text
    if old.part[0] == new.part[0] == keys.VERSIONED and old.part[1] == new.part[1]:
        return f"{old.text}, version {old.part[2]}", f"version {new.part[2]}"
    if old.part[0] == new.part[0] and old.part[0] in (keys.OBJECT, keys.VARIABLE, keys.VERSIONED):
        return old.text, f"another {new.text.removeprefix('a ')}"
    return old.text, f"{new.text} ({getattr(new.part[0], '__name__', new.part[0])})"


def _advice(path: str, old: keys.Part, new: keys.Part) -> str:
    a, b = old[0], new[0]
    if a == b == keys.TENSOR:
        if old[1] != new[1]:
            return f"each dtype has a trace of its own; convert {path} to one dtype with td.astype"
        if old[2] != new[2]:
            return _shape_advice(old[2], new[2])
        return "a Python number that stays one in the outer trace counts apart; make it a tensor with td.asarray"
    if a == keys.STATIC or b == keys.STATIC:
        return f"{path} is static, so each of its values has a trace"
    if a in (int, float, complex) and b in (int, float, complex):
        return f"each Python number has a trace of its own; pass {path} as a tensor: td.asarray({path})"
    if isinstance(a, type) or isinstance(b, type):
        return f"each Python value of {path} has a trace of its own; pass a tensor where it should not"
    if a == b == keys.VERSIONED and old[1] == new[1]:
        return f"an attribute of {path} was set; set all before the first call, and keep what changes in a td.Variable"
    if keys.ENUM in (a, b):
        return f"each value of {path} has a trace of its own"
    if a == b and a in (keys.OBJECT, keys.VERSIONED, keys.VARIABLE, keys.METHOD):
        return f"objects count by identity; keep one object for {path} and pass it again"
    return f"keep the structure of {path} the same"


def _shape_advice(old: tuple[object, ...], new: tuple[object, ...]) -> str:
    if len(old) != len(new):
        return "each rank has a trace of its own; reshape to one rank"
    sizes = ", ".join("None" if a != b else str(a) for a, b in zip(old, new, strict=True))
    sizes += "," if len(old) == 1 else ""
    return f"td.function(reduce_retracing=True), or input_signature with td.TensorSpec(({sizes})), serves every size"


class RetraceReport:
    """Each trace of a function and why it was made; prints as text and in notebooks."""

    def __init__(self, title: str, traces: Sequence[Trace]) -> None:
        self.title = title
        self.traces = tuple(traces)

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why each trace was made, oldest first."""
        return tuple(trace.reason for trace in self.traces)

    def __str__(self) -> str:
        lines = [f"{self.title}: {count(len(self.traces))}"]
        for number, trace in enumerate(self.traces, 1):
            lines.append(f"  {number}. {trace.signature}")
            lines += [f"       {line}" for line in trace.reason.splitlines()]
        return "\n".join(lines)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td>{number}</td><td><code>{html.escape(str(trace.signature))}</code></td>"
            f"<td><pre>{html.escape(trace.reason)}</pre></td></tr>"
            for number, trace in enumerate(self.traces, 1)
        )
        head = "<tr><th></th><th>signature</th><th>why</th></tr>"
        return f"<p>{html.escape(self.title)}: {count(len(self.traces))}</p><table>{head}{rows}</table>"


def count(number: int) -> str:
    """`1 trace`, `2 traces`."""
    return f"{number} trace" + ("" if number == 1 else "s")
