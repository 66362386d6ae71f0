"""Checkpoints: a damaged, foreign or dangerous file is refused, and a crash leaves the old file whole.

benchmarks/test_reliability.py flips bits at random and loads files that ask for much memory.
"""

import io
import math
import warnings
import zipfile
from pathlib import Path

import pytest
import torch

from checkpoint import CHECKPOINT, load_checkpoint, model_name, read_checkpoint, save_checkpoint, stored_prior
from helpers import BUILT_IN, QUIET
from midi_utils import midi_files
from model import MusicVAE
from prior import DiffusionPrior, MixturePrior, PersonalPrior, fit_diffusion
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
    prior = MixturePrior(torch.zeros(2, size), torch.eye(size), torch.tensor([0.25, 0.75]))
    save_checkpoint(tmp_path / "model.pt", MusicVAE(config.model), config, prior=prior)
    return tmp_path / "model.pt"


def change(path, edit):
    """Edits the content of a checkpoint, whose checksums are then valid again."""
    content = torch.load(path)
    edit(content)
    torch.save(content, path)


def test_a_changed_byte_of_a_weight_is_found_and_its_record_named(saved):
    with zipfile.ZipFile(saved) as archive:
        largest = max(archive.infolist(), key=lambda record: record.file_size).filename
        values = archive.read(largest)
    content = bytearray(saved.read_bytes())
    content[content.index(values) + 10] ^= 1
    saved.write_bytes(content)
    with pytest.raises(ValueError, match=f"model.pt is damaged: its record {largest} does not match its checksum"):
        load_checkpoint(saved)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("name", ["encoder.mu.weight", "cores.0.output.bias"])
def test_a_weight_that_is_not_finite_is_named(saved, name, value):
    change(saved, lambda content: content["model"][name].view(-1)[-1:].fill_(value))
    with pytest.raises(ValueError, match=f"model.pt holds NaN or infinity in {name}: its training diverged, or"):
        load_checkpoint(saved)


@pytest.mark.parametrize("name", MixturePrior._fields)
def test_a_prior_that_is_not_finite_is_named(saved, name):
    change(saved, lambda content: content["prior"][name].view(-1)[0].fill_(float("nan")))
    with pytest.raises(ValueError, match=f"holds NaN or infinity in prior.{name}"):
        load_checkpoint(saved)


def test_a_mixture_in_a_plain_tuple_as_earlier_versions_wrote_it_is_read(saved):
    named = stored_prior(read_checkpoint(saved))
    change(saved, lambda content: content.update(prior=tuple(named)))
    assert all(map(torch.equal, stored_prior(read_checkpoint(saved)), named))


def test_a_prior_of_another_size_is_not_written(saved):
    model, config = load_checkpoint(saved)
    size, before = config.model.z_size + 1, saved.read_bytes()
    prior = MixturePrior(torch.zeros(2, size), torch.eye(size), torch.tensor([0.25, 0.75]))
    with pytest.raises(ValueError, match=r"this prior does not fit its model: means should be \["):
        save_checkpoint(saved, model, config, prior=prior)
    assert saved.read_bytes() == before


@pytest.fixture
def diffusion(tiny, tmp_path):
    """The path of a small checkpoint with a diffusion model as its prior."""
    config, _ = tiny
    mu = torch.randn(80, config.model.z_size, generator=torch.Generator().manual_seed(0))
    prior = fit_diffusion(mu, torch.ones_like(mu), updates=1)
    save_checkpoint(tmp_path / "model.pt", MusicVAE(config.model), config, prior=prior, prior_width=0.9)
    return tmp_path / "model.pt"


@pytest.mark.parametrize("name", DiffusionPrior._fields)
def test_a_diffusion_model_that_is_not_finite_is_named(diffusion, name):
    change(diffusion, lambda content: content["prior"][name].view(-1)[0].fill_(float("nan")))
    with pytest.raises(ValueError, match=f"model.pt holds NaN or infinity in prior.{name}"):
        load_checkpoint(diffusion)


@pytest.mark.parametrize("name", DiffusionPrior._fields)
def test_a_diffusion_model_whose_fields_do_not_fit_is_named(diffusion, name):
    """The first field tells the size of z; a field that counts the Gaussians or the units moves the fault to others."""
    change(diffusion, lambda content: content["prior"].update({name: content["prior"][name].repeat_interleave(2, -1)}))
    with pytest.raises(ValueError, match=rf"model.pt holds a prior that does not fit its model: .*{name} should be \["):
        load_checkpoint(diffusion)


@pytest.fixture
def personal(tiny, tmp_path):
    """The path of a small checkpoint with the prior of a personal model."""
    config, _ = tiny
    z_size = config.model.z_size
    shapes = [z_size], [4, 3], [4, 5], [z_size, 5], [2, z_size]
    path = tmp_path / "personal.pt"
    save_checkpoint(path, MusicVAE(config.model), config, prior=PersonalPrior(*map(torch.zeros, shapes)))
    return path


@pytest.mark.parametrize("name", PersonalPrior._fields)
def test_a_personal_prior_that_is_not_finite_is_named(personal, name):
    change(personal, lambda content: content["prior"][name].view(-1)[0].fill_(float("nan")))
    with pytest.raises(ValueError, match=f"holds NaN or infinity in prior.{name}"):
        load_checkpoint(personal)


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        *(("mean", shape) for shape in ([], [17], [16, 1])),
        *(("read", shape) for shape in ([4], [4, 0], [4, 1], [4, 3, 2], [0, 3], [5, 3])),
        *(("inner", shape) for shape in ([], [4, 4])),
        *(("write", shape) for shape in ([5], [17, 5])),
        *(("others", shape) for shape in ([], [0, 16], [2, 17], [2])),
    ],
)
def test_a_personal_prior_whose_fields_do_not_fit_is_named(personal, name, shape):
    change(personal, lambda content: content["prior"].update({name: torch.zeros(shape)}))
    with pytest.raises(ValueError, match="holds a prior that does not fit its model: .* should be"):
        load_checkpoint(personal)


@pytest.mark.parametrize("name", MixturePrior._fields)
def test_a_mixture_of_another_size_is_named(saved, name):
    change(saved, lambda content: content["prior"].update({name: content["prior"][name].repeat_interleave(2, -1)}))
    with pytest.raises(ValueError, match=rf"model.pt holds a prior that does not fit its model: {name} should be \["):
        load_checkpoint(saved)


@pytest.mark.parametrize(
    "edit, words",
    [
        (
            lambda prior: prior.update(kind="flow"),
            "a prior of the unknown kind 'flow'; this version knows mixture, ",
        ),
        (lambda prior: prior.update(kind=["diffusion"]), r"a prior of the unknown kind \['diffusion'\]"),
        (lambda prior: prior.pop("kind"), "a prior of the unknown kind None"),
        (lambda prior: prior.pop("read"), "its diffusion prior should have the fields mean, scale, centres, .*, not "),
        (lambda prior: prior.update(more=torch.zeros(1)), "its diffusion prior should have the fields mean"),
        (lambda prior: prior.update(read=3), "some of its weights are not floats"),
        (lambda prior: prior.update(read=torch.zeros(())), "does not fit its model: read should be"),
    ],
)
def test_a_prior_that_no_version_wrote_is_refused(diffusion, edit, words):
    change(diffusion, lambda content: edit(content["prior"]))
    with pytest.raises(ValueError, match=f"model.pt .*{words}"):
        load_checkpoint(diffusion)


def test_a_whole_number_is_a_width_of_the_prior_and_a_negative_one_is_not_saved(saved):
    model, config = load_checkpoint(saved)
    size = config.model.z_size
    prior = MixturePrior(torch.zeros(1, size), torch.eye(size), torch.ones(1))
    save_checkpoint(saved, model, config, prior=prior, prior_width=1)
    assert read_checkpoint(saved)["prior_width"] == 1.0
    with pytest.raises(ValueError, match="prior_width must be"):
        save_checkpoint(saved, model, config, prior=prior, prior_width=-0.5)


@pytest.mark.parametrize("width", [-1.0, float("nan"), "wide", torch.ones(2)])
def test_a_width_of_the_prior_that_is_none_is_refused(diffusion, width):
    change(diffusion, lambda content: content.update(prior_width=width))
    with pytest.raises(ValueError, match="its prior_width should be a number of at least 0, but is"):
        load_checkpoint(diffusion)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["exp_avg", "exp_avg_sq"])
def test_a_moment_of_the_optimizer_that_is_not_finite_is_named(tiny, tmp_path, name, value):
    config, songs = tiny
    path = train(config, songs, out_dir=tmp_path, steps=1, **QUIET).checkpoint
    change(path, lambda content: content["optimizer"]["state"][2][name].view(-1)[-1:].fill_(value))
    with pytest.raises(ValueError, match=rf"checkpoint.pt holds NaN or infinity in optimizer\.state\.2\.{name}: its"):
        load_checkpoint(path)
    with pytest.raises(ValueError, match=rf"optimizer\.state\.2\.{name}"):
        train(config, songs, out_dir=tmp_path, steps=2, **QUIET)


@pytest.mark.parametrize("rows", [0, 1, 3, 120_000])
def test_a_history_of_any_length_is_read_back(tiny, tmp_path, rows):
    """Some rows have metrics of held-out songs, some have none."""
    config, path = tiny[0], tmp_path / "model.pt"
    metrics = ([0.1 * row, 1 / 3, math.inf, -0.0] for row in range(rows))
    history = [[row, one, None if row % 3 else [1.0, 2.0, 3.0, row / 7]] for row, one in enumerate(metrics)]
    save_checkpoint(path, MusicVAE(config.model), config, run={"step": rows, "history": history})
    assert read_checkpoint(path)["run"] == {"step": rows, "history": history}


def test_a_history_in_lists_as_earlier_versions_wrote_it_is_read_and_continued(tiny, tmp_path):
    config, songs = tiny
    whole = train(config, songs, out_dir=tmp_path / "whole", steps=3, eval_every=1, **QUIET)
    path = train(config, songs, out_dir=tmp_path / "cut", steps=2, eval_every=1, **QUIET).checkpoint
    rows = read_checkpoint(path)["run"]["history"]
    change(path, lambda content: content["run"].update(history=rows))
    assert read_checkpoint(path)["run"]["history"] == rows
    assert train(config, songs, out_dir=path.parent, steps=3, eval_every=1, **QUIET).history == whole.history


# ---- Archives that two readers understand differently ----


def repacked(saved, names=lambda name: [name]):
    """The records of a checkpoint in a new archive, each under the names that `names` gives it."""
    file = io.BytesIO()
    with zipfile.ZipFile(saved) as old, zipfile.ZipFile(file, "w") as new, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of duplicate names
        for name in old.namelist():
            for written in names(name):
                new.writestr(written, old.read(name))
    return file.getvalue()


def moved_directory(content):
    """An archive behind 64 bytes, whose offsets count from its own beginning, as self-extracting archives do."""
    return bytes(64) + content


def second_directory(content):
    """An archive with another one behind it: readers that scan from the end and from the start differ."""
    return content + content


def commented(content):
    return content[:-2] + b"\x04\0" + b"tail"


def false_offset(content):
    """The end record names another place than the zip64 record before it."""
    return content[:-6] + (1).to_bytes(4, "little") + content[-2:]


@pytest.mark.parametrize("edit", [moved_directory, second_directory, commented, false_offset, lambda c: c + b"x"])
def test_an_archive_with_other_data_around_it_is_refused(saved, edit):
    saved.write_bytes(edit(saved.read_bytes()))
    with pytest.raises(
        ValueError, match="is no checkpoint of ours: .* (archive|truncated)|is truncated, or no checkpoint"
    ):
        load_checkpoint(saved)


@pytest.mark.parametrize("other", [str, str.upper])
def test_an_archive_with_two_records_of_one_name_is_refused(saved, other):
    """Letters of another case make no other name: PyTorch ignores it."""
    saved.write_bytes(repacked(saved, lambda name: [name, other(name)] if name.endswith("data/3") else [name]))
    with pytest.raises(ValueError, match="is no checkpoint of ours: it holds two records of the name .*data/3"):
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


def edit_history(**tensors):
    """Gives a checkpoint a history of two rows, with these tensors in place of its own."""
    rows = {"steps": torch.arange(2), "train": torch.zeros(2, 4), "valid": torch.zeros(2, 4)}
    rows |= {"measured": torch.ones(2, dtype=bool)} | tensors
    return lambda content: content.update(run={"history": rows})


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
        (lambda content: content.update(prior=(torch.zeros(3),) * 3), "its prior is no mixture of Gaussians"),
        (lambda content: content["prior"]["weights"].neg_(), "its prior is no mixture of Gaussians"),
        (lambda content: content.update(run=[1]), "it has an unknown run"),
        (lambda content: content.update(run={"data": {1, 2}}), "is no checkpoint of ours"),
        (lambda content: content.update(run=torch.Size([1])), "is no checkpoint of ours: it holds torch Size"),
        (lambda content: content.update(run=[torch.zeros(0) for _ in range(5001)]), "holds over 10,000 tensors"),
        (lambda content: content.update(run="x" * 2**23), "its data.pkl takes more than 8,388,608 bytes"),
        (lambda content: content.update(optimizer={"step": torch.zeros(1).expand(10**6)}), "are larger than the file"),
        (lambda content: content.update(run={"history": {"steps": None}}), "an unknown history"),
        (edit_history(steps=torch.zeros(2)), "an unknown history"),
        (edit_history(train=torch.zeros(3, 4)), "an unknown history"),
        (edit_history(valid=torch.zeros(4)), "an unknown history"),
        (edit_history(steps=torch.zeros(1, dtype=int).expand(10**6)), "are larger than the file"),
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
    assert not list(tmp_path.glob("*.partial"))


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("pretrained/mel_2bar.pt", "mel_2bar"),
        ("runs/mel_2bar_beta_0.1", "mel_2bar_beta_0.1"),
        ("runs/beta_0.1/checkpoint.pt", "beta_0.1"),
        ("runs/beta_0.1/best.pt", "beta_0.1"),
        ("cat-mel_2bar_big.tar", "cat-mel_2bar_big"),
    ],
)
def test_a_model_is_called_as_its_file_or_its_run(path, name):
    assert model_name(path) == name
