"""Folders of magenta.js, in and out: a manifest of variables, values in shards, and a config that says what music.

The variables have TensorFlow's names and layout (magenta_checkpoint.py). magenta.js reads three kinds of model, and
`export_magenta_js` writes no other (@magenta/music 1.23, src/music_vae/model.ts): one bidirectional layer and a flat
decoder; the same with a NADE or groove output; and, for music in segments, the two-level encoder and a conductor, with
a core decoder for each part. Presets named `hierdec-` encode without segments, and flat trios have one decoder for
three parts: neither plays there.

Three things magenta.js does otherwise than Magenta. Of the notes of a drum pattern it says that a step is empty in the
step before. Behind an end token it goes on to write, and the next track starts from there. And it does not leave out
the drums that a model is to add (`added_classes`): who plays there must.
"""

import json
import math
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import NamedTuple
from uuid import uuid4

import numpy as np
import torch
from torch import Tensor

from configs import CONFIGS, Config
from magenta_checkpoint import FORGET_BIAS, GATE_ORDER, LSTM_PARTS, tensorflow_scopes, variable_parts
from model import ModelConfig, MusicVAE
from music import performance
from music.converters import (
    Converter,
    DrumsConverter,
    GrooveConverter,
    MelodyConverter,
    MultitrackConverter,
    TrioConverter,
)
from music.grid import DRUM_CLASSES, DRUM_SETS, MAX_PITCH, MIN_PITCH

MANIFEST = "weights_manifest.json"
CLIENT_CONFIG = "config.json"
SHARD = "group1-shard{}of{}"
SHARD_BYTES = 4 * 2**20  # as TensorFlow.js's own converter cuts them
DTYPES = {"float32": "<f4", "int32": "<i4", "bool": "?"}  # of variables, as they lie in a shard
QUANTIZED = {"uint8": "<u1", "uint16": "<u2", "float16": "<f2"}  # of values that stand for others
CLIENT_DEFAULTS = {"pitchClasses": DRUM_CLASSES, "stepsPerQuarter": 4, "maxPitch": 127}
IGNORED = ("numSteps", "numSegments", "ignorePolyphony")  # lengths, and how a client reads polyphonic notes


# ---- In ----


class Weight(NamedTuple):
    """One variable as the manifest describes it."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype  # of its values
    stored: np.dtype  # of the numbers in the shard
    scale: float = 1.0  # value = number * scale + least
    least: float = 0.0

    @property
    def size(self) -> int:
        """Bytes in the shard."""
        return math.prod(self.shape) * self.stored.itemsize


class Group(NamedTuple):
    """Variables whose values lie one after the other in the shards' bytes, joined."""

    shards: tuple[Path, ...]
    weights: tuple[Weight, ...]


def read_variables(folder: str | Path) -> dict[str, np.ndarray]:
    """All variables of a magenta.js folder, by name; quantised ones as the values that they stand for.

    Args:
        folder: holds `weights_manifest.json` and the shards that it names.

    Raises:
        ValueError: a missing, truncated or foreign file, or a manifest that contradicts itself or its shards; names the
            variable and what was expected, and nothing is read.
    """
    groups = _read_manifest(Path(folder))
    for group in groups:
        _check_sizes(group)
    return {name: value for group in groups for name, value in _values(group)}


def _read_json(path: Path, kind: type):
    if not path.is_file():
        raise ValueError(f"no file {path}; a magenta.js folder holds {MANIFEST}, {CLIENT_CONFIG} and shards")
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as fault:
        raise ValueError(f"{path} is not JSON: {fault}") from None
    if not isinstance(content, kind):
        raise ValueError(f"{path} should hold a JSON {kind.__name__}, not a {type(content).__name__}")
    return content


def _read_manifest(folder: Path) -> list[Group]:
    path = folder / MANIFEST
    groups = []
    for entry in _read_json(path, list):
        if not (isinstance(entry, dict) and all(isinstance(entry.get(key), list) for key in ("paths", "weights"))):
            raise ValueError(f"{path}: a group should hold the lists paths and weights, got {str(entry)[:80]}")
        shards = tuple(_shard(folder, name) for name in entry["paths"])
        groups.append(Group(shards, tuple(_weight(path, weight) for weight in entry["weights"])))
    names = [weight.name for group in groups for weight in group.weights]
    if len(names) != len(set(names)):
        raise ValueError(f"{path}: variable {max(names, key=names.count)} stands there more than once")
    return groups


def _shard(folder: Path, name: str) -> Path:
    """The path of a shard, which may not leave the folder."""
    if not isinstance(name, str) or not name:
        raise ValueError(f"{folder / MANIFEST}: a shard's path should be text, got {name!r}")
    if PurePosixPath(name).is_absolute() or PureWindowsPath(name).anchor or ".." in PureWindowsPath(name).parts:
        raise ValueError(f"{folder / MANIFEST}: the shard {name!r} lies outside the folder")
    return folder / name


def _weight(path: Path, entry: dict) -> Weight:
    if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
        raise ValueError(f"{path}: a variable should have a name, got {str(entry)[:80]}")
    name, shape, dtype = entry["name"], entry.get("shape"), entry.get("dtype")
    if not isinstance(shape, list) or any(type(size) is not int or size < 0 for size in shape):
        raise ValueError(f"{path}: variable {name} should have a list of sizes for a shape, got {shape!r}")
    if not isinstance(dtype, str) or dtype not in DTYPES:
        raise ValueError(f"{path}: variable {name} should be of {_either(DTYPES)}, got {dtype!r}")
    values = np.dtype(DTYPES[dtype])
    if "quantization" not in entry:
        return Weight(name, tuple(shape), values, values)
    return Weight(name, tuple(shape), values, *_quantization(f"{path}: variable {name}", dtype, entry["quantization"]))


def _quantization(where: str, dtype: str, entry: dict) -> tuple[np.dtype, float, float]:
    """How a quantised variable is stored, its scale and its least value."""
    stored = entry.get("dtype") if isinstance(entry, dict) else None
    if not isinstance(stored, str) or stored not in QUANTIZED or dtype == "bool":
        raise ValueError(f"{where} of {dtype} should be quantised to {_either(QUANTIZED)}, got {entry!r}")
    if stored == "float16":
        return np.dtype(QUANTIZED[stored]), 1.0, 0.0
    scale, least = entry.get("scale"), entry.get("min")
    if not all(type(number) in (int, float) and abs(number) < 1e38 for number in (scale, least)):
        raise ValueError(f"{where} of {stored} should have a finite scale and min, got {scale!r} and {least!r}")
    return np.dtype(QUANTIZED[stored]), float(scale), float(least)


def _either(names) -> str:
    return f"{', '.join(list(names)[:-1])} or {list(names)[-1]}"


def _check_sizes(group: Group):
    """Whether the shards hold just the bytes that the variables need."""
    for shard in group.shards:
        if not shard.is_file():
            needing = f", which holds {group.weights[0].name} or others" if group.weights else ""
            raise ValueError(f"no file {shard}{needing}")
    held, end = sum(shard.stat().st_size for shard in group.shards), 0
    names = f"{', '.join(str(shard) for shard in group.shards[:3])}{', ...' * (len(group.shards) > 3)}"
    for weight in group.weights:
        end += weight.size
        if end > held:
            raise ValueError(
                f"variable {weight.name} {list(weight.shape)} of {weight.stored} needs bytes {end - weight.size:,} to "
                f"{end:,} of its shards, which hold {held:,}: truncated, or not of this manifest ({names})"
            )
    if end != held:
        last = f" up to {group.weights[-1].name}" if group.weights else ""
        raise ValueError(f"the variables{last} need {end:,} bytes, their shards hold {held:,} ({names})")


def _values(group: Group) -> Iterator[tuple[str, np.ndarray]]:
    """Each variable's values, an array of its own."""
    start = 0
    for weight in group.weights:
        stored = _read_bytes(group, start, weight.size).view(weight.stored)
        start += weight.size
        yield weight.name, _dequantized(stored, weight).reshape(weight.shape)


def _read_bytes(group: Group, start: int, size: int) -> np.ndarray:
    """A stretch [size] uint8 of the shards' bytes, joined."""
    data, filled, first = np.empty(size, np.uint8), 0, 0
    for shard in group.shards:
        held = shard.stat().st_size
        begin, end = max(start - first, 0), min(start + size - first, held)
        if begin < end:
            with shard.open("rb") as file:
                file.seek(begin)
                filled += file.readinto(memoryview(data)[first + begin - start : first + end - start])
        first += held
    if filled != size:
        raise ValueError(f"a shard beside {group.shards[0]} changed while it was read")
    return data


def _dequantized(stored: np.ndarray, weight: Weight) -> np.ndarray:
    """The values that numbers stand for, computed as TensorFlow.js does: in double precision, and then rounded."""
    if weight.stored == weight.dtype:
        return stored
    values = stored.astype(np.float64)
    values *= weight.scale
    values += weight.least
    return (np.floor(values + 0.5) if weight.dtype.kind == "i" else values).astype(weight.dtype)


# ---- Out ----


def export_magenta_js(model: MusicVAE, config: Config, folder: str | Path, quantize: str | None = None) -> None:
    """Writes a folder that magenta.js loads: `new MusicVAE(url_of_the_folder)`.

    Whoever reads the folder back gets the same variables, but for the forget gates' biases: they are written less 1,
    which rounds them by up to 6e-8. The folder appears under its name when it is whole.

    Args:
        model: its weights are written, as float32.
        config: the preset, which says what music the model reads and writes.
        folder: made here; an earlier export there is replaced.
        quantize: None, or 'uint8' or 'uint16' for a quarter or half of the size and values rounded to 256 or 65,536
            levels between a variable's least and greatest.

    Raises:
        ValueError: a model that magenta.js does not know, or one that is not of the preset; values that are not finite;
            a folder that holds something else.
    """
    if quantize not in (None, "uint8", "uint16"):
        raise ValueError(f"quantize must be None, 'uint8' or 'uint16', got {quantize!r}")
    _check_sizes_known(model.config)
    content = {CLIENT_CONFIG: client_config(_of_model(config, model.config))}
    variables = tensorflow_variables(model)
    with _new_folder(Path(folder)) as new:
        content[MANIFEST] = _write_shards(new, variables, quantize)
        for name, value in content.items():
            (new / name).write_text(json.dumps(value, indent=2), encoding="utf-8")


def _of_model(config: Config, model: ModelConfig) -> Config:
    """The preset with the sizes of a model, which must read and write what the preset's converter does."""
    converter = config.converter
    wanted = (converter.steps, converter.input_depth, converter.output_depth, converter.control_depth)
    has = (model.steps, model.input_depth, model.output_depth, model.control_depth)
    if has != wanted:
        raise ValueError(
            f"the converter of {config.name} has steps, input, output and control depths of {wanted}, the model {has}"
        )
    return replace(config, model=model)


def _check_sizes_known(model: ModelConfig):
    """Whether magenta.js, which reads fewer shapes than we do, knows the layers."""
    if len(model.enc_rnn_size) > 1:
        raise ValueError(f"magenta.js knows one layer in an encoder, this one has widths {model.enc_rnn_size}")
    if len(set(model.dec_rnn_size)) > 1:
        raise ValueError(f"magenta.js knows layers of one width in a decoder, this one has {model.dec_rnn_size}")


@contextmanager
def _new_folder(folder: Path) -> Iterator[Path]:
    """A folder beside the one asked for, which takes its place when all is written, and goes when something fails."""
    folder = folder.resolve()
    if folder.exists() and not (folder.is_dir() and all(map(_is_ours, folder.iterdir()))):
        raise ValueError(f"{folder} holds something other than a magenta.js model; give another folder")
    new, old = (folder.with_name(f".{folder.name}-{uuid4().hex}") for _ in range(2))
    new.mkdir(parents=True)
    try:
        yield new
        if folder.exists():
            folder.rename(old)
        new.rename(folder)
    except BaseException:
        shutil.rmtree(new, ignore_errors=True)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _is_ours(path: Path) -> bool:
    return path.is_file() and (path.name in (MANIFEST, CLIENT_CONFIG) or path.name.startswith("group1-shard"))


def _write_shards(folder: Path, variables: dict[str, np.ndarray], quantize: str | None) -> list[dict]:
    """Writes the values, shard after shard, and gives the manifest."""
    itemsize = np.dtype(QUANTIZED[quantize] if quantize else DTYPES["float32"]).itemsize
    count = math.ceil(sum(values.size for values in variables.values()) * itemsize / SHARD_BYTES)
    paths, weights, data = [SHARD.format(k + 1, count) for k in range(count)], [], bytearray()
    rest = iter(paths)
    for name, values in variables.items():
        entry, stored = _stored(name, values, quantize)
        weights.append(entry)
        data += stored.tobytes()
        while len(data) >= SHARD_BYTES:
            (folder / next(rest)).write_bytes(data[:SHARD_BYTES])
            del data[:SHARD_BYTES]
    for path in rest:
        (folder / path).write_bytes(data)
    return [{"paths": paths, "weights": weights}]


def _stored(name: str, values: np.ndarray, quantize: str | None) -> tuple[dict, np.ndarray]:
    """The manifest's entry of a variable, and the numbers that go into the shards."""
    if not np.isfinite(values).all():
        raise ValueError(f"variable {name} holds values that are not finite")
    entry = {"name": name, "shape": list(values.shape), "dtype": "float32"}
    if quantize is None:
        return entry, values.astype(DTYPES["float32"])
    least, greatest = float(values.min()), float(values.max())
    scale = (greatest - least) / np.iinfo(QUANTIZED[quantize]).max or 1.0
    entry["quantization"] = {"dtype": quantize, "scale": scale, "min": least}
    return entry, np.rint((values.astype(np.float64) - least) / scale).astype(QUANTIZED[quantize])


# ---- Which music a model reads and writes ----


def client_config(config: Config) -> dict:
    """What config.json says of a preset; the key `preset` is this project's, and magenta.js passes over it.

    Raises:
        ValueError: a preset whose structure magenta.js does not know.
    """
    model, converter = config.model, config.converter
    if model.encoder_segments != model.segments:
        raise ValueError(
            f"magenta.js does not know the encoder of {config.name}: it reads music in segments with the two-level "
            "encoder alone, as in hier-mel_16bar, and other music without"
        )
    if model.segments == 1 and len(model.output_depths) > 1:
        raise ValueError(
            f"magenta.js does not know the decoder of {config.name}: a trio has one for each part there, as in "
            "hier-trio_16bar"
        )
    kind, args = _client_converter(converter)
    args = {"numSteps": model.steps} | ({"numSegments": model.segments} if model.segments > 1 else {}) | args
    said = {"type": "MusicVAE", "dataConverter": {"type": kind, "args": args}} | _controls(converter)
    return said | {"preset": config.name}


def _client_converter(converter: Converter) -> tuple[str, dict]:
    """The type of magenta.js's converter, and its arguments beside the length."""
    pitches = {"minPitch": MIN_PITCH, "maxPitch": MAX_PITCH}
    classes = getattr(converter, "classes", DRUM_CLASSES)
    drums = {"pitchClasses": [list(pitches) for pitches in DRUM_SETS[classes]]}  # a groove's as in General MIDI
    match converter:
        case MelodyConverter():
            return "MelodyConverter", pitches
        case DrumsConverter(output="roll"):
            return "DrumRollConverter", drums
        case DrumsConverter():
            return "DrumsConverter", drums
        case TrioConverter():
            return "TrioConverter", {"melArgs": pitches, "bassArgs": pitches, "drumsArgs": drums}
        case GrooveConverter():
            return "GrooveConverter", drums | {"humanize": converter.humanize, "tapify": converter.tap}
        case MultitrackConverter():
            steps = {"stepsPerQuarter": performance.STEPS_PER_QUARTER, "totalSteps": performance.STEPS_PER_BAR}
            return "MultitrackConverter", steps | {"numVelocityBins": performance.VELOCITY_BINS}
    raise TypeError(f"no converter: {converter!r}")


def _controls(converter: Converter) -> dict:
    """What magenta.js asks for beside the music."""
    if getattr(converter, "chords", False):
        return {"chordEncoder": "TriadChordEncoder"}
    if getattr(converter, "hits_control", False):
        return {"extraControls": [{"name": "hits", "depth": converter.control_depth}]}
    return {}


def preset_from_config(path: str | Path, config_name: str | None = None) -> Config:
    """The preset that a magenta.js folder's config.json says, at the length that it says.

    Sizes of z and of the layers are not in it: presets that differ in them alone count as one, and the first is taken.

    Args:
        path: of config.json.
        config_name: the preset to take where config.json leaves a choice.

    Raises:
        ValueError: no such file, no MusicVAE, or music of no preset, of several, or of another than `config_name`;
            names the choices.
        KeyError: no such preset.
    """
    said = _read_config(Path(path))
    asked = CONFIGS if config_name is None else {config_name: CONFIGS[config_name]}
    fitting = [config for preset in asked.values() if (config := _fitted(preset, said))]
    for better in (lambda config: config.name == said.get("preset"), _said_in_full):
        fitting = list(filter(better, fitting)) or fitting
    kinds = {_structure(config): config for config in reversed(fitting)}
    if len(kinds) == 1:
        return fitting[0]
    if kinds:
        choices = [config.name for config in fitting if config in kinds.values()]
        raise ValueError(f"{path} says {_summary(said)}, which may be {_either(choices)}: name one")
    raise ValueError(f"{path} says {_summary(said)}, which is none of {', '.join(asked)}")


def _read_config(path: Path) -> dict:
    said = _read_json(path, dict)
    converter = said.get("dataConverter")
    if said.get("type") != "MusicVAE" or not isinstance(converter, dict) or not isinstance(converter.get("args"), dict):
        raise ValueError(f"{path} should be of type MusicVAE with a dataConverter and its args, got {str(said)[:80]}")
    steps, segments = _length(said)
    if type(steps) is not int or type(segments) is not int or min(steps, segments) < 1 or steps % segments:
        raise ValueError(f"{path}: numSteps should be whole segments, got {steps!r} steps and {segments!r} segments")
    return said


def _length(said: dict) -> tuple[int, int]:
    """Steps and segments; 1 segment where none is said."""
    args = said["dataConverter"]["args"]
    return args.get("numSteps"), args.get("numSegments") or 1


def _summary(said: dict) -> str:
    steps, segments = _length(said)
    return f"{said['dataConverter'].get('type')}, {steps} steps in {segments} segment{'s' * (segments > 1)}"


def _fitted(preset: Config, said: dict) -> Config | None:
    """The preset at the length that config.json says, if its music is what config.json says."""
    try:
        config = _at_length(preset, *_length(said))
        return config if config and _music(client_config(config)) == _music(said) else None
    except ValueError:  # magenta.js does not know it
        return None


def _at_length(preset: Config, steps: int, segments: int) -> Config | None:
    """The preset with so many steps and segments, if it can have them."""
    if (steps, segments) == (preset.model.steps, preset.model.segments):
        return preset
    bar = preset.converter.steps_per_bar
    fixed = isinstance(preset.converter, MultitrackConverter) or preset.model.encoder_segments > preset.model.segments
    if fixed or steps % bar or (segments > 1) != (preset.model.segments > 1):
        return None
    levels = {"encoder_segments": segments} if preset.model.encoder_segments > 1 else {}
    model = replace(preset.model, steps=steps, segments=segments, **levels)
    return replace(preset, converter=replace(preset.converter, bars=steps // bar), model=model)


def _said_in_full(config: Config) -> bool:
    """Whether config.json can say all that makes the preset, the length too: not which drums its input lacks."""
    return config == CONFIGS[config.name] and not getattr(config.converter, "added_classes", ())


def _structure(config: Config) -> tuple:
    """What makes two presets one for who loads them: all but name, sizes, and what is of training alone."""
    hidden = min(config.model.nade_num_hidden, 1)
    sizes = {"z_size": 1, "enc_rnn_size": (1,), "dec_rnn_size": (1,), "nade_num_hidden": hidden}
    training = {"note_dropout": 0.0} if isinstance(config.converter, GrooveConverter) else {}
    return replace(config.model, dropout_keep_prob=1.0, **sizes), replace(config.converter, **training)


def _music(said: dict) -> dict:
    """What a config.json says of the music, but its length: what stands at its default counts as left out."""
    converter = said["dataConverter"]
    rest = {key: value for key, value in said.items() if key not in ("type", "dataConverter", "preset")}
    return _plain(rest | converter["args"] | {"type": converter.get("type")})


def _plain(values: dict) -> dict:
    plain = {}
    for key, value in values.items():
        if isinstance(value, dict):
            value = _plain(value)
        if key == "pitchClasses" and isinstance(value, list):
            value = len(value)  # which pitches make a class is no matter of the network's
        if value and key not in IGNORED and value != CLIENT_DEFAULTS.get(key):
            plain[key] = value
    return plain


# ---- Our layers as TensorFlow's variables ----


def tensorflow_variables(model: MusicVAE) -> dict[str, np.ndarray]:
    """A model's weights under TensorFlow's names and in its layout, float32: what `load_magenta_checkpoint` reads."""
    state = {name: value.detach().cpu().float() for name, value in model.state_dict().items()}
    variables = {}
    for name, scope in tensorflow_scopes(model.config).items():
        if "{}" in name:
            parts = lstm_variables(*(state[name.format(part)] for part in LSTM_PARTS))
        elif name == "nade":
            parts = state["nade.enc"][:, None], state["nade.dec"][..., None]
        else:
            parts = state[f"{name}.weight"].T, state[f"{name}.bias"]
        variables |= {f"{scope}/{part}": value.numpy() for part, value in zip(variable_parts(name), parts, strict=True)}
    return variables


def lstm_variables(weight_ih: Tensor, weight_hh: Tensor, bias_ih: Tensor, bias_hh: Tensor) -> tuple[Tensor, Tensor]:
    """TensorFlow's kernel [input + H, 4H] and bias [4H] of a layer of ours: the way back of its reading."""
    size, order = weight_hh.shape[1], np.argsort(GATE_ORDER)
    bias = bias_ih + bias_hh
    bias[size : 2 * size] -= FORGET_BIAS
    kernel = torch.cat([weight_ih, weight_hh], 1).view(4, size, -1)[order].flatten(0, 1).T
    return kernel, bias.view(4, size)[order].flatten()
