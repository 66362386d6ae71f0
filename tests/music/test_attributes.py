"""Measurements of music: windows written out, and expected values computed by hand."""

from itertools import pairwise, product

import numpy as np
import pytest
from pretty_midi import Instrument, Note, PrettyMIDI, note_name_to_number

from midi_utils import MelodyConverter
from music import attributes
from music.attributes import ATTRIBUTES, NGram
from music.labels import FIRST_PITCH, KEYS, MELODY_DEPTH, MIN_PITCH, NO_EVENT, NOTE_OFF


def melody(*windows):
    """Labels of windows written step by step: a note's name, '.' for no event, '-' for a note-off."""
    signs = {".": NO_EVENT, "-": NOTE_OFF}

    def label(sign):
        return signs[sign] if sign in signs else note_name_to_number(sign) - MIN_PITCH + FIRST_PITCH

    return np.array([[label(sign) for sign in window.split()] for window in windows], np.uint8)


def random_melodies(windows=40, steps=32, seed=0):
    """Random labels, about a third onsets and a tenth note-offs; the first window is empty."""
    random = np.random.default_rng(seed)
    labels = np.where(random.random((windows, steps)) < 0.35, random.integers(2, 90, (windows, steps)), 0)
    labels[random.random((windows, steps)) < 0.1] = NOTE_OFF
    labels[0] = NO_EVENT
    return labels.astype(np.uint8)


# ---- The five attributes ----

LINE = "C4 . . D4 E4 F#4 G4 . . . B4 - A#4 . C5 ."  # steps 0 3 4 5 6 10 12 14
EMPTY = " ".join("." * 16)
LOWEST = "A0" + " ." * 15
LOW_AND_OFF = ". . . . A#0 - . . C8 . . . . . . ."


@pytest.mark.parametrize(
    "name, expected",
    [
        ("c_diatonic", [6 / 8, np.nan, 1, 1 / 2]),  # F# and A# are outside, and so is the low A#
        ("note_density", [8 / 16, 0, 1 / 16, 2 / 16]),
        ("average_interval", [(2 + 2 + 2 + 1 + 4 + 1 + 2) / 7, np.nan, np.nan, 108 - 22]),
        ("syncopation_16th", [1 / 8, np.nan, 0, 0]),  # only D4: F#4 has E4 one step earlier
        ("syncopation_8th", [1 / 8, np.nan, 0, 0]),  # only B4: G4 has F#4, and C5 has A#4 an eighth earlier
    ],
)
def test_attributes_have_the_values_computed_by_hand(name, expected):
    np.testing.assert_allclose(ATTRIBUTES[name](melody(LINE, EMPTY, LOWEST, LOW_AND_OFF)), expected)


def test_the_range_is_that_of_the_notes_alone():
    """LINE from C4 to C5, a single note, and A#0 to C8; rests and note-offs have no pitch."""
    found = attributes.pitch_range(melody(LINE, EMPTY, LOWEST, LOW_AND_OFF))
    np.testing.assert_equal(found, [12, np.nan, 0, 108 - 22])


def test_the_attributes_are_the_papers_five():
    names = ["c_diatonic", "note_density", "average_interval", "syncopation_16th", "syncopation_8th"]
    assert list(ATTRIBUTES) == names


def by_loop(window):
    """The five attributes of one window, note by note."""
    notes = [(step, int(label) + 19) for step, label in enumerate(window) if label >= FIRST_PITCH]
    steps = {step for step, _ in notes}
    if not notes:
        return [np.nan, 0, np.nan, np.nan, np.nan]
    gaps = [abs(b - a) for (_, a), (_, b) in pairwise(notes)]
    sixteenths = [s for s in steps if s % 2 and s - 1 not in steps]
    eighths = [s for s in steps if s % 4 == 2 and not {s - 1, s - 2} & steps]
    white = [p for _, p in notes if p % 12 not in (1, 3, 6, 8, 10)]
    interval = sum(gaps) / len(gaps) if gaps else np.nan
    counts = [len(part) / len(notes) for part in (white, sixteenths, eighths)]
    return [counts[0], len(notes) / len(window), interval, *counts[1:]]


@pytest.mark.parametrize("steps", [16, 30, 64])
def test_attributes_equal_those_counted_note_by_note(steps):
    labels = random_melodies(steps=steps)
    expected = np.transpose([by_loop(window) for window in labels])
    np.testing.assert_allclose([measure(labels) for measure in ATTRIBUTES.values()], expected)


def test_attributes_of_a_converters_labels_are_those_of_the_song():
    scale = Instrument(0)
    for k, pitch in enumerate((60, 62, 64, 65, 67, 69, 71, 72)):  # C major in eighths, at 120 quarters per minute
        scale.notes.append(Note(80, pitch, k / 4, (k + 1) / 4))
    midi = PrettyMIDI()
    midi.instruments.append(scale)
    labels = MelodyConverter(bars=1).to_arrays(midi).labels
    values = [float(measure(labels)[0]) for measure in ATTRIBUTES.values()]
    assert values == pytest.approx([1, 1 / 2, 12 / 7, 0, 0])


# ---- Statistics ----


def test_pitch_classes_are_counted_over_all_windows():
    labels = melody("C4 . C5 -", "E2 . . .", "G4 . . .")
    expected = np.zeros(12)
    expected[[0, 4, 7]] = 2 / 4, 1 / 4, 1 / 4
    np.testing.assert_allclose(attributes.pitch_class_histogram(labels), expected)


def test_durations_end_at_the_next_event_or_with_the_window():
    labels = melody("C4 . E4 - . . . G4", ". . A4 . . . . .", EMPTY[:15])
    expected = np.zeros(9)
    expected[[2, 1, 6]] = 1 / 4, 2 / 4, 1 / 4  # C4; E4 and G4; A4
    np.testing.assert_allclose(attributes.duration_histogram(labels), expected)


def test_histograms_without_notes_are_undefined():
    silence = melody(EMPTY)
    assert np.isnan(attributes.pitch_class_histogram(silence)).all()
    assert np.isnan(attributes.duration_histogram(silence)).all()
    assert np.isnan(attributes.drum_histogram(silence)).all()


def test_drums_of_one_step_are_counted_one_by_one():
    labels = np.array([[0b101, 0, 0b1, 0], [0b1_0000_0000, 0b11, 0, 0]], np.uint16)
    assert attributes.hit_density(labels).tolist() == [3 / 4, 3 / 4]
    np.testing.assert_allclose(attributes.drum_histogram(labels), np.array([3, 1, 1, 0, 0, 0, 0, 0, 1]) / 6)


@pytest.mark.parametrize(
    "p, q, bits",
    [
        ([0.5, 0.5, 0], [0.5, 0, 0.5], 0.5),  # the mean (1/2, 1/4, 1/4) has 1.5 bits, p and q 1 bit each
        ([0.2, 0.3, 0.5], [0.2, 0.3, 0.5], 0),
        ([1, 0, 0], [0, 0.5, 0.5], 1),
    ],
)
def test_jensen_shannon_divergence_is_in_bits_and_symmetric(p, q, bits):
    p, q = np.array(p, float), np.array(q, float)
    assert attributes.jensen_shannon_bits(p, q) == pytest.approx(bits, abs=1e-12)
    assert attributes.jensen_shannon_bits(q, p) == pytest.approx(bits, abs=1e-12)


SONG = "C4 . E4 .  C4 . G4 .  C4 . E4 .  . . . ."  # four bars of four steps: A, B, A, nothing


@pytest.mark.parametrize("bars_back, expected", [(1, (1 / 2 + 1 / 2 + 0) / 3), (2, (1 + 0) / 2), (3, 0), (4, np.nan)])
def test_repetition_compares_a_bar_with_those_before(bars_back, expected):
    """A and the bar after it share one of the two steps with a note; held steps do not count."""
    values = attributes.repetition(melody(SONG, EMPTY), bars_back, 4)
    np.testing.assert_allclose(values, [expected, np.nan])


def test_similarity_of_bars_is_the_mean_of_the_windows_that_have_it():
    other = melody(". . . .  . . . .  A4 . . .  A4 . . .")
    matrix = attributes.self_similarity(np.concatenate([melody(SONG), other]), 4)
    expected = np.eye(4)
    expected[0, 1] = 1 / 2  # undefined for the other window
    expected[0, 2] = (1 + 0) / 2
    expected[0, 3] = expected[1, 3] = 0
    expected[1, 2] = (1 / 2 + 0) / 2
    expected[2, 3] = (0 + 1) / 2
    np.testing.assert_allclose(matrix, np.maximum(expected, expected.T))


def test_chance_repetition_compares_windows_half_the_set_apart():
    labels = melody("C4 . E4 .", "D4 . . .", "C4 . - .", "D4 . . F4")
    np.testing.assert_allclose(attributes.chance_repetition(labels, 4), [1 / 2, 1 / 2, 1 / 2, 1 / 2])
    np.testing.assert_allclose(attributes.chance_repetition(labels[:2], 4), [0, 0])


def test_a_trio_repeats_where_all_its_parts_do():
    part = melody("C4 . E4 .  C4 . E4 .").astype(np.uint16)
    drums = np.array([[511, 0, 3, 0, 511, 0, 5, 0]], np.uint16)
    trio = np.stack([part, np.full_like(part, MELODY_DEPTH - 1), drums], -1)
    assert attributes.repetition(trio, 1, 4).tolist() == [3 / 4]  # the bass plays at every step
    assert attributes.self_similarity(trio, 4)[0, 1] == 3 / 4


def test_a_piano_repeats_where_the_same_keys_start():
    """A chord at steps 0, 2, 4 and 6 of two bars; note-offs, such as those of a clip's first step, do not count."""
    keys = np.zeros((1, 8, KEYS), np.uint8)
    keys[0, [0, 3]] = NOTE_OFF
    keys[0, ::2, [39, 43]] = FIRST_PITCH
    assert attributes.repetition(keys, 1, 4).tolist() == [1]
    keys[0, 6, 43] = NO_EVENT
    assert attributes.repetition(keys, 1, 4).tolist() == [1 / 2]
    assert attributes.self_similarity(keys, 4)[0, 1] == 1 / 2


# ---- Distances ----


def test_nearest_distance_is_the_share_of_steps_that_differ():
    training = melody("C4 . E4 .", "G4 . G4 .", "C4 - . .")
    samples = melody("C4 - E4 .", "G4 . G4 .", "- - - G4")
    assert attributes.nearest_distance(samples, training).tolist() == [1 / 4, 0, 3 / 4]
    assert attributes.hamming(samples, training).tolist() == [1 / 4, 0, 3 / 4]
    assert attributes.hamming(samples[2:], training[:1]).tolist() == [1]


def test_a_step_of_trios_differs_if_one_part_does():
    random = np.random.default_rng(0)
    training = random.integers(0, 2, (50, 8, 3)).astype(np.uint16) * (89, 89, 511)
    samples = training[:3].copy()
    samples[0, 1, 0] += 1
    samples[0, 1, 2] += 1
    samples[1, 4:6, 1] += 1
    brute = [min((window != known).any(-1).mean() for known in training) for window in samples]
    assert attributes.nearest_distance(samples, training).tolist() == brute == [1 / 8, 2 / 8, 0]


# ---- The n-gram model ----


def test_probabilities_equal_those_computed_by_hand():
    """Order 2, two labels, fitted to 0 0 1.

    Without context: 3 labels of 2 kinds, p(0) = (2 + 2 x 1/2) / (3 + 2) = 0.6, p(1) = 0.4.
    First in a window: 1 label of 1 kind, p(0) = (1 + 0.6) / 2 = 0.8, p(1) = 0.2.
    After 0: 2 labels of 2 kinds, p(0) = (1 + 2 x 0.6) / 4 = 0.55, p(1) = 0.45.
    Nothing followed 1, so it is as without context.
    """
    model = NGram.fit(np.array([[0, 0, 1]], np.uint8), classes=2, order=2)
    windows = np.array([[0, 0, 1], [1, 1, 0]], np.uint8)
    expected = np.array([[0.8, 0.55, 0.45], [0.2, 0.4, 0.6]])
    np.testing.assert_allclose(np.exp(model.log_probabilities(windows)), expected)
    np.testing.assert_allclose(model.cost(windows), -np.log(expected).mean(1))


@pytest.mark.parametrize("order", [1, 2, 4])
def test_probabilities_sum_to_one_after_every_context(order):
    random = np.random.default_rng(0)
    labels = np.minimum(random.geometric(0.4, (30, 9)) - 1, 3)  # label 4 does not occur
    model = NGram.fit(labels, classes=5, order=order)
    windows = np.array(list(product(range(5), repeat=4)))
    p = np.exp(model.log_probabilities(windows)).reshape(5, 5, 5, 5, 4)
    assert p.min() > 0
    for step in range(4):
        at_step = p[(slice(None),) * (step + 1) + (0,) * (3 - step) + (step,)]
        np.testing.assert_allclose(at_step.sum(-1), 1)


def test_equally_frequent_labels_cost_the_logarithm_of_their_number():
    model = NGram.fit(np.arange(MELODY_DEPTH)[None], MELODY_DEPTH, order=1)
    np.testing.assert_allclose(model.cost(random_melodies()), np.log(MELODY_DEPTH))


def test_a_longer_context_tells_tunes_from_their_shuffled_notes():
    """Two tunes of the same notes and pairs of notes, which five notes in a row tell apart."""
    tunes = melody("C4 D4 E4 C4 D4 G4 C4 D4 E4 C4 D4 G4", "G4 D4 C4 G4 D4 E4 G4 D4 C4 G4 D4 E4").repeat(20, 0)
    shuffled = np.random.default_rng(0).permuted(tunes, axis=1)
    costs = [NGram.fit(tunes, MELODY_DEPTH, order).cost(tunes).mean() for order in (1, 2, 3, 5)]
    assert costs == sorted(costs, reverse=True)
    assert NGram.fit(tunes, MELODY_DEPTH).cost(shuffled).mean() > 3 * costs[-1]


def test_repeated_data_lowers_its_cost():
    once = melody("C4 D4 E4 F4")
    costs = [NGram.fit(once.repeat(times, 0), MELODY_DEPTH).cost(once)[0] for times in (1, 10, 1000)]
    assert costs[0] > costs[1] > costs[2] > 0
    assert costs[2] < 0.02


def test_labels_out_of_range_and_orders_too_high_are_refused():
    with pytest.raises(ValueError, match="10 labels of 90 classes do not fit into 64 bits"):
        NGram.fit(melody(LINE), MELODY_DEPTH, order=10)
    with pytest.raises(ValueError, match="labels from 0 to 53, but the model has 53 classes"):
        NGram.fit(melody(LINE), 53)
    with pytest.raises(ValueError, match="labels from -1 to 0"):
        NGram.fit(melody(LINE), MELODY_DEPTH).cost(np.array([[-1, 0]]))


def test_a_model_of_512_classes_keeps_the_contexts_apart():
    """The highest drum labels are next to the label that marks the start of a window."""
    labels = np.array([[511, 511, 0, 511, 510, 0, 511, 511]], np.uint16)
    p = np.exp(NGram.fit(labels, 512).log_probabilities(labels))[0]
    assert len(NGram.fit(labels, 512).followers[4].grams) == 8
    assert (p > 0.5).all()
