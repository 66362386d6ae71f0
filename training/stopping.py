"""How long a run goes on, and its stop between two updates: at the user's interrupt or at a time limit."""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal, NamedTuple

from engine.checks import checked_count, checked_positive
from training.processes import is_shared

StopReason = Literal["interrupt", "time", "patience"]


class Durations(NamedTuple):
    """How long a run goes on, and how often it is evaluated; see `train`."""

    steps: int  # updates in total
    minutes: float | None  # of this call
    eval_every: int  # steps
    patience: int | None  # evaluations


def checked_durations(
    steps: int, minutes: float | None, eval_every: int, patience: int | None, held_out: bool
) -> Durations:
    """The durations of a run.

    Raises:
        ValueError: a number that is not above 0, `minutes` in a shared run, or `patience` without held-out songs.
    """
    if minutes is not None:
        checked_positive("minutes", minutes)
        if is_shared():
            raise ValueError("minutes limits a run of one process: with several, set steps instead")
    steps, eval_every = checked_count("steps", steps), checked_count("eval_every", eval_every)
    if patience is not None:
        checked_count("patience", patience)
        if not held_out:
            raise ValueError("patience compares held-out songs: hold some out, or leave patience out")
    return Durations(steps, minutes, eval_every, patience)


@contextmanager
def stop_requests(minutes: float | None = None) -> Iterator[Callable[[], StopReason | None]]:
    """Yields a function that returns why the run should stop now, or None if it should continue.

    Within the context, an interrupt (Ctrl-C, or the stop button of a notebook) does not raise: the run learns of it
    from the function and can complete the current update first. A second interrupt raises KeyboardInterrupt at once.

    Args:
        minutes: time limit, from the entry of the context; no limit when None.
    """
    deadline = float("inf") if minutes is None else time.monotonic() + 60 * minutes
    interrupted = threading.Event()

    def reason() -> StopReason | None:
        return "interrupt" if interrupted.is_set() else "time" if time.monotonic() >= deadline else None

    if not can_defer_interrupts():
        yield reason
        return

    def defer(signal_number, frame):
        signal.signal(signal.SIGINT, signal.default_int_handler)
        interrupted.set()

    signal.signal(signal.SIGINT, defer)
    try:
        yield reason
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def can_defer_interrupts() -> bool:
    """Whether this process alone makes the run, and an interrupt would raise KeyboardInterrupt in this thread."""
    main_thread = threading.current_thread() is threading.main_thread()
    return not is_shared() and main_thread and signal.getsignal(signal.SIGINT) is signal.default_int_handler
