"""The device of a training, and the processes that share one under torchrun, each with a part of every batch."""

import os

import torch
import torch.distributed as dist
from torch import Generator

from engine.rng import RandomSource, Shard


def pick_device() -> torch.device:
    """The fastest device there is: CUDA, Apple's MPS, or the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def check_device(name: torch.device | str) -> torch.device:
    """The device of a name; raises ValueError where there is none."""
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
        return device
    except (RuntimeError, AssertionError) as fault:
        raise ValueError(f"no device {str(name)!r} here: {str(fault).splitlines()[0]}") from None


def launched() -> bool:
    """Whether torchrun started this process."""
    return dist.is_available() and dist.is_torchelastic_launched()


def ranks() -> tuple[int, int]:
    """The number of this process among those that share a run, from 0, and how many they are."""
    together = dist.is_available() and dist.is_initialized()
    return (dist.get_rank(), dist.get_world_size()) if together else (0, 1)


def leads() -> bool:
    """Whether this process is the one that writes and prints for all, before they have joined too."""
    return (int(os.environ["RANK"]) if launched() else ranks()[0]) == 0


def own_device(device: torch.device | str | None) -> torch.device:
    """The device of a process: the one given or the fastest, and of torchrun's processes to each a GPU of its own.

    Raises:
        ValueError: no such device, fewer GPUs than processes, or one that processes cannot train on together.
    """
    device = check_device(device) if device else pick_device()
    if launched() and device.type == "cuda":
        device = check_device(f"cuda:{os.environ['LOCAL_RANK']}")
        torch.cuda.set_device(device)
    elif launched() and device.type != "cpu":
        raise ValueError(f"several processes train on CUDA devices or on the CPU, not on {device}: name device 'cpu'")
    return device


def join(device: torch.device):
    """Makes one group of torchrun's processes, for good: PyTorch loses its way where a group is left and made anew."""
    if launched() and not dist.is_initialized():
        gpu = device.type == "cuda"
        dist.init_process_group("nccl" if gpu else "gloo", device_id=device if gpu else None)


def check_processes(run: dict, batch_size: int):
    """Raises ValueError in every process where they are too many for a batch, or not all about to train the same."""
    count = ranks()[1]
    if count > batch_size:
        raise ValueError(f"{count} processes cannot share a batch of {batch_size}: start {batch_size} at most")
    found = [run] * count
    if count > 1:
        dist.all_gather_object(found, run)
    for other, theirs in enumerate(found):
        for key in (key for key in run if theirs[key] != found[0][key]):
            raise ValueError(
                f"processes 0 and {other} differ in {key}: all need the same arguments and songs, "
                "and a folder for the run that all of them see"
            )


def own_shard(generator: Generator, total: int) -> RandomSource:
    """This process's part of the draws for a batch of so many windows; all of them where it is alone."""
    rank, count = ranks()
    return generator if count == 1 else Shard(generator, total * rank // count, total * (rank + 1) // count, total)
