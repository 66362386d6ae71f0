"""The progress bar of a run, and the line that says how long the run will take."""

import math
import sys
import time

from tqdm.auto import tqdm

from console import encodable
from training.history import Metrics
from training.stopping import Durations

FORECAST_UPDATES = 10  # updates after which the line is printed
VALIDATION_COST = 1 / 3  # duration of a batch of held-out windows, in updates: forward without backward
BAR = "{l_bar}{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}{postfix}]"  # fits 100 characters
UNITS = ((5400, 3600, "hours"), (90, 60, "minutes"), (0, 1, "seconds"))  # seconds from which on, seconds per unit, unit


class ProgressBar:
    """Shows the step, the time used, the time left and the metrics of a run; tells the time left after ten updates."""

    def __init__(self, name: str, step: int, durations: Durations, valid_batches: int, shown: bool):
        self.name, self.first, self.durations, self.valid_batches = name, step, durations, valid_batches
        self.bar = tqdm(total=durations.steps, initial=step, desc="training", bar_format=BAR, disable=not shown)
        self.warm = 0.0  # clock after the first update, which also loads kernels

    def __enter__(self) -> "ProgressBar":
        return self

    def __exit__(self, *fault):
        self.bar.close()

    def advance(self):
        """Counts an update."""
        self.bar.update()
        made = self.bar.n - self.first  # stays 0 where the bar is not shown
        if made == 1:
            self.warm = time.monotonic()
        if made == FORECAST_UPDATES:
            update_seconds = (time.monotonic() - self.warm) / (FORECAST_UPDATES - 1)
            left = updates_left(self.bar.n, self.durations, self.valid_batches)
            self.bar.write(encodable(self.forecast(left * update_seconds), sys.stdout))

    def forecast(self, seconds: float) -> str:
        """The line that says how long the run will take, and whether a time limit ends this call before."""
        minutes = self.durations.minutes
        line = f"{self.name}: about {duration(seconds)} to step {self.durations.steps:,}"
        is_limited = minutes is not None and seconds > 60 * minutes
        return f"{line}; this call ends after {duration(60 * minutes)}" if is_limited else line

    def show(self, metrics: Metrics):
        """Sets the metrics, which appear when the bar is drawn next."""
        self.bar.set_postfix_str(str(metrics), refresh=False)


def updates_left(step: int, durations: Durations, valid_batches: int) -> float:
    """Returns the work from a step to the last, in updates: the updates and the measurements of held-out windows.

    Args:
        step: updates made.
        durations: its last step is measured too.
        valid_batches: batches per measurement.
    """
    measurements = math.ceil(durations.steps / durations.eval_every) - step // durations.eval_every
    return durations.steps - step + measurements * valid_batches * VALIDATION_COST


def duration(seconds: float) -> str:
    """Writes a duration in the largest unit that fits: '45 seconds', '2.5 minutes', '12 hours'."""
    size, unit = next((size, unit) for least, size, unit in UNITS if seconds >= least)
    amount = seconds / size
    return f"{amount:.0f} {unit}" if amount >= 10 else f"{amount:.2g} {unit}"
