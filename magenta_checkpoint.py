"""Magenta's models and training runs in, and our models out to magenta.js.

Each file format is one file in `magenta_formats/` and one line in FORMATS. To read a new format, write those two; to
write a new one, import its function here.
"""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from configs import Config
from engine.checks import checked_path
from magenta_formats import javascript, tensorflow
from magenta_formats.javascript import export_magenta_js
from magenta_formats.variables import (
    ADAM_SLOTS,
    BETA_POWERS,
    GLOBAL_STEP,
    Variables,
    check_finite,
    check_variables,
    fill_state,
    fit_sizes,
    model_from_variables,
    model_variables,
    preset_from_variables,
)
from model import MusicVAE

__all__ = [
    "TrainingState",
    "export_magenta_js",
    "is_magenta_checkpoint",
    "load_magenta_checkpoint",
    "load_magenta_model",
    "load_magenta_training_state",
]

BETA2 = 0.999  # Adam's decay of its second moments in Magenta's training


class Format(NamedTuple):
    """How one file format of Magenta's is read."""

    recognises: Callable[[Path], bool]  # whether a path is of this format
    read_variables: Callable[[Path], Variables]
    find_preset: Callable[[Path, str | None, Variables], Config]  # from the path, the preset's name and the variables


FORMATS = (  # the first that recognises a path reads it; the last reports a path that none recognises
    Format(javascript.is_magenta_js, javascript.read_shards, javascript.find_preset),
    Format(tensorflow.is_checkpoint, tensorflow.read_variables, preset_from_variables),
)


class TrainingState(NamedTuple):
    """A training run of Magenta's that `train` can continue; tensors by the names of our parameters."""

    model: MusicVAE
    step: int  # global step
    beta_powers: tuple[float, float]  # Adam's betas to the power of updates + 1
    m: dict[str, Tensor]  # Adam's moving average of the gradient
    v: dict[str, Tensor]  # Adam's moving average of the squared gradient

    @property
    def updates(self) -> int:
        """Number of updates that Adam has made, from its beta powers; the global step once these have reached 0."""
        power = self.beta_powers[1]
        return round(math.log(power) / math.log(BETA2)) - 1 if 0 < power < 1 else self.step


def is_magenta_checkpoint(path: str | Path) -> bool:
    """Whether a path is a checkpoint in one of Magenta's formats. Reads at most the beginning of a file."""
    path = checked_path("path", path)
    return any(one.recognises(path) for one in FORMATS)


def load_magenta_checkpoint(path: str | Path, config_name: str | None = None) -> MusicVAE:
    """Loads one of Magenta's models, for sampling, encoding or further training.

    Args:
        path: one of
            - the prefix of a TensorFlow checkpoint, without `.index`, or one of its files;
            - the folder of a training run, of which the latest checkpoint is read;
            - a published `.tar` archive, which is not unpacked;
            - a magenta.js folder.
        config_name: Magenta's name of the preset, such as 'cat-mel_2bar_big'. May be omitted where the variables, or
            the config.json of a magenta.js folder, fit one preset only. Layer widths and z_size come from the file.

    Returns:
        The model, on the CPU, in evaluation mode; `model.config` holds its sizes.

    Raises:
        ValueError: the checkpoint cannot be read or is damaged, its variables are not those of the preset or not
            finite, or it fits several presets, which the message lists.
        KeyError: no preset has that name.
    """
    return load_magenta_model(path, config_name)[0]


def load_magenta_model(path: str | Path, config_name: str | None = None) -> tuple[MusicVAE, Config]:
    """Loads one of Magenta's models with its preset, which has the sizes and the length of the model.

    Args, Raises: as in `load_magenta_checkpoint`.
    """
    return _build_model(path, config_name, _format_of(path).read_variables(path))


def load_magenta_training_state(path: str | Path, config_name: str | None = None) -> TrainingState:
    """Loads a training run of Magenta's with its optimizer; `train(..., init_from=state)` continues it.

    Args: as in `load_magenta_checkpoint`.

    Raises: as in `load_magenta_checkpoint`; also a ValueError for a checkpoint without the optimizer's variables.
    """
    variables = _format_of(path).read_variables(path)
    missing = {GLOBAL_STEP, *BETA_POWERS} - set(variables)
    if missing:
        raise ValueError(f"{path} holds no training state: it has no {', '.join(sorted(missing))}")
    model, _ = _build_model(path, config_name, dict(variables))
    slots = [_adam_slot(path, model, variables, suffix) for suffix in ADAM_SLOTS]
    powers = tuple(float(variables[name]) for name in BETA_POWERS)
    return TrainingState(model, int(variables[GLOBAL_STEP]), powers, *slots)


def _format_of(path: str | Path) -> Format:
    path = checked_path("path", path)
    return next((one for one in FORMATS if one.recognises(path)), FORMATS[-1])


def _build_model(path: str | Path, config_name: str | None, variables: Variables) -> tuple[MusicVAE, Config]:
    """The model with these weights, and its preset. Empties `variables`, so that their memory can be freed."""
    weights = model_variables(variables)
    variables.clear()
    preset = _format_of(path).find_preset(path, config_name, weights)
    config = replace(preset, model=fit_sizes(preset.model, weights))
    check_variables(path, preset.name, config.model, weights)
    check_finite(path, weights)
    return model_from_variables(config.model, weights), config


def _adam_slot(path: str | Path, model: MusicVAE, variables: Variables, suffix: str) -> dict[str, Tensor]:
    """One of Adam's moving averages, by the names of the parameters that are trained."""
    averages = {name.removesuffix(suffix): value for name, value in variables.items() if name.endswith(suffix)}
    check_variables(path, "a training run", model.config, averages)
    check_finite(path, averages)
    slot = {name: torch.empty_like(value) for name, value in model.state_dict().items()}
    fill_state(slot, model.config, averages, forget_bias=0.0)
    return {name: slot[name] for name, parameter in model.named_parameters() if parameter.requires_grad}
