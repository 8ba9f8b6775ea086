"""The drawn scenes: reproducible, varied, and every sentence of a caption true of the drawing."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from structxlip.data.scenes import Relation, Scene, SceneObject, draw_scene, load_vocabulary
from structxlip.data.scenes.objects import Image, object_mask
from structxlip.data.scenes.painting import paint
from structxlip.data.scenes.relations import true_relations

VOCABULARY_PATH = Path(__file__).parents[2] / "structxlip/data/scenes.yaml"
VOCABULARY = load_vocabulary(VOCABULARY_PATH)
PX = 160

indices = st.integers(0, 2**40)
seeds = st.integers(0, 2**31)


def examples(count: int) -> settings:
    return settings(max_examples=count, deadline=None, derandomize=True)


def draw(index: int, *, seed: int = 0, image_px: int = PX, captions: int = 1) -> Scene:
    return draw_scene(
        index, seed=seed, image_px=image_px, captions_per_image=captions, vocabulary=VOCABULARY
    )


@pytest.fixture(scope="module")
def hundred() -> list[Scene]:
    return [draw(index) for index in range(100)]


# --- The same arguments, the same scene -----------------------------------------------------------


@examples(25)
@given(index=indices, seed=seeds)
def test_same_arguments_give_the_same_bytes_and_captions(index: int, seed: int) -> None:
    first, second = draw(index, seed=seed), draw(index, seed=seed)
    assert first.image.tobytes() == second.image.tobytes()
    assert replace(first, image=second.image) == second


@examples(25)
@given(index=indices, seed=seeds)
def test_another_index_or_seed_gives_another_scene(index: int, seed: int) -> None:
    scene = draw(index, seed=seed)
    for other in (draw(index + 1, seed=seed), draw(index, seed=seed + 1)):
        assert scene.objects != other.objects
        assert scene.captions != other.captions
        assert not np.array_equal(scene.image, other.image)


def test_more_captions_move_neither_the_drawing_nor_the_first_captions() -> None:
    few, many = draw(5, captions=1), draw(5, captions=4)
    assert many.captions[:1] == few.captions
    assert many.objects == few.objects
    assert np.array_equal(many.image, few.image)


# --- The drawing ----------------------------------------------------------------------------------


@examples(30)
@given(index=indices, image_px=st.integers(64, 320))
def test_objects_are_whole_distinct_and_recognisable(index: int, image_px: int) -> None:
    scene = draw(index, image_px=image_px)
    assert scene.image.shape == (image_px, image_px, 3)
    assert scene.image.dtype == np.uint8
    assert 3 <= len(scene.objects) <= 6
    assert len({thing.shape for thing in scene.objects}) == len(scene.objects)
    masks = [object_mask(thing, image_px) > 0 for thing in scene.objects]
    for i, (thing, mask) in enumerate(zip(scene.objects, masks, strict=True)):
        x, y, w, h = thing.box
        assert 0 <= x < x + w <= image_px
        assert 0 <= y < y + h <= image_px
        covering = [j for j in range(i + 1, len(masks)) if (masks[j] & mask).any()]
        assert thing.occluded_by == tuple(covering)
        visible = mask & ~np.any([np.zeros_like(mask), *masks[i + 1 :]], axis=0)
        assert visible.sum() >= 0.6 * mask.sum()


def test_objects_stand_out_from_the_ground_and_from_what_they_cover(hundred: list[Scene]) -> None:
    for scene in hundred:
        ground = np.array(VOCABULARY.grounds[scene.setting.ground])
        for thing in scene.objects:
            paint = np.array(VOCABULARY.colours[thing.colour])
            assert abs((paint - ground) @ (0.299, 0.587, 0.114)) >= 25
            assert thing.colour not in {scene.objects[i].colour for i in thing.occluded_by}


def test_boxes_hold_exactly_the_pixels_that_an_object_changes() -> None:
    for index in range(40):
        scene = draw(index)
        for i, thing in enumerate(scene.objects):
            without, with_it = (_paint(scene, scene.objects[:n], index) for n in (i, i + 1))
            changed = np.abs(with_it.astype(int) - without).max(axis=2) > 3
            found = np.array(cv2.boundingRect(changed.astype(np.uint8)))
            x, y, w, h = np.array([thing.box, found]).T
            edges = np.array([x, y, x + w, y + h])
            assert np.abs(edges[:, 0] - edges[:, 1]).max() <= 2, (index, thing, found)  # the blur


def _paint(scene: Scene, objects: tuple[SceneObject, ...], seed: int) -> Image:
    rng = np.random.default_rng(seed)
    return paint(rng, objects, scene.setting, PX, VOCABULARY)


def test_the_light_falls_from_the_side_that_is_named(hundred: list[Scene]) -> None:
    half = slice(PX // 2), slice(PX // 2, PX)
    whole = slice(PX)
    halves = {"left": (whole, half[0]), "right": (whole, half[1])}
    halves |= {"top": (half[0], whole), "bottom": (half[1], whole)}
    opposite = {"left": "right", "right": "left", "top": "bottom", "bottom": "top"}
    for index, scene in enumerate(hundred):
        image = _paint(scene, (), index)
        brightness = {side: image[part].mean() for side, part in halves.items()}
        light = scene.setting.light
        assert brightness[light] > brightness[opposite[light]] + 3


def test_canny_finds_most_of_the_outlines_and_more_than_the_outlines(hundred: list[Scene]) -> None:
    found, clutter = [], []
    for scene in hundred:
        grey = cv2.GaussianBlur(cv2.cvtColor(scene.image, cv2.COLOR_RGB2GRAY), (0, 0), 1.0)
        edges = cv2.Canny(grey, 50, 120) > 0
        assert 0.005 < edges.mean() < 0.3
        outline = _outlines(scene)
        found.append((outline & _grown(edges)).sum() / outline.sum())
        clutter.append((edges & ~_grown(outline)).sum() / edges.sum())
    assert 0.6 < np.mean(found) < 0.98
    assert 0.1 < np.mean(clutter) < 0.6


def _outlines(scene: Scene) -> np.ndarray:
    owner = np.zeros((PX, PX), np.uint8)
    for number, thing in enumerate(scene.objects, start=1):
        owner[object_mask(thing, PX) > 0] = number
    return cv2.morphologyEx(owner, cv2.MORPH_GRADIENT, np.ones((2, 2), np.uint8)) > 0


def _grown(mask: np.ndarray) -> np.ndarray:
    return cv2.dilate(mask.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0


# --- The captions, read back ----------------------------------------------------------------------


def one_of(words: Any) -> str:
    """A pattern for any of the words, the longest first: "top left" is not "top"."""
    return "|".join(sorted(map(re.escape, words), key=len, reverse=True))


def meanings(section: dict[str, tuple[str, ...]]) -> dict[str, str]:
    return {phrase: name for name, phrases in section.items() for phrase in phrases}


SHAPES, SIZES, POSITIONS, PATTERNS, RELATIONS = (
    meanings(dict(getattr(VOCABULARY, name)))
    for name in ("shapes", "sizes", "positions", "patterns", "relations")
)
NOUN, COLOUR, SIZE = one_of(SHAPES), one_of(VOCABULARY.colours), one_of(SIZES)
NAME = rf"the (?:(?:{COLOUR}) )?(?P<%s>{NOUN})\b"


def clauses(caption: str, objects: tuple[SceneObject, ...]) -> list[tuple[int | None, str]]:
    """Each clause in lower case with the object that it is about: its first noun, or "it"."""
    subject: int | None = None
    found = []
    for sentence in caption.removesuffix(".").split(". "):
        for clause in re.split(", (?:and|while) ", sentence[0].lower() + sentence[1:]):
            noun = re.search(rf"\b({NOUN})\b", clause)
            if not re.match(r"it\b", clause):
                subject = index_of(noun[1], objects) if noun else None
            found.append((subject, clause))
    return found


def index_of(noun: str, objects: tuple[SceneObject, ...]) -> int:
    return [thing.shape for thing in objects].index(SHAPES[noun])


def stated_relations(subject: int, clause: str, objects: tuple[SceneObject, ...]) -> set[Relation]:
    stated = set()
    for phrase, kind in RELATIONS.items():
        for found in re.finditer(phrase.format(o=NAME % "o", p=NAME % "p"), clause):
            ends = [index_of(noun, objects) for noun in found.groupdict().values()]
            stated.add(Relation(subject, kind, *ends))
    return stated


def meet(one: tuple[int, ...], two: tuple[int, ...]) -> bool:
    (ax, ay, aw, ah), (bx, by, bw, bh) = one, two
    return ax < bx + bw and bx < ax + aw and ay < by + bh and by < ay + ah


def holds(relation: Relation, objects: tuple[SceneObject, ...]) -> bool:
    """The definitions in words, on boxes and masks, give or take a pixel."""
    a, b = objects[relation.subject], objects[relation.object]
    (ax, ay, aw, ah), (bx, by, bw, bh) = a.box, b.box
    dx, dy = bx + bw / 2 - ax - aw / 2, by + bh / 2 - ay - ah / 2
    masks = [object_mask(thing, PX) > 0 for thing in (a, b)]
    overlap = bool((masks[0] & masks[1]).any())
    match relation.kind:
        case "left_of":
            return ax + aw <= bx and dx > abs(dy) - 1
        case "above":
            return ay + ah <= by and dy > abs(dx) - 1
        case "right_of" | "below" | "behind":
            inverse = {"right_of": "left_of", "below": "above", "behind": "in_front_of"}
            return holds(
                Relation(relation.object, inverse[relation.kind], relation.subject), objects
            )
        case "next_to":
            apart = np.clip([bx - ax - aw, ax - bx - bw, by - ay - ah, ay - by - bh], 0, None)
            return not overlap and float(np.hypot(apart[:2].max(), apart[2:].max())) <= 0.06 * PX
        case "in_front_of":
            return overlap and relation.subject > relation.object
        case "between":
            assert relation.other is not None
            middle, one, two = (
                np.array(objects[i].centre)
                for i in (relation.subject, relation.object, relation.other)
            )
            nearest = one + np.clip((middle - one) @ (two - one) / sum((two - one) ** 2), 0, 1) * (
                two - one
            )
            off = float(np.linalg.norm(middle - nearest))
            shares = np.linalg.norm(nearest - one) / np.linalg.norm(two - one)
            trio = [objects[i].box for i in (relation.subject, relation.object, relation.other)]
            clear = not any(meet(*pair) for pair in combinations(trio, 2))
            return clear and off <= 0.1 * PX and bool(0.24 < shares < 0.76)
    raise AssertionError(relation.kind)


def ninth(thing: SceneObject) -> str:
    x, y, w, h = thing.box
    row = ["top", "", "bottom"][int((y + h / 2) // (PX / 3))]
    column = ["left", "", "right"][int((x + w / 2) // (PX / 3))]
    return "_".join(filter(None, [row, column])) or "centre"


@examples(150)
@given(index=indices)
def test_every_relation_in_words_is_listed_and_looks_back(index: int) -> None:
    scene = draw(index, captions=2)
    stated = set()
    for caption in scene.captions:
        told: set[int | None] = {None}
        for subject, clause in clauses(caption, scene.objects):
            if subject is not None:
                for relation in stated_relations(subject, clause, scene.objects):
                    assert {relation.object, relation.other} <= told
                    stated.add(relation)
                told.add(subject)
    assert stated == set(scene.relations)


def test_every_relation_that_may_be_stated_holds(hundred: list[Scene]) -> None:
    for scene in hundred:
        relations = true_relations(scene.objects, PX)
        assert set(scene.relations) <= set(relations)
        assert all(holds(relation, scene.objects) for relation in relations)


def test_it_is_said_only_where_one_object_can_be_meant(hundred: list[Scene]) -> None:
    pronouns = 0
    for scene in hundred:
        sentences = scene.captions[0].split(". ")
        for before, sentence in pairwise(sentences):
            if sentence.startswith("It "):
                pronouns += 1
                assert len(clauses(before, scene.objects)) == 1
    assert pronouns > 50


@examples(150)
@given(index=indices)
def test_every_position_and_attribute_in_words_is_true(index: int) -> None:
    scene = draw(index)
    of = {thing.shape: thing for thing in scene.objects}
    for subject, clause in clauses(scene.captions[0], scene.objects):
        for phrase in re.findall(rf"\b({one_of(POSITIONS)})\b", clause):
            assert subject is not None
            assert POSITIONS[phrase] == ninth(scene.objects[subject])
        for colour, noun in re.findall(rf"\b({COLOUR}) ({NOUN})\b", clause):
            assert of[SHAPES[noun]].colour == colour
        for size, noun in re.findall(rf"\b({SIZE}) (?:\w+ )?(?:\w+ )?({NOUN})\b", clause):
            assert of[SHAPES[noun]].size == SIZES[size]
        for phrase, pattern in PATTERNS.items():
            for noun in re.findall(
                phrase.format(noun=rf"(?:\b(?:{COLOUR}) )?\b({NOUN})\b"), clause
            ):
                assert of[SHAPES[noun]].pattern == pattern
        if told := re.search(rf" (?:is|is painted|has a) ({COLOUR})(?: fill)?$", clause):
            assert subject is not None
            assert scene.objects[subject].colour == told[1]
        if told := re.search(rf" (?:is|looks) ({SIZE})$", clause):
            assert subject is not None
            assert scene.objects[subject].size == SIZES[told[1]]


def test_captions_tell_the_number_and_the_setting(hundred: list[Scene]) -> None:
    grounds = one_of(VOCABULARY.grounds)
    lights = meanings(dict(VOCABULARY.lights))
    for scene in hundred:
        (caption,) = (caption.lower() for caption in scene.captions)
        (number,) = re.findall(r"\b(three|four|five|six)\b", caption)
        assert number == VOCABULARY.numbers[str(len(scene.objects))][0]
        assert re.findall(rf"a ({grounds}) background", caption) == [scene.setting.ground]
        assert any(phrase in caption for phrase in VOCABULARY.textures[scene.setting.texture])
        assert {lights[p] for p in lights if p in caption} <= {scene.setting.light}


def test_captions_name_nearly_every_object_with_its_place(hundred: list[Scene]) -> None:
    for scene in hundred:
        told = clauses(scene.captions[0], scene.objects)
        placed = {subject for subject, text in told if re.search(one_of(POSITIONS), text)}
        assert len(placed) >= len(scene.objects) - (len(scene.objects) > 4)
    colours = sum(
        thing.colour in re.findall(r"\w+", scene.captions[0].lower())
        for scene in hundred
        for thing in scene.objects
    )
    assert 0.7 < colours / sum(len(scene.objects) for scene in hundred) < 1


@examples(60)
@given(index=indices)
def test_captions_have_four_to_eight_well_formed_sentences(index: int) -> None:
    (caption,) = draw(index).captions
    sentences = caption.removesuffix(".").split(". ")
    assert 4 <= len(sentences) <= 8
    assert 55 <= len(caption.split()) <= 95
    assert all(sentence[0].isupper() for sentence in sentences)
    assert not re.search(r"[{}]|\s\s|\s[,.]|\ba [aeiou]|\ban [^aeiou]", caption)


def test_wording_varies(hundred: list[Scene]) -> None:
    captions = draw(3, captions=30).captions
    assert len(set(captions)) == 30
    openings = Counter(" ".join(scene.captions[0].split()[:2]) for scene in hundred)
    assert len(openings) >= 8
    words = {word for scene in hundred for word in re.findall(r"\w+", scene.captions[0].lower())}
    assert len(words) > 150
    kinds = {relation.kind for scene in hundred for relation in scene.relations}
    assert kinds >= {"left_of", "right_of", "above", "below", "next_to", "in_front_of", "behind"}


# --- Refusals -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "value", "sentence"),
    [
        ("shapes", None, "shapes must be a mapping, not None"),
        ("shapes", {"circle": ["circle"]}, "shapes must hold at least 6 shapes, not 1"),
        ("shapes.dragon", ["dragon"], "shapes must not hold dragon; valid are circle, square"),
        ("shapes.circle", [], "shapes.circle must be a list of phrases, not []"),
        ("shapes.circle", "disc", "shapes.circle must be a list of phrases, not 'disc'"),
        ("shapes.circle", [3], "shapes.circle must hold text, not 3"),
        (
            "patterns.striped",
            ["striped"],
            "patterns.striped must hold {noun}, which 'striped' does",
        ),
        ("relations.above", ["over {o"], "relations.above has a stray brace in 'over {o'"),
        ("relations.between", ["by {o}"], "relations.between must hold {o} and {p}, which"),
        ("positions.top", ["up {x}"], "positions.top must hold no field in braces, which"),
        ("colours.red", [0, 0, 256], "colours.red must be three whole numbers from 0 to 255"),
        ("colours.red", "red", "colours.red must be three whole numbers from 0 to 255, not 'red'"),
        ("grounds", {}, "grounds must be a mapping, not {}"),
        ("sounds", {}, "the file must not hold sounds; valid are shapes, colours"),
        ("templates", {"join": []}, "templates lacks opening, counting"),
    ],
)
def test_a_wrong_vocabulary_is_refused_with_one_sentence(
    tmp_path: Path, path: str, value: object, sentence: str
) -> None:
    content = yaml.safe_load(VOCABULARY_PATH.read_text())
    section, _, name = path.partition(".")
    if name:
        content[section][name] = value
    else:
        content[section] = value
    file = tmp_path / "words.yaml"
    file.write_text(yaml.safe_dump(content))
    with pytest.raises(ValueError, match=re.escape(sentence)) as refused:
        load_vocabulary(file)
    assert str(refused.value).startswith(f"{file} is no vocabulary of scenes: ")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("text", [b"", b"- a", b"a: [", b"\xff\xfe\x00", None])
def test_what_is_no_mapping_or_cannot_be_read_is_refused(
    tmp_path: Path, text: bytes | None
) -> None:
    file = tmp_path / "words.yaml"
    if text is not None:
        file.write_bytes(text)
    with pytest.raises(ValueError, match="vocabulary of scenes") as refused:
        load_vocabulary(file)
    assert "words.yaml" in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_vocabulary_whose_phrases_are_too_long_is_refused() -> None:
    wordy = {name: ("somewhere " * 30,) for name in VOCABULARY.positions}
    with pytest.raises(ValueError, match="no caption of 55 to 95 words could be made"):
        draw_scene(
            0,
            seed=0,
            image_px=PX,
            captions_per_image=1,
            vocabulary=replace(VOCABULARY, positions=wordy),
        )


def test_a_picture_too_small_to_tell_shapes_is_refused() -> None:
    with pytest.raises(ValueError, match="image_px must be at least 64, not 63"):
        draw(0, image_px=63)
