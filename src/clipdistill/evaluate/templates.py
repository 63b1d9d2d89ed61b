"""Prompt templates for zero-shot classification: by name, or from a file with one template a line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from clipdistill.errors import UserError, nearest

PLAIN = ("a photo of a {}.",)
PETRI = ("a {}", "a picture of a {}")
# One template a data set, CLIP's (2021); a data set's name is looked through for these, in this order.
DOWNSTREAM = {
    "imagenet": "openai",
    "fashionmnist": "a photo of a {}, a type of clothing.",
    "mnist": 'a photo of the number: "{}".',
    "usps": 'a photo of the number: "{}".',
    "svhn": 'a photo of the number: "{}".',
    "aircraft": "a photo of a {}, a type of aircraft.",
    "food": "a photo of {}, a type of food.",
    "pets": "a photo of a {}, a type of pet.",
    "iiitpet": "a photo of a {}, a type of pet.",
    "flower": "a photo of a {}, a type of flower.",
    "dtd": "a photo of a {} texture.",
    "eurosat": "a centered satellite photo of {}.",
    "gtsrb": 'a zoomed in photo of a "{}" traffic sign.',
    "country211": "a photo i took in {}.",
    "sst2": "a {} review of a movie.",
}
NAMED = {
    "plain": PLAIN,
    "petri": PETRI,
    "dclip": ("This is a photo of a {}",),
    "dclip_cifar10": ("a photo of a {}",),
    # Printed as "a photo of a type or organism", without the class: that alone is put in, and no word changed.
    "dclip_cifar100": ("a photo of a {}, a type or organism",),
}
NAMES = ("openai", *NAMED)


def load_templates(name: str | Path | Sequence[str]) -> tuple[str, ...]:
    """Return prompt templates, each with one `{}` where the class name goes.

    Args:
        name: `"plain"`; `"openai"`, the ensemble of 80 that CLIP (2021) uses for ImageNet, as open_clip
            carries it; `"petri"`, for the petri world's class names; `"dclip"`, `"dclip_cifar10"` and
            `"dclip_cifar100"`, the prompts of DCLIP (2025), section 5.1 and appendix E; a text file with one template a
            line; or the templates themselves.

    Raises:
        UserError: an unknown name, a missing file, no templates, or one without exactly one `{}`.
    """
    if isinstance(name, list | tuple):
        return _checked(tuple(name), "templates")
    if not isinstance(name, str | Path):
        raise UserError(f"templates: {name!r} is neither a name, a file nor a list; there are {', '.join(NAMES)}")
    if str(name) in NAMED:
        return NAMED[str(name)]
    if name == "openai":
        from open_clip import OPENAI_IMAGENET_TEMPLATES

        return tuple(template("{}") for template in OPENAI_IMAGENET_TEMPLATES)
    path = Path(name)
    if not path.is_file():
        raise UserError(
            f"templates: '{name}' is neither a file nor one of {', '.join(NAMES)}.{nearest(str(name), NAMES)}"
        )
    return _checked(read_lines(path, "templates"), str(path))


def downstream_templates(name: str) -> str | tuple[str, ...]:
    """Return what `load_templates` takes for a data set by its name: its own template, or "plain"."""
    plain = "".join(letter for letter in name.lower() if letter.isalnum())
    for part, template in DOWNSTREAM.items():
        if part in plain:
            return template if template in NAMES else (template,)
    return "plain"


def load_class_names(
    value: str | Path | Sequence[str], expected: int | None = None, field: str = "class_names"
) -> tuple[str, ...]:
    """Return class names in label order from a list, a text file with one name a line, or "imagenet".

    "imagenet" gives the 1,000 names that CLIP's authors chose, in the order of the sorted WordNet ids.

    Raises:
        UserError: a missing file, what is neither list nor text, or not `expected` names; `field` begins the line.
    """
    if value == "imagenet":
        from open_clip import IMAGENET_CLASSNAMES

        value = list(IMAGENET_CLASSNAMES)
    if not isinstance(value, str | Path | list | tuple):
        raise UserError(f"{field}: {value!r} is neither a list of names nor a file")
    names = read_lines(Path(value), field) if isinstance(value, str | Path) else tuple(value)
    for name in names:
        if not isinstance(name, str):
            raise UserError(f"{field}: {name!r} isn't a text; put it in quotes")
    if expected is not None:
        check_number_of_names(names, expected)
    return names


def check_number_of_names(names: Sequence[str], expected: int) -> None:
    """Raise a UserError when there isn't one name a class."""
    if len(names) != expected:
        raise UserError(f"class_names: the data set has {expected} classes, {len(names)} names were given")


def read_lines(path: Path, field: str) -> tuple[str, ...]:
    """Return the lines of a UTF-8 text file that aren't blank, without a byte-order mark or line ends."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{field}: {path} can't be read as a UTF-8 text file ({error})") from error
    return tuple(line.strip() for line in lines if line.strip())


def _checked(templates: tuple[str, ...], where: str) -> tuple[str, ...]:
    if not templates:
        raise UserError(f"{where}: holds no templates; write one a line, such as: a photo of a {{}}.")
    for template in templates:
        if not isinstance(template, str) or template.count("{}") != 1:
            raise UserError(f"{where}: template '{template}' must hold {{}} exactly once, where the class name goes")
    return templates
