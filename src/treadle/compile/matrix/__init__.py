"""Matrix products: calls of BLAS, and kernels of our own where those are quicker."""
