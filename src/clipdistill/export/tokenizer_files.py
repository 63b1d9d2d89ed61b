"""Tokenizer files in transformers' format, for CLIP's own BPE as well as for Hugging Face tokenizers."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from clipdistill.files import atomic_path
from clipdistill.models.tokenisation import TextTokenizer

_START, _END = "<|startoftext|>", "<|endoftext|>"


def save_tokenizer(tokenizer: TextTokenizer, folder: Path) -> list[Path]:
    """Write the files with which `AutoTokenizer.from_pretrained(folder)` gives the same ids.

    For open_clip's own tokenizer these are CLIP's `vocab.json`, `merges.txt` and `tokenizer.json`. It repairs mojibake
    and HTML entities before tokenising, which transformers' CLIPTokenizer doesn't; on other texts they agree.

    Returns:
        The files written.
    """
    with tempfile.TemporaryDirectory() as name:
        draft = Path(name)
        if tokenizer.is_hugging_face:
            tokenizer.inner.save_pretrained(str(draft))
            _update(draft / "tokenizer_config.json", {"model_max_length": tokenizer.context_length})
            # A fast tokenizer remembers how its latest call padded; the file must not depend on that.
            _update(draft / "tokenizer.json", {"padding": None, "truncation": None})
        else:
            _write_clip_files(tokenizer.inner, tokenizer.context_length, draft)
        written = []
        for path in sorted(draft.iterdir()):
            if path.is_file():
                with atomic_path(folder / path.name) as temporary:
                    temporary.write_bytes(path.read_bytes())
                written.append(folder / path.name)
        return written


def _write_clip_files(tokenizer: Any, context_length: int, draft: Path) -> None:
    import transformers

    names = {"<start_of_text>": _START, "<end_of_text>": _END}
    vocabulary = {names.get(token, token): index for token, index in tokenizer.encoder.items()}
    merges = sorted(tokenizer.bpe_ranks, key=tokenizer.bpe_ranks.get)
    lines = ["#version: 0.2", *(" ".join(pair) for pair in merges)]
    special = {"bos_token": _START, "eos_token": _END, "unk_token": _END, "pad_token": _END}
    settings = {
        "tokenizer_class": "CLIPTokenizer",
        "model_max_length": context_length,
        "do_lower_case": True,
        **special,
    }
    _dump(draft / "vocab.json", vocabulary)
    (draft / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8", newline="\n")
    _dump(draft / "tokenizer_config.json", settings)
    _dump(draft / "special_tokens_map.json", special)
    kind: Any = transformers.CLIPTokenizerFast  # type: ignore[attr-defined]
    fast = kind.from_pretrained(str(draft))
    fast.backend_tokenizer.save(str(draft / "tokenizer.json"))


def _update(path: Path, changes: dict[str, Any]) -> None:
    if path.is_file():
        _dump(path, {**json.loads(path.read_text(encoding="utf-8")), **changes})


def _dump(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False), encoding="utf-8", newline="\n")
