"""Pages that play: a gallery, a space to walk through and a blind test, each a single HTML file without a network.

Python puts the notes as JSON, style.css, player.js and the script of the page into page.html. The player synthesises
every sound, so a page holds no samples of anybody's instruments.
"""

import io
import json
import os
import re
from base64 import b64encode
from collections.abc import Iterable, Sequence
from copy import deepcopy
from html import escape
from pathlib import Path

import numpy as np
import torch
from pretty_midi import PrettyMIDI
from torch import Tensor

from engine.checks import checked_count, checked_path, checked_type, described
from midi_utils import Midi, SongDataset, as_midi, as_midis, checked_songs
from music.clips import Clip, NoClipError, longest_clip, looped
from music.grid import bar_lines
from studio.clip_tools import ClipTools
from studio.nearest import nearest_songs

FOLDER = Path(__file__).parent
GRID = 7  # pieces on a side of the grid between four corners
PLANE = 13  # pieces on a side of the plane
PLANE_DRAWS = 64  # z whose mean is the middle of the plane's sphere
NEARLY_OPPOSITE = 1e-3  # length of a blend, relative to that of its corners, below which it has no direction


# ---- Pages ----


def write_gallery(
    path: str | os.PathLike,
    midis: Iterable[Midi],
    titles: Sequence[str] | None = None,
    *,
    songs: SongDataset | None = None,
    compared: str = "the songs",
    bars: int | None = None,
    title: str = "Gallery",
    lead: str = "",
) -> None:
    """Writes a page of pieces as piano rolls that play, each with its MIDI file.

    Args:
        path: of the HTML file; its folder is made.
        midis: pieces, or paths of MIDI files.
        titles: one per piece; "Piece 1" and so on when None.
        songs: the page names the song nearest to each piece, see `nearest.nearest_songs`.
        compared: what `songs` are, in words.
        bars: length of every piece; up to the bar of its last note when None.
        title, lead: heading of the page, and the line below.

    Raises:
        ValueError: no pieces, not one title per piece, a file that cannot be read or written.
    """
    midis = as_midis("midis", midis)
    titles = _checked_titles(titles, len(midis))
    pieces = [piece_data(midi, name, bars) for midi, name in zip(midis, titles, strict=True)]
    near = [None] * len(midis) if songs is None else [n._asdict() for n in nearest_songs(midis, songs)]
    for piece, nearest in zip(pieces, near, strict=True):
        piece["nearest"] = nearest
    data = {"pieces": pieces, "compared": None if songs is None else compared}
    write_page(path, "gallery", title, lead, data)


def write_blind(
    path: str | os.PathLike,
    real: Iterable[Midi],
    sampled: Iterable[Midi],
    sources: Sequence[str] | None = None,
    *,
    bars: int | None = None,
    title: str = "Real or sampled?",
    lead: str = "Some of these pieces are music, the others a model has sampled. Listen, guess, and see the score.",
) -> None:
    """Writes a listening test: real and sampled pieces in random order, a guess for each, the score at the end.

    Args:
        path, bars, title, lead: as in `write_gallery`.
        real: music of the same length and instruments as the samples.
        sampled: pieces of a model.
        sources: names of the real pieces, shown at the end.

    Raises:
        ValueError: no real or no sampled pieces, not one source per real piece, a file that cannot be read or written.
    """
    real, sampled = as_midis("real", real), as_midis("sampled", sampled)
    sources = [""] * len(real) if sources is None else _checked_titles(sources, len(real))
    pieces = [piece_data(midi, "", bars) | {"real": True, "source": source} for midi, source in zip(real, sources)]
    pieces += [piece_data(midi, "", bars) | {"real": False, "source": ""} for midi in sampled]
    for piece in pieces:
        del piece["midi"]  # nothing to download before the end
    write_page(path, "blind", title, lead, {"pieces": pieces})


def write_space(
    path: str | os.PathLike,
    trained: ClipTools,
    clips: Iterable[Midi] | None = None,
    *,
    names: Sequence[str] | None = None,
    grid: int = GRID,
    plane: int = PLANE,
    temperature: float = 0.0,
    seed: int = 0,
    qpm: float = 120.0,
    title: str = "A space of loops",
    lead: str = "Drag the point through a field, or draw a path for it: the loop changes and stays in time.",
) -> None:
    """Writes a page to move a point, by hand or along a path, in a grid between four pieces and in a plane of z.

    Args:
        path, title, lead: as in `write_gallery`.
        trained: a `generate.TrainedModel`.
        clips: four pieces; the corners of the grid, in reading order, are their first windows, from the first note on.
            A shorter piece is repeated. None draws them.
        names: of the four clips.
        grid, plane: pieces on a side, at least 2.
        temperature: of decoding; at 0 nearby points decode to similar pieces.
        seed: of what is drawn.
        qpm: tempo in quarter notes per minute.

    Raises:
        ValueError: trained is no TrainedModel, there are not four clips, a clip has no note for this model, a side is
            below 2, or the file cannot be written.
    """
    checked_type("trained", trained, ClipTools, "a TrainedModel, as TrainedModel.load reads it")
    sides = checked_count("grid", grid, least=2), checked_count("plane", plane, least=2)
    names = [""] * 4 if names is None else _checked_titles(names, 4)
    draws = trained.draw_z(PLANE_DRAWS, seed=seed)
    corners = draws[-4:] if clips is None else _corners(trained, clips)
    z = torch.cat([blend_grid(corners, sides[0]), plane_grid(draws, sides[1])])
    midis = trained.decode(z, temperature=temperature, seed=seed, qpm=qpm)
    loops, indices = _distinct(piece_data(midi, "", trained.converter.bars) for midi in midis)
    blend, flat = np.split(np.array(indices), [sides[0] ** 2])
    tables = {"grid": blend.reshape(sides[0], -1).tolist(), "plane": flat.reshape(sides[1], -1).tolist()}
    write_page(path, "space", title, lead, {"loops": loops, "corners": names, **tables})


def write_page(path: str | os.PathLike, script: str, title: str, lead: str, data: dict) -> None:
    """Writes an HTML file that holds a script of this folder, its data, the player and the style.

    Raises:
        ValueError: the file cannot be written.
    """
    path = checked_path("path", path)
    fill = {name: (FOLDER / file).read_text(encoding="utf-8") for name, file in _files(script).items()}
    fill |= {"title": escape(title), "lead": escape(lead), "data": script_json(data)}
    page = (FOLDER / "page.html").read_text(encoding="utf-8")
    text = re.sub(r"{{(\w+)}}", lambda slot: fill[slot[1]].strip(), page)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ValueError(f"{path} cannot be written ({error.strerror}): name a folder that you may write to") from None


def _files(script: str) -> dict[str, str]:
    """The file that fills each slot of the page."""
    return {"style": "style.css", "player": "player.js", "script": f"{script}.js"}


# ---- Pieces as data ----


def piece_data(midi: PrettyMIDI, name: str, bars: int | None = None) -> dict:
    """A piece as the player reads it, see player.js; times are whole milliseconds.

    Args:
        bars: its length; up to the bar of its last note when None.
    """
    lines = bar_lines(midi, bars)
    parts = [
        {
            "name": part.name,
            "program": part.program,
            "drums": part.is_drum,
            "notes": [[_ms(n.start), _ms(n.end) - _ms(n.start), n.pitch, n.velocity] for n in part.notes],
        }
        for part in midi.instruments
    ]
    *bars, end = (_ms(line) for line in lines)
    return {"name": name, "ms": end, "bars": bars, "parts": parts, "midi": _file(midi)}


def script_json(data) -> str:
    """JSON that may stand in a script element: no text of it ends the element."""
    text = json.dumps(data, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _ms(seconds: float) -> int:
    return round(1000 * seconds)


def _file(midi: PrettyMIDI) -> str:
    """The MIDI file in base64; a character that no name in a MIDI file can have becomes a question mark."""
    buffer, midi = io.BytesIO(), deepcopy(midi)
    for part in midi.instruments:
        part.name = part.name.encode("latin-1", "replace").decode("latin-1")
    midi.write(buffer)
    return b64encode(buffer.getvalue()).decode()


def _distinct(pieces: Iterable[dict]) -> tuple[list[dict], list[int]]:
    """The different pieces, and the index of each piece among them."""
    places, indices = {}, []
    for piece in pieces:
        indices.append(places.setdefault(json.dumps(piece), len(places)))
    return [json.loads(text) for text in places], indices


# ---- Points of the latent space ----


def blend_grid(corners: Tensor, size: int) -> Tensor:
    """Blends of four latent vectors [4, Z] in reading order: [size * size, Z], see `blend`."""
    t = torch.linspace(0, 1, size)
    side = torch.stack([1 - t, t], 1)
    weights = torch.einsum("ra,cb->rcab", side, side).reshape(size * size, 4)
    return blend(corners, weights)


def plane_grid(draws: Tensor, size: int) -> Tensor:
    """Points [size * size, Z] of a plane through three of the draws [n, Z], at their distance from the mean.

    The first draw is the middle. One side of the plane goes in the direction of the second, the other of the third.
    """
    mean, t = draws.mean(0), torch.linspace(-1, 1, size)
    y, x = (axis.reshape(-1, 1) for axis in torch.meshgrid(t, t, indexing="ij"))
    weights = torch.cat([torch.ones_like(x), x, y], 1)
    return mean + blend(draws[:3] - mean, weights)


def blend(vectors: Tensor, weights: Tensor) -> Tensor:
    """Weighted sums of vectors [k, Z], lengthened to the weighted mean of their lengths: [n, Z].

    A plain mean of independent draws is shorter than they are, and lies where no draw falls. Where vectors cancel out,
    the sum stays as it is.

    Args:
        weights: [n, k], negative ones count as positive in the mean of the lengths.
    """
    weights = weights.to(vectors)
    sums = weights @ vectors
    wanted = (weights.abs() @ vectors.norm(dim=1, keepdim=True)) / weights.abs().sum(1, keepdim=True)
    norms = sums.norm(dim=1, keepdim=True)
    return torch.where(norms > NEARLY_OPPOSITE * wanted, sums * wanted / norms.clamp(min=1e-12), sums)


def _corners(trained: ClipTools, clips: Iterable[Midi]) -> Tensor:
    """Posterior means of the first windows of four pieces, [4, Z]."""
    clips = checked_songs("clips", clips)
    if len(clips) != 4:
        raise ValueError(f"clips must be four pieces, one per corner, got {len(clips)}")
    if trained.converter.held_parts is None:  # its windows are no clips
        return trained.posterior(clips).loc
    means = []
    for k, clip in enumerate(clips, 1):
        try:
            means.append(trained.clip_posterior(first_window(trained, clip)).loc)
        except ValueError as error:
            raise ValueError(f"clip {k} of 4: {error}") from error
    return torch.cat(means)


def first_window(trained: ClipTools, song: Midi) -> Clip:
    """A song's first window: its longest stretch in the preset's metre, from its first note on; repeated if shorter.

    Raises:
        ValueError: the song cannot be read, or has no note that the model takes; names the song's file.
    """
    midi, converter = as_midi(song), trained.converter
    try:
        clip = longest_clip(midi, converter)
    except ValueError as error:
        where = f"{song}: " if isinstance(song, str | os.PathLike) else ""
        fault = error.reason if isinstance(error, NoClipError) else error
        raise ValueError(f"{where}{fault}: give another piece") from error
    return looped(clip, converter.steps, converter.held_parts)


# ---- Checks ----


def _checked_titles(titles: Sequence[str] | None, count: int) -> list[str]:
    """One title per piece; "Piece 1" and so on when None."""
    titles = [f"Piece {k + 1}" for k in range(count)] if titles is None else titles
    if isinstance(titles, str) or len(titles) != count or not all(isinstance(title, str) for title in titles):
        raise ValueError(f"give one title per piece: got {described(titles)} for {count}")
    return list(titles)
