"""magenta.js folders: round trips, damaged ones, presets from config.json, and magenta.js itself under Node (slow)."""

import json
import shutil
import subprocess
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from configs import CONFIGS
from generate import TrainedModel
from helpers import OWN_SIZES, SHARED, parity_folder
from magenta_checkpoint import load_magenta_checkpoint
from magenta_formats import javascript
from magenta_formats.javascript import client_config, export_magenta_js, preset_from_config, read_shards
from magenta_formats.tensorflow import read_variables
from magenta_formats.variables import tensorflow_variables
from midi_utils import (
    DrumsConverter,
    GrooveConverter,
    MultitrackConverter,
    Windows,
    load_midi,
    load_songs,
)
from model import MusicVAE
from music.attributes import NGram, hit_density, note_density, pitch_range
from music.chords import chords_to_controls
from music.labels import DRUM_PITCHES
from music.melody import FIRST_PITCH, paint_melody
from paper.prior_choice import HELD_OUT

PUBLISHED = SHARED / "parity" / "js_mel_2bar_small"
SONGS = Path(__file__).parents[2] / "midi_songs" / "built_in"
PRETRAINED = Path(__file__).parents[2] / "pretrained" / "magenta_js"
RESULTS = Path(__file__).parents[2] / "results"
CLIENT = Path(__file__).parents[1] / "magenta_js"
FORGET_ROUNDING = 2**-24  # half the spacing of floats just below 2, where forget biases are
MU_TOLERANCE = 1e-5  # of rounding
DRUM_CLASS_OF = {pitch: k for k, pitches in enumerate(DRUM_PITCHES) for pitch in pitches}

SUPPORTED = [
    "cat-mel_2bar_small",
    "cat-mel_2bar_big",
    "cat-mel_2bar_med_chords",
    "cat-drums_2bar_small",
    "cat-drums_2bar_big",
    "nade-drums_2bar_reduced",
    "nade-drums_2bar_full",
    "hier-mel_16bar",
    "hier-trio_16bar",
    "hier-multiperf_vel_1bar_med",
    "hier-multiperf_vel_1bar_big",
    "hier-multiperf_vel_1bar_med_chords",
    "hier-multiperf_vel_1bar_big_chords",
    "groovae_4bar",
    "groovae_2bar_humanize",
    "groovae_2bar_tap_fixed_velocity",
    "groovae_2bar_tap_fixed_velocity_note_dropout",
    "groovae_2bar_add_closed_hh",
    "groovae_2bar_hits_control_tfds",
]
UNSUPPORTED = ["flat-mel_16bar", "hierdec-mel_16bar", "flat-trio_16bar", "hierdec-trio_16bar"]
REFERENCE = [name for name in SUPPORTED if "_big" not in name and "dropout" not in name]  # Magenta's checkpoints


def lively(name, seed=0, std=0.5, **sizes):
    """A small model of a preset with weights so large that z shapes the output, and the preset with its sizes."""
    sizes = {"z_size": 16, "enc_rnn_size": (24,), "dec_rnn_size": (20, 20)} | sizes
    config = CONFIGS[name]
    config = replace(config, model=replace(config.model, **sizes))
    torch.manual_seed(seed)
    model = MusicVAE(config.model)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter += torch.randn(parameter.shape) * (std if parameter.ndim > 1 else 0.1)
    return model.eval(), config


@pytest.fixture
def folder(tmp_path):
    """An exported folder with several shards that a test may damage."""
    model, config = lively("cat-mel_2bar_small")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(javascript, "SHARD_BYTES", 10_000)
        export_magenta_js(model, config, tmp_path / "model")
    return tmp_path / "model"


def write_folder(folder, groups):
    """A folder with a manifest of `groups`, each (paths, weights, bytes of each path)."""
    folder.mkdir(exist_ok=True)
    for paths, _, contents in groups:
        for path, content in zip(paths, contents, strict=True):
            (folder / path).write_bytes(content)
    manifest = [{"paths": paths, "weights": weights} for paths, weights, _ in groups]
    (folder / "weights_manifest.json").write_text(json.dumps(manifest))
    return folder


# ---- Round trips ----


@pytest.mark.parametrize("name", SUPPORTED)
def test_an_exported_model_is_read_back_unchanged(name, tmp_path):
    model, config = lively(name)
    export_magenta_js(model, config, tmp_path / "model")
    written, read = tensorflow_variables(model), read_shards(tmp_path / "model")
    assert list(written) == list(read)
    assert all(np.array_equal(written[key], read[key]) and read[key].dtype == np.float32 for key in written)
    assert preset_from_config(tmp_path / "model" / "config.json") == CONFIGS[name]


def test_every_published_preset_is_listed_as_supported_or_not():
    published = {config.name for config in CONFIGS.values() if not config.name.endswith(OWN_SIZES)}
    assert published == {*SUPPORTED, *UNSUPPORTED}


@pytest.mark.parametrize("name", REFERENCE)
def test_a_tensorflow_checkpoint_is_exported_with_the_same_values(name, tmp_path):
    """Except for the biases of the forget gates, which are stored less 1 and rounded there."""
    place = parity_folder(name)
    model = load_magenta_checkpoint(place / "model.ckpt", name)
    export_magenta_js(model, replace(CONFIGS[name], model=model.config), tmp_path / "model")
    wanted, got = read_variables(place / "model.ckpt"), read_shards(tmp_path / "model")
    assert set(wanted) - set(got) == {"global_step"}
    for key, values in got.items():
        size = len(values) // 4
        forget = slice(2 * size, 3 * size) if "lstm_cell/bias" in key else slice(0)
        np.testing.assert_allclose(values[forget], wanted[key][forget], rtol=0, atol=FORGET_ROUNDING)
        values, exact = values.copy(), wanted[key].copy()
        values[forget] = exact[forget] = 0
        assert np.array_equal(values, exact), key


@pytest.mark.parametrize(("quantize", "levels"), [("uint8", 255), ("uint16", 65535)])
def test_quantised_values_are_within_half_a_level(quantize, levels, tmp_path):
    model, config = lively("cat-mel_2bar_small")
    with torch.no_grad():
        model.encoder.mu.bias.fill_(0.25)  # a variable of one value
    export_magenta_js(model, config, tmp_path / "model", quantize)
    read = read_shards(tmp_path / "model")
    for key, values in tensorflow_variables(model).items():
        level = (values.max() - values.min()) / levels
        np.testing.assert_allclose(read[key], values, rtol=0, atol=0.5 * level + 1e-7)
    assert (read["encoder/mu/bias"] == 0.25).all()
    numbers = sum(values.size for values in read.values())
    assert (tmp_path / "model" / "group1-shard1of1").stat().st_size == numbers * (1 if quantize == "uint8" else 2)


def test_shards_hold_at_most_four_megabytes(tmp_path):
    model, config = lively("cat-mel_2bar_small", enc_rnn_size=(256,))
    export_magenta_js(model, config, tmp_path / "model")
    sizes = {path.name: path.stat().st_size for path in (tmp_path / "model").glob("group1-*")}
    wanted = 4 * sum(values.size for values in tensorflow_variables(model).values())
    assert sizes == {"group1-shard1of1": wanted} or max(sizes.values()) == 4 * 2**20
    assert sum(sizes.values()) == wanted


def test_only_an_earlier_export_is_replaced(folder):
    model, config = lively("cat-drums_2bar_small", seed=1)
    export_magenta_js(model, config, folder)
    assert sorted(path.name for path in folder.iterdir()) == [
        "SHA256SUMS",
        "config.json",
        "group1-shard1of1",
        "weights_manifest.json",
    ]
    (folder / "thesis.txt").write_text("mine")
    before = sorted(folder.iterdir())
    with pytest.raises(ValueError, match="holds something other than a magenta.js model"):
        export_magenta_js(model, config, folder)
    assert sorted(folder.iterdir()) == before


def test_a_failed_export_leaves_the_earlier_one_in_place(folder):
    model, config = lively("cat-mel_2bar_small")
    before = read_shards(folder)
    with torch.no_grad():
        model.cores[0].output.bias[3] = float("nan")  # among the last variables, when some shards are already written
    with pytest.raises(ValueError, match="variable decoder/output_projection/bias holds values that are not finite"):
        export_magenta_js(model, config, folder)
    assert all(np.array_equal(before[key], value) for key, value in read_shards(folder).items())
    assert [path.name for path in folder.parent.iterdir()] == ["model"]


@pytest.mark.parametrize(
    ("name", "sizes", "message"),
    [
        ("hierdec-mel_16bar", {}, "does not support the encoder of hierdec-mel_16bar"),
        ("hierdec-trio_16bar", {}, "does not support the encoder of hierdec-trio_16bar"),
        ("flat-trio_16bar", {}, "does not support the decoder of flat-trio_16bar"),
        ("trio_2bar_tiny", {}, "does not support the decoder of trio_2bar_tiny: a trio needs a conductor and one"),
        ("flat-mel_16bar", {"enc_rnn_size": (8, 8)}, r"one layer in an encoder, this one has widths \(8, 8\)"),
        ("cat-mel_2bar_small", {"enc_rnn_size": (8, 8)}, r"one layer in an encoder, this one has widths \(8, 8\)"),
        ("hier-mel_16bar", {"upper": "dense"}, "Magenta has no dense layers above segments"),
        ("cat-mel_2bar_small", {"dec_rnn_size": (8, 9)}, r"decoder layers of one width, this one has \(8, 9\)"),
    ],
)
def test_models_that_magenta_js_does_not_support_are_refused(name, sizes, message, tmp_path):
    model, config = lively(name, **{"dec_rnn_size": (8,)} | sizes)
    with pytest.raises(ValueError, match=message):
        export_magenta_js(model, config, tmp_path / "model")
    assert not list(tmp_path.iterdir())


def test_a_model_of_another_preset_is_refused(tmp_path):
    model, _ = lively("cat-mel_2bar_small")
    with pytest.raises(
        ValueError, match=r"\(32, 90, 90, 0\), the converter of .* makes \(32, 10, 512, 0\)"
    ):
        export_magenta_js(model, CONFIGS["cat-drums_2bar_small"], tmp_path / "model")
    with pytest.raises(ValueError, match="quantize must be None, 'uint8' or 'uint16', got 'int4'"):
        export_magenta_js(model, CONFIGS["cat-mel_2bar_small"], tmp_path / "model", "int4")


# ---- Folders from other programs ----


def test_all_stored_types_are_read_across_groups_and_shards(tmp_path):
    """Values are computed as in TensorFlow.js: number * scale + min in double precision."""
    floats = np.array([[1.5, -2.25], [0.0, 3e8]], "<f4")
    first = floats.tobytes() + np.array([7, -9], "<f4").tobytes()
    second = bytes([0, 128, 255]) + np.array([0, 65535], "<u2").tobytes() + bytes([3])
    weights = [
        {"name": "u8", "shape": [3], "dtype": "float32", "quantization": {"dtype": "uint8", "scale": 0.1, "min": -1}},
        {"name": "u16", "shape": [2, 1], "dtype": "float32", "quantization": {"dtype": "uint16", "scale": 2, "min": 1}},
        {"name": "one", "shape": [], "dtype": "float32", "quantization": {"dtype": "uint8", "scale": 0.5, "min": -3}},
        {"name": "none", "shape": [0, 4], "dtype": "float32"},
    ]
    plain = [{"name": "f", "shape": [2, 2], "dtype": "float32"}, {"name": "w", "shape": [2], "dtype": "float32"}]
    groups = [(["a", "b"], plain, [first[:5], first[5:]]), (["c"], weights, [second]), ([], [], [])]
    read = read_shards(write_folder(tmp_path / "model", groups))
    assert all(values.dtype == np.float32 for values in read.values())
    assert np.array_equal(read["f"], floats)
    assert read["w"].tolist() == [7, -9]
    assert read["u8"].tolist() == np.float32([-1, 128 * 0.1 - 1, 255 * 0.1 - 1]).tolist()
    assert read["u16"].tolist() == [[1], [131071]]
    assert (read["one"].shape, read["one"].item()) == ((), -1.5)
    assert read["none"].shape == (0, 4)


def test_a_published_folder_has_the_variables_that_we_write():
    """Names and shapes of `mel_2bar_small`, and the preset that its config.json describes."""
    if not PUBLISHED.exists():
        pytest.skip("reference data not present")
    config = preset_from_config(PUBLISHED / "config.json")
    assert config == CONFIGS["cat-mel_2bar_small"]
    (group,) = json.loads((PUBLISHED / "weights_manifest.json").read_text())
    ours = tensorflow_variables(MusicVAE(config.model))
    assert {weight["name"]: tuple(weight["shape"]) for weight in group["weights"]} == {
        name: values.shape for name, values in ours.items()
    }
    published = json.loads((PUBLISHED / "config.json").read_text())
    assert client_config(config) == published | {"preset": "cat-mel_2bar_small"}


# ---- Damaged folders ----


def manifest_with(folder, change):
    path = folder / "weights_manifest.json"
    manifest = json.loads(path.read_text())
    change(manifest)
    path.write_text(json.dumps(manifest))


def weight(**fields):
    return lambda manifest: manifest[0]["weights"][2].update(fields)


def path(name):
    return lambda manifest: manifest[0]["paths"].__setitem__(1, name)


def repeat_shard(folder):
    return lambda manifest: manifest[0]["paths"].append(folder + manifest[0]["paths"][0])


def quantized(**fields):
    return weight(quantization={"dtype": "uint8", "scale": 1.0, "min": 0.0} | fields)


NAME = "encoder/sigma/kernel"  # the third variable of the folder


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (weight(dtype="float64"), f"variable {NAME} should be of float32, got 'float64'"),
        (weight(dtype=["float32"]), f"variable {NAME} should be of float32"),
        (weight(shape=[48, -16]), rf"variable {NAME} should have a list of sizes as its shape, got \[48, -16\]"),
        (weight(shape=None), f"variable {NAME} should have a list of sizes"),
        (weight(shape=[10**12, 10**12]), f"variable {NAME} .*needs bytes 3,136 to .*, which hold"),
        (weight(shape=[47, 16]), r"variables up to .* need [\d,]+ bytes, their shards hold [\d,]+"),
        (weight(name="encoder/mu/bias"), "lists variable encoder/mu/bias more than once"),
        (weight(name=None), "a variable should have a name"),
        (quantized(dtype="uint4"), f"variable {NAME} of float32 should be quantised to uint8 or uint16, got"),
        (quantized(dtype="float16"), f"variable {NAME} of float32 should be quantised to uint8 or uint16, got"),
        (quantized(scale=None), f"variable {NAME} of uint8 should have a finite scale and min, got None and 0.0"),
        (quantized(min=float("nan")), f"variable {NAME} of uint8 should have a finite scale and min, got 1.0 and nan"),
        (weight(quantization="uint8"), f"variable {NAME} of float32 should be quantised to"),
        (path("../secret"), "'../secret' is outside the folder"),
        (path("/etc/passwd"), "shard '/etc/passwd' is outside"),
        (path(r"a\..\..\b"), "is outside the folder"),
        (path("C:secret"), "shard 'C:secret' is outside the folder"),
        (path("nowhere"), "no file .*nowhere"),
        (path(3), "a shard's path should be text, got 3"),
        (repeat_shard(""), "lists shard .*group1-shard1of17 more than once"),
        (repeat_shard("./"), "lists shard .*group1-shard1of17 more than once"),
        (lambda manifest: manifest[0]["paths"].pop(), "decoder/.* needs bytes .* which hold .*: truncated"),
        (lambda manifest: manifest[0].pop("paths"), "a group should hold the lists paths and weights"),
        (lambda manifest: manifest.__setitem__(0, "weights"), "a group should hold the lists paths and weights"),
    ],
)
def test_a_manifest_that_contradicts_itself_or_its_shards_is_refused(folder, change, message):
    manifest_with(folder, change)
    with pytest.raises(ValueError, match=message):
        read_shards(folder)


@pytest.mark.parametrize("shard", ["first", "last"])
def test_a_truncated_shard_names_the_missing_variable(folder, shard):
    shards = sorted(folder.glob("group1-*"), key=lambda path: int(path.name.split("shard")[1].split("of")[0]))
    assert len(shards) > 3
    path = shards[0] if shard == "first" else shards[-1]
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(ValueError, match=r"cell_1/lstm_cell/bias \[80\] of float32 needs bytes .*: truncated"):
        read_shards(folder)


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "not JSON"), (b"{}", "a JSON list, not a dict"), (b"[" * 10**5, "not JSON"), (b"\xff", "not JSON")],
)
def test_other_content_in_place_of_a_manifest_is_refused(folder, content, message):
    (folder / "weights_manifest.json").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_shards(folder)


def change_a_digit_of_a_scale(folder):
    """Which leaves a manifest that contradicts nothing."""
    text = (folder / "weights_manifest.json").read_text()
    at = text.index('"scale": 0.') + len('"scale": 0.') + 3
    (folder / "weights_manifest.json").write_text(text[:at] + str(9 - int(text[at])) + text[at + 1 :])


def change_a_value(folder):
    content = bytearray((folder / "group1-shard1of1").read_bytes())
    content[1000] ^= 4
    (folder / "group1-shard1of1").write_bytes(content)


def change_the_length(folder):
    content = json.loads((folder / "config.json").read_text())
    content["dataConverter"]["args"]["numSteps"] = 64
    (folder / "config.json").write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (change_a_digit_of_a_scale, "weights_manifest.json"),
        (change_a_value, "group1-shard1of1"),
        (change_the_length, "config.json"),
    ],
)
def test_a_changed_file_of_an_exported_folder_is_found(tmp_path, change, name):
    """Not so without the list of digests, as in Magenta's own folders."""
    model, config = lively("cat-mel_2bar_small")
    export_magenta_js(model, config, tmp_path / "model", "uint8")
    change(tmp_path / "model")
    with pytest.raises(ValueError, match=f"{name} does not match its digest in SHA256SUMS: .*or delete SHA256SUMS"):
        load_magenta_checkpoint(tmp_path / "model", "cat-mel_2bar_small")
    (tmp_path / "model" / "SHA256SUMS").unlink()
    load_magenta_checkpoint(tmp_path / "model", "cat-mel_2bar_small")


@pytest.mark.parametrize("folder", [*PRETRAINED.iterdir(), None], ids=lambda folder: folder and folder.name)
def test_the_digests_are_those_of_the_program_sha256sum(folder, tmp_path):
    """Of the published folders, and of a new one."""
    if folder is None:
        folder = tmp_path / "model"
        export_magenta_js(*lively("cat-mel_2bar_small"), folder)
    if not shutil.which("sha256sum"):
        pytest.skip("sha256sum not present")
    checked = subprocess.run(
        ["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=folder, capture_output=True, text=True
    )
    assert checked.returncode == 0
    assert len(checked.stdout.splitlines()) == len(list(folder.iterdir())) - 1


def test_a_huge_manifest_is_refused_before_it_is_parsed(folder):
    (folder / "weights_manifest.json").write_bytes(b"[" + b"[]," * 2**21 + b"[]]")
    with pytest.raises(ValueError, match="weights_manifest.json takes more than 4,194,304 bytes"):
        read_shards(folder)


def test_a_missing_manifest_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"no file .*weights_manifest\.json; a magenta.js folder holds"):
        read_shards(tmp_path)


def test_random_damage_to_the_manifest_gives_a_value_error_or_variables(folder):
    whole = (folder / "weights_manifest.json").read_bytes()
    random = np.random.default_rng(0)
    refused = 0
    for _ in range(300):
        damaged = bytearray(whole)
        damaged[random.integers(len(whole))] = random.integers(32, 127)
        (folder / "weights_manifest.json").write_bytes(damaged)
        try:
            read_shards(folder)
        except ValueError:
            refused += 1
    assert refused > 100


# ---- The preset that a config.json describes ----


def write_config(tmp_path, kind, extra=None, **args):
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"type": "MusicVAE", "dataConverter": {"type": kind, "args": args}} | (extra or {})))
    return path


PITCHES = {"minPitch": 21, "maxPitch": 108}
BARS = {"numSteps": 256, "numSegments": 16}
TRIO = {"melArgs": PITCHES, "bassArgs": PITCHES, "drumsArgs": {}}
TRACKS = {"numSteps": 512, "numSegments": 8, "stepsPerQuarter": 24, "totalSteps": 96, "numVelocityBins": 8}
HITS = [{"name": "hits", "depth": 9}]


def test_a_config_gives_the_preset(tmp_path):
    path = write_config(tmp_path, "MelodyConverter", numSteps=32, **PITCHES)
    assert preset_from_config(path).name == "cat-mel_2bar_small"
    path = write_config(tmp_path, "DrumsConverter", numSteps=32)
    assert preset_from_config(path).name == "cat-drums_2bar_small"
    big = {"preset": "cat-mel_2bar_big"}
    path = write_config(tmp_path, "MelodyConverter", big, numSteps=32, ignorePolyphony=1, **PITCHES)
    assert preset_from_config(path).name == "cat-mel_2bar_big"


@pytest.mark.parametrize(
    ("kind", "extra", "args", "name"),
    [
        ("MelodyConverter", {"chordEncoder": "TriadChordEncoder"}, PITCHES, "cat-mel_2bar_med_chords"),
        ("DrumsConverter", {}, {"pitchClasses": [[36]] * 9}, "cat-drums_2bar_small"),
        ("DrumRollConverter", {}, {}, "nade-drums_2bar_reduced"),
        ("DrumRollConverter", {}, {"pitchClasses": [[36]] * 61}, "nade-drums_2bar_full"),
        ("GrooveConverter", {}, {"numSteps": 64, "humanize": False}, "groovae_4bar"),
        ("GrooveConverter", {}, {"humanize": True}, "groovae_2bar_humanize"),
        ("GrooveConverter", {}, {"tapify": True}, "groovae_2bar_tap_fixed_velocity"),
        ("GrooveConverter", {"extraControls": HITS}, {"stepsPerQuarter": 4}, "groovae_2bar_hits_control_tfds"),
        ("GrooveConverter", {"preset": "groovae_2bar_add_closed_hh"}, {}, "groovae_2bar_add_closed_hh"),
        ("MelodyConverter", {}, PITCHES | BARS, "hier-mel_16bar"),
        ("TrioConverter", {}, TRIO | BARS, "hier-trio_16bar"),
        ("MultitrackConverter", {}, TRACKS, "hier-multiperf_vel_1bar_med"),
        ("MultitrackConverter", {"chordEncoder": "TriadChordEncoder"}, TRACKS, "hier-multiperf_vel_1bar_med_chords"),
    ],
)
def test_a_config_of_each_kind_of_model_gives_its_preset(tmp_path, kind, extra, args, name):
    assert preset_from_config(write_config(tmp_path, kind, extra, **{"numSteps": 32} | args)) == CONFIGS[name]


def test_a_config_of_a_length_that_no_preset_has_gives_a_preset_of_that_length(tmp_path):
    """Where two presets could have that length, the caller chooses."""
    config = preset_from_config(write_config(tmp_path, "DrumsConverter", numSteps=64))
    assert (config.name, config.converter.bars, config.model.steps) == ("cat-drums_2bar_small", 4, 64)
    eight = preset_from_config(write_config(tmp_path, "MelodyConverter", numSteps=128, numSegments=8, **PITCHES)).model
    assert (eight.steps, eight.segments, eight.encoder_segments) == (128, 8, 8)
    path = write_config(tmp_path, "MelodyConverter", numSteps=64, **PITCHES)
    with pytest.raises(ValueError, match="64 steps in 1 segment, which may be cat-mel_2bar_small or flat-mel_16bar"):
        preset_from_config(path)
    config = preset_from_config(path, "cat-mel_2bar_small")
    assert (config.converter.steps, config.model.steps, config.converter.programs) == (64, 64, tuple(range(32)))
    with pytest.raises(ValueError, match="64 steps in 1 segment"):  # magenta.js knows no such encoder there
        preset_from_config(write_config(tmp_path, "DrumsConverter", numSteps=64), "flat-drums_16bar_mini")


@pytest.mark.parametrize(
    ("kind", "extra", "args", "message"),
    [
        ("MelodyConverter", {}, {"numSteps": 32, "minPitch": 36, "maxPitch": 84}, "is none of cat-mel_2bar_small, "),
        ("MelodyConverter", {"chordEncoder": "None"}, {"numSteps": 32, **PITCHES}, "32 steps .* is none of"),
        ("MelodyConverter", {}, {"numSteps": 40, **PITCHES}, "40 steps in 1 segment, which is none of"),
        ("MelodyConverter", {}, {"numSteps": 32.5, **PITCHES}, "numSteps should be whole segments, got 32.5 steps"),
        ("MelodyConverter", {}, PITCHES, "numSteps should be whole segments, got None steps"),
        ("MelodyConverter", {}, {"numSteps": 32, "numSegments": 3, **PITCHES}, "got 32 steps and 3 segments"),
        ("JazzConverter", {}, {"numSteps": 32}, "JazzConverter, 32 steps in 1 segment, which is none of"),
        (["MelodyConverter"], {}, {"numSteps": 32}, "is none of"),
        ("GrooveConverter", {}, {"numSteps": 32}, "may be groovae_4bar or groovae_2bar_add_closed_hh: choose one with"),
        ("TrioConverter", {}, {"numSteps": 64} | TRIO, "TrioConverter, 64 steps in 1 segment, which is none of"),
        ("MultitrackConverter", {}, TRACKS | {"numSegments": 4}, "512 steps in 4 segments, which is none of"),
        ("MelodyConverter", {"type": "MusicRNN"}, {"numSteps": 32, **PITCHES}, "should be of type MusicVAE"),
        ("MelodyConverter", {"dataConverter": None}, {}, "should be of type MusicVAE with a dataConverter"),
    ],
)
def test_a_config_that_fits_no_preset_or_several_is_refused(tmp_path, kind, extra, args, message):
    with pytest.raises(ValueError, match=message):
        preset_from_config(write_config(tmp_path, kind, extra, **args))


def test_a_config_of_another_preset_than_the_named_one_is_refused(tmp_path):
    with pytest.raises(ValueError, match="DrumsConverter, 32 steps in 1 segment, which is none of cat-mel_2bar_big"):
        preset_from_config(write_config(tmp_path, "DrumsConverter", numSteps=32), "cat-mel_2bar_big")
    with pytest.raises(KeyError, match="did you mean cat-mel_2bar_big"):
        preset_from_config(write_config(tmp_path, "DrumsConverter", numSteps=32), "cat-mel_2bar_bigg")


# ---- magenta.js itself ----


@pytest.fixture(scope="session")
def play():
    """A function that passes requests to magenta.js (magenta_js/play.js) and returns its answers."""
    for program in ("node", "npm"):
        if shutil.which(program) is None:
            pytest.skip(f"magenta.js needs {program}, which is not installed")
    with tempfile.TemporaryDirectory() as place:
        for name in ("package.json", "play.js"):
            shutil.copy(CLIENT / name, place)
        if subprocess.run(["npm", "ping"], cwd=place, capture_output=True).returncode:
            pytest.skip("npm cannot reach its registry to install magenta.js")
        for command in ("install --ignore-scripts --no-audit --no-fund", "run build"):
            run = subprocess.run(["npm", *command.split()], cwd=place, capture_output=True, text=True)
            assert run.returncode == 0, run.stderr

        def ask(*requests):
            (Path(place) / "requests.json").write_text(json.dumps(requests, default=str))
            command = ["node", "play.bundle.js", "requests.json", "answers.json"]
            subprocess.run(command, cwd=place, check=True, capture_output=True, timeout=300)
            return json.loads((Path(place) / "answers.json").read_text())

        yield ask


def windows_of_songs(converter, count=3):
    """Windows of the built-in songs, one per song."""
    found = []
    for path in sorted(SONGS.glob("*.mid")):
        windows = converter.to_arrays(load_midi(path))
        if len(windows.labels):
            found.append(Windows(*(part if part is None else part[-1:] for part in windows[:3])))
        if len(found) == count:
            break
    return Windows(*(None if parts[0] is None else np.concatenate(parts) for parts in zip(*(w[:3] for w in found))))


def notes_of(midi, steps_per_quarter):
    """The notes of a song at 120 quarter notes per minute, as magenta.js takes them."""
    return [
        {
            "pitch": note.pitch,
            "startTime": note.start,
            "endTime": note.end,
            "quantizedStartStep": round(note.start * 2 * steps_per_quarter),
            "quantizedEndStep": round(note.end * 2 * steps_per_quarter),
            "velocity": note.velocity,
            "program": instrument.program,
            "instrument": k,
            "isDrum": instrument.is_drum,
        }
        for k, instrument in enumerate(midi.instruments)
        for note in instrument.notes
    ]


def sequence(midi, converter):
    """A song as magenta.js takes it: on the converter's grid, but a groove in seconds, which magenta.js quantises."""
    if isinstance(converter, GrooveConverter):
        return {"notes": notes_of(midi, 4), "tempos": [{"time": 0, "qpm": 120}]}
    per_quarter, steps = (24, 96) if isinstance(converter, MultitrackConverter) else (4, converter.steps)
    grid = {"quantizationInfo": {"stepsPerQuarter": per_quarter}, "totalQuantizedSteps": steps}
    return {"notes": notes_of(midi, per_quarter)} | grid


def comparable(notes):
    """The fields of notes that must agree; magenta.js chooses its own programs and velocities."""
    fields = ("isDrum", "instrument", "quantizedStartStep", "quantizedEndStep", "pitch")
    return sorted(tuple(int(note[field] or 0) for field in fields) for note in notes)


def request(folder, config, windows, **more):
    """A request to magenta.js: a folder, notes and tensors of windows to encode, and as many z to decode."""
    songs = [config.converter.from_arrays(labels) for labels in windows.labels]
    z = torch.randn(len(songs), config.model.z_size, generator=torch.Generator().manual_seed(1))
    inputs = config.converter.to_tensors(windows).inputs
    notes = [sequence(song, config.converter) for song in songs]
    return {"folder": str(folder), "notes": notes, "inputs": inputs.tolist(), "z": z.tolist()} | more


def as_client_reads(inputs, converter):
    """The tensors that magenta.js makes of notes: in a drum roll it marks an empty step one step too early."""
    if not isinstance(converter, DrumsConverter):
        return inputs
    empty = torch.nn.functional.pad(inputs[:, 1:, -1:], (0, 0, 0, 1))
    return torch.cat([inputs[..., :-1], empty], -1)


@torch.no_grad()
def check_encode(answer, model, inputs, read, lengths=None, controls=None):
    """Asserts that magenta.js turns the notes into `read`, and that its mu of `read` and of `inputs` is ours."""
    assert "error" not in answer, answer
    torch.testing.assert_close(torch.tensor(answer["tensors"], dtype=torch.float32), read, atol=1e-6, rtol=0)
    for got, tensors in ((answer["notesMu"], read), (answer["mu"], inputs)):
        mu = model.encode(tensors, lengths, controls).loc
        torch.testing.assert_close(torch.tensor(got), mu, atol=MU_TOLERANCE, rtol=1e-5)
        assert mu.std(0).min() > 100 * MU_TOLERANCE  # mu depends on the music


@torch.no_grad()
def check_decode(answer, model, asked, controls=None):
    """Asserts that magenta.js decodes z to our frames, and returns ours. Rounding errors of a groove are fed back."""
    frames = model.sample(z=torch.tensor(asked["z"]), temperature=0, controls=controls)
    theirs, groove = torch.tensor(answer["frames"], dtype=torch.float32), model.config.output == "groove"
    assert torch.equal(*(part[..., : 9 if groove else None] for part in (theirs, frames)))
    torch.testing.assert_close(theirs, frames, atol=1e-3, rtol=0)
    assert (frames[0] != frames[1]).any(-1).float().mean() > 0.5  # the frames depend on z
    return frames


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "quantize"),
    [
        ("cat-mel_2bar_small", None),
        ("cat-mel_2bar_small", "uint8"),
        ("cat-drums_2bar_small", None),
        ("cat-drums_2bar_small", "uint16"),
        ("nade-drums_2bar_reduced", None),
        ("nade-drums_2bar_full", "uint8"),
        ("hier-mel_16bar", None),
        ("hier-trio_16bar", None),
        ("hier-trio_16bar", "uint16"),
    ],
)
def test_magenta_js_encodes_and_decodes_as_we_do(name, quantize, play, tmp_path):
    """From notes and to notes, with the weights in the folder, which may be quantised."""
    model, config = lively(name)
    export_magenta_js(model, config, tmp_path / "model", quantize)
    model, converter = load_magenta_checkpoint(tmp_path / "model"), config.converter
    windows = windows_of_songs(converter)
    asked = request(tmp_path / "model", config, windows)
    (answer,) = play(asked)
    inputs = converter.to_tensors(windows).inputs
    check_encode(answer, model, inputs, as_client_reads(inputs, converter))
    frames = check_decode(answer, model, asked)
    for notes, labels in zip(answer["notes"], converter.from_tensors(frames), strict=True):
        assert comparable(notes) == comparable(notes_of(converter.from_arrays(labels), 4))


def labels_of(notes, steps=32):
    """The labels of a melody that magenta.js wrote."""
    fields = ("quantizedStartStep", "quantizedEndStep", "pitch")
    rows = sorted(tuple(int(note[field] or 0) for field in fields) for note in notes)
    return paint_melody(*np.array(rows, int).reshape(-1, 3).T, steps)


def drum_labels_of(notes, steps=32):
    """The labels of a drum loop that magenta.js wrote."""
    labels = np.zeros(steps, int)
    for note in notes:
        labels[int(note["quantizedStartStep"] or 0)] |= 1 << DRUM_CLASS_OF[note["pitch"]]
    return labels


def drum_features(labels, ngram):
    """Hits per step, share of hits on a beat and n-gram cost in nats per step: means."""
    hits = hit_density(labels).mean()
    on_beat = hit_density(labels[:, ::4]).mean() / (4 * hits)
    return {"notes": hits, "on beat": on_beat, "cost": ngram.cost(labels).mean()}


def features(labels, ngram):
    """Range in semitones, notes per step, share of onsets on a beat and n-gram cost in nats per step: means."""
    on_beat = (labels[:, ::4] >= FIRST_PITCH).sum() / (labels >= FIRST_PITCH).sum()
    found = {"range": np.nanmean(pitch_range(labels)), "notes": note_density(labels).mean(), "on beat": on_beat}
    return found | {"cost": ngram.cost(labels).mean()}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "read", "measure", "as_songs"),
    [
        ("mel_2bar_low", labels_of, features, ("notes", "on beat")),
        ("drums_2bar_low", drum_labels_of, drum_features, ()),  # the drums of the built-in songs are sparse
    ],
)
def test_magenta_js_plays_music_from_its_own_standard_normal(play, name, read, measure, as_songs):
    """Each mean over 256 samples of the published model is within 30 % of that of ours, some also of that of songs."""
    folder = PRETRAINED / name
    (answer,) = play({"folder": str(folder), "notes": [], "inputs": [], "z": [], "samples": 256})
    assert "error" not in answer, answer
    trained = TrainedModel.load(folder)
    songs = load_songs(SONGS, trained.converter, progress=False).labels
    ngram = NGram.fit(songs, classes=trained.model.config.output_depth)
    ours = trained.model.sample(256, generator=torch.Generator().manual_seed(0))
    ours = measure(np.asarray(trained.converter.from_tensors(ours)), ngram)
    theirs = measure(np.array([read(notes) for notes in answer["samples"]]), ngram)
    assert theirs == {feature: pytest.approx(value, rel=0.3) for feature, value in ours.items()}
    real = measure(songs[:], ngram)
    for feature in as_songs:
        assert theirs[feature] == pytest.approx(real[feature], rel=0.3)
    held_out = json.loads((RESULTS / f"{name}.json").read_text())["priors"][HELD_OUT]["parts"]["all"]
    assert theirs["notes"] == pytest.approx(held_out["notes"], rel=0.3)


@pytest.mark.slow
def test_magenta_js_follows_chord_symbols_as_we_do(play, tmp_path):
    model, config = lively("cat-mel_2bar_med_chords")
    export_magenta_js(model, config, tmp_path / "model")
    chords = ["C", "Am", "F#dim", "N.C.", "Eb7", "Gaug", "Bm7", "Db"]
    windows = windows_of_songs(config.converter)
    windows = windows._replace(controls=np.tile(chords_to_controls(chords, 32), (len(windows.labels), 1)))
    asked = request(tmp_path / "model", config, windows, chordProgression=chords)
    (answer,) = play(asked)
    inputs, _, _, controls = config.converter.to_tensors(windows)
    check_encode(answer, model, inputs, inputs, controls=controls)
    check_decode(answer, model, asked, controls)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        "groovae_4bar",
        "groovae_2bar_humanize",
        "groovae_2bar_tap_fixed_velocity",
        "groovae_2bar_add_closed_hh",
        "groovae_2bar_hits_control_tfds",
    ],
)
def test_magenta_js_plays_grooves_as_we_do(name, play, tmp_path):
    """Drum patterns with uneven timing. We remove the drums that the model is to add, because magenta.js does not."""
    model, config = lively(name, std=0.25)  # with larger weights rounding errors grow until hits differ
    export_magenta_js(model, config, tmp_path / "model")
    converter = replace(config.converter, kit="general_midi")
    windows = uneven(windows_of_songs(converter))
    inputs, _, _, controls = converter.to_tensors(windows)
    more = {}
    if controls is not None:
        controls = controls[:1].expand(len(controls), -1, -1)
        more = {"extraControls": {"hits": controls[0].tolist()}}
    given = inputs.numpy() if converter.added_classes else windows.labels
    asked = request(tmp_path / "model", config, windows, **more)
    asked["notes"] = [sequence(converter.from_arrays(labels), converter) for labels in given]
    (answer,) = play(asked)
    check_encode(answer, model, inputs, inputs, controls=controls)
    frames = check_decode(answer, model, asked, controls)
    for notes, labels in zip(answer["notes"], converter.from_tensors(frames), strict=True):
        check_groove_notes(notes, notes_of(converter.from_arrays(labels), 4))


def uneven(windows):
    """The grooves with random velocities and offsets."""
    random, labels = np.random.default_rng(0), windows.labels.copy()
    hits = labels[..., :9]
    labels[..., 9:18] = hits * random.integers(1, 128, hits.shape) / 127
    labels[..., 18:] = hits * random.uniform(-0.9, 0.9, hits.shape)
    labels[:, 0, 18:] = -abs(labels[:, 0, 18:])  # no hit before time 0
    return windows._replace(labels=labels)


def check_groove_notes(theirs, ours):
    """Asserts equal drums, times and velocities; magenta.js starts velocities at 0 and rounds halves up."""
    theirs = sorted((note["pitch"], max(note["startTime"], 0), note["velocity"]) for note in theirs)
    ours = sorted((note["pitch"], note["startTime"], note["velocity"]) for note in ours)
    assert len(theirs) == len(ours) > 20
    assert (np.abs(np.subtract(theirs, ours)).max(0) <= [0, 1e-3, 1]).all()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "chord"), [("hier-multiperf_vel_1bar_med", None), ("hier-multiperf_vel_1bar_med_chords", "Gm")]
)
def test_magenta_js_decodes_several_tracks_as_we_do_up_to_an_end_token(name, chord, play, tmp_path):
    """After an end token magenta.js keeps decoding and starts the next track from there."""
    model, config = lively(name, seed=2)
    with torch.no_grad():
        model.cores[0].output.bias[config.converter.end_token] += 1.0
    export_magenta_js(model, config, tmp_path / "model")
    windows = windows_of_songs(config.converter)
    controls = None
    if chord:
        controls = np.tile(config.converter.chord_controls([chord]), (len(windows.labels), 1))
        windows = windows._replace(controls=np.where(windows.labels < 0, -1, controls).astype(np.int8))
    asked = request(tmp_path / "model", config, windows, **({"chordProgression": [chord]} if chord else {}))
    (answer,) = play(asked)
    inputs, _, lengths, read_controls = config.converter.to_tensors(windows)
    check_encode(answer, model, inputs, inputs, lengths, read_controls)
    controls = torch.nn.functional.one_hot(torch.from_numpy(controls).long(), 49).float() if chord else None
    endless = MusicVAE(replace(config.model, end_token=None))
    endless.load_state_dict(model.state_dict())
    check_decode(answer, endless, asked, controls)
    ours = config.converter.from_tensors(model.sample(z=torch.tensor(asked["z"]), temperature=0, controls=controls))
    theirs = torch.tensor(answer["frames"]).argmax(-1)
    same = (ours >= 0).cumprod(1).bool()
    assert ((same.sum(1) > 3) & (same.sum(1) < ours.shape[1])).any()
    assert torch.equal(ours[same], theirs[same])


@pytest.mark.slow
def test_magenta_js_loads_shards_at_a_published_size(play, tmp_path):
    config = CONFIGS["cat-mel_2bar_small"]
    torch.manual_seed(0)
    model = MusicVAE(config.model).eval()
    export_magenta_js(model, config, tmp_path / "model")
    assert len(list((tmp_path / "model").glob("group1-*"))) == 5  # as in the published folder
    windows = windows_of_songs(config.converter, 1)
    (answer,) = play(request(tmp_path / "model", config, windows))
    with torch.no_grad():
        mu = model.encode(config.converter.to_tensors(windows).inputs).loc
    torch.testing.assert_close(torch.tensor(answer["notesMu"]), mu, atol=1e-7, rtol=1e-4)


@pytest.mark.slow
def test_magenta_js_does_not_support_a_flat_encoder_with_a_conductor(play, tmp_path):
    """The export therefore refuses presets named hierdec-."""
    model, _ = lively("hierdec-mel_16bar")
    variables = tensorflow_variables(model)
    manifest = [{"name": name, "shape": list(v.shape), "dtype": "float32"} for name, v in variables.items()]
    values = b"".join(v.tobytes() for v in variables.values())
    folder = write_folder(tmp_path / "model", [(["all"], manifest, [values])])
    (folder / "config.json").write_text(json.dumps(client_config(CONFIGS["hier-mel_16bar"])))
    (answer,) = play({"folder": str(folder), "notes": [], "inputs": [], "z": []})
    assert "Only 2 hierarchical encoder levels are supported" in answer["error"]
