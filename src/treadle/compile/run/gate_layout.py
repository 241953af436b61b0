"""The layout of the tables that the native loop of calls reads: see `gate` and `gate_text`."""

from __future__ import annotations


class Kind:
    """What an argument must be."""

    SAME = 0  # this very object
    REAL = 1  # a Python float with these bits
    WEAK = 2  # the object that a weak reference refers to
    TENSOR = 3
    EITHER = 4  # a tensor or a plain array


class When:
    """Where a condition begins to look."""

    DICT = 0  # an item of a dictionary
    CELL = 1  # a closure's cell
    WEAK = 2  # what a weak reference refers to


class Made:
    """What becomes of the results' tensors."""

    SINGLE = 0
    TUPLE = 1
    LIST = 2
    OTHER = 3  # a list of them is handed to a function
    CONSTANT = 4  # there are none: the result is always the same object


class Way:
    """What a program does with a variable."""

    READ = 0
    REPLACED = 1  # gives it memory with its new value
    OVERWRITTEN = 2


class Word:
    """The words of a gate's table; behind them come those of its arguments, and of its results."""

    API = 0  # address of the words of `Api`
    CHANGES = 1  # `changes.count` when it was made; -1 for the gate that lets nobody through
    NEXT = 2  # address of the next gate's table, or 0
    SELF = 3  # the Gate
    COUNT = 4  # how many arguments
    TENSORS = 5  # how many of them are tensors
    FLAGS = 6  # which of NumPy's flags their arrays must have
    RUN = 7  # a function of a list of arrays, or 0 where a program runs
    FRAME = 8  # address of the program's frame; 0 while it is in use
    RESULTS = 9  # how many
    MADE = 10
    REBUILD = 11  # the function for Made.OTHER, the object for Made.CONSTANT
    FINISH = 12  # goes on where the executor stopped half-way: a function of arguments, results and reason
    FIRST = 13  # address of the results' words
    CONDITIONS = 14  # how many
    ASKED = 15  # address of the conditions' words
    OUTPUTS = 16  # how many results there are together with new values of variables
    STATES = 17  # how many variables
    STATE = 18  # address of the words of the variables, in the order in which they are locked
    READS = 19  # the serials of variables that are only read, or 0 where there are none
    READER = 20  # the key under which they are noted while it runs
    PLAIN = 21  # how many of the arguments come without a name
    NAMES = 22  # a tuple of the others' names
    ARGS = 23


class Arg:
    """The words of an argument."""

    KIND = 0
    WHAT = 1  # an object, or an array's descr
    NDIM = 2
    SIZES = 3  # address of the sizes
    SLOT = 4  # where in the frame its address goes
    SIZE = 5


class Condition:
    """The words of a condition: something outside must be the object that it was."""

    WHEN = 0
    WHERE = 1  # the dictionary, cell or weak reference
    NAME = 2  # the key in the dictionary
    DEPTH = 3  # how many attributes to follow
    ATTRS = 4  # address of their names
    WANTED = 5  # the object, or a weak reference to it
    WEAKLY = 6  # whether WANTED is one
    SIZE = 7


class Result:
    """The words of a result."""

    DESCR = 0
    NDIM = 1
    SIZES = 2
    MAKER = 3  # a function that makes the array, or 0: NumPy does
    GIVEN = 4  # the maker's arguments, a tuple
    SLOT = 5
    LAST = 6  # address of the place that holds the last array made here, or 0: it is taken again if nobody holds it
    NEW = 7  # address of the place for a variable's new value, or 0 for a result
    SIZE = 8


class State:
    """The words of a variable."""

    REF = 0  # a weak reference to it
    ACQUIRE = 1  # what takes its lock
    RELEASE = 2
    WAY = 3
    INPUT = 4  # where in the frame the address of its memory goes
    OUTPUT = 5  # and again, where it is overwritten
    OLD = 6  # address of the place that holds its memory during a run
    NEW = 7  # address of the place that holds its new memory, where it is replaced
    VARIABLE = 8  # the variable during a run
    LOCKED = 9
    SIZE = 10


class Api:
    """Addresses that all gates share: objects, cells, and functions of Python and NumPy."""

    CHANGES = 0
    FORGIVE = 1
    NONE = 2
    TENSOR_TYPE = 3
    ARRAY_TYPE = 4
    REFUSAL = 5  # what RUN gives where it does not want to
    MODE = 6  # the context variable of modes
    SLOW = 7  # the way through Python: a function of the callee, its arguments, and the names of the last ones
    ENTER = 8  # the executor
    CONTEXT_GET = 9
    INCREF = 10
    DECREF = 11
    TUPLE_NEW = 12
    LIST_NEW = 13
    ALLOC = 14
    CALL = 15
    SAVE = 16
    RESTORE = 17
    NEW_ARRAY = 18
    INTEGER = 19
    ITEM = 20
    ATTRIBUTE = 21
    SET_ITEM = 22
    DELETE_ITEM = 23
    FETCH = 24
    PUT_BACK = 25
    EMPTY = 26  # a tuple of nothing
    READING = 27  # the dictionary of what programs read now
    WRITABLE = 28  # what makes a variable's memory fit to be overwritten
    SCRATCH = 29  # three words
    SIZE = 32
