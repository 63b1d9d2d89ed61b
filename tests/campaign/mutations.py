"""Hypothesis strategies: a valid file, spoilt. Bytes are cut and flipped; what a JSON or a YAML says is changed."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from copy import deepcopy
from typing import Any

from hypothesis import strategies as st

ODD_TEXT = (
    "", " ", "\x00", "\ufeff", "\u2028", "\u202e\u0645", "e\u0301", "\U0001f9ff" * 3, "\ud800", "a" * 5000, "../../x",
    "/", "nan", "None", "-1", "1e999", "\r\n", "\t", '"', ",", "{}", "\uff11", "a\x1bb", "%s%n", "~", "con.png",
)  # fmt: skip
ODD_VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2**31, -(2**63) - 1, 10**30, 0.5, -0.0, 1e308, math.inf, -math.inf, math.nan,
    [], {}, [[]], [None], {"a": None}, [1e400], *ODD_TEXT,
)  # fmt: skip

Place = tuple[Any, ...]


def spoilt_bytes(content: bytes) -> st.SearchStrategy[bytes]:
    """The content cut, with bytes flipped, taken out, doubled or put in."""
    size = max(len(content), 1)

    @st.composite
    def spoil(draw: st.DrawFn) -> bytes:
        found = bytearray(content)
        for _ in range(draw(st.integers(1, 3))):
            at = draw(st.integers(0, max(len(found) - 1, 0)))
            what = draw(st.sampled_from(("cut", "flip", "out", "twice", "in", "text", "zero")))
            length = draw(st.integers(1, max(1, size // 4)))
            if what == "cut":
                del found[at:]
            elif what == "flip" and found:
                found[at] ^= draw(st.integers(1, 255))
            elif what == "out":
                del found[at : at + length]
            elif what == "twice":
                found[at:at] = found[at : at + length]
            elif what == "in":
                found[at:at] = draw(st.binary(min_size=1, max_size=8))
            elif what == "text":
                found[at:at] = draw(st.sampled_from(ODD_TEXT)).encode("utf-8", "surrogatepass")
            else:
                found[at : at + length] = bytes(min(length, len(found) - at))
        return bytes(found)

    return spoil()


def spoilt_values(content: Any) -> st.SearchStrategy[Any]:
    """The content, which JSON could hold, with something in it of another kind, missing, doubled or huge."""

    @st.composite
    def spoil(draw: st.DrawFn) -> Any:
        found = json.loads(json.dumps(content))
        for _ in range(draw(st.integers(1, 3))):
            places = list(_places(found))
            if not places:
                return deepcopy(draw(st.sampled_from(ODD_VALUES)))
            place = draw(st.sampled_from(places))
            what = draw(st.sampled_from(("value", "value", "value", "out", "twice", "key")))
            found = _changed(found, place, what, draw)
        return found

    return spoil()


def written(content: Any) -> bytes:
    """As JSON, also what JSON doesn't know (NaN) and half a surrogate."""
    return json.dumps(content).encode()


def as_lines(content: Any) -> bytes:
    """As JSON lines; what is no list any more is one."""
    return b"".join(written(one) + b"\n" for one in (content if isinstance(content, list) else [content]))


def spoilt_file(content: bytes, read: Callable[[bytes], Any] | None, write: Callable[[Any], bytes]) -> Any:
    """A strategy for a file: its bytes, or, when `read` understands it, what it says."""
    if read is None:
        return spoilt_bytes(content)
    return st.one_of(
        spoilt_bytes(content), spoilt_values(read(content)).map(write), spoilt_values(read(content)).map(write)
    )


def _places(value: Any, place: Place = ()) -> Iterator[Place]:
    if place:
        yield place
    if isinstance(value, dict):
        for key, one in list(value.items())[:40]:
            yield from _places(one, (*place, key))
    elif isinstance(value, list):
        for number, one in enumerate(value[:6]):
            yield from _places(one, (*place, number))


def _changed(content: Any, place: Place, what: str, draw: st.DrawFn) -> Any:
    parent = content
    for step in place[:-1]:
        parent = parent[step]
    last = place[-1]
    if what == "value":
        parent[last] = deepcopy(draw(st.sampled_from(ODD_VALUES)))
    elif what == "out":
        del parent[last]
    elif what == "twice" and isinstance(parent, list):
        parent.insert(last, parent[last])
    elif what == "key" and isinstance(parent, dict):
        parent[draw(st.sampled_from((*ODD_TEXT, "x")))] = parent.pop(last)
    else:
        parent[last] = [parent[last]]
    return content
