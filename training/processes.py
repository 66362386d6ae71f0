"""The device of a run, and the processes that share the run under torchrun, each with a part of every batch."""

import os

import torch
import torch.distributed as dist
from torch import Generator

from engine.rng import RandomSource, Shard


def pick_device() -> torch.device:
    """Returns the fastest device available: CUDA, Apple's MPS, or the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def check_device(name: torch.device | str) -> torch.device:
    """Returns the device of a name; raises ValueError if this machine has no such device."""
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).item()  # which a device without memory, such as meta, has not
        return device
    except (RuntimeError, AssertionError, TypeError) as fault:
        raise ValueError(f"no device {str(name)!r} here: {str(fault).splitlines()[0]}") from None


def launched() -> bool:
    """Whether torchrun started this process."""
    return dist.is_available() and dist.is_torchelastic_launched()


def process_rank() -> int:
    """Returns the number of this process among those that share a run, from 0."""
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


def process_count() -> int:
    """Returns how many processes share a run."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def is_shared() -> bool:
    """Whether several processes share a run, or torchrun started this one."""
    return launched() or process_count() > 1


def is_main_process() -> bool:
    """Whether this process writes and prints for all; known before the process group exists."""
    return (int(os.environ["RANK"]) if launched() else process_rank()) == 0


def process_device(device: torch.device | str | None) -> torch.device:
    """Returns the device of this process: the given one, or the fastest. Under torchrun each process gets its own GPU.

    Raises:
        ValueError: no such device, fewer GPUs than processes, or a device on which processes cannot train together.
    """
    device = check_device(device) if device else pick_device()
    if launched() and device.type == "cuda":
        device = check_device(f"cuda:{os.environ['LOCAL_RANK']}")
        torch.cuda.set_device(device)
    elif launched() and device.type != "cpu":
        raise ValueError(f"several processes train on CUDA devices or on the CPU, not on {device}: use device 'cpu'")
    return device


def join_process_group(device: torch.device):
    """Joins torchrun's processes in one group, which then stays: PyTorch is unreliable where a group is made twice."""
    if launched() and not dist.is_initialized():
        gpu = device.type == "cuda"
        dist.init_process_group("nccl" if gpu else "gloo", device_id=device if gpu else None)


def check_processes(run: dict, batch_size: int):
    """Checks that the processes can share a batch and that all of them are about to make the same run.

    Args:
        run: what must be equal in all processes, by name.
        batch_size: windows per batch.

    Raises:
        ValueError: in every process, if there are more processes than windows, or if their runs differ.
    """
    count = process_count()
    if count > batch_size:
        raise ValueError(f"{count} processes cannot share a batch of {batch_size}: start {batch_size} at most")
    runs = [run] * count
    if count > 1:
        dist.all_gather_object(runs, run)
    for rank, other in enumerate(runs):
        for key in (key for key in run if other[key] != runs[0][key]):
            raise ValueError(
                f"processes 0 and {rank} differ in {key}: all need the same arguments and songs, "
                "and a run folder that all of them can read"
            )


def from_main_process(value: str | None) -> str | None:
    """Returns the value that the main process passed. Every process has to call it."""
    values = [value]
    if process_count() > 1:
        dist.broadcast_object_list(values)
    return values[0]


def process_shard(generator: Generator, total: int) -> RandomSource:
    """Returns this process's shard of the random draws for a batch of `total` windows; all of them for one process."""
    rank, count = process_rank(), process_count()
    return generator if count == 1 else Shard(generator, total * rank // count, total * (rank + 1) // count, total)
