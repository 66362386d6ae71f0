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
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn
from torch.distributions import Normal
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence

from loss import NadeWeights, output_depths, step_mask

SMALL_STD = 0.001  # of the initial weights that read or write a latent vector (base_model.py, lstm_utils.py)


@dataclass(frozen=True)
class ModelConfig:
    """What a `MusicVAE` is built from."""

    steps: int  # T, length of a sequence in sixteenth notes
    input_depth: int  # depth of a frame that the encoder reads
    output_depth: int  # depth of a frame that the decoder writes and reads back
    z_size: int
    enc_rnn_size: tuple[int, ...]  # width of each bidirectional layer, in one direction
    dec_rnn_size: tuple[int, ...]  # width of each layer of the decoder, and of the conductor
    segments: int = 1  # S; 1 is the flat decoder, more a conductor that writes an embedding for each
    control_depth: int = 0  # C, depth of the conditioning that encoder and decoder read at every step
    output: str = "categorical"  # what a frame is: one softmax, 'trio', 'nade' or 'groove', see `reconstruction_loss`
    hierarchical_encoder: bool = False  # read each segment by itself, and then their embeddings
    nade_num_hidden: int = 0  # hidden units of a NADE
    end_token: int | None = None  # class that ends a segment when it is drawn
    dropout_keep_prob: float = 1.0  # share of every layer's inputs that training keeps

    def __post_init__(self):
        sizes = (self.steps, self.input_depth, self.output_depth, self.z_size, self.segments)
        if min(sizes + self.enc_rnn_size + self.dec_rnn_size) < 1 or not (self.enc_rnn_size and self.dec_rnn_size):
            raise ValueError(f"sizes must be positive, got {self}")
        if self.steps % self.segments:
            raise ValueError(f"{self.steps} steps do not divide into {self.segments} segments")
        if sum(self.output_depths) != self.output_depth:
            raise ValueError(f"a {self.output} frame has depth {sum(self.output_depths)}, got {self.output_depth}")
        if self.output == "groove" and self.output_depth % 3:
            raise ValueError(f"a groove frame has a hit, velocity and offset a drum, got depth {self.output_depth}")
        if (self.nade_num_hidden > 0) != (self.output == "nade"):
            raise ValueError(f"nade_num_hidden {self.nade_num_hidden} does not go with output {self.output!r}")
        if not 0 < self.dropout_keep_prob <= 1:
            raise ValueError(f"dropout_keep_prob must be above 0 and at most 1, got {self.dropout_keep_prob}")

    @property
    def segment_steps(self) -> int:
        """L, steps that one embedding of the conductor covers."""
        return self.steps // self.segments

    @property
    def output_depths(self) -> tuple[int, ...]:
        """Depths of the parts of a frame."""
        return output_depths(self.output, self.output_depth)

    @property
    def core_depths(self) -> tuple[int, ...]:
        """Depth that each core decoder reads and writes: a hierarchical trio has a core for each part."""
        return self.output_depths if self.segments > 1 else (self.output_depth,)


class LstmLayer(nn.LSTM):
    """One LSTM layer over [N, T, features], initialised as TensorFlow's (contrib_rnn.LSTMBlockCell): one bias."""

    def __init__(self, input_size: int, hidden_size: int, bidirectional: bool = False):
        super().__init__(input_size, hidden_size, batch_first=True, bidirectional=bidirectional)
        for name, parameter in self.named_parameters():
            if "bias_hh" in name:
                parameter.requires_grad_(False)

    def reset_parameters(self):
        """Glorot's uniform range over the joint kernel of input and state; biases 0, the forget gate's 1."""
        bound = math.sqrt(6 / (self.input_size + 5 * self.hidden_size))
        with torch.no_grad():
            for name, parameter in self.named_parameters():
                parameter.uniform_(-bound, bound) if "weight" in name else parameter.zero_()
                if "bias_ih" in name:
                    parameter[self.hidden_size : 2 * self.hidden_size] = 1.0

    def step(self, gates: Tensor, state: "LstmState") -> "LstmState":
        """One step of a one-way layer from its input's share of the gates, biases included: [N, 4H]."""
        gates = gates + F.linear(state.h, self.weight_hh_l0)
        i, f, g, o = gates.chunk(4, -1)
        c = f.sigmoid() * state.c + i.sigmoid() * g.tanh()
        return LstmState(o.sigmoid() * c.tanh(), c)


class LstmState(NamedTuple):
    """Output and cell of one layer: [N, H] each."""

    h: Tensor
    c: Tensor


def lstm_layers(input_size: int, sizes: tuple[int, ...], bidirectional: bool = False) -> nn.ModuleList:
    """Stacked layers, each a module of its own, so that widths may differ."""
    directions = 2 if bidirectional else 1
    inputs = (input_size, *(directions * size for size in sizes[:-1]))
    return nn.ModuleList(LstmLayer(i, size, bidirectional) for i, size in zip(inputs, sizes, strict=True))


def dense(inputs: int, outputs: int, std: float | None = None) -> nn.Linear:
    """A linear layer with zero bias and Glorot's uniform weights, or normal ones of the given deviation."""
    layer = nn.Linear(inputs, outputs)
    nn.init.zeros_(layer.bias)
    nn.init.xavier_uniform_(layer.weight) if std is None else nn.init.normal_(layer.weight, std=std)
    return layer


Drop = Callable[[Tensor], Tensor]  # dropout of a layer's inputs, or nothing


def dropped(inputs: Tensor, keep: float, generator: Generator | None) -> Tensor:
    """Inputs of which a share is kept and made larger, and the rest is 0 (lstm_utils.py, rnn_cell)."""
    kept = torch.rand(inputs.shape, generator=generator, device=inputs.device) < keep
    return inputs * kept / keep


def last_outputs(layers: nn.ModuleList, frames: Tensor, lengths: Tensor | None, drop: Drop) -> Tensor:
    """The last bidirectional layer's final outputs, forward | backward; 0 of an empty sequence.

    frames [N, T, features], lengths [N] -> [N, 2H]
    """
    if lengths is not None:
        frames = pack_padded_sequence(frames, lengths.clamp(min=1).cpu(), batch_first=True, enforce_sorted=False)
    for layer in layers:
        packed = isinstance(frames, PackedSequence)
        frames = frames._replace(data=drop(frames.data)) if packed else drop(frames)
        frames, (h, _) = layer(frames)
    last = torch.cat([h[0], h[1]], -1)
    return last if lengths is None else last * (lengths > 0)[:, None]


class Encoder(nn.Module):
    """Stacked bidirectional LSTM (section 3.1), or two: one for every segment, one for the segments' embeddings."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        size, self.segments = 2 * config.enc_rnn_size[-1], config.segments
        self.layers = lstm_layers(config.input_depth + config.control_depth, config.enc_rnn_size, bidirectional=True)
        hierarchical = config.hierarchical_encoder
        self.upper_layers = lstm_layers(size, config.enc_rnn_size, bidirectional=True) if hierarchical else None
        self.mu = dense(size, config.z_size, SMALL_STD)
        self.sigma = dense(size, config.z_size, SMALL_STD)

    def forward(self, frames: Tensor, lengths: Tensor | None, drop: Drop) -> Normal:  # (B, T, D + C), (B) or (B, S)
        if self.upper_layers is None:
            last = last_outputs(self.layers, frames, lengths, drop)  # (B, 2H)
        else:
            embeddings = self._read_segments(frames, lengths, drop).unflatten(0, (-1, self.segments))  # (B, S, 2H)
            last = last_outputs(self.upper_layers, embeddings, None, drop)
        dtype = self.mu.weight.dtype  # the posterior keeps it, whatever precision the products have
        return Normal(self.mu(last).to(dtype), F.softplus(self.sigma(last).to(dtype)), validate_args=False)

    def _read_segments(self, frames: Tensor, lengths: Tensor | None, drop: Drop) -> Tensor:  # -> (B * S, 2H)
        if lengths is not None:
            lengths = step_mask(lengths, frames.shape[1]).unflatten(1, (self.segments, -1)).sum(-1).flatten()
        return last_outputs(self.layers, frames.unflatten(1, (self.segments, -1)).flatten(0, 1), lengths, drop)


class InitialState(nn.Module):
    """tanh layer from an embedding to the states of stacked layers, laid out c0, h0, c1, h1, ... (lstm_utils.py)."""

    def __init__(self, embedding_size: int, sizes: tuple[int, ...]):
        super().__init__()
        self.sizes = [size for size in sizes for _ in "ch"]
        self.dense = dense(embedding_size, sum(self.sizes), SMALL_STD)

    def forward(self, embedding: Tensor) -> list[LstmState]:  # (N, E)
        parts = self.dense(embedding).tanh().split(self.sizes, -1)
        return [LstmState(h.contiguous(), c.contiguous()) for c, h in zip(parts[::2], parts[1::2], strict=True)]


def run_layers(layers: nn.ModuleList, frames: Tensor, states: list[LstmState], drop: Drop) -> Tensor:
    """All steps of stacked one-way layers in one fused call a layer: [N, T, features] -> [N, T, H]."""
    for layer, state in zip(layers, states, strict=True):
        frames, _ = layer(drop(frames), (state.h[None], state.c[None]))
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
        self.output = dense(config.dec_rnn_size[-1], config.nade_num_hidden + depth)

    def forward(self, frames: Tensor, embedding: Tensor, controls: Tensor, drop: Drop) -> Tensor:
        """Logits of all steps: frames [N, L, D], embedding [N, E], controls [N, L, C] -> [N, L, logits]."""
        repeated = embedding[:, None].expand(-1, frames.shape[1], -1)
        inputs = torch.cat([frames, repeated, controls], -1)
        return self.output(run_layers(self.layers, inputs, self.initial_state(embedding), drop))

    def constant_gates(self, embedding: Tensor, controls: Tensor) -> Tensor:
        """The first layer's gates less the frame's share, for all steps: [N, L, 4H], or [N, 1, 4H] without controls."""
        layer = self.layers[0]
        weight = layer.weight_ih_l0[:, self.depth :]
        gates = F.linear(embedding, weight[:, : embedding.shape[-1]], layer.bias_ih_l0 + layer.bias_hh_l0)[:, None]
        return gates + F.linear(controls, weight[:, embedding.shape[-1] :]) if controls.shape[-1] else gates

    def step(self, frame: Tensor, gates: Tensor, states: list[LstmState]) -> tuple[Tensor, list[LstmState]]:
        """Logits of one frame [N, logits] and the new states, from the last frame [N, D] and the constant gates."""
        gates = gates + F.linear(frame, self.layers[0].weight_ih_l0[:, : self.depth])
        new = [self.layers[0].step(gates, states[0])]
        for layer, state in zip(self.layers[1:], states[1:], strict=True):
            gates = F.linear(new[-1].h, layer.weight_ih_l0, layer.bias_ih_l0 + layer.bias_hh_l0)
            new.append(layer.step(gates, state))
        return self.output(new[-1].h), new


class Nade(nn.Module):
    """Weights of a NADE, whose biases the decoder writes at every step (magenta/common/nade.py)."""

    def __init__(self, depth: int, hidden: int):
        super().__init__()
        std = 1 / math.sqrt(depth)
        for name in ("enc", "dec"):
            weight = nn.init.trunc_normal_(torch.empty(depth, hidden), std=std, a=-2 * std, b=2 * std)
            self.register_parameter(name, nn.Parameter(weight))


def draw_frame(logits: Tensor, depths: tuple[int, ...], temperature: float, generator: Generator | None) -> Tensor:
    """A frame drawn from each part's softmax, one-hot in each: [N, D] -> [N, D]; temperature 0 takes the arg-max."""
    parts = []
    for part in logits.float().split(depths, -1):
        if temperature == 0:
            index = part.argmax(-1)
        else:
            scaled = (
                part - part.amax(-1, keepdim=True)
            ) / temperature  # the maximum first: a tiny temperature must not overflow
            index = torch.multinomial(scaled.softmax(-1), 1, generator=generator)[:, 0]
        parts.append(F.one_hot(index, part.shape[-1]))
    return torch.cat(parts, -1).to(logits.dtype)


def draw_bits(logits: Tensor, temperature: float, generator: Generator | None) -> Tensor:
    """Zeros and ones drawn from sigmoids; temperature 0 takes the likelier."""
    if temperature == 0:
        return (logits.sigmoid() >= 0.5).to(logits.dtype)
    return torch.bernoulli((logits / temperature).sigmoid(), generator=generator)


def draw_nade(logits: Tensor, weights: NadeWeights, temperature: float, generator: Generator | None) -> Tensor:
    """A frame of bits, drawn in order, each given the ones before it: [N, H + D] -> [N, D]."""
    enc, dec = weights
    hidden, biases = logits.float().split((enc.shape[1], enc.shape[0]), -1)
    bits = []
    for k in range(len(enc)):
        coupling = (hidden.sigmoid() * dec[k]).sum(-1)  # no matrix product: in full precision whatever autocast says
        bits.append(draw_bits(biases[:, k] + coupling, temperature, generator))
        hidden = torch.addcmul(hidden, bits[-1][:, None], enc[k])
    return torch.stack(bits, -1).to(logits.dtype)


def draw_groove(logits: Tensor, temperature: float, generator: Generator | None) -> Tensor:
    """A frame of hits that are drawn, and of velocities and offsets as they are, hit or not: [N, D] -> [N, D]."""
    hits, velocities, offsets = logits.float().chunk(3, -1)
    parts = [draw_bits(hits, temperature, generator), velocities.sigmoid(), offsets.tanh()]
    return torch.cat(parts, -1).to(logits.dtype)


def autocast(device: torch.device, precision: str) -> AbstractContextManager:
    """The context of a forward pass whose matrix products have a precision; weights stay as they are.

    Args:
        precision: 'float32', 'bfloat16' (on a processor: CUDA's autocast runs LSTMs in float16 whatever is asked for)
            or 'auto': bfloat16 on a processor with instructions for it, else float32.
    """
    if precision not in ("auto", "float32", "bfloat16") or (precision == "bfloat16" and device.type != "cpu"):
        raise ValueError(f"precision must be 'auto', 'float32' or, on the CPU, 'bfloat16', got {precision!r}")
    onednn = device.type == "cpu" and torch.backends.mkldnn.is_available()
    fast = onednn and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    half = precision == "bfloat16" or (precision == "auto" and fast)
    return torch.autocast("cpu", torch.bfloat16) if half else nullcontext()


class MusicVAE(nn.Module):
    """`encode` music to a distribution over z, `decode` z to logits beside a known target, `sample` new music."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.conductor = Conductor(config) if config.segments > 1 else None
        embedding_size = config.dec_rnn_size[-1] if self.conductor else config.z_size
        self.cores = nn.ModuleList(CoreDecoder(depth, embedding_size, config) for depth in config.core_depths)
        self.nade = Nade(config.output_depth, config.nade_num_hidden) if config.nade_num_hidden else None

    @property
    def nade_weights(self) -> NadeWeights | None:
        """What `reconstruction_loss` needs beside the logits of a NADE; None for another model."""
        return (self.nade.enc, self.nade.dec) if self.nade else None

    def encode(
        self,
        inputs: Tensor,
        lengths: Tensor | None = None,
        controls: Tensor | None = None,
        generator: Generator | None = None,
    ) -> Normal:
        """The posterior q(z|x) (section 3.1; base_model.py, encode).

        Args:
            inputs: [B, T, input_depth], dense.
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
        self._check_lengths(lengths, len(inputs), self.config.hierarchical_encoder)
        return self.encoder(torch.cat([inputs, self._controls(inputs, controls)], -1), lengths, self._drop(generator))

    def decode(
        self,
        z: Tensor,
        targets: Tensor,
        lengths: Tensor | None = None,
        controls: Tensor | None = None,
        sampling_probability: float = 0.0,
        generator: Generator | None = None,
    ) -> Tensor:
        """Logits of every frame given the ones before it: teacher-forced, or with scheduled sampling (section 3.2).

        All segments run as one batch. Scheduled sampling first draws, without gradient, what each step would have been
        fed, and then takes the same path: gradients never flow through a draw.

        Args:
            z: [B, Z].
            targets: [B, T, output_depth], dense.
            lengths: [B], or [B, S] those of each segment; logits past them are zero.
            controls: [B, T, control_depth], for a model that has any.
            sampling_probability: chance of each step and sequence to be fed the model's own draw of the frame before.
            generator: source of those draws and of dropout's, on z's device.

        Returns:
            Raw logits, [B, T, output_depth]; of a NADE [B, T, nade_num_hidden + output_depth].

        Raises:
            ValueError: a wrong shape.
        """
        temperature = 0.0 if self.config.output == "nade" else 1.0  # the reference draws no bits here
        return self._decode(z, targets, lengths, controls, sampling_probability, temperature, generator)

    def _decode(self, z, targets, lengths, controls, sampling_probability, temperature, generator) -> Tensor:
        """`decode`, with the temperature of scheduled sampling's draws, which are made without dropout."""
        self._check("targets", targets, self.config.output_depth)
        self._check_lengths(lengths, len(targets), self.config.segments > 1)
        drop = self._drop(generator)
        embedding = self._embed(z, self.config.segments, drop).flatten(0, 1)  # (B * S, E)
        # what each step is fed; a segment begins with the frame before it, zero where that segment was not full
        frames = self._segments(F.pad(targets, (0, 0, 1, -1)))
        controls = self._segments(self._controls(targets, controls))
        if sampling_probability > 0:
            shape = (*frames.shape[:2], 1)
            sampled = torch.rand(shape, generator=generator, device=z.device) < sampling_probability
            drawn = self._roll_out(frames[:, 0], embedding, controls, frames.shape[1], temperature, generator,
                                   self._segments(targets), sampled)  # fmt: skip
            frames = torch.cat([frames[:, :1], drawn[:, :-1]], 1)
        parts = zip(self.cores, frames.split(self.config.core_depths, -1), strict=True)
        logits = torch.cat([core(part, embedding, controls, drop) for core, part in parts], -1)
        logits = logits.view(*targets.shape[:2], -1)
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
        generator: Generator | None = None,
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
            z = torch.randn(n, self.config.z_size, generator=generator, device=weight.device, dtype=weight.dtype)
        frame = z.new_zeros(len(z), self.config.output_depth)
        controls = self._controls(frame[:, None].expand(-1, steps, -1), controls)
        length = self.config.segment_steps if self.conductor else steps
        outputs = []
        embeddings = self._embed(z, math.ceil(steps / length), lambda inputs: inputs)
        for index, embedding in enumerate(embeddings.unbind(1)):
            part = controls[:, index * length : (index + 1) * length]
            outputs.append(self._roll_out(frame, embedding, part, part.shape[1], temperature, generator))
            frame = outputs[-1][:, -1]
        return torch.cat(outputs, 1)

    @torch.no_grad()
    def _roll_out(
        self, frame, embedding, controls, steps, temperature, generator, targets=None, sampled=None
    ) -> Tensor:
        """The frames that are fed step by step after `frame`: the model's draws, or targets where not `sampled`.

        Without targets, what is drawn after an end token is zero.

        frame [N, D], embedding [N, E], controls [N, steps, C], targets [N, steps, D], sampled [N, steps, 1]
        -> [N, steps, D]
        """
        states = [core.initial_state(embedding) for core in self.cores]
        gates = [core.constant_gates(embedding, controls).expand(-1, steps, -1) for core in self.cores]
        fed, going = [], True
        for t in range(steps):
            logits = []
            for k, (core, part) in enumerate(zip(self.cores, frame.split(self.config.core_depths, -1), strict=True)):
                out, states[k] = core.step(part, gates[k][:, t], states[k])
                logits.append(out)
            frame = self._draw(torch.cat(logits, -1), temperature, generator)
            if targets is not None:
                frame = torch.where(sampled[:, t], frame, targets[:, t])
            elif self.config.end_token is not None:
                frame = frame * going
                going = going * (1 - frame[:, self.config.end_token, None])
            fed.append(frame)
        return torch.stack(fed, 1)

    def _draw(self, logits: Tensor, temperature: float, generator: Generator | None) -> Tensor:
        """A frame from its logits."""
        if self.config.output == "nade":
            return draw_nade(logits, self.nade_weights, temperature, generator)
        if self.config.output == "groove":
            return draw_groove(logits, temperature, generator)
        return draw_frame(logits, self.config.output_depths, temperature, generator)

    def _drop(self, generator: Generator | None) -> Drop:
        """Dropout in training mode, where the model has any."""
        keep = self.config.dropout_keep_prob
        return partial(dropped, keep=keep, generator=generator) if self.training and keep < 1 else lambda inputs: inputs

    def _embed(self, z: Tensor, segments: int, drop: Drop) -> Tensor:  # (B, Z) -> (B, S, E)
        if z.ndim != 2 or z.shape[1] != self.config.z_size:
            raise ValueError(f"z must be [batch, {self.config.z_size}], got {list(z.shape)}")
        return self.conductor(z, segments, drop) if self.conductor else z[:, None]

    def _segments(self, frames: Tensor) -> Tensor:  # (B, T, D) -> (B * S, L, D)
        return frames.unflatten(1, (self.config.segments, self.config.segment_steps)).flatten(0, 1)

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
        if frames.ndim != 3 or tuple(frames.shape[1:]) != (self.config.steps, depth):
            raise ValueError(f"{name} must be [batch, {self.config.steps}, {depth}], got {list(frames.shape)}")

    def _check_lengths(self, lengths: Tensor | None, batch: int, per_segment: bool):
        shapes = [[batch], [batch, self.config.segments]] if per_segment else [[batch]]
        if lengths is not None and list(lengths.shape) not in shapes:
            wanted = " or ".join(map(str, shapes))
            raise ValueError(f"lengths must be {wanted} for this model, got {list(lengths.shape)}")
