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
from clipdistill.data.masked_fields import DrawnRegions, ExchangedTexts, MaskedTexts
from clipdistill.data.true_texts import TrueTexts
from clipdistill.engine.distributed import Ranks
from clipdistill.engine.gradient_cache import backward
from clipdistill.errors import UserError
from clipdistill.models import create_model
from clipdistill.models.fusion import fusion_inputs
from clipdistill.objectives.optimal_transport import transport_distance
from clipdistill.stores.region_cache import cache_regions
from clipdistill.tasks.fusion_pretraining import FusionPretraining
from clipdistill.tasks.pretraining_losses import mean_of_each, with_hidden

TEXT = {
    "question": ["is", [2], "red", "or", "blue", "or", "zq", "?"],
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
    other = {name.removeprefix("other/"): value for name, value in batch.items() if name.startswith("other/")}
    pairs = fusion_inputs({**batch, **other}, "plain")
    output = model(pairs)
    torch.testing.assert_close(
        found["matching"], cross_entropy(model.scores("matching", output), batch["is_own"], reduction="none")
    )
    assert found["matching"].shape == (4,) and task.sample_weights({}, batch).keys() == {"words", "regions"}


ALL = {"words": 2.0, "regions": 1.0, "region_classes": 1.0, "matching": 1.0, "alignment": 0.1}
CLASSES = [["red", "blue", "green"], ["circle", "square"], ["yes", "maybe"]]


@pytest.mark.parametrize("negatives", ["picture", "exchanged"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_classes_of_regions_and_alignment_by_definition(architecture: str, negatives: str, mixture: Mixture) -> None:
    options = {"reads": "answers", "negatives": negatives}
    options |= {"exchange": CLASSES} if negatives == "exchanged" else {}
    task = FusionPretraining(student(architecture, mixture), weights=ALL, options=options)
    torch.manual_seed(0)
    task.prepare(mixture)
    assert mixture.regions.class_names == ("car", "person")
    assert task.student.config.heads["region_classes"] == 3  # and the background
    batch = batch_of(mixture, task.fields(mixture), size=8)
    batch = {k: v.double() if torch.is_tensor(v) and v.is_floating_point() else v for k, v in batch.items()}
    task.double().eval()
    found, model, hidden = task.encode(batch), task.student, batch["hidden_regions"]
    output = model(with_hidden(fusion_inputs(batch, "plain"), hidden))
    scores = model.scores("region_classes", output)[:, 1:]
    names = ("", *mixture.regions.class_names)
    pictures = mixture.regions.rows(mixture.picture_ids)
    for row in range(8):
        labels = mixture.regions.regions(int(pictures[row])).labels
        wanted = torch.tensor([names.index(labels[place]) for place in hidden[row].nonzero().flatten().tolist()])
        torch.testing.assert_close(found["region_classes"][row], cross_entropy(scores[row][hidden[row]], wanted))
    other = {name.removeprefix("other/"): value for name, value in batch.items() if name.startswith("other/")}
    inputs = fusion_inputs({**batch, **other}, "plain" if negatives == "picture" else "matched")
    output = model(inputs)
    far = transport_distance(output.text, output.objects[:, 1:], inputs.text_mask, inputs.region_mask[:, 1:])
    assert 0 < int(batch["is_own"].sum()) < 8
    torch.testing.assert_close(found["alignment"], torch.where(batch["is_own"] == 1, far, -far))


def test_exchanged_words_point_to_the_regions_that_they_pointed_to(mixture: Mixture) -> None:
    model = student("uniter", mixture)
    fields = {
        "plain": TrueTexts(model, "answers", "plain"),
        "matched": ExchangedTexts(model, "answers", "matched", None, tuple(map(tuple, CLASSES))),
    }
    said = set()
    for epoch in range(6):
        batch = batch_of(mixture, fields, epoch=epoch)
        own, differs = batch["is_own"] == 1, (batch["matched/ids"] != batch["plain/ids"]).any(dim=1)
        can = batch["can_differ"]
        assert torch.equal(differs, ~own) and own[~can].all() and 2 < int(own[can].sum()) < 18
        assert torch.equal(batch["matched/tags"], batch["plain/tags"])
        for row in range(40):
            words = model.tokenizer.decode(batch["matched/ids"][row][batch["matched/mask"][row]])
            assert words.startswith("[CLS] is")  # what is asked stays
            said.add(words.split("[SEP]")[1].strip())
        assert can.tolist() == [number % 2 == 0 for number in range(40)]  # not "no", nor "no car."
    assert said == {"yes casey", "maybe casey", "a circle", "a square", "no", "no car."}
    part = batch_of(mixture, fields, size=8, epoch=5)
    assert torch.equal(part["matched/ids"], batch["matched/ids"][:8][:, : part["matched/ids"].shape[1]])
    with pytest.raises(
        UserError, match="`task.exchange`: none of the words stand in the texts of the first 40 samples"
    ):
        ExchangedTexts(model, "answers", "m", None, (("cat", "cow"),)).check(mixture)


def test_texts_without_other_words_say_nothing_of_matching(mixture: Mixture) -> None:
    task = FusionPretraining(
        student("uniter", mixture), weights={"matching": 1.0, "alignment": 0.1},
        options={"reads": "answers", "negatives": "exchanged", "exchange": CLASSES},
    )  # fmt: skip
    task.prepare(mixture)
    batch = batch_of(mixture, task.fields(mixture), size=8)
    weights = task.sample_weights({}, batch)
    assert weights["matching"].tolist() == weights["alignment"].tolist() == [1, 0] * 4


@pytest.mark.parametrize(
    ("weights", "options", "said"),
    [
        ({"words": 1, "alignment": 0.1}, {}, "`task.weights.alignment`: it reads the pairs of `matching`"),
        ({"matching": 1}, {"exchange": CLASSES}, "with `negatives: exchanged` alone"),
        ({"matching": 1}, {"negatives": "exchanged", "exchange": [["red"]]}, "two or more words in lower case"),
        ({"matching": 1}, {"negatives": "exchanged", "exchange": [["red", "Blue"]]}, "two or more words in lower case"),
    ],
)
def test_what_doesnt_go_together_is_refused(weights: Any, options: Any, said: str, mixture: Mixture) -> None:
    with pytest.raises(UserError, match=said):
        FusionPretraining(student("uniter", mixture), weights=weights, options=options)


def test_whole_words_are_masked_with_all_their_pieces(mixture: Mixture) -> None:
    """The vocabulary has single characters for what isn't a word of it: "zq" is "z", "##q"."""
    model = student("uniter", mixture)
    field = MaskedTexts(model, "question", "m", None, True)
    assert field != MaskedTexts(model, "question", "m")
    pieces = model.tokenizer.convert_ids_to_tokens
    split = 0
    for epoch in range(10):
        batch = batch_of(mixture, {"m": field, "p": TrueTexts(model, "question", "p")}, epoch=epoch)
        for row in range(40):
            words = pieces(batch["p/ids"][row].tolist())
            for place, word in enumerate(words):
                if word.startswith("##"):
                    split += 1
                    assert (batch["m/wanted"][row, place] >= 0) == (batch["m/wanted"][row, place - 1] >= 0)
    assert split


@pytest.mark.parametrize("negatives", ["picture", "exchanged"])
def test_micro_batches_change_nothing(negatives: str, mixture: Mixture) -> None:
    options = {"reads": "answers", "negatives": negatives}
    options |= {"exchange": CLASSES} if negatives == "exchanged" else {}
    task = FusionPretraining(student("uniter", mixture), weights=ALL, options=options)
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
    with pytest.raises(UserError, match="has no label of answers, .*; set `task.reads` to question"):
        MaskedTexts(student("uniter", mixture), "answers", "m").check(unknown)


@pytest.mark.parametrize(
    ("architecture", "reads", "follow"), [("uniter", "question", [2, 3]), ("vl_bert", "answers", [])]
)
def test_types_without_texts_follow_type_0(architecture: str, reads: str, follow: list[int], mixture: Mixture) -> None:
    task = FusionPretraining(student(architecture, mixture), options={"reads": reads})
    types = task.student.embeddings.types.weight
    before = types.detach().clone()
    task.after_step()
    for number in range(len(types)):
        assert torch.equal(types[number], before[0 if number in follow else number])


def test_words_are_told_one_by_one(mixture: Mixture) -> None:
    """`exchanged`: by definition, over the words of texts that can differ; a word of an exchanged class is marked."""
    options = {"reads": "answers", "negatives": "exchanged", "exchange": CLASSES}
    task = FusionPretraining(student("uniter", mixture), weights={"exchanged": 1.0}, options=options)
    task.prepare(mixture)
    batch = batch_of(mixture, task.fields(mixture), size=40)
    batch = {k: v.double() if torch.is_tensor(v) and v.is_floating_point() else v for k, v in batch.items()}
    flags, own = batch["matched/exchanged"], batch["is_own"]
    task.eval()
    found, model = task.encode(batch)["exchanged"], task.student
    scores = model.scores("exchanged", model(fusion_inputs(batch, "matched")))
    for row in range(40):
        marked = batch["matched/ids"][row][flags[row] == 1]
        words = {"maybe", "square"} if row % 4 in (0, 2) and not own[row] else set()
        assert set(model.tokenizer.convert_ids_to_tokens(marked.tolist())) <= words and bool(len(marked)) == bool(words)
        there = flags[row] >= 0
        torch.testing.assert_close(found[row], cross_entropy(scores[row][there], flags[row][there]))
    weights = task.sample_weights({}, batch)["exchanged"]
    assert weights[1] == 0 and weights[0] == (flags[0] >= 0).sum()
    with pytest.raises(UserError, match="`task.weights.exchanged`: no words are exchanged"):
        FusionPretraining(student("uniter", mixture), weights={"exchanged": 1.0})
