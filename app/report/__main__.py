"""``python -m app.report STUDY... --home HOME --out docs``: writes findings.md and its figures."""

import argparse
from pathlib import Path

from app.report.document import write

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("studies", nargs="+", help="studies of the store, the first one first")
parser.add_argument("--home", type=Path, required=True, help="a FEATDYN_HOME or a snapshot")
parser.add_argument("--out", type=Path, required=True, help="folder of findings.md")
asked = parser.parse_args()
write(asked.home, asked.studies, asked.out)
