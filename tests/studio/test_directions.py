"""Directions in latent space: found, applied to z and to clips, saved, and what is refused."""

import json
import math
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from generate import TrainedModel
from helpers import made_songs, shrink, untrained
from midi_utils import SongDataset, load_songs
from model import MusicVAE
from music.attributes import ATTRIBUTES, note_density
from music.melody import FIRST_PITCH
from notebook_utils import count_pitches
from studio.directions import MIN_GROUP, outer_quarters

ROOT = Path(__file__).parents[2]
WINDOWS = 5 * MIN_GROUP


@cache
def model(preset="cat-mel_2bar_tiny"):
    return untrained(preset)


def with_labels(songs, labels):
    """A data set with other labels."""
    windows = songs.windows(slice(None))._replace(labels=labels)
    return SongDataset(windows, songs.song, songs.names, songs.converter, None)


@cache
def songs():
    """Melodies of random notes, which differ in density and in range."""
    random, converter = np.random.default_rng(0), model().converter
    shares, ranges = random.uniform(0.1, 0.6, (WINDOWS, 1)), random.integers(2, 20, (WINDOWS, 1))
    pitches = FIRST_PITCH + 40 + (random.random((WINDOWS, 32)) * ranges).astype(int)
    labels = np.where(random.random((WINDOWS, 32)) < shares, pitches, 0).astype(np.uint8)
    return with_labels(made_songs(converter, WINDOWS), labels)


def highest(labels):
    """Highest label of each window: [n]."""
    return labels.max(1)


MEASURES = {"density": note_density, "highest": highest}


@cache
def found():
    return model().directions(songs(), MEASURES)


def test_a_direction_is_the_mean_of_the_windows_with_most_minus_that_of_those_with_least():
    mu = model().encode(songs().windows(slice(None))).mu
    for name, measure in MEASURES.items():
        values = measure(songs().labels)
        most, least = values >= np.quantile(values, 0.75), values <= np.quantile(values, 0.25)
        wanted = mu[torch.from_numpy(most)].mean(0) - mu[torch.from_numpy(least)].mean(0)
        torch.testing.assert_close(found().vectors[name], wanted)
    assert list(found().vectors) == list(MEASURES)


def test_quarters_of_equal_values_and_of_undefined_ones_are_those_worked_out_by_hand():
    most, least = outer_quarters(np.array([0.0, 0, 0, 0, 1, np.nan, 0, 0, 0]))
    assert np.flatnonzero(most).tolist() == [4]  # more than what most windows have
    assert np.flatnonzero(least).tolist() == [0, 1, 2, 3, 6, 7, 8]
    most, least = outer_quarters(np.arange(8.0))
    assert np.flatnonzero(most).tolist() == [6, 7]
    assert np.flatnonzero(least).tolist() == [0, 1]


def test_z_moves_along_all_directions_that_are_named():
    z = model().draw_z(3, seed=0)
    density, high = found().vectors.values()
    torch.testing.assert_close(found().apply(z, density=1.5, highest=-0.5), z + 1.5 * density - 0.5 * high)
    torch.testing.assert_close(found().apply(z.numpy(), density=2), z + 2 * density)
    assert torch.equal(found().apply(z), z)


def notes(midi):
    return [(note.pitch, round(note.start, 3), round(note.end, 3)) for note in midi.instruments[0].notes]


def test_a_clip_is_decoded_from_the_z_of_its_windows_moved():
    trained, windows = model(), songs().windows([0, 1])
    moved = found().apply(trained.encode(windows).mu, density=1.5)
    first, second = map(notes, trained.decode(moved, temperature=0))
    played, two_bars = notes(found().apply(windows, density=1.5)), 4.0  # seconds
    assert played == first + [(pitch, start + two_bars, end + two_bars) for pitch, start, end in second]
    assert played != notes(trained.reconstruct_clip(windows))


def test_a_function_of_a_song_makes_a_direction():
    """The number of different pitches, counted in a `PrettyMIDI` and in labels."""

    def pitches(labels):
        return [len(set(window[window >= FIRST_PITCH])) for window in labels]

    measures = {"in songs": model().of_midi(count_pitches), "in labels": pitches}
    assert torch.equal(*model().directions(songs(), measures).vectors.values())


def test_the_papers_five_attributes_are_the_default_of_melodies():
    directions, own = model().directions(songs()), model().directions(songs(), ATTRIBUTES)
    assert list(directions.vectors) == list(ATTRIBUTES)
    assert all(torch.equal(directions.vectors[name], own.vectors[name]) for name in ATTRIBUTES)


def test_the_default_of_a_trio_are_the_attributes_of_its_melody():
    config = shrink("hierdec-trio_16bar_tiny", bars=2)
    trained, made = TrainedModel(MusicVAE(config.model), config), made_songs(config.converter, WINDOWS)
    labels = made.labels.copy()
    labels[..., 0] = songs().labels
    trios = with_labels(made, labels)
    own = trained.directions(trios, {"density": lambda labels: note_density(labels[..., 0])})
    assert torch.equal(trained.directions(trios).vectors["note_density"], own.vectors["density"])


# ---- Files ----


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "new" / "directions.json"
    found().save(path)
    return path


def test_directions_survive_a_file_beside_their_model(file):
    model().save(file.with_name("model.pt"))
    again = TrainedModel.load(file.with_name("model.pt")).load_directions(file)
    assert list(again.vectors) == list(MEASURES)
    assert all(torch.equal(again.vectors[name], vector) for name, vector in found().vectors.items())
    assert again.apply(torch.zeros(1, 16), density=1).shape == (1, 16)


def test_directions_fit_their_model_in_half_precision(file):
    trained = untrained("cat-mel_2bar_tiny")
    trained.model.half()
    trained.save(file.with_name("half.pt"))
    assert TrainedModel.load(file.with_name("half.pt")).load_directions(file).vectors.keys() == MEASURES.keys()


def changed(**fields):
    return lambda content: content | fields


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda content: {"vectors": {}}, "no file of directions of this version"),
        (lambda content: [content], "no file of directions of this version"),
        (changed(format=2), "which writes format 1"),
        (changed(more=1), "should have the fields format, preset, weights, vectors, not .* more"),
        (lambda content: {name: content[name] for name in content if name != "preset"}, "not format, weights, vectors"),
        (changed(weights="00", preset="cat-mel_2bar_med"), "of another model, of preset 'cat-mel_2bar_med'"),
        (changed(vectors=[1.0] * 16), "vectors must be lists of numbers by name"),
        (changed(vectors={"a": [1.0] * 15}), r"directions.json: a must be 16 numbers, got \[15\]"),
        (changed(vectors={"a": [1.0] * 15 + [math.nan]}), "a must be finite, but holds NaN"),
        (changed(vectors={"a": [1.0] * 15 + [1e300]}), "a must be finite"),
        (changed(vectors={"a": "density"}), "a must be 16 numbers, got 'density'"),
    ],
)
def test_a_changed_file_is_named(file, change, words):
    file.write_text(json.dumps(change(json.loads(file.read_text()))))
    with pytest.raises(ValueError, match=words):
        model().load_directions(file)


def test_a_missing_file_and_one_of_another_kind_are_named(tmp_path):
    with pytest.raises(ValueError, match="no directions at .*none.json: write them with directions.save"):
        model().load_directions(tmp_path / "none.json")
    for name, content in (("song.mid", b"MThd\xff\0"), ("deep.json", b"[" * 100_000), ("empty.json", b"")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=f"{name} is no file of directions"):
            model().load_directions(tmp_path / name)
    with pytest.raises(ValueError, match="cannot be written"):
        found().save(tmp_path)


# ---- What is refused ----


@pytest.mark.parametrize(
    ("strengths", "words"),
    [
        ({"densty": 1}, "no direction 'densty': did you mean 'density'. There are density, highest"),
        ({"q": 1}, "no direction 'q': There are density"),
        *(
            ({"density": value}, "density must be a finite number, got")
            for value in (math.nan, math.inf, "1", None, True)
        ),
    ],
)
def test_a_wrong_name_or_strength_is_named(strengths, words):
    with pytest.raises(ValueError, match=words):
        found().apply(torch.zeros(1, 16), **strengths)
    with pytest.raises(ValueError, match=words):
        found().apply(songs().windows([0]), **strengths)


@pytest.mark.parametrize(
    ("measures", "words"),
    [
        *((wrong, "measures must be a dictionary of functions") for wrong in ({}, [note_density], {"a": 1}, {1: len})),
        ({"a": lambda labels: labels}, rf"measure 'a' must return one number per window, \[{WINDOWS}\], or nan, got"),
        ({"a": len}, "of_midi takes a function of one PrettyMIDI"),
        ({"a": lambda labels: labels.max(1) / np.zeros(len(labels))}, "measure 'a' must return one number"),
        ({"a": lambda labels: ["much"] * len(labels)}, "measure 'a' must return one number"),
        ({"a": lambda labels: np.ones(len(labels))}, f"got 0 with most and {WINDOWS} with least of 'a', of {WINDOWS}"),
        ({"a": lambda labels: np.full(len(labels), np.nan)}, "got 0 with most and 0 with least of 'a', of 0"),
        ({"a": lambda labels: np.arange(len(labels)) == 3}, f"got 1 with most and {WINDOWS - 1} with least"),
    ],
)
@pytest.mark.filterwarnings("ignore:divide by zero")
def test_measures_that_give_no_direction_are_refused(measures, words):
    with pytest.raises(ValueError, match=words):
        model().directions(songs(), measures)


def test_too_few_windows_are_counted():
    few = with_labels(made_songs(model().converter, 100), songs().labels[:100])
    words = (
        "needs 128 windows with most and 128 with least, so 512 windows or more, got 30 with most and 28 with least of "
        "'density', of 100"
    )
    with pytest.raises(ValueError, match=words):
        model().directions(few, MEASURES)
    with pytest.raises(ValueError, match="songs must be a SongDataset"):
        model().directions(songs().windows(slice(None)))


def test_a_model_without_melodies_needs_measures():
    trained = model("cat-drums_2bar_tiny")
    with pytest.raises(ValueError, match="of melodies, which cat-drums_2bar_tiny has not: give measures of its labels"):
        trained.directions(made_songs(trained.converter))


# ---- Published ----


def test_more_density_of_a_published_model_is_more_notes():
    """On windows of two built-in songs."""
    trained = TrainedModel.load(ROOT / "pretrained" / "mel_2bar_low.pt")
    directions = trained.load_directions(ROOT / "pretrained" / "mel_2bar_low_directions.json")
    assert list(directions.vectors) == list(ATTRIBUTES)
    paths = sorted((ROOT / "midi_songs" / "built_in").glob("*.mid"))[:2]
    windows = load_songs(paths, trained.converter, workers=1, progress=False).windows(slice(0, 32))
    counts = [len(directions.apply(windows, note_density=s).instruments[0].notes) for s in (-1.5, 0, 1.5)]
    assert 2 * counts[0] < counts[1] < counts[2] / 1.3
