"""Pianos: the rules of extraction, voices, pedal and loops, back to MIDI, tensors, transposition."""

import json
from dataclasses import asdict

import numpy as np
import pretty_midi
import pytest
import torch
from hypothesis import given, seed, settings
from hypothesis import strategies as st

from configs import CONVERTERS
from engine.classes import one_hot_frames
from helpers import BUILT_IN, SHARED
from made_midi import EIGHTS, STEP, assert_windows, melody, on_disk, song, track, why, with_tempo_change
from midi_utils import PianoConverter, Skipped, Windows, load_midi, load_songs, midi_files
from music.grid import song_parts
from music.labels import KEYS, MIN_PITCH, NO_NOTE

EMPTY = [NO_NOTE] * 10
SOURCES = ("lieder", "openhymnal", "lofi", "pop909_grid")


def on(pitch):
    return KEYS + pitch - MIN_PITCH


def held(pitch):
    return pitch - MIN_PITCH


def lists(notes, steps=32, voices=10):
    """Labels of notes (start, end, pitch): of which none overlap on a key, step by step."""
    labels = np.full((steps, voices), NO_NOTE)
    for step in range(steps):
        sounding = sorted((p, on(p) if a == step else held(p)) for a, b, p in notes if a <= step < b)
        labels[step, : len(sounding)] = [code for _, code in sounding]
    return labels


def codes(labels):
    """The codes of each step, without the voices that have no note."""
    return [[code for code in row if code != NO_NOTE] for row in np.asarray(labels).tolist()]


def only_window(midi, **fields):
    (labels,) = PianoConverter(**fields).to_arrays(midi).labels
    return labels


# ---- The rules of extraction ----

RULES = {
    "a chord is a list from low to high": ([(0, 32, 67), (0, 32, 60), (0, 32, 64)], None),
    "a repeated note stays repeated": ([(4 * k, 4 * k + 4, 60) for k in range(8)], None),
    "notes of other lengths overlap": ([(0, 32, 48), (4, 10, 60), (8, 20, 64), (20, 32, 60)], None),
    "half a step rounds up": ([(0.5, 31.5, 60)], [[(1, 32, 60)]]),
    "a note that rounds to nothing takes one step": ([(4.1, 4.3, 60), (8, 32, 62)], [[(4, 5, 60), (8, 32, 62)]]),
    "a key struck again ends the note": ([(0, 32, 60), (8, 32, 60)], [[(0, 8, 60), (8, 32, 60)]]),
    "a key sounds until its last note ends": ([(0, 32, 60), (8, 12, 60)], [[(0, 8, 60), (8, 32, 60)]]),
    "of notes that start together the longest counts": ([(0, 4, 60), (0, 32, 60), (0, 9, 60)], [[(0, 32, 60)]]),
    "the lowest and the highest key": ([(0, 32, 21), (0, 32, 108)], None),
    "a rest without an empty bar is kept": ([(0, 1, 60), (31, 32, 62)], None),
    "two empty bars split": (
        [(0, 32, 60), (64, 80, 61), (80, 96, 62)],
        [[(0, 32, 60)], [(0, 16, 61), (16, 32, 62)]],
    ),
    "nothing begins or ends with an empty bar": ([(0, 32, 60), (48, 80, 64)], [[(0, 32, 60)], [(0, 32, 64)]]),
    "a long note is no rest": ([(0, 32, 40), (0, 4, 60), (28, 32, 60)], None),
    "a line begins with the bar of its first note": ([(37, 64, 60)], [[(5, 32, 60)]]),
    "a bar that has started counts whole": ([(0, 17, 60)], None),
    "what sounds at a window's start begins there": (
        [(0, 40, 60), (8, 24, 64), (40, 48, 67)],
        [[(0, 32, 60), (8, 24, 64)], [(0, 24, 60), (0, 8, 64), (24, 32, 67)]],
    ),
    "of equal windows one is kept": ([(16 * k, 16 * k + 16, 60) for k in range(6)], [[(0, 16, 60), (16, 32, 60)]]),
    "one bar is too short": ([(0, 16, 60)], []),
}  # fmt: skip


@pytest.mark.parametrize("rule", RULES)
def test_a_rule_of_extraction_holds(rule, tmp_path):
    notes, expected = RULES[rule]
    expected = [lists(window) for window in ([notes] if expected is None else expected)]
    assert_windows(PianoConverter().to_arrays(melody(*notes)), expected)


def test_labels_tell_onsets_from_held_keys():
    labels = only_window(melody((0, 2, 60), (1, 4, 64), (2, 3, 60), (18, 32, 21)))
    assert labels.dtype == np.uint8
    assert labels.shape == (32, 10)
    assert codes(labels)[:5] == [[on(60)], [held(60), on(64)], [on(60), held(64)], [held(64)], []]
    assert codes(labels)[17:20] == [[], [88], [0]]


def test_all_tracks_but_drums_are_one_piano_or_each_its_own():
    drums, high, low = track([(0, 36), (16, 38)], is_drum=True), [(0, 32, 72)], [(0, 16, 40), (16, 32, 72)]
    midi = song(drums, track(high, program=68), track(low))
    together = PianoConverter().to_arrays(midi)
    assert_windows(together, [lists([(0, 16, 40), (0, 16, 72), (16, 32, 72)])])
    assert together.track.tolist() == [1]
    each = PianoConverter(tracks="each").to_arrays(midi)
    assert_windows(each, [lists(high), lists(low)])
    assert each.track.tolist() == [1, 2]
    assert Skipped("track 0", "drums") in each.skipped
    pianos = PianoConverter(programs=(0,)).to_arrays(midi)
    assert_windows(pianos, [lists(low)])
    assert Skipped("track 1", "program 68 is not in 0") in pianos.skipped


def test_the_rest_of_one_track_does_not_end_what_others_play():
    midi = song(track([(0, 64, 40)]), track([(0, 4, 60), (60, 64, 60)]))
    assert PianoConverter(bars=4).to_arrays(midi).start_bar.tolist() == [0]
    assert PianoConverter(bars=4, tracks="each").to_arrays(midi).track.tolist() == [0]


def test_windows_end_at_a_change_of_tempo_unless_the_tempo_is_followed():
    midi = with_tempo_change(melody((0, 16, 60), (16, 48, 62)), 16 * STEP, 90.0)
    assert PianoConverter().to_arrays(midi).start_bar.tolist() == [1]
    assert PianoConverter(follow_tempo=True).to_arrays(midi).start_bar.tolist()[0] == 0


def test_windows_may_have_bars_of_three_quarters():
    converter = PianoConverter(time_signature=(3, 4))
    midi = melody((0, 24, 60), (12, 24, 64), metre=(3, 4))
    assert_windows(converter.to_arrays(midi), [lists([(0, 24, 60), (12, 24, 64)], 24)])
    assert why(PianoConverter(), midi) == "3/4 throughout"
    assert why(converter, melody((0, 32, 60))) == "4/4 throughout"


def test_a_line_ends_after_a_hundred_bars():
    notes = [(16 * k, 16 * k + 16, 30 + k % 70) for k in range(120)]
    windows = PianoConverter(bars=16).to_arrays(melody(*notes))
    assert windows.start_bar.tolist() == list(range(70))  # bars 70 to 99 repeat, and what follows is left out
    assert Skipped("track 0 from bar 1", "after the first 100", bars=20) in windows.skipped


def test_bars_of_many_lines_are_left_out_with_their_number():
    notes = [(1632 * k, 1632 * k + 1600, 30 + k) for k in range(45)]
    windows = PianoConverter().to_arrays(melody(*notes))
    assert Skipped("notes from bar 1", "after the first 4,096", bars=500) in windows.skipped
    assert windows.start_bar.max() == 102 * 39


# ---- Too many notes, and notes outside the keys ----


def test_of_more_notes_than_voices_the_outer_ones_stay_the_highest_first():
    chord = [(0, 32, pitch) for pitch in (40, 45, 50, 55, 60, 65)]
    for voices, kept in {
        1: (65,),
        2: (40, 65),
        3: (40, 60, 65),
        4: (40, 45, 60, 65),
        6: (40, 45, 50, 55, 60, 65),
    }.items():
        windows = PianoConverter(voices=voices).to_arrays(melody(*chord))
        assert_windows(windows, [lists([(0, 32, pitch) for pitch in kept], voices=voices)])
        left = Skipped("notes from bar 1", f"beyond {voices} at once", notes=6 - voices)
        assert windows.skipped == ((left,) if voices < 6 else ())


def test_a_note_that_is_not_kept_ends_and_does_not_come_back():
    notes = [(0, 32, 50), (0, 32, 60), (0, 32, 70), (8, 12, 72)]
    windows = PianoConverter(voices=3).to_arrays(melody(*notes))
    assert_windows(windows, [lists([(0, 32, 50), (0, 8, 60), (0, 32, 70), (8, 12, 72)], voices=3)])
    assert windows.skipped == (Skipped("notes from bar 1", "beyond 3 at once", notes=1),)


def test_notes_outside_the_keys_are_dropped_and_counted():
    windows = PianoConverter().to_arrays(melody((0, 32, 60), (0, 4, 20), (4, 8, 109), (0, 8, 0)))
    assert_windows(windows, [lists([(0, 32, 60)])])
    assert windows.skipped == (Skipped("notes from bar 1", "outside the pitches 21-108", notes=3),)


def test_the_report_of_a_folder_counts_the_notes_that_are_not_in_the_windows(tmp_path):
    chord = [(0, 32, pitch) for pitch in range(40, 53)]
    melody(*chord, (0, 4, 120)).write(str(tmp_path / "cluster.mid"))
    melody((0, 32, 60)).write(str(tmp_path / "note.mid"))
    for _ in range(2):  # read, and from the cache
        songs = load_songs(tmp_path, PianoConverter(), progress=False, cache=tmp_path / "cache")
        lost = "1 note outside the pitches 21-108, 3 notes beyond 10 at once"
        assert songs.report.lost_notes == (("cluster.mid", f"notes are left out or cut short; {lost}"),)
        assert f"notes are left out or cut short: 1 song: cluster.mid ({lost})" in str(songs.report)


# ---- The pedal ----


def test_the_pedal_lengthens_notes_unless_it_is_left_out():
    midi = melody((0, 4, 60), (4, 8, 64), (16, 32, 62))
    midi.instruments[0].control_changes += [
        pretty_midi.ControlChange(64, 127, 0.0),
        pretty_midi.ControlChange(64, 0, 12 * STEP),
    ]
    assert_windows(PianoConverter().to_arrays(midi), [lists([(0, 12, 60), (4, 12, 64), (16, 32, 62)])])
    assert_windows(PianoConverter(pedal=False).to_arrays(midi), [lists([(0, 4, 60), (4, 8, 64), (16, 32, 62)])])


# ---- Loops ----

LOOPS = {
    "a bar": ([(0, 16, 60)], 4, [(0, 16, 60)], 1),
    "a bar that ends early": ([(0, 4, 60), (4, 12, 64)], 2, [(0, 4, 60), (4, 12, 64)], 1),
    "three bars in four": ([(16 * k, 16 * k + 16, 60 + k) for k in range(3)], 4, None, 3),
    "a note that rings on": ([(0, 16, 60), (16, 33, 62)], 8, [(0, 16, 60), (16, 32, 62)], 2),
    "an empty bar": ([(0, 16, 60), (32, 48, 62)], 4, None, 3),
    "a last note that is short": ([(0, 32, 60), (32, 34, 62)], 6, [(0, 32, 60), (32, 34, 62)], 3),
    "after a rest": ([(34, 48, 60)], 2, [(2, 16, 60)], 1),
}


@pytest.mark.parametrize("case", LOOPS)
def test_a_loop_is_repeated_up_to_the_window(case):
    notes, bars, once, loop_bars = LOOPS[case]
    length, once = 16 * loop_bars, once or notes
    again = [(a + k * length, min(b + k * length, 16 * bars), p) for k in range(bars) for a, b, p in once]
    expected = lists([note for note in again if note[0] < 16 * bars], 16 * bars)
    assert_windows(PianoConverter(bars=bars, loop=True).to_arrays(melody(*notes)), [expected])
    assert len(PianoConverter(bars=bars).to_arrays(melody(*notes)).labels) == 0


def test_a_song_as_long_as_the_window_is_cut_and_not_repeated():
    notes = [(16 * k, 16 * k + 16, 60 + k) for k in range(3)]
    plain, looped = PianoConverter().to_arrays(melody(*notes)), PianoConverter(loop=True).to_arrays(melody(*notes))
    np.testing.assert_array_equal(plain.labels, looped.labels)


def test_each_track_of_a_loop_is_repeated():
    midi = song(track([(0, 16, 60)]), track([(0, 8, 40), (8, 16, 43)]))
    windows = PianoConverter(tracks="each", loop=True).to_arrays(midi)
    expected = [[(0, 16, 60), (16, 32, 60)], [(0, 8, 40), (8, 16, 43), (16, 24, 40), (24, 32, 43)]]
    assert_windows(windows, [lists(notes) for notes in expected])


# ---- Reasons ----

DRUMS = track([(0, 36), (31, 38)], is_drum=True)
WITH_SOUND = "of which the first, the last and one of any two have notes"
REASONS = [
    ({}, song(DRUMS), "no track but drums; it has drums"),
    ({}, song(), "no notes"),
    ({"programs": (0, 1)}, song(track(EIGHTS, 8)), "no track with a program in 0, 1; it has program 8"),
    ({}, melody((0, 32, 120), (0, 32, 3)), "no note in the pitches 21-108"),
    ({}, melody((0, 1, 60)), "shorter than 2 bars"),
    ({"tracks": "each"}, song(track([(0, 9, 60)]), track([(0, 9, 64)])), "shorter than 2 bars"),
    ({}, melody((0, 2, 60), (40, 42, 60)), f"no 2 bars {WITH_SOUND}"),
    ({"bars": 4}, melody((0, 16, 60), (64, 80, 60)), f"no 4 bars {WITH_SOUND}"),
    ({"loop": True}, melody((0, 8, 60)), "shorter than 2 bars, and not repeated: it is half a bar or shorter"),
    ({"loop": True}, melody((0, 1, 60)), "shorter than 2 bars, and not repeated: it is half a bar or shorter"),
    (
        {"loop": True, "bars": 6},
        melody((0, 8, 60), (56, 64, 60)),
        "shorter than 6 bars, and not repeated: it has a rest of two bars",
    ),
    (
        {"loop": True, "bars": 4},
        with_tempo_change(melody((0, 16, 60), (16, 32, 60)), 16 * STEP, 90.0),
        "shorter than 4 bars between tempo changes, where windows end (follow_tempo=True: they do not); 1 tempo change",
    ),
]  # fmt: skip


@pytest.mark.parametrize("fields, midi, reason", REASONS)
def test_the_reason_for_no_window_is_named(fields, midi, reason):
    assert why(PianoConverter(**fields), midi) == reason


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"tracks": "all"}, "tracks is 'all'; it is one of together, each"),
        ({"voices": 0}, "voices must be a whole number of at least 1"),
        ({"voices": 89}, "voices is 89; a piano has 88 keys"),
        ({"pedal": 1}, "pedal must be True or False"),
        ({"loop": "yes"}, "loop must be True or False"),
        ({"programs": (128,)}, "program is 128"),
        ({"bars": 0}, "bars is 0"),
    ],
)
def test_fields_out_of_range_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        PianoConverter(**fields)


def test_a_converter_survives_json():
    converter = PianoConverter(bars=4, tracks="each", programs=range(8), voices=6, pedal=False, loop=True)
    assert CONVERTERS["PianoConverter"](**json.loads(json.dumps(asdict(converter)))) == converter
    assert (converter.steps, converter.input_depth, converter.output_depth, converter.control_depth) == (
        64,
        176,
        176,
        0,
    )


# ---- Labels to MIDI and back ----


@pytest.mark.parametrize("qpm", [120.0, 77.7, 4.0, 1000.0])
def test_labels_read_back_from_a_file(qpm, tmp_path):
    notes = [(0, 7, 60), (7, 8, 60), (0, 32, 21), (8, 16, 108), (8, 16, 60), (16, 32, 60), (31, 32, 61)]
    midi = on_disk(PianoConverter().from_arrays(lists(notes), qpm, program=5), tmp_path / "song.mid")
    assert_windows(PianoConverter().to_arrays(midi), [lists(notes)])
    assert [instrument.program for instrument in midi.instruments] == [5]


def test_a_key_that_is_held_without_an_onset_is_silent():
    labels = lists([(4, 8, 60), (12, 16, 64)])
    labels[4:8] = np.where(labels[4:8] == on(60), held(60), labels[4:8])
    (instrument,) = PianoConverter().from_arrays(labels).instruments
    assert [(note.pitch, note.start, note.end) for note in instrument.notes] == [(64, 12 * STEP, 16 * STEP)]


@pytest.mark.parametrize(
    "labels, message",
    [
        (np.zeros(32), r"shape \[steps, 10\], not \[32\]"),
        (np.zeros((32, 9)), r"shape \[steps, 10\], not \[32, 9\]"),
        (np.full((32, 10), 177), "from 0 to 176; these from 177 to 177"),
        (np.full((32, 10), -1), "from 0 to 176; these from -1 to -1"),
    ],
)
def test_wrong_labels_are_refused(labels, message):
    with pytest.raises(ValueError, match=message):
        PianoConverter().from_arrays(labels)


NOTES = st.lists(st.tuples(st.integers(0, 60), st.integers(1, 40), st.integers(15, 112)), min_size=1, max_size=40)


@seed(0)
@settings(max_examples=150, deadline=None, database=None)
@given(NOTES, NOTES, st.integers(1, 12), st.sampled_from(("together", "each")), st.booleans())
def test_windows_of_any_notes_read_back_and_no_list_is_out_of_order(first, second, voices, tracks, loop):
    midi = song(*(track([(a, a + n, p) for a, n, p in notes]) for notes in (first, second)))
    converter = PianoConverter(voices=voices, tracks=tracks, loop=loop)
    for labels in converter.to_arrays(midi).labels:
        assert_windows(converter.to_arrays(converter.from_arrays(labels)), [labels])
        assert_is_canonical(labels)


def assert_is_canonical(labels):
    """Lists rise by key, a key is held only if it sounded, and at least one note begins."""
    before = set()
    for step in codes(labels):
        keys = [code % KEYS for code in step]
        assert keys == sorted(set(keys))
        assert {code for code in step if code < KEYS} <= before
        before = set(keys)
    assert (np.diff((labels == NO_NOTE).astype(int), axis=1) >= 0).all()


@seed(0)
@settings(max_examples=150, deadline=None, database=None)
@given(NOTES, st.integers(1, 88))
def test_labels_are_what_a_slow_walk_through_the_steps_finds(notes, voices):
    """With as many voices as keys, and without rests: a drone holds the line together."""
    notes = [(a, min(a + n, 64), p) for a, n, p in notes if 22 <= p <= 108]
    windows = PianoConverter(bars=4, voices=88).to_arrays(melody((0, 64, 21), *((a, b, p) for a, b, p in notes)))
    (labels,) = windows.labels
    for step, found in enumerate(codes(labels)):
        sounding = {p for a, b, p in notes if a <= step < b}
        begun = {p for a, b, p in notes if a == step}
        assert found == [88 if step == 0 else 0, *(on(p) if p in begun else held(p) for p in sorted(sounding))]


def folder_files(name):
    folder = SHARED / "data" / name
    if not folder.is_dir():
        pytest.skip("songs not present")
    return sorted(midi_files(folder))


def windows_read_back(paths, converter):
    """The windows of these files, all of which are read back as they are."""
    count = 0
    for path in paths:
        for labels in converter.to_arrays(load_midi(path)).labels:
            assert_windows(converter.to_arrays(converter.from_arrays(labels)), [labels])
            count += 1
    return count


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "fields", [{}, {"tracks": "each", "pedal": False, "follow_tempo": True}, {"voices": 2, "bars": 4}]
)
def test_windows_of_the_built_in_songs_read_back(fields):
    assert windows_read_back(sorted(midi_files(BUILT_IN))[::12], PianoConverter(**fields)) > 50


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("source, every", [("lieder", 150), ("openhymnal", 25), ("lofi", 14), ("pop909_grid", 115)])
def test_windows_of_some_songs_read_back(source, every):
    assert windows_read_back(folder_files(source)[::every], PianoConverter(follow_tempo=True)) > 15


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("source", SOURCES)
def test_windows_of_all_songs_read_back(source):
    assert windows_read_back(folder_files(source), PianoConverter(follow_tempo=True)) > 250


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("bars", [2, 4, 8, 16])
def test_every_loop_that_is_long_enough_gives_windows_and_with_loop_every_one(bars):
    for path in folder_files("lofi"):
        midi = load_midi(path)
        (part,) = song_parts(midi)
        length = -(-part.end.max() // 16)  # bars
        found = len(PianoConverter(bars=bars).to_arrays(midi).labels)
        assert found > 0 if length >= bars else found == 0, path
        assert len(PianoConverter(bars=bars, loop=True).to_arrays(midi).labels) > 0, path


# ---- Labels to tensors and back ----


def test_frames_are_held_keys_beside_onsets():
    labels = lists([(0, 2, 60), (0, 32, 64), (2, 4, 60)])
    tensors = PianoConverter().to_tensors(Windows(labels[None].astype(np.uint8), np.array([20])))
    assert tensors.inputs is tensors.targets
    assert tensors.inputs.shape == (1, 32, 176)
    listed = PianoConverter().to_tensors(Windows(labels[None].astype(np.uint8), np.array([20])), indices=True)
    assert torch.equal(one_hot_frames(listed.inputs, 176, torch.float32), tensors.inputs)
    assert tensors.inputs.dtype == torch.float32
    bits = [frame.nonzero().flatten().tolist() for frame in tensors.inputs[0]]
    assert bits[:4] == [[on(60), on(64)], [held(60), held(64)], [held(64), on(60)], [held(60), held(64)]]
    assert bits[19:21] == [[held(64)], []]
    assert set(tensors.inputs.unique().tolist()) == {0, 1}
    back = PianoConverter().from_tensors(tensors.targets * 0.6)
    assert back.dtype == torch.int64
    np.testing.assert_array_equal(back[0, :20], labels[:20])
    with pytest.raises(ValueError, match="90 deep; this converter's are 176"):
        PianoConverter().from_tensors(torch.zeros(1, 32, 90))


def test_frames_with_too_many_keys_keep_the_outer_ones_and_an_onset_before_a_held_key():
    frame = torch.zeros(1, 1, 176)
    frame[..., [10, 20, 30, 40, 88 + 20, 88 + 50]] = 1
    assert codes(PianoConverter(voices=3).from_tensors(frame)[0]) == [[10, 40, 138]]
    assert codes(PianoConverter(voices=5).from_tensors(frame)[0]) == [[10, 108, 30, 40, 138]]
    assert codes(PianoConverter(voices=88).from_tensors(frame)[0]) == [[10, 108, 30, 40, 138]]


# ---- Transposition ----


def test_transposition_moves_held_keys_and_onsets():
    labels = torch.from_numpy(lists([(0, 2, 60), (1, 3, 64)], 4)).to(torch.uint8)
    moved = PianoConverter().transpose(torch.stack([labels, labels]), torch.tensor([3, -5]))
    assert moved.dtype == torch.uint8
    np.testing.assert_array_equal(moved[0], lists([(0, 2, 63), (1, 3, 67)], 4))
    np.testing.assert_array_equal(moved[1], lists([(0, 2, 55), (1, 3, 59)], 4))


def test_a_window_that_would_leave_the_keys_is_not_moved():
    labels = torch.from_numpy(np.stack([lists([(0, 4, p)], 4) for p in (21, 108, 60, 60)]))
    moved = PianoConverter().transpose(labels, torch.tensor([-1, 1, 48, 49]))
    assert torch.equal(moved[[0, 1, 3]], labels[[0, 1, 3]])
    np.testing.assert_array_equal(moved[2], lists([(0, 4, 108)], 4))
