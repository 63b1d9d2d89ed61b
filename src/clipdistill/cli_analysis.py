"""The commands that look into models: `analyse` (attention), `cka` (likeness), `rank-teachers` (before training)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer


def analyse(
    runs: Annotated[list[str], typer.Argument(metavar="RUN...", help="runs of fusion models; several = seeds")],
    data: Annotated[str, typer.Option(help="questions: path, or format:path@split")],
    out: Annotated[Path, typer.Option(help="folder for analysis.json, report.html, report.md")],
    against: Annotated[
        list[str] | None, typer.Option(metavar="RUN", help="before: a run to compare with, one for each RUN")
    ] = None,
    count: Annotated[int | None, typer.Option(min=1, help="draw so many questions; default: all")] = None,
    pairs: Annotated[str, typer.Option(help="of a question with options: right, or all")] = "right",
    special: Annotated[str, typer.Option(help="[CLS], [SEP], ...: text, out, or renormalised")] = "text",
    tokens: Annotated[str, typer.Option(help="over the tokens of a modality: sum, or mean")] = "sum",
    queries: Annotated[str, typer.Option(help="whose attention: cls, or all")] = "cls",
    show: Annotated[
        list[str] | None, typer.Option(metavar="N|ID", help="questions whose words are shown: how many, or ids")
    ] = None,
    words: Annotated[
        str | None, typer.Option(metavar="TEACHER", help="model, or store of questions' targets: its word scores")
    ] = None,
    layer: Annotated[
        int | None, typer.Option(min=0, help="of the attention on words; default: all, their mean")
    ] = None,
    ablate: Annotated[bool, typer.Option("--ablate", help="measure answers without picture or question too")] = False,
    regions: Annotated[Path | None, typer.Option(help="store of the pictures' regions")] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="pairs the model reads at once")] = 32,
) -> None:
    """Show what fusion models attend to: importance of text and picture by layer and head, before and after."""
    from clipdistill.analysis import analyse as run_analysis
    from clipdistill.analysis.showing import importance_options, show_analysis, shown_questions

    given: dict[str, Any] = {"pairs": pairs, "special": special, "tokens": tokens, "queries": queries}
    found = run_analysis(
        runs, data, out, against=against or (), count=count, show=shown_questions(show), words=words, layer=layer,
        ablation=ablate, options=importance_options(given), regions=regions, batch_size=batch_size,
    )  # fmt: skip
    show_analysis(found, out)


def cka(
    teacher: Annotated[str, typer.Option(metavar="MODEL", help="open_clip name, hf-hub: name, checkpoint, or RUN")],
    student: Annotated[str, typer.Option(metavar="MODEL", help="the same")],
    data: Annotated[str, typer.Option(help="pictures: path, or format:path@split")],
    count: Annotated[int | None, typer.Option(min=4, help="draw so many pictures; default: all")] = None,
    json: Annotated[Path | None, typer.Option(help="write all pairs of layers here")] = None,
    pool: Annotated[
        str, typer.Option(help="patches of a layer: mean, flat (place by place), none (no layers)")
    ] = "mean",
    batch: Annotated[int, typer.Option(min=4, help="pictures of a Gram matrix; fewer need less memory")] = 512,
    draws: Annotated[int, typer.Option(min=0, help="of the pictures, for the intervals; 0 = none")] = 1000,
    workers: Annotated[int, typer.Option(min=0, help="processes that decode pictures")] = 1,
) -> None:
    """Show how alike a teacher and a student see pictures: linear CKA by layer, alignment and uniformity."""
    from clipdistill.analysis.likeness import model_cka, read_pool
    from clipdistill.analysis.likeness_tables import show_cka

    found = model_cka(
        teacher, student, data, count=count, pool=read_pool(pool), batch=batch, draws=draws, workers=workers,
        json_path=json,
    )  # fmt: skip
    show_cka(found)


def rank_teachers(
    student: Annotated[str, typer.Option(metavar="RECIPE|MODEL", help="a recipe, whose student is meant, or a model")],
    teacher: Annotated[
        list[str], typer.Option(metavar="MODEL[=STORE]", help="two or more; or the folder of a teacher's store")
    ],
    data: Annotated[
        str | None, typer.Option(help="pictures with captions: path, or format:path@split; default: the recipe's")
    ] = None,
    count: Annotated[int | None, typer.Option(min=1, help="draw so many pictures; default: all")] = None,
    features: Annotated[
        str, typer.Option(help="of the student: embedding, or grid (mean of its patches)")
    ] = "embedding",
    neighbours: Annotated[int, typer.Option(min=1, help="nearest neighbours that are compared")] = 10,
    seed: Annotated[
        int | None, typer.Option(min=0, help="of draw, weights and parts; default: the recipe's, or 0")
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="of weights and parts; scores are means over them")] = 1,
    accuracy: Annotated[
        str | None, typer.Option(metavar="SUITE=DATA", help="teachers' accuracy; default: retrieval on --data")
    ] = None,
    outcome: Annotated[
        list[str] | None, typer.Option(metavar="FILE|RUN", help="students trained since: teacher -> score, or runs")
    ] = None,
    metric: Annotated[str | None, typer.Option(help="of runs and accuracy; default: top1, else recall@1")] = None,
    json: Annotated[Path | None, typer.Option(help="write the scores here")] = None,
    batch_size: Annotated[int, typer.Option(min=1)] = 128,
    workers: Annotated[int, typer.Option(min=0, help="processes that decode pictures")] = 1,
) -> None:
    """Forecast from embeddings which teacher will serve a student and data best, before any training."""
    from clipdistill.analysis import rank_teachers as rank
    from clipdistill.analysis.rank_showing import features_of, show_ranking, suite_and_data

    found = rank(
        student, teacher, data, count=count, features=features_of(features), neighbours=neighbours, seed=seed,
        seeds=seeds, accuracy=suite_and_data(accuracy), outcome=outcome or (), metric=metric, batch_size=batch_size,
        workers=workers, json_path=json,
    )  # fmt: skip
    show_ranking(found)


def add(app: typer.Typer) -> None:
    """Put the commands on the app."""
    for command in (analyse, cka):
        app.command()(command)
    app.command("rank-teachers")(rank_teachers)
