"""findings.md: a section a claim, a verdict for each study that can answer it."""

from itertools import combinations
from pathlib import Path

import duckdb

from app.report.claims import CLAIMS
from app.report.gallery import Gallery
from app.report.verdicts import Claim, Finding
from store.connection import reading

FIGURES = "findings"
# Instead of a verdict, where a study's rows for a claim are those of a study before it.
AS_ABOVE = "as above"
# How studies are run that are no file of studies/, or were run on another device.
COMMANDS = {
    "digits": "featdyn demo",
    "cifar10_noisy_labels": "featdyn run studies/cifar10_noisy_labels.toml --device cuda",
}
SCALE = 1.5
BEGINNING = """# Findings

Does what the paper says (*Feature Dynamics as Implicit Data Augmentation*, arXiv 2509.20334) hold?
One section a claim. `make findings` computes figures, numbers and verdicts from the rows of the
gallery, which `make gallery` opens in the app; nothing is written by hand. A verdict is one of:
holds, holds in part, doesn't hold, can't be told. What decides it is our rule, stated in each
section; of a single seed nothing is decided. How the numbers are defined stands in
[notation](notation.md). CIFAR-10 is a JPEG copy of 27 to 33 dB, of which studies train on subsets
(their files say how large): accuracies don't compare with published ones. To run these studies
without that copy, set `name = "cifar10"`, or `"mnist"`, in their `[data]` and leave `folder` out:
the originals are downloaded, and the numbers will differ somewhat.
"""


Answers = list[tuple[Claim, list[tuple[Gallery, Finding]]]]


def section(claim: Claim, found: list[tuple[Gallery, Finding]]) -> str:
    """Return a claim's section: question and rule; figure, numbers, verdict, command a study."""
    lines = [f"## {claim.title}", "", claim.question, "", f"The rule, ours: {claim.rule}", ""]
    for gallery, finding in found:
        if finding.verdict == AS_ABOVE:
            continue
        title = gallery.title
        lines += [f"### {title}", ""]
        for number in range(len(finding.charts)):
            picture = figure_name(claim, gallery, number)
            lines += [f"![{claim.title}: {title}]({FIGURES}/{picture})", ""]
        for paragraph in finding.said:
            lines += [paragraph, ""]
        lines += [f"**Verdict** {finding.verdict}.", ""]
        command = COMMANDS.get(gallery.study, f"featdyn run studies/{gallery.study}.toml")
        lines += [f"    {command}", ""]
    return "\n".join(lines)


def summary(answered: Answers) -> str:
    """Return the verdicts as a table: a row a study, a column a claim."""
    galleries = {gallery.study: gallery for _, found in answered for gallery, _ in found}
    verdicts = [
        {gallery.study: finding.verdict for gallery, finding in found} for _, found in answered
    ]
    lines = [
        "| study | " + " | ".join(claim.title for claim, _ in answered) + " |",
        "|---" * (1 + len(answered)) + "|",
        *(
            f"| {gallery.title} | " + " | ".join(told.get(study, "") for told in verdicts) + " |"
            for study, gallery in galleries.items()
        ),
    ]
    told = [
        "## Verdicts",
        "",
        f"Empty: the study has no rows for it; {AS_ABOVE}: it has those of another study alone.",
        "",
        *lines,
        "",
    ]
    common = in_common(list(galleries.values()))
    if common:
        told += [
            "Trainings that studies have in common, so that their verdicts aren't independent: "
            f"{'; '.join(common)}.",
            "",
        ]
    return "\n".join(told)


def in_common(galleries: list[Gallery]) -> list[str]:
    """Say of every two studies that share trainings how many."""
    runs = [(gallery.title, set(gallery.run_ids)) for gallery in galleries]
    return [
        f"{title} and {other}, {len(ids & others)}"
        for (title, ids), (other, others) in combinations(runs, 2)
        if ids & others
    ]


def figure_name(claim: Claim, gallery: Gallery, number: int) -> str:
    """Return the file of one of a claim's figures in the folder of figures."""
    return f"{claim.key}-{gallery.study}-{number + 1}.png"


def answers(store: duckdb.DuckDBPyConnection, studies: list[str]) -> Answers:
    """Put every claim to every study of an open store.

    Studies without the rows for a claim are left out of it, unless that were all of them.
    A study that says word for word what one before it says has its trainings, and no own say.
    """
    galleries = [Gallery(store, study) for study in studies]
    answered: Answers = []
    for claim in CLAIMS:
        every = [(gallery, claim.answer(gallery)) for gallery in galleries]
        told = [pair for pair in every if pair[1].asked]
        answered.append((claim, _each_once(told) or every[:1]))
    return answered


def _each_once(told: list[tuple[Gallery, Finding]]) -> list[tuple[Gallery, Finding]]:
    said: set[tuple[str, ...]] = set()
    found = []
    for gallery, finding in told:
        again = finding.said in said
        found.append((gallery, Finding((), AS_ABOVE) if again else finding))
        said.add(finding.said)
    return found


def text(answered: Answers) -> str:
    """Return the whole document of ``answers``."""
    return "\n".join(
        [BEGINNING, summary(answered), *(section(claim, found) for claim, found in answered)]
    )


def write(home: Path, studies: list[str], out: Path) -> Path:
    """Write findings.md and its figures into ``out``; returns the document's path."""
    with reading(home) as store:
        answered = answers(store, studies)
        told = text(answered)
    figures = out / FIGURES
    figures.mkdir(parents=True, exist_ok=True)
    # Pictures take a minute, and whoever writes to the store waits for its readers.
    for claim, found in answered:
        for gallery, finding in found:
            for number, chart in enumerate(finding.charts):
                path = figures / figure_name(claim, gallery, number)
                chart.save(str(path), scale_factor=SCALE)
    document = out / "findings.md"
    document.write_text(told, encoding="utf-8")
    return document
