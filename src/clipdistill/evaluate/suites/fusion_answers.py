"""Questions answered by a fusion model: pairs of a text and a picture's regions through its heads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from clipdistill.data.fields import Field
from clipdistill.data.fusion_fields import FusionTexts, picture_fields
from clipdistill.data.loader import evaluation_batches
from clipdistill.data.mixture import Mixture
from clipdistill.data.question_texts import OPTIONS, Reads
from clipdistill.errors import UserError
from clipdistill.evaluate.embed import inference
from clipdistill.evaluate.suites.base import Job
from clipdistill.evaluate.suites.questions import Answered
from clipdistill.models.fusion import fusion_inputs


class Pairs:
    """The questions of a source as a fusion model reads them.

    Attributes:
        answered: their rows in the source, as far as `batches` has come. bad: questions whose pictures can't be read.

    Args:
        regions: where the store of the pictures' regions lies, or None where the run knows.
        head: what answers. reads: the texts.

    Raises:
        UserError: there are no regions, or they are others than the model takes.
    """

    def __init__(self, job: Job, source: Any, regions: Path | None, head: str, *reads: Reads) -> None:
        model: Any = job.model
        if model.sees == "regions" and job.regions is None:
            raise UserError(
                "regions: a fusion model sees regions of pictures; evaluate it in its run, or pass `regions`, what "
                "opens a store of them"
            )
        self.job, self.model, self.head = job, model, head
        mixture = Mixture([(source, None)])
        store = job.regions(mixture, regions) if model.sees == "regions" and job.regions is not None else None
        bad: Mapping[str, str] = {} if store is None else mixture.showing(store.bad)
        self.mixture = mixture
        self.rows = [row for row, one in enumerate(mixture.ids) if one not in bad]
        self.bad = [{"id": self.own_id(one), "reason": str(bad[one])} for one in mixture.ids if one in bad]
        self.mixture = mixture.without(bad) if self.bad else mixture
        self.mixture.regions = store
        self.fields: dict[str, Field] = {each: FusionTexts(model, each) for each in reads}
        self.fields |= picture_fields(model, self.mixture)
        self.answered: list[int] = []
        self.options = max(1, *(OPTIONS[each] for each in reads))

    def own_id(self, one: str) -> str:
        """A question's id in its source, of that in `mixture`; a source's name may have a stroke in it."""
        return one.removeprefix(f"{self.mixture.sources[0].name}/")

    def batches(self) -> Iterator[dict[str, Any]]:
        """Batches of about `job.batch_size` pairs, on the device, with the regions that the model sees."""
        size = max(1, self.job.batch_size // self.options)
        done = 0
        for batch in evaluation_batches(self.mixture, None, size, self.job.workers, fields=self.fields):
            self.bad += [{**each, "id": self.own_id(each["id"])} for each in batch["bad"]]
            places = batch["sample"].tolist()
            self.answered += [self.rows[place] for place in places]
            if places:
                yield self.model.see(
                    {
                        key: value.to(self.job.device) if isinstance(value, Tensor) else value
                        for key, value in batch.items()
                    }
                )
            done += len(places) + len(batch["bad"])
            if self.job.progress:
                self.job.progress("questions", done, len(self.mixture))

    def scores(self, batch: Mapping[str, Any], reads: Reads) -> Tensor:
        """What the head says of the pairs of a text, float32 [pairs, outputs]."""
        inputs = fusion_inputs(batch, reads).to(self.job.device, next(self.model.parameters()).dtype)
        found: Tensor = self.model.scores(self.head, self.model(inputs), inputs).float()
        return found


def without_head(model: Any, head: str, outputs: int | None = None) -> str | None:
    """Why a model can't answer, in a sentence: it is a fusion model without that head, or gives other answers.

    outputs: how many the data tells apart; None = that isn't the head's number.
    """
    if model.KIND != "fusion":
        return None
    if head not in model.heads:
        return f"fusion model '{model.name}' has no head '{head}' (it has {', '.join(model.heads) or 'none'}); train it"
    given = int(model.config.heads[head])
    if outputs is None or given == outputs:
        return None
    return (
        f"fusion model '{model.name}' tells {given:,} answers apart and the data has {outputs:,}; give the data the "
        "vocabulary that the model was trained with"
    )


def answer_vcr(job: Job, source: Any, regions: Path | None, asked: Sequence[Reads]) -> Answered:
    """VCR's options ranked by the head `vcr`, as probabilities over the four.

    asked: "answers"; "rationales" given the right answer alone, or "rationales_of_each" given every answer.

    Returns:
        `answers` [n, 4]; `rationales` [n, 4, 4], NaN given the answers that weren't asked for. What isn't asked isn't
        there.
    """
    pairs = Pairs(job, source, regions, "vcr", *asked)
    found: dict[str, list[np.ndarray]] = {
        "answers" if reads == "answers" else "rationales": [np.zeros((0, 4) if reads == "answers" else (0, 4, 4), "f4")]
        for reads in asked
    }
    with inference(job.model, job.device):
        for batch in pairs.batches():
            for reads in asked:
                ranks = pairs.model.option_scores(pairs.scores(batch, reads))
                shares = ranks.reshape(len(batch["sample"]), -1, 4).softmax(-1)
                if reads == "answers":
                    found["answers"].append(shares[:, 0].cpu().numpy())
                else:
                    found["rationales"].append(_given_each(shares, batch, source, pairs.rows))
    return Answered(pairs.answered, {name: np.concatenate(each) for name, each in found.items()}, pairs.bad)


def _given_each(shares: Tensor, batch: Mapping[str, Any], source: Any, rows: list[int]) -> np.ndarray:
    """[B, 1 or 4, 4] -> [B, 4, 4]: given the right answer alone, its row, and NaN else."""
    found = shares.cpu().numpy()
    if found.shape[1] == found.shape[2]:
        return found
    spread = np.full((len(found), 4, 4), np.nan, np.float32)
    right = [source[rows[place]].fields["answer_label"] for place in batch["sample"].tolist()]
    spread[np.arange(len(found)), right] = found[:, 0]
    return spread


def classify_pairs(job: Job, source: Any, regions: Path | None) -> Answered:
    """SNLI-VE's classes by the head `snli_ve`: `classes` [n, 3], in the order of the source's classes."""
    pairs = Pairs(job, source, regions, "snli_ve", "hypothesis")
    found = [np.zeros((0, len(source.classes)), np.float32)]
    with inference(job.model, job.device):
        for batch in pairs.batches():
            found.append(pairs.scores(batch, "hypothesis").softmax(-1).cpu().numpy())
    return Answered(pairs.answered, {"classes": np.concatenate(found)}, pairs.bad)


def answer_vqa(job: Job, source: Any, regions: Path | None, keep: bool) -> Answered:
    """VQA's answers by the head `vqa`: `best` [n], and with `keep` the sigmoids of all, `answers` [n, A].

    Each answer was trained towards a score of its own, so the probabilities of a question don't add up to 1.
    """
    pairs = Pairs(job, source, regions, "vqa", "question")
    best = [np.zeros(0, np.int64)]
    shares = [np.zeros((0, len(source.answers)), np.float32)]
    with inference(job.model, job.device):
        for batch in pairs.batches():
            scores = pairs.scores(batch, "question")
            best.append(scores.argmax(1).cpu().numpy())
            if keep:
                shares.append(torch.sigmoid(scores).cpu().numpy())
    arrays = {"best": np.concatenate(best)} | ({"answers": np.concatenate(shares)} if keep else {})
    return Answered(pairs.answered, arrays, pairs.bad)
