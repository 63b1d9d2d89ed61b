"""FusionModel: one transformer over the words of a text and the regions of a picture (UNITER, VILLA, VL-BERT)."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from clipdistill.errors import UserError
from clipdistill.models.fusion.config import Attention, FusionConfig, HeadName
from clipdistill.models.fusion.embeddings import EPS, UniterEmbeddings, VLBertEmbeddings
from clipdistill.models.fusion.heads import make_head
from clipdistill.models.fusion.inputs import FusionInputs, FusionOutput

EMBEDDINGS: dict[str, Any] = {"uniter": UniterEmbeddings, "vl_bert": VLBertEmbeddings}
HIDDEN_SCORE = -10_000.0
"""What is added to the attention scores of padding, as in BERT; its share comes out as exactly 0."""


class FusionModel(nn.Module):
    """Embeddings and heads of ours around BERT's layers and pooler, which are transformers'.

    Args:
        config: shapes and heads. name: what reports call it.
        tokenizer: a transformers BERT tokenizer, or None where only numbers are fed.
        attention: "sdpa", or "eager", which can give its weights.

    The weights are drawn from torch's random state, see `create_fusion`.
    """

    KIND: ClassVar[str] = "fusion"

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
        self.heads = nn.ModuleDict({head: make_head(head, out, config) for head, out in config.heads.items()})
        self.apply(self._draw)
        self.embeddings.start(config.spread)
        self.set_attention(attention)

    def _draw(self, module: nn.Module) -> None:
        """BERT's start: normal weights, zero biases."""
        if isinstance(module, nn.Linear | nn.Embedding):
            nn.init.normal_(module.weight, std=self.config.spread)
        if isinstance(module, nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)

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
        self._check(inputs, weights)
        sequence, mask = self.embeddings(inputs, word_shift, region_shift)
        shown = mask[:, None, None, :]
        if self.attention == "eager":
            shown = torch.zeros_like(shown, dtype=sequence.dtype).masked_fill(~shown, HIDDEN_SCORE)
        found: list[Tensor] = []
        with self._watched(found) if weights else nullcontext():
            sequence = self.encoder(sequence, attention_mask=shown).last_hidden_state
        return FusionOutput(
            sequence, mask, self.pooler(sequence), inputs.ids.shape[1], inputs.boxes.shape[1],
            tuple(found) if weights else None,
        )  # fmt: skip

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
        device, dtype = self.pooler.dense.weight.device, self.pooler.dense.weight.dtype
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            for name, outputs in heads.items():
                self.heads[name] = make_head(name, outputs, self.config).apply(self._draw).to(device, dtype)
        self.config = self.config.model_copy(update={"heads": {**self.config.heads, **heads}})
        self.heads.train(self.training)

    def _tied(self, head: str) -> Tensor | None:
        matrix: Tensor | None = None
        if head == "words":
            matrix = self.embeddings.words.weight
        elif head == "region_features" and self.config.architecture == "uniter":
            matrix = self.embeddings.feature.weight.T
        return matrix

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

    def _check(self, inputs: FusionInputs, weights: bool) -> None:
        config = self.config
        if inputs.features.shape[-1] != config.region_width:
            raise UserError(
                f"fusion model '{self.name}': region features have a width of {inputs.features.shape[-1]}, and the "
                f"model takes {config.region_width}; give features of the same detector, or a model made for these"
            )
        room = config.positions - (2 if config.architecture == "vl_bert" else 0)
        if inputs.ids.shape[1] > room:
            raise UserError(f"fusion model '{self.name}': texts have {inputs.ids.shape[1]} tokens; cut them to {room}")
        if weights and self.attention != "eager":
            raise UserError(f"fusion model '{self.name}': {self.attention} gives no weights; set_attention('eager')")

    @contextmanager
    def _watched(self, found: list[Tensor]) -> Iterator[None]:
        """Collect each layer's attention weights while it runs."""
        hooks = [
            layer.attention.self.register_forward_hook(lambda _module, _given, given_back: found.append(given_back[1]))
            for layer in self.encoder.layer
        ]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()
