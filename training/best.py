"""The best weights of a run by its held-out songs, and when to stop because they get no better.

A run keeps the weights of its best row beside its checkpoint. Which row that is follows from the history, which the
checkpoint holds, so a resumed run needs nothing else.
"""

import math
from collections.abc import Sequence

from configs import TrainingConfig
from music.grid import counted
from training.history import HistoryRow
from training.updates import recipe_beta


def final_loss(row: HistoryRow, recipe: TrainingConfig) -> float:
    """The loss of a row's held-out windows at the recipe's final beta, in nats per window; NaN without such windows.

        reconstruction + max_beta * mean(max(KL - free_bits * ln 2, 0))

    `row.valid.loss` has the beta of its own step. While beta rises, these losses rise too, and the first row would be
    the best; at the final beta all rows are comparable. Without free bits and at a beta of 1 this is -ELBO. Held-out
    windows are whole and teacher-forced also during a curriculum, so its rows are comparable with the later ones.
    """
    if row.valid is None:
        return math.nan
    beta = recipe_beta(recipe, row.step)
    if not recipe.free_bits or not beta:
        return row.valid.reconstruction + recipe.max_beta * row.valid.kl_bits * math.log(2)
    return row.valid.reconstruction + (row.valid.loss - row.valid.reconstruction) * recipe.max_beta / beta


def best_row(history: Sequence[HistoryRow], recipe: TrainingConfig) -> HistoryRow | None:
    """The row of the lowest final loss, the first of equal ones; None if no row has a finite one."""
    finite = [row for row in history if math.isfinite(final_loss(row, recipe))]
    return min(finite, key=lambda row: final_loss(row, recipe), default=None)


def is_best(history: Sequence[HistoryRow], recipe: TrainingConfig) -> bool:
    """Whether the last row is better than all before it."""
    return bool(history) and best_row(history, recipe) is history[-1]


def out_of_patience(history: Sequence[HistoryRow], recipe: TrainingConfig, patience: int | None) -> bool:
    """Whether the last `patience` rows are no better than one before them; never without a patience.

    Rows within the curriculum do not count, since a model that learns shorter windows may get worse at whole ones.
    """
    return patience is not None and len(rows_since_best(history, recipe)) >= patience


def rows_since_best(history: Sequence[HistoryRow], recipe: TrainingConfig) -> list[HistoryRow]:
    """The rows after the best one and after the curriculum."""
    best = best_row(history, recipe)
    since = max(best.step if best else 0, recipe.curriculum)
    return [row for row in history if row.step > since]


def patience_line(history: Sequence[HistoryRow], recipe: TrainingConfig) -> str:
    """Says how long a run has got no better."""
    best, count = best_row(history, recipe), len(rows_since_best(history, recipe))
    if best is None:
        return f"no held-out loss of {counted(count, 'evaluation')} is finite"
    return f"the held-out loss has not fallen below that of step {best.step:,} in {counted(count, 'evaluation')}"
