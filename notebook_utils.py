"""Listening and looking in notebooks: audio players, piano rolls, training curves, a map of the latent space.

Only notebooks and paper/figures.py import this module. It uses PrettyMIDI, arrays, matplotlib and IPython, and builds
no networks. What players play is rendered by music/sound.py.
"""

import itertools
from base64 import b64encode
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from html import escape
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import matplotlib.pyplot as plt
import numpy as np
import pretty_midi
from IPython.display import HTML
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from checkpoint import read_checkpoint
from engine.checks import checked_count, checked_non_negative, described, finite_array
from midi_utils import Midi, SongDataset, as_midi, as_midis, load_songs
from music import sound
from music.drums import DRUM_PITCHES
from music.grid import bar_lines
from music.midi_file import parse_midi
from music.midi_output import in_turn
from music.sound import Sound, beginning, mu_law, resample, wav_file  # noqa: F401  notebooks take all from here
from music.trio import BASS_PROGRAMS

if TYPE_CHECKING:
    import ipywidgets

    from configs import Config

GIB = 2**30  # bytes
# Free memory of a GPU in bytes, from the largest down, and the hierarchical melody preset that trains in it.
GPU_PRESETS = ((40 * GIB, "hierdec-mel_16bar"), (4 * GIB, "hier-mel_16bar_small"))
CPU_PRESET = "hier-mel_16bar_mini"

SHOWN_DIMENSIONS = 32  # of a conductor's vectors
MAX_PLAYERS = 3  # in a row: a browser's player needs about 300 pixels
PLAYER_PIXELS = 340  # widest

# Colours that people with any colour vision can tell apart (Okabe and Ito, 2008)
BLUE, VERMILLION, GREEN, ORANGE, PURPLE, SKY = "#0072B2", "#D55E00", "#009E73", "#E69F00", "#CC79A7", "#56B4E9"
INK, GREY, PALE, STRIPE = "#333333", "#8A8F98", "#D9DCE1", "#F5F6F8"
PALETTE = (BLUE, VERMILLION, GREEN, ORANGE, PURPLE, SKY)
ROLE_COLOURS = {"melody": BLUE, "bass": VERMILLION, "drums": INK}
OTHER_COLOURS = (GREEN, ORANGE, PURPLE, SKY)
BLACK_KEYS = (1, 3, 6, 8, 10)

DRUM_NAMES = ("kick", "snare", "closed hat", "open hat", "low tom", "mid tom", "high tom", "crash", "ride")
DRUM_ROWS = tuple(zip(DRUM_NAMES, DRUM_PITCHES, strict=True))  # from the lowest row up
WIDTH_INCHES = 10.0  # of the widest figure: a notebook's cell shows it at its full size
MAX_COLUMNS = 4  # of piano rolls
BARS_PER_ROW = 12  # of piano rolls side by side, at most
STRIP_INCHES = 0.17  # height of a row of the drum strip
ROW_GAP, COLUMN_GAP, BOTTOM = 0.42, 0.12, 0.5  # inches around the piano rolls, for titles and labels
HIT_BARS = 1 / 24  # width of a drawn hit


def pick_preset(free_bytes: int | None) -> str:
    """The largest hierarchical melody preset that a GPU with this much free memory trains; None is a CPU."""
    free_bytes = None if free_bytes is None else checked_count("free_bytes", free_bytes, least=0)
    return next((name for least, name in GPU_PRESETS if free_bytes and free_bytes >= least), CPU_PRESET)


def first_with_songs(presets: Sequence["Config"], folder: str | Path) -> tuple["Config", SongDataset]:
    """The first preset for which at least two songs of a folder have windows, or else the first one, and these songs.

    Raises:
        ValueError: no song has a window of the first preset, or the folder cannot be read; see `load_songs`.
    """
    for preset in presets if len(presets) > 1 else ():
        with suppress(ValueError):
            songs = load_songs(folder, preset.converter)
            if len(songs.names) > 1:
                return preset, songs
    return presets[0], load_songs(folder, presets[0].converter)


def published_weights(preset: str, folder: str | Path = "pretrained") -> Path | None:
    """The first file of a folder, by name, that has weights of a preset; None if there is none."""
    paths = sorted(Path(folder).glob("*.pt"))  # mel_2bar.pt comes before mel_2bar_low.pt
    return next((path for path in paths if read_checkpoint(path)["config"]["name"] == preset), None)


def even_columns(count: int, most: int) -> int:
    """The columns of a grid whose rows are as equal as possible: 4 cells with 3 columns at most stand 2 + 2."""
    count, most = checked_count("count", count), checked_count("most", most)
    rows = -(-count // most)
    return -(-count // rows)


# --- songs ------------------------------------------------------------------------------------------------------------


def count_onsets(midi: Midi, seconds: float = np.inf) -> int:
    """The number of times in the first `seconds` at which at least one note begins."""
    midi = as_midi(midi)
    return len({note.start for part in midi.instruments for note in part.notes if note.start < seconds - 0.01})


def count_pitches(midi: Midi) -> int:
    """The number of different pitches in a song, drums apart."""
    midi = as_midi(midi)
    return len({note.pitch for part in midi.instruments if not part.is_drum for note in part.notes})


def typical(songs: Iterable[Midi]) -> list[pretty_midi.PrettyMIDI]:
    """The quarter of the songs whose numbers of onsets and of pitches are nearest the median, the fullest first."""
    middle = _middle_half(_middle_half(as_midis("songs", songs), count_onsets), count_pitches)
    return sorted(middle, key=count_onsets, reverse=True)


def _middle_half(
    songs: Sequence[pretty_midi.PrettyMIDI], count: Callable[[pretty_midi.PrettyMIDI], int]
) -> list[pretty_midi.PrettyMIDI]:
    """The half of the songs, rounded up, whose count is nearest the median."""
    counts = np.array([count(song) for song in songs])
    order = np.abs(counts - np.median(counts)).argsort(kind="stable")
    return [songs[k] for k in order[: -(-len(songs) // 2)]]


def concatenate(songs: Iterable[Midi], seconds_each: float) -> pretty_midi.PrettyMIDI:
    """One song that plays several songs with the same tracks in turn, one every `seconds_each` seconds.

    Raises:
        ValueError: no songs, songs with different numbers of tracks, or a time below 0.
    """
    songs, seconds_each = as_midis("songs", songs), checked_non_negative("seconds_each", seconds_each)
    if len({len(song.instruments) for song in songs}) > 1:
        counts = [len(song.instruments) for song in songs]
        raise ValueError(f"songs must have the same tracks, got songs of {counts} tracks")
    return in_turn(songs, seconds_each)


# --- sound ------------------------------------------------------------------------------------------------------------


def render(midi: Midi, seconds: float | None = None) -> Sound:
    """Renders a song, or the path of its MIDI file, to sound: see music/sound.py."""
    return sound.render(as_midi(midi), seconds)


def play(midi: Midi, title: str = "", seconds: float | None = None) -> HTML:
    """An audio player for one song, or for the path of its MIDI file; a cell that ends with it shows it."""
    return side_by_side([as_midi(midi)], [title], seconds)


def side_by_side(songs: Iterable[Midi], titles: Sequence[str], seconds: float | None = None) -> HTML:
    """Audio players in a grid of even rows, each under its title.

    Args:
        songs: songs or paths of MIDI files; a song without notes gets a silent clip and a remark.
        titles: one per song.
        seconds: length of the beginning of each song to play; None for whole songs.

    Raises:
        ValueError: no songs, not one title per song, or a time that is not above 0.
    """
    songs = as_midis("songs", songs)
    titles = checked_titles(titles, len(songs))
    players = [_player(midi, title, seconds) for midi, title in zip(songs, titles, strict=True)]
    columns = even_columns(len(players), MAX_PLAYERS)
    grid = f"display: grid; gap: 1em; grid-template-columns: repeat({columns}, minmax(0, {PLAYER_PIXELS}px))"
    return HTML(f'<div style="{grid}">{"".join(players)}</div>')


def _player(midi: pretty_midi.PrettyMIDI, title: str, seconds: float | None) -> str:
    rendered = render(midi, seconds)
    remark = "" if rendered.samples.any() else " <em>(silent: no notes)</em>"
    source = f"data:audio/wav;base64,{b64encode(wav_file(rendered)).decode()}"
    audio = f'<audio controls style="width: 100%" src="{source}"></audio>'
    return f'<figure style="margin: 0"><figcaption>{escape(title)}{remark}</figcaption>{audio}</figure>'


# --- sliders ----------------------------------------------------------------------------------------------------------


def sliders(
    make: Callable[..., pretty_midi.PrettyMIDI], song: Midi, ranges: Mapping[str, tuple[float, float, float]]
) -> "Figure | ipywidgets.VBox":
    """Sliders that change a song, with its piano roll and a player, and a button that takes a MIDI file in its place.

    Args:
        make: makes the changed song; called as make(song, **values), with a value for each of `ranges`.
        song: that is changed, until a file is taken.
        ranges: lowest, highest and first value of each slider, by name.

    Returns:
        A widget. Without ipywidgets, the piano roll of the first values.
    """
    song = as_midi(song)
    try:
        import ipywidgets
    except ImportError:
        return plot_piano_roll(make(song, **{name: first for name, (_, _, first) in ranges.items()}))
    style = {"continuous_update": False, "style": {"description_width": "9em"}}
    knobs = {
        name: ipywidgets.FloatSlider(first, min=low, max=high, step=(high - low) / 40, description=name, **style)
        for name, (low, high, first) in ranges.items()
    }
    upload = ipywidgets.FileUpload(accept=".mid,.midi", description="your MIDI file")
    roll, player = ipywidgets.Image(format="png"), ipywidgets.HTML()

    def draw(_=None):
        try:
            files = list(upload.value.values() if isinstance(upload.value, dict) else upload.value)  # ipywidgets 7, 8
            given = parse_midi(bytes(files[0]["content"]))[0] if files else song
            made = make(given, **{name: knob.value for name, knob in knobs.items()})
        except ValueError as error:  # the file cannot be read, or has no music that `make` takes
            player.value = escape(str(error))
            return
        roll.value, player.value = png(plot_piano_roll(made)), play(made).data

    for control in (*knobs.values(), upload):
        control.observe(draw, "value")
    draw()
    return ipywidgets.VBox([*knobs.values(), upload, roll, player])


def png(figure: Figure) -> bytes:
    """A figure as the bytes of a PNG file."""
    file = BytesIO()
    figure.savefig(file, format="png", dpi=80, bbox_inches="tight")
    return file.getvalue()


# --- piano rolls ------------------------------------------------------------------------------------------------------


class RollTrack(NamedTuple):
    """The notes of one instrument, as a piano roll draws them."""

    name: str
    role: str  # "bass", "drums", or "melody" for everything else
    starts: np.ndarray  # [notes], bars from 0
    ends: np.ndarray  # [notes], bars
    pitches: np.ndarray  # [notes], MIDI
    velocities: np.ndarray  # [notes], 1-127


class RollScale(NamedTuple):
    """What all rolls of a figure share."""

    bars: int
    columns: int
    low: float  # pitch at the bottom; low == high where there are only drums
    high: float
    drum_rows: list[tuple[str, tuple[int, ...]]]  # name and pitches, from the lowest row up
    colours: dict[str, str]  # by track name


def plot_piano_roll(
    songs: Midi | Iterable[Midi],
    titles: str | Sequence[str] | None = None,
    bars: int | None = None,
    columns: int | None = None,
) -> Figure:
    """Draws one song, or several on one scale: time in bars, pitch with a name at each C, drums in a strip below.

    Args:
        songs: one or a list; the path of a MIDI file stands for its song.
        titles: one per song.
        bars: the most to draw, from the beginning; None for all of the longest song.
        columns: songs per row; None for even rows, as wide as labels stay readable: four songs of two bars, one of
            more than six.

    Raises:
        ValueError: no songs, not one title per song, or bars or columns below 1.
    """
    songs = as_midis("songs", [songs] if isinstance(songs, Midi) else songs)
    titles = checked_titles([titles] if isinstance(titles, str) else titles or [""] * len(songs), len(songs))
    bars = None if bars is None else checked_count("bars", bars)
    columns = None if columns is None else checked_count("columns", columns)
    tracks = [_tracks(midi) for midi in songs]
    longest = max([1, *(int(np.ceil(track.ends.max() - 0.01)) for song in tracks for track in song)])
    bars = min(bars or longest, longest)
    tracks = [_first_bars(song, bars) for song in tracks]
    columns = min(columns or even_columns(len(songs), int(np.clip(BARS_PER_ROW // bars, 1, MAX_COLUMNS))), len(songs))
    scale = RollScale(bars, columns, *_pitch_range(tracks), _drum_rows(tracks), _colours(tracks))
    return _draw_songs(tracks, titles, scale)


def checked_titles(titles: Sequence[str], songs: int) -> list[str]:
    """The titles of a number of songs; raises ValueError if they are not one per song."""
    if isinstance(titles, str) or not isinstance(titles, Sequence) or len(titles) != songs:
        count = len(titles) if isinstance(titles, list | tuple) else 1
        raise ValueError(f"as many titles as songs, and at least one: got {count} titles, {songs} songs")
    return list(titles)


def _draw_songs(tracks: list[list[RollTrack]], titles: list[str], scale: RollScale) -> Figure:
    figure, cells = _cells(len(tracks), scale)
    for index, (song, title, (roll, strip)) in enumerate(zip(tracks, titles, cells, strict=True)):
        _draw_roll(roll, song, scale)
        _draw_drums(strip, song, scale.drum_rows)
        roll.set_title(title, loc="left", fontsize=10, color=INK)
        last = index + scale.columns >= len(tracks)  # of its column
        _draw_bar_lines(roll, strip, scale.bars, first=index % scale.columns == 0, last=last)
    _add_legend(figure, scale.colours)
    return closed_figure(figure)


def closed_figure(figure: Figure) -> Figure:
    """Closes the figure in pyplot and returns it, so that a cell that ends with it shows it once."""
    plt.close(figure)
    return figure


def _tracks(midi: pretty_midi.PrettyMIDI) -> list[RollTrack]:
    lines = bar_lines(midi)
    tracks = []
    for part in midi.instruments:
        if part.notes:
            rows = np.array([(note.start, note.end, note.pitch, note.velocity) for note in part.notes], float).T
            starts, ends = (np.interp(seconds, lines, np.arange(len(lines))) for seconds in rows[:2])
            role = "drums" if part.is_drum else "bass" if part.program in BASS_PROGRAMS else "melody"
            name = _track_name(part, role, {track.name for track in tracks})
            tracks.append(RollTrack(name, role, starts, ends, rows[2], rows[3]))
    return tracks


def _track_name(part: pretty_midi.Instrument, role: str, taken: set[str]) -> str:
    """Drums; or the track's own name; or its role, if no track before has that name; or its instrument."""
    if role == "drums":
        return role
    own = "".join(letter for letter in part.name if letter.isprintable() and ord(letter) < 0x250).strip()
    instrument = pretty_midi.program_to_instrument_name(part.program)
    return (own[:18] or (instrument if role in taken else role)).lower()


def _first_bars(song: list[RollTrack], bars: int) -> list[RollTrack]:
    """The tracks cut at a bar line, without tracks that begin after it."""
    cut = []
    for track in song:
        inside = track.starts < bars - 1e-6
        starts, ends, pitches, velocities = (column[inside] for column in track[2:])
        if starts.size:
            cut.append(RollTrack(track.name, track.role, starts, np.minimum(ends, bars), pitches, velocities))
    return cut


def _drum_rows(tracks: list[list[RollTrack]]) -> list[tuple[str, tuple[int, ...]]]:
    """The drum classes that some song hits, and one row for all other drum pitches."""
    hit = {int(pitch) for song in tracks for track in song if track.role == "drums" for pitch in track.pitches}
    known = {pitch for _, pitches in DRUM_ROWS for pitch in pitches}
    rows = [(name, pitches) for name, pitches in DRUM_ROWS if hit & set(pitches)]
    return rows + ([("other", tuple(hit - known))] if hit - known else [])


def _colours(tracks: list[list[RollTrack]]) -> dict[str, str]:
    """A colour for each track name: its role's for the first of a role, then others; when they run out, grey."""
    roles = {track.name: track.role for song in tracks for track in song}
    names = sorted(roles, key=lambda name: list(ROLE_COLOURS).index(roles[name]))
    colours, spare = {}, iter(OTHER_COLOURS)
    for name in sorted(names, key=lambda name: name not in ROLE_COLOURS):
        free = ROLE_COLOURS[roles[name]] not in colours.values()
        colours[name] = ROLE_COLOURS[roles[name]] if free else next(spare, GREY)
    return {name: colours[name] for name in names}


def _pitch_range(tracks: list[list[RollTrack]]) -> tuple[float, float]:
    """The pitches of all songs with a margin, at least an octave and a half; (0, 0) for drums alone."""
    pitched = [track.pitches for song in tracks for track in song if track.role != "drums"]
    if not pitched and any(tracks):
        return 0, 0
    pitches = np.concatenate(pitched or [[60, 72]])
    margin = max(2, (18 - np.ptp(pitches)) / 2)
    return pitches.min() - margin, pitches.max() + margin


def _cells(count: int, scale: RollScale) -> tuple[Figure, list[tuple[Axes, Axes | None]]]:
    """Two axes per song, all songs of one size: the roll and, below it, the drum strip (None if no song has drums)."""
    drums, semitones = len(scale.drum_rows), scale.high - scale.low
    left, top = 0.9 if drums else 0.6, 0.7 if len(scale.colours) > 1 and scale.columns > 1 else 0.45
    width = min(max(1.3, 1.2 * scale.bars), (WIDTH_INCHES - left) / scale.columns - COLUMN_GAP)
    roll = np.clip(0.055 * semitones, 1.3, 3.2) if semitones else 0.03  # a line, above drums alone
    strip = STRIP_INCHES * drums
    rows = -(-count // scale.columns)
    total = (
        left + scale.columns * (width + COLUMN_GAP),
        top + rows * (roll + strip + ROW_GAP) - ROW_GAP + BOTTOM,
    )
    figure, cells = plt.figure(figsize=total), []
    for row, column in (divmod(index, scale.columns) for index in range(count)):
        x, y = left + column * (width + COLUMN_GAP), total[1] - top - row * (roll + strip + ROW_GAP) - roll
        upper = _axes(figure, x, y, width, roll)
        cells.append((upper, _axes(figure, x, y - 0.06 - strip, width, strip) if drums else None))
    return figure, cells


def _axes(figure: Figure, x: float, y: float, width: float, height: float) -> Axes:
    """Axes at a place of the figure in inches."""
    total_width, total_height = figure.get_size_inches()
    return figure.add_axes((x / total_width, y / total_height, width / total_width, height / total_height))


def _draw_roll(axis: Axes, song: list[RollTrack], scale: RollScale) -> None:
    if scale.low == scale.high:
        axis.set_yticks([])
        return
    for pitch in range(int(scale.low), int(scale.high) + 1):
        if pitch % 12 in BLACK_KEYS:
            axis.axhspan(pitch - 0.5, pitch + 0.5, color=STRIPE, linewidth=0, zorder=0)
    for track in song:
        if track.role != "drums":
            _draw_notes(axis, track, track.pitches, track.ends, scale.colours[track.name])
    axis.set_ylim(scale.low, scale.high)
    octaves = [pitch for pitch in range(0, 128, 12) if scale.low <= pitch <= scale.high]
    axis.set_yticks(octaves, [pretty_midi.note_number_to_name(pitch) for pitch in octaves])


def _draw_drums(axis: Axes | None, song: list[RollTrack], rows: list[tuple[str, tuple[int, ...]]]) -> None:
    if axis is None:
        return
    row_of = {pitch: row for row, (_, pitches) in enumerate(rows) for pitch in pitches}
    for track in song:
        if track.role == "drums":
            heights = np.array([row_of[int(pitch)] for pitch in track.pitches])
            _draw_notes(axis, track, heights, track.starts + HIT_BARS, ROLE_COLOURS["drums"])
    axis.set_ylim(-0.7, len(rows) - 0.3)
    axis.set_yticks(range(len(rows)), [name for name, _ in rows], fontsize=7)


def _draw_notes(axis: Axes, track: RollTrack, heights: np.ndarray, ends: np.ndarray, colour: str) -> None:
    """One rectangle per note, slightly shorter than the note so that repeated notes show; louder is denser."""
    left, right = track.starts, np.maximum(ends - 0.012, track.starts + 0.02)
    bottom, top = heights - 0.4, heights + 0.4
    corners = np.stack([left, bottom, left, top, right, top, right, bottom], axis=-1).reshape(-1, 4, 2)
    density, layer = 0.45 + 0.55 * track.velocities / 127, 4 if colour == BLUE else 3
    edge = 0.7 if track.role == "drums" else 0  # points, so that a hit is at least a pixel wide
    style = {"alpha": density, "zorder": layer, "linewidths": edge, "label": track.name}
    axis.add_collection(PolyCollection(corners, facecolors=colour, edgecolors=colour, **style))


def _draw_bar_lines(roll: Axes, strip: Axes | None, bars: int, first: bool, last: bool) -> None:
    every = 1 if bars <= 16 else 2 if bars <= 32 else 4 * -(-bars // 64)
    for axis in filter(None, (roll, strip)):
        for bar in range(bars + 1):
            axis.axvline(bar, color=PALE, linewidth=1, zorder=1)
        axis.set_xlim(0, bars)
        axis.set_xticks(range(0, bars, every), [str(bar + 1) for bar in range(0, bars, every)])
        axis.tick_params(length=0, colors=GREY, labelleft=first, labelbottom=last and axis is (strip or roll))
        axis.spines[:].set_color(PALE)
    if last:
        (strip or roll).set_xlabel("bar", color=GREY)
    if first and roll.get_yticks().size:
        roll.set_ylabel("pitch", color=GREY)


def _add_legend(figure: Figure, colours: dict[str, str]) -> None:
    patches = [Patch(color=colour, label=name) for name, colour in colours.items() if colour != GREY]
    patches += [Patch(color=GREY, label="others")] if GREY in colours.values() else []
    if len(patches) > 1:
        figure.legend(handles=patches, loc="upper right", ncols=len(patches), frameon=False, fontsize=9)


# --- training and the conductor ---------------------------------------------------------------------------------------

PANELS = (
    # title, unit, name in a row of the history, factor
    ("loss", "nats per window", "loss", 1),
    ("reconstruction", "nats per window", "reconstruction", 1),
    ("KL divergence", "bits per window", "kl_bits", 1),
    ("accuracy", "% of steps", "accuracy", 100),
)


def plot_training(history: Sequence | Mapping[str, Sequence]) -> Figure:
    """Curves of training and of validation, one panel per measure.

    Args:
        history: rows with `step`, `train` and `valid`, as `train.train` returns them. The last two hold loss and
            reconstruction in nats, kl_bits, and accuracy from 0 to 1; `valid` may be None. Or several runs by name.

    Raises:
        ValueError: a history has no rows, or is not a history.
    """
    runs = history if isinstance(history, Mapping) else {"": history}
    if not all(isinstance(rows, Sequence) and all(hasattr(row, "train") for row in rows) for rows in runs.values()):
        raise ValueError(f"history must be rows of training, as train(...).history, got {described(history)}")
    if not all(runs.values()):
        raise ValueError("the history is empty: train for at least one step that is logged")
    figure, axes = plt.subplots(1, len(PANELS), figsize=(WIDTH_INCHES, 2.9), layout="constrained")
    for axis, panel in zip(axes, PANELS, strict=True):
        for (name, rows), colour in zip(runs.items(), itertools.cycle(PALETTE)):
            _draw_curves(axis, panel, rows, f"{name}: " if name else "", colour)
        _label(axis, panel[0], "step", panel[1])
        axis.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower left", ncols=4, frameon=False, fontsize=9)
    return closed_figure(figure)


def _draw_curves(axis: Axes, panel: tuple[str, str, str, float], history: Sequence, prefix: str, colour: str) -> None:
    """A pale curve of training and a strong one of the held-out songs."""
    _, _, name, factor = panel
    for part, label, style in (("train", "training", {"alpha": 0.4}), ("valid", "held-out songs", {"marker": "."})):
        rows = [row for row in history if getattr(row, part) is not None]
        points = [(row.step, factor * getattr(getattr(row, part), name)) for row in rows]
        if points:
            axis.plot(*zip(*points), color=colour, label=prefix + label, **style)


def plot_by_bar(curves: Mapping[str, Sequence[float]], title: str, unit: str) -> Figure:
    """One curve per name over the bars of a window, values [bars] each.

    Raises:
        ValueError: no curves, or one that is no list of numbers.
    """
    if not isinstance(curves, Mapping) or not curves or not all(np.ndim(values) == 1 for values in curves.values()):
        raise ValueError(f"curves must be lists of numbers by name, at least one, got {described(curves)}")
    figure, axis = plt.subplots(figsize=(WIDTH_INCHES, 3.2), layout="constrained")
    for (name, values), colour in zip(curves.items(), itertools.cycle(PALETTE)):
        axis.plot(range(1, len(values) + 1), values, "-o", color=colour, markersize=4, label=name)
    _label(axis, title, "bar", unit)
    axis.xaxis.set_major_locator(MaxNLocator(16, integer=True))
    axis.legend(frameon=False, fontsize=9)
    return closed_figure(figure)


def plot_embeddings(embeddings: np.ndarray, titles: Sequence[str]) -> Figure:
    """The conductor's vectors as heat maps, a column per segment, side by side on one scale.

    They show the SHOWN_DIMENSIONS dimensions that differ most between segments and songs.

    Args:
        embeddings: [songs, segments, E].
        titles: one per song.

    Raises:
        ValueError: embeddings of another shape or not finite, or not one title each.
    """
    embeddings = finite_array("embeddings", embeddings, 3)
    titles = checked_titles(titles, len(embeddings))
    chosen = np.sort(embeddings.var(axis=(0, 1)).argsort()[-SHOWN_DIMENSIONS:])
    shown = embeddings[..., chosen] - embeddings[..., chosen].mean(axis=(0, 1))
    figure, axes = plt.subplots(1, len(shown), figsize=(WIDTH_INCHES, 3), layout="constrained", squeeze=False)
    for axis, song, title in zip(axes[0], shown, titles, strict=True):
        scale = {"cmap": "RdBu_r", "vmin": -np.abs(shown).max(), "vmax": np.abs(shown).max()}
        image = axis.imshow(song.T, aspect="auto", extent=(0.5, len(song) + 0.5, len(chosen), 0), **scale)
        _label(axis, title, "segment", "dimension" if axis is axes[0, 0] else "")
        axis.grid(False)
    figure.colorbar(image, ax=axes, shrink=0.8, label="difference from the mean")
    return closed_figure(figure)


def plot_form(matrices: Sequence[np.ndarray], titles: Sequence[str]) -> Figure:
    """The similarity of all pairs of bars of pieces, as `music.attributes.self_similarity` gives it, on one scale.

    A line k bars off the diagonal is music that comes back after k bars; pairs of silent bars are blank.

    Args:
        matrices: one per piece, [bars, bars].
        titles: one per piece.

    Raises:
        ValueError: no matrices, one of another shape, or not one title each.
    """
    if not len(matrices) or any(np.ndim(matrix) != 2 for matrix in matrices):
        raise ValueError(f"matrices must be [bars, bars] each, at least one, got {described(matrices)}")
    titles = checked_titles(titles, len(matrices))
    figure, axes = plt.subplots(1, len(matrices), figsize=(WIDTH_INCHES, 3.6), layout="constrained", squeeze=False)
    for axis, matrix, title in zip(axes[0], matrices, titles, strict=True):
        ends = (0.5, len(matrix) + 0.5)
        image = axis.imshow(matrix, cmap="viridis", vmin=0, vmax=1, extent=(*ends, *reversed(ends)))
        _label(axis, title, "bar", "bar" if axis is axes[0, 0] else "")
        axis.grid(False)
    figure.colorbar(image, ax=axes, shrink=0.8, label="share of equal events")
    return closed_figure(figure)


# --- the latent space -------------------------------------------------------------------------------------------------


def plot_latent(
    mu: np.ndarray, labels: Sequence[str] | None = None, path: np.ndarray | None = None, title: str = "latent means"
) -> Figure:
    """Latent means as points in the plane in which they differ most (their first two principal components).

    Args:
        mu: [n, z_size], an array or a tensor, at least two rows.
        labels: n names to colour by, such as songs; the six with the most points get a colour and a legend entry.
        path: [k, z_size], drawn through the points in order, such as an interpolation.

    Raises:
        ValueError: fewer than two points, points that are not finite, or another number of labels than of points.
    """
    mu = finite_array("mu", mu, 2)
    if len(mu) < 2:
        raise ValueError(f"mu must be [n, z_size] with at least two rows, got shape {mu.shape}")
    labels = [""] * len(mu) if labels is None else [str(label) for label in labels]
    if len(labels) != len(mu):
        raise ValueError(f"labels must be one per point: got {len(labels)} labels for {len(mu)} points")
    centre = mu.mean(axis=0)
    _, scale, directions = np.linalg.svd(mu - centre, full_matrices=False)
    plane = directions[:2].T  # [z_size, 2]
    figure, axis = plt.subplots(figsize=(9, 5), layout="constrained")
    _draw_points(axis, (mu - centre) @ plane, labels)
    if path is not None:
        path = finite_array("path", path, 2)
        if path.shape[1] != mu.shape[1]:
            raise ValueError(f"path must be [k, {mu.shape[1]}], as mu, got {list(path.shape)}")
        points = (path - centre) @ plane
        axis.plot(*points.T, "-o", color=INK, markersize=4, zorder=4, label="path")
    share = 100 * scale**2 / max((scale**2).sum(), 1e-12)
    names = [f"component {k + 1} ({share[k]:.0f} % of the variance)" for k in range(plane.shape[1])]
    _label(axis, title, *names)
    if any(labels) or path is not None:
        figure.legend(loc="outside right upper", frameon=False, fontsize=9)
    return closed_figure(figure)


def _draw_points(axis: Axes, points: np.ndarray, labels: list[str]) -> None:
    common = [label for label, _ in Counter(labels).most_common(len(PALETTE))]
    groups = np.array([common.index(label) if label in common else -1 for label in labels])
    for group, (label, colour) in enumerate(zip(common, PALETTE)):
        own = points[groups == group]
        axis.scatter(*own.T, s=18, color=colour, alpha=0.75, linewidth=0, label=label or None, zorder=3)
    if (groups == -1).any():
        axis.scatter(*points[groups == -1].T, s=14, color=PALE, label="others")


def _label(axis: Axes, title: str, x: str = "", y: str = "") -> None:
    """A title, the names of both axes, and plain axes."""
    axis.set_title(title, loc="left", fontsize=10, color=INK)
    axis.set_xlabel(x, color=GREY)
    axis.set_ylabel(y, color=GREY)
    plain_axes(axis)


def plain_axes(axis: Axes) -> None:
    """Pale lines, no box, and a grid behind the data."""
    axis.spines[["top", "right"]].set_visible(False)
    axis.spines[:].set_color(PALE)
    axis.tick_params(colors=GREY, length=0)
    axis.grid(color=STRIPE, zorder=0)
    axis.set_axisbelow(True)
