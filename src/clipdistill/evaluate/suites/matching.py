"""Questions answered by a dual encoder as it is, by how well a text matches the picture (CLIP-TD, section 4)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from clipdistill.data.joined_text import READ_AS, TeacherText
from clipdistill.data.question_texts import question_texts
from clipdistill.data.sample import Sample
from clipdistill.errors import UserError
from clipdistill.evaluate.embed import embed_texts
from clipdistill.evaluate.entailment import classes_of_similarities
from clipdistill.evaluate.sources import Subset
from clipdistill.evaluate.suites.base import Job
from clipdistill.evaluate.suites.questions import Answered

CHUNK = 1024
"""Questions whose texts are embedded together: memory, never the result."""
MATCHES: dict[str, TeacherText] = {"ia": "answer", "iqa": "pair", "statement": "statement"}
"""Option `match` of the suite `vcr` -> how its texts are read."""
SCALE = 100.0
"""What cosines are multiplied by for probabilities, where a model says nothing: CLIP's."""


@dataclass(frozen=True)
class Pictures:
    """The pictures of N questions, each embedded once: unit `features` [P, D]; `place` int64 [N], -1 = unreadable."""

    features: Tensor
    place: Tensor
    bad: list[dict[str, str]]

    @property
    def rows(self) -> list[int]:
        """Positions of the questions whose picture could be read."""
        return [int(row) for row in (self.place >= 0).nonzero()[:, 0]]


def pictures_of(job: Job, source: Any, squash: bool) -> Pictures:
    """Embed the different pictures of a source of questions."""
    firsts: dict[Any, int] = {}
    owner: list[int] = []
    starts: list[int] = []
    ids: list[str] = []
    for row in range(len(source)):
        sample = source[row]
        ids.append(str(sample.id))
        if sample.image not in firsts:
            firsts[sample.image] = len(firsts)
            starts.append(row)
        owner.append(firsts[sample.image])
    embedded = job.images(Subset(source, starts), squash)
    place = torch.full((len(starts),), -1, dtype=torch.int64)
    place[embedded.positions] = torch.arange(len(embedded.positions))
    places = place[torch.tensor(owner, dtype=torch.int64)]
    reasons = {item["id"]: item["reason"] for item in embedded.bad}
    bad = [
        {"id": ids[row], "reason": reasons.get(ids[starts[owner[row]]], "its picture couldn't be read")}
        for row in (places < 0).nonzero()[:, 0].tolist()
    ]
    return Pictures(normalize(embedded.features, dim=1), places, bad)


def match_vcr(job: Job, source: Any, match: str, squash: bool) -> Answered:
    """VCR by matching: cosines of the picture and each option, as probabilities over the four.

    Args:
        match: "ia": the option alone is the text, for rationales too. "iqa": the question stands before it, and before
            a rationale the question and the answer. "statement": what they say together, by `joined_text.statement`.

    Returns:
        `answers` [n, 4] and `rationales` [n, 4, 4], given each answer.
    """
    pictures = pictures_of(job, source, squash)
    rows, scale = pictures.rows, _scale(job)
    answers, rationales = [np.zeros((0, 4), np.float32)], [np.zeros((0, 4, 4), np.float32)]
    for start in range(0, len(rows), CHUNK):
        part = rows[start : start + CHUNK]
        texts = [text for row in part for text in _vcr_texts(source[row], match)]
        vectors = normalize(embed_texts(job.model, texts, device=job.device), dim=1).unflatten(0, (len(part), -1))
        cosines = torch.einsum("nd,ntd->nt", pictures.features[pictures.place[part]], vectors)
        answers.append((scale * cosines[:, :4]).softmax(-1).numpy())
        given = cosines[:, 4:].reshape(len(part), -1, 4)
        rationales.append((scale * given).softmax(-1).expand(-1, 4, -1).numpy())
        _tell(job, min(start + CHUNK, len(rows)), len(rows))
    notes = {"match": match, "crop": "resize" if squash else "centre"}
    return Answered(
        rows, {"answers": np.concatenate(answers), "rationales": np.concatenate(rationales)}, pictures.bad, notes
    )


def _vcr_texts(sample: Sample, match: str) -> list[str]:
    """Of the four answers; then of the four reasons, or where they are read with an answer, of each answer's four."""
    read = READ_AS[MATCHES[match]]
    reasons = question_texts(sample, "rationales_of_each")
    return [read(one).text for one in question_texts(sample, "answers") + (reasons[:4] if match == "ia" else reasons)]


def match_snli_ve(job: Job, source: Any, squash: bool, seed: int, restarts: int, fit: Any = None) -> Answered:
    """SNLI-VE by k-means (k = 3) on the cosines of pictures and hypotheses; no label is looked at.

    Args:
        fit: the source whose pairs the clusters are found of; None = `source` itself.

    Returns:
        `classes` [n, 3], 1 at the class of a pair's cluster; the notes hold the clusters' means.

    Raises:
        UserError: fewer than three different similarities.
    """
    pictures, similarities = _similarities(job, source, squash)
    fitted = None if fit is None else _similarities(job, fit, squash)[1]
    try:
        classes, means = classes_of_similarities(similarities, source.classes, seed=seed, restarts=restarts, fit=fitted)
    except ValueError as error:
        raise UserError(f"snli_ve: the similarities don't make three clusters: {error}") from error
    notes = {"clusters": means, "seed": seed, "restarts": restarts, "crop": "resize" if squash else "centre"}
    notes |= {} if fit is None else {"clusters_of": fit.name}
    shares = torch.nn.functional.one_hot(classes, len(source.classes)).float().numpy()
    return Answered(pictures.rows, {"classes": shares}, pictures.bad, notes)


def _similarities(job: Job, source: Any, squash: bool) -> tuple[Pictures, Tensor]:
    """Cosines of pictures and hypotheses, of the pairs whose picture could be read."""
    pictures = pictures_of(job, source, squash)
    rows, found = pictures.rows, [torch.zeros(0)]
    for start in range(0, len(rows), CHUNK):
        part = rows[start : start + CHUNK]
        texts = [str(source[row].fields["hypothesis"]) for row in part]
        vectors = normalize(embed_texts(job.model, texts, device=job.device), dim=1)
        found.append((pictures.features[pictures.place[part]] * vectors).sum(1))
        _tell(job, min(start + CHUNK, len(rows)), len(rows))
    return pictures, torch.cat(found)


def match_vqa(job: Job, source: Any, template: str, squash: bool, keep: bool) -> Answered:
    """VQA with each answer of the vocabulary in a prompt.

    Args:
        template: holds {answer}, and perhaps {question}. Texts are embedded once for each different question.
        keep: give the probabilities of all answers.

    Returns:
        `best` [n], numbers of the chosen answers; with `keep` also `answers` [n, A].
    """
    pictures = pictures_of(job, source, squash)
    rows, scale, words = pictures.rows, _scale(job), source.answers
    groups: dict[str, list[int]] = defaultdict(list)
    for place, row in enumerate(rows):
        groups[source[row].fields["question"] if "{question}" in template else ""].append(place)
    best = np.zeros(len(rows), np.int64)
    shares = np.zeros((len(rows) if keep else 0, len(words)), np.float32)
    for number, (question, places) in enumerate(groups.items(), 1):
        texts = [template.replace("{question}", question).replace("{answer}", word) for word in words]
        vectors = normalize(embed_texts(job.model, texts, device=job.device), dim=1)
        own = pictures.place[[rows[place] for place in places]]
        for start in range(0, len(places), CHUNK):
            cosines = pictures.features[own[start : start + CHUNK]] @ vectors.T
            best[places[start : start + CHUNK]] = cosines.argmax(1).numpy()
            if keep:
                shares[places[start : start + CHUNK]] = (scale * cosines).softmax(1).numpy()
        _tell(job, number, len(groups))
    arrays = {"best": best} | ({"answers": shares} if keep else {})
    return Answered(rows, arrays, pictures.bad, {"template": template, "crop": "resize" if squash else "centre"})


def _scale(job: Job) -> float:
    scale = getattr(job.model, "logit_scale", None)
    return SCALE if scale is None else float(torch.as_tensor(scale).detach())


def _tell(job: Job, done: int, total: int) -> None:
    if job.progress:
        job.progress("questions", done, total)


def labels_or_none(source: Any, rows: Sequence[int], field: str) -> Tensor | None:
    """int64 [n], a label of the samples; None when one of them has none."""
    found = [source[row].fields.get(field) for row in rows]
    return None if not found or None in found else torch.tensor(found, dtype=torch.int64)
