"""Tables of captions beside an image folder: CSV, TSV or JSONL, any column names, one or several captions an image.

Rows that name the same image become one sample with all their captions (equal ones once), at the place of the first.
"""

from __future__ import annotations

import csv as csv_module
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from clipdistill.data.sources.base import (
    IMAGE_SUFFIXES,
    Row,
    TableSource,
    clean_captions,
    existing,
    find_root,
    not_empty,
    unique_ids,
)
from clipdistill.errors import UserError, nearest

IMAGE_COLUMNS = tuple("image filepath filename file_name file image_path path img image_name photo".split())
CAPTION_COLUMNS = ("caption", "captions", "title", "text", "sentence", "sentences", "raw", "description", "comment")
TABLES = (".csv", ".tsv", ".tab", ".jsonl", ".ndjson", ".json")
Cells = dict[str, Any]


def open_csv(
    path: str,
    *,
    name: str | None = None,
    image: str | None = None,
    caption: str | Sequence[str] | None = None,
    label: str | None = None,
    split: str | None = None,
    id: str | None = None,
    fields: Sequence[str] = (),
    separator: str | None = None,
    root: str | None = None,
    quotes: str = "auto",
    encoding: str | None = None,
    captions: str | None = None,
) -> TableSource:
    """Open a .csv, .tsv or .jsonl table.

    image, caption, label, id, fields: column names (`caption` may be several). Left out, `image` and `caption` are
    found by their usual names. split: keep the rows with this value in the column "split".
    quotes: "double" where cells may be in double quotes, "none" where these are text; "auto" is "double" but for tables
    with tabs in which they can't be.
    root: the folder that image paths are relative to; by default the table's own, or "images" beside it.
    captions: "none" = no column of captions is looked for.

    Raises:
        UserError: no such file, column or picture folder, or nothing usable in it.
    """
    file = existing(path, "file", "give the path of a .csv, .tsv or .jsonl table")
    if file.is_dir():
        tables = [one.name for one in sorted(file.iterdir()) if one.suffix.lower() in TABLES]
        raise UserError(f"{file}: a folder; name the table in it ({', '.join(tables[:6]) or 'there is none'})")
    jsonl = file.suffix.lower() in (".jsonl", ".ndjson", ".json")
    skipped: list[tuple[str, str]] = []
    text = read_text(file, encoding)
    lines = list(_json_rows(text, skipped) if jsonl else _csv_rows(file, text, separator, quotes, skipped))
    not_empty(lines, file, skipped, "rows")
    columns = list(dict.fromkeys(key for _, cells in lines[:1000] for key in cells))
    image = _column(file, columns, image, IMAGE_COLUMNS, "image")
    texts = [] if captions else _caption_columns(file, columns, caption, label)
    for given in (label, id, *fields, *(["split"] if split else [])):
        if given is not None:
            _column(file, columns, given, (), "label")
    if split:
        values = sorted({str(cells.get("split")) for _, cells in lines})
        lines = [line for line in lines if str(line[1].get("split")) == split]
        if not lines:
            raise UserError(f"{file}: no rows with split '{split}'; there are {', '.join(values[:8])}")
    merged: dict[str, Row] = {}
    labels: dict[str, str] = {}
    for number, cells in lines:
        where = str(cells.get(image) or "").strip().replace("\\", "/")
        if not where:
            skipped.append((f"line {number}", f"no value in column '{image}'"))
            continue
        found = tuple(caption for column in texts for caption in clean_captions(cells.get(column)))
        row = merged.get(where)
        if row is None:
            extra = {field: cells.get(field) for field in fields}
            row = merged[where] = Row(str(cells.get(id) or where) if id else where, where, fields=extra)
        row.captions = tuple(dict.fromkeys((*row.captions, *found)))
        if label is not None and cells.get(label) not in (None, ""):
            labels.setdefault(where, str(cells[label]).strip())
    rows = []
    for where, row in merged.items():
        if texts and not row.captions:
            skipped.append((row.id, "no caption that isn't empty"))
        elif label is not None and where not in labels:
            skipped.append((row.id, f"no value in column '{label}'"))
        else:
            rows.append(row)
    not_empty(rows, file, skipped, "usable rows")
    classes = None
    if label is not None:
        classes = tuple(sorted({labels[row.image] for row in rows}))
        number_of = {label_name: index for index, label_name in enumerate(classes)}
        for row in rows:
            row.label = number_of[labels[row.image]]
    for row, unique in zip(rows, unique_ids(row.id for row in rows), strict=True):
        row.id = unique
    folder = file.parent
    roots = [existing(root, "folder")] if root else [folder, folder / "images", folder.parent, folder.parent / "images"]
    return TableSource(name or file.stem, find_root(roots, [row.image for row in rows], file), rows, skipped, classes)


def read_text(file: Path, encoding: str | None = None) -> str:
    """Return the text of a file whose byte-order mark, if any, says how it is encoded; UTF-8 without one."""
    data = file.read_bytes()
    if encoding is None:
        encoding = "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise UserError(f"{file}: line {line} is not {encoding}; save it as UTF-8 or set 'encoding'") from None
    except LookupError:
        raise UserError(f"{file}: encoding '{encoding}' is unknown; try utf-8, utf-16 or cp1252") from None


QUOTES = ("auto", "double", "none")


def _csv_rows(
    file: Path, text: str, separator: str | None, quotes: str, skipped: list[tuple[str, str]]
) -> Iterator[tuple[int, Cells]]:
    if quotes not in QUOTES:
        raise UserError(f"{file}: quotes '{quotes}' is unknown; write {', '.join(QUOTES)}")
    header = next((line for line in text.splitlines() if line.strip()), "")
    separator = {"tab": "\t", "\\t": "\t"}.get(separator or "", separator) or _guess_separator(file, header)
    if len(separator) != 1:
        raise UserError(f"{file}: separator {separator!r} should be one character, such as ',' or 'tab'")
    csv_module.field_size_limit(2**24)
    text = text.replace("\0", "")
    plain = quotes == "none" or (quotes == "auto" and separator == "\t" and _never_quoted(text))
    reader = csv_module.reader(
        io.StringIO(text, newline=""), delimiter=separator, strict=True,
        quoting=csv_module.QUOTE_NONE if plain else csv_module.QUOTE_MINIMAL,
    )  # fmt: skip
    names: list[str] | None = None
    while True:
        line = reader.line_num + 1
        try:
            values = next(reader)
        except StopIteration:
            return
        except csv_module.Error as error:
            if "end of data" in str(error):
                raise UserError(
                    f"{file}: in line {line} a quote opens that is never closed, which takes all that follows for one "
                    "cell; write it twice within quotes, or set 'quotes: none' where cells are never quoted"
                ) from None
            where = f"line {line}" if reader.line_num == line else f"lines {line} to {reader.line_num}"
            skipped.append((where, f"quotes that don't fit ({error}); 'quotes: none' takes them as they are"))
            continue
        if not any(value.strip() for value in values):
            continue
        if names is None:
            names = [value.strip() for value in values]
        elif len(values) > len(names) and any(value.strip() for value in values[len(names) :]):
            skipped.append((f"line {reader.line_num}", f"{len(values)} values for {len(names)} columns"))
        else:
            yield reader.line_num, dict(zip(names, values, strict=False))


def _never_quoted(text: str) -> bool:
    """Whether quotes in a table with tabs are text: every line has all columns, and some cell's quotes enclose nothing.

    CC3M's captions are such: quotes at the beginning of a cell would take all lines up to the next one for its end.
    """
    if '"' not in text:
        return False
    lines = [line for line in text.replace("\r", "\n").split("\n") if line.strip()]  # as the table's reader has lines
    if len({line.count("\t") for line in lines}) > 1:
        return False
    cells = (cell for line in lines if '"' in line for cell in line.split("\t") if cell.startswith('"'))
    return any(len(cell) < 2 or not cell.endswith('"') or '"' in cell[1:-1].replace('""', "") for cell in cells)


def _guess_separator(file: Path, header: str) -> str:
    if file.suffix.lower() in (".tsv", ".tab") or ("\t" in header and "," not in header):
        return "\t"
    return next((one for one in ";|" if one in header and "," not in header), ",")


def _json_rows(text: str, skipped: list[tuple[str, str]]) -> Iterator[tuple[int, Cells]]:
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            cells = json.loads(line)
        except (json.JSONDecodeError, RecursionError):
            skipped.append((f"line {number}", "not JSON"))
            continue
        if isinstance(cells, Mapping):
            yield number, dict(cells)
        else:
            skipped.append((f"line {number}", "not a JSON object"))


def _column(file: Path, columns: list[str], given: str | None, usual: Sequence[str], what: str) -> str:
    if given is not None:
        if given not in columns:
            raise UserError(f"{file}: no column '{given}'; it has {_listed(columns)}.{nearest(given, columns)}")
        return given
    by_lower = {column.lower(): column for column in reversed(columns)}
    for name in usual:
        if name in by_lower:
            return by_lower[name]
    if any(column.lower().endswith(tuple(IMAGE_SUFFIXES)) for column in columns):
        raise UserError(
            f"{file}: its first line has a picture's name, not those of columns; write image,caption above it"
        )
    raise UserError(f"{file}: which column is the {what}? It has {_listed(columns)}; set '{what}' to one of them")


def _caption_columns(file: Path, columns: list[str], given: str | Sequence[str] | None, label: str | None) -> list[str]:
    if given is not None:
        return [_column(file, columns, one, (), "caption") for one in ([given] if isinstance(given, str) else given)]
    try:
        return [_column(file, columns, None, CAPTION_COLUMNS, "caption")]
    except UserError:
        # caption_0, caption_1, ... or caption1, caption2, ...
        numbered = [c for c in columns if c.lower().rstrip("0123456789").rstrip("_ ") in CAPTION_COLUMNS]
        if numbered or label is not None:
            return numbered
        raise


def _listed(columns: Sequence[str]) -> str:
    shown = ", ".join(f"'{column}'" for column in columns[:12])
    return shown + (f" and {len(columns) - 12} more" if len(columns) > 12 else "")
