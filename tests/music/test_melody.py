"""Melodies: the rules of extraction, back to MIDI, transposition."""

import numpy as np
import pretty_midi
import pytest
import torch

from helpers import SHARED
from made_midi import CONVERTERS, EIGHTS, STEP, assert_windows, melody, on_disk, song, sorted_rows, track, why, window
from midi_utils import MelodyConverter, Skipped


def test_labels_of_the_loops_equal_the_references():
    path = SHARED / "parity/converters/lofi_cat-mel_2bar_small.npz"
    if not path.exists():
        pytest.skip("reference data not present")
    rows = {key.split("|")[0]: rows for key, rows in np.load(path).items() if key.endswith("|all|labels")}
    for name, expected in rows.items():
        labels = MelodyConverter().to_arrays(pretty_midi.PrettyMIDI(str(SHARED / "data/lofi" / f"{name}.mid"))).labels
        np.testing.assert_array_equal(sorted_rows(labels), expected, err_msg=name)
    assert sum(map(len, rows.values())) == 280


# ---- The rules of extraction ----

MELODY_RULES = {
    "half a step rounds up": (
        [(k + 0.5, k + 1.5, 60 + k // 2) for k in range(0, 32, 2)],
        [{k + 1: 41 + k // 2 for k in range(0, 32, 2)} | dict.fromkeys(range(2, 32, 2), 1)],
    ),
    "a note that rounds to nothing takes one step": ([(4.1, 4.3, 60), (19, 32, 62)], [{4: 41, 5: 1, 19: 43}]),
    "one bar is too short": ([(0, 8, 60), (8, 16, 62)], []),
    "a bar that has started counts whole": ([(0, 8, 60), (8, 17, 62)], [{0: 41, 8: 43, 17: 1}]),
    "a note to the end needs no note-off": ([(0, 8, 60), (8, 32, 62)], [{0: 41, 8: 43}]),
    "a note that ends before the end has one": ([(0, 8, 60), (8, 30, 62)], [{0: 41, 8: 43, 30: 1}]),
    "a rest of 15 steps is kept": ([(0, 4, 60), (19, 32, 62)], [{0: 41, 4: 1, 19: 43}]),
    "a rest of 16 steps splits": ([(0, 4, 60), (20, 52, 62), (52, 64, 60)], [{4: 43}, {20: 41}]),
    "windows inside a long note": ([(0, 56, 60), (56, 64, 62)], [{0: 41}, {}, {24: 43}]),
    "a note-off before the first onset is dropped": (
        [(8, 20, 60), (24, 32, 62), (32, 48, 64)],
        [{8: 41, 20: 1, 24: 43}, {8: 43, 16: 45}],
    ),
    "a melody begins with the bar of its first note": ([(37, 50, 60), (50, 64, 62)], [{5: 41, 18: 43}]),
    "of simultaneous notes the highest counts": ([(0, 8, 60), (0, 4, 67), (16, 32, 72)], [{0: 48, 4: 1, 16: 53}]),
    "a later note ends an earlier one for good": (
        [(0, 16, 60), (8, 12, 64), (20, 32, 65)],
        [{0: 41, 8: 45, 12: 1, 20: 46}],
    ),
    "only the pitches 21 to 108 count": (
        [(0, 4, 20), (4, 8, 21), (12, 20, 108), (20, 32, 109)],
        [{4: 2, 8: 1, 12: 89, 20: 1}],
    ),
    "of equal windows one is kept": (
        [(8 * k, 8 * k + 8, 60 + k % 4) for k in range(8)],
        [{0: 41, 8: 42, 16: 43, 24: 44}, {0: 43, 8: 44, 16: 41, 24: 42}],
    ),
    "windows are a bar apart": (
        [(16 * k, 16 * k + 16, 60 + k) for k in range(4)],
        [{0: 41, 16: 42}, {0: 42, 16: 43}, {0: 43, 16: 44}],
    ),
}


@pytest.mark.parametrize("rule", MELODY_RULES)
def test_a_rule_of_extraction_holds(rule, tmp_path):
    notes, expected = MELODY_RULES[rule]
    expected = [window(events) for events in expected]
    assert_windows(MelodyConverter().to_arrays(melody(*notes)), expected)
    in_ticks = melody(*notes)
    in_ticks.instruments[0].notes.sort(key=lambda note: note.start)
    assert_windows(MelodyConverter().to_arrays(on_disk(in_ticks, tmp_path / "song.mid")), expected)


def test_of_one_pitch_and_step_the_earlier_note_counts():
    windows = MelodyConverter().to_arrays(melody((0.2, 4, 60), (0.1, 8, 60), (16, 32, 62)))
    assert_windows(windows, [window({0: 41, 8: 1, 16: 43})])


@pytest.mark.parametrize("program, bars, taken", [(31, 2, True), (32, 2, False), (32, 16, True), (127, 16, True)])
def test_only_the_programs_that_are_asked_for_are_taken(program, bars, taken):
    converter = CONVERTERS["cat-mel_2bar_small" if bars == 2 else "hierdec-mel_16bar"]
    windows = converter.to_arrays(song(track([(0, 16 * bars, 60)], program=program)))
    assert len(windows.labels) == taken


def test_two_tracks_of_one_program_are_two_melodies():
    windows = MelodyConverter().to_arrays(song(track([(0, 32, 60)]), track([(0, 32, 72)])))
    assert_windows(windows, [window({0: 41}), window({0: 53})])
    assert windows.track.tolist() == [0, 1]


def test_drum_tracks_are_never_a_melody():
    assert why(MelodyConverter(programs=None), song(track(EIGHTS, is_drum=True))) == "no track but drums; it has drums"


def test_a_velocity_of_zero_is_no_note():
    midi = melody(*EIGHTS)
    for note in midi.instruments[0].notes:
        note.velocity = 0
    assert why(MelodyConverter(), midi) == "no notes"


def test_a_melody_ends_after_a_hundred_bars():
    notes = [(16 * k, 16 * k + 16, 30 + k % 70) for k in range(120)]
    windows = MelodyConverter(bars=16, programs=None).to_arrays(melody(*notes))
    assert windows.start_bar.tolist() == list(range(70))  # bars 70 to 99 repeat, and what follows is left out
    assert Skipped("track 0 from bar 1", "after the first 100", bars=20) in windows.skipped


def test_windows_may_have_bars_of_three_quarters():
    notes = [(12 * k, 12 * k + 10, 60 + k) for k in range(3)]
    converter = MelodyConverter(bars=2, time_signature=(3, 4))
    assert (converter.steps_per_bar, converter.steps) == (12, 24)
    windows = converter.to_arrays(melody(*notes, metre=(3, 4)))
    assert_windows(windows, [window({0: 41, 10: 1, 12: 42, 22: 1}, 24), window({0: 42, 10: 1, 12: 43, 22: 1}, 24)])
    assert why(converter, melody(*notes)) == "4/4 throughout"
    rest_of_twelve = melody((0, 4, 60), (16, 40, 62), metre=(3, 4))  # a bar of 3/4
    assert converter.to_arrays(rest_of_twelve).start_bar.tolist() == [1, 2]


# ---- Labels to MIDI and back ----

ENDS = {
    "held to the end": {0: 41},
    "note-off in the last step": {0: 41, 31: 1},
    "onset in the last step": {0: 41, 4: 1, 15: 42, 31: 43},
    "onset at the end of the first bar": {15: 41},
    "the lowest and the highest key": {0: 2, 16: 89},
    "a pitch again and again": dict.fromkeys(range(32), 41),
}


@pytest.mark.parametrize("case", ENDS)
def test_events_at_the_edges_of_a_window_read_back(case, tmp_path):
    labels = window(ENDS[case])
    midi = on_disk(MelodyConverter().from_arrays(labels), tmp_path / "song.mid")
    assert_windows(MelodyConverter().to_arrays(midi), [labels])


def test_windows_that_no_file_can_hold_are_lost():
    """These labels are music, but no file reads back to them."""
    lost = [{16: 41}, {0: 41, 4: 1}, {0: 41, 4: 1, 20: 41}]  # nothing in the first bar, in the last, for a bar
    for events in lost:
        assert len(MelodyConverter().to_arrays(MelodyConverter().from_arrays(window(events))).labels) == 0
    read = MelodyConverter().to_arrays(MelodyConverter().from_arrays(window({0: 41, 4: 1, 8: 1, 16: 42})))
    assert_windows(read, [window({0: 41, 4: 1, 16: 42})])  # the second note-off ends nothing


# ---- Transposition ----


def test_transposition_moves_notes_and_no_other_events():
    labels = torch.tensor([[0, 1, 2, 41, 0], [0, 1, 89, 41, 0], [0, 1, 50, 41, 0]])
    moved = MelodyConverter().transpose(labels, torch.tensor([3, -3, 0]))
    assert moved.tolist() == [[0, 1, 5, 44, 0], [0, 1, 86, 38, 0], [0, 1, 50, 41, 0]]


def test_a_window_that_would_leave_the_keys_is_not_moved():
    labels = torch.tensor([[2, 41], [89, 41], [2, 89], [0, 1]])
    assert MelodyConverter().transpose(labels, torch.tensor([-1, 1, 0, -90])).tolist() == labels.tolist()


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int64])
def test_transposition_keeps_the_type_of_labels(dtype):
    moved = MelodyConverter().transpose(torch.tensor([[2, 40]]).to(dtype), torch.tensor([-1]))
    assert moved.dtype == dtype
    assert moved.tolist() == [[2, 40]]


# ---- Reasons ----

REASONS = [
    (MelodyConverter(), melody((0, 32, 120)), "no note in the pitches 21-108"),
    (MelodyConverter(programs=(0, 25)), song(track(EIGHTS, 8)), "no track with a program in 0, 25; it has program 8"),
]


@pytest.mark.parametrize("converter, midi, reason", REASONS)
def test_the_reason_for_no_window_is_named(converter, midi, reason):
    assert why(converter, midi) == reason


def test_other_time_signatures_are_named_with_the_reason():
    midi = melody((0, 4, 60), (16, 40, 60), metre=(4, 4))
    midi.time_signature_changes.append(pretty_midi.TimeSignature(3, 4, 16 * STEP))
    assert why(MelodyConverter(), midi) == "shorter than 2 bars; 3/4 elsewhere"
