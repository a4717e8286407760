"""Networks of a user's own, and factories of them, for tests of recording and importing."""

import torch
from torch import Tensor, nn

PIXELS = 8
CLASSES = 10


class Net(nn.Module):
    """Three blocks for scikit-learn's digits: first, second (residual), head."""

    def __init__(self, width: int = 6, norm: bool = True) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, width, 3, padding=1)
        self.norm = nn.BatchNorm2d(width) if norm else nn.Identity()
        self.second = nn.Conv2d(width, width, 3, padding=1)
        self.head = nn.Linear(width, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.norm(self.first(x)))
        x = x + torch.relu(self.second(x))
        logits: Tensor = self.head(x.mean((2, 3)))
        return logits


def wide(width: int = 6) -> nn.Module:
    """Make a network, as a factory that a study names."""
    return Net(width)


def images_and_labels(n: int) -> tuple[Tensor, Tensor]:
    """Return n random images (n, 1, 8, 8) and labels."""
    stream = torch.Generator().manual_seed(0)
    images = torch.randn(n, 1, PIXELS, PIXELS, generator=stream)
    return images, torch.randint(CLASSES, (n,), generator=stream)
