"""The worker pool: shares, statuses, busy and absent pools, forks, exits."""

import os
import signal
import subprocess
import sys
import textwrap
import threading

import numpy as np
import pytest

from treadle.compile.assembler import Assembler
from treadle.compile.llvm import build
from treadle.compile.run import pool
from treadle.compile.run.machine import Reason

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this platform")


@pytest.fixture(params=[1, 2, 4])
def threads(request):
    before = pool.get_num_threads()
    pool.set_num_threads(request.param)
    yield request.param
    pool.set_num_threads(before)


def counting(kernels, hi, grain):
    asm = Assembler(0, 1)
    asm.call(kernels.visit, [asm.output(0)], hi, grain)
    return asm.finish()


@pytest.mark.parametrize(("hi", "grain"), [(1, 1), (0, 5), (10, 7), (14, 7), (15, 7), (1000, 1), (100_000, 999)])
def test_each_element_is_visited_once(kernels, threads, hi, grain):
    code = counting(kernels, hi, grain)
    out = np.zeros(hi, np.int64)
    for turn in range(1, 30):
        code.run((), (out,))
        assert (out == turn).all()


def test_work_is_cut_by_size_alone(kernels, threads):
    asm = Assembler(0, 1)
    asm.call(kernels.shares, [asm.output(0), 10, 0], 35, 10)
    out = np.zeros(4, np.int64)
    asm.finish().run((), (out,))
    assert out.tolist() == [10, 10, 10, 5]


# args: y, the clock, its number; counts how often each element was visited, and takes six milliseconds a call
LINGER = """
def kernel(args, lo, hi):
    for i in range(lo, hi):
        store(args[0] + 8 * i, load(args[0] + 8 * i) + 1)
    begun = nanoseconds(args[1], args[2])
    while nanoseconds(args[1], args[2]) - begun < 6000000:
        pause()
    return 0
"""


@pytest.mark.skipif(pool.platform is None, reason="no clock on this platform")
@pytest.mark.parametrize("busy", [False, True])
def test_a_long_call_passes_through_python_between_shares(busy, monkeypatch):
    (linger,) = build.load([build.Source("linger", LINGER, native=True)])
    asm = Assembler(0, 1)
    asm.call(linger, [asm.output(0), pool.platform.clock, pool.platform.clock_id], 40, 2)
    code = asm.finish()
    pool.start()
    if busy:
        monkeypatch.setattr(pool, "start", lambda: None)
        pool._cell[0] = 0
    enter, reasons = code._enter, []

    def counted(pointer):
        reasons.append(enter(pointer))
        return reasons[-1]

    code._enter = counted
    out = np.zeros(40, np.int64)
    code.run((), (out,))
    assert (out == 1).all()
    assert set(reasons[:-1]) == {Reason.YIELD}
    assert reasons[-1] == Reason.DONE
    code._enter = lambda pointer: counted(pointer) and signal.raise_signal(signal.SIGINT)
    out[:] = 0
    with pytest.raises(KeyboardInterrupt):
        code.run((), (out,))
    assert 0 < out.sum() < 40
    pool._retire()


def test_a_status_of_any_share_is_reported(kernels, threads):
    asm = Assembler(0, 1)
    asm.call(kernels.shares, [asm.output(0), 10, 9], 40, 10, note="here")
    code = asm.finish()
    heard = []
    for _ in range(20):
        code.run((), (np.zeros(4, np.int64),), (), lambda run, note, status: heard.append((note, status)))
    assert heard == [("here", 9)] * 20


def test_many_python_threads_share_one_pool(kernels, threads):
    code = counting(kernels, 20_000, 1000)
    failures = []

    def work():
        out = np.zeros(20_000, np.int64)
        for turn in range(1, 40):
            code.run((), (out,))
            if not (out == turn).all():
                failures.append(turn)

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert failures == []


def test_the_number_of_threads_can_change_between_runs(kernels):
    before = pool.get_num_threads()
    code = counting(kernels, 1000, 10)
    out = np.zeros(1000, np.int64)
    try:
        for turn, count in enumerate((2, 1, 3, 2), 1):
            pool.set_num_threads(count)
            assert pool.get_num_threads() == count
            code.run((), (out,))
            assert (out == turn).all()
            if pool.platform is not None:
                assert len(pool.state.threads) == count - 1
        pool.set_num_threads(np.int64(2))
        for wrong in (0, -1, 1.5, "2", None, True, 10**9):
            with pytest.raises(ValueError, match="an integer from 1 to 1024"):
                pool.set_num_threads(wrong)
        assert pool.get_num_threads() == 2
    finally:
        pool.set_num_threads(before)


def test_without_pthreads_everything_runs_serially(kernels, monkeypatch):
    before = pool.get_num_threads()
    pool.set_num_threads(1)
    monkeypatch.setattr(pool, "platform", None)
    pool.set_num_threads(2)
    try:
        out = np.zeros(1000, np.int64)
        counting(kernels, 1000, 10).run((), (out,))
        assert (out == 1).all() and pool.state.threads == ()
    finally:
        pool.set_num_threads(before)


SCRIPT = """
import os, sys, threading
import numpy as np
from treadle.compile.llvm import build
from treadle.compile.llvm import build
from treadle.compile.run import pool
from treadle.compile.run.machine import Reason
from treadle.compile.assembler import Assembler
pool.set_num_threads(3)
(visit,) = build.load([build.Source("visit", '''
def kernel(args, lo, hi):
    y = p_i8(args[0])
    for i in range(lo, hi):
        y[i] += 1
    return 0
''')])
asm = Assembler(0, 1)
asm.host(0)
asm.call(visit, [asm.output(0)], 10000, 100)
code = asm.finish()
def run(host=lambda run: None):
    out = np.zeros(10000, np.int64)
    code.run((), (out,), [host])
    assert (out == 1).all()
def fork(action):
    child = os.fork()
    if child == 0:
        status = 1
        try:
            action()
            status = 0
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
"""


def run_script(body, timeout=60):
    source = SCRIPT + textwrap.dedent(body)
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, timeout=timeout)
    assert done.returncode == 0, done.stderr
    return done.stdout


@needs_fork
def test_a_forked_child_makes_its_own_pool():
    run_script(
        """
        run()
        def child():
            assert pool.state.threads == ()
            run(); run()
            assert len(pool.state.threads) == 2
        for _ in range(3):
            fork(child)
            run()
        """
    )


@needs_fork
def test_a_fork_in_the_middle_of_a_run_goes_on_in_both():
    run_script(
        """
        run()
        child = []
        run(lambda run: child.append(os.fork()))
        if child[0] == 0:
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child[0], 0)[1]) == 0
        run()
        """
    )


@needs_fork
def test_forks_while_other_threads_run_programs():
    run_script(
        """
        run()
        stop = []
        def work():
            while not stop:
                run()
        workers = [threading.Thread(target=work) for _ in range(2)]
        for worker in workers: worker.start()
        for _ in range(10):
            fork(run)
        stop.append(1)
        for worker in workers: worker.join()
        """
    )


def test_a_process_may_end_while_a_thread_runs_programs():
    out = run_script(
        """
        started = threading.Event()
        def work():
            while True:
                run()
                started.set()
        threading.Thread(target=work, daemon=True).start()
        started.wait()
        import atexit
        atexit.register(lambda: (run(), print("ran at exit")))
        """
    )
    assert out == "ran at exit\n"


def test_a_range_of_less_than_two_grains_is_not_cut(kernels):
    for hi, kind in ((19, "call"), (20, "parallel")):
        assert counting(kernels, hi, 10).text().split()[1] == kind


def test_an_extent_of_run_time_is_cut_too(kernels, threads):
    asm = Assembler(1, 1)
    extent = asm.cell()
    asm.load_i8(extent, asm.input(0))
    asm.call(kernels.shares, [asm.output(0), 10, 0], extent, 10)
    code = asm.finish()
    for hi, wanted in ((25, [10, 10, 5, 0]), (7, [7, 0, 0, 0])):
        out = np.zeros(4, np.int64)
        code.run((np.array([hi]),), (out,))
        assert out.tolist() == wanted


@needs_fork
def test_a_fork_in_the_middle_of_a_product_leaves_blas_as_it_was_in_both():
    run_script(
        """
        import ctypes
        from treadle.compile.matrix import blas
        if blas.threads_block() is None:
            sys.exit()
        get = ctypes.CFUNCTYPE(ctypes.c_int)(blas.library().get_threads)
        ctypes.CFUNCTYPE(None, ctypes.c_int)(blas.library().set_threads)(2)
        before = get()
        asm = Assembler(2, 1)
        asm.host(0)
        asm.gemm("f8", False, False, 2, 2, 2, asm.input(0), 2, asm.input(1), 2, asm.output(0), 2)
        product, eye, out, child = asm.finish(), np.eye(2), np.zeros((2, 2)), []
        product.run((eye, eye), (out,), [lambda run: child.append(os.fork())])
        assert (out == eye).all() and get() == before
        product.run((eye, eye), (out,), [lambda run: None])
        assert get() == before
        if child[0] == 0:
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child[0], 0)[1]) == 0
        """
    )
