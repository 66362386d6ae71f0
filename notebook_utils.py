"""Listening and pictures for notebooks: audio players, piano rolls, training curves, a map of the latent space.

Notebooks alone import this. It knows PrettyMIDI, arrays, matplotlib and IPython, and no networks. The players use the
recorded instruments that come with pretty_midi, so no system library is needed; without them, plain tones must do.
"""

from collections import Counter
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import NamedTuple

import matplotlib.pyplot as plt
import numpy as np
import pretty_midi
from IPython.display import HTML, Audio
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from music import soundfont
from music.drums import DRUM_PITCHES
from music.trio import BASS_PROGRAMS

SOUNDFONT = Path(pretty_midi.__file__).with_name("TimGM6mb.sf2")
SAMPLE_RATE = 22_050  # Hz, mono: a minute is 2.6 MB in the notebook, a quarter of what CD quality in stereo takes
PEAK = 0.9  # of full scale
FADE_SECONDS = 0.05  # at the end of a clip that is cut short
SILENCE_SECONDS = 0.5  # what an empty song sounds like

# Colours that people with any colour vision can tell apart (Okabe and Ito, 2008)
BLUE, VERMILLION, GREEN, ORANGE, PURPLE, SKY = "#0072B2", "#D55E00", "#009E73", "#E69F00", "#CC79A7", "#56B4E9"
INK, GREY, PALE, STRIPE = "#333333", "#8A8F98", "#D9DCE1", "#F5F6F8"
ROLE_COLOURS = {"melody": BLUE, "bass": VERMILLION, "drums": INK}
OTHER_COLOURS = (GREEN, ORANGE, PURPLE, SKY)
BLACK_KEYS = (1, 3, 6, 8, 10)

DRUM_NAMES = ("kick", "snare", "closed hat", "open hat", "low tom", "mid tom", "high tom", "crash", "ride")
DRUM_ROWS = tuple(zip(DRUM_NAMES, DRUM_PITCHES, strict=True))  # from the lowest row up
STRIP_INCHES = 0.17  # height of a row of the drum strip
ROW_GAP, COLUMN_GAP, BOTTOM = 0.42, 0.12, 0.5  # inches around the piano rolls, for titles and labels
DRUM_WIDTH = 1 / 24  # bars, as a hit is drawn


# --- sound ----------------------------------------------------------------------------------------------------------


class Sound(NamedTuple):
    """A rendered song."""

    samples: np.ndarray  # float32 [samples], mono, within -1 and 1
    sample_rate: int  # Hz


def render(midi: pretty_midi.PrettyMIDI, seconds: float | None = None) -> Sound:
    """Turn a song into sound, with recorded instruments.

    Args:
        seconds: render only so much of the beginning; None for all.

    Returns:
        The sound, its loudest sample at PEAK; half a second of silence for a song without notes.
    """
    midi = midi if seconds is None else _beginning(midi, seconds)
    if not any(instrument.notes for instrument in midi.instruments):
        return Sound(np.zeros(int(SILENCE_SECONDS * SAMPLE_RATE), np.float32), SAMPLE_RATE)
    if SOUNDFONT.exists():
        samples = _halve_rate(soundfont.synthesize(midi, soundfont.load_soundfont(SOUNDFONT)))
    else:
        samples = midi.synthesize(fs=SAMPLE_RATE)
    if seconds is not None:
        samples = _fade_out(samples[: round(seconds * SAMPLE_RATE)])
    return Sound((PEAK * samples / max(np.abs(samples).max(initial=0), 1e-6)).astype(np.float32), SAMPLE_RATE)


def _beginning(midi: pretty_midi.PrettyMIDI, seconds: float) -> pretty_midi.PrettyMIDI:
    short = pretty_midi.PrettyMIDI()
    for part in midi.instruments:
        copy = pretty_midi.Instrument(part.program, part.is_drum, part.name)
        heard = [note for note in part.notes if note.start < seconds]
        copy.notes = [pretty_midi.Note(n.velocity, n.pitch, n.start, min(n.end, seconds)) for n in heard]
        copy.control_changes = part.control_changes
        short.instruments.append(copy)
    return short


def _halve_rate(samples: np.ndarray) -> np.ndarray:
    """From 44.1 to 22.05 kHz, by dropping the upper half of the spectrum."""
    samples = np.pad(samples, (0, -len(samples) % 2))
    half = len(samples) // 2
    return np.fft.irfft(np.fft.rfft(samples)[: half // 2 + 1], half) / 2


def _fade_out(samples: np.ndarray) -> np.ndarray:
    length = min(len(samples), round(FADE_SECONDS * SAMPLE_RATE))
    faded = samples.copy()
    faded[len(samples) - length :] *= np.linspace(1, 0, length)
    return faded


def play(midi: pretty_midi.PrettyMIDI, title: str = "", seconds: float | None = None) -> HTML:
    """An audio player for one song, with its title above; a cell that ends with it shows it."""
    return side_by_side([midi], [title], seconds)


def side_by_side(songs: Sequence[pretty_midi.PrettyMIDI], titles: Sequence[str], seconds: float | None = None) -> HTML:
    """Audio players in a row that wraps, each under its title.

    Args:
        songs: of any length; one without notes gets a silent clip and a remark.
        titles: one a song.
        seconds: play only so much of the beginning of each.
    """
    players = [_player(midi, title, seconds) for midi, title in zip(songs, titles, strict=True)]
    return HTML(f'<div style="display: flex; flex-wrap: wrap; gap: 1em">{"".join(players)}</div>')


def _player(midi: pretty_midi.PrettyMIDI, title: str, seconds: float | None) -> str:
    sound = render(midi, seconds)
    remark = "" if sound.samples.any() else " <em>(silent: no notes)</em>"
    audio = Audio(sound.samples, rate=sound.sample_rate, normalize=False)._repr_html_()
    return f"<figure style='margin: 0'><figcaption>{escape(title)}{remark}</figcaption>{audio}</figure>"


def join(songs: Sequence[pretty_midi.PrettyMIDI], seconds_each: float) -> pretty_midi.PrettyMIDI:
    """One song of several that have the same tracks, a new one beginning every so many seconds."""
    whole = pretty_midi.PrettyMIDI()
    whole.instruments = [pretty_midi.Instrument(part.program, part.is_drum, part.name) for part in songs[0].instruments]
    for index, song in enumerate(songs):
        for part, mine in zip(whole.instruments, song.instruments, strict=True):
            later = index * seconds_each
            part.notes += [pretty_midi.Note(n.velocity, n.pitch, n.start + later, n.end + later) for n in mine.notes]
    return whole


# --- piano rolls ------------------------------------------------------------------------------------------------------


class Track(NamedTuple):
    """What a piano roll draws of one instrument."""

    name: str
    role: str  # "melody" (whatever is neither of the others), "bass" or "drums"
    starts: np.ndarray  # [notes], bars from 0
    ends: np.ndarray  # [notes], bars
    pitches: np.ndarray  # [notes], MIDI
    velocities: np.ndarray  # [notes], 1-127


def plot_piano_roll(
    songs: pretty_midi.PrettyMIDI | Sequence[pretty_midi.PrettyMIDI],
    titles: str | Sequence[str] | None = None,
    bars: int | None = None,
    columns: int | None = None,
) -> Figure:
    """Draw one song, or several on one scale: time in bars, pitch with a name at each C, drums in a strip of their own.

    Args:
        songs: one or a list.
        titles: one a song.
        bars: how many to draw at most, from the beginning; None for as many as the longest song has.
        columns: songs in a row; None puts short ones into one row and long ones under each other.

    Raises:
        ValueError: no songs, or another number of titles than of songs.
    """
    songs = [songs] if isinstance(songs, pretty_midi.PrettyMIDI) else list(songs)
    titles = [titles] if isinstance(titles, str) else list(titles or [""] * len(songs))
    if not songs or len(titles) != len(songs):
        raise ValueError(f"as many titles as songs, and at least one: got {len(titles)} titles, {len(songs)} songs")
    tracks = [_tracks(midi) for midi in songs]
    longest = max([1, *(int(np.ceil(track.ends.max() - 0.01)) for song in tracks for track in song)])
    bars = min(bars or longest, longest)
    tracks = [_first_bars(song, bars) for song in tracks]
    columns = min(columns or (9 if bars <= 4 else 1), len(songs))
    drum_rows = _drum_rows(tracks)
    colours = _colours(tracks)
    low, high = _pitch_range(tracks)
    figure, cells = _cells(len(songs), columns, bars, high - low, len(drum_rows), len(colours) > 1)
    for index, (song, title, (roll, strip)) in enumerate(zip(tracks, titles, cells, strict=True)):
        _draw_roll(roll, song, colours, low, high)
        _draw_drums(strip, song, drum_rows)
        roll.set_title(title, loc="left", fontsize=10, color=INK)
        _draw_bar_lines(roll, strip, bars, first=index % columns == 0, last=index + columns >= len(songs))
    _add_legend(figure, colours)
    return finished(figure)


def finished(figure: Figure) -> Figure:
    """Hand the figure over, and out of pyplot's list, so that a cell that ends with it shows it once."""
    plt.close(figure)
    return figure


def _tracks(midi: pretty_midi.PrettyMIDI) -> list[Track]:
    lines = _bar_seconds(midi)
    tracks = []
    for part in midi.instruments:
        if part.notes:
            rows = np.array([(note.start, note.end, note.pitch, note.velocity) for note in part.notes], float).T
            starts, ends = (np.interp(seconds, lines, np.arange(len(lines))) for seconds in rows[:2])
            role = "drums" if part.is_drum else "bass" if part.program in BASS_PROGRAMS else "melody"
            name = _track_name(part, role, {track.name for track in tracks})
            tracks.append(Track(name, role, starts, ends, rows[2], rows[3]))
    return tracks


def _track_name(part: pretty_midi.Instrument, role: str, taken: set[str]) -> str:
    """Drums; or the track's own name; or its role, for the first that has it; or its instrument."""
    if role == "drums":
        return role
    own = "".join(letter for letter in part.name if letter.isprintable() and ord(letter) < 0x250).strip()
    instrument = pretty_midi.program_to_instrument_name(part.program)
    return (own[:18] or (instrument if role in taken else role)).lower()


def _bar_seconds(midi: pretty_midi.PrettyMIDI) -> np.ndarray:
    """Where each bar begins, in seconds, to a bar past the end; 4/4 at the song's tempo where it says nothing."""
    lines = midi.get_downbeats()
    bar = 4 * 60 / midi.get_tempo_changes()[1][-1] if len(lines) < 2 else lines[-1] - lines[-2]
    lines = lines if len(lines) else np.zeros(1)
    return np.append(lines, lines[-1] + bar * np.arange(1, 2 + max(0, midi.get_end_time() - lines[-1]) // bar))


def _first_bars(song: list[Track], bars: int) -> list[Track]:
    """The tracks cut at a bar line, without those that begin later."""
    cut = []
    for track in song:
        inside = track.starts < bars - 1e-6
        starts, ends, pitches, velocities = (column[inside] for column in track[2:])
        if starts.size:
            cut.append(Track(track.name, track.role, starts, np.minimum(ends, bars), pitches, velocities))
    return cut


def _drum_rows(tracks: list[list[Track]]) -> list[tuple[str, tuple[int, ...]]]:
    """The drum classes that are hit somewhere, and a row for what belongs to none."""
    hit = {int(pitch) for song in tracks for track in song if track.role == "drums" for pitch in track.pitches}
    known = {pitch for _, pitches in DRUM_ROWS for pitch in pitches}
    rows = [(name, pitches) for name, pitches in DRUM_ROWS if hit & set(pitches)]
    return rows + ([("other", tuple(hit - known))] if hit - known else [])


def _colours(tracks: list[list[Track]]) -> dict[str, str]:
    """A colour for each track name: its role's for the first, then others; where they run out, the rest share grey."""
    roles = {track.name: track.role for song in tracks for track in song}
    names = sorted(roles, key=lambda name: list(ROLE_COLOURS).index(roles[name]))
    colours, spare = {}, iter(OTHER_COLOURS)
    for name in sorted(names, key=lambda name: name not in ROLE_COLOURS):
        free = ROLE_COLOURS[roles[name]] not in colours.values()
        colours[name] = ROLE_COLOURS[roles[name]] if free else next(spare, GREY)
    return {name: colours[name] for name in names}


def _pitch_range(tracks: list[list[Track]]) -> tuple[float, float]:
    """Shared by all songs: what they hold and a little air, an octave and a half at least; none for drums alone."""
    pitched = [track.pitches for song in tracks for track in song if track.role != "drums"]
    if not pitched and any(tracks):
        return 0, 0
    pitches = np.concatenate(pitched or [[60, 72]])
    air = max(2, (18 - np.ptp(pitches)) / 2)
    return pitches.min() - air, pitches.max() + air


def _cells(
    count: int, columns: int, bars: int, semitones: float, drum_rows: int, legend: bool
) -> tuple[Figure, list[tuple[Axes, Axes | None]]]:
    """Two axes a song, all songs of one size: the roll and, below it, the drum strip (None where no song has drums)."""
    rows = -(-count // columns)
    cell_width = 11 if columns == 1 and bars > 4 else min(max(1.3, 1.2 * bars), 15 / columns)
    roll_height = np.clip(0.055 * semitones, 1.5, 3.2) if semitones else 0.03  # a line, over drums alone
    strip_height = STRIP_INCHES * drum_rows
    row_height = roll_height + strip_height + ROW_GAP
    left, top = 0.9 if drum_rows else 0.6, 0.7 if legend and columns > 1 else 0.45
    width, height = left + columns * (cell_width + COLUMN_GAP), top + rows * row_height - ROW_GAP + BOTTOM
    figure, cells = plt.figure(figsize=(width, height)), []
    for row, column in (divmod(index, columns) for index in range(count)):
        x, y = left + column * (cell_width + COLUMN_GAP), height - top - row * row_height - roll_height
        box = x / width, y / height, cell_width / width, roll_height / height
        roll = figure.add_axes(box)
        box = x / width, (y - 0.06 - strip_height) / height, cell_width / width, strip_height / height
        cells.append((roll, figure.add_axes(box) if drum_rows else None))
    return figure, cells


def _draw_roll(axis: Axes, song: list[Track], colours: dict[str, str], low: float, high: float) -> None:
    if low == high:
        axis.set_yticks([])
        return
    for pitch in range(int(low), int(high) + 1):
        if pitch % 12 in BLACK_KEYS:
            axis.axhspan(pitch - 0.5, pitch + 0.5, color=STRIPE, linewidth=0, zorder=0)
    for track in song:
        if track.role != "drums":
            _draw_notes(axis, track, track.pitches, track.ends, colours[track.name])
    axis.set_ylim(low, high)
    octaves = [pitch for pitch in range(0, 128, 12) if low <= pitch <= high]
    axis.set_yticks(octaves, [pretty_midi.note_number_to_name(pitch) for pitch in octaves])


def _draw_drums(axis: Axes | None, song: list[Track], rows: list[tuple[str, tuple[int, ...]]]) -> None:
    if axis is None:
        return
    row_of = {pitch: row for row, (_, pitches) in enumerate(rows) for pitch in pitches}
    for track in song:
        if track.role == "drums":
            heights = np.array([row_of[int(pitch)] for pitch in track.pitches])
            _draw_notes(axis, track, heights, track.starts + DRUM_WIDTH, ROLE_COLOURS["drums"])
    axis.set_ylim(-0.7, len(rows) - 0.3)
    axis.set_yticks(range(len(rows)), [name for name, _ in rows], fontsize=7)


def _draw_notes(axis: Axes, track: Track, heights: np.ndarray, ends: np.ndarray, colour: str) -> None:
    """A rectangle a note, a hair shorter than the note so that repeats show; louder notes are denser."""
    left, right = track.starts, np.maximum(ends - 0.012, track.starts + 0.02)
    bottom, top = heights - 0.4, heights + 0.4
    corners = np.stack([left, bottom, left, top, right, top, right, bottom], axis=-1).reshape(-1, 4, 2)
    density, layer = 0.45 + 0.55 * track.velocities / 127, 4 if colour == BLUE else 3
    edge = 0.7 if track.role == "drums" else 0  # points: a hit must not be thinner than a pixel
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


# --- training and the latent space ------------------------------------------------------------------------------------

PANELS = (
    # title, unit, name in a row of the history, factor
    ("loss", "nats per sequence", "loss", 1),
    ("reconstruction", "nats per sequence", "reconstruction", 1),
    ("KL divergence", "bits per sequence", "kl_bits", 1),
    ("accuracy", "% of steps", "accuracy", 100),
)


def plot_training(history: Sequence) -> Figure:
    """Curves of training and of validation, a panel a measure.

    Args:
        history: rows with `step`, `train` and `valid`, as `train.train` returns them. The last two hold loss and
            reconstruction in nats, kl_bits, and accuracy from 0 to 1; `valid` may be None.

    Raises:
        ValueError: there are no rows.
    """
    if not history:
        raise ValueError("the history is empty: train for at least one step that is logged")
    figure, axes = plt.subplots(1, len(PANELS), figsize=(13, 3), layout="constrained")
    for axis, (title, unit, name, factor) in zip(axes, PANELS, strict=True):
        for part, label, colour in (("train", "training", BLUE), ("valid", "held-out songs", VERMILLION)):
            rows = [(row.step, getattr(row, part)) for row in history if getattr(row, part) is not None]
            points = [(step, factor * getattr(metrics, name)) for step, metrics in rows]
            if points:
                axis.plot(*zip(*points), color=colour, label=label, marker="." if len(points) < 40 else None)
        axis.set_title(title, loc="left", fontsize=10, color=INK)
        axis.set_ylabel(unit, color=GREY)
        plain_axes(axis)
        axis.set_xlabel("step", color=GREY)
        axis.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    axes[0].legend(frameon=False, fontsize=9)
    return finished(figure)


def plot_latent(
    mu: np.ndarray, labels: Sequence[str] | None = None, path: np.ndarray | None = None, title: str = "latent means"
) -> Figure:
    """Latent means as points in the plane in which they differ most (principal components).

    Args:
        mu: [n, z_size], an array or a tensor on the CPU, at least two rows.
        labels: n names to colour by, such as songs; the six with the most points get a colour and a line in the legend.
        path: [k, z_size], drawn through the points in order, such as an interpolation.

    Raises:
        ValueError: fewer than two points, or another number of labels than of points.
    """
    mu = np.asarray(mu, float)
    if mu.ndim != 2 or len(mu) < 2:
        raise ValueError(f"mu must be [n, z_size] with at least two rows, got shape {mu.shape}")
    labels = [""] * len(mu) if labels is None else [str(label) for label in labels]
    if len(labels) != len(mu):
        raise ValueError(f"one label a point: got {len(labels)} labels for {len(mu)} points")
    centre = mu.mean(axis=0)
    _, scale, directions = np.linalg.svd(mu - centre, full_matrices=False)
    plane = directions[:2].T  # [z_size, 2]
    figure, axis = plt.subplots(figsize=(9, 5), layout="constrained")
    _draw_points(axis, (mu - centre) @ plane, labels)
    if path is not None:
        points = (np.asarray(path, float) - centre) @ plane
        axis.plot(*points.T, "-o", color=INK, markersize=4, zorder=4, label="path")
    share = 100 * scale**2 / max((scale**2).sum(), 1e-12)
    for number, name in enumerate(("x", "y")[: plane.shape[1]]):
        getattr(axis, f"set_{name}label")(f"component {number + 1} ({share[number]:.0f} % of the variance)", color=GREY)
    axis.set_title(title, loc="left", fontsize=10, color=INK)
    plain_axes(axis)
    if any(labels) or path is not None:
        figure.legend(loc="outside right upper", frameon=False, fontsize=9)
    return finished(figure)


def _draw_points(axis: Axes, points: np.ndarray, labels: list[str]) -> None:
    palette = (BLUE, VERMILLION, GREEN, ORANGE, PURPLE, SKY)
    common = [label for label, _ in Counter(labels).most_common(len(palette))]
    groups = np.array([common.index(label) if label in common else -1 for label in labels])
    for group, (label, colour) in enumerate(zip(common, palette)):
        mine = points[groups == group]
        axis.scatter(*mine.T, s=18, color=colour, alpha=0.75, linewidth=0, label=label or None, zorder=3)
    if (groups == -1).any():
        axis.scatter(*points[groups == -1].T, s=14, color=PALE, label="others")


def plain_axes(axis: Axes) -> None:
    """Pale lines, no box, and a grid behind what is drawn."""
    axis.spines[["top", "right"]].set_visible(False)
    axis.spines[:].set_color(PALE)
    axis.tick_params(colors=GREY, length=0)
    axis.grid(color=STRIPE, zorder=0)
    axis.set_axisbelow(True)
