"""Rows of ``noise`` at one checkpoint: of the steps themselves, and of features at every cut."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from featdyn_engine.analyses.networks import network_of, own_norm
from featdyn_engine.analyses.noise_draws import (
    Heard,
    Spec,
    directions,
    drawn_gradients,
    feature_noise,
    representation,
    summaries,
)
from featdyn_engine.analyses.noise_rows import (
    ALIGNMENT,
    NOISE_TESTS,
    SPECTRA,
    Draws,
    Isotropic,
    Row,
    alignment_rows,
    correct_for_examples,
    described,
)
from featdyn_engine.learning_rates import learning_rates
from featdyn_engine.models.blocks import BlockNetwork
from featdyn_engine.science.features import Summary, summarised_features
from featdyn_engine.science.steps import optimizer_state

SCHEMAS = {"noise": SPECTRA, "noise_tests": NOISE_TESTS, "noise_alignment": ALIGNMENT}
# Where rows are about the step of all parameters, not about features of an example.
PARAMETERS, NO_EXAMPLE = "parameters", -1
BATCH_SIZE = 250
Rows = dict[str, list[Row]]


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint of a unit's run, and the next one, to which features drift (None: the last)."""

    spec: Spec
    home: Path
    step: int
    later: int | None

    @property
    def learning_rate(self) -> float:
        """The rate of the update from this step; at the last one that of the update to it."""
        run = self.spec.run
        return learning_rates(run, self.home, run.recipe.steps)[
            min(self.step, run.recipe.steps - 1)
        ]

    def rows(self, images: Tensor, places: Tensor, isotropic: Isotropic, heard: Heard) -> Rows:
        """Return the rows of SCHEMAS; ``places``: which of the set's ``images`` are looked at."""
        spec = self.spec
        device = torch.device(spec.run.device)
        network = network_of(spec.run, self.step, self.home)
        steps = directions(
            spec,
            network,
            self.step,
            drawn_gradients(spec, network, self.step, self.home, heard),
        )
        place, told = self._shared(network), self._told()
        whole = {"cut": PARAMETERS, "depth": 0, "example": NO_EXAMPLE, "representation": PARAMETERS}
        found: Rows = {kind: [] for kind in SCHEMAS}
        found |= described(place | whole, told, {"sgd": steps.numpy()}, isotropic)
        steps = -self.learning_rate * steps
        summary = summaries(spec, network, images[:1].to(device))
        features, _ = summarised_features(network, summary, images.to(device), BATCH_SIZE)
        chosen = images[places].to(device)
        moved = self._later_features(summary, chosen)
        for cut in spec.cuts:
            noises = feature_noise(
                spec, network, cut, steps, chosen, self.step, summary[cut.depth], heard
            )
            own = features[cut.depth].numpy()
            drifts = moved[cut.depth].numpy() - own[places] if moved else None
            at_cut = place | {"cut": cut.name, "depth": cut.depth}
            for kind, rows in self._at_cut(at_cut, noises, places, own, drifts, isotropic).items():
                found[kind] += rows
        return found

    def _shared(self, network: BlockNetwork) -> Row:
        spec = self.spec
        return {
            "run_id": spec.run.run_id,
            "eval_id": spec.evaluation.eval_id,
            "split": spec.evaluation.split,
            "step": self.step,
            "norm": own_norm(network),
            "batch_size": spec.batch_size,
            "step_rule": spec.step_rule,
        }

    def _told(self) -> Row:
        """Columns of the tests alone."""
        return {
            "lr": self.learning_rate,
            "augmentation": " ".join(sorted(self.spec.run.recipe.augmentation)) or "none",
            "optimizer_state": optimizer_state(self.spec.step_rule, self.step),
        }

    def _later_features(
        self, summary: dict[int, Summary], images: Tensor
    ) -> dict[int, Tensor] | None:
        if self.later is None:
            return None
        network = network_of(self.spec.run, self.later, self.home)
        return summarised_features(network, summary, images, BATCH_SIZE)[0]

    def _at_cut(
        self,
        place: Row,
        noises: dict[str, Tensor],
        places: Tensor,
        features: Draws,
        drifts: Draws | None,
        isotropic: Isotropic,
    ) -> Rows:
        """Return the rows of every example at a cut, their p-values corrected together."""
        found: Rows = {kind: [] for kind in SCHEMAS}
        for number, example in enumerate(places.tolist()):
            here = place | {"example": example, "representation": representation(self.spec)}
            own = {source: noise[:, number].numpy() for source, noise in noises.items()}
            rows = described(here, self._told(), own, isotropic)
            for kind, more in rows.items():
                found[kind] += more
            if rows and drifts is not None:
                known = (drifts[number], drifts, features, self.spec.k)
                found["noise_alignment"] += [
                    here | {"later_step": self.later} | row
                    for row in alignment_rows(own, *known, isotropic.stream)
                ]
        correct_for_examples(found["noise_tests"])
        return found
