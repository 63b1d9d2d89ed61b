"""The face of every fusion model: pairs of a text and a picture in, a sequence and the answers of heads out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from clipdistill.errors import UserError
from clipdistill.models.fusion.config import HeadName
from clipdistill.models.fusion.inputs import FusionInputs, FusionOutput

Sees = Literal["regions", "pixels", "nothing"]
"""What of a picture a fusion model reads: stored features of regions, the picture itself, or nothing at all."""


class FusionBase(nn.Module):
    """One transformer (or less) over words and regions, with heads.

    Attributes:
        config: a pydantic model with `heads`, what decides the shapes. name: what reports call it.
        heads: by name. tokenizer: whose numbers `FusionInputs.ids` are.
        preprocess: how it wants pictures, as a DualEncoder's; of one that `sees` pixels alone.
    """

    KIND: ClassVar[str] = "fusion"
    config: Any
    name: str
    heads: nn.ModuleDict
    preprocess: Any

    @property
    def sees(self) -> Sees:
        """What it reads of a picture, see `data.fusion_fields.picture_fields`."""
        return "regions"

    def see(self, batch: Mapping[str, Any]) -> Mapping[str, Any]:
        """The batch with the regions that `fusion_inputs` takes: as they came, or made of pictures, with a gradient."""
        return batch

    @property
    def own_clip(self) -> Any:
        """The DualEncoder inside, which is saved beside the model; None = there is none."""
        return None

    def train_tower(self, trained: bool) -> None:
        """Train the image tower along, or freeze it, where there is one that can be trained."""

    @property
    def shifts(self) -> tuple[str, ...]:
        """What adversarial training can shift: `words`, `regions`."""
        return ("words", "regions")

    @property
    def region_width(self) -> int:
        """Numbers in the feature of a region that it takes."""
        return int(self.config.region_width)

    @property
    def option_outputs(self) -> int:
        """Numbers that the head `vcr` gives an option: 2 = wrong and right, 1 = right alone."""
        return 1

    @property
    def tokenizer(self) -> Any:
        """What makes numbers of texts."""
        raise TypeError(f"{type(self).__name__} must define tokenizer")

    @property
    def vocabulary_key(self) -> str:
        """Equal keys mean that every text gives equal numbers; empty where there is no tokenizer."""
        raise TypeError(f"{type(self).__name__} must define vocabulary_key")

    def own_state(self) -> dict[str, Tensor]:
        """The weights that are the model's own: all, or those on top of a frozen CLIP."""
        return dict(self.state_dict())

    def new_head(self, name: HeadName, outputs: int) -> nn.Module:
        """A head with weights from torch's random state; UserError when there is none of that name."""
        raise TypeError(f"{type(self).__name__} must define new_head")

    def forward(
        self,
        inputs: FusionInputs,
        *,
        word_shift: Tensor | None = None,
        region_shift: Tensor | None = None,
        weights: bool = False,
    ) -> FusionOutput:
        """Run a batch of pairs.

        Args:
            inputs: B pairs.
            word_shift [B, L, D], region_shift [B, M, F]: what is added to the word embeddings and to the raw region
                features (VILLA); None = nothing.
            weights: give the attention weights too.

        Raises:
            UserError: region features of another width, a text that is too long, weights or shifts that it can't do.
        """
        raise TypeError(f"{type(self).__name__} must define forward")

    def scores(
        self, head: HeadName, output: FusionOutput, inputs: FusionInputs | None = None, where: Tensor | None = None
    ) -> Tensor:
        """What a head answers.

        Args:
            output: of `forward`. inputs: the batch, for a head that reads the [MASK] of the answer.
            where: bool [B, L] or [B, M], the words or regions to answer for; None = all.

        Returns:
            [B, outputs]; for words [B, L, vocabulary] or [N, vocabulary] of those `where`, for regions likewise.

        Raises:
            UserError: the model has no such head, or a text has no [MASK].
        """
        if head not in self.heads:
            has = ", ".join(self.heads) or "none"
            raise UserError(f"fusion model '{self.name}': has no head '{head}'; it has {has}")
        module: Any = self.heads[head]
        if module.reads == "mask":
            read = self._answers(output, inputs)
        else:
            read = {"pooled": output.pooled, "text": output.text, "objects": output.objects}[module.reads]
            read = read if where is None else read[where]
        found: Tensor = module(read, self._tied(head))
        return found

    @staticmethod
    def option_scores(scores: Tensor) -> Tensor:
        """What options are ranked by: `scores` [B, 1] or [B, 2] of the VCR head -> [B], the "right" logit."""
        return scores[:, -1]

    def add_heads(self, heads: Mapping[HeadName, int], seed: int) -> None:
        """Put heads on, in place of those of the same name, with weights drawn from a seed."""
        own = next(self.parameters())
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            for name, outputs in heads.items():
                self.heads[name] = self.new_head(name, outputs).to(own.device, own.dtype)
        self.config = self.config.model_copy(update={"heads": {**self.config.heads, **heads}})
        self.heads.train(self.training)

    def _tied(self, head: str) -> Tensor | None:
        """The matrix of a head whose output is another part's."""

    def _answers(self, output: FusionOutput, inputs: FusionInputs | None) -> Tensor:
        """The outputs [B, D] at each text's last [MASK]."""
        if inputs is None:
            raise UserError("fusion model: this head reads the [MASK] of the answer; give `inputs` too")
        masks = (inputs.ids == self.tokenizer.mask_token_id) & inputs.text_mask
        if not masks.any(dim=1).all():
            row = int((~masks.any(dim=1)).nonzero()[0])
            raise UserError(f"fusion model: text {row} of the batch has no [MASK] for its answer; write one behind it")
        last = torch.where(masks, torch.arange(masks.shape[1], device=masks.device), 0).amax(dim=1)
        return output.text[torch.arange(len(last), device=last.device), last]
