"""``python -m app.report STUDY... --home HOME --out docs``: writes findings.md and its figures."""

import argparse
from pathlib import Path

from app.report.document import write
from store import queries
from store.connection import reading
from store.home import StoreError

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("studies", nargs="+", help="studies of the store, the first one first")
parser.add_argument("--home", type=Path, required=True, help="a FEATDYN_HOME or a snapshot")
parser.add_argument("--out", type=Path, required=True, help="folder of findings.md")
asked = parser.parse_args()
try:
    with reading(asked.home) as store:
        known = queries.studies(store)["study"].to_list()
    unknown = [study for study in asked.studies if study not in known]
    if unknown:
        parser.error(
            f"{asked.home}: expected studies among {', '.join(known)}, got "
            f"{', '.join(unknown)}; run them, or name others"
        )
    write(asked.home, asked.studies, asked.out)
except StoreError as problem:
    parser.error(str(problem))
