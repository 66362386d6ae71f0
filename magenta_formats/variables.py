"""Names and layout of Magenta's variables, and the conversion between them and our parameters.

All of Magenta's file formats hold the same variables, such as `decoder/multi_rnn_cell/cell_0/lstm_cell/kernel`, in
TensorFlow's layout. Only this module knows their names, TensorFlow's gate order and its forget bias.

Axes: H width of an LSTM layer.
"""

from collections.abc import Iterator
from dataclasses import replace
from itertools import count, takewhile
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from configs import CONFIGS, Config
from model import ModelConfig, MusicVAE, blank_model

# Position in TensorFlow's i, j, f, o of each gate of PyTorch's i, f, g, o, and the other way round.
GATE_ORDER = [0, 2, 1, 3]
FORGET_BIAS = 1.0  # TensorFlow's cell adds it when it runs; checkpoints hold the bias without it
ENCODER_LAYER = "{}/cell_{}/bidirectional_rnn/{}/multi_rnn_cell/cell_0/lstm_cell"
ENCODER_LEVEL = "encoder/hierarchical_level_{}"
CONDUCTOR = "decoder/hierarchical_level_0"
CORE_LAYER = "{}/multi_rnn_cell/cell_{}/lstm_cell"
LSTM_PARTS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
GLOBAL_STEP = "global_step"
OWN_OUTPUTS = ("notes", "keys")  # kinds that Magenta has not
BETA_POWERS = ("beta1_power", "beta2_power")  # Adam's betas to the power of updates + 1
ADAM_SLOTS = ("/Adam", "/Adam_1")  # suffixes of Adam's moving averages: of the gradient, and of its square
TRANSPOSED_ROWS = 64  # rows of a kernel that are transposed at a time

Variables = dict[str, np.ndarray]  # values by Magenta's name


class Layer(NamedTuple):
    """One layer of a model: the names of our parameters and of Magenta's two variables with the same values."""

    kind: str  # 'lstm', 'dense' or 'nade'
    parameters: tuple[str, ...]  # lstm: as LSTM_PARTS; dense: weight, bias; nade: enc, dec
    variables: tuple[str, str]  # lstm and dense: kernel, bias; nade: w_enc, w_dec_t


# ---- Names ----


def layers_of(config: ModelConfig) -> list[Layer]:
    """All layers of a model. Their order is the order of the variables in the files that we write.

    A kind of output that Magenta has not may have weights that are no layer: see `tensorflow_variables`.
    """
    layers = [_dense("encoder.mu", "encoder/mu"), _dense("encoder.sigma", "encoder/sigma"), *_encoder_layers(config)]
    if config.segments > 1:
        layers += _conductor_layers(config)
    for core in range(len(config.core_depths)):
        layers += _core_layers(config, core)
    if config.output == "nade":
        layers.append(Layer("nade", ("nade.enc", "nade.dec"), ("decoder/nade/w_enc", "decoder/nade/w_dec_t")))
    return layers


def _dense(name: str, scope: str) -> Layer:
    return Layer("dense", (f"{name}.weight", f"{name}.bias"), (f"{scope}/kernel", f"{scope}/bias"))


def _lstm(name: str, scope: str, suffix: str = "") -> Layer:
    parameters = tuple(f"{name}.{part}_l0{suffix}" for part in LSTM_PARTS)
    return Layer("lstm", parameters, (f"{scope}/kernel", f"{scope}/bias"))


def _encoder_layers(config: ModelConfig) -> Iterator[Layer]:
    for level, name in enumerate(("layers", "upper_layers") if config.encoder_segments > 1 else ("layers",)):
        for k in range(len(config.enc_rnn_size)):
            for suffix, direction in (("", "fw"), ("_reverse", "bw")):
                scope = ENCODER_LAYER.format(_encoder_scope(config, level), k, direction)
                yield _lstm(f"encoder.{name}.{k}", scope, suffix)


def _conductor_layers(config: ModelConfig) -> Iterator[Layer]:
    yield _dense("conductor.initial_state.dense", f"{CONDUCTOR}/initial_state")
    for k in range(len(config.dec_rnn_size)):
        yield _lstm(f"conductor.layers.{k}", f"{CONDUCTOR}/cell_{k}/lstm_cell")


def _core_layers(config: ModelConfig, core: int) -> Iterator[Layer]:
    scope = _core_scope(config, core)
    yield _dense(f"cores.{core}.initial_state.dense", f"{scope}/z_to_initial_state")
    yield _dense(f"cores.{core}.output", f"{scope}/output_projection")
    for k in range(len(config.dec_rnn_size)):
        yield _lstm(f"cores.{core}.layers.{k}", CORE_LAYER.format(scope, k))


def _encoder_scope(config: ModelConfig, level: int) -> str:
    """Scope of a level of the encoder: 0 reads the frames, 1 reads the embeddings of the segments."""
    return ENCODER_LEVEL.format(level) if config.encoder_segments > 1 else "encoder"


def _core_scope(config: ModelConfig, core: int) -> str:
    """Scope of a core decoder."""
    if len(config.core_depths) > 1:
        return f"core_decoder/core_decoder_{core}/decoder"
    return "decoder" if config.segments == 1 else "core_decoder/decoder"


def model_variables(variables: Variables) -> Variables:
    """The variables of the model itself, without those that only training needs."""
    training = (GLOBAL_STEP, *BETA_POWERS)
    return {name: v for name, v in variables.items() if name not in training and not name.endswith(ADAM_SLOTS)}


# ---- Our parameters as variables ----


def tensorflow_variables(model: MusicVAE) -> Variables:
    """A model's weights as Magenta's variables, float32; `fill_state` is the inverse.

    Raises:
        ValueError: Magenta has no such output, no such upper layers, or no such core decoders.
    """
    if model.config.output in OWN_OUTPUTS:
        raise ValueError(f"Magenta has no output {model.config.output!r}")
    if model.config.upper != "lstm":
        raise ValueError(f"Magenta has no {model.config.upper} layers above segments")
    if model.config.core_per_part:
        raise ValueError("Magenta has no flat model with a core decoder per part")
    state = {name: value.detach().cpu().float() for name, value in model.state_dict().items()}
    return {name: value.numpy() for name, value in _to_variables(model.config, state).items()}


def variable_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """The name and shape of every variable of a model."""
    state = blank_model(config).state_dict()
    return {name: tuple(value.shape) for name, value in _to_variables(config, state).items()}


def _to_variables(config: ModelConfig, state: dict[str, Tensor]) -> dict[str, Tensor]:
    variables = {}
    for layer in layers_of(config):
        parts = [state[name] for name in layer.parameters]
        if layer.kind == "lstm":
            values = lstm_variables(*parts)
        elif layer.kind == "nade":
            values = parts[0][:, None], parts[1][..., None]
        else:
            values = parts[0].T, parts[1]
        variables |= zip(layer.variables, values, strict=True)
    return variables


def lstm_variables(weight_ih: Tensor, weight_hh: Tensor, bias_ih: Tensor, bias_hh: Tensor) -> tuple[Tensor, Tensor]:
    """TensorFlow's kernel [input + H, 4H] and bias [4H] of an LSTM layer; `fill_lstm` is the inverse."""
    size = weight_hh.shape[1]
    bias = bias_ih + bias_hh
    bias[size : 2 * size] -= FORGET_BIAS
    kernel = torch.cat([weight_ih, weight_hh], 1).view(4, size, -1)[GATE_ORDER].flatten(0, 1).T
    return kernel, bias.view(4, size)[GATE_ORDER].flatten()


# ---- Variables as our parameters ----


def model_from_variables(config: ModelConfig, variables: Variables) -> MusicVAE:
    """A model with these weights, on the CPU, in evaluation mode. Empties `variables`, see `fill_state`."""
    model = blank_model(config).to_empty(device="cpu")
    fill_state(model.state_dict(), config, variables, FORGET_BIAS)
    return model.eval()


def fill_state(state: dict[str, Tensor], config: ModelConfig, variables: Variables, forget_bias: float):
    """Writes Magenta's values into a state dict of ours, in place.

    Args:
        state: tensors on the CPU, by the names of our parameters.
        config: of the model that the state dict belongs to.
        variables: each one is removed once it is written, so that its memory can be freed.
        forget_bias: added to the biases of the forget gates: FORGET_BIAS for weights, 0 for gradients and their
            moving averages.
    """
    ours = {name: value.detach().numpy() for name, value in state.items()}
    for layer in layers_of(config):
        first, second = (variables.pop(name) for name in layer.variables)
        targets = [ours[name] for name in layer.parameters]
        if layer.kind == "lstm":
            fill_lstm(targets, first, second, forget_bias)
        elif layer.kind == "nade":
            targets[0][:], targets[1][:] = first[:, 0], second[:, :, 0]
        else:
            _transpose(targets[0], first)
            targets[1][:] = second


def fill_lstm(targets: list[np.ndarray], kernel: np.ndarray, bias: np.ndarray, forget_bias: float):
    """Writes TensorFlow's kernel and bias of an LSTM layer into PyTorch's two weights and two biases, in place.

    Args:
        targets: arrays of LSTM_PARTS; each gate is a block of H rows, in the order i, f, g, o.
        kernel: [input + H, 4H]; its rows are input | state, its columns the gates i, j, f, o.
        bias: [4H], gates as in the kernel.
        forget_bias: see `fill_state`.
    """
    weight_ih, weight_hh, bias_ih, bias_hh = targets
    inputs, size = weight_ih.shape[1], weight_hh.shape[1]
    for gate, theirs in enumerate(GATE_ORDER):
        rows, columns = slice(gate * size, (gate + 1) * size), slice(theirs * size, (theirs + 1) * size)
        _transpose(weight_ih[rows], kernel[:inputs, columns])
        _transpose(weight_hh[rows], kernel[inputs:, columns])
        bias_ih[rows] = bias[columns]
    bias_ih[size : 2 * size] += forget_bias
    bias_hh[:] = 0


def _transpose(target: np.ndarray, source: np.ndarray):
    """target[:] = source.T, through a buffer that fits the cache and whose row stride is no power of two."""
    buffer = np.empty((TRANSPOSED_ROWS, source.shape[1] + 16), source.dtype)
    for start in range(0, len(source), TRANSPOSED_ROWS):
        rows = source[start : start + TRANSPOSED_ROWS]
        part = buffer[: len(rows), : source.shape[1]]
        part[:] = rows
        target[:, start : start + TRANSPOSED_ROWS] = part.T


# ---- The preset that variables belong to ----


def preset_from_variables(path: str | Path, config_name: str | None, variables: Variables) -> Config:
    """The preset of that name or, without a name, the one preset that has these variables.

    Args:
        path: named in errors.
        config_name: Magenta's name of a preset; None to choose by the names and shapes of the variables.
        variables: of the model, without those of training.

    Raises:
        ValueError: no preset fits, or several fit; the message lists them.
        KeyError: no preset has that name.
    """
    if config_name is not None:
        return CONFIGS[config_name]
    candidates = {config.name: config for config in CONFIGS.values() if not config.name.endswith("_tiny")}
    fitting = [config for config in candidates.values() if _has_layers(config.model, variables)]
    fitting = [config for config in fitting if fit_sizes(config.model, variables) == config.model] or fitting
    if not fitting:
        raise ValueError(f"no preset has the variables of {path}; give config_name to read what differs from a preset")
    if len(fitting) > 1:
        names = ", ".join(config.name for config in fitting)
        raise ValueError(f"the variables of {path} fit several presets: {names}; choose one with config_name")
    return fitting[0]


def _has_layers(config: ModelConfig, variables: Variables) -> bool:
    """Whether the variables are those of a preset, whatever the widths of its layers."""
    sized = fit_sizes(config, variables)
    counts = [(len(sizes.enc_rnn_size), len(sizes.dec_rnn_size)) for sizes in (config, sized)]
    return counts[0] == counts[1] and not _faults(sized, variables)


def fit_sizes(config: ModelConfig, variables: Variables) -> ModelConfig:
    """The config with the z_size and the layer widths that the variables have; a missing variable changes nothing."""

    def widths(pattern: str) -> tuple[int, ...]:
        biases = (variables.get(f"{pattern.format(k)}/bias") for k in count())
        present = takewhile(lambda bias: bias is not None and bias.ndim == 1 and len(bias) >= 4, biases)
        return tuple(len(bias) // 4 for bias in present)

    def size(name: str, axis: int, default: int) -> int:
        return variables[name].shape[axis] if variables.get(name, np.zeros(())).ndim else default

    return replace(
        config,
        z_size=size("encoder/mu/bias", 0, config.z_size),
        enc_rnn_size=widths(ENCODER_LAYER.format(_encoder_scope(config, 0), "{}", "fw")) or config.enc_rnn_size,
        dec_rnn_size=widths(CORE_LAYER.format(_core_scope(config, 0), "{}")) or config.dec_rnn_size,
        nade_num_hidden=config.nade_num_hidden and size("decoder/nade/w_enc", -1, config.nade_num_hidden),
    )


def check_variables(path: str | Path, name: str, config: ModelConfig, variables: Variables):
    """Raises a ValueError that lists every difference between the variables and those of a model.

    Args:
        path: named in the error, as is `name`, the preset's.
        config: of the model.
        variables: of the model, without those of training.
    """
    faults = _faults(config, variables)
    if faults:
        raise ValueError(f"{path} is not a checkpoint of {name}: {'; '.join(faults)}")


def check_finite(path: str | Path, variables: Variables):
    """Raises a ValueError that names the first variable with a value that float32 cannot hold.

    Args:
        path: named in the error.
        variables: all of floats.
    """
    for name, values in variables.items():
        with np.errstate(over="ignore"):
            finite = np.isfinite(values.astype(np.float32, copy=False)).all()
        if not finite:
            raise ValueError(f"{path}: variable {name} holds NaN, infinity or a number beyond float32")


def _faults(config: ModelConfig, variables: Variables) -> list[str]:
    wanted = variable_shapes(config)
    faults = [f"missing {name} {list(shape)}" for name, shape in wanted.items() if name not in variables]
    faults += [f"unexpected {name} {list(value.shape)}" for name, value in variables.items() if name not in wanted]
    for name, shape in wanted.items():
        if name in variables and variables[name].shape != shape:
            faults.append(f"{name} should be {list(shape)}, but is {list(variables[name].shape)}")
        elif name in variables and variables[name].dtype.kind != "f":
            faults.append(f"{name} should hold floats, but holds {variables[name].dtype}")
    return faults
