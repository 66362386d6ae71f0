"""A corpus that pip can install: the Bach chorales and the fiddle tunes that come with music21, as MIDI files.

    pip install music21 -c constraints.txt
    python -m paper.music21_corpus runs/music21

writes those in 4/4, 2/2 and 2/4 (in doubled note values, as the same reels are written elsewhere) and a manifest,
`corpus.csv`, which `train.py --manifest` and `evaluation.py --manifest` read. One version of music21 gives the same
bytes each time. Repeats are played, and a pickup stands at the end of a bar of its own. A tenth of the tunes is for
valid and a tenth for test; pieces of one title, or whose melodies begin alike in any key, are in one part.
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

from corpus import Entry, file_sha1, write_manifest

SOURCES = {"chorales": ("bach", "bwv*.mxl"), "fiddle": ("ryansMammoth", "*.abc")}  # here, and in music21
VOICES = ("Soprano", "Alto", "Tenor", "Bass")
PROGRAM = 0  # General MIDI, from 0: the piano
QPM = 120.0  # quarters a minute; the sources seldom say
VELOCITY = 80
METRES = {(4, 4): 1, (2, 2): 1, (2, 4): 2}  # those written, and by how much their note values grow
INCIPIT = 12  # notes that tell a melody from others
SHARES = ("valid", "test", *["train"] * 8)  # parts that a tune falls into, one as likely as another


class Note(NamedTuple):
    """A note of a part."""

    start: Fraction  # quarters
    end: Fraction  # quarters
    pitch: int


class Piece(NamedTuple):
    """A piece as it is written to a file."""

    path: str  # in the corpus's folder
    title: str
    metre: tuple[int, int]
    parts: dict[str, list[Note]]  # the melody first


class Unfit(ValueError):
    """A piece that gives no file, and why."""


def import_music21():
    """music21, which is optional.

    Raises:
        ImportError: it is not there; says how to get it.
    """
    try:
        import music21
    except ImportError:
        raise ImportError("this corpus needs music21: pip install music21 -c constraints.txt") from None
    return music21


def find_pieces() -> list[tuple[str, Path]]:
    """The files of both collections in music21's own corpus, and where each is to be written."""
    root = Path(import_music21().common.getCorpusFilePath())
    found = [(name, path) for name, (source, files) in SOURCES.items() for path in (root / source).glob(files)]
    return sorted((f"{name}/{path.stem}.mid", path) for name, path in found)


def read_piece(name: str, path: Path) -> Piece:
    """Reads a chorale or a tune.

    Raises:
        Unfit: a metre that is not written, no four voices, or bars that do not add up.
    """
    score = import_music21().converter.parse(path, forceSource=True)
    parts = list(score.parts)
    if path.suffix != ".abc":
        voices = {part.partName: part for part in parts}
        if not voices.keys() >= set(VOICES):
            raise Unfit("not for four voices")
        parts = [voices[name] for name in VOICES]
    metres = {(metre.numerator, metre.denominator) for metre in score.recurse().getElementsByClass("TimeSignature")}
    if len(metres) != 1 or not metres <= METRES.keys():
        raise Unfit("not in 4/4, 2/2 or 2/4 throughout")
    metre = metres.pop()
    title = chorale_title(path) if path.suffix != ".abc" else score.metadata.title or path.stem
    played = {part.partName or "Melody": read_part(part, metre) for part in parts}
    return Piece(name, title, (2, 2) if METRES[metre] == 2 else metre, played)


def read_part(part, metre: tuple[int, int]) -> list[Note]:
    """The notes of a part as it is played, in order, its first bar filled up with a rest.

    Raises:
        Unfit: a full bar begins off the bar lines.
    """
    music21, grow = import_music21(), METRES[metre]
    try:
        played = part.expandRepeats()
    except music21.repeat.ExpanderException:
        raise Unfit("repeats that do not match") from None
    bar = Fraction(4 * metre[0], metre[1])
    bars = [(Fraction(m.offset), Fraction(m.duration.quarterLength)) for m in played.getElementsByClass("Measure")]
    lead = -bars[0][1] % bar
    if any(length > bar or (length == bar and (lead + start) % bar) for start, length in bars):
        raise Unfit("bars that do not add up")
    flat = played.flatten()
    flat.stripTies(inPlace=True)
    sounding = [n for n in flat.notes if n.duration.quarterLength and "ChordSymbol" not in n.classes]  # no grace notes
    times = [(lead + Fraction(n.offset), Fraction(n.duration.quarterLength), n.pitches) for n in sounding]
    return sorted(Note(grow * at, grow * (at + length), p.midi) for at, length, pitches in times for p in pitches)


def chorale_title(path: Path) -> str:
    """The title of a chorale by its number among Bach's works; the number itself where music21 lists none."""
    number = path.stem.removeprefix("bwv")
    titles = import_music21().corpus.chorales.ChoraleListRKBWV().byBWV
    return titles[number]["title"] if number in titles else path.stem


def write_piece(folder: Path, piece: Piece) -> None:
    """Writes a piece as a MIDI file, a track a part."""
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


def signs(piece: Piece) -> tuple[str, str]:
    """What related pieces share: the title without the kind of dance, and the steps that the melody begins with."""
    title = "".join(filter(str.isalnum, piece.title.split(" -- ")[0].casefold()))
    pitches = [note.pitch for note in next(iter(piece.parts.values()))[:INCIPIT]]
    return f"title {title}", f"steps {[b - a for a, b in itertools.pairwise(pitches)]}"


def groups(pieces: Iterable[Piece]) -> dict[str, str]:
    """The group of each piece by its path: pieces that share a sign, or are linked by others, have one name."""
    group = {}  # of each sign and path
    for piece in pieces:
        names = (*signs(piece), piece.path)
        joined = {group[name] for name in names if name in group}
        group |= {name: piece.path for name, known in group.items() if known in joined}
        group |= dict.fromkeys(names, piece.path)
    return {name: known for name, known in group.items() if name.endswith(".mid")}


def split_of(group: str, seed: int) -> str:
    """The part that a group falls into, whatever other groups there are."""
    return SHARES[int(hashlib.sha256(f"{seed} {group}".encode()).hexdigest(), 16) % len(SHARES)]


def read_all(found: Iterable[tuple[str, Path]], unfit: dict[str, str]) -> Iterator[Piece]:
    """The pieces that can be written; why the others cannot goes into `unfit`."""
    for name, path in found:
        try:
            yield read_piece(name, path)
        except Unfit as reason:
            unfit[name] = str(reason)


def write_corpus(folder: Path, seed: int = 0, progress: bool = True) -> dict[str, str]:
    """Writes the files and their manifest; returns the pieces left out, each with its reason."""
    unfit, pieces = {}, []
    for piece in read_all(tqdm(find_pieces(), "Writing MIDI", disable=not progress), unfit):
        write_piece(folder, piece)
        pieces.append(piece)
    group = groups(pieces)
    rows = [Entry(p, file_sha1(folder / p), split_of(group[p], seed), group[p]) for p in group]
    write_manifest(folder / "corpus.csv", rows)
    return unfit


def main(arguments: list[str] | None = None) -> None:
    """The command."""
    parser = argparse.ArgumentParser(description="Write music21's Bach chorales and fiddle tunes as MIDI files.")
    parser.add_argument("out", type=Path, help="folder to write to")
    parser.add_argument("--seed", type=int, default=0, help="of the split (default 0)")
    options = parser.parse_args(arguments)
    try:
        unfit = write_corpus(options.out, options.seed)
    except ImportError as fault:
        raise SystemExit(f"error: {fault}") from None
    reasons = sorted(unfit.values())
    for reason in dict.fromkeys(reasons):
        print(f"left out {reasons.count(reason)}: {reason}")


if __name__ == "__main__":
    main()
