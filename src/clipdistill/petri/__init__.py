"""The petri world: a procedural world of pictures and captions, written in the formats of the real benchmarks.

    from clipdistill.petri import write_world
    write_world("petri-world", images=6000, seed=0)

Everything in it is a pure function of (seed, split, index). See `write_world` for what is written.
"""

from __future__ import annotations

from clipdistill.petri.captions import captions
from clipdistill.petri.detector import detect
from clipdistill.petri.render import boxes, render
from clipdistill.petri.scenes import Scene, SceneRules, Thing, draw_scene, region, relation
from clipdistill.petri.settings import FORMATS, WORLD_VERSION, WorldSettings, world_settings
from clipdistill.petri.splits import scene_at, split_of, split_scenes
from clipdistill.petri.world import world_pictures, write_world

__all__ = [
    "FORMATS",
    "WORLD_VERSION",
    "Scene",
    "SceneRules",
    "Thing",
    "WorldSettings",
    "boxes",
    "captions",
    "detect",
    "draw_scene",
    "region",
    "relation",
    "render",
    "scene_at",
    "split_of",
    "split_scenes",
    "world_pictures",
    "world_settings",
    "write_world",
]
