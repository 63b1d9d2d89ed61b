"""What a petri world was made with: its options, checked at the door, and world.json."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from clipdistill.errors import UserError, nearest
from clipdistill.petri.captions import CAPTIONS_AN_IMAGE
from clipdistill.petri.choices import SHORTCUT
from clipdistill.petri.scenes import SceneRules
from clipdistill.petri.vocabulary import COLOURS, DOMAINS, SHAPES, SKEWS, SPLITS, attribute_pairs

WORLD_VERSION = 1  # raised whenever the same settings would give other bytes
FORMATS: tuple[str, ...] = ("karpathy", "coco", "csv", "imagefolder", "webdataset", "winoground", "aro")
FORMATS += ("vcr", "snli_ve", "vqa", "vcr_reversed", "entities", "llava")
DEFAULT_FORMATS = FORMATS[:5]  # worlds of earlier versions have these
SCENES: tuple[str, ...] = ("full", "pairs")
COMPOSITIONAL = 300  # swaps in the compositional split
HELD_OUT = 12  # of the 100 (colour, shape) pairs


@dataclass(frozen=True)
class WorldSettings:
    """The options of one world; equal settings give the same files byte for byte.

    `images` training, `val` and `test` pictures of `image_size` pixels; `formats` written; `skew` of colours over
    shapes; `held_out` classes never seen in the splits; `domain` style; `zero_shot` pictures a zero-shot class.
    """

    seed: int
    images: int
    val: int
    test: int
    image_size: int
    formats: tuple[str, ...]
    skew: str
    domain: str
    held_out: tuple[str, ...]
    zero_shot: int
    version: int = WORLD_VERSION
    scenes: str = "full"
    compositional: int = COMPOSITIONAL
    shortcut: tuple[float, float] = SHORTCUT

    @property
    def counts(self) -> dict[str, int]:
        """Return the pictures of each split."""
        return {"train": self.images, "val": self.val, "test": self.test}

    @property
    def held_out_pairs(self) -> frozenset[tuple[str, str]]:
        """Return the (colour, shape) pairs kept out of every split."""
        return frozenset(_pair(name) for name in self.held_out)

    def rules(self) -> SceneRules:
        """Return the rules that scenes of the splits are drawn by."""
        return SceneRules(frozenset(attribute_pairs()) - self.held_out_pairs, self.skew, self.domain, self.scenes)


def make_settings(
    *,
    images: int,
    val: int,
    test: int,
    seed: int,
    formats: Iterable[str],
    image_size: int,
    skew: str,
    domain: str,
    held_out: int | Iterable[str],
    zero_shot: int,
    scenes: str = "full",
    compositional: int = COMPOSITIONAL,
    shortcut: tuple[float, float] = SHORTCUT,
) -> WorldSettings:
    """Check the options of a world and return them as settings.

    Raises:
        UserError: an option is out of range or unknown; names the option and what is allowed.
    """
    for name, value, low in (
        ("images", images, 1),
        ("val", val, 0),
        ("test", test, 0),
        ("seed", seed, 0),
        ("zero_shot", zero_shot, 1),
        ("compositional", compositional, 1),
    ):
        if isinstance(value, bool) or not isinstance(value, int) or value < low:
            raise UserError(f"petri {name}: must be a whole number of at least {low}, not {value!r}")
    if isinstance(image_size, bool) or not isinstance(image_size, int) or not 16 <= image_size <= 1024:
        raise UserError(f"petri image_size: must be a whole number from 16 to 1024 pixels, not {image_size!r}")
    if images + val + test > 999_999:
        raise UserError(f"petri images: at most 999,999 pictures in all, not {images + val + test:,}")
    for name, value_, allowed in (("skew", skew, SKEWS), ("domain", domain, DOMAINS), ("scenes", scenes, SCENES)):
        _one_of(name, value_, allowed)
    if isinstance(formats, str):
        formats = [part.strip() for part in formats.split(",") if part.strip()]
    wanted = list(formats)
    for name in wanted:
        _one_of("formats", name, FORMATS)
    if not wanted:
        raise UserError(f"petri formats: name at least one of {', '.join(FORMATS)}")
    rates = tuple(shortcut) if isinstance(shortcut, list | tuple) else ()
    if len(rates) != 2 or not all(isinstance(rate, int | float) and 0 <= rate <= 1 for rate in rates):
        raise UserError(
            f"petri shortcut: must be two rates from 0 to 1, of the right and wrong answers, not {shortcut!r}"
        )
    kept_out = _held_out(held_out)
    return WorldSettings(
        seed=seed,
        images=images,
        val=val,
        test=test,
        image_size=image_size,
        formats=tuple(name for name in FORMATS if name in wanted),
        skew=skew,
        domain=domain,
        held_out=kept_out,
        zero_shot=zero_shot,
        scenes=scenes,
        compositional=compositional,
        shortcut=(float(rates[0]), float(rates[1])),
    )


def _held_out(held_out: int | Iterable[str]) -> tuple[str, ...]:
    order = [f"{colour} {shape}" for colour, shape in attribute_pairs()]
    most = len(order) // 2
    if isinstance(held_out, int):
        if not 0 <= held_out <= most:
            raise UserError(f"petri held_out: must be a number from 0 to {most}, or class names, not {held_out}")
        return tuple(order[:held_out])
    names = {" ".join(name.split()) for name in ([held_out] if isinstance(held_out, str) else held_out)}
    for name in sorted(names):
        if name not in order:
            raise UserError(f"petri held_out: unknown class {name!r}; give '<colour> <shape>'.{nearest(name, order)}")
    if len(names) > most:
        raise UserError(f"petri held_out: at most {most} of the {len(order)} classes can be held out, not {len(names)}")
    return tuple(name for name in order if name in names)


def _pair(name: str) -> tuple[str, str]:
    colour, shape = name.split()
    return colour, shape


def _one_of(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise UserError(f"petri {name}: {value!r} is not one of {', '.join(allowed)}.{nearest(str(value), allowed)}")


def describe(settings: WorldSettings) -> dict[str, Any]:
    """Return the content of world.json: version, seed, counts, options and vocabulary."""
    options = asdict(settings)
    version, seed = options.pop("version"), options.pop("seed")
    # Left out at their defaults, so that worlds of before these settings keep their bytes.
    for name, usual in (("scenes", "full"), ("compositional", COMPOSITIONAL), ("shortcut", SHORTCUT)):
        if options[name] == usual:
            del options[name]
    classes = len(attribute_pairs())
    return {
        "petri_world": version,
        "seed": seed,
        "counts": {
            **settings.counts,
            "captions_an_image": CAPTIONS_AN_IMAGE,
            "zero_shot_seen": (classes - len(settings.held_out)) * settings.zero_shot,
            "zero_shot_unseen": len(settings.held_out) * settings.zero_shot,
        },
        "options": json.loads(json.dumps(options)),
        "vocabulary": {"shapes": list(SHAPES), "colours": list(COLOURS), "splits": list(SPLITS)},
    }


def world_settings(path: str | Path) -> WorldSettings:
    """Read the settings of the petri world in folder `path`.

    Raises:
        UserError: there is no readable world.json, or another version of the petri world wrote it.
    """
    file = Path(path) / "world.json"
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        options: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in content["options"].items()}
        found = WorldSettings(seed=content["seed"], version=content["petri_world"], **options)
    except FileNotFoundError:
        raise UserError(
            f"{file}: no such file, so {path} is no petri world; make one with `clipdistill petri {path}`"
        ) from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{file}: can't be read as a petri world ({error}); delete the folder and write it again"
        ) from None
    if found.version != WORLD_VERSION:
        raise UserError(
            f"{file}: petri world version {found.version}, but this clipdistill makes version {WORLD_VERSION}; "
            "delete the folder and write it again"
        )
    return found
