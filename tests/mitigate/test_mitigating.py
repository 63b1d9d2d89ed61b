"""The commands `mitigate` and `bias`: files, log, summary, pictures found, and mistakes in one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from clipdistill.cli import app, run
from clipdistill.data import open_source
from clipdistill.errors import UserError
from clipdistill.kinds import KINDS
from clipdistill.mitigate import mitigate_vcr
from clipdistill.models.fusion import create_fusion
from tests.mitigate.vcr_records import record, write_vcr

ONE = record("Why is [1] with a dog ?", ["[1] has a dog .", "he runs .", "[0] has dogs .", "so ."], 0, annot_id="val-1")
TWO = record("Why are [0,1] here ?", ["They run .", "[0] runs .", "[1,2] run .", "so ."], 2, annot_id="val-2")
NEITHER = record("Why ?", ["so .", "so .", "so .", "so ."], 1, annot_id="val-3")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return write_vcr(
        tmp_path / "data", [ONE, TWO, NEITHER, "not json", {**ONE, "annot_id": "val-4", "objects": ["dog"]}]
    )


def command(*words: Any) -> str:
    done = CliRunner().invoke(app, [str(word) for word in words])
    assert done.exit_code == 0, done.output
    return done.output


def lines(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_rules_from_the_command_to_the_source(file: Path) -> None:
    folder = file.parent
    said = command("mitigate", file, "--kind", "sm-rule", "--out", folder)
    assert "sm-rule: 2 questions kept, 3 dropped" in said
    assert "changed: 2 questions (5 answer choices, 0 rationale choices), 5 changes" in said
    assert "pictures are found in" in said
    written = lines(folder / "val-sm-rule.jsonl")
    assert written == [
        {
            **ONE,
            "answer_choices": [
                ["He", "has", "a", "dog", "."],
                [[1], "runs", "."],
                [[1], "has", "dogs", "."],
                ["so", "."],
            ],
        },
        {**TWO, "answer_choices": [[[0, 1], "run", "."], [[0], "runs", "."], ["They", "run", "."], ["so", "."]]},
    ]
    log = lines(folder / "val-sm-rule.changes.jsonl")
    assert log[0] == {
        "annot_id": "val-1", "choices": "answer_choices", "option": 0, "position": 0, "before": [[1]], "after": ["He"],
        "why": "right: pronoun",
    }  # fmt: skip
    assert [(each["annot_id"], each["why"]) for each in log[5:]] == [
        ("val-3", "left out: its question is about neither one person nor one group of persons"),
        ("line 4", "left out: not VCR's: not JSON"),
        ("val-4", "left out: not VCR's: question names object 1, and the picture has 1"),
    ]
    summary = json.loads((folder / "val-sm-rule.summary.json").read_text())
    assert (summary["kept"], summary["dropped"], summary["changes"]) == (2, 3, 5)
    assert summary["changes_by_reason"]["wrong: the question's group"] == 1
    source = open_source({"format": "vcr", "path": str(folder), "split": "val-sm-rule"})
    assert source.name == "vcr_val-sm-rule" and source.ids == ["val-1", "val-2"]
    assert source[0].fields["choices"][0] == "He has a dog." and len(source[0].regions.boxes) == 5  # type: ignore[union-attr]
    for kind, kept in (("sm-singular", ["val-1"]), ("sm-plural", ["val-2"])):
        mitigate_vcr(file, kind, folder / f"{kind}.jsonl")
        assert [each["annot_id"] for each in lines(folder / f"{kind}.jsonl")] == kept


def test_em_and_bias_by_command(file: Path, wordnet_folder: Path, tmp_path: Path) -> None:
    said = command("mitigate", file, "--kind", "em", "--out", file.parent, "--wordnet", wordnet_folder)
    assert "em: 3 questions kept, 2 dropped" in said and "unreplaced: 0" in said
    assert lines(file.parent / "val-em.jsonl")[0]["answer_choices"][2] == [[0], "has", "canines", "."]
    options = ["--wordnet", wordnet_folder, "--json", tmp_path / "bias.json"]
    said = command("bias", file, "--im", file.parent / "val-em.jsonl", *options)
    assert "(3.14)" in said.replace("\n", "") and "kept by IM" in said
    assert json.loads((tmp_path / "bias.json").read_text())["all"]["right"]["question_tokens"] == pytest.approx(1.0)


def test_a_file_elsewhere_finds_its_pictures_by_a_link(file: Path, tmp_path: Path) -> None:
    said = command("mitigate", file, "--kind", "sm-rule", "--out", tmp_path / "far" / "away")
    assert "by the link vcr1images, made beside it" in said
    assert len(open_source({"format": "vcr", "path": str(tmp_path / "far/away"), "split": "val-sm-rule"})) == 2
    # Another folder of that name is left alone, and what to do is said.
    (tmp_path / "taken" / "vcr1images").mkdir(parents=True)
    assert "with `root:` set to their folder" in command(
        "mitigate", file, "--kind", "sm-rule", "--out", tmp_path / "taken"
    )
    spec = {"format": "vcr", "path": str(tmp_path / "taken/val-sm-rule.jsonl"), "root": str(file.parent / "vcr1images")}
    assert len(open_source(spec)) == 2


def test_a_written_file_is_measured_by_the_suite(file: Path, tmp_path: Path) -> None:
    KINDS["fusion"].save(create_fusion("petri-bert", 0, heads={"vcr": 1}), tmp_path / "model")
    by = ["--out", file.parent, "--by", tmp_path / "model"]
    adversarial = command("mitigate", file, "--kind", "sm-adversarial", *by, "--mask", "keep-1", "--wrong-only")
    assert "sm-adversarial: 3 questions kept" in adversarial
    command("mitigate", file, "--kind", "im", *by, "--confidence", "0.999")
    for name, count in (("val-sm-adversarial-keep-1", 3), ("val-im", 3)):
        found = ["--json", tmp_path / "found.json", "--workers", 0]
        command("evaluate", tmp_path / "model", "--suite", "vcr", "--data", f"vcr:{file.parent}@{name}", *found)
        (result,) = json.loads((tmp_path / "found.json").read_text())["results"]
        assert (result["data"], result["n"]) == (f"vcr_{name}", count)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--kind", "sm-rul"], "--kind sm-rul: there is no such kind. Did you mean 'sm-rule'?"),
        (["--kind", "im"], "--by is missing: name the run of a language model"),
        (["--kind", "im", "--by", "x", "--confidence", "1.5"], "--confidence 1.5: is a probability"),
        (["--kind", "sm-adversarial"], "sm-adversarial takes either --by RUN"),
        (["--kind", "sm-adversarial", "--by", "x", "--scores", "y"], "give one of them"),
        (
            ["--kind", "sm-adversarial", "--by", "x", "--mask", "keep-2"],
            "--mask keep-2: is none of adv-1, keep-1, keep-3",
        ),
        (["--kind", "sm-adversarial", "--scores", "none.jsonl"], "none.jsonl: no such score file"),
        (
            ["--kind", "em", "--by", "x"],
            "--by: means nothing to em (it is an option of sm-adversarial, im); leave it out",
        ),
        (["--kind", "sm-rule", "--wrong-only"], "--wrong-only: means nothing to sm-rule"),
        (["--kind", "em", "--wordnet", "none"], "none: has no WordNet file index.noun; get it with `apt install"),
        (["--kind", "im", "--by", "none.npz"], "none.npz: no such file"),
        (["--kind", "im", "--by", "none"], "none"),
    ],
)
def test_mistakes_are_one_line(
    options: list[str], message: str, file: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert run(["mitigate", str(file), "--out", str(tmp_path / "out"), *options]) == 2
    said = capfd.readouterr().err.strip()
    assert said.startswith("clipdistill: ") and message in said and "\n" not in said
    assert not (tmp_path / "out").exists()


def test_files_that_cant_be_mitigated(file: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        mitigate_vcr(tmp_path / "none.jsonl", "sm-rule", tmp_path)
    with pytest.raises(UserError, match="is a folder; name a file in it"):
        mitigate_vcr(file.parent, "sm-rule", tmp_path)
    (tmp_path / "other.jsonl").write_text('{"question": "What?"}\n')
    with pytest.raises(UserError, match=r"other.jsonl: no VCR questions in it: line 1: no 'objects'"):
        mitigate_vcr(tmp_path / "other.jsonl", "em", tmp_path)
    with pytest.raises(UserError, match="is the file that is read; choose another name"):
        mitigate_vcr(file, "sm-rule", file)
    unlabelled = write_vcr(tmp_path, [{k: v for k, v in ONE.items() if not k.endswith("label")}])
    with pytest.raises(UserError, match="has no labels, and right and wrong options are changed otherwise"):
        mitigate_vcr(unlabelled, "sm-rule", tmp_path)
    with pytest.raises(
        UserError, match=r"sm-plural leaves none of its 1 questions \(its question isn't about one group"
    ):
        mitigate_vcr(write_vcr(tmp_path, [ONE]), "sm-plural", tmp_path)
    with pytest.raises(UserError, match="mitigate: has no option 'masks'. Did you mean 'mask'?"):
        mitigate_vcr(file, "sm-adversarial", tmp_path, masks="adv-1")
    assert [one.name for one in tmp_path.glob("val-*")] == []
