"""Splices: the shallow part of one checkpoint under the deep part of another.

Splice(s, t, d) = g_t o h_s with h_s = f[1:d](theta_s) and g_t = f[d+1:L](theta_t), after Ruan,
Gai & Zhang (arXiv 2509.20334), whose object is s < t ("forward"). Normalisation ``inherit``:
every block brings its own weights *and* its own running statistics; a network without
BatchNorm (``none``) has none to bring.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor, nn

from featdyn_engine.science.cube import SpliceCube, Tally
from featdyn_engine.science.execution import exact_arithmetic, feature_bytes, taps

MEMORY = 2 * 2**30
Progress = Callable[[float], None]


def silent(share: float) -> None:
    """Hear of progress and say nothing."""


def compose(shallow: nn.Sequential, deep: nn.Sequential, depth: int) -> nn.Sequential:
    """Return g o h: the first ``depth`` blocks of ``shallow``, then the others of ``deep``.

    Depth 0 is ``deep`` itself, depth L is ``shallow``. Tensors are shared, not copied.
    Raises ValueError for networks of different length or a depth outside 0 .. L.
    """
    if len(shallow) != len(deep):
        raise ValueError(f"networks of {len(shallow)} and {len(deep)} blocks can't be spliced")
    if not 0 <= depth <= len(deep):
        raise ValueError(f"depth: expected 0 to {len(deep)}, got {depth}")
    return nn.Sequential(*list(shallow)[:depth], *list(deep)[depth:])


def check(networks: Sequence[nn.Sequential], depths: Sequence[int], labels: Tensor) -> None:
    """Raise ValueError for what can't be spliced; see ``splice_cube``."""
    if not len(labels):
        raise ValueError("images: expected at least one image, got none")
    if len({len(network) for network in networks}) != 1:
        raise ValueError("networks: expected the same number of blocks in each")
    for depth in depths:
        if not 1 <= depth < len(networks[0]):
            raise ValueError(f"depth: expected 1 to {len(networks[0]) - 1}, got {depth}")
    if any(module.training for network in networks for module in network.modules()):
        raise ValueError("expected networks in evaluation mode: call .eval() first")


def depth_groups(sizes: dict[int, int], room: int) -> list[list[int]]:
    """Divide depths into consecutive groups whose features of one network fit into ``room`` bytes.

    sizes: bytes of one mini-batch's features at each depth. Raises ValueError where one alone
    does not fit.
    """
    groups: list[list[int]] = []
    used = room + 1
    for depth, size in sorted(sizes.items()):
        if size > room:
            raise ValueError(
                f"memory: expected room for {size / 2**20:,.0f} MiB of features, got "
                f"{room / 2**20:,.0f} MiB; allow more, or take a smaller batch_size"
            )
        if used + size > room:
            groups.append([])
            used = 0
        groups[-1].append(depth)
        used += size
    return groups


def shares(count: int, most: int) -> Iterator[range]:
    """Divide 0 .. count - 1 into consecutive ranges of at most ``most``."""
    for start in range(0, count, max(most, 1)):
        yield range(start, min(start + max(most, 1), count))


@torch.inference_mode()
def plain_predictions(networks: Sequence[nn.Sequential], images: Tensor, batch_size: int) -> Tensor:
    """Classes that the networks themselves predict: int64 (T, N), on the CPU."""
    with exact_arithmetic():
        rows = [
            torch.cat([network(x).argmax(dim=1) for x in images.split(batch_size)]).cpu()
            for network in networks
        ]
    return torch.stack(rows)


def logits_of(
    network: nn.Sequential,
    images: Tensor,
    batch_size: int,
    workers: int = 1,
    progress: Progress = silent,
) -> Tensor:
    """Return the logits of a network in evaluation mode: float32 (N, K), in order, on the CPU.

    Each mini-batch is computed by one of ``workers`` threads, as it would be alone: the numbers
    don't depend on how many there are. ``progress`` hears the share done after each mini-batch;
    what it raises ends the work.
    """

    def compute(x: Tensor) -> Tensor:
        # Of the thread, like everything that torch calls a mode.
        with torch.inference_mode():
            logits: Tensor = network(x)
            return logits.float().cpu()

    batches = images.split(batch_size)
    found: list[Tensor] = []
    threads = torch.get_num_threads()
    pool = ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(threads,))
    with exact_arithmetic():
        try:
            for logits in pool.map(compute, batches):
                found.append(logits)
                progress(len(found) / len(batches))
        finally:
            pool.shutdown(cancel_futures=True)
    return torch.cat(found)


@torch.inference_mode()
def splice_cube(
    shallow: Sequence[nn.Sequential],
    deep: Sequence[nn.Sequential],
    depths: Sequence[int],
    images: Tensor,
    labels: Tensor,
    batch_size: int,
    memory: int = MEMORY,
    wanted: Tensor | None = None,
    progress: Progress = silent,
) -> SpliceCube:
    """Evaluate every pair of S shallow and T deep parts at every one of D cuts.

    Features of all cuts come from one pass of each shallow network over each mini-batch; where
    ``shallow`` and ``deep`` are the same list, that pass is the diagonal of every cut as well.
    Networks must be in evaluation mode, on one device with the images. images: (N, C, H, W),
    normalised; labels: int64 (N,). ``memory`` bounds the bytes of features held: those of fewer
    networks, then of fewer cuts are held at a time, and what doesn't fit is computed again. The
    numbers don't depend on it. wanted: bool (S, T), the pairs to evaluate; None: all. ``progress``
    hears the share done, 0 to 1.

    Raises ValueError for a depth outside 1 .. L - 1, a network or a block of one in training
    mode, networks of different length, no images, or features that ``memory`` can't hold.
    """
    check([*shallow, *deep], depths, labels)
    same = shallow is deep
    classes = deep[0](images[:1]).shape[1]
    tally = Tally(tuple(depths), len(shallow), len(deep), labels, classes)
    batch_size = min(batch_size, len(labels))
    sizes = feature_bytes(shallow[0], images, depths)
    sizes = {depth: size * batch_size for depth, size in sizes.items()}
    groups = depth_groups(sizes, memory)
    parts = {(t, depth): deep[t][depth:] for t in range(len(deep)) for depth in depths}
    places = {depth: d for d, depth in enumerate(depths)}
    done, cells = 0, len(depths) * len(shallow) * -(-len(labels) // batch_size)
    with exact_arithmetic():
        for start in range(0, len(labels), batch_size):
            examples = slice(start, start + batch_size)
            for group in groups:
                room = memory // sum(sizes[depth] for depth in group)
                for block in shares(len(shallow), room):
                    held = {s: taps(shallow[s], images[examples], group) for s in block}
                    for depth in group:
                        for t in range(len(deep)):
                            for s, (features, logits) in held.items():
                                if wanted is not None and not wanted[s, t]:
                                    continue
                                if not (same and s == t):
                                    logits = parts[t, depth](features[depth])
                                tally.record(places[depth], s, t, examples, logits)
                        done += len(block)
                        progress(done / cells)
    return tally.cube()
