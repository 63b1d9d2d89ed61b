"""What one evaluator measured: the record that goes into `evaluation.json` and comes back in the report."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

Progress = Callable[[str, int, int], None]
"""Called as `progress(what, done, total)` while something long runs."""


def retention(student: float, base: float) -> float | None:
    """Return student / base, the share of a metric that was kept; None when the base has nothing to keep."""
    return student / base if base else None


@dataclass(frozen=True)
class Result:
    """The numbers of one evaluator on one data set.

    Attributes:
        evaluator: `"retrieval"` or `"zero_shot"`.
        data: the name of the data set that every number here came from.
        n: how many pictures were used (bad ones are left out and counted in `artifacts["bad"]`).
        metrics: name to value; rates are fractions between 0 and 1, never per cent.
        artifacts: JSON-ready extras: counts, the confusion matrix, bad samples.
    """

    evaluator: str
    data: str
    n: int
    metrics: dict[str, float]
    artifacts: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return the plain dictionary that `evaluation.json` stores."""
        return asdict(self)

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Result:
        """Read back what `to_dict` gave; unknown keys are ignored so that older reports open newer runs."""
        return cls(
            evaluator=str(value["evaluator"]),
            data=str(value["data"]),
            n=int(value["n"]),
            metrics={str(name): float(number) for name, number in value["metrics"].items()},
            artifacts=dict(value.get("artifacts", {})),
        )
