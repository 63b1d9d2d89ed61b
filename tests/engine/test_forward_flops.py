"""The FLOPs behind the utilisation that a run logs: what a step spends, not what the whole model could."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from clipdistill.engine.distributed import Ranks
from clipdistill.engine.forecast import forward_flops
from clipdistill.tasks import Contrastive
from tests.tiny import SIZE, TinyStudent, make_batch


class KeepsText(TinyStudent):
    """A student whose text tower is asked once, as a locked one's memo does."""

    kept: Tensor | None = None

    def encode_text(self, tokens: Tensor) -> Tensor:
        if self.kept is None:
            self.kept = super().encode_text(tokens).detach()
        return self.kept


def spent(student: Any) -> float:
    task = Contrastive(student.double())
    before = {name: value.clone() for name, value in task.state_dict().items()}
    found = forward_flops(task, make_batch(12), Ranks.current(), pairs=8)
    assert all(torch.equal(value, before[name]) for name, value in task.state_dict().items())
    return found


def test_every_product_of_both_towers_is_counted_once_a_pair() -> None:
    image, text = 2 * (3 * SIZE * SIZE * 12 + 12 * 6), 2 * 12 * 6
    assert spent(TinyStudent(norm=True)) == image + text
    assert spent(KeepsText()) == image
