"""What comes twice in the data, said before a training and by `doctor --data`."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clipdistill.data import ImageRef, Mixture, open_source
from clipdistill.runs import repeats
from clipdistill.runs.doctor_data import look_over
from clipdistill.runs.repeats import class_notes, looked_at, shared, within


def table(folder: Path, captions: list[str], first: int = 0, copies: dict[int, int] | None = None) -> Path:
    """A table of pictures of noise, numbered from `first`; `copies`: number -> the number that it is a copy of."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = ["image,caption"]
    for number, caption in enumerate(captions, first):
        rows.append(f'{number:03d}.png,"{caption}"')
        noise = np.random.default_rng((copies or {}).get(number, number)).integers(0, 255, (6, 6, 3), dtype=np.uint8)
        Image.fromarray(noise).save(folder / f"{number:03d}.png")
    path = folder / f"{folder.name}.csv"
    path.write_text("\n".join(rows))
    return path


def looked(path: Path, name: str = "d") -> repeats.Looked:
    return looked_at(name, Mixture([(open_source(str(path)), None)]))


def captions(count: int) -> list[str]:
    return [f"thing number {number}" for number in range(count)]


def test_nothing_is_said_of_data_without_repeats(tmp_path: Path) -> None:
    one, two = looked(table(tmp_path / "a", captions(9))), looked(table(tmp_path / "b", ["x", "y"], first=20))
    assert list(within(one)) == [] and list(shared(one, two)) == []


def test_pictures_of_the_same_bytes_and_captions_of_several_pictures(tmp_path: Path) -> None:
    data = looked(table(tmp_path / "a", [*captions(8), "Thing  number 3"], copies={6: 2, 7: 2}))
    said = dict(within(data))
    assert said["same pictures"].startswith(
        "2 of 9 looked at have the bytes of another one: a/002.png = a/006.png = a/007.png; in"
    )
    assert said["same captions"] == (
        "1 of 9 captions (9 samples) are another picture's too, most often 'thing number 3' (2 pictures)"
    )


def test_a_file_in_several_rows_is_one_picture_with_several_captions(tmp_path: Path) -> None:
    path = table(tmp_path / "a", captions(3))
    path.write_text(path.read_text() + '\n000.png,"the first again"')
    assert list(within(looked(path))) == []


def test_test_data_that_was_trained_on(tmp_path: Path) -> None:
    training = looked(table(tmp_path / "a", captions(9)))
    (tmp_path / "b").mkdir()
    shutil.copy(tmp_path / "a" / "004.png", tmp_path / "b" / "other.png")
    Image.new("RGB", (6, 6)).save(tmp_path / "b" / "005.png")  # another file by the name and caption of one
    Image.new("RGB", (6, 6), "red").save(tmp_path / "b" / "new.png")
    rows = ["image,caption", '../a/001.png,"one"', 'other.png,"two"', '005.png,"thing number 5"', 'new.png,"four"']
    (tmp_path / "b.csv").write_text("\n".join(rows).replace("../a", "a").replace("\nother", "\nb/other")
                                    .replace("\n005", "\nb/005").replace("\nnew", "\nb/new"))  # fmt: skip
    ((what, said),) = shared(training, looked(tmp_path / "b.csv", "test"))
    assert what == "test data" and said.startswith("test: 3 of 4 are training data too (1 the same file, 1 the same")
    assert "1 the same name and captions; 9 of these looked at)" in said


def test_a_look_at_a_part_says_so(tmp_path: Path) -> None:
    source = open_source(str(table(tmp_path / "a", captions(9))))
    part = looked_at("d", source, 4)
    assert part.said == "4 of 9" and not part.all and looked_at("d", source).said == "9"


def test_probes_of_large_pictures_are_bounded(tmp_path: Path) -> None:
    for name, end in (("one", b"x"), ("two", b"y")):
        (tmp_path / name).write_bytes(bytes(100_000) + end)
    one, two = (ImageRef.from_path(tmp_path / name) for name in ("one", "two"))
    assert len(one.probe(10)) == 30 and one.probe(10) != two.probe(10)
    assert ImageRef.from_range(tmp_path / "one", 5, 20).probe(10) == bytes(20)


def test_class_names_that_are_numbers_or_one_and_the_same() -> None:
    said = [text for _, text in class_notes({"pets": ["n01440764", "Cat", "cat ", "wild_cat", "wild cat", "dog"]})]
    assert said[0].startswith("pets: 1 of 6 are WordNet ids (n01440764), which no text tower knows; set `class_names:")
    assert said[1].endswith("in a prompt: 'Cat' = 'cat '; 'wild_cat' = 'wild cat'")
    assert list(class_notes({"pets": ["t-shirt", "t shirt"]})) == []


def test_doctor_looks_data_over(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train, test = table(tmp_path / "train", captions(4)), table(tmp_path / "test", ["x"], first=30, copies={30: 2})
    rows = look_over([str(train), str(test)])
    assert rows[0] == (str(train), "samples", "4") and rows[1][1:] == ("look", "nothing to say against it")
    assert rows[-1][:2] == (str(test), "test data") and "1 the same bytes" in rows[-1][2]
    assert "a look at the data" in capsys.readouterr().out
