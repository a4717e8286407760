"""What a splice now comes to: one cell, in numbers and in a sentence."""

from dataclasses import dataclass

from torch import Tensor

from featdyn_engine.data.evaluation import EvalSet
from featdyn_engine.domain import Cut, Norm
from featdyn_engine.science.cube import cell as counted
from featdyn_engine.science.intervals import wilson
from featdyn_engine.splice_request import Request

# Images a forward pass, as in stored cells: the sums then round alike.
BATCH = 250


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One cell; accuracy_low and _high are its 95 % Wilson interval over examples."""

    run_id: str
    shallow_run_id: str
    shallow_step: int
    deep_step: int
    cut: str
    depth: int
    norm: Norm
    dataset: str
    split: str
    corruption: str
    severity: int
    n: int
    correct: int
    accuracy: float
    accuracy_low: float
    accuracy_high: float
    loss: float
    margin: float
    agreement: float


def sentence(cell: Cell) -> str:
    """Say a cell in one line."""
    whose = "" if cell.shallow_run_id == cell.run_id else f" of {cell.shallow_run_id}"
    corrupted = "" if cell.corruption == "none" else f", {cell.corruption} {cell.severity}"
    return (
        f"step {cell.shallow_step:,}{whose} up to {cell.cut}, then step {cell.deep_step:,}: "
        f"{cell.accuracy:.1%} ({cell.accuracy_low:.1%} to {cell.accuracy_high:.1%}, 95 % over "
        f"examples), agreement {cell.agreement:.1%}; {cell.dataset} {cell.split}{corrupted}, "
        f"n = {cell.n:,}, normalisation {cell.norm}"
    )


def cell_of(
    request: Request,
    shallow_step: int,
    cut: Cut,
    norm: Norm,
    examples: EvalSet,
    logits: Tensor,
    own: Tensor,
) -> Cell:
    """Count what a composite says, and the network of the deep step itself: float32 (N, K) each."""
    labels, about = examples.labels, request.evaluation
    cube = counted(cut.depth, logits, labels, BATCH)
    correct, n = int(cube.correct(labels)), len(labels)
    low, high = wilson(correct, n)
    return Cell(
        run_id=request.run.run_id,
        shallow_run_id=request.shallow_run.run_id,
        shallow_step=shallow_step,
        deep_step=request.deep_step,
        cut=cut.name,
        depth=cut.depth,
        norm=norm,
        dataset=about.source.title or about.source.name,
        split=about.split,
        corruption=about.corruption,
        severity=about.severity,
        n=n,
        correct=correct,
        accuracy=correct / n,
        accuracy_low=float(low),
        accuracy_high=float(high),
        loss=float(cube.loss),
        margin=float(cube.margin),
        agreement=float(cube.agreement(own.argmax(dim=1)[None])),
    )
