"""The diffusion score: the caption that a perfect denoiser fits, shared noise, ties that stay ties."""

from __future__ import annotations

import pytest
import torch
from PIL import Image

from clipdistill.data import ImageRef
from clipdistill.errors import UserError
from clipdistill.evaluate.compositional import Group, Picture
from clipdistill.evaluate.diffusion_score import DiffusionScore
from tests.models.tiny_diffusion import tiny_diffusion

COLOURS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255)}


class Perfect(torch.nn.Module):
    """Knows the picture of each caption, and so what noise was added if the picture is that one."""

    name, steps, latent_shape = "perfect", 100, (3, 4, 4)
    preprocess = {"size": [4, 4]}

    def __init__(self) -> None:
        super().__init__()
        self.seen = 0
        self.share = torch.linspace(0.99, 0.05, 100)

    def freeze(self) -> Perfect:
        return self

    def latents(self, pixels: torch.Tensor) -> torch.Tensor:
        self.seen += 1
        return pixels.float() / 127.5 - 1

    def encode_text(self, texts: list[str]) -> torch.Tensor:
        return torch.tensor([COLOURS[text] for text in texts]).float().view(-1, 3, 1, 1).expand(-1, 3, 4, 4) / 127.5 - 1

    def noised(self, x: torch.Tensor, noise: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        a = self.share[t].view(-1, 1, 1, 1)
        return a.sqrt() * x + (1 - a).sqrt() * noise

    def predict_noise(self, x_t: torch.Tensor, t: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
        a = self.share[t].view(-1, 1, 1, 1)
        return (x_t - a.sqrt() * condition) / (1 - a).sqrt()


def picture(colour: str) -> ImageRef:
    import numpy as np

    return ImageRef.from_array(np.array(Image.new("RGB", (9, 9), COLOURS[colour])))


def test_a_perfect_denoiser_picks_the_caption_that_fits() -> None:
    score = DiffusionScore(Perfect(), samples=3, batch_size=5)
    names = list(COLOURS)
    group = Group(tuple(picture(name) for name in names), tuple(names), id="a")
    told: list[tuple[str, int, int]] = []
    found = score.scores([group, group], lambda *given: told.append(given))
    assert [scores.shape for scores in found] == [(3, 3)] * 2
    assert found[0].argmax(1).tolist() == [0, 1, 2] and float(found[0].diagonal().abs().max()) < 1e-9
    assert score.model.seen == 3, "latents are kept"
    # 2 items x 3 pictures x 3 captions x 3 samples, five at a time: batches span items.
    assert told == [("denoisings", min(5 * n, 54), 54) for n in range(1, 12)]


def test_scores_do_not_depend_on_the_batch_or_on_other_items_and_equal_captions_tie() -> None:
    model = tiny_diffusion()
    images = [picture("red"), picture("blue")]
    captions = ["a red circle", "a blue circle", "a red circle"]
    one = DiffusionScore(model, samples=4, batch_size=3).score(images, captions, "x")
    other = DiffusionScore(model, samples=4, batch_size=32).score(images, captions, "x")
    torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)
    assert torch.equal(one[:, 0], one[:, 2]) and not torch.equal(one[:, 0], one[:, 1])
    assert not torch.allclose(one, DiffusionScore(model, samples=4).score(images, captions, "y"))


def test_score_is_the_mean_error_with_shared_draws() -> None:
    model = tiny_diffusion()
    score = DiffusionScore(model, samples=2, t_spread="uniform")
    t, noise = score._draws("item")
    x = torch.randn(1, 3, 8, 8)
    condition = model.encode_text(["a red circle"])
    by_hand = [
        (model.predict_noise(model.noised(x, e[None], s[None]), s[None], condition) - e[None]).square().mean()
        for s, e in zip(t, noise, strict=True)
    ]
    score._latents["x"] = x
    found = score.score(["x"], ["a red circle"], "item")
    assert found.item() == pytest.approx(-torch.stack(by_hand).mean().item(), rel=1e-5)


def test_batches_over_items_give_what_items_alone_give() -> None:
    model = tiny_diffusion()
    groups = [
        Group((picture("red"), picture("blue"))[:n], ("a red circle", "a blue circle"), id=str(n)) for n in (1, 2, 1, 2)
    ]
    groups.append(Group((picture("green"),), ("a", "b", "c"), id="last"))
    together = DiffusionScore(model, samples=3, batch_size=7).scores(groups)
    for group, found in zip(groups, together, strict=True):
        alone = DiffusionScore(model, samples=3, batch_size=64).score(group.images, group.captions, str(group.id))
        torch.testing.assert_close(found, alone, rtol=1e-5, atol=1e-6)
    assert DiffusionScore(model).scores([]) == []


def test_equal_pictures_and_captions_of_equal_tokens_tie_bit_for_bit() -> None:
    score = DiffusionScore(tiny_diffusion(), samples=3, batch_size=2)
    red, told = picture("red"), []
    given = Group((red, red), ("a red circle", "A red  circle"), id="t")
    found = score.scores([given], lambda *call: told.append(call))[0]
    assert len(set(found.flatten().tolist())) == 1
    assert told[-1] == ("denoisings", 6, 6), "captions of equal tokens are denoised once and counted as done"


def test_a_latent_is_kept_by_file_and_box(tmp_path) -> None:  # type: ignore[no-untyped-def]
    Image.new("RGB", (8, 8), COLOURS["red"]).save(tmp_path / "a.png")
    score = DiffusionScore(Perfect(), samples=1)
    path = str(tmp_path / "a.png")
    groups = [Group((Picture(path),), ("red",), id=str(n)) for n in range(3)]
    groups.append(Group((Picture(path, (0, 0, 2, 2)), ImageRef.from_path(path)), ("red",), id="3"))
    groups.append(Group((ImageRef.from_path(path),), ("red",), id="4"))
    score.scores(groups)
    assert score.model.seen == 3
    (tmp_path / "bad.png").write_bytes(b"no")
    with pytest.raises(UserError, match="bad.png.*not an image"):
        score.score([ImageRef.from_path(tmp_path / "bad.png")], ["red"])


def test_even_levels_are_the_middles_of_equal_parts() -> None:
    assert DiffusionScore(Perfect(), samples=4, t_range=(0.2, 1.0))._draws("")[0].tolist() == [30, 50, 70, 90]
    with pytest.raises(UserError, match="samples 0"):
        DiffusionScore(Perfect(), samples=0)
