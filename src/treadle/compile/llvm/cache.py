"""The disk cache of machine code: a private folder of units (object files), and one small pointer file per kernel.

Whoever can write here can run code as the user, so the folder must belong to the user and be writable by nobody else.
Nothing here ever raises for what it finds on disk: a damaged, foreign or unwritable entry is a miss.
"""

from __future__ import annotations

import contextlib
import os
import stat
import sys
import time
from collections.abc import Iterable, Mapping

from treadle.records import dataclass

try:
    from _blake2 import blake2b  # what hashlib gives, without the import of OpenSSL
except ImportError:
    from hashlib import blake2b

MAGIC = b"treadle object 2\n"
DEFAULT_LIMIT = 256 << 20
TOUCH_AFTER = 3600.0  # seconds: how stale a unit's time stamp may be before a use renews it
SMALLEST_AGE = 300.0  # seconds: a temporary file younger than this may still be another process's
LOOK_AFTER = 256  # so many units are written before the folder is looked through again, though there seems to be room

_seen: dict[str, tuple[int, int]] = {}  # folder -> bytes in it at the last look and written since, units since


def new_digest(data: bytes = b"") -> blake2b:
    """A digest of 32 bytes, to be updated or read."""
    return blake2b(data, digest_size=32)


@dataclass(frozen=True, slots=True)
class Unit:
    """One object file: which kernel is under which symbol, and the image itself."""

    symbols: Mapping[str, str]  # kernel key -> symbol
    image: bytes

    def encode(self) -> bytes:
        """The file's contents: magic, digest of all that follows, length of the index, index, image."""
        index = "\n".join(f"{key} {symbol}" for key, symbol in self.symbols.items()).encode()
        payload = len(index).to_bytes(8, "little") + index + self.image
        return MAGIC + new_digest(payload).digest() + payload

    @staticmethod
    def decode(data: bytes) -> Unit | None:
        """The unit in a file's contents; None where anything is wrong with them."""
        start = len(MAGIC) + 32
        payload = data[start:]
        if not data.startswith(MAGIC) or new_digest(payload).digest() != data[len(MAGIC) : start]:
            return None
        length = int.from_bytes(payload[:8], "little")
        try:
            pairs = [line.split(" ") for line in payload[8 : 8 + length].decode().split("\n")]
            return Unit(dict(pairs), payload[8 + length :])
        except ValueError:
            return None


def default_folder() -> str | None:
    """`TREADLE_CACHE_DIR`, else the user's cache folder; None where there is no home."""
    chosen = os.environ.get("TREADLE_CACHE_DIR")
    if chosen:
        return chosen
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA")
    else:
        base = os.environ.get("XDG_CACHE_HOME")
        if not base or not os.path.isabs(base):
            home = os.path.expanduser("~")
            base = os.path.join(home, ".cache") if os.path.isabs(home) and os.path.isdir(home) else None
    return os.path.join(base, "treadle") if base else None


def _is_private(status: os.stat_result) -> bool:
    """Whether a file or folder belongs to this user and nobody else may write to it."""
    if sys.platform == "win32":
        return True  # the folder lies in the user's profile, which other users cannot write to
    return status.st_uid == os.geteuid() and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


class DiskCache:
    """Units on disk under `folder`; every method treats whatever goes wrong as a miss."""

    def __init__(self, folder: str | None, limit: int = DEFAULT_LIMIT) -> None:
        self.folder = folder
        self.limit = limit

    def usable(self, create: bool = False) -> str | None:
        """The folder if it is there (or can be made) and private, else None."""
        if self.folder is None:
            return None
        try:
            if create:
                os.makedirs(self.folder, mode=0o700, exist_ok=True)
            status = os.stat(self.folder)
        except OSError:
            return None
        return self.folder if stat.S_ISDIR(status.st_mode) and _is_private(status) else None

    def find(self, keys: Iterable[str]) -> tuple[Unit, ...]:
        """The units that hold any of the kernels `keys`."""
        folder = self.usable()
        if folder is None:
            return ()
        names = dict.fromkeys(name for key in keys if (name := self._pointed(folder, key)))
        units = (self._read_unit(os.path.join(folder, name)) for name in names)
        return tuple(unit for unit in units if unit is not None)

    def _pointed(self, folder: str, key: str) -> str | None:
        """The name of the unit that holds a kernel."""
        data = _read(os.path.join(folder, f"{key}.kernel"), 200)
        name = data.decode("ascii", "replace") if data else ""
        return name if name.endswith(".unit") and name[:-5].isalnum() else None

    def _read_unit(self, path: str) -> Unit | None:
        """The unit in a file, whose time stamp is renewed; None where it is missing or bad (then it is removed)."""
        data = _read(path, self.limit)
        if data is None:
            return None
        unit = Unit.decode(data)
        with contextlib.suppress(OSError):
            if unit is None:
                os.unlink(path)
            elif time.time() - os.stat(path).st_mtime > TOUCH_AFTER:
                os.utime(path)
        return unit

    def put(self, unit: Unit) -> bool:
        """Write a unit and its kernels' pointers; whether that worked."""
        folder = self.usable(create=True)
        data = unit.encode()
        if folder is None or len(data) > self.limit:
            return False
        name = new_digest(data).hexdigest()[:32] + ".unit"
        try:
            _write(folder, name, data)
            for key in unit.symbols:
                _write(folder, f"{key}.kernel", name.encode())
            self._make_room(folder, name, len(data) + 512 * (len(unit.symbols) + 1))
        except OSError:  # a full disk, a folder that went away: the kernels are in memory all the same
            return False
        return True

    def forget(self, keys: Iterable[str]) -> None:
        """Remove the pointers of kernels whose unit did not load."""
        folder = self.usable()
        if folder is not None:
            for key in keys:
                with contextlib.suppress(OSError):
                    os.unlink(os.path.join(folder, f"{key}.kernel"))

    def _make_room(self, folder: str, newest: str, nbytes: int) -> None:
        """Look through the folder, unless it has room for these bytes for all that this process knows of it.

        What other processes write meanwhile is seen at the next look.
        """
        used, puts = _seen.get(folder, (self.limit, 0))
        if used + nbytes > self.limit or puts >= LOOK_AFTER:
            _seen[folder] = self._shrink(folder, newest), 0
        else:
            _seen[folder] = used + nbytes, puts + 1

    def _shrink(self, folder: str, newest: str) -> int:
        """Remove the least recently used units, and their kernels' pointers, while the folder is above its limit.

        The bytes that stay.
        """
        sizes: dict[str, int] = {}
        ages: dict[str, float] = {}
        now = time.time()
        for entry in os.scandir(folder):
            with contextlib.suppress(OSError):
                status = entry.stat(follow_symlinks=False)
                sizes[entry.name], ages[entry.name] = max(status.st_size, 512), now - status.st_mtime
        # Pointers whose unit is gone are left for the end; a temporary file that is old was left by a crash.
        rank = {".part": 0, ".unit": 1, ".kernel": 2}
        names = [name for name in sizes if os.path.splitext(name)[1] in rank]
        used = sum(sizes.values())
        for name in sorted(names, key=lambda name: (rank[os.path.splitext(name)[1]], -ages[name])):
            stale = name.endswith(".part") and ages[name] > SMALLEST_AGE
            over = used > self.limit and not name.endswith(".part") and name != newest
            if (stale or over) and name in sizes:
                for gone in (name, *self._pointers(folder, name)):
                    with contextlib.suppress(OSError):
                        os.unlink(os.path.join(folder, gone))
                        used -= sizes.pop(gone, 0)
        return used

    def _pointers(self, folder: str, name: str) -> list[str]:
        """The pointer files of the kernels in a unit's file that still point to it."""
        data = _read(os.path.join(folder, name), self.limit) if name.endswith(".unit") else None
        unit = Unit.decode(data) if data else None
        return [f"{key}.kernel" for key in unit.symbols if self._pointed(folder, key) == name] if unit else []


def _read(path: str, limit: int) -> bytes | None:
    """A private regular file's contents, at most `limit` bytes of them; None where that fails."""
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0)
    try:
        descriptor = os.open(path, flags)
    except OSError:
        return None
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or not _is_private(status) or status.st_size > limit:
            return None
        data = b""
        while chunk := os.read(descriptor, max(status.st_size - len(data), 1)):
            data += chunk
        return data
    except OSError:
        return None
    finally:
        os.close(descriptor)


def _write(folder: str, name: str, data: bytes) -> None:
    """Write beside the file, then rename over it, so that no reader ever sees half of it. OSError where that fails."""
    temporary = os.path.join(folder, f"{os.urandom(8).hex()}.part")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
    descriptor = os.open(temporary, flags, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
        os.replace(temporary, os.path.join(folder, name))
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
