"""The traces of one function (or of one instance's method): looked up by key, made under one lock, never stale."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from typing import Any

from treadle.compile.run.gate import CLOSED, Gate
from treadle.config import config
from treadle.core import changes, resting
from treadle.core.dim import Dim, is_static
from treadle.core.tracer import active_tracer
from treadle.errors import RetraceWarning, TraceError, is_own_code
from treadle.function import keys
from treadle.function.gates import MOST, gate_for, there_are, without_waiting
from treadle.function.relax import relaxed
from treadle.function.report import RetraceReport, Why, why
from treadle.function.settings import TRACE_LOCK, forbidden, settings_key, switches
from treadle.function.signature import Leaf, Signature
from treadle.function.trace import Trace, matches
from treadle.function.tracing import Target, make_trace
from treadle.records import dataclass, field, replace

_FAST_LIMIT = 1024  # raw keys remembered for the fast path; beyond, it starts anew


@dataclass(slots=True, eq=False)
class Fast:
    """What the fast path needs of the traces that serve one raw key."""

    traces: tuple[Trace, ...]
    floating: Any  # the default float that they were made under
    # The objects among the arguments, and the version of each Module that the guards do not look at anyway.
    objects: tuple[tuple[keys.Ref, int | None], ...]
    # For which of them a gate was asked for, and at which count of changes.
    tried: dict[Trace, int] = field(default_factory=dict)

    def know(self, objects: Sequence[Any]) -> bool:
        """Whether these are the objects, unchanged, of the call that is remembered."""
        for x, (ref, version) in zip(objects, self.objects, strict=True):
            held = ref()
            if held is None or held is not x or (version is not None and held.__treadle_version__ != version):
                return False
        return True


class Store:
    """Traces, by key.

    fast: from the raw dtypes and shapes of a call's arguments to the traces that may serve it.
    gate: the first of `gates`, each of which names the next: calls that are run without Python (see `gates`).
    """

    __slots__ = ("_active", "_volatile", "_warned", "fast", "gate", "gates", "made", "relax_failed", "table", "traces")

    def __init__(self) -> None:
        self.table: dict[tuple[Any, ...], list[Trace]] = {}
        self.traces: list[Trace] = []
        self.fast: dict[tuple[Any, ...], Fast] = {}
        self.gate = CLOSED
        self.gates: list[Gate] = []
        self.made = 0
        self.relax_failed = False
        self._active: list[tuple[Any, ...]] = []  # not a set: the hash of a key takes in all its parts
        self._volatile: set[str] = set()
        self._warned = False

    def find(self, parts: tuple[keys.Part, ...]) -> Trace | None:
        """A trace for these arguments whose guards hold."""
        settings = settings_key()
        candidates = self.table.get((parts, settings), ())
        for trace in candidates:
            if _usable(trace):
                return trace
        for trace in self.traces:
            if trace.symbolic and trace.key[1] == settings and matches(trace, parts) and _usable(trace):
                self.table.setdefault((parts, settings), []).append(trace)
                return trace
        return None

    def remember(self, raw: tuple[Any, ...], parts: tuple[keys.Part, ...], objects: Sequence[Any]) -> None:
        """Let the fast path find the traces of these parts by the raw key of a call with these objects in it."""
        settings = settings_key()
        traces = [t for t in self.table.get((parts, settings), ()) if t.home is None]
        known = [_known(x, traces) for x in objects]
        if traces and None not in known:
            if len(self.fast) >= _FAST_LIMIT:
                self.fast = {}
            self.fast[raw] = Fast(tuple(traces), settings[0], tuple(known))  # type: ignore[arg-type]

    def open_gate(
        self, function: type, args: tuple[Any, ...], names: tuple[str, ...], found: Fast, trace: Trace
    ) -> None:
        """Let calls with arguments like these, the last by names, run without Python from now on, if they can."""
        if not without_waiting(function, Store, trace):
            return
        found.tried[trace] = int(changes.count[0])
        gates = [g for g in self.gates if g.valid]
        if len(gates) < MOST and there_are(function, Store):
            gate = gate_for(args, found, trace)
            if gate is not None:
                gate.name(names)
                gate.lead_to(gates[0] if gates else None)
                self.gates = [gate, *gates]
                self.gate = gate

    def get(self, target: Target, values: tuple[Any, ...], parts: tuple[keys.Part, ...], relax: bool) -> Trace:
        """The trace for bound values, made now if there is none."""
        found = self.find(parts)
        if found is not None:
            return found
        with TRACE_LOCK:
            found = self.find(parts)  # another thread may have made it in the meantime
            if found is not None:
                return found
            signature = target.binder.signature_of(values)
            for leaf, part in zip(signature.leaves, parts, strict=True):
                if leaf.part == part:
                    leaf.part = part  # one object for both
            key = (parts, settings_key())
            reason = why(signature, key, self.traces)
            if forbidden.get():
                raise TraceError(f"{target.name} would be traced inside td.no_retrace(): {reason}")
            if key in self._active:
                raise TraceError(
                    f"{target.name} calls itself with the signature that is being traced, {signature}; such recursion "
                    "never ends while tracing: use a `while` loop, or let a Python number decide when it ends"
                )
            failed = False
            if relax and not self.relax_failed:
                made, failed = self._relaxed(target, values, signature, key, reason)
                if made is not None:
                    return made
            exact = self._make(target, values, signature, key, reason)
            self.relax_failed |= failed  # its code wants known sizes: from here on traces are exact
            return exact

    def _relaxed(
        self, target: Target, values: tuple[Any, ...], signature: Signature, key: tuple[Any, ...], reason: Why
    ) -> tuple[Trace | None, bool]:
        """A trace with the sizes that varied left open, if any did; and whether the function could not be traced so."""
        paths = [leaf.path for leaf in signature.leaves]
        earlier = [t.key[0] for t in self.traces if t.key[1] == key[1]]
        parts = relaxed(key[0], paths, earlier)
        if parts is None:
            return None, False
        wide = with_parts(signature, parts)
        try:
            note = "\n  the sizes that varied are open now"
            return self._make(target, values, wide, (parts, key[1]), reason, note), False
        except Warning:  # made into an error by the user's filters
            raise
        except Exception:  # whatever the function does with a size that it cannot know
            return None, True

    def _make(
        self,
        target: Target,
        values: tuple[Any, ...],
        signature: Signature,
        key: tuple[Any, ...],
        reason: Why,
        note: str = "",
    ) -> Trace:
        made = self.made
        self._active.append(key)
        try:
            trace, record = make_trace(target, values, signature, key, self.traces)
        finally:
            self._active.remove(key)
        if self.made != made:  # the function called itself, so that other traces came before this one
            reason = why(signature, key, self.traces)
        trace.reason = f"{reason}{note}"
        key = trace.key = (keys.refreshed(key[0]), key[1])
        trace.mortal = keys.is_mortal(key[0])
        trace.signature = with_parts(alike(signature, self.traces[-1].signature) if self.traces else signature, key[0])
        self._sweep()
        if record.volatile:
            self._volatile |= record.volatile
            for other in self.traces:
                if other.guards is not None:
                    other.guards = other.guards.without(self._volatile)
        if trace.guards is not None and self._volatile:
            trace.guards = trace.guards.without(self._volatile)
        if trace.guards is not None and not trace.guards.all:
            trace.guards = None
        # A trace whose guards no longer hold may hold again later; the newest is tried first.
        self.table.setdefault(key, []).insert(0, trace)
        self.traces.append(trace)
        resting.note(trace.graph)
        self.fast, self.gate, self.gates = {}, CLOSED, []
        self.made += 1
        switches.traces += 1
        for give in record.warnings:
            give()
        self._warn(target)
        return trace

    def _sweep(self) -> None:
        """Forget traces for objects that no longer exist: nothing can ask for them again."""
        dead = {id(t) for t in self.traces if t.mortal and not keys.is_alive(t.key[0])}
        if dead:
            self.traces = [t for t in self.traces if id(t) not in dead]
            kept = {k: [t for t in ts if id(t) not in dead] for k, ts in self.table.items()}
            self.table = {k: ts for k, ts in kept.items() if ts}

    def _warn(self, target: Target) -> None:
        if self._warned or not config.retrace_warning or self.made < config.retrace_warning:
            return
        self._warned = True
        report = RetraceReport(target.name, self.traces)
        warnings.warn(f"{target.name} was traced {self.made} times.\n{report}", RetraceWarning, stacklevel=_depth())


def _known(x: Any, traces: Sequence[Trace]) -> tuple[keys.Ref, int | None] | None:
    """How the fast path knows an object again: None where it cannot be held weakly."""
    ref = keys.identity(x)
    if not isinstance(ref, keys.Ref):
        return None
    if keys.kind_of(x) != keys.VERSIONED or all(t.guards is not None and t.guards.version(x) for t in traces):
        return ref, None
    return ref, x.__treadle_version__


def _usable(trace: Trace) -> bool:
    if trace.home is not None:
        tracer = active_tracer()
        if tracer is None or not trace.home.encloses(tracer.scope):
            return False
    guards = trace.guards
    return guards is None or guards.hold()


def with_parts(signature: Signature, parts: Sequence[keys.Part]) -> Signature:
    """The signature with other sizes."""
    if all(leaf.part is part or leaf.part == part for leaf, part in zip(signature.leaves, parts, strict=True)):
        return signature
    leaves = []
    for leaf, part in zip(signature.leaves, parts, strict=True):
        text = leaf.text
        if part[0] == keys.TENSOR and not is_static(part[2]):
            text = keys.describe_spec(keys.Spec(part[2], part[1]))
        leaves.append(Leaf(leaf.path, part, text))
    shown = {leaf.path: leaf.text for leaf in leaves}
    return replace(
        signature,
        arguments=tuple((name, shown.get(name, text)) for name, text in signature.arguments),
        leaves=tuple(leaves),
    )


def alike(signature: Signature, earlier: Signature) -> Signature:
    """The signature, sharing with an earlier one what is equal: of a nest of weights and one batch, nearly all."""
    if len(signature.leaves) != len(earlier.leaves) or len(signature.arguments) != len(earlier.arguments):
        return signature
    leaves = [b if _as(a, b) else a for a, b in zip(signature.leaves, earlier.leaves, strict=True)]
    arguments = [b if a == b else a for a, b in zip(signature.arguments, earlier.arguments, strict=True)]
    return replace(signature, arguments=tuple(arguments), leaves=tuple(leaves))


def _as(a: Leaf, b: Leaf) -> bool:
    return a.text == b.text and a.path == b.path and a.part == b.part


def plain_sizes(parts: Sequence[keys.Part]) -> bool:
    """Whether every open size of the tensors is a name of its own, which a call can read off its arguments."""
    sizes = [size for part in parts if part[0] == keys.TENSOR for size in part[2] if isinstance(size, Dim)]
    return all(len(d.terms) == 1 and next(iter(d.terms.items())) == ((next(iter(d.names())),), 1) for d in sizes)


def _depth() -> int:
    """The stack level of the user's line, for warnings."""
    frame, level = sys._getframe(1), 1
    while frame.f_back is not None and is_own_code(frame.f_code):
        frame, level = frame.f_back, level + 1
    return level


__all__ = ["Fast", "Store", "plain_sizes", "with_parts"]
