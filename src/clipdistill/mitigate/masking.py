"""Shortcut-mitigated VCR by a model (SM, adversarial): the words that an option's score hangs on most are masked.

Source: the adversarial sets of "A case study of the shortcut effects in visual commonsense reasoning" (2021). A model
is scored with each token of each option masked in turn (`token_losses`); the losses lie in a score file, a line a
question:

    {"annot_id": ..., "answer_label": 1, "answer_tokens": [[...] x 4], "answer_losses": [[...] x 4],
     "rationale_label": 1, "rationale_tokens": ..., "rationale_losses": ...}

A token is a word, or a tag of its own: groups of tags are flattened. In the written file a masked word is "[MASK]", and
a masked tag t is t + 10000 inside its list; `data.tagged_text` reads both.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

from clipdistill.data.sources.base import existing
from clipdistill.data.sources.questions import Skipped, json_lines
from clipdistill.data.tagged_text import MASK, MASKED_TAG
from clipdistill.errors import UserError
from clipdistill.mitigate.shortcut_rules import UNLABELLED
from clipdistill.mitigate.vcr_files import LISTS, Change, Outcome, Record, Token, labelled

Masks = Literal["adv-1", "keep-1", "keep-3", "keep-5"]
MASKS: tuple[Masks, ...] = ("adv-1", "keep-1", "keep-3", "keep-5")
"""AdvTop-1 masks the token whose loss is highest; KeepTop-K masks all but the K highest."""
Scores = Mapping[str, Mapping[str, Any]]
"""annot_id -> its line of a score file."""


def flattened(option: Sequence[Token]) -> list[str | int]:
    """Tokens with a tag of a group each: `[[0, 1], "are"]` -> `[0, 1, "are"]`."""
    return [one for token in option for one in ([token] if isinstance(token, str) else token)]


def with_masked(option: Sequence[Token], places: set[int]) -> list[Token]:
    """The option with the tokens at `places` (of `flattened`) masked."""
    made: list[Token] = []
    place = 0
    for token in option:
        if isinstance(token, str):
            made.append(MASK if place in places else token)
            place += 1
        else:
            made.append([
                tag + MASKED_TAG if place + number in places and tag < MASKED_TAG else tag
                for number, tag in enumerate(token)
            ])  # fmt: skip
            place += len(token)
    return made


def masked_places(losses: Sequence[float], masks: Masks) -> set[int]:
    """Which tokens are masked, by their losses; among equal losses the first counts as higher."""
    order = sorted(range(len(losses)), key=lambda place: (-losses[place], place))
    how, _, count = masks.partition("-")
    return set(order[: int(count)]) if how == "adv" else set(order[int(count) :])


def adversarial(one: str, record: Record, *, scores: Scores, masks: Masks, wrong_only: bool = False) -> Outcome:
    """Mask every option of a record by the losses of `scores`; a record without any is left out.

    wrong_only: leave right options as they are.
    """
    if not labelled(record):
        return Outcome(None, why=UNLABELLED)
    if one not in scores:
        return Outcome(None, why="it has no scores")
    made, changes = dict(record), []
    for name, label in LISTS.items():
        options: list[list[Token]] = []
        for number, option in enumerate(record[name]):
            right = number == record[label]
            losses = scores[one][_key(name, "losses")][number]
            new = list(option) if wrong_only and right else with_masked(option, masked_places(losses, masks))
            why = f"{'right' if right else 'wrong'}: {masks}"
            changes += [
                Change(one, name, number, place, [before], [after], why)
                for place, (before, after) in enumerate(zip(option, new, strict=True)) if before != after
            ]  # fmt: skip
            options.append(new)
        made[name] = options
    return Outcome(made, changes)


def by_scores(scores: Scores, masks: Masks, wrong_only: bool) -> partial[Outcome]:
    """The rule `adversarial` with its settings."""
    return partial(adversarial, scores=scores, masks=masks, wrong_only=wrong_only)


def score_line(one: str, record: Record, losses: Mapping[str, Sequence[Sequence[float]]]) -> dict[str, Any]:
    """A line of a score file: `losses` by list of options, each one a token of `flattened`."""
    line: dict[str, Any] = {"annot_id": one}
    for name, label in LISTS.items():
        line[label] = record[label]
        line[_key(name, "tokens")] = [flattened(option) for option in record[name]]
        line[_key(name, "losses")] = [[float(f"{loss:.6g}") for loss in option] for option in losses[name]]
    return line


def read_scores(path: str | Path, records: Mapping[str, Record]) -> dict[str, dict[str, Any]]:
    """Read a score file and see that it is of these records: labels, options, and a loss for each token.

    Raises:
        UserError: no such file, a line isn't of the layout, or it is of other options; or it has none of the records.
    """
    file = existing(path, "score file", "leave --scores out and name a model with --by, which makes one")
    if file.is_dir():
        raise UserError(f"--scores {file}: is a folder; name a file of scores")
    skipped: Skipped = []
    found = {}
    for number, _, line in json_lines(file, skipped):
        one = str(line.get("annot_id"))
        if one in records:
            wrong = _wrong(line, records[one])
            if wrong:
                raise UserError(f"--scores {file}: line {number} ('{one}'): {wrong}")
            found[one] = line
    if skipped:
        raise UserError(f"--scores {file}: {skipped[0][0]}: {skipped[0][1]}")
    if not found:
        raise UserError(f"--scores {file}: has no scores of these questions; it is of other data")
    return found


def _wrong(line: Mapping[str, Any], record: Record) -> str | None:
    for name, label in LISTS.items():
        key = _key(name, "losses")
        losses = line.get(key)
        if not isinstance(losses, list) or len(losses) != len(record[name]):
            return f"'{key}' isn't four lists"
        if record.get(label) is not None and line.get(label) != record[label]:
            return f"{label} is {line.get(label)!r} there and {record[label]} here; it is of other data"
        for number, (option, given) in enumerate(zip(record[name], losses, strict=True)):
            tokens = len(flattened(option))
            if not isinstance(given, list) or len(given) != tokens:
                have = len(given) if isinstance(given, list) else "no list of"
                return f"{have} {key} for option {number}, which has {tokens} tokens; it is of other data"
            if not all(isinstance(one, int | float) and math.isfinite(one) for one in given):
                return f"'{key}' of option {number} aren't numbers"
    return None


def _key(name: str, what: str) -> str:
    return f"{name.removesuffix('_choices')}_{what}"
