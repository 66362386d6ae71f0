"""A folder of songs at scale: the cache, sets larger than memory, any executor."""

import gc
import json
import multiprocessing
import os
import subprocess
import sys
import time
import tracemalloc
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pretty_midi
import pytest
import torch

import midi_utils
from configs import CONFIGS
from helpers import SHARED, shrink
from midi_utils import MelodyConverter, TrioConverter, load_songs
from music import song_cache
from music.song_cache import Rows
from train import fingerprint, train
from training.batches import OnDisk, labels_on

ROOT = Path(__file__).parents[1]
FIXTURES = ROOT / "tests" / "fixtures"
COLUMNS = ("labels", "lengths", "controls", "song", "track", "start_bar")
PRESETS = (
    "cat-mel_2bar_small",
    "cat-mel_2bar_med_chords",
    "cat-drums_2bar_small",
    "hierdec-trio_16bar",
    "groovae_4bar",
    "hier-multiperf_vel_1bar_med_chords",
)


def write_song(path, seed, bars=4, notes_a_bar=4):
    """A song of a melody, a bass and a drum track, unlike that of any other seed."""
    random = np.random.default_rng(seed)
    midi = pretty_midi.PrettyMIDI()
    for program, is_drum, pitches in ((0, False, (60, 90)), (33, False, (30, 50)), (0, True, (36, 52))):
        instrument = pretty_midi.Instrument(program, is_drum)
        for k, pitch in enumerate(random.integers(*pitches, int(bars * notes_a_bar)).tolist()):
            instrument.notes.append(pretty_midi.Note(90, pitch, 2 * k / notes_a_bar, 2 * (k + 1) / notes_a_bar))
        midi.instruments.append(instrument)
    path.parent.mkdir(parents=True, exist_ok=True)
    midi.write(str(path))


@pytest.fixture
def folder(tmp_path):
    """Twelve songs, one of them twice and one broken."""
    folder = tmp_path / "songs"
    for seed in range(10):
        write_song(folder / f"{seed}.mid", seed)
    (folder / "twin of 3.mid").write_bytes((folder / "3.mid").read_bytes())
    (folder / "broken.mid").write_bytes(b"MThd, and no more")
    return folder


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


@pytest.fixture
def parsed(monkeypatch):
    """The names of the files that are parsed in this process."""
    names, parse = [], midi_utils._parsed
    monkeypatch.setattr(midi_utils, "_parsed", lambda path, data: names.append(Path(path).name) or parse(path, data))
    return names


def read(folder, converter=None, **kwargs):
    return load_songs(folder, converter or MelodyConverter(), progress=False, **{"workers": 1, **kwargs})


def assert_same(one, other):
    for column in COLUMNS:
        expected, found = getattr(one, column), getattr(other, column)
        assert (expected is None) == (found is None)
        if expected is not None:
            assert expected.dtype == found.dtype
            np.testing.assert_array_equal(np.asarray(expected), np.asarray(found))
    assert one.names == other.names
    assert one.report == other.report
    assert str(one.report) == str(other.report)


# ---- The cache ----


@pytest.mark.parametrize("preset", PRESETS)
def test_a_second_load_reads_no_file_and_differs_in_nothing(preset, cache, parsed):
    converter = CONFIGS[preset].converter
    paths = [FIXTURES / "converters/midi", FIXTURES / "malformed"]
    plain = read(paths, converter)
    assert_same(plain, read(paths, converter, cache=cache))
    parsed.clear()
    assert_same(plain, read(paths, converter, cache=cache))
    assert not parsed
    assert plain.report.refused
    assert plain.report.mended or converter.bars == 16


def test_one_changed_file_is_read_alone(folder, cache, parsed):
    read(folder, cache=cache)
    write_song(folder / "5.mid", 99)
    parsed.clear()
    changed = read(folder, cache=cache)
    assert parsed == ["5.mid"]
    assert_same(read(folder), changed)


def test_a_file_is_known_by_its_content(folder, cache, parsed):
    read(folder, cache=cache)
    assert parsed.count("3.mid") + parsed.count("twin of 3.mid") == 1
    (folder / "0.mid").rename(folder / "new name.mid")
    (folder / "3.mid").unlink()
    parsed.clear()
    moved = read(folder, cache=cache)
    assert not parsed
    assert_same(read(folder), moved)
    assert {"new name.mid", "twin of 3.mid"} <= set(moved.names)
    assert_same(read(folder / "7.mid"), read(folder / "7.mid", cache=cache))


def test_another_converter_or_other_code_reads_anew(folder, cache, parsed, monkeypatch):
    read(folder, cache=cache)
    for other in (MelodyConverter(bars=1), MelodyConverter(programs=None), CONFIGS["cat-drums_2bar_small"].converter):
        parsed.clear()
        assert_same(read(folder, other), read(folder, other, cache=cache))
        assert len(parsed) == 12 + 11
    parsed.clear()
    read(folder, MelodyConverter(bars=1), cache=cache)
    assert not parsed
    monkeypatch.setattr(song_cache, "_code_digest", lambda: "other code")
    read(folder, cache=cache)
    assert len(parsed) == 11


def test_the_codes_digest_follows_its_files(tmp_path, monkeypatch):
    before = song_cache._code_digest()
    (tmp_path / "music").mkdir()
    for name in song_cache.CODE:
        (tmp_path / "music" / name).write_bytes((ROOT / "music" / name).read_bytes())
    monkeypatch.setattr(song_cache, "__file__", str(tmp_path / "music" / "song_cache.py"))
    song_cache._code_digest.cache_clear()
    assert song_cache._code_digest() == before
    (tmp_path / "music" / "chords.py").write_text("# other chords")
    song_cache._code_digest.cache_clear()
    assert song_cache._code_digest() != before
    song_cache._code_digest.cache_clear()


def damages(whole):
    """Ways in which a file can be spoilt."""
    yield "empty", b""
    yield from ((f"cut at {size}", whole[:size]) for size in (1, 19, 30, len(whole) // 2, len(whole) - 1))
    for at in (0, 9, 17, 25, len(whole) // 3, len(whole) // 2, len(whole) - 1):
        yield f"changed at {at}", whole[:at] + bytes([whole[at] ^ 4]) + whole[at + 1 :]
    yield "longer", whole + b"more"
    yield "another file", b"\0" * len(whole)


def test_damage_is_read_anew(folder, cache, parsed):
    plain = read(folder, cache=cache)
    (shard,) = cache.rglob("*.shard")
    for name, content in damages(shard.read_bytes()):
        for path in cache.rglob("*.shard"):
            path.unlink()
        shard.write_bytes(content)
        parsed.clear()
        assert_same(plain, read(folder, cache=cache))
        assert len(parsed) == 11, name
        parsed.clear()
        assert_same(plain, read(folder, cache=cache))
        assert not parsed, name


def test_of_two_shards_the_whole_one_serves(folder, cache, parsed):
    plain = read(folder, cache=cache)
    (shard,) = cache.rglob("*.shard")
    for k in range(8):
        shard.with_name(f"{k}{k % 2}.shard").write_bytes(shard.read_bytes()[: -(k % 2) or None])
    shard.unlink()
    parsed.clear()
    assert_same(plain, read(folder, cache=cache))
    assert not parsed


def test_a_half_written_shard_is_no_shard(folder, cache, parsed):
    plain = read(folder, cache=cache)
    (shard,) = cache.rglob("*.shard")
    shard.rename(shard.with_suffix(".partial"))
    parsed.clear()
    assert_same(plain, read(folder, cache=cache))
    assert len(parsed) == 11


def test_an_interrupted_reading_goes_on(folder, cache, parsed, monkeypatch):
    plain = read(folder)
    monkeypatch.setattr(midi_utils, "SHARD_FILES", 4)
    monkeypatch.setattr(midi_utils, "CHUNK_FILES", 1)
    convert = MelodyConverter.to_arrays

    def interrupted(converter, midi):
        if len(parsed) > 9:
            raise KeyboardInterrupt
        return convert(converter, midi)

    parsed.clear()
    with monkeypatch.context() as patch:
        patch.setattr(MelodyConverter, "to_arrays", interrupted)
        with pytest.raises(KeyboardInterrupt):
            read(folder, cache=cache)
    parsed.clear()
    assert_same(plain, read(folder, cache=cache))
    assert len(parsed) == 11 - 8


def test_what_may_come_out_otherwise_is_not_kept(folder, cache, parsed, monkeypatch):
    paths = [folder, folder / "none.mid"]

    def too_large(converter, midi):
        raise MemoryError("too large")

    with monkeypatch.context() as patch:
        patch.setattr(MelodyConverter, "to_arrays", too_large)
        with pytest.raises(ValueError, match="too large"):
            read(folder, cache=cache)
    parsed.clear()
    assert_same(read(paths), read(paths, cache=cache))
    assert len(parsed) == 12 + 10  # the broken file is known
    kept = sorted(cache.rglob("*.shard"))
    assert_same(read(paths), read(paths, cache=cache))
    assert sorted(cache.rglob("*.shard")) == kept


def load_in_process(folder, cache, barrier):
    barrier.wait()
    data = read(folder, cache=cache)
    return data.labels.tobytes(), str(data.report)


def test_two_processes_use_one_cache_at_once(folder, cache, parsed):
    expected = read(folder)
    for damaged in (False, True):
        for shard in cache.rglob("*.shard"):
            shard.write_bytes(shard.read_bytes()[:-1] if damaged else b"")
        with multiprocessing.Manager() as manager, ProcessPoolExecutor(3) as pool:
            barrier = manager.Barrier(3)
            found = [pool.submit(load_in_process, folder, cache, barrier) for _ in range(3)]
            assert {future.result() for future in found} == {(expected.labels.tobytes(), str(expected.report))}
        parsed.clear()
        assert_same(expected, read(folder, cache=cache))
        assert not parsed


def test_a_cached_load_is_twenty_times_as_fast(tmp_path, cache):
    for seed in range(100):
        write_song(tmp_path / "songs" / f"{seed}.mid", seed, bars=64)
    seconds = []
    for _ in range(4):
        start = time.perf_counter()
        load_songs(tmp_path / "songs", MelodyConverter(), cache=cache, progress=False)
        seconds.append(time.perf_counter() - start)
    assert min(seconds[1:]) < seconds[0] / 20


# ---- Sets larger than memory ----


@pytest.fixture
def mapped(monkeypatch):
    """Leaves the labels of every set where they are, in shards of three songs."""
    monkeypatch.setattr(midi_utils, "MEMORY_BYTES", 0)
    monkeypatch.setattr(midi_utils, "SHARD_FILES", 3)


@pytest.mark.parametrize("preset", PRESETS)
def test_a_mapped_set_is_the_set(preset, folder, cache, mapped, monkeypatch):
    converter = CONFIGS[preset].converter
    converter = converter if converter.bars == 1 else replace(converter, bars=2)
    on_disk = read(folder, converter, cache=cache)
    in_shards = read(folder, converter)
    monkeypatch.setattr(midi_utils, "MEMORY_BYTES", 2**30)
    in_memory = read(folder, converter)
    assert isinstance(on_disk.labels, Rows)
    assert isinstance(in_memory.labels, np.ndarray)
    assert on_disk.labels.shape == in_memory.labels.shape
    assert on_disk.labels.nbytes == in_memory.labels.nbytes
    assert len(on_disk.labels.arrays) == 4
    for data in (on_disk, in_shards):
        assert_same(in_memory, data)
        assert len(data) == len(in_memory)
        np.testing.assert_array_equal(data[3], in_memory[3])
        for one, other in zip(data.split(0.3, 0.2), in_memory.split(0.3, 0.2), strict=True):
            assert isinstance(one.labels, Rows)
            assert_same(other, one)
        for indices in ([5, 3, 5], slice(2, 9, 3), np.arange(len(data)) % 7 == 0, torch.tensor([0, -1]), []):
            windows, expected = data.windows(indices), in_memory.windows(indices)
            for column, wanted in zip(windows[:5], expected[:5], strict=True):
                np.testing.assert_array_equal(column, wanted)
            frames, wanted = converter.to_tensors(windows), converter.to_tensors(expected)
            assert torch.equal(frames.inputs, wanted.inputs)


def test_mapped_labels_are_read_from_the_disk(folder, cache, mapped):
    data = read(folder, cache=cache)
    (path, *_) = cache.rglob("*.shard")
    base = data.labels.arrays[0]
    while not isinstance(base, np.memmap):
        base = base.base
    assert Path(base.filename).parent == path.parent
    assert base.mode == "r"


LIMITED = """
import json, resource, sys
from pathlib import Path

import numpy as np
import numpy.random

import midi_utils
from midi_utils import TrioConverter, load_songs

folder, cache, limit = sys.argv[1], sys.argv[2] or None, int(sys.argv[3])
midi_utils.MEMORY_BYTES = midi_utils.SHARD_BYTES = limit // 8
few = [str(path) for path in sorted(Path(folder).iterdir())[:2]]
load_songs(few, TrioConverter(), workers=1, progress=False)  # what the first reading takes once
used = int(Path("/proc/self/status").read_text().split("VmData:")[1].split()[0]) * 1024
resource.setrlimit(resource.RLIMIT_DATA, (used + limit, used + limit))
try:
    songs = load_songs(folder, TrioConverter(), workers=1, progress=False, cache=cache)
    train, valid, _ = songs.split(0.1)
    total = 0
    for part in (train, valid):
        order = np.random.default_rng(0).permutation(len(part))
        for k in range(0, len(part), 512):
            windows = part.windows(order[k : k + 512])
            total += int(windows.labels.sum())
        part.converter.to_tensors(windows._replace(labels=windows.labels[:8], lengths=windows.lengths[:8]))
    print(json.dumps([len(songs), songs.labels.nbytes, total]))
except (MemoryError, RuntimeError):  # numpy's and torch's
    print("null")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the limit and its measure are Linux's")
def test_a_set_larger_than_the_processs_memory(tmp_path, cache):
    limit = 48 * 2**20  # bytes of data beyond what the program itself takes
    for seed in range(50):
        write_song(tmp_path / "songs" / f"{seed:02}.mid", seed, bars=1000, notes_a_bar=1 / 2)

    def limited(cache):
        command = [sys.executable, "-c", LIMITED, tmp_path / "songs", cache, str(limit)]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        return json.loads(done.stdout.splitlines()[-1])

    windows, size, total = limited(cache)
    assert size > 1.5 * limit
    assert limited(cache) == [windows, size, total]  # from the cache
    assert limited("") != [windows, size, total]  # without one it does not fit
    labels = read(tmp_path / "songs", TrioConverter(), cache=cache).labels
    assert (len(labels), int(labels.sum())) == (windows, total)


def peak(paths, **kwargs):
    """Bytes that a load takes at its highest, beyond twice what its windows hold, and the windows."""
    gc.collect()
    tracemalloc.start()
    data = read(paths, **kwargs)
    highest = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return highest - 2 * sum(getattr(data, column).nbytes for column in COLUMNS if column != "controls"), len(data)


@pytest.mark.parametrize("cached", [False, True])
def test_memory_does_not_grow_with_the_files(tmp_path, cache, cached, monkeypatch):
    monkeypatch.setattr(midi_utils, "SHARD_FILES", 16)
    for seed in range(160):
        write_song(tmp_path / "songs" / f"{seed:03}.mid", seed)
    paths = sorted((tmp_path / "songs").iterdir())
    kwargs = {"cache": cache} if cached else {}
    read(paths[:20])
    few, many = peak(paths[:20], **kwargs), peak(paths, **kwargs)
    assert many[1] == 8 * few[1]
    assert (many[0] - few[0]) / 140 < 2500  # bytes a file: its path, its name and its line in the report


# ---- Executors ----


def test_executors_of_the_standard_library(folder):
    expected = read(folder)
    for kind in (ThreadPoolExecutor, ProcessPoolExecutor):
        with kind(2) as executor:
            assert_same(expected, read(folder, executor=executor))


@pytest.mark.parametrize("processes", [False, True])
def test_dask(folder, cache, processes, tmp_path):
    distributed = pytest.importorskip("distributed")
    expected = read(folder)
    settings = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None, "local_directory": str(tmp_path)}
    with (
        distributed.LocalCluster(processes=processes, **settings) as cluster,
        distributed.Client(cluster) as client,
    ):
        executor = client.get_executor()
        assert_same(expected, read(folder, executor=executor, workers=2))
        assert_same(expected, read(folder, executor=executor, cache=cache))
    assert_same(expected, read(folder, cache=cache))


class Lost(ThreadPoolExecutor):
    """Loses every third task, as a cluster whose machines go down."""

    tasks = 0

    def submit(self, task, /, *arguments):
        self.tasks += 1
        if self.tasks % 3 == 0:
            return super().submit(os.strerror)  # a TypeError
        return super().submit(task, *arguments)


def test_an_executor_that_loses_tasks_loses_no_song(folder):
    with Lost(2) as executor:
        assert_same(read(folder), read(folder, executor=executor))
        assert executor.tasks == 3
    assert_same(read(folder), read(folder, executor=executor))  # shut down


def test_an_executor_is_kept_busy_and_not_flooded(folder, monkeypatch):
    monkeypatch.setattr(midi_utils, "CHUNK_FILES", 1)
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
    assert max(ahead) <= midi_utils.QUEUED_CHUNKS


@pytest.mark.skipif(not (SHARED / "data/manifest.csv").exists(), reason="reference data not present")
def test_real_songs_come_out_of_the_cache_as_they_went_in(cache):
    paths = sorted((SHARED / "data/lofi").glob("*.mid")) + sorted((SHARED / "data/freedoom").glob("*.mid"))[:10]
    for preset in ("cat-mel_2bar_small", "hierdec-trio_16bar"):
        converter = CONFIGS[preset].converter
        expected = load_songs(paths, converter, progress=False)
        for _ in range(2):
            assert_same(expected, load_songs(paths, converter, cache=cache, progress=False))


@pytest.mark.parametrize("preset", ["cat-mel_2bar_med_chords", "hierdec-trio_16bar", "hier-multiperf_vel_1bar_med"])
def test_a_mapped_set_trains_as_one_in_memory(preset, tmp_path, monkeypatch):
    config, results = shrink(preset, bars=2), []
    for seed in range(12):
        write_song(tmp_path / "songs" / f"{seed}.mid", seed)
    for limit in (2**30, 0):
        monkeypatch.setattr(midi_utils, "MEMORY_BYTES", limit)
        songs = load_songs(tmp_path / "songs", config.converter, cache=tmp_path / "cache", progress=False)
        train_set, valid_set, _ = songs.split(0.2)
        how = {"steps": 4, "eval_every": 2, "device": "cpu", "progress": False}
        done = train(config, train_set, valid_set, out_dir=tmp_path / f"run {limit}", **how)
        results.append((fingerprint(train_set), done.history))
        assert isinstance(labels_on(torch.device("cpu"), train_set).labels, OnDisk) == (limit == 0)
    assert results[0] == results[1]
