"""Adapters: one module for each library that is measured. `PEERS` names them; a module is imported only by a worker."""

# Name on the command line -> the library's module, which decides whether the peer is installed.
PEERS = {
    "treadle": "treadle",
    "numpy": "numpy",
    "numba": "numba",
    "jax": "jax",
    "torch": "torch",
    "tensorflow": "tensorflow",
    "pytensor": "pytensor",
}
ALIASES = {"td": "treadle", "np": "numpy", "pytorch": "torch", "tf": "tensorflow"}
