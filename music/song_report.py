"""The words of a report: what became of every file of a set of songs."""

import re
from collections import defaultdict
from collections.abc import Collection, Sequence
from typing import NamedTuple

from music.converter import BarsConverter
from music.grid import NAMES_SHOWN, counted
from music.song_cache import Song
from music.song_reader import OFF_GRID_STEPS

OFF_GRID_SHARE = 0.25  # of a song's onsets; a song with more of them off the grid is named
CONTROL_CHARACTERS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")  # in a name they would break a report's line


class SongReport(NamedTuple):
    """What became of every file of a set. `print` shows a summary; the fields hold the full lists."""

    source: str  # the folder, or the number of paths that were given
    converter: BarsConverter
    files: int  # found
    songs: int  # files that gave windows
    windows: int  # kept
    duplicates: int  # windows dropped because an earlier one is equal
    refused: tuple[tuple[str, str], ...]  # (file, fault)
    mended: tuple[tuple[str, str], ...]  # (file, what was mended); these files were read
    without_window: tuple[tuple[str, str], ...]  # (file, reason)
    off_grid: tuple[tuple[str, str], ...]  # (file, share of its onsets that lie off the grid)
    lost_bars: tuple[tuple[str, str], ...]  # (file, bars left out of lines that are too long)
    unusual_drums: tuple[tuple[str, str], ...]  # (file, what differs from General MIDI's drums)
    lost_notes: tuple[tuple[str, str], ...] = ()  # (file, notes that are left out or cut short)

    def __str__(self) -> str:
        read = self.files - len(self.refused)
        lines = [
            f"{self.source}: {counted(self.files, 'MIDI file')}, {read} read, {len(self.refused)} refused",
            f"{counted(self.windows, 'window')} of {counted(self.converter.bars, 'bar')} kept from "
            f"{counted(self.songs, 'song')}, {counted(self.duplicates, 'duplicate')} dropped",
        ]
        lines += _listing("Refused", self.refused, shown=len(self.refused))
        lines += _listing("Read after mending", self.mended)
        lines += _listing("Songs without a usable window", self.without_window)
        lines += _listing(
            "Off the sixteenths of their own tempo (swing, triplets, free playing, a wrong tempo)", self.off_grid
        )
        lines += _listing("Used in part", self.lost_bars)
        lines += _listing("Without some of their notes", self.lost_notes)
        lines += _listing("Drums off the conventions of General MIDI", self.unusual_drums)
        return "\n".join(lines)

    __repr__ = __str__


def _listing(title: str, entries: Sequence[tuple[str, str]], shown: int = NAMES_SHOWN) -> list[str]:
    """Lines of (name, reason) pairs grouped by reason, the most frequent first.

    What follows a semicolon in a reason is a detail of the song, and is shown with its name.
    """
    groups = defaultdict(list)
    for name, reason in entries:
        reason, _, detail = reason.partition("; ")
        name = CONTROL_CHARACTERS.sub(lambda found: ascii(found[0])[1:-1], name)
        groups[reason].append(f"{name} ({detail})" if detail else name)
    lines = [f"{title}: {len(entries)}"] if entries else []
    for reason, names in sorted(groups.items(), key=lambda group: -len(group[1])):
        more = f" and {len(names) - shown} more, all in the report's fields" if len(names) > shown else ""
        lines.append(f"  {reason}: {counted(len(names), 'song')}: {', '.join(names[:shown])}{more}")
    return lines


def report_on(
    source: str,
    converter: BarsConverter,
    names: Sequence[str],
    songs: Sequence[Song],
    *,
    kept: Collection[int],
    windows: int,
    duplicates: int,
) -> SongReport:
    """The report of a set.

    Args:
        names, songs: of each file.
        kept: the indices of the songs that have windows in the set. The other arguments are as in SongReport.
    """
    return SongReport(
        source=source,
        converter=converter,
        files=len(names),
        songs=len(kept),
        windows=windows,
        duplicates=duplicates,
        refused=_named(names, [song.fault for song in songs]),
        mended=_named(names, [song.mended for song in songs]),
        without_window=_named(names, _why_without(songs, set(kept))),
        off_grid=_named(names, [_off_grid(song.off_grid) for song in songs]),
        lost_bars=_named(names, [_lost_bars(song.lost_bars) for song in songs]),
        unusual_drums=_named(names, [song.drums for song in songs]),
        lost_notes=_named(names, [_lost_notes(song.lost_notes) for song in songs]),
    )


def _named(names: Sequence[str], entries: Sequence[str | None]) -> tuple[tuple[str, str], ...]:
    """(name, entry) for each entry that is not empty."""
    return tuple((name, entry) for name, entry in zip(names, entries, strict=True) if entry)


def _why_without(songs: Sequence[Song], kept: set[int]) -> list[str | None]:
    """The reason why each song that was read has no window in the set, or None."""
    twin = "every window is in an earlier song too"
    return [None if song.fault or k in kept else song.reason or twin for k, song in enumerate(songs)]


def _off_grid(share: float) -> str | None:
    """The report entry of a song that is off the grid, or None."""
    if share <= OFF_GRID_SHARE:
        return None
    return f"more than {OFF_GRID_SHARE:.0%} of the onsets lie over {OFF_GRID_STEPS} steps off; {share:.0%}"


def _lost_bars(bars: int) -> str | None:
    """The report entry of a song with lines that are too long, or None."""
    return f"bars at the ends of very long lines are left out; {counted(bars, 'bar')}" if bars else None


def _lost_notes(notes: str) -> str | None:
    """The report entry of a song whose notes are not all in its windows, or None."""
    return f"notes are left out or cut short; {notes}" if notes else None


def remedy(report: SongReport) -> str:
    """What to do about a set that has no window."""
    if len(report.refused) == report.files:
        return "No file could be read: add MIDI files that play."
    return (
        "Add songs that fit, or take another preset (drums, a trio, 2 bars in place of 16) or converter (other "
        "programs, another time signature)."
    )
