"""Figure 2 of CLIP-TD: the attention on each word of a question, beside the scores that a teacher's words have."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from clipdistill.analysis.importance import PADDING, REGION, ImportanceOptions, asked_attention, token_kinds
from clipdistill.analysis.reading import asked_pairs, reading, right_option, special_ids
from clipdistill.data import Mixture
from clipdistill.data.fusion_fields import FusionTexts
from clipdistill.data.keywords import Word, words_of
from clipdistill.data.question_texts import PARTS, Parts, Reads, question_texts
from clipdistill.errors import UserError
from clipdistill.evaluate.suites.fusion_answers import Pairs
from clipdistill.kinds import open_trained, require_weights
from clipdistill.stores.question_cache import cache_questions
from clipdistill.stores.question_targets import QuestionSettings, QuestionTargets

ALL_WORDS = 256
"""More than a text that CLIP reads can have: every word's score is wanted, and not the best alone."""
END = "[END]"


@dataclass(frozen=True)
class Shown:
    """A word, or a mark such as [SEP], of a pair: its part and first character (marks: "" and -1), and its text."""

    part: str
    start: int
    text: str


@dataclass(frozen=True)
class Attention:
    """Attention of one pair, heads' mean: on each of its words, in order, and on the picture; all of it makes 1."""

    words: tuple[Shown, ...]
    values: tuple[float, ...]
    picture: float


def word_attention(pairs: Pairs, reads: Reads, options: ImportanceOptions, layer: int | None) -> dict[str, Attention]:
    """Attention on words, by question: the mean over the heads, of one layer or (None) the mean over all.

    Of a question with options the right pair is shown. A word has the sum over its pieces.

    Raises:
        UserError: there is no such layer, or the right pair isn't known.
    """
    model, marks = pairs.model, special_ids(pairs.model.tokenizer)
    require_layer(model, layer)
    found: dict[str, Attention] = {}
    with reading(model, torch.device(pairs.job.device)):
        for batch in pairs.batches():
            inputs = asked_pairs(pairs, batch, reads, "right")
            rows: list[Tensor] = []

            def take(number: int, weights: Tensor, inputs: Any = inputs, rows: list[Tensor] = rows) -> None:
                if layer in (None, number):
                    kinds = token_kinds(inputs, weights.shape[-1], marks)
                    rows.append(asked_attention(weights, kinds, options.queries).double().mean(dim=1).cpu())

            with model.watching(take):
                model(inputs)
            attention = torch.stack(rows).mean(dim=0)
            kinds = token_kinds(inputs, attention.shape[1], marks).cpu()
            for place, own, kind in zip(batch["sample"].tolist(), attention, kinds, strict=True):
                sample = pairs.mixture[place]
                parts = question_texts(sample, reads)[right_option(sample, reads)]
                field = pairs.fields[reads]
                assert isinstance(field, FusionTexts)
                found[pairs.own_id(sample.id)] = _by_word(field, parts, own, kind)
    return found


def require_layer(model: Any, layer: int | None) -> None:
    """Raise a UserError for a layer that the model hasn't got."""
    layers = int(model.config.layers)
    if layer is not None and layer >= layers:
        raise UserError(f"--layer {layer}: '{model.name}' has layers 0 to {layers - 1}")


def _by_word(field: FusionTexts, parts: Parts, attention: Tensor, kinds: Tensor) -> Attention:
    """Sum the pieces of each word; marks stand for themselves."""
    assert field.layout is not None
    names = iter(name for name, _ in field.layout if name not in parts)
    words = {name: words_of(text.text) for name, text in parts.items()}
    shown: list[Shown] = []
    values: list[float] = []
    for place, (part, start, end) in enumerate(field.places(parts)):
        word = _word_at(words[part], start, end) if part else None
        one = Shown(part, word.start, word.text) if word else Shown("", -1, "?" if part else next(names))
        if word and shown and shown[-1] == one:
            values[-1] += float(attention[place])
        else:
            shown.append(one)
            values.append(float(attention[place]))
    picture = float(attention[kinds == REGION].sum())
    if int(kinds[-1]) not in (REGION, PADDING) and len(kinds) > len(field.places(parts)):
        shown.append(Shown("", -1, END))
        values.append(float(attention[-1]))
    return Attention(tuple(shown), tuple(values), picture)


def _word_at(words: Sequence[Word], start: int, end: int) -> Word | None:
    return next((word for word in words if start < word.end and word.start < end), None)


def selection_scores(
    teacher: str, source: Any, ids: Sequence[str], reads: Reads
) -> dict[str, dict[tuple[str, int], float]]:
    """A teacher's score S of the words of the right pair of some questions, equation 5, by (part, first character).

    Args:
        teacher: a DualEncoder by name, folder or RUN, which reads the questions now and scores every word that can be
            selected; or a store of questions' targets, which has the scores of the words that were selected.
        source: of questions; its name is the store's. ids: of those that are wanted.

    Raises:
        UserError: no such teacher, one of another kind, or a store without these questions.
    """
    mixture = Mixture([(source, None)])
    wanted = [f"{source.name}/{one}" for one in ids]
    if (Path(teacher) / "store.json").is_file():
        store = QuestionTargets.open(teacher)
        if reads not in store.meta["questions"]["reads"]:
            raise UserError(f"--words {teacher}: has no '{reads}' in it; name the teacher itself, which reads them")
        return _scores(store, teacher, mixture, wanted, reads)
    require_weights(teacher)
    model = open_trained(teacher)
    if model.KIND != "dual_encoder":
        raise UserError(f"--words {teacher}: is a {model.KIND}; name a CLIP, or a store of questions' targets")
    few = mixture.without(set(mixture.ids) - set(wanted))
    with tempfile.TemporaryDirectory() as folder:
        store = cache_questions(
            model, few, QuestionSettings((reads,), words=ALL_WORDS), folder, fingerprint="", max_bad_share=1.0
        )  # type: ignore[assignment]
        assert store is not None
        return _scores(store, teacher, few, wanted, reads)


def _scores(
    store: QuestionTargets, name: str, mixture: Mixture, wanted: Sequence[str], reads: Reads
) -> dict[str, dict[tuple[str, int], float]]:
    found: dict[str, dict[tuple[str, int], float]] = {}
    rows = store.rows(wanted)
    place = {one: number for number, one in enumerate(mixture.ids)}
    for one, row in zip(wanted, rows.tolist(), strict=True):
        if row < 0:
            raise UserError(
                f"--words {name}: has no scores of '{one}', it was made of other questions; name the teacher itself"
            )
        option = right_option(mixture[place[one]], reads)
        _, places, mask = store.words(row, reads, ALL_WORDS, [option])
        found[one.removeprefix(f"{mixture.sources[0].name}/")] = {
            (PARTS[int(part)], int(start)): float(score) for part, start, _, score in places[0][mask[0]]
        }
    return found
