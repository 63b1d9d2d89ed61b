"""The renderer: same scene, same bytes, whatever is drawn beside it; colours where they belong; tight boxes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from clipdistill.petri.detector import detect
from clipdistill.petri.render import boxes, render
from clipdistill.petri.scenes import Scene, SceneRules, Thing, draw_scene
from clipdistill.petri.shapes import DISTANCES, area, outline
from clipdistill.petri.vocabulary import BACKGROUNDS, COLOURS, DOMAINS, PATTERNS, SHAPES


def scenes(count: int, domain: str = "plain") -> list[Scene]:
    return [draw_scene(SceneRules(domain=domain), 0, index) for index in range(count)]


def single(shape: str, colour: str = "red", pattern: str = "plain", angle: float = 0.15, radius: float = 0.2) -> Scene:
    return Scene((Thing(shape, colour, "large", pattern, 0.47, 0.55, radius, angle),), "paper")


def object_mask(scene: Scene, size: int) -> np.ndarray:
    """Where the picture differs from the same picture without its objects."""
    with_things, without = render([scene, replace(scene, things=())], size)
    return (with_things != without).any(0).numpy()


@pytest.mark.parametrize("domain", DOMAINS)
def test_picture_depends_on_its_scene_alone(domain: str) -> None:
    drawn = scenes(21, domain)
    together = render(drawn, 64)
    assert together.shape == (21, 3, 64, 64) and together.dtype == torch.uint8
    assert torch.equal(together, render(drawn, 64, chunk=4))
    assert torch.equal(together[7:8], render(drawn[7:8], 64))
    assert torch.equal(together.flip(0), render(drawn[::-1], 64))


def test_pictures_are_pinned() -> None:
    # A change here means another world: raise WORLD_VERSION and train the shipped teacher again. Means of quarters,
    # not bytes, because another processor may round a pixel the other way.
    quarters = torch.nn.functional.avg_pool2d(render(scenes(2), 64).float(), 32).flatten(1)
    expected = [
        [140.22, 153.19, 161.03, 169.56, 157.69, 184.5, 165.91, 184.22, 176.5, 215.07, 196.26, 197.69],
        [154.37, 151.03, 128.39, 137.41, 176.73, 182.01, 164.31, 175.25, 112.86, 120.22, 109.61, 111.25],
    ]
    torch.testing.assert_close(quarters, torch.tensor(expected), atol=0.05, rtol=0)


def test_no_scene_gives_no_pictures() -> None:
    assert render([], 32).shape == (0, 3, 32, 32)


@pytest.mark.parametrize("size", [16, 33, 224])
def test_any_resolution_shows_the_same_scene(size: int) -> None:
    drawn = scenes(6)
    small = torch.nn.functional.interpolate(render(drawn, size).float(), (16, 16), mode="area")
    large = torch.nn.functional.interpolate(render(drawn, 128).float(), (16, 16), mode="area")
    assert (small - large).abs().mean() < 6


@pytest.mark.parametrize("colour", COLOURS)
def test_a_plain_object_has_its_colour(colour: str) -> None:
    pixel = render([single("circle", colour)], 64)[0, :, 35, 30].float()
    torch.testing.assert_close(pixel, torch.tensor(COLOURS[colour], dtype=torch.float32), atol=1.0, rtol=0)


def test_patterns_differ_and_keep_half_of_the_colour() -> None:
    pictures = render([single("square", "yellow", pattern, angle=0.0) for pattern in PATTERNS], 64)
    inside = pictures[:, 0, 28:43, 23:37].float()
    means = inside.mean((1, 2)) / COLOURS["yellow"][0]
    assert means[0] > 0.99 and all(0.45 < mean < 0.9 for mean in means[1:])
    # Stripes lie across: rows are even, columns aren't.
    assert inside[1].std(1).mean() < 1 < inside[1].std(0).mean()


def test_edges_are_smooth() -> None:
    values = render([single("circle", "white")], 64)[0, 0].unique()
    assert len(values) > 20


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("angle", [0.0, 0.2])
def test_boxes_are_tight(shape: str, angle: float) -> None:
    scene, size = single(shape, angle=angle), 512
    mask = object_mask(scene, size)
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    drawn = np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])
    # Smooth edges colour half a pixel past the true edge, up to two at a sharp tip; the object is 180 pixels wide.
    assert (np.abs(boxes(scene, size)[0] - drawn) <= 2.0).all(), (boxes(scene, size)[0], drawn)
    np.testing.assert_allclose(boxes(scene, 64), boxes(scene, size) / 8)


@pytest.mark.parametrize("shape", SHAPES)
def test_shapes_fill_their_circle_and_no_more(shape: str) -> None:
    reach = np.linalg.norm(outline(shape), axis=1).max()
    assert 0.9 < reach <= 1.03
    far = torch.linspace(0, 6.28, 100, dtype=torch.float64)
    assert (DISTANCES[shape](1.05 * far.cos(), 1.05 * far.sin()) > 0).all()
    assert 0.4 < area(shape) < 3.2


def test_distances_measure_distance() -> None:
    # Smooth edges need a gradient of length one at the edge: else they'd be sharper or softer than a pixel.
    for shape in SHAPES:
        x, y = torch.randn(2, 4000, generator=torch.Generator().manual_seed(0), dtype=torch.float64).requires_grad_()
        distance = DISTANCES[shape](x, y)
        near = distance.abs() < 0.05
        grad = torch.autograd.grad(distance.sum(), (x, y))
        length = torch.stack(grad).norm(dim=0)[near]
        assert near.sum() > 30
        torch.testing.assert_close(length, torch.ones_like(length), atol=1e-6, rtol=0)


def test_domains_and_backgrounds_look_different() -> None:
    plain, sketch, night = (render(scenes(20, domain), 32).float().mean() for domain in DOMAINS)
    assert night < 0.6 * plain and sketch > 1.1 * plain
    grounds = render([Scene((), background) for background in BACKGROUNDS], 32).float().mean((2, 3))
    assert torch.cdist(grounds, grounds).add(torch.eye(len(grounds)) * 99).min() > 10


def test_too_small_a_size_is_an_error() -> None:
    with pytest.raises(ValueError, match="at least 8"):
        render(scenes(1), 4)


def test_detector_is_near_the_truth_with_misses_and_confidence() -> None:
    drawn = scenes(500)
    found = [detect(scene, 64) for scene in drawn]
    assert found[:50] == [detect(scene, 64) for scene in drawn[:50]]
    true = sum(len(scene.things) for scene in drawn)
    scores: dict[bool, list[float]] = {True: [], False: []}
    for scene, boxed in zip(drawn, found, strict=True):
        truth = boxes(scene, 64)
        assert [d.score for d in boxed] == sorted((d.score for d in boxed), reverse=True)
        for detection in boxed:
            assert 0 < detection.score < 1 and detection.label in SHAPES
            x0, y0, x1, y1 = detection.box
            assert 0 <= x0 < x1 <= 64 and 0 <= y0 < y1 <= 64
            near = np.abs(truth - detection.box).max(1) < 6
            right = any(t.shape == detection.label for t, ok in zip(scene.things, near, strict=True) if ok)
            scores[right].append(detection.score)
    assert 0.85 < len(scores[True]) / true < 0.97
    assert np.mean(scores[True]) > np.mean(scores[False]) + 0.3
