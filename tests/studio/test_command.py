"""python generate.py TOOL: files named for what they are, of exact length, and errors in one line."""

import itertools
import json
import re
import shlex
import shutil
from copy import deepcopy
from pathlib import Path

import mido
import numpy as np
import pytest
import torch
from pretty_midi import Instrument, Note, PrettyMIDI, TimeSignature

import generate
import prior
from generate import TrainedModel, main
from helpers import made_clip, made_songs, untrained
from midi_utils import load_midi
from studio import clip_tools, command
from studio.command import parse_arguments
from studio.directions import Directions
from studio.tools import TOOLS, file_name

PRESETS = {
    "mel": "cat-mel_2bar_tiny",
    "chords": "cat-mel_2bar_chords_tiny",
    "drums": "cat-drums_2bar_tiny",
    "piano": "piano_2bar_tiny",
    "trio": "hierdec-trio_16bar_tiny",
    "groove": "groovae_2bar_humanize",
    "tap": "groovae_2bar_tap_fixed_velocity",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a model of each kind and with clips; tests only read it."""
    place = tmp_path_factory.mktemp("studio")
    for name, preset in PRESETS.items():
        untrained(preset).save(place / f"{name}.pt")
    for kind in ("mel", "drums"):
        converter = untrained(PRESETS[kind]).converter
        for k, name in enumerate("abcd"):
            labels = made_songs(converter, windows=2, songs=1, seed=k).labels[:, : 24 if k else 32].ravel()
            converter.from_arrays(labels, qpm=90).write(str(place / f"{kind}_{name}.mid"))
    return place


@pytest.fixture
def studio(folder, tmp_path, monkeypatch, capsys):
    """A function: runs a tool into a new folder and returns the files that it wrote, by name."""
    monkeypatch.setattr(command, "PRETRAINED", folder)
    folders = (tmp_path / f"out{k}" for k in itertools.count())

    def run(*words):
        out = next(folders)
        try:
            main([*map(str, words), "--out", str(out)])
        finally:
            printed = capsys.readouterr()
            run.heard = printed.err
        written = [Path(line) for line in printed.out.splitlines()]
        assert sorted(written) == sorted(out.iterdir())
        return {path.stem if path.suffix == ".mid" else path.name: path for path in written}

    return run


def bars_in(path):
    """The bars, of 4/4, after which every track of a file ends."""
    file = mido.MidiFile(path)
    assert file.type == 1
    assert all(track[-1].type == "end_of_track" for track in file.tracks)
    (length,) = {sum(event.time for event in track) for track in file.tracks}
    return length / file.ticks_per_beat / 4


def first_track(path):
    return load_midi(path).instruments[0]


# ---- What each tool writes ----


def test_generate_writes_pieces_of_the_length_that_is_asked_for(studio, folder):
    files = studio("generate", "--model", "mel", "--count", 3, "--bars", 5, "--seed", 4)
    assert list(files) == [f"mel_5bars_seed4_{k}" for k in (1, 2, 3)]
    assert [bars_in(path) for path in files.values()] == [5, 5, 5]
    assert len({path.read_bytes() for path in files.values()}) == 3


def test_new_pieces_are_moved_into_a_key(studio, composer):
    words = "--model", composer, "--bars", 10, "--seed", 1
    for tool, name in (("generate", "composer"), ("compose", "composer_composed")):
        (drawn,), (moved,) = studio(tool, *words).values(), studio(tool, *words, "--key", "F#m").values()
        assert moved.stem == f"{name}_10bars_Fsharp_minor_seed1_1"
        drawn, moved = load_midi(drawn), load_midi(moved)
        assert [key.key_number for key in moved.key_signature_changes] == [18]
        before, after = ([note.pitch for note in midi.instruments[0].notes] for midi in (drawn, moved))
        assert len(set(np.subtract(after, before))) == 1


@pytest.fixture(scope="module")
def composer(tmp_path_factory):
    """The path of a model with a sequence prior, fitted to scales."""
    trained, path = untrained(PRESETS["mel"]), tmp_path_factory.mktemp("composer") / "composer.pt"
    trained.fit_sequence_prior([made_clip(trained.converter, bars=12, seed=k) for k in range(3)])
    trained.save(path)
    return path


def test_compose_writes_new_long_pieces(studio, composer):
    files = studio("compose", "--model", composer, "--bars", 10, "--count", 2, "--seed", 1)
    assert list(files) == ["composer_composed_10bars_seed1_1", "composer_composed_10bars_seed1_2"]
    assert [bars_in(path) for path in files.values()] == [10, 10]
    assert len({path.read_bytes() for path in files.values()}) == 2


@pytest.mark.parametrize(("clips", "name"), [("a", "mel_a"), ("ab", "mel_a_to_mel_b")])
def test_compose_goes_on_from_a_clip_or_between_two(clips, name, studio, folder, composer):
    clips = [folder / f"mel_{clip}.mid" for clip in clips]
    ((stem, path),) = studio("compose", *clips, "--model", composer, "--bars", 14, "--seed", 1).items()
    assert (stem, bars_in(path)) == (f"{name}_composed_14bars_composer_seed1_1", 14)
    own, first = ([(round(note.start, 3), note.pitch) for note in first_track(one).notes] for one in (path, clips[0]))
    assert own[: len(first)] == first
    last = [note.pitch for note in first_track(clips[-1]).notes]
    assert len(clips) == 1 or [pitch for _, pitch in own][-len(last) :] == last


def test_compose_takes_the_form_of_the_songs_in_a_folder(studio, folder, tmp_path):
    converter = untrained(PRESETS["mel"]).converter
    songs = tmp_path / "songs"
    songs.mkdir()
    for k in range(3):
        labels = made_clip(converter, bars=12, seed=k).labels
        converter.from_arrays(labels).write(str(songs / f"{k}.mid"))
    files = studio("compose", "--model", "mel", "--songs", songs, "--bars", 8, "--seed", 2)
    assert [bars_in(path) for path in files.values()] == [8]
    for path in songs.iterdir():
        halved = load_midi(path)
        halved.time_signature_changes = [TimeSignature(2, 4, 0)]
        halved.write(str(path))
    with pytest.raises(SystemExit, match="no notes in 4/4: take two bars as one .*--pair-bars"):
        studio("compose", "--model", "mel", "--songs", songs, "--bars", 8, "--seed", 2)
    paired = studio("compose", "--model", "mel", "--songs", songs, "--bars", 8, "--seed", 2, "--pair-bars")
    assert [path.read_bytes() for path in paired.values()] == [path.read_bytes() for path in files.values()]


def test_compose_says_what_it_lacks(studio, folder, tmp_path):
    with pytest.raises(SystemExit, match="mel.pt was fitted to no whole songs: give a folder of MIDI files as --songs"):
        studio("compose", "--model", "mel")
    with pytest.raises(SystemExit, match="a piece has a clip at its start and one at its end, got 3 clips"):
        studio("compose", *[folder / "mel_a.mid"] * 3, "--model", "mel")
    with pytest.raises(SystemExit, match="chords_tiny, which follows chords, and compose takes none: choose another"):
        studio("compose", "--model", "chords")
    assert not list(tmp_path.iterdir())


def test_a_seed_is_drawn_shown_and_repeats_the_piece(studio):
    ((name, path),) = studio("generate", "--model", "mel").items()
    assert bars_in(path) == 2  # the model's own length
    seed = studio.heard.split("seed ")[1].split()[0]
    assert name == f"mel_2bars_seed{seed}_1"
    before = path.read_bytes()
    assert studio("generate", "--model", "mel", "--seed", seed)[name].read_bytes() == before


def test_generate_takes_a_path_and_a_model_of_three_tracks(studio, folder):
    ((name, path),) = studio("generate", "--model", folder / "trio.pt", "--bars", 4, "--seed", 0).items()
    assert name == "trio_4bars_seed0_1"
    assert bars_in(path) == 4
    assert [track.name for track in load_midi(path).instruments][-1] == "Drums"


def test_generate_writes_chords_as_text(studio):
    (path,) = studio("generate", "--model", "chords", "--bars", 2, "--chords", "Am | F", "--seed", 0).values()
    assert [text.text for text in load_midi(path).text_events] == ["Am", "F"]


def test_reharmonize_writes_the_new_chords(studio, folder):
    words = ("reharmonize", folder / "mel_a.mid", "--model", "chords", "--chords", "Am | F")
    ((name, path),) = studio(*words).items()
    assert (name, bars_in(path)) == ("mel_a_reharmonized_chords_Am_F", 4)
    assert [text.text for text in load_midi(path).text_events] == ["Am", "F", "Am", "F"]


def test_a_chord_track_plays_the_chords(studio, folder):
    words = ("--model", "chords", "--chords", "Am | F", "--chord-track", "--swing", 60, "--velocity", 100, "--page")
    path, _ = studio("reharmonize", folder / "mel_a.mid", *words).values()
    _, chords = load_midi(path).instruments
    bar = 4 * 60 / 90
    assert [round(note.start / bar, 3) for note in chords.notes] == [0] * 3 + [1] * 3 + [2] * 3 + [3] * 3
    assert {note.pitch for note in chords.notes if note.start < bar / 2} == {57, 48, 52}
    assert (chords.name, {note.velocity for note in chords.notes}) == ("Chords", {70})
    assert round(chords.notes[-1].end / bar, 3) == bars_in(path) == 4


def test_the_chords_of_the_clips_own_song_are_followed(studio, folder, tmp_path):
    midi = load_midi(folder / "mel_a.mid")
    midi.instruments.append(Instrument(48))
    for start, end, chord in ((0, 4, (45, 48, 52)), (4, 16, (41, 45, 48))):
        midi.instruments[1].notes += [Note(80, pitch, start / 1.5, end / 1.5) for pitch in chord]
    midi.write(str(tmp_path / "song.mid"))
    (path,) = studio("reconstruct", tmp_path / "song.mid", "--model", "chords", "--chords", "song").values()
    assert [text.text for text in load_midi(path).text_events] == ["Am", "F"]
    words = ("continue", tmp_path / "song.mid", "--model", "chords", "--seed", 0, "--chords")
    (path,) = studio(*words, "C | G", "--bars", 2).values()
    assert [text.text for text in load_midi(path).text_events] == ["Am", "F", "C", "G"]
    (path,) = studio(*words, "song", "--bars", 4).values()
    assert [text.text for text in load_midi(path).text_events] == ["Am", "F", "Am", "F"]
    midi.time_signature_changes = [TimeSignature(8, 8, 0)]  # in which chords are not estimated
    midi.write(str(tmp_path / "song.mid"))
    (path,) = studio(*words, "C | G", "--bars", 2).values()
    assert [text.text for text in load_midi(path).text_events] == ["C", "G"] * 3
    assert "the clip is read under --chords, too: no chords named, and none guessed in 8/8" in studio.heard


def test_continue_starts_with_the_clip(studio, folder):
    clip = folder / "mel_b.mid"
    files = studio("continue", clip, "--model", "mel", "--bars", 3, "--count", 2, "--seed", 1)
    assert list(files) == [f"mel_b_continued_3bars_mel_seed1_{k}" for k in (1, 2)]
    assert [bars_in(path) for path in files.values()] == [6, 6]
    own = [(n.pitch, round(n.start, 3)) for n in first_track(clip).notes]
    for path in files.values():
        assert [(n.pitch, round(n.start, 3)) for n in first_track(path).notes][: len(own)] == own
    assert (
        f"{clip}: bars 1 to 3, track 0, 90 quarters per minute; it has track 0 (program 0, Acoustic Grand Piano)"
        in studio.heard
    )


def test_pieces_that_only_repeat_their_clip_are_told(studio, folder, composer, monkeypatch):
    clip, words = folder / "mel_b.mid", ("--model", composer, "--seed", 1, "--bars")
    told = ": the new bars repeat windows of the clip: "
    for repeats in (True, False):

        def drawn(prior, count, source, start, repeats=repeats):
            return type(start)(start.z[:1].repeat(count, 1) + (not repeats), start.sounds[:1].repeat(count))

        monkeypatch.setattr(prior.SequencePrior, "draw", drawn)
        ((name, _),) = studio("continue", clip, *words, 4).items()
        assert (f"{name}{told}--variation 0.3 makes new ones\n" in studio.heard) == repeats
        ((name, _),) = studio("compose", clip, *words, 6).items()
        assert (f"{name}{told}another --seed may make new ones\n" in studio.heard) == repeats
        studio("continue", clip, *words, 4, "--variation", 0)
        assert told not in studio.heard


def test_interpolate_writes_a_line_through_clips_of_any_length(studio, folder):
    clips = [folder / f"mel_{name}.mid" for name in "abc"]
    files = studio("interpolate", *clips, "--steps", 5, "--model", "mel", "--seed", 0)
    assert list(files) == [f"mel_a_to_mel_c_mel_{k}of5" for k in range(1, 6)]
    assert {bars_in(path) for path in files.values()} == {4}


@pytest.mark.parametrize("sides", [("--steps", 3), ("--grid", 2)])
def test_an_interpolation_is_joined_to_one_file(sides, studio, folder):
    clips = [folder / f"mel_{name}.mid" for name in "abcd"]
    words = "interpolate", *clips, *sides, "--model", "mel", "--seed", 0
    apart, ((stem, path),) = studio(*words), studio(*words, "--joined").items()
    assert (stem, bars_in(path)) == (f"mel_a_to_mel_d_mel_{len(apart)}joined", 4 * len(apart))
    bars = [(note.pitch, note.start) for note in first_track(path).notes]
    each = 4 * 4 * 60 / 90
    alone = [(n.pitch, n.start + k * each) for k, one in enumerate(apart.values()) for n in first_track(one).notes]
    assert [pitch for pitch, _ in bars] == [pitch for pitch, _ in alone]
    assert [start for _, start in bars] == pytest.approx([start for _, start in alone], abs=0.01)


def test_a_page_plays_the_pieces_that_were_made(studio, folder):
    words = "generate", "--model", "mel", "--count", 2, "--bars", 3, "--seed", 4
    files = studio(*words, "--page")
    assert list(files) == ["mel_3bars_seed4_1", "mel_3bars_seed4_2", "mel_3bars_seed4_1.html"]
    page = json.loads(re.search(r'id="data">(.*?)</script>', list(files.values())[-1].read_text(), re.S)[1])
    assert [piece["name"] for piece in page["pieces"]] == list(files)[:2]
    for piece, path in zip(page["pieces"], files.values(), strict=False):
        assert [note[2] for note in piece["parts"][0]["notes"]] == [note.pitch for note in first_track(path).notes]
        assert len(piece["bars"]) == 3


def test_interpolate_writes_a_grid_of_four_corners(studio, folder):
    clips = [folder / f"mel_{name}.mid" for name in "abcd"]
    files = studio("interpolate", *clips, "--grid", 2, "--model", "mel", "--seed", 0)
    assert list(files) == [f"mel_a_to_mel_d_mel_row{r}_column{c}" for r in (1, 2) for c in (1, 2)]


def test_vary_writes_versions_as_long_as_the_clip(studio, folder):
    clip = folder / "mel_b.mid"
    files = studio("vary", clip, "--amount", 0.5, "--count", 2, "--model", "mel", "--seed", 1)
    assert list(files) == ["mel_b_varied0.5_mel_seed1_1", "mel_b_varied0.5_mel_seed1_2"]
    assert {bars_in(path) for path in files.values()} == {3}
    assert len({path.read_bytes() for path in files.values()}) == 2
    for path in files.values():
        assert load_midi(path).get_tempo_changes()[1].round(2).tolist() == [90]


def test_personalize_writes_pieces_in_the_tempo_of_the_first_song(studio, folder, monkeypatch):
    monkeypatch.setattr(prior.personal, "PERSONAL_UPDATES", 5)
    songs = [folder / f"mel_{name}.mid" for name in "abcd"]
    words = ("--dial", 0.1, "--count", 2, "--bars", 3, "--model", "mel", "--seed", 1)
    files = studio("personalize", *songs, *words)
    assert list(files) == [f"mel_a_personalized_3bars_mel_dial0.1_seed1_{k}" for k in (1, 2)]
    assert {bars_in(path) for path in files.values()} == {3}
    for path in files.values():
        assert load_midi(path).get_tempo_changes()[1].round(2).tolist() == [90]
    other = studio("personalize", *songs, *words, "--tempo", 77)
    assert {load_midi(path).get_tempo_changes()[1].round(2).tolist()[0] for path in other.values()} == {77}


def test_personalize_takes_a_folder_and_leaves_out_what_does_not_fit(studio, folder, tmp_path, monkeypatch):
    monkeypatch.setattr(prior.personal, "PERSONAL_UPDATES", 5)
    songs = tmp_path / "mine"
    songs.mkdir()
    for name in "abcd":
        shutil.copy(folder / f"mel_{name}.mid", songs)
    words = ("--count", 1, "--model", "mel", "--seed", 1)
    (named,) = studio("personalize", *sorted(songs.iterdir()), *words).values()
    shutil.copy(folder / "drums_a.mid", songs)
    (songs / "broken.mid").write_bytes(b"MThd")
    (piece,) = studio("personalize", songs, *words).values()
    assert piece.name == "mine_personalized_2bars_mel_seed1_1.mid"
    assert piece.read_bytes() == named.read_bytes()
    for name in ("broken.mid", "drums_a.mid"):
        assert re.search(f"^left out: .*{name}: ", studio.heard, re.M)


def test_a_named_file_that_does_not_fit_is_an_error_beside_a_folder(studio, folder, tmp_path):
    shutil.copy(folder / "mel_a.mid", tmp_path)
    for name in ("none.mid", "drums_a.mid"):
        with pytest.raises(SystemExit, match=f"error: .*{name}: "):
            studio("personalize", tmp_path, folder / name, "--model", "mel")


def test_a_file_that_is_left_out_does_not_swing_the_pieces(studio, folder, swung_beat, tmp_path, monkeypatch):
    monkeypatch.setattr(prior.personal, "PERSONAL_UPDATES", 5)
    words, songs = ("--model", "mel", "--seed", 1), tmp_path / "mine"
    songs.mkdir()
    for name in "abcd":
        shutil.copy(folder / f"mel_{name}.mid", songs)
    (straight,) = studio("personalize", songs, *words).values()
    beat = load_midi(swung_beat)
    for track in beat.instruments:
        track.is_drum = True
    beat.write(str(songs / "a_beat.mid"))
    (piece,) = studio("personalize", songs, *words, "--straighten").values()
    assert "a_beat.mid: swing of" in studio.heard
    assert re.search("^left out: .*a_beat.mid", studio.heard, re.M)
    assert piece.read_bytes() == straight.read_bytes()


def test_a_personal_groove_keeps_the_velocities_of_the_model(studio, folder, monkeypatch):
    monkeypatch.setattr(prior.personal, "PERSONAL_UPDATES", 5)
    songs = [folder / f"drums_{name}.mid" for name in "abcd"]
    monkeypatch.setattr(clip_tools, "with_dynamics", lambda *_: pytest.fail("its velocities are replaced"))
    assert studio("personalize", *songs, "--model", "groove", "--seed", 1)


def test_a_folder_without_a_clip_is_named(studio, folder, tmp_path):
    shutil.copy(folder / "drums_a.mid", tmp_path)
    with pytest.raises(SystemExit, match=f"error: no clip for this model in {tmp_path}"):
        studio("personalize", tmp_path, "--model", "mel")


def test_personalized_pieces_have_the_dynamics_of_the_first_song(studio, folder, tmp_path, monkeypatch):
    monkeypatch.setattr(prior.personal, "PERSONAL_UPDATES", 5)
    songs = [folder / f"mel_{name}.mid" for name in "abcd"]
    loud = load_midi(songs[0])
    for note in loud.instruments[0].notes:
        note.velocity = 115
    loud.write(str(tmp_path / "loud.mid"))
    (piece,) = studio("personalize", tmp_path / "loud.mid", *songs[1:], "--model", "mel", "--seed", 1).values()
    assert {note.velocity for note in first_track(piece).notes} == {115}


def test_a_personal_model_is_saved_and_used_by_other_tools(studio, folder, tmp_path, monkeypatch):
    monkeypatch.setattr(prior.personal, "PERSONAL_UPDATES", 5)
    songs = [folder / f"mel_{name}.mid" for name in "abcd"]
    made = studio("personalize", *songs, "--model", "mel", "--seed", 1, "--save", tmp_path / "me.pt")
    again = studio("generate", "--model", tmp_path / "me.pt", "--seed", 1, "--tempo", 90)
    ours, theirs = ([note.pitch for note in first_track(path).notes] for (path,) in (made.values(), again.values()))
    assert ours == theirs
    ((name, path),) = studio("generate", "--model", tmp_path / "me.pt", "--seed", 1, "--dial", 1).items()
    assert name == "me_2bars_dial1_seed1_1"
    assert [note.pitch for note in first_track(path).notes] != theirs
    studio("personalize", *songs, "--model", "mel", "--programs", "all", "--save", tmp_path / "all.pt")
    assert TrainedModel.load(tmp_path / "all.pt").converter.programs is None
    with pytest.raises(SystemExit, match="cannot be written: it is no place for a file"):
        studio("personalize", *songs, "--model", "mel", "--save", tmp_path)


def test_groove_plays_drums_and_strength_0_leaves_them(studio, folder):
    clip = folder / "drums_b.mid"
    (path,) = studio("groove", clip, "--model", "groove").values()
    assert path.stem == "drums_b_groove"
    assert bars_in(path) == 3
    played = [(n.pitch, n.start, n.velocity) for n in first_track(path).notes]
    (path,) = studio("groove", clip, "--model", "groove", "--strength", 0).values()
    left = [(n.pitch, round(n.start, 3), n.velocity) for n in first_track(path).notes]
    assert sorted(left) == sorted((n.pitch, round(n.start, 3), n.velocity) for n in first_track(clip).notes)
    assert len(played) == len(left)
    assert len({velocity for *_, velocity in played}) > 1


def test_drumify_with_a_pulse_plays_more_and_names_its_file(studio, folder):
    clip = folder / "mel_a.mid"
    (plain,), (path,) = (
        studio("drumify", clip, "--model", "tap", "--on-grid", *pulse).values() for pulse in ((), ("--pulse", "16th"))
    )
    assert path.stem == "mel_a_drums_pulse16th_tap"
    assert len({n.start for n in first_track(path).notes}) == 64 > len({n.start for n in first_track(plain).notes})


def test_drumify_draws_several_pieces(studio, folder):
    words = ("drumify", folder / "mel_a.mid", "--model", "tap", "--temperature", 1, "--count", 2, "--seed", 3)
    files = studio(*words)
    assert list(files) == [f"mel_a_drums_tap_temperature1_seed3_{k}" for k in (1, 2)]
    assert len({tuple(note.pitch for note in first_track(path).notes) for path in files.values()}) == 2


def test_drumify_makes_drums_of_a_melody(studio, folder):
    (path,) = studio("drumify", folder / "mel_a.mid", "--model", "tap", "--on-grid").values()
    assert path.stem == "mel_a_drums_tap"
    assert bars_in(path) == 4
    track = first_track(path)
    assert track.is_drum
    assert {n.velocity for n in track.notes} == {80}
    step = 60 / 90 / 4
    assert max(abs(n.start / step - round(n.start / step)) for n in track.notes) < 0.01


def test_reconstruct_takes_a_part_of_a_song(studio, folder):
    words = ("--model", "mel", "--from-bar", 2, "--clip-bars", 5, "--fill", "loop")
    (path,) = studio("reconstruct", folder / "mel_a.mid", *words).values()
    assert path.stem == "mel_a_reconstructed_mel_frombar2_clipbars5"
    assert bars_in(path) == 5
    assert "bars 2 to 6" in studio.heard


def test_the_longest_stretch_in_the_models_metre_is_named(studio, folder, tmp_path):
    midi = load_midi(folder / "mel_a.mid")  # four bars of four quarters each
    midi.time_signature_changes = [TimeSignature(2, 4, 0), TimeSignature(4, 4, 4 / 1.5)]
    midi.write(str(tmp_path / "song.mid"))
    (path,) = studio("reconstruct", tmp_path / "song.mid", "--model", "mel").values()
    assert bars_in(path) == 3
    stretch = "bars 3 to 5, the longest stretch in 4/4; --pair-bars takes its 2/4, too, track 0, 90"
    left_out = "the other bars are left out; a pickup bar is kept where rests fill it to a whole bar\n"
    assert f"song.mid: {stretch}" in studio.heard
    assert left_out in studio.heard
    studio("reconstruct", tmp_path / "song.mid", "--model", "mel", "--from-bar", 3)
    assert "song.mid: bars 3 to 5, track 0, 90" in studio.heard
    assert left_out not in studio.heard


def test_bars_beyond_the_end_of_a_song_are_told(studio, folder):
    words = "reconstruct", folder / "mel_a.mid", "--model", "mel", "--from-bar", 3, "--clip-bars"
    told = "the song ends with bar 4: rests follow; --fill loop repeats the clip\n"
    heard = [studio(*words, *more) and studio.heard for more in ((3,), (2,), (3, "--fill", "loop"))]
    assert [told in one for one in heard] == [True, False, False]


def test_a_file_that_was_drawn_has_its_seed_in_its_name(studio, folder):
    words = "reconstruct", folder / "mel_a.mid", "--model", "mel", "--temperature", 1, "--seed", 7
    assert list(studio(*words)) == ["mel_a_reconstructed_mel_temperature1_seed7"]


def test_a_piece_never_replaces_another_one(studio, folder, tmp_path):
    """The second run is louder; the third makes the piece of the first again."""
    words = "reconstruct", folder / "mel_a.mid", "--model", "mel", "--out", tmp_path / "twice"
    for velocity in (50, 90, 50):
        main([*map(str, words), "--velocity", str(velocity)])
    written = sorted((tmp_path / "twice").iterdir())
    assert [path.name for path in written] == ["mel_a_reconstructed_mel (2).mid", "mel_a_reconstructed_mel.mid"]
    assert written[0].read_bytes() != written[1].read_bytes()


def test_options_that_are_not_the_tools_own_are_in_a_name(studio, folder):
    words = "continue", folder / "mel_a.mid", "--model", "mel", "--bars", 2, "--seed", 1, "--variation", 0.2
    (name,) = studio(*words, "--temperature", 0.8)
    assert name == "mel_a_continued_2bars_mel_variation0.2_temperature0.8_seed1_1"
    assert list(studio(*words, "--temperature", 0.5)) == ["mel_a_continued_2bars_mel_variation0.2_seed1_1"]


def test_the_part_that_is_taken_and_the_chords_are_in_a_name(studio, folder):
    words = folder / "mel_a.mid", "--track", 0, "--from-bar", 2, "--model"
    part = "track0_frombar2"
    assert list(studio("reconstruct", *words, "mel")) == [f"mel_a_reconstructed_mel_{part}"]
    assert list(studio("reharmonize", *words, "chords", "--chords", "F#m7 | C/E")) == [
        f"mel_a_reharmonized_chords_{part}_Fsharpm7_C_E"
    ]


def test_each_clip_can_have_a_track_of_its_own(studio, folder, tmp_path):
    both = load_midi(folder / "mel_a.mid")
    both.instruments = [deepcopy(load_midi(folder / "mel_b.mid").instruments[0]), both.instruments[0]]
    both.write(str(tmp_path / "both.mid"))
    words = "interpolate", tmp_path / "both.mid", folder / "mel_c.mid", "--model", "mel", "--steps", 2
    studio(*words, "--track", 1, "--track", 0)
    assert "both.mid: bars 1 to 4, track 1, 90" in studio.heard
    assert "mel_c.mid: bars 1 to 3, track 0, 90" in studio.heard
    with pytest.raises(SystemExit, match="error: give --track once, or once for each of 2 clips: got 3"):
        studio(*words, "--track", 1, "--track", 0, "--track", 0)


def test_of_tracks_of_one_name_the_first_that_the_model_plays_is_taken(studio, folder, tmp_path):
    song = load_midi(folder / "mel_a.mid")
    song.instruments = [load_midi(folder / "drums_a.mid").instruments[0], song.instruments[0]]
    for track in song.instruments:
        track.name = "Song"
    song.write(str(tmp_path / "song.mid"))
    for model, track in (("mel", 1), ("drums", 0)):
        studio("reconstruct", tmp_path / "song.mid", "--model", model, "--track", "song")
        assert f"track {track}, 90" in studio.heard


def test_a_rhythm_of_drums_is_told(studio, folder, tmp_path):
    song = load_midi(folder / "mel_a.mid")
    song.instruments = [load_midi(folder / "drums_a.mid").instruments[0], song.instruments[0]]
    song.write(str(tmp_path / "song.mid"))
    told = "the rhythm is that of the drums: --track 1 takes another"
    for words, is_told in (((), True), (("--track", 0), False)):
        studio("drumify", tmp_path / "song.mid", "--model", "tap", *words)
        assert (told in studio.heard) == is_told
    studio("drumify", folder / "drums_a.mid", "--model", "tap")
    assert "the rhythm is that of the drums" not in studio.heard


def test_pieces_differ_or_the_command_says_that_they_do_not(studio, folder, monkeypatch):
    words = "vary", folder / "mel_a.mid", "--model", "mel", "--count", 3, "--seed", 1
    pieces = [load_midi(folder / f"mel_{name}.mid") for name in "aabc"]
    drawn = iter(pieces)
    monkeypatch.setattr(TrainedModel, "vary", lambda *_, **__: [next(drawn)])
    files = studio(*words)
    assert "the same notes as in an earlier piece" not in studio.heard
    assert len({path.read_bytes() for path in files.values()}) == 3
    monkeypatch.setattr(TrainedModel, "vary", lambda *_, **__: pieces[:1])
    names = list(studio(*words))
    told = ": the same notes as in an earlier piece: a larger --variation, --amount or --temperature makes others\n"
    assert [f"{name}{told}" in studio.heard for name in names] == [False, True, True]


def test_a_piece_that_repeats_its_clip_is_drawn_again(studio, folder, composer, monkeypatch):
    """The first draw repeats the windows of the clip, the second does not."""
    shifts = iter((0, 1))

    def drawn(prior, count, source, start):
        return type(start)(start.z[:1].repeat(count, 1) + next(shifts), start.sounds[:1].repeat(count))

    monkeypatch.setattr(prior.SequencePrior, "draw", drawn)
    studio("continue", folder / "mel_b.mid", "--model", composer, "--seed", 1, "--bars", 4)
    assert "repeat windows" not in studio.heard
    assert next(shifts, None) is None


def test_a_clip_is_moved_along_a_direction(studio, folder, tmp_path):
    trained = TrainedModel.load(folder / "mel.pt")
    path = tmp_path / "mel.pt"
    trained.save(path)
    words = "reconstruct", folder / "mel_a.mid", "--model", path
    with pytest.raises(SystemExit, match="mel.pt has no directions: take --model mel_2bar_low, or write .*mel_direc"):
        studio(*words, "--direction", "up=1")
    directions = Directions(trained, {"up": torch.full((trained.model.config.z_size,), 3.0)})
    directions.save(tmp_path / "mel_directions.json")
    ((name, moved),) = studio(*words, "--direction", "up=-1.5").items()
    assert name == "mel_a_reconstructed_mel_up-1.5"
    wanted = directions.apply(folder / "mel_a.mid", up=-1.5)
    assert [n.pitch for n in first_track(moved).notes] == [n.pitch for n in wanted.instruments[0].notes]
    with pytest.raises(SystemExit, match="error: there is no direction 'ub': did you mean 'up'"):
        studio(*words, "--direction", "ub=1")
    with pytest.raises(SystemExit, match="2"):
        studio(*words, "--direction", "up")
    assert "give NAME=STRENGTH, such as note_density=1, not up" in studio.heard


def test_a_file_that_cannot_be_written_is_named(folder, tmp_path, monkeypatch):
    def full(midi, path, bars):
        path.write_bytes(b"MThd")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(command, "write_midi", full)
    monkeypatch.setattr(command, "PRETRAINED", folder)
    with pytest.raises(SystemExit, match="mel_2bars_seed1_1.mid cannot be written .No space left on device.: give"):
        main(["generate", "--model", "mel", "--seed", "1", "--out", str(tmp_path / "out")])
    assert not list((tmp_path / "out").iterdir())


def test_a_model_is_found_by_its_name_its_files_name_and_its_path(tmp_path, monkeypatch):
    published, own = tmp_path / "pretrained", tmp_path / "own"
    for folder in (published, own):
        folder.mkdir()
        (folder / "a.pt").touch()
    monkeypatch.setattr(command, "PRETRAINED", published)
    assert command.find_model("a") == command.find_model("a.pt") == published / "a.pt"
    assert command.find_model(str(own / "a.pt")) == own / "a.pt"
    (own / "a").mkdir()
    monkeypatch.chdir(own)
    assert command.find_model("a") == published / "a.pt"


def test_the_model_that_a_tool_uses_by_default_is_not_in_a_name():
    options = parse_arguments(["vary", "song.mid", "--seed", "3"])
    options.path = Path("mel_2bar_low.pt")
    assert file_name(options, "song", "varied0.3") == "song_varied0.3_seed3"


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["generate", "--temprature", "0.9"], "generate: error: there is no option --temprature; did you mean --temp"),
        (["vary", "a.mid", "--amonut=0.9"], "vary: error: there is no option --amonut; did you mean --amount?"),
        (["compose", "--qqq"], "compose: error: there is no option --qqq\n"),
        (["compose", "--dial", "0"], "compose has no option --dial, as generate, continue, vary, personalize have"),
        (["drumify", "a.mid", "--chord-track"], "drumify has no option --chord-track, as generate, continue,"),
        (["--page", "generate"], "generate: error: --page comes after generate"),
        (["generate", "song.mid"], "generate: error: generate takes no clip: unexpected song.mid"),
        (["vary", "a.mid", "b.mid"], "vary: error: vary takes one clip: unexpected b.mid"),
        (["compose", "a.mid", "--bars", "9", "b.mid"], "compose takes its clips side by side: unexpected b.mid"),
    ],
)
def test_an_argument_that_a_tool_does_not_know_ends_with_its_own_usage(words, error, capsys):
    with pytest.raises(SystemExit):
        parse_arguments(words)
    said = capsys.readouterr().err
    assert error in said
    assert re.match(rf"usage: \S+ {'generate' if 'generate' in words else words[0]} ", said)


@pytest.mark.parametrize("fill", ["rest", "loop"])
@pytest.mark.parametrize(
    ("words", "lengths"),
    [
        (["reconstruct", "b", "--clip-bars", 5], {"b_reconstructed_piano_clipbars5": 5}),
        (["continue", "a", "--bars", 2, "--seed", 0], {"a_continued_2bars_piano_seed0_1": 3}),
        (["interpolate", "a", "b", "--steps", 2, "--seed", 0], {"a_to_b_piano_1of2": 3, "a_to_b_piano_2of2": 3}),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_loops_of_a_piano_are_clips(words, lengths, fill, studio, tmp_path):
    for name, beats in (("a", 4), ("b", 12)):
        loop = PrettyMIDI(initial_tempo=90)
        loop.instruments.append(Instrument(4))
        for beat in range(beats):
            chord, end = (60, 64, 67) if beat % 2 else (48,), min(beat + 2, beats)
            loop.instruments[0].notes += [Note(70, pitch, beat / 1.5, end / 1.5) for pitch in chord]
        loop.write(str(tmp_path / f"{name}.mid"))
    files = studio(
        *(tmp_path / f"{word}.mid" if word in ("a", "b") else word for word in words),
        "--model",
        "piano",
        "--fill",
        fill,
    )
    assert {name: bars_in(path) for name, path in files.items()} == lengths
    for path in files.values():
        assert first_track(path).program == 4
        assert first_track(path).notes


def test_the_files_fit_a_project(studio):
    words = ("--tempo", 84, "--program", "electric piano 1", "--velocity", 66, "--swing", 66, "--seed", 0)
    (path,) = studio("generate", "--model", "mel", *words).values()
    midi = load_midi(path)
    assert midi.get_tempo_changes()[1].round(2).tolist() == [84]
    assert [(track.program, track.name) for track in midi.instruments] == [(4, "Electric Piano 1")]
    assert {note.velocity for note in midi.instruments[0].notes} == {66}
    places = {round(note.start / (60 / 84), 2) for note in midi.instruments[0].notes}
    assert {round(place % 1, 2) for place in places} <= {0, 0.33, 0.66, 0.83}


def test_a_drum_map_of_ones_own_is_written(studio):
    plain = studio("generate", "--model", "drums", "--seed", 0)
    (before,) = ([note.pitch for note in first_track(path).notes] for path in plain.values())
    mapped = studio("generate", "--model", "drums", "--seed", 0, "--drum-map", f"{before[0]}=99", "hand clap=98")
    (after,) = ([note.pitch for note in first_track(path).notes] for path in mapped.values())
    assert sorted(after) == sorted(99 if pitch == before[0] else pitch for pitch in before)


@pytest.fixture
def swung_beat(tmp_path):
    """Drums of two bars on the wrong channel and pitch, in triplets."""
    midi = PrettyMIDI(initial_tempo=100)
    midi.instruments = [Instrument(0, name="Tune"), Instrument(0, name="Beat")]
    midi.instruments[0].notes = [Note(80, 72, 0, 0.5)]
    midi.instruments[1].notes = [Note(80, 60, 0.6 * k + d, 0.6 * k + d + 0.1) for k in range(8) for d in (0, 0.4)]
    midi.write(str(tmp_path / "beat.mid"))
    return tmp_path / "beat.mid"


def quarters_of(path):
    return [round(note.start / 0.6, 2) for note in first_track(path).notes]


def test_a_page_plays_general_midis_drums_whatever_the_files_have(studio):
    words = "generate", "--model", "drums", "--seed", 1, "--drum-map", "36=60", "38=60", "42=60", "--page"
    midi, page = studio(*words).values()
    data = json.loads(re.search(r'id="data">(.*?)</script>', page.read_text(), re.S)[1])
    assert 60 in {note.pitch for note in first_track(midi).notes}
    assert 60 not in {note[2] for note in data["pieces"][0]["parts"][0]["notes"]}


@pytest.mark.parametrize("choice", [["--drum-track", "beat"], ["--drum-track", 1], ["--track", 1]])
def test_drums_of_any_track_and_pitch_are_straightened_and_swung_again(choice, studio, swung_beat):
    words = (swung_beat, "--model", "groove", "--strength", 0, "--input-drum-map", "60=36", "--straighten", *choice)
    (path,) = studio("groove", *words).values()
    assert {(note.pitch, first_track(path).is_drum) for note in first_track(path).notes} == {(36, True)}
    assert quarters_of(path)[:4] == [0, 0.67, 1, 1.67]
    assert "swing of 67 per cent of a pair of 8ths" in studio.heard
    (path,) = studio("groove", *words, "--swing", 50).values()
    assert quarters_of(path)[:4] == [0, 0.5, 1, 1.5]


def test_a_swung_song_in_half_bars_is_straightened_and_read_in_pairs(studio, swung_beat, tmp_path):
    beat = load_midi(swung_beat)
    beat.time_signature_changes = [TimeSignature(2, 4, 0)]
    beat.write(str(tmp_path / "polka.mid"))
    words = ("--model", "groove", "--strength", 0, "--input-drum-map", "60=36", "--drum-track", "beat")
    (path,) = studio("groove", tmp_path / "polka.mid", *words, "--straighten", "--pair-bars").values()
    assert quarters_of(path)[:4] == [0, 0.67, 1, 1.67]


def test_a_song_in_half_bars_is_read_in_pairs_if_the_command_asks_for_it(studio, folder, tmp_path):
    polka, words = load_midi(folder / "mel_a.mid"), ("reconstruct", tmp_path / "polka.mid", "--model", "mel")
    polka.time_signature_changes = [TimeSignature(2, 4, 0)]
    polka.write(str(tmp_path / "polka.mid"))
    with pytest.raises(SystemExit, match="polka.mid: the song is in 2/4 at bar 1, the model in 4/4; .* --pair-bars"):
        studio(*words)
    (paired,) = studio(*words, "--pair-bars", "--from-bar", 2).values()
    assert "polka.mid: bars 2 to 4, track 0" in studio.heard
    (plain,) = studio("reconstruct", folder / "mel_a.mid", "--model", "mel", "--from-bar", 2).values()
    assert paired.read_bytes() == plain.read_bytes()


def test_a_track_is_named(studio, folder, tmp_path):
    midi = load_midi(folder / "mel_a.mid")
    midi.instruments.append(Instrument(70, name="Lead"))
    midi.instruments[1].notes = [Note(80, 50, 0, 1)]
    midi.write(str(tmp_path / "two.mid"))
    studio("reconstruct", tmp_path / "two.mid", "--model", "mel", "--track", "lead")
    assert "track 1, " in studio.heard
    assert "track 1 'Lead' (program 70, Bassoon)" in studio.heard
    with pytest.raises(SystemExit, match="two.mid: there is no track 'solo'; the song has track 0"):
        studio("reconstruct", tmp_path / "two.mid", "--model", "mel", "--track", "solo")
    midi.instruments[0].name = "1"  # a number is an index first
    midi.write(str(tmp_path / "two.mid"))
    studio("reconstruct", tmp_path / "two.mid", "--model", "mel", "--track", "1")
    assert "track 1, " in studio.heard


def test_pitched_tracks_that_were_passed_over_are_told(studio, folder, tmp_path):
    midi = load_midi(folder / "mel_a.mid")
    midi.instruments = [Instrument(0, is_drum=True), Instrument(68), Instrument(52), *midi.instruments]
    for track in midi.instruments[:3]:
        track.notes = [Note(80, 60, 0, 1)]
    midi.write(str(tmp_path / "song.mid"))
    words = "reconstruct", tmp_path / "song.mid", "--model"
    studio(*words, "mel")
    told = "passed over: track 1 (program 68 is not in 0-31), track 2 (program 52 is not in 0-31); --track 1 takes the"
    assert told in studio.heard
    studio(*words, "mel", "--programs", "52")
    assert "passed over: track 1 (program 68 is not in 52); --track 1 takes it\n" in studio.heard
    for more in (("mel", "--track", 3), ("drums",)):
        studio(*words, *more)
        assert "passed over" not in studio.heard


def test_what_models_of_several_tracks_refuse_and_lack_is_told(studio, tmp_path):
    midi = PrettyMIDI(initial_tempo=90)
    midi.instruments = [Instrument(80, name="lead"), Instrument(0), Instrument(33), Instrument(0, True), Instrument(48)]
    for track, pitches in zip(midi.instruments, [[72], [60, 64, 67], [36], [36], [50]], strict=True):
        track.notes = [Note(80, pitch, beat / 1.5, (beat + 1) / 1.5) for beat in range(4) for pitch in pitches]
    midi.write(str(tmp_path / "pop.mid"))
    words = "reconstruct", tmp_path / "pop.mid", "--model"
    lead = "the melody of a trio is the first track with a program from 0 to 31: give the lead one, or take a model of"
    studio(*words, "trio")
    told = "passed over: track 0 (program 80 is not in 0-39), track 4 (program 48 is not in 0-39)"
    assert f"{told}; {lead} melodies (--model mel_16bar with --track)\n" in studio.heard
    assert "track 1: 4 of 12 notes are read, one per sixteenth, the highest; for chords, take a" in studio.heard
    assert "track 2: " not in studio.heard.replace("track 2 (", "")
    studio(*words, "piano")
    told = "passed over: track 0 (program 80 is not in 0-31), track 2 (program 33 is not in 0-31), track 4 (program 48"
    assert f"{told} is not in 0-31); --programs all takes them\n" in studio.heard
    assert "notes are read" not in studio.heard
    for more, omitted in ((("--track", "lead"), r"track \(--track\)"), (("--programs", "all"), "--programs")):
        with pytest.raises(SystemExit, match=f"tracks, by their programs: omit {omitted}; {lead}"):
            studio(*words, "trio", *more)


def test_the_tracks_of_a_song_are_listed_up_to_a_dozen(studio, folder, tmp_path):
    midi = load_midi(folder / "mel_a.mid")
    midi.instruments += [Instrument(40 + k) for k in range(14)]
    for track in midi.instruments[1:]:
        track.notes = [Note(80, 60, 0, 1)]
    midi.instruments = midi.instruments[1:] + midi.instruments[:1]
    midi.write(str(tmp_path / "song.mid"))
    studio("reconstruct", tmp_path / "song.mid", "--model", "mel")
    assert "track 11 (program 51, Synth Strings 2) and 3 more\n" in studio.heard
    assert "track 11 (program 51 is not in 0-31) and 2 more; --track 0 takes the first\n" in studio.heard


@pytest.mark.parametrize(("model", "more"), [("mel", "; for chords, take a piano model, such"), ("chords", "\n")])
def test_notes_that_a_melody_lacks_are_told(model, more, studio, tmp_path):
    midi = PrettyMIDI(initial_tempo=90)
    midi.instruments.append(Instrument(0))
    midi.instruments[0].notes = [Note(80, 60 + k, k / 1.5, (k + 1) / 1.5) for k in range(7)]
    words = "reconstruct", tmp_path / "song.mid", *("--model", model), *(("--chords", "C") if model == "chords" else ())
    for added, told in ((3, False), (4, True)):
        midi.instruments[0].notes[7:] = [Note(80, 50, k / 1.5, (k + 1) / 1.5) for k in range(added)]
        midi.write(str(tmp_path / "song.mid"))
        studio(*words)
        assert (f"7 of {7 + added} notes are read, one per sixteenth, the highest{more}" in studio.heard) == told


def test_notes_off_the_grid_and_swing_are_told(studio, swung_beat, tmp_path):
    swings = "the song has a swing of 67 per cent of a pair of 8ths"
    plain = "without --straighten the new notes are on the grid"
    words = "reconstruct", swung_beat, "--model", "mel", "--track", 1
    studio(*words)
    kept = "--straighten reads the song straight and puts the swing back into the files"
    assert f"47% of the song's onsets lie off the grid of sixteenths; {swings}: {plain}; {kept}\n" in studio.heard
    studio(*words, "--straighten")
    assert "off the grid" not in studio.heard
    studio("groove", swung_beat, "--model", "groove", "--track", 1)
    assert f"{swings}: --straighten keeps it\n" in studio.heard
    studio("drumify", swung_beat, "--model", "tap", "--track", 1)
    assert "swing of" not in studio.heard
    late = load_midi(swung_beat)
    for note in late.instruments[1].notes:
        note.start += 0.04
    late.write(str(tmp_path / "late.mid"))
    remedy = "for a recording without bars, set bars and tempo in a sequencer first"
    for more in ((), ("--straighten",)):
        studio("reconstruct", tmp_path / "late.mid", "--model", "mel", "--track", 1, *more)
        assert f"off the grid of sixteenths; the model reads them on the nearest sixteenth; {remedy}\n" in studio.heard
        assert (f"{tmp_path / 'late.mid'}: no swing to take out\n" in studio.heard) == bool(more)


def test_a_line_has_five_pieces_by_default(studio, folder, capsys):
    words = ("interpolate", folder / "mel_a.mid", folder / "mel_b.mid", "--model", "mel", "--seed", 0)
    assert len(studio(*words)) == 5
    with pytest.raises(SystemExit):
        command.parse_arguments(["interpolate", "a.mid", "b.mid", "--steps", "5", "--grid", "3"])
    assert "not allowed with argument" in capsys.readouterr().err


def test_the_programs_that_fit_are_chosen(studio, folder, tmp_path):
    midi = load_midi(folder / "mel_a.mid")
    midi.instruments.append(Instrument(70))
    midi.instruments[1].notes = [Note(80, 50, 0, 1)]
    midi.write(str(tmp_path / "two.mid"))
    studio("reconstruct", tmp_path / "two.mid", "--model", "mel", "--programs", "64-71")
    assert "bars 1 to 1, track 1" in studio.heard


@pytest.mark.parametrize("drums", [False, True])
def test_a_songs_only_track_of_notes_is_taken_whatever_its_program_is(drums, studio, folder, tmp_path):
    midi = load_midi(folder / "mel_a.mid")
    midi.instruments[0].program = 73
    if drums:
        midi.instruments.insert(0, Instrument(0, is_drum=True))
        midi.instruments[0].notes = [Note(80, 36, 0, 1)]
    midi.write(str(tmp_path / "flute.mid"))
    (path,) = studio("reconstruct", tmp_path / "flute.mid", "--model", "mel").values()
    assert first_track(path).program == 73
    midi.instruments.append(Instrument(70))
    midi.instruments[-1].notes = [Note(80, 50, 0, 1)]
    midi.write(str(tmp_path / "two.mid"))
    with pytest.raises(SystemExit, match="no track with a program in 0-31; it has programs 70, 73"):
        studio("reconstruct", tmp_path / "two.mid", "--model", "mel")


# ---- Help and errors ----


def test_help_shows_an_example_of_every_tool(capsys):
    with pytest.raises(SystemExit):
        parse_arguments(["--help"])
    text = capsys.readouterr().out
    for name, tool in TOOLS.items():
        assert f"python generate.py {name} {tool.example}" in text


@pytest.mark.parametrize("name", TOOLS)
def test_the_example_of_a_tool_is_in_its_help_and_is_accepted(name, capsys):
    assert parse_arguments([name, *shlex.split(TOOLS[name].example)]).tool == name
    with pytest.raises(SystemExit):
        parse_arguments([name, "--help"])
    assert f"example: python generate.py {name} {TOOLS[name].example}" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["generate", "--model", "none"], "there is no model 'none': give a path, or one of chords, drums, groove"),
        (["groove", "CLIP"], "there is no model 'groove_humanize': give a path, or one of chords, drums, groove"),
        (["generate", "--model", "mel", "--bars", "0"], "bars must be a whole number of at least 1"),
        (["generate", "--model", "mel", "--count", "0"], "count must be a whole number of at least 1"),
        (["generate", "--model", "mel", "--variation", "2"], "variation must be a number from 0 to 1"),
        (["generate", "--model", "mel", "--temperature", "-1"], "temperature must be 0"),
        (["generate", "--model", "mel", "--program", "flut"], "'flut' is no General MIDI program; did you mean Flute"),
        (["generate", "--model", "mel", "--tempo", "2"], "qpm is 2.0; give quarters per minute"),
        (["generate", "--model", "mel", "--swing", "80"], "swing must be a per cent from 50"),
        (["generate", "--model", "mel", "--velocity", "0"], "velocity must be a number from 1 to 127"),
        (["generate", "--model", "drums", "--drum-map", "36"], "--drum-map takes pairs such as 36=60, got '36'"),
        (
            ["generate", "--model", "mel", "--chords", "C"],
            "mel.pt is a model of .*does not follow chords: take --model mel_2bar_chords, or omit --chords$",
        ),
        (["reconstruct", "CLIP", "--model", "mel", "--chords", "C"], "mel.pt is a model of .*, or omit --chords$"),
        (["generate", "--model", "mel", "--chord-track"], "--chord-track plays the chords of --chords: give both, and"),
        (["generate", "--model", "mel", "--dial", "0.5"], "mel.pt has no dial: --dial is for models that personalize"),
        (
            ["generate", "--model", "mel", "--program", "violin", "flute"],
            "mel.pt is a model of .*, which has one track, and --program has 2$",
        ),
        (["generate", "--model", "chords"], 'follows chords: give them, such as --chords "Am7 | G7"$'),
        (["page", "--model", "chords"], "follows chords, and page takes none: choose another --model$"),
        (["generate", "--model", "chords", "--chords", "C | X7"], "'X7' at character 5, bar 2"),
        (["continue", "none.mid", "--model", "mel"], "none.mid: there is no such file"),
        (
            ["continue", "CLIP", "--model", "mel", "--track", "3"],
            "mel_a.mid: there is no track 3; the song has track 0",
        ),
        (["continue", "CLIP", "--model", "mel", "--from-bar", "0"], "from-bar must be a whole number of at least 1"),
        (["continue", "CLIP", "--model", "mel", "--from-bar", "9"], "mel_a.mid: no notes from bar 9 on: choose other"),
        (["continue", "CLIP", "--model", "trio"], "trio needs a bass track .*: take a song that has all parts$"),
        (
            ["interpolate", "CLIP", "--model", "mel", "--steps", "3"],
            "interpolate needs at least two clips, got 1 clip$",
        ),
        (["interpolate", "CLIP", "CLIP", "--model", "mel", "--grid", "3"], "a grid has four corners, got 2 clips"),
        (["groove", "CLIP", "--model", "groove", "--drum-track", "3"], "mel_a.mid: there is no track 3; the song has"),
        (
            ["groove", "CLIP", "--model", "groove", "--drum-track", "0", "--input-drum-map", "2=36"],
            "mel_a.mid: the drum map names pitches without a drum: 2; the drums have",
        ),
        (["groove", "CLIP", "--model", "groove", "--input-drum-map", "2"], "--input-drum-map takes pairs such as"),
        (["groove", "CLIP", "--model", "groove", "--programs", "2"], "the GrooveConverter of .* has no programs"),
        (
            ["vary", "CLIP", "--model", "mel", "--amount", "1.2"],
            r"amount must be a number from 0 \(the clip\) .* got 1.2",
        ),
        (["generate", "--model", "drums", "--key", "Am"], "plays drums alone: omit --key"),
        (["generate", "--model", "chords", "--chords", "Am", "--key", "Am"], "give the piece its key: omit --key"),
        (["vary", "CLIP", "--model", "mel", "--count", "0"], "count must be a whole number of at least 1"),
        (
            ["vary", "CLIP", "--model", "drums"],
            "mel_a.mid: no drums: name the track that is drums .*, or take a model of melodies .--model mel_2bar.$",
        ),
        (
            ["personalize", "CLIP", "CLIP", "--model", "mel"],
            "takes 8 different windows of 2 bars with notes, and there are 3: give 9 bars",
        ),
        (
            ["personalize", "CLIP", "--model", "mel", "--dial", "2"],
            r"dial must be a number from 0 .*\(anything\), got 2",
        ),
        (["personalize", "CLIP", "none.mid", "--model", "mel"], "none.mid: there is no such file"),
        (["groove", "CLIP", "--model", "piano"], r"groove needs a model .*\(--model groove_humanize\); this one is of"),
        (["drumify", "CLIP", "--model", "groove"], r"drumify needs a model .*\(--model groove_tap\); this one is of"),
        (
            ["groove", "CLIP", "--model", "groove"],
            "mel_a.mid: no drums: name the track that is drums .*; for the rhythm of another track, take drumify$",
        ),
    ],
)
def test_what_a_tool_cannot_do_ends_the_command_with_a_line(words, error, folder, studio):
    with pytest.raises(SystemExit, match=error) as end:
        studio(*(str(folder / "mel_a.mid") if word == "CLIP" else word for word in words))
    assert str(end.value).startswith("error: ")
    assert "\n" not in str(end.value)


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["generate", "--bars", "0"], "bars must be a whole number of at least 1"),
        (["generate", "--bars", "2000"], "bars must be at most 1,024, got 2000"),
        (["generate", "--variation", "-0.1"], "variation must be a number from 0 to 1, got -0.1"),
        (["generate", "--temperature", "nan"], "temperature must be 0"),
        (["generate", "--tempo", "0"], "qpm is 0.0; give quarters per minute"),
        (["generate", "--seed", str(2**63)], "seed must be a whole number from 0 to 2\\^63"),
        (["generate", "--velocity", "128"], "velocity must be a number from 1 to 127"),
        (["continue", "none.mid", "--from-bar", "0"], "from-bar must be a whole number of at least 1"),
        (["continue", "none.mid", "--clip-bars", "0"], "clip-bars must be a whole number of at least 1"),
        (["reconstruct", "none.mid", "--clip-bars", "2000"], "bars must be at most 1,024, got 2000"),
        (["interpolate", "none.mid", "--steps", "3"], "interpolate needs at least two clips, got 1 clip"),
        (["interpolate", "none.mid", "--grid", "3"], "a grid has four corners, got 1 clip$"),
        (["interpolate", *["none.mid"] * 5, "--grid", "3"], "a grid has four corners, got 5 clips"),
        (["interpolate", *["none.mid"] * 2, "--steps", "0"], "steps must be a whole number of at least 1"),
        (["interpolate", *["none.mid"] * 4, "--grid", "1"], "grid must be a whole number of at least 2"),
        (["groove", "none.mid", "--strength", "2"], "strength must be a number from 0 to 1, got 2.0"),
        (["drumify", "none.mid", "--temperature", "-1"], "temperature must be 0"),
        (["drumify", "none.mid", "--count", "2"], "2 pieces at temperature 0 are equal: give --temperature 0.5"),
        (["drumify", "none.mid", "--count", "0"], "count must be a whole number of at least 1"),
        (["generate", "--key", "H"], "there is no key 'H': give one such as 'A minor'"),
        (["compose", "none.mid", "--key", "Am"], "a piece with clips is in their key: omit --key"),
        (["generate", "--dial", "2"], r"dial must be a number from 0 \(these songs\) to 1"),
        (["continue", "none.mid"], "none.mid: there is no such file"),
        (["continue", "."], "[.] is a folder: give a MIDI file$"),
        (["page", "--clips", *["none.mid"] * 4], "none.mid: there is no such file"),
        (["page", "--count", "0"], "count must be a whole number of at least 1"),
        (["page", "--temperature", "-1"], "temperature must be 0"),
        (["page", "--tempo", "0"], "qpm is 0.0; give quarters per minute"),
        (["page", "--seed", str(2**63)], "seed must be a whole number from 0 to 2\\^63"),
    ],
)
def test_an_option_out_of_range_is_refused_before_a_model_is_loaded(words, error, folder, tmp_path, capsys):
    def load(path, config_name):
        pytest.fail("the model is loaded")

    with pytest.raises(SystemExit, match=f"^error: {error}"):
        command.main(load, [*words, "--model", str(folder / "mel.pt"), "--out", str(tmp_path / "out")])
    assert capsys.readouterr().err == ""


def test_the_files_of_several_clips_get_the_swing_of_the_first(studio, swung_beat, tmp_path):
    straight = load_midi(swung_beat)
    for k, note in enumerate(straight.instruments[1].notes):
        note.start, note.end = 0.3 * k, 0.3 * k + 0.1
    straight.write(str(tmp_path / "straight.mid"))
    clips, model = (tmp_path / "straight.mid", swung_beat), ("--model", "mel", "--track", 1, "--straighten")
    pieces = studio("interpolate", *clips, *model, "--steps", 2)
    assert f"{tmp_path / 'straight.mid'}: no swing to take out\n" in studio.heard
    assert f"{swung_beat}: swing of 67 per cent" in studio.heard
    starts = [note.start / 0.15 for path in pieces.values() for note in first_track(path).notes]
    assert starts == pytest.approx([round(start) for start in starts], abs=0.02)


@pytest.mark.parametrize("words", [("continue", "mel"), ("groove", "groove"), ("drumify", "tap"), ("vary", "trio")])
def test_a_file_without_notes_is_named(words, studio, tmp_path):
    PrettyMIDI().write(str(tmp_path / "empty.mid"))
    with pytest.raises(SystemExit, match="empty.mid: the file has no notes: take another one$"):
        studio(words[0], tmp_path / "empty.mid", "--model", words[1])


def test_a_folder_that_cannot_be_made_is_named(studio, folder, monkeypatch):
    def refuse(*arguments, **options):
        raise FileNotFoundError(2, "No such file or directory")

    monkeypatch.setattr(command.Path, "mkdir", refuse)
    with pytest.raises(SystemExit, match="out0 cannot be made: No such file or directory; give another"):
        studio("generate", "--model", "mel", "--seed", 0)


@pytest.mark.parametrize("tool", ["generate", "personalize", "reharmonize"])
def test_new_pieces_take_no_chords_of_a_song(tool, folder):
    words = [tool, *([] if tool == "generate" else [str(folder / "mel_a.mid")]), "--chords", "song"]
    with pytest.raises(SystemExit, match=f"{tool} takes new chords: give them as text, such as 'Am7 | G7'"):
        command.main(None, [*words, "--model", str(folder / "chords.pt")])


def test_a_drawn_seed_is_shown_where_z_is_drawn_at_temperature_0(studio, folder):
    studio("vary", folder / "mel_a.mid", "--model", "mel")
    assert "seed " in studio.heard


@pytest.mark.parametrize(
    "words",
    [
        ["generate", "--chords", "C"],
        ["generate", "--program", "1", "2", "3"],
        ["continue", "none.mid"],
        ["continue", "CLIP", "--from-bar", "9"],
    ],
)
def test_no_seed_is_shown_before_an_error(words, folder, studio):
    with pytest.raises(SystemExit, match="^error: "):
        studio(*(str(folder / "mel_a.mid") if word == "CLIP" else word for word in words), "--model", "mel")
    assert "seed" not in studio.heard


def test_a_folder_that_cannot_be_written_is_named_before_the_model_is_read(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(command, "PRETRAINED", folder)
    (tmp_path / "file").write_text("")
    with pytest.raises(SystemExit, match="error: .*file is a file: give a folder"):
        main(["generate", "--model", "mel", "--out", str(tmp_path / "file")])


def test_a_run_that_is_stopped_keeps_what_is_done(studio, tmp_path, monkeypatch):
    def two_and_stop(*arguments):
        yield from list(pieces(*arguments))[:2]
        raise KeyboardInterrupt

    pieces = TOOLS["generate"].make
    monkeypatch.setitem(TOOLS, "generate", TOOLS["generate"]._replace(make=two_and_stop))
    with pytest.raises(SystemExit, match="stopped; 2 files written to"):
        studio("generate", "--model", "mel", "--count", 3, "--seed", 0)
    assert len(list((tmp_path / "out0").glob("*.mid"))) == 2


def test_the_commands_of_the_page_run(folder, composer, tmp_path, monkeypatch):
    models = {"mel_2bar_low": composer, "mel_2bar": composer, "mel_2bar_chords": folder / "chords.pt"}
    models |= {"groove_humanize": folder / "groove.pt", "groove_tap": folder / "tap.pt"}
    for name, file in models.items():
        (tmp_path / f"{name}.pt").symlink_to(file)
    for name, file in {"song": "mel_a", "b": "mel_b", "c": "mel_c", "d": "mel_d", "beat": "drums_a"}.items():
        (tmp_path / f"{name}.mid").symlink_to(folder / f"{file}.mid")
    (tmp_path / "runs" / "groove_humanize").mkdir(parents=True)
    (tmp_path / "runs" / "groove_humanize" / "checkpoint.pt").symlink_to(folder / "groove.pt")
    monkeypatch.setattr(command, "PRETRAINED", tmp_path)
    monkeypatch.setattr(prior.personal, "PERSONAL_UPDATES", 5)
    monkeypatch.chdir(tmp_path)
    page = (Path(generate.__file__).parent / "docs" / "tools.md").read_text()
    lines = [line for line in page.splitlines() if line.startswith("python generate.py ")]
    assert {line.split()[2] for line in lines} == set(TOOLS)
    for line in lines:
        main(shlex.split(line)[2:])
    files = 4 + 3 + 1 + 1 + 1 + 16 + 4 + 4 + 1 + 1 + 1 + 1 + 1 + 1 + 1 + 1
    assert len(list((tmp_path / "generated").glob("*.mid"))) == files
    assert len(list((tmp_path / "generated").glob("*.html"))) == 1


@pytest.mark.parametrize("name", TOOLS)
def test_the_page_shows_every_option_of_the_files(name):
    page = (Path(generate.__file__).parent / "docs" / "tools.md").read_text()
    for option in ("tempo", "program", "velocity", "swing", "swing_unit", "on_grid", "drum_map"):
        assert option in vars(parse_arguments([name, *shlex.split(TOOLS[name].example)]))
        assert f"--{option.replace('_', '-')}" in page


def test_the_page_shows_every_option_of_the_clips_song():
    page = (Path(generate.__file__).parent / "docs" / "tools.md").read_text()
    options = vars(parse_arguments(["continue", *TOOLS["continue"].example.split()]))
    for option in ("drum_track", "input_drum_map", "straighten", "pair_bars", "programs", "chords"):
        assert option in options
        assert f"--{option.replace('_', '-')}" in page
