"""The native loop of calls as text: see `gate`; the layout of what it reads is in `gate_layout`."""

from __future__ import annotations

from treadle.compile.run import gate_states

# Memory as CPython 3.11 and NumPy 2 lay it out: an object's type at 8; a tuple's items from 24 on; a list's items at
# the address at 24; an array's data at 16, ndim at 24, shape at 32, descr at 56, flags at 64.
TEXT = (
    """
def kernel(function, given, count, names):
    store_of = load(address_of(function) + OFFSET_STORE)
    if store_of == 0:
        return 0
    gate = load(store_of + OFFSET_GATE)
    if gate == 0:
        return 0
    table = load(load(gate + OFFSET_TABLE) + 16)
    api = words(load(table + 8 * WORD_API))
    total = count
    if names != 0:
        total = count + load(names + 16)
    api[API_SCRATCH] = 0
    call3(api[API_CONTEXT_GET], api[API_MODE], 0, address_of(api) + 8 * API_SCRATCH)
    mode = api[API_SCRATCH]
    if mode == 0:
        return 0
    call1(api[API_DECREF], mode)
    if mode != api[API_NONE]:
        table = 0
    if table != 0:
        gate = load(table + 8 * WORD_SELF)
        call1(api[API_INCREF], gate)
    while table != 0:
        entry = words(table)
        fits = 0
        if entry[WORD_CHANGES] == load(api[API_CHANGES]) and entry[WORD_COUNT] == total and entry[WORD_PLAIN] == count:
            fits = 1 if entry[WORD_RUN] != 0 or entry[WORD_FRAME] != 0 else 0
        k = count
        while fits != 0 and k < total:  # names are interned: the same ones are the same objects
            if load(names + 24 + 8 * (k - count)) != load(entry[WORD_NAMES] + 24 + 8 * (k - count)):
                fits = 0
            k += 1
        k = 0
        while fits != 0 and k < total:
            want = words(table + 8 * WORD_ARGS + 8 * ARG_SIZE * k)
            value = load(given + 8 * k)
            if want[ARG_KIND] == KIND_SAME:
                fits = 1 if value == want[ARG_WHAT] else 0
            elif want[ARG_KIND] == KIND_REAL:
                fits = 0
                if load(value + 8) == load(want[ARG_WHAT] + 8):
                    fits = 1 if load(value + 16) == load(want[ARG_WHAT] + 16) else 0
            elif want[ARG_KIND] == KIND_WEAK:
                fits = 1 if value == load(want[ARG_WHAT] + OFFSET_REFERENT) and value != api[API_NONE] else 0
            else:
                array = 0
                if load(value + 8) == api[API_TENSOR_TYPE]:
                    array = load(value + OFFSET_ARRAY)
                elif load(value + 8) == api[API_ARRAY_TYPE] and want[ARG_KIND] == KIND_EITHER:
                    array = value
                fits = 0
                if array != 0:
                    if load(array + 8) == api[API_ARRAY_TYPE] and load(array + 56) == want[ARG_WHAT]:
                        if load_int(array + 64) & entry[WORD_FLAGS] == entry[WORD_FLAGS]:
                            if load_int(array + 24) == want[ARG_NDIM]:
                                fits = 1
                if fits != 0:
                    sizes = words(load(array + 32))
                    wanted = words(want[ARG_SIZES])
                    for d in range(want[ARG_NDIM]):
                        if sizes[d] != wanted[d]:
                            fits = 0
            k += 1
        c = 0
        while fits != 0 and c < entry[WORD_CONDITIONS]:
            asked = words(entry[WORD_ASKED] + 8 * CONDITION_SIZE * c)
            seen = 0
            if asked[CONDITION_WHEN] == WHEN_DICT:
                seen = call_word(api[API_ITEM], asked[CONDITION_WHERE], asked[CONDITION_NAME])
            elif asked[CONDITION_WHEN] == WHEN_CELL:
                seen = load(asked[CONDITION_WHERE] + OFFSET_CELL)
            else:
                seen = load(asked[CONDITION_WHERE] + OFFSET_REFERENT)
            owned = 0
            depth = 0
            while seen != 0 and depth < asked[CONDITION_DEPTH]:
                further = call_word(api[API_ATTRIBUTE], seen, load(asked[CONDITION_ATTRS] + 8 * depth))
                if owned != 0:
                    call1(api[API_DECREF], seen)
                seen = further
                owned = 1
                depth += 1
            object = asked[CONDITION_WANTED]
            if asked[CONDITION_WEAKLY] != 0:
                object = load(object + OFFSET_REFERENT)
                if object == api[API_NONE]:
                    fits = 0
            if seen == 0:
                call_word(api[API_FORGIVE])
                fits = 0
            elif seen != object:
                fits = 0
            if seen != 0 and owned != 0:
                call1(api[API_DECREF], seen)
            c += 1
        if fits != 0:
            break
        # The gate is held while it is looked at: what a condition asks may be code that replaces it.
        table = entry[WORD_NEXT]
        passed = gate
        if table != 0:
            gate = load(table + 8 * WORD_SELF)
            call1(api[API_INCREF], gate)
        call1(api[API_DECREF], passed)
    if table != 0:
        chosen = words(table)
        done = 0
        if chosen[WORD_RUN] != 0:
            arrays = call_word(api[API_LIST_NEW], chosen[WORD_TENSORS])
            packed = call_word(api[API_TUPLE_NEW], 1)
            if arrays == 0 or packed == 0:
                return 0
            items = words(load(arrays + 24))
            n = 0
            for j in range(total):
                taken = words(table + 8 * WORD_ARGS + 8 * ARG_SIZE * j)
                if taken[ARG_KIND] >= KIND_TENSOR:
                    items[n] = load(load(given + 8 * j) + OFFSET_ARRAY)
                    call1(api[API_INCREF], items[n])
                    n += 1
            store(packed + 24, arrays)
            done = call_word(api[API_CALL], chosen[WORD_RUN], packed, 0)
            call1(api[API_DECREF], packed)
            call1(api[API_DECREF], gate)
            if done != api[API_REFUSAL]:
                return done
            call1(api[API_DECREF], done)
        else:
            frame = chosen[WORD_FRAME]
            chosen[WORD_FRAME] = 0
            for j in range(total):
                taken = words(table + 8 * WORD_ARGS + 8 * ARG_SIZE * j)
                if taken[ARG_KIND] >= KIND_TENSOR:
                    source = load(given + 8 * j)
                    if load(source + 8) == api[API_TENSOR_TYPE]:
                        source = load(source + OFFSET_ARRAY)
                    store(frame + 8 * taken[ARG_SLOT], load(source + 16))
            held = 0
            place = 0
            failed = 0
"""
    + gate_states.TAKE.removeprefix("\n")
    + """            if failed == 0 and chosen[WORD_MADE] != MADE_SINGLE:
                if chosen[WORD_MADE] == MADE_TUPLE:
                    held = call_word(api[API_TUPLE_NEW], chosen[WORD_RESULTS])
                    place = held + 24
                elif chosen[WORD_MADE] == MADE_CONSTANT:
                    held = chosen[WORD_REBUILD]
                    call1(api[API_INCREF], held)
                else:
                    held = call_word(api[API_LIST_NEW], chosen[WORD_RESULTS])
                    if held != 0:
                        place = load(held + 24)
                failed = 1 if held == 0 else 0
            r = 0
            while failed == 0 and r < chosen[WORD_OUTPUTS]:
                result = words(chosen[WORD_FIRST] + 8 * RESULT_SIZE * r)
                fresh = 0
                last = 0
                if result[RESULT_LAST] != 0:
                    last = load(result[RESULT_LAST])
                if last != 0 and load(last) == 1:
                    if load(last + 56) == result[RESULT_DESCR] and load_int(last + 24) == result[RESULT_NDIM]:
                        # In order, aligned and writeable; its own memory, or the pool's.
                        asked_flags = 0x505 if result[RESULT_MAKER] == 0 else 0x501
                        if load_int(last + 64) & asked_flags == asked_flags:
                            fresh = last
                            were = words(load(last + 32))
                            wanted_sizes = words(result[RESULT_SIZES])
                            for d in range(result[RESULT_NDIM]):
                                if were[d] != wanted_sizes[d]:
                                    fresh = 0
                if fresh != 0:
                    call1(api[API_INCREF], fresh)
                elif result[RESULT_MAKER] != 0:
                    fresh = call_word(api[API_CALL], result[RESULT_MAKER], result[RESULT_GIVEN], 0)
                else:
                    call1(api[API_INCREF], result[RESULT_DESCR])
                    fresh = call_word(
                        api[API_NEW_ARRAY], api[API_ARRAY_TYPE], result[RESULT_DESCR], result[RESULT_NDIM],
                        result[RESULT_SIZES], 0, 0, 0, 0
                    )
                if fresh == 0:
                    failed = 1
                else:
                    if result[RESULT_LAST] != 0 and fresh != last:
                        call1(api[API_INCREF], fresh)
                        store(result[RESULT_LAST], fresh)
                        if last != 0:
                            call1(api[API_DECREF], last)
                    store(frame + 8 * result[RESULT_SLOT], load(fresh + 16))
                    if result[RESULT_NEW] != 0:
                        store(result[RESULT_NEW], fresh)
                    else:
                        tensor = call_word(api[API_ALLOC], api[API_TENSOR_TYPE], 0)
                        if tensor == 0:
                            call1(api[API_DECREF], fresh)
                            failed = 1
                        else:
                            store(tensor + OFFSET_ARRAY, fresh)
                            if place == 0:
                                held = tensor
                            else:
                                store(place + 8 * r, tensor)
                r += 1
            if failed == 0:
                thread = call_word(api[API_SAVE])
                reason = call_kernel(api[API_ENTER], frame, 0, 0)
                call_word(api[API_RESTORE], thread)
                if reason != 0:
                    whole = call_word(api[API_TUPLE_NEW], total)
                    number = call_word(api[API_INTEGER], reason)
                    packed3 = call_word(api[API_TUPLE_NEW], 3)
                    if whole == 0 or number == 0 or packed3 == 0:
                        return 0
                    for j in range(total):
                        call1(api[API_INCREF], load(given + 8 * j))
                        store(whole + 24 + 8 * j, load(given + 8 * j))
                    call1(api[API_INCREF], held)
                    store(packed3 + 24, whole)
                    store(packed3 + 32, held)
                    store(packed3 + 40, number)
                    ended = call_word(api[API_CALL], chosen[WORD_FINISH], packed3, 0)
                    call1(api[API_DECREF], packed3)
                    if ended == 0:
                        failed = 2
                    else:
                        call1(api[API_DECREF], ended)
"""
    + gate_states.LEAVE.removeprefix("\n")
    + """            if failed != 2:
                chosen[WORD_FRAME] = frame
            if failed != 0:
                if held != 0:
                    call1(api[API_DECREF], held)
                held = 0
            elif chosen[WORD_MADE] == MADE_OTHER:
                packed1 = call_word(api[API_TUPLE_NEW], 1)
                if packed1 == 0:
                    return 0
                store(packed1 + 24, held)
                held = call_word(api[API_CALL], chosen[WORD_REBUILD], packed1, 0)
                call1(api[API_DECREF], packed1)
            call1(api[API_DECREF], gate)
            if failed != 3:
                return held
    called = api[API_NONE]
    if names != 0:
        called = names
    values = call_word(api[API_TUPLE_NEW], total)
    all_of = call_word(api[API_TUPLE_NEW], 3)
    if values == 0 or all_of == 0:
        return 0
    for j in range(total):
        call1(api[API_INCREF], load(given + 8 * j))
        store(values + 24 + 8 * j, load(given + 8 * j))
    call1(api[API_INCREF], address_of(function))
    call1(api[API_INCREF], called)
    store(all_of + 24, address_of(function))
    store(all_of + 32, values)
    store(all_of + 40, called)
    answer = call_word(api[API_CALL], api[API_SLOW], all_of, 0)
    call1(api[API_DECREF], all_of)
    return answer
"""
)
