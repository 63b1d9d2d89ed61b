"""The Recipe: a typed, validated description of one run."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field, field_validator, model_validator

from clipdistill.recipe.base import Options, Strict
from clipdistill.recipe.training import TrainSpec

__all__ = ["AugmentSpec", "DataSpec", "EvaluateSpec", "MetaSpec", "ModelSpec", "Options", "PetriSpec", "Recipe",
           "RegionSpec", "SourceSpec", "StageSpec", "Strict", "TaskSpec", "TeacherSpec", "TrainSpec"]  # fmt: skip


class PetriSpec(Strict):
    """The petri world to write before the run when its folder isn't there."""

    path: Path
    images: int = Field(6000, ge=1, description="training pictures")
    val: int = Field(500, ge=1)
    test: int = Field(1000, ge=1)
    seed: int = Field(0, ge=0, lt=2**63)
    image_size: int = Field(64, ge=16)
    skew: Literal["even", "natural"] = "even"
    scenes: Literal["full", "pairs"] = Field("full", description="pairs: two large plain things and how they lie")
    zero_shot: int = Field(10, ge=1, description="pictures of each zero-shot class")
    compositional: int = Field(300, ge=1, description="swaps, in the formats winoground and aro")
    shortcut: tuple[float, float] = Field((0.75, 0.45), description="format vcr: right and wrong answers that repeat")
    formats: list[str] = ["karpathy", "imagefolder"]


class SourceSpec(Options):
    """One source of samples; further keys are the options of its format (see docs/bring-your-data.md)."""

    format: str
    path: str | list[str] | None = None
    count: int | None = Field(None, ge=1, description="draw this many samples, by seed; none = all of them")
    low_shot: int | None = Field(
        None,
        ge=1,
        description="of questions: train on so many, as many of each class, by seed; unlabelled: on the rest",
    )
    repeat: int = Field(1, ge=1, description="how often each sample comes in an epoch")
    captions: Literal["none"] | None = Field(None, description="none: pictures alone, whatever captions there are")

    @model_validator(mode="after")
    def _one_draw(self) -> SourceSpec:
        if self.low_shot is not None and (self.count is not None or "subset" in (self.model_extra or {})):
            raise ValueError("`low_shot`, `count` and `subset` each say what is drawn; keep one")
        return self


class AugmentSpec(Strict):
    """What the student sees of a picture in training. Each view is a pure function of (seed, sample id, view)."""

    crop_scale: tuple[float, float] | None = Field((0.9, 1.0), description="area of the random crop; none = no crop")
    crop_ratio: tuple[float, float] = (0.75, 4 / 3)
    flip: float = Field(0.0, ge=0, le=1)
    jitter: float = Field(0.0, ge=0, le=1, description="strength of brightness, contrast and saturation changes")
    jitter_probability: float = Field(1.0, ge=0, le=1)
    grayscale: float = Field(0.0, ge=0, le=1)
    views: int | None = Field(None, ge=1, description="views a sample; none = a fresh one each epoch (live teachers)")
    seed: int | None = Field(None, description="of the views; none = the recipe's. Set, one store serves many seeds")


class DataSpec(Strict):
    """Where the training pairs come from."""

    train: list[SourceSpec] = Field(min_length=1)
    seed: int | None = Field(None, description="of draws by `count`; none = the recipe's. Set, one store serves many")
    augment: AugmentSpec = AugmentSpec()
    hard_negatives: int = Field(0, ge=0, description="false captions a pair, the same words in another order (NegCLIP)")
    workers: int = Field(1, ge=0, description="processes that decode pictures")
    max_bad_share: float = Field(0.01, ge=0, le=1, description="stop when more than this share can't be read")


class ModelSpec(Strict):
    """A model by name or path, or joined from an image tower and a text tower."""

    model: str | None = None
    image_tower: str | None = Field(None, description="timm name, for a joined model")
    image_weights: Path | None = None
    text_tower: str | None = Field(None, description="Hugging Face folder or hub name, for a joined model")
    embed_dim: int = Field(256, ge=1)
    projection: Literal["linear", "mlp"] = "linear"
    image_size: int | None = Field(None, ge=16, description="side in pixels, for a joined model; none = its own")
    context_length: int | None = Field(None, ge=4, description="text tokens, for a joined model; none = 64 at most")
    locked: list[Literal["image", "text"]] = Field([], description="towers of a joined student that don't train")

    @model_validator(mode="before")
    @classmethod
    def _from_name(cls, value: Any) -> Any:
        return {"model": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _one_kind(self) -> ModelSpec:
        self.check_kind()
        return self

    def check_kind(self) -> None:
        """Raise a ValueError when the fields together don't say one model."""
        towers = (self.image_tower is not None) + (self.text_tower is not None)
        joined = towers == 2
        if towers != (2 if self.model is None else 0):
            raise ValueError("give either `model` or both `image_tower` and `text_tower`")
        if self.locked and not joined:
            raise ValueError("`locked` is for a joined model; give `image_tower` and `text_tower`")

    @property
    def label(self) -> str:
        """What tables call this model."""
        return self.model or f"{self.image_tower} + {Path(str(self.text_tower)).name}"


class TaskSpec(Options):
    """One method's training problem; further keys are the options of the method."""

    method: str = "clip_kd"
    weights: dict[str, float] | None = Field(None, description="term -> weight; none = the method's own")


class MetaSpec(Strict):
    """A meta-teacher: trained by the run for itself, on its own data, before its student. Its targets are stored."""

    task: TaskSpec = TaskSpec(method="dclip_teacher")
    train: TrainSpec
    epoch: int | None = Field(None, ge=1, description="the epoch whose checkpoint teaches; none = the last")
    run: Path | None = Field(None, description="the folder RUN/teacher of another run to take it from; none = train it")


class TeacherSpec(ModelSpec):
    """A teacher: live, or stored when `store` names a folder (written first when it isn't there); or a meta-teacher."""

    store: Path | None = None
    meta: MetaSpec | None = None

    def check_kind(self) -> None:
        """Raise a ValueError when the fields together don't say one teacher."""
        if self.meta is None:
            super().check_kind()
        elif self.model or self.image_tower or self.text_tower or self.store:
            raise ValueError("a `meta` teacher takes no model and no store: it is made and kept in the run's folder")

    @property
    def label(self) -> str:
        """What tables call this teacher."""
        return super().label if self.meta is None else "meta-teacher"


class RegionSpec(Options):
    """Where regions of the training pictures come from; further keys are the options of the provider."""

    provider: str = Field(
        "detector", description="detector, yolo, grid, whole, annotations (the data's boxes) or files"
    )
    store: Path
    model: ModelSpec | None = Field(None, description="embeds them; none = the model that the student starts as")
    max_regions: int = Field(10, ge=1, description="regions a picture, the surest first; of `files` 100")
    min_score: float = Field(0.25, ge=0, le=1, description="confidence below which a box isn't used; of `files` 0.2")
    crop: Literal["resize", "centre"] = Field(
        "resize", description="whole boxes at the model's input size, as in the paper; or cut to their middle"
    )
    features: Literal["crops", "map"] = Field(
        "crops",
        description="crops, each embedded; or what a map of the image tower, which sees a picture once, holds",
    )
    level: int | None = Field(
        None, ge=0, description="of `map`: which; 0 is nearest to the pixels; none = 12 x 12 or more"
    )
    bins: int = Field(2, ge=1, le=7, description="of `map`: a box is pooled into bins x bins")
    pad: float = Field(1.1, ge=1, le=2, description="of `map`: how much wider and higher boxes are made")
    whole: bool = Field(False, description="the whole picture is a region too, before the others; not of `files`")

    @property
    def most(self) -> int:
        """The most regions that a picture can have."""
        return self.max_regions + self.whole

    @model_validator(mode="before")
    @classmethod
    def _as_files_are_read(cls, values: Any) -> Any:
        files = isinstance(values, dict) and values.get("provider") == "files"
        return {"min_score": 0.2, "max_regions": 100, **values} if files else values

    @model_validator(mode="after")
    def _of_one_kind(self) -> RegionSpec:
        other = ("level", "bins", "pad") if self.features == "crops" else ("crop",)
        for name in other:
            if name in self.model_fields_set and getattr(self, name) != type(self).model_fields[name].default:
                raise ValueError(f"`{name}` is of the other `features`; remove it, or set `features`")
        return self


class StageSpec(Strict):
    """One training of several: what it says replaces the recipe's own, but for `task.method`, which stays if unsaid."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]*$", description="of its folder, RUN/stages/NAME")
    task: TaskSpec | None = None
    teachers: list[TeacherSpec] | None = None
    data: dict[str, Any] | None = Field(None, description="keys of `data` that differ")
    train: dict[str, Any] | None = Field(None, description="keys of `train` that differ")


class EvaluateSpec(Options):
    """A suite on a data set; further keys are options of the suite."""

    suite: str
    data: SourceSpec | str | None = None


def _with_method(stage: Any, method: dict[str, str]) -> Any:
    own = stage.get("task") if isinstance(stage, dict) else None
    return {**stage, "task": method | own} if isinstance(own, dict) else stage


class Recipe(Strict):
    """One run: data + models + task + training + evaluation."""

    name: str = Field(description="also the folder of its runs in a study, below which it stays")
    about: str = ""
    paper: str | None = Field(None, description="printed numbers for the report: PAPER/TABLE or PAPER/TABLE/ROW")
    seed: int = Field(0, ge=0, lt=2**63)
    petri: PetriSpec | None = None
    data: DataSpec
    student: ModelSpec
    regions: RegionSpec | None = None
    teachers: list[TeacherSpec] = []
    task: TaskSpec = TaskSpec()
    train: TrainSpec = TrainSpec()
    stages: list[StageSpec] = Field([], description="trainings in a row, the last of which is the run's; none = one")
    evaluate: list[EvaluateSpec] = []
    compare: list[Literal["teacher", "base", "control"]] = Field(
        ["teacher"], description="what else is measured: control = the same student trained without its teacher"
    )

    @model_validator(mode="before")
    @classmethod
    def _stages_keep_the_method(cls, values: Any) -> Any:
        # A stage that says only other weights means the recipe's method, not the one that recipes have by default.
        if not isinstance(values, dict) or not isinstance(values.get("stages"), list):
            return values
        task = values.get("task")
        method = {"method": task["method"]} if isinstance(task, dict) and "method" in task else {}
        return values | {"stages": [_with_method(stage, method) for stage in values["stages"]]}

    @field_validator("name")
    @classmethod
    def _stays_below(cls, name: str) -> str:
        if any(part in ("", ".", "..") or "\0" in part for part in name.replace("\\", "/").split("/")):
            raise ValueError("it is a folder's name too: no '..', and no '/' at its ends, such as 'mine/first'")
        return name

    def to_yaml(self) -> str:
        """The recipe as resolved, as YAML."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
