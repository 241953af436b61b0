"""Threads of NumPy's BLAS that take shares: who is looked at, when they are asked, for how long, and that they do."""

import ctypes
import os
import threading

import numpy as np
import pytest

from treadle.compile.assembler import Assembler
from treadle.compile.llvm import build
from treadle.compile.matrix import blas
from treadle.compile.run import lending, pool
from treadle.compile.run.machine import Pool

pytestmark = pytest.mark.skipif(
    pool.platform is None or lending.lender() is None, reason="NumPy's BLAS has no threads that can be borrowed"
)


@pytest.fixture
def block():
    """A pool's block with three threads' worth of lending, beside which no pool exists."""
    made = pool._make_block(pool.platform)
    made[Pool.WANTED] = 2
    made[Pool.HOW_MANY] = ctypes.cast(ctypes.CDLL(None).getpid, ctypes.c_void_p).value  # a large number
    return made


@pytest.fixture(scope="module")
def kernels():
    return build.load([lending.LOOK, lending.TAKE])


@pytest.fixture
def look(kernels, block, tmp_path):
    """Looks at threads of these states, the first half NumPy's: how many there are to borrow."""
    function = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)(kernels[0].address)
    opened, kept = [], []

    def looking(theirs, others="", threads=7, again=True):
        rows = [0]
        for number, state in enumerate((*theirs, *others)):
            path = tmp_path / f"{len(opened)}"
            path.write_text(f"{number} (a (b) c) {state} " + " ".join("1" * 16) + f" {threads} 0 0 99 98")
            opened.append(os.open(path, os.O_RDONLY))
            rows += [number, opened[-1], int(number < len(theirs)), path.read_text().rindex(")") + 2]
        rows += [threading.get_native_id(), -1, 0, 0]
        rows[0] = len(rows) // 4
        kept.append(np.array(rows, np.int64))
        block[Pool.TABLE], block[Pool.THREADS] = kept[-1].ctypes.data, 7
        block[Pool.LOOKED] = 0 if again else block[Pool.LOOKED]
        return function(block.ctypes.data, 0, 0)

    yield looking
    for file in opened:
        os.close(file)


def test_threads_that_run_are_borrowed_where_nobody_else_runs(look):
    assert look("R") == 2
    assert look("S") == 0
    assert look("R", "SS") == 2
    assert look("R", "SR") == 0, "they may work for that thread"
    assert look("RRR", "S") == 2, "as many as a job may use, the caller being one"


def test_a_few_threads_are_not_worth_a_pool_of_many(look, block):
    block[Pool.WANTED] = 8
    assert look("RSSSSSS") == 0
    assert look("RRRRRRS") == 7


def test_what_was_seen_holds_for_a_while(look):
    assert look("R") == 2
    assert look("S", again=False) == 2
    assert look("S") == 0


def test_another_number_of_threads_asks_for_a_new_table(look, block):
    assert look("R", threads=8) == 0
    assert block[Pool.ASK] == 1
    block[Pool.ASK] = 0
    assert look("R", threads=8) == 0
    assert block[Pool.ASK] == 0, "not again at once"


def test_after_a_period_they_are_left_alone_until_they_would_sleep(look, block):
    assert look("R") == 2
    now = block[Pool.LOOKED]
    for ago, count in ((lending.PERIOD - 10**9, 2), (lending.PERIOD + 1, 0), (lending.PERIOD + lending.REST + 1, 2)):
        block[Pool.SINCE] = now - ago
        assert look("R") == count, ago
    assert block[Pool.SINCE] > now
    look("S")
    assert block[Pool.SINCE] == 0


def test_shares_are_left_behind_a_deadline(kernels, block):
    visit = build.load([build.Source("visit", VISIT, native=True)])[0]
    out = np.zeros(12, np.int64)
    args = np.array([out.ctypes.data, 0, 0], np.int64)
    block[Pool.FUNCTION], block[Pool.ARGS] = visit.address, args.ctypes.data
    block[Pool.HI], block[Pool.GRAIN], block[Pool.SHARES], block[Pool.REMAINING] = 12, 4, 3, 3
    take = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_void_p)(kernels[1].address)
    block[Pool.DEADLINE] = 1
    take(block.ctypes.data)
    assert (block[Pool.DONE], block[Pool.LEFT]) == (1, 2)
    assert out.tolist() == [1] * 4 + [0] * 8
    block[Pool.REMAINING], block[Pool.DEADLINE] = 2, 0
    take(block.ctypes.data)
    assert block[Pool.DONE] == 3
    assert out.tolist() == [1] * 12


# args: y, gettid or 0, usleep: counts visits, or notes who visits, and sleeps a millisecond
VISIT = """
def kernel(args, lo, hi):
    for i in range(lo, hi):
        store(args[0] + 8 * i, call0(args[1]) if args[1] != 0 else load(args[0] + 8 * i) + 1)
    if args[1] != 0:
        call1(args[2], 1000)
    return 0
"""


@pytest.fixture
def two_threads():
    """NumPy's BLAS and the pool with two threads each."""
    library = blas._open(next(blas._bundled(("numpy",))))
    put, before = ctypes.CFUNCTYPE(None, ctypes.c_int)(library.set_threads), pool.get_num_threads()
    had = ctypes.CFUNCTYPE(ctypes.c_int)(library.get_threads)()
    put(2)
    pool.set_num_threads(2)
    pool.start()
    yield
    pool.set_num_threads(before)
    put(had)


def test_threads_of_numpy_take_shares_after_a_product_of_numpys(two_threads):
    (visit,) = build.load([build.Source("visit", VISIT, native=True)])
    asm = Assembler(0, 1)
    sleep = ctypes.cast(ctypes.CDLL(None).usleep, ctypes.c_void_p).value
    asm.call(visit, [asm.output(0), lending.lender().who, sleep], 8, 2)
    code, out, factor = asm.finish(), np.zeros(8, np.int64), np.ones((300, 300))
    ours = {threading.get_native_id(), *(t.native_id for t in pool.state.threads)}
    for _ in range(400):  # the processors may be others' for a while
        factor @ factor
        code.run((), (out,))
        if set(out.tolist()) - ours:
            break
    assert set(out.tolist()) - ours, "no thread but our own ever took a share"
    assert all(number > 0 for number in out.tolist())
