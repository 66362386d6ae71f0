"""Magenta's checkpoints to our models: the only place that knows TensorFlow's names, gate order and forget bias.

A TensorFlow checkpoint is a table of small protobuf messages (`PREFIX.index`, LevelDB's format, uncompressed) beside
raw arrays (`PREFIX.data-SSSSS-of-NNNNN`). The reader below knows just that much of either, and runs no code. Values
are mapped, not read: a model is filled straight from the file, one variable after the other.
"""

import io
import math
import re
import struct
import tarfile
import zlib
from collections.abc import Iterator
from dataclasses import replace
from itertools import count, takewhile
from lzma import LZMAError
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from configs import CONFIGS, Config
from model import ModelConfig, MusicVAE

TABLE_MAGIC = 0xDB4775248B80FB57  # last eight bytes of a LevelDB table
FOOTER_BYTES = 48
BLOCK_TRAILER_BYTES = 5  # compression type and checksum
DTYPES = {1: np.float32, 2: np.float64, 3: np.int32, 9: np.int64}  # TensorFlow's types.proto
GATE_ORDER = [0, 2, 1, 3]  # TensorFlow's i, j, f, o as PyTorch's i, f, g, o
FORGET_BIAS = 1.0  # added by TensorFlow's cell at run time, and not in its checkpoints
ENCODER_LAYER = "{}/cell_{}/bidirectional_rnn/{}/multi_rnn_cell/cell_0/lstm_cell"
ENCODER_LEVEL = "encoder/hierarchical_level_{}"
CONDUCTOR = "decoder/hierarchical_level_0"
CORE_LAYER = "/multi_rnn_cell/cell_{}/lstm_cell"
LSTM_PARTS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
ADAM_SLOTS = ("/Adam", "/Adam_1")  # endings of the optimizer's means of each variable's gradient and of its square
BETA_POWERS = ("beta1_power", "beta2_power")
TRANSPOSED_ROWS = 64  # of a kernel at a time


class BundleEntry(NamedTuple):
    """Where one variable's values lie (tensor_bundle.proto, BundleEntryProto)."""

    dtype: type
    shape: tuple[int, ...]
    shard: int
    offset: int  # bytes
    size: int  # bytes


class Span(NamedTuple):
    """A file, or the part of an archive that holds one; or its content, where the archive is compressed."""

    path: Path
    offset: int  # bytes
    size: int  # bytes
    content: np.ndarray | None = None

    def bytes(self, offset: int, size: int) -> np.ndarray:
        """A part of it [size] uint8, or what there is of it, as a map of its own."""
        size = max(min(size, self.size - offset), 0)
        if self.content is not None:
            return self.content[offset : offset + size]
        return np.memmap(self.path, np.uint8, "r", self.offset + offset, size) if size else np.zeros(0, np.uint8)


class TrainingState(NamedTuple):
    """A training run of Magenta's, from which `train` goes on; values by our parameters' names."""

    model: MusicVAE
    step: int  # global step
    beta_powers: tuple[float, float]  # Adam's betas to the power of updates + 1
    m: dict[str, Tensor]  # Adam's mean of the gradient
    v: dict[str, Tensor]  # and of its square

    @property
    def updates(self) -> int:
        """Updates that the optimizer has made, by its powers; after so many that they are 0, the global step."""
        power = self.beta_powers[1]
        return round(math.log(power) / math.log(0.999)) - 1 if 0 < power < 1 else self.step


def read_variables(path: str | Path) -> dict[str, np.ndarray]:
    """All variables of a TensorFlow checkpoint, by name, as read-only maps of its files.

    Args:
        path: prefix without `.index`, as `tf.train.Saver` takes it; or the folder of a run, whose latest checkpoint is
            taken; or a `.tar` with one, which is not unpacked.

    Raises:
        ValueError: a missing, truncated or foreign file, a variable that is not where the index says, or an archive
            with a link or with a path that leaves it.
    """
    prefix, files = _checkpoint_files(Path(path))
    entries, shards = read_index(_file(path, files, f"{prefix}.index"), f"{path}: {prefix}.index")
    data = [_file(path, files, f"{prefix}.data-{k:05d}-of-{shards:05d}") for k in range(shards)]
    variables = {}
    for name, entry in entries.items():
        raw = data[entry.shard].bytes(entry.offset, entry.size)
        wanted = math.prod(entry.shape) * np.dtype(entry.dtype).itemsize
        if len(raw) != wanted:
            raise ValueError(f"{path}: variable {name} {entry.shape} needs {wanted} bytes, its file holds {len(raw)}")
        variables[name] = raw.view(entry.dtype).reshape(entry.shape)
    return variables


def _checkpoint_files(path: Path) -> tuple[str, dict[str, Span]]:
    """The checkpoint's prefix among the files at a path, and those files by name."""
    if path.is_dir():
        files = _folder_files(path)
        inner = path / "train"  # where Magenta's training script puts them
        if inner.is_dir() and not _prefixes(files):
            return _checkpoint_files(inner)
        return _latest(path, files), files
    if path.is_file() and path.suffix != ".index":
        files = _tar_files(path)
        return _latest(path, files), files
    return path.name.removesuffix(".index"), _folder_files(path.parent) if path.parent.is_dir() else {}


def _folder_files(folder: Path) -> dict[str, Span]:
    return {file.name: Span(file, 0, file.stat().st_size) for file in folder.iterdir() if file.is_file()}


def _tar_files(path: Path) -> dict[str, Span]:
    """The files of an archive, which is not unpacked; one with a path or a link that could leave it is refused."""
    try:
        with tarfile.open(path) as archive:
            members = archive.getmembers()
            for member in members:
                _check_member(path, member)
            return {member.name: _member_span(path, archive, member) for member in members if member.isfile()}
    except (tarfile.TarError, EOFError, OSError, zlib.error, LZMAError) as fault:
        raise ValueError(f"{path} is no tar archive, nor a checkpoint's prefix, or it is truncated: {fault}") from None


def _check_member(path: Path, member: tarfile.TarInfo):
    name = PurePosixPath(member.name.replace("\\", "/"))
    if name.is_absolute() or ".." in name.parts or ":" in "".join(name.parts[:1]):
        raise ValueError(f"{path} holds {member.name!r}, a path that leaves the archive")
    if member.issparse() or not (member.isfile() or member.isdir()):
        raise ValueError(f"{path} holds {member.name!r}, which is neither a plain file nor a folder")


def _member_span(path: Path, archive: tarfile.TarFile, member: tarfile.TarInfo) -> Span:
    if isinstance(archive.fileobj, io.BufferedReader):  # not compressed
        return Span(path, member.offset_data, min(member.size, path.stat().st_size - member.offset_data))
    return Span(path, 0, member.size, np.frombuffer(archive.extractfile(member).read(), np.uint8))


def _prefixes(files: dict[str, Span]) -> list[str]:
    return [name.removesuffix(".index") for name in files if name.endswith(".index")]


def _latest(path: Path, files: dict[str, Span]) -> str:
    """The prefix that the file `checkpoint` names, else the one of the highest step."""
    prefixes = _prefixes(files)
    if not prefixes:
        raise ValueError(f"{path} holds no checkpoint: no file there ends in .index")
    for name, file in files.items():
        if PurePosixPath(name).name == "checkpoint":
            text = file.bytes(0, file.size).tobytes().decode(errors="replace")
            named = re.search(r'^model_checkpoint_path: "(?:.*/)?([^/"]+)"', text, re.MULTILINE)
            matching = [prefix for prefix in prefixes if named and PurePosixPath(prefix).name == named[1]]
            if matching:
                return matching[0]
    return max(prefixes, key=lambda prefix: (int(re.search(r"(?:-(\d+))?$", prefix)[1] or -1), prefix))


def _file(path: str | Path, files: dict[str, Span], name: str) -> Span:
    if name not in files:
        place = Path(path) if Path(path).exists() else Path(path).parent
        raise ValueError(f"no file {place / name}; give the checkpoint's path without .index or .data-...")
    return files[name]


def read_index(file: Span, name: str) -> tuple[dict[str, BundleEntry], int]:
    """The entries of a checkpoint's index file, and the number of its data files."""
    table = file.bytes(0, file.size).tobytes()
    if len(table) < FOOTER_BYTES or struct.unpack("<Q", table[-8:])[0] != TABLE_MAGIC:
        raise ValueError(f"{name} is not the index of a TensorFlow checkpoint, or it is truncated")
    try:
        records = dict(_table_records(table))
        shards = _message(records.pop(b"")).get(1, 1)
        return {key.decode(): _entry(value, shards) for key, value in records.items()}, shards
    except (IndexError, KeyError, TypeError, struct.error, UnicodeDecodeError) as fault:
        raise ValueError(f"{name} is damaged: {fault!r}") from fault


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


def _entry(data: bytes, shards: int) -> BundleEntry:
    fields = _message(data)
    if not all(isinstance(fields.get(k, 0), int) for k in (1, 3, 4, 5)) or not isinstance(fields.get(2, b""), bytes):
        raise IndexError("a field of another type")
    if fields.get(3, 0) >= shards:
        raise IndexError(f"values in data file {fields[3]} of {shards}")
    if fields[1] not in DTYPES:
        raise KeyError(f"values of TensorFlow's type {fields[1]}")
    shape = tuple(_message(dim).get(1, 0) for number, dim in _fields(fields.get(2, b"")) if number == 2)
    return BundleEntry(DTYPES[fields[1]], shape, fields.get(3, 0), fields.get(4, 0), fields.get(5, 0))


def load_magenta_checkpoint(path: str | Path, config_name: str | None = None) -> MusicVAE:
    """A model with the weights of one of Magenta's checkpoints, for sampling, encoding or further training.

    Args:
        path: of a TensorFlow checkpoint, as `read_variables` takes it, or the folder of a magenta.js one.
        config_name: Magenta's name of the preset; layer widths and z_size are read from the checkpoint. Where one
            preset alone has such variables, or such sizes, it may be left out.

    Returns:
        The model, on the CPU, in evaluation mode; `model.config` holds its sizes.

    Raises:
        ValueError: an unreadable checkpoint, one whose variables are not those of the preset, or one that could be of
            several presets.
        KeyError: no such preset.
    """
    return _load(path, config_name, _read(path))


def load_magenta_training_state(path: str | Path, config_name: str | None = None) -> TrainingState:
    """A training run of Magenta's with its optimizer, for `train(..., init_from=state)` to go on with.

    Args: as `load_magenta_checkpoint`.

    Raises: as `load_magenta_checkpoint`; ValueError, too, for a checkpoint without the optimizer's variables.
    """
    variables = _read(path)
    missing = {"global_step", *BETA_POWERS} - set(variables)
    if missing:
        raise ValueError(f"{path} holds no training state: it has no {', '.join(sorted(missing))}")
    model = _load(path, config_name, dict(variables))
    slots = []
    for ending in ADAM_SLOTS:
        values = {key.removesuffix(ending): value for key, value in variables.items() if key.endswith(ending)}
        empty = {key: torch.empty_like(value) for key, value in model.state_dict().items()}
        _check(path, "a training run", model.config, values)
        _fill(empty, model.config, values, forget_bias=0.0)
        slots.append({key: empty[key] for key, value in model.named_parameters() if value.requires_grad})
    powers = tuple(float(variables[name]) for name in BETA_POWERS)
    return TrainingState(model, int(variables["global_step"]), powers, *slots)


def _read(path: str | Path) -> dict[str, np.ndarray]:
    if _is_javascript(path):
        from magenta_formats import javascript as magenta_js  # which imports this module

        return magenta_js.read_variables(path)
    return read_variables(path)


def _is_javascript(path: str | Path) -> bool:
    return (Path(path) / "weights_manifest.json").is_file()


def _weights(variables: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The variables of the model itself, without those of its training."""
    others = ("global_step", *BETA_POWERS)
    return {name: v for name, v in variables.items() if name not in others and not name.endswith(ADAM_SLOTS)}


def _preset(path: str | Path, config_name: str | None, weights: dict[str, np.ndarray]) -> Config:
    """The preset of that name, or the one that a checkpoint's variables and shapes leave."""
    if _is_javascript(path):
        from magenta_formats import javascript as magenta_js

        return magenta_js.preset_from_config(Path(path) / "config.json", config_name)
    if config_name is not None:
        return CONFIGS[config_name]
    ours = {config.name: config for config in CONFIGS.values() if not config.name.endswith("_tiny")}
    fits = [config for config in ours.values() if _layers_fit(config.model, weights)]
    fits = [config for config in fits if _sized(config.model, weights) == config.model] or fits
    if len(fits) != 1:
        choices = "none of the presets'" if not fits else f"those of {', '.join(config.name for config in fits)}"
        raise ValueError(f"the variables of {path} are {choices}: name the preset (config_name)")
    return fits[0]


def _layers_fit(config: ModelConfig, weights: dict[str, np.ndarray]) -> bool:
    """Whether the variables are a preset's, in any width."""
    sized = _sized(config, weights)
    counts = [(len(one.enc_rnn_size), len(one.dec_rnn_size)) for one in (config, sized)]
    return counts[0] == counts[1] and not _faults(sized, weights)


def _load(path: str | Path, config_name: str | None, variables: dict[str, np.ndarray]) -> MusicVAE:
    """The model of a checkpoint; takes the variables out of the dictionary one by one, so that they can go."""
    weights = _weights(variables)
    variables.clear()
    preset = _preset(path, config_name, weights)
    config = _sized(preset.model, weights)
    _check(path, preset.name, config, weights)
    model = _blank(config).to_empty(device="cpu")
    _fill(model.state_dict(), config, weights, FORGET_BIAS)
    return model.eval()


class _WithoutDraws(TorchFunctionMode):
    """Leaves out the draws of initial weights, which take seconds in a large model."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if getattr(function, "__name__", "") not in ("normal_", "uniform_"):
            return function(*args, **(kwargs or {}))


def _blank(config: ModelConfig) -> MusicVAE:
    """A model that has shapes and no values."""
    with torch.device("meta"), _WithoutDraws():
        return MusicVAE(config)


def _sized(config: ModelConfig, weights: dict[str, np.ndarray]) -> ModelConfig:
    """The config with the sizes of z and of the layers that the variables have; a size that they lack stays."""

    def widths(scope: str) -> tuple[int, ...]:
        biases = (weights.get(f"{scope.format(k)}/bias") for k in count())
        present = takewhile(lambda bias: bias is not None and bias.ndim == 1 and len(bias) >= 4, biases)
        return tuple(len(bias) // 4 for bias in present)

    def size(name: str, axis: int, otherwise: int) -> int:
        return weights[name].shape[axis] if weights.get(name, np.zeros(())).ndim else otherwise

    return replace(
        config,
        z_size=size("encoder/mu/bias", 0, config.z_size),
        enc_rnn_size=widths(ENCODER_LAYER.format(_encoder_scope(config, 0), "{}", "fw")) or config.enc_rnn_size,
        dec_rnn_size=widths(_core_scope(config, 0) + CORE_LAYER) or config.dec_rnn_size,
        nade_num_hidden=config.nade_num_hidden and size("decoder/nade/w_enc", -1, config.nade_num_hidden),
    )


def _check(path: str | Path, name: str, config: ModelConfig, weights: dict[str, np.ndarray]):
    faults = _faults(config, weights)
    if faults:
        raise ValueError(f"{path} is not a checkpoint of {name}: {'; '.join(faults)}")


def _faults(config: ModelConfig, weights: dict[str, np.ndarray]) -> list[str]:
    """What keeps variables from being a model's, a sentence each."""
    wanted = _shapes(config)
    faults = [f"missing {name} {list(shape)}" for name, shape in wanted.items() if name not in weights]
    faults += [f"unexpected {name} {list(value.shape)}" for name, value in weights.items() if name not in wanted]
    for name, shape in wanted.items():
        if name in weights and weights[name].shape != shape:
            faults.append(f"{name} should be {list(shape)}, but is {list(weights[name].shape)}")
        elif name in weights and weights[name].dtype.kind != "f":
            faults.append(f"{name} should hold floats, but holds {weights[name].dtype}")
    return faults


def _shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """The shape of every variable that a model needs, by TensorFlow's name."""
    ours = {name: tuple(value.shape) for name, value in _blank(config).state_dict().items()}
    shapes = {}
    for name, scope in tensorflow_scopes(config).items():
        if "{}" in name:
            gates, inputs = ours[name.format("weight_ih")]
            parts = (inputs + gates // 4, gates), (gates,)
        elif name == "nade":
            depth, hidden = ours["nade.enc"]
            parts = (depth, 1, hidden), (depth, hidden, 1)
        else:
            outputs, inputs = ours[f"{name}.weight"]
            parts = (inputs, outputs), (outputs,)
        shapes |= {f"{scope}/{part}": shape for part, shape in zip(variable_parts(name), parts, strict=True)}
    return shapes


def _core_scope(config: ModelConfig, core: int) -> str:
    """TensorFlow's scope of a core decoder."""
    if config.segments == 1:
        return "decoder"
    return f"core_decoder/core_decoder_{core}/decoder" if len(config.core_depths) > 1 else "core_decoder/decoder"


def _encoder_scope(config: ModelConfig, level: int) -> str:
    """TensorFlow's scope of an encoder's level: 0 reads the frames, 1 the segments' embeddings."""
    return ENCODER_LEVEL.format(level) if config.encoder_segments > 1 else "encoder"


def tensorflow_scopes(config: ModelConfig) -> dict[str, str]:
    """TensorFlow's scope of each layer, by our name; in an LSTM's name `{}` stands for weight_ih, weight_hh, ..."""
    scopes = {"encoder.mu": "encoder/mu", "encoder.sigma": "encoder/sigma"}
    for level, layers in enumerate(("layers", "upper_layers") if config.encoder_segments > 1 else ("layers",)):
        for k in range(len(config.enc_rnn_size)):
            for ending, direction in (("", "fw"), ("_reverse", "bw")):
                scope = ENCODER_LAYER.format(_encoder_scope(config, level), k, direction)
                scopes[f"encoder.{layers}.{k}.{{}}_l0{ending}"] = scope
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
    return scopes | ({"nade": "decoder/nade"} if config.nade_num_hidden else {})


def variable_parts(name: str) -> tuple[str, str]:
    """The variables in the scope of our layer of that name."""
    return ("w_enc", "w_dec_t") if name == "nade" else ("kernel", "bias")


def _fill(state: dict[str, Tensor], config: ModelConfig, weights: dict[str, np.ndarray], forget_bias: float):
    """Writes TensorFlow's values into a state dict of ours; takes each variable out of `weights`, so that it can go."""
    ours = {name: value.detach().numpy() for name, value in state.items()}
    for name, scope in tensorflow_scopes(config).items():
        first, second = (weights.pop(f"{scope}/{part}") for part in variable_parts(name))
        if "{}" in name:
            _fill_lstm([ours[name.format(part)] for part in LSTM_PARTS], first, second, forget_bias)
        elif name == "nade":
            ours["nade.enc"][:], ours["nade.dec"][:] = first[:, 0], second[:, :, 0]
        else:
            _transpose(ours[f"{name}.weight"], first)
            ours[f"{name}.bias"][:] = second


def _fill_lstm(ours: list[np.ndarray], kernel: np.ndarray, bias: np.ndarray, forget_bias: float):
    """kernel [input + H, 4H] with rows x | h and columns i, j, f, o, as PyTorch's two weights and two biases."""
    weight_ih, weight_hh, bias_ih, bias_hh = ours
    inputs, size = weight_ih.shape[1], weight_hh.shape[1]
    for gate, theirs in enumerate(GATE_ORDER):
        rows, columns = slice(gate * size, (gate + 1) * size), slice(theirs * size, (theirs + 1) * size)
        _transpose(weight_ih[rows], kernel[:inputs, columns])
        _transpose(weight_hh[rows], kernel[inputs:, columns])
        bias_ih[rows] = bias[columns]
    bias_ih[size : 2 * size] += forget_bias
    bias_hh[:] = 0


def _transpose(target: np.ndarray, source: np.ndarray):
    """target = source.T by way of a buffer that the cache holds, whose rows lie apart by no power of two."""
    buffer = np.empty((TRANSPOSED_ROWS, source.shape[1] + 16), source.dtype)
    for start in range(0, len(source), TRANSPOSED_ROWS):
        rows = source[start : start + TRANSPOSED_ROWS]
        part = buffer[: len(rows), : source.shape[1]]
        part[:] = rows
        target[:, start : start + TRANSPOSED_ROWS] = part.T
