"""Teachers: live (a frozen model) or stored (a TeacherStore), behind one interface that a task can't tell apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from clipdistill.data.fields import Field, encoder_fields
from clipdistill.errors import UserError
from clipdistill.models.token_embeddings import token_embeddings
from clipdistill.stores import TeacherStore
from clipdistill.tasks.base import Batch, Features


class Teacher(Protocol):
    """Gives targets for a batch, without gradients: `image` and `text`, float32 [B, D], un-normalised, as a rule."""

    name: str
    embed_dim: int
    logit_scale: float

    def fields(self) -> dict[str, Field]:
        """What a batch must hold for it."""
        ...

    def targets(self, batch: Batch) -> Features:
        """Targets of the samples in `batch`."""
        ...


class LiveTeacher:
    """A frozen DualEncoder that encodes what the loader prepared for its role (own transforms, own tokenizer).

    Args:
        features: "embedding"; "tower", a joined model's features before its projections; "tokens", of captions alone:
            `text` [B, D], and `tokens` [B, L, D] with `token_mask` bool [B, L] in the shared space.
    """

    def __init__(self, model: Any, role: str = "teacher0", features: str = "embedding") -> None:
        # Tower features are the student's own: a task that is given them has locked the towers, and trains the rest.
        self._frozen = features != "tower"
        if self._frozen:
            model.requires_grad_(False).eval()
        self._model = model
        self.role, self.features = role, features
        self.name: str = model.name
        self.embed_dim: int = model.embed_dim
        self.logit_scale = model.logit_scale.item()

    @property
    def model(self) -> nn.Module:
        """The frozen model."""
        found: nn.Module = self._model
        return found

    def fields(self) -> dict[str, Field]:
        """Pictures and captions under its role; captions alone for token features."""
        return encoder_fields(self.role, self._model, images=self.features != "tokens")

    @torch.no_grad()
    def targets(self, batch: Batch) -> Features:
        """Encode `image/<role>` and `text/<role>`; embeddings in bf16 on a GPU."""
        # no_grad, not inference_mode: the targets enter losses whose graph saves them.
        if self._frozen:
            self._model.eval()
        tokens = batch[f"text/{self.role}"]
        if self.features == "tokens":
            text, words, mask = token_embeddings(self._model, tokens)
            return {"tokens": words.float(), "token_mask": mask, "text": text.float()}
        pixels = batch[f"image/{self.role}"]
        with torch.autocast(pixels.device.type, torch.bfloat16, enabled=pixels.device.type == "cuda"):
            if self.features == "tower":
                image, text = self._model.image_tower_features(pixels), self._model.text_tower_features(tokens)
            else:
                image, text = self._model.encode_image(pixels), self._model.encode_text(tokens)
        return {"image": image.float(), "text": text.float()}


class StoredTeacher:
    """A TeacherStore seen through the positions of a mixture.

    Args:
        store: an opened store, already checked against the teacher, the augmentation and the data.
        ids: ids of the mixture's samples, by position.

    Raises:
        UserError: the store lacks samples that the training would ask for.
    """

    def __init__(self, store: TeacherStore, ids: Sequence[str]) -> None:
        self.store = store
        self.name: str = store.meta["teacher"]
        self.embed_dim = int(store.meta["embed_dim"])
        self.logit_scale = float(store.logit_scale)
        rows = torch.from_numpy(store.rows(ids))
        if bool((rows < 0).any()):
            first = ids[int((rows < 0).nonzero()[0])]
            raise UserError(
                f"{store.path}: {int((rows < 0).sum())} of {len(rows)} samples are not in this store (first: {first}); "
                "run `clipdistill cache` on this recipe"
            )
        self._rows = rows

    def fields(self) -> dict[str, Field]:
        """None: rows are looked up by the numbers that every batch has."""
        return {}

    def targets(self, batch: Batch) -> Features:
        """Look up the views and captions that the loader drew."""
        rows = self._rows[batch["sample"].cpu()]
        captions = batch["caption"].cpu().numpy()
        if self.store.meta.get("pairs"):
            image = self.store.pair_image(rows.numpy(), captions)
        else:
            image = self.store.image(rows.numpy(), batch["view"].cpu().numpy())
        there = captions >= 0  # rows of pictures without captions are 0
        text = np.zeros((len(rows), int(self.store.meta["text_dim"])), np.float32)
        text[there] = self.store.text(rows.numpy()[there], captions[there])
        device = batch["sample"].device
        return {"image": _tensor(image, device), "text": _tensor(text, device)}


class StoredQuestions:
    """A store of what a CLIP said of questions (CLIP-TD). Fields look its rows up; it never runs, so it has no targets.

    Args:
        store: `stores.QuestionTargets`, already checked, or `DryQuestions`.
    """

    def __init__(self, store: Any) -> None:
        self.store = store
        self.name: str = store.meta["teacher"]
        self.embed_dim, self.logit_scale = int(store.width), float(store.logit_scale)

    def rows(self, ids: Sequence[str]) -> np.ndarray:
        """The store's row of each sample, int64.

        Raises:
            UserError: it lacks samples that the training would ask for.
        """
        found: np.ndarray = self.store.rows(ids)
        if (found < 0).any():
            first = ids[int(np.argmax(found < 0))]
            raise UserError(
                f"{self.store.path}: {int((found < 0).sum())} of {len(found)} samples are not in this store (first: "
                f"{first}); give another folder"
            )
        return found

    def fields(self) -> dict[str, Field]:
        """None: the task asks for them, text by text."""
        return {}

    def targets(self, batch: Batch) -> Features:
        """None: batches hold them."""
        return {}


class DryTeacher:
    """Stands in the forecast for a teacher whose store isn't written yet: noise of the right widths.

    Args:
        widths: of what it gives: `{"image": D, "text": D}`.
    """

    def __init__(self, name: str, widths: Mapping[str, int], logit_scale: float = 1.0) -> None:
        self.name, self.widths, self.logit_scale = name, dict(widths), logit_scale
        self.embed_dim = self.widths["image"]

    def fields(self) -> dict[str, Field]:
        """None, as a stored teacher's."""
        return {}

    def targets(self, batch: Batch) -> Features:
        """[B, D] for each width."""
        sample = batch["sample"]
        return {name: torch.randn(len(sample), width, device=sample.device) for name, width in self.widths.items()}


def _tensor(values: Any, device: torch.device) -> Tensor:
    return torch.as_tensor(values, dtype=torch.float32).to(device, non_blocking=True)
