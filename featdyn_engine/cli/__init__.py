"""The command line: parses, calls the pipeline, prints. Exit codes: 0 done, 1 a finding or a
failed unit, 2 wrong input (one line, no traceback).

Commands import late what needs torch, which takes seconds: help or a wrong word should not.
"""

import errno
import sys
from collections.abc import Callable

import typer

from featdyn_engine import __version__
from featdyn_engine.cli import homes, networks, studies
from featdyn_engine.cli.console import EXIT_FINDING, EXIT_INTERRUPTED, EXIT_WRONG_INPUT, console
from featdyn_engine.domain import InputError
from store.home import DamagedPartError, StoreError

app = typer.Typer(
    help="Train networks, splice their checkpoints, fill the store that the explorer shows.",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def version() -> None:
    """Print the version."""
    console.print(__version__)


# In the order of the help.
COMMANDS: dict[str, Callable[..., None]] = {
    "demo": studies.demo,
    "run": studies.run,
    "plan": studies.plan,
    "status": homes.status,
    "verify": homes.verify,
    "splice": networks.splice,
    "import": networks.import_,
    "rebuild": homes.rebuild,
    "snapshot": homes.snapshot,
    "restore": homes.restore,
    "export": homes.export,
    "version": version,
}
for _name, _command in COMMANDS.items():
    app.command(name=_name)(_command)


def main() -> None:
    """Run the command line; every wrong input ends in one line and exit code 2."""
    if len(sys.argv) == 1:
        sys.argv.append("--help")
    try:
        code = app(standalone_mode=False)
    except typer.TyperException as problem:
        # In standalone mode Typer would print its usage as well, four lines in all.
        print(f"featdyn: {problem.format_message()}", file=sys.stderr)
        code = EXIT_WRONG_INPUT
    except DamagedPartError as problem:
        print(f"featdyn: {problem}", file=sys.stderr)
        code = EXIT_FINDING
    except (InputError, StoreError) as problem:
        print(f"featdyn: {problem}", file=sys.stderr)
        code = EXIT_WRONG_INPUT
    except OSError as problem:
        if problem.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        print(
            f"featdyn: {problem.filename or 'disk'}: expected room on the disk, got none left; "
            "make room, then the same command goes on from here",
            file=sys.stderr,
        )
        code = EXIT_FINDING
    except (KeyboardInterrupt, typer.Abort):
        print("featdyn: stopped; the same command goes on from here", file=sys.stderr)
        code = EXIT_INTERRUPTED
    sys.exit(code)
