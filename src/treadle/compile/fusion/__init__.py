"""Groups of elementwise work and reductions as kernels: what joins, in which passes, and the text of it."""
