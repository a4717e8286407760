"""Analyses of recorded or imported runs from Python: what a study of them would ask for."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import nn

from featdyn_engine import pipeline, planning, progress, study
from featdyn_engine.domain import DataConfig
from featdyn_engine.executors import inline, local
from featdyn_engine.pipeline import Outcome
from featdyn_engine.record import data_config, name_of


def _toml(value: Any) -> str:
    """Write a value of a study file."""
    if isinstance(value, Mapping):
        pairs = (f"{json.dumps(str(key))} = {_toml(each)}" for key, each in value.items())
        return f"{{ {', '.join(pairs)} }}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_toml, value))}]"
    return json.dumps(value)


def _plain(data: DataConfig) -> dict[str, Any]:
    """Return what a study has to say to name a data set."""
    untouched = asdict(DataConfig(name=""))
    return {key: value for key, value in asdict(data).items() if value != untouched[key]}


def study_text(
    runs: Sequence[str],
    analyses: Sequence[Mapping[str, Any]],
    name: str,
    title: str,
    network: Mapping[str, Any],
    data: DataConfig | None,
) -> str:
    """Write the study file of one arm, ``recorded``, that names these runs."""
    arm = {"name": "recorded", "run": list(runs)} | ({"network": network} if network else {})
    lines = [f"name = {_toml(name)}", f"title = {_toml(title)}"]
    if data is not None:
        lines += [f"data = {_toml(_plain(data))}"]
    lines += [f"arms = {_toml([arm])}", f"analyses = {_toml(list(analyses))}"]
    return "\n".join(lines) + "\n"


def evaluate(
    home: str | Path,
    runs: str | Sequence[str],
    analyses: Sequence[Mapping[str, Any]],
    *,
    model: str | Callable[..., nn.Module] | None = None,
    options: Mapping[str, Any] | None = None,
    blocks: Sequence[str] | None = None,
    data: Any = None,
    name: str = "recorded",
    title: str = "",
    workers: int = 0,
    device: str = "cpu",
) -> Outcome:
    """Run analyses on recorded or imported runs, and bring them into the store.

    ``runs``: a run_id, or several of one arm. ``analyses``: tables as in a study file, such as
    ``{"kind": "splices"}``. ``model``: who makes the network, ``module:factory`` or a function or
    class, called with ``options``; by default, where FEATDYN_ALLOW_FACTORIES allows it, as the run
    says. ``data``: the name of a data set, a DataConfig, or (train, test), two torch datasets.
    ``name`` is the study's key in the store. ``workers`` 0: in this process, which finds factories
    of a script or notebook too.

    Returns what was done, failed and found. Raises InputError, in one line, for what can't be,
    before anything runs.
    """
    place = Path(home).absolute()
    network: dict[str, Any] = {}
    if model is not None:
        network["name"] = name_of(model)
        network |= {"options": dict(options)} if options else {}
        network |= {"blocks": list(blocks)} if blocks else {}
    text = study_text(
        [runs] if isinstance(runs, str) else runs,
        analyses,
        name,
        title or name,
        network,
        None if data is None else data_config(data, place),
    )
    wanted = study.parse(text, "evaluate", place, planning.resolve_device(device))
    with pipeline.engine_lock(place, "evaluate"):
        plan = planning.plan(wanted, place)
        planning.check_room(plan, place)
        run_jobs = local.run_jobs if workers else inline.run_jobs
        return pipeline.run(plan, place, workers, progress.Unseen(), run_jobs=run_jobs)
