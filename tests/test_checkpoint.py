"""Checkpoints: a damaged, foreign or dangerous file is refused, and a crash leaves the old file whole."""

from pathlib import Path

import pytest
import torch

from checkpoint import CHECKPOINT, load_checkpoint, save_checkpoint
from helpers import QUIET
from train import train


@pytest.mark.parametrize("size", [0, 100, 5000, -1])
def test_a_truncated_checkpoint_is_refused(tiny, tmp_path, size):
    config, songs = tiny
    train(config, songs, out_dir=tmp_path, steps=1, **QUIET)
    path = tmp_path / CHECKPOINT
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(ValueError, match="truncated, or no checkpoint"):
        load_checkpoint(path)
    with pytest.raises(ValueError, match="truncated, or no checkpoint"):
        train(config, songs, out_dir=tmp_path, steps=2, **QUIET)


def test_a_checkpoint_that_runs_code_is_refused(tmp_path):
    class Trap:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "sprung",))

    torch.save({"format": 1, "trap": Trap()}, tmp_path / "trap.pt")
    with pytest.raises(ValueError, match="no checkpoint"):
        load_checkpoint(tmp_path / "trap.pt")
    assert not (tmp_path / "sprung").exists()


def test_a_missing_or_foreign_checkpoint_is_named(tmp_path):
    with pytest.raises(ValueError, match="no checkpoint at .*nowhere"):
        load_checkpoint(tmp_path / "nowhere")
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(ValueError, match="no checkpoint of this version"):
        load_checkpoint(tmp_path / "list.pt")


def test_a_crash_while_writing_leaves_the_old_file_whole(tiny, tmp_path, monkeypatch):
    config, songs = tiny
    result = train(config, songs, out_dir=tmp_path, steps=1, **QUIET)
    before = result.checkpoint.read_bytes()

    def crash(content, file):
        file.write(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(torch, "save", crash)
    with pytest.raises(OSError, match="disk full"):
        save_checkpoint(result.checkpoint, result.model, config)
    assert result.checkpoint.read_bytes() == before
