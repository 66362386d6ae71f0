"""Reads many MIDI files with a converter, in worker processes or with any `concurrent.futures.Executor`.

Whatever one file does, the others are read. A file that raises, or that ends its process, is refused with the reason.
"""

import gc
import os
import warnings
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
from pretty_midi import PrettyMIDI

from music.converter import BarsConverter
from music.drums import unusual_drums
from music.grid import song_parts
from music.midi_bytes import MidiError
from music.midi_file import parse_midi, read_file
from music.song_cache import ReadSong, Song, columns_of, content_digest

MIN_POOL_BYTES = 2**17  # of files; for fewer, worker processes take longer to start than they save
CHUNK_FILES = 4  # per task
QUEUED_CHUNKS = 4  # per worker, submitted and not yet yielded
MAX_WORKERS = 61  # processes that Windows can wait for
OFF_GRID_STEPS = 0.125  # an onset is off the grid beyond this; of random onsets three in four are
EXECUTOR_WORKERS = 64  # assumed number of workers of a caller's executor


def read_songs(
    paths: Sequence[Path], converter: BarsConverter, workers: int | None, executor: Executor | None
) -> Iterator[ReadSong]:
    """Yields what each file gives, in order, and reads up to QUEUED_CHUNKS chunks per worker ahead.

    Args:
        workers: number of processes; 1 reads in this process, None uses all cores unless the files are small. With an
            executor, the number of its workers; EXECUTOR_WORKERS if None.
        executor: reads the files in place of own processes.
    """
    chunks = [paths[k : k + CHUNK_FILES] for k in range(0, len(paths), CHUNK_FILES)]
    if executor:
        workers = workers or EXECUTOR_WORKERS
    else:
        workers = min(workers or _default_workers(paths), len(chunks), MAX_WORKERS)
    pool = executor or _OwnPool(workers)
    try:
        yield from _read_ahead(chunks, converter, pool, QUEUED_CHUNKS * workers)
    finally:
        if executor is None:
            pool.shutdown(cancel_futures=True)


def _read_ahead(chunks: list[list[Path]], converter: BarsConverter, pool: Executor, limit: int) -> Iterator[ReadSong]:
    """Yields what the chunks' files give, in order; at most `limit` chunks are submitted and not yet yielded."""
    waiting = deque()
    for chunk in chunks:
        future = _submit(pool, chunk, converter)
        waiting.append((chunk, future))
        while waiting and (len(waiting) == limit or not future or waiting[0][1].done()):
            yield from _result(*waiting.popleft(), converter)
    while waiting:
        yield from _result(*waiting.popleft(), converter)


def _submit(pool: Executor, chunk: list[Path], converter: BarsConverter) -> Future | None:
    """Submits a chunk; None if the pool takes no more, as when one of its workers died."""
    with suppress(RuntimeError):
        return pool.submit(_read_chunk, chunk, converter)


def _result(chunk: list[Path], future: Future | None, converter: BarsConverter) -> list[ReadSong]:
    """What a chunk's files give; if its worker died, each file is read again in a process of its own."""
    try:
        return future.result() if future else [_read_alone(path, converter) for path in chunk]
    except Exception:  # which one depends on the executor
        return [_read_alone(path, converter) for path in chunk]


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
        pool = ProcessPoolExecutor(workers) if workers > 1 else _ThisProcess()
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
    return _cores() if sum(path.stat().st_size for path in paths if path.is_file()) >= MIN_POOL_BYTES else 1


def _cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


# ---- In a worker ----


def _read_chunk(paths: Sequence[Path], converter: BarsConverter) -> list[ReadSong]:
    with warnings.catch_warnings(), _without_garbage_collection():
        warnings.simplefilter("ignore")  # pretty_midi warns of tempos on later tracks, which need no action here
        return [_read_song(path, converter) for path in paths]


@contextmanager
def _without_garbage_collection() -> Iterator[None]:
    """Stops the search for reference cycles: a parser's many small objects trigger it and form none."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _read_song(path: Path, converter: BarsConverter) -> ReadSong:
    digest = None
    try:
        data = read_file(path)
        digest = content_digest(data)
        midi, mended = parse_midi(data)
        midi = converter.in_time(midi)
        off_grid = _share_off_grid(midi) if converter.needs_grid else 0.0
        columns = columns_of(windows := converter.to_arrays(midi))
    except MidiError as error:
        return ReadSong(Song(digest, fault=str(error)))
    except Exception as error:  # one file must not end the reading of a folder
        return ReadSong(Song(None, fault=f"{type(error).__name__}: {error}"))
    reason = None if len(windows.labels) else windows.skipped[0].reason
    mended = ", ".join(mended).replace("; ", ", ")
    lost_bars = sum(skipped.lost_bars for skipped in windows.skipped)
    song = Song(digest, len(windows.labels), None, mended, off_grid, reason, lost_bars, unusual_drums(midi))
    return ReadSong(song, columns)


def _share_off_grid(midi: PrettyMIDI) -> float:
    """Share of a song's onsets that lie more than OFF_GRID_STEPS from a sixteenth."""
    offsets = np.concatenate([part.offset for part in song_parts(midi)])
    return float((np.abs(offsets) > OFF_GRID_STEPS).mean()) if len(offsets) else 0.0


def _read_alone(path: Path, converter: BarsConverter) -> ReadSong:
    """Reads a file in a process of its own, which tells the file that ends its process from others of its chunk."""
    with ProcessPoolExecutor(1) as pool:
        try:
            return pool.submit(_read_song, path, converter).result()
        except Exception as error:  # the process died of this file
            return ReadSong(Song(None, fault=f"reading it ended its process ({type(error).__name__})"))
