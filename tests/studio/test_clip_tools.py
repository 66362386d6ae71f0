"""The studio's tools: clips of any length are sampled, continued, interpolated, played and drummed to."""

from functools import cache

import numpy as np
import pytest
import torch
from pretty_midi import ControlChange, Instrument, Note, PrettyMIDI, TimeSignature

import prior
from helpers import BAR, made_clip, made_songs, untrained
from midi_utils import Windows
from music.attributes import self_similarity
from music.chords import chord_class
from music.clips import Clip, looped
from music.groove import on_taps, with_feel
from studio.clip_tools import whole_songs

PRESETS = {
    "melody": "cat-mel_2bar_tiny",
    "drums": "cat-drums_2bar_tiny",
    "trio": "hierdec-trio_16bar_tiny",
    "chords": "cat-mel_2bar_chords_tiny",
    "groove": "groovae_2bar_humanize",
    "tap": "groovae_2bar_tap_fixed_velocity",
    "hits": "groovae_2bar_hits_control",
    "piano": "piano_2bar_tiny",
    "tracks": "hier-multiperf_vel_1bar_tiny",
}


@cache
def model(kind):
    return untrained(PRESETS[kind])


@cache
def clip_of(kind, bars=5, seed=0):
    """A clip of any number of bars that does not fill the last window of two."""
    return made_clip(model(kind).config.converter, bars, seed)


def written(trained, clip):
    """A clip as a song."""
    return trained.converter.from_arrays(trained.converter.as_cut(clip.labels[None])[0], clip.qpm)


def bars_of(midi):
    """The bar in which the last note starts, from 1."""
    return max(step for _, step in onsets(midi)) // BAR + 1


def notes(midi):
    return [
        (track, note.pitch, round(note.start, 4), round(note.end, 4), note.velocity)
        for track, instrument in enumerate(midi.instruments)
        for note in instrument.notes
    ]


def onsets(midi, start=0, end=10**6):
    """Pitch and step of the notes that start in these steps, counted from the first of them."""
    step_seconds = 60 / midi.get_tempo_changes()[1][0] / 4
    found = [(n[1], round(n[2] / step_seconds)) for n in notes(midi)]
    return sorted((pitch, step - start) for pitch, step in found if start <= step < end)


@pytest.mark.parametrize("kind", ["melody", "drums", "chords", "trio", "piano"])
def test_a_reconstruction_is_that_of_each_window(kind):
    trained, clip = model(kind), clip_of(kind, bars=6 if kind != "trio" else 32)
    windows = clip.labels.reshape(-1, trained.converter.steps, *clip.labels.shape[1:])
    chords = None if clip.chords is None else clip.chords.reshape(len(windows), -1)
    cut = Windows(trained.converter.as_cut(windows), np.full(len(windows), windows.shape[1], np.int32), chords)
    ours, steps = trained.reconstruct_clip(clip), trained.converter.steps
    for k, midi in enumerate(trained.reconstruct(cut, qpm=90)):
        assert onsets(ours, k * steps, (k + 1) * steps) == onsets(midi)
    assert ours.get_end_time() <= len(clip.labels) * 60 / 90 / 4 + 1e-6


def test_ten_bars_by_a_model_of_two_are_ten_bars():
    trained, clip = model("melody"), clip_of("melody", bars=10)
    song = trained.converter.from_arrays(clip.labels, qpm=90)
    again = trained.reconstruct_clip(song)
    assert bars_of(song) == bars_of(again) == 10
    assert again.get_tempo_changes()[1].round(2).tolist() == [90]


@pytest.mark.parametrize("kind", ["melody", "drums", "chords", "trio", "piano"])
def test_a_clip_shorter_than_a_window_is_read_repeated_and_keeps_its_length(kind):
    trained, clip = model(kind), clip_of(kind, bars=1)
    whole = looped(clip, trained.converter.steps, trained.converter.held_parts)
    means = [trained.clip_posterior(one).loc for one in (clip, whole, clip._replace(fill="rest"))]
    assert torch.equal(means[0], means[1])
    assert not torch.equal(means[0], means[2])
    for piece in (trained.reconstruct_clip(clip), *trained.vary(clip, 0.0)):
        assert onsets(piece) == onsets(trained.reconstruct_clip(whole), 0, BAR)
        assert piece.get_end_time() <= BAR * 60 / 90 / 4 + 1e-6


@pytest.mark.parametrize("kind", ["melody", "tracks"])
def test_new_music_is_in_120_where_no_tempo_is_given(kind):
    trained = model(kind)
    bars = trained.converter.bars
    pieces = [*trained.sample(1, seed=0, qpm=None), *trained.sample_clips(1, bars, seed=0, qpm=None)]
    pieces += [*trained.sample(1, seed=0), *trained.sample_clips(1, bars, seed=0)]
    assert [piece.get_tempo_changes()[1].round(3).tolist() for piece in pieces] == [[120]] * 4


@pytest.mark.parametrize("kind", ["melody", "drums"])
def test_a_rest_inside_a_clip_stays(kind):
    clip = clip_of(kind, bars=6)
    labels = clip.labels.copy()
    labels[2 * BAR : 4 * BAR] = 0
    if kind == "melody":
        labels[2 * BAR - 2] = 1  # a note-off before the rest
    midi = model(kind).reconstruct_clip(clip._replace(labels=labels))
    step = 60 / 90 / 4
    spans = [(n[2] / step, n[3] / step) for n in notes(midi)]
    assert [s for s in spans if s[0] < 4 * BAR - 0.1 and s[1] > 2 * BAR + 0.1] == []
    assert any(s[0] < 2 * BAR for s in spans)
    assert any(s[0] > 4 * BAR - 0.1 for s in spans)


def test_bars_in_which_a_piano_only_holds_its_chord_have_no_other_note():
    clip = clip_of("piano", bars=4)
    held = clip.labels.copy()
    held[2 * BAR :] = 0  # the last chord of the bars before goes on
    silent = held.copy()
    silent[2 * BAR] = 1  # or ends
    chord, step = {n[1] for n in notes(written(model("piano"), clip._replace(labels=held))) if n[3] > 10}, 60 / 90 / 4
    assert len(chord) == 3
    for labels, allowed in ((held, chord), (silent, set())):
        midi = model("piano").reconstruct_clip(clip._replace(labels=labels))
        assert onsets(midi, 0, 2 * BAR)
        assert onsets(midi, 2 * BAR) == []
        assert {n[1] for n in notes(midi) if n[3] > (2 * BAR + 0.1) * step} <= allowed


def test_windows_of_a_piano_are_joined_to_a_clip():
    trained = model("piano")
    windows = made_songs(trained.converter, windows=3, songs=1).windows([0, 1, 2])
    midi = written(trained, trained.clip(windows))
    for k in range(3):
        assert onsets(midi, 2 * k * BAR, 2 * (k + 1) * BAR) == onsets(trained.converter.from_arrays(windows.labels[k]))


def test_a_clip_keeps_tempo_and_program_unless_others_are_given():
    trained, clip = model("melody"), clip_of("melody")._replace(program=11)
    own, other = trained.reconstruct_clip(clip), trained.reconstruct_clip(clip, qpm=140, program=5)
    assert [own.instruments[0].program, other.instruments[0].program] == [11, 5]
    assert [midi.get_tempo_changes()[1].round(1).tolist() for midi in (own, other)] == [[90], [140]]


def test_windows_are_joined_to_a_clip():
    trained = model("chords")
    windows = made_songs(trained.converter, windows=3, songs=1).windows([0, 1, 2])
    clip = trained.clip(windows)
    np.testing.assert_array_equal(clip.labels, np.asarray(windows.labels).ravel())
    np.testing.assert_array_equal(clip.chords, np.asarray(windows.controls).ravel())
    assert trained.clip(clip) is clip


# ---- Generate and continue ----


@pytest.mark.parametrize("kind", ["melody", "drums", "trio", "groove", "piano"])
@pytest.mark.parametrize("bars", [1, 5])
def test_samples_have_any_number_of_bars(kind, bars):
    pieces = model(kind).sample_clips(2, bars, seed=3, qpm=90)
    assert len(pieces) == 2
    assert notes(pieces[0]) != notes(pieces[1])
    assert max(map(bars_of, pieces)) <= bars
    assert max(map(bars_of, pieces)) >= bars - 1
    again = model(kind).sample_clips(2, bars, seed=3, qpm=90)
    assert [notes(midi) for midi in again] == [notes(midi) for midi in pieces]


def test_without_variation_every_window_is_the_first():
    (midi,) = model("melody").sample_clips(1, 4, variation=0, temperature=0, seed=0)
    assert onsets(midi, 0, 32) == onsets(midi, 32) != []
    (other,) = model("melody").sample_clips(1, 4, variation=1, temperature=0, seed=0)
    assert onsets(other, 0, 32) == onsets(midi, 0, 32)
    assert onsets(other, 32) != onsets(midi, 32)


@pytest.mark.parametrize("kind", ["melody", "drums", "groove", "chords", "piano"])
@pytest.mark.parametrize("bars", [1, 5])
def test_a_clip_goes_on_after_its_own_bars(kind, bars):
    trained, clip = model(kind), clip_of(kind, bars)
    pieces = trained.continue_clip(clip, 3, 2, seed=0)
    end, own = bars * BAR, onsets(written(trained, clip))
    for midi in pieces:
        assert onsets(midi, 0, end) == own
        assert onsets(midi, end)
        assert bars_of(midi) <= bars + 3
    assert notes(pieces[0]) != notes(pieces[1])
    assert [notes(m) for m in trained.continue_clip(clip, 3, 2, seed=0)] == [notes(m) for m in pieces]


def test_without_variation_a_clip_goes_on_as_its_reconstruction():
    trained, clip = model("melody"), clip_of("melody", bars=4)
    (midi,) = trained.continue_clip(clip, 4, variation=0, temperature=0)
    assert onsets(midi, 4 * BAR) == onsets(trained.reconstruct_clip(clip)) != []


def test_a_silent_window_is_not_continued():
    trained, labels = model("drums"), clip_of("drums", bars=6).labels.copy()
    labels[2 * BAR : 4 * BAR] = 0
    (midi,) = trained.continue_clip(Clip(labels), 4, variation=0, temperature=0)
    again = trained.reconstruct_clip(Clip(labels))
    assert onsets(midi, 6 * BAR, 8 * BAR) == onsets(again, 0, 2 * BAR) != []
    assert onsets(midi, 8 * BAR) == onsets(again, 4 * BAR) != []


def test_a_clip_of_one_long_note_goes_on_from_its_window_with_the_onset():
    trained, labels = model("melody"), np.zeros(3 * BAR, np.uint8)
    labels[4] = 40
    (midi,) = trained.continue_clip(Clip(labels), 2, variation=0, temperature=0)
    looped = Clip(np.concatenate([labels, labels])[: 4 * BAR])
    assert onsets(midi, 3 * BAR) == onsets(trained.reconstruct_clip(looped), 0, 2 * BAR) != []


def test_a_piece_keeps_the_name_of_the_clips_track_unless_its_program_changes():
    trained, midi = model("melody"), PrettyMIDI(initial_tempo=120)
    midi.instruments.append(Instrument(0, name="lead"))
    midi.instruments[0].notes = [Note(90, 60 + k, k * 0.5, k * 0.5 + 0.5) for k in range(16)]
    assert trained.reconstruct_clip(midi).instruments[0].name == "lead"
    assert trained.continue_clip(midi, 2, seed=0)[0].instruments[0].name == "lead"
    assert trained.reconstruct_clip(midi, program=73).instruments[0].name == ""
    assert model("tap").drumify(midi).instruments[0].name == ""
    midi.instruments[0].name = "メロディ"
    assert trained.reconstruct_clip(midi).instruments[0].name == "????"


def test_the_tracks_of_a_trio_keep_their_names():
    midi = PrettyMIDI(initial_tempo=120)
    for program, name in ((33, "low"), (0, "lead"), (0, "beat")):
        midi.instruments.append(Instrument(program, is_drum=name == "beat", name=name))
        midi.instruments[-1].notes = [Note(90, 38 + k, k * 0.5, k * 0.5 + 0.5) for k in range(4)]
    written = model("trio").reconstruct_clip(midi)
    assert [(track.program, track.name) for track in written.instruments] == [(0, "lead"), (33, "low"), (0, "beat")]


def test_windows_that_cannot_be_joined_are_sampled_at_their_own_length():
    ours, theirs = model("tracks").sample_clips(2, 1, seed=0), model("tracks").sample(2, seed=0)
    assert [notes(midi) for midi in ours] == [notes(midi) for midi in theirs]


def played_song(bars=4, qpm=90.0):
    """A song of two voices on one track, a fifth apart, off the grid and with dynamics; then a rest of four bars."""
    midi, beat = PrettyMIDI(initial_tempo=qpm), 60 / qpm
    midi.instruments = [Instrument(0, name="piano"), Instrument(40, name="other")]
    for k in range(4 * bars):
        for pitch in (60 + k % 5, 67 + k % 5):
            start = (k + 0.04 * (k % 3)) * beat
            midi.instruments[0].notes.append(Note(100 + k % 7, pitch, start, start + 0.7 * beat))
        midi.instruments[1].notes.append(Note(90, 80, k * beat, (k + 1) * beat))
    return midi


def shifted(midi, track=0, move=0.0, stretch=1.0):
    """The notes of a track as it is written, later by `move` seconds after `stretch`."""
    found = [n for n in notes(midi) if n[0] == track]
    return sorted((n[1], round(n[2] * stretch + move, 2), round(n[3] * stretch + move, 2), n[4]) for n in found)


def between(midi, start, end, track=0):
    """The notes of a track as in `shifted` that start in these seconds."""
    return [n for n in shifted(midi, track) if start - 0.05 <= n[1] < end - 0.05]


@pytest.mark.parametrize("qpm", [None, 120.0])
def test_a_clip_that_goes_on_keeps_the_notes_of_its_song(qpm):
    trained, song, tempo = model("melody"), played_song(), qpm or 90
    for midi in trained.continue_clip(song, 4, n=2, seed=0, qpm=qpm):
        end = 16 * 60 / tempo
        assert between(midi, 0, end) == shifted(song, stretch=90 / tempo)
        assert onsets(midi, 4 * BAR)


def loudness(midi, bars=4, qpm=90.0):
    """Steps and velocities of the first track, and the velocities that `played_song` has at the nearest beats."""
    found = sorted((round(n[2] * qpm / 15), n[4]) for n in notes(midi) if n[0] == 0)
    beats = [min((step % (BAR * bars) + 1) // 4, 4 * bars - 1) for step, _ in found]
    return found, [(step, 100 + beat % 7) for (step, _), beat in zip(found, beats, strict=True)]


@pytest.mark.parametrize("kind", ["melody", "piano"])
def test_versions_of_a_clip_have_its_dynamics(kind):
    trained, song = model(kind), played_song()
    versions = [trained.reconstruct_clip(song), *trained.vary(song, 0.5, 2, seed=0)]
    assert {n[4] for midi in versions for n in notes(midi)} == set(range(100, 107))
    for midi in versions:
        found, wanted = loudness(midi)
        assert found == wanted


@pytest.mark.parametrize("tool", ["continue", "interpolate", "compose"])
def test_the_dynamics_of_a_clip_come_again_where_a_piece_goes_on(tool):
    song, long = played_song(), clip_of("melody", 10)
    if tool == "continue":
        pieces = model("melody").continue_clip(song, 6, n=2, seed=0)
    elif tool == "interpolate":
        pieces = model("melody").interpolate_clips([song, long], 3, temperature=0)
    else:
        pieces = composer().compose(10, song, n=2, seed=0)
    for midi in pieces:
        found, wanted = loudness(midi)
        assert found[-1][0] >= 8 * BAR
        assert found == wanted


def test_a_looped_clip_has_its_dynamics_each_time():
    trained = model("melody")
    clip = trained.clip(played_song(bars=1), bars=3, fill="loop")
    found, wanted = loudness(trained.reconstruct_clip(clip), bars=1)
    before_the_next = [k for k, (step, _) in enumerate(found) if step % BAR < 14]
    assert [found[k] for k in before_the_next] == [wanted[k] for k in before_the_next]
    assert found[before_the_next[-1]][0] >= 2 * BAR


def test_a_groove_has_dynamics_of_its_own():
    trained, midi = model("groove"), PrettyMIDI(initial_tempo=120)
    midi.instruments = [Instrument(0, is_drum=True)]
    midi.instruments[0].notes = [Note(1 + k % 3, 36, k / 2, k / 2 + 0.1) for k in range(16)]
    assert min(n[4] for n in notes(trained.groove(midi))) > 3


@pytest.mark.parametrize("kind", ["melody", "piano"])
def test_a_composed_piece_keeps_the_notes_of_its_songs(kind):
    trained, song = composer(kind), played_song()
    other = trained.clip(played_song(qpm=120), start_bar=1, bars=2)
    (midi,) = trained.compose(12, song, other, seed=0)
    step = 60 / 90 / 4
    assert between(midi, 0, 64 * step) == shifted(song)
    wanted = shifted(played_song(qpm=90), move=9 * 16 * step)
    assert between(midi, 160 * step, 192 * step) == [n for n in wanted if 160 * step - 0.05 <= n[1] < 192 * step - 0.05]


def test_drums_of_no_class_stay_in_a_clip_that_goes_on():
    trained, song = model("drums"), PrettyMIDI(initial_tempo=120)
    song.instruments = [Instrument(0, is_drum=True)]
    for k in range(16):
        song.instruments[0].notes += [Note(70, pitch, k / 2, k / 2 + 0.1) for pitch in ((36, 24) if k < 12 else (24,))]
    (midi,) = trained.continue_clip(trained.clip(song, bars=4), 2, seed=0)
    assert between(midi, 0, 8) == shifted(song)
    (looped,) = trained.continue_clip(trained.clip(song, bars=6, fill="loop"), 2, seed=0)  # of three bars with a kick
    first = [n for n in shifted(song) if n[1] < 6]
    assert between(looped, 0, 12) == sorted(first + [(n[0], n[1] + 6, round(n[2] + 6, 2), n[3]) for n in first])


def test_a_voice_that_lasts_longer_than_its_clip_ends_with_it():
    trained, song = model("melody"), PrettyMIDI(initial_tempo=120)
    song.instruments = [Instrument(0)]
    song.instruments[0].notes = [Note(80, 72, 0, 4), Note(80, 48, 0, 8), Note(80, 74, 4, 5.9)]
    (midi,) = trained.continue_clip(trained.clip(song, bars=3), 2, seed=0)
    assert [(n[0], n[2]) for n in between(midi, 0, 6)] == [(48, 6.0), (72, 4.0), (74, 5.9)]


def test_a_note_that_was_played_early_keeps_its_length_and_no_note_starts_before_the_piece():
    trained, song = model("drums"), PrettyMIDI(initial_tempo=120)
    song.instruments = [Instrument(0, is_drum=True)]
    song.instruments[0].notes = [Note(70, 36, k / 2 - 0.01 * (k > 0), k / 2 + 0.005) for k in range(12)]
    clip = trained.clip(song, start_bar=1, bars=2)
    (first,) = trained.continue_clip(clip, 2, seed=0)
    assert between(first, 0, 0.4) == [(36, 0.0, 0.02, 70)]
    (last,) = composer("drums").compose(6, clip, composer("drums").clip(song, start_bar=1, bars=2), seed=0)
    assert [n for n in between(last, 8, 8.3) if n[0] == 36 and n[1] > 7.97] == [(36, 7.99, 8.01, 70)]


def test_one_pitch_of_two_piano_tracks_sounds_once():
    trained, song = model("piano"), PrettyMIDI(initial_tempo=120)
    song.instruments = [Instrument(0), Instrument(1)]
    song.instruments[0].notes = [Note(80, 60, 0, 4)]
    song.instruments[1].notes = [Note(90, 60, 1, 1.5), Note(90, 60, 3, 3.5), Note(90, 64, 3, 3.5)]
    (midi,) = trained.continue_clip(trained.clip(song, bars=2), 2, seed=0)
    assert between(midi, 0, 4) == [(60, 0.0, 1.0, 80), (60, 1.0, 3.0, 90), (60, 3.0, 4.0, 90), (64, 3.0, 3.5, 90)]


def test_a_clip_whose_labels_were_changed_has_no_notes_but_these():
    trained, clip = model("melody"), model("melody").clip(played_song())
    (midi,) = trained.continue_clip(clip._replace(labels=clip.labels[:16].copy()), 2, seed=0)
    found, wanted = loudness(midi)
    assert found == wanted
    assert len(between(midi, 0, 16 * 60 / 90 / 4)) == 4


def test_each_part_of_a_trio_keeps_its_own_notes():
    trained, song = model("trio"), PrettyMIDI(initial_tempo=120)
    song.instruments = [Instrument(0, is_drum=True), Instrument(33), Instrument(0)]
    for k in range(64):
        for track, pitch in enumerate((36, 40, 72)):
            song.instruments[track].notes.append(Note(50 + 20 * track, pitch + track, k / 2, k / 2 + 0.3))
    (midi,) = trained.continue_clip(song, 2, seed=0)
    for written_track, own in enumerate((2, 1, 0)):
        assert between(midi, 0, 32, written_track) == shifted(song, own)


def test_a_looped_clip_repeats_its_own_notes():
    trained, song = model("melody"), played_song(bars=1, qpm=120)
    (midi,) = trained.continue_clip(trained.clip(song, bars=2, fill="loop"), 2, seed=0)
    assert between(midi, 0, 4) == sorted(shifted(song) + shifted(song, move=2.0))


def test_the_pedal_holds_the_notes_of_a_clip():
    trained, song = model("piano"), played_song(qpm=120)
    song.instruments[0].control_changes = [ControlChange(64, 127, 0.0), ControlChange(64, 0, 2.0)]
    (midi,) = trained.continue_clip(song, 2, seed=0)
    first_bar = [n for n in between(midi, 0, 2) if n[0] == 60]
    assert [n[2] for n in first_bar] == [2.0]
    assert between(midi, 2, 8) == [n for n in shifted(song) if n[1] >= 2]


def test_windows_have_no_notes_but_their_labels():
    trained, song = model("melody"), played_song()
    read = trained.clip(trained.converter.to_arrays(song))
    (midi,) = trained.continue_clip(read, 2, seed=0)
    assert {n[4] for n in notes(midi)} == {80}


def test_a_model_that_knows_whole_songs_goes_on_as_they_do():
    trained, song = composer(), played_song()
    for clip in (song, trained.clip(song, bars=3)):
        bars = len(trained.clip(clip).labels) // BAR
        (ours,), (theirs,) = trained.continue_clip(clip, 8, seed=1), trained.compose(bars + 8, clip, seed=1)
        assert notes(ours) == notes(theirs)
    (varied,) = trained.continue_clip(song, 8, variation=0.3, seed=1)
    (plain,) = model("melody").continue_clip(song, 8, seed=1)
    assert notes(varied) == notes(plain)


def test_a_new_piece_begins_with_a_draw_of_the_prior_and_goes_on_as_songs_do():
    trained = composer()
    draws = trained.draw_z(20, seed=1)
    pieces = trained.sample_clips(20, 16, temperature=0.0, seed=1)
    begun = trained.decode(draws, temperature=0)
    assert [onsets(piece, 0, 2 * BAR) for piece in pieces] == [onsets(midi) for midi in begun]
    windows = [trained.clip(piece, bars=16).labels.reshape(8, -1) for piece in pieces]
    assert min(len(np.unique(one, axis=0)) for one in windows) < 8  # at least one comes back


# ---- Interpolate ----


@pytest.mark.parametrize("kind", ["melody", "drums", "chords", "piano"])
def test_a_line_goes_through_all_its_clips(kind):
    trained, clips = model(kind), [clip_of(kind, 4, seed) for seed in range(3)]
    pieces = trained.interpolate_clips(clips, 5, temperature=0)
    for k in range(3):
        assert onsets(pieces[2 * k]) == onsets(trained.reconstruct_clip(clips[k]))
    assert len({str(notes(midi)) for midi in pieces}) >= 3


def test_a_grid_has_its_clips_in_its_corners():
    trained, clips = model("melody"), [clip_of("melody", 2, seed) for seed in range(4)]
    pieces = trained.interpolate_grid(clips, 3, temperature=0)
    assert len(pieces) == 9
    for clip, place in zip(clips, (0, 2, 6, 8), strict=True):
        assert notes(pieces[place]) == notes(trained.reconstruct_clip(clip))
    line = trained.interpolate_clips([clips[0], clips[2]], 3, temperature=0)
    assert notes(pieces[3]) == notes(line[1])


def test_a_shorter_clip_is_repeated_in_an_interpolation():
    trained = model("melody")
    short, long = clip_of("melody", 2, 0), clip_of("melody", 4, 1)
    twice = short._replace(labels=np.concatenate([short.labels, short.labels]))
    ours, theirs = (trained.interpolate_clips([one, long], 3, temperature=0) for one in (short, twice))
    assert [notes(midi) for midi in ours] == [notes(midi) for midi in theirs]


def test_a_window_that_is_silent_in_all_clips_is_silent_between_them():
    trained, clips = model("drums"), []
    for seed in range(2):
        labels = clip_of("drums", 6, seed).labels.copy()
        labels[2 * BAR : 4 * BAR] = 0
        clips.append(Clip(labels))
    (midi,) = trained.interpolate_clips(clips, 3)[1:2]
    assert onsets(midi, 2 * BAR, 4 * BAR) == []
    assert onsets(midi, 0, 2 * BAR) != []
    assert onsets(midi, 4 * BAR) != []


# ---- Groove and drumify ----


def test_a_groove_keeps_the_hits_and_plays_them():
    trained, hits = model("groove"), clip_of("groove", bars=3).labels[:, :9]
    stiff = Clip(np.concatenate([hits, hits * 0.5, hits * 0], 1), qpm=90.0)
    played = trained.groove(stiff)
    straight, step = trained.converter.from_arrays(stiff.labels, qpm=90), 60 / 90 / 4
    pairs = list(zip(sorted(notes(straight)), sorted(notes(played)), strict=True))
    assert all(a[1] == b[1] and abs(a[2] - b[2]) < step / 2 for a, b in pairs)
    assert len({b[4] for _, b in pairs}) > 3
    assert max(abs(a[2] - b[2]) for a, b in pairs) > step / 100


def test_strength_is_the_share_of_the_models_feel():
    trained, clip = model("groove"), clip_of("groove", bars=3)
    none, half, whole = (sorted(notes(trained.groove(clip, strength))) for strength in (0, 0.5, 1))
    assert none == sorted(notes(trained.converter.from_arrays(clip.labels, qpm=90)))
    for a, b, c in zip(none, half, whole, strict=True):
        assert b[2] == pytest.approx((a[2] + c[2]) / 2, abs=2e-3) or a[2] == 0  # a note cannot start before 0
        assert b[4] == pytest.approx((a[4] + c[4]) / 2, abs=1)


def test_a_groove_can_keep_its_velocities():
    trained, clip = model("groove"), clip_of("groove", bars=3)
    straight, timed = (sorted(notes(trained.groove(clip, s, keep_velocities=True))) for s in (0, 1))
    assert [note[4] for note in timed] == [note[4] for note in straight]
    assert max(abs(a[2] - b[2]) for a, b in zip(straight, timed, strict=True)) > 1e-3


def test_claps_stay_claps():
    """The written pitch of their class is that of a snare."""
    midi = PrettyMIDI(initial_tempo=120)
    midi.instruments = [Instrument(0, is_drum=True)]
    for bar in range(4):
        beats = [(0, 36, 110), (1, 39, 90), (2, 36, 100), (3, 39, 90)]
        midi.instruments[0].notes += [
            Note(velocity, pitch, 2 * bar + beat / 2, 2 * bar + beat / 2 + 0.1) for beat, pitch, velocity in beats
        ]
    groove = model("groove").groove(midi)
    assert {note.pitch for note in groove.instruments[0].notes} == {36, 39}
    continued = model("drums").continue_clip(midi, 2, seed=0)[0].instruments[0].notes
    assert len([note for note in continued if note.start > 8]) > 3
    assert 38 not in {note.pitch for note in continued}


def test_a_looped_clip_repeats_the_chords_of_its_song():
    trained, midi = model("chords"), PrettyMIDI(initial_tempo=120)
    midi.instruments = [Instrument(0), Instrument(48)]
    for bar, chord in enumerate([(48, 52, 55), (45, 48, 52)]):
        midi.instruments[0].notes.append(Note(80, 76, 2 * bar, 2 * bar + 1.5))
        midi.instruments[1].notes += [Note(80, pitch, 2 * bar, 2 * bar + 2) for pitch in chord]
    once, twice = (trained.clip(midi, chords="song", bars=bars, fill="loop").chords for bars in (2, 4))
    assert len(set(once)) == 2
    assert np.array_equal(np.tile(once, 2), twice)
    midi.instruments[0].notes.append(Note(80, 76, 8, 9.5))  # in bar 5, after the clip
    assert np.array_equal(trained.clip(midi, chords="song", bars=4, fill="loop").chords, twice)
    midi.time_signature_changes = [TimeSignature(4, 4, 0), TimeSignature(3, 4, 8)]
    assert np.array_equal(trained.clip(midi, chords="song", bars=2, fill="loop").chords, once)


@pytest.mark.parametrize("count", [1, 3])
def test_a_change_of_z_keeps_the_number_of_windows(count):
    with pytest.raises(ValueError, match="change must return a z per window"):
        model("melody").reconstruct_clip(clip_of("melody", bars=4), change=lambda z: z[:1].expand(count, -1))


def test_drums_are_played_to_the_onsets_of_any_track():
    trained, midi = model("tap"), PrettyMIDI(initial_tempo=100)
    bass = Instrument(33)
    bass.notes = [Note(90, 40, k * 0.6, k * 0.6 + 0.3) for k in range(13)]
    midi.instruments += [Instrument(0), bass]
    drums = trained.drumify(midi)
    assert drums.instruments[0].is_drum
    assert drums.instruments[0].program == 0
    assert notes(drums)
    assert bars_of(drums) <= 4
    sparse = trained.drumify(trained.clip(midi, bars=1, rhythm=True))
    assert bars_of(sparse) == 1
    bass.notes = [note for note in bass.notes if int(note.start / 0.6) % 3]
    assert notes(trained.drumify(midi)) != notes(drums)


def test_a_pulse_adds_a_hi_hat_where_no_cymbal_plays():
    trained, midi = model("tap"), PrettyMIDI(initial_tempo=120)
    midi.instruments.append(Instrument(0))
    steps = (0, 1, 4, 6, 10, 16, 17, 24)
    midi.instruments[0].notes = [Note(90, 60, step * 0.125, step * 0.125 + 0.1) for step in steps]

    def played(**options):
        hits = trained.drumify(midi, temperature=1.0, seed=3, **options).instruments[0].notes
        return {(round(note.start / 0.125), note.pitch) for note in hits}

    plain = played()
    assert {step for step, _ in plain} == set(steps)
    cymbals = {step for step, pitch in plain if pitch in (42, 46, 49, 51)}
    assert cymbals & set(range(0, 32, 2))
    for pulse in (4, 2):
        assert played(pulse=pulse) == plain | {(step, 42) for step in range(0, 32, pulse) if step not in cymbals}
    with pytest.raises(ValueError, match="pulse must be"):
        trained.drumify(midi, pulse=0)


def as_windows(kind, count=4):
    """Windows of a data set of grooves, and their posterior means."""
    trained = model(kind)
    labels = made_songs(trained.converter, windows=count, songs=1).labels
    windows = Windows(labels, np.full(count, trained.converter.steps, np.int32))
    return windows, trained.encode(windows).mu


@torch.no_grad()
def forced(kind, z, labels):
    """The logits of a model that is fed labels."""
    return model(kind).model.decode(z, torch.as_tensor(labels, dtype=z.dtype)).numpy()


def test_a_groove_is_fed_with_its_own_feel_once():
    windows, z = as_windows("groove")
    once = with_feel(windows.labels, forced("groove", z, windows.labels))
    twice = with_feel(windows.labels, forced("groove", z, once))
    np.testing.assert_allclose(model("groove").humanized(windows), twice, atol=1e-5)
    assert np.abs(once - twice).max() > 0.01


def test_drums_are_what_the_model_plays_after_them():
    """Fed with the drums, it gives their hits again, as a decoder does that plays step by step."""
    windows, z = as_windows("tap")
    taps = windows.labels[..., :9].any(-1)
    played = model("tap").drummed(windows)
    again = on_taps(taps, forced("tap", z, played), temperature=0.0, uniforms=np.zeros(0))
    np.testing.assert_array_equal(again[..., :9], played[..., :9])


def test_hits_are_the_controls_of_a_model_that_takes_them():
    assert notes(model("hits").reconstruct_clip(clip_of("hits", bars=3)))


# ---- Chords ----


def test_chords_are_followed_and_written_as_text():
    midi = model("chords").sample_clips(1, 3, chords="Am7 Dm7 | G7", seed=0)[0]
    assert [(text.text, text.time) for text in midi.text_events] == [
        ("Am", 0), ("Dm", 1), ("G", 2), ("Am", 4), ("Dm", 5),
    ]  # fmt: skip
    other = model("chords").sample_clips(1, 3, chords="F#", seed=0)[0]
    assert notes(other) != notes(midi)


def test_a_clip_is_decoded_under_other_chords_from_the_z_of_its_own():
    trained = model("chords")
    song = trained.converter.from_arrays(clip_of("chords", 2).labels)
    clip = trained.clip(song, chords="C | F")
    own, same, other = (trained.reconstruct_clip(clip, chords=chords) for chords in (None, "C | F", "G"))
    assert notes(own) == notes(same) != notes(other)
    assert [text.text for text in other.text_events] == ["G"]
    windows = Windows(clip.labels[None], np.array([32]), clip.chords[None])
    z = trained.encode(windows).mu
    (wanted,) = trained.decode(z, controls=["G"], temperature=0)
    assert onsets(other) == onsets(wanted)


def test_a_clip_with_chords_goes_on_with_them_or_with_others():
    trained = model("chords")
    song = trained.converter.from_arrays(clip_of("chords", 2).labels)
    clip = trained.clip(song, chords="C | F")
    assert clip.chords[[0, 16]].tolist() == [chord_class("C"), chord_class("F")]
    own, other = (trained.continue_clip(clip, 2, chords=chords, seed=0)[0] for chords in (None, "G"))
    assert [text.text for text in own.text_events] == ["C", "F", "C", "F"]
    assert [text.text for text in other.text_events] == ["C", "F", "G"]


# ---- What is refused ----


@pytest.mark.parametrize(
    ("kind", "call", "words"),
    [
        ("melody", lambda t, c: t.sample_clips(0, 2), "n must be a whole number of at least 1"),
        ("melody", lambda t, c: t.sample_clips(1, 0), "bars must be a whole number of at least 1"),
        ("melody", lambda t, c: t.sample_clips(1, 5000), "bars must be at most 1,024"),
        ("melody", lambda t, c: t.sample_clips(1, 4, variation=1.5), "variation must be a number from 0 to 1, got 1.5"),
        ("melody", lambda t, c: t.sample_clips(1, 4, chords="C"), "does not follow chords: omit them"),
        ("chords", lambda t, c: t.sample_clips(1, 4), "follows chords: give them as text"),
        ("chords", lambda t, c: t.sample_clips(1, 4, chords="C | H"), "'H' at character 5, bar 2"),
        ("tracks", lambda t, c: t.sample_clips(1, 4), "cannot be joined: make pieces of 1 bar, without chords"),
        ("melody", lambda t, c: t.continue_clip(c, -1), "bars must be a whole number"),
        ("melody", lambda t, c: t.continue_clip(c, 2, 0), "n must be a whole number"),
        ("melody", lambda t, c: t.continue_clip(c, 2, variation=-0.1), "variation must be a number from 0 to 1"),
        ("melody", lambda t, c: t.interpolate_clips([c], 3), "clips must be a list of two or more"),
        ("melody", lambda t, c: t.interpolate_clips(c, 3), "clips must be a list of two or more"),
        ("melody", lambda t, c: t.interpolate_clips([c, PrettyMIDI()], 3), "clip 2 of 2: the file has no notes"),
        ("melody", lambda t, c: t.interpolate_clips([c, c], 0), "num_steps must be a whole number"),
        ("melody", lambda t, c: t.interpolate_grid([c, c, c], 3), "a grid has four corners, got 3 clips"),
        ("melody", lambda t, c: t.interpolate_grid([c] * 4, 1), "size must be a whole number of at least 2"),
        (
            "melody",
            lambda t, c: t.groove(c),
            r"groove needs a model such as groove_humanize of pretrained/ \(--model groove_humanize\); this one",
        ),
        ("tap", lambda t, c: t.groove(c), "groove needs a model such as groove_humanize"),
        ("groove", lambda t, c: t.groove(c, 1.2), "strength must be a number from 0 to 1, got 1.2"),
        ("groove", lambda t, c: t.drumify(c), "drumify needs a model such as groove_tap"),
        ("melody", lambda t, c: t.clip(PrettyMIDI(), rhythm=True), "drumify needs a model"),
        ("melody", lambda t, c: t.clip(c, bars=1), "track, start_bar, bars, fill, chords are for songs"),
        ("melody", lambda t, c: t.clip(as_windows("melody")[0], fill="loop"), "are for songs: windows and clips"),
        ("tap", lambda t, c: t.drumify(PrettyMIDI()), "the file has no notes: take another one"),
        ("drums", lambda t, c: t.clip(torch.zeros(3)), "a song must be a PrettyMIDI or the path"),
        ("drums", lambda t, c: t.reconstruct_clip("no.mid"), "no.mid"),
    ],
)
def test_what_a_tool_cannot_do_is_named_with_the_remedy(kind, call, words):
    clip = None if kind == "tracks" else clip_of(kind)
    with pytest.raises(ValueError, match=words):
        call(model(kind), clip)


# ---- Longer pieces ----


@cache
def composer(kind="melody"):
    """A model with a sequence prior, fitted to songs AABA of two windows a part."""
    trained = untrained(PRESETS[kind])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prior.sequence, "CHOICE_UPDATES", 200)
        trained.fit_sequence_prior([song_of("ABABCDAB", seed=seed, kind=kind) for seed in range(12)])
    return trained


def song_of(form, seed=0, kind="melody"):
    """A clip of made windows in a form such as 'AABA'."""
    converter = model(kind).config.converter
    made = converter.as_line(made_songs(converter, windows=len(set(form)), songs=1, seed=seed).labels)
    letters = sorted(set(form))
    return Clip(np.concatenate([made[letters.index(letter)] for letter in form]), qpm=90.0)


def test_a_composed_piece_has_its_length_and_repeats_with_its_seed():
    pieces = [composer().compose(15, n=2, temperature=0.5, seed=3) for _ in range(2)]
    assert [notes(one) for one in pieces[0]] == [notes(one) for one in pieces[1]]
    assert notes(pieces[0][0]) != notes(pieces[0][1])
    assert all(bars_of(one) <= 15 for one in pieces[0])


def test_windows_of_one_code_have_the_same_notes():
    """At temperature 1, so that two decodings of a code would differ."""
    trained = composer()
    lines = [trained.clip(one, bars=32).labels.reshape(16, -1) for one in trained.compose(32, n=5, seed=0)]
    repeated = [len(np.unique(line, axis=0)) for line in lines]
    assert max(repeated) < 16


@pytest.mark.parametrize("kind", ["melody", "drums", "piano"])
def test_a_composed_piece_keeps_its_start_and_its_end(kind):
    trained, start, end = composer(kind), clip_of(kind, bars=5), clip_of(kind, bars=4, seed=1)
    (piece,) = trained.compose(16, start, end, seed=0)
    for clip, first in ((start, 0), (end, 12)):
        own = onsets(written(trained, clip))
        assert onsets(piece, first * BAR, first * BAR + len(clip.labels)) == own
    assert onsets(piece, 5 * BAR, 12 * BAR)
    assert piece.get_tempo_changes()[1].round(2).tolist() == [90]


def test_a_repeated_window_of_the_start_is_the_starts_own():
    """The start is A B; songs of this prior go on with A B. An untrained decoder would not find its notes again."""
    trained, start = composer(), song_of("AB", seed=3)
    pieces = trained.compose(8, start, n=8, seed=0)
    again = [onsets(piece, 4 * BAR, 8 * BAR) == onsets(piece, 0, 4 * BAR) for piece in pieces]
    assert any(again)


@pytest.mark.parametrize("kind", ["melody", "drums", "piano"])
def test_windows_that_come_back_show_in_the_form_of_a_piece(kind):
    """At temperature 1 an untrained decoder gives equal bars for equal codes alone."""
    trained = composer(kind)
    lines = [trained.clip(piece, bars=16).labels for piece in trained.compose(16, n=5, seed=0)]
    forms = np.array([self_similarity(line[None]) for line in lines])
    assert (np.isnan(forms) | (forms >= 0) & (forms <= 1)).all()
    assert ((forms == 1).sum((1, 2)) > 16).any()


def test_composing_says_what_is_missing():
    start = clip_of("melody", bars=5)
    with pytest.raises(ValueError, match="fit one with trained.fit_sequence_prior"):
        untrained(PRESETS["melody"]).compose(8)
    with pytest.raises(ValueError, match="start has 5 bars and end has 5 bars, which leaves no new bar of 10"):
        composer().compose(10, start, start)
    with pytest.raises(ValueError, match="follows chords, and compose does not"):
        model("chords").compose(8)
    with pytest.raises(ValueError, match="cannot be joined"):
        model("tracks").fit_sequence_prior([])
    with pytest.raises(ValueError, match="none of 1 song can be used:\n  nowhere.mid: there is no"):
        model("melody").fit_sequence_prior(["nowhere.mid"])
    with pytest.raises(ValueError, match="there is no MIDI file in .*: give whole songs"):
        model("melody").fit_sequence_prior([])
    with pytest.raises(ValueError, match="a SongDataset keeps equal windows only once"):
        model("melody").fit_sequence_prior(made_songs(model("melody").config.converter))


def test_a_folder_of_songs_is_read_whole(tmp_path):
    trained = untrained(PRESETS["melody"])
    for seed in range(3):
        trained.converter.from_arrays(song_of("ABAB", seed).labels).write(str(tmp_path / f"{seed}.mid"))
    (tmp_path / "broken.mid").write_bytes(b"MThd")
    with pytest.warns(UserWarning, match="1 of 4 songs left out:\n  .*broken.mid: cut off"):
        clips = whole_songs(tmp_path, trained.converter)
    assert [len(clip.labels) for clip in clips] == [8 * BAR] * 3
    assert all(np.array_equal(*clip.labels.reshape(2, -1)[:, :-8]) for clip in clips)
