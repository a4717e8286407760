"""What a command waits for before it does anything: the analyses import what they plan with."""

import subprocess
import sys

# Each takes a second or more: imported in the functions that compute with them.
HEAVY = ("sklearn", "statsmodels", "scipy.stats", "umap", "numba", "ot", "powerlaw", "pandas")


def printed(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_planning_imports_no_library_that_only_computing_needs() -> None:
    code = f"""
import sys
import featdyn_engine.analyses.registry
print([name for name in {HEAVY!r} if name in sys.modules])
"""
    assert printed(code) == "[]"


def test_the_cuts_of_a_network_are_listed_without_torch_s_compiler() -> None:
    """Its import takes longer than the first live splice."""
    code = """
import sys
from featdyn_engine.domain import NetworkConfig, Task
from featdyn_engine.models.registry import cuts
for name, norm in (("resnet20", "batch"), ("vgg11", "group"), ("vit_small", "layer")):
    assert len(cuts(NetworkConfig(name=name, norm_layer=norm), Task(3, 32, 10))) > 3
print("torch._dynamo" in sys.modules)
"""
    assert printed(code) == "False"
