"""Task: what the Trainer asks of a method. It owns the student, its teachers, its own projections and its losses."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, ValidationError
from torch import Tensor, nn

from clipdistill.data import Mixture
from clipdistill.data.fields import Field, encoder_fields
from clipdistill.errors import UserError, explain, nearest
from clipdistill.kinds import kind_of

Features = dict[str, Tensor]
Batch = Mapping[str, Any]


class TaskOptions(BaseModel):
    """Options of a method, as they stand under `task:` in a recipe; unknown ones are errors."""

    model_config = ConfigDict(extra="forbid")


@dataclass(frozen=True)
class Trainable:
    """A parameter for the optimizer: its learning rate is `lr * lr_scale`; `decay` says whether weights decay."""

    name: str
    parameter: nn.Parameter
    lr_scale: float = 1.0
    decay: bool = True


class Task(nn.Module):
    """One method's training problem.

    A subclass names its terms in `TERMS` (name -> default weight; 0 = off unless a recipe asks), reads the batch in
    `encode` and `targets`, and returns named, unweighted losses from `batch_losses` (terms that compare the samples
    of the whole gathered batch) and `sample_losses` (terms that see one sample at a time, a number a sample). The
    Trainer averages these and sums weight * term.

    Teachers are not submodules: they are never in `train()` mode, in the optimizer or in a checkpoint.

    A method is found by its `METHOD` in the modules of this package, or as `module:Class` anywhere else.
    """

    METHOD: ClassVar[str]
    """What a recipe calls it, under `task.method`."""

    TERMS: ClassVar[Mapping[str, float]] = {}
    Options: ClassVar[type[TaskOptions]] = TaskOptions
    TEACHERS: ClassVar[tuple[int, int | None]] = (0, 0)
    """The least and the most teachers that it takes; None = any number."""
    KIND: ClassVar[str] = "dual_encoder"
    """The kind of model that training starts with, of `clipdistill.kinds`."""
    TEACHER_KIND: ClassVar[str] = "dual_encoder"
    FEATURES: ClassVar[Literal["embedding", "tower", "tokens", "questions"]] = "embedding"
    """What the teachers give, live or stored: see `LiveTeacher`; their word on questions is always stored."""
    BARE: ClassVar[bool] = False
    """Whether it takes pictures without captions among the others (`captions: none` of a source)."""
    OWN_TEACHER: ClassVar[bool] = False
    """Whether its teacher is the model that training starts with, frozen, whatever else a recipe says of it."""

    student: Any  # a DualEncoder, unless KIND says otherwise

    def __init__(
        self,
        student: nn.Module,
        teachers: Sequence[Any] = (),
        weights: Mapping[str, float] | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.check_teachers(len(teachers))
        self.student = student
        self.teachers = tuple(teachers)
        self.weights = self.check_weights(weights)
        self.settings = self.check_options(options)
        self.build()

    def build(self) -> None:
        """Make what trains besides the student, and freeze of the student what doesn't train."""

    def prepare(self, data: Mixture) -> None:
        """Look at the training data before anything trains, and make what depends on it, such as a head by its classes.

        Called once a task, before it goes to its device; torch's random state is drawn from the recipe's seed. What
        the student has already, from an earlier stage or a forecast, must stay as it is.

        Raises:
            UserError: the data isn't what the method trains on.
        """

    @classmethod
    def check_start(cls, model: Any) -> None:
        """Raise a UserError when training can't start from this model: one of another kind, or of an architecture."""
        if model.KIND != cls.KIND:
            raise UserError(f"`student.model`: {cls.METHOD} trains a {cls.KIND}, and '{model.name}' is a {model.KIND}")

    @classmethod
    def make_student(
        cls, model: Any, weights: Mapping[str, float] | None = None, options: Mapping[str, Any] | None = None
    ) -> Any:
        """What is trained, made from the model that training starts with: that model itself, for most methods."""
        return model

    @classmethod
    def control(cls, options: Mapping[str, Any]) -> dict[str, Any]:
        """The same training without a teacher, as `task:` of a recipe: the method itself, or else plain contrastive.

        Raises:
            UserError: the method learns from no teacher, so there is nothing to compare it with.
        """
        least, most = cls.TEACHERS
        if most == 0 or "task" not in cls.TERMS:
            raise UserError(f"`compare`: {cls.METHOD} has no teacher to leave out; remove `control`")
        if least == 0:
            return {"method": cls.METHOD, "weights": {"task": 1.0}, **options}
        return {"method": "contrastive", **{key: options[key] for key in ("loss", "chunk") if key in options}}

    @classmethod
    def stored_options(cls, options: Mapping[str, Any] | None) -> dict[str, Any]:
        """What of the options its teacher's store depends on, beside teacher and data."""
        return {}

    @classmethod
    def check_teachers(cls, count: int) -> None:
        """Raise a UserError when the method can't work with `count` teachers."""
        least, most = cls.TEACHERS
        name = cls.__dict__.get("METHOD", cls.__name__)
        if count < least:
            needs = "a teacher" if least == 1 else f"{least} teachers"
            raise UserError(f"`teachers`: {name} needs {needs}; add one, or use `task.method=contrastive`")
        if most is not None and count > most:
            takes = "no teacher" if most == 0 else "one teacher" if most == 1 else f"{most} teachers at most"
            fix = "set `teachers=[]`" if most == 0 else "remove the others"
            raise UserError(f"`teachers`: {name} takes {takes}, not {count}; {fix}, or choose another method")

    @classmethod
    def check_weights(cls, weights: Mapping[str, float] | None) -> dict[str, float]:
        """The weights that are not 0, `TERMS` when none are given.

        Raises:
            UserError: a term that the method doesn't have, a weight below 0, or nothing to train on.
        """
        for name in weights or {}:
            if name not in cls.TERMS:
                hint = nearest(name, cls.TERMS)
                raise UserError(f"`task.weights.{name}`: no such term.{hint} Terms: {', '.join(cls.TERMS)}.")
        for name, value in (weights or {}).items():
            if not 0 <= value < math.inf:
                raise UserError(f"`task.weights.{name}`: {value:g} isn't a weight; give a number of at least 0")
        chosen = {k: float(v) for k, v in (cls.TERMS if weights is None else weights).items() if v != 0}
        if not chosen:
            raise UserError("`task.weights`: every weight is 0, so there is nothing to train on")
        return chosen

    @classmethod
    def check_options(cls, options: Mapping[str, Any] | None) -> Any:
        """The method's options, validated.

        Raises:
            UserError: an option that the method doesn't have, or one of the wrong type.
        """
        try:
            return cls.Options.model_validate(dict(options or {}))
        except ValidationError as error:
            raise UserError(f"`task`: {explain(error, cls.Options)}") from error

    def fields(self, data: Mixture) -> dict[str, Field]:
        """What a batch holds: what the student sees of a pair, and what each teacher asks for.

        Args:
            data: what batches will be made of, with its `regions` where the recipe has some.

        Raises:
            UserError: the data lacks what the method reads.
        """
        found = self.student_fields()
        for teacher in self.teachers:
            found |= teacher.fields()
        return found

    def student_fields(self) -> dict[str, Field]:
        """The student's share of `fields`."""
        return encoder_fields("student", self.student)

    def compile(self) -> None:
        """Compile (torch.compile) what a step spends its time on."""
        kind_of(self.student).compile(self.student)

    def set_grad_checkpointing(self) -> None:
        """Trade time for memory: compute activations again in the backward pass."""
        kind_of(self.student).checkpoint_activations(self.student)

    def forward_once(self, batch: Batch) -> None:
        """One forward pass of the student: what a step's FLOPs are counted on."""
        self.encode(batch)

    def trainable(self) -> Iterator[Trainable]:
        """Every parameter that asks for a gradient; norms, biases and scales (fewer than two axes) don't decay."""
        for name, parameter in self.named_parameters():
            if parameter.requires_grad:
                yield Trainable(name, parameter, decay=parameter.ndim >= 2)

    def encode(self, batch: Batch) -> Features:
        """The student's features of a micro-batch, each with the batch as first axis."""
        raise TypeError(f"{type(self).__name__} must define encode")

    def targets(self, batch: Batch) -> Features:
        """The teachers' features of a micro-batch, without gradients; asked for once, however the batch is replayed."""
        found: Features = {}
        for index, teacher in enumerate(self.teachers):
            found |= {f"teacher{index}/{name}": value for name, value in teacher.targets(batch).items()}
        return found

    def batch_losses(self, features: Features) -> dict[str, Tensor]:
        """Terms over the features of the whole batch, gathered over micro-batches and processes."""
        return {}

    def sample_losses(self, features: Features, batch: Batch) -> dict[str, Tensor]:
        """Terms over single samples, [B] each; the engine takes the mean over the whole batch.

        A term that is gated sample by sample (CLIP-TD's) multiplies its values; one that is a mean over some samples
        only, or over parts of which samples have different numbers (masked words), says so in `sample_weights`.
        """
        return {}

    def sample_weights(self, features: Features, batch: Batch) -> dict[str, Tensor]:
        """For each sample term that isn't a plain mean: weights [B] of at least 0.

        The term is then sum(weight * value) / sum(weight) over the whole batch, whatever the micro-batch and the number
        of processes. Asked for once, before the replay and without gradients; it draws no random numbers.
        """
        return {}

    def gathers(self, name: str) -> bool:
        """Whether `batch_losses` reads the feature or target `name`; what it doesn't isn't exchanged over ranks."""
        return True

    def after_step(self) -> None:
        """Called after each optimizer step."""

    def wants(self, term: str) -> bool:
        """Whether `term` has a weight other than 0."""
        return term in self.weights
