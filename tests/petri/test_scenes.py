"""Scenes and splits: the same place gives the same scene, splits stay apart, skew and held-out pairs hold."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from clipdistill.petri.draws import Draws, stream, uniforms
from clipdistill.petri.scenes import GAP, Scene, SceneRules, Thing, draw_scene, pair_table, region, relation
from clipdistill.petri.splits import scene_at, split_of, split_scenes, zero_shot_scenes
from clipdistill.petri.vocabulary import COLOURS, PATTERNS, SHAPES, SIZES, attribute_pairs

HELD_OUT = frozenset(attribute_pairs()[:12])
RULES = SceneRules(frozenset(attribute_pairs()) - HELD_OUT)


def test_uniforms_are_pinned() -> None:
    # Pinned numbers: a change of the mixer would silently change every world.
    np.testing.assert_allclose(uniforms(0, 3), [0.8833108082136426, 0.43152799704850997, 0.026433771592597743], rtol=0)
    assert stream("scene", 0, "train", 1) == stream("scene", 0, "train", 1) != stream("scene", 0, "train", 11)


def test_draws_do_not_depend_on_the_buffer() -> None:
    short, long = Draws(7, count=2), Draws(7, count=500)
    assert [short.uniform() for _ in range(9)] == [long.uniform() for _ in range(9)]


def test_draws_look_uniform_and_normal() -> None:
    values = uniforms(stream("check"), 20000)
    histogram = np.histogram(values, bins=10, range=(0, 1))[0]
    assert np.abs(histogram - 2000).max() < 200
    normal = Draws(stream("check normal")).normal(20000)
    assert abs(normal.mean()) < 0.03 and abs(normal.std() - 1) < 0.03


def test_vocabulary_is_as_rich_as_promised() -> None:
    assert len(SHAPES) >= 10 and len(COLOURS) >= 10 and len(SIZES) == 2 and len(PATTERNS) == 4
    pairs = attribute_pairs()
    assert len(set(pairs)) == len(pairs) == len(SHAPES) * len(COLOURS)
    assert len({c for c, _ in pairs[:10]}) == len({s for _, s in pairs[:10]}) == 10


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_prefix_is_stable(split: str) -> None:
    assert split_scenes(RULES, 3, split, 60)[:20] == split_scenes(RULES, 3, split, 20)


def test_scene_is_a_pure_function_of_seed_split_and_index() -> None:
    assert scene_at(RULES, 1, "train", 5) == scene_at(RULES, 1, "train", 5)
    others = [scene_at(RULES, 2, "train", 5), scene_at(RULES, 1, "val", 5), scene_at(RULES, 1, "train", 6)]
    assert scene_at(RULES, 1, "train", 5) not in others


def test_splits_share_no_scene_even_across_seeds() -> None:
    keys = {
        split: {scene.key() for seed in (0, 1) for scene in split_scenes(RULES, seed, split, 600)}
        for split in ("train", "val", "test")
    }
    assert not keys["train"] & keys["val"] and not keys["train"] & keys["test"] and not keys["val"] & keys["test"]


def test_key_ignores_order_and_place_only() -> None:
    a, b = (
        Thing("star", "red", "small", "plain", 0.2, 0.2, 0.1),
        Thing("ring", "blue", "large", "dotted", 0.7, 0.7, 0.2),
    )
    moved = Thing("star", "red", "small", "plain", 0.8, 0.2, 0.11, 0.1)
    assert Scene((a, b), "sky").key() == Scene((b, moved), "sky", light=0.9).key()
    assert Scene((a, b), "sky").key() != Scene((a, b), "sand").key()
    assert Scene((a,), "sky").key() != Scene((a, b), "sky").key()


def test_evaluation_splits_never_repeat_a_description() -> None:
    keys = [scene.key() for scene in split_scenes(RULES, 0, "test", 1000)]
    assert len(set(keys)) == 1000


def test_held_out_pairs_are_in_no_split() -> None:
    for split in ("train", "val", "test"):
        for scene in split_scenes(RULES, 0, split, 500):
            assert not {(t.colour, t.shape) for t in scene.things} & HELD_OUT


def test_all_allowed_pairs_and_counts_occur() -> None:
    scenes = split_scenes(RULES, 0, "train", 1500)
    assert {(t.colour, t.shape) for s in scenes for t in s.things} == RULES.pairs
    assert set(Counter(len(s.things) for s in scenes)) == {1, 2, 3, 4}


def test_objects_keep_their_distance() -> None:
    for index in range(400):
        things = draw_scene(RULES, 0, index).things
        for i, a in enumerate(things):
            assert min(a.x, a.y, 1 - a.x, 1 - a.y) >= a.radius + GAP - 1e-4
            for b in things[:i]:
                assert np.hypot(a.x - b.x, a.y - b.y) >= a.radius + b.radius + GAP - 1e-4
                assert (a.colour, a.shape) != (b.colour, b.shape)


def test_even_and_natural_skew() -> None:
    scenes = {
        skew: [draw_scene(SceneRules(RULES.pairs, skew), 0, i) for i in range(3000)] for skew in ("even", "natural")
    }
    top = {}
    for skew, drawn in scenes.items():
        by_shape = {shape: Counter(t.colour for s in drawn for t in s.things if t.shape == shape) for shape in SHAPES}
        top[skew] = [counts.most_common(1)[0][1] / sum(counts.values()) for counts in by_shape.values()]
        shapes = Counter(t.shape for s in drawn for t in s.things)
        assert max(shapes.values()) < 1.35 * min(shapes.values())
    assert max(top["even"]) < 0.2
    # 1 / (1 + 1/2 + ... + 1/10) = 0.34 for a shape with all ten colours.
    assert 0.27 < np.mean(top["natural"]) < 0.42
    pairs, probabilities = pair_table(SceneRules(skew="natural"))
    shares = sorted(
        (p * 10 for (_, shape), p in zip(pairs, probabilities, strict=True) if shape == "star"), reverse=True
    )
    np.testing.assert_allclose(shares, np.array([1 / k for k in range(1, 11)]) / sum(1 / k for k in range(1, 11)))


def test_zero_shot_scenes_show_one_object_of_their_class_from_the_test_share() -> None:
    found = dict(zero_shot_scenes(RULES, 0, HELD_OUT, 6))
    assert set(found) == {f"{colour} {shape}" for colour, shape in HELD_OUT}
    for label, scenes in found.items():
        assert len(scenes) == 6
        for scene in scenes:
            assert [thing.name for thing in scene.things] == [label]
            assert split_of(scene) == "test"
    assert len({(s.things[0].size, s.things[0].pattern, s.background) for v in found.values() for s in v}) > 20


def test_relation_and_region_words() -> None:
    def at(x: float, y: float) -> Thing:
        return Thing("star", "red", "small", "plain", x, y, 0.1)

    assert relation(at(0.2, 0.5), at(0.8, 0.45)) == "left of"
    assert relation(at(0.8, 0.5), at(0.2, 0.45)) == "right of"
    assert relation(at(0.5, 0.2), at(0.45, 0.8)) == "above"  # y grows downwards
    assert relation(at(0.5, 0.8), at(0.45, 0.2)) == "below"
    assert relation(at(0.2, 0.2), at(0.7, 0.7)) is None
    assert region(at(0.1, 0.1)) == "top left" and region(at(0.5, 0.9)) == "bottom" and region(at(0.5, 0.5)) == "centre"
