"""VLM: an image tower, a connector and a language model, as LLaVA puts them together."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from clipdistill.errors import UserError
from clipdistill.models.vlm.conversation import IGNORED, ConversationCoder


class VLM(nn.Module):
    """transformers' LLaVA with its tokenizer and its preprocessing.

    The image tower is always in evaluation mode, whatever `train()` says: it is frozen, and neither dropout nor running
    statistics may move.

    Attributes:
        llava: a LlavaForConditionalGeneration: vision tower, two-layer GELU connector, language model.
        name: what reports call it. preprocess: how it wants pictures, as a DualEncoder's. tokenizer: of transformers'.
        image_tokens: tokens that stand for a picture; they are what the tower gives at the layer that is read.
        extra_tokens: `image_tokens` beyond the grid that transformers' processor counts by `patch_size`.
        coder: conversations -> token numbers.
    """

    KIND: ClassVar[str] = "vlm"

    def __init__(self, llava: Any, *, name: str, preprocess: dict[str, Any], tokenizer: Any) -> None:
        super().__init__()
        self.llava: Any = llava
        self.name, self.preprocess, self.tokenizer = name, preprocess, tokenizer
        height, width = (int(side) for side in preprocess["size"])
        weight = next(llava.model.multi_modal_projector.parameters())
        blank = torch.zeros(1, 3, height, width, dtype=weight.dtype, device=weight.device)
        self.image_tokens = self._see(blank).shape[1]
        side = int(llava.config.vision_config.patch_size)
        counted = (height // side) * (width // side) - (llava.config.vision_feature_select_strategy == "default")
        self.extra_tokens = self.image_tokens - counted
        self.coder = ConversationCoder(tokenizer, int(llava.config.image_token_id), self.image_tokens)
        self.train(llava.training)

    @property
    def tower(self) -> Any:
        """The image tower."""
        return self.llava.model.vision_tower

    @property
    def connector(self) -> Any:
        """Two linear layers with a GELU between them."""
        return self.llava.model.multi_modal_projector

    @property
    def language_model(self) -> Any:
        """The language model without its last matrix."""
        return self.llava.model.language_model

    def train(self, mode: bool = True) -> VLM:
        """As every module, but for the tower."""
        super().train(mode)
        self.tower.eval()
        return self

    def normalise_pixels(self, pixels: Tensor) -> Tensor:
        """uint8, or float in [0, 1]; [B, 3, H, W] -> (pixels - mean) / std in the tower's precision."""
        dtype = next(self.connector.parameters()).dtype
        working = torch.promote_types(dtype, torch.float32)
        scaled = pixels.to(working).div(255) if pixels.dtype == torch.uint8 else pixels.to(working)
        mean, std = (scaled.new_tensor(self.preprocess[name]).view(1, -1, 1, 1) for name in ("mean", "std"))
        return ((scaled - mean) / std).to(dtype)

    @torch.no_grad()
    def see(self, pixels: Tensor) -> Tensor:
        """What the connector reads of pictures [B, 3, H, W], uint8 or in [0, 1]: [B, image_tokens, C], no gradient."""
        return self._see(self.normalise_pixels(pixels))

    def _see(self, normalised: Tensor) -> Tensor:
        config = self.llava.config
        layer = config.vision_feature_layer
        with torch.no_grad():
            seen: Tensor = self.tower(normalised, return_dict=True, output_hidden_states=layer).hidden_states[layer]
        return seen[:, 1:] if config.vision_feature_select_strategy == "default" else seen

    def token_losses(self, ids: Tensor, mask: Tensor, labels: Tensor, seen: Tensor) -> tuple[Tensor, Tensor]:
        """Cross-entropy of every token that is learnt, given what stands before it.

        Args:
            ids, labels: int64 [B, L], labels `IGNORED` where nothing is learnt. mask: bool [B, L], False = padding.
            seen: [P, image_tokens, C] of `see`, a row for each row of `ids` with picture tokens, in their order.

        Returns:
            losses [N]; int64 [N], the row of each. Scores are computed for these N places alone.
        """
        words = self.llava.get_input_embeddings()(ids)
        shown = ids == self.coder.image_id
        if len(seen):
            given = self.connector(seen.to(next(self.connector.parameters()).dtype)).to(words.dtype)
            words = words.masked_scatter(shown[..., None], given)
        hidden = self.language_model(inputs_embeds=words, attention_mask=mask.long(), use_cache=False)[0]
        wanted = labels[:, 1:] != IGNORED
        scores = self.llava.lm_head(hidden[:, :-1][wanted])
        if scores.dtype in (torch.bfloat16, torch.float16):
            scores = scores.float()
        return cross_entropy(scores, labels[:, 1:][wanted], reduction="none"), wanted.nonzero()[:, 0]

    @torch.inference_mode()
    def answer(
        self, questions: Sequence[str], pixels: Tensor | None, shown: Sequence[bool], max_new_tokens: int = 128
    ) -> list[str]:
        """Answer questions, greedily, in one batch with a cache of keys and values.

        Args:
            questions: B texts. shown: which of them come with a picture. pixels: of these, in order, [P, 3, H, W] as
                `see` takes them; None without any.

        Returns:
            B answers, without marks and without spaces around them.
        """
        from transformers import GenerationConfig

        device = next(self.connector.parameters()).device
        prompts = [self.coder.prompt(text, picture) for text, picture in zip(questions, shown, strict=True)]
        width = max(map(len, prompts))
        # Padding stands in front, so that every answer begins at the same place.
        ids = torch.full((len(prompts), width), int(self.tokenizer.pad_token_id))
        mask = torch.zeros(len(prompts), width, dtype=torch.int64)
        for row, prompt in enumerate(prompts):
            ids[row, width - len(prompt) :] = torch.tensor(prompt)
            mask[row, width - len(prompt) :] = 1
        pictures = {"pixel_values": self.normalise_pixels(pixels.to(device))} if pixels is not None else {}
        how = GenerationConfig(**generation(self.llava.config, self.tokenizer), max_new_tokens=max_new_tokens)
        said = self.llava.generate(
            input_ids=ids.to(device), attention_mask=mask.to(device), generation_config=how, **pictures
        )
        return [self.tokenizer.decode(row, skip_special_tokens=True).strip() for row in said[:, width:].tolist()]

    def fingerprint(self) -> str:
        """sha256 over weights, configuration, preprocessing and tokenizer: what decides the answers."""
        digest = hashlib.sha256(json.dumps(_facts(self.llava.config.to_dict()), sort_keys=True).encode())
        for name, value in sorted(self.llava.state_dict().items()):
            digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
            digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
        digest.update(json.dumps(self.preprocess, sort_keys=True).encode())
        digest.update(repr(self.coder.key()).encode())
        return digest.hexdigest()

    def require_positions(self, tokens: int, field: str) -> None:
        """Raise a UserError, beginning with `field`, where the language model has fewer positions than `tokens`."""
        most = getattr(self.llava.config.text_config, "max_position_embeddings", None)
        if most is not None and tokens > most:
            raise UserError(f"`{field}` is {tokens}, and '{self.name}' has {most} positions; lower it")


_PASSING = ("transformers_version", "dtype", "torch_dtype", "_name_or_path", "architectures")


def _facts(config: dict[str, Any]) -> dict[str, Any]:
    """A configuration without what says where it came from."""
    found = {name: value for name, value in config.items() if name not in _PASSING}
    return {name: _facts(value) if isinstance(value, dict) else value for name, value in found.items()}


def generation(config: Any, tokenizer: Any) -> dict[str, Any]:
    """Greedy, whatever the language model was made for; a picture's token is never said."""
    return {
        "do_sample": False, "num_beams": 1, "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id, "suppress_tokens": [int(config.image_token_id)],
    }  # fmt: skip
