"""Measurements of pianos in labels, without a model: agreement of notes, chords, outer voices.

Labels are those of `PianoConverter`: [n, steps, voices], in each step the codes of the keys that sound. A chord is what
sounds at a step where a note begins, if that is two keys or more.
"""

import numpy as np

from engine.checks import described
from music.attributes import set_f1
from music.labels import FIRST_PITCH, KEYS, MIN_PITCH, NO_EVENT, NO_NOTE, NOTE_OFF
from music.piano import key_bits

PITCH_CLASSES = 12
MAX_TOGETHER = 10  # notes that begin together; more count as this many


def piano_rolls(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which keys begin a note in each step, and which sound: [n, steps, KEYS] bool each."""
    labels = np.asarray(labels)
    if (
        labels.ndim != 3
        or labels.dtype.kind not in "iu"
        or (labels.size and not 0 <= labels.min() <= labels.max() <= NO_NOTE)
    ):
        raise ValueError(
            f"labels must be a piano's, integers [n, steps, voices] from 0 to {NO_NOTE}; got {described(labels)}"
        )
    held, begun = key_bits(labels)
    return begun, held | begun


def note_f1(found: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """F1 of the notes of windows, which agree if onset step and key do: [n]; 1 if neither window has a note."""
    return set_f1(piano_rolls(found)[0], piano_rolls(wanted)[0])


def frame_f1(found: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """F1 of the keys that sound in each step: [n]; 1 if neither window has a note."""
    return set_f1(piano_rolls(found)[1], piano_rolls(wanted)[1])


def together_histogram(labels: np.ndarray) -> np.ndarray:
    """Of the steps where two notes or more begin, the share where k begin, at index k: [MAX_TOGETHER + 1]."""
    counts = piano_rolls(labels)[0].sum(-1).clip(max=MAX_TOGETHER)
    found = np.bincount(counts[counts >= 2], minlength=MAX_TOGETHER + 1)
    return found / max(found.sum(), 1)


def onsets_per_step(labels: np.ndarray) -> np.ndarray:
    """Notes that begin per step: [n]."""
    return piano_rolls(labels)[0].sum(-1).mean(-1)


def keys_per_step(labels: np.ndarray) -> np.ndarray:
    """Keys that sound per step: [n]."""
    return piano_rolls(labels)[1].sum(-1).mean(-1)


def key_range(labels: np.ndarray) -> np.ndarray:
    """Highest minus lowest key of each window: [n], 0 without notes."""
    used = piano_rolls(labels)[1].any(1)
    return np.where(used.any(-1), KEYS - 1 - used[:, ::-1].argmax(-1) - used.argmax(-1), 0)


def chord_kinds(labels: np.ndarray) -> np.ndarray:
    """The pitch-class set of each chord of all windows, up to transposition: [chords], bits of a number below 4,096.

    Of the 12 transpositions of a set the one with the lowest number stands for all.
    """
    begun, sounding = (roll.reshape(-1, KEYS) for roll in piano_rolls(labels))
    chords = sounding[begun.any(-1) & (sounding.sum(-1) > 1)]
    classes = np.zeros((len(chords), PITCH_CLASSES), bool)
    chord, key = np.nonzero(chords)
    classes[chord, (key + MIN_PITCH) % PITCH_CLASSES] = True
    return _LOWEST_TURN[classes @ (1 << np.arange(PITCH_CLASSES))]


def common_kinds(kinds: np.ndarray, share: float = 0.95) -> np.ndarray:
    """The most frequent of some `chord_kinds` that together make up at least a share of them."""
    names, counts = np.unique(kinds, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    needed = np.searchsorted(counts[order].cumsum(), share * len(kinds)) + 1
    return names[order[:needed]]


def outer_voice(labels: np.ndarray, highest: bool) -> np.ndarray:
    """The highest or the lowest key that sounds in each step, as a melody's labels: uint8 [n, steps].

    A step has an event where the voice moves to another key, or its note begins anew, or it falls silent.
    """
    begun, sounding = piano_rolls(labels)
    key = KEYS - 1 - sounding[..., ::-1].argmax(-1) if highest else sounding.argmax(-1)
    key = np.where(sounding.any(-1), key, -1)
    before = np.pad(key, ((0, 0), (1, 0)), constant_values=-1)[:, :-1]
    struck = np.take_along_axis(begun, np.maximum(key, 0)[..., None], 2)[..., 0]
    voice = np.where((key != before) | struck, key + FIRST_PITCH, NO_EVENT)
    return np.where(key < 0, np.where(before < 0, NO_EVENT, NOTE_OFF), voice).astype(np.uint8)


def piano_key_invariant(labels: np.ndarray) -> list[bytes]:
    """Each window as bytes that are equal for windows that differ in their key only."""
    labels = np.asarray(labels).astype(np.int16)
    lowest = np.where(labels < NO_NOTE, labels % KEYS, KEYS).min((1, 2))
    moved = np.where(labels < NO_NOTE, labels - lowest[:, None, None], NO_NOTE)
    return [np.sort(window, -1).astype(np.uint8).tobytes() for window in moved]


def _turns() -> np.ndarray:
    """For each set of pitch classes, a number of 12 bits, the lowest number of its transpositions: [4096]."""
    sets = np.arange(1 << PITCH_CLASSES)
    turns = [(sets << k | sets >> PITCH_CLASSES - k) & (1 << PITCH_CLASSES) - 1 for k in range(PITCH_CLASSES)]
    return np.min(turns, axis=0)


_LOWEST_TURN = _turns()
