"""What tables and grids share: reading their YAML, and names of folders."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import yaml

from clipdistill.errors import UserError


def read_yaml(path: Path) -> Any:
    """The content of a study's file; UserError when it can't be read or isn't YAML."""
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise UserError(f"{path}: can't be read ({error.strerror})") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from error


def folder_name(words: str, longest: int) -> str:
    """Words as a folder's name: as they are where they can be, else changed, cut and with a digest behind."""
    fitting = plain(words)
    if fitting == words and len(words) <= longest:
        return words
    return f"{fitting[:longest]}-{hashlib.sha256(words.encode()).hexdigest()[:8]}"


def plain(words: str) -> str:
    """Letters, digits and `+-=_.`; a dash for each of the rest."""
    return "".join(letter if letter.isalnum() or letter in "+-=_." else "-" for letter in words)
