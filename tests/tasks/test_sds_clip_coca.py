"""SDS-CLIP on a CoCa (appendix L): both towers' norms train, the text decoder has no part in it."""

from __future__ import annotations

from torch import nn

from tests.tasks.test_sds_clip_task import build, step


def test_both_towers_norms_get_gradients_and_the_decoder_none() -> None:
    task = build("coca")
    _, grads = step(task)
    norms = {
        f"student.{name}.{part}"
        for name, module in task.student.named_modules()
        if isinstance(module, nn.LayerNorm)
        for part, _ in module.named_parameters(recurse=False)
    }
    towers = {name for name in norms if not name.startswith("student.clip.text_decoder.")}
    assert towers < norms and set(grads) == towers | {"h_w.weight", "h_w.bias"}
