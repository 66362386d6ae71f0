"""Grooves: arrays equal to the reference's, what inputs lack, and timing and velocities back to MIDI."""

import json
import math
from dataclasses import asdict, replace

import numpy as np
import pretty_midi
import pytest
import torch
from torch.testing import assert_close

from made_midi import EIGHTS, MADE_FILES, made_song, melody, on_disk, reference, song, track, why, with_tempo_change
from midi_utils import GrooveConverter, Skipped, Windows, load_songs
from music.groove import SHARE_OF_MEAN, on_taps, with_feel

GROOVE = GrooveConverter(bars=2, kit="general_midi")
CONVERTERS = {
    "groovae_4bar": GrooveConverter(bars=4),
    "groovae_2bar_humanize": GrooveConverter(humanize=True),
    "groovae_2bar_tap_fixed_velocity": GrooveConverter(tap=True, fixed_velocity=True),
    "groovae_2bar_add_closed_hh": GrooveConverter(added_classes=(2,)),
    "groovae_2bar_hits_control_tfds": GrooveConverter(hits_control=True),
}
KITS = {"eval": "roland", "infer": "general_midi"}  # the reference's modes


def played(*hits, qpm=120.0):
    """A song of drum hits (step, pitch, velocity); steps may be fractions."""
    drums = pretty_midi.Instrument(0, is_drum=True)
    for step, pitch, velocity in hits:
        drums.notes.append(pretty_midi.Note(velocity, pitch, step * 15 / qpm, (step + 0.5) * 15 / qpm))
    return song(drums, qpm=qpm)


def groove(seed=0, steps=32, share=0.4):
    """Random labels [steps, 27]."""
    rng = np.random.default_rng(seed)
    hits = rng.random((steps, 9)) < share
    hits[-1, 0] = True
    offsets = rng.uniform(-0.95, 0.95, (steps, 9))
    offsets[0] = -np.abs(offsets[0])
    return np.concatenate([hits, hits * rng.uniform(0.05, 1, (steps, 9)), hits * offsets], 1).astype(np.float32)


def windows_of(*labels):
    return Windows(np.stack(labels), np.full(len(labels), len(labels[0])))


# ---- Equal to the reference ----


@pytest.mark.parametrize("mode", KITS)
@pytest.mark.parametrize("file", MADE_FILES)
@pytest.mark.parametrize("name", CONVERTERS)
def test_arrays_equal_the_references(name, file, mode):
    converter = replace(CONVERTERS[name], kit=KITS[mode])
    midi = made_song(file)
    if not all(instrument.is_drum for instrument in midi.instruments):
        converter.to_arrays(midi)
        for instrument in midi.instruments:  # the reference takes all tracks for drums
            instrument.is_drum = True
    windows = converter.to_arrays(midi)
    expected = {key: reference(name).get(f"{file}|{mode}|{key}") for key in ("outputs", "inputs", "controls")}
    if expected["outputs"] is None:  # the reference has none, or fails at a pitch of no class
        return
    assert windows.labels.dtype == np.float32
    np.testing.assert_array_equal(windows.labels, expected["outputs"])
    tensors = converter.to_tensors(windows)
    np.testing.assert_array_equal(tensors.targets, expected["outputs"])
    np.testing.assert_array_equal(tensors.inputs, expected["inputs"])
    if converter.hits_control:
        np.testing.assert_array_equal(tensors.controls, expected["controls"])
    else:
        assert tensors.controls is None


@pytest.mark.parametrize("name", CONVERTERS)
def test_every_preset_has_windows_in_the_fixtures(name):
    counts = {mode: sum(len(v) for k, v in reference(name).items() if k.endswith(f"|{mode}|outputs")) for mode in KITS}
    assert min(counts.values()) >= 3


# ---- Hits, velocities, offsets ----


def test_a_hit_has_velocity_and_offset():
    labels = GROOVE.to_arrays(played((0, 36, 127), (5.25, 38, 64), (30.75, 51, 1))).labels
    assert labels.shape == (1, 32, 27)
    assert labels[0, 0, [0, 9, 18]].tolist() == [1, 1, 0]
    assert labels[0, 5, [1, 10, 19]] == pytest.approx([1, 64 / 127, -0.5])  # a quarter step late
    assert labels[0, 31, [8, 17, 26]] == pytest.approx([1, 1 / 127, 0.5])
    assert np.count_nonzero(labels) == 8


def test_the_loudest_hit_of_a_class_counts():
    labels = GROOVE.to_arrays(played((3.9, 38, 90), (4, 40, 100), (4.1, 38, 80), (31, 36, 100))).labels[0]
    assert labels[4, [1, 10, 19]] == pytest.approx([1, 100 / 127, 0])
    labels = GROOVE.to_arrays(played((4.1, 38, 90), (3.9, 40, 90), (31, 36, 100))).labels[0]
    assert labels[4, 19] == pytest.approx(-0.2, abs=1e-6)  # of equals the first in the file


def test_the_kit_decides_the_class_of_a_pitch():
    midi = played((0, 45, 90), (1, 48, 90), (2, 58, 90), (31, 36, 90))
    classes = {
        kit: GrooveConverter(kit=kit).to_arrays(midi).labels[0, :3, :9].argmax(1).tolist() for kit in KITS.values()
    }
    assert classes == {"roland": [5, 6, 4], "general_midi": [4, 5, 7]}


def test_windows_lie_end_to_end_from_the_start():
    windows = GROOVE.to_arrays(played((40, 36, 90), (100, 36, 90)))
    assert windows.start_bar.tolist() == [0, 2, 4]  # the last bar of seven is left over
    assert [labels.any() for labels in windows.labels] == [False, True, False]
    assert windows.lengths.tolist() == [32, 32, 32]


def test_other_tracks_and_pitches_of_no_class_are_left_out():
    midi = played((0, 36, 90), (31, 38, 90), (4, 20, 127), (60, 88, 127))
    midi.instruments.insert(0, track([(0, 4, 36), (8, 64, 60)]))
    windows = GROOVE.to_arrays(midi)
    assert len(windows.labels) == 1
    assert np.argwhere(windows.labels[0, :, :9]).tolist() == [[0, 0], [31, 1]]
    assert windows.track.tolist() == [1]
    assert windows.skipped == (Skipped("track 0", "no drums"),)


def test_the_reason_for_no_window_is_named():
    assert why(GROOVE, melody(*EIGHTS)) == "no drums"
    assert why(GROOVE, played((0, 20, 90))) == "no drum of the nine classes"
    assert why(GROOVE, played((0, 36, 90))) == "shorter than 2 bars"
    assert why(GROOVE, pretty_midi.PrettyMIDI()) == "no notes"
    other_metre = played((0, 36, 90), (40, 36, 90))
    faster = with_tempo_change(played((0, 36, 90), (40, 36, 90)), 1.0, 121.0)
    reason = "the tempo changes, which this converter does not take; follow_tempo=True follows the beat"
    assert why(GROOVE, faster) == reason
    assert len(replace(GROOVE, follow_tempo=True).to_arrays(faster).labels)
    other_metre.time_signature_changes.append(pretty_midi.TimeSignature(2, 2, 1.0))
    assert why(GROOVE, other_metre) == "the time signature changes, which this converter does not take"
    waltz = played((0, 36, 90), (40, 36, 90))
    waltz.time_signature_changes.append(pretty_midi.TimeSignature(3, 4, 0.0))
    assert why(GROOVE, waltz) == "3/4 throughout"


def test_a_set_of_grooves_is_not_reported_off_the_grid(tmp_path):
    for name, late in (("a", 0.3), ("b", 0.4), ("c", 0.4)):
        played(*((step + late, 38, 90) for step in range(32))).write(str(tmp_path / f"{name}.mid"))
    dataset = load_songs(tmp_path, GROOVE, workers=1, progress=False)
    assert len(dataset) == 2
    assert dataset.report.off_grid == ()
    assert dataset.report.duplicates == 1


# ---- What the inputs lack ----


def test_inputs_to_humanize_lack_timing_and_velocity():
    labels = groove()
    inputs = GrooveConverter(humanize=True).to_tensors(windows_of(labels)).inputs[0].numpy()
    np.testing.assert_array_equal(inputs[:, :9], labels[:, :9])
    assert not inputs[:, 9:].any()


def test_a_tapped_rhythm_is_the_loudest_hit_on_one_class():
    labels = groove()
    labels[3, :9] = 0
    labels[3, 9:] = 0
    inputs = GrooveConverter(tap=True).to_tensors(windows_of(labels)).inputs[0].unflatten(-1, (3, 9)).numpy()
    loudest = labels[:, 9:18].argmax(1)
    for part in range(3):
        expected = labels[np.arange(32), 9 * part + loudest]
        np.testing.assert_array_equal(inputs[:, part, 3], expected)
    assert not np.delete(inputs, 3, axis=2).any()
    assert not inputs[3].any()


def test_inputs_lack_the_classes_to_add():
    inputs = GrooveConverter(added_classes=[2, 8]).to_tensors(windows_of(groove())).inputs[0].unflatten(-1, (3, 9))
    assert not inputs[:, :, [2, 8]].any()
    assert_close(inputs[:, :, :2], torch.from_numpy(groove()).unflatten(-1, (3, 9))[:, :, :2])


def test_a_generator_drops_notes_from_inputs_mostly_soft_ones():
    converter = GrooveConverter(note_dropout=0.8)
    soft, loud = groove(share=1.0), groove(share=1.0)
    soft[:, 9:18], loud[:, 9:18] = 0.1, 1.0
    windows = windows_of(*[soft] * 200, *[loud] * 200)
    tensors = converter.to_tensors(windows, torch.Generator().manual_seed(1))
    assert_close(converter.to_tensors(windows, torch.Generator().manual_seed(1)).inputs, tensors.inputs)
    np.testing.assert_array_equal(tensors.targets, windows.labels)
    parts = tensors.inputs.unflatten(-1, (3, 9))
    kept = parts[:, :, 0].mean((1, 2))
    assert kept[:200].mean() == pytest.approx(1 - 0.9 * 0.4, abs=0.05)
    assert kept[200:].mean() == pytest.approx(1 - 0.2 * 0.4, abs=0.02)
    assert kept[:200].std() > 0.15  # a share of its own for each window
    assert not parts[parts[:, :, :1].expand_as(parts) == 0].any()
    np.testing.assert_array_equal(converter.to_tensors(windows).inputs, windows.labels)


def test_frames_past_the_length_are_zero():
    windows = windows_of(groove(), groove(1))._replace(lengths=np.array([32, 7]))
    for converter in (GrooveConverter(tap=True), GrooveConverter(hits_control=True)):
        tensors = converter.to_tensors(windows)
        for frames in (tensors.inputs, tensors.targets, *([tensors.controls] if converter.hits_control else [])):
            assert frames[1, :7].any()
            assert not frames[1, 7:].any()


def test_making_tensors_does_not_change_the_labels():
    windows = windows_of(groove())
    GrooveConverter(tap=True, fixed_velocity=True, added_classes=(2,)).to_tensors(windows)
    np.testing.assert_array_equal(windows.labels[0], groove())


# ---- Back to MIDI ----


@pytest.mark.parametrize("qpm", [120.0, 77.7, 300.0])
@pytest.mark.parametrize("kit", ["roland", "general_midi"])
def test_labels_read_back(kit, qpm, tmp_path):
    converter = GrooveConverter(kit=kit)
    for seed in range(3):
        labels = groove(seed)
        read = converter.to_arrays(on_disk(converter.from_arrays(labels, qpm=qpm), tmp_path / "song.mid")).labels
        assert len(read) == 1
        np.testing.assert_array_equal(read[0, :, :9], labels[:, :9])
        assert np.abs(read[0, :, 9:18] - labels[:, 9:18]).max() <= 0.5 / 127 + 1e-6
        assert np.abs(read[0, :, 18:] - labels[:, 18:]).max() <= 1 / 1200


def test_labels_read_from_a_file_read_back(tmp_path):
    midi = made_song("06b_drums_groove")
    for labels in GROOVE.to_arrays(midi).labels[:1]:
        read = GROOVE.to_arrays(on_disk(GROOVE.from_arrays(labels), tmp_path / "song.mid")).labels
        np.testing.assert_allclose(read, labels[None], atol=1 / 1200)


def test_extreme_outputs_stay_on_their_steps(tmp_path):
    """The tanh of an offset reaches plus and minus one, and the sigmoid of a velocity 0."""
    labels = groove(share=1.0)
    labels[:, 9:18] = 0.001
    labels[::2, 18:], labels[1::2, 18:] = -1, 1
    read = GROOVE.to_arrays(on_disk(GROOVE.from_arrays(labels), tmp_path / "song.mid")).labels
    assert (read[0, :, :9] == 1).all()
    np.testing.assert_allclose(read[0, :, 9:18], 1 / 127, atol=1e-6)
    np.testing.assert_allclose(read[0, :, 18:], labels[:, 18:], atol=0.01)
    labels[0, 18:] = 0.5  # before the start
    read = GROOVE.to_arrays(GROOVE.from_arrays(labels)).labels
    assert not read[0, 0, 18:].any()


def test_outputs_become_labels():
    outputs = torch.full((1, 32, 27), 0.4)
    outputs[0, 5, 2] = 0.6
    labels = GROOVE.from_tensors(outputs)
    assert labels.dtype == torch.float32
    assert labels[0, 5, [2, 11, 20]].tolist() == pytest.approx([1, 0.4, 0.4])
    assert torch.count_nonzero(labels) == 3
    with pytest.raises(ValueError, match="512 deep"):
        GROOVE.from_tensors(torch.zeros(1, 32, 512))


@pytest.mark.parametrize("labels", [np.zeros((32, 9)), np.zeros((1, 32, 27)), np.full((32, 27), np.nan)])
def test_wrong_labels_are_refused(labels):
    with pytest.raises(ValueError, match=r"\[steps, 27\]"):
        GROOVE.from_arrays(labels)


# ---- Converters are data ----


@pytest.mark.parametrize("name", CONVERTERS)
def test_a_converter_survives_json_and_compares_by_its_fields(name):
    converter = CONVERTERS[name]
    again = type(converter)(**json.loads(json.dumps(asdict(converter))))
    assert again == converter
    assert hash(again) == hash(converter)
    assert (converter.input_depth, converter.output_depth) == (27, 27)
    assert converter.control_depth == (9 if name.startswith("groovae_2bar_hits") else 0)


def test_unknown_kits_and_classes_are_refused():
    with pytest.raises(ValueError, match="one of roland, general_midi"):
        GrooveConverter(kit="bongos")
    with pytest.raises(ValueError, match="0 to 8"):
        GrooveConverter(added_classes=(9,))


def test_bars_after_the_first_4096_are_left_out_and_reported():
    windows = GROOVE.to_arrays(played((0, 36, 90), (16 * 4100, 36, 90)))
    assert len(windows.labels) == 2048
    assert windows.skipped == (Skipped("drums", "after the first 4,096", bars=5),)


@pytest.mark.gpu
@pytest.mark.parametrize("name", CONVERTERS)
def test_frames_are_made_where_the_labels_are(name):
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    windows = windows_of(groove(), groove(1))
    there = CONVERTERS[name].to_tensors(windows._replace(labels=torch.from_numpy(windows.labels).cuda()))
    here = CONVERTERS[name].to_tensors(windows)
    for far, near in zip(there, here):
        assert (far is None and near is None) or (far.is_cuda and torch.equal(far.cpu(), near))


def test_hits_get_the_velocities_and_offsets_of_a_model():
    labels = np.zeros((1, 2, 27), np.float32)
    labels[0, 0, 4] = 1
    logits = np.full((1, 2, 27), -30.0)
    logits[0, 0, [4, 13, 22]] = 0, math.log(1 / 3), math.atanh(-0.5)  # a hit is as likely as a rest
    played = with_feel(labels, logits)
    assert played.sum((0, 1)).nonzero()[0].tolist() == [4, 13, 22]
    assert played[0, 0, [4, 13, 22]] == pytest.approx([1, 0.25 / 0.5, -0.5])
    logits[0, 0, [4, 13]] = math.log(1 / 9), math.log(9)
    assert with_feel(labels, logits)[0, 0, 13] == pytest.approx(1)  # more than the loudest


def test_an_unexpected_hit_is_drawn_to_the_mean_velocity():
    labels = np.zeros((1, 2, 27), np.float32)
    labels[0, [0, 1], 4] = 1
    logits = np.full((1, 2, 27), -30.0)
    logits[0, 0, [4, 13]] = 0, math.log(1 / 3)
    assert with_feel(labels, logits)[0, :, 13] == pytest.approx([0.5, 0.5])
    logits[0, 1, [4, 13]] = math.log(1 / 9)  # a tenth of a hit, as loud as can be
    mean = (0.25 + 0.1) / (0.5 + 0.1)
    share = SHARE_OF_MEAN
    wanted = [(0.25 + share * mean) / (0.5 + share), (0.1 + share * mean) / (0.1 + share)]
    assert with_feel(labels, logits)[0, :, 13] == pytest.approx(wanted)


def test_drums_play_where_something_is_tapped_and_there_alone():
    taps, logits = np.array([[True, True, False]]), np.full((1, 3, 27), -3.0)
    logits[0, :, 1] = -1
    logits[0, 0, [2, 3]] = 1
    hits = on_taps(taps, logits, 0, np.zeros(0))[0, :, :9]
    assert [row.nonzero()[0].tolist() for row in hits] == [[2, 3], [1], []]
    uniforms = np.full((1, 3, 9), 0.9)
    uniforms[0, 0, 2] = 0.7  # below the chance of a hit at temperature 1, 0.73, and above it at 10, 0.52
    for temperature, wanted in ((1, [2]), (10, [2, 3])):
        hits = on_taps(taps, logits, temperature, uniforms)[0, :, :9]
        assert hits[0].nonzero()[0].tolist() == wanted
