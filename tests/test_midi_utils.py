"""MIDI to labels and back: equal to Magenta's converters, round trips, broken files, folders."""

import json
import os
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path

import mido
import numpy as np
import pretty_midi
import pytest
import torch
from torch.testing import assert_close

import midi_utils
from helpers import SHARED
from midi_utils import (
    DrumsConverter,
    MelodyConverter,
    MidiError,
    Skipped,
    TrioConverter,
    Windows,
    load_midi,
    load_songs,
)
from music import midi_repair

FIXTURES = Path(__file__).parent / "fixtures"
CONVERTERS = {
    "cat-mel_2bar_small": MelodyConverter(bars=2),
    "hierdec-mel_16bar": MelodyConverter(bars=16, programs=None),
    "cat-drums_2bar_small": DrumsConverter(bars=2),
    "hierdec-trio_16bar": TrioConverter(bars=16),
}
MADE_FILES = sorted(path.stem for path in (FIXTURES / "converters/midi").glob("*.mid"))
STEP = 0.125  # seconds, at 120 quarters a minute


# ---- Songs and expectations in few words ----


def track(notes, program=0, is_drum=False, step=STEP):
    """A track of notes (start, end, pitch) in steps, or of drum hits (start, pitch)."""
    instrument = pretty_midi.Instrument(program, is_drum)
    for note in notes:
        start, end, pitch = note if len(note) == 3 else (note[0], note[0] + 1, note[1])
        instrument.notes.append(pretty_midi.Note(100, pitch, start * step, end * step))
    return instrument


def song(*tracks, metre=None, qpm=120.0):
    """A song of these tracks; metre: (numerator, denominator), at the start."""
    midi = pretty_midi.PrettyMIDI(resolution=480, initial_tempo=qpm)
    midi.instruments += tracks
    if metre:
        midi.time_signature_changes.append(pretty_midi.TimeSignature(*metre, 0.0))
    return midi


def melody(*notes, **kwargs):
    return song(track(notes), **kwargs)


def window(events, steps=32):
    """Labels of a window in which {step: label} stand, and zeros elsewhere."""
    labels = np.zeros(steps, np.int64)
    labels[list(events)] = list(events.values())
    return labels


def on_disk(midi, path):
    """The song as it is read back from a file."""
    midi.write(str(path))
    return load_midi(path)


def sorted_rows(labels):
    rows = labels.reshape(len(labels), -1)
    return labels[np.lexsort(rows.T[::-1])]


def assert_windows(windows, expected):
    """The windows are these, in any order."""
    assert len(windows.labels) == len(expected)
    if expected:
        np.testing.assert_array_equal(sorted_rows(windows.labels), sorted_rows(np.array(expected)))


def why(converter, midi):
    """Why a song gives no window."""
    windows = converter.to_arrays(midi)
    assert len(windows.labels) == 0
    assert windows.skipped[0].what == "song"
    return windows.skipped[0].reason


EIGHTS = [(4 * k, 4 * k + 2, 60 + k) for k in range(8)]  # two bars of eighth notes and rests
EIGHTS_LABELS = window({4 * k: 41 + k for k in range(8)} | {4 * k + 2: 1 for k in range(8)})


# ---- Equal to the reference ----


@cache
def reference(name):
    return dict(np.load(FIXTURES / "converters" / f"handmade_{name}.npz"))


@pytest.mark.parametrize("file", MADE_FILES)
@pytest.mark.parametrize("name", CONVERTERS)
def test_labels_equal_the_references(name, file):
    windows = CONVERTERS[name].to_arrays(load_midi(FIXTURES / "converters/midi" / f"{file}.mid"))
    expected = reference(name).get(f"{file}|all|labels")
    if expected is None:
        assert len(windows.labels) == 0
        return
    assert windows.labels.dtype == expected.dtype
    np.testing.assert_array_equal(sorted_rows(windows.labels), sorted_rows(expected))
    assert (windows.lengths == CONVERTERS[name].steps).all()


def test_the_fixtures_cover_every_preset():
    counts = [sum(len(v) for k, v in reference(name).items() if k.endswith("|all|labels")) for name in CONVERTERS]
    assert min(counts) > 5


ROLLS = {
    "nade-drums_2bar_reduced": DrumsConverter(bars=2, output="roll"),
    "nade-drums_2bar_full": DrumsConverter(bars=2, output="roll", classes=61),
}


@pytest.mark.parametrize("file", MADE_FILES)
def test_rolls_equal_the_references(file):
    """Nine classes have the labels of `cat-drums_2bar_small`; of 61 the reference's array is a roll, bits packed."""
    midi = load_midi(FIXTURES / "converters/midi" / f"{file}.mid")
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


# What the reference makes of two folders of songs: windows, and the CRC-32 of their labels as sorted rows
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
        return [load_midi(path) for path in sorted((SHARED / "data" / folder).glob("*.mid"))]


@pytest.mark.parametrize("folder, name", REFERENCE_TOTALS)
def test_real_songs_give_the_references_labels(folder, name):
    total, checksum = 0, 0
    for midi in songs_of(folder):
        labels = CONVERTERS[name].to_arrays(midi).labels
        total += len(labels)
        checksum = zlib.crc32(sorted_rows(labels).tobytes(), checksum) if len(labels) else checksum
    assert (total, checksum) == REFERENCE_TOTALS[folder, name]


def test_the_loops_give_the_references_rows():
    path = SHARED / "parity/converters/lofi_cat-mel_2bar_small.npz"
    if not path.exists():
        pytest.skip("reference data not present")
    rows = {key.split("|")[0]: rows for key, rows in np.load(path).items() if key.endswith("|all|labels")}
    for name, expected in rows.items():
        labels = MelodyConverter().to_arrays(load_midi(SHARED / "data/lofi" / f"{name}.mid")).labels
        np.testing.assert_array_equal(sorted_rows(labels), expected, err_msg=name)
    assert sum(map(len, rows.values())) == 280


@pytest.mark.slow
def test_all_songs_give_the_references_totals():
    if not (SHARED / "data/manifest.csv").exists():
        pytest.skip("reference data not present")
    totals = dict.fromkeys(CONVERTERS, 0)
    paths = [path for path in (SHARED / "data").rglob("*.mid") if path.parent.name != "data"]
    for path in paths:
        midi, _ = midi_utils._read(path)
        for name, converter in CONVERTERS.items():
            totals[name] += len(converter.to_arrays(midi).labels)
    assert len(paths) == 4373
    assert list(totals.values()) == [207_456, 179_422, 36_739, 108_424]


# ---- The rules of extraction, one by one ----

MELODY_RULES = {
    "half a step rounds up": (
        [(k + 0.5, k + 1.5, 60 + k // 2) for k in range(0, 32, 2)],
        [{k + 1: 41 + k // 2 for k in range(0, 32, 2)} | dict.fromkeys(range(2, 32, 2), 1)],
    ),
    "a note that rounds to nothing takes one step": ([(4.1, 4.3, 60), (19, 32, 62)], [{4: 41, 5: 1, 19: 43}]),
    "one bar is too short": ([(0, 8, 60), (8, 16, 62)], []),
    "a bar begun is a bar": ([(0, 8, 60), (8, 17, 62)], [{0: 41, 8: 43, 17: 1}]),
    "a note to the end needs no note-off": ([(0, 8, 60), (8, 32, 62)], [{0: 41, 8: 43}]),
    "a note that ends before the end has one": ([(0, 8, 60), (8, 30, 62)], [{0: 41, 8: 43, 30: 1}]),
    "a rest of 15 steps is kept": ([(0, 4, 60), (19, 32, 62)], [{0: 41, 4: 1, 19: 43}]),
    "a rest of 16 steps splits": ([(0, 4, 60), (20, 52, 62), (52, 64, 60)], [{4: 43}, {20: 41}]),
    "windows inside a long note": ([(0, 56, 60), (56, 64, 62)], [{0: 41}, {}, {24: 43}]),
    "a note-off before the first onset is none": (
        [(8, 20, 60), (24, 32, 62), (32, 48, 64)],
        [{8: 41, 20: 1, 24: 43}, {8: 43, 16: 45}],
    ),
    "a melody begins with the bar of its first note": ([(37, 50, 60), (50, 64, 62)], [{5: 41, 18: 43}]),
    "of notes at once the highest is heard": ([(0, 8, 60), (0, 4, 67), (16, 32, 72)], [{0: 48, 4: 1, 16: 53}]),
    "a later note ends an earlier one for good": (
        [(0, 16, 60), (8, 12, 64), (20, 32, 65)],
        [{0: 41, 8: 45, 12: 1, 20: 46}],
    ),
    "pitches 21 to 108 alone": (
        [(0, 4, 20), (4, 8, 21), (12, 20, 108), (20, 32, 109)],
        [{4: 2, 8: 1, 12: 89, 20: 1}],
    ),
    "equal windows are one": (
        [(8 * k, 8 * k + 8, 60 + k % 4) for k in range(8)],
        [{0: 41, 8: 42, 16: 43, 24: 44}, {0: 43, 8: 44, 16: 41, 24: 42}],
    ),
    "windows are a bar apart": (
        [(16 * k, 16 * k + 16, 60 + k) for k in range(4)],
        [{0: 41, 16: 42}, {0: 42, 16: 43}, {0: 43, 16: 44}],
    ),
}


@pytest.mark.parametrize("rule", MELODY_RULES)
def test_melody_rule(rule, tmp_path):
    notes, expected = MELODY_RULES[rule]
    expected = [window(events) for events in expected]
    assert_windows(MelodyConverter().to_arrays(melody(*notes)), expected)
    in_ticks = melody(*notes)
    in_ticks.instruments[0].notes.sort(key=lambda note: note.start)
    assert_windows(MelodyConverter().to_arrays(on_disk(in_ticks, tmp_path / "song.mid")), expected)


DRUM_RULES = {
    "pitches of a class are one label, of no class none": (
        [(0, 36), (0, 42), (4, 35), (4, 36), (8, 20), (8, 88), (18, 51)],
        [{0: 1 + 4, 4: 1, 18: 256}],
    ),
    "the nine classes": (
        [(2 * k, pitch) for k, pitch in enumerate((36, 38, 42, 46, 45, 48, 50, 49, 51))],
        [{2 * k: 2**k for k in range(9)}],
    ),
    "a rest counts from the step after the hit: 15 is kept": ([(0, 36), (16, 38)], [{0: 1, 16: 2}]),
    "16 splits": ([(1, 38), (18, 36), (26, 36), (36, 38)], [{2: 1, 10: 1, 20: 2}]),
    "how long a hit lasts means nothing": ([(0, 30, 36), (16, 17, 38)], [{0: 1, 16: 2}]),
    "equal windows are one": ([(8 * k, 36) for k in range(8)], [{8 * k: 1 for k in range(4)}]),
}


@pytest.mark.parametrize("rule", DRUM_RULES)
def test_drum_rule(rule):
    notes, expected = DRUM_RULES[rule]
    windows = DrumsConverter().to_arrays(song(track(notes, is_drum=True)))
    assert_windows(windows, [window(events) for events in expected])


def test_at_one_pitch_and_step_the_earlier_note_is_heard():
    windows = MelodyConverter().to_arrays(melody((0.2, 4, 60), (0.1, 8, 60), (16, 32, 62)))
    assert_windows(windows, [window({0: 41, 8: 1, 16: 43})])


def test_all_drum_tracks_are_one():
    midi = song(track([(0, 36)], is_drum=True), track([(0, 38), (16, 42)], is_drum=True))
    assert_windows(DrumsConverter().to_arrays(midi), [window({0: 3, 16: 4})])


@pytest.mark.parametrize("program, bars, taken", [(31, 2, True), (32, 2, False), (32, 16, True), (127, 16, True)])
def test_programs(program, bars, taken):
    converter = CONVERTERS["cat-mel_2bar_small" if bars == 2 else "hierdec-mel_16bar"]
    windows = converter.to_arrays(song(track([(0, 16 * bars, 60)], program=program)))
    assert len(windows.labels) == taken


def test_two_tracks_of_one_program_are_two_melodies():
    windows = MelodyConverter().to_arrays(song(track([(0, 32, 60)]), track([(0, 32, 72)])))
    assert_windows(windows, [window({0: 41}), window({0: 53})])
    assert windows.track.tolist() == [0, 1]


def test_drums_are_no_melody():
    assert why(MelodyConverter(programs=None), song(track(EIGHTS, is_drum=True))) == "no track but drums; it has drums"


def test_a_velocity_of_zero_is_no_note():
    midi = melody(*EIGHTS)
    for note in midi.instruments[0].notes:
        note.velocity = 0
    assert why(MelodyConverter(), midi) == "no notes"


@pytest.mark.parametrize("metre, taken", [((4, 4), 1), ((2, 2), 1), ((8, 8), 1), ((3, 4), 0), ((6, 8), 0), (None, 1)])
def test_metres_of_sixteen_steps_pass(metre, taken):
    assert len(MelodyConverter().to_arrays(melody(*EIGHTS, metre=metre)).labels) == taken


def test_a_melody_ends_after_a_hundred_bars():
    notes = [(16 * k, 16 * k + 16, 30 + k % 70) for k in range(120)]
    windows = MelodyConverter(bars=16, programs=None).to_arrays(melody(*notes))
    assert windows.start_bar.tolist() == list(range(70))  # bars 70 to 99 repeat, and what follows is left out
    assert Skipped("track 0 from bar 1", "20 bars after the first 100") in windows.skipped


def change_tempo(midi, seconds, qpm):
    """Adds a tempo change, as pretty_midi keeps it."""
    midi._tick_scales.append((midi.time_to_tick(seconds), 60.0 / (qpm * midi.resolution)))
    midi._update_tick_to_time(midi.time_to_tick(seconds) + 1)
    return midi


def test_a_tempo_change_cuts_the_song_and_its_notes():
    first = [(8 * k, 8 * k + 8, 60 + k) for k in range(3)] + [(24, 50, 63)]  # the last is held over the change at 4 s
    second = pretty_midi.Note(100, 70, 4.25, 8.25)  # from step 2 on at 60 quarters a minute: 0.25 s a step
    midi = change_tempo(melody(*first), 4.0, 60.0)
    midi.instruments[0].notes += [pretty_midi.Note(100, 69, 4.0, 4.5), second, pretty_midi.Note(100, 71, 8.25, 12.0)]
    windows = MelodyConverter().to_arrays(midi)
    assert_windows(windows, [window({8 * k: 41 + k for k in range(4)}), window({0: 50, 1: 51, 17: 52})])
    assert windows.start_bar.tolist() == [0, 2]


def test_windows_shared_by_two_parts_of_a_song_stay_twice():
    midi = change_tempo(melody(*EIGHTS), 4.0, 60.0)
    midi.instruments[0].notes += track([(a + 16, b + 16, p) for a, b, p in EIGHTS], step=0.25).notes
    windows = MelodyConverter().to_arrays(midi)
    assert_windows(windows, [EIGHTS_LABELS, EIGHTS_LABELS])
    assert windows.start_bar.tolist() == [0, 2]


def test_a_metre_change_cuts_the_song_and_is_said():
    midi = melody(*EIGHTS, (32, 44, 70), (44, 56, 71), *((a + 56, b + 56, p) for a, b, p in EIGHTS))
    midi.time_signature_changes.append(pretty_midi.TimeSignature(3, 4, 32 * STEP))
    midi.time_signature_changes.append(pretty_midi.TimeSignature(4, 4, 56 * STEP))
    windows = MelodyConverter().to_arrays(midi)
    assert_windows(windows, [EIGHTS_LABELS, EIGHTS_LABELS])
    assert windows.start_bar.tolist() == [0, 4]
    assert Skipped("from bar 3", "bars of 3/4") in windows.skipped
    waltz = MelodyConverter(time_signature=(3, 4)).to_arrays(midi)
    assert_windows(waltz, [window({0: 51, 12: 52}, 24)])
    assert waltz.start_bar.tolist() == [2]


def test_a_change_to_what_already_holds_is_none():
    midi = change_tempo(melody((0, 20, 60), (20, 32, 62), metre=(4, 4)), 1.0, 120.0)
    midi.time_signature_changes.append(pretty_midi.TimeSignature(4, 4, 1.5))
    assert_windows(MelodyConverter().to_arrays(midi), [window({0: 41, 20: 43})])


def test_of_two_changes_at_one_moment_the_last_holds():
    midi = melody((0, 24, 60), metre=(3, 4))
    midi.time_signature_changes.insert(0, pretty_midi.TimeSignature(5, 4, 0.0))
    windows = MelodyConverter(time_signature=(3, 4)).to_arrays(midi)
    assert_windows(windows, [window({0: 41}, 24)])
    assert windows.skipped == ()


def test_a_new_metre_begins_a_bar_and_a_new_tempo_does_not():
    notes = [(a + 24, b + 24, p) for a, b, p in EIGHTS]  # after a bar and a half
    midi = melody((0, 24, 60), *notes)
    midi.time_signature_changes += [pretty_midi.TimeSignature(5, 4, 0.0), pretty_midi.TimeSignature(4, 4, 3.0)]
    assert MelodyConverter().to_arrays(midi).start_bar.tolist() == [2]  # a bar of 5/4, and one cut short
    midi = change_tempo(melody((0, 24, 60)), 3.0, 60.0)
    midi.instruments[0].notes += track([(a + 12, b + 12, p) for a, b, p in EIGHTS], step=0.25).notes
    assert MelodyConverter().to_arrays(midi).start_bar.tolist() == [0, 1]  # the second begins in the middle of bar 1


def test_bars_are_counted_across_many_tempos(tmp_path):
    messages = []
    for k in range(40):  # two bars each, at a tempo that is no round number of seconds
        messages.append(mido.MetaMessage("set_tempo", tempo=300_007 + 7919 * k))
        for _, _, pitch in EIGHTS:
            messages += [mido.Message("note_on", note=pitch, velocity=90)]
            messages += [mido.Message("note_off", note=pitch, time=480)]
    mido.MidiFile(ticks_per_beat=480, tracks=[mido.MidiTrack(messages)]).save(tmp_path / "song.mid")
    windows = MelodyConverter().to_arrays(load_midi(tmp_path / "song.mid"))
    assert windows.start_bar.tolist() == list(range(0, 80, 2))


def test_a_pickup_written_as_a_short_bar():
    midi = melody((0, 4, 55), *((a + 4, b + 4, p) for a, b, p in EIGHTS))
    midi.time_signature_changes += [pretty_midi.TimeSignature(1, 4, 0.0), pretty_midi.TimeSignature(4, 4, 4 * STEP)]
    windows = MelodyConverter().to_arrays(midi)
    assert_windows(windows, [EIGHTS_LABELS])
    assert windows.start_bar.tolist() == [1]


def test_start_bars_count_from_the_start_of_the_file():
    midi = melody(*((a + 37 * 16, b + 37 * 16, p) for a, b, p in EIGHTS))
    assert MelodyConverter().to_arrays(midi).start_bar.tolist() == [37]


# ---- Trios ----


def bars_of(pitch, bars, step_in_bar=0):
    """A note of a whole bar in each of these bars."""
    return [(16 * bar + step_in_bar, 16 * bar + 16, pitch) for bar in bars]


def trio(melody_bars, bass_bars, drum_bars):
    hits = [(16 * bar, 36) for bar in drum_bars]
    return song(track(bars_of(60, melody_bars)), track(bars_of(40, bass_bars), 33), track(hits, is_drum=True))


def test_a_trio_lies_side_by_side():
    windows = TrioConverter(bars=2).to_arrays(trio([0, 1], [0], [1]))
    expected = np.zeros((32, 3), np.int64)
    expected[[0, 16], 0] = 41
    expected[0, 1], expected[16, 1] = 21, 1
    expected[16, 2] = 1
    assert_windows(windows, [expected])


@pytest.mark.parametrize(
    "rest, starts",
    [
        (range(8, 12), range(5)),  # four bars: two reached from either side
        (range(8, 13), range(0)),  # the fifth is reached by none, and every window of 16 bars in 20 holds it
        (range(16, 20), range(5)),  # two bars reached, the last two lenient
        (range(0, 4), range(5)),
        (range(0, 5), range(3, 5)),
    ],
)
def test_a_trios_part_may_rest(rest, starts):
    every = range(20)
    windows = TrioConverter().to_arrays(trio([bar for bar in every if bar not in rest], every, every))
    assert windows.start_bar.tolist() == list(starts)


def test_a_trio_takes_every_choice_of_tracks_and_keeps_repeats():
    full = range(16)
    midi = trio(full, full, full)
    midi.instruments += [track(bars_of(64, full), 24), track(bars_of(60, full), 25), track(bars_of(64, full), 75)]
    windows = TrioConverter().to_arrays(midi)
    assert windows.track.tolist() == [0, 3, 4]
    assert (windows.labels[0] == windows.labels[2]).all()
    assert Skipped("track 5", "program 75 is not in 0-39") in windows.skipped


def test_a_note_off_that_leads_a_trio_window_stays():
    midi = trio(range(17), range(17), range(17))
    midi.instruments[0].notes = track([(0, 20, 60), (28, 272, 62)]).notes
    labels = TrioConverter().to_arrays(midi).labels
    assert labels[1, :13, 0].tolist() == [0, 0, 0, 0, 1] + [0] * 7 + [43]


# ---- Other metres ----


def test_bars_of_three_quarters():
    notes = [(12 * k, 12 * k + 10, 60 + k) for k in range(3)]
    converter = MelodyConverter(bars=2, time_signature=(3, 4))
    assert (converter.steps_per_bar, converter.steps) == (12, 24)
    windows = converter.to_arrays(melody(*notes, metre=(3, 4)))
    assert_windows(windows, [window({0: 41, 10: 1, 12: 42, 22: 1}, 24), window({0: 42, 10: 1, 12: 43, 22: 1}, 24)])
    assert why(converter, melody(*notes)) == "4/4 throughout"
    rest_of_twelve = melody((0, 4, 60), (16, 40, 62), metre=(3, 4))  # a bar of 3/4
    assert converter.to_arrays(rest_of_twelve).start_bar.tolist() == [1, 2]


@pytest.mark.parametrize(
    "metre, steps", [((3, 4), 12), ((6, 8), 12), ((5, 4), 20), ((7, 8), 14), ((2, 4), 8), ((3, 16), 3)]
)
@pytest.mark.parametrize("kind", [MelodyConverter, DrumsConverter, TrioConverter])
def test_round_trip_in_other_metres(kind, metre, steps, tmp_path):
    converter = kind(bars=3, time_signature=metre)
    assert converter.steps == 3 * steps
    labels = whole_window(converter, np.random.default_rng(0))
    midi = on_disk(converter.from_arrays(labels), tmp_path / "song.mid")
    change = midi.time_signature_changes[0]
    assert (change.numerator, change.denominator) == metre
    assert_windows(converter.to_arrays(midi), [labels])


@pytest.mark.parametrize("metre", [(1, 32), (4, 3), (5, 64)])
def test_a_bar_is_whole_steps(metre):
    with pytest.raises(ValueError, match="no whole number of sixteenths"):
        MelodyConverter(time_signature=metre)


def test_a_window_has_a_bar():
    with pytest.raises(ValueError, match="bars is 0"):
        DrumsConverter(bars=0)


# ---- Converters are data ----


@pytest.mark.parametrize("name", [*CONVERTERS, *ROLLS])
def test_converters_are_plain_values(name):
    converter = (CONVERTERS | ROLLS)[name]
    again = type(converter)(**json.loads(json.dumps(asdict(converter))))
    assert again == converter
    assert hash(again) == hash(converter)
    assert replace(converter, bars=4).steps == 64


def test_depths():
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


# ---- Labels to MIDI and back ----


def whole_melody(rng, steps, bar):
    """A melody with an onset in the first bar and in the last, and no rest of a bar."""
    labels, sounding = np.zeros(steps, np.int64), False
    for step in range(steps):
        if step % max(1, bar // 2) == 0 or rng.random() < 0.3:
            labels[step], sounding = rng.integers(2, 90), True
        elif sounding and rng.random() < 0.2:
            labels[step], sounding = 1, False
    return labels


def whole_window(converter, rng):
    """Labels that read back as they are."""
    steps, bar = converter.steps, converter.steps_per_bar
    drums = np.where(rng.random(steps) < 0.4, rng.integers(1, 512, steps), 0)
    drums[::bar] = 1
    if isinstance(converter, DrumsConverter):
        return drums
    if isinstance(converter, MelodyConverter):
        return whole_melody(rng, steps, bar)
    return np.stack([whole_melody(rng, steps, bar), whole_melody(rng, steps, bar), drums], -1)


@pytest.mark.parametrize("qpm", [120.0, 77.7, 4.0, 1000.0])
@pytest.mark.parametrize("name", CONVERTERS)
def test_round_trip(name, qpm, tmp_path):
    converter = CONVERTERS[name]
    for seed in range(3):
        labels = whole_window(converter, np.random.default_rng(seed))
        midi = converter.from_arrays(labels, qpm=qpm)
        assert_windows(converter.to_arrays(midi), [labels])
        again = on_disk(midi, tmp_path / "song.mid")
        assert_windows(converter.to_arrays(again), [labels])
        assert again.get_tempo_changes()[1] == pytest.approx([qpm], rel=1e-4)


@pytest.mark.parametrize("name", ["cat-mel_2bar_small", "hierdec-trio_16bar"])
def test_a_window_of_the_fixtures_makes_the_same_file_again(name, tmp_path):
    """Window to file, file to windows, and those to files: from the first reading on nothing changes."""
    converter = CONVERTERS[name]
    rows = max((rows for key, rows in reference(name).items() if key.endswith("|all|labels")), key=len)
    assert len(rows) > 10
    for labels in rows[:20]:
        read = converter.to_arrays(on_disk(converter.from_arrays(labels), tmp_path / "song.mid")).labels
        for again in read:
            assert_windows(converter.to_arrays(converter.from_arrays(again)), [again])


ENDS = {
    "held to the end": {0: 41},
    "note-off in the last step": {0: 41, 31: 1},
    "onset in the last step": {0: 41, 4: 1, 15: 42, 31: 43},
    "onset at the end of the first bar": {15: 41},
    "the lowest and the highest key": {0: 2, 16: 89},
    "a pitch again and again": dict.fromkeys(range(32), 41),
}


@pytest.mark.parametrize("case", ENDS)
def test_round_trip_at_the_edges(case, tmp_path):
    labels = window(ENDS[case])
    midi = on_disk(MelodyConverter().from_arrays(labels), tmp_path / "song.mid")
    assert_windows(MelodyConverter().to_arrays(midi), [labels])


def test_what_a_file_cannot_say():
    """The labels of these windows are music, but no file reads back to them."""
    lost = [{16: 41}, {0: 41, 4: 1}, {0: 41, 4: 1, 20: 41}]  # nothing in the first bar, in the last, for a bar
    for events in lost:
        assert len(MelodyConverter().to_arrays(MelodyConverter().from_arrays(window(events))).labels) == 0
    read = MelodyConverter().to_arrays(MelodyConverter().from_arrays(window({0: 41, 4: 1, 8: 1, 16: 42})))
    assert_windows(read, [window({0: 41, 4: 1, 16: 42})])  # the second note-off ends nothing


@pytest.mark.parametrize("name", CONVERTERS)
def test_a_window_of_zeros_is_a_file_without_notes(name, tmp_path):
    converter = CONVERTERS[name]
    zeros = converter.to_arrays(pretty_midi.PrettyMIDI()).labels[:0].sum(0, dtype=np.int64)
    midi = on_disk(converter.from_arrays(zeros), tmp_path / "empty.mid")
    assert not any(instrument.notes for instrument in midi.instruments)
    assert why(converter, midi) == "no notes"


def test_what_is_written():
    midi = TrioConverter(bars=1).from_arrays(np.array([[41, 42, 3]] * 16))
    assert [(i.program, i.is_drum) for i in midi.instruments] == [(0, False), (33, False), (0, True)]
    assert {note.velocity for instrument in midi.instruments for note in instrument.notes} == {80}
    assert [note.pitch for note in midi.instruments[2].notes[:2]] == [36, 38]
    midi = TrioConverter(bars=1).from_arrays(np.zeros((16, 3)), program=(24, 35, 25))
    assert [i.program for i in midi.instruments] == [24, 35, 25]
    assert MelodyConverter().from_arrays(window({}), program=80).instruments[0].program == 80


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
def test_labels_that_are_no_window(converter, labels, kwargs, message):
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
def test_frames(name, as_torch):
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


def test_drum_inputs_are_hits_and_their_absence():
    labels = np.array([[0, 1, 0b100000010, 511]], np.uint16)
    inputs = DrumsConverter().to_tensors(Windows(labels, np.array([4]), None, None, None, ())).inputs[0]
    expected = [[0] * 9 + [1], [1] + [0] * 9, [0, 1, 0, 0, 0, 0, 0, 0, 1, 0], [1] * 9 + [0]]
    assert inputs.tolist() == expected


@pytest.mark.parametrize("name", CONVERTERS)
def test_frames_past_the_length_are_zero(name):
    converter = CONVERTERS[name]
    tensors = converter.to_tensors(windows_of(converter, lengths=[converter.steps, 5, 0]))
    for frames in (tensors.inputs, tensors.targets):
        assert frames[0].any(-1).all()
        assert frames[1, :5].any(-1).all()
        assert not frames[1, 5:].any()
        assert not frames[2].any()


@pytest.mark.parametrize("name", ROLLS)
def test_a_roll_is_hits(name, tmp_path):
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
def test_drums_that_cannot_be(fields):
    with pytest.raises(ValueError, match="classes"):
        DrumsConverter(**fields)


def test_outputs_of_another_depth():
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


# ---- Transposition ----


def test_transposition_moves_notes_alone():
    labels = torch.tensor([[0, 1, 2, 41, 0], [0, 1, 89, 41, 0], [0, 1, 50, 41, 0]])
    moved = MelodyConverter().transpose(labels, torch.tensor([3, -3, 0]))
    assert moved.tolist() == [[0, 1, 5, 44, 0], [0, 1, 86, 38, 0], [0, 1, 50, 41, 0]]


def test_a_window_that_would_leave_the_keys_stays():
    labels = torch.tensor([[2, 41], [89, 41], [2, 89], [0, 1]])
    assert MelodyConverter().transpose(labels, torch.tensor([-1, 1, 0, -90])).tolist() == labels.tolist()


def test_a_trio_moves_as_one_and_its_drums_stay():
    labels = torch.tensor([[[41, 20, 5], [1, 0, 300]], [[88, 20, 5], [0, 0, 0]]])
    moved = TrioConverter().transpose(labels, torch.tensor([2, 2]))
    assert moved.tolist() == [[[43, 22, 5], [1, 0, 300]], [[88, 20, 5], [0, 0, 0]]]


def test_drums_do_not_move():
    labels = torch.tensor([[0, 1, 2, 511]])
    assert DrumsConverter().transpose(labels, torch.tensor([5])).tolist() == labels.tolist()


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int64])
def test_transposition_keeps_the_type(dtype):
    moved = MelodyConverter().transpose(torch.tensor([[2, 40]]).to(dtype), torch.tensor([-1]))
    assert moved.dtype == dtype
    assert moved.tolist() == [[2, 40]]


# ---- Broken files ----

MENDED = {  # file: what the warning says
    "data_byte_over_127.mid": "a data byte of 226, read as 127",
    "division_zero.mid": "zero ticks a quarter, read as 480",
    "giant_delta.mid": "a silence of 559240 quarter notes",
    "keysig_bad_mode.mid": "a key signature of bytes ff ff, left out",
    "ntrks_too_many.mid": "the header says 5 tracks, the file holds 1",
    "ntrks_zero.mid": "the header says 0 tracks, the file holds 1",
    "riff_rmid.rmi": "20 bytes before the header",
    "smpte_division_25fps.mid": "film frames (25 a second)",
    "tempo_zero.mid": "a tempo of bytes 00 00 00, left out",
    "timesig_0_4.mid": "a time signature of bytes 00 02 18 08, left out",
    "timesig_length_2.mid": "a time signature of 2 bytes, completed",
    "track_length_too_long.mid": "shorter than its header says, but complete",
}
REFUSED = {  # file: what the error says
    "header_only_10_bytes.mid": "cut off inside its header",
    "html_error_page.mid": "not a MIDI file: it begins with b'<!DOCTYPE html",
    "running_status_first_event.mid": "track 0, byte 23: data where an event should begin",
    "truncated_half.mid": "cut off: track 0 ends before its end-of-track event",
    "zeros_1k.mid": "not a MIDI file",
}
PITCHES = {"giant_delta.mid": [*range(60, 68), 64], "notes_never_released.mid": [], "type2.mid": [*range(60, 68)] * 2}
MALFORMED = sorted(path.name for path in (FIXTURES / "malformed").iterdir() if path.suffix != ".md")


@pytest.mark.parametrize("name", MALFORMED)
def test_broken_file(name):
    path = FIXTURES / "malformed" / name
    if name in REFUSED:
        with pytest.raises(MidiError) as error:
            load_midi(path)
        assert str(path) in str(error.value)
        assert REFUSED[name] in str(error.value)
        return
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        midi = load_midi(path)
    said = " ".join(str(warning.message) for warning in caught)
    assert MENDED.get(name, "") in said
    assert ("mending" in said) == (name in MENDED)
    pitches = [note.pitch for instrument in midi.instruments for note in instrument.notes]
    assert pitches == PITCHES.get(name, list(range(60, 68)))
    for converter in CONVERTERS.values():
        converter.to_arrays(midi)


def test_mending_keeps_the_rhythm():
    """All but the film frames keep their ticks, and with them their steps."""
    good = load_midi(FIXTURES / "malformed/good_reference.mid").instruments[0].notes
    for name in MENDED:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            midi = load_midi(FIXTURES / "malformed" / name)
        seconds = 480 / 1000 if name.startswith("smpte") else 0.5  # a quarter has 480 ticks
        times = [(note.start / seconds, note.end / seconds) for note in midi.instruments[0].notes[:8]]
        np.testing.assert_allclose(times, [(note.start / 0.5, note.end / 0.5) for note in good], err_msg=name)


def test_a_shortened_silence_takes_out_whole_bars():
    with pytest.warns(UserWarning, match="shortened"):
        midi = load_midi(FIXTURES / "malformed/giant_delta.mid")
    before, late = midi.instruments[0].notes[-2:]
    original = 2**28 - 1  # ticks from the last note's end
    ticks = midi.time_to_tick(late.start) - midi.time_to_tick(before.end)
    assert (original - ticks) % (4 * 480) == 0
    assert 256 * 480 <= ticks < 260 * 480


def readers_results():
    """What three readers make of each file: its name, and the counts of notes that pretty_midi and symusic find."""
    path = SHARED / "malformed/RESULTS.txt"
    for line in path.read_text().splitlines() if path.exists() else []:
        name, mido, *notes = (field.split(" ", 1) for field in line.split(" | "))
        counts = [int(result[3:-1]) for _, result in notes if result.startswith("ok(")]
        yield name[0], counts, mido[1].startswith("ok")


def notes_found(path):
    """How many notes load_midi finds, None where it refuses the file by name."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            midi = load_midi(path)
        except MidiError as error:
            return None if str(path) in str(error) else str(error)
    return sum(len(instrument.notes) for instrument in midi.instruments)


def test_what_any_reader_reads_loads():
    results = list(readers_results())
    if not results:
        pytest.skip("reference data not present")
    found = {name: notes_found(SHARED / "malformed" / name) for name, _, _ in results}
    expected = {name: max(counts) if counts else None for name, counts, _ in results}
    more = {"jazzsoft/test-running-status-sysex.mid", "made/ntrks_zero.mid"}  # symusic stops at the fault
    assert [found.pop(name) for name in more] == [8, 8]
    assert {name: n for name, n in found.items() if expected[name] is not None and n != expected[name]} == {}
    assert [name for name, _, mido_reads in results if mido_reads and name in found and found[name] is None] == []
    assert {n for name, n in found.items() if expected[name] is None} == {None, 8, 0}


@pytest.mark.parametrize(
    "content, message",
    [(b"", "the file is empty"), (b"once upon a time", "not a MIDI file"), (b"MThd", "cut off inside its header")],
)
def test_files_that_are_no_midi(tmp_path, content, message):
    path = tmp_path / "song.mid"
    path.write_bytes(content)
    with pytest.raises(MidiError, match=message) as error:
        load_midi(path)
    assert str(path) in str(error.value)


def test_a_data_byte_over_127_is_127(tmp_path):
    good = (FIXTURES / "malformed/good_reference.mid").read_bytes()
    path = tmp_path / "loud.mid"
    path.write_bytes(good.replace(b"\x90\x3c\x5a", b"\x90\x3c\xc8"))
    with pytest.warns(UserWarning, match="a data byte of 200, read as 127"):
        assert load_midi(path).instruments[0].notes[0].velocity == 127


def test_no_file_and_a_folder(tmp_path):
    with pytest.raises(MidiError, match="there is no such file"):
        load_midi(tmp_path / "none.mid")
    with pytest.raises(MidiError, match="is a folder"):
        load_midi(tmp_path)
    assert issubclass(MidiError, ValueError)


def test_no_damage_leads_to_another_error():
    """A good file with random bytes changed, inserted or cut loads or raises MidiError."""
    rng = np.random.default_rng(0)
    good = (FIXTURES / "converters/midi/07_trio.mid").read_bytes()
    outcomes = set()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for _ in range(150):
            data = bytearray(good[: rng.integers(20, len(good))] if rng.random() < 0.2 else good)
            for position in rng.integers(0, min(len(data), 400), rng.integers(1, 6)):
                data[position] = rng.integers(256)
            outcomes.add(loads(bytes(data)))
    assert outcomes == {True, False}


def loads(data):
    try:
        try:
            pretty_midi.PrettyMIDI(midi_utils.io.BytesIO(data))
        except Exception:
            mended, _ = midi_repair.repair(data)
            pretty_midi.PrettyMIDI(midi_utils.io.BytesIO(mended))
    except MidiError:
        return False
    return True


# ---- A folder of songs ----


def write_song(path, seed=0, midi=None):
    """A song of three bars of melody in two voices, unlike that of any other seed."""
    rng = np.random.default_rng(seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    midi = midi or song(*(track([(4 * k, 4 * k + 4, int(rng.integers(40, 90))) for k in range(12)]) for _ in range(2)))
    midi.write(str(path))


@pytest.fixture
def folder(tmp_path):
    """Six good songs of four windows each, in subfolders and with every ending."""
    for seed, name in enumerate(["a.mid", "b.MID", "sub/c.midi", "sub/deep/d.kar", "e.rmi", "z.Midi"]):
        write_song(tmp_path / name, seed)
    (tmp_path / "notes.txt").write_text("not music")
    (tmp_path / ".hidden.mid").write_bytes(b"")
    return tmp_path


def read(paths, converter=None, **kwargs):
    return load_songs(paths, converter or MelodyConverter(), progress=False, **kwargs)


def test_a_folder_and_its_subfolders(folder):
    dataset = read(folder)
    assert dataset.names == ("a.mid", "b.MID", "e.rmi", "sub/c.midi", "sub/deep/d.kar", "z.Midi")
    assert len(dataset) == dataset.report.windows == 24
    assert dataset.labels.dtype == np.uint8
    assert dataset.labels.shape == (24, 32)
    assert dataset.song.tolist() == np.repeat(range(6), 4).tolist()
    assert dataset.start_bar.tolist() == [0, 1] * 12
    assert dataset.track.tolist() == [0, 0, 1, 1] * 6
    assert (dataset.lengths == 32).all()
    assert dataset.controls is None
    assert dataset.converter == MelodyConverter()
    np.testing.assert_array_equal(dataset[4], dataset.windows([4]).labels[0])


def test_built_in_songs_step_back_for_the_users_own(tmp_path):
    write_song(tmp_path / "built_in" / "a.mid", 0)
    built_in = read(tmp_path)
    assert built_in.names == ("built_in/a.mid",)
    assert "built-in songs" in str(built_in.report)
    write_song(tmp_path / "deep" / "built_in" / "b.mid", 1)
    own = read(tmp_path)
    assert own.names == ("deep/built_in/b.mid",)
    assert "built-in" not in str(own.report).splitlines()[0].replace(str(tmp_path), "")


def test_windows_by_index_slice_and_mask(folder):
    dataset = read(folder)
    for indices in ([5, 3], slice(2, 6), np.arange(24) % 7 == 0, torch.tensor([0, 23]), []):
        windows = dataset.windows(indices)
        rows = np.arange(24)[indices] if len(np.atleast_1d(indices)) else np.zeros(0, int)
        np.testing.assert_array_equal(windows.labels, dataset.labels[rows])
        assert dataset.converter.to_tensors(windows).inputs.shape[0] == len(windows.labels)


def test_a_list_of_paths_keeps_its_names(folder):
    paths = [folder / "z.Midi", str(folder / "a.mid")]
    dataset = read(paths)
    assert dataset.names == (str(folder / "a.mid"), str(folder / "z.Midi"))
    assert read([folder / "sub"]).names == (str(folder / "sub/c.midi"), str(folder / "sub/deep/d.kar"))
    assert read(folder / "a.mid").names == ("a.mid",)


def test_a_windows_twin_is_dropped_over_the_whole_set(folder):
    (folder / "a copy.mid").write_bytes((folder / "a.mid").read_bytes())
    both = song(track([(4 * k, 4 * k + 4, 60) for k in range(8)]), track([(4 * k, 4 * k + 4, 61) for k in range(8)]))
    write_song(folder / "new.mid", midi=both)
    write_song(folder / "old.mid", midi=song(track([(4 * k, 4 * k + 4, 60) for k in range(8)])))
    dataset = read(folder)
    assert dataset.report.duplicates == 5
    assert len(dataset) == 26
    assert len(np.unique(dataset.labels, axis=0)) == 26
    assert "a copy.mid" in dataset.names  # it comes first, so that the original is the twin
    assert dict(dataset.report.without_window) == {
        "a.mid": "every window is in an earlier song too",
        "old.mid": "every window is in an earlier song too",
    }


def test_the_report_says_what_became_of_every_file(folder):
    (folder / "broken.mid").write_bytes((FIXTURES / "malformed/truncated_half.mid").read_bytes())
    (folder / "page.mid").write_bytes((FIXTURES / "malformed/html_error_page.mid").read_bytes())
    (folder / "mended.mid").write_bytes((FIXTURES / "malformed/keysig_bad_mode.mid").read_bytes())
    write_song(folder / "waltz.mid", midi=melody(*EIGHTS, metre=(3, 4)))
    write_song(folder / "strings.mid", midi=song(track(EIGHTS, 48), track(EIGHTS, 73)))
    write_song(folder / "short.mid", midi=melody((0, 4, 60)))
    write_song(folder / "sparse.mid", midi=melody((0, 4, 60), (40, 44, 60)))
    write_song(folder / "silent.mid", midi=melody())
    write_song(folder / "free.mid", midi=melody(*((3.7 * k + 0.3, 3.7 * k + 3, 70 - k) for k in range(30))))
    report = read(folder).report
    assert (report.files, report.songs) == (15, 7)
    assert dict(report.refused) == {
        "broken.mid": "cut off: track 0 ends before its end-of-track event",
        "page.mid": "not a MIDI file: it begins with b'<!DOCTYPE html><', not with MThd",
    }
    assert dict(report.mended) == {"mended.mid": "track 0: a key signature of bytes ff ff, left out"}
    assert dict(report.without_window) == {
        "mended.mid": "shorter than 2 bars",
        "short.mid": "shorter than 2 bars",
        "silent.mid": "no notes",
        "sparse.mid": "no melody of 2 bars without a bar's rest",
        "strings.mid": "no track with a program in 0-31; it has programs 48, 73",
        "waltz.mid": "3/4 throughout",
    }
    assert [name for name, _ in report.off_grid] == ["free.mid"]
    text = str(report)
    for line in (
        f"{folder}: 15 MIDI files, 13 read, 2 refused",
        "30 windows of 2 bars kept from 7 songs, 0 duplicates dropped",
        "Refused: 2",
        "Songs without a usable window: 6",
        "  shorter than 2 bars: 2 songs: mended.mid, short.mid",
        "  no track with a program in 0-31: 1 song: strings.mid (it has programs 48, 73)",
    ):
        assert line in text.splitlines()
    assert repr(report) == text


def test_long_lists_are_cut_in_print_and_whole_in_the_report(folder):
    for k in range(9):
        (folder / f"empty {k}.mid").write_bytes(b"")
        write_song(folder / f"waltz {k}.mid", 0, song(track([(0, 4, 60)]), metre=(3, 4)))
    report = read(folder).report
    assert f"the file is empty: 9 songs: {', '.join(f'empty {k}.mid' for k in range(9))}" in str(report)
    shown = "waltz 0.mid, waltz 1.mid, waltz 2.mid, waltz 3.mid, waltz 4.mid and 4 more"
    assert f"3/4 throughout: 9 songs: {shown}" in str(report)
    assert len(report.without_window) == 9


REASONS = [
    (DrumsConverter(), melody(*EIGHTS), "no drums"),
    (DrumsConverter(), song(track([(0, 20), (30, 88)], is_drum=True)), "no drum of the nine classes"),
    (DrumsConverter(2, (4, 4), 61, "roll"), song(track([(0, 22)], is_drum=True)), "no drum of the 61 classes"),
    (DrumsConverter(), song(track([(0, 36)], is_drum=True)), "shorter than 2 bars"),
    (DrumsConverter(), song(track([(0, 36), (40, 36)], is_drum=True)), "no 2 bars of drums without an empty one"),
    (MelodyConverter(), melody((0, 32, 120)), "no note in the pitches 21-108"),
    (MelodyConverter(programs=(0, 25)), song(track(EIGHTS, 8)), "no track with a program in 0, 25; it has program 8"),
    (
        TrioConverter(),
        song(track(EIGHTS), track(EIGHTS, 25), track([(0, 36)], is_drum=True)),
        "trio needs a bass track (programs 32-39); it has programs 0, 25 and drums",
    ),
    (
        TrioConverter(),
        song(track(EIGHTS, 60)),
        "trio needs a melody track (programs 0-31), a bass track (programs 32-39), a drum track; it has program 60",
    ),
    (TrioConverter(), trio(range(4), range(4), range(4)), "shorter than 16 bars"),
    (TrioConverter(), trio(range(16), range(16), [7]), "melody, bass and drums never play 16 bars together"),
    (TrioConverter(), pretty_midi.PrettyMIDI(), "no notes"),
]


@pytest.mark.parametrize("converter, midi, reason", REASONS)
def test_why_a_song_gives_nothing(converter, midi, reason):
    assert why(converter, midi) == reason


def test_a_change_of_metre_is_named_with_the_reason():
    midi = melody((0, 4, 60), (16, 40, 60), metre=(4, 4))
    midi.time_signature_changes.append(pretty_midi.TimeSignature(3, 4, 16 * STEP))
    assert why(MelodyConverter(), midi) == "shorter than 2 bars; 3/4 elsewhere"


@pytest.mark.parametrize("make", ["missing", "empty", "other", "broken", "short", "list"])
def test_nothing_to_learn_from_is_an_error(tmp_path, make):
    path, message = {
        "missing": (tmp_path / "none", "there is no such folder"),
        "empty": (tmp_path, "there is no MIDI file; add files that end in .mid"),
        "other": (tmp_path, "there is no MIDI file"),
        "broken": (tmp_path, "1 MIDI file, 0 read, 1 refused\n(.*\n)*.*add MIDI files that play"),
        "short": (tmp_path, "shorter than 2 bars: 1 song: song.mid\n.*take another preset"),
        "list": ([], "there is no MIDI file"),
    }[make]
    if make == "other":
        (tmp_path / "song.txt").write_text("la la")
    if make == "broken":
        (tmp_path / "song.mid").write_bytes(b"la la")
    if make == "short":
        write_song(tmp_path / "song.mid", midi=melody((0, 4, 60)))
    with pytest.raises(ValueError, match=message):
        read(path)


def test_a_missing_file_of_a_list_is_refused_by_name(folder):
    dataset = read([folder / "a.mid", folder / "none.mid"])
    assert dataset.report.refused == ((str(folder / "none.mid"), "there is no such file"),)


# ---- Worker processes ----


@pytest.fixture
def many(tmp_path):
    for seed in range(40):
        write_song(tmp_path / f"{seed:02}.mid", seed)
    (tmp_path / "07.mid").write_bytes(b"broken")
    (tmp_path / "30.mid").write_bytes((tmp_path / "20.mid").read_bytes())
    return tmp_path


def assert_same(one, other):
    for field in ("labels", "lengths", "song", "track", "start_bar"):
        np.testing.assert_array_equal(getattr(one, field), getattr(other, field))
    assert one.names == other.names
    assert one.report == other.report


def test_workers_read_what_one_process_reads(many):
    here = read(many, workers=1)
    assert len(here) == 38 * 4
    assert_same(here, read(many, workers=2))
    with ThreadPoolExecutor(2) as threads:
        assert_same(here, read(many, executor=threads))


class DeadlyConverter(MelodyConverter):
    """Ends its process, or raises, at songs by program."""

    def to_arrays(self, midi):
        program = midi.instruments[0].program
        if program == 20:
            os._exit(1)
        if program == 21:
            raise MemoryError("too long")
        return super().to_arrays(midi)


def test_a_file_that_ends_its_process_loses_no_other(many):
    write_song(many / "11.mid", midi=song(track(EIGHTS, 20)))
    write_song(many / "12.mid", midi=song(track(EIGHTS, 21)))
    dataset = read(many, DeadlyConverter(), workers=2)
    refused = dict(dataset.report.refused)
    assert set(refused) == {"07.mid", "11.mid", "12.mid"}
    assert refused["11.mid"].startswith("reading it ended its process")
    assert refused["12.mid"] == "MemoryError: too long"
    assert len(dataset.names) == 36


def test_where_no_process_starts_the_songs_are_read_here(many, monkeypatch):
    def refuse(workers):
        raise PermissionError("no processes here")

    monkeypatch.setattr(midi_utils, "ProcessPoolExecutor", refuse)
    assert len(read(many, workers=2)) == 38 * 4


# ---- Splits ----


def all_windows(parts):
    return sorted(row.tobytes() for part in parts for row in part.labels)


@pytest.mark.parametrize("valid, test, counts", [(0.1, 0.0, (5, 1, 0)), (0.5, 0.2, (2, 3, 1)), (0.0, 0.0, (6, 0, 0))])
def test_a_split_parts_songs(folder, valid, test, counts):
    dataset = read(folder)
    split = dataset.split(valid=valid, test=test)
    assert tuple(len(part.names) for part in split) == counts
    assert sorted(name for part in split for name in part.names) == sorted(dataset.names)
    assert all_windows(split) == all_windows([dataset])
    for part in split:
        assert len(part) == 4 * len(part.names)
        for k, name in enumerate(part.names):
            same = dataset.labels[dataset.song == dataset.names.index(name)]
            np.testing.assert_array_equal(part.labels[part.song == k], same)


def test_a_split_repeats_by_its_seed(folder):
    dataset = read(folder)
    assert dataset.split(0.3, seed=5).valid.names == dataset.split(0.3, seed=5).valid.names
    assert len({dataset.split(0.2, seed=seed).valid.names for seed in range(20)}) > 3


def test_songs_of_a_group_stay_together(folder):
    dataset = read(folder)
    groups = {name: "tune" if name in ("a.mid", "e.rmi", "z.Midi") else name for name in dataset.names}
    for seed in range(10):
        split = dataset.split(0.3, 0.2, seed=seed, groups=groups)
        assert sum("a.mid" in part.names for part in split) == 1
        for part in split:
            assert len({"a.mid", "e.rmi", "z.Midi"} & set(part.names)) in (0, 3)
        by_list = dataset.split(0.3, 0.2, seed=seed, groups=[groups[name] for name in dataset.names])
        assert [part.names for part in by_list] == [part.names for part in split]


@pytest.mark.parametrize(
    "kwargs, message",
    [
        ({"valid": 1.0}, "valid is 1.0"),
        ({"valid": -0.1}, "valid is -0.1"),
        ({"valid": 0.6, "test": 0.5}, "valid is 0.6 and test is 0.5"),
        ({"groups": ["tune"] * 6}, "1 group cannot be split into 2 parts"),
        ({"groups": ["tune"]}, "groups has 1 entries; the dataset has 6 songs"),
        ({"groups": {"a.mid": "tune"}}, "groups says nothing of b.MID"),
    ],
)
def test_a_split_that_cannot_be(folder, kwargs, message):
    with pytest.raises(ValueError, match=message):
        read(folder).split(**kwargs)


def test_two_songs_are_no_three_parts(folder):
    with pytest.raises(ValueError, match="2 songs cannot be split into 3 parts"):
        read(folder / "sub").split(valid=0.1, test=0.1)
    assert [len(part.names) for part in read(folder / "sub").split(valid=0.1)] == [1, 1, 0]
