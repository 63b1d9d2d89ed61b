"""A VLM as a folder of transformers' LLaVA: weights, configuration, tokenizer and a processor that fits them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from clipdistill.export.transformers_folder import image_processor_config
from clipdistill.files import write_json
from clipdistill.models.quiet import quiet
from clipdistill.models.vlm import VLM
from clipdistill.models.vlm.conversation import CHAT_TEMPLATE
from clipdistill.models.vlm.language import IMAGE
from clipdistill.models.vlm_names import ABOUT


def make_processor(model: VLM) -> Any:
    """The LlavaProcessor of a model: the same pictures, and as many tokens for each as the tower gives.

    Raises:
        ValueError: it counts other tokens, which `generate` would refuse with "do not match".
    """
    from transformers import CLIPImageProcessor, LlavaProcessor

    config = model.llava.config
    values = {k: v for k, v in image_processor_config(model.preprocess).items() if k != "image_processor_type"}
    processor = LlavaProcessor(
        image_processor=CLIPImageProcessor(**values), tokenizer=model.tokenizer,
        patch_size=int(config.vision_config.patch_size), chat_template=CHAT_TEMPLATE, image_token=IMAGE,
        vision_feature_select_strategy=config.vision_feature_select_strategy,
        # transformers takes one away where the strategy drops a token
        num_additional_image_tokens=model.extra_tokens,
    )  # fmt: skip
    height, width = model.preprocess["size"]
    blank = Image.fromarray(np.zeros((height, width, 3), np.uint8))
    ids = processor(images=blank, text=IMAGE, return_tensors="np")["input_ids"]
    counted = int((np.asarray(ids) == model.coder.image_id).sum())
    if counted != model.image_tokens:
        raise ValueError(f"the processor counts {counted} tokens a picture, and the tower gives {model.image_tokens}")
    return processor


def save_vlm(model: VLM, folder: str | Path) -> None:
    """Write a VLM as `LlavaForConditionalGeneration.from_pretrained` and `AutoProcessor.from_pretrained` open it.

    With a tower that transformers hasn't (`vision_config.model_type` is `clipdistill_image_tower`),
    `import clipdistill.models.vlm` must come first.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    processor = make_processor(model)
    with quiet():
        model.llava.save_pretrained(folder)
    processor.save_pretrained(folder)
    write_json(folder / ABOUT, {"name": model.name, "preprocess": model.preprocess})
