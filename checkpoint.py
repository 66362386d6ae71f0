"""Trained models as files: weights, the preset that rebuilds model and converter, and what a run needs to resume."""

import os
from dataclasses import replace
from pathlib import Path

import torch

from configs import Config, config_from_dict, config_to_dict
from engine.adam import Adam
from model import MusicVAE
from prior import Prior

CHECKPOINT = "checkpoint.pt"  # name of the file that a run keeps up to date in its folder
FORMAT = 1  # version of that file's content


def save_checkpoint(
    path: str | Path,
    model: MusicVAE,
    config: Config,
    run: dict | None = None,
    optimizer: Adam | None = None,
    prior: Prior | None = None,
):
    """Writes a model to a file, atomically: a reader finds the old file or the new one.

    Args:
        path: the file; its folder is made where it is missing.
        model: its weights and sizes are written.
        config: the preset, whose converter and recipe are written.
        run, optimizer: state of a training run, which it needs to resume; None for a model that is only used.
        prior: a fitted prior of z, written in the weights' precision.

    Raises:
        ValueError: a prior of another class, which `stored_prior` could not restore.
    """
    if prior and not isinstance(prior, Prior):
        raise ValueError(f"a checkpoint holds a prior.Prior, not a {type(prior).__name__}, which it could not restore")
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    config = replace(config, model=model.config)
    content = {"format": FORMAT, "config": config_to_dict(config), "model": model.state_dict(), "run": run}
    if optimizer:
        content["optimizer"] = optimizer.state_dict()
    if prior:
        content["prior"] = tuple(part.to(next(model.parameters()).dtype) for part in prior)
    partial = path.with_name(path.name + ".partial")
    with partial.open("wb") as file:
        torch.save(content, file)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def read_checkpoint(path: str | Path) -> dict:
    """The content of a checkpoint, with tensors on the CPU; no code from the file runs.

    Args:
        path: the file, or the folder of a run.

    Raises:
        ValueError: no such file, a truncated file, or not a checkpoint of this version.
    """
    path = Path(path) / CHECKPOINT if Path(path).is_dir() else Path(path)
    if not path.is_file():
        raise ValueError(f"no checkpoint at {path}")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as fault:  # torch raises half a dozen kinds for a truncated file
        raise ValueError(f"{path} is truncated, or no checkpoint of ours ({type(fault).__name__})") from fault
    whole = isinstance(content, dict) and {"config", "model", "run"} <= set(content)
    if not whole or content.get("format") != FORMAT:
        raise ValueError(f"{path} is no checkpoint of this version, which writes format {FORMAT}")
    return content


def load_checkpoint(path: str | Path) -> tuple[MusicVAE, Config]:
    """The model of a checkpoint, in evaluation mode on the CPU, and its preset.

    Args:
        path: the file, or the folder of a run.

    Raises:
        ValueError: no such file, a truncated file, not a checkpoint, or weights that do not fit its preset.
    """
    return rebuild(read_checkpoint(path), path)


def rebuild(content: dict, path: str | Path) -> tuple[MusicVAE, Config]:
    """What `load_checkpoint` returns, from content that `read_checkpoint` has read; error messages name the path."""
    config = config_from_dict(content["config"])
    model = MusicVAE(config.model)
    try:
        model.load_state_dict(content["model"])
    except (RuntimeError, TypeError) as fault:
        raise ValueError(f"{path} holds weights that do not fit its own preset: {fault}") from None
    return model.eval(), config


def stored_prior(content: dict) -> Prior | None:
    """The prior in a checkpoint's content; None where it has none."""
    return Prior(*content["prior"]) if content.get("prior") else None
