"""Reads a folder of MIDI files with this project's reader and with pretty_midi, and lists the files that differ.

    python benchmarks/midi_differences.py FOLDER        writes benchmarks/results/midi_differences.json and
                                                       the table of docs/reliability.md
    python benchmarks/midi_differences.py FOLDER A B    only of the subfolders A and B

A file differs if a converter cuts other windows from it. Each such file must have a fault that pretty_midi passes over;
a file without one is listed as unexplained, and must not occur. The result lists, for each subfolder, the files that a
fault concerns, and of those the ones that differ, by preset.
"""

import argparse
import io
import json
import sys
import warnings
from collections import defaultdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from pretty_midi import PrettyMIDI

from benchmarks.sections import write_section
from benchmarks.tables import results_path
from midi_utils import DrumsConverter, MelodyConverter, TrioConverter, midi_files
from music.midi_bytes import META, Limits
from music.midi_file import parse_midi
from music.midi_repair import SET_TEMPO, TIME_SIGNATURE, Track, read_tracks

CONVERTERS = {
    "cat-mel_2bar_small": MelodyConverter(bars=2),
    "cat-drums_2bar_small": DrumsConverter(bars=2),
    "hierdec-trio_16bar": TrioConverter(bars=16),
}
SHARED_KINDS = (SET_TEMPO, TIME_SIGNATURE)
SECTION = ("differences", "midi_differences.py")


def differences(paths: list[Path], folder: Path) -> dict:
    """What the two readers make of these files of a folder."""
    concerned, differing = defaultdict(list), defaultdict(lambda: defaultdict(list))
    for path in paths:
        name, data = path.relative_to(folder).as_posix(), path.read_bytes()
        ours, mended = parse_midi(data)
        theirs = read_by_pretty_midi(data)
        faults = faults_of(data, ours, theirs, mended)
        for fault in faults:
            concerned[fault].append(name)
        for preset in differing_presets(ours, theirs):
            differing[", ".join(faults) or "unexplained"][preset].append(name)
    return {"files": len(paths), "concerned": concerned, "differing": differing}


def read_by_pretty_midi(data: bytes) -> PrettyMIDI | None:
    """The song as pretty_midi reads it; None if it refuses the file."""
    try:
        return PrettyMIDI(io.BytesIO(data))
    except Exception:  # a damaged file can lead pretty_midi into any
        return None


def faults_of(data: bytes, ours: PrettyMIDI, theirs: PrettyMIDI | None, mended: list[str]) -> list[str]:
    """What a file has that pretty_midi passes over."""
    if theirs is None:
        return ["refused by pretty_midi"]
    tracks = read_tracks(data, Limits()).tracks
    found = {
        "tempo or time signature in a later track": later_settings(tracks),
        "notes without a length or an end": note_count(ours) > note_count(theirs),
        "program set in another track": programs(ours) != programs(theirs),
        "damage": bool(mended),
    }
    return [fault for fault, is_found in found.items() if is_found]


def later_settings(tracks: list[Track]) -> bool:
    """Whether later tracks have a tempo or time signature that the first track has not."""
    first, *others = (
        {event for event in track.settings if event[1] == META and event[2][0] in SHARED_KINDS} for track in tracks
    )
    return any(other - first for other in others)


def note_count(midi: PrettyMIDI) -> int:
    return sum(len(instrument.notes) for instrument in midi.instruments)


def programs(midi: PrettyMIDI) -> set[tuple[int, bool]]:
    return {(int(instrument.program), instrument.is_drum) for instrument in midi.instruments if not instrument.is_drum}


def differing_presets(ours: PrettyMIDI, theirs: PrettyMIDI | None) -> list[str]:
    """The presets whose windows differ; all that give any if pretty_midi refuses the file."""
    return [preset for preset, converter in CONVERTERS.items() if rows(converter, ours) != rows(converter, theirs)]


def rows(converter: MelodyConverter | DrumsConverter | TrioConverter, midi: PrettyMIDI | None) -> list[bytes]:
    """The windows of a song, in its order."""
    return [] if midi is None else [labels.tobytes() for labels in converter.to_arrays(midi).labels]


def table(results: dict) -> str:
    """Of each fault, in Markdown: the files that have it, and those from which a preset's windows differ."""
    lines = [
        f"| fault | files | {' | '.join(f'`{preset}`' for preset in CONVERTERS)} |",
        "|---" * (2 + len(CONVERTERS)) + "|",
    ]
    faults = {fault for result in results.values() for fault in (*result["concerned"], *result["differing"])}
    for fault in sorted(faults):
        files = sum(len(result["concerned"].get(fault, ())) for result in results.values())
        differ = [
            sum(len(result["differing"].get(fault, {}).get(p, ())) for result in results.values()) for p in CONVERTERS
        ]
        lines.append(f"| {fault} | {files or 'counted above'} | {' | '.join(map(str, differ))} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("names", nargs="*", help="subfolders; all if none is given")
    options = parser.parse_args()
    folder = options.folder
    warnings.simplefilter("ignore")  # pretty_midi warns of tempos on later tracks
    names = options.names or sorted(path.name for path in folder.iterdir() if path.is_dir())
    folders = {name: midi_files(folder / name) for name in names}
    results = {name: differences(paths, folder) for name, paths in folders.items()}
    results_path("midi_differences").write_text(json.dumps(results, indent=1) + "\n")
    print(table(results))
    write_section(*SECTION, table(results))


if __name__ == "__main__":
    main()
