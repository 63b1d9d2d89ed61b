"""Stand-in vocabularies: as many tokens as the published one has, which isn't on this machine."""

from __future__ import annotations

import string
from pathlib import Path
from typing import Any

from clipdistill.files import write_json
from clipdistill.models.named import PETRI_WORDPIECE

BERT = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]", "mask_token": "[MASK]"}
LANGUAGE_MODEL = {"pad_token": "<pad>", "unk_token": "<unk>", "eos_token": "</s>"}
SENTENCE = {"pad_token": "<pad>", "unk_token": "<unk>", "eos_token": "</s>", "bos_token": "<s>"}


def write_bert_words(folder: Path, count: int, lower: bool) -> None:
    """A WordPiece vocabulary of `count` words with BERT's marks, as vocab.txt and transformers' files."""
    from transformers import BertTokenizer

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.txt").write_text("".join(f"{word}\n" for word in _words(count, BERT)), encoding="utf-8")
    write_json(folder / "tokenizer_config.json", {"tokenizer_class": "BertTokenizer", "do_lower_case": lower, **BERT})
    made: Any = BertTokenizer.from_pretrained(folder, do_lower_case=lower)
    made.save_pretrained(folder)


def write_words(folder: Path, count: int, marks: dict[str, str] = SENTENCE) -> None:
    """A tokenizer of `count` tokens that any of transformers' Auto classes opens."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    table = {word: number for number, word in enumerate(_words(count, marks))}
    inner = Tokenizer(models.WordPiece(table, unk_token=marks["unk_token"]))
    inner.normalizer = normalizers.Lowercase()
    inner.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    if marks is SENTENCE:  # what reads the last token's vector wants an end
        end = (marks["eos_token"], table[marks["eos_token"]])
        inner.post_processor = processors.TemplateProcessing(single=f"$A {end[0]}", special_tokens=[end])
    folder.mkdir(parents=True, exist_ok=True)
    make: Any = PreTrainedTokenizerFast
    make(tokenizer_object=inner, **marks).save_pretrained(folder)


def _words(count: int, marks: dict[str, str]) -> list[str]:
    """The marks, letters, the petri world's words, and others that no text has."""
    letters = [*string.ascii_letters, *string.digits, *string.punctuation]
    ours = (PETRI_WORDPIECE / "vocab.txt").read_text(encoding="utf-8").split("\n")
    words = [*marks.values(), *letters, *(f"##{one}" for one in letters), *(one for one in ours if one)]
    words = list(dict.fromkeys(words))[:count]
    return words + [f"[unused{number}]" for number in range(count - len(words))]
