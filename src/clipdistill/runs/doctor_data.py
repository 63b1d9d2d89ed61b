"""`clipdistill doctor --data`: what a look at data says before there is a recipe for it."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from clipdistill.data import Mixture, open_source
from clipdistill.data.sources import parse_shorthand
from clipdistill.runs.looking import look_at
from clipdistill.runs.repeats import Looked, class_notes, looked_at, shared, within


def look_over(data: Sequence[str], show: bool = True) -> list[tuple[str, str, str]]:
    """Look sources over as the plan of a training does: what is missing, what comes twice, class names.

    Args:
        data: paths, or `format:path@split`, or as in a recipe. Of several, each is looked at, and the second and later
            ones for what they share with the first: the training data first, then what is measured on.
        show: print it as a table too.

    Returns:
        (source, what, said), at least one row a source.

    Raises:
        UserError: a source that can't be opened.
    """
    rows: list[tuple[str, str, str]] = []
    seen: list[Looked] = []
    for one in data:
        source = open_source(parse_shorthand(one))
        mixture = Mixture([(source, None)])
        rows.append((one, "samples", f"{len(source):,}"))
        skipped = list(getattr(source, "skipped", ()))
        if skipped:
            first, why = skipped[0]
            rows.append((one, "left out", f"{len(skipped):,}, such as {first}: {why}"))
        looked = looked_at(source.name, mixture)
        found = [*look_at(mixture, None, 1.0), *within(looked)]
        found += class_notes({source.name: source.classes} if source.classes else {})
        if seen:
            found += shared(seen[0], looked)
        seen.append(looked)
        rows += [(one, what, said) for what, said in found] or [(one, "look", "nothing to say against it")]
    if show:
        table = Table("data", "what", "said", title="a look at the data", title_justify="left")
        for row in rows:
            table.add_row(*row)
        console = Console()
        (console if console.is_terminal else Console(width=160)).print(table)
    return rows
