"""Updates that were skipped because the loss or a gradient was NaN or infinite; too many in a row stop the run."""

import torch
from torch import Tensor

MAX_IN_A_ROW = 3  # skipped updates that stop a run


class TrainingDiverged(ArithmeticError):
    """The loss or a gradient was NaN or infinite in `MAX_IN_A_ROW` updates in a row."""


class SkippedUpdates:
    """Counts skipped updates. Flags stay on the device until `read`, so that no update waits for it."""

    def __init__(self, step: int):
        self.step = step  # of the last update that was read
        self.in_a_row = 0  # skipped updates up to this step
        self.diverged_at: int | None = None  # step of the update that should stop the run
        self.flags: list[Tensor] = []  # of the updates since then

    def add(self, flag: Tensor):
        """Adds the flag of an update: 1.0 if it was skipped, else 0.0, a scalar."""
        self.flags.append(flag)

    def read(self) -> int:
        """Reads the flags added since the last call; returns how many updates were skipped."""
        flags = torch.stack(self.flags).tolist() if self.flags else []
        self.flags.clear()
        for flag in flags:
            self.step += 1
            self.in_a_row = self.in_a_row + 1 if flag else 0
            if self.in_a_row == MAX_IN_A_ROW and self.diverged_at is None:
                self.diverged_at = self.step
        return int(sum(flags))
