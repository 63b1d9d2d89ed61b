"""What one run of a study asks of a cluster; a study file says it, and `--resources` above it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field, ValidationError

from clipdistill.errors import UserError, explain
from clipdistill.recipe import Strict


class Resources(Strict):
    """One run is one process, on at most one GPU. The defaults are here alone; without an engine they mean nothing."""

    cpus: int = Field(1, ge=1, description="cores, those of the loader's processes counted")
    gpus: float | None = Field(
        None, ge=0, le=1, description="0.5: two runs share one; none = one where Ray finds any, and none of Slurm's"
    )
    memory: float | None = Field(None, gt=0, description="GB; none = whatever there is")

    def changed(self, said: Mapping[str, Any]) -> Resources:
        """These, with what `--resources` says.

        Raises:
            UserError: an unknown key or a wrong value.
        """
        try:
            return Resources.model_validate({**self.model_dump(), **said})
        except ValidationError as error:
            raise UserError(f"--resources: {explain(error, Resources)}") from error
