"""Imports treadle first, so that pytest collects its modules as parts of the one package."""

import os

# The tests' products are small: threads of BLAS would only wait for one another, more so beside other test processes.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import treadle  # noqa: F401
