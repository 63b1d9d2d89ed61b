"""Shared by all tests: nothing is ever fetched, and helpers beside the tests can be imported."""

from __future__ import annotations

import os
import sys
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
sys.path[:0] = [str(Path(__file__).parent / folder) for folder in ("models", "data")]
