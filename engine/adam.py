"""TensorFlow's Adam by torch's kernel; the first use of a class of torch.optim loads a compiler first."""

import math

import torch
from torch import Tensor, nn
from torch.optim.adam import adam

BETA1 = 0.9
EPSILON = 1e-8
KEPT = ("step", "exp_avg", "exp_avg_sq")  # of each parameter, as torch.optim names them


class Adam:
    """Adam (Kingma & Ba 2015) over a model's trainable parameters; `beta2` is the decay of the second moments."""

    def __init__(self, model: nn.Module, beta2: float = 0.999):
        self.parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self.steps = [torch.zeros((), device=parameter.device) for parameter in self.parameters]
        self.means = [torch.zeros_like(parameter) for parameter in self.parameters]
        self.squares = [torch.zeros_like(parameter) for parameter in self.parameters]
        self.beta2 = beta2
        self.updates = 0  # on the device the kernel counts for itself

    def zero_grad(self):
        """Forgets the gradients."""
        for parameter in self.parameters:
            parameter.grad = None

    @torch.no_grad()
    def step(self, rate: float):
        """An update at this learning rate.

        TensorFlow adds epsilon to the second moment's root before the correction of its bias, torch after it.
        """
        self.updates += 1
        gradients = [parameter.grad for parameter in self.parameters]
        epsilon = EPSILON / math.sqrt(1 - self.beta2**self.updates)
        how = {"lr": rate, "beta1": BETA1, "beta2": self.beta2, "eps": epsilon}
        how |= {"weight_decay": 0.0, "amsgrad": False, "maximize": False, "fused": True}
        adam(self.parameters, gradients, self.means, self.squares, [], self.steps, **how)

    def state_dict(self) -> dict:
        """What `load_state_dict` takes, and `torch.optim.Adam`'s has under the same names."""
        return {"state": {k: dict(zip(KEPT, row, strict=True)) for k, row in enumerate(self._rows())}}

    @torch.no_grad()
    def load_state_dict(self, content: dict):
        """Takes up what an optimizer over the same parameters, in the same order, had come to."""
        for row, kept in zip(self._rows(), content["state"].values(), strict=True):
            for tensor, name in zip(row, KEPT, strict=True):
                tensor.copy_(kept[name])
        self.updates = int(self.steps[0])

    def _rows(self) -> list[tuple[Tensor, ...]]:
        return list(zip(self.steps, self.means, self.squares, strict=True))
