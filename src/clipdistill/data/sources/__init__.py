"""Sources: one file a format, opened by `open_source` from a small description (a "spec")."""

from __future__ import annotations

import importlib
import inspect
import typing
from collections.abc import Callable, Mapping
from typing import Any

from pydantic import ConfigDict, TypeAdapter, ValidationError

from clipdistill.data.sources.base import Source
from clipdistill.data.sources.guess import guess_format, parse_shorthand
from clipdistill.errors import UserError, nearest

__all__ = ["FORMATS", "Source", "guess_format", "open_source", "parse_shorthand"]


def _format(module: str, function: str) -> Callable[..., Source]:
    """Return a function that imports its module when it is first called: `datasets` alone takes a second."""

    def opener(**options: Any) -> Source:
        target: Callable[..., Source] = getattr(importlib.import_module(f"clipdistill.data.sources.{module}"), function)
        known = list(inspect.signature(target).parameters)
        said = options.get("captions")
        if "captions" not in known:  # a format whose samples need none
            options.pop("captions", None)
        for option in options:
            if option not in known:
                raise UserError(
                    f"data format '{module}' has no option '{option}'; it has {', '.join(known)}."
                    f"{nearest(option, known)}"
                )
        if "path" not in options:
            raise UserError(f"data format '{function.removeprefix('open_')}' needs a 'path'")
        kinds = typing.get_type_hints(target)
        found = target(**{key: _of_its_kind(module, key, value, kinds[key]) for key, value in options.items()})
        if said is None:
            return found
        bare = importlib.import_module("clipdistill.data.sources.bare")
        without: Source = bare.without_captions(found, said)
        return without

    return opener


FORMATS: dict[str, Callable[..., Source]] = {
    "csv": _format("csv", "open_csv"),
    "karpathy": _format("karpathy", "open_karpathy"),
    "coco": _format("coco", "open_coco"),
    "webdataset": _format("webdataset", "open_webdataset"),
    "huggingface": _format("huggingface", "open_huggingface"),
    "imagefolder": _format("imagefolder", "open_imagefolder"),
    "pictures": _format("bare", "open_pictures"),
    "cifar10": _format("cifar", "open_cifar10"),
    "cifar100": _format("cifar", "open_cifar100"),
    "arrays": _format("arrays", "open_arrays"),
    "torchvision": _format("torchvision", "open_torchvision"),
    "flickr30k_entities": _format("entities", "open_entities"),
    "vcr": _format("vcr", "open_vcr"),
    "snli_ve": _format("snli_ve", "open_snli_ve"),
    "vqa_v2": _format("vqa_v2", "open_vqa_v2"),
    "easy_vqa": _format("easy_vqa", "open_easy_vqa"),
    "llava": _format("llava", "open_llava"),
}


def _of_its_kind(module: str, option: str, value: Any, kind: Any) -> Any:
    """The value as its annotation has it: YAML gives 2014 where a split is called so."""
    if typing.get_origin(kind) is typing.Literal:
        return value  # the format says itself what there is
    try:
        return TypeAdapter(kind, config=ConfigDict(coerce_numbers_to_str=True)).validate_python(value)
    except ValidationError as error:
        said = error.errors()[0]["msg"]
        raise UserError(f"data format '{module}': `{option}` is {value!r}: {said[0].lower()}{said[1:]}") from None


def open_source(spec: Mapping[str, Any] | str) -> Source:
    """Open the source that `spec` describes: {"format": "csv", "path": ..., options}, or "format:path@split".

    Without "format", it is guessed from what lies at "path". "captions": "none" leaves captions out, of any format.

    Raises:
        UserError: unknown format or option (with the nearest), missing or empty data.
    """
    options = dict(parse_shorthand(spec) if isinstance(spec, str) else spec)
    if "format" not in options:
        if "path" not in options:
            raise UserError(f"a data source needs 'format' and 'path'; this one has {', '.join(options) or 'nothing'}")
        options = {**guess_format(options["path"]), **options}
    kind = options.pop("format")
    if kind in ("tsv", "jsonl"):
        kind = "csv"
    if kind not in FORMATS:
        raise UserError(f"unknown data format '{kind}'; there are {', '.join(FORMATS)}.{nearest(str(kind), FORMATS)}")
    if isinstance(options.get("path"), list | tuple) and kind != "webdataset":
        raise UserError(f"data format '{kind}' takes one path, not a list; name several sources instead")
    return FORMATS[kind](**{key: value for key, value in options.items() if value is not None})
