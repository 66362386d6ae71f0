"""What can be measured of music in labels, without a model (Roberts et al. 2018, arXiv 1803.05428, section 5).

Three groups: the five attributes whose directions the paper looks for in its latent space, statistics that set samples
beside data, and the n-gram model that rates interpolations. Labels are a converter's: melodies [n, steps] with 0 no
event, 1 note-off and pitches from 2; drums [n, steps], sums of 2^class; trios [n, steps, 3]. Where a trio is not named,
one of its parts is meant: labels[..., 0]. What is undefined, as an interval in a window of one note, is nan.

The paper has its attributes and its n-gram model in words alone; what they leave open is said beside each.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from music.drums import DRUM_CLASSES
from music.melody import FIRST_PITCH, MAX_PITCH, MIN_PITCH, NO_EVENT
from music.trio import TRIO_DEPTHS

STEPS_PER_BAR = 16  # sixteenths of a bar of 4/4
C_MAJOR = (0, 2, 4, 5, 7, 9, 11)  # pitch classes, from C
WHITE_KEYS = [FIRST_PITCH + p - MIN_PITCH for p in range(MIN_PITCH, MAX_PITCH + 1) if p % 12 in C_MAJOR]  # their labels


def _share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """part / whole, nan where whole is 0."""
    part, whole = np.broadcast_arrays(np.asarray(part, float), np.asarray(whole, float))
    return np.divide(part, whole, out=np.full(whole.shape, np.nan), where=whole > 0)


def _onsets(labels: np.ndarray) -> np.ndarray:
    """[n, steps] bool: where a melody's notes begin."""
    return labels >= FIRST_PITCH


def _pitches(labels: np.ndarray) -> np.ndarray:
    """[notes] MIDI pitches, window by window."""
    return labels[_onsets(labels)].astype(int) - FIRST_PITCH + MIN_PITCH


# ---- The paper's five attributes (section 5, "Attribute Vector Arithmetic"): melodies [n, steps] to [n] ----


def c_diatonic(labels: np.ndarray) -> np.ndarray:
    """Share of the notes that lie in C major: [n]; nan without notes."""
    return _share(np.isin(labels, WHITE_KEYS).sum(1), _onsets(labels).sum(1))


def note_density(labels: np.ndarray) -> np.ndarray:
    """Onsets a step: [n]; 0 without notes."""
    return _onsets(labels).mean(1)


def average_interval(labels: np.ndarray) -> np.ndarray:
    """Mean of |p_k+1 - p_k| over consecutive notes, rests between them or not: [n] semitones; nan below two notes."""
    window, _ = np.nonzero(_onsets(labels))
    interval, inside = np.abs(np.diff(_pitches(labels))), window[1:] == window[:-1]
    window, interval = window[1:][inside], interval[inside]
    return _share(np.bincount(window, interval, len(labels)), np.bincount(window, minlength=len(labels)))


def syncopation_16th(labels: np.ndarray) -> np.ndarray:
    """Share of the onsets that fall between the eighths, with none a sixteenth before: [n]; nan without notes.

    The beat is step 0, so these are the steps 1, 3, 5, ...
    """
    onsets = _onsets(labels)
    off_beat = onsets[:, 1::2] & ~onsets[:, :-1:2]
    return _share(off_beat.sum(1), onsets.sum(1))


def syncopation_8th(labels: np.ndarray) -> np.ndarray:
    """Share of the onsets on an eighth between the quarters, with none a sixteenth or an eighth before: [n].

    These are the steps 2, 6, 10, ...; nan without notes.
    """
    onsets = _onsets(labels)
    off_beat = onsets[:, 2::4] & ~onsets[:, 1:-1:4] & ~onsets[:, :-2:4]
    return _share(off_beat.sum(1), onsets.sum(1))


ATTRIBUTES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    measure.__name__: measure
    for measure in (c_diatonic, note_density, average_interval, syncopation_16th, syncopation_8th)
}


# ---- Samples beside data ----


def hit_density(labels: np.ndarray) -> np.ndarray:
    """Drums struck a step, those struck together counted singly: [n], of drum labels [n, steps]."""
    return np.sum([(labels >> k & 1).mean(1) for k in range(DRUM_CLASSES)], axis=0)


def drum_histogram(labels: np.ndarray) -> np.ndarray:
    """Share of each drum class in the hits of all windows: [9], of drum labels [n, steps]."""
    hits = np.array([(labels >> k & 1).sum() for k in range(DRUM_CLASSES)])
    return _share(hits, hits.sum())


def pitch_class_histogram(labels: np.ndarray) -> np.ndarray:
    """Share of each pitch class, from C, in the notes of all windows: [12], of melodies [n, steps]."""
    notes = np.bincount(_pitches(labels) % 12, minlength=12)
    return _share(notes, notes.sum())


def duration_histogram(labels: np.ndarray) -> np.ndarray:
    """Share of the notes of all windows that last d steps, at index d: [steps + 1], of melodies [n, steps].

    A note lasts until the next note, a note-off or the window's end.
    """
    window, start = np.nonzero(labels != NO_EVENT)
    end = np.append(start[1:], 0)
    end[np.append(window[1:] != window[:-1], True)[: len(end)]] = labels.shape[1]
    is_note = _onsets(labels)[window, start]
    notes = np.bincount((end - start)[is_note], minlength=labels.shape[1] + 1)
    return _share(notes, notes.sum())


def jensen_shannon_bits(p: np.ndarray, q: np.ndarray) -> float:
    """Jensen-Shannon divergence of two histograms, H((p + q) / 2) - (H(p) + H(q)) / 2 (Lin 1991).

    0 bits where they are equal, 1 bit where they share nothing; p, q sum to 1.
    """
    return float(_entropy_bits((p + q) / 2) - (_entropy_bits(p) + _entropy_bits(q)) / 2)


def _entropy_bits(p: np.ndarray) -> float:
    return -(p * np.log2(p, out=np.zeros_like(p), where=p > 0)).sum()


def _events(labels: np.ndarray) -> np.ndarray:
    """[n, steps] one number a step, also for a trio; 0 where nothing begins or ends."""
    if labels.ndim == 2:
        return labels
    return labels.astype(np.int32) @ np.array([1, TRIO_DEPTHS[0], TRIO_DEPTHS[0] * TRIO_DEPTHS[1]], np.int32)


def _bar_similarity(a: np.ndarray, b: np.ndarray, steps_per_bar: int) -> np.ndarray:
    """[n, bars], of the bars of events a and b [n, steps]: steps with the same event / steps with an event in either.

    nan where neither has an event. Held steps do not count: most are, so that any two bars would be alike.
    """
    either = (a != NO_EVENT) | (b != NO_EVENT)
    same = either & (a == b)
    bars = len(a), -1, steps_per_bar
    return _share(same.reshape(bars).sum(-1), either.reshape(bars).sum(-1))


def _mean(values: np.ndarray, axis: int) -> np.ndarray:
    """Mean of what is not nan; nan where nothing is."""
    return _share(np.nansum(values, axis), (~np.isnan(values)).sum(axis))


def repetition(labels: np.ndarray, bars_back: int, steps_per_bar: int = STEPS_PER_BAR) -> np.ndarray:
    """How much each bar repeats the one so many bars earlier, averaged over a window: [n], 0 to 1.

    The share of the steps with an event (a note, a note-off, a hit) in either bar that have the same in both; nan where
    there is none. To be read beside `chance_repetition`. Labels [n, steps], or a trio's, whose parts must all agree.
    """
    events, shift = _events(labels), bars_back * steps_per_bar
    return _mean(_bar_similarity(events[:, shift:], events[:, :-shift], steps_per_bar), 1)


def chance_repetition(labels: np.ndarray, steps_per_bar: int = STEPS_PER_BAR) -> np.ndarray:
    """What `repetition` comes to between songs: each window's bars beside those of the window half the set away: [n].

    The windows of a song are expected to stand together, as in a data set.
    """
    events = _events(labels)
    return _mean(_bar_similarity(events, np.roll(events, len(events) // 2, axis=0), steps_per_bar), 1)


def self_similarity(labels: np.ndarray, steps_per_bar: int = STEPS_PER_BAR) -> np.ndarray:
    """How alike the bars i and j of a window are, by the measure of `repetition`: [bars, bars], mean over windows."""
    events = _events(labels)
    bars = events.shape[1] // steps_per_bar
    matrix = np.eye(bars)
    for k in range(1, bars):
        shift, row = k * steps_per_bar, np.arange(k, bars)
        alike = _mean(_bar_similarity(events[:, shift:], events[:, :-shift], steps_per_bar), 0)
        matrix[row, row - k] = matrix[row - k, row] = alike
    return matrix


def hamming(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Share of the steps that differ (the paper's distance, section 5, "Interpolations"): [n].

    Labels [n, steps], or a trio's, where a step differs if one of its parts does.
    """
    return (_events(a) != _events(b)).mean(-1)


def nearest_distance(labels: np.ndarray, training: np.ndarray) -> np.ndarray:
    """Hamming distance of each window to the nearest of a training set, as a share of the steps: [n]; 0 is a copy.

    Labels [n, steps] and [m, steps], or trios'. About 0.1 ms for a window and 1,000 training windows of 256 steps.
    """
    known = _events(training)
    differing = [np.count_nonzero(known != window, axis=1).min() for window in _events(labels)]
    return np.array(differing) / known.shape[1]


# ---- The n-gram model (section 5, "Interpolations") ----


class Followers(NamedTuple):
    """How often each label followed each context of one length; labels are packed into a number, the last lowest."""

    grams: np.ndarray  # [G] rising: a context and the label after it
    counts: np.ndarray  # [G]
    contexts: np.ndarray  # [C] rising
    totals: np.ndarray  # [C] labels that came after each
    kinds: np.ndarray  # [C] different ones among them


class NGram(NamedTuple):
    """A model of label sequences, each label given the order - 1 before it, with Witten and Bell's smoothing (1991).

    c(h w) times label w followed the context h, T(h) different labels did, c(h) in all; h' is h but for its first:

        p(w | h) = (c(h w) + T(h) p(w | h')) / (c(h) + T(h)),    p(w | h') where h never occurred.

    Below the empty context stands the uniform distribution, so that nothing has probability 0. Ahead of a window lies a
    mark that no label equals. The paper's model has order 5; its smoothing is not told.
    """

    classes: int
    followers: tuple[Followers, ...]  # of contexts of 0, 1, ... order - 1 labels

    @classmethod
    def fit(cls, labels: np.ndarray, classes: int, order: int = 5) -> "NGram":
        """Counts the label sequences of a training set, labels [n, steps] from 0 to classes - 1.

        Give windows that do not overlap: smoothing takes a bar counted many times for one heard in many songs.

        Raises:
            ValueError: labels out of range, or sequences that no 64-bit number holds.
        """
        grams, counts = np.unique(_packed(labels, classes, order), return_counts=True)
        shorter = [(classes + 1) ** length for length in range(1, order + 1)]
        return cls(classes, tuple(_followers(grams % size, counts, classes + 1) for size in shorter))

    def log_probabilities(self, labels: np.ndarray) -> np.ndarray:
        """Of each label given those before it in its window: [n, steps] nats, of labels [n, steps]."""
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
        """-1/steps log p(window): [n] nats a step, of labels [n, steps]."""
        return -self.log_probabilities(labels).mean(1)


def _packed(labels: np.ndarray, classes: int, order: int) -> np.ndarray:
    """[n, steps] int64: each label and the order - 1 before it in one number, the mark `classes` ahead of the first."""
    if (classes + 1) ** order >= 2**63:
        raise ValueError(f"{order} labels of {classes} classes do not go into 64 bits; take a lower order")
    if labels.size and not 0 <= labels.min() <= labels.max() < classes:
        raise ValueError(f"labels from {labels.min()} to {labels.max()}, but the model has {classes} classes")
    before, steps = order - 1, labels.shape[1]
    marked = np.pad(labels.astype(np.int64), ((0, 0), (before, 0)), constant_values=classes)
    packed = np.zeros(labels.shape, np.int64)
    for k in range(order):
        packed = packed * (classes + 1) + marked[:, k : k + steps]
    return packed


def _followers(grams: np.ndarray, counts: np.ndarray, base: int) -> Followers:
    """Puts equal grams together, and those of one context."""
    grams, place = np.unique(grams, return_inverse=True)
    counts = np.bincount(place, counts)
    contexts, place = np.unique(grams // base, return_inverse=True)
    return Followers(grams, counts, contexts, np.bincount(place, counts), np.bincount(place))


def _look_up(keys: np.ndarray, values: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """The value of each key, 0 for those that are not there; keys rise."""
    at = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[at] == wanted, values[at], 0)
