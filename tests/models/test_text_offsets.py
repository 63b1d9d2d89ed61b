"""Tokenizers: equal keys, and the characters behind each token."""

from __future__ import annotations

import pytest
import torch
from tiny_models import encoder, write_text_tower

from clipdistill.errors import UserError
from clipdistill.export.tokenizer_files import save_tokenizer
from clipdistill.models.tokenisation import make_tokenizer

HARD = [
    "A red  circle's edge\tand 2 cats!",
    "Crème brûlée, ßtraße — ½ off",
    "  leading and trailing  ",
    "日本 emoji 🦊 fox",
]


def words(tokenizer, text):
    return [text[start:end] for start, end in tokenizer.offsets([text])[0] if end > start]


@pytest.mark.parametrize("kind", ["openai_text", "clip"])
def test_spans_run_through_the_text_in_order_and_cover_every_letter(kind):
    tokenizer = encoder(kind).tokenizer
    tokenizer.context_length = 64
    for text in HARD:
        spans = [span for span in tokenizer.offsets([text])[0] if span[1] > span[0]]
        assert spans == sorted(spans)
        covered = {i for start, end in spans for i in range(start, end)}
        assert covered == {i for i, character in enumerate(text) if not character.isspace()}


def test_clips_own_tokenizer_word_by_word():
    tokenizer = encoder("openai_text").tokenizer
    assert words(tokenizer, "A red  circle's\tedge") == ["A", "red", "circle", "'s", "edge"]


def test_one_span_a_position_and_specials_have_none():
    model = encoder("openai_text")
    spans = model.token_offsets(["a red circle"])[0]
    assert len(spans) == model.tokenizer.context_length
    assert spans[0] == (0, 0) and spans[4] == (0, 0) and spans[1:4] == [(0, 1), (2, 5), (6, 12)]


@pytest.mark.parametrize("kind", ["openai_text", "clip"])
def test_positions_agree_with_the_token_ids(kind):
    """A position has characters exactly when its id is neither special nor padding, for cut texts too."""
    model = encoder(kind)
    text = "red circle " * 20
    ids, spans = model.tokenizer([text, "red"]), model.token_offsets([text, "red"])
    special = set(model.tokenizer.special_ids().values())
    for row, places in zip(ids.tolist(), spans, strict=True):
        assert [end > start for start, end in places] == [index not in special for index in row]


def test_a_piece_of_a_character_stands_for_the_whole_character():
    tokenizer = encoder("openai_text").tokenizer
    assert set(words(tokenizer, "🦊")) == {"🦊"}


def test_text_that_cleaning_rewrote_falls_back_to_the_cleaned_text():
    tokenizer = encoder("openai_text").tokenizer
    start, end = tokenizer.offsets(["cats &amp; dogs"])[0][2]
    assert "cats & dogs"[start:end] == "&"


def test_canonical_text_points_back_past_dropped_punctuation():
    cfg = {
        "context_length": 16,
        "hf_tokenizer_name": "clipdistill:petri_tokenizer",
        "tokenizer_kwargs": {"clean": "canonicalize"},
    }
    tokenizer = make_tokenizer(cfg, "m")
    text = "A red-ish, (big) circle."
    assert "".join(words(tokenizer, text)) == "Ared-ishbigcircle"


def test_word_pieces(tmp_path):
    folder = write_text_tower(tmp_path / "bert")
    tokenizer = make_tokenizer({"context_length": 10, "hf_tokenizer_name": str(folder)}, "m")
    assert words(tokenizer, "Two  red circles") == ["Two", "red", "circle", "s"]


def test_keys_are_equal_exactly_when_the_ids_are(tmp_path):
    def petri(**changes):
        return make_tokenizer(
            {"context_length": 16, "hf_tokenizer_name": "clipdistill:petri_tokenizer", **changes}, "m"
        )

    keys = {
        petri().key,
        petri(context_length=17).key,
        petri(tokenizer_kwargs={"clean": "lower"}).key,
        make_tokenizer({"context_length": 16}, "m").key,
        make_tokenizer({"context_length": 16, "hf_tokenizer_name": str(write_text_tower(tmp_path))}, "m").key,
    }
    assert len(keys) == 5
    assert petri().key == petri().key == petri().tokenizer_key


def test_use_changes_no_key(tmp_path):
    """Fast tokenizers remember how they last padded, and would save it."""
    fresh, used = encoder("clip").tokenizer, encoder("clip").tokenizer
    used(["red"])
    save_tokenizer(fresh, tmp_path / "fresh")
    save_tokenizer(used, tmp_path / "used")
    assert (tmp_path / "fresh" / "tokenizer.json").read_text() == (tmp_path / "used" / "tokenizer.json").read_text()
    cfg = {"context_length": 16, "hf_tokenizer_name": "this-folder"}
    assert make_tokenizer(cfg, "m", tmp_path / "used").key == fresh.key


def test_no_texts_give_no_rows():
    assert encoder("clip").tokenizer([]).shape == (0, 16)


def test_a_missing_tokenizer_says_what_to_fetch():
    with pytest.raises(UserError, match="hf download some/tokenizer") as caught:
        make_tokenizer({"hf_tokenizer_name": "some/tokenizer"}, "my-model")
    assert "my-model" in str(caught.value) and "\n" not in str(caught.value)


def test_ids_are_int64_of_the_context_length():
    for kind in ("clip", "openai_text"):
        ids = encoder(kind).tokenizer(["red", "a " * 50])
        assert ids.dtype == torch.int64 and ids.shape == (2, 16)
