"""What came along of a run that `featdyn restore` brought: a note in its folder."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from featdyn_engine.files import write_json

FILE = "restored.json"
REMEDY = "; run its study in another home, which trains it anew, or restore a snapshot with them"


@dataclass(frozen=True)
class Note:
    """``left``: steps whose weights the snapshot left behind; ``rounded``: those in float16."""

    left: tuple[int, ...]
    rounded: tuple[int, ...]

    @property
    def whole(self) -> bool:
        """Whether all weights came as training wrote them, so that all can be computed anew."""
        return not self.left and not self.rounded


def save(folder: Path, note: Note) -> None:
    """Put the note into the folder of a run."""
    write_json(folder / FILE, asdict(note))


def of(folder: Path) -> Note | None:
    """Return the note of a run's folder; None for a run that was not restored."""
    path = folder / FILE
    if not path.is_file():
        return None
    content = json.loads(path.read_text())
    return Note(tuple(content["left"]), tuple(content["rounded"]))
