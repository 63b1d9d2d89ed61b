"""Vision-language models of LLaVA's kind on any image tower of ours.

Importing this registers our image towers with transformers: after `import clipdistill.models.vlm` every folder that a
VLM was saved to opens with `LlavaForConditionalGeneration.from_pretrained`.
"""

from __future__ import annotations

from clipdistill.models.vlm.creating import create_vlm
from clipdistill.models.vlm.loading import load_vlm, start_vlm
from clipdistill.models.vlm.model import VLM
from clipdistill.models.vlm.tower import ImageTower, ImageTowerConfig

__all__ = ["VLM", "ImageTower", "ImageTowerConfig", "create_vlm", "load_vlm", "start_vlm"]
