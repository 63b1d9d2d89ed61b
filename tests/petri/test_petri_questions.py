"""Every label of petri's VCR, SNLI-VE and VQA holds in its scene, read back from the files by the official readers."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clipdistill.data import open_source
from clipdistill.errors import UserError
from clipdistill.petri import Scene, SceneRules, Thing, boxes, split_scenes, world_pictures, world_settings, write_world
from clipdistill.petri.captions import where
from clipdistill.petri.choices import SHORTCUT, Choice, choices
from clipdistill.petri.entailment import COUNTS, HIDDEN, hypotheses
from clipdistill.petri.questions import answer_words, given_answers, questions
from clipdistill.petri.scenes import region, relation
from clipdistill.petri.vocabulary import COLOURS, SHAPES, attribute_pairs

SIZES: dict[str, Any] = {"images": 40, "val": 8, "test": 12, "image_size": 32, "formats": "vcr,snli_ve,vqa"}
RULES = SceneRules(frozenset(attribute_pairs()[12:]))
SCENES = split_scenes(RULES, 7, "train", 700)
NUMBERS = {"one": 1, "two": 2, "three": 3, "four": 4}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("petri") / "world"
    write_world(folder, **SIZES)
    return folder


def named(scene: Scene, name: str) -> Thing | None:
    """The thing that "a red circle" or "the red circle" means."""
    wanted = " ".join(word for word in name.split() if word not in ("a", "an", "the"))
    return next((thing for thing in scene.things if thing.name == wanted), None)


def lies(a: Thing | None, word: str, b: Thing | None) -> bool:
    return a is not None and b is not None and relation(a, b) == word


def true_of(scene: Scene, thing: Thing, predicate: str) -> bool:
    """Whether "is ..." holds of the thing, worked out from the scene alone."""
    said = predicate.removeprefix("is ")
    if said == "the only one" or said.startswith("one of "):
        return len(scene.things) == (1 if said == "the only one" else NUMBERS[said.split()[-1]])
    if said.startswith("with "):
        return named(scene, said.removeprefix("with ")) not in (None, thing)
    if said.startswith("on "):
        return scene.background == said.removeprefix("on ")
    for word in ("left of", "right of", "above", "below"):
        if said.startswith(f"{word} "):
            return lies(thing, word, named(scene, said.removeprefix(f"{word} ")))
    facts = re.fullmatch(r"(?:(in the .+?|at the .+?), )?(small|large) and (\w+)", said)
    if facts:
        place, size, pattern = facts.groups()
        return (place in (None, where(thing))) and size == thing.size and pattern == thing.pattern
    if said.startswith(("in the", "at the")):
        return said == where(thing)
    return named(scene, said) is thing


def predicate(option: list[Any], noun: str) -> str:
    """ "[0], the circle, is red." -> "is red"."""
    text = " ".join("TAG" if isinstance(token, list) else token for token in option)
    found = re.fullmatch(rf"(?:TAG|he|she)(?: , {noun} ,)? (is .+) \.", text)
    assert found, (text, noun)
    return found[1].replace(" ,", ",")


def noun_of(choice: Choice) -> str:
    text = " ".join(token for token in choice.question if isinstance(token, str))
    return text.partition(" , ")[2].removesuffix(" ?")


def all_choices(shortcut: tuple[float, float] = SHORTCUT) -> list[tuple[Scene, Choice]]:
    return [(scene, choice) for scene in SCENES for choice in choices(RULES, scene, shortcut)]


def test_exactly_the_right_option_holds_in_the_scene() -> None:
    found = all_choices()
    kinds = Counter(choice.kind for _, choice in found)
    assert len(kinds) == 7 and min(kinds.values()) > 150
    for scene, choice in found:
        thing = scene.things[choice.about]
        for options, label, noun in (
            (choice.answers, choice.answer, noun_of(choice)),
            (choice.rationales, choice.rationale, ""),
        ):
            said = [predicate(option, noun) for option in options]
            assert len(set(said)) == 4
            assert [true_of(scene, thing, one) for one in said] == [k == label for k in range(4)], (scene, said)
        described = noun_of(choice)
        if choice.kind == "shape":
            assert described == f"the {thing.colour} one"
        else:
            assert described in (f"the {thing.shape}", f"the {thing.name}") and (choice.kind != "colour") == (
                described == f"the {thing.name}"
            )


def test_labels_are_even_and_tell_nothing() -> None:
    found = [choice for _, choice in all_choices()]
    for labels in (Counter(c.answer for c in found), Counter(c.rationale for c in found)):
        assert all(abs(labels[k] / len(found) - 0.25) < 0.04 for k in range(4))


@pytest.mark.parametrize("rates", [(0.75, 0.45), (1.0, 0.0), (0.5, 0.5)])
def test_the_shortcut_has_the_stated_rates(rates: tuple[float, float]) -> None:
    tags: dict[bool, list[bool]] = {True: [], False: []}
    words: dict[bool, list[bool]] = {True: [], False: []}
    for _, choice in all_choices(rates):
        for number, option in enumerate(choice.answers):
            tags[number == choice.answer].append([choice.about] == option[0])
            words[number == choice.answer].append(option[1] == ",")
    for found in (tags, words):
        assert abs(np.mean(found[True]) - rates[0]) < 0.04 and abs(np.mean(found[False]) - rates[1]) < 0.03


def test_the_shortcut_leaves_the_questions_as_they_are() -> None:
    def bare(choice: Choice) -> Any:
        return choice.question, choice.answer, [predicate(option, noun_of(choice)) for option in choice.answers]

    a, b = ([bare(choice) for _, choice in all_choices(rates)] for rates in ((0.75, 0.45), (0.5, 0.5)))
    assert a == b


def test_distractors_exchange_what_is_in_the_picture() -> None:
    """A wrong colour or shape is one of another thing's, as often as there is another."""
    hits = total = 0
    for scene, choice in all_choices():
        thing = scene.things[choice.about]
        others = {t.colour for t in scene.things if t.colour != thing.colour}
        allowed = {colour for colour in others if (colour, thing.shape) in RULES.pairs}
        if choice.kind == "colour" and allowed:
            said = " ".join(str(token) for option in choice.answers for token in option)
            hits += all(f" {colour} {thing.shape}" in said for colour in allowed)
            total += 1
    assert hits == total > 100


def test_no_option_has_more_in_common_with_the_others_than_the_rest() -> None:
    """Else a reader of text alone would take the right one for it: wrong ones are made from it."""
    kinds: Counter[str] = Counter()
    for _, choice in all_choices():
        for options, square in ((choice.answers, choice.kind in ("presence", "relation")), (choice.rationales, True)):
            if square:
                said = [set(predicate(option, noun_of(choice)).replace(",", "").split()) for option in options]
                shared = [sum(len(a & b) for b in said) - len(a) for a in said]
                # Words of places overlap as they like ("top left", "left"); what isn't a place is shared evenly.
                if not any(" the " in predicate(option, noun_of(choice)) for option in options):
                    assert len(set(shared)) == 1, said
                    kinds[choice.kind] += 1
    assert kinds["presence"] > 100 and kinds["relation"] > 100 and kinds["place"] > 100


def answers_of(scene: Scene, text: str) -> set[str]:
    """The right answers of a VQA question, worked out from the scene and the words alone."""
    things = scene.things
    if found := re.fullmatch(r"what colour is the (\w+)\?", text):
        return {t.colour for t in things if t.shape == found[1]}
    if found := re.fullmatch(r"what shape is the (\w+) thing\?", text):
        return {t.shape for t in things if t.colour == found[1]}
    if found := re.fullmatch(r"how many (?:(\w+) )?things are there\?", text):
        return {str(sum(found[1] in (None, t.colour) for t in things))}
    if found := re.fullmatch(r"whereabouts is the (.+)\?", text):
        thing = named(scene, found[1])
        assert thing is not None
        return {region(thing)}
    if found := re.fullmatch(r"what is (left of|right of|above|below) the (.+)\?", text):
        return {t.name for t in things if t.name != found[2] and lies(t, found[1], named(scene, found[2]))}
    if found := re.fullmatch(r"is there a (.+)\?", text):
        return {"no" if named(scene, found[1]) is None else "yes"}
    assert text == "what is the background?"
    return {scene.background}


def test_vqa_answers_hold_and_several_may_be_right() -> None:
    vocabulary = set(answer_words(RULES))
    kinds: Counter[str] = Counter()
    several = 0
    for scene in SCENES:
        asked = questions(RULES, scene)
        assert len(asked) == 4 and len({one.kind for one in asked}) == 4
        for one in asked:
            right = answers_of(scene, one.text)
            assert set(one.answers) == right and right <= vocabulary, (scene, one)
            given = given_answers(scene, one)
            assert len(given) == 10 and set(given) <= right
            several += len(set(given)) > 1
            kinds[one.kind if one.kind != "presence" else one.answers[0]] += 1
    assert several > 20 and min(kinds.values()) > 100 and abs(kinds["yes"] / kinds["no"] - 1) < 0.3


def holds(scene: Scene, text: str) -> str:
    """The label of a hypothesis, worked out from the scene and the words alone."""

    def told(true: bool) -> str:
        return "entailment" if true else "contradiction"

    if found := re.fullmatch(r"the background is (\w+)", text):
        return told(scene.background == found[1])
    if found := re.fullmatch(r"there (?:is|are) (\w+ shapes?)", text):
        return told(COUNTS[len(scene.things) - 1] == found[1])
    if found := re.fullmatch(r"(an? .+) is (left of|right of|above|below) (an? .+)", text):
        return told(lies(named(scene, found[1]), found[2], named(scene, found[3])))
    if found := re.fullmatch(r"(an? .+) is ((?:in|at) the .+)", text):
        thing = named(scene, found[1])
        return told(thing is not None and where(thing) == found[2])
    if found := re.fullmatch(rf"there is an? (?:{'|'.join(HIDDEN)}) (\w+ \w+)", text):
        return "neutral" if named(scene, found[1]) else "contradiction"
    found = re.fullmatch(rf"there is an? (\w+ \w+)(?:, (?:{'|'.join(HIDDEN)}) or not)?", text)
    assert found, text
    return told(named(scene, found[1]) is not None)


def test_hypotheses_have_the_label_that_the_scene_gives_them() -> None:
    forms: Counter[tuple[str, bool]] = Counter()
    for scene in SCENES:
        pairs = hypotheses(RULES, scene)
        assert [label for label, _ in pairs] == ["entailment", "neutral", "contradiction"]
        for label, text in pairs:
            assert holds(scene, text) == label, (scene, text)
            forms[label, any(f" {word}" in text for word in HIDDEN)] += 1
    # A hidden property alone gives no class away.
    assert all(forms[label, True] > 70 for label in ("entailment", "neutral", "contradiction"))


def test_no_pair_that_is_held_out_is_ever_named() -> None:
    unseen = {f"{colour} {shape}" for colour, shape in attribute_pairs()[:12]}
    texts = [one.text for scene in SCENES for one in questions(RULES, scene)]
    texts += [text for scene in SCENES for _, text in hypotheses(RULES, scene)]
    for _, choice in all_choices():
        for tokens in (choice.question, *choice.answers):
            texts.append(" ".join(token for token in tokens if isinstance(token, str)))
    told = {f"{a} {b}" for text in texts for a, b in re.findall(r"(?=\b(\w+) (\w+)\b)", text)}
    names = {f"{colour} {shape}" for colour in COLOURS for shape in SHAPES}
    assert len(told & names) == 88 and not told & unseen


def test_vcr_is_read_back_with_its_types_tags_and_boxes(made: Path) -> None:
    settings = world_settings(made)
    pictures = {p.file_name: p for p in world_pictures(settings)}
    for split, count in (("train", 40), ("val", 8), ("test", 12)):
        spec = {"format": "vcr", "path": str(made / "vcr"), "split": split, "question_types": "petri"}
        source: Any = open_source(spec)
        assert source.skipped == [] and source.ids == [f"{split}-{k}" for k in range(len(source))]
        assert count * 2 < len(source) <= count * 3 and set(source.strata) <= set(source.strata_names)
        row = 0
        for picture in [p for p in pictures.values() if p.split == split]:
            for choice in choices(settings.rules(), picture.scene):
                sample = source[row]
                assert sample.image.open().size == (32, 32) and picture.file_name in repr(sample.image)
                assert sample.fields["question_types"] == (choice.kind,) == (source.strata[row],)
                assert sample.fields["answer_label"] == choice.answer
                assert sample.fields["rationale_label"] == choice.rationale
                (tag,) = sample.fields["question_tags"]
                assert tag.region == choice.about
                assert np.allclose(sample.regions.boxes, boxes(picture.scene, 32), atol=0.01)
                row += 1
        assert row == len(source)


def test_snli_ve_and_vqa_are_read_back(made: Path) -> None:
    for split, count in (("train", 40), ("dev", 8), ("test", 12)):
        pairs: Any = open_source({"format": "snli_ve", "path": str(made / "snli_ve"), "split": split})
        assert len(pairs) == 3 * count and pairs.skipped == [] and pairs[4].label == 1
        assert pairs[0].image.open().size == (32, 32)
    words = str(made / "vqa" / "answers.txt")
    for split, count in (("train", 40), ("val", 8), ("test", 12)):
        asked: Any = open_source({"format": "vqa_v2", "path": str(made / "vqa"), "split": split, "answers": words})
        assert len(asked) == 4 * count and asked.skipped == []
        assert all(asked[k].fields["answer_scores"] for k in range(len(asked)))
        scores = [score for k in range(len(asked)) for _, score in asked[k].fields["answer_scores"]]
        assert 1.0 in scores and all(score > 0.29 for score in scores)
    few: Any = open_source({"format": "vqa_v2", "path": str(made / "vqa"), "min_count": 2})
    assert 5 < len(few.answers) < len(asked.answers)


def text_digests(folder: Path) -> str:
    """PNG files apart: how they are packed differs between machines."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.suffix != ".png":
            digest.update(str(path.relative_to(folder)).encode() + path.read_bytes())
    return digest.hexdigest()


def test_the_same_world_again_and_with_more_pictures(made: Path, tmp_path: Path) -> None:
    write_world(tmp_path / "again", **SIZES)
    assert text_digests(tmp_path / "again") == text_digests(made)
    write_world(tmp_path / "more", **{**SIZES, "images": 50})
    small, large = ((folder / "vcr/train.jsonl").read_text() for folder in (made, tmp_path / "more"))
    assert large.startswith(small) and len(large) > len(small)


def test_worlds_without_these_formats_are_what_they_were(tmp_path: Path) -> None:
    """The digest was taken of a world that was written before there were questions."""
    write_world(tmp_path / "w", images=30, val=8, test=12, zero_shot=2, image_size=32)
    content = (tmp_path / "w/world.json").read_bytes() + (tmp_path / "w/dataset_petri.json").read_bytes()
    assert hashlib.sha256(content).hexdigest() == "eaa0ac8102c831b69b3c5fe7dd79374ac427cf87fb4a69bdb7ec0da365266070"


def test_the_shortcut_is_a_setting_of_the_world(tmp_path: Path) -> None:
    options = {**SIZES, "images": 2, "val": 1, "test": 1, "formats": "vcr"}
    write_world(tmp_path / "w", **options, shortcut=(1.0, 0.0))
    assert world_settings(tmp_path / "w").shortcut == (1.0, 0.0)
    assert write_world(tmp_path / "w", **options, shortcut=(1.0, 0.0))["reused"]
    with pytest.raises(UserError, match="shortcut is .1.0, 0.0., not .0.75, 0.45."):
        write_world(tmp_path / "w", **options)
    for bad in ((0.5,), (0.5, 1.5), 0.5, ("a", 0.5)):
        with pytest.raises(UserError, match="petri shortcut: must be two rates from 0 to 1"):
            write_world(tmp_path / "bad", **options, shortcut=bad)  # type: ignore[arg-type]


def test_reversed_questions_are_the_same_with_the_shortcut_turned(tmp_path: Path) -> None:
    write_world(tmp_path / "w", **{**SIZES, "formats": "vcr,vcr_reversed"}, shortcut=(1.0, 0.0))
    assert not (tmp_path / "w/vcr/train_reversed.jsonl").exists()
    spec: dict[str, Any] = {"format": "vcr", "path": str(tmp_path / "w/vcr"), "question_types": "petri"}
    usual, turned = (open_source({**spec, "split": split}) for split in ("test", "test_reversed"))
    assert len(usual) == len(turned) == 36
    for one, other in ((usual[k], turned[k]) for k in range(36)):
        assert one.id == other.id and one.image == other.image
        for name in ("question", "answer_label", "rationale_label"):
            assert one.fields[name] == other.fields[name]
        # The right answer names what is asked about in the one, every wrong answer in the other.
        tagged = [[bool(tags) for tags in each.fields["choice_tags"]] for each in (one, other)]
        right = [k == one.fields["answer_label"] for k in range(4)]
        assert tagged[0] == right and tagged[1] == [not each for each in right]


def test_pairs_and_styles_have_questions_too(tmp_path: Path) -> None:
    options = {**SIZES, "images": 6, "val": 2, "test": 2, "scenes": "pairs", "domain": "night"}
    write_world(tmp_path / "w", **options)
    source: Any = open_source({"format": "vcr", "path": str(tmp_path / "w/vcr"), "question_types": "petri"})
    assert len(source) == 18 and source.skipped == []


def test_captions_point_to_their_things(tmp_path: Path) -> None:
    """Every colour and shape that a caption says is marked, of the right thing, and read back."""
    write_world(tmp_path / "world", images=30, val=1, test=1, seed=4, image_size=32, formats=["entities", "karpathy"])
    source = open_source(
        {"format": "flickr30k_entities", "path": str(tmp_path / "world" / "entities"), "points": "head"}
    )
    plain = open_source(f"karpathy:{tmp_path / 'world' / 'dataset_petri.json'}@train")
    pictures = list(world_pictures(world_settings(tmp_path / "world")))
    assert len(source) == 30 and not source.skipped  # type: ignore[attr-defined]
    for row in range(30):
        sample, scene = source[row], pictures[row].scene
        assert sample.captions == plain[row].captions
        assert sample.regions is not None and len(sample.regions.boxes) == len(scene.things)
        for caption, tags in zip(sample.captions, sample.fields["caption_tags"], strict=True):
            for tag in tags:
                thing = scene.things[tag.region]
                assert caption[: tag.end].endswith(f"{thing.colour} {thing.shape}")
                assert caption[tag.start : tag.end] == thing.shape
            assert len(tags) == sum(caption.count(thing.name) for thing in scene.things)
