"""A fork while another thread multiplies matrices: the child multiplies too, and finds no lock of BLAS locked."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

# A process of its own, in which BLAS has its threads.
PROGRAM = """
import os, signal, threading
import numpy as np
import treadle as td

x = td.asarray(np.random.default_rng(0).normal(size=(600, 600)).astype(np.float32))
product = td.function(lambda x: td.tanh(x @ x))
want = product(x).numpy().tobytes()
begun, over = threading.Event(), threading.Event()

def work():
    while not over.is_set():
        product(x)
        begun.set()

thread = threading.Thread(target=work)
thread.start()
begun.wait()
failed = 0
for _ in range(25):
    child = os.fork()
    if child == 0:
        signal.alarm(10)
        os._exit(0 if product(x).numpy().tobytes() == want else 1)
    failed = failed or os.waitpid(child, 0)[1]
over.set()
thread.join()
raise SystemExit(failed)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_children_multiply_while_a_thread_does() -> None:
    surroundings = {name: value for name, value in os.environ.items() if not name.startswith("OPENBLAS")}
    assert subprocess.run([sys.executable, "-c", PROGRAM], env=surroundings, check=False).returncode == 0
