"""The drawn scenes: reproducible, varied, and true to their boxes; mistakes are refused."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from structxlip.data.scenes import Scene, SceneObject, draw_scene, load_vocabulary
from structxlip.data.scenes.objects import Image, object_mask
from structxlip.data.scenes.painting import paint
from tests.scenes import PX, VOCABULARY, VOCABULARY_PATH, draw, examples, indices, seeds

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
