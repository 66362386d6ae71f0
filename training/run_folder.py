"""The folder of a run: one run at a time writes to it, and what prevents that is found before the first step."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from training.processes import from_main_process, is_main_process

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None
    import msvcrt

LOCK = ".lock"  # name of the file in the folder of a run that is locked while the run goes on
MEGABYTE = 1_000_000  # bytes


def check_folder(folder: str | Path):
    """Checks that a folder can be made or written; writes nothing.

    Raises:
        ValueError: it is a file, lies in one, or is read-only.
    """
    path = Path(folder).absolute()
    found = next(part for part in (path, *path.parents) if os.path.exists(part))
    if not found.is_dir():
        raise ValueError(f"{found} is a file: give a folder as --out (out_dir)")
    if not os.access(found, os.W_OK | os.X_OK):
        raise ValueError(f"{found} cannot be written: allow it, or give another folder as --out (out_dir)")


@contextmanager
def locked_folder(folder: Path, needed_bytes: int) -> Iterator[None]:
    """Makes the folder of a run and locks it for the context. The system ends the lock of a process that is killed.

    Args:
        folder: the folder.
        needed_bytes: size of what a run writes at once, for which the disk needs room.

    Raises:
        ValueError: in every process of the run, if the folder cannot be made or written, if another run has locked it,
            or if its disk is full.
    """
    lock, fault = None, None
    if is_main_process():
        try:
            lock = lock_folder(folder)
            check_room(folder, needed_bytes)
        except ValueError as refused:
            fault = str(refused)
    fault = from_main_process(fault)
    try:
        if fault:
            raise ValueError(fault)
        yield
    finally:
        if lock:
            release(lock)


def lock_folder(folder: Path) -> BinaryIO:
    """Makes a folder and locks it; returns the locked file, which `release` takes.

    Raises:
        ValueError: the folder cannot be made or written, or another run has locked it.
    """
    check_folder(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        while True:
            file = (folder / LOCK).open("ab")
            if not try_lock(file):
                file.close()
                raise ValueError(f"another run trains in {folder} now: wait for its end, or give another folder")
            if os.name == "nt" or is_named(file):
                file.write(b"\n")
                file.flush()
                return file
            file.close()  # the run before has just removed it
    except OSError as fault:
        raise ValueError(
            f"{folder} cannot be written ({fault.strerror}): mend that, or give another folder, as --out (out_dir)"
        ) from None


def try_lock(file: BinaryIO) -> bool:
    """Locks a file without waiting; returns False if another process has locked it."""
    try:
        if fcntl:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        else:
            file.seek(0)
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
    except (BlockingIOError, PermissionError):
        return False
    except OSError:  # a file system without locks: two runs in one folder go unnoticed
        return True
    return True


def is_named(file: BinaryIO) -> bool:
    """Whether an open file is still the one of its name."""
    with suppress(OSError):
        return os.path.samestat(os.fstat(file.fileno()), os.stat(file.name))
    return False


def release(lock: BinaryIO):
    """Removes the file of a lock and ends the lock."""
    if not fcntl:
        lock.close()  # Windows removes no open file; elsewhere the file goes first, see `is_named`
    with suppress(OSError):
        Path(lock.name).unlink()
    lock.close()


def check_room(folder: Path, needed_bytes: int):
    """Raises ValueError if the disk of a folder has no room for a checkpoint beside the one before."""
    free = shutil.disk_usage(folder).free
    if free < needed_bytes:
        needed, free = (f"{size / MEGABYTE:,.1f} MB" for size in (needed_bytes, free))
        raise ValueError(f"the disk of {folder} has {free} free, and a checkpoint takes {needed}: make room")
