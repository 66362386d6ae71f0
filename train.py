"""Trains any preset: a function for notebooks and scripts, and a command.

    python train.py --config cat-mel_2bar_tiny --data midi_songs --out runs/first
    torchrun --nproc-per-node=4 train.py --config ...

Losses, schedules, gradient clipping and Adam follow Magenta (base_model.py, music_vae_train.py). Every random draw
(order of the windows, transposition, dropout, noise, scheduled sampling) depends on the seed and the step alone. A run
that was stopped therefore continues from its checkpoint and ends with the same bits as an uninterrupted run. On CUDA
this holds as far as cuDNN's LSTMs are deterministic.

Under torchrun several processes, each with its own GPU, share every batch. Each takes its rows of the batch and of the
random draws, and the gradients are averaged. The result equals that of one process with the same batch, up to rounding.
"""

import argparse
import os
import time
import warnings
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from checkpoint import BEST, CHECKPOINT, load_checkpoint, save_checkpoint
from configs import CONFIGS, Config, with_converter
from console import errors_in_a_line, say
from corpus import load_corpus
from engine.adam import Adam
from engine.checks import checked_path, checked_seed, checked_type
from engine.memory import keep_freed_memory
from engine.precision import chosen_precision
from engine.rng import seeded
from magenta_checkpoint import TrainingState, is_magenta_checkpoint, load_magenta_checkpoint
from midi_utils import SongDataset, Windows, check_shares, load_songs
from model import MusicVAE
from music.options import add_intake_arguments, read_intake, read_programs, read_time_signature
from training.batches import labels_on, step_batch
from training.best import is_best, out_of_patience, patience_line
from training.history import HistoryRow, Metrics, Position, position_to_dict
from training.processes import (
    check_processes,
    is_main_process,
    join_process_group,
    pick_device,
    process_count,
    process_device,
    process_shard,
)
from training.progress_bar import ProgressBar
from training.run_folder import check_folder, locked_folder
from training.skipped import MAX_IN_A_ROW, SkippedUpdates, TrainingDiverged
from training.start import Beginning, Run, check_songs, checkpoint_bytes, fingerprint, start_run, with_sizes_of
from training.stopping import Durations, StopReason, checked_durations, stop_requests
from training.updates import (
    as_metrics,
    as_sums,
    data_parallel,
    recipe_learning_rate,
    update,
    valid_batches,
    validate,
)

__all__ = [  # what notebooks and scripts import
    "HistoryRow",
    "Metrics",
    "TrainingDiverged",
    "TrainingResult",
    "fingerprint",
    "load_checkpoint",
    "pick_device",
    "save_checkpoint",
    "train",
]

TRAINING_SPLITS = ("train", "valid")  # the splits of a manifest that training may read
METRICS_UPDATES = 10  # updates between two looks at the metrics, for the progress bar
EXIT_INTERRUPTED = 130  # status of the command after an interrupt: 128 + SIGINT
TRAIN_OPTIONS = (  # of the command, which `train` takes as they are
    "steps", "minutes", "eval_every", "patience", "freeze_encoder", "seed", "device", "precision",
)  # fmt: skip


class TrainingResult(NamedTuple):
    """A run at its last step, or where it was stopped."""

    model: MusicVAE
    config: Config
    history: list[HistoryRow]  # the last row is for the last update, also where the run was stopped
    checkpoint: Path
    stopped_by: StopReason | None = None  # if the run did not make all its steps
    skipped: int = 0  # updates of the run that were skipped because the loss or a gradient was NaN or infinite


# ---- The run ----


def train(
    config: Config,
    train_set: SongDataset,
    valid_set: SongDataset | None = None,
    *,
    out_dir: str | Path,
    steps: int | None = None,
    minutes: float | None = None,
    eval_every: int = 100,
    patience: int | None = None,
    resume: bool = True,
    init_from: str | Path | MusicVAE | TrainingState | None = None,
    freeze_encoder: bool = False,
    device: torch.device | str | None = None,
    precision: str = "auto",
    seed: int = 0,
    progress: bool = True,
) -> TrainingResult:
    """Trains a preset on a data set: from random weights, from given weights, or from where a run in `out_dir` stopped.

    An interrupt (Ctrl-C, or the stop button of a notebook) ends the call after the current update: it saves a
    checkpoint, says so in a line, and returns the model so far. A second interrupt raises KeyboardInterrupt at once.
    Under torchrun, or in a group of `torch.distributed`, every process calls `train` with the same arguments. They
    share the run, and an interrupt raises KeyboardInterrupt.

    Args:
        config: the preset.
        train_set: windows to train on; `SongDataset.split` splits a set by song.
        valid_set: windows of held-out songs, measured every `eval_every` steps. The weights of the row with the lowest
            loss at the final beta, see `training.best.final_loss`, stay in `best.pt` beside the checkpoint.
        out_dir: folder of the run. Its checkpoint is replaced atomically every `eval_every` steps.
        steps: number of updates in total; the preset's own when None. A larger number continues a finished run.
        minutes: ends the call after this time, with a checkpoint, if it has not reached `steps`. What changes during
            training follows the step and not the clock, so the run continues later as if it had not stopped. Not for
            processes that share a run.
        eval_every: steps between two rows of the history, each with a checkpoint.
        patience: ends the run after this many rows in which the held-out loss at the final beta has not fallen below
            its lowest. Rows within a curriculum do not count. None makes all steps.
        resume: continue the run in `out_dir`; False starts over and replaces it.
        init_from: first weights, whose sizes, segments and upper layers the run takes over: a model, the file or folder
            of one of our checkpoints, or what `load_magenta_checkpoint` reads. A `TrainingState` also sets the step and
            the optimizer. Such a run has no curriculum. Without a step, the KL's weight and scheduled sampling start
            from their beginnings.
        freeze_encoder: keep the encoder's weights fixed.
        device: where to train; the fastest device when None.
        precision: of the matrix products: 'float32', 'bfloat16' or 'auto', the faster of both as measured once per
            machine. A run resumes in the precision that it stored, unless the other one is given here.
        seed: seed of the initial weights and of every draw.
        progress: show a progress bar and, after ten updates, how long the rest will take.

    Returns:
        The model and the history of the run. If the run was stopped, the history ends with a row for its last step.
        The checkpoint leaves this row out, so that the continued run has the rows of an uninterrupted one.

    Raises:
        ValueError: an empty set, windows of another converter, weights of another preset, a run in `out_dir` with
            another preset, seed, first weights, data or held-out songs, processes that cannot share the run, see
            `check_processes`, or an `out_dir` that cannot be written, has no room or is another run's now.
        TrainingDiverged: the loss or a gradient was NaN or infinite in three updates in a row. Each such update is
            skipped, and its weights are not saved.
    """
    checked_type("config", config, Config, "a Config, such as CONFIGS[name]")
    steps = config.training.steps if steps is None else steps
    durations = checked_durations(steps, minutes, eval_every, patience, held_out=bool(valid_set))
    seed = checked_seed(seed)
    check_folder(checked_path("out_dir", out_dir))
    device = process_device(device)
    chosen_precision(device, precision)  # raises ValueError for one that does not run here
    checked_type("valid_set", valid_set, SongDataset | None, "a SongDataset, as its split makes it, or None")
    for dataset in (train_set, valid_set) if valid_set else (train_set,):
        check_songs(config, dataset)
    path, beginning = Path(out_dir) / CHECKPOINT, read_beginning(init_from, config)
    join_process_group(device)
    run, position = start_run(
        config,
        train_set,
        valid_set,
        beginning,
        freeze_encoder=freeze_encoder,
        path=path,
        resume=resume,
        device=device,
        seed=seed,
        precision=precision,
    )
    check_processes(run.identity | {"step": position.step, **durations._asdict()}, config.training.batch_size)
    check_steps(run, position, beginning, steps)
    valid = labels_on(device, valid_set) if valid_set else None
    stopped_by = patience_reason(run, position, durations)
    if stopped_by or position.step >= steps:
        line = finished_line(run, position, steps, stopped_by)
    else:
        with locked_folder(path.parent, checkpoint_bytes(run, best=valid is not None)):
            data = labels_on(device, train_set)
            position, stopped_by = run_steps(run, position, data, valid, durations, progress)
        line = stop_line(run, position, steps, stopped_by, resume) if stopped_by else None
    if line and is_main_process():
        say(line)
    history = list(position.history)
    if position.updates:
        history.append(new_row(run, position, valid))
    return TrainingResult(run.model.eval(), run.config, history, path, stopped_by, position.skipped)


def check_steps(run: Run, position: Position, beginning: Beginning | None, steps: int):
    """Raises ValueError if the first weights are past the last step; warns if the curriculum would not end."""
    first = beginning.step if beginning else 0
    if position.step == first >= steps:
        raise ValueError(f"init_from is at step {first}: steps must be larger, got {steps}")
    curriculum = run.config.training.curriculum
    if steps <= curriculum and is_main_process():
        warnings.warn(f"{steps} steps end before windows are whole: the curriculum has {curriculum}", stacklevel=3)


def run_steps(
    run: Run, position: Position, data: Windows, valid: Windows | None, durations: Durations, progress: bool
) -> tuple[Position, StopReason | None]:
    """Makes the updates of a run up to its last step; adds a row to the history and saves every `eval_every` steps.

    A row after a skipped update is saved only where the run ends, since the weights may be the fault. The best weights
    are written before the checkpoint whose history names them, so a run that is killed in between writes them again.

    Returns:
        The new position, which the run's checkpoint holds, and why it stopped before the last step, or None.
    """
    keep_freed_memory()
    remove_stale_best(run, position)
    model, skipped, reason = data_parallel(run.model.train()), SkippedUpdates(position.step), None
    bar = progress_bar(run, position, valid, durations, progress)
    with bar, stop_requests(durations.minutes) as stop_reason:
        while position.step < durations.steps and not reason:
            position = make_update(run, position, model, data)
            skipped.add(run.optimizer.skipped)
            bar.advance()
            is_last = position.step == durations.steps
            reason = None if is_last else stop_reason()
            evaluates = is_last or position.step % durations.eval_every == 0
            if evaluates or reason or position.step % METRICS_UPDATES == 0:
                position = count_skipped(run, position, skipped)
                bar.show(as_metrics(position.sums, position.updates * process_count()))
            if evaluates:
                position = add_row(run, position, valid)
                reason = patience_reason(run, position, durations) or reason
            if is_last or reason or (evaluates and not skipped.in_a_row):
                position = save(run, position)
    return position, reason


def remove_stale_best(run: Run, position: Position):
    """Removes the best weights of a run that this one replaces."""
    if not position.history and is_main_process():
        run.path.with_name(BEST).unlink(missing_ok=True)


def progress_bar(
    run: Run, position: Position, valid: Windows | None, durations: Durations, progress: bool
) -> ProgressBar:
    """The progress bar from a position on, which only the main process shows."""
    batches = len(valid_batches(len(valid.labels), run.config.training.batch_size)) if valid else 0
    return ProgressBar(run.config.name, position.step, durations, batches, progress and is_main_process())


def make_update(run: Run, position: Position, model: MusicVAE | DistributedDataParallel, data: Windows) -> Position:
    """Makes the next update. If it is skipped, its numbers are not added; `count_skipped` corrects the count later."""
    config, step, seed = run.config, position.step, run.identity["seed"]
    source = process_shard(seeded(data.labels.device, "step", seed, step), config.training.batch_size)
    batch = step_batch(data, config, step, seed, source, config.model.takes_indices)
    numbers = as_sums(*update(model, run.optimizer, batch, config.training, step, source, run.precision))
    sums = position.sums + torch.where(run.optimizer.skipped > 0, 0.0, numbers)
    return position._replace(step=step + 1, updates=position.updates + 1, sums=sums)


def add_row(run: Run, position: Position, valid: Windows | None) -> Position:
    """The position with a new row of the history; writes the weights if the row is the best so far."""
    history = (*position.history, new_row(run, position, valid))
    position = position._replace(history=history, updates=0, sums=torch.zeros_like(position.sums))
    if is_best(history, run.config.training):
        save_best(run, position)
    return position


def patience_reason(run: Run, position: Position, durations: Durations) -> StopReason | None:
    """Returns 'patience' if a run stops before its last step because its held-out loss no longer falls."""
    lost = position.step < durations.steps and out_of_patience(
        position.history, run.config.training, durations.patience
    )
    return "patience" if lost else None


def count_skipped(run: Run, position: Position, skipped: SkippedUpdates) -> Position:
    """Counts the updates that were skipped since the last call, and warns about them.

    Raises:
        TrainingDiverged: three updates in a row were skipped.
    """
    count = skipped.read()
    if skipped.diverged_at:
        raise TrainingDiverged(divergence_line(run, position, skipped.diverged_at))
    if count and is_main_process():
        cause = "their loss or a gradient was NaN or infinite"
        warnings.warn(f"updates skipped up to step {position.step:,}: {count}, because {cause}", stacklevel=4)
    return position._replace(updates=position.updates - count, skipped=position.skipped + count)


# ---- Rows of the history, and files ----


def new_row(run: Run, position: Position, valid: Windows | None) -> HistoryRow:
    """The row of the history for a position: metrics since the last row, and of the held-out windows."""
    metrics = as_metrics(position.sums, position.updates * process_count())
    measured = None
    if valid:
        measured = validate(run.model, valid, run.config.converter, run.config.training, position.step, run.precision)
    return HistoryRow(position.step, metrics, measured)


def save(run: Run, position: Position) -> Position:
    """Writes the checkpoint of a run, and returns the position with its step. Every process calls it, one writes.

    Raises:
        ValueError: the disk is full, or the file cannot be written for another reason.
    """
    if is_main_process():
        write(run, run.path, position, run.optimizer)
    if process_count() > 1:
        dist.barrier()  # no process may return before the file exists
    return position._replace(saved=position.step)


def save_best(run: Run, position: Position):
    """Writes the weights of a run beside its checkpoint, without the optimizer's state. The main process writes.

    Raises:
        ValueError: as in `save`.
    """
    if is_main_process():
        write(run, run.path.with_name(BEST), position, None)


def write(run: Run, path: Path, position: Position, optimizer: Adam | None):
    """Writes the weights of a run at a position to a file; an earlier file stays if that fails, with a ValueError."""
    try:
        position = position._replace(seconds=time.monotonic() - run.began)
        content = run.identity | {"precision": run.precision} | position_to_dict(position)
        save_checkpoint(path, run.model, run.config, content, optimizer)
    except (OSError, RuntimeError) as fault:  # torch raises the latter where a disk is full
        raise ValueError(
            f"the checkpoint of step {position.step:,} could not be written to {path} ({fault}): make room, "
            "then run the same again; it continues from the checkpoint before, which is whole"
        ) from fault


# ---- Lines for the user ----


def divergence_line(run: Run, position: Position, step: int) -> str:
    """The line that says at which step a run diverged and what to do."""
    rate, saved = recipe_learning_rate(run.config.training, step - 1), position.saved
    kept = f"The checkpoint of step {saved:,} in {run.path} is whole: start from it with --init-from (init_from=), in"
    return (
        f"the loss or a gradient was NaN or infinite in {MAX_IN_A_ROW} updates in a row, up to step {step:,}, where "
        f"the learning rate was {rate:.3g}. "
        f"{kept if saved and run.path.exists() else 'No checkpoint was written: start again, in'} another folder, "
        "with a lower learning rate: --learning-rate, or learning_rate in the preset's TrainingConfig"
    )


def finished_line(run: Run, position: Position, steps: int, stopped_by: StopReason | None) -> str:
    """The line that says that a run has nothing left to do: at its last step, or out of patience before it."""
    if stopped_by:
        why = patience_line(position.history, run.config.training)
        return f"{run.path} is finished: {why}. Ask for more patience, or use another folder."
    return f"{run.path} is finished: {position.step} steps of {steps}. Ask for more steps, or use another folder."


def stop_line(run: Run, position: Position, steps: int, stopped_by: StopReason, resume: bool) -> str:
    """The line that says where a run stopped and how to continue it, or why it is finished."""
    if stopped_by == "patience":
        why = patience_line(position.history, run.config.training)
        saved, best = f"Saved at step {position.step:,} of {steps:,} in {run.path}", run.path.with_name(BEST)
        return f"Out of patience: {why}. {saved}{f'; the best weights are in {best}' if best.exists() else ''}."
    why = {"interrupt": "Interrupted", "time": "Out of time"}[stopped_by]
    how = "run the same cell or command again" if resume else "train with resume=True and the same arguments"
    return f"{why}: saved at step {position.step:,} of {steps:,} in {run.path}. To continue, {how}."


# ---- First weights ----


def read_beginning(init_from: str | Path | MusicVAE | TrainingState | None, config: Config) -> Beginning | None:
    """The first weights of a run: those given, or those that a path holds, ours or Magenta's.

    Raises:
        ValueError: no such file, one that holds no weights of the preset, or an argument of another type.
    """
    if init_from is None:
        return None
    if isinstance(init_from, TrainingState):
        moments = {name: (init_from.m[name], init_from.v[name]) for name in init_from.m}
        return Beginning(init_from.model, init_from.step, init_from.updates, moments)
    if isinstance(init_from, MusicVAE):
        return Beginning(init_from)
    if not isinstance(init_from, str | os.PathLike):
        raise ValueError(f"init_from must be a path, a MusicVAE or a TrainingState, got {type(init_from).__name__}")
    path = checked_path("init_from", init_from)
    is_magenta = is_magenta_checkpoint(path)
    return Beginning(load_magenta_checkpoint(path, config.name) if is_magenta else load_checkpoint(path)[0])


# ---- The command ----


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """The options of the command; `train` explains each."""
    parser = argparse.ArgumentParser(description="Train a MusicVAE on a folder of MIDI files.")
    parser.add_argument("--config", required=True, help="preset, such as cat-mel_2bar_tiny; configs.py lists them")
    parser.add_argument("--data", required=True, help="folder with MIDI files, or one file")
    parser.add_argument("--manifest", help="CSV with the split (train, valid, test) of each song in the folder")
    parser.add_argument(
        "--without-sources", nargs="+", default=[], metavar="SOURCE", help="sources of the manifest to leave out"
    )
    parser.add_argument("--cache", help="folder that keeps what was read from the MIDI files, for the next run")
    parser.add_argument("--out", required=True, help="folder of the run; an unfinished run in it continues")
    parser.add_argument("--steps", type=int, help="updates in total; the preset's own by default")
    parser.add_argument("--minutes", type=float, help="stop after this time, with a checkpoint; no limit by default")
    parser.add_argument("--eval-every", type=int, default=100, help="steps between two evaluations (default 100)")
    parser.add_argument("--patience", type=int, help="stop after this many evaluations without a lower held-out loss")
    parser.add_argument(
        "--valid", type=float, default=0.1, help="share of songs held out, without a manifest (default 0.1)"
    )
    parser.add_argument("--init-from", help="checkpoint to start from, ours or Magenta's; the run takes its sizes")
    parser.add_argument("--learning-rate", type=float, help="at step 0; the preset's own by default")
    parser.add_argument(
        "--transpose", type=int, nargs=2, metavar=("LOW", "HIGH"), help="semitones; the preset's own by default"
    )
    parser.add_argument("--follow-tempo", action="store_true", help="let windows go on through changes of tempo")
    parser.add_argument("--bars", type=int, help="length of a window; the preset's own by default")
    parser.add_argument("--time-signature", metavar="3/4", help="of the bars taken; the preset's own by default")
    programs = "General MIDI programs of the tracks taken, such as 0-31,40, or all; the preset's own by default"
    parser.add_argument("--programs", help=programs)
    add_intake_arguments(parser)
    parser.add_argument("--freeze-encoder", action="store_true", help="keep the encoder's weights fixed")
    parser.add_argument("--seed", type=int, default=0, help="of every random draw (default 0)")
    parser.add_argument("--device", help="cuda, mps or cpu; the fastest by default")
    parser.add_argument("--precision", default="auto", choices=("auto", "float32", "bfloat16"))
    return parser.parse_args(arguments)


def read_sets(options: argparse.Namespace, config: Config) -> tuple[SongDataset, SongDataset]:
    """Reads the songs to train on and the held-out songs; the main process fills a shared cache before others do."""
    join_process_group(process_device(options.device))
    shared_cache = options.cache and process_count() > 1
    if shared_cache and not is_main_process():
        dist.barrier()
    parts = read_parts(options, config)
    if shared_cache and is_main_process():
        dist.barrier()
    return parts


def read_parts(options: argparse.Namespace, config: Config) -> tuple[SongDataset, SongDataset]:
    """Reads the two splits of a manifest; without a manifest, holds out a share of the folder's songs.

    Raises:
        ValueError: sources to leave out without a manifest, or what reading raises.
    """
    if options.without_sources and not options.manifest:
        raise ValueError("--without-sources leaves out sources of a manifest: give one with --manifest")
    reading = {"cache": options.cache, "progress": is_main_process(), "intake": read_intake(options)}
    if options.manifest:
        reading |= {"manifest": options.manifest, "without": options.without_sources}
        parts = [load_corpus(options.data, split, config.converter, **reading) for split in TRAINING_SPLITS]
    else:
        parts = [load_songs(options.data, config.converter, **reading)]
    if is_main_process():
        say(*(songs.report for songs in parts), sep="\n")
    return tuple(parts) if options.manifest else parts[0].split(valid=options.valid, seed=options.seed)[:2]


def chosen_config(options: argparse.Namespace) -> Config:
    """The preset, with the recipe and the converter that the options ask for."""
    config, changes = CONFIGS[options.config], {}
    if options.learning_rate is not None:
        changes["learning_rate"] = options.learning_rate
    if options.transpose is not None:
        changes["transpose_range"] = tuple(options.transpose)
    fields = {"follow_tempo": True} if options.follow_tempo else {}
    if options.bars is not None:
        fields["bars"] = options.bars
    if options.time_signature is not None:
        fields["time_signature"] = read_time_signature(options.time_signature)
    if options.programs is not None:
        fields["programs"] = read_programs(options.programs)
    return replace(with_converter(config, **fields), training=replace(config.training, **changes))


def check_options(options: argparse.Namespace, config: Config):
    """Raises ValueError for a wrong option, before any song is read."""
    read_intake(options)
    checked_seed(options.seed)
    check_folder(checked_path("--out", options.out))
    check_shares(options.valid)
    chosen_precision(process_device(options.device), options.precision)  # raises ValueError for one not run here
    steps, held_out = config.training.steps if options.steps is None else options.steps, options.valid > 0
    checked_durations(steps, options.minutes, options.eval_every, options.patience, held_out or bool(options.manifest))


def report(result: TrainingResult):
    """Prints where a run ended."""
    last = result.history[-1]
    why = ", out of patience" if result.stopped_by == "patience" else ""
    say(f"{result.checkpoint} after {last.step} steps{why}: {last.valid or last.train}")
    if result.skipped:
        say(f"updates skipped: {result.skipped}, because the loss or a gradient was NaN or infinite")


def main(arguments: list[str] | None = None):
    """Runs the command: reads a folder, prints the data set's report, and trains."""
    options = parse_arguments(arguments)
    try:
        with errors_in_a_line(ValueError, KeyError, TrainingDiverged):
            config = chosen_config(options)
            check_options(options, config)
            beginning = read_beginning(options.init_from, config)
            if beginning:
                with_sizes_of(config.model, beginning.model.config)  # raises ValueError for a model of another kind
            train_set, valid_set = read_sets(options, config)
            chosen = {name: getattr(options, name) for name in TRAIN_OPTIONS}
            chosen["init_from"] = beginning and beginning.model
            result = train(config, train_set, valid_set, out_dir=options.out, **chosen)
    except KeyboardInterrupt:
        raise SystemExit(
            "\nInterrupted; the same command continues from the last checkpoint, if there is one."
        ) from None
    if is_main_process():
        report(result)
    if process_count() > 1:
        dist.destroy_process_group()
    if result.stopped_by == "interrupt":
        raise SystemExit(EXIT_INTERRUPTED)


if __name__ == "__main__":
    main()
