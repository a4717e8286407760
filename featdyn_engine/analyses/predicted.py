"""Cubes of predicted classes and their losses: which units hold them, and what their parts say."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
from torch import Tensor

from featdyn_engine.domain import Cut, InputError, Unit
from featdyn_engine.parts import part_path

# The batch size of cubes where a study names none; the store's questions prefer it too.
USUAL_BATCH = 250


@dataclass(frozen=True)
class Cube:
    """Classes predicted at one cut, uint8 (S, T, N), and where there is a cell, bool (S, T).

    The S shallow and T deep steps rise.
    """

    shallow_steps: list[int]
    deep_steps: list[int]
    predicted: Tensor
    present: Tensor

    def grid(self) -> list[int]:
        """Return the steps between which there are forward pairs, rising.

        A control that differs from the run only off the diagonal has no cells on it: its last
        step is then deep alone, and its first one shallow alone.
        """
        both = set(self.shallow_steps) & set(self.deep_steps)
        return sorted(both | {self.shallow_steps[0], self.deep_steps[-1]})

    def on(self, steps: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Predictions, uint8 (G, G, N), and presence, bool (G, G), on G steps; 0 for no cell."""
        size = len(steps)
        predicted = self.predicted.new_zeros(size, size, self.predicted.shape[2])
        present = torch.zeros(size, size, dtype=torch.bool)
        shallow = {step: i for i, step in enumerate(self.shallow_steps)}
        deep = {step: i for i, step in enumerate(self.deep_steps)}
        for s, shallow_step in enumerate(steps):
            for t, deep_step in enumerate(steps):
                if shallow_step in shallow and deep_step in deep:
                    cell = shallow[shallow_step], deep[deep_step]
                    predicted[s, t] = self.predicted[cell]
                    present[s, t] = self.present[cell]
        return predicted, present


def one_a_cut(units: Iterable[Unit], like: Iterable[Unit] = ()) -> list[Unit]:
    """Keep one unit a cut, of units that differ in nothing but cut and batch size.

    Their predictions may differ in rounding, and what is said of a cube is said of one alone:
    the one of the batch size that its cut has in ``like``, else of USUAL_BATCH, else the smallest.
    """
    sizes = {unit.spec.cut: unit.spec.batch_size for unit in like}

    def rank(unit: Unit) -> tuple[bool, bool, int]:
        size = unit.spec.batch_size
        return size != sizes.get(unit.spec.cut), size != USUAL_BATCH, size

    best: dict[Cut, Unit] = {}
    for unit in units:
        cut = unit.spec.cut
        best[cut] = min(best.get(cut, unit), unit, key=rank)
    return list(best.values())


def refuse_gaps(whose: str, present: Tensor, needed: Tensor) -> None:
    """Raise InputError for a cube without a cell that is needed: both bool (G, G)."""
    lacking = int((needed & ~present).sum())
    if lacking:
        raise InputError(
            f"predictions of {whose}: expected every forward pair of its steps, got {lacking} of "
            f"{int(needed.sum())} left out; delete its parts and run the study again"
        )


def by_cut(unit_ids: Sequence[str], home: Path) -> dict[Cut, list[Path]]:
    """Find the parts of ``predictions`` that hold each cut, the shallowest first.

    Raises InputError for a unit without its part.
    """
    found: dict[Cut, list[Path]] = {}
    for unit_id in unit_ids:
        path = part_path(home, "predictions", unit_id)
        if not path.exists():
            raise InputError(
                f"{path}: expected the predictions of a splices unit, got no such file; run the "
                "study again, in another home where this one was restored from a bare snapshot"
            )
        names = pq.read_table(path, columns=["cut", "depth"]).group_by(["cut", "depth"])
        for row in names.aggregate([]).to_pylist():
            found.setdefault(Cut(row["cut"], row["depth"]), []).append(path)
    return dict(sorted(found.items(), key=lambda item: item[0].depth))


def _at(cut: Cut) -> list[tuple[str, str, str]]:
    return [("cut", "=", cut.name)]


def read(paths: Sequence[Path], cut: Cut, n: int) -> Cube:
    """Read the cube of a cut from its parts; each cell holds the classes of ``n`` examples.

    Raises InputError for cells of another number of examples.
    """
    columns = ["shallow_step", "deep_step", "predicted"]
    table = pa.concat_tables(
        [pq.read_table(path, columns=columns, filters=_at(cut)) for path in paths]
    )
    lengths = set(pc.list_value_length(table["predicted"]).unique().to_pylist())
    if lengths != {n}:
        raise InputError(
            f"predictions at {cut.name}: expected {n} examples in every cell, got "
            f"{', '.join(map(str, sorted(lengths)))}; delete {paths[0]} and run the study again"
        )
    flat = table["predicted"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
    # A copy, since Arrow's memory is read-only.
    classes = torch.from_numpy(flat.copy()).reshape(len(table), n)
    shallow_steps, shallow = torch.tensor(table["shallow_step"].to_pylist()).unique(
        return_inverse=True
    )
    deep_steps, deep = torch.tensor(table["deep_step"].to_pylist()).unique(return_inverse=True)
    size = (len(shallow_steps), len(deep_steps))
    predicted = torch.zeros(*size, n, dtype=torch.uint8)
    present = torch.zeros(size, dtype=torch.bool)
    predicted[shallow, deep] = classes
    present[shallow, deep] = True
    return Cube(shallow_steps.tolist(), deep_steps.tolist(), predicted, present)


def read_whole(paths: Sequence[Path], cut: Cut, n: int) -> tuple[list[int], Tensor]:
    """Read every pair of the steps at a cut: the T rising steps, uint8 (T, T, n).

    Raises InputError for a pair that has no cell, and as ``read`` does.
    """
    cube = read(paths, cut, n)
    steps = cube.grid()
    predicted, present = cube.on(steps)
    if not bool(present.all()):
        raise InputError(
            f"predictions at {cut.name}: expected every pair of {len(steps)} steps, got "
            f"{int(present.sum())} of {present.numel()}; delete {paths[0]} and run the study again"
        )
    return steps, predicted


def read_losses(paths: Sequence[Path], cut: Cut, steps: Sequence[int], home: Path) -> Tensor:
    """Read the mean losses of the cells whose predictions lie at ``paths``: float64 (T, T), nats.

    Raises InputError for a part that is missing, and for cells without a finite loss.
    """
    place = {step: i for i, step in enumerate(steps)}
    losses = torch.full((len(steps), len(steps)), torch.nan, dtype=torch.float64)
    columns = ["shallow_step", "deep_step", "loss"]
    for unit_id in (path.stem for path in paths):
        path = part_path(home, "splices", unit_id)
        if not path.exists():
            raise InputError(
                f"{path}: expected the cells of stored predictions, got no such file; run the "
                "study again"
            )
        for row in pq.read_table(path, columns=columns, filters=_at(cut)).to_pylist():
            loss = torch.nan if row["loss"] is None else row["loss"]
            losses[place[row["shallow_step"]], place[row["deep_step"]]] = loss
    lacking = int((~losses.isfinite()).sum())
    if lacking:
        raise InputError(
            f"losses at {cut.name}: expected a finite number in every cell, got {lacking} of "
            f"{losses.numel()} without; delete {path} and run the study again"
        )
    return losses
