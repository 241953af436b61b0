"""The rules of fusion by name, and how often each was used: the tests of random programs ask that none stays unused."""

from __future__ import annotations

from collections import Counter

RULES = (
    "two groups become one",
    "work on the same array",
    "rows are reduced",
    "columns are reduced and read again",
    "a row's value is read in its kernel",
    "work on a row's value",
    "a view of a row's value",
    "row values are summed",
    "sums across rows",
    "a value is computed again in a later pass",
    "a value is kept in an output's place",
    "a value is kept in scratch",
    "a stored value is read again",
    "passes along rows",
    "strips of rows",
    "partial results are added up",
    "a short row is written out",
    "a gather is read in place",
    "positions are counted",
    "a variance in one pass",
    "a value in pieces is read in place",
    "a scatter computes its updates",
    "a running result computes its elements",
    "a value is made again where it is read",
    "what replaces a slice is made in its place",
    "loops go along the axis before a short last one",
    "random numbers are drawn where they are read",
)

counts: Counter[str] = Counter()  # in this process


def used(rule: str) -> None:
    """Count one use of a rule. Raises KeyError for a name that is none."""
    if rule not in RULES:
        raise KeyError(rule)
    counts[rule] += 1
