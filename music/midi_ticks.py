"""Ticks of a MIDI file that `PrettyMIDI` cannot take as they are: film frames, too many, or too far apart."""

from collections.abc import Callable, Iterator

import numpy as np

from music.midi_bytes import META, MidiError
from music.midi_repair import SET_TEMPO, Track

MAX_TICK = 9_999_999  # pretty_midi takes files of up to ten million ticks
LONG_REST_QUARTERS = 256  # in a file with more ticks, silences are shortened to about this many quarter notes
MIN_TICKS_PER_QUARTER = 96  # that are left where ticks are divided
FALLBACK_TICKS_PER_QUARTER = 480  # for a file that says zero


def fit_ticks(division: int, tracks: list[Track], mended: list[str]) -> tuple[int, list[Track]]:
    """Ticks per quarter, and the tracks with ticks that `PrettyMIDI` takes; adds what was mended to `mended`.

    Raises:
        MidiError: the song is too long.
    """
    division, tempo = _ticks_per_quarter(division, mended)
    if tempo:
        tracks = _with_tempo(tracks, tempo)
    if _last_tick(tracks) <= MAX_TICK:
        return division, tracks
    return _fewer_ticks(division, _without_last_rest(tracks, LONG_REST_QUARTERS * division), mended)


def _ticks_per_quarter(division: int, mended: list[str]) -> tuple[int, int | None]:
    """Ticks per quarter, and for a file in film frames also microseconds per quarter."""
    if division == 0:
        mended.append(f"zero ticks per quarter, read as {FALLBACK_TICKS_PER_QUARTER}")
        return FALLBACK_TICKS_PER_QUARTER, None
    if division < 0x8000:
        return division, None
    frames, ticks_per_frame = 256 - (division >> 8), division & 0xFF or 1
    ticks_per_second = (30 / 1.001 if frames == 29 else frames) * ticks_per_frame
    ticks_per_quarter = max(1, round(ticks_per_second / 2))  # at 120 quarters per minute, two per second
    mended.append(f"time in film frames ({frames} per second), read as 120 quarters per minute")
    return ticks_per_quarter, round(1e6 * ticks_per_quarter / ticks_per_second)


def _with_tempo(tracks: list[Track], tempo: int) -> list[Track]:
    """The tracks with this tempo, in microseconds per quarter, as the only one."""
    first = (0, META, bytes([SET_TEMPO]) + tempo.to_bytes(3, "big"))
    others = [[e for e in track.settings if e[1] != META or e[2][0] != SET_TEMPO] for track in tracks]
    others[0].insert(0, first)
    return [track._replace(settings=settings) for track, settings in zip(tracks, others, strict=True)]


# ---- Too many ticks ----


def _last_tick(tracks: list[Track]) -> int:
    return max(track.end for track in tracks)


def _without_last_rest(tracks: list[Track], rest: int) -> list[Track]:
    """The tracks, none of which ends more than this many ticks after the last event of them all."""
    last = max((events[-1][0] for track in tracks for events in (track.events, track.settings) if events), default=0)
    return [track._replace(end=min(track.end, last + rest)) for track in tracks]


def _fewer_ticks(division: int, tracks: list[Track], mended: list[str]) -> tuple[int, list[Track]]:
    """Ticks per quarter and the tracks, with divided ticks or else with shortened silences."""
    last = _last_tick(tracks)
    if last > MAX_TICK and not _divided(division, last):
        tracks = _shorten_rests(tracks, division, mended)
    if (new_last := _last_tick(tracks)) <= MAX_TICK:
        return division, tracks
    fewer = _divided(division, new_last)
    if not fewer:
        raise MidiError(f"it lasts {last} ticks, {last // division} quarter notes")
    if any(tick * fewer % division for track in tracks for tick in _ticks(track)):
        mended.append(f"{division} ticks per quarter, rounded to {fewer}")
    return fewer, [_moved(track, lambda tick: (tick * fewer + division // 2) // division) for track in tracks]


def _divided(division: int, last: int) -> int | None:
    """Ticks per quarter with which the last tick is at most MAX_TICK, a divisor of the present ones if there is one."""
    most = division * MAX_TICK // last
    if most < MIN_TICKS_PER_QUARTER:
        return None
    return next((fewer for fewer in range(most, MIN_TICKS_PER_QUARTER - 1, -1) if division % fewer == 0), most)


def _shorten_rests(tracks: list[Track], division: int, mended: list[str]) -> list[Track]:
    """Takes whole bars of 4/4 out of long silences."""
    ticks = np.unique([0, *(tick for track in tracks for tick in _ticks(track))])
    rests, bar = np.diff(ticks), 4 * division
    too_long = np.maximum(rests - LONG_REST_QUARTERS * division, 0) // bar * bar
    if too_long.any():
        mended.append(f"a silence of {rests.max() // division} quarter notes, shortened to about {LONG_REST_QUARTERS}")
    moved = ticks - np.append(0, too_long.cumsum())
    new = dict(zip(ticks.tolist(), moved.tolist(), strict=True))
    return [_moved(track, new.__getitem__) for track in tracks]


def _ticks(track: Track) -> Iterator[int]:
    """The ticks of all events of a track, and of its end."""
    yield from (tick for tick, _, _ in track.events)
    yield from (tick for tick, _, _ in track.settings)
    yield track.end


def _moved(track: Track, new: Callable[[int], int]) -> Track:
    """The track with new(tick) for every tick."""
    lists = ([(new(tick), *event) for tick, *event in events] for events in (track.events, track.settings))
    return Track(*lists, new(track.end))
