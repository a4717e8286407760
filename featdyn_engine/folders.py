"""Folders of this machine in configurations and study files, cut down to their last name.

A snapshot goes to other machines and strangers; where its author's data lay is no part of a run.
"""

import json
import re
from pathlib import PurePath
from typing import Any

FIELDS = ("folder", "corruption_folder")
IN_TOML = re.compile(r"(\b(?:corruption_)?folder\s*=\s*)([\"'])(.*?)\2")


def shortened(config: str) -> str:
    """Return the JSON of a configuration with the last name of each folder in place of its path."""
    content = json.loads(config)
    changed = _shortened(content)
    return config if changed == content else json.dumps(changed)


def shortened_toml(text: str) -> str:
    """Return the text of a study file likewise."""
    return IN_TOML.sub(lambda found: f'{found[1]}"{PurePath(found[3]).name}"', text)


def _shortened(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            key: PurePath(item).name
            if key in FIELDS and isinstance(item, str)
            else _shortened(item)
            for key, item in value.items()
        }
    if isinstance(value, list):
        return [_shortened(item) for item in value]
    return value
