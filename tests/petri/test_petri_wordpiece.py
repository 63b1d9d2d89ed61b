"""The petri WordPiece vocabulary: the shipped one is what the world writes, and has every petri word."""

from __future__ import annotations

from pathlib import Path

import clipdistill
from clipdistill.models.fusion.config import NAMED, fusion_config
from clipdistill.models.fusion.creating import open_tokenizer
from clipdistill.petri.captions import captions
from clipdistill.petri.entailment import hypotheses
from clipdistill.petri.scenes import SceneRules
from clipdistill.petri.splits import split_scenes
from clipdistill.petri.wordpiece import vocabulary, write_wordpiece

SHIPPED = Path(clipdistill.__file__).parent / "models" / "petri_wordpiece"


def test_the_shipped_vocabulary_is_the_worlds(tmp_path: Path) -> None:
    for name in write_wordpiece(tmp_path):
        assert (tmp_path / name).read_bytes() == (SHIPPED / name).read_bytes()
    for name in (each for each in NAMED if each.startswith("petri-")):
        assert NAMED[name]["vocabulary"] == len(vocabulary()) == len(set(vocabulary()))


def test_a_petri_word_is_one_token_and_any_text_has_tokens() -> None:
    tokenizer = open_tokenizer(fusion_config("petri-uniter"))
    for scene in split_scenes(SceneRules(), 7, "test", 30):
        for text in captions(scene):
            tokens = tokenizer.tokenize(text)
            assert not [token for token in tokens if token.startswith("##") or token == "[UNK]"], text
        for label, text in hypotheses(SceneRules(), scene):
            assert not [token for token in tokenizer.tokenize(text) if token.startswith("##")], (label, text)
    assert tokenizer.tokenize("No, Casey is whereabouts?") == ["no", ",", "casey", "is", "whereabouts", "?"]
    assert tokenizer.tokenize("How many Circles? Xyq-7!") == [
        "how", "many", "circles", "?", "x", "##y", "##q", "-", "7", "!",
    ]  # fmt: skip
    assert tokenizer.convert_tokens_to_ids(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]) == [0, 1, 2, 3, 4]
