"""Clips: any stretch of a song in labels with its rests, cut into windows and joined again."""

from itertools import pairwise

import numpy as np
import pytest
from pretty_midi import ControlChange, Instrument, Note, PrettyMIDI, TimeSignature

from helpers import SHARED
from midi_utils import (
    DrumsConverter,
    GrooveConverter,
    Intake,
    MelodyConverter,
    MultitrackConverter,
    PianoConverter,
    TrioConverter,
    load_midi,
    midi_files,
)
from music.clips import (
    MAX_CLIP_BARS,
    Clip,
    cut_clip,
    fitted,
    has_onset,
    in_one_metre,
    joined_labels,
    longest_clip,
    looped,
    read_clip,
    sounding_after,
)
from music.grid import song_parts
from music.labels import FIRST_PITCH, KEYS, MIN_PITCH, NO_NOTE, NOTE_OFF

BAR = 16  # steps of 4/4
STEP = 0.125  # seconds at 120 quarters per minute


def melody(bars, *notes):
    """Labels of whole bars with notes (start, end, label)."""
    labels = np.zeros(bars * BAR, np.uint8)
    for start, end, label in notes:
        labels[start] = label
        if end < len(labels):
            labels[end] = NOTE_OFF
    return labels


def song(*tracks, qpm=120.0):
    """A song of tracks (program, or "drums", and notes (start, end, pitch) in steps)."""
    midi = PrettyMIDI(initial_tempo=qpm)
    for program, notes in tracks:
        track = Instrument(0, is_drum=True) if program == "drums" else Instrument(program)
        step = STEP * 120 / qpm
        track.notes = [Note(80, pitch, start * step, end * step) for start, end, pitch in notes]
        midi.instruments.append(track)
    return midi


# A melody of ten bars with a bar's rest before it, three bars' rest inside it, and a note of three bars
TUNE = melody(10, (16, 24, 40), (24, 30, 45), (80, 128, 50), (140, 160, 52))
BEAT = np.zeros(10 * BAR, np.uint16)
BEAT[[16, 20, 24, 90, 147]] = 1, 2, 5, 256, 3


@pytest.mark.parametrize(
    ("converter", "labels"),
    [
        (MelodyConverter(), TUNE),
        (DrumsConverter(), BEAT),
        (TrioConverter(), np.stack([TUNE, TUNE, BEAT], -1).astype(np.uint16)),
    ],
    ids=["melody", "drums", "trio"],
)
def test_a_clip_is_what_was_written_with_its_rests(converter, labels):
    clip = read_clip(converter.from_arrays(labels, qpm=96), converter)
    np.testing.assert_array_equal(clip.labels, labels)
    assert clip.qpm == pytest.approx(96, abs=1e-3)
    assert clip.start_bar == 0


def test_a_groove_clip_has_the_labels_of_its_windows():
    converter = GrooveConverter(kit="general_midi")
    random = np.random.default_rng(0)
    hits = (random.random((64, 9)) < 0.2).astype(np.float32)
    labels = np.concatenate(
        [hits, hits * random.uniform(0.1, 1, (64, 9)), hits * random.uniform(-0.9, 0.9, (64, 9))], 1
    )
    labels[0, 18:] = -abs(labels[0, 18:])
    midi = converter.from_arrays(labels)
    midi.instruments[0].notes.append(Note(20, 35, 16 * STEP, 17 * STEP))  # softer, of the class and step of another
    midi.instruments[0].notes.append(Note(90, 36, 16 * STEP, 17 * STEP))
    midi.instruments[0].notes += [Note(127, pitch, start * STEP, 22 * STEP) for pitch, start in ((38, 20.2), (40, 20))]
    windows = converter.to_arrays(midi).labels
    np.testing.assert_array_equal(read_clip(midi, converter).labels, windows.reshape(64, 27))


def test_a_rhythm_is_the_onsets_of_the_first_track_with_notes_as_taps():
    converter = GrooveConverter(tap=True)
    midi = song((40, []), (40, [(0, 4, 60), (0, 4, 64), (10.25, 12, 62)]), (0, [(5, 6, 60)]))
    clip = read_clip(midi, converter, converter.rhythm)
    hits, velocities, offsets = np.split(clip.labels, 3, axis=1)
    assert np.argwhere(hits).tolist() == [[0, 3], [10, 3]]
    assert velocities[10, 3] == pytest.approx(80 / 127)
    assert offsets[10, 3] == pytest.approx(-0.5)  # in half steps, late
    assert clip.tracks == (1,)


def test_a_stretch_of_bars_is_taken_and_notes_end_with_it():
    midi = MelodyConverter().from_arrays(TUNE)
    clip = read_clip(midi, MelodyConverter(), start_bar=5, bars=2)
    np.testing.assert_array_equal(clip.labels, melody(2, (0, 32, 50)))
    assert clip.start_bar == 5


@pytest.mark.parametrize(("fill", "second"), [("rest", melody(1)), ("loop", melody(1, (0, 4, 50), (8, 16, 52)))])
def test_a_song_that_is_too_short_is_filled(fill, second):
    midi = MelodyConverter().from_arrays(melody(1, (0, 4, 50), (8, 16, 52)))
    clip = read_clip(midi, MelodyConverter(), bars=2, fill=fill)
    labels = clip.labels[BAR:].copy()
    if fill == "rest":
        assert labels[0] == NOTE_OFF  # of the note before it
        labels[0] = 0
    np.testing.assert_array_equal(labels, second)


def test_a_note_that_starts_at_the_very_end_of_a_loop_adds_no_bar():
    midi = song((0, [(0, 4, 60), (56, 60, 62), (63.8, 64, 61)]))
    assert len(read_clip(midi, MelodyConverter()).labels) == 4 * BAR


@pytest.mark.parametrize("end, bars", [(64, 4), (64.6, 4), (68, 4), (68.5, 5), (70, 5)])
def test_a_last_note_adds_a_bar_only_if_it_is_held_beyond_its_first_beat(end, bars):
    midi = song((0, [(0, 4, 60), (60, end, 62)]))
    assert len(read_clip(midi, MelodyConverter()).labels) == bars * BAR


def test_a_short_note_in_a_last_bar_counts():
    midi = song((0, [(0, 4, 60), (64, 65, 62)]))
    assert len(read_clip(midi, MelodyConverter()).labels) == 5 * BAR


def test_a_clip_goes_on_through_changes_of_tempo(tmp_path):
    path = tmp_path / "slower.mid"
    midi = MelodyConverter().from_arrays(TUNE)
    midi.write(str(path))
    slow = PrettyMIDI(str(path))
    slow._tick_scales.append((480 * 8, 60.0 / (60 * 480)))  # pretty_midi has no other way
    slow._update_tick_to_time(480 * 50)
    for note in slow.instruments[0].notes:
        note.start, note.end = (slow.tick_to_time(round(time / STEP) * 120) for time in (note.start, note.end))
    assert len(slow.get_tempo_changes()[0]) == 2
    whole, second = (read_clip(slow, MelodyConverter(), start_bar=bar) for bar in (None, 2))
    np.testing.assert_array_equal(whole.labels, TUNE)
    assert (whole.qpm, round(second.qpm, 3)) == (120, 60)
    slow.instruments[0].notes = [note for note in slow.instruments[0].notes if note.start >= slow.tick_to_time(480 * 8)]
    longest = longest_clip(slow, MelodyConverter())
    assert longest.start_bar >= 2
    assert round(longest.qpm, 3) == 60


def test_the_first_track_with_notes_is_taken_or_the_one_that_is_named():
    midi = song((50, [(0, 4, 50)]), (0, []), (1, [(0, 4, 60)]), (2, [(0, 4, 61)]), ("drums", [(0, 1, 36)]))
    taken = {track: read_clip(midi, MelodyConverter(), track=track) for track in (None, 0, 3)}
    assert {track: clip.labels[0] - FIRST_PITCH + 21 for track, clip in taken.items()} == {
        None: 60,
        0: 50,
        3: 61,
    }
    assert {track: (clip.tracks, clip.program) for track, clip in taken.items()} == {
        None: ((2,), 1),
        0: ((0,), 50),
        3: ((3,), 2),
    }
    with pytest.raises(
        ValueError, match=r"track 4 is drums, and the model takes notes; the song has track 0 \(program"
    ):
        read_clip(midi, MelodyConverter(), track=4)


def test_a_named_track_counts_as_drums():
    midi = song(("drums", [(0, 1, 38)]), (25, [(4, 5, 36)]))
    clip = read_clip(midi, DrumsConverter(), track=1)
    assert np.flatnonzero(clip.labels).tolist() == [4]
    assert clip.program == 0  # a kit, not a guitar
    assert clip.tracks == (1,)
    assert not midi.instruments[1].is_drum


def test_a_clip_that_names_bars_lies_in_one_time_signature():
    midi = song((0, [(0, 4, 60), (40, 44, 62), (90, 94, 64)]))
    midi.time_signature_changes = [TimeSignature(4, 4, 0), TimeSignature(3, 4, 64 * STEP)]
    with pytest.raises(
        ValueError, match=r"changes at bar 5, and a clip has one; up to there are 4 bars: choose other bars"
    ):
        read_clip(midi, MelodyConverter(), start_bar=0)
    assert len(read_clip(midi, MelodyConverter(), bars=4).labels) == 4 * BAR
    with pytest.raises(ValueError, match="in 3/4 at bar 7, the model in 4/4; it is in 4/4 at bar 1: choose other bars"):
        read_clip(midi, MelodyConverter(), start_bar=6)
    with pytest.raises(ValueError, match="in 4/4 at bar 1, the model in 5/4; train a model of that time signature"):
        read_clip(midi, MelodyConverter(time_signature=(5, 4)))
    waltz = read_clip(midi, MelodyConverter(time_signature=(3, 4)), start_bar=6)
    assert np.flatnonzero(waltz.labels).tolist() == [90 - 64 - 24, 94 - 64 - 24]


def in_metres(notes, *metres):
    """A piano's song of notes (start, end, pitch) in steps, with metres (numerator, denominator, first step)."""
    midi = song((0, notes))
    midi.time_signature_changes = [TimeSignature(over, under, step * STEP) for over, under, step in metres]
    return midi


@pytest.mark.parametrize("with_pickup", [False, True])
def test_the_longest_stretch_in_the_models_metre_is_taken_where_no_bars_are_named(with_pickup):
    pickup = [(0, 2, 59)] if with_pickup else []
    notes = [(2, 6, 60), (14, 18, 61), (30, 34, 62), (54, 58, 63), (70, 74, 64), (80, 86, 65), (94, 98, 66)]
    midi = in_metres(pickup + notes, (1, 8, 0), (4, 4, 2), (3, 4, 34), (4, 4, 46), (3, 4, 94))
    clip = read_clip(midi, MelodyConverter(), fill="loop")
    assert (clip.start_bar, len(clip.labels), clip.fill) == (4, 3 * BAR, "loop")
    assert np.flatnonzero(clip.labels >= FIRST_PITCH).tolist() == [8, 24, 34]
    assert clip.own.notes[:, 2].tolist() == [63, 64, 65]
    assert not in_one_metre(song_parts(midi))
    with pytest.raises(ValueError, match="in 1/8 at bar 1, the model in 4/4; it is in 4/4 at bar 2: choose other bars"):
        read_clip(midi, MelodyConverter(), bars=2)


@pytest.mark.parametrize("cutting", [{}, {"start_bar": 0, "bars": 2}])
def test_a_song_without_the_models_metre_is_refused_by_that_of_its_longest_part(cutting):
    midi = in_metres([(0, 2, 60), (2, 60, 62)], (1, 8, 0), (6, 8, 2))
    with pytest.raises(ValueError, match="in 6/8 at bar 2, the model in 4/4; train a model of that time signature"):
        read_clip(midi, MelodyConverter(), **cutting)


def test_a_song_in_half_bars_is_refused_with_what_reads_it_and_its_bars_count_in_pairs():
    midi = in_metres([(0, 4, 60), (40, 44, 62), (44, 48, 64)], (2, 4, 0))
    remedy = r"take two bars as one \(Intake\(pair_bars=True\); --pair-bars\)$"
    with pytest.raises(ValueError, match=f"the song is in 2/4 at bar 1, the model in 4/4; {remedy}"):
        read_clip(midi, MelodyConverter())
    with pytest.raises(ValueError, match="in 2/4 at bar 1, the model in 3/4; train a model of that time signature"):
        read_clip(midi, MelodyConverter(time_signature=(3, 4)))
    clip = read_clip(Intake(pair_bars=True)(midi), MelodyConverter(), start_bar=2)
    assert (clip.start_bar, len(clip.labels)) == (2, BAR)
    assert np.flatnonzero(clip.labels >= FIRST_PITCH).tolist() == [8, 12]


@pytest.mark.parametrize("read", [read_clip, longest_clip])
def test_the_stretch_has_notes_of_a_track_that_the_model_takes(read):
    midi = in_metres([(0, 4, 60), (20, 24, 62)], (4, 4, 0), (3, 4, 32), (4, 4, 56))
    midi.instruments.append(Instrument(60))
    midi.instruments[1].notes = [Note(80, 65, k * STEP, (k + 8) * STEP) for k in range(0, 200, 8)]
    clip = read(midi, MelodyConverter())
    assert (clip.start_bar, clip.tracks, len(clip.labels)) == (0, (0,), 2 * BAR)


def test_all_bars_of_a_song_in_one_metre_are_taken_also_where_another_follows_its_last_note():
    midi = in_metres([(20, 24, 60), (70, 74, 62)], (4, 4, 0), (3, 4, 80))
    assert in_one_metre(song_parts(midi))
    free, named = read_clip(midi, MelodyConverter()), read_clip(midi, MelodyConverter(), start_bar=0)
    assert (free.start_bar, len(free.labels)) == (0, 5 * BAR)
    np.testing.assert_array_equal(free.labels, named.labels)
    np.testing.assert_array_equal(free.own.notes, named.own.notes)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"track": 5}, r"there is no track 5; the song has track 0 \(program 40, Violin\), track 1 \(drums\)"),
        ({"track": -1}, "track must be a whole number of at least 0"),
        ({"start_bar": -1}, "start_bar must be a whole number of at least 0"),
        ({"bars": 0}, "bars must be a whole number of at least 1"),
        ({"bars": MAX_CLIP_BARS + 1}, "bars must be at most 1,024, got 1025"),
        ({"fill": "repeat"}, "fill must be 'rest' or 'loop', got 'repeat'"),
        ({}, r"no track with a program in 0-31; it has program 40 and drums: choose a track \(track; --track\)"),
        ({"track": 0, "start_bar": 8}, "no notes from bar 9 on: choose other bars"),
        ({"track": 0, "start_bar": 8, "bars": 2}, "no notes in bars 9 to 10: choose other bars"),
    ],
)
def test_what_cannot_be_cut_is_named_with_what_to_do(arguments, words):
    midi = song((40, [(0, 4, 60)]), ("drums", [(0, 1, 36)]), (40, [(0, 4, 62)]))
    with pytest.raises(ValueError, match=words):
        read_clip(midi, MelodyConverter(), **arguments)


@pytest.mark.parametrize(
    ("converter", "words"),
    [
        (MelodyConverter(), "the model's tracks have no notes in bars 1 to 2: choose other bars"),
        (PianoConverter(programs=(0,)), "the model's tracks have no notes in bars 1 to 2: choose other bars"),
        (DrumsConverter(), "the model's tracks have no notes in bars 1 to 2: choose other bars"),
        (GrooveConverter(kit="general_midi"), "the model's tracks have no notes in bars 1 to 2: choose other bars"),
        (TrioConverter(), "melody, bass and drums do not all play in bars 1 to 2: choose other bars"),
    ],
)
def test_tracks_that_are_silent_in_the_chosen_bars_alone_are_named(converter, words):
    midi = song((0, [(40, 44, 60)]), (33, [(0, 4, 36), (40, 44, 36)]), ("drums", [(40, 41, 36)]), (60, [(0, 4, 60)]))
    with pytest.raises(ValueError, match=words):
        read_clip(midi, converter, bars=2)
    assert len(read_clip(midi, converter, start_bar=2, bars=1).labels) == BAR


@pytest.mark.parametrize("read", [read_clip, longest_clip])
def test_the_only_track_of_notes_is_taken_whatever_its_program_is(read):
    midi = song(("drums", [(0, 1, 36)]), (40, [(0, 16, 60)]))
    assert read(midi, MelodyConverter()).tracks == (1,)
    with pytest.raises(ValueError, match="no track with a program in 0-31; it has program 40"):
        read(song((40, [(0, 16, 60)]), (40, [(0, 16, 62)])), MelodyConverter())


def test_a_trio_says_which_track_is_missing():
    midi = song((0, [(0, 4, 60)]), ("drums", [(0, 1, 36)]))
    with pytest.raises(ValueError, match="trio needs a bass track .*: take a song that has all parts$"):
        read_clip(midi, TrioConverter())
    with pytest.raises(ValueError, match="by their programs: omit track .*: give the lead one, or take a model of mel"):
        read_clip(midi, TrioConverter(), track=0)


def test_a_song_of_absurd_length_is_refused_before_it_is_painted():
    midi = song((0, [(0, 4, 60), (2_000 * BAR - 4, 2_000 * BAR, 60)]))
    with pytest.raises(ValueError, match="the clip has 2,000 bars, and the most is 1,024: choose other bars"):
        read_clip(midi, MelodyConverter())
    assert len(read_clip(midi, MelodyConverter(), start_bar=1990).labels) == 10 * BAR


def test_a_converter_whose_windows_cannot_be_joined_has_no_clips():
    with pytest.raises(ValueError, match="cannot be joined: take a model of melodies, drums, trios or pianos"):
        read_clip(song((0, [(0, 4, 60)])), MultitrackConverter())


# ---- Windows ----


def random_melody(random, bars):
    """Labels without a note-off that ends no note."""
    labels = np.where(random.random(bars * BAR) < 0.3, random.integers(1, 90, bars * BAR), 0)
    sounding = False
    for step, label in enumerate(labels):
        if label == NOTE_OFF and not sounding:
            labels[step] = 0
        elif label:
            sounding = label >= FIRST_PITCH
    return labels.astype(np.uint8)


@pytest.mark.parametrize("held", [0, 1, 2])
def test_a_clip_that_is_cut_and_joined_is_the_same(held):
    random = np.random.default_rng(held)
    for _ in range(20):
        bars = int(random.integers(1, 9))
        labels = random_melody(random, bars)
        if held != 1:
            labels = np.stack([random_melody(random, bars) for _ in range(3)], -1)
        cutting = cut_clip(labels, 2 * BAR, "rest", held)
        assert len(cutting.labels) == -(-bars // 2)
        np.testing.assert_array_equal(joined_labels(cutting.labels, held, cutting.tied)[: len(labels)], labels)


def test_a_note_is_tied_where_it_goes_on_in_the_next_window():
    cutting = cut_clip(TUNE, 2 * BAR, "rest", 1)
    assert cutting.tied[:, 0].tolist() == [False, False, False, True, False]  # bars 5 to 8 hold one note
    assert cutting.sounds.tolist() == [True, False, True, False, True]


def test_a_note_ends_with_its_window_unless_it_is_tied():
    windows = np.array([[40, 0], [0, 41], [42, 0]], np.uint8)
    assert joined_labels(windows, 1).tolist() == [40, 0, NOTE_OFF, 41, 42, 0]
    assert joined_labels(windows, 1, np.array([[False], [True], [False]])).tolist() == [40, 0, 0, 41, 42, 0]
    assert joined_labels(windows, 0).tolist() == [40, 0, 0, 41, 42, 0]  # drums hold nothing


def test_labels_are_cut_filled_or_repeated():
    labels = np.array([40, 0, 1, 0, 41, 0], np.uint8)
    assert fitted(labels, 3, "rest", 1).tolist() == [40, 0, 1]
    assert fitted(labels, 8, "rest", 1).tolist() == [40, 0, 1, 0, 41, 0, NOTE_OFF, 0]
    assert fitted(labels, 8, "loop", 1).tolist() == [40, 0, 1, 0, 41, 0, 40, 0]
    assert fitted(np.array([0, 40], np.uint8), 5, "loop", 1).tolist() == [0, 40, NOTE_OFF, 40, NOTE_OFF]
    assert sounding_after(labels, 1).tolist() == [True]
    assert sounding_after(labels[:4], 1).tolist() == [False]


def test_chords_are_repeated_with_their_clip():
    clip = looped(Clip(np.array([40, 0], np.uint8), chords=np.array([1, 2], np.int8)), 3, 1)
    assert clip.labels.tolist() == [40, 0, 40]
    assert clip.chords.tolist() == [1, 2, 1]


def test_an_onset_is_a_pitch_or_a_hit():
    assert has_onset(np.array([[0, 1], [0, 2]]), 1).tolist() == [False, True]
    assert has_onset(np.array([[0, 1], [0, 0]]), 0).tolist() == [True, False]
    assert has_onset(np.array([[[1, 0, 0]], [[0, 0, 4]], [[0, 30, 0]]]), 2).tolist() == [False, True, True]


# ---- Pianos ----

PIANO = PianoConverter()
# Ten bars: a rest of three bars, chords across the starts of windows, a note struck again where a window starts
LOOP = [(0, 8, 60), (4, 40, 64), (20, 32, 67), (32, 36, 67)]
LOOP += [(88, 130, 48), (96, 160, 55), (100, 128, 60), (128, 160, 60)]


def piano_lists(notes, bars):
    """Labels of notes (start, end, pitch), of which none overlap on a key."""
    labels = np.full((bars * BAR, PIANO.voices), NO_NOTE, np.uint8)
    for step in range(bars * BAR):
        sounding = sorted((pitch - MIN_PITCH, start) for start, end, pitch in notes if start <= step < end)
        labels[step, : len(sounding)] = [key + KEYS * (start == step) for key, start in sounding]
    return labels


def random_notes(random, bars):
    """Notes on six keys, some of which are struck again where they end."""
    notes = []
    for pitch in (40, 52, 60, 64, 67, 76):
        ends = np.unique(random.integers(0, bars * BAR + 1, 2 * bars))
        notes += [(int(a), int(b), pitch) for a, b in pairwise(ends) if random.random() < 0.5]
    return notes or [(0, 4, 60)]


def as_lists(labels):
    """Labels of a piano's line, as one window."""
    return PIANO.as_cut(labels[None])[0]


def joined_piano(windows, tied):
    """Labels of windows of lists that are joined."""
    return as_lists(joined_labels(PIANO.as_line(windows, tied), KEYS, tied))


def test_a_piano_clip_is_what_was_written_with_its_rests():
    clip = read_clip(PIANO.from_arrays(piano_lists(LOOP, 10), qpm=96, program=4), PIANO)
    np.testing.assert_array_equal(as_lists(clip.labels), piano_lists(LOOP, 10))
    assert clip.qpm == pytest.approx(96, abs=1e-3)
    assert (clip.program, clip.tracks) == (4, (0,))


def test_a_piano_clip_that_is_cut_and_joined_is_the_same():
    """As it is, and as a model reads it: there, the notes that sound at the start of a window begin."""
    random = np.random.default_rng(0)
    for bars in [*range(1, 9)] * 3:
        lists = piano_lists(random_notes(random, bars), bars)
        cutting = cut_clip(PIANO.as_line(lists[None])[0], 2 * BAR, "rest", KEYS)
        windows = PIANO.as_cut(cutting.labels, cutting.tied)
        first = windows[:, 0]
        assert ((first >= KEYS) | (first == NO_NOTE)).all()
        np.testing.assert_array_equal(as_lists(joined_labels(cutting.labels, KEYS, cutting.tied))[: len(lists)], lists)
        np.testing.assert_array_equal(joined_piano(windows, cutting.tied)[: len(lists)], lists)


def with_pedal(midi, *changes):
    """A song whose first track has a pedal: value by step."""
    midi.instruments[0].control_changes = [ControlChange(64, value, step * STEP) for step, value in changes]
    return midi


@pytest.mark.parametrize("start_bar", [0, 2, 4])
@pytest.mark.parametrize("pedal", [[], [(0, 127), (36, 0), (44, 127), (110, 0)]], ids=["keys", "pedal"])
def test_the_windows_of_a_piano_clip_are_those_for_training(start_bar, pedal):
    random = np.random.default_rng(3)
    notes = [*random_notes(random, 8), *((16 * bar, 16 * bar + 3, 80) for bar in range(8))]
    midi = with_pedal(song((0, notes)), *pedal)
    windows = PIANO.to_arrays(midi)
    clip = read_clip(midi, PIANO, bars=8)
    cutting = cut_clip(clip.labels, 2 * BAR, "rest", KEYS, start_bar * BAR)
    ours = PIANO.as_cut(cutting.labels, cutting.tied)
    theirs = [windows.labels[windows.start_bar == bar][0] for bar in range(start_bar, 8, 2)]
    np.testing.assert_array_equal(ours, theirs)


def test_the_pedal_holds_the_notes_of_a_clip_up_to_its_end():
    midi = with_pedal(song((0, [(4, 6, 50), (36, 38, 60), (60, 61, 62), (200, 204, 60)])), (34, 127), (150, 0))
    np.testing.assert_array_equal(
        as_lists(read_clip(midi, PIANO, start_bar=2, bars=2).labels), piano_lists([(4, 32, 60), (28, 32, 62)], 2)
    )
    np.testing.assert_array_equal(
        as_lists(read_clip(midi, PianoConverter(pedal=False), start_bar=2, bars=2).labels),
        piano_lists([(4, 6, 60), (28, 29, 62)], 2),
    )


def test_a_piano_clip_that_is_too_short_is_filled():
    midi = song((0, [(0, 8, 60), (4, 16, 64)]))
    rest, loop = (
        cut_clip(read_clip(midi, PIANO, fill=fill).labels, 2 * BAR, fill, KEYS).labels for fill in ("rest", "loop")
    )
    np.testing.assert_array_equal(as_lists(rest[0]), piano_lists([(0, 8, 60), (4, 16, 64)], 2))
    (looped,) = PianoConverter(loop=True).to_arrays(midi).labels
    np.testing.assert_array_equal(as_lists(loop[0]), looped)


def test_a_note_of_a_piano_ends_with_its_window_unless_it_is_tied():
    windows = np.stack([piano_lists([(0, 16, 60), (8, 16, 64)], 1), piano_lists([(0, 4, 60), (0, 4, 72)], 1)])
    tied = np.zeros((2, KEYS), bool)
    alone = piano_lists([(0, 16, 60), (8, 16, 64), (16, 20, 60), (16, 20, 72)], 2)
    np.testing.assert_array_equal(joined_piano(windows, tied), alone)
    tied[1, [pitch - MIN_PITCH for pitch in (60, 64, 72)]] = True  # 64 is not decoded again, 72 not before
    np.testing.assert_array_equal(joined_piano(windows, tied), piano_lists([(0, 20, 60), (8, 16, 64), (16, 20, 72)], 2))


def test_a_key_that_is_held_without_an_onset_is_silent_in_a_line():
    windows = piano_lists([(0, 16, 60)], 1)[None]
    windows[0, 0] = NO_NOTE
    np.testing.assert_array_equal(as_lists(PIANO.as_line(windows)[0]), piano_lists([], 1))


def test_tracks_of_a_piano_clip_are_together_or_the_first_one_with_notes():
    midi = song((4, []), (5, [(0, 4, 60)]), ("drums", [(0, 1, 36)]), (6, [(4, 8, 64)]))
    both, each = (read_clip(midi, PianoConverter(tracks=tracks)) for tracks in ("together", "each"))
    np.testing.assert_array_equal(as_lists(both.labels), piano_lists([(0, 4, 60), (4, 8, 64)], 1))
    np.testing.assert_array_equal(as_lists(each.labels), piano_lists([(0, 4, 60)], 1))
    assert [(clip.tracks, clip.program) for clip in (both, each)] == [((1, 3), 5), ((1,), 5)]
    one = read_clip(midi, PIANO, track=3)
    np.testing.assert_array_equal(as_lists(one.labels), piano_lists([(4, 8, 64)], 1))
    assert (one.tracks, one.program) == ((3,), 6)


@pytest.mark.parametrize(
    ("midi", "words"),
    [
        (
            song(("drums", [(0, 1, 36)])),
            "it has drums: the song has drums alone, so take a model of drums",
        ),
        (song((0, [(0, 4, 15)])), "no note in the pitches 21-108: choose a track"),
    ],
)
def test_what_a_piano_clip_lacks_is_named(midi, words):
    with pytest.raises(ValueError, match=words):
        read_clip(midi, PIANO)


def test_the_loops_of_pianists_are_joined_as_they_are():
    """Of one to nine bars; cut to windows as a model reads them, and written again."""
    if not (SHARED / "data" / "lofi").exists():
        pytest.skip("the loops are not present")
    for path in sorted(midi_files(SHARED / "data" / "lofi"))[::4]:
        clip = read_clip(load_midi(path), PIANO)
        cutting = cut_clip(clip.labels, 2 * BAR, "rest", KEYS)
        lists = joined_piano(PIANO.as_cut(cutting.labels, cutting.tied), cutting.tied)[: len(clip.labels)]
        np.testing.assert_array_equal(lists, as_lists(clip.labels), err_msg=path.name)
        again = read_clip(PIANO.from_arrays(lists, clip.qpm), PIANO, bars=len(lists) // BAR)
        np.testing.assert_array_equal(as_lists(again.labels), lists, err_msg=path.name)


# ---- The longest clip of a song ----


def test_the_longest_clip_is_all_of_a_song_from_its_first_note_to_its_last():
    converter = MelodyConverter()
    midi = converter.from_arrays(TUNE, qpm=96)
    midi.instruments.append(Instrument(40, name="strings"))  # not taken
    midi.instruments[1].notes = [Note(80, 60, 0.0, 40.0)]
    clip = longest_clip(midi, converter)
    np.testing.assert_array_equal(clip.labels, TUNE[BAR:])
    assert clip.start_bar == 1


def test_the_longest_clip_is_in_the_converters_time_signature():
    """One bar of 3/4, as a tune with a pickup may have it, then four of 4/4, then eight of 3/4."""
    midi = song((0, [(step, step + 2, 60) for step in range(0, 172, 4)]))
    midi.time_signature_changes = [
        TimeSignature(3, 4, 0),
        TimeSignature(4, 4, 12 * STEP),
        TimeSignature(3, 4, 76 * STEP),
    ]
    clip = longest_clip(midi, MelodyConverter())
    assert (len(clip.labels), clip.start_bar) == (4 * BAR, 1)
    with pytest.raises(ValueError, match="no notes in 5/4"):
        longest_clip(midi, MelodyConverter(time_signature=(5, 4)))
