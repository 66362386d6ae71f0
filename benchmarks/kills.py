"""Kills training and reading at random moments, and fills the disk under them, for a table of docs/reliability.md.

    python benchmarks/kills.py           prints the table; some minutes, on Linux
    python benchmarks/kills.py --docs    also writes it into docs/reliability.md

Every attempt is a forked process. A full disk is a small one in memory, which only root can mount.
"""

import ctypes
import multiprocessing
import os
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import redirect_stdout, suppress
from dataclasses import replace
from functools import partial
from multiprocessing.context import ForkProcess
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch

from benchmarks.sections import run_command
from benchmarks.tables import ROOT
from checkpoint import CHECKPOINT, read_checkpoint
from configs import CONFIGS, Config
from midi_utils import MelodyConverter, SongDataset, load_songs, midi_files
from train import train

TRAINING_KILLS, READING_KILLS, DISKS = 200, 50, 20  # attempts for the table
STEPS, EVAL_EVERY = 40, 2  # of a run; every second step writes a checkpoint
LONGEST_DELAY = 0.5  # before a kill, as a share of the duration of a run
MAX_SECONDS = 600  # that a run which nothing kills may take
GRACE_SECONDS = 10  # in which the workers of a killed process must end
DISK_SHARES = (0.1, 2.5)  # smallest and largest disk, as a share of what the files take
ROOM_BYTES = 2**28  # of a disk with room
NEW_NAMESPACE, PRIVATE, REMOUNT = 0x20000, 0x44000, 0x20  # CLONE_NEWNS, MS_REC | MS_PRIVATE, MS_REMOUNT


# ---- What is killed ----


def small_config() -> Config:
    """A preset at a size that trains fast, with scheduled sampling, so that every step draws random numbers."""
    config = CONFIGS["cat-mel_2bar_tiny"]
    model = replace(config.model, z_size=8, enc_rnn_size=(24,), dec_rnn_size=(24,))
    recipe = replace(config.training, batch_size=8, sampling_schedule="constant", sampling_rate=0.5)
    return replace(config, model=model, training=recipe)


def read_songs(workers: int = 1, cache: Path | None = None) -> SongDataset:
    """Six of the built-in songs."""
    songs = sorted(midi_files(ROOT / "midi_songs" / "built_in"))[:6]
    return load_songs(songs, MelodyConverter(), workers=workers, cache=cache, progress=False)


def train_to_end(folder: Path, songs: SongDataset):
    """Starts the run of a folder, or continues it."""
    torch.set_num_threads(1)
    parts, settings = songs.split(valid=0.2), {"device": "cpu", "progress": False}
    with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere):
        train(small_config(), parts.train, parts.valid, out_dir=folder, steps=STEPS, eval_every=EVAL_EVERY, **settings)


def state_of(folder: Path) -> list[bytes]:
    """The weights, the optimizer's moments and the history of a run."""
    content = read_checkpoint(folder / CHECKPOINT)
    moments = content["optimizer"]["state"]
    slots = [moments[k][slot] for k in sorted(moments) for slot in sorted(moments[k])]
    bits = [torch.as_tensor(tensor).numpy().tobytes() for tensor in (*content["model"].values(), *slots)]
    return [*bits, repr(content["run"]["history"]).encode()]


# ---- Kills ----


def attempt(task: Callable, delay: float = MAX_SECONDS) -> ForkProcess:
    """Runs a task in a process that leads a group, and kills the process, not its group, after some seconds."""
    process = multiprocessing.get_context("fork").Process(target=lead_group, args=(task,))
    process.start()
    process.join(delay)
    process.kill()
    process.join()
    return process


def lead_group(task: Callable):
    os.setsid()
    task()


def seconds_of(task: Callable) -> float:
    """The duration of a task that nothing kills."""
    start = time.monotonic()
    if attempt(task).exitcode:
        raise RuntimeError("a process that nothing killed failed")
    return time.monotonic() - start


def killed_training(folder: Path, kills: int, seed: int = 0) -> Counter:
    """Kills runs until they are finished all the same, and counts the runs that end as one that nothing killed."""
    songs, random, counts = read_songs(), np.random.default_rng(seed), Counter()
    longest = LONGEST_DELAY * seconds_of(partial(train_to_end, folder / "whole", songs))
    whole = state_of(folder / "whole")
    while counts["kills"] < kills:
        run = folder / f"run {counts['runs']}"
        while attempt(partial(train_to_end, run, songs), random.uniform(0, longest)).exitcode:
            counts["kills"] += 1
            counts["writing"] += (run / f"{CHECKPOINT}.partial").exists()
        counts["runs"] += 1
        counts["same"] += state_of(run) == whole and [file.name for file in run.iterdir()] == [CHECKPOINT]
    return counts


def killed_reading(folder: Path, kills: int, seed: int = 0) -> Counter:
    """Kills the reading of songs into a cache, and counts the caches that then give the same windows."""
    labels, random, counts = read_songs().labels, np.random.default_rng(seed), Counter()
    longest = seconds_of(partial(read_songs, 2, folder / "whole"))
    while counts["kills"] < kills:
        cache = folder / f"cache {counts.total()}"
        process = attempt(partial(read_songs, 2, cache), random.uniform(0, longest))
        counts["kills"] += process.exitcode != 0
        counts["workers left"] += any_left(process.pid)
        counts["same" if np.array_equal(read_songs(1, cache).labels, labels) else "other"] += process.exitcode != 0
    return counts


def any_left(group: int) -> bool:
    """Whether a process of a group is still there after GRACE_SECONDS."""
    end = time.monotonic() + GRACE_SECONDS
    while found := any(processes_of(group)):
        if time.monotonic() > end:
            break
        time.sleep(0.02)
    return found


def processes_of(group: int) -> Iterator[bool]:
    """Yields True for every process of a group that runs."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it has just ended
            state, _, its_group, *_ = stat.read_text().rpartition(")")[2].split()
            yield int(its_group) == group and state not in "ZX"


# ---- Full disks ----


def on_small_disks(task: Callable, folder: Path, size: int, disks: int) -> Counter:
    """Calls a task on new disks around a size, each in a process of its own; counts the outcomes that it returns."""
    outcomes = Counter()
    for number, share in enumerate(np.linspace(*DISK_SHARES, disks)):
        disk = folder / f"disk {number}"
        disk.mkdir()
        with ProcessPoolExecutor(1, multiprocessing.get_context("fork")) as pool:
            outcomes.update(pool.submit(on_disk, task, disk, int(share * size)).result())
    return outcomes


def on_disk(task: Callable, folder: Path, size: int) -> list[str]:
    """Mounts a disk, which ends with this process, and calls a task."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(NEW_NAMESPACE) or libc.mount(b"none", b"/", None, PRIVATE, None):
        raise PermissionError(ctypes.get_errno(), "no rights to mount a disk")
    mount(folder, size)
    return task(folder)


def mount(folder: Path, size: int, flags: int = 0):
    """Mounts a disk of this many bytes, or changes the size of one that is mounted."""
    if ctypes.CDLL(None, use_errno=True).mount(b"tmpfs", os.fsencode(folder), b"tmpfs", flags, b"size=%d" % size):
        raise PermissionError(ctypes.get_errno(), "no rights to mount a disk")


def full_disk_training(folder: Path, disks: int) -> Counter:
    """Trains on disks that are too small, then makes room and continues."""
    songs = read_songs()
    seconds_of(partial(train_to_end, folder / "whole", songs))
    size = (folder / "whole" / CHECKPOINT).stat().st_size
    return on_small_disks(partial(train_then_grow, songs, state_of(folder / "whole")), folder, size, disks)


def train_then_grow(songs: SongDataset, whole: list[bytes], disk: Path) -> list[str]:
    run, outcome = disk / "run", "finished"
    try:
        train_to_end(run, songs)
    except ValueError as fault:
        if "make room" not in str(fault):
            raise
        outcome = "stopped" if "of step" in str(fault) else "refused"
    if (run / CHECKPOINT).exists():
        read_checkpoint(run / CHECKPOINT)  # raises if the one before the fault is not whole
    mount(disk, ROOM_BYTES, REMOUNT)
    train_to_end(run, songs)
    return [outcome, "same" if state_of(run) == whole else "other"]


def full_disk_caching(folder: Path, disks: int) -> Counter:
    """Reads songs with caches on disks that are too small."""
    labels = read_songs(1, folder / "whole").labels
    size = sum(file.stat().st_size for file in (folder / "whole").rglob("*.songs"))
    return on_small_disks(partial(cached_on, labels), folder, size, disks)


def cached_on(labels: np.ndarray, disk: Path) -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        same = np.array_equal(read_songs(1, disk).labels, labels)
    return ["not cached" if caught else "cached", "same" if same else "other"]


# ---- The table ----


def rows(folder: Path) -> Iterator[tuple[str, int, str]]:
    """What was tried, how many times, and what happened."""
    for name in ("killed training", "killed reading", "full disk", "full cache"):
        (folder / name).mkdir()
    counts = killed_training(folder / "killed training", TRAINING_KILLS)
    yield (
        "a training killed (SIGKILL) at a random moment, and started again until it ends",
        counts["kills"],
        f"{counts['same']} of {counts['runs']} runs end with the bits of one that nothing killed; "
        f"{counts['writing']} kills hit the writing of a checkpoint",
    )
    counts = killed_reading(folder / "killed reading", READING_KILLS)
    yield (
        "the reading of songs by two workers into a cache killed at a random moment, and the cache read again",
        counts["kills"],
        f"the same windows {counts['same']} times; workers left after {GRACE_SECONDS} s {counts['workers left']} times",
    )
    counts = full_disk_training(folder / "full disk", DISKS)
    yield (
        f"a training on a disk of {DISK_SHARES[0]:.0%} to {DISK_SHARES[1]:.0%} of a checkpoint, and again with room",
        DISKS,
        f"at first refused {counts['refused']} times, stopped {counts['stopped']} times and left no damaged file, "
        f"finished {counts['finished']} times; with room the bits of a whole run {counts['same']} times",
    )
    counts = full_disk_caching(folder / "full cache", DISKS)
    yield (
        f"the reading of songs with a cache on a disk of {DISK_SHARES[0]:.0%} to {DISK_SHARES[1]:.0%} of its size",
        DISKS,
        f"the same windows {counts['same']} times, {counts['not cached']} times with a warning that a cache is missing",
    )


def main():
    """The command: prints the table, and writes the page if asked."""
    with tempfile.TemporaryDirectory() as folder:
        description = "Kill training and reading, and fill the disk under them."
        run_command(description, "runs and caches", "kills.py", partial(rows, Path(folder)))


if __name__ == "__main__":
    main()
