"""What the command of the tools tells of a clip that a model does not read as its song has it, and what helps."""

import argparse

from pretty_midi import PrettyMIDI

from music.clips import Clip, song_end
from music.converter import BarsConverter


def advice(converter: BarsConverter, midi: PrettyMIDI, clip: Clip, options: argparse.Namespace) -> list[str]:
    """Lines on a clip that the command has cut from a song with its options; none if there is nothing to tell."""
    lines = [None if options.fill == "loop" else rests_after(converter, midi, clip)]
    return [line for line in lines if line]


def rests_after(converter: BarsConverter, midi: PrettyMIDI, clip: Clip) -> str | None:
    """That a clip reaches beyond its song's last bar."""
    end = song_end(midi, clip.start_bar, converter)
    if clip.start_bar + len(clip.labels) // converter.steps_per_bar <= end:
        return None
    return f"the song ends with bar {end}: rests follow; --fill loop repeats the clip"
