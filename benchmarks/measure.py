"""Times one row in a fresh process and prints a `Measurement` as JSON. run.py starts it.

python -m benchmarks.measure '["cpu", "float32", "cat-mel_2bar_small", "train", 64]' 2.0
"""

# ruff: noqa: E402 (the imports are timed, so the clock starts before them)

import time

START = time.perf_counter()

import json
import os
import platform
import re
import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from benchmarks import floors
from benchmarks.rows import Row, config_of
from checkpoint import CHECKPOINT, save_checkpoint
from configs import Config
from engine.adam import Adam
from engine.memory import keep_freed_memory
from engine.precision import autocast
from engine.rng import seeded
from generate import TrainedModel
from midi_utils import Converter, Windows, load_midi, load_songs
from model import ModelConfig, MusicVAE
from music.converter import take
from training.batches import batch_tensors
from training.updates import update

IMPORTED = time.perf_counter()
SLOW = 1.0  # seconds; two calls that each take longer are enough, and the warm-up counts as one of them
MAX_CALLS = 50
ROOT = Path(__file__).resolve().parents[1]
SONGS = ROOT / "midi_songs" / "built_in"


class Measurement(NamedTuple):
    """The measurements of one process."""

    seconds: float  # median of the calls
    first_seconds: float  # from the end of the imports to the end of the first call
    import_seconds: float
    memory: int  # peak in bytes: resident, or allocated on the GPU
    items: int = 1  # sequences or files per call
    flops: int = 0  # operations that a call needs
    bytes_seconds: float = 0.0  # time to move the bytes that a call needs on this machine
    memory_floor: int = 0  # bytes that a call has to hold at once; 0 where they are not counted


Call = Callable[[], object]


def random_labels(config: ModelConfig, n: int) -> np.ndarray:
    """Uniformly random labels of n windows: [n, steps], or [n, steps, 3] for a trio."""
    random = np.random.default_rng(0)
    parts = [random.integers(0, depth, (n, config.steps)) for depth in config.output_depths]
    return np.stack(parts, -1).astype(np.int16) if len(parts) > 1 else parts[0].astype(np.uint8)


def training(row: Row, config: Config, folder: Path, make_optimizer: Callable[[MusicVAE], object] = Adam) -> Call:
    """One step of the training loop, from labels to updated weights."""
    device = torch.device(row.device)
    model = MusicVAE(config.model).to(device).train()
    optimizer, indices = make_optimizer(model), torch.arange(row.batch)
    data = Windows(torch.as_tensor(random_labels(config.model, row.batch)).to(device), None)
    steps = iter(range(10**9))
    keep_freed_memory()

    def step():
        windows, k = take(data, indices), next(steps)
        batch = batch_tensors(windows, config.converter, indices=config.model.takes_indices)
        update(model, optimizer, batch, config.training, k, seeded(device, "step", 0, k), row.precision)

    return step


def trained(row: Row, config: Config) -> TrainedModel:
    """An untrained model."""
    return TrainedModel(MusicVAE(config.model).to(row.device), config, row.precision)


def encoding(row: Row, config: Config, folder: Path) -> Call:
    """Label windows to latent vectors."""
    model = trained(row, config)
    windows = Windows(random_labels(config.model, row.batch), np.full(row.batch, config.model.steps, np.int32))
    return lambda: model.encode(windows)


def sampling(row: Row, config: Config, folder: Path) -> Call:
    """New pieces as `PrettyMIDI`."""
    model = trained(row, config)
    return lambda: model.sample(row.batch)


def drawing(row: Row, config: Config, folder: Path) -> Call:
    """New pieces as frames on the device, without conversion to MIDI."""
    device = torch.device(row.device)
    model = MusicVAE(config.model).to(device).eval()

    def draw():
        with autocast(device, row.precision):
            model.sample(row.batch)

    return draw


def saving(row: Row, config: Config, folder: Path) -> Call:
    """A model to a file; the call returns when the file is on the disk."""
    model = MusicVAE(config.model)
    return lambda: save_checkpoint(folder / CHECKPOINT, model, config)


def loading(row: Row, config: Config, folder: Path) -> Call:
    """A file in the disk cache to a model."""
    save_checkpoint(folder / CHECKPOINT, MusicVAE(config.model), config)
    return lambda: TrainedModel.load(folder / CHECKPOINT)


def reading(row: Row, config: Config, folder: Path) -> Call:
    """The built-in songs to labels, without a cache."""
    return lambda: load_songs(SONGS, config.converter, progress=False)


def reading_again(row: Row, config: Config, folder: Path) -> Call:
    """The built-in songs to labels, from a cache."""
    load_songs(SONGS, config.converter, cache=folder, progress=False)
    return lambda: load_songs(SONGS, config.converter, cache=folder, progress=False)


def write_loops(folder: Path, converter: Converter) -> list[Path]:
    """Writes the first window of each built-in song that has one as a file of its own; returns the files."""
    paths = []
    for song in sorted(SONGS.glob("*.mid")):
        labels = converter.to_arrays(load_midi(song)).labels
        if len(labels):
            paths.append(folder / song.name)
            converter.from_arrays(labels[0]).write(str(paths[-1]))
    return paths


def reading_loops(row: Row, config: Config, folder: Path) -> Call:
    """Files of one window each to labels, without a cache."""
    paths = write_loops(folder, config.converter)
    return lambda: load_songs(paths, config.converter, progress=False)


WORKS = {
    "train": training,
    "train scheduled": training,
    "encode": encoding,
    "sample": sampling,
    "sample frames": drawing,
    "save": saving,
    "load": loading,
    "MIDI to labels": reading,
    "MIDI from cache": reading_again,
    "loops to labels": reading_loops,
}


def peak_memory(device: torch.device) -> int:
    """Peak memory in bytes: resident memory of the process, or what torch allocated on a GPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    status = Path("/proc/self/status")  # Linux, where getrusage includes the parent process
    if status.exists():
        return 1024 * int(re.search(r"VmHWM:\s*(\d+)", status.read_text())[1])
    import resource  # not on Windows

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # bytes on macOS


def processor_name() -> str:
    """The processor's name, from the operating system."""
    listed = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*: (.+)", listed.read_text()) if listed.exists() else None
    return found[1] if found else platform.processor() or platform.machine()


def durations(call: Call, device: torch.device, budget: float) -> list[float]:
    """Seconds of each of several calls: as many as the budget in seconds allows, and at least three (two if slow)."""
    warm = floors.seconds_of(call, device)
    least, seconds = (2, [warm]) if warm > SLOW else (3, [])
    while len(seconds) < least or (sum(seconds) < budget and len(seconds) < MAX_CALLS):
        seconds.append(floors.seconds_of(call, device))
    return seconds


def file_seconds(work: str, path: Path) -> float:
    """Seconds of writing or reading a plain file with the content of the one at `path`."""
    content, plain = path.read_bytes(), path.with_name("plain")

    def write():
        with plain.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())

    write()
    return floors.best_seconds(write if work == "save" else plain.read_bytes, torch.device("cpu"))


def read_seconds(device: torch.device, size: int, read: int) -> float:
    """Seconds of reading `read` bytes in total from a buffer of `size` bytes."""
    return read / floors.read_rate(device, size)


def floor_of(row: Row, config: Config, folder: Path) -> dict:
    """The fields of a `Measurement` that give lower bounds on time and memory."""
    device, model = torch.device(row.device), config.model
    itemsize = floors.product_type(device, row.precision).itemsize
    if row.work.startswith("train"):
        with torch.device("meta"):
            parameters = sum(p.numel() for p in MusicVAE(model).parameters())
        held = floors.training_bytes(model, parameters, row.batch, itemsize)
        return {"items": row.batch, "flops": row.batch * floors.training_flops(model), "memory_floor": held}
    if row.work == "encode":
        return {"items": row.batch, "flops": row.batch * floors.forward_flops(floors.encoder_products(model))}
    if row.work.startswith("sample"):
        read, again = floors.sampling_bytes(model, itemsize), floors.stepped_bytes(model, itemsize)
        flops = row.batch * floors.forward_flops(floors.decoder_products(model))
        return {"items": row.batch, "flops": flops, "bytes_seconds": read_seconds(device, again, read)}
    if row.work.endswith(("labels", "cache")):
        files = list((folder if row.work.startswith("loops") else SONGS).glob("*.mid"))
        plain = floors.best_seconds(lambda: [path.read_bytes() for path in files], device)
        return {"items": len(files), "bytes_seconds": plain}
    return {"bytes_seconds": file_seconds(row.work, folder / CHECKPOINT)}


def measure(row: Row, budget: float) -> Measurement:
    """Times a row for about `budget` seconds, then measures its lower bounds."""
    config, device = config_of(row), torch.device(row.device)
    with tempfile.TemporaryDirectory() as folder:
        call = WORKS[row.work](row, config, Path(folder))
        call()
        floors.synchronize(device)
        first = time.perf_counter() - IMPORTED
        seconds, memory = durations(call, device, budget), peak_memory(device)
        found = (statistics.median(seconds), first, IMPORTED - START, memory)
        return Measurement(*found, **floor_of(row, config, Path(folder)))


if __name__ == "__main__":
    print(json.dumps(measure(Row(*json.loads(sys.argv[1])), float(sys.argv[2]))._asdict()))
