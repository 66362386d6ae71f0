"""First weights of a long model from a short one, such as those of a 16-bar model from a 2-bar model.

The short model encodes each segment of a long window to a z and decodes it. The upper layers encode the z of all
segments to the z of the long model and decode it again. They are trained alone, which takes minutes, because they read
one vector per segment where the other layers read its steps. They are dense: after as many updates, LSTMs pass less
information through z (paper/upper_layers.py).
"""

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn
from tqdm import tqdm

from checkpoint import load_checkpoint
from configs import Config, TrainingConfig
from engine.adam import minimise
from engine.checks import checked_count, checked_path, checked_seed, checked_type
from engine.rng import normal, seeded
from loss import kl_divergence
from midi_utils import SongDataset
from model import ModelConfig, MusicVAE, last_outputs
from training.batches import labels_on, step_batch
from training.start import check_songs, new_model

WINDOWS = 40_000  # that are encoded, each with its own draws of the recipe's augmentations
BATCH = 64  # windows that are encoded at a time
UPDATES = 3_000
UPDATE_WINDOWS = 128
LEARNING_RATE = 2e-3
WARM_UP = 100  # updates
POSTERIOR = ("encoder.mu.", "encoder.sigma.")  # prefixes of weights that are not copied: they read other layers
SHARED_FIELDS = ("input_depth", "output_depth", "output", "control_depth")  # what both models have in common
WIDTHS = ("enc_rnn_size", "dec_rnn_size", "nade_num_hidden")
MAX_WEIGHT = 10_000.0  # which half precision holds
MIN_SCALE = 0.02  # of a short model's posterior, so that no value weighs more than all others


class Segments(NamedTuple):
    """What a short model finds in the S segments of n windows, in half precision."""

    outputs: Tensor  # [n, S, 2H] of the encoder's layers
    z: Tensor  # [n, S, Z] means of the posteriors
    weights: Tensor  # [n, S, Z] nats of reconstruction that an error of z costs: half of weights * error ** 2


def long_from_short(
    config: Config,
    short: str | Path,
    songs: SongDataset,
    *,
    updates: int = UPDATES,
    windows: int = WINDOWS,
    seed: int = 0,
    progress: bool = True,
) -> MusicVAE:
    """First weights of a long model: a short model's layers, and layers above them that pass its z on.

    The weight of the KL, `max_beta`, and the augmentations are those of the recipe; free bits and schedules do not
    count.
    It runs on the CPU.

    Args:
        config: the preset of the long model. Its segments are as long as the windows of the short model, its layers as
            wide as those, and its upper layers dense.
        short: the file or folder of a flat model of the same kind of music, trained without free bits. Neither has
            chords or other controls. A trio has a core decoder per part (`core_per_part`).
        songs: windows to train on.
        updates: of the upper layers, each with UPDATE_WINDOWS windows.
        windows: that are drawn from the songs and encoded, rounded up to batches of BATCH. Each takes
            4 * S * (H + Z) bytes of memory, with S, H and Z as in `Segments`.
        seed: of the initial weights and of every draw.
        progress: show progress bars.

    Returns:
        A model on the CPU, in evaluation mode, for `train(init_from=...)`.

    Raises:
        ValueError: an argument out of range, a model that does not fit, no song, or songs of another converter.
    """
    checked_type("config", config, Config, "a Config, such as CONFIGS[name]")
    updates, windows, seed = checked_count("updates", updates), checked_count("windows", windows), checked_seed(seed)
    check_songs(config, songs)
    flat, recipe = load_checkpoint(checked_path("short", short))
    check_fits(config, flat)
    beta = checked_beta(recipe.training)
    model = new_model(config.model, seed)
    take_layers(model, flat)
    segments = encode_segments(flat, beta, config, songs, windows, seed, progress)
    train_upper_layers(model, segments, config.training.max_beta, updates, seed, progress)
    return model.eval()


def check_fits(config: Config, flat: MusicVAE):
    """Raises ValueError unless a long model can take the layers of a flat one; says what it needs."""
    long, short = config.model, flat.config
    if max(short.segments, short.encoder_segments) > 1:
        raise ValueError(f"short must be a flat model, got one of {short.segments} segments")
    for name in SHARED_FIELDS:
        if getattr(long, name) != getattr(short, name):
            raise ValueError(f"{name} of {config.name} is {getattr(long, name)}, that of short {getattr(short, name)}")
    if long.core_depths != short.core_depths:
        depths = f"core_depths of {config.name} is {long.core_depths}, that of short {short.core_depths}"
        raise ValueError(f"{depths}: train short with core_per_part=True")
    if long.control_depth:
        raise ValueError(f"{config.name} has chords or other controls, which have no short model")
    if long.steps <= short.steps or long.steps % short.steps:
        raise ValueError(f"{config.name} must have a multiple of {short.steps} steps, got {long.steps}")
    wrong = {name: value for name, value in sizes_for(long, short).items() if getattr(long, name) != value}
    if wrong:
        needed = ", ".join(f"{name}={value!r}" for name, value in wrong.items())
        raise ValueError(f"{config.name} cannot take the layers of short: replace(config.model, {needed})")
    if short.dec_rnn_size[-1] < short.z_size:
        raise ValueError(f"a conductor of {short.dec_rnn_size[-1]} units cannot write a z of {short.z_size} values")


def sizes_for(long: ModelConfig, short: ModelConfig) -> dict[str, int | tuple[int, ...]]:
    """The fields, by name, with which a long model has the layers of a short one, and dense ones above its segments."""
    segments = dict.fromkeys(("segments", "encoder_segments"), long.steps // short.steps)
    return {name: getattr(short, name) for name in WIDTHS} | segments | {"upper": "dense"}


def checked_beta(recipe: TrainingConfig) -> float:
    """The KL weight of a short model's recipe, `max_beta`; raises ValueError if it is 0 or some bits were free."""
    if recipe.free_bits or not recipe.max_beta:
        raise ValueError(
            f"short was trained with free_bits={recipe.free_bits} and max_beta={recipe.max_beta}: train it with "
            "free_bits=0 and max_beta above 0"
        )
    return recipe.max_beta


def take_layers(model: MusicVAE, flat: MusicVAE):
    """Copies the layers of a flat model that read and write steps; the cores read an embedding as if it were z."""
    theirs = {name: weight for name, weight in flat.state_dict().items() if not name.startswith(POSTERIOR)}
    more = (0, model.config.dec_rnn_size[-1] - flat.config.z_size)  # columns of zeros for the rest of an embedding
    for k, core in enumerate(flat.cores):
        of_frame, of_z = core.layers[0].weight_ih_l0.split([core.depth, flat.config.z_size], 1)
        theirs[f"cores.{k}.layers.0.weight_ih_l0"] = torch.cat([of_frame, F.pad(of_z, more)], 1)
        theirs[f"cores.{k}.initial_state.dense.weight"] = F.pad(core.initial_state.dense.weight, more)
    model.load_state_dict(model.state_dict() | theirs)


@torch.no_grad()
def encode_segments(
    flat: MusicVAE, beta: float, config: Config, songs: SongDataset, windows: int, seed: int, progress: bool = False
) -> Segments:
    """Encodes the segments of windows drawn from songs, as `training.batches.step_batch` draws and changes them.

    A trained posterior has the scale at which widening it would cost as many nats of reconstruction as it would save of
    the KL times its weight `beta`. To second order, an error e of z therefore costs
    beta * (1 / scale ** 2 - 1) * e ** 2 / 2 nats.
    """
    config = replace(config, training=replace(config.training, batch_size=BATCH, curriculum=0))
    data, batches, size = labels_on("cpu", songs), -(-windows // BATCH), (config.model.segments, flat.config.steps)
    widths = (2 * flat.config.enc_rnn_size[-1], flat.config.z_size, flat.config.z_size)
    found = Segments(*(torch.empty(batches * BATCH, size[0], width, dtype=torch.half) for width in widths))
    for k in tqdm(range(batches), "Segments", leave=False, disable=None if progress else True):
        source = seeded("cpu", "segments", seed, k)
        frames = step_batch(data, config, k, seed, source, flat.config.takes_indices).inputs  # [n, T, D or P]
        outputs = last_outputs(flat.encoder.layers, frames.unflatten(1, size).flatten(0, 1), None, None)
        posterior = flat.encoder.posterior(outputs)
        weights = beta * (1 / posterior.scale.clamp(MIN_SCALE, 1) ** 2 - 1)
        for column, part in zip(found, (outputs, posterior.loc, weights.clamp(max=MAX_WEIGHT)), strict=True):
            column[k * BATCH : (k + 1) * BATCH] = part.unflatten(0, (-1, size[0]))
    return found


def train_upper_layers(
    model: MusicVAE, segments: Segments, beta: float, updates: int, seed: int, progress: bool = False
):
    """Trains the layers of a model between its segments and z, with the KL weighted by `beta`; the others stay."""
    source = seeded("cpu", "upper layers", seed)

    def loss() -> Tensor:
        chosen = torch.randint(len(segments.z), (UPDATE_WINDOWS,), generator=source)
        batch = Segments(*(part[chosen].float() for part in segments))
        errors, kl_nats = upper_losses(model, batch, source)
        return errors + beta * kl_nats

    upper, text = upper_layers(model), "Upper layers" if progress else None
    minimise(upper, loss, updates, LEARNING_RATE, warm_up=WARM_UP, progress=text)


def upper_layers(model: MusicVAE) -> nn.ModuleList:
    """The layers of a model between its segments and z."""
    encoder = [part for name, part in model.encoder.named_children() if name != "layers"]
    return nn.ModuleList([*encoder, model.conductor])


def upper_losses(model: MusicVAE, segments: Segments, source: Generator) -> tuple[Tensor, Tensor]:
    """What errors of the segments' z cost, and the KL of the long z: means of the windows in nats."""
    posterior = model.encoder.of_segments(segments.outputs)
    z = posterior.loc + posterior.scale * normal(posterior.loc.shape, source, posterior.loc.device)
    written = model.conductor(z, segments.z.shape[1], None)[..., : segments.z.shape[-1]]
    return error_cost(segments, written), kl_divergence(posterior).mean()


def error_cost(segments: Segments, written: Tensor | float) -> Tensor:
    """What it costs to read `written` in place of the segments' z: mean of the windows in nats, a scalar."""
    return (segments.weights.float() * (written - segments.z.float()) ** 2).sum((1, 2)).mean() / 2
