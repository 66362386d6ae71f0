"""Reconstruction and the ELBO of songs of whole sources that a model was not trained on."""

from typing import NamedTuple

import numpy as np

from generate import TrainedModel
from midi_utils import SongDataset, evenly
from paper.measured_songs import TrainingSet, held_out_at, make_generator, windows_on_grid
from paper.reconstruction import Elbo, Reconstruction, majority_shares, measure_elbo, measure_reconstruction

OTHER_SPLITS = ("train", "valid")  # of a left-out source: a recipe may be chosen by these, but not by test songs
OTHER_WINDOWS = 4096  # of such a source, evenly spaced: a source can have 40,000


class OtherSource(NamedTuple):
    """Reconstruction and the ELBO on songs of a source that the model was not trained on, on the grid alone."""

    songs: int
    off_grid: int  # songs that are not measured, because their onsets lie off the grid
    windows: int
    majority: dict[str, float]  # as in `Evaluation`
    reconstruction: Reconstruction
    elbo: Elbo


def measure_other_source(
    trained: TrainedModel, songs: SongDataset, training: TrainingSet, limit: int | None = None, seed: int = 0
) -> OtherSource:
    """Measures a model on the songs of a source that it was not trained on.

    Args:
        songs: the source's songs; those that its report names as off the grid are left out.
        training: the set that decides which windows are new.
        limit: maximum of windows, evenly spaced; OTHER_WINDOWS when None.
        seed: of the draws, which do not depend on other measurements.

    Raises:
        ValueError: no song lies on the grid.
    """
    on_grid = windows_on_grid(songs)
    if not len(on_grid):
        raise ValueError(f"all songs with windows lie off the grid:\n{songs.report}")
    chosen = on_grid[evenly(len(on_grid), limit or OTHER_WINDOWS)]
    held_out, generator = held_out_at(trained, songs, chosen, training), make_generator(trained, seed)
    encoding = trained.encode(held_out.windows, generator)
    reconstruction, nats = measure_reconstruction(trained, held_out, encoding, generator)
    return OtherSource(
        songs=len(np.unique(held_out.song)),
        off_grid=len(songs.names) - len(np.unique(songs.song[on_grid])),
        windows=len(chosen),
        majority=majority_shares(held_out.windows.labels, trained.model.config.output_kind.parts),
        reconstruction=reconstruction,
        elbo=measure_elbo(encoding, nats, held_out.song, trained.converter.steps),
    )
