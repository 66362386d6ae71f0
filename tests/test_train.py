"""Training: models overfit, stopped runs resume bit for bit, and wrong arguments are refused."""

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
from jupyter_client.manager import start_new_kernel
from pretty_midi import Instrument, Note, PrettyMIDI, TimeSignature

import train as train_module
from checkpoint import CHECKPOINT, load_checkpoint, read_checkpoint
from configs import CONFIGS, with_converter
from corpus import Entry, file_sha1, load_corpus, write_manifest
from generate import TrainedModel
from helpers import BUILT_IN, QUIET, equal_weights, made_songs, needs_bfloat16, shrink
from train import train

ROOT = Path(__file__).parents[1]
MIDI = ROOT / "tests" / "fixtures" / "converters" / "midi"


def equal_optimizers(a, b):
    """Whether the checkpoints of two runs hold the same state of Adam, bit for bit."""
    a, b = (read_checkpoint(run)["optimizer"]["state"] for run in (a, b))
    return a.keys() == b.keys() and all(torch.equal(a[k][slot], b[k][slot]) for k in a for slot in a[k])


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
def test_a_model_overfits_eight_windows(name, tmp_path):
    """The posterior mean then decodes, free-running, to every step of its window."""
    config = shrink(name, bars=2, learning_rate=1e-2, max_beta=0.0, transpose_range=(0, 0))
    songs = made_songs(config.converter, windows=8, songs=2)
    slow = ("hier-mel_16bar_tiny", "cat-mel_2bar_tiny")  # from some seeds they first learn what needs no z
    seed = 1 if name in slow else 0
    result = train(config, songs, out_dir=tmp_path, steps=300, precision="float32", seed=seed, **QUIET)
    trained = TrainedModel(result.model, config)
    windows = songs.windows(range(8))
    controls = config.converter.to_tensors(windows).controls
    outputs = trained.model.sample(z=trained.encode(windows).mu, controls=controls, temperature=0)
    labels = config.converter.from_tensors(outputs)
    assert (np.asarray(labels) == songs.labels).mean() == 1.0
    assert result.history[-1].train.accuracy > 0.99


def test_a_model_overfits_eight_grooves(tmp_path):
    """The posterior mean decodes to every hit, with its velocity and offset."""
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
    """With lengths per segment, transposed chords, dropout of inputs and of notes, and 61 drums."""
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
def test_a_run_that_crashed_between_checkpoints_resumes_bit_for_bit(tiny, tmp_path, precision, monkeypatch):
    """Weights, optimizer and history equal those of an uninterrupted run."""
    config, songs = tiny
    config = replace(
        config, training=replace(config.training, sampling_schedule="constant", sampling_rate=0.5, batch_size=7)
    )
    parts = songs.split(valid=0.3)
    arguments = {"steps": 12, "eval_every": 4, "precision": precision, **QUIET}
    whole = train(config, parts.train, parts.valid, out_dir=tmp_path / "whole", **arguments)

    def crash_at_seven(*args, update=train_module.update):
        if args[4] == 6:
            raise KeyboardInterrupt
        return update(*args)

    monkeypatch.setattr(train_module, "update", crash_at_seven)
    with pytest.raises(KeyboardInterrupt):
        train(config, parts.train, parts.valid, out_dir=tmp_path / "cut", **arguments)
    monkeypatch.undo()
    assert read_checkpoint(tmp_path / "cut")["run"]["step"] == 4
    torch.rand(5)  # other draws in between change nothing
    resumed = train(config, parts.train, parts.valid, out_dir=tmp_path / "cut", **arguments)
    assert equal_weights(whole.model, resumed.model)
    assert whole.history == resumed.history
    assert equal_optimizers(tmp_path / "whole", tmp_path / "cut")


@pytest.fixture
def interrupt_at(monkeypatch):
    """Sends an interrupt during the update of a step, as Ctrl-C and a notebook's stop button do."""

    def during(step):
        def interrupted(*args, update=train_module.update):
            if args[4] == step:
                signal.raise_signal(signal.SIGINT)
            return update(*args)

        monkeypatch.setattr(train_module, "update", interrupted)

    return during


@pytest.mark.parametrize("stop", [1, 6, 8])
def test_an_interrupted_run_is_saved_and_resumes_bit_for_bit(tiny, tmp_path, capsys, interrupt_at, monkeypatch, stop):
    """Stopped before the first row of the history, between two rows, and at a row."""
    config, songs = tiny
    parts = songs.split(valid=0.3)
    arguments = {"steps": 12, "eval_every": 4, **QUIET}
    whole = train(config, parts.train, parts.valid, out_dir=tmp_path / "whole", **arguments)
    interrupt_at(stop - 1)
    cut = train(config, parts.train, parts.valid, out_dir=tmp_path / "cut", **arguments)
    monkeypatch.undo()
    path = tmp_path / "cut" / CHECKPOINT
    line = f"Interrupted: saved at step {stop} of 12 in {path}. To continue, run the same cell or command again.\n"
    assert capsys.readouterr().out == line
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert (cut.stopped_by, cut.history[-1].step, cut.checkpoint) == ("interrupt", stop, path)
    assert not cut.model.training
    assert equal_weights(cut.model, load_checkpoint(path)[0])
    torch.rand(5)  # other draws in between change nothing
    resumed = train(config, parts.train, parts.valid, out_dir=tmp_path / "cut", **arguments)
    assert equal_weights(whole.model, resumed.model)
    assert whole.history == resumed.history
    assert equal_optimizers(tmp_path / "whole", tmp_path / "cut")


def test_a_stopped_run_ends_with_the_row_that_its_step_would_have(tiny, tmp_path, interrupt_at, monkeypatch):
    config, songs = tiny
    whole = train(config, songs, songs, out_dir=tmp_path / "whole", steps=6, **QUIET)
    interrupt_at(5)
    cut = train(config, songs, songs, out_dir=tmp_path / "cut", steps=9, **QUIET)
    monkeypatch.undo()
    again = train(config, songs, songs, out_dir=tmp_path / "cut", steps=6, **QUIET)
    assert whole.history == cut.history == again.history
    assert read_checkpoint(tmp_path / "cut")["run"]["history"] == []


def test_a_time_limit_stops_a_run_which_then_resumes_bit_for_bit(tiny, tmp_path, capsys):
    config, songs = tiny
    arguments = {"steps": 3, "eval_every": 2, **QUIET}
    whole = train(config, songs, out_dir=tmp_path / "whole", **arguments)
    for step in (1, 2):
        cut = train(config, songs, out_dir=tmp_path / "cut", minutes=1e-9, **arguments)
        assert f"Out of time: saved at step {step} of 3 in" in capsys.readouterr().out
        assert (cut.stopped_by, cut.history[-1].step) == ("time", step)
    resumed = train(config, songs, out_dir=tmp_path / "cut", minutes=60, **arguments)
    assert resumed.stopped_by is None
    assert equal_weights(whole.model, resumed.model)
    assert whole.history == resumed.history


def test_an_interrupted_call_without_resume_says_how_to_continue(tiny, tmp_path, capsys, interrupt_at):
    config, songs = tiny
    interrupt_at(2)
    train(config, songs, out_dir=tmp_path, steps=9, resume=False, **QUIET)
    assert "To continue, train with resume=True and the same arguments." in capsys.readouterr().out


def arguments_of_forty_steps(out):
    """Of the command, for a run into this folder."""
    return ["--config", "cat-mel_2bar_tiny", "--data", str(MIDI), "--out", str(out), "--steps", "40",
            "--eval-every", "5", "--device", "cpu"]  # fmt: skip


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory):
    """The folder of a run of forty steps that nothing stopped."""
    folder = tmp_path_factory.mktemp("whole")
    train_module.main(arguments_of_forty_steps(folder))
    return folder


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL")
@pytest.mark.parametrize("stop", [signal.SIGKILL, signal.SIGINT])
def test_a_killed_or_interrupted_command_resumes_bit_for_bit(whole_run, tmp_path, capsys, stop):
    """The command is stopped in the middle of a run and started again."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}  # like the tests, so that sums have the same order
    process = subprocess.Popen(
        [sys.executable, "train.py", *arguments_of_forty_steps(tmp_path)],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    deadline = time.monotonic() + 120
    while not (tmp_path / CHECKPOINT).exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(stop)
    output = process.communicate()[0].decode()
    assert (tmp_path / CHECKPOINT).exists(), output
    step = read_checkpoint(tmp_path)["run"]["step"]
    assert step < 40
    if stop == signal.SIGINT:
        assert process.returncode == 130, output
        assert f"Interrupted: saved at step {step} of 40 in" in output
        assert "Traceback" not in output
    else:
        assert process.returncode == -signal.SIGKILL
    for _ in range(2):
        train_module.main(arguments_of_forty_steps(tmp_path))
    assert "is finished: 40 steps of 40" in capsys.readouterr().out
    assert equal_weights(load_checkpoint(tmp_path)[0], load_checkpoint(whole_run)[0])


CELL = """
import sys
sys.path[:0] = {paths}
from helpers import made_songs, shrink
from train import train

config = shrink("cat-mel_2bar_tiny")
result = train(config, made_songs(config.converter), out_dir={out!r}, steps=1_000_000, device="cpu")
print("the result is at step", result.history[-1].step)
"""


def test_a_stopped_notebook_cell_shows_one_line_and_has_its_result(tmp_path):
    """The cell runs in a Jupyter kernel, which is interrupted once the run says how long it will take."""
    manager, client = start_new_kernel()
    outputs = []

    def take(message):
        outputs.append(message)
        if "to step 1,000,000" in message["content"].get("text", ""):
            manager.interrupt_kernel()

    try:
        code = CELL.format(paths=[str(ROOT), str(ROOT / "tests")], out=str(tmp_path))
        reply = client.execute_interactive(code, output_hook=take, timeout=120)
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    text = "".join(message["content"].get("text", "") for message in outputs)
    step = read_checkpoint(tmp_path)["run"]["step"]
    assert reply["content"]["status"] == "ok", text
    assert f"Interrupted: saved at step {step} of 1,000,000 in" in text.replace(f"{step:,}", str(step))
    assert f"the result is at step {step}\n" in text


def test_a_finished_run_says_so_and_continues_with_more_steps(tiny, tmp_path, capsys):
    config, songs = tiny
    train(config, songs, out_dir=tmp_path, steps=3, **QUIET)
    again = train(config, songs, out_dir=tmp_path, steps=3, **QUIET)
    assert "is finished: 3 steps of 3" in capsys.readouterr().out
    assert [row.step for row in again.history] == [3]
    more = train(config, songs, out_dir=tmp_path, steps=5, **QUIET)
    assert [row.step for row in more.history] == [3, 5]


def test_windows_of_another_converter_and_empty_sets_are_refused(tiny, tmp_path):
    config, songs = tiny
    drums = shrink("cat-drums_2bar_tiny")
    with pytest.raises(ValueError, match="trains on windows of MelodyConverter.*these are of DrumsConverter"):
        train(config, made_songs(drums.converter), out_dir=tmp_path, **QUIET)
    with pytest.raises(ValueError, match="no window to train on"):
        train(config, songs.split(valid=0.3).test, out_dir=tmp_path, **QUIET)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"steps": 0}, "steps must be a whole number of at least 1, got 0"),
        ({"eval_every": 0}, "eval_every must be a whole number of at least 1, got 0"),
        ({"minutes": 0}, "minutes must be a number above 0, got 0"),
        ({"device": "abacus"}, "no device 'abacus' here"),
        ({"device": "meta"}, "no device 'meta' here"),
        ({"valid_set": made_songs(shrink("cat-drums_2bar_tiny").converter)}, "these are of DrumsConverter"),
    ],
)
def test_wrong_arguments_are_named_before_anything_is_written(tiny, tmp_path, wrong, message):
    config, songs = tiny
    with pytest.raises(ValueError, match=message):
        train(config, songs, **{"steps": 1, "out_dir": tmp_path / "run", "progress": False} | wrong)
    assert not list(tmp_path.iterdir())


def test_a_script_without_a_main_guard_trains_once(tmp_path):
    """Where processes are spawned (macOS, Windows), a worker imports the script again and must not train."""
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


def test_the_command_trains_on_a_manifest_and_records_the_duration(corpus_arguments, tmp_path, monkeypatch):
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


def test_the_command_begins_with_the_weights_of_a_file(corpus_arguments, tmp_path, monkeypatch):
    monkeypatch.setitem(CONFIGS, "cat-mel_2bar_tiny", shrink("cat-mel_2bar_tiny", learning_rate=1e-12))
    command = ["--config", "cat-mel_2bar_tiny", *corpus_arguments, "--device", "cpu", "--steps", "1"]
    train_module.main([*command, "--out", str(tmp_path / "first"), "--seed", "1"])
    for out in ("others", "same"):
        first = ["--init-from", str(tmp_path / "first")] if out == "same" else []
        train_module.main([*command, "--out", str(tmp_path / out), *first])
    first, others, same = (
        read_checkpoint(tmp_path / out)["model"]["encoder.mu.weight"] for out in ("first", "others", "same")
    )
    assert torch.allclose(first, same, atol=1e-6)
    assert not torch.allclose(first, others, atol=1e-3)


@pytest.mark.parametrize("name", CONFIGS)
def test_without_options_the_command_trains_the_preset(name):
    options = train_module.parse_arguments(["--config", name, "--data", "x", "--out", "y"])
    assert train_module.chosen_config(options) == CONFIGS[name]


def test_options_of_the_command_change_the_recipe():
    options = ["--config", "flat-mel_16bar_mini", "--data", "x", "--out", "y"]
    preset = CONFIGS["flat-mel_16bar_mini"]
    options += ["--learning-rate", "0.5", "--transpose", "-2", "3"]
    recipe = train_module.chosen_config(train_module.parse_arguments(options)).training
    assert recipe == replace(preset.training, learning_rate=0.5, transpose_range=(-2, 3))


def test_options_of_the_command_change_the_length_the_metre_and_the_tracks():
    options = ["--config", "flat-mel_16bar_mini", "--data", "x", "--out", "y"]
    preset = CONFIGS["flat-mel_16bar_mini"]
    options += ["--bars", "8", "--time-signature", "3/4", "--programs", "0-2,40"]
    chosen = train_module.chosen_config(train_module.parse_arguments(options))
    assert chosen == with_converter(preset, bars=8, time_signature=(3, 4), programs=(0, 1, 2, 40))
    options[-1] = "all"
    assert train_module.chosen_config(train_module.parse_arguments(options)).converter.programs is None


def test_the_command_reads_drums_from_any_track_and_pitch_and_swung_songs_and_half_bars(tmp_path):
    (tmp_path / "songs").mkdir()
    for k in range(2):
        midi = PrettyMIDI(initial_tempo=100)
        midi.instruments.append(Instrument(0, name="Beat"))
        midi.time_signature_changes.append(TimeSignature(2, 4, 0))
        places = (beat + place for beat in range(16) for place in (0, 0.66))
        midi.instruments[0].notes = [Note(80, 60 + k, 0.6 * start, 0.6 * start + 0.1) for start in places]
        midi.write(str(tmp_path / "songs" / f"{k}.mid"))
    words = f"--config cat-drums_2bar_tiny --data {tmp_path}/songs --out x --valid 0.5"
    words += " --drum-track beat --straighten --pair-bars"
    options = train_module.parse_arguments([*words.split(), "--input-drum-map", "60=36,61=acoustic snare"])
    parts = train_module.read_parts(options, CONFIGS["cat-drums_2bar_tiny"])
    assert sorted(songs.labels[0, :4].tolist() for songs in parts) == [[1, 0, 1, 0], [2, 0, 2, 0]]


def test_the_command_leaves_out_sources_of_the_manifest(tmp_path, monkeypatch):
    """The run is that of a manifest without these songs."""
    monkeypatch.setitem(CONFIGS, "cat-mel_2bar_tiny", shrink("cat-mel_2bar_tiny"))
    entries = []
    for k, song in enumerate(sorted(BUILT_IN.glob("*.mid"))[:8]):
        path = tmp_path / "songs" / "ab"[k % 2] / song.name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(song.read_bytes())
        entries.append(Entry(f"{'ab'[k % 2]}/{song.name}", file_sha1(path), ("train", "valid")[k // 4], song.name))
    write_manifest(tmp_path / "all.csv", entries)
    write_manifest(tmp_path / "b.csv", entries[1::2])
    command = ["--config", "cat-mel_2bar_tiny", "--data", str(tmp_path / "songs"), "--device", "cpu", "--steps", "2"]
    wanted = ["--manifest", str(tmp_path / "all.csv"), "--without-sources", "a"]
    train_module.main([*command, *wanted, "--out", str(tmp_path / "x")])
    train_module.main([*command, "--manifest", str(tmp_path / "b.csv"), "--out", str(tmp_path / "y")])
    x, y = (read_checkpoint(tmp_path / run)["run"] for run in "xy")
    assert (x["data"], x["history"]) == (y["data"], y["history"])
    with pytest.raises(
        SystemExit, match="--without-sources leaves out sources of a manifest: give one with --manifest"
    ):
        train_module.main([*command, "--without-sources", "a", "--out", str(tmp_path / "z")])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--config", "cat-mel_2bar_tny"], "did you mean cat-mel_2bar_tiny"),
        (["--config", "cat-mel_2bar_tiny"], "nowhere"),
        (["--config", "cat-mel_2bar_tiny", "--seed", "-1"], "seed must be a whole number from 0 to 2.63 - 1, got -1"),
        (["--config", "cat-mel_2bar_tiny", "--seed", str(2**63)], "seed must be a whole number from 0 to .*, got 922"),
        (["--config", "cat-mel_2bar_tiny", "--steps", "0"], "steps must be a whole number of at least 1, got 0"),
        (["--config", "cat-mel_2bar_tiny", "--patience", "1", "--valid", "0"], "patience compares held-out songs"),
        (["--config", "cat-mel_2bar_tiny", "--minutes", "nan"], "minutes must be a number above 0"),
        (["--config", "cat-mel_2bar_tiny", "--valid", "2"], "shares lie from 0 to 1"),
        (["--config", "cat-mel_2bar_tiny", "--time-signature", "3"], "a time signature is written as 3/4, got '3'"),
        (["--config", "cat-drums_2bar_tiny", "--programs", "0"], "the DrumsConverter of .* has no programs; it"),
        (["--config", "cat-drums_2bar_tiny", "--input-drum-map", "60"], "--input-drum-map takes pairs .* got '60'"),
        (["--config", "cat-mel_2bar_tiny", "--init-from", str(BUILT_IN / "02_frere_jacques.mid")], "is a MIDI file"),
        (["--config", "cat-mel_2bar_tiny", "--init-from", "pretrained/mel_16bar.pt"], "a model of another kind: steps"),
    ],
)
def test_the_command_names_a_wrong_argument(arguments, message, tmp_path):
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


def test_a_run_that_ends_within_its_curriculum_warns(tmp_path, recwarn):
    config = shrink("hier-mel_16bar_tiny", bars=2, steps=4, curriculum=2)
    songs = made_songs(config.converter)
    with pytest.warns(UserWarning, match="2 steps end before windows are whole: the curriculum has 2"):
        train(config, songs, out_dir=tmp_path, steps=2, **QUIET)
    recwarn.clear()
    train(config, songs, out_dir=tmp_path, steps=3, **QUIET)
    assert not [w for w in recwarn if "whole" in str(w.message)]
