"""Loops that become one kernel, and the carried arrays of those that do not."""
