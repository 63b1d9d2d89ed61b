"""YAKE's formula: worked by hand, and against numbers that its own package (0.6.0) gave for the same texts."""

from __future__ import annotations

import math

import pytest

from clipdistill.data.keywords import candidates, importance, words_of, yake_scores

TELEGRAM = "Casey sends a telegram to Riley because Riley waits for the telegram. The telegram is long."
FIRST = math.log(math.log(3))  # the position of what stands in the first sentence alone


def test_words_of_one_sentence_score_by_their_neighbours_alone() -> None:
    found = yake_scores("dogs chase yellow Trains quickly")
    # Inside: both neighbours' varieties 1, related 3; each word once, so frequency and spread are 1.
    assert found["chase"] == pytest.approx(FIRST * 3 / (1 / 3 + 1 / 3)) == pytest.approx(0.4232, abs=1e-4)
    assert found["dogs"] == found["quickly"] == pytest.approx(FIRST * 2 / (1 / 2 + 1 / 2))
    assert found["trains"] == pytest.approx(FIRST * 3 / (1 + 2 / 3))  # capitalised, and not at the beginning


def test_the_second_sentence_counts_less() -> None:
    found = yake_scores("dogs chase yellow trains. cats watch them")
    assert found["cats"] == pytest.approx(math.log(math.log(4)) * 2 / (1 / 2 + 0.5 / 2))
    assert found["cats"] > found["dogs"]


@pytest.mark.parametrize(
    ("text", "gram", "score"),  # scores printed by yake 0.6.0 (n = 3, no deduplication, these stop words)
    [
        (TELEGRAM, "telegram to Riley", 0.1568),
        (TELEGRAM, "Riley", 0.0545),
        (TELEGRAM, "telegram", 0.1338),
        (TELEGRAM, "telegram is long", 0.4191),
        ("What is Casey doing? He is sending a telegram.", "sending a telegram", 0.1808),
        ("why are the small dogs of the farmer running near the fence", "farmer running", 0.0135),
        ("why are the small dogs of the farmer running near the fence", "fence", 0.0771),
    ],
)  # fmt: skip
def test_candidates_have_the_scores_of_the_package(text: str, gram: str, score: float) -> None:
    words = words_of(text)
    found = {
        " ".join(words[place].text for place in span): value for span, value in candidates(words, yake_scores(text), 3)
    }
    assert found[gram] == pytest.approx(score, abs=6e-5)


def test_no_candidate_crosses_a_mark_or_ends_in_a_stop_word() -> None:
    words = words_of("the red star, the blue circle")
    found = {
        tuple(words[place].text for place in span)
        for span, _ in candidates(words, yake_scores("the red star, the blue circle"), 3)
    }
    assert found == {("red",), ("star",), ("red", "star"), ("blue",), ("circle",), ("blue", "circle")}


def test_words_have_their_places_and_only_content_words_can_be_keywords() -> None:
    text = "Casey's well-known dog isn't 12 or x9 – 🙂"
    words = words_of(text)
    assert [word.text for word in words] == ["Casey's", "well-known", "dog", "isn't", "12", "or", "x9", "–", "🙂"]
    assert all(text[word.start : word.end] == word.text for word in words)
    assert [word.text for word in words if word.content] == ["Casey's", "well-known", "dog"]
    assert [value > 0 for value in importance(text)] == [word.content for word in words]


def test_importance_turns_the_score_round_and_takes_the_best_phrase() -> None:
    one, two = importance("dogs chase trains", longest=1), importance("dogs chase trains", longest=3)
    dogs, chase = (yake_scores("dogs chase trains")[word] for word in ("dogs", "chase"))
    assert one[:2] == pytest.approx([1 / (1 + dogs / (1 + dogs)), 1 / (1 + chase / (1 + chase))])
    whole = dogs * chase * dogs / (1 + 2 * dogs + chase)
    assert two == pytest.approx([1 / (1 + whole)] * 3)


def test_texts_without_keywords_have_none() -> None:
    assert importance("") == () and importance("is it?") == (0.0, 0.0, 0.0) and yake_scores("…") == {}
