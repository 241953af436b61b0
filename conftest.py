"""Imports treadle first, so that pytest collects its modules as parts of the one package."""

import treadle  # noqa: F401
