"""Multi-head cross-attention with padding masks, rotary positions on request, residual and LayerNorm."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention


def rotate(values: Tensor, base: float = 10_000.0) -> Tensor:
    """Turn each pair of channels by an angle that grows with the position (RoFormer, 2021, equation 34).

    Args:
        values: [..., N, C], C even; position n is the row's number.

    Returns:
        The same shape. The inner product of two turned vectors depends on the difference of their positions alone.
    """
    half = values.shape[-1] // 2
    rate = base ** (-torch.arange(half, dtype=values.dtype, device=values.device) / half)
    angle = torch.arange(values.shape[-2], dtype=values.dtype, device=values.device)[:, None] * rate
    first, second = values[..., :half], values[..., half:]
    return torch.cat([first * angle.cos() - second * angle.sin(), first * angle.sin() + second * angle.cos()], dim=-1)


class CrossAttention(nn.Module):
    """Queries of one modality attend to the other: LayerNorm(query + attention(query, context)).

    The output projection starts at a tenth of its usual size, so that an untrained layer hardly moves the embeddings
    of the frozen model and the residual carries them.
    """

    def __init__(self, width: int, heads: int, rotary: bool = False) -> None:
        super().__init__()
        self.heads, self.rotary = heads, rotary
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.out = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width)
        with torch.no_grad():
            self.out.weight.mul_(0.1)
            self.out.bias.zero_()

    @torch.no_grad()
    def start_as_torch(self) -> None:
        """Draw the weights anew as `torch.nn.MultiheadAttention` starts with, the output projection at full size."""
        width = self.out.in_features
        for layer in (self.query, self.key, self.value):
            # One [3 width, width] matrix there: the bound of its Glorot start is sqrt(6 / (3 + 1) width).
            nn.init.uniform_(layer.weight, -((1.5 / width) ** 0.5), (1.5 / width) ** 0.5)
            nn.init.zeros_(layer.bias)
        nn.init.uniform_(self.out.weight, -(width**-0.5), width**-0.5)

    def forward(self, query: Tensor, context: Tensor, context_mask: Tensor) -> Tensor:
        """query [B, N, D], context [B, K, D], context_mask bool [B, K] (True = there) -> [B, N, D].

        Every sample must have at least one context token.
        """
        q, k, v = (
            layer(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for layer, x in ((self.query, query), (self.key, context), (self.value, context))
        )
        if self.rotary:
            q, k = rotate(q), rotate(k)
        attended = scaled_dot_product_attention(q, k, v, attn_mask=context_mask[:, None, None, :])
        result: Tensor = self.norm(query + self.out(attended.transpose(1, 2).flatten(2)))
        return result
