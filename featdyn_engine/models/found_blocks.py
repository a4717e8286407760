"""Blocks of any network: the places where exactly one tensor crosses, proved on random images.

``blocks = [names of modules]``: each block ends with the output of the module named, and whatever
lies between belongs to the one that follows. Without names they are found: residual units,
transformer layers and the like stay whole, layers in front of which nothing else crosses begin a
block, and normalisation, activations and pooling go with the layer before them, or, behind a
whole unit, with what follows. Blocks hold the network's own modules, and are trained, evaluated
and stored as these.
"""

import difflib
import operator
from collections.abc import Sequence

from torch import fx, nn

from featdyn_engine.domain import InputError
from featdyn_engine.models.blocks import BlockNetwork
from featdyn_engine.models.cutting import (
    Segment,
    block_of,
    called,
    crossings,
    may_cut,
    prove,
    refuse,
)
from featdyn_engine.models.graph import Forward, NotRecordedError, Step, record

REST = "head"
# Below this, a network is looked into until there is more to cut.
FEW_BLOCKS = 3


def _plain_chain(module: nn.Module) -> bool:
    return isinstance(module, nn.Sequential) and type(module).forward is nn.Sequential.forward


def _holds_units(module: nn.Module) -> bool:
    """Whether a module holds a list of modules that are more than layers: blocks to look for."""
    return any(
        isinstance(each, nn.Sequential | nn.ModuleList | nn.ModuleDict)
        and any(next(child.children(), None) is not None for child in each.children())
        for each in module.modules()
        if each is not module
    )


def _looked_into(model: nn.Module) -> set[str]:
    """Paths of the modules that are looked into at first: those that hold units, and chains.

    Lists too: they have no forward of their own, and what they hold is called by their owner.
    """
    inlined = {""}
    for path, module in model.named_modules():
        if path and path.rpartition(".")[0] in inlined:
            is_list = isinstance(module, nn.ModuleList | nn.ModuleDict)
            if is_list or _plain_chain(module) or _holds_units(module):
                inlined.add(path)
    return inlined


def _with_ancestors(names: Sequence[str]) -> set[str]:
    found = {""}
    for name in names:
        parts = name.split(".")
        found |= {".".join(parts[:n]) for n in range(1, len(parts))}
    return found


def _weight(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _modules(model: nn.Module, steps: Sequence[Step]) -> list[tuple[str, nn.Module]]:
    paths = [str(step.node.target) for step in steps if step.node.op == "call_module"]
    return [(path, model.get_submodule(path)) for path in paths]


def _is_layer(module: nn.Module) -> bool:
    """Whether a module is one layer, perhaps with an activation inside, and no unit of several."""
    return not any(_weight(child) for child in module.children())


def _begins_a_block(module: nn.Module) -> bool:
    """Whether a module is a unit, or a layer with a matrix of weights: no norm, no activation."""
    if not _is_layer(module):
        return True
    return any(parameter.dim() > 1 for parameter in module.parameters())


def _segments(forward: Forward) -> list[Segment]:
    """Divide a pass at every place where one tensor alone crosses."""
    segments, begin = [], 0
    for place, crossing in enumerate(crossings(forward), start=1):
        if may_cut(crossing):
            segments.append(Segment(forward.steps[begin:place], ""))
            begin = place
    return segments


def _joined(model: nn.Module, segments: list[Segment]) -> list[Segment]:
    """Join what is no block by itself to the layer before it, or the unit behind it."""
    groups: list[list[Step]] = [[]]
    waiting: list[Step] = []
    for segment in segments:
        steps = list(segment.steps)
        last = [module for _, module in _modules(model, groups[-1])]
        if any(_begins_a_block(module) for _, module in _modules(model, steps)):
            groups.append(waiting + steps)
            waiting = []
        elif waiting or (last and not _is_layer(last[-1])):
            waiting += steps
        else:
            groups[-1] += steps
    groups[-1] += waiting
    if len(groups) > 1:
        # What comes before the first block with weights belongs to it.
        groups[:2] = [groups[0] + groups[1]]
    return [
        Segment(tuple(group), name)
        for group, name in zip(groups, _names(model, groups), strict=True)
    ]


def _names(model: nn.Module, groups: list[list[Step]]) -> list[str]:
    """Name each block: by what its modules alone have in common, or else by the last of them."""
    paths = [
        [path for path, module in _modules(model, group) if _begins_a_block(module)]
        for group in groups
    ]
    names = []
    for place, own in enumerate(paths):
        split = [path.split(".") for path in own]
        common = [parts[0] for parts in zip(*split, strict=False) if len(set(parts)) == 1]
        name = ".".join(common)
        others = [path for k, each in enumerate(paths) if k != place for path in each]
        alone = name and not any(f"{path}.".startswith(f"{name}.") for path in others)
        names.append(name if alone else own[-1] if own else REST)
    return names


def _recorded(model: nn.Module, shape: tuple[int, ...], inlined: set[str]) -> Forward:
    try:
        return record(model, shape, inlined)
    except NotRecordedError as problem:
        refuse(
            "a forward pass that is the same for all images and batch sizes",
            str(problem),
            "give the blocks as a list of (name, module)",
        )
    except InputError:
        raise
    except Exception as problem:  # of other people's code
        refuse(f"a network that takes images {shape}", f"{type(problem).__name__}: {problem}")


def _found(model: nn.Module, shape: tuple[int, ...]) -> tuple[Forward, list[Segment]]:
    inlined = _looked_into(model)
    while True:
        forward = _recorded(model, shape, inlined)
        segments = _joined(model, _segments(forward))
        closed = [
            (_weight(module), path)
            for path, module in _modules(model, forward.steps)
            if not _is_layer(module) and not isinstance(module, nn.MultiheadAttention)
        ]
        if len(segments) >= FEW_BLOCKS or not closed:
            break
        # A wrapper around the network, say.
        inlined |= _with_ancestors([f"{max(closed)[1]}.x"])
    if len(segments) < 2:
        came = f"none in {type(model).__name__}"
        several = next((each for each in crossings(forward) if len(each) > 1), None)
        if several is not None:
            came += f", where {called(several[1])} crosses beside {called(several[0])}"
        refuse("a place where one tensor alone crosses, to cut there", came)
    return forward, segments


def _named(
    model: nn.Module, names: Sequence[str], shape: tuple[int, ...]
) -> tuple[Forward, list[Segment]]:
    known = {path for path, _ in model.named_modules() if path}
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, sorted(known), n=1)
            hint = f"did you mean {near[0]!r}?" if near else "see model.named_modules()"
            refuse(f"names of modules of {type(model).__name__}", repr(name), hint)
    twice = next((name for name in names if list(names).count(name) > 1), None)
    if twice is not None:
        refuse("each module once", f"{twice!r} twice")
    forward = _recorded(model, shape, _with_ancestors(names))
    crossing = crossings(forward)
    segments, begin = [], 0
    for end, name in sorted((end, name) for name, end in _ends(forward, names).items()):
        own = forward.steps[end].node
        other = next((node for node in crossing[end] if node is not own), None)
        if other is not None:
            refuse(
                f"one tensor alone behind {name}",
                f"{called(other)} crossing beside it",
                "name another module, such as the one around it",
            )
        segments.append(Segment(forward.steps[begin : end + 1], name))
        begin = end + 1
    rest = forward.steps[begin:]
    if rest:
        if any(_weight(module) for _, module in _modules(model, rest)):
            segments.append(Segment(rest, REST if REST not in names else "rest"))
        else:
            segments[-1] = Segment(segments[-1].steps + rest, segments[-1].name)
    if len(segments) < 2:
        refuse("two blocks or more, to cut between", f"{len(segments)} from {', '.join(names)}")
    return forward, segments


def _ends(forward: Forward, names: Sequence[str]) -> dict[str, int]:
    """Return the place of the last step of each module named."""
    ends: dict[str, int] = {}
    for place, step in enumerate(forward.steps):
        node = step.node
        path = str(node.target) if node.op == "call_module" else str(node.meta.get("scope", ""))
        if node.op == "get_attr":
            continue
        for name in names:
            if path == name or path.startswith(f"{name}."):
                ends[name] = place
        # A tensor taken out of a tuple that a module gives.
        if node.target is operator.getitem and isinstance(step.args[0], fx.Node):
            for name, end in list(ends.items()):
                if forward.steps[end].node is step.args[0]:
                    ends[name] = place
    for name in names:
        if name not in ends:
            refuse("modules that forward calls in evaluation mode", f"{name!r}, which it doesn't")
    return ends


def divided(
    model: nn.Module, shape: tuple[int, ...], names: Sequence[str] | None = None
) -> BlockNetwork:
    """Return a network's blocks, which share its modules: images (N, C, H, W) to logits (N, K).

    ``names``: modules that end a block; None: found. ``shape``: of one image, (C, H, W). An
    ``nn.Sequential`` has its children as blocks where none are named. They are proved: one after
    another they give what forward gives, for another batch size too, and none writes into what it
    gets. The network is left in evaluation mode.

    Raises InputError for a name that it doesn't have, a cut that more than one tensor crosses
    (its first other is named), and blocks that don't do what forward does.
    """
    model.eval()
    if names is None and _plain_chain(model) and len(model) > 1:  # type: ignore[arg-type]
        network = BlockNetwork(dict(model.named_children()))
    else:
        forward, segments = _found(model, shape) if names is None else _named(model, names, shape)
        crossing = crossings(forward)
        entering, place, blocks = forward.images, 0, {}
        for segment in segments:
            place += len(segment.steps)
            leaving = forward.logits if segment is segments[-1] else crossing[place - 1][0]
            blocks[segment.name] = block_of(model, forward, segment, entering, leaving)
            entering = leaving
        network = BlockNetwork(blocks)
    prove(model, network.eval(), shape)
    return network


def keys(model: nn.Module, network: BlockNetwork) -> dict[str, str]:
    """Return, for each key of a network's blocks, that of the model whose modules they share."""
    state = model.state_dict(keep_vars=True)
    homes = {id(tensor): key for key, tensor in state.items()}
    return {
        key: homes[id(tensor)]
        for key, tensor in network.state_dict(keep_vars=True).items()
        if id(tensor) in homes
    }
