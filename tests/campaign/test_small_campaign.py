"""The campaign's small fixed part: a few kills, faults and spoilt files. `make campaign` runs all of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.campaign import faults, hostile, kills
from tests.campaign.readers import READERS, Reader, make_world
from tests.campaign.small_runs import Base


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Base:
    return Base(tmp_path_factory.mktemp("campaign") / "base").make()


@pytest.fixture(scope="module")
def world(base: Base) -> Path:
    return make_world(base.folder.parent / "hostile" / "world", base)


@pytest.mark.parametrize(("name", "events"), [("cache", 5), ("contrastive", 3)])
def test_killed_runs_end_as_if_they_had_not_been(base: Base, name: str, events: int) -> None:
    calm, tally = kills.Undisturbed.of(name, base), kills.Tally()
    kills.at_events(calm, kills.spread(len(calm.events), events, offset=2), tally, print)
    kills.at_times(calm, 1, tally, print)
    assert tally.failed == {} and tally.kills >= 2


def test_runs_on_a_disk_that_fails_end_with_one_line_and_go_on(base: Base) -> None:
    calm, found = kills.Undisturbed.of("cache", base), faults.Faults()
    faults.at_events(calm, kills.spread(len(calm.events), 5, offset=1), found, print)
    assert found.failed == {} and found.ended >= 2


@pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader.name)
def test_spoilt_files_are_read_or_refused_in_one_line(world: Path, reader: Reader) -> None:
    found = hostile.Cases()
    hostile.spoil(reader, world, max(3, round(15 * reader.share)), found, print)
    assert found.failed == {} and found.cases >= 3 and found.read + found.refused == found.cases
