"""A corpus that pip can install: the Bach chorales and fiddle tunes of music21's own corpus, as MIDI files.

    pip install music21 -c constraints.txt
    python -m paper.music21_corpus runs/music21

This writes the pieces in 4/4, 2/2 and 2/4, and a manifest, `corpus.csv`, for `train.py --manifest` and
`evaluation.py --manifest`. Pieces in 2/4 are written in doubled note values, as other collections write the same reels.
The same version of music21 gives the same bytes each time. Repeats are played out, and a pickup is at the end of a bar
of its own. A tenth of the tunes goes to the valid split and a tenth to the test split. Pieces that have the same title,
or whose melodies begin alike in any key, go to the same split.
"""

import argparse
import hashlib
import itertools
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import pretty_midi
from tqdm.auto import tqdm

from console import errors_in_a_line, say
from corpus import Entry, file_sha1, write_manifest

SOURCES = {
    "chorales": ("bach", "bwv*.mxl"),
    "fiddle": ("ryansMammoth", "*.abc"),
}  # our name of a source: its folder and files in music21
VOICES = ("Soprano", "Alto", "Tenor", "Bass")
PROGRAM = 0  # General MIDI, from 0: the piano
QPM = 120.0  # quarter notes per minute; few sources state a tempo
VELOCITY = 80
METRES = {(4, 4): 1, (2, 2): 1, (2, 4): 2}  # metres that are written, and the factor on their note values
INCIPIT = 12  # first notes of a melody that are compared
SHARES = ("valid", "test", *["train"] * 8)  # a tune goes to each with equal probability


class Note(NamedTuple):
    """A note of a voice."""

    start: Fraction  # quarter notes
    end: Fraction  # quarter notes
    pitch: int


class Piece(NamedTuple):
    """A piece in the form in which it is written to a file."""

    path: str  # relative to the corpus's folder
    title: str
    metre: tuple[int, int]
    parts: dict[str, list[Note]]  # the melody first


class Unfit(ValueError):
    """A piece that cannot be written, with the reason."""


def import_music21():
    """Imports music21, an optional dependency.

    Raises:
        ImportError: music21 is not installed; the message says how to install it.
    """
    try:
        import music21
    except ImportError:
        raise ImportError("this corpus needs music21: pip install music21 -c constraints.txt") from None
    return music21


def find_pieces() -> list[tuple[str, Path]]:
    """The files of both collections in music21's corpus, each with the path that its piece is written to."""
    root = Path(import_music21().common.getCorpusFilePath())
    found = [(name, path) for name, (source, files) in SOURCES.items() for path in (root / source).glob(files)]
    return sorted((f"{name}/{path.stem}.mid", path) for name, path in found)


def read_piece(name: str, path: Path) -> Piece:
    """Reads a chorale or a tune.

    Args:
        name: path that the piece is written to, relative to the corpus's folder.
        path: its file in music21's corpus.

    Raises:
        Unfit: another metre, a chorale without the four voices, or bars that do not add up.
    """
    score, chorale = import_music21().converter.parse(path, forceSource=True), path.suffix != ".abc"
    parts, metre = chorale_parts(score) if chorale else list(score.parts), read_metre(score)
    title = chorale_title(path) if chorale else score.metadata.title or path.stem
    notes = {part.partName or "Melody": read_part(part, metre) for part in parts}
    return Piece(name, title, (2, 2) if METRES[metre] == 2 else metre, notes)


def chorale_parts(score) -> list:
    """The four voices of a chorale, from the highest to the lowest.

    Raises:
        Unfit: one of them is missing.
    """
    voices = {part.partName: part for part in score.parts}
    if not voices.keys() >= set(VOICES):
        raise Unfit("not for four voices")
    return [voices[name] for name in VOICES]


def read_metre(score) -> tuple[int, int]:
    """The only metre of a score.

    Raises:
        Unfit: it is not one of METRES, or there are several.
    """
    metres = {(metre.numerator, metre.denominator) for metre in score.recurse().getElementsByClass("TimeSignature")}
    if len(metres) != 1 or not metres <= METRES.keys():
        raise Unfit("not in 4/4, 2/2 or 2/4 throughout")
    return metres.pop()


def read_part(part, metre: tuple[int, int]) -> list[Note]:
    """The notes of a part in playing order; a rest fills up its first bar.

    Raises:
        Unfit: repeats that do not match, or a full bar that begins off the bar lines.
    """
    music21, factor = import_music21(), METRES[metre]
    try:
        played = part.expandRepeats()
    except music21.repeat.ExpanderException:
        raise Unfit("repeats that do not match") from None
    lead, flat = leading_rest(played, metre), played.flatten()
    flat.stripTies(inPlace=True)
    sounding = [n for n in flat.notes if n.duration.quarterLength and "ChordSymbol" not in n.classes]  # no grace notes
    times = [(lead + Fraction(n.offset), Fraction(n.duration.quarterLength), n.pitches) for n in sounding]
    return sorted(Note(factor * at, factor * (at + length), p.midi) for at, length, pitches in times for p in pitches)


def leading_rest(played, metre: tuple[int, int]) -> Fraction:
    """The rest that fills up a part's first bar, in quarter notes.

    Raises:
        Unfit: a full bar begins off the bar lines.
    """
    full = Fraction(4 * metre[0], metre[1])
    bars = [(Fraction(m.offset), Fraction(m.duration.quarterLength)) for m in played.getElementsByClass("Measure")]
    lead = -bars[0][1] % full
    if any(length > full or (length == full and (lead + start) % full) for start, length in bars):
        raise Unfit("bars that do not add up")
    return lead


def chorale_title(path: Path) -> str:
    """The title that music21 lists for a chorale; its BWV number where music21 lists none."""
    number = path.stem.removeprefix("bwv")
    titles = import_music21().corpus.chorales.ChoraleListRKBWV().byBWV
    return titles[number]["title"] if number in titles else path.stem


def write_piece(folder: Path, piece: Piece) -> None:
    """Writes a piece as a MIDI file with one track per part."""
    midi = pretty_midi.PrettyMIDI(initial_tempo=QPM)
    midi.time_signature_changes.append(pretty_midi.TimeSignature(*piece.metre, 0.0))
    for name, notes in piece.parts.items():
        track = pretty_midi.Instrument(PROGRAM, name=name)
        times = [(float(note.start * 60) / QPM, float(note.end * 60) / QPM) for note in notes]
        track.notes = [pretty_midi.Note(VELOCITY, n.pitch, *time) for n, time in zip(notes, times, strict=True)]
        midi.instruments.append(track)
    path = folder / piece.path
    path.parent.mkdir(parents=True, exist_ok=True)
    midi.write(str(path))


def signatures(piece: Piece) -> tuple[str, str]:
    """Two keys that related pieces share: the title without the kind of dance, and the melody's first intervals."""
    title = "".join(filter(str.isalnum, piece.title.split(" -- ")[0].casefold()))
    pitches = [note.pitch for note in next(iter(piece.parts.values()))[:INCIPIT]]
    return f"title {title}", f"steps {[b - a for a, b in itertools.pairwise(pitches)]}"


def groups(pieces: Iterable[Piece]) -> dict[str, str]:
    """The group of each piece by its path. Pieces that share a signature, directly or in a chain, are in one group."""
    group = {}  # of each signature and path
    for piece in pieces:
        names = (*signatures(piece), piece.path)
        joined = {group[name] for name in names if name in group}
        group |= {name: piece.path for name, known in group.items() if known in joined}
        group |= dict.fromkeys(names, piece.path)
    return {name: known for name, known in group.items() if name.endswith(".mid")}


def split_of(group: str, seed: int) -> str:
    """The split of a group; it does not depend on the other groups."""
    return SHARES[int(hashlib.sha256(f"{seed} {group}".encode()).hexdigest(), 16) % len(SHARES)]


def read_all(found: Iterable[tuple[str, Path]], unfit: dict[str, str]) -> Iterator[Piece]:
    """Yields the pieces that can be written, and adds the reason of each other piece to `unfit`."""
    for name, path in found:
        try:
            yield read_piece(name, path)
        except Unfit as reason:
            unfit[name] = str(reason)


def write_corpus(folder: Path, seed: int = 0, progress: bool = True) -> dict[str, str]:
    """Writes the files and their manifest; returns the pieces that were left out, each with the reason."""
    unfit, pieces = {}, []
    for piece in read_all(tqdm(find_pieces(), "Writing MIDI", disable=not progress), unfit):
        write_piece(folder, piece)
        pieces.append(piece)
    group = groups(pieces)
    rows = [Entry(p, file_sha1(folder / p), split_of(group[p], seed), group[p]) for p in group]
    write_manifest(folder / "corpus.csv", rows)
    return unfit


def main(arguments: list[str] | None = None) -> None:
    """The command: writes the corpus and counts what was left out, by reason."""
    parser = argparse.ArgumentParser(description="Write music21's Bach chorales and fiddle tunes as MIDI files.")
    parser.add_argument("out", type=Path, help="folder to write to")
    parser.add_argument("--seed", type=int, default=0, help="of the split (default: 0)")
    options = parser.parse_args(arguments)
    with errors_in_a_line(ImportError):
        unfit = write_corpus(options.out, options.seed)
    reasons = sorted(unfit.values())
    for reason in dict.fromkeys(reasons):
        say(f"left out {reasons.count(reason)}: {reason}")


if __name__ == "__main__":
    main()
