"""Building kernels: memory, disk, compilation, and the fallback; what a key depends on."""

import ctypes
import importlib
import os
import platform
import subprocess
import sys
import textwrap
import threading

import numpy as np
import pytest

from treadle.compile.llvm import build, cache, direct, flat, loader, symbols
from treadle.compile.llvm.build import Source
from treadle.config import config

FLAT = sys.platform == "linux" and platform.machine() == "x86_64"  # where objects are laid out without a linker


def adding(number):
    return f"""
def kernel(args, lo, hi):
    x = p_i8(args[0])
    for i in range(lo, hi):
        x[i] += {number}
    return {number}
"""


def call(entry, n=3):
    """The kernel's status and what it makes of zeros."""
    x = np.zeros(n, np.int64)
    args = np.array([x.ctypes.data], np.int64)
    function = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)(entry.address)
    return function(args.ctypes.data, 0, n), x.tolist()


@pytest.fixture
def fresh(monkeypatch, tmp_path):
    """A process that has built nothing, with an empty cache folder; calling it forgets what is in memory."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("TREADLE_CACHE_DIR", str(folder))

    def forget():
        monkeypatch.setattr(build, "_memory", build._Memory())
        monkeypatch.setattr(build, "counters", build.Counters())
        return folder

    forget()
    return forget


def test_memory_then_disk_then_compilation(fresh):
    sources = [Source("one", adding(1)), Source("two", adding(2)), Source("also one", adding(1))]
    for compiled, loaded in ((2, 0), (0, 2)):
        entries = build.load(sources)
        assert [call(entry) for entry in entries] == [(1, [1] * 3), (2, [2] * 3), (1, [1] * 3)]
        assert [entry.source for entry in entries] == sources
        assert entries[0].address == entries[2].address
        assert build.counters == build.Counters(kernels_compiled=compiled, kernels_loaded=loaded)
        build.load(sources[:2])
        assert build.counters.memory_hits == 2
        folder = fresh()
    assert len(list(folder.glob("*.unit"))) == 1


def test_only_what_is_missing_is_compiled(fresh):
    build.load([Source("one", adding(1)), Source("two", adding(2))])
    fresh()
    entries = build.load([Source("three", adding(3)), Source("two", adding(2))])
    assert [call(entry)[0] for entry in entries] == [3, 2]
    assert build.counters == build.Counters(kernels_compiled=1, kernels_loaded=1)


def test_a_key_depends_on_the_text_and_its_surroundings_but_not_on_the_name(monkeypatch):
    keys = [build.kernel_key(Source("a", adding(1)))]

    def changed():
        build._surroundings.cache_clear()
        keys.append(build.kernel_key(Source("a", adding(1))))

    try:
        assert Source("a", adding(1)).text == Source("b", adding(1)).text
        keys.append(build.kernel_key(Source("a", adding(2))))
        with monkeypatch.context() as patch:
            patch.setattr(loader, "host_processor", lambda: "another processor")
            changed()
        with monkeypatch.context() as patch:
            patch.setattr(build, "_vector_version", lambda: "another")
            changed()
        with monkeypatch.context() as patch:
            patch.setattr(build, "_version_file", lambda package: b"another")
            changed()
        with monkeypatch.context() as patch:
            patch.setenv("NUMBA_LOOP_VECTORIZE", "0")
            changed()
        assert len(set(keys)) == len(keys)
        changed()
        assert keys[-1] == keys[0]
    finally:
        build._surroundings.cache_clear()


def test_the_compiler_is_part_of_a_key_but_not_for_native_loops(monkeypatch):
    def keys():
        return [build.kernel_key(Source("a", adding(1), native=native)) for native in (False, True)]

    before = keys()
    monkeypatch.setattr(config, "compiler", "numba")
    assert before[0] != keys()[0] and before[1] == keys()[1]
    with pytest.raises(ValueError, match="direct, quick, numba"):
        config.compiler = "llvm"


def test_the_quick_way_makes_other_code_that_does_the_same(fresh, monkeypatch):
    efforts = []
    direct = importlib.import_module("treadle.compile.llvm.direct")
    compile_object = direct.compile_object
    monkeypatch.setattr(
        direct, "compile_object", lambda ks, effort: (efforts.append(effort), compile_object(ks, effort))[1]
    )
    for compiler in ("direct", "quick"):
        monkeypatch.setattr(config, "compiler", compiler)
        assert call(build.load([Source("one", adding(1))])[0])[0] == 1
    assert efforts == [build.Effort.FULL, build.Effort.LEAST]
    assert build.counters == build.Counters(kernels_compiled=2)


def test_a_text_that_only_numba_understands_is_left_to_it(fresh):
    powers = Source("powers", "\ndef kernel(args, lo, hi):\n    return lo ** 2 + hi\n")
    entries = build.load([Source("one", adding(1)), powers])
    assert [call(entry)[0] for entry in entries] == [1, 3]
    assert build.counters == build.Counters(kernels_compiled=2, fallbacks=1)


def test_a_changed_private_interface_of_numba_falls_back_to_cfunc(fresh, monkeypatch):
    monkeypatch.setattr(config, "compiler", "numba")
    pipeline = importlib.import_module("treadle.compile.llvm.pipeline")

    def gone(kernels):
        raise AttributeError("numba has changed")

    monkeypatch.setattr(pipeline, "compile_object", gone)
    entries = build.load([Source("one", adding(1)), Source("two", adding(2))])
    assert [call(entry) for entry in entries] == [(1, [1] * 3), (2, [2] * 3)]
    assert build.counters == build.Counters(kernels_compiled=2, fallbacks=2)


def test_a_faulty_kernel_raises_and_leaves_the_others_usable(fresh):
    faulty = Source("faulty", "\ndef kernel(args, lo, hi):\n    return unknown_name(lo)\n")
    with pytest.raises(Exception, match="unknown_name"):
        build.load([Source("one", adding(1)), faulty])
    (entry,) = build.load([Source("one", adding(1))])
    assert call(entry)[0] == 1


def test_vector_functions_are_inlined_so_that_objects_stand_alone(fresh):
    text = """
def kernel(args, lo, hi):
    x = p_f8(args[0])
    for i in range(lo, hi):
        x[i] = tanh_f8(x[i]) + exp_f8(x[i])
    return 0
"""
    (entry,) = build.load([Source("vector", text)])
    x = np.linspace(-2, 2, 7)
    wanted = np.tanh(x) + np.exp(x)
    args = np.array([x.ctypes.data], np.int64)
    ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)(entry.address)(
        args.ctypes.data, 0, 7
    )
    np.testing.assert_allclose(x, wanted, rtol=1e-14)
    assert build.counters == build.Counters(kernels_compiled=1)


def test_an_object_with_a_foreign_symbol_is_used_but_not_stored(fresh, monkeypatch):
    monkeypatch.setattr(symbols, "stands_alone", lambda image: False)
    (entry,) = build.load([Source("one", adding(1))])
    assert call(entry)[0] == 1
    assert build.counters == build.Counters(kernels_compiled=1, objects_refused=1)
    folder = fresh()
    assert not folder.exists() or not list(folder.iterdir())


def test_where_flat_images_do_not_load_the_linker_does_it(fresh, monkeypatch):
    def nowhere(image, symbols):
        raise AttributeError("undefined symbol: sin")

    with monkeypatch.context() as patch:
        patch.setattr(flat, "load", nowhere)
        assert call(build.load([Source("one", adding(1))])[0])[0] == 1
    folder = fresh()
    (path,) = folder.glob("*.unit")
    assert not flat.is_flat(cache.Unit.decode(path.read_bytes()).image)
    assert call(build.load([Source("one", adding(1))])[0])[0] == 1
    assert build.counters == build.Counters(kernels_loaded=1)


def test_several_threads_compile_a_kernel_once(fresh):
    entries = []
    threads = [
        threading.Thread(target=lambda: entries.extend(build.load([Source("one", adding(1))]))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({entry.address for entry in entries}) == 1 and len(entries) == 4
    assert build.counters.kernels_compiled == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this platform")
def test_a_fork_while_another_thread_builds_does_not_hang(fresh):
    build.load([Source("one", adding(1))])
    held, release = threading.Event(), threading.Event()

    def hold():
        with build._lock:
            held.set()
            release.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    child = os.fork()
    if child == 0:
        os._exit(call(build.load([Source("one", adding(1))])[0])[0])
    release.set()
    thread.join()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1


def damaged(good):
    """Many ways in which a unit's file can be wrong."""
    unit = cache.Unit.decode(good)
    yield "empty", b""
    for length in (1, 16, 17, 40, 49, 57, 60, len(good) // 2, len(good) - 1):
        yield f"cut at {length}", good[:length]
    for place in (0, 20, 50, 58, 100, len(good) // 2, len(good) - 1):
        yield f"bit flipped at {place}", good[:place] + bytes([good[place] ^ 4]) + good[place + 1 :]
    yield "longer", good + b"x"
    yield "text", b"hello" * 1000
    yield "another format", good.replace(b"treadle object 2", b"treadle object 9")
    yield "an image of nothing", cache.Unit(unit.symbols, b"").encode()
    yield "a foreign image", cache.Unit(unit.symbols, b"\x7fELF" + bytes(500)).encode()
    yield "half an image", cache.Unit(unit.symbols, unit.image[: len(unit.image) // 2]).encode()
    yield "a symbol that is not there", cache.Unit(dict.fromkeys(unit.symbols, "elsewhere"), unit.image).encode()
    yield "no symbols", cache.Unit({}, unit.image).encode()


def test_damaged_units_are_misses_and_are_made_again(fresh, monkeypatch):
    source = Source("one", adding(1))
    build.load([source])
    folder = fresh()
    (path,) = folder.glob("*.unit")
    good = path.read_bytes()
    symbol = next(iter(cache.Unit.decode(good).symbols.values()))
    assert flat.is_flat(cache.Unit.decode(good).image) == FLAT
    image, _ = direct.compile_object([(symbol, source.text)])
    assert symbols.undefined(image) == frozenset() and symbol.encode() in image
    monkeypatch.setattr(direct, "compile_object", lambda kernels, effort: (image, []))  # each time would take long
    for name, data in damaged(good):
        path.write_bytes(data)
        folder = fresh()
        (entry,) = build.load([source])
        assert (call(entry)[0], build.counters.kernels_compiled) == (1, 1), name
        assert path.read_bytes() == good, name
        fresh()
        build.load([source])
        assert build.counters.kernels_loaded == 1, name


def test_damaged_pointers_are_misses(fresh, monkeypatch, tmp_path):
    source = Source("one", adding(1))
    build.load([source])
    folder = fresh()
    (unit,) = folder.glob("*.unit")
    (pointer,) = folder.glob("*.kernel")
    (symbol,) = cache.Unit.decode(unit.read_bytes()).symbols.values()
    image, _ = direct.compile_object([(symbol, source.text)])
    monkeypatch.setattr(direct, "compile_object", lambda kernels, effort: (image, []))
    elsewhere = tmp_path / "elsewhere.unit"
    elsewhere.write_bytes(unit.read_bytes())
    for contents in (b"", b"nothing", b"0" * 32 + b".unit", b"../elsewhere.unit", b"\xff\xfe", b"x" * 1000):
        pointer.write_bytes(contents)
        fresh()
        assert call(build.load([source])[0])[0] == 1
        assert build.counters == build.Counters(kernels_compiled=1), contents
        assert pointer.read_bytes() == unit.name.encode()


WARM = """
import sys
import numpy as np
from treadle.compile.llvm import build
from treadle.compile.matrix import blas
from treadle.compile.run import pool
from treadle.compile.assembler import Assembler
text = '''
def kernel(args, lo, hi):
    x = p_f4(args[0])
    y = p_f4(args[1])
    for i in range(lo, hi):
        y[i] = exp_f4(x[i])
    return 0
'''
pool.set_num_threads(2)
(entry,) = build.load([build.Source("exp", text)])
asm = Assembler(1, 1, arena_bytes=400_000)
asm.call(entry, [asm.input(0), asm.arena(0)], 100_000, 1000)
if blas.available():
    asm.gemm("f4", False, False, 100, 100, 1000, asm.arena(0), 1000, asm.arena(0), 100, asm.output(0), 100)
out = np.zeros((100, 100), np.float32)
asm.finish().run((np.zeros(100_000, np.float32),), (out,))
if blas.available():
    assert (out == 1000).all()
print(build.counters.kernels_compiled, *[name for name in ("numba", "llvmlite", "scipy") if name in sys.modules])
"""


def test_a_warm_process_compiles_nothing_and_imports_no_compiler(tmp_path):
    outputs = []
    for _ in range(2):
        environment = {**os.environ, "TREADLE_CACHE_DIR": str(tmp_path / "cache")}
        done = subprocess.run(
            [sys.executable, "-c", WARM], capture_output=True, text=True, env=environment, timeout=100
        )
        assert done.returncode == 0, done.stderr
        outputs.append(done.stdout.split())
    assert int(outputs[0][0]) >= 5 and outputs[0][1:] == ["llvmlite"]
    assert outputs[1] == (["0"] if FLAT else ["0", "llvmlite"])


def test_importing_the_package_imports_nothing_heavy():
    program = textwrap.dedent(
        """
        import sys
        from treadle.compile import assembler
        from treadle.compile.llvm import build, cache, loader
        from treadle.compile.matrix import blas
        from treadle.compile.run import executor, machine, pool
        print([name for name in ("numba", "llvmlite", "scipy") if name in sys.modules])
        """
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]", done.stderr
