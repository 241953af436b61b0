"""`td.debug`: walk a function node by node with values, and stop at the first NaN or infinity."""

from treadle.debug.numerics import check_numerics
from treadle.debug.stepping import Step, Stepper, step
from treadle.debug.summary import has_inf, has_nan, summary

__all__ = ["Step", "Stepper", "check_numerics", "has_inf", "has_nan", "step", "summary"]
