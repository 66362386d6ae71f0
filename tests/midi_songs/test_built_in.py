"""The built-in songs: reproducible bytes, one metre, on the grid, within their pitch ranges, and enough of them."""

import importlib.util
import re
from pathlib import Path

import numpy as np
import pretty_midi
import pytest

from midi_utils import MelodyConverter, TrioConverter, load_songs

FOLDER = Path(__file__).parents[2] / "midi_songs" / "built_in"
DRUM_PITCHES = {36, 38, 42, 45, 46, 48, 49, 50, 51}
FILES = sorted(FOLDER.glob("*.mid"))


def load_program():
    spec = importlib.util.spec_from_file_location("arrange", FOLDER / "arrange.py")
    program = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(program)
    return program


arrange = load_program()
TUNES = arrange.read_tunes(FOLDER / "tunes.abc")
A_TUNE = "1\nT:A tune\nC:trad.\nO:here\nR:folk\nQ:1/4=100\nL:1/4\nK:{key}\n{music}\n"


@pytest.fixture(scope="module")
def songs() -> dict[str, pretty_midi.PrettyMIDI]:
    return {path.name: pretty_midi.PrettyMIDI(str(path)) for path in FILES}


def parts(song: pretty_midi.PrettyMIDI) -> dict[str, pretty_midi.Instrument]:
    return {instrument.name: instrument for instrument in song.instruments}


def steps(song: pretty_midi.PrettyMIDI, instrument: pretty_midi.Instrument) -> np.ndarray:
    """[n, 2] starts and ends in sixteenth steps, as fractions where a note is off the grid."""
    ticks = [(song.time_to_tick(note.start), song.time_to_tick(note.end)) for note in instrument.notes]
    return np.array(sorted(ticks)) / (song.resolution / 4)


def read(music: str, key: str = "C"):
    return arrange.parse_tune("X:" + A_TUNE.format(music=music, key=key))


def test_files_are_what_the_program_writes(tmp_path):
    written = arrange.write_all(FOLDER / "tunes.abc", tmp_path)
    assert [path.name for path in FILES] == sorted(path.name for path in written)
    assert [path.name for path in written if path.read_bytes() != (FOLDER / path.name).read_bytes()] == []


def test_there_are_enough_songs_and_most_are_long():
    bars = [arrange.times_through(tune) * tune.bars for tune in TUNES]
    assert len(TUNES) >= 80
    assert np.mean(np.array(bars) >= 32) > 0.7


def test_no_tune_occurs_twice():
    assert len({tune.title for tune in TUNES}) == len({tune.number for tune in TUNES}) == len(TUNES)
    openings = {tuple(np.diff([note.pitch for note in tune.melody])) for tune in TUNES}
    assert len(openings) == len(TUNES)


def test_readme_names_every_tune_and_its_origin():
    readme = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert arrange.with_table(readme, TUNES) == readme
    assert all(tune.title in readme and tune.origin in readme for tune in TUNES)
    assert "CC0 1.0" in readme


def test_every_bar_has_a_chord_of_its_own():
    for text in re.split(r"^X:", (FOLDER / "tunes.abc").read_text(encoding="utf-8"), flags=re.M)[1:]:
        music = "".join(line for line in text.splitlines()[1:] if not re.match("[A-Z]:", line))
        tune = arrange.parse_tune("X:" + text)
        bars = music.strip("| \n").split("|")[tune.pickup > 0 :]
        assert all('"' in bar for bar in bars), tune.title


@pytest.mark.parametrize("music", ["C D E F|C D E", "C D E F|C D E F G", "C|C D E F|C D E F", "C D E F|C D E F/|"])
def test_a_bar_that_does_not_add_up_is_refused(music):
    with pytest.raises(ValueError, match="A tune: bar 2|A tune: bar 3"):
        read('"C"' + music)


@pytest.mark.parametrize("music", ["C D E F|C D E/8 F", "C D E H", "C D (3EFG"])
def test_unknown_notation_is_refused(music):
    with pytest.raises(ValueError, match="grid|cannot read"):
        read('"C"' + music)


def test_a_missing_field_style_or_chord_is_refused():
    with pytest.raises(ValueError, match="lacks K"):
        read('"C"C D E F', key="")
    with pytest.raises(ValueError, match="no style 'polka'"):
        arrange.parse_tune("X:" + A_TUNE.replace("folk", "polka").format(music='"C"C D E F', key="C"))
    with pytest.raises(ValueError, match="chord 'Hm'"):
        read('"Hm"C D E F')
    with pytest.raises(ValueError, match="needs a chord"):
        read("C D E F")


def test_accidentals_lengths_ties_and_chords_are_read():
    tune = read('F|"G7"^F F> G, c|"Am"=F2 z f-|f3', key="Bb")
    heard = [(note.start, note.length, note.pitch) for note in tune.melody]
    assert heard == [(-4, 4, 65), (0, 4, 66), (4, 6, 66), (10, 2, 55), (12, 4, 72), (16, 8, 65), (28, 16, 77)]
    assert (tune.pickup, tune.bars) == (4, 3)
    assert tune.chords[0] == (7, (0, 4, 7, 10))
    assert tune.chords[15:17] == [(7, (0, 4, 7, 10)), (9, (0, 3, 7))]


def test_a_key_has_its_sharps_or_flats():
    assert [n for n, s in arrange.signature(arrange.parse_key("A")).items() if s == 1] == ["F", "C", "G"]
    assert [n for n, s in arrange.signature(arrange.parse_key("Gm")).items() if s == -1] == ["E", "B"]
    assert set(arrange.signature(arrange.parse_key("Ddor")).values()) == {0}


def test_programs_and_pitches_are_in_their_ranges(songs):
    for name, song in songs.items():
        assert len(song.instruments) == 4, name
        melody, bass, chords, drums = (parts(song)[part] for part in ("Melody", "Bass", "Chords", "Drums"))
        assert (melody.program in range(32), bass.program in range(32, 40), chords.program >= 40) == (True,) * 3, name
        assert [part.is_drum for part in (melody, bass, chords, drums)] == [False, False, False, True], name
        assert all(48 <= note.pitch <= 91 for note in melody.notes), name
        assert all(28 <= note.pitch <= 55 for note in bass.notes), name
        assert {note.pitch for note in drums.notes} <= DRUM_PITCHES, name


def test_every_note_is_on_the_grid_in_one_metre(songs):
    for name, song in songs.items():
        assert [(s.numerator, s.denominator, s.time) for s in song.time_signature_changes] == [(4, 4, 0)], name
        assert len(song.get_tempo_changes()[0]) == 1, name
        for instrument in song.instruments:
            assert not (steps(song, instrument) % 1).any(), (name, instrument.name)


def test_melody_and_bass_are_of_one_voice_and_no_part_is_silent_for_a_bar(songs):
    for tune, (name, song) in zip(TUNES, sorted(songs.items()), strict=True):
        end = 16 * (arrange.times_through(tune) * tune.bars + (tune.pickup > 0))
        for part in ("Melody", "Bass", "Drums"):
            held = steps(song, parts(song)[part])
            last = np.append(0, held[:, 1])
            assert (np.append(held[:, 0], end) - last).max() < 16, (name, part)
            if part != "Drums":
                assert (held[1:, 0] >= held[:-1, 1]).all(), (name, part)
            assert set(range(end // 16)) == set((held[:, 0] // 16).astype(int)), (name, part)


def test_there_are_enough_different_windows():
    assert len(load_songs(FOLDER, MelodyConverter(bars=2), workers=1, progress=False)) >= 1200
    assert len(load_songs(FOLDER, TrioConverter(bars=16), workers=1, progress=False)) >= 1000
