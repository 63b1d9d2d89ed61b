"""Annotation files of benchmarks, row by row, with errors that name file, row and field."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from clipdistill.errors import UserError, nearest


class Row:
    """One record and where it stands. Every getter raises a UserError of one line when the field isn't what it says.

    `how` says how the file is got, and ends each error; `who` reads it, and begins each error.
    """

    def __init__(self, file: Path, place: str, values: Any, how: str, who: str) -> None:
        self.file, self.place, self.how, self.who = file, place, how, who
        if not isinstance(values, Mapping):
            raise UserError(f"{who}: {file}, {place}: is {kind(values)}, not a JSON object; {how}")
        self.values: Mapping[str, Any] = values

    def where(self, field: str) -> str:
        """File, row and field as errors name them."""
        return f"{self.file}, {self.place}, `{field}`"

    def bad(self, field: str, why: str) -> UserError:
        """The error for a field of this row."""
        return UserError(f"{self.who}: {self.where(field)}: {why}; {self.how}")

    def get(self, field: str) -> Any:
        """The field's value, of whatever type."""
        if field not in self.values:
            raise self.bad(field, f"is missing; the row has {', '.join(self.values)}.{nearest(field, self.values)}")
        return self.values[field]

    def text(self, field: str) -> str:
        """A string that isn't blank."""
        value = self.get(field)
        if not isinstance(value, str) or not value.strip():
            raise self.bad(field, f"is {kind(value)}, not a text")
        return value

    def number(self, field: str) -> int:
        """A whole number."""
        value = self.get(field)
        if isinstance(value, bool) or not isinstance(value, int | float) or not float(value).is_integer():
            raise self.bad(field, f"is {kind(value)}, not a whole number")
        return int(value)

    def entries(self, field: str, least: int = 0) -> list[Any]:
        """A list of at least `least` entries."""
        value = self.get(field)
        if not isinstance(value, list) or len(value) < least:
            raise self.bad(field, f"is {kind(value)}, not a list{f' of {least} or more' if least else ''}")
        return value

    def texts(self, field: str, least: int) -> tuple[str, ...]:
        """A list of at least `least` strings."""
        value = self.entries(field, least)
        for each in value:
            if not isinstance(each, str):
                raise self.bad(field, f"holds {kind(each)} among its texts")
        return tuple(value)

    def nested(self, field: str) -> Row:
        """A JSON object as a row."""
        return Row(self.file, f"{self.place}, {field}", self.get(field), self.how, self.who)

    def rows(self, field: str) -> list[Row]:
        """A list of JSON objects as rows."""
        return [
            Row(self.file, f"{self.place}, {field} {number}", each, self.how, self.who)
            for number, each in enumerate(self.entries(field))
        ]


def read_json(path: Path, how: str, who: str) -> Any:
    """Return a JSON file's content; UserError with `how` to get it when it's missing, empty or broken."""
    text = read_text(path, how, who)
    try:
        return json.loads(text)
    except ValueError as error:
        raise UserError(f"{who}: {path} isn't valid JSON ({error}); {how}") from None


def json_rows(path: Path, how: str, who: str, *, keyed: bool = False) -> Iterator[Row]:
    """The rows of a JSON list of objects; with `keyed`, of an object of objects as well (its keys name the rows)."""
    content = read_json(path, how, who)
    if keyed and isinstance(content, dict):
        named = [(f"row '{key}'", value) for key, value in content.items()]
    elif isinstance(content, list):
        named = [(f"row {number}", value) for number, value in enumerate(content)]
    else:
        raise UserError(f"{who}: {path} holds {kind(content)}, not a JSON list of cases; {how}")
    if not named:
        raise UserError(f"{who}: {path} holds no cases; {how}")
    return (Row(path, place, value, how, who) for place, value in named)


def jsonl_rows(path: Path, how: str, who: str) -> Iterator[Row]:
    """The rows of a file with one JSON object a line; blank lines are passed over."""
    # By "\n" alone: splitlines() would also cut at separators that JSON allows inside its texts.
    for number, line in enumerate(read_text(path, how, who).split("\n"), 1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except ValueError as error:
            raise UserError(f"{who}: {path}, line {number}: isn't valid JSON ({error}); {how}") from None
        yield Row(path, f"line {number}", value, how, who)


def read_text(path: Path, how: str, who: str) -> str:
    """A file's text, with or without a byte-order mark; UserError when it's missing, empty or not UTF-8."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise UserError(f"{who}: {path} is missing; {how}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{who}: {path} can't be read as UTF-8 text ({error}); {how}") from None
    if not text.strip():
        raise UserError(f"{who}: {path} is empty; {how}")
    return text


def kind(value: Any) -> str:
    """What a JSON value is, for an error: short ones as they stand."""
    if isinstance(value, Mapping):
        return "a JSON object"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    shown = json.dumps(value, ensure_ascii=False, default=str)
    return shown if len(shown) <= 40 else f"{shown[:40]}..."
