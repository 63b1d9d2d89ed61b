"""What the parts of a recipe stand on: keys that are checked here, or by what they are meant for."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict


class Strict(BaseModel):
    """A part of a recipe: unknown keys, wrong types and numbers that aren't finite are errors."""

    model_config = ConfigDict(extra="forbid", validate_default=True, allow_inf_nan=False)


class Options(BaseModel):
    """A part of a recipe whose further keys are checked by what they are meant for (a source, a task, a suite)."""

    model_config = ConfigDict(extra="allow", allow_inf_nan=False)

    def options(self) -> dict[str, Any]:
        """The keys that the recipe itself has no field for."""
        return dict(self.model_extra or {})
