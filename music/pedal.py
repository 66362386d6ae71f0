"""The sustain pedal: how long notes sound that it holds (note_seq, sequences_lib.py)."""

from collections import defaultdict

import numpy as np
from pretty_midi import PrettyMIDI

from music.grid import Part

PEDAL, PEDAL_DOWN = 64, 64  # number of the sustain pedal's control change, and its lowest value when down


def pedal_changes(midi: PrettyMIDI) -> dict[int, np.ndarray]:
    """The changes [changes, 2] of the pedal of each track that has any, by time: seconds, and 1 down or 0 up."""
    changes = {
        track: [
            (float(change.time), float(change.value >= PEDAL_DOWN))
            for change in instrument.control_changes
            if change.number == PEDAL
        ]
        for track, instrument in enumerate(midi.instruments)
    }
    return {track: np.array(sorted(own, key=lambda change: change[0])) for track, own in changes.items() if own}


def held_times(part: Part, pedals: dict[int, np.ndarray], drums: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """When a part's notes sound as the pedal holds them.

    Args:
        pedals: of the song, as in `pedal_changes`.
        drums: [tracks] bool; the pedal does not hold these tracks.

    Returns:
        Start and end of the notes [notes, 2] in seconds from the part's start, and whether each note is kept [notes].
    """
    held, stays = part.times.copy(), np.ones(len(part.track), bool)
    pedals = {track: _pedal_in(changes, part.bounds) for track, changes in pedals.items()}
    pitched = np.flatnonzero(~drums[part.track])
    last = max(times.max(initial=0.0) for times in (part.times[pitched], *(p[:, 0] for p in pedals.values())))
    for track, pedal in pedals.items():
        own = pitched[part.track[pitched] == track]
        if pedal[:, 1].any() and len(own):
            held[own, 1], stays[own] = hold_with_pedal(*part.times[own].T, part.pitch[own], pedal, last)
    return held, stays


def _pedal_in(changes: np.ndarray, bounds: tuple[float, float]) -> np.ndarray:
    """The changes of a pedal in a part, after the last one before it; from its start; at one time down first."""
    first, last = np.searchsorted(changes[:, 0], bounds[0], "right"), np.searchsorted(changes[:, 0], bounds[1])
    inside = changes[max(first - 1, 0) : last].copy()
    inside[:, 0] = np.maximum(inside[:, 0] - bounds[0], 0.0)
    return inside[np.lexsort((-inside[:, 1], inside[:, 0]))]


def hold_with_pedal(
    start: np.ndarray, end: np.ndarray, pitch: np.ndarray, pedal: np.ndarray, last: float
) -> tuple[np.ndarray, np.ndarray]:
    """Extends one track's notes while its pedal is down (note_seq, sequences_lib.py).

    A note that ends while the pedal is down sounds until the pedal is lifted or its pitch is struck again. Of two notes
    of a pitch that are struck together the first is dropped.

    Args:
        start, end, pitch: [notes], sorted by start; times in seconds.
        pedal: [changes, 2] seconds, and 1 down or 0 up; sorted, at one time down first.
        last: end of notes whose pedal is never lifted, in seconds.

    Returns:
        The new ends [notes], and whether each note is kept [notes] bool.
    """
    end, stays, down = end.copy(), np.ones(len(start), bool), False
    sounding = defaultdict(set)  # the notes of each pitch that sound
    released = []  # of these, once, notes that only the pedal holds
    for _, kind, which in _pedal_events(start, end, pedal):
        if kind == 0:
            down = True
        elif kind == 1:
            down, time = False, pedal[which, 0]
            for note in released:
                if note in sounding[pitch[note]]:
                    end[note] = time
                    sounding[pitch[note]].remove(note)
            released.clear()
        elif kind == 2:
            own = sounding[pitch[which]]
            if down:
                for note in own:
                    end[note] = start[which]
                    stays[note] = start[note] < end[note]
                own.clear()
            own.add(which)
        elif down:
            released.append(which)
        else:
            sounding[pitch[which]].discard(which)
    end[[note for own in sounding.values() for note in own]] = last
    return end, stays


def _pedal_events(start: np.ndarray, end: np.ndarray, pedal: np.ndarray) -> list[tuple[float, int, int]]:
    """Time, kind (0 pedal down, 1 pedal up, 2 note starts, 3 note ends) and index of each event, in order."""
    events = [(time, int(not down), k) for k, (time, down) in enumerate(pedal.tolist())]
    events += [(time, 2, k) for k, time in enumerate(start.tolist())]
    events += [(time, 3, k) for k, time in enumerate(end.tolist())]
    return sorted(events, key=lambda event: event[:2])
