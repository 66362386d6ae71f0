"""Measurements of music in labels, without a model (Roberts et al. 2018, arXiv 1803.05428, section 5).

There are three groups: the paper's five attributes, for attribute vectors in latent space; statistics that compare
samples with data; and the n-gram model that rates interpolations. Labels are those of the converters: melodies
[n, steps] with 0 no event, 1 note-off and pitches from 2; drums [n, steps], sums of 2^class; trios [n, steps, 3]. A
function that does not mention trios takes one of their parts, such as labels[..., 0]. A value that is undefined, such
as the interval in a window of one note, is nan.

The paper describes its attributes and its n-gram model in words only. What the words leave open is documented here.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from engine.checks import described
from music.drums import DRUM_CLASSES
from music.labels import KEYS
from music.melody import FIRST_PITCH, MAX_PITCH, MIN_PITCH, NO_EVENT
from music.trio import TRIO_DEPTHS

STEPS_PER_BAR = 16  # sixteenth notes in 4/4
C_MAJOR = (0, 2, 4, 5, 7, 9, 11)  # pitch classes, from C
WHITE_KEYS = [FIRST_PITCH + p - MIN_PITCH for p in range(MIN_PITCH, MAX_PITCH + 1) if p % 12 in C_MAJOR]  # their labels


def _share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """part / whole, or nan if whole is 0."""
    part, whole = np.broadcast_arrays(np.asarray(part, float), np.asarray(whole, float))
    return np.divide(part, whole, out=np.full(whole.shape, np.nan), where=whole > 0)


def _onsets(labels: np.ndarray) -> np.ndarray:
    """[n, steps] bool: whether a note of the melody starts; raises ValueError for labels of another shape or type."""
    labels = np.asarray(labels)
    if labels.ndim != 2 or labels.dtype.kind not in "iu":
        raise ValueError(f"labels must be integers [n, steps], of a trio labels[..., 0]; got {described(labels)}")
    return labels >= FIRST_PITCH


def _pitches(labels: np.ndarray) -> np.ndarray:
    """[notes] MIDI pitches of all windows in order."""
    return labels[_onsets(labels)].astype(int) - FIRST_PITCH + MIN_PITCH


# ---- The paper's five attributes (section 5, "Attribute Vector Arithmetic"): melodies [n, steps] to [n] ----


def c_diatonic(labels: np.ndarray) -> np.ndarray:
    """Share of the notes in C major: [n]; nan without notes."""
    notes = _onsets(labels).sum(1)
    return _share(np.isin(labels, WHITE_KEYS).sum(1), notes)


def note_density(labels: np.ndarray) -> np.ndarray:
    """Onsets per step: [n]; 0 without notes."""
    return _onsets(labels).mean(1)


def average_interval(labels: np.ndarray) -> np.ndarray:
    """Mean of |p_k+1 - p_k| over consecutive notes, also across rests: [n] semitones; nan for fewer than two notes."""
    window, _ = np.nonzero(_onsets(labels))
    interval, inside = np.abs(np.diff(_pitches(labels))), window[1:] == window[:-1]
    window, interval = window[1:][inside], interval[inside]
    return _share(np.bincount(window, interval, len(labels)), np.bincount(window, minlength=len(labels)))


def syncopation_16th(labels: np.ndarray) -> np.ndarray:
    """Share of the onsets between the eighths without an onset one sixteenth earlier: [n]; nan without notes.

    Step 0 is on the beat, so the steps are 1, 3, 5, ...
    """
    onsets = _onsets(labels)
    off_beat = onsets[:, 1::2] & ~onsets[:, :-1:2]
    return _share(off_beat.sum(1), onsets.sum(1))


def syncopation_8th(labels: np.ndarray) -> np.ndarray:
    """Share of the onsets on an eighth between the quarters without an onset one or two sixteenths earlier: [n].

    The steps are 2, 6, 10, ...; nan without notes.
    """
    onsets = _onsets(labels)
    off_beat = onsets[:, 2::4] & ~onsets[:, 1:-1:4] & ~onsets[:, :-2:4]
    return _share(off_beat.sum(1), onsets.sum(1))


ATTRIBUTES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    measure.__name__: measure
    for measure in (c_diatonic, note_density, average_interval, syncopation_16th, syncopation_8th)
}


# ---- Statistics that compare samples with data ----


def hit_density(labels: np.ndarray) -> np.ndarray:
    """Drum hits per step, each drum of a step counted: [n], of drum labels [n, steps]."""
    return np.sum([(labels >> k & 1).mean(1) for k in range(DRUM_CLASSES)], axis=0)


def drum_histogram(labels: np.ndarray) -> np.ndarray:
    """Share of each drum class in all hits: [9], of drum labels [n, steps]."""
    hits = np.array([(labels >> k & 1).sum() for k in range(DRUM_CLASSES)])
    return _share(hits, hits.sum())


def pitch_range(labels: np.ndarray) -> np.ndarray:
    """Highest minus lowest pitch of the notes: [n] semitones, of melodies [n, steps]; nan without notes."""
    onsets, pitches = _onsets(labels), np.asarray(labels, float)
    highest = np.where(onsets, pitches, -np.inf).max(1)
    lowest = np.where(onsets, pitches, np.inf).min(1)
    return np.where(onsets.any(1), highest - lowest, np.nan)


def pitch_class_histogram(labels: np.ndarray) -> np.ndarray:
    """Share of each pitch class, from C, in all notes: [12], of melodies [n, steps]."""
    notes = np.bincount(_pitches(labels) % 12, minlength=12)
    return _share(notes, notes.sum())


def duration_histogram(labels: np.ndarray) -> np.ndarray:
    """Share of all notes that last d steps, at index d: [steps + 1], of melodies [n, steps].

    A note lasts until the next note, a note-off or the end of the window.
    """
    window, start = np.nonzero(labels != NO_EVENT)
    end = np.append(start[1:], 0)
    end[np.append(window[1:] != window[:-1], True)[: len(end)]] = labels.shape[1]
    is_note = _onsets(labels)[window, start]
    notes = np.bincount((end - start)[is_note], minlength=labels.shape[1] + 1)
    return _share(notes, notes.sum())


def jensen_shannon_bits(p: np.ndarray, q: np.ndarray) -> float:
    """Jensen-Shannon divergence of two histograms that sum to 1, H((p + q) / 2) - (H(p) + H(q)) / 2 (Lin 1991).

    It is 0 bits if they are equal and 1 bit if they do not overlap.
    """
    return float(_entropy_bits((p + q) / 2) - (_entropy_bits(p) + _entropy_bits(q)) / 2)


def _entropy_bits(p: np.ndarray) -> float:
    return -(p * np.log2(p, out=np.zeros_like(p), where=p > 0)).sum()


def _events(labels: np.ndarray) -> np.ndarray:
    """[n, steps] one number per step, also for a trio; 0 if nothing starts or ends."""
    if labels.ndim == 2:
        return labels
    return labels.astype(np.int32) @ np.array([1, TRIO_DEPTHS[0], TRIO_DEPTHS[0] * TRIO_DEPTHS[1]], np.int32)


def _bar_events(labels: np.ndarray) -> np.ndarray:
    """What bars are compared by: `_events` [n, steps], or the onsets [n, steps, 88] of a piano's keys."""
    return labels >= FIRST_PITCH if labels.shape[2:] == (KEYS,) else _events(labels)


def _bar_similarity(a: np.ndarray, b: np.ndarray, steps_per_bar: int) -> np.ndarray:
    """Similarity [n, bars] of bars of `_bar_events` a and b: steps with the same event / steps with an event in either.

    It is nan if neither bar has an event. Steps without an event do not count: they are so many that any two bars would
    be similar.
    """
    either, same = (a != NO_EVENT) | (b != NO_EVENT), a == b
    if a.ndim == 3:
        either, same = either.any(-1), same.all(-1)
    bars = len(a), -1, steps_per_bar
    return _share((same & either).reshape(bars).sum(-1), either.reshape(bars).sum(-1))


def _mean(values: np.ndarray, axis: int) -> np.ndarray:
    """Mean of the values that are not nan; nan if there are none."""
    return _share(np.nansum(values, axis), (~np.isnan(values)).sum(axis))


def repetition(labels: np.ndarray, bars_back: int, steps_per_bar: int = STEPS_PER_BAR) -> np.ndarray:
    """Similarity of each bar with the bar `bars_back` bars earlier, mean over the window: [n], 0 to 1.

    Of the steps with an event (a note, a note-off, a hit) in either bar, it is the share that have the same event in
    both; nan if there are none. Compare it with `chance_repetition`.

    Args:
        labels: [n, steps]; or [n, steps, 3] of trios, whose parts must all have the same event; or [n, steps, 88] of
            the clips of pianos, whose keys must all start together. A piano's note-offs do not count.
    """
    events, shift = _bar_events(labels), bars_back * steps_per_bar
    return _mean(_bar_similarity(events[:, shift:], events[:, :-shift], steps_per_bar), 1)


def chance_repetition(labels: np.ndarray, steps_per_bar: int = STEPS_PER_BAR) -> np.ndarray:
    """`repetition` by chance: the similarity of each window's bars with those of the window half the set away: [n].

    The windows of a song must lie next to each other, as in a SongDataset.
    """
    events = _bar_events(labels)
    return _mean(_bar_similarity(events, np.roll(events, len(events) // 2, axis=0), steps_per_bar), 1)


def self_similarity(labels: np.ndarray, steps_per_bar: int = STEPS_PER_BAR) -> np.ndarray:
    """Similarity of the bars i and j of a window, as in `repetition`: [bars, bars], mean over windows."""
    events = _bar_events(labels)
    bars = events.shape[1] // steps_per_bar
    matrix = np.eye(bars)
    for k in range(1, bars):
        shift, row = k * steps_per_bar, np.arange(k, bars)
        alike = _mean(_bar_similarity(events[:, shift:], events[:, :-shift], steps_per_bar), 0)
        matrix[row, row - k] = matrix[row - k, row] = alike
    return matrix


def set_f1(found: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """2 TP / (2 TP + FP + FN) of sets [n, steps, K] bool: [n]; 1 where both are empty."""
    true_positives = (found & wanted).sum((1, 2))
    total = found.sum((1, 2)) + wanted.sum((1, 2))
    return np.where(total > 0, 2 * true_positives / np.maximum(total, 1), 1.0)


def hamming(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Share of the steps that differ (the paper's distance, section 5, "Interpolations"): [n].

    Args:
        a, b: [n, steps], or [n, steps, 3] of trios, whose steps differ if one of the parts does.
    """
    return (_events(a) != _events(b)).mean(-1)


def nearest_distance(labels: np.ndarray, training: np.ndarray) -> np.ndarray:
    """Hamming distance of each window to the nearest training window, as a share of the steps: [n]; 0 is a copy.

    It takes about 0.1 ms per window and 1,000 training windows of 256 steps.

    Args:
        labels, training: [n, steps] and [m, steps], or [n, steps, 3] and [m, steps, 3] of trios.
    """
    known = _events(training)
    differing = [np.count_nonzero(known != window, axis=1).min() for window in _events(labels)]
    return np.array(differing) / known.shape[1]


# ---- The n-gram model (section 5, "Interpolations") ----


class Followers(NamedTuple):
    """Counts of the labels after each context of one length. A sequence is one number, with the last label lowest."""

    grams: np.ndarray  # [G] a context and the label after it, rising
    counts: np.ndarray  # [G]
    contexts: np.ndarray  # [C] rising
    totals: np.ndarray  # [C] number of labels after each context
    kinds: np.ndarray  # [C] number of different labels after each context


class NGram(NamedTuple):
    """A model of label sequences, each label given the order - 1 before it, with Witten-Bell smoothing (1991).

    Let c(h w) be the count of label w after context h, c(h) the count of all labels after h, T(h) the number of
    different ones, and h' the context h without its first label:

        p(w | h) = (c(h w) + T(h) p(w | h')) / (c(h) + T(h)),    or p(w | h') if h never occurred.

    The empty context is smoothed with the uniform distribution, so that no label has probability 0. The start of a
    window counts as a label of its own. The paper's model has order 5; the paper does not state its smoothing.
    """

    classes: int
    followers: tuple[Followers, ...]  # of contexts of 0, 1, ... order - 1 labels

    @classmethod
    def fit(cls, labels: np.ndarray, classes: int, order: int = 5) -> "NGram":
        """Counts the label sequences of a training set.

        Args:
            labels: [n, steps], 0 to classes - 1; of windows that do not overlap, since a bar that is counted many times
                looks like one that occurs in many songs.

        Raises:
            ValueError: labels are out of range, or a sequence does not fit into a 64-bit number.
        """
        grams, counts = np.unique(_packed(labels, classes, order), return_counts=True)
        shorter = [(classes + 1) ** length for length in range(1, order + 1)]
        return cls(classes, tuple(_followers(grams % size, counts, classes + 1) for size in shorter))

    def log_probabilities(self, labels: np.ndarray) -> np.ndarray:
        """Log probability of each label given those before it in its window: [n, steps] nats, of labels [n, steps]."""
        base, order = self.classes + 1, len(self.followers)
        grams, place = np.unique(_packed(labels, self.classes, order), return_inverse=True)
        p = np.full(len(grams), 1 / self.classes)
        for length, (known, counts, contexts, totals, kinds) in enumerate(self.followers, 1):
            gram = grams % base**length
            count, context = _look_up(known, counts, gram), gram // base
            total, kind = _look_up(contexts, totals, context), _look_up(contexts, kinds, context)
            p = np.divide(count + kind * p, total + kind, out=p.copy(), where=total > 0)
        return np.log(p)[place].reshape(labels.shape)

    def cost(self, labels: np.ndarray) -> np.ndarray:
        """-1/steps log p(window): [n] nats per step, of labels [n, steps]."""
        return -self.log_probabilities(labels).mean(1)


def _packed(labels: np.ndarray, classes: int, order: int) -> np.ndarray:
    """[n, steps] int64: each label and the order - 1 before it as one number; the label `classes` marks the start."""
    if (classes + 1) ** order >= 2**63:
        raise ValueError(f"{order} labels of {classes} classes do not fit into 64 bits; take a lower order")
    if labels.size and not 0 <= labels.min() <= labels.max() < classes:
        raise ValueError(f"labels from {labels.min()} to {labels.max()}, but the model has {classes} classes")
    before, steps = order - 1, labels.shape[1]
    marked = np.pad(labels.astype(np.int64), ((0, 0), (before, 0)), constant_values=classes)
    packed = np.zeros(labels.shape, np.int64)
    for k in range(order):
        packed = packed * (classes + 1) + marked[:, k : k + steps]
    return packed


def _followers(grams: np.ndarray, counts: np.ndarray, base: int) -> Followers:
    """Adds up the counts of equal grams, and of the grams of each context."""
    grams, place = np.unique(grams, return_inverse=True)
    counts = np.bincount(place, counts)
    contexts, place = np.unique(grams // base, return_inverse=True)
    return Followers(grams, counts, contexts, np.bincount(place, counts), np.bincount(place))


def _look_up(keys: np.ndarray, values: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """The values of the wanted keys, 0 for keys that are missing; `keys` rise."""
    at = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[at] == wanted, values[at], 0)
