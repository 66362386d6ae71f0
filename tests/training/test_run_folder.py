"""The folder of a run: one run at a time, and faults that are named before the first step."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import train as train_module
from checkpoint import CHECKPOINT, read_checkpoint
from helpers import BUILT_IN, QUIET
from midi_utils import MelodyConverter, load_songs
from train import train
from training.run_folder import LOCK, locked_folder

ROOT = Path(__file__).parents[2]

posix = pytest.mark.skipif(os.name == "nt", reason="POSIX only")


@pytest.fixture
def no_step(monkeypatch):
    """Fails the test if a run makes an update."""
    monkeypatch.setattr(train_module, "update", lambda *arguments: pytest.fail("the run made an update"))


def test_a_second_run_in_a_folder_is_refused_until_the_first_ends(tiny, tmp_path):
    config, songs = tiny
    train(config, songs, out_dir=tmp_path, steps=1, **QUIET)
    before = (tmp_path / CHECKPOINT).read_bytes()
    for resume in (True, False):
        with locked_folder(tmp_path, 0), pytest.raises(ValueError, match=f"another run trains in {tmp_path} now"):
            train(config, songs, out_dir=tmp_path, steps=2, resume=resume, **QUIET)
    assert (tmp_path / CHECKPOINT).read_bytes() == before
    assert train(config, songs, out_dir=tmp_path, steps=2, **QUIET).history[-1].step == 2
    assert [file.name for file in tmp_path.iterdir()] == [CHECKPOINT]


def test_a_run_that_fails_leaves_no_lock(tiny, tmp_path, monkeypatch):
    config, songs = tiny
    monkeypatch.setattr(train_module, "update", lambda *arguments: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        train(config, songs, out_dir=tmp_path, steps=2, **QUIET)
    assert list(tmp_path.iterdir()) == []


@posix
def test_a_killed_run_leaves_no_lock(tiny, tmp_path):
    config, songs = tiny
    script = "import sys; from pathlib import Path; from training.run_folder import lock_folder\n"
    script += "file = lock_folder(Path(sys.argv[1])); print('locked', flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", script, str(tmp_path)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"locked\n"
        with pytest.raises(ValueError, match="another run trains in"):
            train(config, songs, out_dir=tmp_path, steps=1, **QUIET)
        process.send_signal(signal.SIGKILL)
    assert (tmp_path / LOCK).exists()
    train(config, songs, out_dir=tmp_path, steps=1, **QUIET)
    assert [file.name for file in tmp_path.iterdir()] == [CHECKPOINT]


@posix
def test_a_lock_whose_file_the_run_before_removes_is_taken_anew(tmp_path, monkeypatch):
    """The file is removed between its opening and its locking."""
    opened = []

    def open_and_remove(path, *mode, original=Path.open):
        opened.append(original(path, *mode))
        if len(opened) == 1:
            path.unlink()
        return opened[-1]

    monkeypatch.setattr(Path, "open", open_and_remove)
    with locked_folder(tmp_path, 0):
        assert len(opened) == 2
        with pytest.raises(ValueError, match="another run trains in"), locked_folder(tmp_path, 0):
            pass


def test_a_read_only_folder_is_named_before_the_first_step(tiny, tmp_path, monkeypatch, no_step):
    config, songs = tiny
    monkeypatch.setattr(os, "access", lambda path, mode: not mode & os.W_OK)
    with pytest.raises(ValueError, match=f"{tmp_path} cannot be written: allow it, or give another folder"):
        train(config, songs, out_dir=tmp_path / "run", steps=1, **QUIET)
    with pytest.raises(SystemExit, match=f"error: {tmp_path} cannot be written"):
        train_module.main(["--config", "cat-mel_2bar_tiny", "--data", "nowhere", "--out", str(tmp_path / "run")])


def test_a_folder_that_cannot_be_made_is_named_before_the_first_step(tiny, tmp_path, monkeypatch, no_step):
    config, songs = tiny

    def refuse(*arguments, **options):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(ValueError, match=r"run cannot be written \(Read-only file system\)"):
        train(config, songs, out_dir=tmp_path / "run", steps=1, **QUIET)


def test_a_full_disk_is_named_before_the_first_step(tiny, tmp_path, monkeypatch, no_step):
    """It needs room for the weights and both moments of each."""
    config, songs = tiny
    size = 3 * 4 * sum(p.numel() for p in train_module.MusicVAE(config.model).parameters())
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=0.8 * size))
    with pytest.raises(ValueError, match=f"the disk of {tmp_path} has .* MB free, and a checkpoint takes .* make room"):
        train(config, songs, out_dir=tmp_path, steps=1, **QUIET)
    assert list(tmp_path.iterdir()) == []


@posix
def test_a_checkpoint_that_cannot_be_written_leaves_the_one_before(tiny, tmp_path):
    """The system refuses files of more than 100 kB from step 1 on."""
    import resource

    config, songs = tiny
    train(config, songs, out_dir=tmp_path, steps=1, **QUIET)
    before, limits = (tmp_path / CHECKPOINT).read_bytes(), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(ValueError, match="the checkpoint of step 2 could not be written to .*: make room"):
            train(config, songs, out_dir=tmp_path, steps=2, **QUIET)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert len(before) > 100_000
    assert (tmp_path / CHECKPOINT).read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == [CHECKPOINT]
    assert train(config, songs, out_dir=tmp_path, steps=2, **QUIET).history[-1].step == 2
    assert read_checkpoint(tmp_path)["run"]["step"] == 2


@pytest.mark.parametrize("inside", [False, True])
def test_a_file_as_the_folder_of_a_run_is_found_before_songs_are_read(tiny, tmp_path, inside):
    config, songs = tiny
    file = tmp_path / "file"
    file.touch()
    out = file / "run" if inside else file
    with pytest.raises(ValueError, match=f"{file} is a file: give a folder as --out"):
        train(config, songs, out_dir=out, steps=1, **QUIET)
    with pytest.raises(SystemExit, match=f"error: {file} is a file: give a folder as --out"):
        train_module.main(["--config", "cat-mel_2bar_tiny", "--data", "nowhere", "--out", str(out)])


def test_a_file_as_a_cache_is_found_before_songs_are_read(tmp_path):
    file, song = tmp_path / "cache", tmp_path / "song.mid"
    file.touch()
    song.write_bytes(b"no MIDI file")
    with pytest.raises(ValueError, match=f"{file} is a file: give a folder for the cache, as --cache"):
        load_songs(song, MelodyConverter(), cache=file, progress=False)


def test_a_cache_that_cannot_be_written_costs_the_cache_alone(tmp_path, monkeypatch):
    """The disk is full."""
    cached = load_songs(BUILT_IN, MelodyConverter(), cache=tmp_path / "good", progress=False)

    def refuse(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.warns(UserWarning, match=r"cannot be written \(No space left on device\): its songs are not cached"):
        songs = load_songs(BUILT_IN, MelodyConverter(), cache=tmp_path / "full", progress=False)
    assert (np.asarray(songs.labels) == np.asarray(cached.labels)).all()
    assert [path for path in (tmp_path / "full").rglob("*") if path.is_file()] == []
