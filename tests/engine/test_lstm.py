"""Our own LSTM layer against PyTorch's: outputs, gradients, single steps, and what happens where it cannot be built."""

import subprocess
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

import model
from configs import CONFIGS
from engine import lstm
from engine.lstm import LstmLayer, LstmState, draw_classes, lstm_cell, prepare_linear
from engine.rng import Shard, seeded
from helpers import made_songs, needs_bfloat16
from model import MusicVAE, autocast
from music.trio import TRIO_DEPTHS
from training.updates import compute_loss

PRECISIONS = {torch.float32: 5e-6, torch.bfloat16: 2e-2}  # largest error, as a share of the largest number
DTYPES = [torch.float32, pytest.param(torch.bfloat16, marks=needs_bfloat16)]
FAMILIES = (
    "cat-mel_2bar_tiny", "cat-mel_2bar_chords_tiny", "cat-drums_2bar_tiny", "nade-drums_2bar_tiny",
    "groovae_2bar_humanize_tiny", "flat-trio_16bar_tiny", "hierdec-trio_16bar_tiny", "hier-mel_16bar_tiny",
)  # fmt: skip
needs_kernels = pytest.mark.skipif(lstm.kernels() is None, reason="no C++ compiler, or no oneDNN, on this machine")


@pytest.fixture(autouse=True)
def small_layers_too(monkeypatch):
    monkeypatch.setattr(lstm, "FUSED_MIN_SIZE", 0)


@pytest.fixture
def plain(monkeypatch):
    """A switch to PyTorch's layers and products."""
    return lambda: monkeypatch.setattr(lstm, "fused_available", lambda device, dtype: False)


def error(one: torch.Tensor, other: torch.Tensor) -> float:
    return ((one - other).abs().max() / other.abs().max()).item()


def run(layer: LstmLayer, dtype: torch.dtype, frames, state=None, constant=None, at=0) -> list[torch.Tensor]:
    """Outputs, last outputs and the gradients of everything."""
    leaves = [t for t in (frames, constant, *(state or ())) if t is not None]
    leaves = [leaf.requires_grad_() for leaf in leaves] + [p for p in layer.parameters() if p.requires_grad]
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
        outputs, last = layer(frames, state, constant, at)
    slope = torch.linspace(-1, 1, outputs.numel()).view_as(outputs)
    grads = torch.autograd.grad((outputs.float() * slope).sum() + last.float().square().sum(), leaves)
    return [outputs.detach().float(), last.detach().float(), *grads]


@needs_kernels
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n, steps, hidden", [(1, 1, 1), (7, 11, 33), (40, 3, 130)])
@pytest.mark.parametrize("bidirectional, at", [(True, None), (False, None), (False, 0), (False, 4), (False, 9)])
def test_own_layer_is_pytorchs(plain, dtype, n, steps, hidden, bidirectional, at):
    torch.manual_seed(0)
    constant = None if at is None else torch.randn(n, 5)
    layer = LstmLayer(9 if at is None else 14, hidden, bidirectional)
    state = None if bidirectional else LstmState(torch.rand(n, hidden) - 0.5, torch.randn(n, hidden))
    arguments = (torch.randn(n, steps, 9), state, constant, at or 0)
    own = run(layer, dtype, *arguments)
    plain()
    assert max(map(error, own, run(layer, dtype, *arguments))) < PRECISIONS[dtype]


@needs_kernels
@pytest.mark.parametrize("name", FAMILIES)
def test_own_layers_give_every_family_the_same_loss_and_gradients(plain, name):
    config = CONFIGS[name]
    torch.manual_seed(0)
    model = MusicVAE(config.model).train()
    batch = config.converter.to_tensors(made_songs(config.converter, 4).windows(range(4)), seeded("cpu", "dropout"))

    def loss_and_gradients():
        model.zero_grad()
        weights = {"beta": config.training.max_beta, "free_bits": config.training.free_bits}
        elbo, _ = compute_loss(model, batch, **weights, sampling_probability=0.5, source=seeded("cpu", "step"))
        elbo.loss.backward()
        return [elbo.loss.detach(), *(p.grad for p in model.parameters() if p.grad is not None)]

    own = loss_and_gradients()
    plain()
    wanted = loss_and_gradients()
    assert len(own) == len(wanted) > 10
    assert max(map(error, own, wanted)) < 2e-4


@needs_kernels
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n, hidden", [(1, 5), (3, 64), (70, 65)])
def test_own_step_is_the_plain_one(plain, dtype, n, hidden):
    table, recurrent = torch.randn(11, 4 * hidden).to(dtype), torch.randn(n, 4 * hidden).to(dtype)
    rows, c = torch.randint(0, 11, (n, 3)), torch.randn(n, hidden)
    cases = [(None, None), (table[rows[:, 0]], None), (table, rows)]
    own = [lstm_cell(*case, recurrent, c) for case in cases]
    plain()
    for case, state in zip(cases, own, strict=True):
        wanted = lstm_cell(*case, recurrent, c)
        assert error(state.h.float(), wanted.h.float()) < PRECISIONS[dtype]
        assert error(state.c, wanted.c) < PRECISIONS[dtype]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rows, inputs, outputs", [(3, 5, 7), (1, 5, 7), (1, 3, 1), (1, 300, 131)])
def test_a_product_is_a_linear_layer(dtype, rows, inputs, outputs):
    torch.manual_seed(0)
    shapes = ((rows, inputs), (outputs, inputs), (outputs,), (rows, outputs))
    x, weight, bias, summand = (torch.randn(shape).to(dtype) for shape in shapes)
    for given in (bias, None):
        multiply = prepare_linear(weight, given, rows)
        for _ in range(2):
            assert error(multiply(x), F.linear(x, weight, given)) < PRECISIONS[dtype]
            assert error(multiply(x, summand), F.linear(x, weight) + summand) < PRECISIONS[dtype]


@pytest.mark.parametrize("rows", [1, 2])
def test_a_product_keeps_its_weight(rows):
    """However it lay, and when nobody else holds it."""
    x, weight = torch.randn(rows, 300), torch.randn(300, 131)
    wanted, multiply = x @ weight, prepare_linear(weight.t(), rows=rows)
    del weight
    taken = [torch.full((131, 300), torch.nan) for _ in range(8)]  # what had been freed would be theirs
    assert len(taken) == 8
    assert error(multiply(x), wanted) < PRECISIONS[torch.float32]


@needs_kernels
@pytest.mark.parametrize("name", FAMILIES)
def test_samples_are_the_plain_ones_together_and_alone(plain, name):
    config = replace(CONFIGS[name].model, dec_rnn_size=(48, 40))
    torch.manual_seed(0)
    model, z = MusicVAE(config).eval(), torch.randn(2, config.z_size)
    controls = torch.rand(2, config.steps, config.control_depth)

    def sample(n: int) -> torch.Tensor:
        return model.sample(z=z[:n], controls=controls[:n], generator=Shard(seeded("cpu", "sample"), 0, n, 2))

    own = [*sample(2), *sample(1)]
    plain()
    wanted = sample(2)
    torch.testing.assert_close(torch.stack(own), wanted[[0, 1, 0]])
    assert len(wanted[0].unique(dim=0)) > 10


@needs_kernels
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("temperature", [0.0, 0.3, 1.0, 4.0])
def test_classes_are_drawn_as_the_plain_ones(plain, dtype, temperature):
    """All but the few numbers in a million that fall between two classes, of rows that are not contiguous too."""
    generator = torch.Generator().manual_seed(0)
    logits = 5 * torch.randn(3000, 2 * 692, generator=generator).to(dtype)[:, :692]
    numbers = torch.rand(3000, 4, 3, generator=generator)[:, 1]
    drawn = draw_classes(logits, TRIO_DEPTHS, temperature, numbers)
    plain()
    wanted = draw_classes(logits, TRIO_DEPTHS, temperature, numbers)
    assert drawn.shape == wanted.shape == (3000, 3)
    assert (drawn != wanted).sum() <= 2


@needs_kernels
def test_gates_saturate_and_faults_show():
    """Gates of any size give finite numbers; a number that is none is not hidden."""
    recurrent = torch.tensor([[-300.0, 300, 1e30, -1e30, 300, -300, 1e-30, 300]])
    state = lstm_cell(None, None, recurrent, torch.tensor([[2.0, 3.0]]))
    assert torch.isfinite(torch.cat(state)).all()
    torch.testing.assert_close(state.c, torch.tensor([[2.0, -1.0]]))
    recurrent[0, 2] = torch.nan
    assert lstm_cell(None, None, recurrent, torch.ones(1, 2)).c.isnan().tolist() == [[True, False]]


@needs_kernels
def test_other_precisions_are_pytorchs():
    layer = LstmLayer(3, 4).double()
    outputs, last = layer(torch.randn(2, 5, 3, dtype=torch.float64))
    assert "FusedLstm" not in str(outputs.grad_fn)
    assert last.dtype == torch.float64


@needs_kernels
@pytest.mark.parametrize("worth, own", [(0, True), (7, True), (8, False)])
def test_own_layers_are_taken_where_they_are_worth_it(monkeypatch, worth, own):
    monkeypatch.setattr(lstm, "FUSED_MIN_SIZE", worth)
    outputs, _ = LstmLayer(3, 4)(torch.randn(2, 5, 3))
    names, node = [], outputs.grad_fn
    while node is not None:
        names.append(type(node).__name__)
        node = node.next_functions[0][0] if node.next_functions else None
    assert ("FusedLstmBackward" in names) == own


@pytest.mark.parametrize("fault", ["no compiler", "failing compiler", "no place", "other products", "Windows"])
def test_without_its_parts_the_layer_is_pytorchs(monkeypatch, tmp_path, fault):
    lstm.kernels.cache_clear()
    (tmp_path / "lstm.cpp").write_text(lstm.SOURCE.read_text() + ("#error" if fault == "failing compiler" else "//"))
    (tmp_path / "__pycache__").write_text("a file, where the folder would be") if fault == "no place" else None
    monkeypatch.setattr(lstm, "SOURCE", tmp_path / "lstm.cpp")
    if fault == "no compiler":
        monkeypatch.setattr(lstm.shutil, "which", lambda name: None)
    if fault == "other products":
        monkeypatch.setattr(lstm, "_packed_product", lambda weight, bias, rows: lambda *x: torch.zeros(2, 3))
    if fault == "Windows":
        monkeypatch.setattr(lstm.platform, "system", lambda: "Windows")
    assert lstm.kernels() is None
    outputs, _ = LstmLayer(3, 4)(torch.randn(2, 5, 3))
    outputs.sum().backward()
    lstm.kernels.cache_clear()


@pytest.mark.parametrize("bidirectional", [False, True])
def test_a_layer_cast_by_hand_is_the_layer(bidirectional):
    """What runs on a GPU under autocast, here in float32."""
    layer, frames = LstmLayer(3, 4, bidirectional), torch.randn(2, 5, 3)
    state = None if bidirectional else (torch.randn(1, 2, 4), torch.randn(1, 2, 4))
    outputs, h = layer.cast(frames, state, torch.float32)
    wanted, (last, _) = torch.nn.LSTM.forward(layer, frames, state)
    assert torch.equal(outputs, wanted)
    assert torch.equal(h, last)
    assert layer.cast(frames, state, torch.bfloat16)[0].dtype == torch.bfloat16


@pytest.mark.parametrize("name", ["cat-mel_2bar_chords_tiny", "nade-drums_2bar_tiny", "groovae_2bar_humanize_tiny"])
def test_a_roll_out_waits_for_nothing(name):
    """Tensors without values cannot be waited for: so a GPU's loop can be recorded, too."""
    config = CONFIGS[name]
    model, n = MusicVAE(config.model).to("meta").eval(), 3
    controls = torch.zeros(n, config.model.steps, config.model.control_depth, device="meta")
    z = torch.zeros(n, config.model.z_size, device="meta")
    targets = torch.zeros(n, config.model.steps, config.model.output_depth, device="meta")
    assert model.sample(z=z, controls=controls).shape == targets.shape
    with torch.no_grad():
        logits = model.decode(z, targets, None, controls, sampling_probability=0.5)
    assert logits.shape[:2] == targets.shape[:2]


def test_a_processor_that_runs_no_bfloat16_says_so_and_takes_float32(monkeypatch):
    cpu = torch.device("cpu")
    for module in (lstm, model):
        monkeypatch.setattr(module, "supports_bfloat16", lambda device: False)
    with pytest.raises(ValueError, match="no LSTM runs in bfloat16 on cpu here: choose precision 'float32' or 'auto'"):
        autocast(cpu, "bfloat16")
    with autocast(cpu, "auto"):
        assert not torch.is_autocast_enabled("cpu")
    assert not lstm.fused_available(cpu, torch.bfloat16)
    assert lstm.fused_available(cpu, torch.float32) == (lstm.kernels() is not None)


gpu = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]


@pytest.mark.parametrize("precision", [pytest.param(name, marks=gpu) for name in ("auto", "float32")])
def test_cudnn_runs_the_layers_in_the_precision_chosen(precision):
    half = precision == "auto" and lstm.cudnn_takes_bfloat16()
    layer, frames = LstmLayer(8, 16, bidirectional=True).cuda(), torch.randn(4, 5, 8, device="cuda")
    with autocast(frames.device, precision):
        outputs, _ = layer(frames)
    assert lstm.runs_on_cudnn(outputs)
    assert outputs.dtype == (torch.bfloat16 if half else torch.float32)


@pytest.mark.parametrize("name", [pytest.param(name, marks=gpu) for name in FAMILIES])
def test_a_recorded_roll_out_is_the_loop(monkeypatch, name):
    """Before and after the weights change, which a recording has to see."""
    config = CONFIGS[name]
    model, z = MusicVAE(config.model).cuda().eval(), torch.randn(3, config.model.z_size, device="cuda")
    controls = torch.zeros(3, config.model.steps, config.model.control_depth, device="cuda")
    recorded = []
    for _ in range(2):
        recorded.append(model.sample(z=z, controls=controls, temperature=0))
        for parameter in model.parameters():
            parameter.data.mul_(2)
    monkeypatch.setattr(
        "model.run_as_graph", lambda model, function, tensors, *constants: function(*tensors, *constants)
    )
    for wanted in reversed(recorded):
        for parameter in model.parameters():
            parameter.data.div_(2)
        torch.testing.assert_close(model.sample(z=z, controls=controls, temperature=0), wanted)


@needs_kernels
def test_kernels_are_compiled_once(monkeypatch, tmp_path):
    (tmp_path / "lstm.cpp").write_text(lstm.SOURCE.read_text())
    monkeypatch.setattr(lstm, "SOURCE", tmp_path / "lstm.cpp")
    first = lstm.build("c++")
    monkeypatch.setattr(subprocess, "run", lambda *a, **k: pytest.fail("compiled again"))
    assert lstm.build("c++") == first
    assert [path.name for path in first.parent.iterdir()] == [first.name]
