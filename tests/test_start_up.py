"""What a command waits for before it does anything: the analyses import what they plan with."""

import subprocess
import sys

# Each takes a second or more: imported in the functions that compute with them.
HEAVY = ("sklearn", "statsmodels", "scipy.stats", "umap", "numba", "ot", "powerlaw", "pandas")


def test_planning_imports_no_library_that_only_computing_needs() -> None:
    code = f"""
import sys
import featdyn_engine.analyses.registry
print([name for name in {HEAVY!r} if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
