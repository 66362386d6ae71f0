"""Everything that only a CUDA device can show, in a few minutes: its tests, its rows of the benchmark, and trainings.

    python benchmarks/accelerator.py OUT                                        about eight minutes
    python benchmarks/accelerator.py OUT --data FOLDER --manifest CSV           songs to train on
    python benchmarks/accelerator.py OUT --device cpu --minutes 1 --rows "encode 64" --presets cat-mel_2bar_tiny

The last form is a rehearsal without such a device. One of the tests asserts that LSTMs run on cuDNN. OUT gets
tests.txt, rows.json and, for each preset, its trained weights in half precision with its history.
"""

import argparse
import json
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.rows import Row, all_rows, select
from benchmarks.run import QUICK_BUDGET, Options, ProcessFailed, describe_machine, timed_group
from benchmarks.tables import ROOT
from checkpoint import save_checkpoint
from configs import CONFIGS
from corpus import load_corpus
from midi_utils import SongDataset, load_songs
from train import train

PRESETS = ("cat-mel_2bar_small", "cat-drums_2bar_small", "hier-mel_16bar_small")
TEST_SECONDS = 120  # most
ROWS_SHARE = 0.4  # of all minutes, at most, for the rows
KL_WEIGHT = 0.05  # of the trainings, without free bits


def run_tests(out: Path, device: str) -> int:
    """Runs the tests marked gpu into tests.txt; returns pytest's status, 1 if they took too long.

    On a processor they are only collected.
    """
    command = [sys.executable, "-m", "pytest", "-m", "gpu", "-rs", "-v", *([] if device == "cuda" else ["--co"])]
    with (out / "tests.txt").open("w") as file:
        try:
            return subprocess.run(command, cwd=ROOT, stdout=file, stderr=file, timeout=TEST_SECONDS).returncode
        except subprocess.TimeoutExpired:
            file.write(f"stopped after {TEST_SECONDS} s\n")
            return 1


def time_rows(out: Path, device: str, words: list[str], minutes: float):
    """Times the benchmark's rows of the device with few calls each, as many as the minutes allow, into rows.json.

    The presets that are trained here come first.
    """
    end, timed = time.monotonic() + 60 * minutes, []
    for row in sorted(select(all_rows((device,)), words), key=is_large):
        if (left := end - time.monotonic()) > 0:
            try:
                timed += timed_group([row], Options(QUICK_BUDGET, seconds=left))
            except ProcessFailed as fault:
                print(f"{row.name}: {fault}", flush=True)
    content = {"machine": describe_machine((device,))._asdict(), "rows": [row._asdict() for row in timed]}
    (out / "rows.json").write_text(json.dumps(content, indent=1) + "\n")


def is_large(row: Row) -> bool:
    """Whether a row is of a model of another size than the presets that are trained here."""
    return not row.model.endswith(("_mini", "_tiny"))


def songs_of(options: argparse.Namespace, preset: str) -> list[SongDataset]:
    """The songs to train on and the held-out songs."""
    converter, reading = CONFIGS[preset].converter, {"cache": options.cache, "progress": False}
    if options.manifest:
        splits = ("train", "valid")
        return [load_corpus(options.data, split, converter, options.manifest, **reading) for split in splits]
    return list(load_songs(options.data, converter, **reading).split(valid=0.1)[:2])


def train_preset(out: Path, options: argparse.Namespace, preset: str, minutes: float):
    """Trains a preset for some minutes; writes its weights and history."""
    config = CONFIGS[preset]
    config = replace(config, training=replace(config.training, free_bits=0.0, max_beta=KL_WEIGHT))
    songs = songs_of(options, preset)
    result = train(config, *songs, out_dir=out / preset, minutes=minutes, device=options.device, progress=False)
    save_checkpoint(out / f"{preset}.pt", result.model.cpu().half(), config)
    (out / f"{preset}.json").write_text(json.dumps(result.history) + "\n")
    shutil.rmtree(result.checkpoint.parent)


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command's options."""
    parser = argparse.ArgumentParser(description="Test, time and train on a CUDA device.")
    parser.add_argument("out", type=Path, help="folder for what is found")
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"), help="cpu is a rehearsal")
    parser.add_argument("--minutes", type=float, default=8, help="in total; trainings share what is left (default 8)")
    parser.add_argument("--rows", nargs="+", default=[], metavar="WORD", help="only rows whose names contain all words")
    parser.add_argument("--presets", nargs="+", default=PRESETS, choices=CONFIGS, metavar="PRESET", help="to train")
    parser.add_argument("--data", default=ROOT / "midi_songs", help="folder of songs (default: midi_songs)")
    parser.add_argument("--manifest", help="CSV of paths and splits")
    parser.add_argument("--cache", help="folder that keeps the songs' labels")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None):
    """The command."""
    options, begin = parse_arguments(arguments), time.monotonic()
    options.out.mkdir(parents=True, exist_ok=True)
    status = run_tests(options.out, options.device)
    print(f"tests marked gpu: {'passed' if status == 0 else 'FAILED'}, see {options.out}/tests.txt", flush=True)
    time_rows(options.out, options.device, options.rows, options.minutes * ROWS_SHARE)
    for k, preset in enumerate(options.presets):
        left = options.minutes - (time.monotonic() - begin) / 60
        train_preset(options.out, options, preset, max(left / (len(options.presets) - k), 0.02))
        print(f"{preset}: trained, {time.monotonic() - begin:.0f} s since the start", flush=True)
    sys.exit(status)


if __name__ == "__main__":
    main()
