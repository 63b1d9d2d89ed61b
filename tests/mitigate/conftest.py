"""The hand-made WordNet, and VCR records by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.mitigate.small_wordnet import write_wordnet


@pytest.fixture(scope="session")
def wordnet_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_wordnet(tmp_path_factory.mktemp("wordnet") / "dict")
