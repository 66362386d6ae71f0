"""One update of a model's weights (objective, gradients, clipping, Adam), and the metrics of held-out songs."""

import math
from functools import partial

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from configs import TrainingConfig
from engine.adam import Adam
from engine.precision import autocast
from engine.rng import RandomSource, Shard, normal, own_rows, seeded
from loss import (
    ElboLoss,
    accuracy,
    beta_at,
    elbo_loss,
    kl_divergence,
    learning_rate_at,
    reconstruction_loss,
    sampling_probability_at,
)
from midi_utils import Converter, Windows, evenly
from model import MusicVAE
from music.converter import take
from training.batches import Batch, batch_tensors
from training.history import Metrics
from training.processes import process_count, process_shard

NORM_CLIPPED_TO_ZERO = 10_000.0  # gradients of this norm or more count as 0, as those of norm NaN (music_vae_train.py)
VALID_WINDOWS = 1024  # largest number of held-out windows that are measured, evenly spaced


def compute_loss(
    model: MusicVAE,
    batch: Batch,
    *,
    beta: float,
    free_bits: float,
    sampling_probability: float = 0.0,
    source: RandomSource = None,
    precision: str = "float32",
) -> tuple[ElboLoss, Tensor]:
    """Computes the objective on a batch with one draw of z per window (paper, section 2.1).

    Args:
        model: the model; it computes on the device of the batch.
        batch: windows, as `batch_tensors` makes them.
        beta: weight of the KL.
        free_bits: bits of a window's KL that cost nothing.
        sampling_probability: probability that the decoder reads its own draw and not the target (scheduled sampling).
        source: random source of z, dropout and scheduled sampling, on the device of the batch.
        precision: see `engine.precision.autocast`.

    Returns:
        The loss and its parts, and the accuracy averaged over a trio's parts.
    """
    with autocast(batch.inputs.device, precision):
        posterior = model.encode(batch.inputs, batch.lengths, batch.controls, source)
        z = posterior.loc + posterior.scale * normal(posterior.loc.shape, source, posterior.loc.device)
        controls = batch.controls if batch.target_controls is None else batch.target_controls
        logits = model.decode(z, batch.targets, batch.lengths, controls, sampling_probability, source)
    output = {"output": model.config.output, "output_weights": model.output_weights}
    nats = reconstruction_loss(logits, batch.targets, batch.lengths, **output)
    elbo = elbo_loss(nats, kl_divergence(posterior), beta=beta, free_bits=free_bits)
    with torch.no_grad():
        return elbo, accuracy(logits, batch.targets, batch.lengths, **output).mean()


class ShardLoss(nn.Module):
    """`compute_loss` on a process's shard of a batch, weighted so that the mean over processes is the batch's loss."""

    def __init__(self, model: MusicVAE):
        super().__init__()
        self.model = model

    def forward(self, batch: Batch, *, source: Shard, **settings) -> tuple[ElboLoss, Tensor]:
        elbo, correct = compute_loss(self.model, batch, source=source, **settings)
        weight = (source.stop - source.start) * dist.get_world_size() / source.total
        return ElboLoss(*(weight * mean for mean in elbo)), weight * correct


def data_parallel(model: MusicVAE) -> MusicVAE | DistributedDataParallel:
    """Wraps a model so that `update` averages its gradients over processes; returns it unchanged for one process."""
    return DistributedDataParallel(ShardLoss(model)) if process_count() > 1 else model


def clip_gradients(parameters: list[Tensor], limit: float) -> Tensor:
    """Scales gradients to a global norm of at most `limit`, or to 0 if the norm is NaN or at least 10,000.

    Returns:
        The norm before clipping, a scalar.
    """
    norm = torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(p.grad) for p in parameters]))
    scale = (limit / norm).clamp(max=1.0)
    if norm.is_cpu and norm < NORM_CLIPPED_TO_ZERO:  # read where that waits for no device; in place, in one pass
        torch._foreach_mul_([parameter.grad for parameter in parameters], scale.item())
        return norm
    for parameter in parameters:
        parameter.grad = torch.where(norm < NORM_CLIPPED_TO_ZERO, parameter.grad * scale, 0.0)
    return norm


def recipe_beta(recipe: TrainingConfig, step: int) -> float:
    """The recipe's weight of the KL at a step."""
    return beta_at(step, max_beta=recipe.max_beta, beta_rate=recipe.beta_rate)


def recipe_learning_rate(recipe: TrainingConfig, step: int) -> float:
    """The recipe's learning rate at a step."""
    names = ("learning_rate", "decay_rate", "min_learning_rate", "warm_up")
    return learning_rate_at(step, **{name: getattr(recipe, name) for name in names})


def recipe_sampling(recipe: TrainingConfig, step: int) -> float:
    """The recipe's probability of scheduled sampling at a step."""
    return sampling_probability_at(step, schedule=recipe.sampling_schedule, rate=recipe.sampling_rate)


def update(
    model: MusicVAE | DistributedDataParallel,
    optimizer: Adam,
    batch: Batch,
    recipe: TrainingConfig,
    step: int,
    source: RandomSource,
    precision: str = "float32",
) -> tuple[ElboLoss, Tensor]:
    """Makes one update of the weights (music_vae_train.py), or skips it if the loss or a gradient is NaN or infinite.

    Processes that share a run skip the same updates. `optimizer.skipped` then says whether this one was skipped.

    Args:
        model: the model, wrapped by `data_parallel` if several processes share the run.
        optimizer: Adam over the model's trainable parameters.
        batch: windows, as `step_batch` makes them.
        recipe: schedules, clipping and learning rate.
        step: global step, which the schedules follow.
        source: random source of z, dropout and scheduled sampling, on the model's device.
        precision: see `engine.precision.autocast`.

    Returns:
        What `compute_loss` returned before the update.
    """
    objective = model if isinstance(model, DistributedDataParallel) else partial(compute_loss, model)
    elbo, correct = objective(
        batch,
        beta=recipe_beta(recipe, step),
        free_bits=recipe.free_bits,
        sampling_probability=recipe_sampling(recipe, step),
        source=source,
        precision=precision,
    )
    optimizer.zero_grad()
    elbo.loss.backward(torch.where(elbo.loss.isfinite(), 1.0, math.nan))  # NaN gradients tell the other processes
    norm = clip_gradients(optimizer.parameters, recipe.grad_clip)
    optimizer.step(recipe_learning_rate(recipe, step), skip=1.0 - norm.isfinite().float())
    return elbo, correct


def as_sums(elbo: ElboLoss, correct: Tensor) -> Tensor:
    """Stacks the numbers of a batch in one tensor [4], so that reading them waits for the device once."""
    return torch.stack([elbo.loss, elbo.reconstruction, elbo.kl_nats, correct]).detach()


def as_metrics(sums: Tensor, count: float) -> Metrics:
    """Divides sums of `as_sums`, over all processes, by their count. Every process has to call it."""
    if process_count() > 1:
        sums = sums.clone()
        dist.all_reduce(sums)
    loss, reconstruction, kl_nats, correct = (sums / count).tolist()
    return Metrics(loss, reconstruction, kl_nats / math.log(2), correct)


def valid_batches(n: int, batch_size: int) -> tuple[Tensor, ...]:
    """Returns the indices of the held-out windows that are measured, out of n, batch by batch."""
    return torch.as_tensor(evenly(n, VALID_WINDOWS)).split(batch_size)


@torch.no_grad()
def validate(
    model: MusicVAE,
    data: Windows,
    converter: Converter,
    recipe: TrainingConfig,
    step: int,
    precision: str = "float32",
) -> Metrics:
    """Measures held-out windows, teacher-forced: the same windows with the same noise every time.

    Processes that share a run divide the windows among them, and each has to call it.
    """
    training, n = model.training, len(data.labels)
    model.eval()
    batches = valid_batches(n, recipe.batch_size)
    generator = seeded(data.labels.device, "valid")
    sums = torch.zeros(4, device=data.labels.device)
    beta = recipe_beta(recipe, step)
    for indices in batches:
        source = process_shard(generator, len(indices))
        own = own_rows(indices, source)
        if len(own):  # a process without windows in the last batch may skip its draws: none follow
            batch = batch_tensors(take(data, own), converter, indices=model.config.takes_indices)
            losses = compute_loss(
                model, batch, beta=beta, free_bits=recipe.free_bits, source=source, precision=precision
            )
            sums += len(own) * as_sums(*losses)
    model.train(training)
    return as_metrics(sums, sum(map(len, batches)))
