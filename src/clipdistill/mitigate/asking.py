"""A trained model on a VCR file: its answers, and what each of its options loses with a token masked."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import softplus

from clipdistill.data import open_source
from clipdistill.data.fields import Draw
from clipdistill.data.question_texts import Reads
from clipdistill.data.sample import Sample
from clipdistill.data.tagged_text import tagged_text
from clipdistill.engine.tracking import LaterMeter
from clipdistill.errors import UserError
from clipdistill.evaluate.embed import inference
from clipdistill.evaluate.predictions import Predictions
from clipdistill.evaluate.suites.base import Job
from clipdistill.evaluate.suites.fusion_answers import Pairs, without_head
from clipdistill.kinds import open_trained
from clipdistill.mitigate.masking import flattened, score_line, with_masked
from clipdistill.mitigate.vcr_files import LISTS, Record, labelled
from clipdistill.runs.evaluation_regions import regions_of

READS: dict[str, Reads] = {"answer_choices": "answers", "rationale_choices": "rationales"}
_FIELDS = {"answer_choices": ("choices", "choice_tags"), "rationale_choices": ("rationales", "rationale_tags")}


@dataclasses.dataclass(frozen=True)
class Asked:
    """A fusion model with the head `vcr`, and the questions of a file as its suite reads them.

    regions: as the suite's option: where a store of the pictures' regions lies; None = the run's own, made if need be.
    """

    model: Any
    source: Any
    regions_of: Any
    regions: Path | None
    device: torch.device
    batch_size: int

    def pairs(self, reads: Reads, progress: Callable[[str, int, int], None]) -> Pairs:
        """The questions with one of their lists of options."""
        job = Job(self.model, self.device, self.batch_size, progress=progress, regions=self.regions_of)
        return Pairs(job, self.source, self.regions, "vcr", reads)


def open_asked(
    model: str | Path, file: Path, *, root: Path | None = None, regions: Path | None = None, batch_size: int = 128
) -> Asked:
    """Open a RUN's model, or a folder with one, and the file with its pictures.

    root: the pictures' folder, as for the format `vcr`.

    Raises:
        UserError: no such model, one of another kind or without the head; or what opening VCR raises.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    opened = open_trained(str(model), device)
    if opened.KIND != "fusion":
        raise UserError(
            f"--by {model}: is a {opened.KIND}; name the run of a fusion model that was trained with task vcr"
        )
    if why := without_head(opened, "vcr"):
        raise UserError(f"--by {model}: {why}")
    spec = {"format": "vcr", "path": str(file), **({} if root is None else {"root": str(root)})}
    return Asked(opened, open_source(spec), regions_of(model, device), regions, device, batch_size)


def answered(asked: Asked) -> Predictions:
    """Probabilities of the four answers of every question: softmax of what the head says, as the suite `vcr` has it."""
    found: list[np.ndarray] = [np.zeros((0, 4), np.float32)]
    with LaterMeter("questions") as progress, inference(asked.model, asked.device):
        pairs = asked.pairs("answers", progress)
        for batch in pairs.batches():
            ranks = pairs.model.option_scores(pairs.scores(batch, "answers")).reshape(-1, 4)
            found.append(ranks.softmax(-1).cpu().numpy())
    return Predictions(tuple(asked.source.ids[row] for row in pairs.rows), {"answers": np.concatenate(found)})


def token_losses(asked: Asked, records: Mapping[str, Record]) -> Iterator[dict[str, Any]]:
    """Lines of a score file: each token of each option is masked in turn, and the option's loss is taken.

    The loss of an option is that of a sigmoid (`right_logits`): the right one should be right, the others wrong. A word
    becomes one mask, of however many pieces it is; a masked tag names no region. Rationales are read with the right
    answer. Questions without labels, or whose picture can't be read, have no line.

    Raises:
        UserError: the model's tokenizer has no mask.
    """
    if getattr(asked.model.tokenizer, "mask_token_id", None) is None:
        raise UserError(f"--by: '{asked.model.name}' has no mask among its tokens; name a model over BERT's words")
    usable = {one: record for one, record in records.items() if labelled(record)}
    losses: dict[str, dict[str, list[list[float]]]] = {one: {} for one in usable}
    for name, reads in READS.items():
        with LaterMeter(f"masked {reads}") as progress, inference(asked.model, asked.device):
            pairs = asked.pairs(reads, progress)
            for batch in pairs.batches():
                samples = [asked.source[pairs.rows[place]] for place in batch["sample"].tolist()]
                for one, found in _batch_losses(pairs, batch, samples, usable, name).items():
                    losses[one][name] = found
    for one, record in usable.items():
        if len(losses[one]) == len(LISTS):
            yield score_line(one, record, losses[one])


def _batch_losses(
    pairs: Pairs, batch: Mapping[str, Any], samples: list[Sample], records: Mapping[str, Record], name: str
) -> dict[str, list[list[float]]]:
    """Losses of the options of a batch: one pass for each place of the longest option."""
    reads, label = READS[name], LISTS[name]
    known = [str(sample.id) for sample in samples]
    tokens = [[len(flattened(option)) for option in records[one][name]] if one in records else [] for one in known]
    found: dict[str, list[list[float]]] = {one: [[], [], [], []] for one in known if one in records}
    field = pairs.fields[reads]
    for place in range(max((max(counts) for counts in tokens if counts), default=0)):
        rows = [
            field.row(_masked(sample, records[sample.id], name, place) if sample.id in records else sample, _DRAW)
            for sample in samples
        ]
        texts = {key: value.to(pairs.job.device) for key, value in field.collate(rows).items()}
        logits = right_logits(pairs.scores({**batch, **texts}, reads)).reshape(-1, 4)
        for one, counts, options in zip(known, tokens, logits.double().cpu(), strict=True):
            for option, count in enumerate(counts):
                if place < count:
                    right = option == records[one][label]
                    found[one][option].append(float(softplus(-options[option] if right else options[option])))
    return found


def right_logits(scores: Tensor) -> Tensor:
    """The logit of being right, [N], of what the head says, [N, 1]; of [N, 2] that of right against wrong.

    It is what models are trained by; UNITER ranks options by its "right" number alone (`option_scores`).
    """
    return scores[:, 0] if scores.shape[1] == 1 else scores[:, 1] - scores[:, 0]


def _masked(sample: Sample, record: Record, name: str, place: int) -> Sample:
    """The sample with the token at `place` of each option of a list masked; shorter options stay."""
    texts = [tagged_text(with_masked(option, {place}), record["objects"]) for option in record[name]]
    text, tags = _FIELDS[name]
    changed = {text: tuple(each.text for each in texts), tags: tuple(each.tags for each in texts)}
    return dataclasses.replace(sample, fields={**sample.fields, **changed})


_DRAW = Draw(0, 0, 0, 0, -1)
