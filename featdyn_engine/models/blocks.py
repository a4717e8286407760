"""A network as an ordered list of named blocks, the only form that featdyn can cut."""

from collections import OrderedDict
from collections.abc import Mapping

from torch import nn


class BlockNetwork(nn.Sequential):
    """An ``nn.Sequential`` whose children are the blocks; ``net[:d]`` and ``net[d:]`` are parts.

    PyTorch refuses dots in child names, so block ``stage1.0`` is the child ``stage1_0``, also
    in the keys of the state dict; ``block_names`` keeps the names by which cuts are known.
    """

    def __init__(self, blocks: Mapping[str, nn.Module]) -> None:
        super().__init__(
            OrderedDict((name.replace(".", "_"), block) for name, block in blocks.items())
        )
        self.block_names = list(blocks)
