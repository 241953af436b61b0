"""The native loops as text: the executor that walks a program, and the loop in which pool workers wait.

Both are kernels like any other, built by `build` and kept on disk, but compiled with less effort.
The numbers below are the layout that the assembler writes, Python reads and the loops run on; the texts use their
names. They are plain classes, since an enumeration takes a millisecond of each import.
"""

from __future__ import annotations

import re

from treadle.compile.llvm.build import Source


class Op:
    """Instructions; behind each in the code come its operands, one word each."""

    RETURN = 0
    CALL = 1  # function, block: args at the frame's slot `block`, hi in the slot before it
    PARALLEL = 2  # function, block, grain
    COPY = 3  # slot of target, slot of source, bytes
    FILL = 4  # slot of target, byte, bytes
    JUMP = 5  # target
    JUMP_IF = 6  # slot of the address of a byte, target
    JUMP_UNLESS = 7  # slot of the address of a byte, target
    JUMP_LESS = 8  # slot, slot of limit, target
    SET = 9  # slot, value
    ADD = 10  # slot, value
    MOVE = 11  # slot, slot of source, number to add
    LOAD = 12  # slot, slot of address
    STORE = 13  # slot of address, slot
    ADDRESS = 14  # slot, slot of base, slot of counter, stride
    HOST = 15  # number of the host step


class Slot:
    """The frame's first slots; then come the addresses of inputs and outputs, then cells and blocks of arguments."""

    PC = 0  # where to go on; 0 at a fresh run
    DETAIL = 1  # why the native loop came back: a status, the number of a host step, of an argument
    CODE = 2
    PATCHES = 3  # address of triples (slot, slot of base, offset)
    PATCH_COUNT = 4
    INPUTS = 5  # how many
    OUTPUTS = 6  # how many
    ARENA = 7
    POOL = 8  # address of the word that holds the address of the worker pool's block, or 0
    CLOCK = 9  # address of clock_gettime, or 0
    CLOCK_ID = 10
    ARRAY_TYPE = (
        11  # address of numpy.ndarray; where arrays cannot be read by offsets, 0, and 1 when Python has done it
    )
    BLAS = 12  # address of BLAS's block of thread counts, or 0 where the program holds no product
    HOLDER = 13  # address of the list that holds the tuples of inputs and outputs during a run
    COMMIT = 14  # from this pc on the run does not stop half-way: it overwrites its inputs
    FINISHED = 15  # 1 when the run has come to its end
    SHARE = 16  # shares of the parallel call at `PC` that were done before the run passed through Python
    FIRST = 17


class Reason:
    """Why the native loop returned."""

    DONE = 0
    YIELD = 1  # it has run long enough without passing through Python
    HOST = 2
    STATUS = 3
    BAD_INPUT = 4
    BAD_OUTPUT = 5
    BAD_COUNT = 6


class Pool:
    """The worker pool's block in words; what several threads write at once lies on cache lines of its own."""

    REMAINING = 0  # shares nobody has taken yet; whoever counts it down from 1 or more owns a share
    DONE = 8
    BUSY = 16
    SLEEPERS = 24
    STOP = 32
    STATUS = 40
    FUNCTION = 48
    ARGS = 49
    HI = 50
    GRAIN = 51
    SHARES = 52
    CLOCK = 56
    CLOCK_ID = 57
    LOCK = 58
    UNLOCK = 59
    WAIT = 60
    BROADCAST = 61
    GIVE_WAY = 62  # sched_yield
    MUTEX = 64
    CONDITION = 80
    LENT = 96  # 1 while shares are for borrowed threads, not for workers; what follows is about those: see `lending`
    LEND = 104  # address of the function that runs others on a library's threads, or 0
    LOOK = 105  # kernels of `lending`, or 0 before they were needed
    TAKE = 106
    HOW_MANY = 107  # address of the function that tells how many threads the library may use
    READ = 108  # pread
    SELF = 109  # gettid
    WANTED = 110  # threads that a job may use
    TABLE = 111  # address of the table of the process's threads, or 0
    THREADS = 112  # how many there were when it was made
    LOOKED = 113  # when they were last looked at
    BORROW = 114  # how many threads, the caller included, a job has by that look; 0 or 1: none are borrowed
    SINCE = 115  # when borrowing began
    ASK = 116  # whether Python shall make the table
    ASKED = 117  # when that was asked last
    DEADLINE = 118  # when borrowed threads stop between two shares, or 0
    LEFT = 119  # shares that they then left
    ROOM = 120
    BORROWING = 184  # 1 while borrowed threads have a job
    HOLD = 192  # whether nothing may be borrowed: the process is about to fork
    SIZE = 200


class Blas:
    """BLAS's block in words: how many runs want it on one thread, and how to set that."""

    LOCK = 0
    USERS = 1
    SAVED = 2
    GET = 3
    SET = 4
    GIVE_WAY = 5
    SIZE = 8


NUMBERS: dict[str, int] = {
    f"{prefix}_{name}": number
    for prefix, kind in (("OP", Op), ("SLOT", Slot), ("REASON", Reason), ("POOL", Pool), ("BLAS", Blas))
    for name, number in vars(kind).items()
    if not name.startswith("__")
}


def with_numbers(text: str) -> str:
    """`text` with the names of the layout above replaced by their numbers."""
    return re.sub(r"\b[A-Z]+_[A-Z_]+\b", lambda match: str(NUMBERS[match[0]]), text)


# CPython's list holds the address of its items at 24; its tuple its length at 16 and its items from 24 on; an object
# its type at 8; NumPy's array its data's address at 16 and its flags at 64 (1 C-contiguous, 0x100 aligned, 0x400
# writeable). `executor.arrays_readable` verifies that before it relies on it.
EXECUTOR_TEXT = """
def kernel(frame, lo, hi):
    base = address_of(frame)
    code = words(frame[SLOT_CODE])
    pc = frame[SLOT_PC]
    if pc == 0:
        array_type = frame[SLOT_ARRAY_TYPE]
        if array_type == 0:
            return REASON_BAD_INPUT
        if array_type != 1:
            n_inputs = frame[SLOT_INPUTS]
            n_outputs = frame[SLOT_OUTPUTS]
            items = load(frame[SLOT_HOLDER] + 24)
            inputs = load(items)
            outputs = load(items + 8)
            if load(inputs + 16) != n_inputs or load(outputs + 16) != n_outputs:
                return REASON_BAD_COUNT
            for k in range(n_inputs):
                array = load(inputs + 24 + 8 * k)
                if load(array + 8) != array_type or load_int(array + 64) & 0x101 != 0x101:
                    frame[SLOT_DETAIL] = k
                    return REASON_BAD_INPUT
                frame[SLOT_FIRST + k] = load(array + 16)
            for k in range(n_outputs):
                array = load(outputs + 24 + 8 * k)
                if load(array + 8) != array_type or load_int(array + 64) & 0x501 != 0x501:
                    frame[SLOT_DETAIL] = k
                    return REASON_BAD_OUTPUT
                frame[SLOT_FIRST + n_inputs + k] = load(array + 16)
        patches = words(frame[SLOT_PATCHES])
        for k in range(frame[SLOT_PATCH_COUNT]):
            frame[patches[3 * k]] = frame[patches[3 * k + 1]] + patches[3 * k + 2]
        if frame[SLOT_BLAS] != 0:
            blas = frame[SLOT_BLAS]
            while atomic_swap(blas + 8 * BLAS_LOCK, 1) != 0:
                call0(load(blas + 8 * BLAS_GIVE_WAY))
            if atomic_add(blas + 8 * BLAS_USERS, 1) == 0:
                store(blas + 8 * BLAS_SAVED, call0(load(blas + 8 * BLAS_GET)))
                call1(load(blas + 8 * BLAS_SET), 1)
            atomic_store(blas + 8 * BLAS_LOCK, 0)
        pc = 1
    # The clock is read after `interval` instructions, a number that doubles or halves with the time they take.
    interval = 4
    ticks = interval
    start = 0
    last = 0
    while True:
        ticks -= 1
        if ticks == 0:
            now = nanoseconds(frame[SLOT_CLOCK], frame[SLOT_CLOCK_ID]) if frame[SLOT_CLOCK] != 0 else last + 200000
            if start == 0:
                start = now
            elif now - start > 40000000 and pc < frame[SLOT_COMMIT]:
                frame[SLOT_PC] = pc
                return REASON_YIELD
            elif now - last < 500000:
                interval = min(2 * interval, 1024)
            elif now - last > 5000000:
                interval = 1
            elif interval > 1:
                interval = interval // 2
            last = now
            ticks = interval
        op = code[pc]
        if op == OP_CALL:
            block = code[pc + 2]
            status = call_kernel(code[pc + 1], base + 8 * block, 0, frame[block - 1])
            if status != 0:
                frame[SLOT_PC] = pc
                frame[SLOT_DETAIL] = status
                return REASON_STATUS
            pc += 3
        elif op == OP_MOVE:
            frame[code[pc + 1]] = frame[code[pc + 2]] + code[pc + 3]
            pc += 4
        elif op == OP_JUMP_LESS:
            pc = code[pc + 3] if frame[code[pc + 1]] < frame[code[pc + 2]] else pc + 4
        elif op == OP_JUMP_IF:
            pc = code[pc + 2] if load_byte(frame[code[pc + 1]]) != 0 else pc + 3
        elif op == OP_JUMP_UNLESS:
            pc = code[pc + 2] if load_byte(frame[code[pc + 1]]) == 0 else pc + 3
        elif op == OP_JUMP:
            pc = code[pc + 1]
        elif op == OP_SET:
            frame[code[pc + 1]] = code[pc + 2]
            pc += 3
        elif op == OP_ADD:
            frame[code[pc + 1]] += code[pc + 2]
            pc += 3
        elif op == OP_ADDRESS:
            frame[code[pc + 1]] = frame[code[pc + 2]] + frame[code[pc + 3]] * code[pc + 4]
            pc += 5
        elif op == OP_LOAD:
            frame[code[pc + 1]] = load(frame[code[pc + 2]])
            pc += 3
        elif op == OP_STORE:
            store(frame[code[pc + 1]], frame[code[pc + 2]])
            pc += 3
        elif op == OP_COPY:
            move(frame[code[pc + 1]], frame[code[pc + 2]], code[pc + 3])
            pc += 4
        elif op == OP_FILL:
            fill(frame[code[pc + 1]], code[pc + 2], code[pc + 3])
            pc += 4
        elif op == OP_PARALLEL:
            function = code[pc + 1]
            block = code[pc + 2]
            grain = code[pc + 3]
            hi = frame[block - 1]
            args = base + 8 * block
            shares = (hi + grain - 1) // grain if hi > grain else 1
            pool = load(frame[SLOT_POOL])
            status = 0
            ask = 0
            # A long call stops between two shares, so that Ctrl-C is heard, and goes on from there.
            done = frame[SLOT_SHARE]
            frame[SLOT_SHARE] = 0
            clock = frame[SLOT_CLOCK] if pc < frame[SLOT_COMMIT] else 0
            if clock != 0 and start == 0 and shares > 1:
                start = nanoseconds(clock, frame[SLOT_CLOCK_ID])
                last = start
            if shares == 1:
                status = call_kernel(function, args, 0, hi)
            elif pool == 0 or atomic_swap(pool + 8 * POOL_BUSY, 1) != 0:
                while done < shares:
                    result = call_kernel(function, args, done * grain, min(hi, (done + 1) * grain))
                    status = result if result != 0 else status
                    done += 1
                    if clock != 0 and status == 0 and done < shares:
                        if nanoseconds(clock, frame[SLOT_CLOCK_ID]) - start > 40000000:
                            frame[SLOT_SHARE] = done
                            break
            else:
                job = words(pool)
                # A step that takes long while another library's threads spin gives them the shares: see `lending`.
                begun = nanoseconds(job[POOL_CLOCK], job[POOL_CLOCK_ID]) if job[POOL_LEND] != 0 else 0
                borrow = call_kernel(job[POOL_LOOK], pool, 0, 0) if job[POOL_BORROW] > 1 else 0
                if borrow > 1:
                    atomic_store(pool + 8 * POOL_BORROWING, 1)
                    if atomic_load(pool + 8 * POOL_HOLD) != 0:
                        atomic_store(pool + 8 * POOL_BORROWING, 0)
                        borrow = 0
                job[POOL_FUNCTION] = function
                job[POOL_ARGS] = args
                job[POOL_HI] = hi
                job[POOL_GRAIN] = grain
                job[POOL_SHARES] = shares
                atomic_store(pool + 8 * POOL_STATUS, 0)
                atomic_store(pool + 8 * POOL_DONE, done)
                atomic_store(pool + 8 * POOL_LENT, 1 if borrow > 1 else 0)
                atomic_store(pool + 8 * POOL_REMAINING, shares - done)
                if borrow > 1:
                    job[POOL_DEADLINE] = start + 40000000 if clock != 0 else 0
                    job[POOL_LEFT] = 0
                    call4(job[POOL_LEND], borrow, job[POOL_TAKE], pool, 0)
                    atomic_store(pool + 8 * POOL_BORROWING, 0)
                    if job[POOL_LEFT] > 0:
                        frame[SLOT_SHARE] = shares - job[POOL_LEFT]
                elif atomic_load(pool + 8 * POOL_SLEEPERS) > 0:
                    call1(job[POOL_LOCK], pool + 8 * POOL_MUTEX)
                    call1(job[POOL_BROADCAST], pool + 8 * POOL_CONDITION)
                    call1(job[POOL_UNLOCK], pool + 8 * POOL_MUTEX)
                while True:
                    left = atomic_add(pool + 8 * POOL_REMAINING, -1)
                    if left <= 0:
                        break
                    share = shares - left
                    result = call_kernel(function, args, share * grain, min(hi, (share + 1) * grain))
                    if result != 0:
                        atomic_store(pool + 8 * POOL_STATUS, result)
                    atomic_add(pool + 8 * POOL_DONE, 1)
                    if clock != 0 and left > 1:
                        if nanoseconds(clock, frame[SLOT_CLOCK_ID]) - start > 40000000:
                            left = atomic_swap(pool + 8 * POOL_REMAINING, 0)
                            if left > 0:
                                frame[SLOT_SHARE] = shares - left
                            break
                until = frame[SLOT_SHARE] if frame[SLOT_SHARE] > 0 else shares
                spins = 0
                while atomic_load(pool + 8 * POOL_DONE) < until:
                    pause()
                    spins += 1
                    if spins > 2000:
                        call0(job[POOL_GIVE_WAY])
                status = atomic_load(pool + 8 * POOL_STATUS)
                if begun != 0:
                    now = nanoseconds(job[POOL_CLOCK], job[POOL_CLOCK_ID])
                    if now - begun > 1000000:
                        if job[POOL_LOOK] != 0:
                            call_kernel(job[POOL_LOOK], pool, 0, 0)
                        elif now - job[POOL_LOOKED] > 250000000:
                            job[POOL_LOOKED] = now
                            job[POOL_ASK] = 1
                        ask = job[POOL_ASK]
                atomic_store(pool + 8 * POOL_BUSY, 0)
            if status != 0:
                frame[SLOT_PC] = pc
                frame[SLOT_DETAIL] = status
                frame[SLOT_SHARE] = 0
                return REASON_STATUS
            if frame[SLOT_SHARE] > 0:
                frame[SLOT_PC] = pc
                return REASON_YIELD
            pc += 4
            if ask != 0 and pc < frame[SLOT_COMMIT]:
                frame[SLOT_PC] = pc
                return REASON_YIELD
        elif op == OP_HOST:
            frame[SLOT_PC] = pc + 2
            frame[SLOT_DETAIL] = code[pc + 1]
            return REASON_HOST
        else:
            break
    if frame[SLOT_BLAS] != 0:
        blas = frame[SLOT_BLAS]
        while atomic_swap(blas + 8 * BLAS_LOCK, 1) != 0:
            call0(load(blas + 8 * BLAS_GIVE_WAY))
        if atomic_add(blas + 8 * BLAS_USERS, -1) <= 1:
            atomic_store(blas + 8 * BLAS_USERS, 0)
            call1(load(blas + 8 * BLAS_SET), load(blas + 8 * BLAS_SAVED))
        atomic_store(blas + 8 * BLAS_LOCK, 0)
    frame[SLOT_PC] = 0
    frame[SLOT_FINISHED] = 1
    return REASON_DONE
"""

# A worker takes shares by counting REMAINING down, as the caller does, so that nobody ever waits for a worker that has
# not begun. It reads the job only after a share is its own: the caller cannot leave, nor publish another, before that.
WORKER_TEXT = """
def kernel(job, lo, hi):
    pool = address_of(job)
    idle_since = 0
    spins = 0
    while atomic_load(pool + 8 * POOL_STOP) == 0:
        if atomic_load(pool + 8 * POOL_REMAINING) > 0 and atomic_load(pool + 8 * POOL_LENT) == 0:
            left = atomic_add(pool + 8 * POOL_REMAINING, -1)
            if left > 0:
                share = job[POOL_SHARES] - left
                grain = job[POOL_GRAIN]
                end = min(job[POOL_HI], (share + 1) * grain)
                result = call_kernel(job[POOL_FUNCTION], job[POOL_ARGS], share * grain, end)
                if result != 0:
                    atomic_store(pool + 8 * POOL_STATUS, result)
                atomic_add(pool + 8 * POOL_DONE, 1)
            idle_since = 0
            spins = 0
            continue
        pause()
        spins += 1
        if spins % 32 != 0:
            continue
        now = nanoseconds(job[POOL_CLOCK], job[POOL_CLOCK_ID])
        if idle_since == 0:
            idle_since = now
        elif now - idle_since > 50000:
            call1(job[POOL_LOCK], pool + 8 * POOL_MUTEX)
            atomic_add(pool + 8 * POOL_SLEEPERS, 1)
            while atomic_load(pool + 8 * POOL_STOP) == 0:
                if atomic_load(pool + 8 * POOL_REMAINING) > 0 and atomic_load(pool + 8 * POOL_LENT) == 0:
                    break
                call2(job[POOL_WAIT], pool + 8 * POOL_CONDITION, pool + 8 * POOL_MUTEX)
            atomic_add(pool + 8 * POOL_SLEEPERS, -1)
            call1(job[POOL_UNLOCK], pool + 8 * POOL_MUTEX)
            idle_since = 0
            spins = 0
    return 0
"""

# Nobody changes how many threads BLAS has before LOCK is 0 again: that takes a lock of BLAS, which a child that is
# forked meanwhile would find locked for ever.
HOLD_TEXT = """
def kernel(block, lo, hi):
    while atomic_swap(address_of(block) + 8 * BLAS_LOCK, 1) != 0:
        call0(block[BLAS_GIVE_WAY])
    return 0
"""

EXECUTOR = Source("executor", with_numbers(EXECUTOR_TEXT), native=True, hot=True)
WORKER = Source("worker", with_numbers(WORKER_TEXT), native=True)
HOLD = Source("hold BLAS", with_numbers(HOLD_TEXT), native=True)
