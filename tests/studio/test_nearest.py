"""The nearest song: distances by hand, keys, drums, and every representation."""

import numpy as np
import pytest
import torch
from pretty_midi import Instrument, Note, PrettyMIDI

from helpers import made_songs, shrink
from studio.nearest import CHUNK, distances, nearest_songs, onsets_of_songs, onsets_of_windows

PRESETS = ("cat-mel_2bar_tiny", "cat-drums_2bar_tiny", "hierdec-trio_16bar_tiny")
STEP = 0.125  # seconds of a sixteenth note at 120 quarters per minute


def tune(*notes, drums=False):
    """A song of (step, pitch), each a sixteenth note long."""
    song = PrettyMIDI()
    song.instruments.append(Instrument(0, drums))
    song.instruments[0].notes = [Note(80, pitch, step * STEP, (step + 1) * STEP) for step, pitch in notes]
    return song


def distance(a, b):
    return distances(onsets_of_songs([a]), onsets_of_songs([b]), 1)[0]


def test_the_distance_is_the_share_of_notes_without_a_match():
    three, four = [(0, 60), (4, 62), (8, 64)], [(0, 60), (4, 62), (10, 64), (12, 65)]
    assert distance(tune(*three), tune(*four)) == pytest.approx(1 - 2 / 5)
    assert distance(tune(*four), tune(*three)) == pytest.approx(1 - 2 / 5)


def test_a_melody_in_another_key_is_the_same():
    melody = [(0, 60), (4, 62), (8, 64)]
    assert distance(tune(*melody), tune(*((step, pitch - 17) for step, pitch in melody))) == 0


def test_a_rhythm_elsewhere_has_nothing_in_common():
    assert distance(tune((0, 60)), tune((1, 60))) == 1


def test_drums_match_by_their_class_and_in_no_other_key():
    kick, other_kick, snare, low_tom = 36, 35, 38, 45
    assert distance(tune((0, kick), drums=True), tune((0, other_kick), drums=True)) == 0
    assert distance(tune((0, kick), drums=True), tune((0, snare), drums=True)) == 1
    assert distance(tune((0, low_tom), drums=True), tune((0, low_tom))) == 1


def test_drums_of_no_class_match_one_another_alone():
    snare, highest = 38, 127
    assert distance(tune((0, 1), drums=True), tune((0, 2), drums=True)) == 0
    for other in (tune((0, snare), drums=True), tune((0, highest))):
        assert distance(tune((0, 1), drums=True), other) == 1


def test_two_silences_are_the_same_and_a_silence_differs_from_all_else():
    assert distance(tune(), tune()) == 0
    assert distance(tune(), tune((0, 60))) == 1


@pytest.mark.parametrize("preset", PRESETS)
def test_labels_have_the_onsets_of_the_songs_that_they_are_written_as(preset):
    converter = shrink(preset).converter
    songs = made_songs(converter)
    labels = onsets_of_windows(converter, songs.windows(slice(None)))
    written = onsets_of_songs([converter.from_arrays(one) for one in songs.labels])
    assert all(np.array_equal(a, b) for a, b in zip(labels, written, strict=True))
    assert len(labels.step) >= len(songs)


@pytest.mark.parametrize("preset", [*PRESETS, "groovae_2bar_hits_control", "hier-multiperf_vel_1bar_tiny"])
def test_a_window_of_a_song_is_found_by_name_and_bar(preset):
    converter = shrink(preset).converter
    songs = made_songs(converter)
    labels = songs.labels[17]
    (found,) = nearest_songs([converter.from_arrays(labels)], songs)
    assert found.distance == 0
    same = [k for k in range(len(songs)) if nearest_songs([converter.from_arrays(songs.labels[k])], songs)[0] == found]
    assert 17 in same
    assert (found.name, found.bar) == (songs.names[songs.song[same[0]]], songs.start_bar[same[0]] + 1)


def test_a_transposed_window_is_found_as_well():
    converter = shrink("cat-mel_2bar_tiny").converter
    songs = made_songs(converter)
    moved = converter.transpose(torch.from_numpy(songs.labels[:3].astype(np.int64)), torch.tensor([5, -3, 7]))
    assert [found.distance for found in nearest_songs([converter.from_arrays(one) for one in moved], songs)] == [0] * 3


def test_sets_of_more_windows_than_are_compared_at_a_time_are_searched_to_the_end():
    converter = shrink("cat-mel_2bar_tiny").converter
    songs = made_songs(converter, windows=CHUNK + 2)
    songs.labels[:-1] = 0
    songs.labels[-1, ::8] = 40
    (found,) = nearest_songs([converter.from_arrays(songs.labels[-1])], songs)
    assert (found.distance, found.bar) == (0, CHUNK + 2)


@pytest.mark.parametrize("songs", [None, [], "midi_songs"])
def test_what_is_no_data_set_is_refused(songs):
    with pytest.raises(ValueError, match="songs must be a SongDataset, as load_songs makes it"):
        nearest_songs([tune((0, 60))], songs)


def test_a_set_without_windows_is_refused():
    converter = shrink("cat-mel_2bar_tiny").converter
    with pytest.raises(ValueError, match="songs must have at least one window"):
        nearest_songs([tune((0, 60))], made_songs(converter, windows=0))
