"""Programs: every instruction, host steps, statuses, leases, and the ways in which a run can be interrupted."""

import _thread
import gc
import signal
import threading
import weakref

import numpy as np
import pytest

from treadle.compile.assembler import Assembler
from treadle.compile.run import executor
from treadle.compile.run.arenas import ArenaPool, Resting, arenas, rounded
from treadle.compile.run.machine import Slot


def ints(*values):
    return np.array(values, np.int64)


def test_a_kernel_reads_an_input_and_writes_an_output(kernels):
    asm = Assembler(1, 1)
    asm.call(kernels.inc, [asm.input(0), asm.output(0), 5], 3)
    code = asm.finish()
    out = ints(0, 0, 0)
    for _ in range(3):  # the frame is used again
        code.run((ints(1, 2, 3),), (out,))
    assert out.tolist() == [6, 7, 8]


def test_constants_arenas_and_byte_offsets(kernels):
    asm = Assembler(0, 1, arena_bytes=32)
    constant = asm.constant(np.arange(10, dtype=np.int64)[::2])
    asm.call(kernels.inc, [constant.at(8), asm.arena(16), 1], 2)
    asm.call(kernels.inc, [asm.arena(16), asm.output(0).at(8), 10], 2)
    out = ints(0, 0, 0)
    asm.finish().run((), (out,))
    assert out.tolist() == [0, 13, 15]


def test_a_constant_is_kept_alive_by_the_program(kernels):
    asm = Assembler(0, 1)
    array = ints(3)
    alive = weakref.ref(array)
    asm.call(kernels.inc, [asm.constant(array), asm.output(0), 0], 1)
    code = asm.finish()
    del array, asm
    gc.collect()
    out = ints(0)
    code.run((), (out,))
    assert out[0] == 3 and alive() is not None


def test_the_arena_begins_on_a_cache_line():
    for size in (64, executor.SMALL_ARENA + 1):
        asm = Assembler(0, 0, arena_bytes=size)
        asm.host(0)
        place = asm.arena(0)
        asm.finish().run((), (), [lambda run: seen.append(run.address(place) % 64)] if (seen := []) is not None else ())
        assert seen == [0]


def test_copy_fill_and_overlap():
    asm = Assembler(1, 2)
    asm.copy(asm.output(0), asm.input(0), 24)
    asm.copy(asm.output(0).at(8), asm.output(0), 16)
    asm.fill(asm.output(1), 255, 12)
    asm.fill(asm.output(1), 1, 0)
    first, second = ints(0, 0, 0), ints(0, 0)
    asm.finish().run((ints(1, 2, 3),), (first, second))
    assert first.tolist() == [1, 1, 2]
    assert second.tolist() == [-1, 0xFFFFFFFF]


def test_jumps_follow_a_byte(kernels):
    asm = Assembler(1, 1)
    yes, end = asm.label(), asm.label()
    asm.jump_if(asm.input(0).at(1), yes)
    asm.fill(asm.output(0), 1, 1)
    asm.jump(end)
    asm.place(yes)
    asm.fill(asm.output(0), 2, 1)
    asm.place(end)
    asm.jump_unless(asm.input(0).at(1), last := asm.label())
    asm.fill(asm.output(0).at(1), 9, 1)
    asm.place(last)
    code = asm.finish()
    for flag, wanted in ((True, [2, 9]), (False, [1, 0])):
        out = np.zeros(2, np.uint8)
        code.run((np.array([not flag, flag]),), (out,))
        assert out.tolist() == wanted


def test_a_counted_loop_over_a_stacked_array(kernels):
    asm = Assembler(1, 1)
    counter, row, target, loop = asm.counter(), asm.cell(), asm.cell(), asm.label()
    asm.set(counter, 0)
    asm.place(loop)
    asm.address(row, asm.input(0), counter, 16)
    asm.address(target, asm.output(0), counter, 16)
    asm.call(kernels.inc, [row.at(8), target.at(8), 100], 1)
    asm.add(counter, 1)
    asm.jump_less(counter, 3, loop)
    code = asm.finish()
    x = np.arange(6, dtype=np.int64).reshape(3, 2)
    for _ in range(2):
        out = np.zeros((3, 2), np.int64)
        code.run((x,), (out,))
        assert out.tolist() == [[0, 101], [0, 103], [0, 105]]


def test_a_loop_whose_limit_is_read_at_run_time():
    asm = Assembler(1, 1)
    counter, limit, loop = asm.counter(), asm.cell(), asm.label()
    asm.load_i8(limit, asm.input(0))
    asm.set(counter, 0)
    asm.place(loop)
    asm.add(counter, 7)
    asm.jump_less(counter, limit, loop)
    asm.store_i8(asm.output(0), counter)
    code = asm.finish()
    for limit_value, wanted in ((20, 21), (-3, 7), (10**6, 10**6 + 7 - 10**6 % 7)):
        out = ints(0)
        code.run((ints(limit_value),), (out,))
        assert out[0] == wanted


def test_a_loop_that_ends_when_a_kernel_says_so(kernels):
    asm = Assembler(1, 1, arena_bytes=8)
    loop = asm.label()
    asm.copy(asm.output(0), asm.input(0), 8)
    asm.place(loop)
    asm.call(kernels.inc, [asm.output(0), asm.output(0), 3], 1)
    asm.call(kernels.less, [asm.output(0), asm.arena(0), 100], 1)
    asm.jump_if(asm.arena(0), loop)
    out = ints(0)
    asm.finish().run((ints(2),), (out,))
    assert out[0] == 101


def test_pointers_can_be_swapped_through_cells(kernels):
    asm = Assembler(2, 1)
    a, b, spare = asm.cell(), asm.cell(), asm.cell()
    asm.move(a, asm.input(0))
    asm.move(b, asm.input(1).at(8))
    asm.move(spare, a)
    asm.move(a, b)
    asm.move(b, spare)
    asm.call(kernels.inc, [a, asm.output(0), 0], 1)
    asm.call(kernels.inc, [b, asm.output(0).at(8), 0], 1)
    out = ints(0, 0)
    asm.finish().run((ints(1), ints(5, 6)), (out,))
    assert out.tolist() == [6, 1]


def test_the_extent_of_a_call_may_be_a_cell(kernels):
    asm = Assembler(1, 1)
    extent = asm.cell()
    asm.load_i8(extent, asm.input(0))
    asm.call(kernels.visit, [asm.output(0)], extent)
    out = np.zeros(4, np.int64)
    asm.finish().run((ints(2),), (out,))
    assert out.tolist() == [1, 1, 0, 0]


def test_host_steps_see_the_run_and_may_change_its_course(kernels):
    asm = Assembler(1, 1, arena_bytes=64)
    cell, constant, skip = asm.cell(), asm.constant(ints(7)), asm.label()
    places = {"input": asm.input(0), "output": asm.output(0), "arena": asm.arena(8), "constant": constant}
    asm.set(cell, 41)
    asm.host(1)
    asm.call(kernels.inc, [asm.arena(8), asm.output(0), 1], 2)
    asm.host(0)
    asm.fill(asm.output(0), 0, 16)
    asm.place(skip)
    asm.store_i8(asm.output(0).at(16), cell)
    seen = {}

    def first(run):
        seen.update({name: run.array(place, (1,), np.int64).copy() for name, place in places.items()})
        run.array(asm.arena(8), (2,), np.int64)[:] = run.inputs[0] * 10
        run.set_cell(cell, run.cell(cell) + 1)
        run.scratch["kept"] = "yes"
        assert run.array(asm.arena(0), (0, 3), np.float32).shape == (0, 3)

    def second(run):
        assert run.scratch == {"kept": "yes"}
        assert run.address(asm.output(0).at(8)) == run.outputs[0].ctypes.data + 8
        run.goto(skip)

    out = ints(1, 2, 3)
    asm.finish().run((ints(4, 5),), (out,), [second, first])
    assert out.tolist() == [41, 51, 42]
    assert seen["input"][0] == 4 and seen["output"][0] == 1 and seen["constant"][0] == 7


def test_a_host_step_may_run_the_same_program_again(kernels):
    asm = Assembler(1, 1)
    asm.call(kernels.inc, [asm.input(0), asm.output(0), 1], 1)
    asm.host(0)
    asm.call(kernels.inc, [asm.output(0), asm.output(0), 10], 1)
    code = asm.finish()
    depth = []

    def host(run):
        if len(depth) < 3:
            depth.append(0)
            inner = ints(0)
            code.run((run.outputs[0],), (inner,), [host])
            run.outputs[0][0] = inner[0]

    out = ints(0)
    code.run((ints(0),), (out,), [host])
    assert out[0] == 4 * 11


def test_a_kernel_keeps_its_state_and_is_entered_again(kernels):
    asm = Assembler(0, 1)
    asm.call(kernels.steps, [asm.output(0), asm.fresh(0), 12_345], 0)
    code = asm.finish()
    for _ in range(2):
        out = ints(0)
        code.run((), (out,))
        assert out[0] == 12_345


def test_a_status_reaches_its_handler_with_the_note(kernels):
    asm = Assembler(1, 1)
    asm.call(kernels.check, [asm.input(0)], 0, note="the note")
    asm.fill(asm.output(0), 1, 1)
    code = asm.finish()
    out = np.zeros(1, np.uint8)
    heard = []
    code.run((ints(77),), (out,), (), lambda run, note, status: heard.append((note, status)))
    assert heard == [("the note", 77)] and out[0] == 1

    def refuse(run, note, status):
        raise ZeroDivisionError(note)

    out[0] = 0
    with pytest.raises(ZeroDivisionError, match="the note"):
        code.run((ints(2),), (out,), (), refuse)
    assert out[0] == 0
    with pytest.raises(RuntimeError, match="status 3"):
        code.run((ints(3),), (out,))
    code.run((ints(0),), (out,))
    assert out[0] == 1


def test_a_status_handler_may_go_elsewhere(kernels):
    asm = Assembler(1, 1)
    asm.call(kernels.check, [asm.input(0)], 0)
    asm.fill(asm.output(0), 1, 1)
    end = asm.label()
    asm.place(end)
    out = np.zeros(1, np.uint8)
    asm.finish().run((ints(2),), (out,), (), lambda run, note, status: run.goto(end))
    assert out[0] == 0


@pytest.mark.parametrize("interrupt", [lambda: signal.raise_signal(signal.SIGINT), _thread.interrupt_main])
def test_ctrl_c_ends_a_kernel_that_would_never_end(kernels, interrupt):
    asm = Assembler(1, 0)
    asm.host(0)
    asm.call(kernels.check, [asm.input(0)], 0)  # status 1 for ever: budget spent, call me again
    code = asm.finish()
    with pytest.raises(KeyboardInterrupt):
        code.run((ints(1),), (), [lambda run: interrupt()])


def test_ctrl_c_ends_a_loop_that_would_never_end(kernels):
    asm = Assembler(0, 1, arena_bytes=executor.SMALL_ARENA + 1)
    loop = asm.label()
    asm.place(loop)
    asm.call(kernels.inc, [asm.output(0), asm.output(0), 1], 1)
    asm.jump(loop)
    code = asm.finish()
    out = ints(0)

    def interrupt_once_it_runs():
        while out[0] < 1000:
            pass
        _thread.interrupt_main()

    thread = threading.Thread(target=interrupt_once_it_runs)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        code.run((), (out,))
    thread.join()
    assert out[0] >= 1000


def test_a_run_that_raises_gives_its_arena_back():
    arenas.clear()
    asm = Assembler(0, 0, arena_bytes=1 << 20)
    asm.host(0)
    code = asm.finish()
    with pytest.raises(ZeroDivisionError):
        code.run((), (), [lambda run: 1 / 0])
    kept = arenas.idle_bytes()
    assert kept >= 1 << 20
    code.run((), (), [lambda run: None])
    assert arenas.idle_bytes() == kept


def test_the_arena_pool_is_bounded():
    pool = ArenaPool(limit=3 << 20)
    shelf, other = pool.shelf(1 << 20), pool.shelf(1 << 21)
    leased = [pool.lease(1 << 20, shelf) for _ in range(5)]
    for arena in leased:
        pool.release(arena, shelf)
    assert pool.idle_bytes() == pool.total == 3 << 20
    assert pool.lease(1 << 20, shelf) in leased
    large = pool.lease(1 << 21, other)  # makes room by freeing what lies idle
    assert pool.idle_bytes() == 0 and pool.total == 3 << 20
    pool.release(large, other)
    assert pool.idle_bytes() == 1 << 21


class _Idle:
    """Stands in for a program that keeps a frame."""

    rested = 0

    def rest(self):
        self.rested += 1


def test_idle_programs_give_their_frames_up_when_they_grow_many():
    resting = Resting(limit=100)
    first, second, gone = _Idle(), _Idle(), _Idle()
    resting.note(gone, 40)
    del gone
    resting.note(first, 60)
    assert (first.rested, resting.total) == (0, 100)
    resting.note(second, 90)
    assert (first.rested, second.rested, resting.total) == (1, 0, 90)
    resting.note(second, 500)  # a single one may be larger than all that may rest
    assert resting.total == 500


def test_a_program_that_has_rested_runs_again():
    asm = Assembler(1, 1)
    asm.copy(asm.output(0), asm.input(0), 8)
    code = asm.finish()
    for value in (1.0, 2.0):
        out = np.zeros(1)
        code.run((np.array([value]),), (out,))
        assert out[0] == value
        code.rest()


@pytest.mark.parametrize("size", [1, 4095, 4096, 70_000, 10**6, 10**9 + 1])
def test_arena_sizes_are_rounded_up_a_little(size):
    assert size <= rounded(size) <= max(size * 9 / 8, size + 4096)


def test_arrays_that_are_not_plain_are_brought_into_shape(kernels):
    asm = Assembler(1, 1)
    asm.call(kernels.inc, [asm.input(0), asm.output(0), 1], 3)
    code = asm.finish()

    class Special(np.ndarray):
        pass

    sources = [
        np.arange(6)[::2],
        np.arange(6)[::2].view(Special),
        np.frombuffer(b"\0" * 25, np.uint8)[1:].view(np.int64),
    ]
    for source in sources:
        for out in (np.zeros(6, np.int64)[::2], np.zeros(3, np.int64).view(Special), np.zeros(3, np.int64)):
            code.run((source,), (out,))
            assert out.tolist() == [value + 1 for value in source.tolist()]
    locked = np.zeros(3, np.int64)
    locked.flags.writeable = False
    code.run((locked,), (out,))
    assert out.tolist() == [1, 1, 1]
    with pytest.raises(ValueError, match="read-only"):
        code.run((ints(1, 2, 3),), (locked,))
    code.run((ints(1, 2, 3),), (out,))
    assert out.tolist() == [2, 3, 4]


def test_the_wrong_number_of_arguments_is_an_error(kernels):
    asm = Assembler(1, 1)
    asm.call(kernels.inc, [asm.input(0), asm.output(0), 1], 1)
    code = asm.finish()
    with pytest.raises(TypeError, match="1 inputs and 1 outputs, not 2 and 1"):
        code.run((ints(1), ints(1)), (ints(1),))
    with pytest.raises(TypeError, match="two tuples"):
        code.run([ints(1), ints(1)], (ints(1),))


def test_a_run_lets_go_of_its_arrays(kernels):
    asm = Assembler(1, 1)
    asm.call(kernels.inc, [asm.input(0), asm.output(0), 1], 1)
    code = asm.finish()
    x, out = ints(1), ints(1)
    watched = weakref.ref(x), weakref.ref(out)
    code.run((x,), (out,))
    del x, out
    assert [ref() for ref in watched] == [None, None]


def test_without_knowledge_of_numpys_layout_python_reads_the_addresses(kernels, monkeypatch):
    monkeypatch.setattr(executor, "arrays_readable", lambda: False)
    asm = Assembler(2, 1)
    asm.call(kernels.inc, [asm.input(0), asm.output(0), 1], 1)
    asm.call(kernels.inc, [asm.input(1), asm.output(0).at(8), 1], 1)
    code = asm.finish()
    for n in range(3):
        out = ints(0, 0)
        code.run((ints(n), ints(10, 0)[::2]), (out,))
        assert out.tolist() == [n + 1, 11]
    assert code._free[0].slots[Slot.ARRAY_TYPE] == 0


def test_this_numpy_is_read_natively():
    assert executor.arrays_readable()


def test_several_threads_run_one_program(kernels):
    asm = Assembler(1, 1, arena_bytes=8 * 1000)
    loop, counter = asm.label(), asm.counter()
    asm.copy(asm.arena(0), asm.input(0), 8000)
    asm.set(counter, 0)
    asm.place(loop)
    asm.call(kernels.inc, [asm.arena(0), asm.arena(0), 1], 1000)
    asm.add(counter, 1)
    asm.jump_less(counter, 100, loop)
    asm.copy(asm.output(0), asm.arena(0), 8000)
    code = asm.finish()
    failures = []

    def work(start):
        for turn in range(20):
            out = np.zeros(1000, np.int64)
            code.run((np.full(1000, start * turn),), (out,))
            if not (out == start * turn + 100).all():
                failures.append((start, turn))

    threads = [threading.Thread(target=work, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(code._free) <= executor.IDLE_FRAMES


def test_a_program_prints_one_instruction_a_line(kernels):
    asm = Assembler(1, 1, arena_bytes=64)
    loop = asm.label()
    counter = asm.counter()
    asm.set(counter, 0)
    asm.place(loop)
    asm.call(kernels.inc, [asm.input(0), asm.arena(16), asm.fresh(4)], 8, note="line 3")
    asm.add(counter, 1)
    asm.jump_less(counter, 5, loop)
    asm.copy(asm.output(0), asm.arena(16), 8)
    asm.host(2)
    lines = [line.lstrip(" 0123456789") for line in str(asm.finish()).splitlines()]
    name = f"cell{counter.index}"
    assert f"{name} = 0" in lines and f"{name} += 1" in lines and "L0:" in lines
    assert "call inc(input0, arena+16, fresh(4)) over 8  # line 3" in lines
    assert f"jump L0 if {name} < 5" in lines and "host 2" in lines and lines[-1] == "return"


def test_labels_are_placed_once_and_always():
    asm = Assembler(0, 0)
    label = asm.label()
    asm.jump(label)
    with pytest.raises(ValueError, match="never placed"):
        asm.finish()
    asm.place(label)
    with pytest.raises(ValueError, match="twice"):
        asm.place(label)


def test_arguments_that_do_not_exist_are_refused():
    asm = Assembler(1, 0)
    with pytest.raises(IndexError, match="no input 1"):
        asm.input(1)
    with pytest.raises(IndexError, match="0 outputs"):
        asm.output(0)
