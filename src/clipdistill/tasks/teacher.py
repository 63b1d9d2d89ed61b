"""Teachers: live (a frozen model) or stored (a TeacherStore), behind one interface that a task can't tell apart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from clipdistill.errors import UserError
from clipdistill.stores import TeacherStore
from clipdistill.tasks.base import Batch, Features


class Teacher(Protocol):
    """Gives targets for a batch: `image` and `text`, float32 [B, D], un-normalised, without gradients."""

    name: str
    embed_dim: int
    logit_scale: float

    def targets(self, batch: Batch) -> Features:
        """Targets of the samples in `batch`."""
        ...


class LiveTeacher:
    """A frozen DualEncoder that encodes what the loader prepared for its role (own transforms, own tokenizer)."""

    def __init__(self, model: Any, role: str = "teacher0") -> None:
        model.requires_grad_(False).eval()
        self._model = model
        self.role = role
        self.name: str = model.name
        self.embed_dim: int = model.embed_dim
        self.logit_scale = model.logit_scale.item()

    @property
    def model(self) -> nn.Module:
        """The frozen model."""
        return self._model

    @torch.no_grad()
    def targets(self, batch: Batch) -> Features:
        """Encode `image/<role>` and `text/<role>`; in bf16 on a GPU."""
        # no_grad, not inference_mode: the targets enter losses whose graph saves them.
        self._model.eval()
        pixels, tokens = batch[f"image/{self.role}"], batch[f"text/{self.role}"]
        with torch.autocast(pixels.device.type, torch.bfloat16, enabled=pixels.device.type == "cuda"):
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

    def targets(self, batch: Batch) -> Features:
        """Look up the views and captions that the loader drew."""
        rows = self._rows[batch["sample"].cpu()]
        captions = batch["caption"].cpu().numpy()
        if self.store.meta.get("pairs"):
            image = self.store.pair_image(rows.numpy(), captions)
        else:
            image = self.store.image(rows.numpy(), batch["view"].cpu().numpy())
        text = self.store.text(rows.numpy(), captions)
        device = batch["sample"].device
        return {"image": _tensor(image, device), "text": _tensor(text, device)}


def _tensor(values: Any, device: torch.device) -> Tensor:
    return torch.as_tensor(values, dtype=torch.float32).to(device, non_blocking=True)
