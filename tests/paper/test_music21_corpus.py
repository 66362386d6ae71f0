"""The corpus from music21 has the same bytes each time, keeps the metre and splits by groups of related pieces."""

import sys
from fractions import Fraction

import numpy as np
import pretty_midi
import pytest

from configs import CONFIGS
from corpus import file_sha1, load_corpus, read_manifest
from paper import music21_corpus
from paper.music21_corpus import Note, Piece, Unfit, find_pieces, groups, main, read_piece, split_of

A_FEW = (
    "chorales/bwv10.7",
    "chorales/bwv244.15",  # begins with a pickup and has a repeat
    "chorales/bwv244.17",  # the same tune, a semitone lower
    "fiddle/AcaciaReel",  # in 2/4, with a pickup, repeats and triplets
    "fiddle/BestShotHornpipe",  # its second part has one pickup too many
    "fiddle/BillyORourkesJig",  # in 6/8
)


def piece(path, title, pitches, metre=(4, 4)):
    """A piece of quarter notes."""
    notes = [Note(Fraction(k), Fraction(k + 1), pitch) for k, pitch in enumerate(pitches)]
    return Piece(path, title, metre, {"Melody": notes})


@pytest.fixture
def a_few(monkeypatch):
    """Six pieces instead of the whole corpus."""
    pytest.importorskip("music21")
    chosen = [(name, path) for name, path in find_pieces() if name.removesuffix(".mid") in A_FEW]
    assert len(chosen) == len(A_FEW)
    monkeypatch.setattr(music21_corpus, "find_pieces", lambda: chosen)
    return dict(chosen)


def test_related_pieces_are_in_one_group_also_through_a_chain():
    scale, other = range(60, 80), [60, 64] * 10
    pieces = [
        piece("a.mid", "Morning -- Reel", scale),
        piece("b.mid", "Evening", other),
        piece("c.mid", "Noon", [pitch + 5 for pitch in scale]),  # begins like a, in another key
        piece("d.mid", "MORNING No. 2", [70, 60] * 10),
        piece("e.mid", "Evening -- Hornpipe", [pitch + 1 for pitch in scale]),  # has b's title and a's melody
        piece("f.mid", "Night", [61, 60, 62] * 5),
    ]
    found = groups(pieces)
    assert list(found) == [p.path for p in pieces]
    assert found["a.mid"] == found["b.mid"] == found["c.mid"] == found["e.mid"]
    assert len(set(found.values())) == 3


def test_the_split_depends_on_the_seed_and_takes_about_a_tenth_each():
    names = [f"group {k}" for k in range(2000)]
    first = [split_of(name, 0) for name in names]
    assert first == [split_of(name, 0) for name in names]
    assert first != [split_of(name, 1) for name in names]
    assert all(150 < first.count(part) < 250 for part in ("valid", "test"))
    assert set(first) == {"train", "valid", "test"}


def test_a_piece_is_written_on_the_grid_of_its_metre(tmp_path):
    music21_corpus.write_piece(tmp_path, piece("x/a.mid", "A", [60, 64, 67, 72, 60], (2, 2)))
    midi = pretty_midi.PrettyMIDI(str(tmp_path / "x" / "a.mid"))
    metre = midi.time_signature_changes[0]
    assert (metre.numerator, metre.denominator) == (2, 2)
    assert [note.pitch for note in midi.instruments[0].notes] == [60, 64, 67, 72, 60]
    assert [note.start for note in midi.instruments[0].notes] == [0.0, 0.5, 1.0, 1.5, 2.0]


def test_without_music21_the_command_says_how_to_install_it(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "music21", None)
    with pytest.raises(SystemExit, match="pip install music21"):
        main([str(tmp_path)])


def test_pieces_are_read_as_they_are_played(a_few):
    chorale = read_piece("chorales/bwv244.15.mid", a_few["chorales/bwv244.15.mid"])
    assert list(chorale.parts) == ["Soprano", "Alto", "Tenor", "Bass"]
    assert chorale.parts["Soprano"][:3] == [
        Note(3, 4, 66),
        Note(4, 5, 71),
        Note(5, 6, 69),
    ]  # the pickup is on beat four
    assert Note(19, 20, 66) in chorale.parts["Soprano"]  # the repeat begins on beat four again
    reel = read_piece("fiddle/AcaciaReel.mid", a_few["fiddle/AcaciaReel.mid"])
    notes = reel.parts["Melody"]
    assert reel.metre == (2, 2)
    assert (notes[0].start, notes[-1].end) == (3, 131)  # 32 bars of four quarters after the pickup's
    assert min(note.end - note.start for note in notes) == Fraction(1, 3)


@pytest.mark.parametrize("name, reason", [("BestShotHornpipe", "do not add up"), ("BillyORourkesJig", "not in 4/4")])
def test_unfit_pieces_raise_with_the_reason(a_few, name, reason):
    with pytest.raises(Unfit, match=reason):
        read_piece(name, a_few[f"fiddle/{name}.mid"])


def test_two_runs_write_the_same_bytes_which_give_windows(a_few, tmp_path):
    unfit = music21_corpus.write_corpus(tmp_path / "a", progress=False)
    music21_corpus.write_corpus(tmp_path / "b", progress=False)
    files = sorted(path.relative_to(tmp_path / "a") for path in (tmp_path / "a").rglob("*") if path.is_file())
    assert all((tmp_path / "a" / path).read_bytes() == (tmp_path / "b" / path).read_bytes() for path in files)
    entries = read_manifest(tmp_path / "a" / "corpus.csv")
    assert len(entries) + len(unfit) == len(A_FEW)
    assert [entry.path for entry in entries] == [path.as_posix() for path in files if path.suffix == ".mid"]
    assert all(file_sha1(tmp_path / "a" / entry.path) == entry.sha1 for entry in entries)
    related = {entry.group for entry in entries if "bwv244" in entry.path}
    assert len(related) == 1
    for preset, least in (("cat-mel_2bar_small", 100), ("flat-mel_16bar", 10)):
        converter = CONFIGS[preset].converter
        parts = [
            load_corpus(tmp_path / "a", split, converter, tmp_path / "a" / "corpus.csv", progress=False)
            for split in {entry.split for entry in entries}
        ]
        assert sum(map(len, parts)) > least
        assert sum((np.isin(songs.labels, range(2, 90)).any(1)).sum() for songs in parts) > least
