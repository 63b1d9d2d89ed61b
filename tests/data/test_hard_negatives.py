"""Hard-negative captions: the same words, another order, the same for equal arguments."""

from __future__ import annotations

import pytest

from clipdistill.data.caption_words import read_caption
from clipdistill.data.hard_negatives import hard_negatives


def read(caption: str) -> tuple[list[str], list[str]]:
    """The noun phrases and the verbs that are found in a caption."""
    reading = read_caption(caption)
    assert "".join(reading.parts) == caption
    phrases = ["".join(reading.parts[phrase.start : phrase.stop]) for phrase in reading.phrases]
    return phrases, [reading.parts[i] for i in reading.verbs]


def test_colours_nouns_and_sides_are_swapped() -> None:
    text = "there is a red circle left of a blue square"
    found = hard_negatives(text, sample_id="7", count=9)
    assert set(found) == {
        "there is a blue circle left of a red square",
        "there is a red square left of a blue circle",
        "there is a blue square left of a red circle",
    }
    assert found == hard_negatives(text, sample_id="7", count=9)
    assert len({tuple(hard_negatives(text, sample_id=str(n))) for n in range(20)}) > 1


def test_verbs_and_adverbs_are_swapped() -> None:
    assert set(hard_negatives("a man sitting slowly, then quickly standing", count=9)) == {
        "a man standing slowly, then quickly sitting",
        "a man sitting quickly, then slowly standing",
    }


@pytest.mark.parametrize(
    ("caption", "found"),
    [
        ("a cat and a dog", None),  # any two words of any kind: nothing better is left
        ("a cat next to a dog", None),
        ("a cat on a dog", {"a dog on a cat"}),
        ("A cat on a dog", {"A dog on a cat"}),
        ("An old elm in a park", {"An old park in a elm", "A park in an old elm"}),
    ],
)
def test_swaps_that_keep_the_meaning_are_left_out_and_articles_follow(caption: str, found: set[str] | None) -> None:
    negatives = set(hard_negatives(caption, count=9))
    if found is None:
        assert negatives == {caption.replace("cat", "?").replace("dog", "cat").replace("?", "dog")}
    else:
        assert negatives == {text.replace("in a elm", "in an elm") for text in found}


def test_described_things_change_their_descriptions_even_where_the_word_between_is_symmetric() -> None:
    assert set(hard_negatives("a red cube and a blue ball", count=9)) == {
        "a blue cube and a red ball",
        "a red ball and a blue cube",
    }


def test_a_caption_is_read_into_things_and_what_is_done() -> None:
    assert read("Two young boys in striped shirts are chasing a running dog.") == (
        ["Two young boys", "striped shirts", "a running dog"],
        ["chasing"],
    )
    assert read("A man, wearing a hooded jacket, has a drink by the old stone building") == (
        ["A man", "a hooded jacket", "a drink", "the old stone building"],
        ["wearing"],
    )
    assert read("Woman in dark red near a young adult") == (["Woman", "a young adult"], [])
    assert read("") == ([], [])


def test_other_english_swaps_two_content_words_and_one_word_has_none() -> None:
    assert hard_negatives("a lawyer hears the judge", count=9) == hard_negatives("a lawyer hears the judge", count=9)
    for text in hard_negatives("a lawyer hears the judge", count=9):
        assert sorted(text.split()) == sorted("a lawyer hears the judge".split())
    for caption in ("a lawyer", "", "dog dog", "...", "the dog, the Dog"):
        assert hard_negatives(caption, count=9) == []
