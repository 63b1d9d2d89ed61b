"""YAML of users: plain values, libyaml's parser or PyYAML's own alike, and nothing of it lost without a word."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from clipdistill.errors import UserError
from clipdistill.recipe_files import RECIPES, load_recipe
from clipdistill.yaml_files import parse_yaml, read_yaml


def test_shipped_files_read_as_pyyamls_own_parser_reads_them() -> None:
    for path in sorted(RECIPES.rglob("*.yaml"))[::9]:
        assert read_yaml(path) == yaml.safe_load(path.read_text("utf-8")), path


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("train: {lr: 1}\nname: a\ntrain: {epochs: 2}\n", "`train` is there twice, in lines 1 and 3"),
        ("- a\n- {x: 1, y: 2, x: 3}\n", "`x` is there twice, in lines 2 and 2"),
    ],
)
def test_a_key_that_is_there_twice_is_refused(text: str, lines: str, tmp_path: Path) -> None:
    """PyYAML keeps the last: half of a recipe's `train` would be gone."""
    (tmp_path / "x.yaml").write_text(text)
    with pytest.raises(UserError) as error:
        read_yaml(tmp_path / "x.yaml")
    assert lines in str(error.value) and "x.yaml" in str(error.value) and "\n" not in str(error.value)


def test_keys_that_only_look_alike_and_those_over_a_merged_mapping_stand() -> None:
    assert parse_yaml('{1: a, "1": b}') == {1: "a", "1": "b"}
    text = "base: &base {lr: 1, epochs: 2}\nown: {<<: *base, lr: 3}\nboth: {<<: *base, <<: {x: 1}}\n"
    found = parse_yaml(text)
    assert found["own"] == {"lr": 3, "epochs": 2} and found["both"]["x"] == 1


@pytest.mark.parametrize(
    "text",
    [
        "a: [1",
        "a: !!python/object/apply:os.system [ls]",
        "a: b: c",
        "\t- x",
        "a: \x00",
        "2024-13-45",
        "9" * 5000,
        "[" * 5000,
    ],
)
def test_what_is_no_yaml_is_an_error_of_yaml(text: str) -> None:
    with pytest.raises(yaml.YAMLError):
        parse_yaml(text)


def test_a_recipe_with_a_key_twice(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("extends: petri/quickstart\nname: mine\ntrain: {lr: 0.1}\ntrain: {epochs: 1}\n")
    with pytest.raises(UserError, match="`train` is there twice, in lines 3 and 4"):
        load_recipe(str(tmp_path / "mine.yaml"))


@pytest.mark.parametrize(
    "said", ["seed=-1", "seed=99999999999999999999999", "train.epochs=99999999999", "petri.seed=-5"]
)
def test_numbers_that_nothing_can_be_made_of(said: str) -> None:
    with pytest.raises(UserError, match=f"`{said.partition('=')[0]}`"):
        load_recipe("petri/quickstart", [said])


def test_a_value_of_5000_letters_is_not_echoed(capsys: pytest.CaptureFixture[str]) -> None:
    from clipdistill.errors import complain

    complain(f"model '{'a' * 5000}': no\nsuch model", 2)
    line = capsys.readouterr().err
    assert len(line) < 400 and line.endswith("': no such model\n") and "aaa...aaa" in line
