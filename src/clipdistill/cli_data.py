"""Commands about data: a petri world, low-shot draws, VCR without its shortcuts, its text bias."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

VcrFile = Annotated[Path, typer.Argument(metavar="VCR_JSONL", help="a VCR file, such as vcr1/val.jsonl")]
WordNetFolder = Annotated[Path | None, typer.Option(help="WordNet's folder or zip; default: where it is found")]


def add(app: typer.Typer) -> None:
    """Give these commands to the app."""
    for command in (petri, low_shot, mitigate, bias):
        app.command()(command)


def petri(
    folder: Annotated[Path, typer.Argument(metavar="DIR")],
    images: Annotated[int, typer.Option(min=1, help="training pictures")] = 6000,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    val: Annotated[int, typer.Option(min=1)] = 500,
    test: Annotated[int, typer.Option(min=1)] = 1000,
    image_size: Annotated[int, typer.Option(min=16, help="side in pixels")] = 64,
    skew: Annotated[str, typer.Option(help="even or natural: how attributes occur together")] = "even",
    scenes: Annotated[str, typer.Option(help="full, or pairs: two large plain things and how they lie")] = "full",
    compositional: Annotated[int, typer.Option(min=1, help="swaps, in the formats winoground and aro")] = 300,
    shortcut: Annotated[
        tuple[float, float], typer.Option(help="format vcr: how often the right answer, and a wrong one, repeats")
    ] = (0.75, 0.45),
    formats: Annotated[str | None, typer.Option(help="comma-separated, such as karpathy,winoground,vcr")] = None,
) -> None:
    """Write a petri world in the official formats."""
    from clipdistill.engine.tracking import Meter
    from clipdistill.petri import write_world
    from clipdistill.petri.settings import DEFAULT_FORMATS

    with Meter("petri world", 1) as meter:
        write_world(
            folder, images=images, val=val, test=test, seed=seed, image_size=image_size, skew=skew, scenes=scenes,
            compositional=compositional, shortcut=shortcut, formats=formats or DEFAULT_FORMATS, progress=meter.reach,
        )  # fmt: skip
    print(folder)


def low_shot(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="path, or format:path@split")],
    total: Annotated[int, typer.Option(min=1, help="samples in all, as many of each class")],
    out: Annotated[Path, typer.Option(help="JSON file for the ids, which `subset` of a source reads")],
    seed: Annotated[int, typer.Option(min=0)] = 0,
    option: Annotated[list[str] | None, typer.Option(metavar="KEY=VALUE", help="option of the format")] = None,
) -> None:
    """Draw a low-shot training set, as many samples of each class, and write its ids."""
    from clipdistill.running import read_options
    from clipdistill.runs.low_shot import describe
    from clipdistill.runs.low_shot import low_shot as draw

    drawn = draw(source, total, seed, out, read_options(option))
    print(f"{out}: {drawn.data}: {describe(drawn)}")


def mitigate(
    file: VcrFile,
    kind: Annotated[str, typer.Option(help="sm-rule, sm-singular, sm-plural, sm-adversarial, em or im")],
    out: Annotated[
        Path, typer.Option(metavar="FILE_OR_FOLDER", help="the file to write, or a folder for NAME-KIND.jsonl")
    ],
    by: Annotated[
        str | None,
        typer.Option(metavar="RUN", help="im, sm-adversarial: a trained model; im: or its predictions (.npz)"),
    ] = None,
    scores: Annotated[Path | None, typer.Option(help="sm-adversarial: a score file instead of a model")] = None,
    mask: Annotated[str, typer.Option(help="sm-adversarial: adv-1, keep-1, keep-3 or keep-5")] = "adv-1",
    wrong_only: Annotated[bool, typer.Option("--wrong-only", help="sm-adversarial: leave right options")] = False,
    confidence: Annotated[float, typer.Option(help="im: of a right answer by text, from which a question goes")] = 0.9,
    wordnet: WordNetFolder = None,
    regions: Annotated[Path | None, typer.Option(help="im, sm-adversarial: store of the pictures' regions")] = None,
    root: Annotated[Path | None, typer.Option(help="im, sm-adversarial: the pictures' folder")] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="pairs the model reads at once")] = 128,
) -> None:
    """Write a VCR file without what lets text alone answer it, with a log of every change."""
    from clipdistill.mitigate import mitigate_vcr
    from clipdistill.mitigate.showing import show_summary

    settings: dict[str, Any] = {
        "by": by, "scores": scores, "mask": mask, "wrong_only": wrong_only, "confidence": confidence,
        "wordnet": wordnet, "regions": regions, "root": root, "batch_size": batch_size,
    }  # fmt: skip
    show_summary(mitigate_vcr(file, kind, out, **settings))


def bias(
    file: VcrFile,
    im: Annotated[Path | None, typer.Option(help="what `mitigate --kind im` wrote of this file")] = None,
    wordnet: WordNetFolder = None,
    json: Annotated[Path | None, typer.Option(help="write the numbers here")] = None,
) -> None:
    """Measure what a VCR file's right answers share with questions and labels: CLIP-TD's table 9."""
    from clipdistill.mitigate import vcr_bias
    from clipdistill.mitigate.showing import show_bias

    show_bias(vcr_bias(file, im, wordnet=wordnet, json_path=json))
