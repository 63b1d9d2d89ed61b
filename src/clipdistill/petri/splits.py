"""Which scenes belong to which split: no scene description is ever in two of them, whatever the seed or the counts."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count as count_from

from clipdistill.petri.draws import stream
from clipdistill.petri.scenes import Scene, SceneRules, draw_scene
from clipdistill.petri.vocabulary import attribute_pairs

# Eighths of all scene descriptions that each split owns. Which are whose depends on the description alone, so a
# teacher trained in a world of one seed has never seen a test scene of a world of any other seed.
_SHARES = {"train": range(0, 5), "val": range(5, 6), "test": range(6, 8)}
ZERO_SHOT_FOLDERS = ("seen", "unseen")


def split_of(scene: Scene) -> str:
    """Return the split that owns the description `scene.key()`: "train", "val" or "test"."""
    part = stream("split", scene.key()) % 8
    return next(split for split, parts in _SHARES.items() if part in parts)


def scene_at(rules: SceneRules, seed: int, split: str, index: int) -> Scene:
    """Return scene `index` of `split`: a pure function of its arguments, whatever else is drawn."""
    for attempt in count_from():
        scene = draw_scene(rules, seed, split, index, attempt)
        if split_of(scene) == split:
            return scene
    raise AssertionError("unreachable")


def split_scenes(rules: SceneRules, seed: int, split: str, count: int) -> list[Scene]:
    """Return the first `count` scenes of `split`; asking for more never changes the earlier ones.

    In val and test no two scenes have the same description (a repeat would make retrieval ambiguous); training may
    show the same things again in other places.
    """
    if split == "train":
        return [scene_at(rules, seed, split, index) for index in range(count)]
    scenes: list[Scene] = []
    seen: set[str] = set()
    for index in count_from():
        if len(scenes) == count:
            break
        scene = scene_at(rules, seed, split, index)
        if scene.key() not in seen:
            seen.add(scene.key())
            scenes.append(scene)
    return scenes


def zero_shot_scenes(
    rules: SceneRules, seed: int, pairs: frozenset[tuple[str, str]], count: int
) -> Iterator[tuple[str, list[Scene]]]:
    """Yield (class name, `count` single-object scenes) for each of `pairs`, in the vocabulary's order.

    Sizes, patterns and backgrounds vary; every description belongs to the test split, so none was seen in training.
    """
    for colour, shape in sorted(pairs, key=attribute_pairs().index):
        only = SceneRules(frozenset({(colour, shape)}), "even", rules.domain)
        scenes: list[Scene] = []
        for index in range(count):
            for attempt in count_from():
                scene = draw_scene(only, seed, "zero_shot", colour, shape, index, attempt, count=1)
                if split_of(scene) == "test":
                    scenes.append(scene)
                    break
        yield f"{colour} {shape}", scenes


def zero_shot_work(
    rules: SceneRules, seed: int, unseen: frozenset[tuple[str, str]], count: int
) -> list[tuple[str, Scene]]:
    """Return (file, scene) of zero_shot/seen/<class>/*.png and zero_shot/unseen/<class>/*.png."""
    work = []
    for name, pairs in zip(ZERO_SHOT_FOLDERS, (frozenset(attribute_pairs()) - unseen, unseen), strict=True):
        for label, scenes in zero_shot_scenes(rules, seed, pairs, count):
            work += [(f"zero_shot/{name}/{label}/{k:03d}.png", scene) for k, scene in enumerate(scenes)]
    return work
