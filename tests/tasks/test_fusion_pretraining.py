"""Pretraining of fusion students: what is masked, losses by definition, independence of micro-batches."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from question_files import vcr_item, write_vcr
from tiny_fusion import ARCHITECTURES, tiny_fusion
from torch.nn.functional import cross_entropy

from clipdistill.data import AugmentPlan, Loader, Mixture, open_source
from clipdistill.data.masked_fields import DrawnRegions, MaskedTexts
from clipdistill.engine.distributed import Ranks
from clipdistill.engine.gradient_cache import backward
from clipdistill.errors import UserError
from clipdistill.models import create_model
from clipdistill.models.fusion import fusion_inputs
from clipdistill.stores.region_cache import cache_regions
from clipdistill.tasks.fusion_pretraining import FusionPretraining, mean_of_each, with_hidden

TEXT = {
    "question": ["is", [2], "red", "or", "blue", "or", "green", "?"],
    "answer_choices": [["yes", [0]], ["no"], ["a", "circle"], ["no", [3], "."]],
    "rationale_choices": [["it", "is"], ["blue"], ["green"], [[2], "is"]],
}


@pytest.fixture(scope="module")
def mixture(tmp_path_factory: pytest.TempPathFactory) -> Mixture:
    folder = tmp_path_factory.mktemp("vcr")
    items = [vcr_item(number, **TEXT, answer_label=number % 4) for number in range(40)]
    found = Mixture([(open_source({"format": "vcr", "path": write_vcr(folder, items)}), None)])
    clip = create_model("petri-tiny-student", seed=0).eval()
    found.regions = cache_regions(clip, found, None, folder / "regions")
    return found


def batch_of(mixture: Mixture, fields: dict[str, Any], size: int = 40, epoch: int = 0) -> dict[str, Any]:
    loader = Loader(mixture, fields, batch_size=size, plan=AugmentPlan(), seed=0, shuffle=False)
    return next(iter(loader.epoch(epoch)))


def student(architecture: str, mixture: Mixture) -> Any:
    sizes = {"region_width": mixture.regions.meta["embed_dim"], "positions": 40, "heads": {}}
    return tiny_fusion(architecture, **sizes, dropout=0.0, attention_dropout=0.0)


def test_words_are_masked_as_in_bert(mixture: Mixture) -> None:
    model = student("uniter", mixture)
    field = MaskedTexts(model, "answers", "m")
    mask, marks = model.tokenizer.mask_token_id, set(model.tokenizer.all_special_ids)
    kept = changed = masked = total = 0
    for epoch in range(20):
        batch = batch_of(mixture, {"m": field}, epoch=epoch)
        wanted, ids = batch["m/wanted"], batch["m/ids"]
        assert ((wanted >= 0).sum(dim=1) >= 1).all() and not set(wanted[wanted >= 0].tolist()) & marks
        chosen = wanted >= 0
        masked += int((ids[chosen] == mask).sum())
        kept += int((ids[chosen] == wanted[chosen]).sum())
        changed += int(((ids != mask) & (ids != wanted))[chosen].sum())
        total += int((batch["m/mask"] & ~torch.isin(ids, torch.tensor(list(marks - {mask})))).sum())
    chosen_words = masked + kept + changed
    assert 0.15 < chosen_words / total < 0.24  # 15 %, and where that is none, one
    assert 0.75 < masked / chosen_words < 0.85 and 0.05 < kept / chosen_words < 0.15 and changed > 0
    # Words of the right answer: sample 1's is "no", and 2's "a circle".
    said = batch_of(mixture, {"m": field}, size=3)
    whole = torch.where(said["m/wanted"] >= 0, said["m/wanted"], said["m/ids"])
    words = [
        model.tokenizer.convert_ids_to_tokens(row[there].tolist())
        for row, there in zip(whole, said["m/mask"], strict=True)
    ]
    assert words[1][-3:] == ["[SEP]", "no", "[SEP]"] and words[2][-4:] == ["[SEP]", "a", "circle", "[SEP]"]


def test_draws_are_functions_of_epoch_and_sample_alone(mixture: Mixture) -> None:
    model = student("uniter", mixture)
    fields = {"m": MaskedTexts(model, "question", "m"), "r": DrawnRegions(mixture)}
    whole, part = batch_of(mixture, fields), batch_of(mixture, fields, size=8)
    for name in ("m/wanted", "m/ids", "hidden_regions", "is_own", "other/regions"):
        assert torch.equal(whole[name][:8], part[name]), name
    assert not torch.equal(batch_of(mixture, fields, epoch=1)["m/wanted"], whole["m/wanted"])
    assert 8 < int(whole["is_own"].sum()) < 32
    assert (whole["hidden_regions"].sum(dim=1) >= 1).all() and not (
        whole["hidden_regions"] & ~whole["region_mask"]
    ).any()
    assert (whole["other/object_regions"] == -1).all() and (whole["object_regions"] >= 0).all()


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_losses_by_definition(architecture: str, mixture: Mixture) -> None:
    task = FusionPretraining(student(architecture, mixture), options={"reads": "rationales"})
    torch.manual_seed(0)
    task.prepare(mixture)
    batch = batch_of(mixture, task.fields(mixture), size=4)
    batch = {k: v.double() if torch.is_tensor(v) and v.is_floating_point() else v for k, v in batch.items()}
    task.double().eval()
    model, found = task.student, task.encode(batch)
    inputs = fusion_inputs(batch, "masked")
    scores = model.scores("words", model(inputs))
    hidden = batch["hidden_regions"]
    shown = with_hidden(fusion_inputs(batch, "plain"), hidden)
    guessed = model.scores("region_features", model(shown))[:, 1:]
    for row in range(4):
        wanted = batch["masked/wanted"][row]
        places = wanted >= 0
        torch.testing.assert_close(found["words"][row], cross_entropy(scores[row][places], wanted[places]))
        error = (guessed[row] - batch["regions"][row])[hidden[row]].square().mean()
        torch.testing.assert_close(found["regions"][row], error)
        open_ones = batch["region_mask"][row] & ~hidden[row]
        if open_ones.any():
            torch.testing.assert_close(shown.features[row, 0], batch["regions"][row][open_ones].mean(0))
    assert found["matching"].shape == (4,) and task.sample_weights({}, batch).keys() == {"words", "regions"}


def test_micro_batches_change_nothing(mixture: Mixture) -> None:
    task = FusionPretraining(student("uniter", mixture))
    task.prepare(mixture)
    batch = batch_of(mixture, task.fields(mixture), size=4)
    batch = {k: v.double() if torch.is_tensor(v) and v.is_floating_point() else v for k, v in batch.items()}
    task.double().eval()
    found = []
    for micro in (None, 1):
        task.zero_grad()
        terms = backward(task, batch, Ranks.current(), micro)
        found.append([*terms.values(), *(p.grad for p in task.parameters() if p.grad is not None)])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other)


def test_means_of_rows_and_unknown_answers(mixture: Mixture, tmp_path: Path) -> None:
    where = torch.tensor([[True, True], [False, False], [False, True]])
    assert mean_of_each(torch.tensor([1.0, 3.0, 5.0]), where).tolist() == [2, 0, 5]
    item = vcr_item(0, **TEXT)
    del item["answer_label"]
    unknown = Mixture([(open_source({"format": "vcr", "path": write_vcr(tmp_path, [item])}), None)])
    with pytest.raises(UserError, match="has no 'answer_label', so its text isn't known; set `task.reads` to question"):
        MaskedTexts(student("uniter", mixture), "answers", "m").check(unknown)
