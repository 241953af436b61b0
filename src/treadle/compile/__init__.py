"""From a graph to a program of native kernels: the only package that meets Numba, and only when it must compile."""
