"""The rows of the benchmark: which work of which model, in which batch, precision and on which device."""

from dataclasses import replace
from typing import NamedTuple

import torch

from benchmarks.floors import product_type
from configs import CONFIGS, Config


class Row(NamedTuple):
    """One thing that is timed, in a process of its own."""

    device: str  # 'cpu' or 'cuda'
    precision: str  # 'float32' or 'auto', see `model.autocast`
    model: str  # one of MODELS
    work: str  # one of WORKS in measure.py
    batch: int  # sequences at a time; 1 where the work has none

    @property
    def name(self) -> str:
        """The words that `select` looks at."""
        return f"{self.device} {self.precision} {self.model} {self.work} {self.batch}"


class Model(NamedTuple):
    """A preset at a size, and what Magenta calls it."""

    preset: str
    magenta: str  # its name there; sizes are handed over with it
    sizes: dict  # fields of ModelConfig that differ from the preset's


REDUCED = {"z_size": 256, "enc_rnn_size": (512, 512), "dec_rnn_size": (256, 256)}
MODELS = {
    "cat-mel_2bar_small": Model("cat-mel_2bar_small", "cat-mel_2bar_small", {}),
    "hierdec-mel_16bar reduced": Model("hierdec-mel_16bar", "hierdec-mel_16bar", REDUCED),
    "hierdec-mel_16bar": Model("hierdec-mel_16bar", "hierdec-mel_16bar", {}),
    "hierdec-trio_16bar_tiny": Model("hierdec-trio_16bar_tiny", "hierdec-trio_16bar", {}),
}
SCHEDULED = 0.5  # probability of 'train scheduled', scheduled sampling

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
)
# fmt: on
ONE_PRECISION = ("save", "load", "MIDI to labels", "MIDI from cache")  # works without a matrix product
# what Magenta cannot do: the one takes it over 23 GB at batch 8, of the other it has nothing
OURS_ALONE = (("hierdec-mel_16bar", "train"), ("cat-mel_2bar_small", "MIDI from cache"))


def all_rows(devices: tuple[str, ...]) -> list[Row]:
    """Every row of some devices; 'auto' only where it is another precision than float32."""
    halved = [device for device in devices if product_type(torch.device(device), "auto") != torch.float32]
    rows = []
    for model, work, *batches in PLAN:
        for device in devices:
            precisions = ("float32", "auto") if device in halved and work not in ONE_PRECISION else ("float32",)
            for batch in batches[device == "cuda"]:
                rows += [Row(device, precision, model, work, batch) for precision in precisions]
    return rows


def select(rows: list[Row], words: list[str]) -> list[Row]:
    """Rows whose names hold every word."""
    return [row for row in rows if all(word in row.name for word in words)]


def config_of(row: Row) -> Config:
    """The preset of a row at the row's size, with its batch and its scheduled sampling."""
    model = MODELS[row.model]
    config = CONFIGS[model.preset]
    rate = SCHEDULED if row.work == "train scheduled" else 0.0
    recipe = {"batch_size": row.batch, "sampling_schedule": "constant", "sampling_rate": rate}
    return replace(config, model=replace(config.model, **model.sizes), training=replace(config.training, **recipe))
