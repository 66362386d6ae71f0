"""MusicVAE: bidirectional LSTM encoders and LSTM decoders, flat or hierarchical (Roberts et al. 2018, section 3).

Conventions are Magenta's, so that its weights load and its numbers can be met (lstm_models.py): z (or the conductor's
embedding) sets the decoder's initial state through a tanh layer and is read at every step beside the last frame. The
conductor reads no input of its own. A flat decoder is a hierarchical one with a single segment whose embedding is z.

Each LSTM layer has one trainable bias, as in TensorFlow; PyTorch's second one stays zero. Dropout acts on the inputs
of every layer and only in training mode; the two directions of an encoder's layer share its draw, where the reference
makes one for each, and the reference's conductor drops out in evaluation too.

Axes: B batch, T steps, S segments (bars, or tracks), L steps of a segment (T = S * L), D depth of a frame, C depth of
the controls, Z size of z, E size of an embedding, H width of a layer, N any batch, often B * S.
"""

import math
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from itertools import accumulate
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import Normal
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence

from engine.cuda_graph import run_as_graph
from engine.lstm import (
    LstmLayer,
    LstmState,
    compute_dtype,
    insert_constant,
    lstm_cell,
    lstm_layers,
    prepare_linear,
    supports_bfloat16,
)
from engine.rng import RandomSource, normal, uniform
from loss import step_mask
from outputs import Output, output_kind

SMALL_STD = 0.001  # of the initial weights that read or write a latent vector (base_model.py, lstm_utils.py)


@dataclass(frozen=True)
class ModelConfig:
    """What a `MusicVAE` is built from."""

    steps: int  # T, length of a sequence in sixteenth notes; others of whole segments may be read and written, too
    input_depth: int  # depth of a frame that the encoder reads
    output_depth: int  # depth of a frame that the decoder writes and reads back
    z_size: int
    enc_rnn_size: tuple[int, ...]  # width of each bidirectional layer, in one direction
    dec_rnn_size: tuple[int, ...]  # width of each layer of the decoder, and of the conductor
    segments: int = 1  # S; 1 is the flat decoder, more a conductor that writes an embedding for each
    control_depth: int = 0  # C, depth of the conditioning that encoder and decoder read at every step
    output: str = "categorical"  # what a frame holds: the name of a kind in `outputs.OUTPUTS`
    encoder_segments: int = 1  # more than 1: the encoder reads each by itself, and then their embeddings
    nade_num_hidden: int = 0  # hidden units of a NADE
    end_token: int | None = None  # class that ends a segment when it is drawn
    dropout_keep_prob: float = 1.0  # share of every layer's inputs that training keeps

    def __post_init__(self):
        segments = (self.segments, self.encoder_segments)
        sizes = (self.steps, self.input_depth, self.output_depth, self.z_size, *segments)
        if min(sizes + self.enc_rnn_size + self.dec_rnn_size) < 1 or not (self.enc_rnn_size and self.dec_rnn_size):
            raise ValueError(f"sizes must be positive, got {self}")
        for parts in segments:
            if self.steps % parts:
                raise ValueError(f"{self.steps} steps do not divide into {parts} segments")
        self.output_kind.depths(self.output_depth)  # raises ValueError too
        if (self.nade_num_hidden > 0) != self.output_kind.has_hidden_units:
            raise ValueError(f"nade_num_hidden {self.nade_num_hidden} does not fit output {self.output!r}")
        if not 0 < self.dropout_keep_prob <= 1:
            raise ValueError(f"dropout_keep_prob must be above 0 and at most 1, got {self.dropout_keep_prob}")

    @property
    def segment_steps(self) -> int:
        """L, steps that one embedding of the conductor covers."""
        return self.steps // self.segments

    @property
    def whole_steps(self) -> int:
        """What a sequence is made of: segments, or once all steps of a model without any."""
        segments = [self.steps // parts for parts in (self.segments, self.encoder_segments) if parts > 1]
        return math.lcm(*segments) if segments else self.steps

    @property
    def output_kind(self) -> Output:
        """What `output` names."""
        return output_kind(self.output)

    @property
    def output_depths(self) -> tuple[int, ...]:
        """Depths of the parts of a frame."""
        return self.output_kind.depths(self.output_depth)

    @property
    def core_depths(self) -> tuple[int, ...]:
        """Depth that each core decoder reads and writes: a hierarchical trio has a core for each part."""
        return self.output_depths if self.segments > 1 else (self.output_depth,)


def dense(inputs: int, outputs: int, std: float | None = None) -> nn.Linear:
    """A linear layer with zero bias and Glorot's uniform weights, or normal ones of the given deviation."""
    layer = nn.Linear(inputs, outputs)
    nn.init.zeros_(layer.bias)
    nn.init.xavier_uniform_(layer.weight) if std is None else nn.init.normal_(layer.weight, std=std)
    return layer


def side_by_side(parts: list[Tensor]) -> Tensor:
    """Parts of a frame as one, at least one of them not empty; where that is the only one, it is not copied."""
    parts = [part for part in parts if part.shape[-1]]
    return torch.cat(parts, -1) if len(parts) > 1 else parts[0]


Drop = Callable[[Tensor], Tensor] | None  # dropout of a layer's inputs


def dropped(inputs: Tensor, keep: float, source: RandomSource) -> Tensor:
    """Inputs of which a share is kept and made larger, and the rest is 0 (lstm_utils.py, rnn_cell)."""
    return inputs * (uniform(inputs.shape, source, inputs.device) < keep) / keep


def last_outputs(layers: nn.ModuleList, frames: Tensor, lengths: Tensor | None, drop: Drop) -> Tensor:
    """The last bidirectional layer's final outputs, forward | backward; 0 of an empty sequence.

    frames [N, T, features], lengths [N] -> [N, 2H]
    """
    if lengths is not None and (lengths == frames.shape[1]).all():
        lengths = None  # nothing to leave out, and faster
    if lengths is not None:
        frames = pack_padded_sequence(frames, lengths.clamp(min=1).cpu(), batch_first=True, enforce_sorted=False)
    for layer in layers:
        if drop:
            packed = isinstance(frames, PackedSequence)
            frames = frames._replace(data=drop(frames.data)) if packed else drop(frames)
        frames, last = layer(frames)
    return last if lengths is None else last * (lengths > 0)[:, None]


class Encoder(nn.Module):
    """Stacked bidirectional LSTM (section 3.1), or two: one for every segment, one for the segments' embeddings."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        size, self.segment_steps = 2 * config.enc_rnn_size[-1], config.steps // config.encoder_segments
        self.layers = lstm_layers(config.input_depth + config.control_depth, config.enc_rnn_size, bidirectional=True)
        levels = config.encoder_segments > 1
        self.upper_layers = lstm_layers(size, config.enc_rnn_size, bidirectional=True) if levels else None
        self.mu = dense(size, config.z_size, SMALL_STD)
        self.sigma = dense(size, config.z_size, SMALL_STD)

    def forward(self, frames: Tensor, lengths: Tensor | None, drop: Drop) -> Normal:  # (B, T, D + C), (B) or (B, S)
        if self.upper_layers is None:
            last = last_outputs(self.layers, frames, lengths, drop)  # (B, 2H)
        else:
            segments = self._read_segments(frames, lengths, drop)  # (B * S, 2H)
            embeddings = segments.unflatten(0, (-1, frames.shape[1] // self.segment_steps))  # (B, S, 2H)
            last = last_outputs(self.upper_layers, embeddings, None, drop)
        dtype = self.mu.weight.dtype  # the posterior keeps it, whatever precision the products have
        return Normal(self.mu(last).to(dtype), F.softplus(self.sigma(last).to(dtype)), validate_args=False)

    def _read_segments(self, frames: Tensor, lengths: Tensor | None, drop: Drop) -> Tensor:  # -> (B * S, 2H)
        if lengths is not None:
            lengths = step_mask(lengths, frames.shape[1]).unflatten(1, (-1, self.segment_steps)).sum(-1).flatten()
        return last_outputs(self.layers, frames.unflatten(1, (-1, self.segment_steps)).flatten(0, 1), lengths, drop)


class InitialState(nn.Module):
    """tanh layer from an embedding to the states of stacked layers, laid out c0, h0, c1, h1, ... (lstm_utils.py)."""

    def __init__(self, embedding_size: int, sizes: tuple[int, ...]):
        super().__init__()
        self.sizes = [size for size in sizes for _ in "ch"]
        self.dense = dense(embedding_size, sum(self.sizes), SMALL_STD)

    def forward(self, embedding: Tensor) -> list[LstmState]:  # (N, E)
        parts = self.dense(embedding).tanh().split(self.sizes, -1)
        return [LstmState(h.contiguous(), c.contiguous()) for c, h in zip(parts[::2], parts[1::2], strict=True)]


def run_layers(layers: Iterable[LstmLayer], frames: Tensor, states: Iterable[LstmState], drop: Drop) -> Tensor:
    """All steps of stacked one-way layers: [N, T, features] -> [N, T, H]."""
    for layer, state in zip(layers, states, strict=True):
        frames, _ = layer(drop(frames) if drop else frames, state)
    return frames


class Conductor(nn.Module):
    """Writes an embedding for each segment from z alone: its input is one zero at every step (section 3.2)."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.initial_state = InitialState(config.z_size, config.dec_rnn_size)
        self.layers = lstm_layers(1, config.dec_rnn_size)

    def forward(self, z: Tensor, segments: int, drop: Drop) -> Tensor:  # (B, Z) -> (B, S, E)
        return run_layers(self.layers, z.new_zeros(len(z), segments, 1), self.initial_state(z), drop)


class CoreDecoder(nn.Module):
    """Writes frames, each from the frame before, an embedding and the controls (section 3.2, "core" decoder)."""

    def __init__(self, depth: int, embedding_size: int, config: ModelConfig):
        super().__init__()
        self.depth = depth
        self.initial_state = InitialState(embedding_size, config.dec_rnn_size)
        self.layers = lstm_layers(depth + embedding_size + config.control_depth, config.dec_rnn_size)
        self.output = dense(config.dec_rnn_size[-1], config.output_kind.logit_depth(depth, config.nade_num_hidden))

    def forward(self, frames: Tensor, embedding: Tensor, controls: Tensor, drop: Drop) -> Tensor:
        """Logits of all steps: frames [N, L, D], embedding [N, E], controls [N, L, C] -> [N, L, logits]."""
        states = self.initial_state(embedding)
        inputs, constant = side_by_side([frames, controls]), embedding
        if drop:
            inputs, constant = drop(insert_constant(inputs, embedding, self.depth)), None
        first, _ = self.layers[0](inputs, states[0], constant, self.depth)
        return self.output(run_layers(self.layers[1:], first, states[1:], drop))


class CoreSteps:
    """A core decoder that goes one step at a time, without gradient, from the weights as they are at the start.

    Args:
        embeddings: [N, K, E], of all K segments to come.
        before, after: depths of the parts of a frame that stand on either side of the core's own.
    """

    def __init__(self, core: CoreDecoder, embeddings: Tensor, before: int, after: int):
        dtype, rows, (first, *others) = compute_dtype(core.output.weight), len(embeddings), core.layers
        weight, recurrent, bias, _ = (w.to(dtype) for w in first.weights())
        own, shared, self.following = weight.tensor_split([core.depth, core.depth + embeddings.shape[-1]], 1)
        self.table = F.pad(own.t(), (0, 0, before, after + 1))  # a row for each class of a frame, and one of zeros
        self.shares = F.linear(embeddings.transpose(0, 1).to(dtype), shared, bias)  # (K, N, 4H)
        self.products = [prepare_linear(recurrent, None, rows)] + [
            _joint_product(layer, dtype, rows) for layer in others
        ]
        self.output = prepare_linear(core.output.weight.to(dtype), core.output.bias.to(dtype), rows)
        starts = core.initial_state(embeddings.transpose(0, 1))
        self.starts = [(h.to(dtype), c.to(torch.promote_types(dtype, torch.float32))) for h, c in starts]

    def begin(self, k: int, controls: Tensor):
        """Starts segment k: controls [N, L, C], where C may be 0."""
        self.states = [LstmState(h[k], c[k]) for h, c in self.starts]
        self.gates = self.shares[k].expand(controls.shape[1], -1, -1)  # (L, N, 4H)
        if controls.shape[-1]:
            self.gates = self.gates + F.linear(controls.to(self.table.dtype).transpose(0, 1), self.following)

    def step(self, frame: Tensor, t: int) -> Tensor:
        """Logits [N, logits] of step t, from the frame before it: rows of the table [N, P], or dense [N, D]."""
        dense = frame.is_floating_point()
        table = frame.to(self.table.dtype) @ self.table[:-1] if dense else self.table
        recurrent = self.products[0](self.states[0].h, self.gates[t])
        self.states[0] = lstm_cell(table, None if dense else frame, recurrent, self.states[0].c)
        for k in range(1, len(self.states)):
            recurrent = self.products[k](self.states[k - 1].h, self.states[k].h)
            self.states[k] = lstm_cell(None, None, recurrent, self.states[k].c)
        return self.output(self.states[-1].h)


def _joint_product(layer: LstmLayer, dtype: torch.dtype, rows: int) -> Callable[[Tensor, Tensor], Tensor]:
    """The sum of a layer's two products, of its input [rows, F] and of its state [rows, H]."""
    weight, recurrent, bias, _ = (w.to(dtype) for w in layer.weights())
    if rows == 1:  # both weights side by side would be no faster, and a copy
        of_input, of_state = prepare_linear(weight, bias), prepare_linear(recurrent)
        return lambda inputs, state: of_state(state, of_input(inputs))
    both = prepare_linear(torch.cat([weight, recurrent], 1), bias, rows)
    return lambda inputs, state: both(torch.cat([inputs, state], -1))


def autocast(device: torch.device, precision: str) -> AbstractContextManager:
    """The context of a forward pass whose matrix products have a precision; weights stay as they are.

    Args:
        precision: 'float32', 'bfloat16' (on a processor with instructions for it, or on a GPU whose cuDNN runs LSTMs
            in it) or 'auto': bfloat16 where it runs, else float32.
    """
    if precision not in ("auto", "float32", "bfloat16"):
        raise ValueError(f"precision must be 'auto', 'float32' or 'bfloat16', got {precision!r}")
    if precision == "bfloat16" and not supports_bfloat16(device):
        raise ValueError(f"no LSTM runs in bfloat16 on {device} here: choose precision 'float32' or 'auto'")
    half = precision != "float32" and supports_bfloat16(device)
    return torch.autocast(device.type, torch.bfloat16) if half else nullcontext()


class RollOutInputs(NamedTuple):
    """What decoding step by step needs, for N sequences."""

    first: Tensor  # [N, D], the frame before the first step
    embeddings: Tensor  # [N, S, E], one per segment
    controls: Tensor  # [N, steps, C]
    uniforms: Tensor  # [N, steps, draws per frame], the random numbers
    targets: Tensor | None = None  # [N, steps, D], frames that may be fed in place of draws
    sampled: Tensor | None = None  # [N, steps, 1], True where the draw is fed all the same


class MusicVAE(nn.Module):
    """`encode` music to a distribution over z, `decode` z to logits beside a known target, `sample` new music."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.conductor = Conductor(config) if config.segments > 1 else None
        embedding_size = config.dec_rnn_size[-1] if self.conductor else config.z_size
        self.cores = nn.ModuleList(CoreDecoder(depth, embedding_size, config) for depth in config.core_depths)
        weights = config.output_kind.make_weights(config.output_depth, config.nade_num_hidden)
        self.add_module(config.output, weights)  # "nade" in the names of a NADE's parameters

    @property
    def output_weights(self) -> nn.Module | None:
        """Parameters that the kind of output has beside the decoder's, for `reconstruction_loss`; mostly None."""
        return getattr(self, self.config.output)

    def encode(
        self,
        inputs: Tensor,
        lengths: Tensor | None = None,
        controls: Tensor | None = None,
        generator: RandomSource = None,
    ) -> Normal:
        """The posterior q(z|x) (section 3.1; base_model.py, encode).

        Args:
            inputs: [B, T, input_depth], dense; a model with segments takes any whole number of them.
            lengths: [B] steps that count, in 0..T, or with a hierarchical encoder [B, S] those of each segment, in
                0..L; all of them when None.
            controls: [B, T, control_depth], for a model that has any.
            generator: source of dropout's draws, in training mode, on the model's device.

        Returns:
            Normal with mu (`loc`) and sigma (`scale`), [B, Z].

        Raises:
            ValueError: a wrong shape.
        """
        self._check("inputs", inputs, self.config.input_depth)
        self._check_lengths(lengths, inputs, self.config.encoder_segments)
        frames = side_by_side([inputs, self._controls(inputs, controls)])
        return self.encoder(frames, lengths, self._drop(generator))

    def decode(
        self,
        z: Tensor,
        targets: Tensor,
        lengths: Tensor | None = None,
        controls: Tensor | None = None,
        sampling_probability: float = 0.0,
        generator: RandomSource = None,
    ) -> Tensor:
        """Logits of every frame given the ones before it: teacher-forced, or with scheduled sampling (section 3.2).

        All segments run as one batch. Scheduled sampling first draws, without gradient, what each step would have been
        fed, and then takes the same path: gradients never flow through a draw.

        Args:
            z: [B, Z].
            targets: [B, T, output_depth], dense; a model with segments takes any whole number of them.
            lengths: [B], or [B, S] those of each segment; logits past them are zero.
            controls: [B, T, control_depth], for a model that has any.
            sampling_probability: chance of each step and sequence to be fed the model's own draw of the frame before.
            generator: source of those draws and of dropout's, on z's device.

        Returns:
            Raw logits, [B, T, output_depth]; of a NADE [B, T, nade_num_hidden + output_depth].

        Raises:
            ValueError: a wrong shape.
        """
        self._check("targets", targets, self.config.output_depth)
        self._check_lengths(lengths, targets, self.config.segments)
        drop = self._drop(generator)
        embedding = self._embed(z, targets.shape[1], drop).flatten(0, 1)  # (B * S, E)
        # what each step is fed; a segment begins with the frame before it, zero where that segment was not full
        frames = self._segments(F.pad(targets, (0, 0, 1, -1)))
        controls = self._segments(self._controls(targets, controls))
        steps = frames.shape[1] - 1
        if sampling_probability > 0 and steps:
            sampled = uniform((len(frames), steps, 1), generator, z.device) < sampling_probability
            uniforms = self._uniforms(len(frames), steps, generator, z.device)
            fed = RollOutInputs(frames[:, 0], embedding[:, None], controls, uniforms, frames[:, 1:], sampled)
            drawn = self._roll_out(fed, self.config.output_kind.scheduled_temperature)
            frames = torch.cat([frames[:, :1], drawn], 1)
        parts = zip(self.cores, frames.split(self.config.core_depths, -1), strict=True)
        logits = side_by_side([core(part, embedding, controls, drop) for core, part in parts])
        logits = logits.reshape(*targets.shape[:2], -1)
        return logits if lengths is None else logits * step_mask(lengths, logits.shape[1])[..., None]

    @torch.no_grad()
    def sample(
        self,
        n: int = 1,
        *,
        z: Tensor | None = None,
        controls: Tensor | None = None,
        temperature: float = 1.0,
        steps: int | None = None,
        generator: RandomSource = None,
    ) -> Tensor:
        """New music, each frame drawn given the ones before it (section 3.2), without dropout.

        Args:
            n: how many, when z is None.
            z: [n, Z]; drawn from the prior when None.
            controls: [n, steps, control_depth], for a model that has any.
            temperature: of the softmaxes and sigmoids; 0 takes the most likely class, bit or hit at every step.
            steps: length; the model's own when None. A conductor goes on for as many segments as that takes.
            generator: source of every draw, on the model's device.

        Returns:
            Frames, [n, steps, output_depth]: as `reconstruction_loss` has targets, and zero past an end token up to
            the end of its segment. A groove's velocities and offsets stand where no hit falls, too.

        Raises:
            ValueError: a temperature below 0, fewer than one step, or a wrong shape.
        """
        if not temperature >= 0:
            raise ValueError(f"temperature must be 0 (the most likely class) or more, got {temperature}")
        steps = self.config.steps if steps is None else steps
        if steps < 1 or n < 1:
            raise ValueError(f"a sample needs n and steps of at least 1, got n={n} and steps={steps}")
        weight = self.encoder.mu.weight
        if z is None:
            z = normal((n, self.config.z_size), generator, weight.device).to(weight.dtype)
        frame = z.new_zeros(len(z), self.config.output_depth)
        controls = self._controls(frame[:, None].expand(-1, steps, -1), controls)
        embeddings = self._embed(z, steps, None)
        uniforms = self._uniforms(len(z), steps, generator, z.device)
        return self._roll_out(RollOutInputs(frame, embeddings, controls, uniforms), temperature)

    @torch.no_grad()
    def _roll_out(self, inputs: RollOutInputs, temperature: float) -> Tensor:
        """Frames drawn one step at a time, each fed back to the next step: [N, steps, D].

        With targets, a step keeps its draw where `sampled` is True and takes the target elsewhere. Without targets,
        frames are zero after an end token, up to the end of the segment.
        """
        if inputs.first.is_cuda:
            return run_as_graph(self, self._steps_of, inputs, temperature)
        return self._steps(inputs, temperature)

    def _steps_of(self, *arguments) -> Tensor:
        """`_steps` with each tensor as an argument of its own."""
        return self._steps(RollOutInputs(*arguments[:-1]), arguments[-1])

    def _steps(self, inputs: RollOutInputs, temperature: float) -> Tensor:
        kind, end, steps = self.config.output_kind, self.config.end_token, inputs.uniforms.shape[1]
        frame, targets = kind.compact(inputs.first), None if inputs.targets is None else kind.compact(inputs.targets)
        length = self.config.segment_steps if inputs.embeddings.shape[1] > 1 else steps
        cores, frames = self._core_steps(inputs.embeddings), []
        for t in range(steps):
            if t % length == 0:
                going = torch.ones_like(frame, dtype=torch.bool)
                for core in cores:
                    core.begin(t // length, inputs.controls[:, t : t + length])
            logits = side_by_side([core.step(frame, t % length) for core in cores])
            frame = kind.draw(logits, temperature, inputs.uniforms[:, t], self.output_weights)
            if targets is not None:
                frame = torch.where(inputs.sampled[:, t], frame, targets[:, t])
            elif end is not None:
                frame = torch.where(going, frame, self.config.output_depth)
                going = going & (frame != end)
            frames.append(frame)
        return kind.expand(torch.stack(frames, 1), self.config.output_depth, inputs.first.dtype)

    def _core_steps(self, embeddings: Tensor) -> list[CoreSteps]:
        """Every core, laid out for going step by step."""
        ends = list(accumulate(self.config.core_depths))
        sides = ((end - core.depth, ends[-1] - end) for core, end in zip(self.cores, ends, strict=True))
        return [CoreSteps(core, embeddings, *side) for core, side in zip(self.cores, sides, strict=True)]

    def _uniforms(self, rows: int, steps: int, source: RandomSource, device: torch.device) -> Tensor:
        """The random numbers of a roll-out, [rows, steps, draws per frame]."""
        draws = self.config.output_kind.draws_per_frame(self.config.output_depth)
        return uniform((rows, steps, draws), source, device)

    def _drop(self, source: RandomSource) -> Drop:
        """Dropout in training mode, where the model has any."""
        keep = self.config.dropout_keep_prob
        return partial(dropped, keep=keep, source=source) if self.training and keep < 1 else None

    def _embed(self, z: Tensor, steps: int, drop: Drop) -> Tensor:  # (B, Z) -> (B, S, E)
        if z.ndim != 2 or z.shape[1] != self.config.z_size:
            raise ValueError(f"z must be [batch, {self.config.z_size}], got {list(z.shape)}")
        segments = math.ceil(steps / self.config.segment_steps)
        return self.conductor(z, segments, drop) if self.conductor else z[:, None]

    def _segments(self, frames: Tensor) -> Tensor:  # (B, T, D) -> (B * S, L, D)
        return frames.unflatten(1, (-1, self.config.segment_steps)).flatten(0, 1) if self.conductor else frames

    def _controls(self, frames: Tensor, controls: Tensor | None) -> Tensor:
        """The controls beside frames [B, T, D]: [B, T, C], where C may be 0."""
        depth = self.config.control_depth
        if controls is None and depth == 0:
            return frames.new_zeros(*frames.shape[:2], 0)
        if controls is None or controls.shape != (*frames.shape[:2], depth):
            got = None if controls is None else list(controls.shape)
            raise ValueError(f"controls must be {[*frames.shape[:2], depth]} for this model, got {got}")
        return controls

    def _check(self, name: str, frames: Tensor, depth: int):
        steps, whole, shape = self.config.steps, self.config.whole_steps, list(frames.shape)
        others = whole < steps  # whether there are segments, of which there may be more or fewer
        fits = len(shape) == 3 and shape[2] == depth
        if not (fits and (shape[1] == steps or (others and shape[1] > 0 and shape[1] % whole == 0))):
            also = f" or other multiples of {whole} steps" if others else ""
            raise ValueError(f"{name} must be [batch, {steps}, {depth}]{also}, got {shape}")

    def _check_lengths(self, lengths: Tensor | None, frames: Tensor, segments: int):
        batch, now = len(frames), frames.shape[1] * segments // self.config.steps
        shapes = [[batch], [batch, now]] if segments > 1 else [[batch]]
        if lengths is not None and list(lengths.shape) not in shapes:
            wanted = " or ".join(map(str, shapes))
            raise ValueError(f"lengths must be {wanted} for this model, got {list(lengths.shape)}")
