"""Drums on the grid: the rules of extraction, combinations and rolls."""

import numpy as np
import pytest
import torch

from made_midi import (
    CONVERTERS,
    EIGHTS,
    MADE_FILES,
    ROLLS,
    assert_windows,
    made_song,
    melody,
    on_disk,
    reference,
    song,
    sorted_rows,
    track,
    why,
    window,
)
from midi_utils import DrumsConverter, Windows


@pytest.mark.parametrize("file", MADE_FILES)
def test_rolls_equal_the_references(file):
    """Nine classes have the labels of `cat-drums_2bar_small`; for 61 the reference has a roll as packed bits."""
    midi = made_song(file)
    full = ROLLS["nade-drums_2bar_full"]
    windows, expected = full.to_arrays(midi), reference("nade-drums_2bar_full").get(f"{file}|all|outputs")
    assert windows.labels.dtype == np.int64
    if expected is None:
        assert len(windows.labels) == 0
    else:
        roll = np.packbits(full.to_tensors(windows).targets.numpy().astype(bool), axis=-1)
        np.testing.assert_array_equal(sorted_rows(roll), sorted_rows(expected))
    labels = CONVERTERS["cat-drums_2bar_small"].to_arrays(midi).labels
    np.testing.assert_array_equal(ROLLS["nade-drums_2bar_reduced"].to_arrays(midi).labels, labels)


# ---- The rules of extraction ----

DRUM_RULES = {
    "all pitches of a class count as it, pitches of no class are dropped": (
        [(0, 36), (0, 42), (4, 35), (4, 36), (8, 20), (8, 88), (18, 51)],
        [{0: 1 + 4, 4: 1, 18: 256}],
    ),
    "the nine classes": (
        [(2 * k, pitch) for k, pitch in enumerate((36, 38, 42, 46, 45, 48, 50, 49, 51))],
        [{2 * k: 2**k for k in range(9)}],
    ),
    "a rest counts from the step after the hit: 15 is kept": ([(0, 36), (16, 38)], [{0: 1, 16: 2}]),
    "16 splits": ([(1, 38), (18, 36), (26, 36), (36, 38)], [{2: 1, 10: 1, 20: 2}]),
    "the duration of a hit does not count": ([(0, 30, 36), (16, 17, 38)], [{0: 1, 16: 2}]),
    "of equal windows one is kept": ([(8 * k, 36) for k in range(8)], [{8 * k: 1 for k in range(4)}]),
}


@pytest.mark.parametrize("rule", DRUM_RULES)
def test_a_rule_of_extraction_holds(rule):
    notes, expected = DRUM_RULES[rule]
    windows = DrumsConverter().to_arrays(song(track(notes, is_drum=True)))
    assert_windows(windows, [window(events) for events in expected])


def test_all_drum_tracks_are_taken_together():
    midi = song(track([(0, 36)], is_drum=True), track([(0, 38), (16, 42)], is_drum=True))
    assert_windows(DrumsConverter().to_arrays(midi), [window({0: 3, 16: 4})])


# ---- Tensors ----


def test_inputs_are_hits_and_a_one_where_there_is_none():
    labels = np.array([[0, 1, 0b100000010, 511]], np.uint16)
    inputs = DrumsConverter().to_tensors(Windows(labels, np.array([4]), None, None, None, ())).inputs[0]
    expected = [[0] * 9 + [1], [1] + [0] * 9, [0, 1, 0, 0, 0, 0, 0, 0, 1, 0], [1] * 9 + [0]]
    assert inputs.tolist() == expected


@pytest.mark.parametrize("name", ROLLS)
def test_targets_of_a_roll_are_hits(name, tmp_path):
    converter = ROLLS[name]
    labels = np.where(np.arange(32) % 3, 0, np.random.default_rng(0).integers(1, 2**converter.classes, 32))
    labels[16] = 1 << (converter.classes - 1)
    read = converter.to_arrays(on_disk(converter.from_arrays(labels), tmp_path / "song.mid")).labels
    np.testing.assert_array_equal(read, [labels])
    tensors = converter.to_tensors(Windows(read, np.array([20])))
    assert tensors.targets.shape == (1, 32, converter.classes)
    assert tensors.inputs.shape == (1, 32, converter.classes + 1)
    assert tensors.targets[0, 16].nonzero().flatten().tolist() == [converter.classes - 1]
    assert torch.equal(tensors.inputs[..., :-1], tensors.targets)
    assert torch.equal(tensors.inputs[0, :20, -1] == 1, ~tensors.targets[0, :20].any(-1))
    assert not tensors.inputs[0, 20:].any()
    np.testing.assert_array_equal(converter.from_tensors(tensors.targets * 0.6)[0, :20], labels[:20])
    with pytest.raises(ValueError, match="512 deep"):
        converter.from_tensors(torch.zeros(1, 32, 512))


@pytest.mark.parametrize("fields", [{"classes": 61}, {"classes": 10, "output": "roll"}, {"output": "onehot"}])
def test_classes_and_outputs_that_do_not_exist_are_refused(fields):
    with pytest.raises(ValueError, match="classes"):
        DrumsConverter(**fields)


def test_transposition_leaves_drums_as_they_are():
    labels = torch.tensor([[0, 1, 2, 511]])
    assert DrumsConverter().transpose(labels, torch.tensor([5])).tolist() == labels.tolist()


# ---- Reasons ----

REASONS = [
    (DrumsConverter(), melody(*EIGHTS), "no drums"),
    (DrumsConverter(), song(track([(0, 20), (30, 88)], is_drum=True)), "no drum of the nine classes"),
    (DrumsConverter(2, (4, 4), 61, "roll"), song(track([(0, 22)], is_drum=True)), "no drum of the 61 classes"),
    (DrumsConverter(), song(track([(0, 36)], is_drum=True)), "shorter than 2 bars"),
    (DrumsConverter(), song(track([(0, 36), (40, 36)], is_drum=True)), "no 2 bars of drums without an empty one"),
]


@pytest.mark.parametrize("converter, midi, reason", REASONS)
def test_the_reason_for_no_window_is_named(converter, midi, reason):
    assert why(converter, midi) == reason
