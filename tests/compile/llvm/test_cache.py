"""The disk cache: round trips, whom it trusts, what it does on a full or forbidden disk, and its bound."""

import errno
import os
import sys

import pytest

from treadle.compile.llvm import cache, symbols
from treadle.compile.llvm.cache import DiskCache, Unit

posix = pytest.mark.skipif(sys.platform == "win32", reason="modes and owners are POSIX's")
UNIT = Unit({"a" * 64: "first", "b" * 64: "second"}, b"image" * 100)


@pytest.fixture
def disk(tmp_path):
    return DiskCache(str(tmp_path / "deep" / "cache"))


def test_units_come_back_by_any_of_their_kernels(disk):
    assert disk.find(UNIT.symbols) == ()
    assert disk.put(UNIT)
    assert disk.find(["a" * 64]) == disk.find(["b" * 64, "c" * 64]) == disk.find(UNIT.symbols) == (UNIT,)
    assert disk.find(["c" * 64]) == ()
    disk.forget(["a" * 64])
    assert disk.find(["a" * 64]) == ()


@posix
def test_the_folder_and_its_files_are_private(disk):
    before = os.umask(0)
    try:
        disk.put(UNIT)
    finally:
        os.umask(before)
    assert os.stat(disk.folder).st_mode & 0o777 == 0o700
    for entry in os.scandir(disk.folder):
        assert entry.stat().st_mode & 0o777 == 0o600


@posix
@pytest.mark.parametrize("mode", [0o770, 0o702, 0o777])
def test_a_folder_others_may_write_to_is_refused(disk, mode):
    disk.put(UNIT)
    os.chmod(disk.folder, mode)
    assert disk.find(UNIT.symbols) == () and not disk.put(UNIT)
    os.chmod(disk.folder, 0o755)
    assert disk.find(UNIT.symbols) == (UNIT,)


@posix
def test_a_file_others_may_write_to_is_a_miss(disk):
    disk.put(UNIT)
    for entry in os.scandir(disk.folder):
        if entry.name.endswith(".unit"):
            os.chmod(entry.path, 0o622)
    assert disk.find(UNIT.symbols) == ()


@posix
def test_a_foreign_owner_is_refused(disk, monkeypatch):
    disk.put(UNIT)
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    assert disk.find(UNIT.symbols) == () and not disk.put(UNIT)


@posix
def test_links_and_devices_in_the_folder_are_misses(disk, tmp_path):
    disk.put(UNIT)
    (unit,) = (entry.path for entry in os.scandir(disk.folder) if entry.name.endswith(".unit"))
    os.rename(unit, tmp_path / "outside")
    os.symlink(tmp_path / "outside", unit)
    assert disk.find(UNIT.symbols) == ()
    os.unlink(unit)
    os.mkfifo(unit, 0o600)
    assert disk.find(UNIT.symbols) == ()
    os.unlink(unit)
    os.mkdir(unit)
    assert disk.find(UNIT.symbols) == ()


def test_a_folder_that_cannot_be_is_no_cache(tmp_path):
    (tmp_path / "file").write_text("")
    for folder in (None, str(tmp_path / "file"), str(tmp_path / "file" / "below")):
        disk = DiskCache(folder)
        assert disk.find(UNIT.symbols) == () and not disk.put(UNIT)
        disk.forget(UNIT.symbols)


@pytest.mark.parametrize("function", ["open", "fdopen", "replace", "scandir", "stat", "makedirs"])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES, errno.EROFS])
def test_a_full_or_forbidden_disk_is_never_an_error(disk, monkeypatch, function, number):
    def fail(*args, **kwargs):
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(cache.os, function, fail)
        if function == "fdopen":
            patch.setattr(cache.os, "fdopen", lambda descriptor, mode: (os.close(descriptor), fail()))
        assert not disk.put(UNIT)
        assert disk.find(UNIT.symbols) in ((), (UNIT,))
    assert not [
        entry for entry in os.scandir(os.path.dirname(os.path.dirname(disk.folder))) if entry.name.endswith(".part")
    ]
    if os.path.isdir(disk.folder):
        assert not [entry.name for entry in os.scandir(disk.folder) if entry.name.endswith(".part")]
    assert disk.put(UNIT) and disk.find(UNIT.symbols) == (UNIT,)


def test_a_disk_that_fills_while_writing_leaves_nothing_behind(disk, monkeypatch):
    class Full:
        def __init__(self, descriptor):
            self.file = open(descriptor, "wb")

        def __enter__(self):
            return self

        def __exit__(self, *details):
            self.file.close()

        def write(self, data):
            self.file.write(data[:10])
            raise OSError(errno.ENOSPC, "disk full")

    with monkeypatch.context() as patch:
        patch.setattr(cache.os, "fdopen", lambda descriptor, mode: Full(descriptor))
        assert not disk.put(UNIT)
    assert os.listdir(disk.folder) == []


def test_the_least_recently_used_units_go_first(tmp_path):
    disk = DiskCache(str(tmp_path / "cache"), limit=40_000)
    units = [Unit({f"{number:064d}": "s"}, bytes([number]) * 8000) for number in range(8)]
    for number, unit in enumerate(units):
        assert disk.put(unit)
        for entry in os.scandir(disk.folder):  # older the earlier they were written, as if hours lay between
            status = entry.stat()
            os.utime(entry.path, (0, status.st_mtime - 10_000))
        if number in (3, 5):
            assert disk.find(units[0].symbols) == (units[0],)  # a use makes it young
    assert sum(entry.stat().st_size for entry in os.scandir(disk.folder)) <= 40_000
    assert disk.find(units[7].symbols) == (units[7],) and disk.find(units[1].symbols) == ()
    assert len(os.listdir(disk.folder)) == 8  # four units, each with its kernel's pointer
    assert disk.find(units[0].symbols) == (units[0],)


def test_the_folder_is_not_looked_through_for_each_unit(tmp_path, monkeypatch):
    """Thousands of files take longer to count than a kernel to compile."""
    disk = DiskCache(str(tmp_path / "cache"))
    looks = []
    monkeypatch.setattr(cache.os, "scandir", lambda folder, real=os.scandir: looks.append(folder) or real(folder))
    monkeypatch.setattr(cache, "LOOK_AFTER", 10)
    for k in range(22):
        assert disk.put(Unit({f"k{k}": "symbol"}, b"x" * k))
    assert len(looks) == 2
    disk.limit = 20_000
    assert disk.put(Unit({"last": "symbol"}, b""))
    assert len(looks) == 3 and 0 < len(os.listdir(disk.folder)) < 42
    assert disk.find(["last"]) and not disk.find(["k0"])


def test_a_unit_above_the_limit_is_not_written(tmp_path):
    disk = DiskCache(str(tmp_path / "cache"), limit=100)
    assert not disk.put(UNIT)


def test_where_the_cache_lies(monkeypatch, tmp_path):
    monkeypatch.setenv("TREADLE_CACHE_DIR", str(tmp_path / "mine"))
    assert cache.default_folder() == str(tmp_path / "mine")
    monkeypatch.delenv("TREADLE_CACHE_DIR")
    if sys.platform != "win32":
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
        assert cache.default_folder() == str(tmp_path / "xdg" / "treadle")
        monkeypatch.setenv("XDG_CACHE_HOME", "relative")
        monkeypatch.setenv("HOME", str(tmp_path))
        assert cache.default_folder() == str(tmp_path / ".cache" / "treadle")
        monkeypatch.setenv("HOME", str(tmp_path / "missing"))
        assert cache.default_folder() is None


def test_what_is_no_object_has_no_symbols():
    for image in (
        b"",
        b"\x7fELF",
        b"\x7fELF\x02\x01" + b"\xff" * 100,
        b"\x7fELF\x02\x01" + bytes(100),
        b"MZ" + bytes(100),
    ):
        assert not symbols.undefined(image)
        assert symbols.stands_alone(image) == (symbols.undefined(image) is not None)
    assert symbols.undefined(b"garbage") is None and not symbols.stands_alone(b"garbage")
