"""FusionModel: one transformer over the words of a text and the regions of a picture (UNITER, VILLA, VL-BERT)."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from clipdistill.errors import UserError
from clipdistill.models.fusion.base import FusionBase, Sees
from clipdistill.models.fusion.config import Attention, FusionConfig, HeadName
from clipdistill.models.fusion.embeddings import EPS, UniterEmbeddings, VLBertEmbeddings, WordEmbeddings
from clipdistill.models.fusion.heads import make_head
from clipdistill.models.fusion.inputs import FusionInputs, FusionOutput

EMBEDDINGS: dict[str, Any] = {
    "uniter": UniterEmbeddings,
    "vl_bert": VLBertEmbeddings,
    "bert": WordEmbeddings,
    "clip_vil": UniterEmbeddings,
}
HIDDEN_SCORE = -10_000.0
"""What is added to the attention scores of padding, as in BERT; its share comes out as exactly 0."""


class FusionModel(FusionBase):
    """Embeddings and heads of ours around BERT's layers and pooler, which are transformers'.

    Args:
        config: shapes and heads. name: what reports call it.
        tokenizer: a transformers BERT tokenizer, or None where only numbers are fed.
        attention: "sdpa", or "eager", which can give its weights.

    The weights are drawn from torch's random state, see `create_fusion`.
    """

    def __init__(
        self, config: FusionConfig, *, name: str = "fusion", tokenizer: Any = None, attention: Attention = "sdpa"
    ) -> None:
        from transformers import BertConfig  # here, so that commands without such a model start without it
        from transformers.models.bert.modeling_bert import BertEncoder, BertPooler

        super().__init__()
        self.config, self.name, self._tokenizer = config, name, tokenizer
        layers = BertConfig(
            vocab_size=config.vocabulary, hidden_size=config.width, num_hidden_layers=config.layers,
            num_attention_heads=config.attention_heads, intermediate_size=config.hidden, hidden_act="gelu",
            hidden_dropout_prob=config.dropout, attention_probs_dropout_prob=config.attention_dropout,
            layer_norm_eps=EPS,
        )  # fmt: skip
        self.embeddings: Any = EMBEDDINGS[config.architecture](config)
        # The encoder and not BertModel, which would add positions and types a second time.
        self.encoder: Any = BertEncoder(layers)
        self.pooler = BertPooler(layers)
        self.heads = nn.ModuleDict({head: self.new_head(head, out) for head, out in config.heads.items()})
        self.apply(self._draw)
        self.embeddings.start(config.spread)
        self.set_attention(attention)

    def new_head(self, name: HeadName, outputs: int) -> nn.Module:
        """See `make_head`."""
        return make_head(name, outputs, self.config).apply(self._draw)

    def _draw(self, module: nn.Module) -> None:
        """BERT's start: normal weights, zero biases."""
        if isinstance(module, nn.Linear | nn.Embedding):
            nn.init.normal_(module.weight, std=self.config.spread)
        if isinstance(module, nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)

    @property
    def sees(self) -> Sees:
        """BERT sees nothing."""
        return "nothing" if self.config.architecture == "bert" else "regions"

    @property
    def shifts(self) -> tuple[str, ...]:
        """Of BERT the words alone."""
        return ("words",) if self.sees == "nothing" else super().shifts

    @property
    def option_outputs(self) -> int:
        """VL-BERT has one."""
        return 1 if self.config.architecture == "vl_bert" else 2

    @property
    def tokenizer(self) -> Any:
        """The BERT tokenizer whose numbers `ids` are.

        Raises:
            UserError: the model was made without one.
        """
        if self._tokenizer is None:
            raise UserError(f"fusion model '{self.name}': has no tokenizer; give `{self.config.tokenizer}` or a folder")
        return self._tokenizer

    @property
    def has_tokenizer(self) -> bool:
        """Whether it was made with one."""
        return self._tokenizer is not None

    @property
    def vocabulary_key(self) -> str:
        """Of the words and their numbers."""
        if self._tokenizer is None:
            return ""
        return json.dumps([self.config.lower_case, self._tokenizer.get_vocab()], sort_keys=True)

    @property
    def attention(self) -> str:
        """The attention implementation in use."""
        return str(self.encoder.config._attn_implementation)

    def set_attention(self, implementation: Attention) -> None:
        """Take another attention implementation: the same numbers, "eager" slower and with weights to look at."""
        self.encoder.config._attn_implementation = implementation

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Compute each layer's activations again in the backward pass, which saves most of the memory."""
        for layer in self.encoder.layer:
            layer.gradient_checkpointing = enable
            layer._gradient_checkpointing_func = functools.partial(checkpoint, use_reentrant=False)

    def forward(
        self,
        inputs: FusionInputs,
        *,
        word_shift: Tensor | None = None,
        region_shift: Tensor | None = None,
        weights: bool = False,
    ) -> FusionOutput:
        """Run a batch of pairs through embeddings, layers and pooler.

        Args:
            inputs: B pairs. word_shift [B, L, D], region_shift [B, M, F]: see `Embeddings`.
            weights: give the attention weights too.

        Raises:
            UserError: region features of another width, a text that is too long, weights of an implementation that
                has none.
        """
        self._check(inputs)
        sequence, mask = self.embeddings(inputs, word_shift, region_shift)
        shown = mask[:, None, None, :]
        if self.attention == "eager":
            shown = torch.zeros_like(shown, dtype=sequence.dtype).masked_fill(~shown, HIDDEN_SCORE)
        found: list[Tensor] = []
        with self.watching(lambda _, each: found.append(each)) if weights else nullcontext():
            sequence = self.encoder(sequence, attention_mask=shown).last_hidden_state
        return FusionOutput(
            sequence, mask, self.pooler(sequence), inputs.ids.shape[1], inputs.boxes.shape[1],
            tuple(found) if weights else None,
        )  # fmt: skip

    def _tied(self, head: str) -> Tensor | None:
        matrix: Tensor | None = None
        if head == "words":
            matrix = self.embeddings.words.weight
        elif head == "region_features" and self.config.architecture != "vl_bert":
            matrix = self.embeddings.feature.weight.T
        return matrix

    def _check(self, inputs: FusionInputs) -> None:
        config = self.config
        if self.sees == "nothing" and inputs.boxes.shape[1]:
            raise UserError(f"fusion model '{self.name}': sees no region; give texts alone")
        if self.sees != "nothing" and inputs.features.shape[-1] != config.region_width:
            raise UserError(
                f"fusion model '{self.name}': region features have a width of {inputs.features.shape[-1]}, and the "
                f"model takes {config.region_width}; give features of the same detector, or a model made for these"
            )
        room = config.positions - (2 if config.architecture == "vl_bert" else 0)
        if inputs.ids.shape[1] > room:
            raise UserError(f"fusion model '{self.name}': texts have {inputs.ids.shape[1]} tokens; cut them to {room}")

    @contextmanager
    def watching(self, take: Callable[[int, Tensor], object]) -> Iterator[None]:
        """Show each layer's attention weights to `take` (the layer's number, [B, heads, S, S]) while it runs.

        Nothing is kept, so whoever reduces them at once never holds more than one layer's.

        Raises:
            UserError: the attention implementation has no weights.
        """
        if self.attention != "eager":
            raise UserError(f"fusion model '{self.name}': {self.attention} gives no weights; set_attention('eager')")

        def show(number: int, _module: Any, _given: Any, given_back: Any) -> None:
            take(number, given_back[1])

        hooks = [
            layer.attention.self.register_forward_hook(functools.partial(show, number))
            for number, layer in enumerate(self.encoder.layer)
        ]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()
