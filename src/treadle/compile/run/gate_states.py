"""What the native loop of calls does with variables, as text: one call of a program is one transaction.

It is what `transaction` does in Python, step by step. Variables are locked in one global order. Those that are only
read are noted as being read and let go of at once; those that are written stay locked until the run has ended, are
overwritten where the program may and nobody looks, and get their other new values together when it has succeeded.
`failed` is 1 where an error is set, 2 where that left the frame unusable, and 3 where Python must take the call.
"""

from __future__ import annotations

# Lock the variables, and put where their memory is into the frame; what is held lies in the states' places.
TAKE = """
            locked = 0
            states = chosen[WORD_STATES]
            if states != 0:
                store(frame + 8 * SLOT_FINISHED, 0)
                readers = 0
                if chosen[WORD_READS] != 0:
                    readers = 1
                    if call3(api[API_SET_ITEM], api[API_READING], chosen[WORD_READER], chosen[WORD_READS]) != 0:
                        failed = 1
                while failed == 0 and locked < states:
                    state = words(chosen[WORD_STATE] + 8 * STATE_SIZE * locked)
                    variable = load(state[STATE_REF] + OFFSET_REFERENT)
                    failed = 3
                    # Its count is 0 while it is taken apart.
                    if variable != api[API_NONE] and load_int(variable) > 0:
                        call1(api[API_INCREF], variable)
                        acquired = call_word(api[API_CALL], state[STATE_ACQUIRE], api[API_EMPTY], 0)
                        if acquired == 0:
                            failed = 1
                            call1(api[API_DECREF], variable)
                        else:
                            call1(api[API_DECREF], acquired)
                            state[STATE_VARIABLE] = variable
                            state[STATE_LOCKED] = 1
                            locked += 1
                            # Whoever writes several holds all their locks, so each can be read as soon as it is locked.
                            memory = load(variable + OFFSET_MEMORY)
                            if load(memory + 8) == api[API_ARRAY_TYPE]:
                                if load_int(memory + 64) & 0x501 == 0x501:
                                    failed = 0
                            if failed == 0:
                                call1(api[API_INCREF], memory)
                                if state[STATE_WAY] == WAY_OVERWRITTEN:
                                    looked_at = load(api[API_READING] + 16) - readers
                                    if load(variable + OFFSET_LEASE) != api[API_NONE] or looked_at != 0:
                                        call1(api[API_DECREF], memory)
                                        memory = 0
                                        asked_of = call_word(api[API_TUPLE_NEW], 1)
                                        if asked_of != 0:
                                            call1(api[API_INCREF], variable)
                                            store(asked_of + 24, variable)
                                            memory = call_word(api[API_CALL], api[API_WRITABLE], asked_of, 0)
                                            call1(api[API_DECREF], asked_of)
                                    if memory != 0:
                                        store(frame + 8 * state[STATE_OUTPUT], load(memory + 16))
                                if memory == 0:
                                    failed = 1
                                else:
                                    store(state[STATE_OLD], memory)
                                    store(frame + 8 * state[STATE_INPUT], load(memory + 16))
                for s in range(locked):
                    state = words(chosen[WORD_STATE] + 8 * STATE_SIZE * s)
                    if state[STATE_WAY] == WAY_READ and failed == 0:
                        state[STATE_LOCKED] = 0
                        call1(api[API_DECREF], call_word(api[API_CALL], state[STATE_RELEASE], api[API_EMPTY], 0))
"""

# Give variables their new values if all went well, and let go of everything, whether it did or not.
LEAVE = """
            if states != 0:
                if failed == 1 or failed == 2:
                    fetched = address_of(api) + 8 * API_SCRATCH
                    call3(api[API_FETCH], fetched, fetched + 8, fetched + 16)
                for s in range(locked):
                    state = words(chosen[WORD_STATE] + 8 * STATE_SIZE * s)
                    variable = state[STATE_VARIABLE]
                    if state[STATE_WAY] == WAY_REPLACED and failed == 0:
                        was = load(variable + OFFSET_MEMORY)
                        store(variable + OFFSET_MEMORY, load(state[STATE_NEW]))
                        store(state[STATE_NEW], was)
                        was = load(variable + OFFSET_BUFFER)
                        call1(api[API_INCREF], api[API_NONE])
                        store(variable + OFFSET_BUFFER, api[API_NONE])
                        call1(api[API_DECREF], was)
                        was = load(variable + OFFSET_LEASE)
                        call1(api[API_INCREF], api[API_NONE])
                        store(variable + OFFSET_LEASE, api[API_NONE])
                        call1(api[API_DECREF], was)
                for s in range(locked):
                    state = words(chosen[WORD_STATE] + 8 * STATE_SIZE * s)
                    if state[STATE_LOCKED] != 0:
                        state[STATE_LOCKED] = 0
                        call1(api[API_DECREF], call_word(api[API_CALL], state[STATE_RELEASE], api[API_EMPTY], 0))
                if chosen[WORD_READS] != 0:
                    if call2(api[API_DELETE_ITEM], api[API_READING], chosen[WORD_READER]) != 0:
                        call_word(api[API_FORGIVE])
                if failed == 1 or failed == 2:
                    call3(api[API_PUT_BACK], load(fetched), load(fetched + 8), load(fetched + 16))
                for s in range(locked):
                    state = words(chosen[WORD_STATE] + 8 * STATE_SIZE * s)
                    was = load(state[STATE_OLD])
                    store(state[STATE_OLD], api[API_NONE])
                    if was != api[API_NONE]:
                        call1(api[API_DECREF], was)
                    if state[STATE_WAY] == WAY_REPLACED:
                        was = load(state[STATE_NEW])
                        store(state[STATE_NEW], api[API_NONE])
                        if was != api[API_NONE]:
                            call1(api[API_DECREF], was)
                    call1(api[API_DECREF], state[STATE_VARIABLE])
"""
