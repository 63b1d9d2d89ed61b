"""Low-shot draws of a run's sources (`low_shot: 700`), and the command that makes one for others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from clipdistill.data import open_source
from clipdistill.data.low_shot import LowShot, draw_low_shot, write_low_shot
from clipdistill.errors import UserError
from clipdistill.files import require_writable

FOLDER = "low_shot"
"""In a run: NAME.json for each source that was drawn from."""


def open_drawn(spec: dict[str, Any], total: int, seed: int) -> tuple[Any, Any, LowShot]:
    """Open a source and draw from it.

    Args:
        spec: as `open_source` takes it; with `unlabelled` it is the rest that is wanted: the same draw, by the same
            seed, of the labelled samples is left out of it.

    Returns:
        What the run trains on, the whole that it was drawn from, and the draw.

    Raises:
        UserError: it can't be opened, or not so many can be drawn of each class.
    """
    whole: Any = open_source(spec)
    if not hasattr(whole, "part"):
        raise UserError(
            f"'{whole.name}' has no questions to draw from; use `count` for data of format {spec['format']}"
        )
    rest = bool(spec.get("unlabelled"))
    drawn = draw_low_shot(open_source({**spec, "unlabelled": None}) if rest else whole, total, seed)
    if drawn.shortfalls:
        name, lacking = max(drawn.shortfalls.items(), key=lambda each: each[1])
        share = total // len(drawn.classes)
        raise UserError(
            f"{total:,} asked of '{whole.name}' are {share:,} of each class, and '{name}' has {share - lacking:,}; ask "
            f"for at most {(share - lacking) * len(drawn.classes):,}"
        )
    return whole.part(drawn, rest), whole, drawn


def describe(drawn: LowShot) -> str:
    """In the plan's words: "700 by seed 0, 100 of each of 7 classes"."""
    if not drawn.classes:
        return f"{len(drawn.ids):,} by seed {drawn.seed}"
    share = drawn.total // len(drawn.classes)
    return f"{len(drawn.ids):,} by seed {drawn.seed}, {share:,} of each of {len(drawn.classes)} classes"


def write_draws(draws: list[LowShot], run: Path) -> None:
    """Write the draws of a run into its folder, as files that `subset` reads."""
    for drawn in draws:
        name = "".join(letter if letter.isalnum() or letter in "+-_." else "_" for letter in drawn.data)
        write_low_shot(run / FOLDER / f"{name}.json", drawn)


def low_shot(source: str, total: int, seed: int, out: Path, options: dict[str, Any] | None = None) -> LowShot:
    """Draw from a source and write the list of ids.

    Args:
        source: a path whose format is guessed, or "format:path@split".
        options: of its format, such as `question_types`.

    Raises:
        UserError: the source can't be opened or drawn from, or the file not written.
    """
    from clipdistill.data import parse_shorthand

    if out.is_dir():
        raise UserError(f"--out {out}: is a folder; give a file")
    require_writable(out, "--out")
    _, _, drawn = open_drawn({**parse_shorthand(source), **(options or {})}, total, seed)
    write_low_shot(out, drawn)
    return drawn
