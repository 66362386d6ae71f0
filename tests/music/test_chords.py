"""Chords: their symbols and classes, named in a file or guessed from notes, and melodies with chords."""

from dataclasses import replace

import numpy as np
import pretty_midi
import pytest
import torch

from made_midi import (
    EIGHTS,
    EIGHTS_LABELS,
    MADE_FILES,
    made_song,
    melody,
    on_disk,
    reference,
    sorted_rows,
    track,
    why,
    with_tempo_change,
)
from midi_utils import MelodyConverter, Windows, load_songs
from music import chords
from music.chords import (
    CHORD_DEPTH,
    NO_CHORD,
    ChordError,
    chord_class,
    chord_symbol,
    chords_to_controls,
    is_chord,
    progression,
)

CHORDS = MelodyConverter(programs=None, chords=True)
C, G, A_MINOR = 1, 8, 22
BAR = 2.0  # seconds, at 120 quarters per minute


def with_texts(midi, *texts, kind="text_events"):
    """The song with (seconds, text) as text events or lyrics."""
    event = pretty_midi.Text if kind == "text_events" else pretty_midi.Lyric
    setattr(midi, kind, [event(text, seconds) for seconds, text in texts])
    return midi


# ---- Symbols ----

SYMBOLS = {
    NO_CHORD: 0,
    "C": 1,
    "Cmaj7": 1,
    "C6/9": 1,
    "C7(b9)/Bb": 1,
    "C#": 2,
    "Db": 2,
    "B##13": 2,
    "Am": 22,
    "A-7": 22,
    "Amin(maj7)": 22,
    "Eb+7": 28,
    "G7#5": 32,
    "Bdim": 48,
    "B/o7": 48,
    "Bm7b5": 48,
    "Bmb5": 48,
    "Cm7(b5)": 37,
    "C7add#9": 1,
    "Cno5add5": 1,
}
SPELLINGS = {
    "A♭": "Ab",
    "F♯m7": "F#m",
    "C/B♭": "C",
    "B°": "Bdim",
    "C°7": "Cdim",
    "Cø": "Cdim",
    "Cø7": "Cdim",
    "CΔ": "C",
    "CΔ7": "C",
    "CMaj7": "C",
    "Cma9": "C",
    "Ami": "Am",
    "Ami7": "Am",
    "Ami(ma7)": "Am",
    "Amin7": "Am",
    "C2": "C",
    "C69": "C",
    "C2/E": "C",
    "C69/G": "C",
    "CMa/E": "C",
    "NC": NO_CHORD,
    "n.c.": NO_CHORD,
}
NO_THIRDS = {"Csus4": "C", "Csus2": "C", "C5": "C", "Cped": "C", "Cno3": "C", "Cb5/G": "Cb", "F#sus7": "F#"}
NO_TRIADS = ("Cno1", "C7b5", "C7b5/Bb")
NO_SYMBOLS = ("", "H", "c", "Re", "Hello", "NC", "C#b", "C/", "C/H", "Cadd", "Cmaj7 ", "Cadd5", "Cno9", "C\n")


@pytest.mark.parametrize("symbol", SYMBOLS)
def test_a_symbol_has_a_class(symbol):
    assert chord_class(symbol) == SYMBOLS[symbol]


@pytest.mark.parametrize("symbol", NO_TRIADS)
def test_a_chord_without_a_triad_has_no_class(symbol):
    assert is_chord(symbol)
    with pytest.raises(ChordError, match="no major, minor, augmented or diminished triad"):
        chord_class(symbol)


@pytest.mark.parametrize("symbol", NO_THIRDS)
def test_a_chord_without_a_third_has_no_class(symbol):
    assert is_chord(symbol)
    root = NO_THIRDS[symbol]
    with pytest.raises(ChordError, match=f"'{symbol}' has no third: give {root} or {root}m$"):
        chord_class(symbol)


@pytest.mark.parametrize("text", SPELLINGS)
def test_other_spellings_are_read_where_a_user_gives_them(text):
    assert progression(text, 16).tolist() == chords_to_controls([text], 16).tolist()
    assert progression(text, 16)[0] == chord_class(SPELLINGS[text])


@pytest.mark.parametrize("symbol", ["A♭", "B°", "Cø7", "CΔ7", "Ami7", "CMaj7", "C2", "C7sus4", "NC"])
def test_a_songs_own_symbols_are_those_of_the_reference(symbol):
    assert not is_chord(symbol)


@pytest.mark.parametrize("symbol", NO_SYMBOLS)
def test_other_texts_are_no_chord_symbols(symbol):
    assert not is_chord(symbol)
    with pytest.raises(ChordError):
        chord_class(symbol)


def test_the_symbol_of_every_class_has_that_class():
    assert [chord_class(chord_symbol(k)) for k in range(CHORD_DEPTH)] == list(range(CHORD_DEPTH))
    for beyond in (-1, CHORD_DEPTH):
        with pytest.raises(ChordError, match="from 0 to 48"):
            chord_symbol(beyond)


def test_chords_share_the_steps_equally():
    controls = chords_to_controls(["C", "Am7", NO_CHORD, "G7"], 32)
    assert controls.dtype == np.int8
    assert controls.tolist() == [C] * 8 + [A_MINOR] * 8 + [0] * 8 + [G] * 8
    np.testing.assert_array_equal(CHORDS.chord_controls(["C"]), [C] * 32)


@pytest.mark.parametrize("symbols", [[], ["C"] * 3, "C", ["C", "Gsus"], ["x", "C"]])
def test_wrong_lists_of_chords_are_refused(symbols):
    with pytest.raises(ChordError):
        chords_to_controls(symbols, 32)


def test_chords_move_with_their_root():
    classes = torch.tensor([[0, 1, 12, 13, 36, 48, -1]], dtype=torch.int8)
    moved = chords.transposed_chords(classes, torch.tensor([[1]]))
    assert moved.tolist() == [[0, 2, 1, 14, 25, 37, -1]]
    assert chords.transposed_chords(moved, torch.tensor([[-13]])).tolist() == [[0, 1, 12, 13, 36, 48, -1]]


# ---- Equal to the reference ----


@pytest.mark.parametrize("file", MADE_FILES)
def test_labels_and_chords_equal_the_references(file):
    """The reference guesses the chords of these files, which name none."""
    expected = reference("cat-mel_2bar_med_chords")
    windows = CHORDS.to_arrays(made_song(file))
    if f"{file}|all|labels" not in expected:
        assert len(windows.labels) == 0
        return
    rows = np.concatenate([expected[f"{file}|all|{key}"] for key in ("labels", "chords")], axis=1)
    assert windows.controls.dtype == np.int8
    found = np.concatenate([windows.labels, windows.controls.astype(np.uint8)], axis=1)
    np.testing.assert_array_equal(sorted_rows(found), sorted_rows(rows))


def test_the_best_predecessors_are_those_of_all_pairs_of_states():
    """The function tries few states, and finds what trying all pairs finds."""
    within, across = chords.log_transitions()
    keys, count = across.shape
    moves = np.empty((keys, count, keys, count))
    moves[:] = across[None, None]
    for key in range(keys):
        moves[key, :, key] = within[key]
    moves = moves.reshape(keys * count, -1)
    assert np.exp(moves).sum(1) == pytest.approx(1, abs=0.02)
    rng = np.random.default_rng(0)
    drawn = rng.normal(size=(2, keys, count))
    for scores in (20 * drawn[0], np.round(drawn[1]), np.zeros((keys, count))):  # the last two have many ties
        best, source = chords.best_predecessors(scores)
        ways = scores.reshape(-1, 1) + moves
        np.testing.assert_array_equal(best, ways.max(0))
        np.testing.assert_array_equal(source, ways.argmax(0))


def test_of_equal_predecessors_the_first_is_taken(monkeypatch):
    monkeypatch.setattr(chords, "log_transitions", lambda: (np.zeros((12, 97, 97)), np.zeros((12, 97))))
    score = np.random.default_rng(0).integers(0, 3, (12, 97)).astype(float)
    best, source = chords.best_predecessors(score)
    assert (best == 2).all()
    assert (source == score.argmax()).all()


# ---- Chords named in a file ----


@pytest.mark.parametrize("kind", ["text_events", "lyrics"])
def test_named_chords_go_with_the_notes(kind, tmp_path):
    midi = with_texts(melody(*EIGHTS), (0.0, "Cmaj7"), (BAR / 2, "Am"), (BAR * 1.01, " G7/B "), kind=kind)
    windows = CHORDS.to_arrays(on_disk(midi, tmp_path / "song.mid"))
    np.testing.assert_array_equal(windows.labels, [EIGHTS_LABELS])
    np.testing.assert_array_equal(windows.controls, [[C] * 8 + [A_MINOR] * 8 + [G] * 16])


def test_before_the_first_chord_there_is_none():
    windows = CHORDS.to_arrays(with_texts(melody(*EIGHTS), (BAR, "C")))
    np.testing.assert_array_equal(windows.controls, [[0] * 16 + [C] * 16])


def test_of_two_chords_on_one_step_the_later_holds():
    windows = CHORDS.to_arrays(with_texts(melody(*EIGHTS), (0.0, "C"), (0.01, "G")))
    np.testing.assert_array_equal(windows.controls, [[G] * 32])


def test_a_chord_at_the_very_end_does_not_count():
    """The last note ends at step 30; a chord that rounds to that step falls after the music."""
    windows = CHORDS.to_arrays(with_texts(melody(*EIGHTS), (0.0, "C"), (3.749, "G")))
    np.testing.assert_array_equal(windows.controls, [[C] * 32])


def test_lyrics_are_not_taken_for_chords():
    """A few syllables look like chords; most do not."""
    sung = with_texts(melody(*EIGHTS), (0.0, "A"), (0.5, "mer"), (1.0, "ry"), (1.5, "tune"), kind="lyrics")
    guessed = CHORDS.to_arrays(melody(*EIGHTS))
    np.testing.assert_array_equal(CHORDS.to_arrays(sung).controls, guessed.controls)
    named = with_texts(sung, (0.0, "Gm"))
    np.testing.assert_array_equal(CHORDS.to_arrays(named).controls, [[20] * 32])


def test_a_chord_holds_across_a_change_of_tempo(tmp_path):
    midi = with_texts(melody(*EIGHTS, *((s + 40, e + 40, p) for s, e, p in EIGHTS)), (0.0, "G"))
    midi = with_tempo_change(midi, 2 * BAR, 90.0)
    windows = CHORDS.to_arrays(on_disk(midi, tmp_path / "song.mid"))
    assert len(windows.labels) > 1
    assert (windows.controls == G).all()


def test_windows_with_a_chord_of_no_class_are_dropped():
    notes = [(16 * bar + s, 16 * bar + e, p) for bar in range(0, 6, 2) for s, e, p in EIGHTS]
    windows = CHORDS.to_arrays(with_texts(melody(*notes), (0.0, "C"), (4 * BAR, "Gsus4"), (5 * BAR, "C")))
    assert len(windows.labels) == len(windows.controls) == 2  # the two even windows before the chord are equal
    assert windows.start_bar.tolist() == [0, 1]
    assert windows.skipped[-1].what == "chords of 2 windows"
    assert windows.skipped[-1].reason.endswith("triad; Gsus4")
    nothing = CHORDS.to_arrays(with_texts(melody(*EIGHTS), (0.0, "C5")))
    assert nothing.labels.shape == nothing.controls.shape == (0, 32)
    assert nothing.skipped[0].reason == "no major, minor, augmented or diminished triad; C5"


def test_equal_notes_under_different_chords_are_two_windows():
    notes = [(16 * bar + s, 16 * bar + e, p) for bar in (0, 2) for s, e, p in EIGHTS]
    windows = CHORDS.to_arrays(with_texts(melody(*notes), (0.0, "C"), (2 * BAR, "G")))
    np.testing.assert_array_equal(windows.labels[[0, -1]], [EIGHTS_LABELS] * 2)
    np.testing.assert_array_equal(windows.controls[[0, -1]], [[C] * 32, [G] * 32])
    assert len(replace(CHORDS, chords=False).to_arrays(melody(*notes)).labels) == len(windows.labels) - 1


# ---- Chords guessed ----


def test_a_chord_that_sounds_is_guessed():
    triads = [(0, (60, 64, 67)), (8, (57, 60, 64)), (16, (55, 59, 62)), (24, (60, 64, 67))]
    notes = [(start, start + 8, pitch) for start, pitches in triads for pitch in pitches]
    windows = CHORDS.to_arrays(melody(*notes))
    np.testing.assert_array_equal(windows.controls, [[C] * 8 + [A_MINOR] * 8 + [G] * 8 + [C] * 8])


def test_drums_and_noises_do_not_count_for_a_guess():
    midi = melody(*[(s, s + 8, p) for s in range(0, 32, 8) for p in (60, 64, 67)])
    before = CHORDS.to_arrays(midi)
    midi.instruments += [track([(s, s + 8, 61) for s in range(0, 32, 8)], 120)]
    midi.instruments += [track([(s, 38) for s in range(32)], is_drum=True)]
    np.testing.assert_array_equal(CHORDS.to_arrays(midi).controls[:1], before.controls)


def test_the_reason_for_no_chords_is_named():
    assert why(CHORDS, melody(*EIGHTS, metre=(8, 8))) == "no chords named, and none guessed in 8/8"
    long = melody(*[(16 * k, 16 * k + 16, 60 + k % 5) for k in range(501)])
    assert why(CHORDS, long) == "no chords named, and more than 1000 to guess"
    assert len(CHORDS.to_arrays(with_texts(long, (0.0, "C"))).labels) > 0


# ---- Back to MIDI, and to tensors ----


def test_a_melody_and_its_chords_read_back(tmp_path):
    controls = chords_to_controls(["N.C.", "F#dim", "Ebaug", "Am"], 32)
    midi = on_disk(CHORDS.from_arrays(EIGHTS_LABELS, qpm=77.7, controls=controls), tmp_path / "song.mid")
    assert [text.text for text in midi.text_events] == ["N.C.", "F#dim", "Ebaug", "Am"]
    windows = CHORDS.to_arrays(midi)
    np.testing.assert_array_equal(windows.labels, [EIGHTS_LABELS])
    np.testing.assert_array_equal(windows.controls, [controls])
    assert not CHORDS.from_arrays(EIGHTS_LABELS).text_events


@pytest.mark.parametrize("controls", [np.zeros(31), np.full(32, 49), np.full(32, -2)])
def test_wrong_controls_are_refused(controls):
    with pytest.raises(ValueError, match="chord classes, -1 to 48"):
        CHORDS.from_arrays(EIGHTS_LABELS, controls=controls)


def test_chords_become_one_hot_frames():
    assert (CHORDS.input_depth, CHORDS.output_depth, CHORDS.control_depth) == (90, 90, 49)
    labels, controls = np.stack([EIGHTS_LABELS] * 2), np.stack([CHORDS.chord_controls(["C", "G"])] * 2)
    tensors = CHORDS.to_tensors(Windows(labels, np.array([32, 5]), controls))
    assert tensors.controls.dtype == torch.float32
    assert tensors.controls.shape == (2, 32, 49)
    np.testing.assert_array_equal(tensors.controls[0].argmax(-1), controls[0])
    assert tensors.controls.sum(-1).sum(-1).tolist() == [32, 5]
    with pytest.raises(ValueError, match="no chords"):
        CHORDS.to_tensors(Windows(labels, np.array([32, 32])))


def test_chords_move_as_their_notes_do():
    labels = torch.tensor([[41, 0], [89, 0]])
    controls = torch.tensor([[1, 0], [1, 0]], dtype=torch.int8)
    moved = CHORDS.transpose_controls(labels, controls, torch.tensor([2, 2]))
    assert moved.tolist() == [[3, 0], [1, 0]]  # the second window would leave the keys
    assert moved.dtype == torch.int8


def test_a_set_of_songs_keeps_its_chords(tmp_path):
    for name, symbol in (("a", "C"), ("b", "G"), ("c", "G7")):
        with_texts(melody(*EIGHTS), (0.0, symbol)).write(str(tmp_path / f"{name}.mid"))
    dataset = load_songs(tmp_path, CHORDS, workers=1, progress=False)
    assert dataset.controls[:, 0].tolist() == [C, G]
    assert dataset.report.without_window == (("c.mid", "every window is in an earlier song too"),)
    assert dataset.windows([1]).controls.tolist() == [[G] * 32]


# ---- Progressions ----


@pytest.mark.parametrize(
    ("text", "symbols"),
    [
        ("Am7 Dm7 | G7 Cmaj7", ["Am7", "Dm7", "G7", "Cmaj7"]),
        ("| Am | G |", ["Am", "Am", "G", "G"]),
        ("Am G", ["Am", "Am", "G", "G"]),
        ("Am |% | F", ["Am", "Am", "Am", "Am", "F", "F"]),
        ("C||G", ["C", "C", "G", "G"]),
        ("N.C. Ebdim |", ["N.C.", "Ebdim"]),
    ],
)
def test_a_progression_shares_each_bar_among_its_chords(text, symbols):
    assert progression(text, 16).tolist() == chords_to_controls(symbols, 8 * len(symbols)).tolist()


def test_commas_between_chords_are_spaces():
    assert progression("C, G7,Am", 4).tolist() == progression("C G7 Am", 4).tolist()
    assert progression("C, G | Am", 4).tolist() == progression("C G | Am", 4).tolist()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Am7 H7 | G", "'H7' at character 5, bar 1: 'H7' is no chord symbol"),
        ("C | G | Csus4", "'Csus4' at character 9, bar 3: 'Csus4' has no third: give C or Cm"),
        ("A♭7sus4", "'A♭7sus4' at character 1, bar 1: 'A♭7sus4' has no third: give Ab or Abm"),
        ("% | C", "'%' at character 1, bar 1"),
        ("C | | G", "bar 2, at character 4, has no chord"),
        ("C F G | C", "bar 1, at character 1, has 3 chords, which cannot share its 16 steps"),
        ("", "there is none in the text"),
        (" | ", "there is none in the text"),
        (["C", "G"], "chords must be a text"),
    ],
)
def test_a_progression_that_cannot_be_read_says_where(text, words):
    with pytest.raises(ChordError, match=words):
        progression(text, 16)
