"""Figure 2: pieces summed into words, marks by themselves, and the teacher's scores at the same words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.functional import normalize

from clipdistill.analysis.importance import ImportanceOptions
from clipdistill.analysis.reading import asked_pairs, reading
from clipdistill.analysis.words import selection_scores, word_attention
from clipdistill.data import ImageView, Mixture
from clipdistill.data.keywords import importance, words_of
from clipdistill.data.low_shot import LowShot
from clipdistill.data.transforms import apply
from clipdistill.errors import UserError
from clipdistill.models import load_model
from clipdistill.objectives.targeted import word_scores
from clipdistill.stores.question_cache import cache_questions
from clipdistill.stores.question_targets import QuestionSettings
from tests.analysis.asked_questions import asked, tiny
from tests.models.tiny_fusion import ARCHITECTURES

TEACHER = "petri-teacher-small"


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_words_and_picture_make_one_and_words_have_the_sum_of_their_pieces(architecture: str, source: Any) -> None:
    model = tiny(architecture)
    found = word_attention(asked(model, source), "answers", ImportanceOptions(), 1)
    one = found["val-1"]
    end = ["[END]"] if architecture == "vl_bert" else []
    said = ["[CLS]", *"How many red stars is Casey here ?".split(), "[SEP]", *"green wins .".split(), "[SEP]", *end]
    said[6] = one.words[6].text  # the person's name
    assert [word.text for word in one.words] == said
    assert sum(one.values) + one.picture == pytest.approx(1, abs=1e-9)
    assert [word.part for word in one.words][:2] == ["", "question"] and one.words[1].start == 0

    # "wins" isn't in the petri vocabulary as a word: its pieces are summed.
    pairs = asked(model, source.part(LowShot(1, 0, "", ("val-1",))))
    (batch,) = pairs.batches()
    inputs = asked_pairs(pairs, batch, "answers", "right")
    tokens = model.tokenizer.convert_ids_to_tokens(inputs.ids[0][inputs.text_mask[0]])
    with reading(model, torch.device("cpu")):
        weights = model(inputs, weights=True).attention[1][0, :, 0].mean(0)
    pieces = [place for place, token in enumerate(tokens) if place > tokens.index("green") and token != "[SEP]"][:-1]
    assert len(pieces) > 1 and tokens[pieces[0]].startswith("w")
    assert one.values[said.index("wins")] == pytest.approx(float(weights[pieces].sum()), abs=1e-9)


def test_without_a_layer_the_mean_over_layers(source: Any) -> None:
    model = tiny("uniter")
    both = word_attention(asked(model, source), "answers", ImportanceOptions(queries="all"), None)["val-0"]
    each = [
        word_attention(asked(model, source), "answers", ImportanceOptions(queries="all"), layer)["val-0"]
        for layer in (0, 1)
    ]
    wanted = [(one + other) / 2 for one, other in zip(each[0].values, each[1].values, strict=True)]
    assert both.values == pytest.approx(wanted)
    with pytest.raises(UserError, match="--layer 2: .* has layers 0 to 1"):
        word_attention(asked(model, source), "answers", ImportanceOptions(), 2)


def test_scores_are_equation_5_and_a_store_has_those_of_its_words(source: Any, tmp_path: Path) -> None:
    live = selection_scores(TEACHER, source, ["val-1"], "answers")["val-1"]
    sample = source[1]
    text = f"{sample.fields['question']} {sample.fields['choices'][1]}"
    name = next(tag for tag in sample.fields["question_tags"])
    plain = text[: name.start] + text[name.start : name.end].lower() + text[name.end :]
    model = load_model(TEACHER)
    words = words_of(plain)
    view = ImageView.from_preprocess(model.preprocess)
    with torch.no_grad():
        picture = normalize(model.encode_image(apply(sample.image.open(), None, view)[None]).double(), dim=1)
        alone = normalize(model.encode_text(model.tokenizer([word.text for word in words])).double(), dim=1)
    scores = word_scores((alone @ picture.T)[:, 0], torch.tensor(importance(plain)), torch.ones(len(words)).bool())
    question = len(sample.fields["question"]) + 1
    wanted = {
        ("question", word.start) if word.start < question else ("answer", word.start - question): float(score)
        for word, score in zip(words, scores, strict=True) if word.content
    }  # fmt: skip
    assert live == pytest.approx(wanted, abs=2e-3)

    mixture = Mixture([(source, None)])
    cache_questions(model, mixture, QuestionSettings(("answers",), words=2), tmp_path / "store", fingerprint="x")
    stored = selection_scores(str(tmp_path / "store"), source, ["val-1"], "answers")["val-1"]
    best = sorted(live, key=lambda key: -live[key])[:2]
    assert set(stored) == set(best) and stored == pytest.approx({key: live[key] for key in best}, abs=1e-4)


def test_teachers_that_say_nothing_of_these_words(source: Any, tmp_path: Path) -> None:
    model = load_model(TEACHER)
    few = Mixture([(source.part(LowShot(1, 0, "", ("val-0",))), None)])
    cache_questions(model, few, QuestionSettings(("answers",), words=2), tmp_path / "store", fingerprint="x")
    with pytest.raises(UserError, match="has no scores of 'a/name/val-1'.*name the teacher itself"):
        selection_scores(str(tmp_path / "store"), source, ["val-1"], "answers")
    with pytest.raises(UserError, match="has no 'rationales' in it"):
        selection_scores(str(tmp_path / "store"), source, ["val-0"], "rationales")
    with pytest.raises(UserError, match="--words petri-diffusion: is a denoiser"):
        selection_scores("petri-diffusion", source, ["val-0"], "answers")
