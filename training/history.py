"""How far a run has come: its step, the history of its metrics, and the sums that the next row is made of."""

from typing import NamedTuple

import torch
from torch import Tensor


class Metrics(NamedTuple):
    """Means over windows.

    Training metrics include scheduled sampling where the recipe has it; held-out metrics are teacher-forced. In a
    curriculum, training metrics are means over the pieces that windows are cut into.
    """

    loss: float  # nats: reconstruction + beta * KL beyond the free bits
    reconstruction: float  # nats per window
    kl_bits: float  # bits per window
    accuracy: float  # 0..1, share of steps whose most likely class is correct, averaged over a trio's parts

    def __str__(self) -> str:
        return f"loss {self.loss:.1f}, KL {self.kl_bits:.0f} bits, acc {self.accuracy:.1%}"


class HistoryRow(NamedTuple):
    """Metrics of the updates since the previous row, and of the held-out songs after `step` updates.

    Updates that were skipped do not count; training metrics are NaN if all were.
    """

    step: int
    train: Metrics
    valid: Metrics | None  # None without held-out songs


class Position(NamedTuple):
    """Where a run stands. One that was stopped between two rows also holds the sums that its next row needs."""

    step: int = 0  # updates made, counted on from the step of the first weights
    history: tuple[HistoryRow, ...] = ()
    seconds: float = 0.0  # duration of the run
    sums: Tensor = torch.zeros(4)  # loss, reconstruction, KL in nats, accuracy over the updates since the last row
    updates: int = 0  # updates since the last row, without those that were skipped
    skipped: int = 0  # updates of the run that were skipped because the loss or a gradient was NaN or infinite
    saved: int = 0  # step of the last checkpoint; 0 before the first


def position_to_dict(position: Position) -> dict:
    """Converts the position of a run to plain values, which a checkpoint can hold."""
    rows = [[step, list(train), valid and list(valid)] for step, train, valid in position.history]
    content = {"step": position.step, "history": rows, "seconds": position.seconds}
    if position.updates:
        content |= {"sums": position.sums.tolist(), "updates": position.updates}
    if position.skipped:
        content["skipped"] = position.skipped
    return content


def position_from_dict(content: dict) -> Position:
    """Restores what `position_to_dict` converted; a checkpoint of an earlier version may lack the seconds."""
    rows = (HistoryRow(step, Metrics(*train), valid and Metrics(*valid)) for step, train, valid in content["history"])
    sums, updates = torch.tensor(content.get("sums", [0.0] * 4)), content.get("updates", 0)
    seconds, skipped = content.get("seconds", 0.0), content.get("skipped", 0)
    return Position(content["step"], tuple(rows), seconds, sums, updates, skipped, saved=content["step"])
