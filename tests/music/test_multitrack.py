"""Bars of several tracks: arrays equal to the reference's, tokens, the pedal, chords, and back to MIDI."""

import json
from dataclasses import asdict

import numpy as np
import pretty_midi
import pytest
import torch

from made_midi import MADE_FILES, made_song, on_disk, reference, song, why
from midi_utils import MultitrackConverter, Skipped, Windows, load_songs
from music import performance
from music.performance import DRUMS, END, FIRST_PROGRAM, NOTE_OFF, TIME_SHIFT, VELOCITY

REFERENCE = reference("hier-multiperf_vel_1bar_med")
MULTITRACK = MultitrackConverter()
CHORDS = MultitrackConverter(chords=True)
STEP = 0.5 / 24  # seconds, at 120 quarters per minute
BAR = 2.0


def player(notes, program=0, is_drum=False):
    """A track of notes (start, end, pitch, velocity) in 24ths of a quarter."""
    instrument = pretty_midi.Instrument(program, is_drum)
    instrument.notes = [pretty_midi.Note(v, p, s * STEP, e * STEP) for s, e, p, v in notes]
    return instrument


def pedal(instrument, *changes):
    """The track with changes of its pedal: (step, value)."""
    instrument.control_changes += [pretty_midi.ControlChange(64, value, step * STEP) for step, value in changes]
    return instrument


QUARTERS = [(24 * k, 24 * k + 12, 60, 80) for k in range(4)]
QUARTER_TOKENS = [
    *(VELOCITY + 4, 60, TIME_SHIFT + 11, NOTE_OFF + 60, TIME_SHIFT + 11),
    *(60, TIME_SHIFT + 11, NOTE_OFF + 60, TIME_SHIFT + 11) * 3,
]


def tracks_of(labels):
    """The tokens of each track of a bar [512], up to its padding."""
    return [[token for token in tokens if token >= 0] for tokens in labels.reshape(8, 64).tolist()]


def only_bar(midi, converter=MULTITRACK):
    windows = converter.to_arrays(midi)
    assert len(windows.labels) == 1
    return tracks_of(windows.labels[0])


# ---- Equal to the reference ----


@pytest.mark.parametrize("file", MADE_FILES)
def test_labels_equal_the_references(file):
    windows = MULTITRACK.to_arrays(made_song(file))
    if f"{file}|all|labels" not in REFERENCE:
        assert len(windows.labels) == 0
        return
    for found, key in ((windows.labels, "labels"), (windows.lengths, "lengths")):
        assert found.dtype == REFERENCE[f"{file}|all|{key}"].dtype
        np.testing.assert_array_equal(found, REFERENCE[f"{file}|all|{key}"])
    assert windows.controls is None


def test_the_fixtures_have_sixty_windows():
    assert sum(len(rows) for key, rows in REFERENCE.items() if key.endswith("|all|labels")) == 60


# ---- What makes a bar ----


def test_a_bar_becomes_tokens_by_program_drums_last():
    midi = song(player([(0, 1, 36, 127)], is_drum=True), player(QUARTERS, 33), player(QUARTERS, 4))
    found = only_bar(midi)
    assert found[0] == [FIRST_PROGRAM + 4, *QUARTER_TOKENS, END]
    assert found[1] == [FIRST_PROGRAM + 33, *QUARTER_TOKENS, END]
    assert found[2] == [DRUMS, VELOCITY + 7, 36, TIME_SHIFT, NOTE_OFF + 36, TIME_SHIFT + 94, END]
    assert found[3:] == [[END]] * 5
    windows = MULTITRACK.to_arrays(midi)
    assert windows.lengths.tolist() == [[19, 19, 7, 1, 1, 1, 1, 1]]
    assert windows.track.tolist() == [2]


def test_a_change_of_loudness_is_a_token():
    loud = [(0, 10, 60, 127), (10, 20, 60, 113), (20, 30, 60, 112), (30, 40, 60, 1)]
    tokens = only_bar(song(player(loud), player(QUARTERS)))[0]
    assert [token - VELOCITY for token in tokens if VELOCITY <= token < FIRST_PROGRAM] == [7, 6, 0]


def test_a_note_ends_with_its_bar_and_is_not_in_the_next():
    quarters = [(96 * k + s, 96 * k + e, p, v) for k in range(3) for s, e, p, v in QUARTERS]
    windows = MULTITRACK.to_arrays(song(player([(0, 300, 72, 80)], 5), player(quarters)))
    assert windows.start_bar.tolist() == [0]
    assert tracks_of(windows.labels[0])[1] == [
        *(FIRST_PROGRAM + 5, VELOCITY + 4, 72, TIME_SHIFT + 95, NOTE_OFF + 72, END)
    ]
    assert windows.skipped == (Skipped("2 bars from bar 2", "fewer than 2 tracks"),)


def test_the_first_note_to_start_ends_first():
    overlap = [(0, 90, 60, 80), (10, 20, 60, 80)]
    tokens = only_bar(song(player(overlap), player(QUARTERS)))[0]
    read = performance.track_of_tokens(np.array(tokens + [-1] * (64 - len(tokens)), np.int16))
    assert read.notes == ((0, 20, 60, 65), (10, 90, 60, 65))


def test_notes_that_end_together_end_in_the_order_of_their_starts():
    """By the rule above the second note of pitch 60 is the longer one, and it starts after pitch 62."""
    tokens = only_bar(song(player([(0, 90, 60, 80), (5, 90, 62, 80), (10, 20, 60, 80)]), player(QUARTERS)))[0]
    assert tokens[-4:-2] == [NOTE_OFF + 62, NOTE_OFF + 60]


@pytest.mark.parametrize("velocity, bars", [(80, 1), (120, 0)])
def test_a_track_has_up_to_62_events(velocity, bars):
    """Twenty notes have 62 events, and a change of loudness is one more."""
    notes = [(k, k + 1, 60, velocity if k == 19 else 80) for k in range(20)]
    windows = MULTITRACK.to_arrays(song(player(notes), player(QUARTERS)))
    assert len(windows.labels) == bars


def test_a_note_that_rounds_to_the_next_bar_is_left_out():
    late = player([*QUARTERS, (95.7, 120, 72, 80)])
    assert only_bar(song(late, player(QUARTERS)))[0] == [FIRST_PROGRAM, *QUARTER_TOKENS, END]


@pytest.mark.parametrize(
    "tracks, reason",
    [
        ([QUARTERS], "fewer than 2 tracks"),
        ([QUARTERS] * 9, "every bar has more than 8 tracks"),
        (
            [QUARTERS, [(k, k + 1, 60, 80) for k in range(96)]],
            "every bar has a track of more than 62 events",
        ),
        ([[(0, 1, 60, 80)], []], "fewer than 2 tracks"),
    ],
)
def test_the_reason_for_no_window_is_named(tracks, reason):
    assert why(MULTITRACK, song(*map(player, tracks))) == reason
    assert why(CHORDS, song(*map(player, tracks))) == reason
    assert why(CHORDS, pretty_midi.PrettyMIDI()) == "no notes"


def test_the_reasons_for_refused_bars_are_reported():
    bars = [
        (2, [QUARTERS]),
        (3, [QUARTERS] * 9),
        (4, [QUARTERS, [(k, k + 1, 60, 80) for k in range(40)]]),
        (5, [[(0, 96, 60, 80)], [(95.8, 96, 60, 80)]]),
        (6, [QUARTERS] * 8),
    ]
    tracks = [player([]) for _ in range(9)]
    for bar, parts in bars:
        for instrument, notes in zip(tracks, parts):
            instrument.notes += player([(96 * bar + s, 96 * bar + e, p, v) for s, e, p, v in notes]).notes
    windows = MULTITRACK.to_arrays(song(*tracks))
    assert windows.start_bar.tolist() == [6]
    assert {one.what: one.reason for one in windows.skipped} == {
        "1 bar from bar 3": "fewer than 2 tracks",
        "1 bar from bar 4": "more than 8 tracks",
        "1 bar from bar 5": "a track of more than 62 events",
        "1 bar from bar 6": "fewer than 8 events",
    }


def test_only_bars_of_four_quarters_are_taken():
    assert why(MULTITRACK, song(player(QUARTERS), player(QUARTERS), metre=(3, 4))) == "3/4 throughout"
    assert len(MULTITRACK.to_arrays(song(player(QUARTERS), player(QUARTERS), metre=(2, 2))).labels) == 1


# ---- The pedal ----


def ends_of(instrument):
    """Start, end and pitch of the notes of a track in a bar with another track."""
    other = player(QUARTERS, 100)
    tokens = only_bar(song(instrument, other))[0]
    read = performance.track_of_tokens(np.array(tokens + [-1] * (64 - len(tokens)), np.int16))
    return [(start, end, pitch) for start, end, pitch, _ in read.notes]


def test_the_pedal_holds_notes_until_it_is_lifted():
    notes = [(0, 10, 60, 80), (20, 30, 62, 80), (50, 60, 64, 80)]
    held = pedal(player(notes), (5, 127), (40, 0))
    assert ends_of(held) == [(0, 40, 60), (20, 40, 62), (50, 60, 64)]


def test_a_pitch_struck_again_ends_the_held_note():
    notes = [(0, 10, 60, 80), (20, 30, 60, 80), (24, 30, 62, 80)]
    held = pedal(player(notes), (5, 64), (40, 63))
    assert ends_of(held) == [(0, 20, 60), (20, 40, 60), (24, 40, 62)]


def test_of_two_notes_struck_together_under_the_pedal_one_is_kept():
    held = pedal(player([(10, 20, 60, 80), (10, 30, 60, 80), (24, 30, 62, 80)]), (5, 127), (40, 0))
    assert ends_of(held) == [(10, 40, 60), (24, 40, 62)]


def test_a_pedal_that_is_never_lifted_holds_to_the_end():
    held = pedal(player([(0, 10, 60, 80), (20, 30, 62, 80)]), (5, 127))
    assert ends_of(held) == [(0, 84, 60), (20, 84, 62)]  # the last note of any track ends there


def test_the_pedal_does_not_hold_drums():
    drums = pedal(player([(0, 10, 36, 80), (20, 30, 36, 80)], is_drum=True), (5, 127))
    tokens = only_bar(song(drums, player(QUARTERS)))[1]
    assert tokens == [DRUMS, VELOCITY + 4, 36, TIME_SHIFT + 9, NOTE_OFF + 36, TIME_SHIFT + 9, 36, TIME_SHIFT + 9,
                      NOTE_OFF + 36, TIME_SHIFT + 65, END]  # fmt: skip


# ---- Chords ----


def test_controls_are_the_chord_that_holds_at_each_token(tmp_path):
    midi = song(player(QUARTERS, 4), player(QUARTERS, 33))
    midi.text_events = [pretty_midi.Text("C", 0.0), pretty_midi.Text("Am7", BAR / 2)]
    windows = CHORDS.to_arrays(on_disk(midi, tmp_path / "song.mid"))
    controls = windows.controls.reshape(8, 64)
    assert windows.controls.dtype == np.int8
    assert controls[0, :19].tolist() == [0] + [1] * 9 + [22] * 9  # at program and end, none and the last
    np.testing.assert_array_equal(controls[1], controls[0])
    assert (controls[0, 19:] == -1).all()
    assert controls[2].tolist() == [0] + [-1] * 63
    np.testing.assert_array_equal(windows.labels, MULTITRACK.to_arrays(midi).labels)


def test_chords_are_guessed_where_none_is_named():
    chord = [(48 * k, 48 * k + 48, p, 80) for k, root in ((0, 60), (1, 55)) for p in (root, root + 4, root + 7)]
    windows = CHORDS.to_arrays(song(player(chord), player([(0, 96, 36, 80)], 33)))
    assert sorted(set(windows.controls[0].tolist())) == [-1, 0, 1, 8]


def test_a_chord_holds_in_later_bars():
    notes = [(96 * k + s, 96 * k + e, p, v) for k in range(3) for s, e, p, v in QUARTERS]
    midi = song(player(notes), player(notes, 33))
    midi.text_events = [pretty_midi.Text("C", 0.0), pretty_midi.Text("G", 2.5 * BAR)]
    controls = CHORDS.to_arrays(midi).controls.reshape(3, 8, 64)
    assert [sorted(set(bar[0, 1:19].tolist())) for bar in controls] == [[1], [1], [1, 8]]


def test_bars_with_a_chord_of_no_class_are_dropped():
    notes = [(96 * k + s, 96 * k + e, p, v) for k in range(3) for s, e, p, v in QUARTERS]
    midi = song(player(notes), player(notes, 33))
    midi.text_events = [pretty_midi.Text(text, bar * BAR) for text, bar in (("C", 0), ("Csus4", 1), ("G", 2))]
    windows = CHORDS.to_arrays(midi)
    assert windows.start_bar.tolist() == [0, 2]
    assert windows.skipped[-1].reason.endswith("triad; Csus4")
    assert why(CHORDS, song(player(QUARTERS), player(QUARTERS), metre=(8, 8))).endswith("none guessed in 8/8")


def test_a_chord_on_the_bar_line_belongs_to_the_next_bar():
    """Rounding errors put the chord before the line, and the bar before ends with a note on the line."""
    notes = [(96 * k + s, 96 * k + e, p, v) for k in range(2) for s, e, p, v in QUARTERS]
    midi = song(player([*notes, (90, 96, 70, 80), (95.8, 120, 72, 80)]), player(notes, 33))
    midi.text_events = [pretty_midi.Text("C", 0.0), pretty_midi.Text("Csus4", BAR - 1e-9)]
    assert CHORDS.to_arrays(midi).start_bar.tolist() == [0]


def test_controls_for_sampling_take_one_chord():
    controls = CHORDS.chord_controls(["Am"]).reshape(8, 64)
    assert controls[:, 0].tolist() == [0] * 8
    assert (controls[:, 1:] == 22).all()
    with pytest.raises(ValueError, match="takes one chord, not 2"):
        CHORDS.chord_controls(["Am", "C"])


# ---- Tensors ----


def test_frames_are_one_hot_and_give_the_labels_back():
    assert (CHORDS.steps, CHORDS.input_depth, CHORDS.output_depth, CHORDS.control_depth) == (512, 490, 490, 49)
    assert (MULTITRACK.control_depth, MULTITRACK.end_token) == (0, 489)
    windows = CHORDS.to_arrays(song(player(QUARTERS, 4), player(QUARTERS, 33)))
    tensors = CHORDS.to_tensors(windows)
    assert tensors.inputs is tensors.targets
    assert tensors.inputs.shape == (1, 512, 490)
    assert tensors.lengths.tolist() == [[19, 19, 1, 1, 1, 1, 1, 1]]
    np.testing.assert_array_equal(tensors.targets.any(-1), windows.labels >= 0)
    np.testing.assert_array_equal(tensors.controls.any(-1), windows.labels >= 0)
    np.testing.assert_array_equal(tensors.controls.argmax(-1), np.maximum(windows.controls, 0))
    np.testing.assert_array_equal(CHORDS.from_tensors(tensors.targets), windows.labels)
    assert MULTITRACK.to_tensors(windows).controls is None


def test_transposition_moves_notes_but_no_drums_and_no_other_tokens():
    midi = song(player([(0, 10, 60, 80)]), player([(0, 10, 1, 80)], 33), player([(0, 10, 36, 80)], is_drum=True))
    labels = torch.from_numpy(CHORDS.to_arrays(midi).labels).repeat(2, 1)
    moved = MULTITRACK.transpose(labels, torch.tensor([-1, -2]))
    assert moved.dtype == labels.dtype
    expected = [
        [t - 1 if t in (60, 60 + NOTE_OFF, 1, 1 + NOTE_OFF) else t for t in row] for row in tracks_of(labels[0].numpy())
    ]
    assert tracks_of(moved[0].numpy()) == expected
    assert torch.equal(moved[1], labels[1])  # 1 would become -1
    controls = torch.tensor([[0, 1, -1]], dtype=torch.int8).repeat(2, 1)
    assert CHORDS.transpose_controls(labels, controls, torch.tensor([-1, -2])).tolist() == [[0, 12, -1], [0, 1, -1]]


def test_a_set_of_songs_keeps_the_lengths_of_tracks(tmp_path):
    for name, metre in (("a", None), ("b", None), ("c", (3, 4))):
        notes = QUARTERS if name != "b" else QUARTERS[:3]
        song(player(notes), player(QUARTERS, 33), metre=metre).write(str(tmp_path / f"{name}.mid"))
    dataset = load_songs(tmp_path, CHORDS, workers=1, progress=False)
    assert dataset.lengths.tolist() == [[19, 19, 1, 1, 1, 1, 1, 1], [15, 19, 1, 1, 1, 1, 1, 1]]
    assert dataset.windows([1]).lengths.shape == (1, 8)
    assert dataset.controls.shape == (2, 512)
    assert "2 windows of 1 bar kept from 2 songs" in str(dataset.report)
    assert "3/4 throughout: 1 song: c.mid" in str(dataset.report)


# ---- Back to MIDI ----


def a_bar(seed):
    """A song of one bar: tracks of random notes, each of another pitch, and drums."""
    rng = np.random.default_rng(seed)
    tracks = []
    for program in rng.choice(128, 4, replace=False):
        starts = np.sort(rng.choice(90, 12, replace=False))
        notes = [(s, rng.integers(s + 1, 97), 30 + 5 * k, rng.integers(1, 128)) for k, s in enumerate(starts.tolist())]
        tracks.append(player([tuple(map(int, note)) for note in notes], int(program)))
    return song(*tracks, player([(8 * k, 8 * k + 4, 36 + k, 10 * k + 1) for k in range(12)], is_drum=True))


@pytest.mark.parametrize("qpm", [120.0, 77.7])
@pytest.mark.parametrize("seed", range(3))
def test_labels_read_back(seed, qpm, tmp_path):
    labels = MULTITRACK.to_arrays(a_bar(seed)).labels
    assert len(labels) == 1
    again = on_disk(MULTITRACK.from_arrays(labels[0], qpm=qpm), tmp_path / "song.mid")
    np.testing.assert_array_equal(MULTITRACK.to_arrays(again).labels, labels)


def test_bars_of_the_fixtures_read_back(tmp_path):
    bars = [rows[0] for key, rows in REFERENCE.items() if key.endswith("|all|labels")]
    assert len(bars) == 5
    for labels in bars:
        again = on_disk(MULTITRACK.from_arrays(labels), tmp_path / "song.mid")
        np.testing.assert_array_equal(MULTITRACK.to_arrays(again).labels, [labels])


def test_chords_read_back(tmp_path):
    midi = song(player(QUARTERS, 4), player(QUARTERS, 33))
    midi.text_events = [pretty_midi.Text("C", 0.0), pretty_midi.Text("Am", BAR / 2)]
    windows = CHORDS.to_arrays(midi)
    written = CHORDS.from_arrays(windows.labels[0], controls=windows.controls[0])
    assert [(text.text, text.time) for text in written.text_events] == [("C", 0.0), ("Am", BAR / 2)]
    again = CHORDS.to_arrays(on_disk(written, tmp_path / "song.mid"))
    np.testing.assert_array_equal(again.controls, windows.controls)


def bar_of(*tokens):
    labels = np.full((8, 64), -1)
    labels[:, 0] = END
    labels[0, : len(tokens)] = tokens
    return labels.ravel()


def test_tokens_that_no_song_gives_are_read_as_far_as_possible():
    (instrument,) = MULTITRACK.from_arrays(
        bar_of(
            60,
            TIME_SHIFT + 9,
            NOTE_OFF + 99,
            FIRST_PROGRAM + 5,
            VELOCITY + 1,
            62,
            FIRST_PROGRAM + 6,
            TIME_SHIFT + 95,
            64,
            NOTE_OFF + 60,
        )
    ).instruments
    assert instrument.program == 5
    notes = [(round(n.start / STEP), round(n.end / STEP), n.pitch, n.velocity) for n in instrument.notes]
    assert notes == [(0, 96, 60, 100), (10, 96, 62, 17)]
    assert MULTITRACK.from_arrays(bar_of(END, 60, TIME_SHIFT, NOTE_OFF + 60)).instruments == []
    (drums,) = MULTITRACK.from_arrays(bar_of(DRUMS, 36, TIME_SHIFT, NOTE_OFF + 36, END), program=[9] * 8).instruments
    assert (drums.is_drum, drums.program) == (True, 9)
    assert why(MULTITRACK, MULTITRACK.from_arrays(np.full(512, -1))) == "no notes"


@pytest.mark.parametrize(
    "labels, message",
    [
        (np.zeros((8, 64)), r"\[512\], not \[8, 64\]"),
        (np.full(512, 490), "from -1 to 489"),
        (np.full(512, -2), "from -2"),
    ],
)
def test_wrong_labels_are_refused(labels, message):
    with pytest.raises(ValueError, match=message):
        MULTITRACK.from_arrays(labels)


def test_a_number_of_programs_other_than_of_tracks_is_refused():
    with pytest.raises(ValueError, match="give one per track: 8"):
        MULTITRACK.from_arrays(bar_of(60, TIME_SHIFT, NOTE_OFF + 60), program=[1, 2])


@pytest.mark.parametrize("converter", [MULTITRACK, CHORDS])
def test_a_converter_survives_json_and_compares_by_its_fields(converter):
    assert MultitrackConverter(**json.loads(json.dumps(asdict(converter)))) == converter
    assert hash(MultitrackConverter(chords=True)) == hash(CHORDS)


def test_labels_may_be_tensors():
    windows = MULTITRACK.to_arrays(a_bar(0))
    given = Windows(torch.from_numpy(windows.labels), torch.from_numpy(windows.lengths))
    assert torch.equal(MULTITRACK.to_tensors(given).inputs, MULTITRACK.to_tensors(windows).inputs)


@pytest.mark.gpu
def test_frames_are_made_where_the_labels_are():
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    windows = CHORDS.to_arrays(a_bar(0))
    labels, semitones = torch.from_numpy(windows.labels).cuda(), torch.tensor([2], device="cuda")
    there, here = CHORDS.to_tensors(windows._replace(labels=labels)), CHORDS.to_tensors(windows)
    for far, near in zip(there, here):
        assert far.is_cuda
        assert torch.equal(far.cpu(), near)
    assert torch.equal(CHORDS.transpose(labels, semitones).cpu(), CHORDS.transpose(labels.cpu(), semitones.cpu()))
    controls = torch.from_numpy(windows.controls)
    moved = CHORDS.transpose_controls(labels, controls.cuda(), semitones)
    assert torch.equal(moved.cpu(), CHORDS.transpose_controls(labels.cpu(), controls, semitones.cpu()))
