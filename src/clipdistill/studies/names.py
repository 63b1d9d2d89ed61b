"""Names of folders, which tables and grids share."""

from __future__ import annotations

import hashlib


def folder_name(words: str, longest: int) -> str:
    """Words as a folder's name: as they are where they can be, else changed, cut and with a digest behind."""
    fitting = plain(words)
    if fitting == words and len(words) <= longest:
        return words
    return f"{fitting[:longest]}-{hashlib.sha256(words.encode()).hexdigest()[:8]}"


def plain(words: str) -> str:
    """Letters, digits and `+-=_.`; a dash for each of the rest."""
    return "".join(letter if letter.isalnum() or letter in "+-=_." else "-" for letter in words)
