"""One training loop for every preset, as a function for notebooks and as a command:

    python train.py --config cat-mel_2bar_tiny --data midi_songs --out runs/first
    torchrun --nproc-per-node=4 train.py --config ...

Losses, schedules, clipping and Adam follow Magenta (base_model.py, music_vae_train.py). Every random draw (order of
the windows, transposition, dropout, noise, scheduled sampling) is a function of the seed and the step alone, so a run
that is stopped anywhere goes on from its last checkpoint and ends bit for bit as if it had not been (on CUDA, as far as
cuDNN's LSTMs are deterministic).

Several processes, one a GPU under torchrun, share each batch: every one takes its part of it, and of the draws for the
whole of it, and the gradients are averaged. The run is that of one process with the same batch, but for rounding.
"""

import argparse
import hashlib
import math
import time
import warnings
import zipfile
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from tqdm.auto import tqdm

from checkpoint import CHECKPOINT, load_checkpoint, read_checkpoint, save_checkpoint
from configs import CONFIGS, Config, config_from_dict, config_to_dict
from corpus import load_corpus
from engine.adam import Adam
from engine.rng import RandomSource, Shard, normal, own_rows, seeded
from loss import (
    ElboLoss,
    accuracy,
    beta_at,
    elbo_loss,
    kl_divergence,
    learning_rate_at,
    reconstruction_loss,
    sampling_probability_at,
)
from magenta_checkpoint import TrainingState, load_magenta_checkpoint
from midi_utils import SongDataset, Tensors, load_songs
from model import ModelConfig, MusicVAE, autocast
from training.batches import Labels, batch_tensors, labels_at, labels_on, step_batch
from training.processes import check_processes, join, leads, own_device, own_shard, pick_device, ranks

__all__ = ["TrainingResult", "load_checkpoint", "pick_device", "save_checkpoint", "train"]  # what notebooks import

NORM_CLIPPED_TO_ZERO = 10_000.0  # a gradient of this norm or more, or none at all, moves nothing (music_vae_train.py)
VALID_WINDOWS = 1024  # held-out windows that are measured, evenly spaced, when there are more
HASHED_WINDOWS = 4096  # windows read at a time for a set's fingerprint
TO_TRAIN = ("train", "valid")  # the parts of a manifest that training may see
POSTFIX_STEPS = 10  # updates between two looks at the numbers beside the progress bar


class Metrics(NamedTuple):
    """Means over windows: in training as the model was fed, by some recipes its own draws; held out told the truth.

    In a curriculum a window is, in training, what one has been cut into.
    """

    loss: float  # nats: reconstruction + beta * KL beyond the free bits
    reconstruction: float  # nats a window
    kl_bits: float  # bits a window
    accuracy: float  # 0..1, share of steps whose most likely class is right, mean over a trio's parts


class HistoryRow(NamedTuple):
    """Metrics of the updates since the row before, and of the held-out songs after `step` updates."""

    step: int
    train: Metrics
    valid: Metrics | None


class TrainingResult(NamedTuple):
    """A run that has reached its last step."""

    model: MusicVAE
    config: Config
    history: list[HistoryRow]
    checkpoint: Path


def compute_loss(
    model: MusicVAE,
    batch: Tensors,
    config: Config,
    step: int,
    generator: RandomSource,
    precision: str = "float32",
    sampling_probability: float = 0.0,
) -> tuple[ElboLoss, Tensor]:
    """The objective on a batch with one draw of z for each window, and the accuracy (paper, section 2.1)."""
    recipe = config.training
    with autocast(batch.inputs.device, precision):
        posterior = model.encode(batch.inputs, batch.lengths, batch.controls, generator)
        z = posterior.loc + posterior.scale * normal(posterior.loc.shape, generator, posterior.loc.device)
        logits = model.decode(z, batch.targets, batch.lengths, batch.controls, sampling_probability, generator)
    how = {"output": config.model.output, "output_weights": model.output_weights}
    nats = reconstruction_loss(logits, batch.targets, batch.lengths, **how)
    beta = beta_at(step, max_beta=recipe.max_beta, beta_rate=recipe.beta_rate)
    elbo = elbo_loss(nats, kl_divergence(posterior), beta=beta, free_bits=recipe.free_bits)
    with torch.no_grad():
        return elbo, accuracy(logits, batch.targets, batch.lengths, **how).mean()


class Objective(nn.Module):
    """`compute_loss` on this process's part of a batch, scaled: the mean over the processes is the whole batch's."""

    def __init__(self, model: MusicVAE):
        super().__init__()
        self.model = model

    def forward(self, batch: Tensors, config: Config, step: int, source: Shard, *how) -> tuple[ElboLoss, Tensor]:
        elbo, share = compute_loss(self.model, batch, config, step, source, *how)
        weight = (source.stop - source.start) * dist.get_world_size() / source.total
        return ElboLoss(*(weight * mean for mean in elbo)), weight * share


def spread(model: MusicVAE) -> MusicVAE | DistributedDataParallel:
    """The model for `update`: where several processes share a run, in a wrapper that averages their gradients."""
    return DistributedDataParallel(Objective(model)) if ranks()[1] > 1 else model


def clip_gradients(parameters: list[Tensor], limit: float) -> Tensor:
    """Scales gradients to a global norm of at most `limit`, to 0 where it is 10,000 or no number; returns the norm."""
    norm = torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(p.grad) for p in parameters]))
    scale = (limit / norm).clamp(max=1.0)
    for parameter in parameters:
        parameter.grad = torch.where(norm < NORM_CLIPPED_TO_ZERO, parameter.grad * scale, 0.0)
    return norm


def update(
    model: MusicVAE | DistributedDataParallel,
    optimizer: Adam,
    batch: Tensors,
    config: Config,
    step: int,
    generator: RandomSource,
    precision: str = "float32",
) -> tuple[ElboLoss, Tensor]:
    """One step of training (music_vae_train.py).

    Args:
        model: as `spread` gives it.
        step: the global step, which the schedules follow.
        generator: source of the noise, of dropout and of scheduled sampling, on the model's device.

    Returns:
        What `compute_loss` returned before the update.
    """
    recipe = config.training
    probability = sampling_probability_at(step, schedule=recipe.sampling_schedule, rate=recipe.sampling_rate)
    objective = model if isinstance(model, DistributedDataParallel) else partial(compute_loss, model)
    elbo, share = objective(batch, config, step, generator, precision, probability)
    optimizer.zero_grad()
    elbo.loss.backward()
    clip_gradients(optimizer.parameters, recipe.grad_clip)
    rate = learning_rate_at(
        step,
        learning_rate=recipe.learning_rate,
        decay_rate=recipe.decay_rate,
        min_learning_rate=recipe.min_learning_rate,
    )
    optimizer.step(rate)
    return elbo, share


def as_metrics(sums: Tensor, count: float) -> Metrics:
    """Means from the sums of loss, reconstruction, KL in nats and accuracy, over all processes; each has to call it."""
    if ranks()[1] > 1:
        sums = sums.clone()
        dist.all_reduce(sums)
    loss, reconstruction, kl_nats, share = (sums / count).tolist()
    return Metrics(loss, reconstruction, kl_nats / math.log(2), share)


def as_sums(elbo: ElboLoss, share: Tensor) -> Tensor:
    """The four numbers of a step in one tensor, so that reading them waits for the device once."""
    return torch.stack([elbo.loss, elbo.reconstruction, elbo.kl_nats, share]).detach()


@torch.no_grad()
def validate(model: MusicVAE, data: Labels, config: Config, step: int, precision: str = "float32") -> Metrics:
    """Teacher-forced metrics on held-out windows, the same windows and the same noise each time.

    Processes that share a run share the windows, and each has to call it.
    """
    training, n = model.training, len(data.labels)
    model.eval()
    chosen = torch.linspace(0, n - 1, min(n, VALID_WINDOWS)).round().long()
    generator = seeded(data.labels.device, "valid")
    sums = torch.zeros(4, device=data.labels.device)
    for indices in chosen.split(config.training.batch_size):
        source = own_shard(generator, len(indices))
        own = own_rows(indices, source)
        if len(own):  # else it is the last batch, and no draw after it
            batch = batch_tensors(labels_at(data, own), config)
            sums += len(own) * as_sums(*compute_loss(model, batch, config, step, source, precision))
    model.train(training)
    return as_metrics(sums, len(chosen))


def train(
    config: Config,
    train_set: SongDataset,
    valid_set: SongDataset | None = None,
    *,
    out_dir: str | Path,
    steps: int | None = None,
    eval_every: int = 100,
    resume: bool = True,
    init_from: str | Path | MusicVAE | TrainingState | None = None,
    freeze_encoder: bool = False,
    device: torch.device | str | None = None,
    precision: str = "auto",
    seed: int = 0,
    progress: bool = True,
) -> TrainingResult:
    """Trains a preset on a data set, from the start, from other weights, or from where a run in `out_dir` stopped.

    Under torchrun, or in a group of `torch.distributed`, every process calls it alike, and they share the run.

    Args:
        config: the preset.
        train_set: its windows; `SongDataset.split` cuts a set by song.
        valid_set: windows of songs held out, measured every `eval_every` steps.
        out_dir: folder of the run; its checkpoint is replaced atomically every `eval_every` steps.
        steps: updates in all; the preset's own when None. More than a finished run had make it go on.
        eval_every: steps between two rows of the history, each with a checkpoint.
        resume: go on with the run in `out_dir`; False begins anew and writes over it.
        init_from: weights to begin with, whose sizes the run takes over: a model, the file or folder of one of our
            checkpoints, or what `load_magenta_checkpoint` reads; a `TrainingState` goes on from its step. Such a run
            has no curriculum; without a step the KL's weight and scheduled sampling rise from their beginnings.
        freeze_encoder: leave the encoder as it is.
        device: the fastest there is when None.
        precision: 'float32', 'bfloat16' or 'auto', of the matrix products, see `model.autocast`.
        seed: of every draw, the initial weights included.
        progress: show a bar.

    Returns:
        The model and the history of the run.

    Raises:
        ValueError: an empty set, another converter's windows, weights of another preset, a run in `out_dir` of another
            preset, seed, data or beginning, or processes that cannot share the run, see `check_processes`.
    """
    steps = config.training.steps if steps is None else steps
    if steps < 1 or eval_every < 1:
        raise ValueError(f"steps and eval_every must be at least 1, got {steps} and {eval_every}")
    device = own_device(device)
    for dataset in (train_set, valid_set) if valid_set else (train_set,):
        check_windows(config, dataset)
    path, beginning = Path(out_dir) / CHECKPOINT, read_beginning(init_from, config)
    join(device)
    run = set_up(config, train_set, beginning, freeze_encoder, path, resume, device, seed)
    plan = {"step": run.step, "steps": steps, "eval_every": eval_every, "held-out windows": len(valid_set or ())}
    check_processes(run.identity | plan, config.training.batch_size)
    curriculum = run.config.training.curriculum
    if steps <= curriculum and leads():
        warnings.warn(f"{steps} steps end before windows are whole: the curriculum has {curriculum}", stacklevel=2)
    if run.step < steps:
        path.parent.mkdir(parents=True, exist_ok=True)
        data, valid = labels_on(device, train_set), labels_on(device, valid_set) if valid_set else None
        go_on(run, data, valid, steps, eval_every, precision, progress)
    elif not run.history:
        raise ValueError(f"init_from stands at step {run.step}: steps counts from there, and must be above it")
    elif leads():
        print(f"{path} is finished: {run.step} steps of {steps}. Ask for more steps, or train in another folder.")
    return TrainingResult(run.model.eval(), run.config, run.history, path)


class Run(NamedTuple):
    """A run that is about to go on."""

    config: Config
    model: MusicVAE
    optimizer: Adam
    path: Path  # of its checkpoint
    identity: dict  # what it is made of; it does not go on from a checkpoint of anything else
    step: int  # steps that it has made
    history: list[HistoryRow]
    seconds: float  # that these took


def set_up(
    config: Config,
    train_set: SongDataset,
    beginning: "Beginning",
    freeze_encoder: bool,
    path: Path,
    resume: bool,
    device: torch.device,
    seed: int,
) -> Run:
    """A run at its beginning or, with `resume`, at the checkpoint that lies there."""
    config = replace(config, model=sized(config.model, beginning))
    if beginning is not None:  # what knows its bars starts with whole windows
        config = replace(config, training=replace(config.training, curriculum=0))
    identity = {"config": config_to_dict(config), "seed": seed, "data": fingerprint(train_set)}
    identity["beginning"] = describe(beginning, freeze_encoder)
    model = new_model(config.model, seed).to(device)
    if freeze_encoder:
        model.encoder.requires_grad_(False)
    optimizer = Adam(model, config.training.beta2)
    begin(model, optimizer, beginning)
    if resume and path.exists():
        return Run(config, model, optimizer, path, identity, *restore(path, identity, model, optimizer))
    first = beginning.step if isinstance(beginning, TrainingState) else 0
    return Run(config, model, optimizer, path, identity, first, [], 0.0)


def new_model(config: ModelConfig, seed: int) -> MusicVAE:
    """A model with initial weights of the seed; the caller's own draws stay as they were."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return MusicVAE(config)


def go_on(run: Run, data: Labels, valid: Labels | None, steps: int, eval_every: int, precision: str, progress: bool):
    """Makes a run's steps up to the last, with a row of the history and a checkpoint every so often."""
    config, seed, device = run.config, run.identity["seed"], data.labels.device
    model, sums, count = spread(run.model.train()), torch.zeros(4, device=device), 0
    began = time.monotonic() - run.seconds
    with tqdm(total=steps, initial=run.step, desc=config.name, disable=not (progress and leads())) as bar:
        for step in range(run.step, steps):
            source = own_shard(seeded(device, "step", seed, step), config.training.batch_size)
            batch = step_batch(data, config, step, seed, source)
            sums += as_sums(*update(model, run.optimizer, batch, config, step, source, precision))
            done, count = step + 1, count + ranks()[1]
            bar.update()
            if done % POSTFIX_STEPS == 0:
                show(bar, as_metrics(sums, count))
            if done % eval_every == 0 or done == steps:
                add_row(run, done, as_metrics(sums, count), valid, precision, began)
                sums, count = torch.zeros_like(sums), 0


def add_row(run: Run, step: int, metrics: Metrics, valid: Labels | None, precision: str, began: float):
    """Measures the held-out songs and writes the checkpoint, with the seconds since the run began."""
    measured = validate(run.model, valid, run.config, step, precision) if valid else None
    run.history.append(HistoryRow(step, metrics, measured))
    if leads():
        state = run.identity | {"step": step, "history": history_to_lists(run.history)}
        state["seconds"] = time.monotonic() - began
        save_checkpoint(run.path, run.model, run.config, state, run.optimizer)
    if ranks()[1] > 1:
        dist.barrier()  # so that none ends, and finds no file, before it is written


Beginning = MusicVAE | TrainingState | None  # what a run starts from


def read_beginning(init_from: str | Path | Beginning, config: Config) -> Beginning:
    """The weights that a path holds, ours or Magenta's."""
    if init_from is None or isinstance(init_from, MusicVAE | TrainingState):
        return init_from
    if not isinstance(init_from, str | Path):
        raise ValueError(f"init_from must be a path, a MusicVAE or a TrainingState, got {type(init_from).__name__}")
    path = Path(init_from)
    if (path / CHECKPOINT).is_file() or (path.is_file() and zipfile.is_zipfile(path)):
        return load_checkpoint(path)[0]
    return load_magenta_checkpoint(path, config.name)


def first_model(beginning: Beginning) -> MusicVAE | None:
    """The model that a run starts from."""
    return beginning.model if isinstance(beginning, TrainingState) else beginning


def sized(config: ModelConfig, beginning: Beginning) -> ModelConfig:
    """The config with the sizes of the model that a run starts from, which must be of its kind."""
    if beginning is None:
        return config
    model = first_model(beginning)
    sizes = ("z_size", "enc_rnn_size", "dec_rnn_size", "nade_num_hidden")
    kinds = [
        {k: v for k, v in asdict(c).items() if k not in (*sizes, "dropout_keep_prob")} for c in (config, model.config)
    ]
    if kinds[0] != kinds[1]:
        raise ValueError(f"init_from is a model of another kind: {difference(kinds[1], kinds[0])}")
    return replace(config, **{name: getattr(model.config, name) for name in sizes})


def describe(beginning: Beginning, freeze_encoder: bool) -> str | None:
    """What tells two beginnings apart; None for a run that starts from nothing and trains everything."""
    parts = ["encoder frozen"] if freeze_encoder else []
    if beginning is not None:
        digest = hashlib.sha1()
        for value in first_model(beginning).state_dict().values():
            digest.update(value.detach().cpu().float().contiguous().numpy())
        parts.append(f"weights {digest.hexdigest()[:12]}")
    return ", ".join(parts) or None


def begin(model: MusicVAE, optimizer: Adam, beginning: Beginning):
    """Puts the weights that a run starts from, and Adam's means where they are known, into its model and optimizer."""
    if beginning is None:
        return
    model.load_state_dict(first_model(beginning).state_dict())
    if isinstance(beginning, TrainingState):
        updates, m, v = torch.tensor(float(beginning.updates)), beginning.m, beginning.v
        names = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
        rows = [{"step": updates, "exp_avg": m[name], "exp_avg_sq": v[name]} for name in names]
        optimizer.load_state_dict({"state": dict(enumerate(rows))})


def show(bar: tqdm, metrics: Metrics):
    """The numbers beside a progress bar."""
    bar.set_postfix_str(
        f"loss {metrics.loss:.1f} | reconstruction {metrics.reconstruction:.1f} nats | "
        f"KL {metrics.kl_bits:.1f} bits | accuracy {metrics.accuracy:.1%}",
        refresh=False,
    )


def check_windows(config: Config, dataset: SongDataset):
    """Raises ValueError for an empty set, or one that another converter made."""
    if not len(dataset):
        raise ValueError("there is no window to train on; the data set's report says why")
    if dataset.converter != config.converter:
        raise ValueError(f"{config.name} trains on windows of {config.converter}, these are of {dataset.converter}")


def fingerprint(dataset: SongDataset) -> str:
    """Digest of a data set's labels and controls."""
    digest, columns = hashlib.sha1(), (dataset.labels, dataset.controls)
    for column in columns if dataset.controls is not None else columns[:1]:
        for k in range(0, len(dataset), HASHED_WINDOWS):  # piece by piece: the set may be larger than memory
            digest.update(np.ascontiguousarray(column[k : k + HASHED_WINDOWS]))
    return digest.hexdigest()


def history_to_lists(history: list[HistoryRow]) -> list:
    """Rows as plain lists, which a checkpoint can hold."""
    return [[step, list(train), valid and list(valid)] for step, train, valid in history]


def restore(path: Path, identity: dict, model: MusicVAE, optimizer: Adam) -> tuple[int, list[HistoryRow], float]:
    """Puts a run's last checkpoint into model and optimizer; returns its steps, its history and the seconds it took."""
    content = read_checkpoint(path)
    run = content["run"] or {}
    if "config" in run:  # one of before a recipe had all that it has today
        run["config"] = config_to_dict(config_from_dict(run["config"]))
    for key in ("beginning", *identity):
        ours = identity[key]
        if run.get(key) != ours:
            raise ValueError(
                f"{path} holds a run whose {key} differs ({difference(run.get(key), ours)}): "
                "train in another folder; train(..., resume=False) begins anew here"
            )
    model.load_state_dict(content["model"])
    optimizer.load_state_dict(content["optimizer"])
    rows = [HistoryRow(step, Metrics(*train), valid and Metrics(*valid)) for step, train, valid in run["history"]]
    return run["step"], rows, run.get("seconds", 0.0)


def difference(found, wanted) -> str:
    """What differs between two values; of two presets the first field that does."""
    field = ""
    while isinstance(found, dict) and isinstance(wanted, dict):
        field = next(key for key in wanted if found.get(key) != wanted[key])
        found, wanted = found.get(field), wanted[field]
    return f"{field} {found}, asked for {wanted}".strip()


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command's options; `train` says more on each."""
    parser = argparse.ArgumentParser(description="Train a MusicVAE on a folder of MIDI files.")
    parser.add_argument("--config", required=True, help="preset, as cat-mel_2bar_tiny; one of CONFIGS in configs.py")
    parser.add_argument("--data", required=True, help="folder with MIDI files, or one file")
    parser.add_argument("--manifest", help="CSV that says which of the folder's songs are for train and for valid")
    parser.add_argument("--cache", help="folder that keeps what was read, for the next run")
    parser.add_argument("--out", required=True, help="folder of the run; a run that it holds goes on")
    parser.add_argument("--steps", type=int, help="updates; the preset's own by default")
    parser.add_argument("--eval-every", type=int, default=100, help="steps between two checkpoints (default 100)")
    parser.add_argument("--valid", type=float, default=0.1, help="share held out, if no manifest (default 0.1)")
    parser.add_argument("--init-from", help="checkpoint to begin with, ours or Magenta's, with its sizes")
    parser.add_argument("--learning-rate", type=float, help="at step 0; the preset's own by default")
    parser.add_argument(
        "--transpose", type=int, nargs=2, metavar=("LOW", "HIGH"), help="semitones; the preset's own by default"
    )
    parser.add_argument("--freeze-encoder", action="store_true", help="leave the encoder as it is")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", help="cuda, mps or cpu; the fastest by default")
    parser.add_argument("--precision", default="auto", choices=("auto", "float32", "bfloat16"))
    return parser.parse_args(arguments)


def read_songs(options: argparse.Namespace, config: Config) -> tuple[SongDataset, SongDataset]:
    """Songs to train on and songs held out; where processes share a cache, the first fills it before others look."""
    join(own_device(options.device))
    waits = options.cache and ranks()[1] > 1
    if waits and not leads():
        dist.barrier()
    parts = read_parts(options, config)
    if waits and leads():
        dist.barrier()
    return parts


def read_parts(options: argparse.Namespace, config: Config) -> tuple[SongDataset, SongDataset]:
    """A manifest's two parts of a folder or, without one, a share of its songs and the rest."""
    how = {"cache": options.cache, "progress": leads()}
    if options.manifest:
        parts = [load_corpus(options.data, part, config.converter, options.manifest, **how) for part in TO_TRAIN]
        reports = [songs.report for songs in parts]
    else:
        songs = load_songs(options.data, config.converter, **how)
        parts, reports = songs.split(valid=options.valid, seed=options.seed)[:2], [songs.report]
    if leads():
        print(*reports, sep="\n")
    return tuple(parts)


def asked_config(options: argparse.Namespace) -> Config:
    """The preset, with what the options change of its recipe."""
    config, changes = CONFIGS[options.config], {}
    if options.learning_rate is not None:
        changes["learning_rate"] = options.learning_rate
    if options.transpose is not None:
        changes["transpose_range"] = tuple(options.transpose)
    return replace(config, training=replace(config.training, **changes))


def main(arguments: list[str] | None = None):
    """The command: a folder to a data set, its report, and a run."""
    options = parse_arguments(arguments)
    try:
        config = asked_config(options)
        train_set, valid_set = read_songs(options, config)
        names = ("steps", "eval_every", "init_from", "freeze_encoder", "seed", "device", "precision")
        run = {name: getattr(options, name) for name in names}
        result = train(config, train_set, valid_set, out_dir=options.out, **run)
    except (ValueError, KeyError) as fault:
        raise SystemExit(f"error: {fault.args[0]}") from None
    except KeyboardInterrupt:
        raise SystemExit("\nInterrupted; the same command goes on from the last checkpoint, if there is one.") from None
    if leads():
        last = result.history[-1]
        print(f"{result.checkpoint} after {last.step} steps: {last.valid or last.train}")
    if ranks()[1] > 1:
        dist.destroy_process_group()


if __name__ == "__main__":
    main()
