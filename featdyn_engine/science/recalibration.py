"""BatchNorm statistics of a changed network, estimated anew from training images."""

from collections.abc import Iterable

from torch import Tensor, nn
from torch.optim.swa_utils import update_bn


def recalibrate(network: nn.Module, batches: Iterable[Tensor]) -> None:
    """Estimate all running means and variances of ``network`` anew, in place; weights stay.

    They become plain means over the batches (N, C, H, W), normalised training images, all of
    one size. Mode and weights are left as they were. A network without BatchNorm stays as it is.
    """
    update_bn(batches, network)
