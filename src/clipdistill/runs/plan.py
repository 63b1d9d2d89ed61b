"""The plan that `train` prints first: what will be trained on what, and what that will cost."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from clipdistill.files import require_space
from clipdistill.models import DualEncoder
from clipdistill.runs.chain import Chain
from clipdistill.runs.looking import look_at
from clipdistill.runs.low_shot import describe
from clipdistill.runs.repeats import repeats
from clipdistill.runs.stages import Fit, Stage
from clipdistill.runs.stages.base import Forecast


def show_plan(chain: Chain, console: Console | None = None) -> list[tuple[Stage, Forecast]]:
    """Sum up the forecasts of a chain's stages, and print them where a console is given.

    Seconds and bytes are estimates from one step on this machine.

    Returns:
        The stages that have a forecast, and what it is.

    Raises:
        UserError: the disk that the run will lie on has less room than it needs; too many pictures aren't there.
    """
    costs = [(stage, cost) for stage in chain.stages if (cost := stage.forecast()) is not None]
    disk = sum(cost.disk_bytes for _, cost in costs)
    require_space(chain.run.path, disk, "the run", "--out")
    student, recipe = chain.main, chain.recipe
    tokenizer = student.parts.model.tokenizer if isinstance(student.parts.model, DualEncoder) else None
    seen = list(look_at(student.parts.data.mixture, tokenizer, recipe.data.max_bad_share))
    if console is None:
        return costs
    seen += repeats(student.parts.data.mixture, chain.evaluations)
    table = Table(title=f"plan: {recipe.name}", show_header=False, title_justify="left")
    mixture = student.parts.data.mixture
    data = zip(mixture.counts().items(), mixture.repeat, strict=True)
    table.add_row(
        "data", ", ".join(f"{name}: {n:,}" + f", {often} times an epoch" * (often > 1) for (name, n), often in data)
    )
    if mixture.captioned < 1:
        share = mixture.captioned * recipe.train.batch_size
        table.add_row(
            "captions", f"some pictures have none; about {share:.0f} of the {recipe.train.batch_size} of a batch do"
        )
    for what, said in seen:
        table.add_row(what, said, style="yellow")
    for drawn in student.parts.data.draws:
        table.add_row("low-shot", f"{drawn.data}: {describe(drawn)}")
    table.add_row(
        "student", f"{recipe.student.label}, {student.parameters:,} parameters, {student.trainable:,} trainable in all"
    )
    table.add_row("teacher", "; ".join(state.describe() for state in student.parts.teachers) or "none")
    if not recipe.stages:
        table.add_row("terms", terms(student))
    for spec, fit in zip(recipe.stages, chain.fits, strict=False):
        teachers = ", ".join(state.spec.label for state in fit.parts.teachers) or "no teacher"
        table.add_row(f"stage {spec.name}", f"{fit.parts.recipe.task.method}: {terms(fit)}; {steps(fit)}; {teachers}")
    if not recipe.stages:
        table.add_row("steps", " + ".join(dict.fromkeys(steps(fit) for fit in chain.fits)))
    seconds = sum(cost.seconds for stage, cost in costs if stage in chain.fits)
    more = "".join(
        f" + {duration(cost.seconds)} for {cost.what}"
        for stage, cost in costs
        if cost.seconds and stage not in chain.fits
    )
    table.add_row("time", f"about {duration(seconds)}{more}")
    table.add_row("memory", f"about {max(cost.memory_bytes for _, cost in costs) / 1e6:,.0f} MB a process")
    table.add_row("disk", f"about {disk / 1e6:,.0f} MB")
    console.print(table)
    return costs


def terms(fit: Fit) -> str:
    """What a training weighs how, such as `task x 1, crd x 1`."""
    return ", ".join(f"{name} x {weight:g}" for name, weight in fit.terms.items())


def steps(fit: Fit) -> str:
    """How long it is, and whether its rate ever gets to where it should."""
    settings = fit.parts.recipe.train
    said = f"{fit.steps:,} of {settings.batch_size:,} pairs"
    if settings.warmup_steps >= fit.steps > 1:
        said += f" (all of them in the warm-up of {settings.warmup_steps:,}: the rate never gets to {settings.lr:g})"
    return said


def duration(seconds: float) -> str:
    """`95` -> `1 min 35 s`."""
    seconds = round(seconds)
    if seconds < 60:
        return f"{seconds} s"
    minutes, rest = divmod(seconds, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours < 48 else f"{hours / 24:.1f} days"
