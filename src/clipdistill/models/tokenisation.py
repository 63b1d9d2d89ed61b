"""One face for every tokenizer: texts in, fixed-length token ids out, with character offsets and a comparable key."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import torch

from clipdistill.errors import UserError
from clipdistill.models.named import PETRI_TOKENIZER, SHIPPED_TOKENIZER
from clipdistill.models.offsets import bpe_spans, hugging_face_spans, to_original


class TextTokenizer:
    """An open_clip tokenizer (CLIP's own BPE or a Hugging Face one) with a fixed context length.

    Attributes:
        context_length: number of token positions L; longer texts are cut, shorter ones padded.
        key: equal keys mean that every text gives equal token ids.
        inner: the open_clip tokenizer itself.
    """

    def __init__(self, inner: Any, settings: dict[str, Any]) -> None:
        self.inner = inner
        self.context_length: int = int(inner.context_length)
        self.settings = settings
        self.is_hugging_face: bool = hasattr(inner, "tokenizer")
        self.key: str = self._key()

    def __call__(self, texts: list[str]) -> torch.Tensor:
        """Return token ids, int64 [B, L]."""
        if isinstance(texts, str):
            texts = [texts]
        if not texts:
            return torch.zeros(0, self.context_length, dtype=torch.int64)
        ids: torch.Tensor = self.inner(list(texts), context_length=self.context_length)
        return ids.to(torch.int64)

    def offsets(self, texts: list[str]) -> list[list[tuple[int, int]]]:
        """Return, for each text and each of the L positions, the characters `[start, end)` the token stands for.

        Special and padding tokens have (0, 0). Offsets point into the text as given; where cleaning changed the text
        so much that its characters can't be followed (mojibake repaired, HTML entities), into the cleaned text.
        """
        if isinstance(texts, str):
            texts = [texts]
        found = []
        for text in texts:
            cleaned = self._clean(text)
            if self.is_hugging_face:
                spans = hugging_face_spans(self.inner, cleaned, self.context_length)
            else:
                spans = bpe_spans(self.inner, cleaned, self.context_length)
            found.append(to_original(spans, text, cleaned))
        return found

    @property
    def vocab_size(self) -> int:
        """Number of distinct token ids."""
        return len(self.inner.tokenizer) if self.is_hugging_face else int(self.inner.vocab_size)

    @property
    def tokenizer_key(self) -> str:
        """The key, under the name that the loader compares tokenizers by."""
        return self.key

    def special_ids(self) -> dict[str, int | None]:
        """Return the ids of the start (`bos`), end (`eos`) and padding (`pad`) tokens; None where there is none."""
        if not self.is_hugging_face:
            return {"bos": self.inner.sot_token_id, "eos": self.inner.eot_token_id, "pad": 0}
        inner = self.inner.tokenizer
        return {"bos": inner.bos_token_id, "eos": inner.eos_token_id, "pad": inner.pad_token_id}

    def _clean(self, text: str) -> str:
        if hasattr(self.inner, "clean_fn"):
            return str(self.inner.clean_fn(text))
        from open_clip.tokenizer import basic_clean, canonicalize_text

        return str(canonicalize_text(basic_clean(text)))

    def _key(self) -> str:
        described = {"length": self.context_length, "kind": type(self.inner).__name__, **self.settings}
        if self.is_hugging_face:
            backend = getattr(self.inner.tokenizer, "backend_tokenizer", None)
            described["vocabulary"] = _digest(_rules(backend) if backend else self.inner.tokenizer.get_vocab())
            described["padding"] = [self.inner.tokenizer.padding_side, self.inner.tokenizer.pad_token_id]
        else:
            described["vocabulary"] = _digest(self.inner.encoder)
        return _digest(described)


def _rules(backend: Any) -> dict[str, Any]:
    """Return what a fast tokenizer does to a text, without the padding and truncation of its latest call."""
    rules: dict[str, Any] = json.loads(backend.to_str())
    return {key: value for key, value in rules.items() if key not in ("padding", "truncation", "version")}


def _digest(value: Any) -> str:
    if not isinstance(value, str):
        value = json.dumps(value, sort_keys=True, default=str)
    return hashlib.sha256(value.encode("utf-8")).hexdigest()[:16]


def make_tokenizer(text_cfg: dict[str, Any], name: str, folder: Path | None = None) -> TextTokenizer:
    """Make the tokenizer that a model's `text_cfg` asks for.

    Args:
        text_cfg: open_clip's text configuration (`context_length`, `hf_tokenizer_name`, `tokenizer_kwargs`, ...).
        name: the model's name, for messages.
        folder: a checkpoint folder whose own tokenizer files are to be used, where the configuration names a tokenizer.

    Raises:
        UserError: the tokenizer's files aren't on this machine and can't be fetched.
    """
    from open_clip.tokenizer import HFTokenizer, SimpleTokenizer

    length = int(text_cfg.get("context_length", 77))
    settings = dict(text_cfg.get("tokenizer_kwargs") or {})
    mode = text_cfg.get("tokenizer_mode")
    source = text_cfg.get("hf_tokenizer_name")
    if not source:
        return TextTokenizer(SimpleTokenizer(context_length=length, **settings), settings)
    if folder is not None and any((folder / file).is_file() for file in ("tokenizer.json", "tokenizer_config.json")):
        source = str(folder)
    elif source == SHIPPED_TOKENIZER:
        source = str(PETRI_TOKENIZER)
    try:
        inner = HFTokenizer(source, context_length=length, tokenizer_mode=mode, **settings)
    except Exception as error:
        where = "its files are damaged" if Path(source).is_dir() else f"fetch it with `hf download {source}`"
        raise UserError(
            f"{name}: the tokenizer '{source}' can't be opened; {where} "
            "(HF_HUB_CACHE is where downloads are looked for), or put its files into the model's folder"
        ) from error
    if inner.tokenizer.pad_token_id is None:
        raise UserError(f"{name}: the tokenizer '{source}' has no padding token; set pad_token in its files")
    return TextTokenizer(inner, {**settings, "mode": mode})
