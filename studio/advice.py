"""Hints that the command prints where a model reads a clip differently from its song."""

import argparse
from collections.abc import Sequence

import numpy as np
from pretty_midi import PrettyMIDI

from music.clips import LEAD_OF_TRIO, Clip, cut_clip, in_one_metre, song_end, whole_windows
from music.converter import BarsConverter, listed
from music.grid import Part
from music.labels import FIRST_PITCH, NO_EVENT
from music.melody import MelodyConverter
from music.song_reader import share_off_grid
from music.song_report import OFF_GRID_SHARE
from music.swing import swing_of
from music.trio import TrioConverter

READ_SHARE = 0.7  # of the notes of a melody's track; if fewer are read, a hint says so


def advice(
    converter: BarsConverter, midi: PrettyMIDI, parts: Sequence[Part], clip: Clip, options: argparse.Namespace
) -> list[str]:
    """Hints on a clip that the command has cut with its options from a song with these parts."""
    lines = [
        other_bars(parts, options),
        passed_over(converter, midi, clip) if options.track is None else None,
        tapped_by_drums(midi, clip) if options.tool == "drumify" and options.track is None else None,
        *notes_unread(converter, clip),
        off_grid(converter, midi, parts, options),
        rests_after(converter, parts, clip) if options.fill != "loop" else None,
    ]
    return [line for line in lines if line]


def is_longest_stretch(parts: Sequence[Part], options: argparse.Namespace) -> bool:
    """Whether a clip is the longest stretch in the model's metre, of a song that has bars of others."""
    return options.from_bar is None and options.clip_bars is None and not in_one_metre(parts)


def other_bars(parts: Sequence[Part], options: argparse.Namespace) -> str | None:
    """That a clip lacks the bars of other metres."""
    if not is_longest_stretch(parts, options):
        return None
    return "the other bars are left out; a pickup bar is kept where rests fill it to a whole bar"


def passed_over(converter: BarsConverter, midi: PrettyMIDI, clip: Clip) -> str | None:
    """Why pitched tracks were not taken: those before the clip's, or any if the model takes several."""
    if converter.only_drums:
        return None
    is_trio = isinstance(converter, TrioConverter)
    takes_several = is_trio or getattr(converter, "tracks", None) == "together"
    refused = refusals(converter, midi, clip, len(midi.instruments) if takes_several else min(clip.tracks))
    if not refused:
        return None
    one, (first, _) = len(refused) == 1, refused[0]
    remedy = f"--track {first} takes {'it' if one else 'the first'}"
    if takes_several:
        remedy = LEAD_OF_TRIO if is_trio else f"--programs all takes {'it' if one else 'them'}"
    return f"passed over: {listed([f'track {k} ({reason})' for k, reason in refused])}; {remedy}"


def tapped_by_drums(midi: PrettyMIDI, clip: Clip) -> str | None:
    """That a rhythm is that of drums, where the song has other tracks."""
    others = [k for k, one in enumerate(midi.instruments) if one.notes and not one.is_drum]
    if not others or not midi.instruments[clip.tracks[0]].is_drum:
        return None
    return f"the rhythm is that of the drums: --track {others[0]} takes another"


def refusals(converter: BarsConverter, midi: PrettyMIDI, clip: Clip, count: int) -> list[tuple[int, str]]:
    """The first `count` tracks with notes that are neither drums nor the clip's, and why each was not taken."""
    others = [(k, one) for k, one in enumerate(midi.instruments[:count]) if one.notes and k not in clip.tracks]
    reasons = [(k, converter.track_refusal(one)) for k, one in others if not one.is_drum]
    return [(k, reason) for k, reason in reasons if reason]


def notes_unread(converter: BarsConverter, clip: Clip) -> list[str]:
    """How many notes of a clip's track a melody or a bass has, if fewer than READ_SHARE of them."""
    if not isinstance(converter, MelodyConverter | TrioConverter):
        return []
    lines, remedy = [], "" if converter.chords else "; for chords, take a piano model, such as --model piano_2bar"
    for k, voice in enumerate(clip.labels.reshape(len(clip.labels), -1).T[: converter.held_parts]):
        read, notes = int((voice >= FIRST_PITCH).sum()), int((clip.own.notes[:, 4] == k).sum())
        if read < READ_SHARE * notes:
            track = f"track {clip.tracks[k]}: " if len(clip.tracks) > 1 else ""
            lines.append(f"{track}{read} of {notes} notes are read, one per sixteenth, the highest{remedy}")
    return lines


def off_grid(
    converter: BarsConverter, midi: PrettyMIDI, parts: Sequence[Part], options: argparse.Namespace
) -> str | None:
    """How many onsets of a song lie off the grid that a model needs, and what helps."""
    share, is_groove = share_off_grid(parts), options.tool == "groove"
    if not is_groove and (not converter.needs_grid or share <= OFF_GRID_SHARE):
        return None
    swing = swing_of(midi)
    is_straight = swing.is_straight or options.straighten
    swings = f"the song has a swing of {swing.swing:.0f} per cent of a pair of {swing.unit}s"
    if is_groove:
        return None if is_straight else f"{swings}: --straighten keeps it"
    if is_straight:
        reading = "the model reads them on the nearest sixteenth"
        remedy = f"{reading}; for a recording without bars, set bars and tempo in a sequencer first"
    else:
        kept = "--straighten reads the song straight and puts the swing back into the files"
        remedy = f"{swings}: without --straighten the new notes are on the grid; {kept}"
    return f"{share:.0%} of the song's onsets lie off the grid of sixteenths; {remedy}"


def rests_after(converter: BarsConverter, parts: Sequence[Part], clip: Clip) -> str | None:
    """That a clip reaches beyond its song's last bar."""
    end = song_end(parts, clip.start_bar, converter)
    if clip.start_bar + len(clip.labels) // converter.steps_per_bar <= end:
        return None
    return f"the song ends with bar {end}: rests follow; --fill loop repeats the clip"


def repeats_clips(new: np.ndarray, clips: Sequence[Clip], converter: BarsConverter) -> bool:
    """Whether each window of the labels `new` has the onsets of a window of the clip before it, or of the one after."""
    steps, held, known = converter.steps, converter.held_parts, []
    for k, clip in enumerate(clips):
        whole = whole_windows(clip, steps, at_end=k == 0)
        known += [_onsets(one, held) for one in cut_clip(whole.labels, steps, whole.fill, held).labels]
    windows = [_onsets(new[first : first + steps], held) for first in range(0, len(new), steps)]
    return all(any(np.array_equal(one, other[: len(one)]) for other in known) for one in windows)


def _onsets(labels: np.ndarray, held: int) -> np.ndarray:
    """Labels [steps, ...] as [steps, parts], without the ends of notes."""
    parts = labels.reshape(len(labels), -1).copy()
    parts[:, :held][parts[:, :held] < FIRST_PITCH] = NO_EVENT
    return parts
