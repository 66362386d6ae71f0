"""Trained models as files: weights, the preset that rebuilds model and converter, and what a run needs to resume.

A file is a zip archive in PyTorch's format; `read_checkpoint` checks it before PyTorch unpacks it, see
engine/archive.py.
"""

import math
import os
from pathlib import Path

import torch
from torch import Tensor

from configs import Config, config_from_dict, config_to_dict, with_model
from engine.adam import Adam
from engine.archive import archive_fault
from engine.checks import checked_non_negative, checked_path, checked_type, described
from model import ModelConfig, MusicVAE, blank_model
from prior import PRIORS, MixturePrior, Prior, SequencePrior

CHECKPOINT = "checkpoint.pt"  # name of the file that a run keeps up to date in its folder
BEST = "best.pt"  # of the weights of its best evaluation
FORMAT = 1  # version of that file's content
HISTORY = ("steps", "train", "valid", "measured")  # the columns of a run's history
KINDS = {"prior": PRIORS, "sequence_prior": {None: SequencePrior}}  # of priors, by name in the file; one has no kind
MAX_FAULTS = 5  # that an error message lists


def save_checkpoint(
    path: str | Path,
    model: MusicVAE,
    config: Config,
    run: dict | None = None,
    optimizer: Adam | None = None,
    prior: Prior | None = None,
    prior_width: float | None = None,
    sequence_prior: SequencePrior | None = None,
):
    """Writes a model to a file, atomically: a reader finds the old file or the new one.

    Args:
        path: the file; its folder is made where it is missing.
        model: its weights and sizes are written.
        config: the preset, whose converter and recipe are written.
        run, optimizer: state of a training run, which it needs to resume; None for a model that is only used.
        prior: a fitted prior of z, written in the weights' precision.
        prior_width: the width at which z is drawn from it, see `TrainedModel`; the reader's own when None.
        sequence_prior: a fitted sequence prior, written in the weights' precision.

    Raises:
        ValueError: a prior of another class, which `stored_prior` could not restore, or of another size; or a weight
            that is not finite in the precision that it is written in. An earlier file stays as it was.
    """
    path = checked_path("path", path)
    checked_type("model", model, MusicVAE, "a MusicVAE")
    checked_type("config", config, Config, "a Config, such as CONFIGS[name]")
    if prior and not isinstance(prior, tuple(PRIORS.values())):
        kinds = ", ".join(kind.__name__ for kind in PRIORS.values())
        raise ValueError(f"prior must be one of {kinds} to be saved, got {described(prior)}; see prior.PRIORS")
    if sequence_prior:
        checked_type("sequence_prior", sequence_prior, SequencePrior, "a prior.SequencePrior")
    check_file(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    content = _content(model, with_model(config, model.config), run, optimizer)
    if prior:
        content["prior_width"] = None if prior_width is None else checked_non_negative("prior_width", prior_width)
    priors = {name: one for name, one in (("prior", prior), ("sequence_prior", sequence_prior)) if one}
    for name, one in priors.items():
        if faults := _prior_faults(one, model.config.z_size):
            raise ValueError(f"this prior does not fit its model: {'; '.join(faults)}; nothing is written to {path}")
        content[name] = _plain_prior(one, next(model.parameters()).dtype)
    if name := _not_finite(_weights(content) | _tensors("optimizer", content.get("optimizer"))):
        raise ValueError(f"{name} of this {config.name} holds NaN or infinity: nothing is written to {path}")
    _write_atomically(path, content)


def _content(model: MusicVAE, config: Config, run: dict | None, optimizer: Adam | None) -> dict:
    """What a checkpoint holds of a model without priors."""
    content = {"format": FORMAT, "config": config_to_dict(config), "model": model.state_dict()}
    content["run"] = run and _with_packed_history(run)
    return content | ({"optimizer": optimizer.state_dict()} if optimizer else {})


def _write_atomically(path: Path, content: dict):
    partial = path.with_name(path.name + ".partial")
    try:
        with partial.open("wb") as file:
            torch.save(content, file)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def model_name(path: str | Path) -> str:
    """What a model is called: its file without the ending, or the folder of its run."""
    path = Path(path)
    if path.name in (CHECKPOINT, BEST):
        return path.absolute().parent.name
    return path.name.removesuffix(".pt").removesuffix(".tar")


def check_file(path: Path):
    """Raises ValueError if no file can have this path: it is a folder's, or lies in a file."""
    parent = next(part for part in path.absolute().parents if part.exists())
    if path.is_dir() or not parent.is_dir():
        raise ValueError(f"{path} cannot be written: {'it' if path.is_dir() else parent} is no place for a file")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise ValueError(f"{path} cannot be written: {parent} is read-only")


def read_checkpoint(path: str | Path) -> dict:
    """The content of a checkpoint, with tensors on the CPU; no code from the file runs.

    Args:
        path: the file, or the folder of a run.

    Raises:
        ValueError: no such file; a file that is truncated, damaged, or no checkpoint of this version; a weight that is
            not finite; or an archive that would take far more memory than its own size.
    """
    path = checked_path("path", path)
    path = path / CHECKPOINT if path.is_dir() else path
    if not path.is_file():
        raise ValueError(f"no checkpoint at {path}")
    try:
        fault = archive_fault(path)
        content = None if fault else _with_named_mixture(torch.load(path, map_location="cpu", weights_only=True))
    except Exception as error:  # zipfile and torch raise many kinds for a truncated file
        raise ValueError(f"{path} {_foreign(path)} ({type(error).__name__})") from error
    fault = fault or _content_fault(content, path.stat().st_size)
    if fault:
        raise ValueError(f"{path} {fault}")
    return content | {"run": _with_unpacked_history(content["run"])}


def load_checkpoint(path: str | Path) -> tuple[MusicVAE, Config]:
    """The model of a checkpoint, in evaluation mode on the CPU, and its preset.

    Args:
        path: the file, or the folder of a run.

    Raises:
        ValueError: as in `read_checkpoint`, or weights that do not fit the file's own preset.
    """
    return rebuild(read_checkpoint(path), path)[:2]


def rebuild(content: dict, path: str | Path) -> tuple[MusicVAE, Config, dict]:
    """What `load_checkpoint` returns, from content that `read_checkpoint` has read; error messages name the path.

    Also returns the priors and their width, by the names that `TrainedModel` takes them by.
    """
    config = config_from_dict(content["config"])
    if faults := _shape_faults(content["model"], config.model):
        more = f"; and {len(faults) - MAX_FAULTS} more" * (len(faults) > MAX_FAULTS)
        raise ValueError(f"{path} holds weights that do not fit its own preset: {'; '.join(faults[:MAX_FAULTS])}{more}")
    priors = {name: stored_prior(content, name) for name in KINDS}
    for prior in filter(None, priors.values()):
        if faults := _prior_faults(prior, config.model.z_size):
            raise ValueError(f"{path} holds a prior that does not fit its model: {'; '.join(faults)}")
    model = MusicVAE(config.model)
    model.load_state_dict(content["model"])
    return model.eval(), config, priors | {"prior_width": content.get("prior_width")}


def stored_prior(content: dict, name: str = "prior") -> Prior | SequencePrior | None:
    """The prior of this name in a checkpoint's content, see `KINDS`; None where it has none."""
    plain = content.get(name)
    return KINDS[name][plain.get("kind")](**_fields(plain)) if plain else None


def _plain_prior(prior: Prior | SequencePrior, dtype: torch.dtype) -> dict:
    """A prior as `stored_prior` reads it: its kind, if it has one, and its fields by name, in a dtype."""
    kind = next((kind for kind, known in PRIORS.items() if isinstance(prior, known)), None)
    fields = {name: part.to(dtype) for name, part in prior._asdict().items()}
    return {"kind": kind, **fields} if kind else fields


def _with_named_mixture(content):
    """Content in which a mixture has its kind and its fields by name; earlier versions wrote a plain tuple."""
    prior = content.get("prior") if isinstance(content, dict) else None
    if isinstance(prior, tuple) and len(prior) == len(MixturePrior._fields):
        return content | {"prior": {"kind": "mixture", **MixturePrior(*prior)._asdict()}}
    return content


def _fields(plain: dict) -> dict[str, Tensor]:
    """The fields of a prior of `_plain_prior`, or of what a file has in its place."""
    return {name: part for name, part in plain.items() if name != "kind"}


# ---- The history of a run, in tensors: PyTorch reads lists slowly, and a pickle is limited ----


def _with_packed_history(run: dict) -> dict:
    """A run whose rows [step, metrics, metrics of held-out songs or None] are columns; a run without rows as it is."""
    if not run.get("history"):
        return run
    steps, train, valid = zip(*run["history"], strict=True)
    filled = [row or [0.0] * len(train[0]) for row in valid]
    columns = (
        torch.tensor(steps),
        *(torch.tensor(rows, dtype=torch.float64) for rows in (train, filled)),
        torch.tensor([row is not None for row in valid]),
    )
    return run | {"history": dict(zip(HISTORY, columns, strict=True))}


def _with_unpacked_history(run):
    """A run with its history in rows again; earlier versions wrote rows."""
    if not (isinstance(run, dict) and isinstance(run.get("history"), dict)):
        return run
    rows = zip(*(run["history"][name].tolist() for name in HISTORY), strict=True)
    return run | {"history": [[step, train, valid if measured else None] for step, train, valid, measured in rows]}


def _is_history(run) -> bool:
    """Whether the history of a run can be unpacked, or is in rows, or there is none."""
    history = run.get("history") if isinstance(run, dict) else None
    if not isinstance(history, dict):
        return True
    columns = [history.get(name) for name in HISTORY]
    if set(history) != set(HISTORY) or not all(isinstance(column, Tensor) for column in columns):
        return False
    kinds = [(column.dtype.is_floating_point, column.ndim) for column in columns]
    return kinds == [(False, 1), (True, 2), (True, 2), (False, 1)] and len({len(column) for column in columns}) == 1


# ---- Checks, before memory is taken ----


def _foreign(path: Path) -> str:
    """What a file is that cannot be read at all."""
    with path.open("rb") as file:
        midi = file.read(4) == b"MThd"
    return "is a MIDI file, not a model" if midi else "is truncated, or no checkpoint of ours"


def _content_fault(content: dict, size: int) -> str | None:
    """What is wrong with the content of a file of that size in bytes, or None."""
    whole = isinstance(content, dict) and {"config", "model", "run"} <= set(content)
    if not whole or content.get("format") != FORMAT:
        return f"is no checkpoint of this version, which writes format {FORMAT}"
    model, priors = content["model"], {name: content.get(name) or {} for name in KINDS}
    if not isinstance(content["run"], dict | None):
        return "is no checkpoint of ours: it has an unknown run"
    if not all(isinstance(part, dict) for part in (model, *priors.values())):
        return "is no checkpoint of ours: it has no weights, or an unknown prior"
    faults = *map(_fields_fault, priors, priors.values()), _width_fault(content.get("prior_width"))
    if any(faults):
        return f"is no checkpoint of ours: {next(filter(None, faults))}"
    weights = _weights(content)
    if not all(isinstance(value, Tensor) and value.is_floating_point() for value in weights.values()):
        return "is no checkpoint of ours: some of its weights are not floats"
    run, trained = _tensors("run", content["run"]), weights | _tensors("optimizer", content.get("optimizer"))
    if sum(value.nbytes for value in (*trained.values(), *run.values())) > size:
        return "is no checkpoint of ours: its tensors are larger than the file"
    if not _is_history(content["run"]):
        return "is no checkpoint of ours: it has an unknown history"
    if priors["prior"].get("kind") == "mixture" and not _is_mixture(**_fields(priors["prior"])):
        return "is no checkpoint of ours: its prior is no mixture of Gaussians"
    name = _not_finite(trained)
    return f"holds NaN or infinity in {name}: its training diverged, or it was changed later" if name else None


def _is_mixture(means: Tensor, scale: Tensor, weights: Tensor) -> bool:
    """Whether there are means, and weights that can be those of a mixture. Shapes and NaN are named later."""
    return means.ndim == 2 and len(means) > 0 and not (weights < 0).any() and bool(weights.sum() != 0)


def _fields_fault(name: str, plain: dict) -> str | None:
    """What is wrong with the kind and the names of the fields of the prior of this name, or None."""
    if not plain:
        return None
    kind = plain.get("kind")
    if not isinstance(kind, str | None) or kind not in KINDS[name]:
        return f"it has a prior of the unknown kind {described(kind)}; this version knows {', '.join(PRIORS)}"
    fields, found = KINDS[name][kind]._fields, list(map(str, _fields(plain)))
    if set(found) == set(fields):
        return None
    what = f"{kind} prior" if kind else name
    return f"its {what} should have the fields {', '.join(fields)}, not {', '.join(found)}"


def _width_fault(width) -> str | None:
    """What is wrong with the width at which z is drawn, or None."""
    if width is None or (isinstance(width, float) and math.isfinite(width) and width >= 0):
        return None
    return f"its prior_width should be a number of at least 0, but is {described(width)}"


def _prior_faults(prior: Prior | SequencePrior, z_size: int) -> list[str]:
    """How the fields of a prior differ in shape from those of a model with this size of z."""
    wanted = zip(prior._fields, prior, prior.wanted_shapes(z_size), strict=True)
    return [
        f"{name} should be {shape}, but is {list(part.shape)}"
        for name, part, shape in wanted
        if list(part.shape) != shape
    ]


def _weights(content: dict) -> dict[str, Tensor]:
    """The tensors of the model and the priors, by name."""
    priors = {name: _fields(content.get(name) or {}) for name in KINDS}
    fields = {f"{name}.{field}": part for name, prior in priors.items() for field, part in prior.items()}
    return content["model"] | fields


def _tensors(name: str, content) -> dict[str, Tensor]:
    """The tensors in nested dictionaries, by the keys that lead to each: optimizer.state.0.exp_avg."""
    if isinstance(content, Tensor):
        return {name: content}
    items = content.items() if isinstance(content, dict) else ()
    return {key: value for part, inner in items for key, value in _tensors(f"{name}.{part}", inner).items()}


def _not_finite(tensors: dict[str, Tensor]) -> str | None:
    """The name of the first tensor with NaN, infinity or a value beyond float32, or None. NaN counts as an extreme."""
    filled = ((name, value) for name, value in tensors.items() if value.numel())
    return next((name for name, value in filled if not torch.stack(value.float().aminmax()).isfinite().all()), None)


def _shape_faults(weights: dict[str, Tensor], config: ModelConfig) -> list[str]:
    """How weights differ from those of a model, which is not built: its sizes may be absurd."""
    if len(config.enc_rnn_size) + len(config.dec_rnn_size) > len(weights):
        return ["the preset has more layers than there are weights"]
    try:
        wanted = {name: list(value.shape) for name, value in blank_model(config).state_dict().items()}
    except (RuntimeError, TypeError, OverflowError) as fault:
        return [f"no model has its sizes ({fault})"]
    given = {name: list(value.shape) for name, value in weights.items()}
    return (
        [f"missing {name} {shape}" for name, shape in wanted.items() if name not in given]
        + [f"unexpected {name} {shape}" for name, shape in given.items() if name not in wanted]
        + [
            f"{name} should be {wanted[name]}, but is {given[name]}"
            for name in wanted
            if given.get(name, wanted[name]) != wanted[name]
        ]
    )
