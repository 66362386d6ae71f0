"""The start of a run: from scratch, from other weights, or from the checkpoint that an earlier call left.

A checkpoint records what its run is made of (preset, seed, songs, first weights). A run continues only if all of it is
equal, so that a resumed run has the same bits as an uninterrupted one.
"""

import hashlib
import time
import warnings
from dataclasses import asdict, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from checkpoint import read_checkpoint
from configs import Config, config_from_dict, config_to_dict
from engine.adam import Adam
from engine.checks import checked_type
from engine.lstm import supports_bfloat16
from engine.precision import chosen_precision
from midi_utils import SongDataset
from model import ModelConfig, MusicVAE
from training.history import Position, position_from_dict
from training.processes import from_main_process

FINGERPRINT_WINDOWS = 4096  # windows that `fingerprint` reads at a time, since a set may be larger than memory
# Names of fields of a run's identity in messages
SHOWN_AS = {"beginning": "start (init_from, freeze_encoder)", "held_out": "set of held-out songs"}
# Fields of a `ModelConfig` that a run takes from its first weights
ADOPTED = ("z_size", "enc_rnn_size", "dec_rnn_size", "nade_num_hidden", "upper")
LEVELS = ("segments", "encoder_segments")  # if both models have more than one


class Beginning(NamedTuple):
    """Weights that a run starts from and, if a training run left them, the state of its optimizer."""

    model: MusicVAE
    step: int = 0  # global step
    updates: int = 0  # that Adam has made
    moments: dict[str, tuple[Tensor, Tensor]] | None = None  # Adam's first and second, by parameter name


class Run(NamedTuple):
    """What stays the same while a run goes on; its `Position` is what changes."""

    config: Config
    model: MusicVAE
    optimizer: Adam
    path: Path  # of its checkpoint
    identity: dict  # what a resumed run must share: preset, seed, data, first weights
    precision: str  # of the matrix products, 'float32' or 'bfloat16'
    began: float  # when it would have begun, by `time.monotonic`, if it had never been stopped


def start_run(
    config: Config,
    train_set: SongDataset,
    valid_set: SongDataset | None,
    beginning: Beginning | None,
    freeze_encoder: bool,
    path: Path,
    resume: bool,
    device: torch.device,
    seed: int,
    precision: str = "auto",
) -> tuple[Run, Position]:
    """Prepares a run, and where it stands: at its first step or, with `resume`, at the checkpoint found at `path`.

    Args:
        config: the preset; sizes come from `beginning`.
        train_set: windows to train on.
        valid_set: held-out windows, if any.
        beginning: first weights; random ones when None. With first weights the run has no curriculum.
        freeze_encoder: keep the encoder's weights fixed.
        path: the run's checkpoint.
        resume: continue from that checkpoint if it exists.
        device: where the model is trained.
        seed: seed of the initial weights and of every draw.
        precision: of the matrix products; 'auto' is what the checkpoint was trained in or, at the first step, what
            `engine.precision.chosen_precision` measures. All processes take that of the main one.

    Raises:
        ValueError: weights of another kind of model, or a checkpoint that is unreadable or belongs to another run.
    """
    if beginning is not None:
        model_config = with_sizes_of(config.model, beginning.model.config)
        config = replace(config, model=model_config, training=replace(config.training, curriculum=0))
    identity = {"config": config_to_dict(config), "seed": seed, "data": fingerprint(train_set)}
    identity["held_out"] = fingerprint(valid_set) if valid_set else None
    identity["beginning"] = describe_beginning(beginning, freeze_encoder)
    model = new_model(config.model, seed).to(device)
    if freeze_encoder:
        model.encoder.requires_grad_(False)
    optimizer = Adam(model, config.training.beta2)
    position, stored = load_beginning(model, optimizer, beginning), None
    if resume and path.exists():
        position, stored = restore(path, identity, model, optimizer, device)
    chosen = from_main_process(precision_to_resume(precision, stored, device))
    run = Run(config, model, optimizer, path, identity, chosen, time.monotonic() - position.seconds)
    return run, position._replace(sums=position.sums.to(device))


def check_songs(config: Config, dataset: SongDataset):
    """Raises ValueError for an empty data set, one that another converter made, or anything else."""
    checked_type("a data set", dataset, SongDataset, "a SongDataset, as load_songs and its split make it")
    if not len(dataset):
        raise ValueError("there is no window to train on; the data set's report says why")
    if dataset.converter != config.converter:
        raise ValueError(f"{config.name} trains on windows of {config.converter}, these are of {dataset.converter}")


def precision_to_resume(asked: str, stored: str | None, device: torch.device) -> str:
    """Returns the precision of a run: the one that was asked for, or for 'auto' the stored one where that runs."""
    if asked == "auto" and stored == "bfloat16" and not supports_bfloat16(device):
        warnings.warn(
            f"the run was trained in bfloat16, which {device} does not run: it goes on in float32", stacklevel=3
        )
    elif asked == "auto" and stored:
        return stored
    return chosen_precision(device, asked)


def checkpoint_bytes(run: Run, best: bool = False) -> int:
    """Returns about how many bytes a run writes: weights, Adam's state and, with `best`, the weights of best.pt."""
    weights, optimizer = (*run.model.state_dict().values(),), run.optimizer
    tensors = (*weights, *optimizer.first_moments, *optimizer.second_moments, *(weights if best else ()))
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def new_model(config: ModelConfig, seed: int) -> MusicVAE:
    """Creates a model whose initial weights depend on the seed; leaves PyTorch's global random state as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return MusicVAE(config)


def with_sizes_of(config: ModelConfig, other: ModelConfig) -> ModelConfig:
    """Returns `config` with the sizes, segments and upper layers of `other`, which must otherwise be equal.

    Dropout may differ.

    Raises:
        ValueError: they differ in something else; names it.
    """
    adopted = *ADOPTED, *(name for name in LEVELS if min(getattr(config, name), getattr(other, name)) > 1)
    ours, theirs = (
        {name: value for name, value in asdict(c).items() if name not in (*adopted, "dropout_keep_prob")}
        for c in (config, other)
    )
    if ours != theirs:
        raise ValueError(f"init_from is a model of another kind: {difference(theirs, ours)}")
    return replace(config, **{name: getattr(other, name) for name in adopted})


def fingerprint(dataset: SongDataset) -> str:
    """Returns a digest of a data set's labels and controls, in hexadecimal digits. Equal data give equal digests."""
    digest, columns = hashlib.sha1(), (dataset.labels, dataset.controls)
    for column in columns if dataset.controls is not None else columns[:1]:
        for k in range(0, len(dataset), FINGERPRINT_WINDOWS):
            digest.update(np.ascontiguousarray(column[k : k + FINGERPRINT_WINDOWS]))
    return digest.hexdigest()


def describe_beginning(beginning: Beginning | None, freeze_encoder: bool) -> str | None:
    """Returns text that identifies the first weights; None if they are random and all of them are trained."""
    parts = ["encoder frozen"] if freeze_encoder else []
    if beginning is not None:
        digest = hashlib.sha1()
        for value in beginning.model.state_dict().values():
            digest.update(value.detach().cpu().float().contiguous().numpy())
        parts.append(f"weights {digest.hexdigest()[:12]}")
    return ", ".join(parts) or None


def load_beginning(model: MusicVAE, optimizer: Adam, beginning: Beginning | None) -> Position:
    """Loads the first weights into a model, and their moments into its optimizer; returns where the run stands."""
    if beginning is None:
        return Position()
    model.load_state_dict(beginning.model.state_dict())
    if beginning.moments is not None:
        updates = torch.tensor(float(beginning.updates))
        names = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
        moments = [dict(zip(("exp_avg", "exp_avg_sq"), beginning.moments[name], strict=True)) for name in names]
        optimizer.load_state_dict({"state": dict(enumerate({"step": updates, **row} for row in moments))})
    return Position(beginning.step)


def restore(path: Path, identity: dict, model: MusicVAE, optimizer: Adam, device: torch.device) -> tuple[Position, str]:
    """Loads a run's checkpoint into its model and optimizer; returns where the run stands, and its precision.

    Earlier versions stored no precision: they trained in bfloat16 wherever that runs, without a measurement.

    Raises:
        ValueError: the file is unreadable, or its run has another identity.
    """
    content = read_checkpoint(path)
    run = content["run"] or {}
    if "optimizer" not in content:
        raise ValueError(f"{path} holds weights alone, as best.pt does: start a new run from them with init_from")
    if "config" in run:  # an earlier version may have written fewer fields
        run["config"] = config_to_dict(config_from_dict(run["config"]))
        run.setdefault("held_out", identity["held_out"])
    for key in ("beginning", *identity):
        ours = identity[key]
        if run.get(key) != ours:
            raise ValueError(
                f"{path} holds a run whose {SHOWN_AS.get(key, key)} differs ({difference(run.get(key), ours)}): "
                "train in another folder, or start over in this one: delete the file, or give resume=False"
            )
    model.load_state_dict(content["model"])
    optimizer.load_state_dict(content["optimizer"])
    unstored = "bfloat16" if supports_bfloat16(device) else "float32"
    return position_from_dict(run), run.get("precision", unstored)


def difference(found, wanted) -> str:
    """Describes how two values differ; for two presets, by the first field that does."""
    field = ""
    while isinstance(found, dict) and isinstance(wanted, dict):
        field = next(key for key in wanted if found.get(key) != wanted[key])
        found, wanted = found.get(field), wanted[field]
    return f"{field} {found}, asked for {wanted}".strip()
