"""Optimisers: torch.optim's own, built from a recipe, and their states as plain tensors."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW, Muon, Optimizer

from featdyn_engine.domain import InputError, Recipe


def _matrix(tensor: Tensor, weight: Tensor) -> Tensor:
    """View a weight, or its gradient, as a matrix with the columns in the weight's memory order.

    A kernel (out, in, h, w) becomes (out, in * h * w).
    """
    if weight.ndim == 4 and not weight.is_contiguous():
        # channels_last: columns come in another order, to which orthogonalising is indifferent.
        return tensor.permute(0, 2, 3, 1).flatten(1)
    return tensor.flatten(1)


class KernelMuon(Muon):
    """Muon (Jordan et al. 2024) on kernels too, which torch.optim.Muon refuses.

    It updates matrix views that share their memory with the weights.
    """

    def __init__(self, weights: Sequence[nn.Parameter], **options: Any) -> None:
        self.weights = list(weights)
        self.views = [nn.Parameter(_matrix(weight.detach(), weight)) for weight in self.weights]
        super().__init__(self.views, **options)

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """Do one update from the gradients of the weights."""
        for weight, view in zip(self.weights, self.views, strict=True):
            view.grad = None if weight.grad is None else _matrix(weight.grad, weight)
        return super().step(closure)  # type: ignore[no-untyped-call]


def _sgd(recipe: Recipe, network: nn.Sequential) -> list[Optimizer]:
    return [
        SGD(
            network.parameters(),
            lr=recipe.lr,
            momentum=recipe.momentum,
            nesterov=recipe.nesterov,
            weight_decay=recipe.weight_decay,
        )
    ]


def _adam_options(recipe: Recipe) -> dict[str, Any]:
    return {
        "lr": recipe.lr,
        "betas": recipe.betas,
        "eps": recipe.eps,
        "weight_decay": recipe.weight_decay,
    }


def _adam(recipe: Recipe, network: nn.Sequential) -> list[Optimizer]:
    return [Adam(network.parameters(), **_adam_options(recipe))]


def _adamw(recipe: Recipe, network: nn.Sequential) -> list[Optimizer]:
    return [AdamW(network.parameters(), **_adam_options(recipe))]


def _muon(recipe: Recipe, network: nn.Sequential) -> list[Optimizer]:
    """Muon for the weights of hidden blocks; AdamW for the first, the last, and all vectors.

    So do its authors. Its steps are scaled to AdamW's size, so that one ``lr`` serves both.
    """
    blocks = list(network)[1:-1]
    hidden = [weight for block in blocks for weight in block.parameters() if weight.ndim > 1]
    if not hidden:
        raise InputError(
            "training.optimizer: expected a network with weights between its first and last "
            "block for 'muon', got none; use adamw"
        )
    chosen = {id(weight) for weight in hidden}
    others = [weight for weight in network.parameters() if id(weight) not in chosen]
    muon = KernelMuon(
        hidden,
        lr=recipe.lr,
        momentum=recipe.momentum,
        nesterov=recipe.nesterov,
        weight_decay=recipe.weight_decay,
        adjust_lr_fn="match_rms_adamw",
    )
    return [muon, AdamW(others, **_adam_options(recipe))]


OPTIMIZERS: dict[str, Callable[[Recipe, nn.Sequential], list[Optimizer]]] = {
    "sgd": _sgd,
    "adam": _adam,
    "adamw": _adamw,
    "muon": _muon,
}


def build(recipe: Recipe, network: nn.Sequential) -> list[Optimizer]:
    """Build the optimisers of a recipe; together they hold every parameter once.

    The network must be on its device, in its memory format. Raises InputError where the
    network has nothing for the optimiser to work on.
    """
    return OPTIMIZERS[recipe.optimizer](recipe, network)


def set_learning_rate(optimizers: Iterable[Optimizer], lr: float) -> None:
    """Set the learning rate of the next update."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = lr


def state(optimizers: Sequence[Optimizer]) -> dict[str, Tensor]:
    """Return what optimisers remember (momenta, second moments, step counts) as named tensors."""
    return {
        f"{i}.{parameter}.{name}": value
        for i, optimizer in enumerate(optimizers)
        for parameter, remembered in optimizer.state_dict()["state"].items()
        for name, value in remembered.items()
        # SGD without momentum remembers that it has none.
        if value is not None
    }


def load_state(optimizers: Sequence[Optimizer], tensors: Mapping[str, Tensor]) -> None:
    """Give optimisers back what ``state`` returned."""
    for i, optimizer in enumerate(optimizers):
        content = optimizer.state_dict()
        content["state"] = {}
        for key, value in tensors.items():
            index, parameter, name = key.split(".", 2)
            if int(index) == i:
                content["state"].setdefault(int(parameter), {})[name] = value
        optimizer.load_state_dict(content)
