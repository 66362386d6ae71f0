"""Chords: their symbols, the classes that a model is told, and a guess at them where a song does not name them.

A model hears of a chord as one of 49 classes: none, or one of twelve roots with a major, minor, augmented or diminished
triad. The symbols are read as note_seq reads them (its chord_symbols_lib.py), and chords are found in notes as there
(chord_inference.py): the likeliest path through pairs of a key and a chord, two chords a bar of 4/4.
"""

import math
import re
from collections.abc import Sequence
from functools import cache, lru_cache
from typing import NamedTuple

import numpy as np

NO_CHORD = "N.C."
ROOTS = ("C", "C#", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B")
TRIADS = {(0, 0): "", (-1, 0): "m", (0, 1): "aug", (-1, -1): "dim"}  # alterations of third and fifth, by class
CHORD_DEPTH = 1 + len(TRIADS) * len(ROOTS)  # 49 classes: 0 no chord, then the roots of each triad

STEP_PITCHES = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}
MINORS = ("m", "min", "-")
KINDS = {  # degrees of the scale, altered, and how the kind is written after the root
    "1 3 5": ("", "maj", "M"),
    "1 b3 5": MINORS,
    "1 3 #5": ("+", "aug"),
    "1 b3 b5": ("o", "dim"),
    "1 3 5 b7": ("7",),
    "1 3 5 7": ("maj7", "M7"),
    "1 b3 5 b7": tuple(f"{minor}7" for minor in MINORS),
    "1 b3 b5 bb7": ("o7", "dim7"),
    "1 3 #5 b7": ("+7", "aug7"),
    "1 b3 b5 b7": ("m7b5", "-7b5", "/o", "/o7"),
    "1 b3 5 7": tuple(f"{minor}{seventh}" for minor in MINORS for seventh in ("maj7", "M7", "(maj7)", "(M7)")),
    "1 3 5 6": ("6",),
    "1 b3 5 6": tuple(f"{minor}6" for minor in MINORS),
    "1 3 5 b7 9": ("9",),
    "1 3 5 7 9": ("maj9", "M9"),
    "1 b3 5 b7 9": tuple(f"{minor}9" for minor in MINORS),
    "1 3 #5 b7 9": ("+9", "aug9"),
    "1 3 5 6 9": ("6/9",),
    "1 3 5 b7 9 11": ("11",),
    "1 3 5 7 9 11": ("maj11", "M11"),
    "1 b3 5 b7 9 11": tuple(f"{minor}11" for minor in MINORS),
    "1 3 5 b7 9 11 13": ("13",),
    "1 3 5 7 9 11 13": ("maj13", "M13"),
    "1 b3 5 b7 9 11 13": tuple(f"{minor}13" for minor in MINORS),
    "1 2 5": ("sus2",),
    "1 4 5": ("sus", "sus4"),
    "1 4 5 b7": ("sus7", "7sus"),
    "1": ("ped",),
    "1 5": ("5",),
}
DEGREES = {name: degrees for degrees, names in KINDS.items() for name in names}
CHANGE = r"\(?(add|no)?([#b]?)(\d+)\)?"  # of a degree: add9, add#9, no5, #11, (b5)
SYMBOL = re.compile(
    rf"([A-G])(#*|b*)(?![#b])({'|'.join(map(re.escape, DEGREES))})"
    r"((?:\(?(?:add[#b]?|no|#|b)\d+\)?)*)(?:/[A-G](?:#*|b*))?"
)

GUESSED_KINDS = {  # semitones above the root
    "": (0, 4, 7),
    "m": (0, 3, 7),
    "+": (0, 4, 8),
    "dim": (0, 3, 6),
    "7": (0, 4, 7, 10),
    "maj7": (0, 4, 7, 11),
    "m7": (0, 3, 7, 10),
    "m7b5": (0, 3, 6, 10),
}
GUESSED = (NO_CHORD, *(root + kind for root in ROOTS for kind in GUESSED_KINDS))  # 97 symbols
MAJOR_SCALE = (0, 2, 4, 5, 7, 9, 11)
CHORDS_PER_BAR = {(2, 2): 1, (2, 4): 1, (3, 4): 1, (4, 4): 2, (6, 8): 2}  # by time signature
MAX_CHORDS = 1000  # guessed in a stretch of one tempo and metre
KEY_CHANGE, CHORD_CHANGE, OUT_OF_KEY = 0.001, 0.5, 0.01  # probabilities, the last a chord note's
CONCENTRATION = 100.0  # how closely notes keep to their chord
UNPITCHED_PROGRAMS = (*range(96, 104), *range(112, 128))
TIE = 1e-6  # nats; far above what rounding changes


class ChordError(ValueError):
    """A chord symbol that cannot be read, or a chord that has no class."""


class Harmony(NamedTuple):
    """The chords of a stretch of music, each up to the next; before the first there is none."""

    seconds: np.ndarray  # [chords] rising
    symbols: tuple[str, ...]

    @property
    def classes(self) -> np.ndarray:
        """int8 [chords + 1]: the class of each, -1 where it has none; the last, which index -1 finds, is no chord."""
        return np.array([*map(_class_or_none, self.symbols), 0], np.int8)

    def at(self, steps: np.ndarray, first_steps: np.ndarray) -> np.ndarray:
        """int16, in the shape of steps: the index in `classes` of the chord at each, one for all of its name.

        first_steps [chords] rising: where each chord begins; of two on one step the later holds.
        """
        _, first, alike = np.unique((*self.symbols, NO_CHORD), return_index=True, return_inverse=True)
        return first[alike][np.searchsorted(first_steps, steps, "right") - 1].astype(np.int16)


# ---- Symbols ----


@lru_cache(maxsize=4096)
def chord_class(symbol: str) -> int:
    """The class of a chord symbol, 0 to 48.

    Raises:
        ChordError: a symbol that cannot be read, or whose chord has none of the four triads (Csus4, C5).
    """
    root, degrees = _parse(symbol)
    if root is None:
        return 0
    triad = (degrees.get(3), degrees.get(5))
    if 1 not in degrees or triad not in TRIADS:
        raise ChordError(f"the chord {symbol!r} has no major, minor, augmented or diminished triad")
    return 1 + list(TRIADS).index(triad) * len(ROOTS) + root


def chord_symbol(index: int) -> str:
    """How a class is written: N.C., C, C#m, Daug, Ebdim."""
    if not 0 <= index < CHORD_DEPTH:
        raise ChordError(f"a chord's class lies from 0 to {CHORD_DEPTH - 1}, and this is {index}")
    triad, root = divmod(int(index) - 1, len(ROOTS))
    return ROOTS[root] + list(TRIADS.values())[triad] if index else NO_CHORD


@lru_cache(maxsize=4096)
def is_chord(symbol: str) -> bool:
    """Whether a text is a chord symbol."""
    try:
        _parse(symbol)
        return True
    except ChordError:
        return False


def chords_to_controls(symbols: Sequence[str], steps: int) -> np.ndarray:
    """Classes int8 [steps] of chords that take equal shares of the steps, such as ["C", "F", "G7", "C"] of two bars.

    Raises:
        ChordError: no symbol, one that has no class, or so many that the steps do not divide.
    """
    if isinstance(symbols, str):
        raise ChordError(f"chord symbols come as a list, such as [{symbols!r}]")
    if not len(symbols) or steps % len(symbols):
        raise ChordError(f"{len(symbols)} chords cannot share {steps} steps; give 1, 2, 4, ... of them")
    return np.repeat(np.array([chord_class(symbol) for symbol in symbols], np.int8), steps // len(symbols))


def transposed_chords(classes: np.ndarray, semitones: np.ndarray) -> np.ndarray:
    """Classes moved by semitones; no chord (0) and no step (-1) stay. NumPy arrays or torch tensors."""
    moved = (classes - 1) // 12 * 12 + (classes - 1 + semitones) % 12 + 1
    return moved * (classes > 0) + classes * (classes <= 0)


def _class_or_none(symbol: str) -> int:
    try:
        return chord_class(symbol)
    except ChordError:
        return -1


def _parse(symbol: str) -> tuple[int | None, dict[int, int]]:
    """Root (0 C to 11 B, None without a chord), and the alteration in semitones of each degree."""
    if symbol == NO_CHORD:
        return None, {}
    if not (match := SYMBOL.fullmatch(symbol)):
        raise ChordError(f"{symbol!r} is no chord symbol such as C, F#m7, Bb7(b9)/D or {NO_CHORD}")
    step, accidental, kind, changes = match.groups()
    degrees = dict(map(_degree, DEGREES[kind].split()))
    for how, sign, degree in re.findall(CHANGE, changes):
        _change(degrees, how, int(degree), _alteration(sign), symbol)
    return (STEP_PITCHES[step] + _alteration(accidental)) % 12, degrees


def _alteration(signs: str) -> int:
    return signs.count("#") - signs.count("b")


def _degree(text: str) -> tuple[int, int]:
    """b3 is the third, a semitone down."""
    return int(text.lstrip("#b")), _alteration(text)


def _change(degrees: dict[int, int], how: str, degree: int, alteration: int, symbol: str) -> None:
    """Adds, takes away or alters a degree."""
    if how and (how == "no") != (degree in degrees):
        raise ChordError(f"{symbol!r}: {how}{degree}, but the chord has {'no' if how == 'no' else 'a'} degree {degree}")
    if how == "no":
        del degrees[degree]
    else:
        degrees[degree] = degrees.get(degree, 0) + alteration


# ---- Chords out of notes ----


def guess_chords(times: np.ndarray, pitch: np.ndarray, seconds: float, chord_seconds: float) -> Harmony:
    """The likeliest chords of a stretch of music.

    Args:
        times: [notes, 2] start and end in seconds; drums and noises left out by the caller.
        pitch: [notes] MIDI pitches.
        seconds: how long the stretch lasts; more than 0.
        chord_seconds: how long a chord lasts.
    """
    count = math.ceil(seconds / chord_seconds)
    fit = CONCENTRATION * np.dot(_pitch_shares(times, pitch, chord_seconds * np.arange(1, count)), _chord_pitches().T)
    path = _best_path(fit)
    changes = np.append(True, path[1:] != path[:-1])
    return Harmony(np.flatnonzero(changes) * chord_seconds, tuple(GUESSED[k] for k in path[changes]))


def _pitch_shares(times: np.ndarray, pitch: np.ndarray, bounds: np.ndarray) -> np.ndarray:
    """[len(bounds) + 1, 12]: how long each pitch class sounds between the bounds, as unit vectors."""
    first = np.searchsorted(bounds, times[:, 0], "right")
    last = np.maximum(np.searchsorted(bounds, times[:, 1], "left"), first)
    note = np.repeat(np.arange(len(times)), last - first + 1)
    frame = first[note] + np.arange(len(note)) - np.searchsorted(note, note)
    edges = np.append(bounds, np.inf)
    start = np.where(frame == first[note], times[note, 0], edges[frame - 1])
    end = np.where(frame == last[note], times[note, 1], edges[frame])
    shares = np.zeros((len(bounds) + 1, 12))
    np.add.at(shares, (frame, pitch[note] % 12), end - start)
    norm = np.linalg.norm(shares, axis=1)
    return shares / np.where(norm > 0, norm, 1)[:, None]


@cache
def _chord_pitches() -> np.ndarray:
    """[97, 12] the pitch classes of each chord as a unit vector; none of no chord."""
    pitches = np.zeros((len(GUESSED), 12))
    for chord, (root, kind) in enumerate(((r, k) for r in range(12) for k in GUESSED_KINDS.values()), start=1):
        pitches[chord, [(root + semitones) % 12 for semitones in kind]] = 1
    pitches[1:] /= np.linalg.norm(pitches[1:], axis=1)[:, None]
    return pitches


@cache
def _chord_chances() -> np.ndarray:
    """[12, 97] the probability of each chord in each major key: the fewer of its notes lie outside, the higher."""
    sounding = _chord_pitches() > 0
    scale = np.array([np.isin((np.arange(12) - key) % 12, MAJOR_SCALE) for key in range(12)])
    inside = (sounding & scale[:, None]).sum(-1)
    outside = (sounding & ~scale[:, None]).sum(-1)
    chances = (1 - OUT_OF_KEY) ** inside * OUT_OF_KEY**outside
    return chances / chances.sum(axis=1)[:, None]


@cache
def log_transitions() -> tuple[np.ndarray, np.ndarray]:
    """Log probabilities: from chord to chord within a key [12, from, to], and to a chord of another key [12, 97]."""
    chances = _chord_chances()
    spread = chances[:, None, :] + chances[:, :, None] / (len(GUESSED) - 1)  # what staying would have had
    within = (1 - KEY_CHANGE) * (CHORD_CHANGE * spread)
    within[:, np.arange(len(GUESSED)), np.arange(len(GUESSED))] = (1 - KEY_CHANGE) * (1 - CHORD_CHANGE)
    return np.log(within), np.log(KEY_CHANGE / 11 * chances)


def _best_path(fit: np.ndarray) -> np.ndarray:
    """Chords [frames] of the likeliest keys and chords; fit [frames, 97] is how well each chord suits, in nats."""
    score = -np.log(12) + np.log(_chord_chances()) + fit[0]
    came_from = np.zeros((len(fit), score.size), np.int64)
    for frame in range(1, len(fit)):
        best, came_from[frame] = best_predecessors(score)
        score = best.reshape(score.shape) + fit[frame]
    path = [score.argmax()]
    for frame in range(len(fit) - 1, 0, -1):
        path.append(came_from[frame, path[-1]])
    return np.array(path[::-1]) % len(GUESSED)


def best_predecessors(score: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each key and chord [12 * 97] the best score of a way there, and where it came from; of equals the first."""
    within, across = log_transitions()
    keys, chords = score.shape
    ways = score[:, :, None] + within
    source = ways.argmax(axis=1)
    best = np.take_along_axis(ways, source[:, None], axis=1)[:, 0]  # [12, 97]
    source += np.arange(keys)[:, None] * chords
    # From another key only the best there count, and what rounding could make equal to them
    heads = np.flatnonzero(score >= np.sort(score.max(axis=1))[-2] - TIE)
    ways = score.ravel()[heads, None, None] + across  # [heads, 12, 97]
    ways[np.arange(len(heads)), heads // chords] = -np.inf
    other = ways.max(axis=0)
    other_source = heads[ways.argmax(axis=0)]
    better = (other > best) | ((other == best) & (other_source < source))
    return np.where(better, other, best).ravel(), np.where(better, other_source, source).ravel()
