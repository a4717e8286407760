"""Layers that several families share: normalisation of maps, of vectors, global pooling."""

from torch import Tensor, nn

# Wu & He, "Group Normalization" (arXiv 1803.08494), fix the number of groups or, as here, of
# channels a group. Their 16 would leave the first stage of a CIFAR ResNet, 16 channels wide, in
# one group, which is layer normalisation; 8 makes 2, 4 and 8 groups of its stages.
CHANNELS_A_GROUP = 8


def norm2d(norm_layer: str, channels: int) -> nn.Module:
    """Normalise maps (N, C, H, W): ``batch``, or ``group`` (8 channels a group)."""
    if norm_layer == "group":
        return nn.GroupNorm(channels // CHANNELS_A_GROUP, channels)
    return nn.BatchNorm2d(channels)


def norm1d(norm_layer: str, width: int) -> nn.Module:
    """Normalise vectors (N, C): ``batch``, or ``layer``."""
    return nn.LayerNorm(width) if norm_layer == "layer" else nn.BatchNorm1d(width)


class PooledHead(nn.Module):
    """Global average pooling and the classifier. (N, C, H, W) to logits (N, K)."""

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.linear(x.mean(dim=(2, 3)))
        return logits
