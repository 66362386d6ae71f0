"""Training: it learns, it resumes bit for bit, it refuses what is not its own."""

import math
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import train as train_module
from checkpoint import CHECKPOINT, load_checkpoint, read_checkpoint, save_checkpoint
from configs import CONFIGS
from corpus import load_corpus
from engine.adam import Adam
from engine.rng import seeded
from generate import TrainedModel
from helpers import made_songs, needs_bfloat16, shrink
from magenta_checkpoint import load_magenta_checkpoint, load_magenta_training_state
from midi_utils import Tensors
from model import MusicVAE
from train import clip_gradients, set_up, train
from training.batches import Labels, batch_indices, labels_on, step_batch

ROOT = Path(__file__).parents[1]
QUIET = {"progress": False, "device": "cpu"}


def equal_weights(a, b):
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values()))


@pytest.mark.parametrize(
    "name",
    [
        "cat-mel_2bar_tiny",
        "hierdec-trio_16bar_tiny",
        "hier-mel_16bar_tiny",
        "cat-mel_2bar_chords_tiny",
        "nade-drums_2bar_tiny",
    ],
)
def test_eight_windows_are_learnt_by_heart(name, tmp_path):
    """Overfitted, the posterior mean decodes without a look at the original to every step of it."""
    config = shrink(name, bars=2, learning_rate=1e-2, max_beta=0.0, transpose_range=(0, 0))
    songs = made_songs(config.converter, windows=8, songs=2)
    seed = 1 if name == "hier-mel_16bar_tiny" else 0  # from some seeds it settles first for what needs no z
    result = train(config, songs, out_dir=tmp_path, steps=400, precision="float32", seed=seed, **QUIET)
    trained = TrainedModel(result.model, config)
    windows = songs.windows(range(8))
    controls = config.converter.to_tensors(windows).controls
    outputs = trained.model.sample(z=trained.encode(windows).mu, controls=controls, temperature=0)
    labels = config.converter.from_tensors(outputs)
    assert (np.asarray(labels) == songs.labels).mean() == 1.0
    assert result.history[-1].train.accuracy > 0.99


def test_eight_grooves_are_learnt_by_heart(tmp_path):
    """Every hit, and the velocity and offset of each."""
    config = shrink("groovae_4bar", bars=2, learning_rate=1e-2, max_beta=0.0)
    config = replace(config, model=replace(config.model, dropout_keep_prob=1.0))
    songs = made_songs(config.converter, windows=8, songs=2)
    result = train(config, songs, out_dir=tmp_path, steps=600, precision="float32", **QUIET)
    trained = TrainedModel(result.model, config)
    outputs = trained.model.sample(z=trained.encode(songs.windows(range(8))).mu, temperature=0)
    labels = config.converter.from_tensors(outputs).numpy()
    assert (labels[..., :9] == songs.labels[..., :9]).mean() == 1.0
    assert np.abs(labels - songs.labels).max() < 0.25


@pytest.mark.parametrize(
    "name",
    ["hier-multiperf_vel_1bar_med_chords", "groovae_2bar_tap_fixed_velocity_note_dropout", "nade-drums_2bar_full"],
)
def test_every_family_resumes_bit_for_bit(name, tmp_path):
    """With lengths of segments, chords that are transposed, dropout of inputs and of notes, and 61 drums."""
    config = shrink(name)
    songs = made_songs(config.converter)
    arguments = {"eval_every": 2, **QUIET}
    whole = train(config, songs, songs, out_dir=tmp_path / "whole", steps=4, **arguments)
    train(config, songs, songs, out_dir=tmp_path / "cut", steps=2, **arguments)
    torch.rand(5)
    resumed = train(config, songs, songs, out_dir=tmp_path / "cut", steps=4, **arguments)
    assert equal_weights(whole.model, resumed.model)
    assert whole.history == resumed.history
    assert whole.history[-1].valid.loss < whole.history[0].valid.loss


@pytest.mark.parametrize("precision", ["float32", pytest.param("bfloat16", marks=needs_bfloat16)])
def test_a_resumed_run_equals_an_uninterrupted_one(tiny, tmp_path, precision, monkeypatch):
    """Stopped between two checkpoints and taken up again: the same weights, optimizer and history, bit for bit."""
    config, songs = tiny
    config = replace(
        config, training=replace(config.training, sampling_schedule="constant", sampling_rate=0.5, batch_size=7)
    )
    parts = songs.split(valid=0.3)
    arguments = {"steps": 12, "eval_every": 4, "precision": precision, **QUIET}
    whole = train(config, parts.train, parts.valid, out_dir=tmp_path / "whole", **arguments)

    def stop_at_seven(*args, go=train_module.update):
        if args[4] == 6:
            raise KeyboardInterrupt
        return go(*args)

    monkeypatch.setattr(train_module, "update", stop_at_seven)
    with pytest.raises(KeyboardInterrupt):
        train(config, parts.train, parts.valid, out_dir=tmp_path / "cut", **arguments)
    monkeypatch.undo()
    assert read_checkpoint(tmp_path / "cut")["run"]["step"] == 4
    torch.rand(5)  # whatever else draws numbers in between
    resumed = train(config, parts.train, parts.valid, out_dir=tmp_path / "cut", **arguments)
    assert equal_weights(whole.model, resumed.model)
    assert whole.history == resumed.history
    a, b = (read_checkpoint(tmp_path / name)["optimizer"]["state"] for name in ("whole", "cut"))
    assert all(torch.equal(a[k][slot], b[k][slot]) for k in a for slot in a[k])


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL")
def test_a_killed_command_goes_on(tmp_path):
    """The command, killed in the middle of a run and given again, ends with the weights of an undisturbed run."""
    songs = ROOT / "tests" / "fixtures" / "converters" / "midi"

    def command(out, steps):
        return [sys.executable, "train.py", "--config", "cat-mel_2bar_tiny", "--data", str(songs), "--out", str(out),
                "--steps", str(steps), "--eval-every", "5", "--device", "cpu"]  # fmt: skip

    process = subprocess.Popen(
        command(tmp_path / "cut", 40), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    deadline = time.monotonic() + 120
    while not (tmp_path / "cut" / CHECKPOINT).exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    output = process.communicate()[0].decode()
    assert (tmp_path / "cut" / CHECKPOINT).exists(), output
    assert process.returncode == -signal.SIGKILL
    for out in ("cut", "whole"):
        subprocess.run(command(tmp_path / out, 40), cwd=ROOT, check=True, capture_output=True)
    again = subprocess.run(command(tmp_path / "cut", 40), cwd=ROOT, check=True, capture_output=True, text=True)
    assert "is finished: 40 steps of 40" in again.stdout
    assert equal_weights(load_checkpoint(tmp_path / "cut")[0], load_checkpoint(tmp_path / "whole")[0])


def test_a_run_of_before_a_recipe_knew_a_field_goes_on(tiny, tmp_path):
    config, songs = tiny
    path = train(config, songs, out_dir=tmp_path, steps=2, **QUIET).checkpoint
    content = read_checkpoint(path)
    for recorded in (content["config"], content["run"]["config"]):
        del recorded["training"]["mixed"]
    torch.save(content, path)
    assert train(config, songs, out_dir=tmp_path, steps=4, **QUIET).history[-1].step == 4


def test_a_finished_run_says_so_and_goes_on_when_asked(tiny, tmp_path, capsys):
    config, songs = tiny
    train(config, songs, out_dir=tmp_path, steps=3, **QUIET)
    again = train(config, songs, out_dir=tmp_path, steps=3, **QUIET)
    assert "is finished: 3 steps of 3" in capsys.readouterr().out
    assert [row.step for row in again.history] == [3]
    more = train(config, songs, out_dir=tmp_path, steps=5, **QUIET)
    assert [row.step for row in more.history] == [3, 5]


def test_a_run_of_something_else_is_not_taken_up(tiny, tmp_path):
    config, songs = tiny
    train(config, songs, out_dir=tmp_path, steps=1, **QUIET)
    before = (tmp_path / CHECKPOINT).read_bytes()
    other = shrink("cat-drums_2bar_tiny")
    with pytest.raises(ValueError, match="config differs .name cat-mel_2bar_tiny, asked for cat-drums_2bar_tiny"):
        train(other, made_songs(other.converter), out_dir=tmp_path, **QUIET)
    faster = replace(config, training=replace(config.training, learning_rate=0.5))
    with pytest.raises(ValueError, match="config differs .learning_rate .*, asked for 0.5"):
        train(faster, songs, out_dir=tmp_path, **QUIET)
    with pytest.raises(ValueError, match="data differs"):
        train(config, made_songs(config.converter, seed=1), out_dir=tmp_path, **QUIET)
    with pytest.raises(ValueError, match="seed differs .0, asked for 5"):
        train(config, songs, out_dir=tmp_path, seed=5, **QUIET)
    assert (tmp_path / CHECKPOINT).read_bytes() == before
    train(config, songs, out_dir=tmp_path, seed=5, steps=1, resume=False, **QUIET)


def test_windows_of_another_converter_and_empty_sets_are_refused(tiny, tmp_path):
    config, songs = tiny
    drums = shrink("cat-drums_2bar_tiny")
    with pytest.raises(ValueError, match="trains on windows of MelodyConverter.*these are of DrumsConverter"):
        train(config, made_songs(drums.converter), out_dir=tmp_path, **QUIET)
    with pytest.raises(ValueError, match="no window to train on"):
        train(config, songs.split(valid=0.3).test, out_dir=tmp_path, **QUIET)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("size", [0, 100, 5000, -1])
def test_a_truncated_checkpoint_is_refused(tiny, tmp_path, size):
    config, songs = tiny
    train(config, songs, out_dir=tmp_path, steps=1, **QUIET)
    path = tmp_path / CHECKPOINT
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(ValueError, match="truncated, or no checkpoint"):
        load_checkpoint(path)
    with pytest.raises(ValueError, match="truncated, or no checkpoint"):
        train(config, songs, out_dir=tmp_path, steps=2, **QUIET)


def test_a_checkpoint_that_runs_code_is_refused(tmp_path):
    class Trap:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "sprung",))

    torch.save({"format": 1, "trap": Trap()}, tmp_path / "trap.pt")
    with pytest.raises(ValueError, match="no checkpoint"):
        load_checkpoint(tmp_path / "trap.pt")
    assert not (tmp_path / "sprung").exists()


def test_a_missing_or_foreign_checkpoint_is_named(tmp_path):
    with pytest.raises(ValueError, match="no checkpoint at .*nowhere"):
        load_checkpoint(tmp_path / "nowhere")
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(ValueError, match="no checkpoint of this version"):
        load_checkpoint(tmp_path / "list.pt")


def test_nothing_half_written_stays_under_the_name(tiny, tmp_path, monkeypatch):
    """A crash while the file is written leaves the old one whole."""
    config, songs = tiny
    result = train(config, songs, out_dir=tmp_path, steps=1, **QUIET)
    before = result.checkpoint.read_bytes()

    def crash(content, file):
        file.write(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(torch, "save", crash)
    with pytest.raises(OSError, match="disk full"):
        save_checkpoint(result.checkpoint, result.model, config)
    assert result.checkpoint.read_bytes() == before


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"steps": 0}, "steps and eval_every must be at least 1, got 0"),
        ({"eval_every": 0}, "got 1 and 0"),
        ({"device": "abacus"}, "no device 'abacus' here"),
        ({"valid_set": made_songs(shrink("cat-drums_2bar_tiny").converter)}, "these are of DrumsConverter"),
    ],
)
def test_wrong_arguments_are_named_before_anything_is_written(tiny, tmp_path, wrong, message):
    config, songs = tiny
    with pytest.raises(ValueError, match=message):
        train(config, songs, **{"steps": 1, "out_dir": tmp_path / "run", "progress": False} | wrong)
    assert not list(tmp_path.iterdir())


def test_a_script_without_a_main_guard_trains_once(tmp_path):
    """Where processes are spawned (macOS, Windows) a worker runs the script again, and must not train."""
    script = tmp_path / "script.py"
    script.write_text(
        "import multiprocessing\n"
        "multiprocessing.set_start_method('spawn', force=True)\n"
        "from midi_utils import MelodyConverter, load_songs\n"
        f"songs = load_songs({str(ROOT / 'midi_songs')!r}, MelodyConverter(), workers=2, progress=False)\n"
        "print('trained on', len(songs))\n"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    run = subprocess.run([sys.executable, str(script)], env=environment, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stderr
    assert run.stdout.count("trained on") == 1


def test_every_epoch_visits_every_window_once():
    visited = torch.cat([batch_indices(step, 4, 10, seed=3) for step in range(5)])
    assert visited[:10].sort().values.tolist() == visited[10:].sort().values.tolist() == list(range(10))
    assert visited[:10].tolist() != visited[10:].tolist()
    assert len(batch_indices(0, 25, 10, seed=0)) == 25  # a batch may be larger than the set


def test_transposition_moves_whole_windows(tiny):
    """Each window is moved by one draw of its own, and differently in another epoch."""
    config, songs = tiny
    config = replace(config, training=replace(config.training, batch_size=24, transpose_range=(-5, 6)))
    data = labels_on("cpu", songs)
    moves = []
    for step in (0, 1):
        batch = step_batch(data, config, step, 0, seeded("cpu", "step", step))
        labels = (
            batch.targets.argmax(-1)[:, ::2]
            - torch.as_tensor(songs.labels.astype(int))[batch_indices(step, 24, 24, 0), ::2]
        )
        assert (labels == labels[:, :1]).all()
        moves.append(labels[:, 0].tolist())
    assert len(set(moves[0])) > 4
    assert min(moves[0]) >= -5
    assert max(moves[0]) <= 6
    assert moves[0] != moves[1]


def test_mixing_takes_drums_of_a_bar_from_the_window_before():
    """In a share of the windows some drums of each bar are another window's, from its first step to its last."""
    config = shrink("cat-drums_2bar_tiny", bars=2)
    config = replace(config, training=replace(config.training, batch_size=400, mixed=0.5))
    labels = torch.as_tensor(np.random.default_rng(1).integers(0, 512, (400, config.model.steps)))
    data = Labels(labels, None, None)
    batch = step_batch(data, config, 0, 0, seeded("cpu", "step", 0))
    order = batch_indices(0, 400, 400, 0)
    hits = [labels[k][..., None] >> torch.arange(9) & 1 for k in (order, order.roll(1))]
    own, other = ((batch.inputs[..., :9] == h).unflatten(1, (2, 16)).all(2) for h in hits)  # [window, bar, drum]
    assert (own ^ other).all()
    chosen = other.flatten(1).any(1)
    assert 0.4 < chosen.float().mean() < 0.6
    assert 0.45 < other[chosen].float().mean() < 0.55
    assert 0.45 < (other[chosen, 0] == other[chosen, 1]).float().mean() < 0.55


def test_a_curriculum_cuts_a_batch_into_the_bars_that_it_has_anyway():
    """The same windows, transposed by the same draws, first a bar at a time and in the end whole."""
    config = shrink("hier-mel_16bar_tiny", bars=4, transpose_range=(-2, 3), curriculum=4)
    data = labels_on("cpu", made_songs(config.converter))
    plain = replace(config, training=replace(config.training, curriculum=0))
    for step, pieces in enumerate((4, 4, 2, 2, 1)):
        batch, whole = (step_batch(data, c, step, 0, seeded("cpu", "step", step)) for c in (config, plain))
        assert batch.inputs.shape == (8 * pieces, 64 // pieces, 90)
        assert torch.equal(batch.inputs.reshape(whole.inputs.shape), whole.inputs)
        assert torch.equal(batch.targets.reshape(whole.targets.shape), whole.targets)


@pytest.mark.parametrize(
    ("gradient", "wanted"),
    [([3.0, 4.0], [0.6, 0.8]), ([0.3, 0.4], [0.3, 0.4]), ([6000.0, 8000.0], [0, 0]), ([math.nan, 1.0], [0, 0])],
)
def test_clipping(gradient, wanted):
    parameters = [torch.nn.Parameter(torch.zeros(1)) for _ in gradient]
    for parameter, value in zip(parameters, gradient):
        parameter.grad = torch.tensor([value])
    clip_gradients(parameters, 1.0)
    assert [p.grad.item() for p in parameters] == pytest.approx(wanted)


@needs_bfloat16
def test_bfloat16_learns_what_float32_learns(tiny, tmp_path):
    config, songs = tiny
    losses = [
        train(config, songs, out_dir=tmp_path / precision, steps=60, precision=precision, **QUIET)
        .history[-1]
        .train.loss
        for precision in ("float32", "bfloat16")
    ]
    assert losses[1] == pytest.approx(losses[0], rel=0.02)
    with pytest.raises(ValueError, match="precision must be .* got 'half'"):
        train(config, songs, out_dir=tmp_path / "half", steps=1, precision="half", **QUIET)


def test_a_manifest_says_what_is_trained_on_and_a_run_how_long_it_took(corpus_arguments, tmp_path, monkeypatch):
    monkeypatch.setitem(CONFIGS, "cat-mel_2bar_tiny", shrink("cat-mel_2bar_tiny"))
    command = ["--config", "cat-mel_2bar_tiny", *corpus_arguments, "--out", str(tmp_path / "out"), "--device", "cpu"]
    seconds = []
    for steps in ("2", "4"):
        train_module.main([*command, "--steps", steps])
        run = read_checkpoint(tmp_path / "out")["run"]
        seconds.append(run["seconds"])
    _, folder, _, manifest = corpus_arguments
    songs = load_corpus(folder, "train", CONFIGS["cat-mel_2bar_tiny"].converter, manifest, progress=False)
    assert run["data"] == train_module.fingerprint(songs)
    assert 0 < seconds[0] < seconds[1]


def test_the_commands_options_change_the_recipe():
    options = ["--config", "flat-mel_16bar_mini", "--data", "x", "--out", "y"]
    preset = CONFIGS["flat-mel_16bar_mini"]
    assert train_module.asked_config(train_module.parse_arguments(options)) == preset
    options += ["--learning-rate", "0.5", "--transpose", "-2", "3"]
    recipe = train_module.asked_config(train_module.parse_arguments(options)).training
    assert recipe == replace(preset.training, learning_rate=0.5, transpose_range=(-2, 3))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--config", "cat-mel_2bar_tny"], "did you mean cat-mel_2bar_tiny"),
        (["--config", "cat-mel_2bar_tiny"], "nowhere"),
    ],
)
def test_the_command_says_what_is_wrong(arguments, message, tmp_path):
    with pytest.raises(SystemExit, match=message):
        train_module.main([*arguments, "--data", "nowhere", "--out", str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_trains_and_resumes(tiny, tmp_path):
    config, songs = tiny
    arguments = {"out_dir": tmp_path, "device": "cuda", "progress": False, "eval_every": 2}
    train(config, songs, steps=2, **arguments)
    result = train(config, songs, steps=4, **arguments)
    assert next(result.model.parameters()).is_cuda
    assert result.history[1].train.loss < result.history[0].train.loss


MAGENTA = Path(__file__).parent / "fixtures" / "parity" / "cat-mel_2bar_small"


@pytest.fixture
def magentas():
    """The preset of Magenta's small melody checkpoint, and songs for it."""
    config = CONFIGS["cat-mel_2bar_small"]
    config = replace(config, training=replace(config.training, batch_size=4, learning_rate=1e-4))
    return config, made_songs(config.converter)


def test_a_run_begins_with_the_weights_it_is_given(tiny, tmp_path):
    """From a model, from a file of ours and from its folder: the same run, and the model that was given stays."""
    config, songs = tiny
    first = train(config, songs, out_dir=tmp_path / "first", steps=3, **QUIET).model
    before = [value.clone() for value in first.state_dict().values()]
    beginnings = (first, tmp_path / "first", str(tmp_path / "first" / CHECKPOINT))
    runs = [train(config, songs, out_dir=tmp_path / str(k), steps=2, init_from=beginning, **QUIET)
            for k, beginning in enumerate(beginnings)]  # fmt: skip
    assert equal_weights(runs[0].model, runs[1].model)
    assert equal_weights(runs[0].model, runs[2].model)
    assert not equal_weights(runs[0].model, first)
    assert all(map(torch.equal, before, first.state_dict().values()))
    anew = train(config, songs, out_dir=tmp_path / "anew", steps=2, **QUIET)
    assert runs[0].history[-1].train.loss < anew.history[-1].train.loss


def test_fine_tuning_a_checkpoint_of_magentas(magentas, tmp_path):
    """The run takes the checkpoint's sizes; without an update its weights are the checkpoint's, and then it learns."""
    config, songs = magentas
    result = train(config, songs, out_dir=tmp_path, steps=8, eval_every=4, init_from=MAGENTA / "model.ckpt", **QUIET)
    assert result.config.model == result.model.config == load_magenta_checkpoint(MAGENTA / "model.ckpt").config
    assert result.history[-1].train.loss < result.history[0].train.loss
    assert load_checkpoint(tmp_path)[1] == result.config
    assert not result.model.training


def test_a_frozen_encoder_stays(magentas, tmp_path):
    config, songs = magentas
    start = load_magenta_checkpoint(MAGENTA / "model.ckpt")
    result = train(config, songs, out_dir=tmp_path, steps=2, init_from=start, freeze_encoder=True, **QUIET)
    assert equal_weights(result.model.encoder, start.encoder)
    assert not equal_weights(result.model.cores, start.cores)
    assert any(parameter.requires_grad for parameter in start.encoder.parameters())


@pytest.mark.parametrize("kind", ["weights", "state"])
def test_a_fine_tuned_run_resumes_bit_for_bit(magentas, tmp_path, kind):
    """With dropout, scheduled sampling and a frozen encoder; from weights, and from a training run of Magenta's."""
    config, songs = magentas
    config = replace(config, model=replace(config.model, dropout_keep_prob=0.5))
    start = MAGENTA / "model.ckpt" if kind == "weights" else load_magenta_training_state(MAGENTA / "train_ckpt")
    steps = (2, 4, 6) if kind == "weights" else (1004, 1006, 1008)
    how = {"init_from": start, "freeze_encoder": True, "eval_every": 2, **QUIET}
    whole = train(config, songs, out_dir=tmp_path / "whole", steps=steps[-1], **how)
    train(config, songs, out_dir=tmp_path / "cut", steps=steps[0], **how)
    torch.rand(5)
    resumed = train(config, songs, out_dir=tmp_path / "cut", steps=steps[-1], **how)
    assert equal_weights(whole.model, resumed.model)
    assert [row.step for row in whole.history] == list(steps)
    assert whole.history == resumed.history


def test_a_run_of_another_beginning_is_refused(tiny, tmp_path):
    config, songs = tiny
    a, b = (MusicVAE(config.model) for _ in range(2))
    train(config, songs, out_dir=tmp_path, steps=1, init_from=a, **QUIET)
    for other in ({"init_from": b}, {}, {"init_from": a, "freeze_encoder": True}):
        with pytest.raises(ValueError, match="a run whose beginning differs"):
            train(config, songs, out_dir=tmp_path, steps=2, **other, **QUIET)
    assert train(config, songs, out_dir=tmp_path, steps=2, init_from=a, **QUIET).history[-1].step == 2


def test_weights_that_know_their_bars_start_with_whole_windows(tmp_path):
    config = shrink("hier-mel_16bar_tiny", bars=2, steps=4, curriculum=3)
    songs, start = made_songs(config.converter), MusicVAE(config.model)
    result = train(config, songs, out_dir=tmp_path, init_from=start, **QUIET)
    assert result.config.training.curriculum == 0
    again = train(config, songs, out_dir=tmp_path, steps=5, init_from=start, **QUIET)
    assert [row.step for row in again.history] == [4, 5]


def test_a_run_that_ends_before_its_windows_are_whole_says_so(tmp_path, recwarn):
    config = shrink("hier-mel_16bar_tiny", bars=2, steps=4, curriculum=2)
    songs = made_songs(config.converter)
    with pytest.warns(UserWarning, match="2 steps end before windows are whole: the curriculum has 2"):
        train(config, songs, out_dir=tmp_path, steps=2, **QUIET)
    recwarn.clear()
    train(config, songs, out_dir=tmp_path, steps=3, **QUIET)
    assert not [w for w in recwarn if "whole" in str(w.message)]


def test_adam_decays_as_the_recipe_says(tiny, tmp_path):
    config, songs = tiny
    config = replace(config, training=replace(config.training, beta2=0.0))
    train(config, songs, out_dir=tmp_path, steps=2, **QUIET)
    optimizer = set_up(config, songs, None, False, tmp_path / CHECKPOINT, True, "cpu", 0).optimizer
    assert optimizer.beta2 == 0.0


def test_weights_of_another_preset_are_refused(tiny, tmp_path):
    config, songs = tiny
    with pytest.raises(ValueError, match="init_from is a model of another kind: steps 256, asked for 32"):
        train(config, songs, out_dir=tmp_path, init_from=MusicVAE(shrink("hierdec-mel_16bar_tiny").model), **QUIET)
    with pytest.raises(ValueError, match="not a checkpoint of cat-mel_2bar_tiny: .*missing"):
        train(config, songs, out_dir=tmp_path, init_from=MAGENTA.parent / "hier-mel_16bar" / "model.ckpt", **QUIET)
    with pytest.raises(ValueError, match="no file .*nowhere"):
        train(config, songs, out_dir=tmp_path, init_from=tmp_path / "nowhere", **QUIET)
    with pytest.raises(ValueError, match="init_from must be a path, a MusicVAE or a TrainingState, got int"):
        train(config, songs, out_dir=tmp_path, init_from=3, **QUIET)
    assert not list(tmp_path.iterdir())


def test_a_training_run_of_magentas_goes_on(magentas, monkeypatch):
    """Three updates of ours from its weights give its optimizer's means; from its state the next update is the same."""
    config, _ = magentas
    with np.load(MAGENTA / "fixture.npz") as file:
        numbers = {key: torch.from_numpy(file[key]) for key in ("inputs", "outputs", "lengths", "eps")}
    recipe = replace(CONFIGS[config.name].training, sampling_schedule="constant", sampling_rate=0.0)
    config = replace(config, training=recipe)
    batch = Tensors(numbers["inputs"].float(), numbers["outputs"].float(), numbers["lengths"].long(), None)
    monkeypatch.setattr(torch, "randn", lambda *shape, **kind: numbers["eps"])
    start, model = (load_magenta_checkpoint(MAGENTA / "model.ckpt") for _ in range(2))
    optimizer = Adam(model)
    for step in range(1000, 1003):
        train_module.update(model, optimizer, batch, config, step, None)
    state = load_magenta_training_state(MAGENTA / "train_ckpt")
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            k = next(k for k, own in enumerate(optimizer.parameters) if own is parameter)
            for mean, theirs in ((optimizer.means[k], state.m[name]), (optimizer.squares[k], state.v[name])):
                assert (mean - theirs).norm() <= 1e-4 * theirs.norm(), name
            theirs = state.model.get_parameter(name)
            assert (parameter - theirs).norm() <= 1e-3 * (theirs - start.get_parameter(name)).norm(), name
    goes_on = MusicVAE(state.model.config)
    taken_up = Adam(goes_on)
    train_module.begin(goes_on, taken_up, state)
    for each, its in ((model, optimizer), (goes_on, taken_up)):
        train_module.update(each, its, batch, config, 1003, None)
    for (name, a), b in zip(model.named_parameters(), goes_on.parameters(), strict=True):
        assert (a - b).norm() <= 1e-3 * (a - start.get_parameter(name)).norm(), name
    assert taken_up.updates == 4


def test_dropout_is_of_training_alone(tiny, tmp_path):
    """Held-out songs are measured without it, and training goes on with it."""
    config, songs = tiny
    dry = replace(config, model=replace(config.model, dropout_keep_prob=0.2))
    model = MusicVAE(dry.model)
    runs = [train(c, songs, songs, out_dir=tmp_path / str(k), steps=1, init_from=model, **QUIET)
            for k, c in enumerate((config, dry))]  # fmt: skip
    assert runs[0].history[0].train != runs[1].history[0].train
    data = labels_on(torch.device("cpu"), songs)
    model.train()
    wet = [train_module.validate(model, data, c, 0) for c in (config, dry)]
    assert wet[0] == wet[1]
    assert model.training
