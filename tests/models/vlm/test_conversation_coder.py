"""Conversations as token numbers, beside the text that TinyLLaVA would read and what it would learn of it."""

from __future__ import annotations

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from clipdistill.models.vlm.conversation import IGNORED, SYSTEM, ConversationCoder, Style
from clipdistill.models.vlm.language import petri_words


def byte_level(begin: bool) -> PreTrainedTokenizerFast:
    """Bytes as tokens, as the bottom of GPT-2's, Qwen's and SmolLM's; `begin`: with a begin-of-text token."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    marks = ["<s>", "</s>", "<image>"]
    inner = Tokenizer(models.BPE({one: n for n, one in enumerate([*marks, *alphabet])}, []))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    if begin:
        inner.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    return PreTrainedTokenizerFast(
        tokenizer_object=inner, bos_token="<s>", eos_token="</s>", additional_special_tokens=["<image>"]
    )


def both(coder: ConversationCoder, turns: tuple[str, ...], picture: bool, style: Style = "chat") -> tuple[str, str]:
    """All that is read, and what of it is learnt."""
    coded = coder.conversation(turns, picture, style)
    assert len(coded.ids) == len(coded.labels)
    assert all(label in (IGNORED, number) for number, label in zip(coded.ids, coded.labels, strict=True))
    learnt = [label for label in coded.labels if label != IGNORED]
    return coder.tokenizer.decode(coded.ids), coder.tokenizer.decode(learnt)


TURNS = ("What is it?", "A cat.", "And its\ncolour?", "Black")


@pytest.mark.parametrize("begin", [False, True])
def test_what_is_read_and_what_is_learnt(begin: bool) -> None:
    coder = ConversationCoder(byte_level(begin), 2, 3)
    start = "<s>" * begin
    pictures = "<image>" * 3
    read, learnt = both(coder, TURNS, True)
    said = f"{pictures}\nWhat is it? ASSISTANT: A cat.</s>USER: And its\ncolour? ASSISTANT: Black</s>"
    assert read == f"{start}{SYSTEM} USER: {said}" and learnt == " A cat.</s> Black</s>"
    read, learnt = both(coder, TURNS[:2], False)
    assert read == f"{start}{SYSTEM} USER: What is it? ASSISTANT: A cat.</s>" and learnt == " A cat.</s>"
    read, learnt = both(coder, TURNS[:2], True, "plain")
    assert read == f"{start}{pictures}A cat.\n" and learnt == "A cat.\n"


@pytest.mark.parametrize("picture", [False, True])
def test_a_question_has_the_numbers_it_was_trained_with(picture: bool) -> None:
    for tokenizer in (byte_level(True), petri_words()):
        coder = ConversationCoder(tokenizer, tokenizer.convert_tokens_to_ids("<image>"), 2)
        asked = coder.prompt("is it red?", picture)
        coded = coder.conversation(("is it red?", "no"), picture)
        assert coded.ids[: len(asked)] == asked
        assert set(coded.labels[: len(asked)]) == {IGNORED} and IGNORED not in coded.labels[len(asked) :]


def test_cut_at_its_end() -> None:
    coder = ConversationCoder(byte_level(False), 2, 3)
    whole = coder.conversation(TURNS, True)
    cut = whole.cut(len(whole.ids) - 3)
    assert cut.ids == whole.ids[:-3] and cut.labels == whole.labels[:-3] and whole.cut(10_000) is whole


def test_words_of_the_petri_world_are_tokens() -> None:
    words = petri_words()
    text = (
        f"{SYSTEM} USER: what colour is the large striped diamond? Answer the question using a single word or phrase."
    )
    assert words.unk_token_id not in words(text)["input_ids"]
    assert words.decode(words("left of the 2 red circles, at the top right")["input_ids"]) == (
        "left of the 2 red circles , at the top right"
    )
    assert words("<image>\nRed")["input_ids"] == [
        words.convert_tokens_to_ids("<image>"), words.convert_tokens_to_ids("red"),
    ]  # fmt: skip
