"""The chords under a clip: as its song names them, otherwise estimated from the song's own accompaniment.

The estimate is that of `chords.guess_chords`, which training uses too, here from the notes beside the clip's melody.
"""

import numpy as np
from pretty_midi import PrettyMIDI

from music.clips import Clip
from music.converter import BarsConverter
from music.grid import (
    STEPS_PER_QUARTER,
    file_bars,
    part_at,
    round_half_up,
    song_parts,
    steady_tempo,
    steps_per_second,
)
from music.harmony import part_harmony, song_chords

SONG_CHORDS = "song"  # given in place of a progression: the chords of the clip's own song


def chords_of_clip(midi: PrettyMIDI, clip: Clip, converter: BarsConverter) -> np.ndarray:
    """The chord class of each step of a clip.

    Args:
        midi: the song.
        clip: what `clips.read_clip` cut from it.
        converter: it was cut with this one.

    Returns:
        int8 [steps]; 0, no chord, for a named chord without a class, such as Csus4.

    Raises:
        ValueError: the song names no chords, and its time signature is none in which they are estimated.
    """
    song, skipped = steady_tempo(midi), []
    parts = song_parts(song)
    part = parts[part_at(parts, clip.start_bar)]
    notes = part.select(accompaniment(song, clip.tracks)[part.track])
    seconds = part.times[:, 1].max()
    harmony = part_harmony(part, song_chords(song), notes, seconds, STEPS_PER_QUARTER, skipped)
    if harmony is None:
        raise ValueError(f"{skipped[0].reason}: give the chords as text, such as 'Am7 | G7'")
    first = (clip.start_bar - int(file_bars(part, 0))) * converter.steps_per_bar
    starts = round_half_up(harmony.seconds * steps_per_second(part.qpm))
    return np.maximum(harmony.classes[harmony.at(first + np.arange(len(clip.labels)), starts)], 0)


def accompaniment(midi: PrettyMIDI, melody: tuple[int, ...]) -> np.ndarray:
    """[tracks] bool: the tracks with notes beside the melody's and drums; all but drums if there are no others."""
    pitched = np.array([not one.is_drum and bool(one.notes) for one in midi.instruments], bool)
    others = pitched & ~np.isin(np.arange(len(pitched)), melody)
    return others if others.any() else pitched
