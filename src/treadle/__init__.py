"""treadle: a tracing JIT that turns eager Python functions into graphs, on NumPy and Numba."""
