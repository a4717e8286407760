"""A methods paragraph and BibTeX for a run, from its configuration. No Streamlit, no store."""

from collections.abc import Sequence

from featdyn_engine.domain import RunConfig

PAPER = """@article{ruan2025feature,
  title = {Feature Dynamics as Implicit Data Augmentation: A Depth-Decomposed View on Deep Neural Network Generalization},
  author = {Ruan and Gai and Zhang},
  journal = {arXiv preprint arXiv:2509.20334},
  year = {2025}
}"""  # noqa: E501 (a title is not to be broken)
OPTIMIZERS = {"sgd": "SGD", "adam": "Adam", "adamw": "AdamW", "muon": "Muon"}
NORMS = {
    "inherit": "each block kept the running BatchNorm statistics of its own checkpoint (`inherit`)",
    "recalibrate": (
        "all BatchNorm statistics of a composite were re-estimated on training images, weights "
        "untouched (`recalibrate`)"
    ),
    "recalibrate_deep": (
        "BatchNorm statistics behind the cut were re-estimated on training images "
        "(`recalibrate_deep`)"
    ),
    "none": "the network has no BatchNorm (`none`)",
}


def _network(config: RunConfig) -> str:
    norm = {"batch": "BatchNorm", "group": "GroupNorm", "layer": "LayerNorm", "none": "no"}
    named = norm.get(config.network.norm_layer, config.network.norm_layer)
    return f"{config.network.name} ({named} normalisation)"


def _data(config: RunConfig, train_size: int) -> str:
    words = f"{train_size:,} training images of {config.data.title or config.data.name}"
    if config.data.balanced:
        words += ", balanced over classes"
    if config.data.permute_pixels:
        words += ", their pixels permuted by one fixed permutation"
    if config.label_noise == 1:
        words += ", every label drawn uniformly at random, once"
    elif config.label_noise > 0:
        words += f", {config.label_noise:.0%} of the labels drawn uniformly at random, once"
    return words


def _optimizer(config: RunConfig) -> str:
    recipe = config.recipe
    words = OPTIMIZERS.get(recipe.optimizer, recipe.optimizer)
    if recipe.optimizer in ("sgd", "muon"):
        words += f" with {'Nesterov ' if recipe.nesterov else ''}momentum {recipe.momentum:g}"
    else:
        words += f" (beta {recipe.betas[0]:g}, {recipe.betas[1]:g})"
    words += f", weight decay {recipe.weight_decay:g}, batch size {recipe.batch_size}"
    if recipe.label_smoothing:
        words += f", label smoothing {recipe.label_smoothing:g}"
    if recipe.clip_norm:
        words += f", gradients clipped at norm {recipe.clip_norm:g}"
    return words


def _schedule(config: RunConfig) -> str:
    recipe = config.recipe
    if recipe.schedule == "step":
        shares = " and ".join(f"{share:.0%}" for share in recipe.milestones)
        return f"learning rate {recipe.lr:g}, multiplied by {recipe.gamma:g} at {shares} of them"
    return f"learning rate {recipe.lr:g}, {recipe.schedule.replace('_', ' ')} schedule"


def _disturbed(config: RunConfig) -> str:
    if config.freeze is not None:
        step = config.freeze.from_step
        return f" Blocks were held still from update {step:,} on ({config.freeze.part} part)."
    if config.replay is not None:
        return " The deep part also learned from stored shallow parts (replay)."
    return ""


def paragraph(
    config: RunConfig, train_size: int, norms: Sequence[str], versions: Sequence[dict[str, str]]
) -> str:
    """Write how a run was trained and evaluated, for the methods section of a paper.

    ``train_size``: training images used. ``norms``: the normalisations of its stored splices, none
    where there are none. ``versions``: texts of what computed it, as units store them.
    """
    recipe = config.recipe
    augmentation = ", ".join(recipe.augmentation) or "none"
    steps = config.stored_steps
    composite = "; ".join(NORMS[norm] for norm in norms if norm in NORMS)
    parts = [
        f"We trained {_network(config)} on {_data(config, train_size)}, for {recipe.steps:,} "
        f"updates with {_optimizer(config)}, {_schedule(config)}; augmentation: {augmentation}. "
        f"Seeds: initialisation {config.seeds.init}, order {config.seeds.order}, labels "
        f"{config.seeds.labels}.{_disturbed(config)}",
        f"{len(steps)} checkpoints were kept, from update {steps[0]:,} to {steps[-1]:,} (0: "
        f"untrained); training ran in {config.precision} on {config.device} with "
        f"{config.threads} {'thread' if config.threads == 1 else 'threads'}.",
    ]
    if composite:
        parts.append(
            "For every pair of checkpoints and each cut, the shallow part of one was put under the "
            f"deep part of the other (Ruan, Gai & Zhang, arXiv 2509.20334); {composite}."
        )
    torch = sorted({each["torch"] for each in versions if "torch" in each})
    own = sorted({each["featdyn"] for each in versions if "featdyn" in each})
    parts.append(
        f"Computed with featdyn {', '.join(own) or 'of unknown version'}"
        f"{f' and PyTorch {torch[0]}' if torch else ''}; run {config.run_id}."
    )
    return " ".join(parts)


def bibtex(config: RunConfig, title: str, versions: Sequence[dict[str, str]]) -> str:
    """Write BibTeX entries: the paper, and this software with the run that is cited."""
    own = sorted({each["featdyn"] for each in versions if "featdyn" in each})
    return (
        f"{PAPER}\n\n@software{{featdyn_{config.run_id},\n"
        "  title = {featdyn: feature dynamics of training runs},\n"
        f"  version = {{{own[-1] if own else 'unknown'}}},\n"
        f"  note = {{Run {config.run_id}, {title.replace('{', '').replace('}', '')}}}\n}}"
    )
