"""VCR's files as they are read and written here: records stay as they are but for their options, with a log beside.

`FILE.jsonl` is an ordinary VCR file. Beside it lie `FILE.changes.jsonl`, a line a change, and `FILE.summary.json`.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from clipdistill.data.sources.base import existing, unique_ids
from clipdistill.data.sources.questions import Skipped, json_lines
from clipdistill.data.sources.vcr import check_item
from clipdistill.errors import UserError
from clipdistill.files import atomic_path, require_writable, write_json

Token = str | list[int]
Record = dict[str, Any]
LISTS = {"answer_choices": "answer_label", "rationale_choices": "rationale_label"}
"""The two lists of options, and the label that says which is right."""
SUFFIX = ".jsonl"


@dataclass(frozen=True)
class Change:
    """In option `option` of `choices`, tokens `before` at `position` (of the old option) became `after`; and why."""

    annot_id: str
    choices: str
    option: int
    position: int
    before: list[Token]
    after: list[Token]
    why: str


@dataclass
class Outcome:
    """What a rule made of a record: the new one (None = it is left out, and `why`), and its changes."""

    record: Record | None
    changes: list[Change] = field(default_factory=list)
    why: str = ""


@dataclass(frozen=True)
class VcrFile:
    """Records in order, by their ids (`annot_id`, or the line's number); `skipped`: other lines, and why."""

    path: Path
    records: dict[str, Record]
    skipped: Skipped


def read_vcr(path: str | Path) -> VcrFile:
    """Read the annotations of VCR, every record that its source takes too (pictures aren't looked for).

    Raises:
        UserError: no such file, a folder, or not one usable record in it.
    """
    file = existing(path, "file", "give a VCR file, such as vcr1/val.jsonl")
    if file.is_dir():
        raise UserError(f"{file}: is a folder; name a file in it, such as {file / 'val.jsonl'}")
    skipped: Skipped = []
    found: list[tuple[str, Record]] = []
    for number, _, item in json_lines(file, skipped):
        one = str(item.get("annot_id") or f"line {number}")
        wrong = check_item(item)
        if wrong:
            skipped.append((one, wrong))
        else:
            found.append((one, item))
    if not found:
        first = f": {skipped[0][0]}: {skipped[0][1]}" if skipped else ""
        raise UserError(f"{file}: no VCR questions in it{first}")
    ids = unique_ids(one for one, _ in found)
    return VcrFile(file, dict(zip(ids, (item for _, item in found), strict=True)), skipped)


def require_labels(file: VcrFile) -> None:
    """Make sure that there is a record with both labels.

    Raises:
        UserError: the file has none, as VCR's test file.
    """
    if not any(labelled(record) for record in file.records.values()):
        raise UserError(
            f"{file.path}: has no labels, and right and wrong options are changed otherwise; give val.jsonl"
        )


def labelled(record: Record) -> bool:
    """Whether it is known which answer and which rationale are right."""
    return all(record.get(label) is not None for label in LISTS.values())


def apply(file: VcrFile, rule: Callable[[str, Record], Outcome]) -> dict[str, Outcome]:
    """What `rule` makes of each record, and of what couldn't be read: it is left out."""
    found = {one: rule(one, record) for one, record in file.records.items()}
    return found | {one: Outcome(None, why=f"not VCR's: {why}") for one, why in file.skipped if one not in found}


def target_of(out: str | Path, source: Path, kind: str) -> Path:
    """The file to write: `out` where it ends with .jsonl, else NAME-KIND.jsonl in the folder `out`.

    Raises:
        UserError: it would replace its own source, or can't be written.
    """
    path = Path(out)
    if path.suffix != SUFFIX or path.is_dir():
        path = path / f"{source.stem}-{kind}{SUFFIX}"
    if path.exists() and path.resolve() == source.resolve():
        raise UserError(f"--out {path}: is the file that is read; choose another name")
    require_writable(path, "--out")
    return path


def write_outcomes(
    path: Path, source: Path, kind: str, outcomes: Mapping[str, Outcome], facts: Mapping[str, Any]
) -> dict[str, Any]:
    """Write the records that are kept, the log and the summary, each whole or not at all; return the summary.

    facts: what the summary holds besides.

    Raises:
        UserError: nothing is kept, or it can't be written.
    """
    kept = [outcome.record for outcome in outcomes.values() if outcome.record is not None]
    dropped = {one: outcome.why for one, outcome in outcomes.items() if outcome.record is None}
    if not kept:
        why = next(iter(dropped.values()))
        raise UserError(f"{source}: {kind} leaves none of its {len(dropped):,} questions ({why}); nothing is written")
    changes = [change for outcome in outcomes.values() for change in outcome.changes]
    summary = {
        "kind": kind, "source": str(source), "kept": len(kept), "dropped": len(dropped),
        "changed_questions": len({change.annot_id for change in changes}),
        "changed_options": {
            name: len({(change.annot_id, change.option) for change in changes if change.choices == name})
            for name in LISTS
        },
        "changes": len(changes),
        "changes_by_reason": dict(Counter(change.why for change in changes).most_common()),
        "dropped_by_reason": dict(Counter(dropped.values()).most_common(20)),
        **facts,
    }  # fmt: skip
    gone = ({"annot_id": one, "choices": None, "why": f"left out: {why}"} for one, why in dropped.items())
    write_lines(beside(path, "changes.jsonl"), [*(vars(change) for change in changes), *gone])
    write_json(beside(path, "summary.json"), summary)
    write_lines(path, kept)
    pictures = link_pictures(path, source, kept)
    return {**summary, "file": str(path), "pictures": pictures}


def beside(path: Path, ending: str) -> Path:
    """`val-em.jsonl` -> `val-em.ENDING`."""
    return path.with_name(f"{path.stem}.{ending}")


def write_lines(path: Path, lines: Iterable[Any]) -> None:
    """Write JSON values, one a line, atomically."""
    with atomic_path(path) as temporary, open(temporary, "w", encoding="utf-8", newline="\n") as handle:
        for line in lines:
            handle.write(json.dumps(line, ensure_ascii=False) + "\n")


def link_pictures(path: Path, source: Path, records: Sequence[Record]) -> str:
    """Let the written file find the pictures and metadata of its source, and say how.

    `img_fn` and `metadata_fn` stay as they are, relative to the pictures' folder. A file is read with `vcr1images`
    beside it or beside its folder, or with one of these two folders (`data.sources.vcr`). Where none of them has the
    pictures and the source finds them, the link `vcr1images` is put beside the written file.
    """
    images = [record["img_fn"] for record in records[:16]]

    def place(file: Path) -> Path | None:
        bases = (file.absolute().parent, file.absolute().parent.parent)
        folders = [folder for base in bases for folder in (base / "vcr1images", base)]
        return next((one for one in folders if any((one / image).is_file() for image in images)), None)

    found, original = place(path), place(source)
    if found is not None:
        return f"pictures are found in {found}"
    link = path.absolute().parent / "vcr1images"
    if original is None or link.exists() or link.is_symlink():
        return "pictures aren't found from there; open it with `root:` set to their folder"
    try:
        link.symlink_to(original.resolve(), target_is_directory=True)
    except OSError:
        return f"pictures aren't found from there, and links can't be made; open it with `root: {original}`"
    return f"pictures are found by the link {link.name}, made beside it"
