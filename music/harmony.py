"""The chords under a part of a song: named in the file, or guessed from the notes."""

import math
from typing import NamedTuple

import numpy as np
from pretty_midi import PrettyMIDI

from music.chords import CHORDS_PER_BAR, MAX_CHORDS, UNPITCHED_PROGRAMS, Harmony, guess_chords, is_chord
from music.grid import (
    NAMES_SHOWN,
    STEPS_PER_QUARTER,
    Cut,
    Part,
    Skipped,
    counted,
    file_bars,
    steps_of_bar,
    steps_per_second,
    time_signature_text,
)


class SongChords(NamedTuple):
    """The chords that a file names, and the tracks that chords can be guessed from."""

    times: np.ndarray  # [chords] seconds from the song's start, rising
    symbols: tuple[str, ...]
    pitched: np.ndarray  # [tracks] bool


def song_chords(midi: PrettyMIDI) -> SongChords:
    """The chords of a song: its text events or else its lyrics, if most of these are chord symbols."""
    pitched = [not (track.is_drum or track.program in UNPITCHED_PROGRAMS) for track in midi.instruments]
    named = _named_chords(midi)
    return SongChords(np.array([time for time, _ in named]), tuple(text for _, text in named), np.array(pitched, bool))


def _named_chords(midi: PrettyMIDI) -> list[tuple[float, str]]:
    """Time and symbol of each chord, by time."""
    for events in (midi.text_events, midi.lyrics):
        chords = [(float(event.time), text) for event in events if is_chord(text := event.text.strip())]
        if 2 * len(chords) > len(events):
            return sorted(chords, key=lambda chord: chord[0])
    return []


def part_harmony(
    part: Part, song: SongChords, notes: Part, seconds: float, steps_per_quarter: int, skipped: list[Skipped]
) -> Harmony | None:
    """The chords of a part: those that the file names, otherwise a guess from the notes.

    Args:
        song: what `song_chords` found.
        notes: the part with the notes to guess from; guessed chords start on a grid of whole steps.
        seconds: duration of the part.
        skipped: gets the reason if there are no chords, and None is returned.
    """
    if named := _chords_in(part, song):
        return named
    chord_seconds = _seconds_per_chord(part, steps_per_quarter)
    if reason := _why_no_guess(part, seconds, chord_seconds):
        skipped.append(Skipped(f"chords from bar {file_bars(part, 0) + 1}", reason))
        return None
    sounding = song.pitched[notes.track]
    return guess_chords(notes.times[sounding], notes.pitch[sounding], seconds, chord_seconds)


def _chords_in(part: Part, song: SongChords) -> Harmony | None:
    """The chords named in a part, after the one that was named before it and still holds; None if there is none."""
    start, end = part.bounds
    inside, last = np.searchsorted(song.times, start, "right"), np.searchsorted(song.times, end)
    first, times = max(inside - 1, 0), song.times[inside:last] - start
    if inside:
        times = np.append(0.0, times)
    return Harmony(times, song.symbols[first : max(last, inside)]) if len(times) else None


def _seconds_per_chord(part: Part, steps_per_quarter: int) -> float | None:
    """Duration of a guessed chord; None for a time signature in which none is guessed."""
    chords = CHORDS_PER_BAR.get(part.time_signature)
    steps = steps_of_bar(part.time_signature) * steps_per_quarter // STEPS_PER_QUARTER
    return steps // chords / steps_per_second(part.qpm, steps_per_quarter) if chords else None


def _why_no_guess(part: Part, seconds: float, chord_seconds: float | None) -> str | None:
    """The reason why the chords of a part that names none cannot be guessed, or None."""
    if chord_seconds is None:
        return f"no chords named, and none guessed in {time_signature_text(part.time_signature)}"
    if math.ceil(seconds / chord_seconds) > MAX_CHORDS:
        return f"no chords named, and more than {MAX_CHORDS} to guess"
    return None


def with_chord_classes(cut: Cut, harmony: Harmony, skipped: list[Skipped]) -> Cut:
    """Replaces the controls, indices of a harmony's chords, by chord classes; drops windows with a chord of no class.

    The dropped windows are added to `skipped`.
    """
    classes = harmony.classes[cut.controls]
    good = (classes >= 0).all(axis=1)
    if not good.all():
        names = (*harmony.symbols, "")
        odd = sorted({names[k] for k in np.unique(cut.controls[~good]) if harmony.classes[k] < 0})
        reason = f"no major, minor, augmented or diminished triad; {', '.join(odd[:NAMES_SHOWN])}"
        skipped.append(Skipped(f"chords of {counted(int((~good).sum()), 'window')}", reason))
    return Cut(*(column[good] for column in cut._replace(controls=classes)))
