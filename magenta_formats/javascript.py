"""Reads and writes magenta.js folders: a manifest of variables, shards with their values, and a config of the music.

The variables have TensorFlow's names and layout, see variables.py. magenta.js reads three kinds of model, and
`export_magenta_js` writes only those (@magenta/music 1.23, src/music_vae/model.ts):

- one bidirectional encoder layer and a flat decoder;
- the same with a NADE or groove output;
- for music in segments, the two-level encoder and a conductor, with one core decoder per part.

magenta.js therefore plays neither the presets named `hierdec-`, which encode without segments, nor flat trios.

magenta.js differs from Magenta in three ways:

- The tensors that it makes of a drum pattern mark an empty step one step too early.
- It keeps decoding after an end token, and the next track starts from there.
- It does not remove the drums that a model is to add (`added_classes`); the caller has to.

The format has no checksums. `export_magenta_js` adds a file that magenta.js never asks for: SHA256SUMS, the digests of
all other files as the program `sha256sum` lists them. A folder with this file is checked when it is read.
"""

import hashlib
import json
import math
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import NamedTuple
from uuid import uuid4

import numpy as np

from configs import CONFIGS, Config, with_model
from engine.checks import checked_path, checked_type
from magenta_formats.variables import Variables, tensorflow_variables
from midi_utils import (
    Converter,
    DrumsConverter,
    GrooveConverter,
    MelodyConverter,
    MultitrackConverter,
    TrioConverter,
)
from model import ModelConfig, MusicVAE
from music import performance
from music.drums import DRUM_CLASSES, DRUM_SETS
from music.melody import MAX_PITCH, MIN_PITCH

WEIGHTS_MANIFEST = "weights_manifest.json"
CLIENT_CONFIG = "config.json"
DIGESTS = "SHA256SUMS"
SHARD = "group1-shard{}of{}"
MAX_JSON_BYTES = 4 * 2**20  # of a manifest or config; the largest published model needs 20 kB
SHARD_BYTES = 4 * 2**20  # as in TensorFlow.js's own converter
FLOAT32 = np.dtype("<f4")
QUANTIZED = {"uint8": np.dtype("<u1"), "uint16": np.dtype("<u2")}  # how Magenta's converter can store a float32
CLIENT_DEFAULTS = {"pitchClasses": DRUM_CLASSES, "stepsPerQuarter": 4, "maxPitch": 127}
IGNORED = ("numSteps", "numSegments", "ignorePolyphony")  # lengths, and how a client reads polyphonic notes


def is_magenta_js(path: Path) -> bool:
    """Whether a path is a magenta.js folder."""
    return (path / WEIGHTS_MANIFEST).is_file()


# ---- Reading ----


class Weight(NamedTuple):
    """One variable as the manifest describes it; its values are float32."""

    name: str
    shape: tuple[int, ...]
    stored: np.dtype  # type of the numbers in the shard
    scale: float = 1.0  # value = number * scale + least
    least: float = 0.0

    @property
    def size(self) -> int:
        """Bytes in the shard."""
        return math.prod(self.shape) * self.stored.itemsize


class Group(NamedTuple):
    """Variables whose values follow one another in the joined bytes of some shards."""

    shards: tuple[Path, ...]
    weights: tuple[Weight, ...]


def read_shards(folder: str | Path) -> Variables:
    """All variables of a magenta.js folder, by name, float32; quantised ones are converted back.

    Args:
        folder: holds `weights_manifest.json` and the shards that it names.

    Raises:
        ValueError: a file is missing, truncated or of another format, does not match its digest, or the manifest
            contradicts itself or the sizes of its shards. The message names the file or the variable. All sizes and
            digests are checked before any value is read.
    """
    groups = _read_manifest(Path(folder))
    for group in groups:
        _check_sizes(group)
    _check_digests(Path(folder), groups)
    return {name: value for group in groups for name, value in _values(group)}


def _read_json(path: Path, kind: type):
    if not path.is_file():
        raise ValueError(f"no file {path}; a magenta.js folder holds {WEIGHTS_MANIFEST}, {CLIENT_CONFIG} and shards")
    if path.stat().st_size > MAX_JSON_BYTES:
        raise ValueError(f"{path} takes more than {MAX_JSON_BYTES:,} bytes, far more than a model of magenta.js needs")
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as fault:
        raise ValueError(f"{path} is not JSON: {fault}") from None
    if not isinstance(content, kind):
        raise ValueError(f"{path} should hold a JSON {kind.__name__}, not a {type(content).__name__}")
    return content


def _read_manifest(folder: Path) -> list[Group]:
    path = folder / WEIGHTS_MANIFEST
    groups = []
    for entry in _read_json(path, list):
        if not (isinstance(entry, dict) and all(isinstance(entry.get(key), list) for key in ("paths", "weights"))):
            raise ValueError(f"{path}: a group should hold the lists paths and weights, got {str(entry)[:80]}")
        shards = tuple(_shard(folder, name) for name in entry["paths"])
        groups.append(Group(shards, tuple(_weight(path, weight) for weight in entry["weights"])))
    names = [weight.name for group in groups for weight in group.weights]
    shards = [shard for group in groups for shard in group.shards]
    for kind, listed in (("variable", names), ("shard", shards)):
        if len(listed) != len(set(listed)):
            raise ValueError(f"{path} lists {kind} {Counter(listed).most_common(1)[0][0]} more than once")
    return groups


def _shard(folder: Path, name: str) -> Path:
    """The path of a shard, which must not lead out of the folder."""
    if not isinstance(name, str) or not name:
        raise ValueError(f"{folder / WEIGHTS_MANIFEST}: a shard's path should be text, got {name!r}")
    if PurePosixPath(name).is_absolute() or PureWindowsPath(name).anchor or ".." in PureWindowsPath(name).parts:
        raise ValueError(f"{folder / WEIGHTS_MANIFEST}: the shard {name!r} is outside the folder")
    return folder / name


def _weight(path: Path, entry: dict) -> Weight:
    if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
        raise ValueError(f"{path}: a variable should have a name, got {str(entry)[:80]}")
    name, shape = entry["name"], entry.get("shape")
    if not isinstance(shape, list) or any(type(size) is not int or size < 0 for size in shape):
        raise ValueError(f"{path}: variable {name} should have a list of sizes as its shape, got {shape!r}")
    if entry.get("dtype") != "float32":
        raise ValueError(f"{path}: variable {name} should be of float32, got {entry.get('dtype')!r}")
    if "quantization" not in entry:
        return Weight(name, tuple(shape), FLOAT32)
    return Weight(name, tuple(shape), *_quantization(f"{path}: variable {name}", entry["quantization"]))


def _quantization(where: str, entry: dict) -> tuple[np.dtype, float, float]:
    """Stored type, scale and least value of a quantised variable."""
    stored = entry.get("dtype") if isinstance(entry, dict) else None
    if not isinstance(stored, str) or stored not in QUANTIZED:
        raise ValueError(f"{where} of float32 should be quantised to {_either(QUANTIZED)}, got {entry!r}")
    scale, least = entry.get("scale"), entry.get("min")
    if not all(type(number) in (int, float) and abs(number) < 1e38 for number in (scale, least)):
        raise ValueError(f"{where} of {stored} should have a finite scale and min, got {scale!r} and {least!r}")
    return QUANTIZED[stored], float(scale), float(least)


def _either(names: Iterable[str]) -> str:
    *others, last = names
    return f"{', '.join(others)} or {last}"


def _check_sizes(group: Group):
    """Raises a ValueError unless the shards hold exactly the bytes that the variables need."""
    for shard in group.shards:
        if not shard.is_file():
            needing = f", needed for {group.weights[0].name} or others" if group.weights else ""
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


def _check_digests(folder: Path, groups: list[Group]):
    """Raises a ValueError for a file that does not match the folder's list of digests; most folders have no list."""
    listed = folder / DIGESTS
    if not listed.is_file():
        return
    files = [folder / WEIGHTS_MANIFEST, folder / CLIENT_CONFIG, *(shard for group in groups for shard in group.shards)]
    lines = set(listed.read_text(encoding="utf-8", errors="replace").splitlines())
    for file in filter(Path.is_file, files):
        if _digest_line(folder, file) not in lines:
            raise ValueError(
                f"{file} does not match its digest in {DIGESTS}: it is damaged, or was changed; copy the folder again, "
                f"or delete {DIGESTS} if the change is meant"
            )


def _digest_line(folder: Path, file: Path) -> str:
    """The digest and the name of a file, as the program `sha256sum` writes them."""
    return f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.relative_to(folder).as_posix()}"


def _values(group: Group) -> Iterator[tuple[str, np.ndarray]]:
    start = 0
    for weight in group.weights:
        stored = _read_bytes(group, start, weight.size).view(weight.stored)
        start += weight.size
        yield weight.name, _dequantized(stored, weight).reshape(weight.shape)


def _read_bytes(group: Group, start: int, size: int) -> np.ndarray:
    """A range of the joined bytes of the shards: [size] uint8."""
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
    """The values of stored numbers, computed as in TensorFlow.js: in double precision, then rounded to float32."""
    if weight.stored == FLOAT32:
        return stored
    values = stored.astype(np.float64)
    values *= weight.scale
    values += weight.least
    return values.astype(np.float32)


# ---- Writing ----


def export_magenta_js(model: MusicVAE, config: Config, folder: str | Path, quantize: str | None = None) -> None:
    """Writes a folder that magenta.js loads with `new MusicVAE(url_of_the_folder)`.

    `load_magenta_checkpoint` reads the folder back with the same weights, except for the biases of the forget gates:
    Magenta stores them less 1, which rounds them by up to 6e-8. The folder appears under its name only once it is
    complete.

    Args:
        model: its weights are written as float32.
        config: the preset of the model; its converter says what music the model reads and writes.
        folder: created here; an earlier export in its place is replaced.
        quantize: None for float32; 'uint8' or 'uint16' for a quarter or half of the size, with the values of each
            variable rounded to 256 or 65,536 levels between its least and its greatest.

    Raises:
        ValueError: magenta.js has no such model, the model is not of the preset, a weight is not finite, or the folder
            holds something other than an earlier export.
    """
    if quantize not in (None, *QUANTIZED):
        raise ValueError(f"quantize must be None, 'uint8' or 'uint16', got {quantize!r}")
    checked_type("model", model, MusicVAE, "a MusicVAE, such as TrainedModel.model")
    checked_type("config", config, Config, "a Config, such as CONFIGS[name]")
    folder = checked_path("folder", folder)
    _check_layers(model.config)
    content = {CLIENT_CONFIG: client_config(with_model(config, model.config))}
    variables = tensorflow_variables(model)
    with _new_folder(folder) as new:
        content[WEIGHTS_MANIFEST] = _write_shards(new, variables, quantize)
        for name, value in content.items():
            (new / name).write_text(json.dumps(value, indent=2), encoding="utf-8")
        digests = [_digest_line(new, file) for file in sorted(new.iterdir())]
        (new / DIGESTS).write_bytes("".join(f"{line}\n" for line in digests).encode())


def _check_layers(model: ModelConfig):
    """Raises a ValueError for layers that magenta.js does not support."""
    if len(model.enc_rnn_size) > 1:
        raise ValueError(f"magenta.js supports one layer in an encoder, this one has widths {model.enc_rnn_size}")
    if len(set(model.dec_rnn_size)) > 1:
        raise ValueError(f"magenta.js supports decoder layers of one width, this one has {model.dec_rnn_size}")


@contextmanager
def _new_folder(folder: Path) -> Iterator[Path]:
    """A temporary folder that replaces the given one on success and is deleted on failure."""
    folder = folder.resolve()
    if folder.exists() and not (folder.is_dir() and all(map(_is_exported, folder.iterdir()))):
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


def _is_exported(path: Path) -> bool:
    return path.is_file() and (
        path.name in (WEIGHTS_MANIFEST, CLIENT_CONFIG, DIGESTS) or path.name.startswith("group1-shard")
    )


def _write_shards(folder: Path, variables: Variables, quantize: str | None) -> list[dict]:
    """Writes the values, shard by shard, and returns the manifest."""
    itemsize = QUANTIZED.get(quantize, FLOAT32).itemsize
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
    """The manifest's entry of a variable, and the numbers for the shards."""
    if not np.isfinite(values).all():
        raise ValueError(f"variable {name} holds values that are not finite")
    entry = {"name": name, "shape": list(values.shape), "dtype": "float32"}
    if quantize is None:
        return entry, values.astype(FLOAT32)
    least, greatest = float(values.min()), float(values.max())
    scale = (greatest - least) / np.iinfo(QUANTIZED[quantize]).max or 1.0
    entry["quantization"] = {"dtype": quantize, "scale": scale, "min": least}
    return entry, np.rint((values.astype(np.float64) - least) / scale).astype(QUANTIZED[quantize])


# ---- From a preset to config.json ----


def client_config(config: Config) -> dict:
    """The content of config.json for a preset. Its key `preset` is this project's own; magenta.js ignores it.

    Raises:
        ValueError: magenta.js does not support the structure of the preset.
    """
    model, converter = config.model, config.converter
    if model.encoder_segments != model.segments:
        raise ValueError(
            f"magenta.js does not support the encoder of {config.name}: a model with a conductor needs the two-level "
            "encoder, as in hier-mel_16bar, and a flat model the flat one"
        )
    if model.segments == 1 and len(model.output_depths) > 1:
        raise ValueError(
            f"magenta.js does not support the decoder of {config.name}: a trio needs a conductor and one decoder per "
            "part, as in hier-trio_16bar"
        )
    kind, args = _client_converter(converter)
    args = {"numSteps": model.steps} | ({"numSegments": model.segments} if model.segments > 1 else {}) | args
    content = {"type": "MusicVAE", "dataConverter": {"type": kind, "args": args}} | _client_controls(converter)
    return content | {"preset": config.name}


def _client_converter(converter: Converter) -> tuple[str, dict]:
    """The type of magenta.js's converter, and its arguments other than the length."""
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
    raise ValueError(f"magenta.js has no converter like {converter!r}")


def _client_controls(converter: Converter) -> dict:
    """The conditioning that magenta.js asks its caller for."""
    if converter.chords:
        return {"chordEncoder": "TriadChordEncoder"}
    if getattr(converter, "hits_control", False):
        return {"extraControls": [{"name": "hits", "depth": converter.control_depth}]}
    return {}


# ---- From config.json to a preset ----


def find_preset(folder: str | Path, config_name: str | None, variables: Variables) -> Config:
    """The preset of a magenta.js folder, from its config.json; the variables have no say."""
    return preset_from_config(Path(folder) / CLIENT_CONFIG, config_name)


def preset_from_config(path: str | Path, config_name: str | None = None) -> Config:
    """The preset that a config.json describes, at the length given there.

    config.json does not hold z_size and layer widths. Presets that differ only in these count as one, and the first
    of them is returned.

    Args:
        path: of config.json.
        config_name: the preset to take where config.json fits several.

    Raises:
        ValueError: the file is missing, is not of a MusicVAE, or fits no preset, several presets, or not
            `config_name`. The message lists the presets.
        KeyError: no preset has that name.
    """
    content = _read_config(Path(path))
    asked = CONFIGS if config_name is None else {config_name: CONFIGS[config_name]}
    fitting = [config for preset in asked.values() if (config := _fitted(preset, content))]
    for better in (lambda config: config.name == content.get("preset"), _is_fully_described):
        fitting = list(filter(better, fitting)) or fitting
    kinds = {_structure(config): config for config in reversed(fitting)}
    if len(kinds) == 1:
        return fitting[0]
    if kinds:
        choices = [config.name for config in fitting if config in kinds.values()]
        fault = f"which may be {_either(choices)}: choose one with config_name"
        raise ValueError(f"{path} describes {_summary(content)}, {fault}")
    raise ValueError(f"{path} describes {_summary(content)}, which is none of {', '.join(asked)}")


def _read_config(path: Path) -> dict:
    content = _read_json(path, dict)
    converter = content.get("dataConverter")
    is_vae = content.get("type") == "MusicVAE" and isinstance(converter, dict)
    if not is_vae or not isinstance(converter.get("args"), dict):
        got = str(content)[:80]
        raise ValueError(f"{path} should be of type MusicVAE with a dataConverter and its args, got {got}")
    steps, segments = _length(content)
    if type(steps) is not int or type(segments) is not int or min(steps, segments) < 1 or steps % segments:
        raise ValueError(f"{path}: numSteps should be whole segments, got {steps!r} steps and {segments!r} segments")
    return content


def _length(content: dict) -> tuple[int, int]:
    """Steps and segments; 1 segment if the file has no number."""
    args = content["dataConverter"]["args"]
    return args.get("numSteps"), args.get("numSegments") or 1


def _summary(content: dict) -> str:
    steps, segments = _length(content)
    return f"{content['dataConverter'].get('type')}, {steps} steps in {segments} segment{'s' * (segments > 1)}"


def _fitted(preset: Config, content: dict) -> Config | None:
    """The preset at the length of a config.json, or None if its music differs."""
    try:
        config = _at_length(preset, *_length(content))
        return config if config and _music(client_config(config)) == _music(content) else None
    except ValueError:  # magenta.js does not support the preset
        return None


def _at_length(preset: Config, steps: int, segments: int) -> Config | None:
    """The preset with another number of steps and segments, or None if it cannot have them."""
    if (steps, segments) == (preset.model.steps, preset.model.segments):
        return preset
    bar = preset.converter.steps_per_bar
    fixed = isinstance(preset.converter, MultitrackConverter) or preset.model.encoder_segments > preset.model.segments
    if fixed or steps % bar or (segments > 1) != (preset.model.segments > 1):
        return None
    levels = {"encoder_segments": segments} if preset.model.encoder_segments > 1 else {}
    model = replace(preset.model, steps=steps, segments=segments, **levels)
    return replace(preset, converter=replace(preset.converter, bars=steps // bar), model=model)


def _is_fully_described(config: Config) -> bool:
    """Whether config.json can hold all that defines the preset: its own length, and no drums removed from the input."""
    return config == CONFIGS[config.name] and not getattr(config.converter, "added_classes", ())


def _structure(config: Config) -> tuple:
    """What distinguishes presets for a loader: all but the name, the sizes and what only training uses."""
    hidden = min(config.model.nade_num_hidden, 1)
    sizes = {"z_size": 1, "enc_rnn_size": (1,), "dec_rnn_size": (1,), "nade_num_hidden": hidden}
    training = {"note_dropout": 0.0} if isinstance(config.converter, GrooveConverter) else {}
    return replace(config.model, dropout_keep_prob=1.0, **sizes), replace(config.converter, **training)


def _music(content: dict) -> dict:
    """What a config.json says about the music except its length, without values that equal their default."""
    converter = content["dataConverter"]
    rest = {key: value for key, value in content.items() if key not in ("type", "dataConverter", "preset")}
    return _without_defaults(rest | converter["args"] | {"type": converter.get("type")})


def _without_defaults(values: dict) -> dict:
    kept = {}
    for key, value in values.items():
        if isinstance(value, dict):
            value = _without_defaults(value)
        if key == "pitchClasses" and isinstance(value, list):
            value = len(value)  # the network does not depend on which pitches form a class
        if value and key not in IGNORED and value != CLIENT_DEFAULTS.get(key):
            kept[key] = value
    return kept
