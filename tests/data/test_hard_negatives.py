"""Hard-negative captions: the same words, another order, the same for equal arguments."""

from __future__ import annotations

from clipdistill.data.hard_negatives import hard_negatives


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


def test_other_english_swaps_two_content_words_and_one_word_has_none() -> None:
    assert hard_negatives("a lawyer hears the judge", count=9) == hard_negatives("a lawyer hears the judge", count=9)
    assert all(
        sorted(n.split()) == sorted("a lawyer hears the judge".split())
        for n in hard_negatives("a lawyer hears the judge")
    )
    assert hard_negatives("a lawyer") == []
