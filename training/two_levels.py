"""First weights of a long model from a short one, such as those of a 16-bar model from a 2-bar model.

The short model encodes each segment of a long window to a z, and decodes it. The layers between, the upper encoder and
the conductor, are trained alone: they pass the z of all segments through the z of the long model. That takes a small
part of the time of training on frames, as they read a segment where the other layers read its steps.
"""

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from checkpoint import load_checkpoint
from configs import Config
from engine.adam import minimise
from engine.checks import checked_count, checked_path, checked_seed, checked_type
from engine.rng import normal, seeded
from loss import kl_divergence
from midi_utils import SongDataset
from model import MusicVAE, last_outputs
from training.batches import labels_on, step_batch
from training.start import new_model

WINDOWS = 40_000  # that are encoded, each with its own draws of the recipe's augmentations
BATCH = 64  # windows that are encoded at a time
UPDATES = 3_000
UPDATE_WINDOWS = 128
LEARNING_RATE = 2e-3
WARM_UP = 100  # updates
EMBEDDING_GAIN = 3.0  # of what the cores read: the values of an embedding lie between -1 and 1, those of z do not
POSTERIOR = ("encoder.mu.", "encoder.sigma.")  # names of the weights that write it from other layers
SAME = ("input_depth", "output_depth", "enc_rnn_size", "dec_rnn_size", "output", "nade_num_hidden")  # sizes
LEAST_SCALE = 0.02  # of a short model's posterior, so that no value weighs more than all others


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

    The price of a bit and the augmentations of the songs are those of the recipe.

    Args:
        config: the preset of the long model. Its segments are as long as the windows of the short model, and its
            layers as wide as those; the conductor is at least as wide as the short model's z is large.
        short: the file or folder of a flat model of the same kind of music.
        songs: windows to train on.
        updates: of the upper layers, each with UPDATE_WINDOWS windows.
        windows: that are drawn from the songs and encoded; they stay in memory, about 16 kB each.
        seed: of the initial weights and of every draw.
        progress: show a progress bar.

    Returns:
        A model for `train(init_from=...)`.

    Raises:
        ValueError: a model that does not fit, or no song.
    """
    checked_type("config", config, Config, "a Config, such as CONFIGS[name]")
    updates, windows, seed = checked_count("updates", updates), checked_count("windows", windows), checked_seed(seed)
    flat, recipe = load_checkpoint(checked_path("short", short))
    check_fits(config, flat)
    model = new_model(config.model, seed)
    take_layers(model, flat)
    segments = encode_segments(flat, recipe.training.max_beta, config, songs, windows, seed)
    source = seeded("cpu", "upper layers", seed)

    def loss() -> Tensor:
        chosen = torch.randint(len(segments.z), (UPDATE_WINDOWS,), generator=source)
        batch = Segments(*(part[chosen].float() for part in segments))
        return upper_loss(model, batch, config.training.max_beta, source)

    upper = nn.ModuleList([model.encoder.upper_layers, model.encoder.mu, model.encoder.sigma, model.conductor])
    minimise(upper, loss, updates, LEARNING_RATE, warm_up=WARM_UP, progress="Upper layers" if progress else None)
    return model


def check_fits(config: Config, flat: MusicVAE):
    """Raises ValueError unless a long model can take the layers of a flat one; says which sizes it needs."""
    long, short = config.model, flat.config
    if max(short.segments, short.encoder_segments) > 1 or short.dec_rnn_size[-1] < short.z_size:
        raise ValueError("short must be a flat model whose decoder is at least as wide as its z is large")
    if long.steps % short.steps or long.control_depth:
        raise ValueError(f"{config.name} must have no chords or controls, and a multiple of {short.steps} steps")
    wanted = {name: getattr(short, name) for name in SAME}
    wanted |= dict.fromkeys(("segments", "encoder_segments"), long.steps // short.steps)
    wrong = {name: value for name, value in wanted.items() if getattr(long, name) != value}
    if wrong:
        needed = ", ".join(f"{name}={value!r}" for name, value in wrong.items())
        raise ValueError(f"{config.name} cannot take the layers of short: replace(config.model, {needed})")


def take_layers(model: MusicVAE, flat: MusicVAE):
    """Copies the layers that read and write the steps of a segment; the cores read an embedding as if it were z."""
    theirs = {name: weight for name, weight in flat.state_dict().items() if not name.startswith(POSTERIOR)}
    more = (0, model.config.dec_rnn_size[-1] - flat.config.z_size)  # columns of zeros for the rest of an embedding
    core, depth = flat.cores[0], flat.cores[0].depth
    of_frame, of_z = core.layers[0].weight_ih_l0.split([depth, flat.config.z_size], 1)
    theirs["cores.0.layers.0.weight_ih_l0"] = torch.cat([of_frame, F.pad(EMBEDDING_GAIN * of_z, more)], 1)
    start = core.initial_state.dense.weight
    theirs["cores.0.initial_state.dense.weight"] = F.pad(EMBEDDING_GAIN * start, more)
    model.load_state_dict(model.state_dict() | theirs)


@torch.no_grad()
def encode_segments(
    flat: MusicVAE, beta: float, config: Config, songs: SongDataset, windows: int, seed: int
) -> Segments:
    """Encodes the segments of windows drawn from songs, as `training.batches.step_batch` draws and changes them.

    Where a model has been trained at a price `beta` of a bit, its posteriors have found the width at which a wider one
    A model trained at a price `beta` of a bit has posteriors of the width at which reconstruction would lose as much by
    a wider one as the KL would win. An error e of z therefore costs it beta * (1 / scale ** 2 - 1) * e ** 2 / 2 nats.
    """
    config = replace(config, training=replace(config.training, batch_size=BATCH, curriculum=0))
    data, parts, size = labels_on("cpu", songs), [], (config.model.segments, flat.config.steps)
    for k in range(-(-windows // BATCH)):
        source = seeded("cpu", "segments", seed, k)
        frames = step_batch(data, config, k, seed, source, flat.config.takes_indices).inputs  # [n, T, D or P]
        outputs = last_outputs(flat.encoder.layers, frames.unflatten(1, size).flatten(0, 1), None, None)
        posterior = flat.encoder.posterior(outputs)
        weights = beta * (1 / posterior.scale.clamp(LEAST_SCALE, 1) ** 2 - 1)
        found = (part.unflatten(0, (-1, size[0])).half() for part in (outputs, posterior.loc, weights))
        parts.append(Segments(*found))
    return Segments(*map(torch.cat, zip(*parts, strict=True)))


def upper_loss(model: MusicVAE, segments: Segments, beta: float, source: Generator) -> Tensor:
    """The loss of the upper layers: nats that errors of the segments' z cost, and the price of the long model's z."""
    posterior = model.encoder.of_segments(segments.outputs)
    z = posterior.loc + posterior.scale * normal(posterior.loc.shape, source, posterior.loc.device)
    written = EMBEDDING_GAIN * model.conductor(z, segments.z.shape[1], None)[..., : segments.z.shape[-1]]
    errors = (segments.weights * (written - segments.z) ** 2).sum((1, 2)) / 2
    return (errors + beta * kl_divergence(posterior)).mean()
