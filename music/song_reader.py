"""Reads many MIDI files with a converter, in worker processes or with any `concurrent.futures.Executor`.

Whatever one file does, the others are read. A file that raises, or that ends its process, is refused with the reason.
"""

import os
import signal
import threading
import time
import warnings
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor
from contextlib import contextmanager, suppress
from multiprocessing import parent_process
from pathlib import Path
from typing import NamedTuple

import numpy as np

from music.converter import BarsConverter
from music.drums import unusual_drums
from music.grid import Part, lost_notes, song_parts
from music.intake import UNCHANGED, Intake
from music.midi_bytes import DEFAULT_LIMITS, LimitError, Limits, MidiError
from music.midi_file import parse_midi, read_file, without_garbage_collection
from music.song_cache import ReadSong, Song, columns_of, content_digest

try:
    import resource
except ImportError:  # Windows
    resource = None

MIN_POOL_BYTES = 2**17  # of files; for fewer, worker processes take longer to start than they save
CHUNK_FILES = 4  # per task
QUEUED_CHUNKS = 4  # per worker, submitted and not yet yielded
MAX_WORKERS = 61  # processes that Windows can wait for
OFF_GRID_STEPS = 0.125  # an onset is off the grid beyond this; 75 % of uniformly random onsets would be
EXECUTOR_WORKERS = 64  # assumed number of workers of a caller's executor


is_worker = False  # whether this process is a worker that `_start_pool` has started


class Reading(NamedTuple):
    """How files are read."""

    converter: BarsConverter
    limits: Limits
    intake: Intake


def read_songs(
    paths: Sequence[Path],
    converter: BarsConverter,
    workers: int | None,
    executor: Executor | None,
    limits: Limits = DEFAULT_LIMITS,
    intake: Intake = UNCHANGED,
) -> Iterator[ReadSong]:
    """Yields what each file gives, in order, and reads up to QUEUED_CHUNKS chunks per worker ahead.

    Args:
        workers: number of processes; 1 reads in this process, None uses all cores unless the files are small. With an
            executor, the number of its workers; EXECUTOR_WORKERS if None.
        executor: reads the files in place of own processes.
        limits: the most that a file may hold, and the seconds that reading it may take.
        intake: what is changed in each song.
    """
    chunks = [paths[k : k + CHUNK_FILES] for k in range(0, len(paths), CHUNK_FILES)]
    if executor:
        workers = workers or EXECUTOR_WORKERS
    else:
        workers = min(workers or _default_workers(paths), len(chunks), MAX_WORKERS)
    pool = executor or _OwnPool(workers)
    try:
        yield from _read_ahead(chunks, Reading(converter, limits, intake), pool, QUEUED_CHUNKS * workers)
    finally:
        if executor is None:
            pool.shutdown(cancel_futures=True)


def _read_ahead(chunks: list[list[Path]], reading: Reading, pool: Executor, limit: int) -> Iterator[ReadSong]:
    """Yields what the chunks' files give, in order; at most `limit` chunks are submitted and not yet yielded."""
    waiting = deque()
    for chunk in chunks:
        future = _submit(pool, chunk, reading)
        waiting.append((chunk, future))
        while waiting and (len(waiting) == limit or not future or waiting[0][1].done()):
            yield from _result(*waiting.popleft(), reading)
    while waiting:
        yield from _result(*waiting.popleft(), reading)


def _submit(pool: Executor, chunk: list[Path], reading: Reading) -> Future | None:
    """Submits a chunk; None if the pool takes no more, as when one of its workers died."""
    with suppress(RuntimeError):
        return pool.submit(_read_chunk, chunk, reading)


def _result(chunk: list[Path], future: Future | None, reading: Reading) -> list[ReadSong]:
    """What a chunk's files give; if its worker died, each file is read again in a process of its own."""
    try:
        return future.result() if future else [_read_alone(path, reading) for path in chunk]
    except Exception:  # which one depends on the executor
        return [_read_alone(path, reading) for path in chunk]


# ---- Processes ----


class _ThisProcess(Executor):
    """Runs each task at once, in this process."""

    def submit(self, task, /, *arguments) -> Future:
        future = Future()
        future.set_result(task(*arguments))
        return future


class _OwnPool(Executor):
    """Worker processes that are started again after one of them died; this process for one worker."""

    def __init__(self, workers: int):
        self.workers = workers
        self.pool = _start_pool(workers)

    def submit(self, task, /, *arguments) -> Future:
        try:
            return self.pool.submit(task, *arguments)
        except RuntimeError:
            self.pool = _start_pool(self.workers)
            return self.pool.submit(task, *arguments)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        self.pool.shutdown(wait, cancel_futures=cancel_futures)


def _start_pool(workers: int) -> Executor:
    """A pool that works; this process if no other can be started (in a script without a main guard, in a sandbox)."""
    try:
        pool = ProcessPoolExecutor(workers, initializer=_become_worker) if workers > 1 else _ThisProcess()
    except (OSError, NotImplementedError):
        return _ThisProcess()
    return pool if _works(pool) else _ThisProcess()


def _works(pool: Executor) -> bool:
    try:
        pool.submit(int).result()
        return True
    except (OSError, BrokenExecutor):  # not RuntimeError: a worker that runs an unguarded script has to die of its own
        return False


def _default_workers(paths: Sequence[Path]) -> int:
    """All cores, or this process alone for a small set."""
    return _cores() if sum(map(_file_bytes, paths)) >= MIN_POOL_BYTES else 1


def _file_bytes(path: Path) -> int:
    """The size of a file, 0 if there is none."""
    try:
        return os.stat(path).st_size
    except (OSError, ValueError):  # ValueError: a name that no file can have
        return 0


def _cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


# ---- In a worker ----


def _read_chunk(paths: Sequence[Path], reading: Reading) -> list[ReadSong]:
    with warnings.catch_warnings(), without_garbage_collection():
        warnings.simplefilter("ignore")  # nothing in a file is for the caller to mend
        return [_read_song(path, reading) for path in paths]


def _read_song(path: Path, reading: Reading) -> ReadSong:
    """Reads a file; whatever goes wrong is the fault of this file alone."""
    try:
        with time_limit(reading.limits.seconds):
            return _windows_of(path, reading)
    except MidiError as error:
        return ReadSong(Song(None, fault="the folder cannot be opened" if os.path.isdir(path) else str(error)))
    except OutOfTimeError:
        return ReadSong(Song(None, fault=f"takes {reading.limits.exceeded('seconds')}"))
    except Exception as error:
        return ReadSong(Song(None, fault=f"{type(error).__name__}: {error}"))


def _windows_of(path: Path, reading: Reading) -> ReadSong:
    """The windows of a file."""
    converter, limits, intake = reading
    digest = content_digest(data := read_file(path, limits))
    try:
        midi, mended = parse_midi(data, limits)
    except MidiError as error:
        depends_on_limits = isinstance(error, LimitError)
        return ReadSong(Song(None if depends_on_limits else digest, fault=str(error)))
    midi = converter.in_time(intake(midi))
    parts = song_parts(midi)
    off_grid = share_off_grid(parts) if converter.needs_grid else 0.0
    columns = columns_of(windows := converter.windows_of_parts(midi, parts))
    reason = None if len(windows.labels) else windows.skipped[0].reason
    mended = ", ".join(mended).replace("; ", ", ")
    losses = {"lost_bars": sum(one.bars for one in windows.skipped), "lost_notes": lost_notes(windows.skipped)}
    song = Song(digest, len(windows.labels), None, mended, off_grid, reason, drums=unusual_drums(midi), **losses)
    return ReadSong(song, columns)


def share_off_grid(parts: Sequence[Part]) -> float:
    """Share of the onsets of a song's parts that lie more than OFF_GRID_STEPS from a sixteenth."""
    offsets = np.concatenate([part.offset for part in parts])
    return np.count_nonzero(np.abs(offsets) > OFF_GRID_STEPS) / len(offsets) if len(offsets) else 0.0


def _read_alone(path: Path, reading: Reading) -> ReadSong:
    """Reads a file in a process of its own, which tells the file that ends its process from others of its chunk."""
    with ProcessPoolExecutor(1, initializer=_become_worker) as pool:
        try:
            return pool.submit(_read_song, path, reading).result()
        except Exception as error:  # the process died of this file
            return ReadSong(Song(None, fault=f"reading it ended its process ({type(error).__name__})"))


# ---- Limits of time ----


class OutOfTimeError(BaseException):
    """A file takes too long. It is no Exception, so that code that reads on after any Exception stops."""


def _become_worker() -> None:
    """Ends this worker process with its parent, and lets `time_limit` end it where nothing else can."""
    global is_worker
    is_worker = True
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent_process().join()
    os._exit(1)


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raises OutOfTimeError in the block after this time; in a thread, or without POSIX signals, does nothing.

    A worker process whose block never returns to Python is ended after three times as much processor time.
    """
    if resource is None or threading.current_thread() is not threading.main_thread():
        yield
        return
    if is_worker:
        _limit_processor_time(time.process_time() + 3 * seconds + 2)
    before = signal.signal(signal.SIGALRM, _raise_out_of_time)
    signal.setitimer(signal.ITIMER_REAL, seconds, 1.0)  # again each second, in case that code catches all exceptions
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before or signal.SIG_DFL)


def _limit_processor_time(seconds: float) -> None:
    """Ends this process after so much processor time, or after what the system allows it."""
    most = resource.getrlimit(resource.RLIMIT_CPU)[1]
    wanted = int(seconds) if most == resource.RLIM_INFINITY else min(int(seconds), most)
    resource.setrlimit(resource.RLIMIT_CPU, (wanted, most))


def _raise_out_of_time(*_) -> None:
    raise OutOfTimeError
