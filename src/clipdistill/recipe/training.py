"""The Recipe's `train`: how a training is run."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from clipdistill.recipe.base import Strict

Share = Annotated[float, Field(ge=0, lt=1)]


class TrainSpec(Strict):
    """How long, how fast and in which precision."""

    epochs: int = Field(1, ge=1, le=10**9)
    max_steps: int | None = Field(None, ge=1, le=10**12)
    batch_size: int = Field(256, ge=1, description="pairs an optimizer step, over all processes")
    micro_batch: int | None = Field(None, ge=1, description="pairs encoded at once on a process (gradient cache)")
    lr: float = Field(1e-3, gt=0)
    min_lr: float = Field(0.0, ge=0)
    weight_decay: float = Field(0.1, ge=0)
    betas: tuple[Share, Share] = (0.9, 0.98)
    eps: float = Field(1e-6, gt=0, le=1)
    optimizer: Literal["adamw", "sgd"] = "adamw"
    momentum: float = Field(0.9, ge=0, lt=1, description="of sgd; betas and eps are adamw's")
    warmup_steps: int = Field(0, ge=0)
    schedule: Literal["cosine", "linear", "steps", "constant"] = Field(
        "cosine", description="after the warm-up: down to min_lr, or in `steps` by a factor, or as it is"
    )
    decay_epochs: list[float] = Field([], description="schedule steps: after how many epochs the rate falls")
    decay: float = Field(0.1, gt=0, lt=1, description="schedule steps: by which factor")
    clip_norm: float | None = Field(None, ge=1e-6)
    ema: float | None = Field(None, gt=0, lt=1, description="decay of the averaged student that is saved and exported")
    precision: Literal["fp32", "bf16"] = "fp32"
    compile: bool = False
    activation_checkpointing: bool = False
    checkpoint_every: int = Field(500, ge=1, description="steps between checkpoints")
    keep_checkpoints: int = Field(2, ge=1)
    keep_epochs: bool = Field(
        False, description="keep the student of every epoch as a model, `epochs/N` in the run, and measure each"
    )
    log_every: int = Field(10, ge=1, description="steps between lines of metrics.jsonl")
    trackers: list[Literal["tensorboard", "wandb"]] = []

    @field_validator("micro_batch")
    @classmethod
    def _divides(cls, value: int | None, info: Any) -> int | None:
        batch = info.data.get("batch_size")
        if value is not None and batch is not None and batch % value:
            raise ValueError(f"must divide batch_size ({batch})")
        return value

    @model_validator(mode="after")
    def _falls(self) -> TrainSpec:
        if self.min_lr > self.lr:
            raise ValueError(f"`min_lr` {self.min_lr:g} is above `lr` {self.lr:g}; the rate goes down to it")
        return self

    @model_validator(mode="after")
    def _steps_are_said(self) -> TrainSpec:
        if (self.schedule == "steps") != bool(self.decay_epochs):
            raise ValueError("`schedule: steps` and `decay_epochs` belong together; give both or neither")
        if self.decay_epochs != sorted(self.decay_epochs) or (self.decay_epochs and self.decay_epochs[0] <= 0):
            raise ValueError(f"`decay_epochs` must rise from above 0 (got {self.decay_epochs})")
        return self
