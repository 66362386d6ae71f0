"""Options of the commands that are written as text: tracks, programs, drum maps, time signatures."""

import re
from collections.abc import Sequence

from music.intake import Intake
from music.midi_output import drum_pitch, program_number


def read_track(text: str) -> int | str:
    """A track by number or by name."""
    return int(text) if text.isdecimal() else text


def read_drum_map(option: str, pairs: Sequence[str]) -> dict[int, int]:
    """Pitches of a drum map of texts such as 36=60, by number or General MIDI name."""
    for pair in pairs:
        if pair.count("=") != 1:
            raise ValueError(f"{option} takes pairs such as 36=60, got {pair!r}")
    return {drum_pitch(old.strip()): drum_pitch(new.strip()) for old, new in (pair.split("=") for pair in pairs)}


def read_time_signature(text: str) -> tuple[int, int]:
    """A time signature of a text such as 3/4."""
    if not (found := re.fullmatch(r"\s*(\d+)\s*/\s*(\d+)\s*", text)):
        raise ValueError(f"a time signature is written as 3/4, got {text!r}")
    return int(found[1]), int(found[2])


def read_programs(text: str) -> tuple[int, ...] | None:
    """Programs of a text such as 0-31,40; None, which takes every program, of the text all."""
    if text.strip().casefold() == "all":
        return None
    programs = []
    for part in text.split(","):
        first, _, last = part.strip().partition("-") if re.fullmatch(r"\s*\d+\s*-\s*\d+\s*", part) else (part, "", part)
        lowest, highest = program_number(first.strip()), program_number(last.strip())
        if highest < lowest:
            raise ValueError(f"the programs {part.strip()!r} go downwards; write them as 0-31,40, or all")
        programs += range(lowest, highest + 1)
    return tuple(dict.fromkeys(programs))


def add_intake_arguments(group) -> None:
    """Adds the options of an Intake to a parser or a group of one."""
    add = group.add_argument
    add("--drum-track", action="append", default=[], metavar="TRACK", help="number or name of a track that is drums")
    pairs = "drums of the files on General MIDI's pitches, such as 60=36,62='hand clap'"
    add("--input-drum-map", default="", metavar="DRUM=PITCH,...", help=pairs)
    add("--straighten", action="store_true", help="move swung off-beats and triplets onto the grid of sixteenths")
    add("--pair-bars", action="store_true", help="read two bars of 2/4 as one of 4/4")


def read_intake(options) -> Intake:
    """The Intake of the options of `add_intake_arguments`."""
    pairs = [pair for pair in options.input_drum_map.split(",") if pair.strip()]
    drum_map = tuple(read_drum_map("--input-drum-map", pairs).items())
    return Intake(tuple(map(read_track, options.drum_track)), drum_map, options.straighten, options.pair_bars)
