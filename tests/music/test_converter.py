"""What all converters do: labels equal to Magenta's, round trips, tensors, errors."""

import json
import warnings
import zlib
from dataclasses import asdict, replace
from functools import cache

import numpy as np
import pretty_midi
import pytest
import torch
from torch.testing import assert_close

from helpers import SHARED
from made_midi import (
    CONVERTERS,
    MADE_FILES,
    ROLLS,
    assert_windows,
    made_song,
    on_disk,
    reference,
    sorted_rows,
    whole_window,
    why,
)
from midi_utils import DrumsConverter, MelodyConverter, TrioConverter, Windows, load_midi

# ---- Equal to the reference ----


@pytest.mark.parametrize("file", MADE_FILES)
@pytest.mark.parametrize("name", CONVERTERS)
def test_labels_equal_the_references(name, file):
    windows = CONVERTERS[name].to_arrays(made_song(file))
    expected = reference(name).get(f"{file}|all|labels")
    if expected is None:
        assert len(windows.labels) == 0
        return
    assert windows.labels.dtype == expected.dtype
    np.testing.assert_array_equal(sorted_rows(windows.labels), sorted_rows(expected))
    assert (windows.lengths == CONVERTERS[name].steps).all()


def test_every_preset_has_windows_in_the_fixtures():
    counts = [sum(len(v) for k, v in reference(name).items() if k.endswith("|all|labels")) for name in CONVERTERS]
    assert min(counts) > 5


# What the reference gives for two folders of songs: windows, and the CRC-32 of their labels as sorted rows
REFERENCE_TOTALS = {
    ("simutrans", "cat-mel_2bar_small"): (5537, 4276832300),
    ("simutrans", "hierdec-mel_16bar"): (10413, 2845410568),
    ("simutrans", "cat-drums_2bar_small"): (1466, 3140319195),
    ("simutrans", "hierdec-trio_16bar"): (7672, 2290410372),
    ("lofi", "cat-mel_2bar_small"): (280, 4162193713),
    ("lofi", "hierdec-mel_16bar"): (0, 0),
    ("lofi", "cat-drums_2bar_small"): (0, 0),
    ("lofi", "hierdec-trio_16bar"): (0, 0),
}


@cache
def songs_of(folder):
    if not (SHARED / "data" / folder).is_dir():
        pytest.skip("reference data not present")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return [as_the_reference_reads(path) for path in sorted((SHARED / "data" / folder).glob("*.mid"))]


def as_the_reference_reads(path):
    """The song as pretty_midi reads it; our own reader differs on purpose where a file is irregular."""
    try:
        return pretty_midi.PrettyMIDI(str(path))
    except Exception:  # pretty_midi raises many kinds
        return load_midi(path)


@pytest.mark.parametrize("folder, name", REFERENCE_TOTALS)
def test_labels_of_real_songs_equal_the_references(folder, name):
    total, checksum = 0, 0
    for midi in songs_of(folder):
        labels = CONVERTERS[name].to_arrays(midi).labels
        total += len(labels)
        checksum = zlib.crc32(sorted_rows(labels).tobytes(), checksum) if len(labels) else checksum
    assert (total, checksum) == REFERENCE_TOTALS[folder, name]


NOT_COUNTED = ("data", "lieder", "mutopia", "quartets")  # folders of songs of which there are no numbers of Magenta


@pytest.mark.slow
def test_all_songs_give_as_many_windows_as_the_reference():
    if not (SHARED / "data/manifest.csv").exists():
        pytest.skip("reference data not present")
    totals = dict.fromkeys(CONVERTERS, 0)
    paths = [path for path in (SHARED / "data").rglob("*.mid") if path.parent.name not in NOT_COUNTED]
    for path in paths:
        midi = as_the_reference_reads(path)
        for name, converter in CONVERTERS.items():
            totals[name] += len(converter.to_arrays(midi).labels)
    assert len(paths) == 4373
    assert list(totals.values()) == [207_456, 179_422, 36_739, 108_424]


# ---- Converters are data ----


@pytest.mark.parametrize("name", [*CONVERTERS, *ROLLS])
def test_a_converter_survives_json_and_compares_by_its_fields(name):
    converter = (CONVERTERS | ROLLS)[name]
    again = type(converter)(**json.loads(json.dumps(asdict(converter))))
    assert again == converter
    assert hash(again) == hash(converter)
    assert replace(converter, bars=4).steps == 64


def test_depths_and_steps_are_those_of_the_presets():
    converters = CONVERTERS | ROLLS
    depths = {name: (c.input_depth, c.output_depth, c.control_depth, c.steps) for name, c in converters.items()}
    assert depths == {
        "cat-mel_2bar_small": (90, 90, 0, 32),
        "hierdec-mel_16bar": (90, 90, 0, 256),
        "cat-drums_2bar_small": (10, 512, 0, 32),
        "hierdec-trio_16bar": (692, 692, 0, 256),
        "nade-drums_2bar_reduced": (10, 9, 0, 32),
        "nade-drums_2bar_full": (62, 61, 0, 32),
    }


@pytest.mark.parametrize("metre", [(1, 32), (4, 3), (5, 64)])
def test_a_bar_of_broken_steps_is_refused(metre):
    with pytest.raises(ValueError, match="no whole number of sixteenths"):
        MelodyConverter(time_signature=metre)


def test_a_window_without_a_bar_is_refused():
    with pytest.raises(ValueError, match="bars is 0"):
        DrumsConverter(bars=0)


# ---- Labels to MIDI and back ----


@pytest.mark.parametrize("qpm", [120.0, 77.7, 4.0, 1000.0])
@pytest.mark.parametrize("name", CONVERTERS)
def test_labels_read_back(name, qpm, tmp_path):
    converter = CONVERTERS[name]
    for seed in range(3):
        labels = whole_window(converter, np.random.default_rng(seed))
        midi = converter.from_arrays(labels, qpm=qpm)
        assert_windows(converter.to_arrays(midi), [labels])
        again = on_disk(midi, tmp_path / "song.mid")
        assert_windows(converter.to_arrays(again), [labels])
        assert again.get_tempo_changes()[1] == pytest.approx([qpm], rel=1e-4)


@pytest.mark.parametrize(
    "metre, steps", [((3, 4), 12), ((6, 8), 12), ((5, 4), 20), ((7, 8), 14), ((2, 4), 8), ((3, 16), 3)]
)
@pytest.mark.parametrize("kind", [MelodyConverter, DrumsConverter, TrioConverter])
def test_labels_read_back_in_other_time_signatures(kind, metre, steps, tmp_path):
    converter = kind(bars=3, time_signature=metre)
    assert converter.steps == 3 * steps
    labels = whole_window(converter, np.random.default_rng(0))
    midi = on_disk(converter.from_arrays(labels), tmp_path / "song.mid")
    change = midi.time_signature_changes[0]
    assert (change.numerator, change.denominator) == metre
    assert_windows(converter.to_arrays(midi), [labels])


@pytest.mark.parametrize("name", ["cat-mel_2bar_small", "hierdec-trio_16bar"])
def test_labels_that_were_read_once_stay_the_same(name, tmp_path):
    """A window of the fixtures is written and read; what is read then reads back as it is."""
    converter = CONVERTERS[name]
    rows = max((rows for key, rows in reference(name).items() if key.endswith("|all|labels")), key=len)
    assert len(rows) > 10
    for labels in rows[:20]:
        read = converter.to_arrays(on_disk(converter.from_arrays(labels), tmp_path / "song.mid")).labels
        for again in read:
            assert_windows(converter.to_arrays(converter.from_arrays(again)), [again])


@pytest.mark.parametrize("name", CONVERTERS)
def test_a_window_of_zeros_is_a_file_without_notes(name, tmp_path):
    converter = CONVERTERS[name]
    zeros = converter.to_arrays(pretty_midi.PrettyMIDI()).labels[:0].sum(0, dtype=np.int64)
    midi = on_disk(converter.from_arrays(zeros), tmp_path / "empty.mid")
    assert not any(instrument.notes for instrument in midi.instruments)
    assert why(converter, midi) == "no notes"


@pytest.mark.parametrize(
    "converter, labels, kwargs, message",
    [
        (MelodyConverter(), np.zeros((2, 32)), {}, r"shape \[steps\], not \[2, 32\]"),
        (MelodyConverter(), [90] * 32, {}, "from 0 to 89"),
        (MelodyConverter(), [-1] * 32, {}, "from 0 to 89"),
        (DrumsConverter(), [512], {}, "from 0 to 511"),
        (TrioConverter(), np.zeros(256), {}, r"shape \[steps, 3\], not \[256\]"),
        (TrioConverter(), np.full((256, 3), 100), {}, "from 0 to 89, 89, 511"),
        (TrioConverter(), np.zeros((256, 3)), {"program": 0}, "takes three"),
        (MelodyConverter(), np.zeros(32), {"program": 128}, "program is 128"),
        (MelodyConverter(), np.zeros(32), {"qpm": 0}, "qpm is 0"),
        (MelodyConverter(), np.zeros(32), {"qpm": float("nan")}, "qpm is nan"),
    ],
)
def test_wrong_labels_programs_and_tempos_are_refused(converter, labels, kwargs, message):
    with pytest.raises(ValueError, match=message):
        converter.from_arrays(labels, **kwargs)


# ---- Labels to tensors and back ----


def windows_of(converter, n=3, lengths=None):
    labels = np.stack([whole_window(converter, np.random.default_rng(seed)) for seed in range(n)])
    labels = labels.astype(converter.to_arrays(pretty_midi.PrettyMIDI()).labels.dtype)
    lengths = np.full(n, converter.steps) if lengths is None else np.array(lengths)
    return Windows(labels, lengths, None, np.zeros(n), np.zeros(n), ())


@pytest.mark.parametrize("as_torch", [False, True])
@pytest.mark.parametrize("name", CONVERTERS)
def test_frames_are_one_hot_and_give_the_labels_back(name, as_torch):
    converter, windows = CONVERTERS[name], windows_of(CONVERTERS[name])
    given = windows._replace(labels=torch.from_numpy(windows.labels.astype(np.int64))) if as_torch else windows
    tensors = converter.to_tensors(given)
    assert tensors.inputs.shape == (3, converter.steps, converter.input_depth)
    assert tensors.targets.shape == (3, converter.steps, converter.output_depth)
    assert tensors.inputs.dtype == tensors.targets.dtype == torch.float32
    assert tensors.lengths.tolist() == [converter.steps] * 3
    assert tensors.controls is None
    parts = 3 if name.startswith("hierdec-trio") else 1
    assert (tensors.targets.sum(-1) == parts).all()
    np.testing.assert_array_equal(converter.from_tensors(tensors.targets).numpy(), windows.labels)
    np.testing.assert_array_equal(converter.from_tensors(tensors.targets * 0.9 + 0.01).numpy(), windows.labels)


@pytest.mark.parametrize("name", CONVERTERS)
def test_indices_are_the_positions_of_the_ones(name):
    converter = CONVERTERS[name]
    windows = windows_of(converter, lengths=[converter.steps, 5, 0])
    dense, compact = converter.to_tensors(windows), converter.to_tensors(windows, indices=True)
    for frames, given in zip(dense[:2], compact[:2], strict=True):
        if given.dtype == torch.float32:  # several hits, or none
            assert torch.equal(given, frames)
            continue
        padded = torch.zeros(*frames.shape[:-1], frames.shape[-1] + 1).scatter_(-1, given, 1.0)
        assert torch.equal(padded[..., :-1], frames)
    assert (compact.targets.dtype == torch.int64) == (getattr(converter, "output", "categorical") == "categorical")
    assert torch.equal(compact.lengths, dense.lengths)


@pytest.mark.parametrize("name", CONVERTERS)
def test_frames_past_the_length_are_zero(name):
    converter = CONVERTERS[name]
    tensors = converter.to_tensors(windows_of(converter, lengths=[converter.steps, 5, 0]))
    for frames in (tensors.inputs, tensors.targets):
        assert frames[0].any(-1).all()
        assert frames[1, :5].any(-1).all()
        assert not frames[1, 5:].any()
        assert not frames[2].any()


def test_outputs_of_another_depth_are_refused():
    with pytest.raises(ValueError, match="512 deep; this converter's are 90"):
        MelodyConverter().from_tensors(torch.zeros(1, 32, 512))


@pytest.mark.gpu
@pytest.mark.parametrize("name", CONVERTERS)
def test_frames_are_made_where_the_labels_are(name):
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    converter, windows = CONVERTERS[name], windows_of(CONVERTERS[name])
    labels = torch.from_numpy(windows.labels.astype(np.int16)).cuda()
    there, here = converter.to_tensors(windows._replace(labels=labels)), converter.to_tensors(windows)
    assert there.inputs.is_cuda
    assert_close(there.inputs.cpu(), here.inputs)
    assert_close(there.targets.cpu(), here.targets)
    moved = converter.transpose(labels, torch.tensor([1, -2, 0], device="cuda"))
    assert_close(moved.cpu(), converter.transpose(labels.cpu(), torch.tensor([1, -2, 0])))
