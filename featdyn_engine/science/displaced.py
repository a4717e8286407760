"""Cubes of controls that change the features, or the shallow parameters, of the run itself."""

import copy
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from featdyn_engine.science.controls import moved_isotropically
from featdyn_engine.science.cube import SpliceCube, Tally
from featdyn_engine.science.execution import exact_arithmetic, taps
from featdyn_engine.science.recalibration import recalibrate
from featdyn_engine.science.splice import Progress, check, silent

# (h_s(x), h_t(x), h_s(x'), h_t(x'), random numbers), features (B, ...), to those for g_t.
Displace = Callable[[Tensor, Tensor, Tensor, Tensor, torch.Generator], Tensor]


@torch.inference_mode()
def displaced_cube(
    networks: Sequence[nn.Sequential],
    depths: Sequence[int],
    images: Tensor,
    labels: Tensor,
    displace: Displace,
    partners: Tensor | None,
    streams: Callable[[int], torch.Generator],
    batch_size: int,
    wanted: Tensor,
    progress: Progress = silent,
) -> SpliceCube:
    """Evaluate g_t on features that ``displace`` makes of those of s and t, at every cut.

    partners: int64 (N,), the example x' that goes with each x; None where ``displace`` doesn't
    look at them (it is given those of x itself). streams: from a depth to its random numbers, so
    that a cut's numbers don't depend on which others are asked for. wanted: bool (T, T), the
    pairs (s, t) to evaluate. The diagonal is the plain
    network: nothing is displaced there. Networks must be in evaluation mode. Holds the features
    of all networks at one cut, of one mini-batch (two with partners), at a time.

    Raises ValueError as ``splice_cube`` does.
    """
    check(networks, depths, labels)
    size = len(networks)
    tally = Tally(tuple(depths), size, size, labels, networks[0](images[:1]).shape[1])
    starts = range(0, len(labels), batch_size)
    done, cells = 0, len(depths) * len(starts) * size
    with exact_arithmetic():
        for d, depth in enumerate(depths):
            stream = streams(depth)
            for start in starts:
                examples = slice(start, start + batch_size)
                own = [network[:depth](images[examples]) for network in networks]
                others = own
                if partners is not None:
                    x = images[partners[examples]]
                    others = [network[:depth](x) for network in networks]
                for t in range(size):
                    behind = networks[t][depth:]
                    for s in wanted[:, t].nonzero().flatten().tolist():
                        features = own[t]
                        if s != t:
                            features = displace(own[s], own[t], others[s], others[t], stream)
                        tally.record(d, s, t, examples, behind(features))
                    done += 1
                    progress(done / cells)
    return tally.cube()


@torch.inference_mode()
def random_parameters_cube(
    networks: Sequence[nn.Sequential],
    depths: Sequence[int],
    images: Tensor,
    labels: Tensor,
    training: Sequence[Tensor],
    batch_size: int,
    streams: Callable[[int, int], torch.Generator],
    wanted: Tensor,
    progress: Progress = silent,
) -> SpliceCube:
    """Evaluate g_t under shallow parts of t moved isotropically as far as s is, at every cut.

    Each tensor moves by the norm of its own theta_s - theta_t in a random direction; BatchNorm
    statistics of the moved part are estimated on ``training`` (mini-batches of normalised
    training images), those behind the cut are network t's own. streams: from (s, t) to the random
    numbers of that pair. wanted: bool (T, T), the pairs to evaluate. The diagonal is the plain
    network. Networks (plain, not folded) must be in evaluation mode.

    Raises ValueError as ``splice_cube`` does.
    """
    check(networks, depths, labels)
    size = len(networks)
    tally = Tally(tuple(depths), size, size, labels, networks[0](images[:1]).shape[1])
    batches = range(0, len(labels), batch_size)
    with exact_arithmetic():
        for t, network in enumerate(networks):
            for s in wanted[:, t].nonzero().flatten().tolist():
                moved = copy.deepcopy(network)
                if s != t:
                    state = moved_isotropically(
                        network.state_dict(), networks[s].state_dict(), streams(s, t)
                    )
                    moved.load_state_dict(state)
                    recalibrate(moved, training)
                for start in batches:
                    examples = slice(start, start + batch_size)
                    held, logits = taps(moved, images[examples], depths)
                    for d, depth in enumerate(depths):
                        if s != t:
                            logits = network[depth:](held[depth])
                        tally.record(d, s, t, examples, logits)
                progress((t * size + s + 1) / size**2)
    return tally.cube()
