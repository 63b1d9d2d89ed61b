"""Training a VLM: what learns and what stays, the mean over answer tokens, pictures that aren't there, long texts."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from clipdistill.data import Mixture
from clipdistill.data.conversation_fields import IGNORED, Conversations, too_long
from clipdistill.data.fields import Draw
from clipdistill.data.sample import ImageRef, Sample
from clipdistill.engine.distributed import Ranks
from clipdistill.engine.gradient_cache import backward
from clipdistill.errors import UserError
from clipdistill.models.vlm import VLM, create_vlm
from clipdistill.tasks.vlm import VLMTuning
from tests.models.tiny_models import encoder, pixels_of

TALKS = [
    (("what is it?", "a circle", "where?", "left of the square"), True),
    (("how many things are there?", "2"), True),
    (("what is a star?", "a shape"), False),
    (("what colour?", "red and blue and green"), True),
]


def vlm(kind: str = "timm") -> VLM:
    return create_vlm(encoder(kind), "petri-lm-tiny", seed=0).double()


def task_of(model: VLM, **options: Any) -> VLMTuning:
    task = VLMTuning(model, (), None, options).double()
    task.train()
    return task


def sample_of(number: int, talks: Any = TALKS) -> Sample:
    turns, shown = talks[number]
    return Sample(str(number), ImageRef.from_bytes(b""), fields={"conversation": turns, "shown": shown})


def batch_of(task: VLMTuning, numbers: list[int]) -> dict[str, Any]:
    field = Conversations(task.student, task.settings.style, task.max_tokens)
    rows = [field.row(sample_of(number), Draw(0, number, 0, 0, -1)) for number in numbers]
    pixels = pixels_of(encoder("timm"), len(TALKS))[numbers]
    return {"sample": torch.tensor(numbers), "image/student": pixels, **field.collate(rows)}


def gradients(task: VLMTuning, batch: dict[str, Any], micro: int | None) -> tuple[float, dict[str, Tensor]]:
    task.zero_grad(set_to_none=True)
    terms = backward(task, batch, Ranks.current(), micro)
    found = {item.name: item.parameter.grad for item in task.trainable() if item.parameter.grad is not None}
    return terms["task"].item(), {name: value.clone() for name, value in found.items()}


def test_what_learns_and_what_stays() -> None:
    model = vlm()
    parts = {
        stage: {
            item.name.split(".")[3 if "lm_head" not in item.name else 2]
            for item in task_of(model, train=stage).trainable()
        }
        for stage in ("connector_lm", "connector")
    }
    assert parts == {
        "connector": {"multi_modal_projector"},
        "connector_lm": {"multi_modal_projector", "language_model"},
    }
    assert not any(parameter.requires_grad for parameter in model.tower.parameters())


@pytest.mark.parametrize("stage", ["connector", "connector_lm"])
def test_the_loss_is_the_mean_over_answer_tokens(stage: str) -> None:
    """Whatever the micro-batch; a mean of means would weigh short answers more."""
    task = task_of(vlm(), train=stage)
    batch = batch_of(task, [0, 1, 2, 3])
    whole, plain = gradients(task, batch, None)
    for micro in (1, 2):
        value, found = gradients(task, batch, micro)
        assert value == pytest.approx(whole, rel=1e-12) and found.keys() == plain.keys()
        for name, gradient in plain.items():
            torch.testing.assert_close(found[name], gradient, rtol=1e-9, atol=1e-12)
    theirs = task.student.llava(
        input_ids=batch["text/ids"], attention_mask=batch["text/mask"].long(), labels=batch["text/labels"],
        pixel_values=task.student.normalise_pixels(batch["image/student"][[0, 1, 3]]),
    )  # fmt: skip
    assert whole == pytest.approx(theirs.loss.item(), rel=1e-6)
    counts = (batch["text/labels"] != IGNORED).sum(dim=1)
    assert counts.tolist() == [8, 2, 3, 6]  # words and an end for each answer
    losses = task.sample_losses(task.targets(batch), batch)["task"]
    assert whole == pytest.approx(((losses * counts).sum() / counts.sum()).item())


def test_a_batch_without_pictures_trains_too() -> None:
    """The connector's gradient is 0 there, and no step fails; a frozen tower isn't run."""
    task = task_of(vlm(), train="connector")
    _, found = gradients(task, batch_of(task, [2]), None)
    assert all(not gradient.any() for gradient in found.values())
    _, mixed = gradients(task, batch_of(task, [2, 0]), 1)
    assert any(gradient.any() for gradient in mixed.values())


def test_the_tower_is_the_same_after_training() -> None:
    """Batch norm's running statistics and dropout of a tower would move with every step in training mode."""
    model = vlm()
    model.tower.visual.trunk.drop_rate = 0.5
    task = task_of(model)
    assert any(isinstance(each, torch.nn.BatchNorm2d) for each in model.tower.modules())
    before = {name: value.clone() for name, value in model.tower.state_dict().items()}
    optimizer = torch.optim.AdamW([item.parameter for item in task.trainable()], lr=1e-2)
    values = []
    for _ in range(12):
        task.train()
        values.append(gradients(task, batch_of(task, [0, 1, 2, 3]), 2)[0])
        optimizer.step()
    assert values[-1] < values[0] / 2
    assert all(torch.equal(value, before[name]) for name, value in model.tower.state_dict().items())
    assert task.training and not model.tower.training


def test_only_the_picture_is_left_of_a_question_in_plain_style() -> None:
    task = task_of(vlm(), style="plain")
    batch = batch_of(task, [1])
    assert batch["text/ids"][0].tolist()[:4] == [task.student.coder.image_id] * 4
    assert task.student.tokenizer.decode(batch["text/ids"][0, 4:]) == "2"
    assert batch["text/labels"][0].tolist() == [IGNORED] * 4 + batch["text/ids"][0, 4:].tolist()


def test_conversations_side_by_side() -> None:
    task = task_of(vlm())
    batch = batch_of(task, [0, 1, 2])
    assert batch["text/ids"].dtype == batch["text/labels"].dtype == torch.int64
    for row, number in enumerate([0, 1, 2]):
        coded = task.student.coder.conversation(*TALKS[number])
        length = len(coded.ids)
        assert batch["text/ids"][row, :length].tolist() == coded.ids
        assert batch["text/mask"][row].tolist() == [True] * length + [False] * (batch["text/ids"].shape[1] - length)
        assert set(batch["text/labels"][row, length:].tolist()) <= {IGNORED}


class Talks:
    """A source of conversations."""

    name, classes = "talks", None

    def __init__(self, talks: list[tuple[tuple[str, ...], bool]]) -> None:
        self.talks, self.ids = talks, [str(number) for number in range(len(talks))]

    def __len__(self) -> int:
        return len(self.talks)

    def __getitem__(self, index: int) -> Sample:
        return sample_of(index, self.talks)


def test_long_conversations_are_cut_and_said(capsys: pytest.CaptureFixture[str]) -> None:
    model = vlm()
    most = len(model.coder.conversation(*TALKS[1]).ids)
    task = task_of(model, max_tokens=most)
    longer = [*TALKS, (("what is it? " * 9, "no"), True)]
    data = Mixture([(Talks(longer), None)])
    expected = [str(n) for n, talk in enumerate(longer) if len(model.coder.conversation(*talk).ids) > most]
    cut, lost = too_long(data, Conversations(model, "chat", most))
    assert cut == [f"talks/{one}" for one in expected] and lost == ["talks/4"]
    task.prepare(data)
    said = capsys.readouterr().err
    assert f"{len(cut)} of 5 conversations are longer than {most} tokens" in said and "1 of them all" in said
    task.prepare(data)
    assert capsys.readouterr().err == ""
    field = task.fields(data)["text"]
    rows = [field.row(data[number], Draw(0, number, 0, 0, -1)) for number in range(5)]
    assert max(len(row.ids) for row in rows) == most


def test_what_can_not_be_trained_in_one_line() -> None:
    model = vlm()
    with pytest.raises(UserError, match=r"`task.max_tokens` is 4096, and 'vlm' has 512 positions"):
        task_of(model, max_tokens=4096)
    with pytest.raises(UserError, match=r"`task.max_tokens`: 16 tokens hold no answer"):
        task_of(model, max_tokens=16)
    assert task_of(model).max_tokens == 512

    class Pairs(Talks):
        def __getitem__(self, index: int) -> Sample:
            return Sample(str(index), ImageRef.from_bytes(b""), ("a caption",))

    with pytest.raises(UserError, match="'talks/0' is no conversation; train on data of format llava"):
        task_of(model).fields(Mixture([(Pairs(TALKS), None)]))


@pytest.mark.parametrize("stage", ["connector", "connector_lm"])
def test_activations_computed_again_and_bf16(stage: str) -> None:
    """What the full-size recipes set: the same gradients, and in bf16 nearly the same loss."""
    task = task_of(vlm(), train=stage)
    batch = batch_of(task, [0, 1, 2, 3])
    whole, plain = gradients(task, batch, 2)
    task.set_grad_checkpointing()
    assert task.student.language_model.is_gradient_checkpointing
    value, found = gradients(task, batch, 2)
    assert value == pytest.approx(whole, rel=1e-12) and found.keys() == plain.keys()
    for name, gradient in plain.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-9, atol=1e-12)
    half = VLMTuning(task.student.float(), (), None, {"train": stage}).train()
    terms = backward(half, batch, Ranks.current(), 2, lambda: torch.autocast("cpu", torch.bfloat16))
    assert terms["task"].item() == pytest.approx(whole, rel=0.02)
    assert all(item.parameter.grad.isfinite().all() for item in half.trainable() if item.parameter.grad is not None)
