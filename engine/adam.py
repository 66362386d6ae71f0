"""Adam with TensorFlow's epsilon, built on PyTorch's fused kernel `torch.optim.adam.adam`.

`torch.optim.Adam` makes the same updates, equally fast, if epsilon is set before each one. It is not used because
creating an instance imports PyTorch's compiler, which delays the first training step (figures in docs/speed.md).
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.optim.adam import adam
from tqdm import tqdm

BETA1 = 0.9  # decay of the first moments
EPSILON = 1e-8  # "epsilon hat" in section 2 of the paper (Kingma & Ba 2015)
BETA2 = 0.999  # decay of the second moments
STATE_NAMES = ("step", "exp_avg", "exp_avg_sq")  # per parameter, as in the state of torch.optim.Adam


class Adam:
    """Adam (Kingma & Ba 2015) for the trainable parameters of a model.

    Args:
        model: its parameters with `requires_grad` are optimized.
        beta2: decay of the second moments.
    """

    def __init__(self, model: nn.Module, beta2: float = BETA2):
        self.parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self.steps = [torch.zeros((), device=parameter.device) for parameter in self.parameters]  # the kernel counts
        self.first_moments = [torch.zeros_like(parameter) for parameter in self.parameters]
        self.second_moments = [torch.zeros_like(parameter) for parameter in self.parameters]
        self.beta2 = beta2
        self.updates = 0  # the same count as `steps`, read without waiting for the device
        self.skipped: Tensor | None = None  # 1.0 if the last update was skipped, else 0.0, on the device

    def zero_grad(self):
        """Sets all gradients to None."""
        for parameter in self.parameters:
            parameter.grad = None

    @torch.no_grad()
    def step(self, learning_rate: float, skip: Tensor | None = None):
        """Updates the parameters from their gradients, or leaves parameters and moments unchanged.

        TensorFlow adds epsilon to sqrt(v) before the bias correction, PyTorch after it. Dividing epsilon by the
        correction makes the two equal.

        Args:
            learning_rate: the learning rate.
            skip: a scalar on the parameters' device, which the host does not read: 1.0 skips the update, 0.0 makes it.
                A skipped update counts in the bias correction.
        """
        self.updates += 1
        self.skipped = skip
        if skip is not None and skip.device.type == "mps":  # whose kernel cannot skip
            if skip.item():
                torch._foreach_add_(self.steps, 1)
                return
            skip = None
        gradients = [parameter.grad for parameter in self.parameters]
        adam(
            self.parameters,
            gradients,
            self.first_moments,
            self.second_moments,
            [],
            self.steps,
            fused=True,
            lr=learning_rate,
            beta1=BETA1,
            beta2=self.beta2,
            eps=EPSILON / math.sqrt(1 - self.beta2**self.updates),
            weight_decay=0.0,
            amsgrad=False,
            maximize=False,
            found_inf=skip,
        )
        if skip is not None:
            torch._foreach_add_(self.steps, skip)  # the kernel does not count an update that it skips

    def state_dict(self) -> dict:
        """Returns the state for `load_state_dict`, under the names that torch.optim.Adam uses."""
        return {"state": {k: dict(zip(STATE_NAMES, row, strict=True)) for k, row in enumerate(self._states())}}

    @torch.no_grad()
    def load_state_dict(self, content: dict):
        """Copies the state of another optimizer over the same parameters, in the same order.

        Args:
            content: `state_dict` of this class or of torch.optim.Adam.
        """
        for row, saved in zip(self._states(), content["state"].values(), strict=True):
            for tensor, name in zip(row, STATE_NAMES, strict=True):
                tensor.copy_(saved[name])
        self.updates = int(self.steps[0])

    def _states(self) -> list[tuple[Tensor, ...]]:
        return list(zip(self.steps, self.first_moments, self.second_moments, strict=True))


@torch.enable_grad()
def minimise(
    model: nn.Module,
    loss: Callable[[], Tensor],
    updates: int,
    learning_rate: float,
    *,
    warm_up: int = 1,
    beta2: float = BETA2,
    progress: str | None = None,
) -> None:
    """Trains a model on a loss that draws its own batch.

    Args:
        model: its parameters with `requires_grad` are trained.
        loss: called once per update.
        updates: their number.
        learning_rate: at its highest. It rises linearly, and falls to 0 by a cosine.
        warm_up: updates in which it rises.
        beta2: as in `Adam`.
        progress: text of a progress bar; None shows none.
    """
    optimizer = Adam(model, beta2)
    for update in tqdm(range(updates), progress, leave=False, disable=True if progress is None else None):
        optimizer.zero_grad()
        loss().backward()
        rise, fall = min((update + 1) / warm_up, 1), (1 + math.cos(math.pi * update / updates)) / 2
        optimizer.step(learning_rate * rise * fall)
