"""The command `clipdistill`: parse, call, print. Each command is one documented function of `clipdistill`."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from clipdistill import cli_analysis, cli_data, cli_doctor, cli_study
from clipdistill.errors import Interrupted, UserError
from clipdistill.running import exit_code, read_options, show_runs

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def _say_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        print(f"clipdistill {version('clipdistill')}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", help="print the version and stop", callback=_say_version, is_eager=True)
    ] = False,
) -> None:
    """Knowledge distillation into and out of CLIP-style models."""


RecipeName = Annotated[str, typer.Argument(metavar="RECIPE", help="name (see `clipdistill recipes`) or YAML file")]
Overrides = Annotated[list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="such as train.lr=3e-4")]


@app.command()
def train(
    recipe: RecipeName,
    overrides: Overrides = None,
    out: Annotated[Path | None, typer.Option(help="folder of the run; it is made")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="go on with the run in --out, or begin it")] = False,
    plan: Annotated[bool, typer.Option("--plan", help="print the plan and stop")] = False,
    rehearse: Annotated[
        bool, typer.Option("--rehearse", help="all stages in minutes: random weights, a few synthetic samples")
    ] = False,
    rehearse_memory: Annotated[
        float | None, typer.Option(min=0.5, help="GB that a rehearsal may take; default: 75 % of what is free")
    ] = None,
) -> None:
    """Distil a student: plan, teacher store, training, control, export, evaluation, report."""
    if rehearse:
        os.environ.setdefault("HF_HUB_OFFLINE", "1")  # before anything that looks for downloads is imported
        from clipdistill.rehearsal.command import rehearse_command

        raise typer.Exit(rehearse_command(recipe, overrides or (), out, rehearse_memory, resume or plan))
    from clipdistill.recipe_files import load_recipe
    from clipdistill.runs.training import train as run_training

    if out is None and not plan:
        raise UserError("--out is missing: say where the run shall lie, such as --out runs/first")
    loaded = load_recipe(recipe, overrides or ())
    try:
        run = run_training(loaded, out, resume=resume, plan_only=plan)
    except Interrupted as stop:
        raise Interrupted(f"{stop}; go on with the same command and --resume") from stop
    if run is not None and run.evaluation.is_file():
        show_runs([run.path])
        print(f"student: {run.path / 'student'}\nreport: {run.path / 'report.html'}")


@app.command()
def cache(
    recipe: RecipeName,
    overrides: Overrides = None,
    batch_size: Annotated[int, typer.Option(min=1, help="pictures the teacher encodes at once")] = 128,
) -> None:
    """Write the teacher stores that a recipe names."""
    from clipdistill.recipe_files import load_recipe
    from clipdistill.runs.caching import cache as run_caching

    for path in run_caching(load_recipe(recipe, overrides or ()), batch_size):
        print(path)


@app.command()
def evaluate(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="open_clip name, hf-hub: name, checkpoint folder, or RUN")
    ],
    suite: Annotated[
        str,
        typer.Option(help="retrieval, zero_shot, downstream, petri, compositional, vcr, snli_ve, vqa, vlm, likeness"),
    ],
    data: Annotated[
        str, typer.Option(help="path, format:path@split, or as in a recipe: '{format: csv, path: t.csv, label: kind}'")
    ],
    json: Annotated[Path | None, typer.Option(help="write the results here")] = None,
    option: Annotated[list[str] | None, typer.Option(metavar="KEY=VALUE", help="option of the suite")] = None,
    batch_size: Annotated[int, typer.Option(min=1)] = 128,
    workers: Annotated[int, typer.Option(min=0, help="processes that decode pictures")] = 1,
) -> None:
    """Measure a model on a suite."""
    from clipdistill.runs.evaluation import evaluate_model, show_results

    found = evaluate_model(
        model, suite, data, batch_size=batch_size, workers=workers, options=read_options(option), json_path=json
    )
    show_results(found)


@app.command()
def score(
    benchmark: Annotated[
        str, typer.Argument(metavar="BENCHMARK", help="vqa_v2, gqa, textvqa, scienceqa, pope, mme or mmmu")
    ],
    questions: Annotated[Path, typer.Option(help="its official files: a folder or file")],
    answers: Annotated[Path, typer.Option(help="LLaVA's JSON lines (question_id, text), or a leaderboard's JSON")],
    rule: Annotated[
        str | None, typer.Option(help="official, tinyllava or lmms_eval; default: as papers report")
    ] = None,
    split: Annotated[str | None, typer.Option(help="of the benchmark's files; default: the usual one")] = None,
    json: Annotated[Path | None, typer.Option(help="write the scores here")] = None,
    submission: Annotated[Path | None, typer.Option(help="write what its own tool or server takes")] = None,
    lmms_eval: Annotated[Path | None, typer.Option(help="write lmms-eval's results JSON; by rule lmms_eval")] = None,
) -> None:
    """Score a vision-language model's answers by a benchmark's official rule; no model is needed."""
    from clipdistill.evaluate.vlm import score_answers_file
    from clipdistill.evaluate.vlm.showing import missing_line, score_table
    from clipdistill.files import require_writable, write_json
    from clipdistill.running import terminal

    if json is not None:
        require_writable(json, "--json")
    found = score_answers_file(
        benchmark, questions, answers, rule=rule, split=split, submission=submission, lmms_eval=lmms_eval
    )
    if json is not None:
        write_json(json, found.to_dict())
    if found.metrics:
        terminal().print(score_table(found))
    if missing := missing_line(found):
        print(missing)


@app.command()
def report(
    runs: Annotated[
        list[Path], typer.Argument(metavar="RUN...", help="folders of runs; seeds of one recipe are averaged")
    ],
    out: Annotated[
        Path | None, typer.Option(help="folder for report.md and report.html; default: the first run")
    ] = None,
) -> None:
    """Set runs side by side: Markdown and one HTML page."""
    from clipdistill.report import build_report

    runs = list({run.resolve(): run for run in runs}.values())  # a run given twice is not two seeds
    for path in build_report(runs, out):
        print(path)
    show_runs(runs)


@app.command()
def interpolate(
    base: Annotated[str, typer.Argument(metavar="BASE", help="the model that the student was fine-tuned from")],
    student: Annotated[str, typer.Argument(metavar="RUN", help="run or checkpoint folder of the student")],
    out: Annotated[Path, typer.Option(help="folder for the frontier and the chosen student")],
    measure: Annotated[
        list[str], typer.Option("--measure", metavar="SUITE=DATA", help="retrieval=..., zero_shot=..., petri=...")
    ],
    alphas: Annotated[int, typer.Option(min=2, help="points from the base (0) to the student (1)")] = 11,
    keep: Annotated[float, typer.Option(min=0, max=1, help="share of the base's zero-shot accuracy to keep")] = 0.97,
) -> None:
    """Sweep the weights between a base and its student: retrieval gained against zero-shot kept."""
    from clipdistill.runs.interpolation import interpolate as run_interpolation

    suites = []
    for pair in measure:
        suite, equals, data = pair.partition("=")
        if not equals:
            raise UserError(f"--measure {pair}: write SUITE=DATA, such as petri=petri-world")
        suites.append((suite, data))
    points = [step / (alphas - 1) for step in range(alphas)]
    run_interpolation(base, student, points, suites, out, keep)
    print(out / "frontier.md")


@app.command()
def recipes(name: Annotated[str | None, typer.Argument(metavar="[NAME]")] = None) -> None:
    """List the recipes, or print one as it resolves."""
    from clipdistill.recipe_files import load_recipe, recipe_names

    if name is not None:
        print(load_recipe(name).to_yaml(), end="")
        return
    for each in recipe_names():
        print(f"{each:40} {load_recipe(each).about}")


cli_data.add(app)


@app.command()
def quickstart(
    out: Annotated[Path, typer.Option(help="folder for everything")] = Path("quickstart"),
    seed: Annotated[int, typer.Option(min=0)] = 0,
) -> None:
    """See it all on the petri world: teacher, control, distilled student, report; minutes on a laptop."""
    from clipdistill.runs.quickstart import quickstart as run_quickstart

    try:
        run = run_quickstart(out, seed)
    except Interrupted as stop:
        raise Interrupted(f"{stop}; go on with the same command") from stop
    if run is not None:
        show_runs([run.path])
        print(f"report: {run.path / 'report.html'}")


cli_doctor.add(app)
cli_study.add(app)
cli_analysis.add(app)


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command that `arguments` are, or this process's own; return its exit code (see `running.exit_code`)."""
    return exit_code(app, arguments)


def main() -> None:
    """Entry point of the command `clipdistill`."""
    sys.exit(run())


if __name__ == "__main__":
    main()
