"""A count of changes to what calls mean everywhere: switches, the default float, a fork. Native code reads it."""

from __future__ import annotations

import os

import numpy as np

count = np.zeros(1, np.int64)


def note() -> None:
    """Something has changed: what was prepared for quick calls holds no longer."""
    count[0] += 1


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=note)
