"""Where z is drawn from instead of N(0, I): priors fitted after training, for samples that are nearer to the songs.

- `MixturePrior`: a mixture of Gaussians.
- `DiffusionPrior`: a diffusion model.
- `SequencePrior`: the codes of the consecutive windows of a piece.
- `PersonalPrior`: a small VAE of a few songs; its width mixes its draws with those of the model's own prior.

Each is a `NamedTuple` of tensors with a method `draw`.
"""

from prior.diffusion import DiffusionPrior, fit_diffusion
from prior.mixture import WINDOWS_PER_GAUSSIAN, MixturePrior, checked_posteriors, fit_gaussian, fit_mixture
from prior.personal import PersonalPrior, checked_dial, fit_personal, mixed
from prior.sequence import Codes, SequencePrior, fit_sequence

__all__ = [
    "FITS",
    "PRIORS",
    "WINDOWS_PER_GAUSSIAN",
    "Codes",
    "DiffusionPrior",
    "MixturePrior",
    "PersonalPrior",
    "Prior",
    "SequencePrior",
    "checked_dial",
    "checked_posteriors",
    "fit_diffusion",
    "fit_gaussian",
    "fit_mixture",
    "fit_personal",
    "fit_sequence",
    "mixed",
]

Prior = MixturePrior | DiffusionPrior | PersonalPrior  # of a single z
PRIORS = {"mixture": MixturePrior, "diffusion": DiffusionPrior, "personal": PersonalPrior}  # that a file may hold
FITS = {"mixture": fit_mixture, "gaussian": fit_gaussian, "diffusion": fit_diffusion}  # what `fit_prior` takes
