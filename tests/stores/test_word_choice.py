"""Words between a teacher's tokens and a student's: found by characters, pooled, scored, chosen."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, tensor

from clipdistill.data.joined_text import joined
from clipdistill.data.keywords import importance, words_of
from clipdistill.data.question_texts import Parts
from clipdistill.data.tagged_text import Tag, TaggedText
from clipdistill.data.taught_fields import own_tokens
from clipdistill.models import create_model
from clipdistill.models.fusion import create_fusion
from clipdistill.models.token_embeddings import token_embeddings
from clipdistill.stores.word_choice import choose_words, pooled_words

PARTS: Parts = {
    "question": TaggedText("Why is Casey's well-known dog sad?", (Tag(7, 12, 0),)),
    "answer": TaggedText("It isn't 🙂 yellow-red.", ()),
}


def test_words_are_the_means_of_their_tokens() -> None:
    words = words_of("red well-known 🙂 star")
    tokens = torch.arange(12.0).view(6, 2)
    spans = [(0, 0), (0, 3), (4, 8), (8, 14), (15, 16), (0, 0)]  # what a text's marks cover is nothing
    mask = tensor([True, True, True, True, True, False])
    found = pooled_words(words, tokens, mask, spans)
    assert found[:3].tolist() == [[2.0, 3.0], [5.0, 6.0], [8.0, 9.0]]
    assert found[3].isnan().all()  # behind the last token
    assert pooled_words((), tokens, mask, spans).shape == (0, 2)


def test_both_tokenizers_meet_at_the_same_words() -> None:
    clip, student = create_model("petri-tiny-student", seed=0).eval(), create_fusion("petri-uniter", seed=0)
    text = joined({"question": TaggedText("the large red star?"), "answer": TaggedText("a blueish circle, isn't it")})
    words = words_of(text.plain)
    with torch.no_grad():
        _, tokens, mask = token_embeddings(clip, clip.tokenizer([text.text]))
    spans = clip.token_offsets([text.text])[0]
    pooled = pooled_words(words, tokens[0], mask[0], spans)
    assert not pooled.isnan().any()
    for place, word in enumerate(words):
        own = [n for n, (a, b) in enumerate(spans) if b > a and a < word.end and word.start < b]
        torch.testing.assert_close(pooled[place], tokens[0][own].mean(dim=0))
    from clipdistill.data.fusion_fields import FusionTexts

    field = FusionTexts(student, "answers")
    parts: Parts = {"question": TaggedText("the large red star?"), "answer": TaggedText("a blueish circle, isn't it")}
    places = field.places(parts)
    assert len(places) == len(field._coded(parts)[0])
    star = next(word for word in words if word.text == "blueish")
    row = [[*text.place(star), 0.5]]
    (mine,) = own_tokens(places, torch.tensor(row).numpy(), torch.tensor([True]).numpy())
    ids = torch.tensor(field._coded(parts)[0])[torch.from_numpy(mine)]
    assert "".join(piece.removeprefix("##") for piece in student.tokenizer.convert_ids_to_tokens(ids)) in (
        "blueish",
        "[UNK]",
    )


def choose(text: str, alone: Tensor, there: list[bool] | None = None, **settings: object) -> list[str]:
    parts = joined({"question": TaggedText(text)})
    words = words_of(parts.plain)
    chosen = choose_words(parts, words, there or [True] * len(words), tensor([1.0, 0.0]), alone, 2, **settings)  # type: ignore[arg-type]
    return [words[place].text for place in chosen.places]


def test_scores_are_relevance_and_importance_and_only_keywords_are_chosen() -> None:
    text = "is the red star there"
    alone = tensor([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0], [1.0, 1.0], [1.0, 0.0]])  # stop words are the most relevant
    assert choose(text, alone) == ["star", "red"]
    relevance = alone[:, 0] / alone.norm(dim=1)
    wanted = relevance / relevance.sum() + tensor(importance(text)) / sum(importance(text))
    parts = joined({"question": TaggedText(text)})
    found = choose_words(parts, words_of(text), [True] * 5, tensor([1.0, 0.0]), alone, 2)
    assert found.scores == pytest.approx([wanted[3].item(), wanted[2].item()], rel=1e-6)


def test_words_that_the_teacher_lost_and_texts_of_few_keywords_give_fewer() -> None:
    even = torch.ones(5, 2)
    assert choose("is the red star there", even, [True, True, True, False, True]) == ["red"]
    assert choose("is it there", torch.ones(3, 2)) == []


def test_random_words_are_drawn_by_hash_among_keywords() -> None:
    text, even = "red green blue yellow white", torch.ones(5, 2)
    drawn = [choose(text, even, selection="random", seed=0, key=(str(number),)) for number in range(40)]
    assert drawn == [choose(text, even, selection="random", seed=0, key=(str(number),)) for number in range(40)]
    assert {word for one in drawn for word in one} == set(text.split())
    assert drawn != [choose(text, even, selection="random", seed=1, key=(str(number),)) for number in range(40)]


def test_what_lies_behind_the_teachers_last_token_has_no_target() -> None:
    clip = create_model("petri-tiny-student", seed=0).eval()
    text = joined({"question": TaggedText(" ".join(["red", "star"] * 60))})
    words = words_of(text.plain)
    with torch.no_grad():
        _, tokens, mask = token_embeddings(clip, clip.tokenizer([text.text]))
    pooled = pooled_words(words, tokens[0], mask[0], clip.token_offsets([text.text])[0])
    there = (~pooled.isnan().any(dim=1)).tolist()
    assert there[0] and there == sorted(there, reverse=True) and not there[-1]
    alone = torch.ones(len(words), clip.embed_dim)
    chosen = choose_words(text, words, there, torch.ones(clip.embed_dim), alone, len(words))
    assert set(chosen.places) == set(range(sum(there)))
