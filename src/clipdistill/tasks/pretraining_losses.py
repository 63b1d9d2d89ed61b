"""What the losses of pretraining are made of: hidden regions, means over what is masked, words against regions."""

from __future__ import annotations

import torch
from torch import Tensor

from clipdistill.models.fusion import FusionInputs, FusionOutput
from clipdistill.objectives.optimal_transport import transport_distance


def alignment(output: FusionOutput, inputs: FusionInputs) -> Tensor:
    """What it costs to transport each text's words onto its picture's regions, [B].

    All tokens of the text take part, [CLS] and [SEP] too, as in UNITER's code; the whole image, ours, doesn't.
    """
    return transport_distance(output.text, output.objects[:, 1:], inputs.text_mask, inputs.region_mask[:, 1:])


def with_hidden(inputs: FusionInputs, hidden: Tensor) -> FusionInputs:
    """Inputs whose regions `hidden` [B, M], counted without the whole image, aren't shown, nor are in its mean."""
    shown = (inputs.region_mask[:, 1:] & ~hidden)[..., None].to(inputs.features.dtype)
    whole = (inputs.features[:, 1:] * shown).sum(dim=1) / shown.sum(dim=1).clamp_min(1)
    features = torch.cat([whole[:, None], inputs.features[:, 1:]], dim=1)
    masked = torch.cat([torch.zeros_like(hidden[:, :1]), hidden], dim=1)
    return FusionInputs(
        inputs.ids, inputs.types, inputs.text_mask, features, inputs.boxes, inputs.region_mask, inputs.tags, masked
    )


def mean_of_each(values: Tensor, where: Tensor) -> Tensor:
    """Values [N] of the places `where` bool [B, L], row by row -> the mean of each row, [B]; 0 where it has none."""
    rows = where.nonzero()[:, 0]
    total = torch.zeros(len(where), dtype=values.dtype, device=values.device).index_add(0, rows, values)
    return total / where.sum(dim=1).clamp_min(1)
