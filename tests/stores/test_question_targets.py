"""What a CLIP says of questions: stored once, the numbers that it gives, and refused where it is of something else."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from question_files import annotation, pair, question, vcr_item, write_snli_ve, write_vcr, write_vqa
from torch.nn.functional import normalize

from clipdistill.data import ImageView, Mixture, evaluation_batches, open_source
from clipdistill.data.joined_text import READ_AS, TeacherText
from clipdistill.data.keywords import words_of
from clipdistill.data.question_texts import PARTS, question_texts
from clipdistill.errors import UserError
from clipdistill.models import create_model
from clipdistill.models.token_embeddings import token_embeddings
from clipdistill.stores import question_cache
from clipdistill.stores.question_cache import cache_questions
from clipdistill.stores.question_targets import QuestionSettings, QuestionTargets
from clipdistill.stores.word_choice import pooled_words

VCR = QuestionSettings(("answers", "rationales"))


@pytest.fixture(scope="module")
def clip() -> Any:
    return create_model("petri-tiny-student", seed=0).eval()


def vcr(folder: Path, count: int = 3) -> Mixture:
    items = [vcr_item(number, question=["Is", [number % 3], "red", "?"]) for number in range(count)]
    return Mixture([(open_source({"format": "vcr", "path": write_vcr(folder, items)}), None)])


def written(clip: Any, data: Mixture, folder: Path, settings: QuestionSettings = VCR, **more: Any) -> QuestionTargets:
    store = cache_questions(clip, data, settings, folder / "targets", fingerprint="f", batch_size=5, **more)
    assert store is not None
    store.verify()
    return store


def close(found: np.ndarray, wanted: torch.Tensor) -> None:
    np.testing.assert_allclose(found, wanted.numpy(), rtol=2e-3, atol=2e-3 * wanted.abs().max().item())


@pytest.mark.parametrize("text", READ_AS)
@torch.no_grad()
def test_pictures_texts_and_words_are_the_teachers(text: TeacherText, clip: Any, tmp_path: Path) -> None:
    data, read = vcr(tmp_path), READ_AS[text]
    store = written(clip, data, tmp_path, dataclasses.replace(VCR, text=text))
    (batch,) = evaluation_batches(data, ImageView.from_preprocess(clip.preprocess), 3)
    close(store.image([0, 1, 2]), clip.encode_image(batch["image/model"]))
    for reads in ("answers", "rationales"):
        parts = question_texts(data[1], reads)  # type: ignore[arg-type]
        names = [read(one).text for one in parts]
        ends, tokens, mask = token_embeddings(clip, clip.tokenizer(names))
        close(store.texts(1, reads), ends)
        words, places, there = store.words(1, reads, 3)
        assert there.all(axis=1).sum() >= (3 if text == "pair" else 2)  # a short answer has few content words
        assert (np.diff(places[..., 3], axis=1) <= 1e-6).all()  # best first; what isn't there is 0
        for option, one in enumerate(parts):
            listed = words_of(read(one).plain)
            pooled = pooled_words(listed, tokens[option], mask[option], clip.token_offsets([names[option]])[0])
            for number, (part, start, end, _) in enumerate(places[option][there[option]]):
                text = one[PARTS[int(part)]].text[int(start) : int(end)]
                at = [word.text.lower() for word in listed].index(text.lower())
                if [word.text.lower() for word in listed].count(text.lower()) == 1:
                    close(words[option, number], pooled[at])
    assert store.texts(1, "answers", [2]).shape == (1, clip.embed_dim)


def test_a_picture_is_encoded_once_and_a_stopped_store_goes_on(
    clip: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, seen = vcr(tmp_path, 7), []
    monkeypatch.setattr(question_cache, "BLOCK", 2)
    real = clip.encode_image
    monkeypatch.setattr(clip, "encode_image", lambda pixels: seen.append(len(pixels)) or real(pixels))

    def stop(done: int, _total: int) -> None:
        if done >= 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        written(clip, data, tmp_path, progress=stop)
    assert sum(seen) == 1  # all ask about one picture
    with pytest.raises(UserError, match="unfinished"):
        QuestionTargets.open(tmp_path / "targets")
    whole = written(clip, data, tmp_path)
    again = written(clip, data, tmp_path / "again")
    for row in range(7):
        np.testing.assert_array_equal(whole.texts(row, "answers"), again.texts(row, "answers"))


def test_answers_as_prompts_and_hypotheses(clip: Any, tmp_path: Path) -> None:
    folder = write_vqa(tmp_path, [question(1), question(2)], [annotation(1, ["yes"] * 10), annotation(2, ["no"] * 10)])
    (tmp_path / "answers.txt").write_text("yes\nno\n2\n")
    spec = {"format": "vqa_v2", "path": str(folder), "answers": str(tmp_path / "answers.txt")}
    data = Mixture([(open_source(spec), None)])
    settings = QuestionSettings(("question",), template="it is {answer}")
    store = written(clip, data, tmp_path, settings, answers=["yes", "no", "2"])
    with torch.no_grad():
        prompts = normalize(clip.encode_text(clip.tokenizer(["it is yes", "it is no", "it is 2"])), dim=1)
        image = normalize(torch.from_numpy(store.image([0, 1])), dim=1)
    close(store.logits([0, 1]), clip.logit_scale.detach() * image @ prompts.T)
    with pytest.raises(UserError, match=r"has no \{answer\}"):
        written(clip, data, tmp_path / "b", QuestionSettings(("question",), template="it is"))
    pairs = Mixture(
        [(open_source({"format": "snli_ve", "path": write_snli_ve(tmp_path / "s", [pair(0), pair(1)])}), None)]
    )
    found = written(clip, pairs, tmp_path / "s", QuestionSettings(("hypothesis",)))
    assert found.texts(0, "hypothesis").shape == (1, clip.embed_dim)


def test_other_settings_teachers_or_answers_are_refused(clip: Any, tmp_path: Path) -> None:
    data = vcr(tmp_path)
    written(clip, data, tmp_path)
    with pytest.raises(UserError, match="what is stored of questions"):
        written(clip, data, tmp_path, QuestionSettings(("answers", "rationales"), selection="random"))
    with pytest.raises(UserError, match="the teacher"):
        cache_questions(clip, data, VCR, tmp_path / "targets", fingerprint="other")
    with pytest.raises(UserError, match="the samples' field 'question'"):
        cache_questions(clip, _asked_otherwise(tmp_path), VCR, tmp_path / "targets", fingerprint="f")


def _asked_otherwise(folder: Path) -> Mixture:
    items = [vcr_item(number, question=["Was", [number % 3], "red", "?"]) for number in range(3)]
    return Mixture([(open_source({"format": "vcr", "path": write_vcr(folder, items)}), None)])
