"""The reader of WordNet's files on a hand-made folder: lemmas, senses, kinds, where it is looked for."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from clipdistill.data import wordnet as reader
from clipdistill.data.wordnet import WordNet, open_wordnet
from clipdistill.errors import UserError
from tests.mitigate.small_wordnet import write_wordnet


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> WordNet:
    return WordNet(write_wordnet(tmp_path_factory.mktemp("wordnet") / "dict"))


def test_lemmas_are_morphys(small: WordNet) -> None:
    assert small.lemmas("Dogs", "noun") == ("dog",)
    assert small.lemmas("geese", "noun") == ("goose",)
    assert small.lemmas("ran", "verb") == small.lemmas("running", "verb") == ("run",)
    assert small.lemmas("moving", "verb") == small.lemmas("moves", "verb") == ("move",)  # -ing -> -e, as it is listed
    assert small.lemmas("happier", "adj") == ()  # morphy takes -er off, and the exceptions have happy's i
    assert small.lemmas("better", "adj") == ("good",)
    assert small.lemmas("traffic lights", "noun") == ("traffic_light",)
    assert small.lemmas("cats", "noun") == () and small.lemmas("goose", "verb") == ()


def test_senses_come_most_frequent_first(small: WordNet) -> None:
    dog = small.entry("dog", "noun")
    assert dog is not None and len(dog.offsets) == 2 and dog.tagged == 1
    first, later = (small.synset(offset, "noun") for offset in dog.offsets)
    assert first.words == later.words == ("dog",)
    (canine,) = small.kinds(first)
    assert canine.words == ("canine", "canid") and [up.words for up in small.kinds(canine)] == [("animal",)]
    assert small.entry("Traffic Light", "noun") == small.entry("stoplight", "noun") is not None
    assert small.entry("cat", "noun") is None


def test_adjectives_take_what_they_are_similar_to(small: WordNet) -> None:
    red = small.entry("red", "adj")
    assert red is not None
    sense = small.synset(red.offsets[0], "adj")
    assert sense.words == ("red", "reddish")  # written reddish(p)
    assert [up.words for up in small.kinds(sense)] == [("colourful",)]
    city = small.entry("paris", "noun")
    assert city is not None and [up.words for up in small.kinds(small.synset(city.offsets[0], "noun"))] == [("entity",)]


def test_a_zip_is_as_good_as_a_folder(small: WordNet, tmp_path: Path) -> None:
    packed = tmp_path / "nltk" / "corpora" / "wordnet.zip"
    packed.parent.mkdir(parents=True)
    with zipfile.ZipFile(packed, "w") as archive:
        for file in small.place.iterdir():
            archive.write(file, f"wordnet/{file.name}")
    assert open_wordnet(packed).lemmas("geese", "noun") == ("goose",)


def test_where_it_is_looked_for(small: WordNet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "FOLDERS", (str(tmp_path / "system"),))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in ("WNSEARCHDIR", "WNHOME", "NLTK_DATA"):
        monkeypatch.delenv(name, raising=False)
    nltk = tmp_path / "home" / "nltk_data" / "corpora" / "wordnet"
    assert nltk in reader.places()
    monkeypatch.setattr(reader, "places", lambda: [tmp_path / "system", nltk])
    with pytest.raises(UserError, match=r"WordNet isn't on this machine; get it with `apt install wordnet-base`"):
        open_wordnet()
    nltk.parent.mkdir(parents=True)
    nltk.symlink_to(small.place)
    assert open_wordnet().place == nltk
    monkeypatch.undo()
    monkeypatch.setenv("WNHOME", "/one")
    monkeypatch.setenv("WNSEARCHDIR", "/two")
    assert reader.places()[:2] == [Path("/two"), Path("/one/dict")]


def test_what_isnt_wordnet_is_refused_in_a_line(small: WordNet, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none: has no WordNet file index.noun; get it"):
        open_wordnet(tmp_path / "none")
    for file in small.place.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "data.verb").write_bytes(b"another release's data\n")
    mixed = open_wordnet(tmp_path)
    run = mixed.entry("run", "verb")
    assert run is not None
    with pytest.raises(UserError, match=r"data.verb has no synset at byte \d+; it isn't of this index"):
        mixed.synset(run.offsets[0], "verb")
    (tmp_path / "index.adv").write_text("hello\n")
    with pytest.raises(UserError, match="index.adv isn't WordNet's"):
        open_wordnet(tmp_path)
    (tmp_path / "verb.exc").unlink()
    with pytest.raises(UserError, match="index.adv isn't WordNet's"):
        open_wordnet(tmp_path)
    (tmp_path / "archive.zip").write_text("no zip")
    with pytest.raises(UserError, match="archive.zip: has no WordNet file index.noun"):
        open_wordnet(tmp_path / "archive.zip")
