"""The captions of drawn scenes, read back: every sentence is true of the drawing."""

from __future__ import annotations

import re
from collections import Counter
from itertools import combinations, pairwise
from typing import Any

import numpy as np
from hypothesis import given

from structxlip.data.scenes import Relation, Scene, SceneObject
from structxlip.data.scenes.objects import object_mask
from structxlip.data.scenes.relations import true_relations
from tests.scenes import PX, VOCABULARY, draw, examples, indices


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
