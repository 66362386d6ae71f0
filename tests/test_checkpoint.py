"""Checkpoints: a damaged, foreign or dangerous file is refused, and a crash leaves the old file whole.

benchmarks/test_reliability.py flips bits at random and loads files that ask for much memory.
"""

import zipfile
from pathlib import Path

import pytest
import torch

from checkpoint import CHECKPOINT, load_checkpoint, save_checkpoint
from helpers import BUILT_IN, QUIET
from midi_utils import midi_files
from model import MusicVAE
from prior import Prior
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


@pytest.fixture
def saved(tiny, tmp_path):
    """The path of a small checkpoint with a prior."""
    config, _ = tiny
    size = config.model.z_size
    prior = Prior(torch.zeros(2, size), torch.eye(size), torch.tensor([0.25, 0.75]))
    save_checkpoint(tmp_path / "model.pt", MusicVAE(config.model), config, prior=prior)
    return tmp_path / "model.pt"


def change(path, edit):
    """Edits the content of a checkpoint, whose checksums are then valid again."""
    content = torch.load(path)
    edit(content)
    torch.save(content, path)


def test_a_changed_byte_of_a_weight_is_found_and_its_record_named(saved):
    with zipfile.ZipFile(saved) as archive:
        values = archive.read("archive/data/3")
    content = bytearray(saved.read_bytes())
    content[content.index(values) + 10] ^= 1
    saved.write_bytes(content)
    with pytest.raises(ValueError, match="model.pt is damaged: its record archive/data/3 does not match its checksum"):
        load_checkpoint(saved)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("name", ["encoder.mu.weight", "cores.0.output.bias"])
def test_a_weight_that_is_not_finite_is_named(saved, name, value):
    change(saved, lambda content: content["model"][name].view(-1)[-1:].fill_(value))
    with pytest.raises(ValueError, match=f"model.pt holds NaN or infinity in {name}: its training diverged, or"):
        load_checkpoint(saved)


@pytest.mark.parametrize(("part", "name"), [*enumerate(Prior._fields)])
def test_a_prior_that_is_not_finite_is_named(saved, part, name):
    change(saved, lambda content: content["prior"][part].view(-1)[0].fill_(float("nan")))
    with pytest.raises(ValueError, match=f"holds NaN or infinity in prior.{name}"):
        load_checkpoint(saved)


def test_a_weight_beyond_float32_is_named(saved):
    """It would become infinite in the model."""

    def edit(content):
        content["model"]["encoder.mu.bias"] = torch.full_like(content["model"]["encoder.mu.bias"], 1e300, dtype=float)

    change(saved, edit)
    with pytest.raises(ValueError, match="NaN or infinity in encoder.mu.bias"):
        load_checkpoint(saved)


def test_a_model_that_is_not_finite_is_not_written(saved):
    """Not even in half precision, where less is infinite."""
    before = saved.read_bytes()
    model, config = load_checkpoint(saved)
    with torch.no_grad():
        model.encoder.mu.bias[0] = 70_000
    save_checkpoint(saved.with_name("whole.pt"), model, config)
    with pytest.raises(ValueError, match="encoder.mu.bias of this cat-mel_2bar_tiny holds NaN or infinity: nothing is"):
        save_checkpoint(saved, model.half(), config)
    assert saved.read_bytes() == before
    assert sorted(path.name for path in saved.parent.iterdir()) == ["model.pt", "whole.pt"]


def edit_config(**sizes):
    return lambda content: content["config"]["model"].update(sizes)


def edit_weights(name, value):
    return lambda content: content["model"].update({name: value})


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (
            edit_config(z_size=17),
            r"do not fit its own preset: encoder.mu.weight should be \[17, 128\], but is \[16, 128\]",
        ),
        (edit_config(z_size=17), "; and 1 more$"),
        (edit_config(z_size=10**15), "do not fit its own preset: encoder.mu.weight should be"),
        (edit_config(z_size=10**30), "do not fit its own preset: no model has its sizes"),
        (edit_config(enc_rnn_size=[64, 64]), "do not fit its own preset: missing encoder.layers.1.weight_ih_l0 "),
        (
            edit_config(dec_rnn_size=[64] * 10**4),
            "do not fit its own preset: the preset has more layers than there are",
        ),
        (edit_weights("spare", torch.zeros(2)), r"do not fit its own preset: unexpected spare \[2\]"),
        (edit_weights("encoder.mu.bias", torch.zeros(16, dtype=int)), "some of its weights are not floats"),
        (edit_weights("encoder.mu.bias", None), "some of its weights are not floats"),
        (edit_weights("encoder.mu.bias", torch.zeros(1).expand(10**6)), "its tensors are larger than the file"),
        (lambda content: content.update(model=[]), "it has no weights, or an unknown prior"),
        (lambda content: content.update(prior=(torch.zeros(1),)), "it has no weights, or an unknown prior"),
        (lambda content: content.update(prior=7), "it has no weights, or an unknown prior"),
        (lambda content: content.update(run={"data": {1, 2}}), "is no checkpoint of ours"),
        (lambda content: content.update(run=torch.Size([1])), "is no checkpoint of ours: it holds torch Size"),
        (lambda content: content.update(run=[torch.zeros(0) for _ in range(5001)]), "holds over 10,000 tensors"),
        (lambda content: content.update(run="x" * 2**23), "its data.pkl takes more than 8,388,608 bytes"),
    ],
)
def test_a_checkpoint_that_contradicts_itself_is_refused(saved, edit, message):
    change(saved, edit)
    with pytest.raises(ValueError, match=message):
        load_checkpoint(saved)


def test_a_file_that_was_packed_again_is_read_unless_it_is_compressed(saved):
    wanted = load_checkpoint(saved)[0].state_dict()
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        again = saved.with_name(f"{method}.pt")
        with zipfile.ZipFile(saved) as old, zipfile.ZipFile(again, "w", method) as new:
            for name in old.namelist():
                new.writestr(name, old.read(name))
        if method == zipfile.ZIP_STORED:
            found = load_checkpoint(again)[0].state_dict()
            assert all(torch.equal(found[name], value) for name, value in wanted.items())
        else:
            with pytest.raises(ValueError, match="is compressed, which no checkpoint is"):
                load_checkpoint(again)


def test_a_missing_or_foreign_checkpoint_is_named(tmp_path):
    with pytest.raises(ValueError, match="no checkpoint at .*nowhere"):
        load_checkpoint(tmp_path / "nowhere")
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(ValueError, match="no checkpoint of this version"):
        load_checkpoint(tmp_path / "list.pt")
    with pytest.raises(ValueError, match="is a MIDI file, not a model"):
        load_checkpoint(next(iter(midi_files(BUILT_IN))))


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
