"""A rehearsal's data: each source and suite of a recipe, over a handful of samples in the same format."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from clipdistill.errors import UserError
from clipdistill.evaluate.templates import downstream_templates, load_class_names, load_templates
from clipdistill.rehearsal import benchmark_files, pair_files, question_files, region_files
from clipdistill.rehearsal.handful import Handful
from clipdistill.rehearsal.places import inside, moved

Values = dict[str, Any]
SOURCES: dict[str, Callable[[Handful, Path, Values], Values]] = {
    "karpathy": pair_files.karpathy, "coco": pair_files.coco, "webdataset": pair_files.webdataset,
    "csv": pair_files.table, "tsv": pair_files.table, "jsonl": pair_files.table,
    "imagefolder": pair_files.imagefolder, "cifar10": pair_files.cifar10, "cifar100": pair_files.cifar100,
    "huggingface": pair_files.huggingface, "vcr": question_files.vcr, "snli_ve": question_files.snli_ve,
    "vqa_v2": question_files.vqa_v2, "llava": question_files.llava,
}  # fmt: skip
"""Format -> what writes it."""
OURS = ("count", "low_shot", "repeat", "format", "path")
"""Keys of a source that are not its format's options."""
PROMPTS, TOKENS = 2, 4
"""Prompts a class, and tokens of an answer, at most."""
MEASURED = 4
"""Samples that an evaluation with a `count` draws."""


class DataWriter:
    """Writes below the current folder, each source once.

    Args:
        handful: the pictures. samples: of a training source with a `count`, at most.
        answers: see `question_files.vqa_v2`.

    Attributes:
        notes: what differs from the recipe besides the number of samples, a sentence each.
    """

    def __init__(self, handful: Handful, samples: int, answers: int = 0) -> None:
        self.handful, self.samples, self.answers = handful, samples, answers
        self.notes: list[str] = []
        self._written: dict[str, Values] = {}

    def source(self, values: Values, where: str, count: int | None = None) -> Values:
        """Write one source, and return it as the rehearsed recipe has it.

        Raises:
            UserError: a format that isn't written here; `where` begins the line.
        """
        kind = str(values.get("format"))
        if kind not in SOURCES:
            raise UserError(
                f"`{where}.format`: a rehearsal writes no data of the format {kind!r} (it writes "
                f"{', '.join(SOURCES)}); rehearse the recipe without it"
            )
        given = values.get("path")
        path = inside(str(given[0] if isinstance(given, list) else given))
        options = {key: moved(value) for key, value in values.items() if key not in OURS and value is not None}
        key = json.dumps([kind, path, options], sort_keys=True)
        if key not in self._written:
            made = (
                question_files.vqa_v2(self.handful, Path(path), options, self.answers)
                if kind == "vqa_v2"
                else SOURCES[kind](self.handful, Path(path), options)
            )
            self._written[key] = {"path": path} | made
        found = {"format": kind, **self._written[key]}
        found |= {key: values[key] for key in ("repeat",) if values.get(key) is not None}
        most = self.samples if count is None else count
        return found | {key: min(int(values[key]), most) for key in ("count", "low_shot") if values.get(key)}

    def suite(self, values: Values, where: str) -> Values:
        """Write what a suite measures on, and return its entry of `evaluate`."""
        found, data = dict(moved(values)), values.get("data")
        if data is None:
            return found
        for key in ("ensemble", "ocr", "seen_classes"):
            if found.pop(key, None) is not None:
                self.notes.append(f"{where}: without `{key}`, which names files or classes of the true data")
        suite = str(values["suite"])
        if suite == "compositional":
            return found | {"data": self._compositional(data)}
        if suite == "vlm":
            return found | self._vlm(values, where)
        if not isinstance(data, dict):
            from clipdistill.data.sources import parse_shorthand

            data = parse_shorthand(str(data))
        if "format" not in data:
            raise UserError(f"`{where}.data`: say its `format`, so that a rehearsal can write some")
        found["data"] = self.source(data, f"{where}.data", MEASURED)
        if found.get("count"):
            found["count"] = min(int(found["count"]), MEASURED)
        if suite in ("zero_shot", "downstream"):
            found |= self._prompts(values, suite)
        if found.get("regions"):
            found["regions"] = inside(str(found["regions"]))
        return found

    def regions(self, values: Values) -> Values:
        """A recipe's `regions`: files are written; a detector, whose weights aren't here, is a grid of 2 x 2."""
        found = dict(moved(values))
        found["store"] = inside(str(values["store"]))
        provider = str(values.get("provider", "detector"))
        if provider in ("detector", "yolo"):
            for key in ("weights", "trust"):
                found.pop(key, None)
            self.notes.append(f"regions: the cells of a grid instead of what {provider} finds")
            return found | {"provider": "grid", "rows": 2, "columns": 2}
        if provider == "files":
            layout, path = str(values.get("layout")), inside(str(values.get("path")))
            if layout not in region_files.WRITERS:
                raise UserError(
                    f"`regions.layout`: a rehearsal writes no {layout!r} (it writes {', '.join(region_files.WRITERS)});"
                    " rehearse it with one of these"
                )
            region_files.WRITERS[layout](self.handful, Path(path), [one.number for one in self.handful.pictures])
            found["path"] = path
            for key in ("keys", "ids"):
                found.pop(key, None)
        return found

    def _compositional(self, data: Any) -> Any:
        named = data if isinstance(data, dict) and "path" not in data else None
        if named is None:
            folder = inside(str(data["path"] if isinstance(data, dict) else data))
            places = {name: f"{folder}/{name}" for name in benchmark_files.COMPOSITIONAL}
        else:
            places = {
                name: inside(str(each["path"] if isinstance(each, dict) else each)) for name, each in named.items()
            }
        for name, place in places.items():
            if name in benchmark_files.COMPOSITIONAL:
                benchmark_files.COMPOSITIONAL[name](self.handful, Path(place))
        return places if named is not None else folder

    def _vlm(self, values: Values, where: str) -> Values:
        name, data = str(values.get("benchmark", "vqa_v2")), values["data"]
        if name not in benchmark_files.VLM:
            known = ", ".join(benchmark_files.VLM)
            raise UserError(f"`{where}.benchmark`: a rehearsal writes no {name} (it writes {known}); leave it out")
        write, usual = benchmark_files.VLM[name]
        place = inside(str(data["path"] if isinstance(data, dict) else data))
        images = inside(str(values["images"])) if values.get("images") else place
        write(self.handful, Path(place), Path(images), str(values.get("split") or usual))
        tokens = min(int(values.get("max_new_tokens") or 128), TOKENS)
        return {"data": place, "max_new_tokens": tokens} | ({"images": images} if values.get("images") else {})

    def _prompts(self, values: Values, suite: str) -> Values:
        """Fewer class names and prompts: a prompt of each class goes through every model's text tower."""
        found: Values = {}
        if values.get("class_names"):
            found["class_names"] = list(load_class_names(values["class_names"]))[: pair_files.CLASSES]
        templates = values.get("templates")
        if templates is None:
            source = values["data"] if isinstance(values["data"], dict) else {}
            named = f"{source.get('name', '')} {values.get('name') or source.get('path', '')}"
            templates = downstream_templates(named) if suite == "downstream" else "plain"
        found["templates"] = list(load_templates(templates))[:PROMPTS]
        return found
