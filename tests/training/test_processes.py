"""Several processes that share a run: the result equals that of one process, and there is one checkpoint.

Runs are short and learning rates low, because rounding differs with the number of processes and grows step by step.
"""

import os
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

import train as train_module
from checkpoint import load_checkpoint, read_checkpoint
from helpers import made_songs, make_loss_nan, shrink
from train import train

pytestmark = pytest.mark.skipif(not dist.is_gloo_available(), reason="needs PyTorch with gloo")
ROOT = Path(__file__).parents[2]
CASES = {  # preset, other arguments of `train`; a batch has 8 windows, the last held-out batch 2
    "melody": ("cat-mel_2bar_tiny", {"steps": 12}),  # transposed; scheduled sampling feeds half of the frames back
    "drums": ("cat-drums_2bar_tiny", {"steps": 8}),  # mixed windows
    "groove": ("groovae_2bar_tap_fixed_velocity_note_dropout", {"steps": 6}),  # dropout of inputs and of notes
    "conductor": ("hierdec-mel_16bar_tiny", {"steps": 6, "freeze_encoder": True}),
    "bars": ("hier-mel_16bar_tiny", {"steps": 8}),  # a curriculum from one bar to two
    "tracks": ("hier-multiperf_vel_1bar_med_chords", {"steps": 4}),  # segments of several lengths, transposed chords
}
COUNTS = (2, 3)  # of processes
WEIGHT_TOLERANCE = 1e-3  # share of its norm by which a weight may differ; Adam amplifies gradients near zero


def make(name):
    """Returns the arguments of `train` for a case."""
    preset, arguments = CASES[name]
    recipe = {} if name == "tracks" else {"sampling_schedule": "constant", "sampling_rate": 0.5}
    recipe |= {"mixed": 0.5} if name == "drums" else {"curriculum": 4} if name == "bars" else {}
    config = shrink(preset, bars=2, learning_rate=2e-3, **recipe)
    songs, held_out = made_songs(config.converter, windows=20), made_songs(config.converter, windows=10, seed=1)
    same = {"eval_every": 2, "precision": "float32", "device": "cpu", "progress": False}
    return {"config": config, "train_set": songs, "valid_set": held_out, **same, **arguments}


@contextmanager
def nan_loss(wanted=True):
    """Makes the loss of this process NaN in the update that starts at step 1."""
    with pytest.MonkeyPatch.context() as patch:
        make_loss_nan(patch, {1} if wanted else ())
        yield


def run_everything(rank, folder):
    """Runs in each of the processes: two of them do everything together, then all three."""
    torch.set_num_threads(1)
    for count in COUNTS:
        if rank < count:
            run_together(rank, count, folder)
    os._exit(0)  # skips the shutdown of the interpreter, which a running thread of torch can abort


def run_together(rank, count, folder):
    """Every case, runs that continue or skip an update, and three that are refused."""
    rendezvous = f"file://{folder / f'rendezvous_{count}'}"
    dist.init_process_group("gloo", init_method=rendezvous, rank=rank, world_size=count)
    for name in CASES:
        train(**make(name), out_dir=folder / f"{name}_{count}")
    train(**make("melody") | {"steps": 4 * count}, out_dir=folder / "melody_resumed")
    tiny = make("melody")
    with nan_loss(rank == count - 1):
        train(**tiny | {"steps": 4}, out_dir=folder / f"nan_{count}")
    few = replace(tiny["config"], training=replace(tiny["config"].training, batch_size=count - 1))
    other = made_songs(few.converter, windows=20, seed=rank)
    for what, wrong in (("few", {"config": few}), ("other", {"train_set": other}), ("limit", {"minutes": 1})):
        with pytest.raises(ValueError) as refused:
            train(**tiny | wrong, out_dir=folder / what)
        (folder / f"{what}_{count}_{rank}").write_text(str(refused.value))
    wait_for_all(rank, count, folder)
    dist.destroy_process_group()


def wait_for_all(rank, count, folder):
    """Returns once every process is here. With PyTorch 2.4, one can hang in a barrier that another has left."""
    (folder / f"here_{count}_{rank}").touch()
    while len(list(folder.glob(f"here_{count}_*"))) < count:
        time.sleep(0.01)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Every case with one, two and three processes, and a run that one, two and three processes continue in turn."""
    folder = tmp_path_factory.mktemp("distributed")
    for name in CASES:
        train(**make(name), out_dir=folder / f"{name}_1")
    for stop in ({"steps": 4}, {"steps": 8, "minutes": 1e-9}):  # the second stops between two rows, at step 5
        train(**make("melody") | stop, out_dir=folder / "melody_resumed")
    with nan_loss(), pytest.warns(UserWarning, match="updates skipped"):
        train(**make("melody") | {"steps": 4}, out_dir=folder / "nan_1")
    torch.multiprocessing.spawn(run_everything, (folder,), max(COUNTS))
    return folder


def curve(run):
    """Returns every number of a history, [rows, 9]."""
    rows = read_checkpoint(run)["run"]["history"]
    return torch.tensor([[row[0], *row[1], *row[2]] for row in rows], dtype=torch.float64)


def assert_same_run(run, whole):
    """Checks that losses agree to 1e-4, and weights to their tolerance."""
    ours, theirs = curve(run), curve(whole)
    assert ours.shape == theirs.shape
    losses = [1, 2, 3, 5, 6, 7]
    torch.testing.assert_close(ours[:, losses], theirs[:, losses], rtol=1e-4, atol=1e-4)
    for a, b in zip(*(load_checkpoint(path)[0].state_dict().values() for path in (run, whole))):
        assert (a - b).norm() <= WEIGHT_TOLERANCE * b.norm()


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("name", CASES)
def test_several_processes_give_the_run_of_one(folder, name, count):
    run, whole = folder / f"{name}_{count}", folder / f"{name}_1"
    assert_same_run(run, whole)
    assert sorted(file.name for file in run.iterdir()) == ["best.pt", "checkpoint.pt"]
    assert read_checkpoint(run)["run"].keys() == read_checkpoint(whole)["run"].keys()
    if name != "tracks":  # whose accuracy is a mean over the processes
        assert curve(run)[:, [4, 8]].allclose(curve(whole)[:, [4, 8]], atol=2e-3)


def test_a_run_continues_with_another_number_of_processes(folder):
    """One process makes 5 of the 12 steps, two make 3 and three make 4."""
    assert_same_run(folder / "melody_resumed", folder / "melody_1")


@pytest.mark.parametrize("count", COUNTS)
def test_all_processes_skip_an_update_that_is_nan_in_one(folder, count):
    assert_same_run(folder / f"nan_{count}", folder / "nan_1")
    assert read_checkpoint(folder / f"nan_{count}")["run"]["skipped"] == 1


@pytest.mark.parametrize("count", COUNTS)
def test_every_process_refuses_what_processes_cannot_share(folder, count):
    for rank in range(count):
        few, other, limit = ((folder / f"{what}_{count}_{rank}").read_text() for what in ("few", "other", "limit"))
        assert f"{count} processes cannot share a batch of {count - 1}: start {count - 1} at most" in few
        assert "processes 0 and 1 differ in data" in other
        assert "minutes limits a run of one process: with several, set steps instead" in limit
    assert not any((folder / what).exists() for what in ("few", "other", "limit"))


def torchrun(count, *arguments, folder=ROOT):
    """Runs a script in several processes; returns the completed launcher."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={count}", *arguments]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize(
    "device",
    [
        "cpu",
        pytest.param(
            "cuda",
            marks=[
                pytest.mark.gpu,
                pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA devices"),
            ],
        ),
    ],
)
def test_the_command_under_torchrun_gives_one_report_and_one_checkpoint(tmp_path, device):
    """A single process then continues the run, and the result equals that of a single process from the start."""
    songs = str(ROOT / "tests" / "fixtures" / "converters" / "midi")

    def command(out, steps):
        return ["--config", "cat-mel_2bar_tiny", "--data", songs, "--out", str(tmp_path / out), "--device", device,
                "--precision", "float32", "--steps", str(steps), "--eval-every", "2"]  # fmt: skip

    run = torchrun(2, "train.py", *command("shared", 4))
    assert run.returncode == 0, run.stderr
    assert run.stdout.count("after 4 steps") == run.stdout.count("windows of") == 1
    for out in ("shared", "whole"):
        train_module.main(command(out, 6))
    assert_same_run(tmp_path / "shared", tmp_path / "whole")


@pytest.mark.slow
def test_a_process_that_fails_ends_the_others(tmp_path):
    """It fails in the second of two runs of a script."""
    script = tmp_path / "script.py"
    script.write_text(
        "import os, sys, train\n"
        f"sys.path.insert(0, {str(ROOT / 'tests')!r})\n"
        "from helpers import made_songs, shrink\n"
        "def failing_update(*arguments, update=train.update):\n"
        "    if arguments[4] == 3 and os.environ['RANK'] == '1':\n"
        "        raise RuntimeError('out of luck')\n"
        "    return update(*arguments)\n"
        "config = shrink('cat-mel_2bar_tiny')\n"
        "songs = made_songs(config.converter)\n"
        "for name, steps in (('first', 2), ('second', 8)):\n"
        "    train.train(config, songs, out_dir=name, steps=steps, eval_every=2, device='cpu')\n"
        "    train.update = failing_update\n"
    )
    run = torchrun(2, str(script), folder=tmp_path)
    assert run.returncode != 0
    assert "out of luck" in run.stderr
    assert read_checkpoint(tmp_path / "second")["run"]["step"] == 2
