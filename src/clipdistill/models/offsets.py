"""Which characters of a text each token stands for."""

from __future__ import annotations

import string
from collections.abc import Sequence
from typing import Any

from clipdistill.errors import UserError

Span = tuple[int, int]

# Characters that cleaning may drop or turn into a space: punctuation (SigLIP's canonical form) and the underscore.
_DROPPABLE = frozenset(string.punctuation)


def bpe_spans(tokenizer: Any, cleaned: str, length: int) -> list[Span]:
    """Return the span of every position for open_clip's `SimpleTokenizer`, in the cleaned text.

    CLIP's BPE works on the UTF-8 bytes of each word, so a token may cover part of a character; its span is then that
    whole character.
    """
    spans: list[Span] = [(0, 0)]
    for match in tokenizer.pat.finditer(cleaned):
        word = match.group()
        # Which character each byte of the word belongs to.
        owner = [match.start() + i for i, character in enumerate(word) for _ in character.encode("utf-8")]
        pieces = tokenizer.bpe("".join(tokenizer.byte_encoder[byte] for byte in word.encode("utf-8"))).split(" ")
        at = 0
        for i, piece in enumerate(pieces):
            size = len(piece.removesuffix("</w>")) if i == len(pieces) - 1 else len(piece)
            spans.append((owner[at], owner[min(at + size, len(owner)) - 1] + 1))
            at += size
    spans = spans[: length - 1] + [(0, 0)]
    return spans + [(0, 0)] * (length - len(spans))


def hugging_face_spans(tokenizer: Any, cleaned: str, length: int) -> list[Span]:
    """Return the span of every position for open_clip's `HFTokenizer` or `SigLipTokenizer`, in the cleaned text.

    Raises:
        UserError: a tokenizer without a fast backend, which keeps no offsets.
    """
    inner = tokenizer.tokenizer
    if not getattr(inner, "is_fast", False):
        raise UserError(f"{type(inner).__name__}: this tokenizer keeps no character offsets; use its fast version")
    if getattr(tokenizer, "tokenizer_mode", ""):
        plain = inner(cleaned, add_special_tokens=False, return_offsets_mapping=True)
        spans = [(0, 0)] + [tuple(pair) for pair in plain["offset_mapping"][: length - 3]]
        return spans + [(0, 0)] * (length - len(spans))
    encoded = inner(
        cleaned,
        max_length=length,
        padding="max_length",
        truncation=True,
        return_offsets_mapping=True,
        return_special_tokens_mask=True,
    )
    return [
        (0, 0) if special else _trimmed(cleaned, start, end)
        for (start, end), special in zip(encoded["offset_mapping"], encoded["special_tokens_mask"], strict=True)
    ]


def to_original(spans: Sequence[Span], original: str, cleaned: str) -> list[Span]:
    """Move spans in the cleaned text to spans in the original one, or leave them where no path leads back."""
    if original == cleaned:
        return list(spans)
    path = _align(original, cleaned)
    if path is None:
        return list(spans)
    return [(0, 0) if start == end else (path[start], path[end - 1] + 1) for start, end in spans]


def _align(original: str, cleaned: str) -> list[int] | None:
    """Return for each cleaned character the position of its original; None when the texts differ in more than case,
    white space and dropped punctuation."""
    path: list[int] = []
    at = 0
    for character in cleaned:
        if character == " ":
            path.append(min(at, max(len(original) - 1, 0)))
            continue
        while at < len(original) and original[at].lower() != character and original[at] != character:
            if not (original[at].isspace() or original[at] in _DROPPABLE):
                return None
            at += 1
        if at == len(original):
            return None
        path.append(at)
        at += 1
    return path


def _trimmed(text: str, start: int, end: int) -> Span:
    """Take white space off both ends: some tokenizers count the blank before a word as part of it."""
    while start < end and text[start].isspace():
        start += 1
    while end > start and text[end - 1].isspace():
        end -= 1
    return (start, end)
