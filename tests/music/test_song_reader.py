"""Reading many files: worker processes and executors."""

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from made_midi import (
    EIGHTS,
    song,
    track,
    write_melodies,
    write_song,
)
from midi_utils import Limits, MelodyConverter, load_songs
from music import song_reader

# ---- Worker processes ----


def read(paths, converter=None, **kwargs):
    return load_songs(paths, converter or MelodyConverter(), progress=False, **kwargs)


@pytest.fixture
def many(tmp_path):
    for seed in range(40):
        write_melodies(tmp_path / f"{seed:02}.mid", seed)
    (tmp_path / "07.mid").write_bytes(b"broken")
    (tmp_path / "30.mid").write_bytes((tmp_path / "20.mid").read_bytes())
    return tmp_path


def assert_same(one, other):
    for field in ("labels", "lengths", "song", "track", "start_bar"):
        np.testing.assert_array_equal(getattr(one, field), getattr(other, field))
    assert one.names == other.names
    assert one.report == other.report


def test_workers_and_threads_read_what_one_process_reads(many):
    here = read(many, workers=1)
    assert len(here) == 38 * 4
    assert_same(here, read(many, workers=2))
    with ThreadPoolExecutor(2) as threads:
        assert_same(here, read(many, executor=threads))


class DeadlyConverter(MelodyConverter):
    """Ends its process at songs of program 20, and raises at those of program 21."""

    def windows_of_parts(self, midi, parts):
        program = midi.instruments[0].program
        if program == 20:
            os.kill(os.getpid(), signal.SIGTERM)
        if program == 21:
            raise MemoryError("too long")
        return super().windows_of_parts(midi, parts)


def test_a_file_that_ends_its_process_is_refused_alone(many):
    write_song(many / "11.mid", song(track(EIGHTS, 20)))
    write_song(many / "12.mid", song(track(EIGHTS, 21)))
    dataset = read(many, DeadlyConverter(), workers=2)
    refused = dict(dataset.report.refused)
    assert set(refused) == {"07.mid", "11.mid", "12.mid"}
    assert refused["11.mid"].startswith("reading it ended its process")
    assert refused["12.mid"] == "MemoryError: too long"
    assert len(dataset.names) == 36


def test_songs_are_read_in_this_process_if_no_other_starts(many, monkeypatch):
    def refuse(workers, initializer):
        raise PermissionError("no processes here")

    monkeypatch.setattr(song_reader, "ProcessPoolExecutor", refuse)
    assert len(read(many, workers=2)) == 38 * 4


# ---- Executors ----


def test_executors_of_the_standard_library_read_what_one_process_reads(folder):
    expected = read(folder)
    for kind in (ThreadPoolExecutor, ProcessPoolExecutor):
        with kind(2) as executor:
            assert_same(expected, read(folder, executor=executor))


@pytest.mark.parametrize("processes", [False, True])
def test_dask_workers_read_what_one_process_reads(folder, processes, tmp_path):
    distributed = pytest.importorskip("distributed")
    expected = read(folder)
    settings = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None, "local_directory": str(tmp_path)}
    with (
        distributed.LocalCluster(processes=processes, **settings) as cluster,
        distributed.Client(cluster) as client,
    ):
        executor = client.get_executor()
        assert_same(expected, read(folder, executor=executor, workers=2))
        assert_same(expected, read(folder, executor=executor, cache=tmp_path / "cache"))
    assert_same(expected, read(folder, cache=tmp_path / "cache"))


class Lost(ThreadPoolExecutor):
    """Fails at every third task, like a cluster that loses machines."""

    tasks = 0

    def submit(self, task, /, *arguments):
        self.tasks += 1
        if self.tasks % 3 == 0:
            return super().submit(os.strerror)  # a TypeError
        return super().submit(task, *arguments)


def test_an_executor_that_fails_at_tasks_loses_no_song(folder):
    with Lost(2) as executor:
        assert_same(read(folder), read(folder, executor=executor))
        assert executor.tasks == 3
    assert_same(read(folder), read(folder, executor=executor))  # shut down


def test_the_tasks_submitted_ahead_are_limited(folder, monkeypatch):
    monkeypatch.setattr(song_reader, "CHUNK_FILES", 1)
    ahead = []

    class Counting(ThreadPoolExecutor):
        def submit(self, task, /, *arguments):
            ahead.append(self._work_queue.qsize())
            return super().submit(task, *arguments)

    for k in range(40):
        (folder / f"copy {k}.mid").write_bytes((folder / "1.mid").read_bytes())
    with Counting(1) as executor:
        read(folder, executor=executor, workers=1)
    assert len(ahead) == 52
    assert max(ahead) <= song_reader.QUEUED_CHUNKS


# ---- Limits ----


class EndlessConverter(MelodyConverter):
    """Never finishes songs of program 20, and takes any exception there for a reason to try again."""

    def windows_of_parts(self, midi, parts):
        while midi.instruments[0].program == 20:
            try:
                time.sleep(60)
            except Exception:
                continue
        return super().windows_of_parts(midi, parts)


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="seconds are counted by a POSIX timer")
@pytest.mark.parametrize("workers", [1, 2])
def test_a_file_that_takes_too_long_is_named_and_the_others_are_read(many, workers):
    write_song(many / "11.mid", song(track(EIGHTS, 20)))
    started = time.monotonic()
    dataset = read(many, EndlessConverter(), workers=workers, limits=Limits(seconds=0.5))
    assert time.monotonic() - started < 30
    assert dict(dataset.report.refused)["11.mid"].startswith("takes more than 0.5 seconds")
    assert len(dataset.report.refused) == 2
    assert len(dataset) == 37 * 4
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)


def test_a_limit_refuses_a_file_and_a_higher_one_reads_it_in_spite_of_the_cache(many, tmp_path_factory):
    cache = tmp_path_factory.mktemp("cache")
    write_song(many / "05.mid", song(track([(2 * k, 2 * k + 2, 60 + k % 12) for k in range(200)])))
    largest = (many / "05.mid").stat().st_size
    small = read(many, workers=1, cache=cache, limits=Limits(bytes=largest - 1))
    fault = f"more than {largest - 1:,} bytes (limits=Limits(bytes=...) raises this limit)"
    assert dict(small.report.refused)["05.mid"] == fault
    assert_same(read(many, workers=1), read(many, workers=1, cache=cache, limits=Limits(bytes=largest)))


PARENT = """
import os, sys, time
from music import song_reader
from music.melody import MelodyConverter
from pathlib import Path

def stuck(path, limits):
    Path(sys.argv[2], str(os.getpid())).touch()
    time.sleep(120)

song_reader.read_file = stuck
if __name__ == "__main__":
    list(song_reader.read_songs(sorted(Path(sys.argv[1]).iterdir()), MelodyConverter(), 2, None))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs workers that are forked")
def test_workers_end_when_their_parent_is_killed(many, tmp_path_factory):
    pids = tmp_path_factory.mktemp("pids")
    parent = subprocess.Popen([sys.executable, "-c", PARENT, str(many), str(pids)], cwd=Path(__file__).parents[2])
    assert waits_until(lambda: len(list(pids.iterdir())) == 2)
    parent.kill()
    parent.wait()
    assert waits_until(lambda: not any(is_running(int(path.name)) for path in pids.iterdir()))


@pytest.mark.skipif(sys.platform != "linux", reason="needs limits of processor time")
@pytest.mark.parametrize("hard, wanted, soft", [(50, 30, 30), (50, 182, 50)])
def test_a_workers_time_is_limited_within_what_the_system_allows(hard, wanted, soft):
    code = (
        "import resource; from music.song_reader import _limit_processor_time as limit; "
        f"resource.setrlimit(resource.RLIMIT_CPU, ({hard}, {hard})); limit({wanted}.9); "
        "print(*resource.getrlimit(resource.RLIMIT_CPU))"
    )
    found = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2], capture_output=True, text=True)
    assert found.stdout.split() == [str(soft), str(hard)], found.stderr


def waits_until(holds, seconds=60):
    """Whether something comes to hold within this time."""
    end = time.monotonic() + seconds
    while not holds() and time.monotonic() < end:
        time.sleep(0.1)
    return holds()


def is_running(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False
