"""The tools of the command: the options of each, the pieces that it makes, and the names of their files."""

import argparse
import re
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from pretty_midi import PrettyMIDI
from tqdm import tqdm

from checkpoint import model_name
from console import tell
from music.clip_chords import SONG_CHORDS
from music.clips import Clip, NoClipError
from music.grid import counted, seconds_per_step
from music.keys import key_name, read_key
from music.midi_output import in_turn
from music.options import read_intake
from studio.advice import repeats_clips
from studio.clip_tools import GROOVE_TOOLS, ClipTools
from studio.compose import VARIATION, ComposeTools
from studio.directions import directions_path
from studio.near import DIAL, NearTools
from studio.pages import add_page_arguments, page_files

DEFAULT_MODEL = "mel_2bar_low"
FOLLOWER = "mel_2bar_chords"  # the model that follows chords
COMPOSED_BARS = 64
STEPS = 5  # of an interpolation
STRENGTH = 1.0  # of a groove
MAX_NAME = 40  # characters of an option in a file's name
PULSES = {"4th": 4, "8th": 2, "16th": 1}  # steps between the strokes of the hi-hat that drumify adds
TEMPERATURE = 0.5  # of the command's new music
DRAWS = 8  # of a piece, until it is new
EQUAL = "the same notes as in an earlier piece: a larger --variation, --amount or --temperature makes others"


class Piece(NamedTuple):
    """A piece that a tool made."""

    name: str  # of its file, without the ending
    midi: PrettyMIDI
    bars: int


Pieces = Iterator[Piece]
Fault = Callable[[PrettyMIDI], str | None]  # what is wrong with a piece, in words


def no_fault(midi: PrettyMIDI) -> None:
    """Nothing is wrong."""


# ---- The options of each tool, and the pieces that it makes ----


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


def add_generate_arguments(parser: argparse.ArgumentParser):
    """Adds the options of `generate`."""
    add_drawing_arguments(parser)
    add_key_argument(parser)


def add_key_argument(parser: argparse.ArgumentParser):
    """Adds the key of new music."""
    parser.add_argument("--key", help="such as 'A minor' or Bb; default: the key in which a piece is drawn")


def add_dial_argument(parser: argparse.ArgumentParser, dial: float | None = None):
    """Adds the dial of a model that `personalize` made; the model's own when None."""
    what = f"of a model of a few songs: 0 (these songs) to 1 (anything); default: {dial or 'as it was saved'}"
    parser.add_argument("--dial", type=float, default=dial, help=what)


def generate_pieces(trained: NearTools, options: argparse.Namespace, clips: list[Clip], playing: dict) -> Pieces:
    """New pieces, one by one."""
    yield from new_pieces(trained, (model_name(options.path),), options, playing)


def add_personalize_arguments(parser: argparse.ArgumentParser):
    """Adds the options of `personalize`."""
    add_length_arguments(parser, songs="")
    add_dial_argument(parser, DIAL)
    add_key_argument(parser)
    what = "save the model of these songs for --model; an existing file is replaced"
    parser.add_argument("--save", metavar="FILE", help=what)


def personalize_pieces(trained: NearTools, options: argparse.Namespace, clips: list[Clip], playing: dict) -> Pieces:
    """New pieces near the clips, in the tempo and with the program and the dynamics of the first."""
    first = clips[0]._asdict()
    playing = playing | {name: first[name] for name in ("qpm", "program") if playing[name] is None}
    words = Path(options.clips[0]).stem, "personalized"
    personal = trained.personalize(clips, options.dial)
    if options.save is not None:
        personal.save(options.save)
        tell(f"the model of these songs is in {options.save}")
    for piece in new_pieces(personal, words, options, playing):
        yield piece._replace(midi=trained.as_played(piece.midi, clips[0]))


def new_pieces(trained: NearTools, words: tuple[str, ...], options: argparse.Namespace, playing: dict) -> Pieces:
    """Draws of a model, one by one."""
    bars = trained.converter.bars if options.bars is None else options.bars
    name, made = file_name(options, *words, f"{bars}bars"), {"variation": options.variation, "chords": options.chords}
    return numbered(name, bars, options.count, lambda: trained.sample_clips(1, bars, **made, **playing)[0])


def numbered(name: str, bars: int, count: int, make: Callable[[], PrettyMIDI], fault: Fault = no_fault) -> Pieces:
    """So many pieces of one length, made one by one; says on standard error what is wrong with one.

    A piece that equals an earlier one, or has another fault, is made again, up to DRAWS times.
    """
    earlier = []
    for k in range(1, count + 1):
        for _ in range(DRAWS):
            midi = make()
            notes = notes_of(midi)
            found = EQUAL if notes in earlier else fault(midi)
            if not found:
                break
        else:
            with tqdm.external_write_mode():
                tell(f"{name}_{k}: {found}")
        earlier.append(notes)
        yield Piece(f"{name}_{k}", midi, bars)


def notes_of(midi: PrettyMIDI) -> list[tuple]:
    """The track, the times and the pitch of each note."""
    tracks = enumerate(midi.instruments)
    return [(index, note.start, note.end, note.pitch) for index, track in tracks for note in track.notes]


def repeats_clips_in(trained: NearTools, clips: Sequence[Clip], bars: int, remedy: str, midi: PrettyMIDI) -> str | None:
    """That the new bars of a piece of so many bars, with clips at its ends, only repeat windows of these."""
    own = [bars_of(trained, clip) for clip in clips]
    try:
        new = trained.clip(midi, start_bar=own[0], bars=bars - sum(own)).labels
    except NoClipError:  # they have no notes
        return None
    told = f"the new bars repeat windows of the clip{'s' * (len(own) > 1)}: {remedy}"
    return told if repeats_clips(new, clips, trained.converter) else None


def add_compose_arguments(parser: argparse.ArgumentParser):
    """Adds the options of `compose`."""
    what = f"length of a piece, with its clips (default: {COMPOSED_BARS})"
    parser.add_argument("--bars", type=int, default=COMPOSED_BARS, help=what)
    what = "folder of MIDI files whose form the pieces take; default: the songs that the model was fitted to"
    parser.add_argument("--songs", help=what)
    add_key_argument(parser)


def check_compose(options: argparse.Namespace):
    """Raises ValueError for more clips than a piece has ends, and for a key beside a clip's."""
    if len(options.clips) > 2:
        raise ValueError(f"a piece has a clip at its start and one at its end, got {len(options.clips)} clips")
    if options.clips and options.key is not None:
        raise ValueError("a piece with clips is in their key: omit --key")


def compose_pieces(trained: ComposeTools, options: argparse.Namespace, clips: list[Clip], playing: dict) -> Pieces:
    """Long pieces, one by one: new, or after a clip, or between two."""
    if options.songs is not None:
        trained.fit_sequence_prior(options.songs, read_intake(options))
    stems = [Path(clip).stem for clip in options.clips] or [model_name(options.path)]
    name = file_name(options, "_to_".join(stems), f"composed_{options.bars}bars")
    ends = dict(zip(("start", "end"), clips, strict=False))
    remedy = "another --seed may make new ones"
    fault = partial(repeats_clips_in, trained, clips, options.bars, remedy) if clips else no_fault
    make = partial(trained.compose, options.bars, **ends, **playing)
    return numbered(name, options.bars, options.count, lambda: make()[0], fault)


def add_vary_arguments(parser: argparse.ArgumentParser):
    """Adds the options of `vary`."""
    what = f"0 (the clip as the model has it) to 1 (anything); default: {VARIATION}"
    parser.add_argument("--amount", type=float, default=VARIATION, help=what)
    add_dial_argument(parser)


def vary_pieces(trained: NearTools, options: argparse.Namespace, clips: list[Clip], playing: dict) -> Pieces:
    """Versions of a clip, one by one."""
    name = clip_file_name(options, f"varied{options.amount:g}")
    bars = bars_of(trained, clips[0])
    return numbered(name, bars, options.count, lambda: trained.vary(clips[0], options.amount, **playing)[0])


def continue_pieces(trained: ComposeTools, options: argparse.Namespace, clips: list[Clip], playing: dict) -> Pieces:
    """A clip with different continuations, one by one."""
    bars = trained.converter.bars if options.bars is None else options.bars
    name, whole = clip_file_name(options, f"continued_{bars}bars"), bars_of(trained, clips[0]) + bars
    chords = None if options.chords == SONG_CHORDS else options.chords
    playing = playing | {"chords": chords, "variation": options.variation}
    as_songs = options.variation is None and trained.sequence_prior is not None
    remedy = f"--variation {VARIATION} makes new ones"
    fault = partial(repeats_clips_in, trained, clips, whole, remedy) if as_songs else no_fault
    return numbered(name, whole, options.count, lambda: trained.continue_clip(clips[0], bars, **playing)[0], fault)


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
    parser.add_argument("--keep-velocities", action="store_true", help="change the timing alone")


def groove_pieces(trained: ClipTools, options: argparse.Namespace, clips: list[Clip], playing: dict) -> Pieces:
    """A drum clip with timing and dynamics."""
    tempo = {name: playing[name] for name in ("qpm", "program")}
    midi = trained.groove(clips[0], options.strength, keep_velocities=options.keep_velocities, **tempo)
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
    name, bars = clip_file_name(options, f"drums{pulse}"), bars_of(trained, clips[0])
    pieces = numbered(
        name, bars, options.count, lambda: trained.drumify(clips[0], pulse=PULSES.get(options.pulse), **playing)
    )
    yield from pieces if options.count > 1 else (piece._replace(name=name) for piece in pieces)


def reharmonize_pieces(trained: ClipTools, options: argparse.Namespace, clips: list[Clip], playing: dict) -> Pieces:
    """A clip under other chords."""
    midi = trained.reconstruct_clip(clips[0], chords=options.chords, **playing)
    yield Piece(clip_file_name(options, "reharmonized"), midi, bars_of(trained, clips[0]))


def add_reconstruct_arguments(parser: argparse.ArgumentParser):
    """Adds the option of `reconstruct`."""
    what = "moves the clip along a direction of the model: note_density=1 is busier, note_density=-1 sparser"
    parser.add_argument("--direction", action="append", type=read_direction, metavar="NAME=STRENGTH", help=what)


def read_direction(text: str) -> tuple[str, float]:
    """The name and the strength of a direction such as note_density=1."""
    name, _, strength = text.partition("=")
    if not name or not re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)", strength):
        raise argparse.ArgumentTypeError(f"give NAME=STRENGTH, such as note_density=1, not {text}")
    return name, float(strength)


def reconstruct_pieces(trained: NearTools, options: argparse.Namespace, clips: list[Clip], playing: dict) -> Pieces:
    """A clip, encoded and decoded, moved along directions on the way if the options name some."""
    if options.direction is not None:
        directions = trained.load_directions(directions_path(options.path))
        playing = playing | {"change": lambda mu: directions.apply(mu, **dict(options.direction))}
    midi = trained.reconstruct_clip(clips[0], **playing)
    yield Piece(clip_file_name(options, "reconstructed"), midi, bars_of(trained, clips[0]))


# ---- Names and lengths ----


def file_name(options: argparse.Namespace, *words: str) -> str:
    """A file's name without its ending: the words, options other than the tool's own, and the seed of what is drawn."""
    tool, model = TOOLS[options.tool], model_name(options.path)
    if options.model != tool.model and model not in words:
        words += (model,)
    dial = DIAL if options.tool == "personalize" else None
    own = dict.fromkeys(("track", "from_bar", "clip_bars", "variation", "direction", "chords", "key"))
    own |= {"dial": dial, "strength": STRENGTH, "keep_velocities": False, "temperature": tool.temperature}
    changed = {name: getattr(options, name) for name in own if getattr(options, name, own[name]) != own[name]}
    words += tuple(in_name(name, value) for name, value in changed.items())
    if uses_seed(options):
        words += (f"seed{options.seed}",)
    return "_".join(words)


def in_name(option: str, value) -> str:
    """An option in a file's name, such as frombar5, track3_0, note_density1, Am7_G7 or A_minor."""
    name = "" if option in ("chords", "key", "direction") else option.replace("_", "")
    values = value if isinstance(value, list) else [key_name(read_key(value)) if option == "key" else value]
    text = "" if value is True else "_".join(map(as_text, values)).replace("#", "sharp")
    return name + re.sub(r"[^\w.-]+", "_", text).strip("_")[:MAX_NAME]


def as_text(value) -> str:
    """A value as it is written in a command; a direction without its sign of equality."""
    if isinstance(value, tuple):
        return "".join(map(as_text, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def clip_file_name(options: argparse.Namespace, *words: str) -> str:
    """`file_name` with the name of the clip's file before the words."""
    return file_name(options, Path(options.clips[0]).stem, *words)


def uses_seed(options: argparse.Namespace) -> bool:
    """Whether random numbers decide on a tool's pieces."""
    return TOOLS[options.tool].draws or bool(getattr(options, "temperature", 0.0))


def bars_of(trained: ClipTools, clip: Clip) -> int:
    """The number of bars of a clip."""
    return len(clip.labels) // trained.converter.steps_per_bar


# ---- The table of tools ----


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
    folders: bool = False  # whether it takes folders of clips, too
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
        options=add_generate_arguments,
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
        folders=True,
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
        options=add_reconstruct_arguments,
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
