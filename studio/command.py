"""The command of the tools: python generate.py TOOL ..."""

import argparse
import difflib
import itertools
import random
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

from pretty_midi import PrettyMIDI
from torch import Generator
from tqdm import tqdm

from checkpoint import check_file, model_name
from configs import with_converter
from console import errors_in_a_line, say, tell
from engine.checks import checked_count, checked_path, checked_seed, checked_share, checked_temperature
from magenta_checkpoint import is_magenta_checkpoint
from midi_utils import load_midi
from music.clip_chords import SONG_CHORDS
from music.clips import FILLS, Clip, checked_bars, in_one_metre
from music.converter import empty_song, named_tracks
from music.drums import DrumTracksConverter
from music.grid import Part, counted, seconds_per_step, song_parts, steady_tempo, time_signature_text
from music.intake import check_drum_map, tracks_of, with_drum_tracks
from music.midi_output import (
    SWING_UNITS,
    in_turn,
    program_number,
    with_chord_track,
    with_drum_map,
    with_names,
    with_swing,
    with_velocity,
    without_feel,
    write_midi,
)
from music.multitrack import MultitrackConverter
from music.options import add_intake_arguments, read_drum_map, read_intake, read_programs, read_track
from music.swing import straighten
from music.trio import TrioConverter
from prior import PersonalPrior
from studio.advice import advice
from studio.clip_tools import GROOVE_TOOLS, VARIATION, ClipTools
from studio.near import DIAL, NearTools, checked_amount, checked_dial
from studio.pages import PAGES, add_page_arguments, page_files
from studio.write import write_gallery
from training.run_folder import check_folder

PRETRAINED = Path(__file__).parents[1] / "pretrained"
DEFAULT_MODEL = "mel_2bar_low"
FOLLOWER = "mel_2bar_chords"  # the model that follows chords
COMPOSED_BARS = 64
STEPS = 5  # of an interpolation
STRENGTH = 1.0  # of a groove
PULSES = {"4th": 4, "8th": 2, "16th": 1}  # steps between the strokes of the hi-hat that drumify adds
TEMPERATURE = 0.5  # of the command's new music
SEED_RANGE = 2**16  # seeds that the command draws where none is given


NUMBERS = {  # how the options that are numbers are checked, by name, where they are given
    "count": checked_count,
    "bars": lambda _, bars: checked_bars(bars),
    "variation": checked_share,
    "amount": checked_amount,
    "dial": checked_dial,
    "steps": checked_count,
    "grid": partial(checked_count, least=2),
    "strength": checked_share,
    "temperature": lambda _, temperature: checked_temperature(temperature),
    "seed": lambda _, seed: checked_seed(seed),
    "from_bar": checked_count,
    "clip_bars": lambda name, bars: checked_bars(checked_count(name, bars)),
    "tempo": lambda _, qpm: empty_song(qpm, (4, 4)),
}


class Piece(NamedTuple):
    """A piece that a tool made."""

    name: str  # of its file, without the ending
    midi: PrettyMIDI
    bars: int


Pieces = Iterator[Piece]


def find_model(name: str) -> Path:
    """The path of a model: a file of pretrained/ by its name, with or without .pt, or what `TrainedModel.load` takes.

    Raises:
        ValueError: there is none; the message lists the names.
    """
    for path in (PRETRAINED / f"{name}.pt", Path(name), PRETRAINED / f"{name.removesuffix('.pt')}.pt"):
        if path.exists() or is_magenta_checkpoint(path):
            return path
    names = ", ".join(sorted(one.stem for one in PRETRAINED.glob("*.pt")))
    raise ValueError(f"there is no model {name!r}: give a path, or one of {names}")


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """The options of the command."""
    parser = argparse.ArgumentParser(
        description="Make music with a trained model. Every tool has its own --help.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="examples:\n" + "\n".join(f"  {example_of(name, tool)}" for name, tool in COMMANDS.items()),
    )
    tools = parser.add_subparsers(dest="tool", required=True, metavar="TOOL")
    for name, tool in COMMANDS.items():
        words = {"help": tool.purpose, "description": tool.purpose, "epilog": f"example: {example_of(name, tool)}"}
        add_arguments(tools.add_parser(name, **words), tool)
    options, unknown = parser.parse_known_args(arguments)
    if unknown:
        known = {name: re.findall(r"--[\w-]+", parser.format_usage()) for name, parser in tools.choices.items()}
        tools.choices[options.tool].error(fault_of(unknown, options.tool, known))
    return options


def fault_of(unknown: list[str], name: str, known: dict[str, list[str]]) -> str:
    """What is wrong with arguments that a tool does not know; known: the options of each tool."""
    wrong = next((word.split("=")[0] for word in unknown if word.startswith("-")), None)
    if wrong is None:
        takes = {0: "takes no clip", 1: "takes one clip"}.get(COMMANDS[name].clips, "takes its clips side by side")
        return f"{name} {takes}: unexpected {' '.join(unknown)}"
    if wrong in known[name]:
        return f"{wrong} comes after {name}"
    if others := [tool for tool, options in known.items() if wrong in options]:
        return f"{name} has no option {wrong}, as {', '.join(others)} {'has' if len(others) == 1 else 'have'}"
    close = difflib.get_close_matches(wrong, known[name], 1, cutoff=0.75)
    return f"there is no option {wrong}" + (f"; did you mean {close[0]}?" if close else "")


def example_of(name: str, tool: "Tool") -> str:
    """A command line of a tool."""
    return f"python generate.py {name} {tool.example}"


def add_arguments(parser: argparse.ArgumentParser, tool: "Tool"):
    """Adds the options of a tool."""
    if tool.clips:
        parser.add_argument("clips", nargs=tool.clips, metavar="CLIP", help="MIDI file")
    what = f"name in pretrained/, or a path (default: {tool.model})"
    parser.add_argument("--model", default=tool.model, help=what)
    parser.add_argument("--config", help="preset of one of Magenta's models, where its file fits several")
    parser.add_argument("--out", default="generated", help="folder of the files (default: generated)")
    if tool.draws:
        parser.add_argument("--count", type=int, default=1, help="number of pieces (default: 1)")
    if tool.options:
        tool.options(parser)
    if tool.temperature is not None:
        what = f"0 takes the most likely label (default: {tool.temperature:g})"
        parser.add_argument("--temperature", type=float, default=tool.temperature, help=what)
        parser.add_argument("--seed", type=int, help="repeats a result; drawn and shown when omitted")
    if tool.clips:
        add_clip_arguments(parser)
    add_chord_arguments(parser, tool)
    if tool is not PAGE:
        add_output_arguments(parser)


def add_chord_arguments(parser: argparse.ArgumentParser, tool: "Tool"):
    """Adds --chords and --chord-track to a tool that takes chords."""
    if tool.chords is None:
        parser.set_defaults(chords=None, chord_track=False)
        return
    what = 'for a model that follows chords: "Am7 Dm7 | G7 Cmaj7"'
    what += "; song: the clip's own" if tool.chords.song else ""
    parser.add_argument("--chords", required=tool.chords.required, help=what)
    parser.add_argument("--chord-track", action="store_true", help="add a track that plays the chords of --chords")


def add_clip_arguments(parser: argparse.ArgumentParser):
    """Adds the options that say which part of a song is the clip."""
    group = parser.add_argument_group("the clip")
    what = "number, from 0, or name of a track, of any program; default: the only pitched one, or the first to fit"
    group.add_argument("--track", type=read_track, help=what)
    group.add_argument("--from-bar", type=int, help="first bar, from 1")
    what = "number of bars; default: to the last note; of a song in several metres, its longest stretch in the model's"
    group.add_argument("--clip-bars", type=int, help=what)
    what = "what follows where the clip is too short; default: rest, but loop up to one window of the model"
    group.add_argument("--fill", choices=FILLS, help=what)
    group.add_argument("--programs", help="General MIDI programs of the tracks that fit, such as 0-31,40, or all")
    add_intake_arguments(group)


def add_output_arguments(parser: argparse.ArgumentParser):
    """Adds the options of the written files."""
    group = parser.add_argument_group("the files")
    group.add_argument("--tempo", type=float, help="quarters per minute; default: the clip's, or 120")
    names = "General MIDI number, from 0, or name, such as 'electric piano 1'; three for a trio"
    group.add_argument("--program", nargs="+", help=names)
    group.add_argument("--velocity", type=int, help="mean velocity, 1 to 127")
    group.add_argument("--swing", type=float, help="per cent of a pair for its first note, 50 (straight) to 75")
    group.add_argument("--swing-unit", choices=tuple(SWING_UNITS), default="8th", help="what swings (default: 8th)")
    group.add_argument("--on-grid", action="store_true", help="on the grid of sixteenths, all notes equally loud")
    group.add_argument("--page", action="store_true", help="also write a web page that plays the pieces")
    pairs = "drums of one's own, such as 36=60 'hand clap=62'"
    group.add_argument("--drum-map", nargs="+", default=[], metavar="DRUM=PITCH", help=pairs)


# ---- Tools: the options of each, and the pieces that it makes ----


def add_length_arguments(
    parser: argparse.ArgumentParser, songs: str = "from the sequence prior if the model has one, else "
):
    """Adds the options of new music of any length."""
    parser.add_argument("--bars", type=int, help="length of the new music; default: the model's own")
    what = f"0 (the same again) to 1 (anything); default: {songs}{VARIATION}"
    parser.add_argument("--variation", type=float, help=what)


def add_drawing_arguments(parser: argparse.ArgumentParser):
    """Adds the options of new music from a model's prior."""
    add_length_arguments(parser)
    add_dial_argument(parser)


def add_dial_argument(parser: argparse.ArgumentParser, dial: float | None = None):
    """Adds the dial of a model that `personalize` made; the model's own when None."""
    what = f"of a model of a few songs: 0 (these songs) to 1 (anything); default: {dial or 'as it was saved'}"
    parser.add_argument("--dial", type=float, default=dial, help=what)


def generate_pieces(trained: NearTools, options: argparse.Namespace, clips: list[Clip], playing: dict) -> Pieces:
    """New pieces, one by one."""
    playing = playing | {"qpm": 120.0} if options.tempo is None else playing
    yield from new_pieces(trained, (model_name(options.path),), options, playing)


def add_personalize_arguments(parser: argparse.ArgumentParser):
    """Adds the options of `personalize`."""
    add_length_arguments(parser, songs="")
    add_dial_argument(parser, DIAL)
    what = "save the model of these songs for --model; an existing file is replaced"
    parser.add_argument("--save", metavar="FILE", help=what)


def personalize_pieces(trained: NearTools, options: argparse.Namespace, clips: list[Clip], playing: dict) -> Pieces:
    """New pieces near the clips, in the tempo and with the program of the first."""
    first = clips[0]._asdict()
    playing = playing | {name: first[name] for name in ("qpm", "program") if playing[name] is None}
    words = Path(options.clips[0]).stem, "personalized"
    personal = trained.personalize(clips, options.dial)
    if options.save is not None:
        personal.save(options.save)
        tell(f"the model of these songs is in {options.save}")
    yield from new_pieces(personal, words, options, playing)


def new_pieces(trained: NearTools, words: tuple[str, ...], options: argparse.Namespace, playing: dict) -> Pieces:
    """Draws of a model, one by one."""
    bars = trained.converter.bars if options.bars is None else options.bars
    name, made = file_name(options, *words, f"{bars}bars"), {"variation": options.variation, "chords": options.chords}
    for k in range(1, options.count + 1):
        (midi,) = trained.sample_clips(1, bars, **made, **playing)
        yield Piece(f"{name}_{k}", midi, bars)


def add_compose_arguments(parser: argparse.ArgumentParser):
    """Adds the options of `compose`."""
    what = f"length of a piece, with its clips (default: {COMPOSED_BARS})"
    parser.add_argument("--bars", type=int, default=COMPOSED_BARS, help=what)
    what = "folder of MIDI files whose form the pieces take; default: the songs that the model was fitted to"
    parser.add_argument("--songs", help=what)


def check_compose(options: argparse.Namespace):
    """Raises ValueError for more clips than a piece has ends."""
    if len(options.clips) > 2:
        raise ValueError(f"a piece has a clip at its start and one at its end, got {len(options.clips)} clips")


def compose_pieces(trained: NearTools, options: argparse.Namespace, clips: list[Clip], playing: dict) -> Pieces:
    """Long pieces, one by one: new, or after a clip, or between two."""
    if options.songs is not None:
        trained.fit_sequence_prior(options.songs)
    stems = [Path(clip).stem for clip in options.clips] or [model_name(options.path)]
    name = file_name(options, "_to_".join(stems), f"composed_{options.bars}bars")
    ends = dict(zip(("start", "end"), clips, strict=False))
    for k in range(1, options.count + 1):
        (midi,) = trained.compose(options.bars, **ends, **playing)
        yield Piece(f"{name}_{k}", midi, options.bars)


def add_vary_arguments(parser: argparse.ArgumentParser):
    """Adds the options of `vary`."""
    what = f"0 (the clip as the model has it) to 1 (anything); default: {VARIATION}"
    parser.add_argument("--amount", type=float, default=VARIATION, help=what)
    add_dial_argument(parser)


def vary_pieces(trained: NearTools, options: argparse.Namespace, clips: list[Clip], playing: dict) -> Pieces:
    """Versions of a clip, one by one."""
    name = clip_file_name(options, f"varied{options.amount:g}")
    for k in range(1, options.count + 1):
        (midi,) = trained.vary(clips[0], options.amount, **playing)
        yield Piece(f"{name}_{k}", midi, bars_of(trained, clips[0]))


def continue_pieces(trained: ClipTools, options: argparse.Namespace, clips: list[Clip], playing: dict) -> Pieces:
    """A clip with different continuations, one by one."""
    bars = trained.converter.bars if options.bars is None else options.bars
    name = clip_file_name(options, f"continued_{bars}bars")
    playing = playing | {"chords": None if options.chords == SONG_CHORDS else options.chords}
    for k in range(1, options.count + 1):
        (midi,) = trained.continue_clip(clips[0], bars, variation=options.variation, **playing)
        yield Piece(f"{name}_{k}", midi, bars_of(trained, clips[0]) + bars)


def add_interpolate_arguments(parser: argparse.ArgumentParser):
    """Adds the options of `interpolate`."""
    many = parser.add_mutually_exclusive_group()
    what = f"number of pieces on the line through the clips (default: {STEPS})"
    many.add_argument("--steps", type=int, help=what)
    many.add_argument("--grid", type=int, help="rows and columns of the grid between four clips")
    parser.add_argument("--joined", action="store_true", help="write one file that plays the pieces in turn")


def check_interpolate(options: argparse.Namespace):
    """Completes the number of pieces; raises ValueError unless so many clips can be interpolated."""
    count, options.steps = len(options.clips), STEPS if options.steps is None else options.steps
    if options.grid is not None and count != 4:
        raise ValueError(f"a grid has four corners, got {counted(count, 'clip')}")
    if count < 2:
        raise ValueError(f"interpolate needs at least two clips, got {counted(count, 'clip')}")


def interpolate_pieces(trained: ClipTools, options: argparse.Namespace, clips: list[Clip], playing: dict) -> Pieces:
    """The points of a line or a grid."""
    bars = max(bars_of(trained, clip) for clip in clips)
    name = file_name(options, f"{Path(options.clips[0]).stem}_to_{Path(options.clips[-1]).stem}")
    if options.grid is None:
        midis = trained.interpolate_clips(clips, options.steps, **playing)
        places = [f"{k}of{options.steps}" for k in range(1, options.steps + 1)]
    else:
        midis, sides = trained.interpolate_grid(clips, options.grid, **playing), range(1, options.grid + 1)
        places = [f"row{row}_column{column}" for row in sides for column in sides]
    if options.joined:
        seconds = bars * trained.converter.steps_per_bar * seconds_per_step(options.tempo or clips[0].qpm)
        yield Piece(f"{name}_{len(midis)}joined", in_turn(midis, seconds), bars * len(midis))
    else:
        yield from (Piece(f"{name}_{place}", midi, bars) for place, midi in zip(places, midis, strict=True))


def add_groove_arguments(parser: argparse.ArgumentParser):
    """Adds the option of `groove`."""
    what = "0 (its own timing and velocities) to 1 (default)"
    parser.add_argument("--strength", type=float, default=STRENGTH, help=what)


def groove_pieces(trained: ClipTools, options: argparse.Namespace, clips: list[Clip], playing: dict) -> Pieces:
    """A drum clip with timing and dynamics."""
    tempo = {name: playing[name] for name in ("qpm", "program")}
    midi = trained.groove(clips[0], options.strength, **tempo)
    yield Piece(clip_file_name(options, "groove"), midi, bars_of(trained, clips[0]))


def add_drumify_arguments(parser: argparse.ArgumentParser):
    """Adds the options of `drumify`."""
    what = "a closed hi-hat on every note of this length"
    parser.add_argument("--pulse", choices=tuple(PULSES), help=what)
    what = "number of pieces, which differ at a temperature above 0 (default: 1)"
    parser.add_argument("--count", type=int, default=1, help=what)


def check_drumify(options: argparse.Namespace):
    """Raises ValueError for several pieces of which all would be equal."""
    if options.count > 1 and not options.temperature:
        raise ValueError(f"{options.count} pieces at temperature 0 are equal: give --temperature {TEMPERATURE} as well")


def drumify_pieces(trained: ClipTools, options: argparse.Namespace, clips: list[Clip], playing: dict) -> Pieces:
    """Drums to a rhythm, one by one."""
    pulse = f"_pulse{options.pulse}" if options.pulse else ""
    name, places = clip_file_name(options, f"drums{pulse}"), range(1, options.count + 1)
    for place in [f"_{k}" for k in places] if options.count > 1 else [""]:
        midi = trained.drumify(clips[0], pulse=PULSES.get(options.pulse), **playing)
        yield Piece(f"{name}{place}", midi, bars_of(trained, clips[0]))


def reharmonize_pieces(trained: ClipTools, options: argparse.Namespace, clips: list[Clip], playing: dict) -> Pieces:
    """A clip under other chords."""
    midi = trained.reconstruct_clip(clips[0], chords=options.chords, **playing)
    yield Piece(clip_file_name(options, "reharmonized"), midi, bars_of(trained, clips[0]))


def reconstruct_pieces(trained: ClipTools, options: argparse.Namespace, clips: list[Clip], playing: dict) -> Pieces:
    """A clip, encoded and decoded."""
    midi = trained.reconstruct_clip(clips[0], **playing)
    yield Piece(clip_file_name(options, "reconstructed"), midi, bars_of(trained, clips[0]))


# ---- Names, clips and finished pieces ----


def file_name(options: argparse.Namespace, *words: str) -> str:
    """A file's name without its ending: the words, options other than the tool's own, and the seed of what is drawn."""
    tool, model = TOOLS[options.tool], model_name(options.path)
    if options.model != tool.model and model not in words:
        words += (model,)
    dial = DIAL if options.tool == "personalize" else None
    own = {"variation": None, "dial": dial, "strength": STRENGTH, "temperature": tool.temperature}
    changed = {name: getattr(options, name) for name in own if getattr(options, name, own[name]) != own[name]}
    words += tuple(f"{name}{value:g}" for name, value in changed.items())
    if uses_seed(options):
        words += (f"seed{options.seed}",)
    return "_".join(words)


def clip_file_name(options: argparse.Namespace, *words: str) -> str:
    """`file_name` with the name of the clip's file before the words."""
    return file_name(options, Path(options.clips[0]).stem, *words)


def uses_seed(options: argparse.Namespace) -> bool:
    """Whether random numbers decide on a tool's pieces."""
    return TOOLS[options.tool].draws or bool(getattr(options, "temperature", 0.0))


def clips_of(trained: ClipTools, options: argparse.Namespace) -> list[Clip]:
    """The clips that the options name; says on standard error which bars and tracks they are."""
    cutting = {"start_bar": None if options.from_bar is None else options.from_bar - 1, "bars": options.clip_bars}
    cutting |= {"fill": options.fill, "rhythm": options.tool == "drumify"}
    if options.programs is not None:
        trained.config = with_converter(trained.config, programs=read_programs(options.programs))
        trained.converter = trained.config.converter
    clips = []
    for path, midi in zip(options.clips, options.midis, strict=True):
        try:
            track = None if options.track is None else tracks_of(midi, options.track)[0]
            midi = taken_in(trained, midi, options, track, is_first=not clips)
            clip = clip_with_chords(trained, midi, options, track=track, **cutting)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error
        parts = song_parts(steady_tempo(midi))
        where = f"{bars_taken(trained, parts, clip, options)}, track {', '.join(map(str, clip.tracks))}"
        tell(f"{path}: {where}, {clip.qpm:.4g} quarters per minute; it has {named_tracks(midi)}")
        for line in advice(trained.converter, midi, parts, clip, options):
            tell(line)
        clips.append(clip)
    return clips


def bars_taken(trained: ClipTools, parts: Sequence[Part], clip: Clip, options: argparse.Namespace) -> str:
    """The bars of a clip, in words."""
    bars = f"bars {clip.start_bar + 1} to {clip.start_bar + bars_of(trained, clip)}"
    if options.from_bar is not None or options.clip_bars is not None or in_one_metre(parts):
        return bars
    return f"{bars}, the longest stretch in {time_signature_text(trained.converter.time_signature)}"


def clip_with_chords(trained: ClipTools, midi: PrettyMIDI, options: argparse.Namespace, **cutting) -> Clip:
    """A clip with the options' chords, or with its song's if the tool keeps these and they can be found."""
    given = partial(trained.clip, midi, chords=options.chords, **cutting)
    kind = TOOLS[options.tool].chords
    if not (kind and kind.keep_clips) or options.chords in (None, SONG_CHORDS):
        return given()
    try:
        return trained.clip(midi, chords=SONG_CHORDS, **cutting)
    except ValueError as error:
        clip = given()
        tell(f"the clip is read under --chords, too: {error}")
        return clip


def bars_of(trained: ClipTools, clip: Clip) -> int:
    """The number of bars of a clip."""
    return len(clip.labels) // trained.converter.steps_per_bar


def finished(midi: PrettyMIDI, options: argparse.Namespace) -> PrettyMIDI:
    """A piece as the options of `add_output_arguments` want it, with General MIDI's drums."""
    midi = without_feel(with_names(midi)) if options.on_grid else with_names(midi)
    midi = midi if options.velocity is None else with_velocity(midi, options.velocity)
    return midi if options.swing is None else with_swing(midi, options.swing, options.swing_unit)


def taken_in(
    trained: ClipTools, midi: PrettyMIDI, options: argparse.Namespace, track: int | None, is_first: bool
) -> PrettyMIDI:
    """A song with the drums that the options declare, and straight if they ask for it.

    The files get back the swing of the first song.
    """
    intake = read_intake(options)
    if intake.drum_map and isinstance(trained.converter, DrumTracksConverter) and track is not None:
        intake = replace(intake, drum_tracks=(*intake.drum_tracks, track))
    check_drum_map(with_drum_tracks(midi, intake.drum_tracks), intake.drum_map)
    midi = intake.with_drums(midi)
    found = straighten(midi) if intake.straighten else None
    if found and found.midi is midi:
        tell("no swing to take out")
    elif found:
        tell(f"swing of {found.swing:.0f} per cent of a pair of {found.unit}s, taken out for the model")
        if is_first and options.swing is None:
            options.swing, options.swing_unit = found.swing, found.unit
    return found.midi if found else midi


def check_options(options: argparse.Namespace):
    """Checks and completes what a model is not needed for, so that an error comes at once."""
    options.path = find_model(options.model)
    if "straighten" in options:
        read_intake(options)
    check_folder(checked_path("--out", options.out))
    for name, check in NUMBERS.items():
        if getattr(options, name, None) is not None:
            check(name.replace("_", "-"), getattr(options, name))
    if check := COMMANDS[options.tool].check:
        check(options)
    if getattr(options, "programs", None) is not None:
        read_programs(options.programs)
    if getattr(options, "save", None) is not None:
        check_file(Path(checked_path("--save", options.save)))
    if options.tool in TOOLS:
        check_output_options(options)
    options.midis = [song_of(path) for path in getattr(options, "clips", None) or ()]


def song_of(path: str) -> PrettyMIDI:
    """The song of a file; raises ValueError for a folder, and what `load_midi` raises."""
    if Path(path).is_dir():
        raise ValueError(f"{path} is a folder: give a MIDI file")
    return load_midi(path)


def check_output_options(options: argparse.Namespace):
    """Checks and completes the options of a tool that writes MIDI files."""
    options.drum_map = read_drum_map("--drum-map", options.drum_map)
    programs = tuple(program_number(one) for one in options.program or ())
    options.program = programs if len(programs) > 1 else next(iter(programs), None)
    kind = TOOLS[options.tool].chords
    if options.chords == SONG_CHORDS and not kind.song:
        raise ValueError(f"{options.tool} takes new chords: give them as text, such as 'Am7 | G7'")
    if options.chord_track and options.chords is None:
        raise ValueError(f"--chord-track plays the chords of --chords: give both, and --model {FOLLOWER}")
    finished(PrettyMIDI(), options)  # raises ValueError for options out of range
    options.draws_seed = getattr(options, "seed", 0) is None
    if options.draws_seed:
        options.seed = random.randrange(SEED_RANGE)


def check_model(trained: ClipTools, options: argparse.Namespace):
    """Raises ValueError for a model that cannot do what the options ask for."""
    model = f"{options.path} is a model of {trained.config.name}, which"
    check_chords(trained, options, model)
    programs = getattr(options, "program", None)
    if isinstance(programs, tuple) and not isinstance(trained.converter, TrioConverter | MultitrackConverter):
        raise ValueError(f"{model} has one track, and --program has {len(programs)}")
    if options.tool in GROOVE_TOOLS:
        trained.groove_converter(options.tool)
    if options.tool == "compose" and options.songs is None and trained.sequence_prior is None:
        raise ValueError(f"{options.path} was fitted to no whole songs: give a folder of MIDI files as --songs")


def check_chords(trained: ClipTools, options: argparse.Namespace, model: str):
    """Raises ValueError for chords that a model, named in words, does not follow, or for one that lacks them."""
    follows, chords = trained.converter.chords, options.chords
    if follows and COMMANDS[options.tool].chords is None:
        raise ValueError(f"{model} follows chords, and {options.tool} takes none: choose another --model")
    if follows and chords is None:
        raise ValueError(f'{model} follows chords: give them, such as --chords "Am7 | G7"')
    if chords is not None and not follows:
        remedy = "" if COMMANDS[options.tool].chords.required else ", or omit --chords"
        raise ValueError(f"{model} does not follow chords: take --model {FOLLOWER}{remedy}")


def turn_dial(trained: ClipTools, options: argparse.Namespace):
    """Turns the dial of a model that `personalize` saved, if the options do; ValueError for a model without one."""
    if options.tool == "personalize" or getattr(options, "dial", None) is None:
        return
    if not isinstance(trained.prior, PersonalPrior):
        raise ValueError(f"{options.path} has no dial: --dial is for models that personalize saved")
    trained.prior_width = options.dial


def count_of(options: argparse.Namespace) -> int:
    """The number of files that a tool writes."""
    if options.tool == "page":
        return len(PAGES)
    if options.tool == "interpolate":
        pieces = options.steps if options.grid is None else options.grid**2
        return (1 if options.joined else pieces) + options.page
    return getattr(options, "count", 1) + options.page


def midi_files_of(trained: ClipTools, options: argparse.Namespace) -> Iterator[Path]:
    """Cuts the clips that the options name, then makes the pieces one by one.

    Returns:
        The files, each as soon as it is written.
    """
    playing = {"qpm": options.tempo, "program": options.program}
    if "seed" in options:
        source = Generator(trained.device).manual_seed(options.seed)
        playing |= {"temperature": options.temperature, "generator": source}
    clips = clips_of(trained, options) if "clips" in options else []
    return write_pieces(TOOLS[options.tool].make(trained, options, clips, playing), options)


def write_pieces(pieces: Pieces, options: argparse.Namespace) -> Iterator[Path]:
    """Writes pieces, and yields the path of each; shows a seed that was drawn once the first piece is made.

    With `--page`, a web page that plays them comes last, under the name of the first.
    """
    folder, made = Path(options.out), []
    for k, piece in enumerate(pieces):
        if k == 0 and options.draws_seed and uses_seed(options):
            with tqdm.external_write_mode():
                tell(f"seed {options.seed}")
        midi = finished(piece.midi, options)
        made.append(piece._replace(midi=with_chord_track(midi, piece.bars) if options.chord_track else midi))
        midi = with_drum_map(made[-1].midi, options.drum_map)
        yield write_new(folder / f"{piece.name}.mid", partial(write_midi, midi, bars=piece.bars))
    if options.page:
        names, midis, (bars, *_) = zip(*made, strict=True)
        page = partial(write_gallery, midis=midis, titles=names, bars=bars, title=f"{options.tool}: {names[0]}")
        yield write_new(folder / f"{names[0]}.html", page)


def write_new(path: Path, write: Callable[[Path], None]) -> Path:
    """Writes a file under its name; if another file has that name, 'NAME (2)', and so on. Returns the path.

    Raises:
        ValueError: the file cannot be written.
    """
    draft = path.with_name(f".{path.name}.partial")
    try:
        write(draft)
        paths = (path.with_stem(f"{path.stem}{f' ({k})' if k > 1 else ''}") for k in itertools.count(1))
        return draft.replace(next(one for one in paths if not one.exists() or one.read_bytes() == draft.read_bytes()))
    except (OSError, ValueError) as error:
        draft.unlink(missing_ok=True)
        fault = error.strerror if isinstance(error, OSError) else error
        raise ValueError(f"{path} cannot be written ({fault}): give another --out") from error


def make_folder(path: str):
    """Makes the folder of the files; raises ValueError where that cannot be."""
    try:
        Path(path).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"{path} cannot be made: {error.strerror}; give another folder as --out") from error


def main(load: Callable[..., ClipTools], arguments: list[str] | None = None):
    """Runs the command: a tool makes files, and the path of each is printed as soon as it is written.

    Args:
        load: `TrainedModel.load`.
        arguments: of the command; those of the process when None.
    """
    options, written = parse_arguments(arguments), 0
    try:
        with errors_in_a_line(ValueError, KeyError):
            check_options(options)
            trained, count = load(options.path, config_name=options.config), count_of(options)
            check_model(trained, options)
            turn_dial(trained, options)
            files = PAGE.make(trained, options) if options.tool == "page" else midi_files_of(trained, options)
            make_folder(options.out)
            for path in tqdm(files, total=count, unit="file", disable=count == 1):
                written += 1
                with tqdm.external_write_mode():
                    say(path)
    except KeyboardInterrupt:
        raise SystemExit(f"stopped; {counted(written, 'file')} written to {options.out}") from None


class Chords(NamedTuple):
    """How a tool takes --chords."""

    song: bool = True  # whether they may be those of the clip's own song
    keep_clips: bool = False  # whether the clip has its song's, while --chords are for what is new
    required: bool = False


class Tool(NamedTuple):
    """A tool of the command."""

    make: Callable[..., Iterator]  # yields Pieces; that of the page, the paths of files
    purpose: str
    example: str  # its arguments
    clips: int | str = 1  # how many it takes, as argparse counts: "+" one or more, "*" any number, 0 none
    model: str = DEFAULT_MODEL  # that it uses where none is given
    draws: bool = False  # latent vectors: it has --count, and its seed matters at temperature 0
    temperature: float | None = 0.0  # of decoding, where none is given; None if it draws nothing
    chords: Chords | None = Chords()
    options: Callable[[argparse.ArgumentParser], None] | None = None  # adds those that not every tool has
    check: Callable[[argparse.Namespace], None] | None = None  # completes them; raises ValueError if they do not fit


TOOLS = {  # they write MIDI files
    "generate": Tool(
        generate_pieces,
        "make new pieces",
        "--count 4 --bars 8 --temperature 0.5 --seed 1",
        clips=0,
        draws=True,
        temperature=TEMPERATURE,
        chords=Chords(song=False),
        options=add_drawing_arguments,
    ),
    "continue": Tool(
        continue_pieces,
        "let a clip go on in its style",
        "song.mid --bars 8 --model mel_2bar_low",
        draws=True,
        temperature=TEMPERATURE,
        chords=Chords(keep_clips=True),
        options=add_drawing_arguments,
    ),
    "interpolate": Tool(
        interpolate_pieces,
        "go from clip to clip, on a line or in a grid of four corners",
        "a.mid b.mid c.mid --steps 9",
        clips="+",
        model="mel_2bar",
        options=add_interpolate_arguments,
        check=check_interpolate,
    ),
    "compose": Tool(
        compose_pieces,
        "make long pieces in which parts come back: new, after a clip, or between two",
        "--bars 64 --seed 1",
        clips="*",
        draws=True,
        temperature=TEMPERATURE,
        chords=None,
        options=add_compose_arguments,
        check=check_compose,
    ),
    "vary": Tool(
        vary_pieces,
        "make versions of a clip",
        "song.mid --amount 0.3 --count 4",
        model="mel_2bar",
        draws=True,
        options=add_vary_arguments,
    ),
    "personalize": Tool(
        personalize_pieces,
        "make new pieces near a few songs",
        "song.mid more.mid --dial 0.25 --count 4 --bars 4",
        clips="+",
        draws=True,
        temperature=TEMPERATURE,
        chords=Chords(song=False),
        options=add_personalize_arguments,
    ),
    "groove": Tool(
        groove_pieces,
        "give stiff drums timing and dynamics",
        "beat.mid --strength 0.8",
        model=GROOVE_TOOLS["groove"][1],
        temperature=None,
        chords=None,
        options=add_groove_arguments,
    ),
    "drumify": Tool(
        drumify_pieces,
        "play drums to the rhythm of any track",
        "bass.mid --track 0",
        model=GROOVE_TOOLS["drumify"][1],
        chords=None,
        options=add_drumify_arguments,
        check=check_drumify,
    ),
    "reharmonize": Tool(
        reharmonize_pieces,
        "play a clip under other chords",
        'song.mid --chords "Am7 Dm7 | G7 Cmaj7"',
        model=FOLLOWER,
        chords=Chords(song=False, keep_clips=True, required=True),
    ),
    "reconstruct": Tool(
        reconstruct_pieces,
        "encode a clip of any length and decode it",
        "song.mid --from-bar 5 --clip-bars 8",
        model="mel_2bar",
    ),
}
PAGE = Tool(
    page_files,
    "write web pages that play: samples, a space of loops, a blind test",
    "--model mel_2bar_low --out generated/pages",
    clips=0,
    temperature=None,
    chords=None,
    options=partial(add_page_arguments, temperature=TEMPERATURE),
)
COMMANDS = TOOLS | {"page": PAGE}
