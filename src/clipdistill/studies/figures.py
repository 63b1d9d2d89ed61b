"""What the figures of a grid are about: which axis is the teacher, which the student, which the length of training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from pydantic import Field

from clipdistill.errors import UserError, nearest
from clipdistill.recipe import Strict

if TYPE_CHECKING:
    from clipdistill.studies.grid import AxisSpec, StudyGrid

NO_TEACHER = ("teachers=[]", "teachers=null")
LENGTH = "train.epochs"


class FiguresSpec(Strict):
    """What can't be told from the axes' keys. Measures are named by their keys in `measures`."""

    teacher: str | None = Field(None, description="axis of the teachers; none = the one whose key is `teachers...`")
    imagenet_like: list[str] = Field([], description="measures whose mean is drawn over the length of training")
    multimodal: list[str] = Field([], description="the same, of what is asked about pictures")
    teacher_quality: str | None = Field(
        None, description="the teacher's measure that students are set beside; none = the one that they are measured by"
    )

    def check(self, grid: StudyGrid) -> None:
        """Raise a UserError for an axis or a measure that isn't there."""
        if self.teacher is not None and self.teacher not in grid.axes:
            raise UserError(
                f"`figures.teacher`: no axis '{self.teacher}'; there are {', '.join(grid.axes)}."
                f"{nearest(self.teacher, grid.axes)}"
            )
        named = {"imagenet_like": self.imagenet_like, "multimodal": self.multimodal}
        named["teacher_quality"] = [self.teacher_quality] if self.teacher_quality else []
        for where, keys in named.items():
            for key in keys:
                if key not in grid.measures:
                    known = f"there are {', '.join(grid.measures)}" if grid.measures else "the file has no `measures`"
                    raise UserError(f"`figures.{where}`: no measure '{key}'; {known}.{nearest(key, grid.measures)}")


def teacher_axis(grid: StudyGrid) -> str | None:
    """The axis that says who teaches: as the file says, or the first whose levels all set a key of `teachers`."""
    return grid.figures.teacher or _axis_of(grid.axes, "teachers")


def student_axis(grid: StudyGrid) -> str | None:
    """The axis that says who learns."""
    return _axis_of(grid.axes, "student")


def length_axis(grid: StudyGrid) -> dict[str, float] | None:
    """Level -> epochs, of the axis whose key is `train.epochs`; None where there is none."""
    axis = length_name(grid)
    if axis is None:
        return None
    return {level: float(level) for level in grid.axes[axis].named()}


def length_name(grid: StudyGrid) -> str | None:
    """The name of that axis."""
    return next((name for name, spec in grid.axes.items() if spec.key == LENGTH), None)


def without_teacher(spec: AxisSpec) -> str | None:
    """The level of an axis of teachers that is none; None where there is none."""
    return next((level for level, said in spec.named().items() if set(said) & set(NO_TEACHER)), None)


def _axis_of(axes: Mapping[str, AxisSpec], key: str) -> str | None:
    for name, spec in axes.items():
        said = [[one.partition("=")[0] for one in some] for some in spec.named().values()]
        if all(any(one.split(".")[0] == key for one in keys) for keys in said):
            return name
    return None
