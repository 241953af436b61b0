"""`td.strings`: functions of string tensors."""

from treadle.ops.strings import join, length, lower, strip, upper

__all__ = ["join", "length", "lower", "strip", "upper"]
