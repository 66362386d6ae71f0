"""Magenta's checkpoints to our models: the only place that knows TensorFlow's names, gate order and forget bias.

A TensorFlow checkpoint is a table of small protobuf messages (`PREFIX.index`, LevelDB's format, uncompressed) beside
raw arrays (`PREFIX.data-SSSSS-of-NNNNN`). The reader below knows just that much of either, and runs no code.
"""

import struct
from collections.abc import Iterator
from dataclasses import replace
from itertools import count, takewhile
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from configs import CONFIGS
from model import ModelConfig, MusicVAE

TABLE_MAGIC = 0xDB4775248B80FB57  # last eight bytes of a LevelDB table
FOOTER_BYTES = 48
BLOCK_TRAILER_BYTES = 5  # compression type and checksum
DTYPES = {1: np.float32, 2: np.float64, 3: np.int32, 9: np.int64}  # TensorFlow's types.proto
GATE_ORDER = [0, 2, 1, 3]  # TensorFlow's i, j, f, o as PyTorch's i, f, g, o
FORGET_BIAS = 1.0  # added by TensorFlow's cell at run time, and not in its checkpoints
ENCODER_LAYER = "encoder/cell_{}/bidirectional_rnn/{}/multi_rnn_cell/cell_0/lstm_cell"
CONDUCTOR = "decoder/hierarchical_level_0"
CORE_LAYER = "/multi_rnn_cell/cell_{}/lstm_cell"


class BundleEntry(NamedTuple):
    """Where one variable's values lie (tensor_bundle.proto, BundleEntryProto)."""

    dtype: type
    shape: tuple[int, ...]
    shard: int
    offset: int  # bytes
    size: int  # bytes


def read_variables(prefix: str | Path) -> dict[str, np.ndarray]:
    """All variables of a TensorFlow checkpoint, by name, as read-only views of its files.

    Args:
        prefix: path without `.index`, as `tf.train.Saver` takes it.

    Raises:
        ValueError: a missing, truncated or foreign file, or a variable that is not where the index says.
    """
    entries, shards = read_index(Path(f"{prefix}.index"))
    data = [_bytes(Path(f"{prefix}.data-{k:05d}-of-{shards:05d}")) for k in range(shards)]
    variables = {}
    for name, entry in entries.items():
        raw = data[entry.shard][entry.offset : entry.offset + entry.size]
        wanted = int(np.prod(entry.shape)) * np.dtype(entry.dtype).itemsize
        if len(raw) != wanted:
            raise ValueError(f"{prefix}: variable {name} {entry.shape} needs {wanted} bytes, its file holds {len(raw)}")
        variables[name] = raw.view(entry.dtype).reshape(entry.shape)
    return variables


def read_index(path: Path) -> tuple[dict[str, BundleEntry], int]:
    """The entries of a checkpoint's index file, and the number of its data files."""
    table = _bytes(path).tobytes()
    if len(table) < FOOTER_BYTES or struct.unpack("<Q", table[-8:])[0] != TABLE_MAGIC:
        raise ValueError(f"{path} is not the index of a TensorFlow checkpoint, or it is truncated")
    try:
        records = dict(_table_records(table))
        shards = _message(records.pop(b"")).get(1, 1)
        return {key.decode(): _entry(value) for key, value in records.items()}, shards
    except (IndexError, KeyError, struct.error, UnicodeDecodeError) as fault:
        raise ValueError(f"{path} is damaged: {fault!r}") from fault


def _bytes(path: Path) -> np.ndarray:
    if not path.is_file():
        raise ValueError(f"no file {path}; give the checkpoint's path without .index or .data-...")
    return np.memmap(path, np.uint8, "r") if path.stat().st_size else np.zeros(0, np.uint8)


def _table_records(table: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Keys and values of a LevelDB table: the footer points to a block of pointers to blocks of records."""
    _, _, at = _handle(table, len(table) - FOOTER_BYTES)
    offset, size, _ = _handle(table, at)
    for _, pointer in _block_records(table, offset, size):
        offset, size, _ = _handle(pointer, 0)
        yield from _block_records(table, offset, size)


def _handle(data: bytes, at: int) -> tuple[int, int, int]:
    """Offset and size of a block, and where the next handle starts."""
    offset, at = _varint(data, at)
    size, at = _varint(data, at)
    return offset, size, at


def _block_records(table: bytes, offset: int, size: int) -> Iterator[tuple[bytes, bytes]]:
    """Records of a block, whose keys are written less the part that they share with the key before."""
    if offset + size + BLOCK_TRAILER_BYTES > len(table) or table[offset + size] != 0:
        raise IndexError("a block is compressed, or lies outside the file")
    block = table[offset : offset + size]
    restarts = struct.unpack("<I", block[-4:])[0]
    at, key = 0, b""
    while at < size - 4 - 4 * restarts:
        shared, at = _varint(block, at)
        unshared, at = _varint(block, at)
        length, at = _varint(block, at)
        key = key[:shared] + block[at : at + unshared]
        at += unshared + length
        yield key, block[at - length : at]


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """A little-endian base-128 number, and where it ends."""
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at


def _message(data: bytes) -> dict[int, int | bytes]:
    """The fields of a protobuf message by number, the last one where a field is repeated."""
    return dict(_fields(data))


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        if tag & 7 == 0:
            value, at = _varint(data, at)
        else:
            size, at = {1: (8, at), 5: (4, at)}[tag & 7] if tag & 7 != 2 else _varint(data, at)
            value, at = data[at : at + size], at + size
        yield tag >> 3, value


def _entry(data: bytes) -> BundleEntry:
    fields = _message(data)
    if fields[1] not in DTYPES:
        raise KeyError(f"values of TensorFlow's type {fields[1]}")
    shape = tuple(_message(dim).get(1, 0) for number, dim in _fields(fields.get(2, b"")) if number == 2)
    return BundleEntry(DTYPES[fields[1]], shape, fields.get(3, 0), fields.get(4, 0), fields.get(5, 0))


def load_magenta_checkpoint(path: str | Path, config_name: str) -> MusicVAE:
    """A model with the weights of one of Magenta's checkpoints, for sampling, encoding or further training.

    Args:
        path: the checkpoint's prefix, as `model.ckpt` for `model.ckpt.index` and its data file.
        config_name: Magenta's name of the preset; layer widths and z_size are read from the checkpoint.

    Returns:
        The model, on the CPU; `model.config` holds its sizes.

    Raises:
        ValueError: an unreadable checkpoint, or one whose variables are not those of the preset.
        KeyError: no such preset.
    """
    weights = {name: value for name, value in read_variables(path).items() if name.endswith(("/kernel", "/bias"))}
    model = MusicVAE(_sized(CONFIGS[config_name].model, weights))
    try:
        model.load_state_dict(_state_dict(model, weights))
    except ValueError as fault:
        raise ValueError(f"{path} is not a checkpoint of {config_name}: {fault}") from None
    return model


def _sized(config: ModelConfig, weights: dict[str, np.ndarray]) -> ModelConfig:
    """The config with the sizes of z and of the layers that the variables have; a size that they lack stays."""

    def widths(scope: str) -> tuple[int, ...]:
        present = takewhile(weights.__contains__, (f"{scope.format(k)}/bias" for k in count()))
        return tuple(len(weights[name]) // 4 for name in present)

    return replace(
        config,
        z_size=len(weights.get("encoder/mu/bias", range(config.z_size))),
        enc_rnn_size=widths(ENCODER_LAYER.format("{}", "fw")) or config.enc_rnn_size,
        dec_rnn_size=widths(_core_scope(config, 0) + CORE_LAYER) or config.dec_rnn_size,
    )


def _state_dict(model: MusicVAE, weights: dict[str, np.ndarray]) -> dict[str, Tensor]:
    """The model's state dict from TensorFlow's variables: just those that it needs, each of the right shape."""
    scopes = _scopes(model.config)
    wanted = {f"{scope}/{part}" for scope in scopes.values() for part in ("kernel", "bias")}
    if wanted != set(weights):
        raise ValueError(f"missing {sorted(wanted - set(weights))}, unexpected {sorted(set(weights) - wanted)}")
    ours, state = model.state_dict(), {}
    for name, scope in scopes.items():
        convert = _lstm_state if "{}" in name else _dense_state
        parts = convert(name, *(torch.from_numpy(np.array(weights[f"{scope}/{part}"])) for part in ("kernel", "bias")))
        for key, value in parts.items():
            if value.shape != ours[key].shape:
                raise ValueError(f"{scope} should become {key} {list(ours[key].shape)}, but has {list(value.shape)}")
        state |= parts
    return state


def _core_scope(config: ModelConfig, core: int) -> str:
    """TensorFlow's scope of a core decoder."""
    if config.segments == 1:
        return "decoder"
    return f"core_decoder/core_decoder_{core}/decoder" if len(config.core_depths) > 1 else "core_decoder/decoder"


def _scopes(config: ModelConfig) -> dict[str, str]:
    """TensorFlow's scope of each layer, by our name; in an LSTM's name `{}` stands for weight_ih, weight_hh, ..."""
    scopes = {"encoder.mu": "encoder/mu", "encoder.sigma": "encoder/sigma"}
    for k in range(len(config.enc_rnn_size)):
        scopes[f"encoder.layers.{k}.{{}}_l0"] = ENCODER_LAYER.format(k, "fw")
        scopes[f"encoder.layers.{k}.{{}}_l0_reverse"] = ENCODER_LAYER.format(k, "bw")
    if config.segments > 1:
        scopes["conductor.initial_state.dense"] = CONDUCTOR + "/initial_state"
        for k in range(len(config.dec_rnn_size)):
            scopes[f"conductor.layers.{k}.{{}}_l0"] = f"{CONDUCTOR}/cell_{k}/lstm_cell"
    for core in range(len(config.core_depths)):
        scope = _core_scope(config, core)
        scopes[f"cores.{core}.initial_state.dense"] = scope + "/z_to_initial_state"
        scopes[f"cores.{core}.output"] = scope + "/output_projection"
        for k in range(len(config.dec_rnn_size)):
            scopes[f"cores.{core}.layers.{k}.{{}}_l0"] = scope + CORE_LAYER.format(k)
    return scopes


def _lstm_state(name: str, kernel: Tensor, bias: Tensor) -> dict[str, Tensor]:
    """kernel [input + H, 4H] with rows x | h and columns i, j, f, o, as PyTorch's two weights and two biases."""
    size = len(bias) // 4
    bias = bias.view(4, size)[GATE_ORDER].flatten()
    bias[size : 2 * size] += FORGET_BIAS
    weight = kernel.T.reshape(4, size, -1)[GATE_ORDER].flatten(0, 1)  # (4H, input + H)
    parts = (weight[:, :-size], weight[:, -size:], bias, torch.zeros_like(bias))
    return dict(zip((name.format(p) for p in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")), parts, strict=True))


def _dense_state(name: str, kernel: Tensor, bias: Tensor) -> dict[str, Tensor]:
    return {f"{name}.weight": kernel.T, f"{name}.bias": bias}
