"""Chords: symbols, the classes that a model is conditioned on, and a guess from the notes.

A chord has one of 49 classes: no chord, or one of twelve roots with a major, minor, augmented or diminished triad.
Symbols are parsed as in note_seq's chord_symbols_lib.py; in text that a user gives, SPELLINGS are read, too. Chords are
guessed as in its chord_inference.py: the most likely path through pairs of a key and a chord, with two chords per bar
of 4/4.
"""

import math
import re
from collections.abc import Sequence
from functools import cache, lru_cache
from typing import NamedTuple

import numpy as np

NO_CHORD = "N.C."
ROOTS = ("C", "C#", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B")
TRIADS = {(0, 0): "", (-1, 0): "m", (0, 1): "aug", (-1, -1): "dim"}  # alterations of third and fifth, in class order
TRIAD_TONES = tuple((0, 4 + third, 7 + fifth) for third, fifth in TRIADS)  # semitones above the root, in class order
CHORD_DEPTH = 1 + len(TRIADS) * len(ROOTS)  # 49 classes: 0 no chord, then the twelve roots of each triad

STEP_PITCHES = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}
MINORS = ("m", "min", "-")
KINDS = {  # degrees of the scale with their alterations, and how the kind is written after the root
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

SPELLINGS = {  # other spellings in texts that a user gives, as patterns; a song's own symbols are read as Magenta does
    r"^[Nn]\.?[Cc]\.?$": NO_CHORD,
    "♯": "#",
    "♭": "b",
    r"[Δ∆△](?=\d)": "maj",
    "[Δ∆△]": "maj7",
    "[°º]": "dim",
    "[øØ]7?": "m7b5",
    r"[Mm]aj?(?=\d|\)|/|$)": "maj",
    "mi(?!n)": "m",
    "(?<=[A-G#b])2(?=/|$)": "add2",
    "69(?=/|$)": "6/9",
    r"\d+sus[24](?=/|$)": "7sus",
}

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
GUESSED = (NO_CHORD, *(root + kind for root in ROOTS for kind in GUESSED_KINDS))  # 97 symbols, the states of a key
MAJOR_SCALE = (0, 2, 4, 5, 7, 9, 11)
CHORDS_PER_BAR = {(2, 2): 1, (2, 4): 1, (3, 4): 1, (4, 4): 2, (6, 8): 2}  # by time signature
MAX_CHORDS = 1000  # guessed in a part of one tempo and time signature
KEY_CHANGE, CHORD_CHANGE = 0.001, 0.5  # probabilities, from one chord to the next
OUT_OF_KEY = 0.01  # probability that a note of a chord lies outside its key
CONCENTRATION = 100.0  # nats for notes that match their chord exactly
UNPITCHED_PROGRAMS = (*range(96, 104), *range(112, 128))
TIE = 1e-6  # nats, far above rounding errors
STEADY = 1e-9  # nats; scores that all rise by the same, up to rounding errors, rise so while the notes stay the same


class ChordError(ValueError):
    """A chord symbol that cannot be parsed, or a chord that has no class."""


class Harmony(NamedTuple):
    """The chords of a part; each holds until the next, and before the first there is no chord."""

    seconds: np.ndarray  # [chords] start of each from the part's start, rising
    symbols: tuple[str, ...]

    @property
    def classes(self) -> np.ndarray:
        """int8 [chords + 1]: the class of each chord, -1 if it has none; the last entry, index -1, is no chord."""
        return np.array([*map(_class_or_none, self.symbols), 0], np.int8)

    def at(self, steps: np.ndarray, first_steps: np.ndarray) -> np.ndarray:
        """The index in `classes` of the chord at each step, int16 in the shape of `steps`.

        Chords of the same symbol have the same index.

        Args:
            steps: steps of any shape.
            first_steps: [chords] the step at which each chord starts, rising; of two on one step the later holds.
        """
        _, first, alike = np.unique((*self.symbols, NO_CHORD), return_index=True, return_inverse=True)
        return first[alike][np.searchsorted(first_steps, steps, "right") - 1].astype(np.int16)


# ---- Symbols ----


@lru_cache(maxsize=4096)
def chord_class(symbol: str) -> int:
    """The class of a chord symbol, 0 to 48.

    Raises:
        ChordError: the symbol cannot be parsed, or the chord has none of the four triads (Csus4, C5).
    """
    root, degrees = _parse(symbol)
    if root is None:
        return 0
    triad = (degrees.get(3), degrees.get(5))
    if 1 in degrees and triad[0] is None:
        name = re.match("[A-G][#b]*", symbol)[0]
        raise ChordError(f"{symbol!r} has no third: give {name} or {name}m")
    if 1 not in degrees or triad not in TRIADS:
        raise ChordError(f"the chord {symbol!r} has no major, minor, augmented or diminished triad")
    return 1 + list(TRIADS).index(triad) * len(ROOTS) + root


def chord_symbol(index: int) -> str:
    """The symbol of a class: N.C., C, C#m, Daug, Ebdim."""
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


def given_class(text: str) -> int:
    """The class of a chord that a user gives, 0 to 48: `chord_class` that takes SPELLINGS, too."""
    symbol = text
    for pattern, usual in SPELLINGS.items():
        symbol = re.sub(pattern, usual, symbol)
    try:
        return chord_class(symbol)
    except ChordError as error:
        raise ChordError(str(error).replace(repr(symbol), repr(text))) from error


def chords_to_controls(symbols: Sequence[str], steps: int) -> np.ndarray:
    """Classes int8 [steps] of chords that share the steps equally, such as ["C", "F", "G7", "C"] for two bars.

    Raises:
        ChordError: there is no symbol, one has no class, or their number does not divide the steps.
    """
    if isinstance(symbols, str):
        raise ChordError(f"chord symbols come as a list, such as [{symbols!r}]")
    if not len(symbols) or steps % len(symbols):
        raise ChordError(f"{len(symbols)} chords cannot share {steps} steps; give 1, 2, 4, ... of them")
    return np.repeat(np.array([given_class(symbol) for symbol in symbols], np.int8), steps // len(symbols))


def progression(text: str, steps_per_bar: int) -> np.ndarray:
    """Classes int8 [bars * steps_per_bar] of a chord progression such as "Am7 Dm7 | G7 Cmaj7".

    Bars are separated by |, and the chords of a bar share its steps equally. Without a |, every chord takes a bar. The
    sign % repeats the bar before it. Commas count as spaces.

    Raises:
        ChordError: a chord cannot be read or has no class, a bar is empty, or its chords cannot share its steps. The
            message says where in the text.
    """
    if not isinstance(text, str):
        raise ChordError(f'chords must be a text, such as "Am7 Dm7 | G7 Cmaj7", got {text!r}')
    bars, text = [], text.replace(",", " ")
    for found in re.finditer(r"[^|]+" if "|" in text else r"\S+", text):
        if found[0].strip() == "%" and bars:
            bars.append(bars[-1])
        elif found[0].strip() or 0 < found.start() < found.end() < len(text):
            bars.append(_bar_classes(found, len(bars) + 1, steps_per_bar))
    if not bars:
        raise ChordError('chords: there is none in the text; write them as "Am7 Dm7 | G7 Cmaj7"')
    return np.concatenate(bars)


def _bar_classes(found: re.Match, bar: int, steps: int) -> np.ndarray:
    """Classes int8 [steps] of the chords of a bar, numbered from 1, found in a text."""
    chords = list(re.finditer(r"\S+", found[0]))
    if not chords or steps % len(chords):
        count = f"{len(chords)} chords, which cannot share its {steps} steps" if chords else "no chord"
        raise ChordError(f"chords: bar {bar}, at character {found.start() + 1}, has {count}; give 1, 2, 4, ... of them")
    classes = [_class_at(chord[0], found.start() + chord.start() + 1, bar) for chord in chords]
    return np.repeat(np.array(classes, np.int8), steps // len(chords))


def _class_at(symbol: str, place: int, bar: int) -> int:
    """The class of a chord symbol at a character, from 1, of a text."""
    try:
        return given_class(symbol)
    except ChordError as error:
        raise ChordError(f"chords: {symbol!r} at character {place}, bar {bar}: {error}") from error


def transposed_chords(classes: np.ndarray, semitones: np.ndarray) -> np.ndarray:
    """Moves the roots of chord classes by semitones; 0 (no chord) and -1 stay. NumPy arrays or torch tensors."""
    moved = (classes - 1) // 12 * 12 + (classes - 1 + semitones) % 12 + 1
    return moved * (classes > 0) + classes * (classes <= 0)


def _class_or_none(symbol: str) -> int:
    try:
        return chord_class(symbol)
    except ChordError:
        return -1


def _parse(symbol: str) -> tuple[int | None, dict[int, int]]:
    """The root, 0 (C) to 11 (B) or None for no chord, and the alteration of each degree in semitones."""
    if symbol == NO_CHORD:
        return None, {}
    if not (match := SYMBOL.fullmatch(symbol)):
        raise ChordError(f"{symbol!r} is no chord symbol such as C, F#m7, Bb7(b9)/D or {NO_CHORD}")
    step, accidental, kind, changes = match.groups()
    degrees = dict(map(_degree, DEGREES[kind].split()))
    for action, sign, degree in re.findall(CHANGE, changes):
        _change(degrees, action, int(degree), _alteration(sign), symbol)
    return (STEP_PITCHES[step] + _alteration(accidental)) % 12, degrees


def _alteration(signs: str) -> int:
    return signs.count("#") - signs.count("b")


def _degree(text: str) -> tuple[int, int]:
    """A degree and its alteration in semitones: b3 is (3, -1)."""
    return int(text.lstrip("#b")), _alteration(text)


def _change(degrees: dict[int, int], action: str, degree: int, alteration: int, symbol: str) -> None:
    """Adds ('add'), removes ('no') or alters ('') a degree."""
    if action and (action == "no") != (degree in degrees):
        has = "no" if action == "no" else "a"
        raise ChordError(f"{symbol!r}: {action}{degree}, but the chord has {has} degree {degree}")
    if action == "no":
        del degrees[degree]
    else:
        degrees[degree] = degrees.get(degree, 0) + alteration


# ---- Chords from notes ----


def guess_chords(times: np.ndarray, pitch: np.ndarray, seconds: float, chord_seconds: float) -> Harmony:
    """The most likely chords of a part.

    Args:
        times: [notes, 2] start and end in seconds, of pitched notes only.
        pitch: [notes] MIDI pitches.
        seconds: duration of the part, more than 0.
        chord_seconds: duration of a chord.
    """
    count = math.ceil(seconds / chord_seconds)
    fit = CONCENTRATION * np.dot(_pitch_shares(times, pitch, chord_seconds * np.arange(1, count)), _chord_pitches().T)
    path = _best_path(fit)
    changes = np.append(True, path[1:] != path[:-1])
    return Harmony(np.flatnonzero(changes) * chord_seconds, tuple(GUESSED[k] for k in path[changes]))


def _pitch_shares(times: np.ndarray, pitch: np.ndarray, bounds: np.ndarray) -> np.ndarray:
    """[len(bounds) + 1, 12]: the time that each pitch class sounds between the bounds, as unit vectors."""
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
    """[97, 12] the pitch classes of each chord as a unit vector; zeros for no chord."""
    pitches = np.zeros((len(GUESSED), 12))
    for chord, (root, kind) in enumerate(((r, k) for r in range(12) for k in GUESSED_KINDS.values()), start=1):
        pitches[chord, [(root + semitones) % 12 for semitones in kind]] = 1
    pitches[1:] /= np.linalg.norm(pitches[1:], axis=1)[:, None]
    return pitches


@cache
def _chord_chances() -> np.ndarray:
    """[12, 97] the probability of each chord in each major key; it falls with each note outside the key."""
    sounding = _chord_pitches() > 0
    scale = np.array([np.isin((np.arange(12) - key) % 12, MAJOR_SCALE) for key in range(12)])
    inside = (sounding & scale[:, None]).sum(-1)
    outside = (sounding & ~scale[:, None]).sum(-1)
    chances = (1 - OUT_OF_KEY) ** inside * OUT_OF_KEY**outside
    return chances / chances.sum(axis=1)[:, None]


@cache
def log_transitions() -> tuple[np.ndarray, np.ndarray]:
    """Log probabilities of a step to a chord of the same key [12, from, to], and to a chord of another key [12, 97]."""
    chances = _chord_chances()
    spread = chances[:, None, :] + chances[:, :, None] / (len(GUESSED) - 1)  # the share of staying goes to the others
    within = (1 - KEY_CHANGE) * (CHORD_CHANGE * spread)
    within[:, np.arange(len(GUESSED)), np.arange(len(GUESSED))] = (1 - KEY_CHANGE) * (1 - CHORD_CHANGE)
    return np.log(within), np.log(KEY_CHANGE / 11 * chances)


def _best_path(fit: np.ndarray) -> np.ndarray:
    """Chords [frames] on the most likely path of keys and chords; fit [frames, 97]: log-likelihood of each, in nats."""
    score = -np.log(12) + np.log(_chord_chances()) + fit[0]
    came_from, is_steady = np.zeros((len(fit), score.size), np.int64), False
    same = np.append(False, (fit[1:] == fit[:-1]).all(1))
    for frame in range(1, len(fit)):
        if is_steady and same[frame]:  # a long note or rest: no step before it looks any different
            came_from[frame] = came_from[frame - 1]
            continue
        best, came_from[frame] = best_predecessors(score)
        before, score = score, best.reshape(score.shape) + fit[frame]
        is_steady = np.ptp(score - before) < STEADY
    path = [score.argmax()]
    for frame in range(len(fit) - 1, 0, -1):
        path.append(came_from[frame, path[-1]])
    return np.array(path[::-1]) % len(GUESSED)


def best_predecessors(score: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The best score of a step to each state (a key and a chord), and the state it comes from, of equals the first.

    Args:
        score: [12, 97] of each key and chord one frame before, in nats.

    Returns:
        Scores and states (97 * key + chord), [12 * 97] each.
    """
    best, source = _best_in_key(score)
    other, other_source = _best_in_other_keys(score)
    better = (other > best) | ((other == best) & (other_source < source))
    return np.where(better, other, best).ravel(), np.where(better, other_source, source).ravel()


def _best_in_key(score: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The best score of a step to each state from its own key, and where it comes from: [12, 97] each.

    A key's chords of one probability go to any other chord equally well, so only the best of them is tried: the first
    of equals, and those whose sums may round to the same. For a chord that is itself the best, to stay scores higher
    than any such step.
    """
    alike, flat = _chords_alike(), score.ravel()
    tried = _best_of_groups(flat, alike)
    transitions = log_transitions()[0].reshape(flat.size, -1)
    scores = flat[tried, None] + transitions[tried[:, None], alike.others[tried]]  # [tried, to group]
    key = tried // score.shape[1]
    first_of_key = np.searchsorted(key, np.arange(len(score)))
    best = np.maximum.reduceat(scores, first_of_key)
    source = np.where(scores == best[key], tried[:, None], score.size)
    source = np.minimum.reduceat(source, first_of_key)
    best, source = (values.ravel()[alike.group].reshape(score.shape) for values in (best, source))
    stay, own = score + np.diagonal(log_transitions()[0], axis1=1, axis2=2), np.arange(score.size).reshape(score.shape)
    stays = (stay > best) | ((stay == best) & (own < source))
    return np.where(stays, stay, best), np.where(stays, own, source)


def _best_of_groups(score: np.ndarray, alike: "_Alike") -> np.ndarray:
    """The states [tried] with the best score of their group, the first of equals, and states within TIE of the best."""
    highest = np.maximum.reduceat(score[alike.order], alike.first)[alike.group]
    tops = np.where(score == highest, np.arange(score.size), score.size)
    tops = np.minimum.reduceat(tops[alike.order], alike.first)
    close = np.flatnonzero((score >= highest - TIE) & (score < highest))
    return np.sort(np.append(tops, close))


class _Alike(NamedTuple):
    """The states, 97 * key + chord, in groups of one key and one probability; every key has as many groups."""

    order: np.ndarray  # [states] sorted by group
    first: np.ndarray  # [groups] the place in `order` of each group's first state
    group: np.ndarray  # [states] of each state
    others: np.ndarray  # [states, groups of a key] a chord of each group of the state's key: another if there is one


@cache
def _chords_alike() -> _Alike:
    chances = _chord_chances() + np.arange(12)[:, None]  # probabilities lie below 1, so that keys stay apart
    group = np.unique(chances.round(12), return_inverse=True)[1].ravel()
    order = np.argsort(group, kind="stable")
    first = np.flatnonzero(np.diff(group[order], prepend=-1))
    chord, last = order % len(GUESSED), np.append(first[1:], group.size) - 1
    groups = np.arange(len(first)).reshape(12, -1).repeat(len(GUESSED), axis=0)  # [states, groups of the key]
    is_own = chord[first[groups]] == np.arange(group.size)[:, None] % len(GUESSED)
    return _Alike(order, first, group, chord[np.where(is_own, last[groups], first[groups])])


def _best_in_other_keys(score: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The best score of a step to each state from another key, and where it comes from: [12, 97] each.

    All states of a key go to a chord of another key equally well, so only a key's best is tried: the first of equals,
    and those whose sums may round to the same. It scores at least as high as the best state of the second-best key.
    """
    highest = score.max(axis=1, keepdims=True)
    good = highest >= np.sort(highest, axis=None)[-2] - TIE
    is_tried = good & (score >= highest - TIE) & (score < highest)
    is_tried[np.arange(len(score)), score.argmax(axis=1)] = good[:, 0]
    tried = np.flatnonzero(is_tried)
    scores = score.ravel()[tried, None, None] + log_transitions()[1]  # [tried, 12, 97]
    scores[np.arange(len(tried)), tried // score.shape[1]] = -np.inf  # the own key
    return scores.max(axis=0), tried[scores.argmax(axis=0)]
