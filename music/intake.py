"""What files need before a converter reads them: drum tracks, a drum map, straight off-beats, 4/4 (`Intake`)."""

from collections.abc import Container, Sequence
from copy import copy
from dataclasses import dataclass
from itertools import groupby, zip_longest

from pretty_midi import PrettyMIDI, TimeSignature

from engine.checks import checked_type, described
from music.converter import named_tracks
from music.grid import HALF_BAR_STEPS, steps_of_bar
from music.midi_bytes import MidiError
from music.midi_output import drum_pitch, with_drum_map
from music.swing import straighten

PAIR_METRES = ((4, 4), (2, 2), (8, 8))  # time signatures of two half bars; neighbours get different ones


@dataclass(frozen=True)
class Intake:
    """What is changed in songs as they are read; nothing by default."""

    drum_tracks: tuple[int | str, ...] = ()  # numbers, from 0, or names of tracks that are drums on another channel
    drum_map: tuple[tuple[int, int], ...] = ()  # pairs of a pitch of the file's drums and General MIDI's pitch for it
    straighten: bool = False  # whether swung off-beats and triplets are moved onto the grid, see `swing.straighten`
    pair_bars: bool = False  # whether two bars of 2/4 are read as one of 4/4, see `with_paired_bars`

    def __post_init__(self) -> None:
        checked_type("straighten", self.straighten, bool, "True or False")
        checked_type("pair_bars", self.pair_bars, bool, "True or False")
        for track in checked_type("drum_tracks", self.drum_tracks, tuple, "numbers or names of tracks, such as (3,)"):
            if isinstance(track, bool) or not isinstance(track, int | str):
                raise ValueError(f"a drum track must be its number, from 0, or its name, got {described(track)}")
        for pair in checked_type("drum_map", self.drum_map, tuple, "pairs of pitches, such as ((60, 36),)"):
            if not isinstance(pair, tuple) or len(pair) != 2:
                raise ValueError(f"drum_map must be pairs of pitches, such as ((60, 36),), got {described(pair)}")
        object.__setattr__(self, "drum_map", tuple((drum_pitch(own), drum_pitch(gm)) for own, gm in self.drum_map))

    def __call__(self, midi: PrettyMIDI) -> PrettyMIDI:
        """The song after the changes; the one that is given stays as it is.

        Raises:
            MidiError: a drum track is not in the song; the message lists its tracks.
        """
        midi = self.with_drums(midi)
        return self.in_pairs(straighten(midi).midi if self.straighten else midi)

    def with_drums(self, midi: PrettyMIDI) -> PrettyMIDI:
        """The song with its drum tracks, on General MIDI's pitches, before it is straightened."""
        midi = with_drum_tracks(midi, self.drum_tracks) if self.drum_tracks else midi
        return with_drum_map(midi, dict(self.drum_map)) if self.drum_map else midi

    def in_pairs(self, midi: PrettyMIDI) -> PrettyMIDI:
        """The song in pairs of bars, after it is straightened."""
        return with_paired_bars(midi) if self.pair_bars else midi


UNCHANGED = Intake()


def with_drum_tracks(midi: PrettyMIDI, tracks: Sequence[int | str]) -> PrettyMIDI:
    """A song in which these tracks, by number from 0 or by name, are drums; the case of a name does not count.

    Raises:
        MidiError: the song has no such track; the message lists its tracks.
    """
    song = copy(midi)
    song.instruments = list(midi.instruments)
    for k in (k for wanted in tracks for k in tracks_of(midi, wanted)):
        if not song.instruments[k].is_drum:
            song.instruments[k] = copy(midi.instruments[k])
            song.instruments[k].is_drum, song.instruments[k].program = True, 0  # the standard kit
    return song


def tracks_of(midi: PrettyMIDI, wanted: int | str) -> list[int]:
    """The indices of a song's tracks: the one with a number, from 0, or those with a name, whose case does not count.

    Raises:
        MidiError: the song has no such track; the message lists its tracks.
    """
    names, name = [one.name.strip().casefold() for one in midi.instruments], str(wanted).strip().casefold()
    if isinstance(wanted, int) and 0 <= wanted < len(names):
        return [wanted]
    found = [k for k in range(len(names)) if names[k] == name != ""]
    if not found:
        raise MidiError(f"there is no track {wanted!r}; the song has {named_tracks(midi)}")
    return found


def with_paired_bars(midi: PrettyMIDI) -> PrettyMIDI:
    """A song in which two bars of 2/4, or of another metre of that length, are one of 4/4; its notes stay in place.

    A change of time signature starts a bar, as before, since neighbours get different ones of PAIR_METRES. A bar
    without its pair lasts half of its bar of 4/4. Other bars stay as they are.
    """
    song = copy(midi)
    changes = sorted(map(copy, midi.time_signature_changes), key=lambda change: change.time)
    runs = [list(run) for _, run in groupby(changes, _metre)]  # one that is stated again starts no bar
    before = PAIR_METRES[0] if changes and changes[0].time > 0 else None  # the default of MIDI
    for run, after in zip_longest(runs, runs[1:]):
        before = _paired(_metre(run[0]), {before, after and _metre(after[0])})
        for change in run:
            change.numerator, change.denominator = before
    song.time_signature_changes = changes
    return song


def _paired(metre: tuple[int, int], neighbours: Container[tuple[int, int] | None]) -> tuple[int, int]:
    """The time signature of two half bars, other than those before and after it; one of other bars as it is."""
    if steps_of_bar(metre) != HALF_BAR_STEPS:
        return metre
    return next(one for one in PAIR_METRES if one not in neighbours)


def _metre(change: TimeSignature) -> tuple[int, int]:
    return change.numerator, change.denominator


def check_drum_map(midi: PrettyMIDI, drum_map: Sequence[tuple[int, int]]) -> None:
    """Raises ValueError if a song has drums, and one of a map's pitches is not among theirs."""
    pitches = sorted({note.pitch for track in midi.instruments if track.is_drum for note in track.notes})
    if pitches and (missing := [own for own, _ in drum_map if own not in pitches]):
        absent, present = (", ".join(map(str, some)) for some in (missing, pitches))
        raise ValueError(f"the drum map names pitches without a drum: {absent}; the drums have {present}")
