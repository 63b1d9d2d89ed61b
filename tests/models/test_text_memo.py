"""A locked text tower is asked once per text, gives the same bits in any company, and tensors fit to train on."""

from __future__ import annotations

import torch

from clipdistill.models import text_memo
from clipdistill.models.text_memo import TextMemo


class Counting:
    """A linear "tower" that counts the rows it encodes."""

    def __init__(self) -> None:
        self.rows = 0
        self.weight = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))

    def __call__(self, tokens: torch.Tensor) -> torch.Tensor:
        self.rows += len(tokens)
        return tokens.to(self.weight.dtype) @ self.weight


def test_each_text_is_encoded_once_and_rows_keep_their_order() -> None:
    tower = Counting()
    memo = TextMemo(tower)
    tokens = torch.tensor([[1, 2, 0, 0, 0], [3, 4, 5, 0, 0], [1, 2, 0, 0, 0]])
    first = memo(tokens, torch.float32)
    assert tower.rows == 2
    again = memo(tokens.flip(0)[:2], torch.float32)
    assert tower.rows == 2
    torch.testing.assert_close(first, tokens.float() @ tower.weight)
    assert torch.equal(again[1], first[1]) and torch.equal(again[0], first[2])


def test_a_change_of_precision_is_not_answered_from_the_past() -> None:
    tower = Counting()
    memo = TextMemo(tower)
    tokens = torch.tensor([[1, 2, 0, 0, 0]])
    memo(tokens, torch.float32)
    tower.weight = tower.weight.double() * 2
    tower_double = memo(tokens, torch.float64)
    assert tower.rows == 2 and not torch.equal(tower_double.float(), tokens.float() @ tower.weight.float() / 2)


def test_mixed_precision_is_asked_for_itself() -> None:
    tower = Counting()
    memo = TextMemo(lambda tokens: torch.nn.functional.linear(tower(tokens), tower.weight))
    tokens = torch.tensor([[1, 2, 0, 0, 0]])
    with torch.autocast("cpu", torch.bfloat16):
        assert memo(tokens, torch.float32).dtype == torch.bfloat16
    assert memo(tokens, torch.float32).dtype == torch.float32 and tower.rows == 2


def test_what_was_first_asked_in_inference_mode_can_enter_a_loss() -> None:
    memo = TextMemo(Counting())
    tokens = torch.tensor([[1, 2, 0, 0, 0]])
    with torch.inference_mode():
        memo(tokens.clone(), torch.float32)
    projection = torch.nn.Linear(3, 2)
    projection(memo(tokens, torch.float32)).sum().backward()
    assert projection.weight.grad is not None and bool(projection.weight.grad.abs().sum() > 0)


def test_no_more_is_kept_than_fits(monkeypatch) -> None:
    monkeypatch.setattr(text_memo, "MEMORY", 2 * 3 * 4)
    tower = Counting()
    memo = text_memo.TextMemo(tower)
    tokens = torch.arange(15).view(3, 5)
    for _ in range(2):
        torch.testing.assert_close(memo(tokens, torch.float32), tokens.float() @ tower.weight)
    assert tower.rows == 3 + 1


def test_new_texts_go_in_blocks_of_one_shape() -> None:
    tower, shapes = Counting(), []
    memo = text_memo.TextMemo(lambda tokens: shapes.append(len(tokens)) or tower(tokens), together=4)
    tokens = torch.arange(30).view(6, 5)
    torch.testing.assert_close(memo(tokens[[0, 1, 2, 3, 4, 0]], torch.float32), tower(tokens[[0, 1, 2, 3, 4, 0]]))
    assert shapes == [4, 4]  # five texts: one whole block, one filled up
    torch.testing.assert_close(memo(tokens[[5, 4]], torch.float32), tower(tokens[[5, 4]]))
    assert shapes == [4, 4, 4]
