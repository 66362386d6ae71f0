"""The command python generate.py TOOL ...: reads and checks its options, cuts the clips, writes the pieces."""

import argparse
import difflib
import itertools
import random
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from pretty_midi import PrettyMIDI
from torch import Generator
from tqdm import tqdm

from checkpoint import check_file
from console import errors_in_a_line, say, tell
from engine.checks import checked_count, checked_path, checked_seed, checked_share, checked_temperature
from magenta_checkpoint import is_magenta_checkpoint
from midi_utils import load_midi, midi_files
from music.clip_chords import SONG_CHORDS
from music.clips import FILLS, LEAD_OF_TRIO, Clip, checked_bars
from music.converter import empty_song, named_tracks
from music.grid import Part, counted, song_parts, steady_tempo, time_signature_text
from music.intake import check_drum_map, tracks_of, with_drum_tracks
from music.keys import in_key, read_key
from music.midi_output import (
    SWING_UNITS,
    program_number,
    with_chord_track,
    with_drum_map,
    with_names,
    with_swing,
    with_velocity,
    without_feel,
    write_midi,
)
from music.options import add_intake_arguments, read_drum_map, read_intake, read_programs, read_track
from music.swing import Straightened, straighten
from music.trio import TrioConverter
from prior import PersonalPrior
from studio.advice import advice, is_longest_stretch
from studio.clip_tools import GROOVE_TOOLS, ClipTools
from studio.near import checked_amount, checked_dial
from studio.pages import PAGES
from studio.tools import COMMANDS, FOLLOWER, PAGE, TOOLS, Pieces, Tool, bars_of, uses_seed
from studio.write import write_gallery
from training.run_folder import check_folder

PRETRAINED = Path(__file__).parents[1] / "pretrained"
SEED_RANGE = 2**16  # seeds that the command draws where none is given


CHECKS = {  # of the values of options, by name, where they are given
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
    "key": lambda _, key: read_key(key),
}


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
        known = {name: re.findall(r"--[\w-]+", one.format_usage()) for name, one in tools.choices.items()}
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


def example_of(name: str, tool: Tool) -> str:
    """A command line of a tool."""
    return f"python generate.py {name} {tool.example}"


def add_arguments(parser: argparse.ArgumentParser, tool: Tool):
    """Adds the options of a tool."""
    if tool.clips:
        what = "MIDI file" + ", or a folder of them" * tool.folders
        parser.add_argument("clips", nargs=tool.clips, metavar="CLIP", help=what)
    what = f"name in pretrained/, or a path (default: {tool.model})"
    parser.add_argument("--model", default=tool.model, help=what)
    parser.add_argument("--config", help="preset of one of Magenta's models, where its file fits several")
    parser.add_argument("--out", default="generated", help="folder of the files (default: generated)")
    if tool.draws:
        parser.add_argument("--count", type=int, default=1, help="number of pieces (default: 1)")
    parser.set_defaults(key=None)  # of the tools that add no --key
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


def add_chord_arguments(parser: argparse.ArgumentParser, tool: Tool):
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
    group.add_argument("--track", type=read_track, action="append", help=f"{what}; of several clips, once or for each")
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


# ---- Clips and finished pieces ----


def clips_of(trained: ClipTools, options: argparse.Namespace) -> list[Clip]:
    """The clips that the options name; says on standard error which bars and tracks they are."""
    cutting = {"start_bar": None if options.from_bar is None else options.from_bar - 1, "bars": options.clip_bars}
    cutting |= {"fill": options.fill, "rhythm": options.tool == "drumify"}
    clips = []
    for (path, midi), wanted in zip(options.midis, options.tracks, strict=True):
        try:
            track = None if wanted is None else track_of(trained, midi, wanted)
            midi, swung = taken_in(trained, midi, options, track, path)
            clips.append(clip_with_chords(trained, midi, options, track=track, **cutting))
        except ValueError as error:
            leave_out(path, options, ValueError(f"{path}: {error}"))
        else:
            if swung and len(clips) == 1 and options.swing is None:
                options.swing, options.swing_unit = swung.swing, swung.unit  # which the files get back
            tell_of_clip(path, trained, midi, clips[-1], options)
    if options.folders and not clips:
        raise ValueError(f"no clip for this model in {', '.join(options.folders)}")
    return clips


def track_of(trained: ClipTools, midi: PrettyMIDI, wanted: int | str) -> int:
    """The index of a track by number or name; of several of one name the first that is, or is not, drums as needed."""
    found, takes_drums = tracks_of(midi, wanted), trained.converter.only_drums
    return next((k for k in found if midi.instruments[k].is_drum == takes_drums), found[0])


def tell_of_clip(path: str, trained: ClipTools, midi: PrettyMIDI, clip: Clip, options: argparse.Namespace):
    """Says which bars and tracks of a file a clip is, with hints if the command names the file itself."""
    parts = song_parts(steady_tempo(midi))
    where = f"{bars_taken(trained, parts, clip, options)}, track {', '.join(map(str, clip.tracks))}"
    if path not in map(str, options.clips):
        return tell(f"{path}: {where}")
    tell(f"{path}: {where}, {clip.qpm:.4g} quarters per minute; it has {named_tracks(midi)}")
    for line in advice(trained.converter, midi, parts, clip, options):
        tell(line)


def bars_taken(trained: ClipTools, parts: Sequence[Part], clip: Clip, options: argparse.Namespace) -> str:
    """The bars of a clip, in words."""
    bars = f"bars {clip.start_bar + 1} to {clip.start_bar + bars_of(trained, clip)}"
    if not is_longest_stretch(parts, options):
        return bars
    paired = "; --pair-bars takes its 2/4, too" if any(map(trained.converter.fits_in_pairs, parts)) else ""
    return f"{bars}, the longest stretch in {time_signature_text(trained.converter.time_signature)}{paired}"


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


def finished_piece(midi: PrettyMIDI, options: argparse.Namespace) -> PrettyMIDI:
    """A piece as the options of `add_output_arguments` want it, with General MIDI's drums."""
    midi = without_feel(with_names(midi)) if options.on_grid else with_names(midi)
    midi = midi if options.key is None else in_key(midi, options.key)
    midi = midi if options.velocity is None else with_velocity(midi, options.velocity)
    return midi if options.swing is None else with_swing(midi, options.swing, options.swing_unit)


def taken_in(
    trained: ClipTools, midi: PrettyMIDI, options: argparse.Namespace, track: int | None, path: str
) -> tuple[PrettyMIDI, Straightened | None]:
    """The song of a path with the drums that the options declare, and straight and in pairs of bars if they ask for it.

    Returns:
        The song, and what it was straightened to if it had a swing.
    """
    intake = read_intake(options)
    if intake.drum_map and trained.converter.only_drums and track is not None:
        intake = replace(intake, drum_tracks=(*intake.drum_tracks, track))
    check_drum_map(with_drum_tracks(midi, intake.drum_tracks), intake.drum_map)
    midi = intake.with_drums(midi)
    found = straighten(midi) if intake.straighten else None
    if found and found.midi is midi:
        tell(f"{path}: no swing to take out")
        found = None
    elif found:
        tell(f"{path}: swing of {found.swing:.0f} per cent of a pair of {found.unit}s, taken out for the model")
    return intake.in_pairs(found.midi if found else midi), found


def check_options(options: argparse.Namespace):
    """Checks and completes what a model is not needed for, so that an error comes at once."""
    options.path = find_model(options.model)
    if "straighten" in options:
        read_intake(options)
    check_folder(checked_path("--out", options.out))
    for name, check in CHECKS.items():
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
    options.midis = list(songs_of(options))
    options.tracks = tracks_wanted(options) if "track" in options else []


def tracks_wanted(options: argparse.Namespace) -> list[int | str | None]:
    """What --track names for each song; raises ValueError unless it is given once, or once per song."""
    wanted, count = options.track or [None], len(options.midis)
    if len(wanted) not in (1, count):
        raise ValueError(f"give --track once, or once for each of {counted(count, 'clip')}: got {len(wanted)}")
    return wanted * count if len(wanted) == 1 else wanted


def songs_of(options: argparse.Namespace) -> Iterator[tuple[str, PrettyMIDI]]:
    """The files of the clips with their songs; those in folders if the tool takes some.

    Raises:
        ValueError: a folder where the tool takes none, and what `load_midi` raises, see `leave_out`.
    """
    clips = getattr(options, "clips", None) or ()
    options.folders = [clip for clip in clips if Path(clip).is_dir()]
    if options.folders and not COMMANDS[options.tool].folders:
        raise ValueError(f"{options.folders[0]} is a folder: give a MIDI file")
    files = (sorted(midi_files(Path(clip))) if clip in options.folders else [clip] for clip in clips)
    for path in itertools.chain.from_iterable(files):
        try:
            yield str(path), load_midi(path)
        except ValueError as error:
            leave_out(str(path), options, error)


def leave_out(path: str, options: argparse.Namespace, error: ValueError):
    """Prints that a file of a folder is left out, and why; raises the error if the command names the file itself."""
    if path in map(str, options.clips):
        raise error
    tell(f"left out: {error}")


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
    finished_piece(PrettyMIDI(), options)  # raises ValueError for options out of range
    options.draws_seed = getattr(options, "seed", 0) is None
    if options.draws_seed:
        options.seed = random.randrange(SEED_RANGE)


def check_model(trained: ClipTools, options: argparse.Namespace):
    """Raises ValueError for a model that cannot do what the options ask for."""
    model = f"{options.path} is a model of {trained.config.name}, which"
    check_chords(trained, options, model)
    if options.key is not None:
        check_key(trained, options, model)
    programs = getattr(options, "program", None)
    if isinstance(programs, tuple) and not trained.converter.several_tracks:
        raise ValueError(f"{model} has one track, and --program has {len(programs)}")
    if getattr(options, "programs", None) is not None and isinstance(trained.converter, TrioConverter):
        raise ValueError(f"{model} takes several tracks, by their programs: omit --programs; {LEAD_OF_TRIO}")
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


def check_key(trained: ClipTools, options: argparse.Namespace, model: str):
    """Raises ValueError for a key beside chords, or for a model, named in words, of drums."""
    if options.chords is not None:
        raise ValueError("--chords give the piece its key: omit --key")
    if trained.converter.only_drums:
        raise ValueError(f"{model} plays drums alone: omit --key")


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
        midi = finished_piece(piece.midi, options)
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
            if getattr(options, "programs", None) is not None:
                trained = trained.with_converter(programs=read_programs(options.programs))
            files = PAGE.make(trained, options) if options.tool == "page" else midi_files_of(trained, options)
            make_folder(options.out)
            for path in tqdm(files, total=count, unit="file", disable=count == 1):
                written += 1
                with tqdm.external_write_mode():
                    say(path)
    except KeyboardInterrupt:
        raise SystemExit(f"stopped; {counted(written, 'file')} written to {options.out}") from None
