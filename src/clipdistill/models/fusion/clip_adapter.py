"""Adapters on a frozen CLIP, which answer as fusion models do (CLIP-TD, section 3.2 and table 11)."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor, nn
from torch.nn.functional import normalize

from clipdistill.errors import UserError, explain, nearest
from clipdistill.models.dual_encoder import DualEncoder
from clipdistill.models.fusion.adapter_config import ADAPTERS, AdapterConfig
from clipdistill.models.fusion.base import FusionBase
from clipdistill.models.fusion.config import HeadName
from clipdistill.models.fusion.embeddings import EPS, shifted
from clipdistill.models.fusion.heads import Head
from clipdistill.models.fusion.inputs import FusionInputs, FusionOutput
from clipdistill.models.text_memo import TokenMemo

PRETRAINING = ("words", "region_features", "region_classes")


class CosineHead(nn.Module):
    """Reads the products of two unit vectors' numbers [B, D], whose sum is their cosine.

    A single answer is scale * cosine + bias, both learnt; several answers weigh the products each in its own way.
    """

    def __init__(self, width: int, outputs: int) -> None:
        super().__init__()
        self.reads, self.outputs = "pooled", outputs
        if outputs == 1:
            self.log_scale = nn.Parameter(torch.tensor(10.0).log())
            self.bias = nn.Parameter(torch.zeros(()))
        else:
            self.out = nn.Linear(width, outputs)

    def forward(self, products: Tensor, matrix: None = None) -> Tensor:
        """[B, D] -> [B, outputs]; `matrix` as other heads have it, never given."""
        if self.outputs > 1:
            found: Tensor = self.out(products * products.shape[1] ** 0.5)
            return found
        cosine: Tensor = products.sum(dim=1, keepdim=True)
        return self.log_scale.exp() * cosine + self.bias


class ClipAdapter(FusionBase):
    """A frozen CLIP with a small network on top of its text's and its image's embedding.

    Reads `FusionInputs` as the other fusion models do: `ids` are CLIP's own, `features` are CLIP's embeddings with the
    picture's as region 0 (`embedded_regions`; attention sees further regions too). Unit vectors times sqrt(D) go in.

    - concat: the two side by side through `layers - 1` hidden layers (GELU), then the head.
    - cosine: `layers` linear layers (GELU between) on each side; heads read the products of the two unit vectors.
    - attention: `layers` transformer layers over the text's tokens and the regions; heads read the outputs of the
      text's end and of the picture, side by side.

    Args:
        config: shapes and heads. clip: a DualEncoder; it is frozen and stays in evaluation mode. name: for reports.
    """

    def __init__(self, config: AdapterConfig, clip: DualEncoder, *, name: str = "clip-adapter") -> None:
        super().__init__()
        self.config, self.name = config, name
        self.clip = clip.requires_grad_(False).eval()
        width = clip.embed_dim
        self._read = TokenMemo(self.clip)
        self.width = width if config.fusion == "cosine" else 2 * width
        self.text_side: nn.Module = nn.Identity()
        self.image_side: nn.Module = nn.Identity()
        self.both: nn.Module = nn.Identity()
        self.layers: Any = None
        if config.fusion == "cosine":
            self.text_side = _layers(width, config.layers, last=True)
            self.image_side = _layers(width, config.layers, last=True)
        elif config.fusion == "concat":
            self.both = _layers(2 * width, config.layers - 1)
        else:
            if width % config.attention_heads:
                raise UserError(
                    f"fusion model '{name}': `attention_heads`: {config.attention_heads} don't share a width of {width}"
                )
            self.sides = nn.Embedding(2, width)
            self.layers = _transformer(config, width)
        self.heads = nn.ModuleDict({head: self.new_head(head, out) for head, out in config.heads.items()})

    def new_head(self, name: HeadName, outputs: int) -> nn.Module:
        """Dropout and a linear layer on the fused vector, or, with cosine fusion, a scale of the cosine."""
        if name in PRETRAINING:
            raise UserError(f"fusion model '{self.name}': an adapter on CLIP has no head '{name}'; leave it out")
        if self.config.fusion == "cosine":
            return CosineHead(self.width, outputs)
        return Head(self.width, outputs, dropout=self.config.dropout)

    @property
    def own_clip(self) -> DualEncoder:
        """What it stands on."""
        return self.clip

    @property
    def shifts(self) -> tuple[str, ...]:
        """It has no words of its own."""
        return ("regions",)

    @property
    def region_width(self) -> int:
        """Of its CLIP's embeddings."""
        return int(self.clip.embed_dim)

    @property
    def tokenizer(self) -> Any:
        """CLIP's: texts -> int64 [B, L]."""
        return self.clip.tokenizer

    @property
    def vocabulary_key(self) -> str:
        """CLIP's."""
        return str(self.clip.tokenizer_key)

    def own_state(self) -> dict[str, Tensor]:
        """All but CLIP's weights."""
        return {name: value for name, value in self.state_dict().items() if not name.startswith("clip.")}

    def train(self, mode: bool = True) -> ClipAdapter:
        """Set training mode; CLIP stays in evaluation mode."""
        super().train(mode)
        self.clip.eval()
        return self

    def forward(
        self,
        inputs: FusionInputs,
        *,
        word_shift: Tensor | None = None,
        region_shift: Tensor | None = None,
        weights: bool = False,
    ) -> FusionOutput:
        """Run a batch of pairs; see `FusionModel.forward`.

        Raises:
            UserError: region features that aren't this CLIP's embeddings, shifted words, attention weights.
        """
        width = self.clip.embed_dim
        if inputs.features.shape[-1] != width:
            raise UserError(
                f"fusion model '{self.name}': region features have a width of {inputs.features.shape[-1]}, and its "
                f"CLIP embeds in {width}; give that CLIP's own embeddings"
            )
        if word_shift is not None or weights:
            raise UserError(f"fusion model '{self.name}': an adapter shifts no words and shows no attention weights")
        # CLIP's text tower costs more than all that is trained.
        said, tokens, there = self._read(inputs.ids)
        regions = _long(shifted(inputs.features, region_shift))
        said, tokens = _long(said), _long(tokens)
        sequence = torch.cat([tokens, regions], dim=1)
        mask = torch.cat([there, inputs.region_mask], dim=1)
        if self.layers is not None:
            shown = mask[:, None, None, :]
            side = (torch.arange(mask.shape[1], device=mask.device) >= tokens.shape[1]).long()
            sequence = self.layers(sequence + self.sides(side), attention_mask=shown).last_hidden_state
            end = there.sum(dim=1) - 1
            text = sequence[torch.arange(len(end), device=end.device), end]
            pooled: Tensor = torch.cat([text, sequence[:, tokens.shape[1]]], dim=1)
        elif self.config.fusion == "cosine":
            text, image = self.text_side(said), self.image_side(regions[:, 0])
            pooled = normalize(text, dim=-1) * normalize(image, dim=-1)
        else:
            pooled = self.both(torch.cat([said, regions[:, 0]], dim=1))
        return FusionOutput(sequence, mask, pooled, tokens.shape[1], regions.shape[1])


def _layers(width: int, count: int, *, last: bool = False) -> nn.Module:
    """`count` linear layers with GELU behind each, but not behind the last one where `last`."""
    found: list[nn.Module] = []
    for _ in range(count):
        found += [nn.Linear(width, width), nn.GELU()]
    return nn.Sequential(*(found[:-1] if last else found))


def _long(vectors: Tensor) -> Tensor:
    """Unit vectors times sqrt(width): numbers of about 1, whatever the lengths that CLIP gives."""
    longer: Tensor = normalize(vectors, dim=-1) * float(vectors.shape[-1] ** 0.5)
    return longer


def _transformer(config: AdapterConfig, width: int) -> Any:
    from transformers import BertConfig
    from transformers.models.bert.modeling_bert import BertEncoder

    sizes = BertConfig(
        hidden_size=width, num_hidden_layers=config.layers, num_attention_heads=config.attention_heads,
        intermediate_size=4 * width, hidden_dropout_prob=config.dropout,
        attention_probs_dropout_prob=config.dropout, layer_norm_eps=EPS,
    )  # fmt: skip
    sizes._attn_implementation = "sdpa"
    return BertEncoder(sizes)


def create_adapter(
    config: str | Mapping[str, Any], clip: DualEncoder, seed: int | None = None, **changes: Any
) -> ClipAdapter:
    """Put an adapter with new weights on a CLIP, in evaluation mode.

    Args:
        config: a name of `ADAPTERS`, or the fields of AdapterConfig.
        seed: of the weights; None draws from torch's state.

    Raises:
        UserError: no such name or field.
    """
    if isinstance(config, str) and config not in ADAPTERS:
        names = ", ".join(ADAPTERS)
        raise UserError(f"CLIP adapter '{config}': no such name.{nearest(config, ADAPTERS)} Names: {names}")
    fields = ADAPTERS[config] if isinstance(config, str) else config
    try:
        sizes = AdapterConfig.model_validate({**fields, **changes})
    except ValidationError as error:
        raise UserError(f"CLIP adapter: {explain(error, AdapterConfig)}") from error
    name = config if isinstance(config, str) else "clip-adapter"
    with torch.random.fork_rng(devices=[]) if seed is not None else nullcontext():
        if seed is not None:
            torch.manual_seed(seed)
        return ClipAdapter(sizes, clip, name=f"{name}:{clip.name}").eval()
