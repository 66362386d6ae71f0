"""Hints that the command prints where a model reads a clip differently from its song."""

import argparse
from collections.abc import Sequence

from pretty_midi import PrettyMIDI

from music.clips import Clip, song_end
from music.converter import BarsConverter
from music.grid import Part
from music.labels import FIRST_PITCH
from music.melody import MelodyConverter, PitchedTracksConverter
from music.song_reader import share_off_grid
from music.song_report import OFF_GRID_SHARE
from music.swing import swing_of

READ_SHARE = 0.7  # of the notes of a melody's track; if fewer are read, a hint says so


def advice(
    converter: BarsConverter, midi: PrettyMIDI, parts: Sequence[Part], clip: Clip, options: argparse.Namespace
) -> list[str]:
    """Hints on a clip that the command has cut with its options from a song with these parts."""
    lines = [
        passed_over(converter, midi, clip) if options.track is None else None,
        notes_unread(converter, clip),
        off_grid(converter, midi, parts, options.tool) if not options.straighten else None,
        rests_after(converter, parts, clip) if options.fill != "loop" else None,
    ]
    return [line for line in lines if line]


def passed_over(converter: BarsConverter, midi: PrettyMIDI, clip: Clip) -> str | None:
    """Why pitched tracks before the clip's first one were not taken, by a converter of melodies or pianos."""
    if not isinstance(converter, PitchedTracksConverter):
        return None
    before = [(k, track) for k, track in enumerate(midi.instruments[: min(clip.tracks)]) if track.notes]
    before = [(k, converter.track_refusal(track)) for k, track in before if not track.is_drum]
    refused = [(k, refusal) for k, refusal in before if refusal]
    if not refused:
        return None
    named = ", ".join(f"track {k} ({refusal})" for k, refusal in refused)
    return f"passed over: {named}; --track {refused[0][0]} takes {'it' if len(refused) == 1 else 'the first'}"


def notes_unread(converter: BarsConverter, clip: Clip) -> str | None:
    """How many notes of a clip's track a melody has, if fewer than READ_SHARE of them."""
    if not isinstance(converter, MelodyConverter):
        return None
    read, notes = int((clip.labels >= FIRST_PITCH).sum()), len(clip.own.notes)
    if read >= READ_SHARE * notes:
        return None
    remedy = "" if converter.chords else "; for chords, take a piano model, such as --model piano_2bar"
    return f"{read} of {notes} notes are read, one per sixteenth, the highest{remedy}"


def off_grid(converter: BarsConverter, midi: PrettyMIDI, parts: Sequence[Part], tool: str) -> str | None:
    """How many onsets of a song lie off the grid that a model needs, and whether --straighten helps."""
    share = share_off_grid(parts)
    if tool != "groove" and (not converter.needs_grid or share <= OFF_GRID_SHARE):
        return None
    swing = swing_of(midi)
    swings = f"the song has a swing of {swing.swing:.0f} per cent of a pair of {swing.unit}s: --straighten"
    if tool == "groove":
        return None if swing.is_straight else f"{swings} keeps it"
    remedy = "the model reads them on the nearest sixteenth" if swing.is_straight else f"{swings} takes it out"
    return f"{share:.0%} of the song's onsets lie off the grid of sixteenths; {remedy}"


def rests_after(converter: BarsConverter, parts: Sequence[Part], clip: Clip) -> str | None:
    """That a clip reaches beyond its song's last bar."""
    end = song_end(parts, clip.start_bar, converter)
    if clip.start_bar + len(clip.labels) // converter.steps_per_bar <= end:
        return None
    return f"the song ends with bar {end}: rests follow; --fill loop repeats the clip"
