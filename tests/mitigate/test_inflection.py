"""Number and tense are read off a word and put on another."""

from __future__ import annotations

from pathlib import Path

import pytest

from clipdistill.data.wordnet import PartOfSpeech, WordNet
from clipdistill.mitigate.inflection import Form, form_of, inflected


@pytest.mark.parametrize(
    ("word", "lemma", "part", "before", "form"),
    [
        ("dogs", "dog", "noun", None, "plural"),
        ("geese", "goose", "noun", None, "plural"),
        ("dog", "dog", "noun", "a", "base"),
        ("runs", "run", "verb", None, "third"),
        ("running", "run", "verb", "is", "ing"),
        ("ran", "run", "verb", "he", "past"),
        ("jumped", "jump", "verb", "he", "past"),
        ("jumped", "jump", "verb", "has", "participle"),
        ("taken", "take", "verb", "been", "participle"),
        ("run", "run", "verb", "has", "participle"),
        ("run", "run", "verb", "to", "base"),
        ("happier", "happy", "adj", None, "comparative"),
        ("Worst", "bad", "adj", None, "superlative"),
        ("quickly", "quickly", "adv", None, "base"),
    ],
)
def test_form_of(word: str, lemma: str, part: PartOfSpeech, before: str | None, form: Form) -> None:
    assert form_of(word, lemma, part, before) == form


@pytest.mark.parametrize(
    ("lemma", "form", "part", "becomes"),
    [
        ("goose", "plural", "noun", "geese"),
        ("fox", "plural", "noun", "foxes"),
        ("traffic light", "plural", "noun", "traffic lights"),
        ("celestial body", "plural", "noun", "celestial bodies"),
        ("toy", "plural", "noun", "toys"),
        ("run", "past", "verb", "ran"),
        ("run", "ing", "verb", "running"),
        ("take", "past", "verb", "took"),
        ("take", "participle", "verb", "taken"),
        ("go", "past", "verb", "went"),
        ("go", "participle", "verb", "gone"),
        ("take hold", "ing", "verb", "taking hold"),
        ("hold", "participle", "verb", "held"),
        ("leap", "participle", "verb", "leapt"),
        ("move", "past", "verb", "moved"),
        ("carry", "past", "verb", "carried"),
        ("carry", "ing", "verb", "carrying"),
        ("carry", "third", "verb", "carries"),
        ("watch", "third", "verb", "watches"),
        ("plan", "past", "verb", "planned"),
        ("travel", "past", "verb", "traveled"),
        ("look", "ing", "verb", "looking"),
        ("see", "ing", "verb", "seeing"),
        ("free", "past", "verb", "freed"),
        ("lie", "ing", "verb", "lying"),
        ("bad", "comparative", "adj", "worse"),
        ("bad", "superlative", "adj", "worst"),
        ("big", "superlative", "adj", "biggest"),
        ("nice", "comparative", "adj", "nicer"),
        ("glad", "comparative", "adj", "gladder"),
        ("awful", "comparative", "adj", "more awful"),
        ("colourful", "superlative", "adj", "most colourful"),
        ("quickly", "base", "adv", "quickly"),
    ],
)
def test_inflected(lemma: str, form: Form, part: PartOfSpeech, becomes: str, wordnet_folder: Path) -> None:
    assert inflected(lemma, form, part, WordNet(wordnet_folder)) == becomes
