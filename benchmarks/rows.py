"""The rows of the benchmark. Each names a device, a precision, a model, the work that is timed and a batch size."""

from dataclasses import replace
from typing import NamedTuple

import torch

from benchmarks.floors import product_type
from configs import CONFIGS, Config


class Row(NamedTuple):
    """One measurement, which runs in a process of its own."""

    device: str  # 'cpu' or 'cuda'
    precision: str  # 'float32' or 'auto' (see `engine.precision.autocast`)
    model: str  # one of MODELS
    work: str  # one of WORKS in measure.py
    batch: int  # sequences per call; 1 for work without a batch

    @property
    def name(self) -> str:
        """The text that `select` searches."""
        return f"{self.device} {self.precision} {self.model} {self.work} {self.batch}"


class Model(NamedTuple):
    """A preset, its name in Magenta, and sizes that differ from the preset's."""

    preset: str
    magenta: str | None  # name of the config in Magenta, which gets the same sizes; None if it has none
    sizes: dict  # changed fields of ModelConfig


REDUCED = {"z_size": 256, "enc_rnn_size": (512, 512), "dec_rnn_size": (256, 256)}
MODELS = {
    "cat-mel_2bar_small": Model("cat-mel_2bar_small", "cat-mel_2bar_small", {}),
    "hierdec-mel_16bar reduced": Model("hierdec-mel_16bar", "hierdec-mel_16bar", REDUCED),
    "hierdec-mel_16bar": Model("hierdec-mel_16bar", "hierdec-mel_16bar", {}),
    "hierdec-trio_16bar_tiny": Model("hierdec-trio_16bar_tiny", "hierdec-trio_16bar", {}),
    "hierdec-mel_16bar_tiny": Model("hierdec-mel_16bar_tiny", "hierdec-mel_16bar", {}),
    "cat-mel_2bar_mini": Model("cat-mel_2bar_mini", "cat-mel_2bar_small", {}),
    "hier-mel_16bar_mini": Model("hier-mel_16bar_mini", None, {}),
    "hier-trio_16bar_mini": Model("hier-trio_16bar_mini", None, {}),
}
SAMPLING_RATE = 0.5  # probability of scheduled sampling in 'train scheduled'

# fmt: off
PLAN = (
    # model, work, batches on a processor, batches on CUDA
    ("cat-mel_2bar_small", "train", (64, 512), (64, 512)),
    ("cat-mel_2bar_small", "train scheduled", (64, 512), (64, 512)),
    ("cat-mel_2bar_small", "encode", (64, 512), (64, 512)),
    ("cat-mel_2bar_small", "sample", (1, 64, 512), (1, 64, 512)),
    ("cat-mel_2bar_small", "sample frames", (), (1, 64, 512)),
    ("cat-mel_2bar_small", "save", (1,), ()),
    ("cat-mel_2bar_small", "load", (1,), ()),
    ("cat-mel_2bar_small", "MIDI to labels", (1,), ()),
    ("cat-mel_2bar_small", "MIDI from cache", (1,), ()),
    ("cat-mel_2bar_small", "loops to labels", (1,), ()),
    ("hierdec-mel_16bar reduced", "train", (32,), (32,)),
    ("hierdec-mel_16bar reduced", "train scheduled", (32,), (32,)),
    ("hierdec-mel_16bar reduced", "encode", (64,), (64,)),
    ("hierdec-mel_16bar reduced", "sample", (1, 64, 512), (1, 64, 512)),
    ("hierdec-mel_16bar", "train", (8,), (512,)),
    ("hierdec-mel_16bar", "encode", (8,), (64, 512)),
    ("hierdec-mel_16bar", "sample", (1,), (1, 64, 512)),
    ("hierdec-mel_16bar", "sample frames", (), (1, 64, 512)),
    ("hierdec-mel_16bar", "save", (1,), ()),
    ("hierdec-mel_16bar", "load", (1,), ()),
    ("hierdec-trio_16bar_tiny", "train", (16,), (16,)),
    ("hierdec-trio_16bar_tiny", "encode", (64,), (64,)),
    ("hierdec-trio_16bar_tiny", "sample", (1, 64), (1, 64)),
    ("hierdec-mel_16bar_tiny", "train", (16,), (16,)),
    ("cat-mel_2bar_mini", "train", (64,), (64,)),
    ("cat-mel_2bar_mini", "train scheduled", (64,), (64,)),
    ("hier-mel_16bar_mini", "train", (8, 32), (8, 32)),
    ("hier-mel_16bar_mini", "train scheduled", (8, 32), (8, 32)),
    ("hier-trio_16bar_mini", "train", (8,), (8,)),
    ("hier-trio_16bar_mini", "train scheduled", (8,), (8,)),
)
# fmt: on
ONE_PRECISION = (
    "save",
    "load",
    "MIDI to labels",
    "MIDI from cache",
    "loops to labels",
)  # work without a matrix product
# Magenta needs more than 23 GB for the first of these at batch 8, and has no cache
OURS_ALONE = (("hierdec-mel_16bar", "train"), ("cat-mel_2bar_small", "MIDI from cache"))


def all_rows(devices: tuple[str, ...]) -> list[Row]:
    """All rows for these devices; 'auto' only on devices where it differs from float32."""
    halved = [device for device in devices if product_type(torch.device(device), "auto") != torch.float32]
    rows = []
    for model, work, *batches in PLAN:
        for device in devices:
            precisions = ("float32", "auto") if device in halved and work not in ONE_PRECISION else ("float32",)
            for batch in batches[device == "cuda"]:
                rows += [Row(device, precision, model, work, batch) for precision in precisions]
    return rows


def select(rows: list[Row], words: list[str]) -> list[Row]:
    """The rows whose names contain all of the words."""
    return [row for row in rows if all(word in row.name for word in words)]


def config_of(row: Row) -> Config:
    """The preset of a row with the row's sizes, batch size and scheduled sampling."""
    model = MODELS[row.model]
    config = CONFIGS[model.preset]
    rate = SAMPLING_RATE if row.work == "train scheduled" else 0.0
    recipe = {"batch_size": row.batch, "sampling_schedule": "constant", "sampling_rate": rate}
    return replace(config, model=replace(config.model, **model.sizes), training=replace(config.training, **recipe))
