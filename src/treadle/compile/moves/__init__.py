"""Kernels that carry values from place to place: gathers, joins, scans, searches, ranges and random numbers."""
