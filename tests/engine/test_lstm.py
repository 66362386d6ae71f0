"""Fused LSTM functions against PyTorch's: outputs, gradients, single steps and draws."""

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

import model
from configs import CONFIGS
from engine import fused_lstm, kernels, lstm, precision
from engine.classes import one_hot_frames
from engine.fused_lstm import LstmState, LstmTrace, lstm_cell, new_trace
from engine.kernels import prepare_linear
from engine.lstm import LstmLayer
from engine.precision import autocast
from engine.rng import Shard, seeded
from engine.single_sequence import draw_steps
from engine.softmax import draw_classes
from helpers import made_songs, needs_bfloat16
from model import MusicVAE
from training.batches import Batch
from training.updates import compute_loss

TOLERANCES = {torch.float32: 5e-6, torch.bfloat16: 2e-2}  # of the largest error, relative to the largest number
DTYPES = [torch.float32, pytest.param(torch.bfloat16, marks=needs_bfloat16)]
FAMILIES = (
    "cat-mel_2bar_tiny", "cat-mel_2bar_chords_tiny", "cat-drums_2bar_tiny", "nade-drums_2bar_tiny",
    "groovae_2bar_humanize_tiny", "flat-trio_16bar_tiny", "hierdec-trio_16bar_tiny", "hier-mel_16bar_tiny",
    "trio_2bar_tiny", "piano_2bar_tiny",
)  # fmt: skip
DEPTHS = (90, 90, 512)  # classes of the parts of a trio: melody, bass and drums
needs_kernels = pytest.mark.skipif(kernels.compiled_kernels() is None, reason="no C++ compiler, or no oneDNN, here")


@pytest.fixture(autouse=True)
def fuse_small_layers(monkeypatch):
    monkeypatch.setattr(fused_lstm, "FUSED_MIN_SIZE", 0)


@pytest.fixture
def disable_fused(monkeypatch):
    """A function that switches to PyTorch's layers and products."""
    return lambda: monkeypatch.setattr(kernels, "compiled_kernels", lambda: None)


def error(one: torch.Tensor, other: torch.Tensor) -> float:
    return ((one - other).abs().max() / other.abs().max()).item()


def run(
    layer: LstmLayer, dtype: torch.dtype, frames, state=None, constant=None, index=0, trace=None
) -> list[torch.Tensor]:
    """Outputs, final outputs and the gradients of all inputs and parameters."""
    leaves = [t for t in (frames, constant, *(state or ())) if t is not None and t.is_floating_point()]
    leaves = [leaf.requires_grad_() for leaf in leaves] + [p for p in layer.parameters() if p.requires_grad]
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
        outputs, final = layer(frames, state, constant, index, trace)
    slope = torch.linspace(-1, 1, outputs.numel()).view_as(outputs)
    grads = torch.autograd.grad((outputs.float() * slope).sum() + final.float().square().sum(), leaves)
    return [outputs.detach().float(), final.detach().float(), *grads]


@pytest.fixture(params=[True, False], ids=["at once", "step by step"])
def at_once(request, monkeypatch):
    """Whether one kernel takes a layer through all steps."""
    sizes = dict.fromkeys(fused_lstm.AT_ONCE_SIZE, math.inf if request.param else 0)
    monkeypatch.setattr(fused_lstm, "AT_ONCE_SIZE", sizes)
    return request.param


@needs_kernels
@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n, steps, hidden", [(1, 1, 1), (7, 11, 33), (40, 3, 130)])
@pytest.mark.parametrize("bidirectional, index", [(True, None), (False, None), (False, 0), (False, 4), (False, 9)])
def test_fused_layer_equals_pytorchs(disable_fused, dtype, n, steps, hidden, bidirectional, index):
    torch.manual_seed(0)
    constant = None if index is None else torch.randn(n, 5)
    layer = LstmLayer(9 if index is None else 14, hidden, bidirectional)
    state = None if bidirectional else LstmState(torch.rand(n, hidden) - 0.5, torch.randn(n, hidden))
    arguments = (torch.randn(n, steps, 9), state, constant, index or 0)
    fused = run(layer, dtype, *arguments)
    disable_fused()
    assert max(map(error, fused, run(layer, dtype, *arguments))) < TOLERANCES[dtype]


@needs_kernels
@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("parts", [1, 3])
@pytest.mark.parametrize("bidirectional, index", [(True, None), (False, None), (False, 0), (False, 4), (False, 9)])
def test_class_indices_give_the_outputs_and_gradients_of_one_hot_frames(
    disable_fused, fused, dtype, parts, bidirectional, index
):
    torch.manual_seed(0)
    if not fused:
        disable_fused()
    indices = torch.randint(0, 10, (7, 6, parts)).sort(-1).values  # 9 stands for a zero part
    indices[..., 1:][indices[..., 1:] == indices[..., :-1]] = 9  # no class twice in a frame
    constant = None if index is None else torch.randn(7, 5)
    layer = LstmLayer(9 if index is None else 14, 33, bidirectional)
    state = None if bidirectional else LstmState(torch.rand(7, 33) - 0.5, torch.randn(7, 33))
    dense = one_hot_frames(indices, 9, torch.float32)
    arguments = (state, constant, index or 0)
    found = run(layer, dtype, indices, *arguments)
    outputs, final, _, *gradients = run(layer, dtype, dense, *arguments)  # indices have no gradient
    pairs = zip(found, [outputs, final, *gradients], strict=True)
    assert max(error(*pair) for pair in pairs) < TOLERANCES[dtype]


@needs_kernels
@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("steps", [1, 6])
def test_a_layer_goes_on_from_the_steps_that_a_trace_holds(dtype, steps):
    torch.manual_seed(0)
    layer, frames = LstmLayer(9, 33), torch.randn(7, steps, 9)
    state = LstmState(torch.rand(7, 33) - 0.5, torch.randn(7, 33))

    trace = new_trace(steps, state.h.to(dtype))
    weight, recurrent, bias, _ = (w.detach().to(dtype) for w in layer.weights())
    h, c = state.h.to(dtype), state.c
    for t in range(steps - 1):
        gates = F.linear(frames[:, t].to(dtype), weight, bias) + F.linear(h, recurrent)
        h, c = lstm_cell(None, None, gates, c, LstmTrace(*(part[t] for part in trace)))
    for part in trace:
        part[-1] = torch.nan  # the last step remains to be run
    found = run(layer, dtype, frames, state, trace=trace)
    assert max(map(error, found, run(layer, dtype, frames, state))) < TOLERANCES[dtype]


@needs_kernels
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_layer_goes_at_once_with_the_same_bits_for_a_part_of_the_batch(dtype):
    """A sequence does not depend on those beside it, so that processes that share a batch compute the same."""
    torch.manual_seed(0)
    layer, frames = LstmLayer(9, 33), torch.randn(21, 6, 9)
    assert fused_lstm.one_kernel_per_layer(21, 33, dtype)
    whole = run(layer, dtype, frames)[0]
    assert all(torch.equal(run(layer, dtype, frames[k : k + 2].clone())[0], whole[k : k + 2]) for k in (0, 7, 19))


@needs_kernels
def test_wide_layers_and_large_ones_in_bfloat16_go_step_by_step():
    assert fused_lstm.one_kernel_per_layer(512, 256, torch.float32)
    assert not fused_lstm.one_kernel_per_layer(1, 257, torch.float32)
    assert fused_lstm.one_kernel_per_layer(16, 128, torch.bfloat16)
    assert not fused_lstm.one_kernel_per_layer(64, 128, torch.bfloat16)


@needs_kernels
@pytest.mark.parametrize("name", FAMILIES)
def test_every_kind_of_model_has_the_same_loss_and_gradients_with_fused_layers(disable_fused, name):
    config = CONFIGS[name]
    torch.manual_seed(0)
    model = MusicVAE(config.model).train()
    songs = made_songs(config.converter, 4)
    batch = Batch(*config.converter.to_tensors(songs.windows(range(4)), seeded("cpu", "dropout")))

    def loss_and_gradients():
        model.zero_grad()
        weights = {"beta": config.training.max_beta, "free_bits": config.training.free_bits}
        elbo, _ = compute_loss(model, batch, **weights, sampling_probability=0.5, source=seeded("cpu", "step"))
        elbo.loss.backward()
        return [elbo.loss.detach(), *(p.grad for p in model.parameters() if p.grad is not None)]

    fused = loss_and_gradients()
    disable_fused()
    expected = loss_and_gradients()
    assert len(fused) == len(expected) > 10
    assert max(map(error, fused, expected)) < 2e-4


@needs_kernels
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n, hidden", [(1, 5), (3, 64), (70, 65)])
def test_fused_cell_equals_pytorchs_operations(disable_fused, dtype, n, hidden):
    table, recurrent = torch.randn(11, 4 * hidden).to(dtype), torch.randn(n, 4 * hidden).to(dtype)
    indices, c = torch.randint(0, 11, (n, 3)), torch.randn(n, hidden)
    cases = [(None, None), (table[indices[:, 0]], None), (table, indices)]
    fused = [lstm_cell(*case, recurrent, c) for case in cases]
    disable_fused()
    for case, state in zip(cases, fused, strict=True):
        expected = lstm_cell(*case, recurrent, c)
        assert error(state.h.float(), expected.h.float()) < TOLERANCES[dtype]
        assert error(state.c, expected.c) < TOLERANCES[dtype]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n, inputs, outputs", [(3, 5, 7), (1, 5, 7), (1, 3, 1), (1, 300, 131)])
def test_a_prepared_linear_function_equals_a_linear_layer(dtype, n, inputs, outputs):
    torch.manual_seed(0)
    shapes = ((n, inputs), (outputs, inputs), (outputs,), (n, outputs))
    x, weight, bias, summand = (torch.randn(shape).to(dtype) for shape in shapes)
    for given in (bias, None):
        multiply = prepare_linear(weight, given, n)
        for _ in range(2):
            assert error(multiply(x), F.linear(x, weight, given)) < TOLERANCES[dtype]
            assert error(multiply(x, summand), F.linear(x, weight) + summand) < TOLERANCES[dtype]


@pytest.mark.parametrize("n", [1, 2])
def test_a_prepared_linear_function_keeps_its_weight(n):
    """A transposed weight, too, and after the caller has freed it."""
    x, weight = torch.randn(n, 300), torch.randn(300, 131)
    expected, multiply = x @ weight, prepare_linear(weight.t(), batch_size=n)
    del weight
    allocated = [torch.full((131, 300), torch.nan) for _ in range(8)]  # would reuse the memory of a freed weight
    assert len(allocated) == 8
    assert error(multiply(x), expected) < TOLERANCES[torch.float32]


@needs_kernels
@pytest.mark.parametrize("name", FAMILIES)
def test_fused_samples_equal_pytorchs_in_a_batch_and_alone(disable_fused, name):
    config = replace(CONFIGS[name].model, dec_rnn_size=(48, 40))
    torch.manual_seed(0)
    model, z = MusicVAE(config).eval(), torch.randn(2, config.z_size)
    controls = torch.rand(2, config.steps, config.control_depth)

    def sample(n: int) -> torch.Tensor:
        return model.sample(z=z[:n], controls=controls[:n], generator=Shard(seeded("cpu", "sample"), 0, n, 2))

    fused = [*sample(2), *sample(1)]
    disable_fused()
    expected = sample(2)
    torch.testing.assert_close(torch.stack(fused), expected[[0, 1, 0]])
    assert len(expected[0].unique(dim=0)) > 10


ONE_CALL = {  # sizes of a frame's parts, of layers and segments
    "flat, one layer": replace(CONFIGS["cat-mel_2bar_tiny"].model, dec_rnn_size=(80,)),
    "flat, two layers": replace(CONFIGS["cat-drums_2bar_tiny"].model, dec_rnn_size=(80, 72)),
    "flat, three parts": replace(CONFIGS["flat-trio_16bar_tiny"].model, steps=32, dec_rnn_size=(80, 33)),
    "flat, a core per part": replace(CONFIGS["trio_2bar_tiny"].model, dec_rnn_size=(80, 33)),
    "conductor": replace(CONFIGS["hierdec-mel_16bar_tiny"].model, steps=32, segments=4, dec_rnn_size=(72, 80)),
    "conductor, three parts": replace(
        CONFIGS["hierdec-trio_16bar_tiny"].model, steps=32, segments=4, dec_rnn_size=(80, 40)
    ),
}
STEPWISE = ("cat-mel_2bar_chords_tiny", "hier-multiperf_vel_1bar_tiny", "nade-drums_2bar_tiny", "piano_2bar_tiny")


@needs_kernels
@pytest.mark.parametrize("precision", ["float32", pytest.param("bfloat16", marks=needs_bfloat16)])
@pytest.mark.parametrize("temperature", [0.0, 0.7, 1.0])
@pytest.mark.parametrize("config", ONE_CALL.values(), ids=ONE_CALL)
def test_one_call_draws_the_frames_of_a_call_per_step(monkeypatch, config, temperature, precision):
    """Bit for bit, also past the trained length and in the middle of a segment."""
    torch.manual_seed(0)
    vae, z, calls = MusicVAE(config).eval(), 2 * torch.randn(1, config.z_size), []
    for parameter in vae.cores.parameters():
        torch.nn.init.normal_(parameter, std=0.5)  # so that each step depends on those before it
    monkeypatch.setattr(model, "draw_steps", lambda *given: calls.append(given) or draw_steps(*given))

    def sample() -> torch.Tensor:
        with autocast(torch.device("cpu"), precision):
            return vae.sample(z=z, temperature=temperature, steps=43, generator=seeded("cpu", "sample"))

    drawn = [sample(), sample()]
    assert len(calls) == 2
    monkeypatch.setattr(model, "one_kernel_per_sequence", lambda *given: False)
    expected = sample()
    assert len(calls) == 2
    assert torch.equal(torch.stack(drawn), torch.stack([expected, expected]))
    assert len(expected[0].unique(dim=0)) > 3


@pytest.mark.parametrize("name", [*STEPWISE, "groovae_2bar_humanize_tiny"])
def test_controls_end_tokens_and_other_kinds_of_output_take_a_call_per_step(monkeypatch, name):
    monkeypatch.delattr(model, "draw_steps")
    config = CONFIGS[name].model
    controls = torch.rand(1, 4, config.control_depth)
    assert MusicVAE(config).sample(steps=4, controls=controls).shape == (1, 4, config.output_depth)


def test_batches_and_scheduled_sampling_take_a_call_per_step(monkeypatch):
    monkeypatch.delattr(model, "draw_steps")
    config = CONFIGS["cat-mel_2bar_tiny"].model
    vae, targets = MusicVAE(config), torch.zeros(1, config.steps, 1, dtype=torch.int64)
    assert len(vae.sample(2)) == 2
    assert vae.decode(torch.zeros(1, config.z_size), targets, sampling_probability=0.5).isfinite().all()


@needs_kernels
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("temperature", [0.0, 0.3, 1.0, 4.0])
def test_fused_draws_equal_pytorchs(disable_fused, dtype, temperature):
    """Except for the few in a million whose uniform number is at a boundary; rows that are not contiguous work, too."""
    generator = torch.Generator().manual_seed(0)
    logits = 5 * torch.randn(3000, 2 * 692, generator=generator).to(dtype)[:, :692]
    uniforms = torch.rand(3000, 4, 3, generator=generator)[:, 1]
    drawn = draw_classes(logits, DEPTHS, temperature, uniforms)
    disable_fused()
    expected = draw_classes(logits, DEPTHS, temperature, uniforms)
    assert drawn.shape == expected.shape == (3000, 3)
    assert (drawn != expected).sum() <= 2


@needs_kernels
def test_large_gates_give_finite_states_and_nan_gates_give_nan():
    recurrent = torch.tensor([[-300.0, 300, 1e30, -1e30, 300, -300, 1e-30, 300]])
    state = lstm_cell(None, None, recurrent, torch.tensor([[2.0, 3.0]]))
    assert torch.isfinite(torch.cat(state)).all()
    torch.testing.assert_close(state.c, torch.tensor([[2.0, -1.0]]))
    recurrent[0, 2] = torch.nan
    assert lstm_cell(None, None, recurrent, torch.ones(1, 2)).c.isnan().tolist() == [[True, False]]


@needs_kernels
def test_float64_layers_are_pytorchs():
    layer = LstmLayer(3, 4).double()
    outputs, final = layer(torch.randn(2, 5, 3, dtype=torch.float64))
    assert "FusedLstm" not in str(outputs.grad_fn)
    assert final.dtype == torch.float64


@needs_kernels
@pytest.mark.parametrize("min_size, fused", [(0, True), (7, True), (8, False)])
def test_layers_above_the_minimum_size_are_fused(monkeypatch, min_size, fused):
    monkeypatch.setattr(fused_lstm, "FUSED_MIN_SIZE", min_size)
    monkeypatch.setattr(fused_lstm, "AT_ONCE_SIZE", {})
    outputs, _ = LstmLayer(3, 4)(torch.randn(2, 5, 3))
    names, node = [], outputs.grad_fn
    while node is not None:
        names.append(type(node).__name__)
        node = node.next_functions[0][0] if node.next_functions else None
    assert ("FusedLstmBackward" in names) == fused


@pytest.mark.parametrize("bidirectional", [False, True])
def test_forward_in_dtype_equals_pytorchs_layer(bidirectional):
    """The path of a GPU under autocast, in float32 on the CPU."""
    layer, frames = LstmLayer(3, 4, bidirectional), torch.randn(2, 5, 3)
    state = None if bidirectional else (torch.randn(1, 2, 4), torch.randn(1, 2, 4))
    outputs, h = layer.forward_in_dtype(frames, state, torch.float32)
    expected, (final, _) = torch.nn.LSTM.forward(layer, frames, state)
    assert torch.equal(outputs, expected)
    assert torch.equal(h, final)
    assert layer.forward_in_dtype(frames, state, torch.bfloat16)[0].dtype == torch.bfloat16


def test_without_bfloat16_auto_takes_float32_and_bfloat16_is_refused(monkeypatch):
    cpu = torch.device("cpu")
    monkeypatch.setattr(kernels, "cpu_supports_bfloat16", lambda: False)
    monkeypatch.setattr(precision, "supports_bfloat16", lambda device: False)
    with pytest.raises(ValueError, match="no LSTM runs in bfloat16 on cpu here: choose precision 'float32' or 'auto'"):
        autocast(cpu, "bfloat16")
    with autocast(cpu, "auto"):
        assert not torch.is_autocast_enabled("cpu")
    assert not kernels.fused_available(cpu, torch.bfloat16)
    assert kernels.fused_available(cpu, torch.float32) == (kernels.compiled_kernels() is not None)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("precision", ["auto", "float32"])
def test_cudnn_runs_layers_in_the_chosen_precision(precision):
    dtype = torch.bfloat16 if precision == "auto" and lstm.cudnn_supports_bfloat16() else torch.float32
    layer, frames = LstmLayer(8, 16, bidirectional=True).cuda(), torch.randn(4, 5, 8, device="cuda")
    with autocast(frames.device, precision):
        outputs, _ = layer(frames)
    assert lstm.runs_on_cudnn(outputs)
    assert outputs.dtype == dtype
