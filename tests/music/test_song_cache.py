"""The cache of songs, and sets that are larger than memory."""

import gc
import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
import tracemalloc
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import midi_utils
from configs import CONFIGS
from helpers import SHARED, shrink
from made_midi import (
    FIXTURES,
    write_trio,
)
from midi_utils import (
    MelodyConverter,
    TrioConverter,
    load_songs,
)
from music import song_cache, song_reader
from music.midi_file import read_file
from music.song_cache import Rows
from train import fingerprint, train
from training.batches import OnDisk, labels_on

ROOT = Path(__file__).parents[2]
COLUMNS = ("labels", "lengths", "controls", "song", "track", "start_bar")
PRESETS = (
    "cat-mel_2bar_small",
    "cat-mel_2bar_med_chords",
    "cat-drums_2bar_small",
    "hierdec-trio_16bar",
    "groovae_4bar",
    "hier-multiperf_vel_1bar_med_chords",
)


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


@pytest.fixture
def parsed(monkeypatch):
    """The names of the files that this process reads, missing ones excepted."""
    names = []

    def read_and_note(path, limits):
        data = read_file(path, limits)
        names.append(Path(path).name)
        return data

    monkeypatch.setattr(song_reader, "read_file", read_and_note)
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
def test_a_second_load_reads_no_file_and_gives_the_same_set(preset, cache, parsed):
    converter = CONFIGS[preset].converter
    paths = [FIXTURES / "converters/midi", FIXTURES / "malformed"]
    plain = read(paths, converter)
    assert_same(plain, read(paths, converter, cache=cache))
    parsed.clear()
    assert_same(plain, read(paths, converter, cache=cache))
    assert not parsed
    assert plain.report.refused
    assert plain.report.mended or converter.bars == 16


def test_only_a_changed_file_is_read_again(folder, cache, parsed):
    read(folder, cache=cache)
    write_trio(folder / "5.mid", 99)
    parsed.clear()
    changed = read(folder, cache=cache)
    assert parsed == ["5.mid"]
    assert_same(read(folder), changed)


def test_a_file_is_found_by_its_content(folder, cache, parsed):
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


def test_another_converter_or_other_code_reads_all_files_again(folder, cache, parsed, monkeypatch):
    read(folder, cache=cache)
    for other in (MelodyConverter(bars=1), MelodyConverter(programs=None), CONFIGS["cat-drums_2bar_small"].converter):
        parsed.clear()
        assert_same(read(folder, other), read(folder, other, cache=cache))
        assert len(parsed) == 12 + 11
    parsed.clear()
    read(folder, MelodyConverter(bars=1), cache=cache)
    assert not parsed
    monkeypatch.setattr(song_cache, "code_digest", lambda: "other code")
    read(folder, cache=cache)
    assert len(parsed) == 11


def test_the_digest_of_the_code_follows_all_files_that_read_and_convert(tmp_path, monkeypatch):
    folder = Path(song_cache.__file__).parent
    shutil.copytree(folder, tmp_path / "music", ignore=shutil.ignore_patterns("__pycache__"))
    assert song_cache.code_digest(tmp_path / "music") == song_cache.code_digest()
    for name, counts in (("chords.py", True), ("clips.py", False), ("a_new_representation.py", True)):
        changed = tmp_path / name.removesuffix(".py")
        shutil.copytree(tmp_path / "music", changed)
        (changed / name).write_text("# other code")
        assert (song_cache.code_digest(changed) != song_cache.code_digest()) == counts, name
    monkeypatch.setattr(song_cache, "READER_ELSEWHERE", tmp_path / "music" / "chords.py")
    assert song_cache.code_digest(tmp_path / "music") != song_cache.code_digest(folder)


def damages(whole):
    """Ways in which a file can be damaged."""
    yield "empty", b""
    yield from ((f"cut at {size}", whole[:size]) for size in (1, 19, 30, len(whole) // 2, len(whole) - 1))
    for at in (0, 9, 17, 25, len(whole) // 3, len(whole) // 2, len(whole) - 1):
        yield f"changed at {at}", whole[:at] + bytes([whole[at] ^ 4]) + whole[at + 1 :]
    yield "longer", whole + b"more"
    yield "another file", b"\0" * len(whole)


def test_songs_of_a_damaged_file_are_read_again(folder, cache, parsed):
    plain = read(folder, cache=cache)
    (file,) = cache.rglob("*.songs")
    for name, content in damages(file.read_bytes()):
        for path in cache.rglob("*.songs"):
            path.unlink()
        file.write_bytes(content)
        parsed.clear()
        assert_same(plain, read(folder, cache=cache))
        assert len(parsed) == 11, name
        parsed.clear()
        assert_same(plain, read(folder, cache=cache))
        assert not parsed, name


def test_the_undamaged_one_of_two_cache_files_is_used(folder, cache, parsed):
    plain = read(folder, cache=cache)
    (file,) = cache.rglob("*.songs")
    for k in range(8):
        file.with_name(f"{k}{k % 2}.songs").write_bytes(file.read_bytes()[: -(k % 2) or None])
    file.unlink()
    parsed.clear()
    assert_same(plain, read(folder, cache=cache))
    assert not parsed


def test_a_partly_written_cache_file_is_not_used(folder, cache, parsed):
    plain = read(folder, cache=cache)
    (file,) = cache.rglob("*.songs")
    file.rename(file.with_suffix(".partial"))
    parsed.clear()
    assert_same(plain, read(folder, cache=cache))
    assert len(parsed) == 11


def test_an_interrupted_reading_continues_from_the_cache(folder, cache, parsed, monkeypatch):
    plain = read(folder)
    monkeypatch.setattr(song_cache, "CACHE_FILE_SONGS", 4)
    monkeypatch.setattr(song_reader, "CHUNK_FILES", 1)
    convert = MelodyConverter.windows_of_parts

    def interrupted(converter, midi, parts):
        if len(parsed) > 9:
            raise KeyboardInterrupt
        return convert(converter, midi, parts)

    parsed.clear()
    with monkeypatch.context() as patch:
        patch.setattr(MelodyConverter, "windows_of_parts", interrupted)
        with pytest.raises(KeyboardInterrupt):
            read(folder, cache=cache)
    parsed.clear()
    assert_same(plain, read(folder, cache=cache))
    assert len(parsed) == 11 - 8


def test_results_that_may_differ_next_time_are_not_kept(folder, cache, parsed, monkeypatch):
    paths = [folder, folder / "none.mid"]

    def too_large(converter, midi, parts):
        raise MemoryError("too large")

    with monkeypatch.context() as patch:
        patch.setattr(MelodyConverter, "windows_of_parts", too_large)
        with pytest.raises(ValueError, match="too large"):
            read(folder, cache=cache)
    parsed.clear()
    assert_same(read(paths), read(paths, cache=cache))
    assert len(parsed) == 12 + 10  # the broken file is known
    kept = sorted(cache.rglob("*.songs"))
    assert_same(read(paths), read(paths, cache=cache))
    assert sorted(cache.rglob("*.songs")) == kept


def load_in_process(folder, cache, barrier):
    barrier.wait()
    data = read(folder, cache=cache)
    return data.labels.tobytes(), str(data.report)


def test_processes_can_use_one_cache_at_once(folder, cache, parsed):
    expected = read(folder)
    for damaged in (False, True):
        for file in cache.rglob("*.songs"):
            file.write_bytes(file.read_bytes()[:-1] if damaged else b"")
        with multiprocessing.Manager() as manager, ProcessPoolExecutor(3) as pool:
            barrier = manager.Barrier(3)
            found = [pool.submit(load_in_process, folder, cache, barrier) for _ in range(3)]
            assert {future.result() for future in found} == {(expected.labels.tobytes(), str(expected.report))}
        parsed.clear()
        assert_same(expected, read(folder, cache=cache))
        assert not parsed


def test_a_load_from_the_cache_is_twenty_times_as_fast(tmp_path, cache):
    for seed in range(100):
        write_trio(tmp_path / "songs" / f"{seed}.mid", seed, bars=64)
    seconds = []
    for _ in range(4):
        start = time.perf_counter()
        load_songs(tmp_path / "songs", MelodyConverter(), cache=cache, progress=False)
        seconds.append(time.perf_counter() - start)
    assert min(seconds[1:]) < seconds[0] / 20


@pytest.mark.skipif(not (SHARED / "data/manifest.csv").exists(), reason="reference data not present")
def test_real_songs_come_from_the_cache_unchanged(cache):
    paths = sorted((SHARED / "data/lofi").glob("*.mid")) + sorted((SHARED / "data/freedoom").glob("*.mid"))[:10]
    for preset in ("cat-mel_2bar_small", "hierdec-trio_16bar"):
        converter = CONFIGS[preset].converter
        expected = load_songs(paths, converter, progress=False)
        for _ in range(2):
            assert_same(expected, load_songs(paths, converter, cache=cache, progress=False))


# ---- Sets larger than memory ----


@pytest.fixture
def mapped(monkeypatch):
    """Leaves the labels of every set in cache files, or groups in memory, of three songs."""
    monkeypatch.setattr(midi_utils, "MEMORY_BYTES", 0)
    monkeypatch.setattr(song_cache, "CACHE_FILE_SONGS", 3)


@pytest.mark.parametrize("preset", PRESETS)
def test_a_mapped_set_equals_one_in_memory(preset, folder, cache, mapped, monkeypatch):
    converter = CONFIGS[preset].converter
    converter = converter if converter.bars == 1 else replace(converter, bars=2)
    on_disk = read(folder, converter, cache=cache)
    in_groups = read(folder, converter)
    monkeypatch.setattr(midi_utils, "MEMORY_BYTES", 2**30)
    in_memory = read(folder, converter)
    assert isinstance(on_disk.labels, Rows)
    assert isinstance(in_memory.labels, np.ndarray)
    assert on_disk.labels.shape == in_memory.labels.shape
    assert on_disk.labels.nbytes == in_memory.labels.nbytes
    assert len(on_disk.labels.arrays) == 4
    for data in (on_disk, in_groups):
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


def test_mapped_labels_stay_on_disk(folder, cache, mapped):
    data = read(folder, cache=cache)
    (path, *_) = cache.rglob("*.songs")
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
from music import song_cache

folder, cache, limit = sys.argv[1], sys.argv[2] or None, int(sys.argv[3])
midi_utils.MEMORY_BYTES = song_cache.CACHE_FILE_BYTES = limit // 8
few = [str(path) for path in sorted(Path(folder).iterdir())[:2]]
load_songs(few, TrioConverter(), workers=1, progress=False)  # memory that is allocated once
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
def test_a_set_can_be_larger_than_the_processs_memory(tmp_path, cache):
    limit = 48 * 2**20  # bytes of data, without those of the program itself
    for seed in range(50):
        write_trio(tmp_path / "songs" / f"{seed:02}.mid", seed, bars=1000, notes_per_bar=1 / 4)

    def limited(cache):
        """What the program printed; None if it died, as it may in a library that does not check an allocation."""
        command = [sys.executable, "-c", LIMITED, tmp_path / "songs", cache, str(limit)]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        environment["MALLOC_MMAP_THRESHOLD_"] = "131072"  # bytes; gaps that larger arrays leave would count
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert done.returncode in (0, -signal.SIGSEGV, -signal.SIGABRT), done.stderr
        return json.loads(done.stdout.splitlines()[-1]) if done.returncode == 0 else None

    windows, size, total = limited(cache)
    assert size > 1.5 * limit
    assert limited(cache) == [windows, size, total]  # from the cache
    assert limited("") != [windows, size, total]  # without one it does not fit
    labels = read(tmp_path / "songs", TrioConverter(), cache=cache).labels
    assert (len(labels), int(labels.sum())) == (windows, total)


def peak(paths, **kwargs):
    """The peak memory of a load in bytes, less twice the size of its windows, and the number of windows."""
    gc.collect()
    tracemalloc.start()
    data = read(paths, **kwargs)
    highest = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return highest - 2 * sum(getattr(data, column).nbytes for column in COLUMNS if column != "controls"), len(data)


@pytest.mark.parametrize("cached", [False, True])
def test_memory_does_not_grow_with_the_number_of_files(tmp_path, cache, cached, monkeypatch):
    monkeypatch.setattr(song_cache, "CACHE_FILE_SONGS", 16)
    for seed in range(160):
        write_trio(tmp_path / "songs" / f"{seed:03}.mid", seed)
    paths = sorted((tmp_path / "songs").iterdir())
    kwargs = {"cache": cache} if cached else {}
    read(paths[:20])
    few, many = peak(paths[:20], **kwargs), peak(paths, **kwargs)
    assert many[1] == 8 * few[1]
    assert (many[0] - few[0]) / 140 < 2500  # bytes per file: its path, its name and its line in the report


@pytest.mark.parametrize("preset", ["cat-mel_2bar_med_chords", "hierdec-trio_16bar", "hier-multiperf_vel_1bar_med"])
def test_a_mapped_set_trains_like_one_in_memory(preset, tmp_path, monkeypatch):
    config, results = shrink(preset, bars=2), []
    for seed in range(12):
        write_trio(tmp_path / "songs" / f"{seed}.mid", seed)
    for limit in (2**30, 0):
        monkeypatch.setattr(midi_utils, "MEMORY_BYTES", limit)
        songs = load_songs(tmp_path / "songs", config.converter, cache=tmp_path / "cache", progress=False)
        train_set, valid_set, _ = songs.split(0.2)
        how = {"steps": 4, "eval_every": 2, "device": "cpu", "progress": False}
        done = train(config, train_set, valid_set, out_dir=tmp_path / f"run {limit}", **how)
        results.append((fingerprint(train_set), done.history))
        assert isinstance(labels_on(torch.device("cpu"), train_set).labels, OnDisk) == (limit == 0)
    assert results[0] == results[1]
