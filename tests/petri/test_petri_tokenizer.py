"""The petri tokenizer: the shipped files are what the script makes, and every reader opens them."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch

import clipdistill
from clipdistill.petri.captions import captions
from clipdistill.petri.scenes import SceneRules
from clipdistill.petri.splits import split_scenes
from clipdistill.petri.tokenizer import CONTEXT_LENGTH, END, START, train_tokenizer
from clipdistill.petri.vocabulary import BACKGROUNDS, COLOURS, PATTERNS, SHAPES, SIZES

SHIPPED = Path(clipdistill.__file__).parent / "models" / "petri_tokenizer"
ANY_TEXT = ["Ünïcode 中文 \U0001f600 naïve", "Hello, World! It's 42.", "a\tred\n circle", "", "£$%^&*()_+ zzz"]


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    from transformers import CLIPTokenizer

    return CLIPTokenizer.from_pretrained(SHIPPED)


@pytest.fixture(scope="module")
def texts() -> list[str]:
    return [text for scene in split_scenes(SceneRules(), 11, "train", 1500) for text in captions(scene)]


def test_shipped_files_are_what_the_script_makes(tmp_path: Path) -> None:
    names = train_tokenizer(tmp_path)
    assert sorted(names) == sorted(path.name for path in SHIPPED.iterdir() if path.is_file())
    for name in names:
        made, shipped = (folder.joinpath(name).read_text(encoding="utf-8") for folder in (tmp_path, SHIPPED))
        # tokenizer.json is laid out by the tokenizers library, whose versions may order fields differently.
        assert json.loads(made) == json.loads(shipped) if name.endswith(".json") else made == shipped


def test_special_tokens_have_the_ids_that_pooling_needs(tokenizer: Any) -> None:
    size = len(tokenizer)
    assert 512 < size <= 800
    assert (tokenizer.bos_token, tokenizer.bos_token_id) == (START, size - 2)
    assert (tokenizer.eos_token, tokenizer.eos_token_id) == (END, size - 1)
    assert tokenizer.pad_token_id == 0 and tokenizer.model_max_length == CONTEXT_LENGTH


def test_every_word_of_the_world_is_one_token(tokenizer: Any) -> None:
    for word in [*SHAPES, *COLOURS, *SIZES, *PATTERNS, *BACKGROUNDS, "left", "above", "photo", "background"]:
        assert len(tokenizer(word, add_special_tokens=False).input_ids) == 1, word


def test_captions_fit_the_context_and_come_back(tokenizer: Any, texts: list[str]) -> None:
    ids = tokenizer(texts).input_ids
    assert max(map(len, ids)) <= CONTEXT_LENGTH - 2
    for text, row in zip(texts[:300], ids, strict=False):
        plain = text.replace(",", " ,").replace(":", " :")
        assert tokenizer.decode(row, skip_special_tokens=True) == plain


def test_any_text_is_covered(tokenizer: Any) -> None:
    for text in ANY_TEXT:
        ids = tokenizer(text, add_special_tokens=False).input_ids
        assert len(tokenizer) - 1 not in ids, f"{text!r} has an unknown token"
        back = tokenizer.decode(ids).replace(" ", "")
        assert back == "".join(text.lower().split())


def test_case_and_spaces_do_not_matter(tokenizer: Any) -> None:
    assert tokenizer("A  Red\tCircle").input_ids == tokenizer("a red circle").input_ids


def test_offsets_point_into_the_text(tokenizer: Any) -> None:
    text = "A large striped red circle"
    offsets = tokenizer(text, return_offsets_mapping=True).offset_mapping
    assert [text[a:b] for a, b in offsets] == ["", "A", "large", "striped", "red", "circle", ""]


def test_auto_tokenizer_and_tokenizers_agree(tokenizer: Any, texts: list[str]) -> None:
    from tokenizers import Tokenizer
    from transformers import AutoTokenizer

    auto, bare = AutoTokenizer.from_pretrained(SHIPPED), Tokenizer.from_file(str(SHIPPED / "tokenizer.json"))
    for text in [*texts[:50], *ANY_TEXT]:
        ids = tokenizer(text).input_ids
        assert auto(text).input_ids == ids == bare.encode(text).ids


def test_open_clip_reads_it_and_its_pooling_finds_the_end() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from open_clip.tokenizer import HFTokenizer

        tokenizer = HFTokenizer(str(SHIPPED), context_length=CONTEXT_LENGTH)
    rows = tokenizer(["a red circle", "", "a red circle " * 30])
    assert rows.shape == (3, CONTEXT_LENGTH) and rows.dtype == torch.int64
    size = len(tokenizer.tokenizer)
    assert (rows[:, 0] == size - 2).all()
    assert rows.argmax(-1).tolist() == [4, 1, CONTEXT_LENGTH - 1]
    assert (rows == size - 1).sum(1).tolist() == [1, 1, 1]
    assert (rows[0, 5:] == 0).all()
