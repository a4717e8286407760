"""How forward passes are executed: BatchNorm folded, memory format, number format, device.

Fixed for each kind of device from ``benchmarks/``, never tuned at run time: two machines of one
kind give the same rows.
"""

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

# Images on which folding is proved.
SAMPLE = 8
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
# With folding, channels-last passes are 1.3 times faster on a CPU without AVX-512
# (docs/speed.md); on CUDA it is the layout of tensor cores.
MEMORY_FORMAT = {
    "cpu": torch.channels_last,
    "cuda": torch.channels_last,
    "mps": torch.contiguous_format,
}
# Folding reorders roundings: logits move in the sixth digit. Beyond this, it isn't the same net.
FOLDING_TOLERANCE = 1e-3


def _folded(block: nn.Module) -> nn.Module:
    """Trace a block and fold each BatchNorm2d into the Conv2d that alone feeds it."""
    traced = fx.symbolic_trace(copy.deepcopy(block))
    modules = dict(traced.named_modules())
    for node in list(traced.graph.nodes):
        before = node.args[0] if node.args else None
        if not isinstance(before, fx.Node) or {node.op, before.op} != {"call_module"}:
            continue
        conv, norm = modules[str(before.target)], modules[str(node.target)]
        alone = len(before.users) == 1
        if alone and isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
            traced.set_submodule(str(before.target), fuse_conv_bn_eval(conv, norm))
            node.replace_all_uses_with(before)
            traced.graph.erase_node(node)
    traced.delete_all_unused_submodules()
    traced.recompile()
    return traced


def _probe(block: nn.Module, features: Tensor) -> Tensor | None:
    out = block(features)
    return out if isinstance(out, Tensor) else None


def _folded_block(block: nn.Module, features: Tensor) -> nn.Module:
    """Return the block with each BatchNorm folded into the convolution before it.

    Blocks that torch.fx can't trace, or whose trace computes something else on ``features``, come
    back as they are.
    """
    if not any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in block.modules()):
        return block
    try:
        folded = _folded(block)
        expected, got = _probe(block, features), _probe(folded, features)
    except Exception:  # of tracing, or of what was traced: other people's code
        return block
    if expected is None or got is None:
        return block
    near = FOLDING_TOLERANCE * max(float(expected.abs().max()), 1.0)
    same = expected.shape == got.shape and float((expected - got).abs().max()) <= near
    return folded if same else block


def without_in_place(network: nn.Module) -> nn.Module:
    """Let activations write new tensors; return the network, changed.

    A block that begins with one in place would overwrite the features held at the cut before it.
    """
    for module in network.modules():
        if getattr(module, "inplace", False) is True:
            module.inplace = False  # type: ignore[assignment]
    return network


@torch.inference_mode(False)
@torch.no_grad()
def prepared(
    network: nn.Sequential, sample: Tensor, dtype: str = "float32", fold: bool = True
) -> nn.Sequential:
    """Return a copy for fast evaluation: folded, in the device's memory format, in ``dtype``.

    ``sample``: a few images (B, C, H, W) on the device, on which folding is proved. ``network``
    must be in evaluation mode; it stays as it is. Blocks stay blocks, so cuts stay where they are.
    """
    original = copy.deepcopy(network).to(sample.device)
    without_in_place(original)
    blocks: list[nn.Module] = []
    features = sample
    for block in original:
        # Each block is proved on what it really gets.
        blocks.append(_folded_block(block, features) if fold else block)
        features = block(features)
    result = nn.Sequential(*blocks).eval().requires_grad_(False)
    result.to(memory_format=MEMORY_FORMAT[sample.device.type])  # type: ignore[call-overload]
    return result.to(DTYPES[dtype])


def placed(images: Tensor, device: torch.device, dtype: str = "float32") -> Tensor:
    """Return images (N, C, H, W) as prepared networks take them: device and both formats."""
    return images.to(device, DTYPES[dtype], memory_format=MEMORY_FORMAT[device.type])


@contextmanager
def cpu_threads(count: int) -> Iterator[None]:
    """Run a block with ``count`` CPU threads: sums in another order are other weights."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def exact_arithmetic() -> Iterator[None]:
    """Full float32 and repeatable kernels on CUDA, where convolutions are in TF32 by default."""
    with torch.backends.cudnn.flags(
        enabled=True, benchmark=False, deterministic=True, allow_tf32=False
    ):
        yield


def taps(
    network: nn.Sequential, images: Tensor, depths: Sequence[int]
) -> tuple[dict[int, Tensor], Tensor]:
    """Return the features behind the blocks at ``depths``, and the logits (B, K), of one pass."""
    wanted = set(depths)
    held: dict[int, Tensor] = {}
    features = images
    for depth, block in enumerate(network, start=1):
        features = block(features)
        if depth in wanted:
            held[depth] = features
    return held, features


def feature_bytes(network: nn.Sequential, sample: Tensor, depths: Sequence[int]) -> dict[int, int]:
    """Bytes of one image's features behind each of the blocks at ``depths``."""
    held, _ = taps(network, sample[:1], depths)
    return {depth: each.numel() * each.element_size() for depth, each in held.items()}
