"""MusicVAE: bidirectional LSTM encoders and LSTM decoders, flat or hierarchical (Roberts et al. 2018, section 3).

    frames ──Encoder──▶ q(z|x) ──draw──▶ z ──Conductor──▶ embedding per segment ──CoreDecoder──▶ logits per frame

A flat decoder has no conductor: it is a single segment whose embedding is z. A two-level encoder reads each segment by
itself. Its upper layers and the conductor are LSTMs, as in the paper, or dense layers with weights for each segment.
Dense layers pass more of the segments through z, but the number of segments is fixed.

Conventions match Magenta's lstm_models.py, so that its weights load and its numbers can be compared:

- An embedding sets the decoder's initial state through a tanh layer, and is read at every step beside the last frame.
- The conductor reads no input of its own.
- Each LSTM layer has one trainable bias, as in TensorFlow. PyTorch's second bias stays zero.
- Dropout acts on the inputs of every layer. Both directions of an encoder layer share one draw here; Magenta draws for
  each. Here the conductor drops inputs in training mode alone; Magenta's does so in evaluation, too.

Axes: B batch, T steps, S segments (of whole bars, or tracks), L steps per segment (T = S * L), D depth of a frame,
P parts of a frame, C depth of the controls, Z size of z, E size of an embedding, H width of a layer, N any batch, often
B * S.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import Normal
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence
from torch.overrides import TorchFunctionMode

from engine.checks import (
    check_integers,
    check_numbers,
    checked_count,
    checked_share,
    checked_temperature,
    checked_type,
    finite_floats,
    one_field_per_line,
)
from engine.classes import one_hot_frames, starts
from engine.core_steps import CoreSteps
from engine.cuda_graph import run_as_graph
from engine.fused_lstm import LstmState, LstmTrace
from engine.lstm import LstmLayer, compute_dtype, insert_constant, lstm_layers
from engine.masks import step_mask
from engine.rng import RandomSource, normal, uniform
from engine.single_sequence import draw_steps, one_kernel_per_sequence, step_layers
from outputs import Output, output_kind

SMALL_STD = 0.001  # of the initial weights that read or write a latent vector (base_model.py, lstm_utils.py)


# ---- Sizes ----


@dataclass(frozen=True)
class ModelConfig:
    """Sizes and structure of a `MusicVAE`."""

    steps: int  # T, sixteenth notes (multitrack: events); a model with segments also takes other numbers of segments
    input_depth: int  # depth of a frame that the encoder reads
    output_depth: int  # D, depth of a frame that the decoder writes and reads back
    z_size: int
    enc_rnn_size: tuple[int, ...]  # width of each bidirectional layer, per direction
    dec_rnn_size: tuple[int, ...]  # width of each layer of the decoder, and of the conductor
    segments: int = 1  # S of the decoder; 1: flat, more: a conductor writes an embedding per segment
    control_depth: int = 0  # C, depth of the conditioning that encoder and decoder read at every step
    output: str = "categorical"  # kind of output: a name in `outputs.OUTPUTS`
    encoder_segments: int = 1  # S of the encoder; more than 1: lower layers read segments, upper ones their outputs
    upper: str = "lstm"  # layers between segments and z: 'lstm', or 'dense': weights for each of at most S segments
    core_per_part: bool = False  # of a flat model: a core decoder for each part, as hierarchical models have
    nade_num_hidden: int = 0  # hidden units of a NADE, or of `notes`
    end_token: int | None = None  # class that ends a segment when it is drawn
    dropout_keep_prob: float = 1.0  # share of each layer's inputs that training keeps

    __repr__ = one_field_per_line

    def __post_init__(self):
        sizes = ("steps", "input_depth", "output_depth", "z_size", "enc_rnn_size", "dec_rnn_size")
        check_integers(self, (*sizes, "segments", "encoder_segments"), least=1)
        check_integers(self, ("control_depth", "nade_num_hidden"), least=0)
        check_numbers(self)
        self._check_segments()
        self._check_output()
        if not 0 < self.dropout_keep_prob <= 1:
            raise ValueError(f"dropout_keep_prob must be above 0 and at most 1, got {self.dropout_keep_prob}")

    def _check_segments(self):
        counts = (self.segments, self.encoder_segments)
        for count in counts:
            if self.steps % count:
                raise ValueError(f"{self.steps} steps do not divide into {count} segments")
        if self.upper not in ("lstm", "dense"):
            raise ValueError(f"upper must be 'lstm' or 'dense', got {self.upper!r}")
        if self.upper == "dense" and min(counts) == 1:
            raise ValueError(f"dense upper layers need segments in encoder and decoder, got {counts}")

    def _check_output(self):
        self.output_kind.depths(self.output_depth)  # raises ValueError for a depth that this kind never has
        checked_type("core_per_part", self.core_per_part, bool, "True or False")
        if self.core_per_part and (self.segments > 1 or len(self.output_depths) == 1):
            raise ValueError(
                "core_per_part is for flat models of several parts, such as trio_2bar_mini: leave it False"
            )
        if (self.nade_num_hidden > 0) != self.output_kind.has_hidden_units:
            raise ValueError(f"nade_num_hidden {self.nade_num_hidden} does not fit output {self.output!r}")
        end, classes = self.end_token, range(self.output_depth)
        if end is not None and not (type(end) is int and end in classes):
            raise ValueError(f"end_token must be a class below {self.output_depth} or None, got {end}")

    @property
    def segment_steps(self) -> int:
        """L, steps per embedding of the conductor."""
        return self.steps // self.segments

    @property
    def min_steps(self) -> int:
        """Steps of the shortest sequence that divides into whole segments; T for a model without segments."""
        segments = [self.steps // count for count in (self.segments, self.encoder_segments) if count > 1]
        return math.lcm(*segments) if segments else self.steps

    @property
    def max_steps(self) -> float:
        """Steps of the longest sequence: T with dense upper layers, else infinity."""
        return self.steps if self.upper == "dense" else math.inf

    def takes_steps(self, steps: int) -> bool:
        """Whether a sequence may have this length: T or, in a model with segments, some other number of segments."""
        whole = self.min_steps < self.steps and steps % self.min_steps == 0
        return steps == self.steps or (whole and 0 < steps <= self.max_steps)

    @property
    def output_kind(self) -> Output:
        """The kind that `output` names."""
        return output_kind(self.output)

    @property
    def takes_indices(self) -> bool:
        """Whether class indices can stand for its output's frames, with which it is faster."""
        return self.output_kind.index_count is not None

    @property
    def output_depths(self) -> tuple[int, ...]:
        """Depths of the parts of a frame."""
        return self.output_kind.depths(self.output_depth)

    @property
    def core_depths(self) -> tuple[int, ...]:
        """Depth that each core decoder reads and writes; one core per part of a frame, or one for all."""
        return self.output_depths if self.segments > 1 or self.core_per_part else (self.output_depth,)


# ---- Small pieces ----


def dense(inputs: int, outputs: int, std: float | None = None) -> nn.Linear:
    """A linear layer with zero bias; its weights are Glorot uniform, or normal where a standard deviation is given."""
    layer = nn.Linear(inputs, outputs)
    nn.init.zeros_(layer.bias)
    nn.init.xavier_uniform_(layer.weight) if std is None else nn.init.normal_(layer.weight, std=std)
    return layer


def join_parts(parts: list[Tensor]) -> Tensor:
    """Concatenates parts [N, *] along their last axis. Empty parts are left out; a single part is not copied."""
    parts = [part for part in parts if part.shape[-1]]
    return torch.cat(parts, -1) if len(parts) > 1 else parts[0]


def dense_frames(frames: Tensor, depth: int, dtype: torch.dtype) -> Tensor:
    """Frames [N, T, D], from dense ones or from class indices [N, T, P]."""
    return frames if frames.is_floating_point() else one_hot_frames(frames, depth, dtype)


Drop = Callable[[Tensor], Tensor] | None  # dropout of a layer's inputs


def dropped(inputs: Tensor, keep: float, source: RandomSource) -> Tensor:
    """Keeps each input with probability `keep`, divided by it, and sets the others to 0 (lstm_utils.py, rnn_cell)."""
    return inputs * (uniform(inputs.shape, source, inputs.device) < keep) / keep


# ---- Encoder ----


def last_outputs(layers: nn.ModuleList, frames: Tensor, lengths: Tensor | None, drop: Drop) -> Tensor:
    """Final outputs of stacked bidirectional layers, forward | backward; 0 for an empty sequence.

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
    """Stacked bidirectional LSTM (section 3.1). With segments, upper layers read what the lower ones output."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        size, segments = 2 * config.enc_rnn_size[-1], config.encoder_segments
        self.segment_steps = config.steps // segments if segments > 1 else None
        self.layers = lstm_layers(config.input_depth + config.control_depth, config.enc_rnn_size, bidirectional=True)
        reads_in_turn = segments > 1 and config.upper == "lstm"
        self.upper_layers = lstm_layers(size, config.enc_rnn_size, bidirectional=True) if reads_in_turn else None
        read = size if reads_in_turn else segments * size
        self.mu, self.sigma = (dense(read, config.z_size, SMALL_STD) for _ in range(2))

    def forward(self, frames: Tensor, lengths: Tensor | None, drop: Drop) -> Normal:
        """The posterior [B, Z]: frames [B, T, D + C], lengths [B] or [B, S]."""
        if self.segment_steps is None:
            return self.posterior(last_outputs(self.layers, frames, lengths, drop))
        segments = self._read_segments(frames, lengths, drop)  # (B * S, 2H)
        return self.of_segments(segments.unflatten(0, (-1, frames.shape[1] // self.segment_steps)), drop)

    def of_segments(self, outputs: Tensor, drop: Drop = None) -> Normal:
        """The posterior [B, Z] from what the lower layers found in each segment, [B, S, 2H].

        Dense layers read segments that are missing at the end as zeros.
        """
        if self.upper_layers is not None:
            return self.posterior(last_outputs(self.upper_layers, outputs, None, drop))
        outputs = (drop(outputs) if drop else outputs).flatten(1)
        return self.posterior(F.pad(outputs, (0, self.mu.in_features - outputs.shape[1])))

    def posterior(self, last: Tensor) -> Normal:
        """The posterior [N, Z] from the last layer's final outputs [N, 2H], with dense upper layers of all segments."""
        dtype = self.mu.weight.dtype  # of the posterior, whatever the precision of the products
        return Normal(self.mu(last).to(dtype), F.softplus(self.sigma(last).to(dtype)), validate_args=False)

    def _read_segments(self, frames: Tensor, lengths: Tensor | None, drop: Drop) -> Tensor:  # -> (B * S, 2H)
        if lengths is not None:
            lengths = step_mask(lengths, frames.shape[1]).unflatten(1, (-1, self.segment_steps)).sum(-1).flatten()
        return last_outputs(self.layers, frames.unflatten(1, (-1, self.segment_steps)).flatten(0, 1), lengths, drop)


# ---- Decoder, all steps at once ----


class InitialState(nn.Module):
    """Initial states of stacked layers from an embedding, by a tanh layer: c0 | h0 | c1 | h1 | ... (lstm_utils.py)."""

    def __init__(self, embedding_size: int, sizes: tuple[int, ...]):
        super().__init__()
        self.sizes = [size for size in sizes for _ in "ch"]
        self.dense = dense(embedding_size, sum(self.sizes), SMALL_STD)

    def forward(self, embedding: Tensor) -> list[LstmState]:  # (N, E) -> (N, H) for each layer
        parts = self.dense(embedding).tanh().split(self.sizes, -1)
        return [LstmState(h.contiguous(), c.contiguous()) for c, h in zip(parts[::2], parts[1::2], strict=True)]


def run_layers(
    layers: Sequence[LstmLayer],
    frames: Tensor,
    states: Sequence[LstmState],
    drop: Drop,
    traces: Sequence[LstmTrace] = (),
) -> Tensor:
    """Outputs of stacked one-way layers at all steps: [N, T, features] -> [N, T, H]."""
    for layer, state, trace in zip(layers, states, traces or [None] * len(layers), strict=True):
        frames, _ = layer(drop(frames) if drop else frames, state, trace=trace)
    return frames


class Conductor(nn.Module):
    """Writes one embedding per segment from z alone: its input is a zero at every step (section 3.2)."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.initial_state = InitialState(config.z_size, config.dec_rnn_size)
        self.layers = lstm_layers(1, config.dec_rnn_size)

    def forward(self, z: Tensor, segments: int, drop: Drop) -> Tensor:  # (B, Z) -> (B, S, E)
        return run_layers(self.layers, z.new_zeros(len(z), segments, 1), self.initial_state(z), drop)


class DenseConductor(nn.Module):
    """Writes the embeddings of all segments at once: each from z, with weights of its own."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.sizes = config.segments, config.dec_rnn_size[-1]
        self.dense = dense(config.z_size, math.prod(self.sizes))

    def forward(self, z: Tensor, segments: int, drop: Drop) -> Tensor:  # (B, Z) -> (B, S, E)
        return self.dense(drop(z) if drop else z).unflatten(1, self.sizes)[:, :segments]


class CoreDecoder(nn.Module):
    """Writes each frame from the frame before it, the segment's embedding and the controls (section 3.2)."""

    def __init__(self, depth: int, embedding_size: int, config: ModelConfig):
        super().__init__()
        self.depth = depth
        self.initial_state = InitialState(embedding_size, config.dec_rnn_size)
        self.layers = lstm_layers(depth + embedding_size + config.control_depth, config.dec_rnn_size)
        logits = config.output_kind.logit_depth(depth, config.nade_num_hidden)
        self.output = dense(config.dec_rnn_size[-1], logits)

    def forward(
        self, frames: Tensor, embedding: Tensor, controls: Tensor, drop: Drop, traces: Sequence[LstmTrace] = ()
    ) -> Tensor:
        """Logits at all steps: frames [N, L, D or P], embedding [N, E], controls [N, L, C] -> [N, L, logits].

        traces: of each layer, when `CoreSteps` has already run all steps but the last.
        """
        states = self.initial_state(embedding)
        if drop or controls.shape[-1]:
            frames = dense_frames(frames, self.depth, controls.dtype)
        # The first layer reads frames | embedding | controls; the embedding, the same at every step, is passed once
        inputs, constant = join_parts([frames, controls]), embedding
        if drop:
            inputs, constant = drop(insert_constant(inputs, embedding, self.depth)), None
        first, _ = self.layers[0](inputs, states[0], constant, self.depth, *traces[:1])  # (N, L, H)
        return self.output(run_layers(self.layers[1:], first, states[1:], drop, traces[1:]))


def split_by_core(frames: Tensor, depths: tuple[int, ...]) -> Sequence[Tensor]:
    """The part of frames [N, L, D or P] that each core reads, with class indices counted over that part."""
    if frames.is_floating_point():
        return frames.split(depths, -1)
    if len(depths) == 1:
        return [frames]
    parts = zip(frames.split(1, -1), starts(depths), depths, strict=True)
    return [(part - first).clamp(0, depth) for part, first, depth in parts]  # D, no class, becomes the part's depth


# ---- Decoder, one step at a time ----


class StepInputs(NamedTuple):
    """What decoding one step at a time starts from; frames are in the output's compact form, [N, D] or [N, P]."""

    first: Tensor  # [N, D or P], the frame before the first step
    embeddings: Tensor  # [N, S, E]
    controls: Tensor  # [N, steps, C]
    uniforms: Tensor  # [N, steps, draws per frame], the random numbers
    targets: Tensor | None = None  # [N, steps, D or P], frames to feed in place of draws
    sampled: Tensor | None = None  # [N, steps, 1], True where the model's own draw is fed


@torch.no_grad()
def decode_by_steps(
    model: "MusicVAE", inputs: StepInputs, temperature: float, cores: Sequence[CoreSteps] = ()
) -> Tensor:
    """Frames drawn one step at a time, each fed to the next step: [N, steps, D or P].

    The loop of `step_by_step`, on a GPU as one CUDA graph; or, of a single sequence on a CPU, one kernel call.

    cores: of `core_steps`, where the caller reads their traces.
    """
    if inputs.first.is_cuda:  # a graph records a function of plain tensors
        return run_as_graph(
            model, lambda *given: step_by_step(model, StepInputs(*given[:-1]), given[-1]), inputs, temperature
        )
    if is_one_kernel_call(model, inputs):
        layers = [step_layers(core, inputs.embeddings) for core in model.cores]
        steps = model.config.segment_steps if model.conductor else None
        return draw_steps(layers, model.config.output_depths, temperature, inputs.uniforms, steps)
    return step_by_step(model, inputs, temperature, cores)


def is_one_kernel_call(model: "MusicVAE", inputs: StepInputs) -> bool:
    """Whether `draw_steps` takes these inputs: of a single sequence of classes, each drawn from the one before it."""
    config, dtype = model.config, compute_dtype(model.cores[0].output.weight)
    plain = config.output_kind.one_hot and config.end_token is None and config.control_depth == 0
    return plain and inputs.targets is None and one_kernel_per_sequence(len(inputs.first), inputs.first.device, dtype)


def step_by_step(model: "MusicVAE", inputs: StepInputs, temperature: float, cores: Sequence[CoreSteps] = ()) -> Tensor:
    """The loop of `decode_by_steps`. Without targets, frames after an end token are zero to the end of the segment."""
    kind, end, weights = model.config.output_kind, model.config.end_token, model.output_weights
    steps = inputs.uniforms.shape[1]
    length = model.config.segment_steps if inputs.embeddings.shape[1] > 1 else steps
    frame, targets, frames = inputs.first, inputs.targets, []
    cores = cores or core_steps(model, inputs.embeddings)
    for t in range(steps):
        if t % length == 0:
            going = torch.ones_like(frame, dtype=torch.bool)  # no end token yet in this segment
            for core in cores:
                core.begin(t // length, inputs.controls[:, t : t + length])
        logits = join_parts([core.step(frame, t % length) for core in cores])  # (N, logits)
        frame = kind.draw(logits, temperature, inputs.uniforms[:, t], weights)
        if targets is not None:
            frame = torch.where(inputs.sampled[:, t], frame, targets[:, t])
        elif end is not None:
            frame = torch.where(going, frame, model.config.output_depth)  # the index of a zero frame
            going = going & (frame != end)
        frames.append(frame)
    return torch.stack(frames, 1)


def core_steps(model: "MusicVAE", embeddings: Tensor, traced_steps: int = 0) -> list[CoreSteps]:
    """Every core, set up to go one step at a time."""
    depths = model.config.core_depths
    sides = ((first, sum(depths) - first - own) for first, own in zip(starts(depths), depths, strict=True))
    return [CoreSteps(core, embeddings, *side, traced_steps) for core, side in zip(model.cores, sides, strict=True)]


def step_uniforms(config: ModelConfig, batch: int, steps: int, source: RandomSource, device: torch.device) -> Tensor:
    """Random numbers of `StepInputs`, [batch, steps, draws per frame]."""
    return uniform((batch, steps, config.output_kind.draws_per_frame(config.output_depth)), source, device)


@torch.no_grad()
def scheduled_frames(
    model: "MusicVAE",
    frames: Tensor,
    embedding: Tensor,
    controls: Tensor,
    probability: float,
    source: RandomSource,
    traced: bool,
) -> tuple[Tensor, list[Sequence[LstmTrace]]]:
    """Frames [N, L, D or P] that scheduled sampling feeds: some after the first are replaced by the model's draws.

    Also returns the traces of each core's layers, empty if they are not asked for.
    """
    kind = model.config.output_kind
    frames = kind.compact(frames) if frames.is_floating_point() else frames
    batch, steps = len(frames), frames.shape[1] - 1
    sampled = uniform((batch, steps, 1), source, frames.device) < probability
    uniforms = step_uniforms(model.config, batch, steps, source, frames.device)
    inputs = StepInputs(frames[:, 0].contiguous(), embedding[:, None], controls, uniforms, frames[:, 1:], sampled)
    cores = core_steps(model, inputs.embeddings, steps + 1) if traced else []
    drawn = decode_by_steps(model, inputs, kind.scheduled_temperature, cores)
    torch.clear_autocast_cache()  # PyTorch 2.4 would go on with weights that it cast without gradient
    traces = [core.traces for core in cores] or [()] * len(model.cores)
    return torch.cat([frames[:, :1], drawn.to(frames.dtype)], 1), traces


# ---- The model ----


def parameter_count(layers: nn.Module) -> int:
    """Number of parameters, without the LSTMs' second biases, which stay zero."""
    return sum(p.numel() for name, p in layers.named_parameters() if "bias_hh" not in name)


class MusicVAE(nn.Module):
    """`encode` frames to a distribution over z, `decode` z to logits given the true frames, `sample` new frames."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.config = checked_type("config", config, ModelConfig, "a ModelConfig, such as CONFIGS[name].model")
        self.encoder = Encoder(config)
        conductor = DenseConductor if config.upper == "dense" else Conductor
        self.conductor = conductor(config) if config.segments > 1 else None
        embedding_size = config.dec_rnn_size[-1] if self.conductor else config.z_size
        self.cores = nn.ModuleList(CoreDecoder(depth, embedding_size, config) for depth in config.core_depths)
        weights = config.output_kind.make_weights(config.output_depth, config.nade_num_hidden)
        self.add_module(config.output, weights)  # a NADE's are nade.enc and nade.dec in the state dict

    @property
    def output_weights(self) -> nn.Module | None:
        """Parameters of the kind of output itself, which `reconstruction_loss` needs; None for most kinds."""
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
            inputs: [B, T, input_depth], dense; or int64 [B, T, P], the classes of one-hot frames as
                `engine.classes.class_indices` counts them. A model with segments takes any number of whole segments,
                with dense upper layers at most S.
            lengths: [B], steps that count, 0 to T; a hierarchical encoder also takes [B, S], steps per segment, 0 to L.
                All steps count when None.
            controls: [B, T, control_depth], for a model with controls.
            generator: random numbers of dropout in training mode, on the model's device.

        Returns:
            Normal with mu (`loc`) and sigma (`scale`), [B, Z] each.

        Raises:
            ValueError: a wrong shape or type.
        """
        inputs = self._checked_frames("inputs", inputs, self.config.input_depth)
        self._check_lengths(lengths, inputs, self.config.encoder_segments)
        controls, drop = self._controls_for(inputs.shape[:2], controls), self._drop(generator)
        if drop or lengths is not None or controls.shape[-1]:  # which need dense frames
            inputs = dense_frames(inputs, self.config.input_depth, controls.dtype)
        return self.encoder(join_parts([inputs, controls]), lengths, drop)

    def decode(
        self,
        z: Tensor,
        targets: Tensor,
        lengths: Tensor | None = None,
        controls: Tensor | None = None,
        sampling_probability: float = 0.0,
        generator: RandomSource = None,
    ) -> Tensor:
        """Logits of every frame given the frames before it, teacher-forced or with scheduled sampling (section 3.2).

        Gradients never flow through scheduled sampling's draws: what each step is fed is drawn first, without gradient
        or dropout, and all steps then run as in teacher forcing.

        Args:
            z: [B, Z].
            targets: [B, T, output_depth], dense; or int64 [B, T, P] as in `encode`. A model with segments takes the
                numbers of segments that `encode` takes.
            lengths: [B], or [B, S], steps per segment; logits past them are zero.
            controls: [B, T, control_depth], for a model with controls.
            sampling_probability: chance that a step of a sequence is fed the model's own draw of the frame before it.
            generator: random numbers of those draws and of dropout, on z's device.

        Returns:
            Raw logits, [B, T, output_depth]; for a NADE and `notes` [B, T, nade_num_hidden + output_depth].

        Raises:
            ValueError: a wrong shape or type, or a sampling_probability outside 0 to 1.
        """
        targets = self._checked_frames("targets", targets, self.config.output_depth)
        sampling_probability = checked_share("sampling_probability", sampling_probability)
        self._check_lengths(lengths, targets, self.config.segments)
        z, drop = self._checked_z(z, len(targets)), self._drop(generator)
        embedding = self._embed(z, targets.shape[1], drop).flatten(0, 1)  # (B * S, E)
        frames = self._by_segment(self._frames_before(targets))  # (B * S, L, D or P)
        controls = self._by_segment(self._controls_for(targets.shape[:2], controls))
        traces = [()] * len(self.cores)
        if sampling_probability > 0 and frames.shape[1] > 1:
            traced = not drop and torch.is_grad_enabled() and z.device.type == "cpu"
            frames, traces = scheduled_frames(
                self, frames, embedding, controls, sampling_probability, generator, traced
            )
        parts = zip(self.cores, split_by_core(frames, self.config.core_depths), traces, strict=True)
        logits = join_parts([core(part, embedding, controls, drop, trace) for core, part, trace in parts])
        logits = logits.reshape(*targets.shape[:2], -1)  # (B, T, logits)
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
        """New frames, each drawn given the frames before it, without dropout (section 3.2).

        Args:
            n: number of sequences, when z is None.
            z: [n, Z], see `as_z`; drawn from N(0, I) when None.
            controls: [n, steps, control_depth], for a model with controls.
            temperature: divides the logits of softmaxes and sigmoids; 0 takes the most likely class or bit.
            steps: length of a sequence; the model's own when None. A conductor writes as many embeddings as that needs,
                a dense one at most S.
            generator: all random numbers, on the model's device.

        Returns:
            Frames [n, steps, output_depth], in the form of `reconstruction_loss`'s targets. Frames after an end token
            are zero, up to the end of its segment. A groove has velocities and offsets where there is no hit, too.

        Raises:
            ValueError: a temperature below 0, n or steps out of range, a wrong shape, or z or controls that are not
                finite.
        """
        temperature, n = checked_temperature(temperature), checked_count("n", n)
        steps = self.config.steps if steps is None else checked_count("steps", steps)
        if steps > self.config.max_steps:
            raise ValueError(f"steps must be at most {self.config.steps} for dense upper layers, got {steps}")
        checked_type("generator", generator, RandomSource, "a torch.Generator or None")
        weight = self.encoder.mu.weight
        z = normal((n, self.config.z_size), generator, weight.device).to(weight.dtype) if z is None else self.as_z(z)
        if controls is not None:
            controls = finite_floats("controls", controls, "a tensor [n, steps, control_depth]", weight)
        kind, depth = self.config.output_kind, self.config.output_depth
        first, controls = kind.compact(z.new_zeros(len(z), depth)), self._controls_for((len(z), steps), controls)
        uniforms = step_uniforms(self.config, len(z), steps, generator, z.device)
        drawn = decode_by_steps(self, StepInputs(first, self._embed(z, steps, None), controls, uniforms), temperature)
        return kind.expand(drawn, depth, z.dtype)

    def as_z(self, z: Tensor | np.ndarray | Sequence) -> Tensor:
        """Latent vectors [n, Z] in the weights' type and on their device, from a tensor, an array or a list of numbers.

        Raises:
            ValueError: a wrong shape, no rows, or NaN or infinity.
        """
        means = "MusicVAE.encode(...).loc or TrainedModel.encode(...).mu"
        wanted = f"[batch, {self.config.z_size}] numbers, such as {means}"
        z = finite_floats("z", z, wanted, self.encoder.mu.weight)
        if z.ndim != 2 or not len(z) or z.shape[1] != self.config.z_size:
            raise ValueError(f"z must be [batch, {self.config.z_size}] of at least one vector, got {list(z.shape)}")
        return z

    def _drop(self, source: RandomSource) -> Drop:
        """Dropout in training mode, for a model that has any."""
        keep = self.config.dropout_keep_prob
        return partial(dropped, keep=keep, source=source) if self.training and keep < 1 else None

    def _checked_z(self, z: Tensor, batch: int) -> Tensor:
        """Latent vectors [batch, Z] in the weights' type; their values are not read, since training calls this."""
        shape = list(checked_type("z", z, Tensor, f"a tensor [{batch}, {self.config.z_size}]").shape)
        if shape[1:] != [self.config.z_size]:
            raise ValueError(f"z must be [batch, {self.config.z_size}], got {shape}")
        if shape[0] != batch:
            raise ValueError(f"z and targets must be of one batch, got {shape[0]} and {batch}")
        return self._like_weights("z", z)

    def _embed(self, z: Tensor, steps: int, drop: Drop) -> Tensor:  # (B, Z) -> (B, S, E)
        segments = math.ceil(steps / self.config.segment_steps)
        return self.conductor(z, segments, drop) if self.conductor else z[:, None]

    def _frames_before(self, targets: Tensor) -> Tensor:
        """The frame before each target [B, T, D or P]; zero before the first one and after a frame that is zero."""
        zero = 0 if targets.is_floating_point() else self.config.output_depth  # the index of no class
        return F.pad(targets, (0, 0, 1, -1), value=zero)

    def _by_segment(self, frames: Tensor) -> Tensor:  # (B, T, D) -> (B * S, L, D)
        return frames.unflatten(1, (-1, self.config.segment_steps)).flatten(0, 1) if self.conductor else frames

    def _controls_for(self, shape: tuple[int, int], controls: Tensor | None) -> Tensor:
        """Controls [B, T, C] that belong to frames of the shape [B, T]; C is 0 for a model without controls."""
        shape = (*shape, self.config.control_depth)
        if controls is None and not self.config.control_depth:
            return self.encoder.mu.weight.new_zeros(shape)
        wanted = f"{list(shape)} for this model"
        if checked_type("controls", controls, Tensor, wanted).shape != shape:
            raise ValueError(f"controls must be {wanted}, got {list(controls.shape)}")
        return self._like_weights("controls", controls)

    def _checked_frames(self, name: str, frames: Tensor, depth: int) -> Tensor:
        """Dense frames in the weights' type, or class indices."""
        steps, whole = self.config.steps, self.config.min_steps
        shape = list(checked_type(name, frames, Tensor, f"a tensor [batch, {steps}, {depth}]").shape)
        may_be_indices = frames.dtype == torch.int64 and depth == self.config.output_depth and shape[-1:] != [depth]
        parts = self.config.output_kind.index_count if may_be_indices else None
        if len(shape) != 3 or shape[2] != (parts or depth) or not self.config.takes_steps(shape[1]):
            others = "other" if self.config.max_steps > steps else "lower"
            also = f" or {others} multiples of {whole} steps" if whole < steps else ""
            raise ValueError(f"{name} must be [batch, {steps}, {depth}]{also}, got {shape}")
        if parts is None:
            return self._like_weights(name, frames)
        if frames.device.type == "cpu" and frames.numel() and not 0 <= frames.min() <= frames.max() <= depth:
            raise ValueError(f"{name} must be class indices from 0 to {depth}, got {frames.min()} to {frames.max()}")
        return frames

    def _like_weights(self, name: str, tensor: Tensor) -> Tensor:
        """A tensor in the weights' type; raises ValueError if it is on another device."""
        weight = self.encoder.mu.weight
        if tensor.device != weight.device:
            raise ValueError(f"{name} must be on the model's device, {weight.device}, got {tensor.device}")
        return tensor.to(weight.dtype)

    def _check_lengths(self, lengths: Tensor | None, frames: Tensor, segments: int):
        batch, now = len(frames), frames.shape[1] * segments // self.config.steps
        shapes = [[batch], [batch, now]] if segments > 1 else [[batch]]
        wanted = " or ".join(map(str, shapes))
        checked_type("lengths", lengths, Tensor | None, f"a tensor {wanted} or None")
        if lengths is not None and list(lengths.shape) not in shapes:
            raise ValueError(f"lengths must be {wanted} for this model, got {list(lengths.shape)}")


class _WithoutInitialDraws(TorchFunctionMode):
    """Skips the random draws of initial weights, which take seconds in a large model."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if getattr(function, "__name__", "") not in ("normal_", "uniform_"):
            return function(*args, **(kwargs or {}))


def blank_model(config: ModelConfig) -> MusicVAE:
    """A model with shapes but without values, which takes no memory whatever its sizes."""
    with torch.device("meta"), _WithoutInitialDraws():
        return MusicVAE(config)
