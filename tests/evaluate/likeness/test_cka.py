"""Linear CKA: Song et al.'s three terms written out, sums over batches, independent features, intervals."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from clipdistill.evaluate.likeness.cka import CKA, LinearCKA, centred_gram, cka_of_all, pseudo_values


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def hsic(x: Tensor, y: Tensor) -> float:
    """Song et al.'s unbiased estimate, term by term."""
    n = len(x)
    k, one = x @ x.T, torch.ones(n, dtype=torch.float64)
    l = y @ y.T  # noqa: E741 - as in the paper
    k, l = k - torch.diag(k.diag()), l - torch.diag(l.diag())  # noqa: E741
    middle = (one @ k @ one) * (one @ l @ one) / ((n - 1) * (n - 2))
    return float((torch.trace(k @ l) + middle - 2 / (n - 2) * (one @ k @ l @ one)) / (n * (n - 3)))


def written_out(x: Tensor, y: Tensor) -> float:
    return hsic(x, y) / (hsic(x, x) * hsic(y, y)) ** 0.5


def biased(x: Tensor, y: Tensor) -> float:
    x, y = x - x.mean(0), y - y.mean(0)
    return float((x.T @ y).norm() ** 2 / ((x.T @ x).norm() * (y.T @ y).norm()))


def cka(*batches: tuple[list[Tensor], list[Tensor]], draws: int = 0, unit: bool = False) -> CKA:
    sums = LinearCKA(len(batches[0][0]), len(batches[0][1]), unit=unit)
    for first, second in batches:
        sums.add(first, second)
    return sums.result(draws=draws)


def related(n: int, seed: int = 0) -> tuple[list[Tensor], list[Tensor]]:
    """Two layers and three, of five, that share some of what they hold; far from zero, as features are."""
    x = random(n, 6, seed=seed)
    first = [x + 3, x @ random(6, 9, seed=90) + random(n, 9, seed=seed + 1)]
    second = [2 * x + random(n, 6, seed=seed + 2), random(n, 4, seed=seed + 3) - 7, x[:, :2]]
    return first, second


def test_one_batch_is_all_pictures_at_once() -> None:
    """Rows are the first model's layers, and float32 features of many pictures are summed in float64."""
    first, second = related(40)
    found = cka((first, second))
    expected = torch.tensor([[written_out(x, y) for y in second] for x in first], dtype=torch.float64)
    torch.testing.assert_close(found.value, expected, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(found.first, torch.tensor([hsic(x, x) for x in first], dtype=torch.float64))
    assert found.value.shape == (2, 3) and (found.images, found.batches) == (40, 1)
    small = cka(([each.float() for each in first], [each.float() for each in second]))
    torch.testing.assert_close(small.value, expected, rtol=0, atol=1e-5)


def test_batches_are_summed_before_one_division() -> None:
    """By their number of pictures; the mean of ratios is another number."""
    batches = [related(n, seed=10 * n) for n in (8, 8, 19)]
    found = cka(*batches)
    for row in range(2):
        for column in range(3):
            pairs = [(len(x[row]), x[row], y[column]) for x, y in batches]
            cross, one, two = (
                sum(n * hsic(*xy) for n, xy in ((n, which(x, y)) for n, x, y in pairs))
                for which in (lambda x, y: (x, y), lambda x, _: (x, x), lambda _, y: (y, y))
            )
            assert float(found.value[row, column]) == pytest.approx(cross / (one * two) ** 0.5, rel=1e-9)
    ratios = sum(written_out(x[0], y[0]) for x, y in batches) / 3
    assert abs(ratios - float(found.value[0, 0])) > 1e-3


def test_rotated_scaled_and_shifted_features_are_the_same() -> None:
    turn = torch.linalg.qr(random(12, 12, seed=5)).Q
    batches = [random(16, 12, seed=seed) * torch.linspace(0.1, 3, 12) for seed in range(4)]
    found = cka(*(([x], [40 - 2.5 * x @ turn]) for x in batches), draws=50)
    assert float(found.value) == pytest.approx(1, abs=1e-9)
    assert float(found.low) == pytest.approx(1, abs=1e-9) and float(found.high) == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize(("n", "of_biased"), [(64, 0.84), (256, 0.57), (1024, 0.26)])
def test_independent_features_are_near_0_whatever_the_batch(n: int, of_biased: float) -> None:
    """Widths 192 and 768, 16,384 pictures: the biased estimate says up to 0.84 of the first batch."""
    batches = [([random(n, 192, seed=seed)], [random(n, 768, seed=1000 + seed)]) for seed in range(16_384 // n)]
    assert abs(float(cka(*batches).value)) < 0.01
    assert biased(batches[0][0][0], batches[0][1][0]) == pytest.approx(of_biased, abs=0.01)


def test_what_is_below_0_is_said() -> None:
    values = [float(cka(([random(8, 30, seed=s)], [random(8, 30, seed=100 + s)])).value) for s in range(20)]
    assert min(values) < -0.1 and max(values) > 0.1


def test_features_that_do_not_vary_have_no_cka() -> None:
    """Constant but for float32's rounding counts as constant; other layers keep their numbers."""
    x, y = random(20, 8), random(20, 8, seed=1)
    flat = (1000 + 1e-5 * y).float()
    found = cka(([x, flat], [y, torch.ones(20, 3)]), draws=20)
    assert found.value.isnan().tolist() == [[False, True], [True, True]]
    assert float(found.first[1]) == 0 == float(found.second[1]) and found.undefined.tolist() == [[0, 20], [20, 20]]
    assert float(found.value[0, 0]) == pytest.approx(written_out(x, y))


def test_draws_without_a_positive_denominator_are_counted() -> None:
    """Two pictures differ from the others: draws with fewer than two of them have no pair, 3 / e^2 of all."""
    x = torch.zeros(30, 4, dtype=torch.float64)
    x[3] = 5
    assert cka(([x], [random(30, 6)])).value.isnan().all()  # one alone makes no pair
    x[4] = 5
    found = cka(([x], [random(30, 6)]), draws=400)
    assert 0.33 < float(found.undefined) / 400 < 0.48 and not found.value.isnan().any()
    assert not found.low.isnan().any()


def test_at_length_1_long_features_do_not_decide() -> None:
    first, second = related(40)
    unit = cka((first, second), unit=True)
    plain = cka(tuple([x / x.norm(dim=1, keepdim=True) for x in side] for side in (first, second)))
    torch.testing.assert_close(unit.value, plain.value)
    longer = [first[0].clone(), first[1]]
    longer[0][7] *= 100
    torch.testing.assert_close(cka((longer, second), unit=True).value, unit.value)
    assert abs(float(cka((longer, second)).value[0, 0] - cka((first, second)).value[0, 0])) > 0.1


def test_pseudo_values_are_those_of_leaving_each_picture_out() -> None:
    x, y = random(12, 5) + 2, random(12, 7, seed=3)
    y[:, :5] += x
    rows = (centred_gram(x) * centred_gram(y)).sum(dim=1, keepdim=True)
    found = pseudo_values(rows, rows.sum(dim=0))[:, 0]
    without = [hsic(x[torch.arange(12) != i], y[torch.arange(12) != i]) for i in range(12)]
    expected = torch.tensor([12 * hsic(x, y) - 11 * each for each in without], dtype=torch.float64)
    torch.testing.assert_close(found, expected)
    assert float(found.mean()) == pytest.approx(hsic(x, y))  # HSIC is a U-statistic


def test_intervals_hold_what_they_say() -> None:
    """100 samples of 80 pictures, of which the true value is known: 95 % within two standard errors of it."""
    mix, scale = random(8, 12, seed=1) / 2, torch.linspace(2, 0.2, 8, dtype=torch.float64)
    cov = torch.diag(scale**2)
    cross, other = cov @ mix, mix.T @ cov @ mix + torch.eye(12, dtype=torch.float64)
    true = float(cross.norm() ** 2 / (cov.norm() * other.norm()))
    inside = 0
    for seed in range(100):
        x = random(80, 8, seed=seed) * scale
        found = cka(([x], [x @ mix + random(80, 12, seed=500 + seed)]), draws=200)
        inside += float(found.low) <= true <= float(found.high)
    assert 90 <= inside <= 99


def test_a_picture_drawn_twice_would_look_like_agreement() -> None:
    """Why pseudo-values are drawn: CKA of pictures drawn again is far above that of independent features."""
    x, y = random(64, 192), random(64, 768, seed=1)
    found = cka(([x], [y]), draws=200)
    assert float(found.low) < 0 < float(found.high) < 0.15
    generator = torch.Generator().manual_seed(0)
    again = [torch.randint(64, (64,), generator=generator) for _ in range(20)]
    assert min(float(cka(([x[rows]], [y[rows]])).value) for rows in again) > 0.7


def test_draws_are_of_their_seed_and_need_five_pictures() -> None:
    sums = LinearCKA(2, 3)
    sums.add(*related(30))
    one, same, other = (sums.result(draws=150, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(one.low, same.low) and not torch.equal(one.low, other.low)
    assert (one.low < one.value).all() and (one.value < one.high).all()
    narrow = sums.result(draws=150, level=0.5)
    assert (narrow.high - narrow.low < one.high - one.low).all()
    sums.add(*related(4, seed=7))
    found = sums.result()
    assert found.low.isnan().all() and not found.value.isnan().any() and found.images == 34


def test_what_is_no_batch_of_the_same_pictures_is_refused() -> None:
    sums = LinearCKA(1, 1)
    with pytest.raises(ValueError, match="no batch"):
        sums.result()
    with pytest.raises(ValueError, match="at least 4"):
        sums.add([random(3, 2)], [random(3, 2)])
    with pytest.raises(ValueError, match="the same pictures"):
        sums.add([random(8, 2)], [random(9, 2)])
    with pytest.raises(ValueError, match="2 and 1 layers, not 1 and 1"):
        sums.add([random(8, 2)] * 2, [random(8, 2)])


def test_all_pictures_without_a_gram_matrix_are_one_batch() -> None:
    x, y = random(30, 5) + 3, random(30, 40, seed=1)
    y[:, :5] += x
    found = cka_of_all(x.numpy(), y.numpy())
    assert found == pytest.approx(float(cka(([x], [y])).value), abs=1e-12) == pytest.approx(written_out(x, y))
    assert cka_of_all(x.numpy(), torch.ones(30, 2, dtype=torch.float64).numpy()) is None
