"""The built-in dataset: drawn scenes of several objects, and long captions true of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from math import hypot
from pathlib import Path
from string import Formatter
from typing import Any, TypeVar

import cv2
import numpy as np
import yaml
from numpy.typing import NDArray

Points = NDArray[np.float64]
Image = NDArray[np.uint8]
Plane = NDArray[np.float32]
Phrases = Mapping[str, tuple[str, ...]]
RGB = tuple[int, int, int]
T = TypeVar("T")

OBJECTS = (3, 6)  # fewest and most of a scene
SENTENCES = (4, 8)
WORDS = (55, 95)
MAX_DRAFTS = 200
MIN_IMAGE_PX = 64
MIN_VISIBLE = 0.6  # of an object's own pixels, whatever covers it
MIN_COVER = 0.15  # of the smaller of two objects: what touches by less would be a matter of taste
MIN_CONTRAST = 25.0  # grey levels between an object and the background
RADII = {"small": (0.07, 0.09), "medium": (0.11, 0.135), "large": (0.165, 0.2)}  # of the image side
ZONES = (  # ninths of the image, row by row
    *("top_left", "top", "top_right"),
    *("left", "centre", "right"),
    *("bottom_left", "bottom", "bottom_right"),
)
INVERSE = {"left_of": "right_of", "above": "below", "next_to": "next_to", "in_front_of": "behind"}


@dataclass(frozen=True)
class SceneObject:
    """One drawn shape.

    ``box`` is ``x, y, w, h`` in pixels, tight around the shape as if nothing covered it, and lies
    inside of the image; ``centre`` (x, y) is its middle. ``radius`` is half of the longer side of
    the upright shape, in pixels; ``tilt`` and ``pattern_angle`` are in degrees; ``rgb`` is the
    paint; ``occluded_by`` are the indices of the objects in front that cover a part of this one.
    """

    shape: str
    colour: str
    pattern: str
    size: str
    box: tuple[int, int, int, int]
    centre: tuple[float, float]
    radius: float
    tilt: float
    mirrored: bool
    pattern_angle: float
    rgb: RGB
    occluded_by: tuple[int, ...] = ()


@dataclass(frozen=True)
class Relation:
    """``subject`` kind ``object``, as indices; ``other`` is the second end of ``between``."""

    subject: int
    kind: str
    object: int
    other: int | None = None


@dataclass(frozen=True)
class Setting:
    """What the objects lie on, and the side that the light comes from."""

    ground: str
    texture: str
    light: str


@dataclass(frozen=True)
class Scene:
    """A drawing and what is said of it; objects are in drawing order, the last one in front.

    ``image`` is uint8 RGB ``[image_px, image_px, 3]``; ``relations`` are those that the captions
    state, in the order of their first mention.
    """

    image: Image
    captions: tuple[str, ...]
    objects: tuple[SceneObject, ...]
    relations: tuple[Relation, ...]
    setting: Setting


@dataclass(frozen=True)
class Vocabulary:
    """Names of what can be drawn, each with the phrases that say it (see scenes.yaml)."""

    shapes: Phrases
    colours: Mapping[str, RGB]
    patterns: Phrases
    sizes: Phrases
    positions: Phrases
    relations: Phrases
    grounds: Mapping[str, RGB]
    textures: Phrases
    lights: Phrases
    numbers: Phrases
    templates: Phrases


def draw_scene(
    index: int, *, seed: int, image_px: int, captions_per_image: int, vocabulary: Vocabulary
) -> Scene:
    """Draw scene ``index`` (≥ 0); it depends on the arguments alone, so a dataset can grow.

    Raises ``ValueError`` when ``image_px`` is below 64, or when the phrases of the vocabulary are
    so long or so short that no caption has the right length.
    """
    if image_px < MIN_IMAGE_PX:
        raise ValueError(f"image_px must be at least {MIN_IMAGE_PX}, not {image_px}")
    layout_rng, paint_rng, caption_rng = np.random.default_rng([seed, index]).spawn(3)
    setting = Setting(
        ground=_pick(layout_rng, list(vocabulary.grounds)),
        texture=_pick(layout_rng, list(vocabulary.textures)),
        light=_pick(layout_rng, list(vocabulary.lights)),
    )
    objects = _arrange(layout_rng, setting, image_px, vocabulary)
    told = [
        caption(caption_rng, objects, setting, image_px, vocabulary)
        for _ in range(captions_per_image)
    ]
    return Scene(
        image=paint(paint_rng, objects, setting, image_px, vocabulary),
        captions=tuple(text for text, _ in told),
        objects=objects,
        relations=tuple(dict.fromkeys(relation for _, stated in told for relation in stated)),
        setting=setting,
    )


def _pick(rng: np.random.Generator, choices: Sequence[T]) -> T:
    return choices[int(rng.integers(len(choices)))]


# --- Shapes: contours in the unit square, y down, filled by the even-odd rule ---------------------


def _arc(start: float, stop: float, radius: float = 1.0, x: float = 0.0, y: float = 0.0) -> Points:
    angle = np.radians(np.linspace(start, stop, 40))
    return np.stack([x + radius * np.cos(angle), y + radius * np.sin(angle)], axis=1)


def _polar(radius: Sequence[float] | Points) -> Points:
    angle = np.linspace(0, 2 * np.pi, len(radius), endpoint=False) - np.pi / 2
    return np.asarray(radius)[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)


def _unit(*contours: Any) -> list[Points]:
    """Centre contours on their common box and scale its longer side to 2."""
    parts = [np.asarray(contour, dtype=float) for contour in contours]
    points = np.concatenate(parts)
    low, high = points.min(axis=0), points.max(axis=0)
    return [(part - (low + high) / 2) / ((high - low).max() / 2) for part in parts]


_TURN = np.linspace(0, 2 * np.pi, 60, endpoint=False)
_HEART_Y = 5 * np.cos(2 * _TURN) - 13 * np.cos(_TURN) + 2 * np.cos(3 * _TURN)
SHAPES: dict[str, list[Points]] = {
    "circle": _unit(_arc(0, 360)),
    "square": _unit([(-1, -1), (1, -1), (1, 1), (-1, 1)]),
    "triangle": _unit([(0, -1), (1, 0.8), (-1, 0.8)]),
    "star": _unit(_polar([1, 0.42] * 5)),
    "cross": _unit(
        [
            *[(-1, -3), (1, -3), (1, -1), (3, -1), (3, 1), (1, 1)],
            *[(1, 3), (-1, 3), (-1, 1), (-3, 1), (-3, -1), (-1, -1)],
        ]
    ),
    "ring": _unit(_arc(0, 360), _arc(0, 360, 0.55)),
    "arrow": _unit(
        [(-1, -0.3), (0.1, -0.3), (0.1, -0.8), (1, 0), (0.1, 0.8), (0.1, 0.3), (-1, 0.3)]
    ),
    "heart": _unit(np.stack([16 * np.sin(_TURN) ** 3, _HEART_Y], axis=1)),
    "crescent": _unit(np.concatenate([_arc(50, 310), _arc(288, 72, 0.81, x=0.39)])),
    "house": _unit(
        [(-0.8, 1), (-0.8, -0.1), (-1, -0.1), (0, -1), (1, -0.1), (0.8, -0.1), (0.8, 1)],
        [(-0.2, 1), (-0.2, 0.35), (0.25, 0.35), (0.25, 1)],
    ),
    "hexagon": _unit(_polar([1] * 6)),
    "diamond": _unit([(0, -1), (0.62, 0), (0, 1), (-0.62, 0)]),
    "fish": _unit(
        np.concatenate([_arc(155, -155) * (0.75, 0.5), [(-1.2, -0.5), (-1.0, 0), (-1.2, 0.5)]])
    ),
    "tree": _unit(
        [
            *[(0, -1), (0.5, -0.3), (0.25, -0.3), (0.75, 0.5), (0.15, 0.5), (0.15, 1)],
            *[(-0.15, 1), (-0.15, 0.5), (-0.75, 0.5), (-0.25, -0.3), (-0.5, -0.3)],
        ]
    ),
    "boat": _unit(
        [(-1, 0.4), (1, 0.4), (0.6, 1), (-0.7, 1)], [(-0.1, -1), (0.75, 0.25), (-0.1, 0.25)]
    ),
    "flower": _unit(_polar(1 + 0.32 * np.cos(5 * _TURN)), _arc(0, 360, 0.3)),
}
PATTERNS = ("plain", "striped", "dotted", "checked", "outlined")
TEXTURES = ("smooth", "gradient", "grain", "lines", "blotches", "scratches")
LIGHTS = {"left": np.pi, "right": 0.0, "top": -np.pi / 2, "bottom": np.pi / 2}  # where it is


def object_mask(thing: SceneObject, image_px: int) -> Image:
    """The pixels of an object if nothing covered it: 0 or 1, ``[image_px, image_px]``."""
    angle = np.radians(thing.tilt)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    parts = [part * (1 - 2 * thing.mirrored, 1) @ turn for part in SHAPES[thing.shape]]
    points = np.concatenate(parts)
    middle = (points.min(axis=0) + points.max(axis=0)) / 2
    scale, shift = 16 * thing.radius, np.array(thing.centre) * 16  # cv2's shift=4: 1/16 pixel
    contours = [np.rint((p - middle) * scale + shift).astype(np.int32) for p in parts]
    mask = np.zeros((image_px, image_px), np.uint8)
    return cv2.fillPoly(mask, contours, 1, shift=4)  # type: ignore[return-value]


# --- Layout ---------------------------------------------------------------------------------------


def _arrange(
    rng: np.random.Generator, setting: Setting, image_px: int, vocabulary: Vocabulary
) -> tuple[SceneObject, ...]:
    """Lay objects of different shapes one over another, so that each stays recognisable."""
    count = int(rng.integers(OBJECTS[0], OBJECTS[1] + 1))
    shapes = rng.permutation(list(vocabulary.shapes))[:count].tolist()
    colours = _colours_on(vocabulary.grounds[setting.ground], vocabulary.colours)
    objects: list[SceneObject] = []
    masks: list[Image] = []
    visible: list[Image] = []
    while len(objects) < count:
        thing, mask = _throw(rng, shapes[len(objects)], colours, image_px)
        left = [seen & ~mask for seen in visible]
        areas = [cv2.countNonZero(other) for other in masks]
        if any(cv2.countNonZero(s) < MIN_VISIBLE * a for s, a in zip(left, areas, strict=True)):
            continue
        covered = [cv2.countNonZero(other & mask) for other in masks]
        least = [MIN_COVER * min(area, cv2.countNonZero(mask)) for area in areas]
        if any(0 < pixels < bound for pixels, bound in zip(covered, least, strict=True)):
            continue
        below = [i for i, pixels in enumerate(covered) if pixels]
        if any(objects[i].colour == thing.colour for i in below):
            continue
        for i in below:
            by = (*objects[i].occluded_by, len(objects))
            objects[i] = replace(objects[i], occluded_by=by)
        objects.append(thing)
        masks.append(mask)
        visible = [*left, mask]
    return tuple(objects)


def _colours_on(ground: RGB, colours: Mapping[str, RGB]) -> dict[str, RGB]:
    """The colours that stand out from a ground in brightness; the best one if none does."""
    contrast = {name: abs(_luma(rgb) - _luma(ground)) for name, rgb in colours.items()}
    least = min(MIN_CONTRAST, max(contrast.values()))
    return {name: rgb for name, rgb in colours.items() if contrast[name] >= least}


def _luma(rgb: RGB) -> float:
    return 0.299 * rgb[0] + 0.587 * rgb[1] + 0.114 * rgb[2]


def _throw(
    rng: np.random.Generator, shape: str, colours: Mapping[str, RGB], image_px: int
) -> tuple[SceneObject, Image]:
    """An object anywhere in the image, and its mask."""
    size = _pick(rng, list(RADII))
    radius = rng.uniform(*RADII[size])
    # Clear of the lines between the ninths, and inside of the image even when tilted.
    inset = 1.2 * radius
    x, y = (
        min(max((cell + within) / 3, inset), 1 - inset) * image_px
        for cell, within in zip(rng.integers(3, size=2), rng.uniform(0.1, 0.9, size=2), strict=True)
    )
    colour = _pick(rng, list(colours))
    r, g, b = np.clip(np.add(colours[colour], rng.integers(-12, 13, size=3)), 0, 255)
    thing = SceneObject(
        shape=shape,
        colour=colour,
        pattern=_pick(rng, PATTERNS),
        size=size,
        box=(0, 0, 0, 0),  # known once it is drawn
        centre=(float(x), float(y)),
        radius=float(radius * image_px),
        tilt=float(rng.uniform(-12, 12)),
        mirrored=bool(rng.integers(2)),
        pattern_angle=float(rng.uniform(0, 180)),
        rgb=(int(r), int(g), int(b)),
    )
    mask = object_mask(thing, image_px)
    left, top, width, height = cv2.boundingRect(mask)
    return replace(thing, box=(left, top, width, height)), mask


# --- Paint ----------------------------------------------------------------------------------------


def paint(
    rng: np.random.Generator,
    objects: Sequence[SceneObject],
    setting: Setting,
    image_px: int,
    vocabulary: Vocabulary,
) -> Image:
    """Draw the setting and the objects, then light, gamma, blur and noise of the sensor.

    The objects draw nothing from ``rng``: leaving one out changes its own pixels only.
    """
    axis = np.linspace(-1, 1, image_px, dtype=np.float32)
    towards = LIGHTS[setting.light]
    # A gradient of the paint may run across the light, but not against it: captions tell the light.
    texture = _texture(rng, setting.texture, axis, towards + rng.uniform(-np.pi / 2, np.pi / 2))
    ground = vocabulary.grounds[setting.ground]
    canvas = np.asarray(cv2.merge([texture + level for level in ground]), np.float32)
    for thing in objects:
        _paint_object(canvas, thing)
    light = 1 + _ramp(axis, towards) * np.float32(rng.uniform(0.2, 0.35))
    lit = cv2.multiply(canvas, cv2.merge([light] * 3), dtype=cv2.CV_8U)  # cv2 rounds and saturates
    curve = (np.linspace(0, 1, 256) ** rng.uniform(0.75, 1.3) * 255).astype(np.uint8)
    seen = cv2.GaussianBlur(cv2.LUT(lit, curve), (0, 0), rng.uniform(0.4, 1.0) * image_px / 160)
    noise = rng.standard_normal((image_px, image_px), dtype=np.float32) * rng.uniform(2, 8)
    return np.asarray(cv2.add(seen, cv2.merge([noise] * 3), dtype=cv2.CV_8U), np.uint8)


def _ramp(axis: Plane, angle: float) -> Plane:
    """A plane that rises along ``angle`` (radians, y down), by 1 over half of the image."""
    return np.float32(np.cos(angle)) * axis[None, :] + np.float32(np.sin(angle)) * axis[:, None]


def _texture(rng: np.random.Generator, kind: str, axis: Plane, angle: float) -> Plane:
    """Grey levels that a texture adds, ``[image_px, image_px]``; ``axis`` runs from -1 to 1."""
    side, across = axis.size, _ramp(axis, angle)
    if kind == "gradient":
        return across * np.float32(35)
    if kind == "grain":
        noise = rng.standard_normal((side, side), dtype=np.float32)
        return cv2.GaussianBlur(noise, (0, 0), 0.7) * np.float32(rng.uniform(20, 35))
    if kind == "lines":
        period, depth = rng.uniform(0.1, 0.2), rng.uniform(15, 35)
        return np.where(across % period < 0.03, np.float32(-depth), np.float32(0))
    if kind == "blotches":
        coarse = rng.standard_normal((9, 9), dtype=np.float32) * np.float32(16)
        return cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC)  # type: ignore[return-value]
    strokes = np.zeros((side, side), np.float32)
    if kind == "scratches":
        starts = rng.integers(0, side, size=(40, 2))
        ends = starts + rng.integers(-side // 8, side // 8 + 1, size=(40, 2))
        for start, end, depth in zip(starts, ends, rng.uniform(-55, 55, size=40), strict=True):
            cv2.line(strokes, start.tolist(), end.tolist(), float(depth))
    return strokes


def _paint_object(canvas: Plane, thing: SceneObject) -> None:
    x, y, w, h = thing.box
    mask = object_mask(thing, canvas.shape[0])[y : y + h, x : x + w].astype(bool)
    first = np.array(thing.rgb, np.float32)
    second = first / 2 if _luma(thing.rgb) > 100 else (first + 255) / 2
    area = canvas[y : y + h, x : x + w]
    area[mask] = first
    area[mask & _pattern(thing, mask)] = second


def _pattern(thing: SceneObject, mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which pixels of the box have the second colour of the pattern."""
    if thing.pattern == "plain":
        return np.zeros_like(mask)
    if thing.pattern == "outlined":
        width = max(3, round(thing.radius * 0.3)) | 1
        padded = cv2.copyMakeBorder(mask.astype(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
        inner = cv2.erode(padded, np.ones((width, width), np.uint8))
        return inner[1:-1, 1:-1] == 0
    period = thing.radius * {"striped": 0.5, "dotted": 0.6, "checked": 0.9}[thing.pattern]
    angle = np.radians(thing.pattern_angle)
    y, x = np.mgrid[: mask.shape[0], : mask.shape[1]] / period
    u = (x * np.cos(angle) + y * np.sin(angle)) % 1
    if thing.pattern == "striped":
        return u < 0.5
    v = (y * np.cos(angle) - x * np.sin(angle)) % 1
    if thing.pattern == "checked":
        return (u < 0.5) ^ (v < 0.5)
    return np.hypot(u - 0.5, v - 0.5) < 0.28


# --- What is true of a scene ----------------------------------------------------------------------


def zone(thing: SceneObject, image_px: int) -> str:
    """The ninth of the image that holds the centre of an object: a key of ``positions``."""
    column, row = (min(int(3 * c / image_px), 2) for c in thing.centre)
    return ZONES[3 * row + column]


def true_relations(objects: Sequence[SceneObject], image_px: int) -> list[Relation]:
    """Every relation that holds.

    ``left_of`` and ``above``: the boxes are apart on that axis, which separates the centres most.
    ``next_to``: boxes at most 6 % of the image apart. ``between``: boxes apart, and the centre in
    the middle half of the line that joins the two others, at most 10 % of the image off it.
    ``in_front_of``: drawn over a part of the other.
    """
    found: list[Relation] = []
    for i, a in enumerate(objects):
        for j, b in enumerate(objects):
            kinds = _kinds(a, b, 0.06 * image_px) + ["in_front_of"] * (i in b.occluded_by)
            for kind in kinds:
                found += [Relation(i, kind, j), Relation(j, INVERSE[kind], i)]
            for k in range(j + 1, len(objects)):
                if i not in (j, k) and _is_between(a, b, objects[k], 0.1 * image_px):
                    found.append(Relation(i, "between", j, k))
    return list(dict.fromkeys(found))


def _gaps(a: SceneObject, b: SceneObject) -> tuple[int, int]:
    """Pixels between two boxes on each axis, 0 or less where they meet."""
    (ax, ay, aw, ah), (bx, by, bw, bh) = a.box, b.box
    return max(bx - ax - aw, ax - bx - bw), max(by - ay - ah, ay - by - bh)


def _kinds(a: SceneObject, b: SceneObject, near_px: float) -> list[str]:
    gap_x, gap_y = _gaps(a, b)
    dx, dy = b.centre[0] - a.centre[0], b.centre[1] - a.centre[1]
    kinds = []
    if gap_x >= 0 and dx > abs(dy):
        kinds.append("left_of")
    if gap_y >= 0 and dy > abs(dx):
        kinds.append("above")
    if max(gap_x, gap_y) >= 0 and hypot(max(gap_x, 0), max(gap_y, 0)) <= near_px:
        kinds.append("next_to")
    return kinds


def _is_between(a: SceneObject, b: SceneObject, c: SceneObject, off_px: float) -> bool:
    if any(max(_gaps(p, q)) < 0 for p, q in ((a, b), (a, c), (b, c))):
        return False
    ux, uy = c.centre[0] - b.centre[0], c.centre[1] - b.centre[1]
    vx, vy = a.centre[0] - b.centre[0], a.centre[1] - b.centre[1]
    length = hypot(ux, uy)
    along, off = (vx * ux + vy * uy) / length**2, abs(vx * uy - vy * ux) / length
    return 0.25 <= along <= 0.75 and off <= off_px


# --- Captions -------------------------------------------------------------------------------------


def caption(
    rng: np.random.Generator,
    objects: Sequence[SceneObject],
    setting: Setting,
    image_px: int,
    vocabulary: Vocabulary,
) -> tuple[str, list[Relation]]:
    """One caption of 4 to 8 sentences and 55 to 95 words, and the relations that it states."""
    zones = [zone(thing, image_px) for thing in objects]
    relations = true_relations(objects, image_px)
    for _ in range(MAX_DRAFTS):  # most drafts have the right length
        narrator = _Narrator(rng, vocabulary, objects, zones, relations)
        narrator.tell(setting)
        text = " ".join(f"{line[0].upper()}{line[1:]}." for line in narrator.sentences)
        sentences, words = len(narrator.sentences), len(text.split())
        if SENTENCES[0] <= sentences <= SENTENCES[1] and WORDS[0] <= words <= WORDS[1]:
            return text, narrator.stated
    raise ValueError(
        f"no caption of {WORDS[0]} to {WORDS[1]} words could be made: the vocabulary's phrases are "
        f"too long or too short (the last draft had {words} words)"
    )


@dataclass
class _Narrator:
    """Words a draft of a caption, object by object; relations look back to objects told before."""

    rng: np.random.Generator
    vocabulary: Vocabulary
    objects: Sequence[SceneObject]
    zones: Sequence[str]
    relations: Sequence[Relation]
    sentences: list[str] = field(default_factory=list)
    stated: list[Relation] = field(default_factory=list)
    told: list[int] = field(default_factory=list)
    can_join: bool = False  # whether the last sentence introduces one object and says no more

    def __post_init__(self) -> None:
        self.nouns = [self._pick(self.vocabulary.shapes[thing.shape]) for thing in self.objects]

    def tell(self, setting: Setting) -> None:
        phrases = self.vocabulary
        count = len(self.objects)
        number = self._pick(phrases.numbers[str(count)])
        background = {
            "ground": setting.ground,
            "texture": self._pick(phrases.textures[setting.texture]),
        }
        at_once = self._chance(0.6)
        self._say("opening" if at_once else "counting", number=number, **background)
        skipped = int(count > 4 and self._chance(0.3))
        for i in self.rng.permutation(count)[skipped:].tolist():
            self._introduce(i)
        if not at_once:
            self._say("background", **background)
        if self._chance(0.5):
            self.sentences.append(self._pick(phrases.lights[setting.light]))

    def _introduce(self, i: int) -> None:
        thing, phrases, crowd = self.objects[i], self.vocabulary, len(self.objects)
        told = {*self.told, None}
        known = [r for r in self.relations if r.subject == i and {r.object, r.other} <= told]
        relation = self._relation(known) if known and self._chance(1.25 - 0.15 * crowd) else ""
        merged = bool(relation) and self._chance(0.4)
        named = {"colour": self._chance(0.75), "size": self._chance(0.6)}
        joins = self.can_join and not relation and self._chance(0.15 * crowd - 0.3)
        before = self.sentences.pop() if joins else ""
        self._say(
            "related_introduction" if merged else "introduction",
            a=self._describe(i, **named),
            where=self._pick(phrases.positions[self.zones[i]]),
            relation=relation,
        )
        if joins:
            self._say("join", first=before, second=self.sentences.pop())
        self.can_join = not joins and not merged
        self.told.append(i)
        if relation and not merged:
            self._add(i, "relation", alone=not joins, relation=relation)
        for name, said in named.items():
            if not said and self._chance(0.4):
                word = thing.colour if name == "colour" else self._pick(phrases.sizes[thing.size])
                self._add(i, name, alone=not joins, **{name: word})

    def _relation(self, known: Sequence[Relation]) -> str:
        """Pick a kind of relation first, so that the common kinds do not drown the rare ones."""
        kind = self._pick(sorted({relation.kind for relation in known}))
        relation = self._pick([relation for relation in known if relation.kind == kind])
        self.stated.append(relation)
        other = "" if relation.other is None else self._name(relation.other)
        phrase = self._pick(self.vocabulary.relations[kind])
        return phrase.format(o=self._name(relation.object), p=other)

    def _describe(self, i: int, *, colour: bool, size: bool) -> str:
        thing, phrases = self.objects[i], self.vocabulary
        noun = f"{thing.colour} {self.nouns[i]}" if colour else self.nouns[i]
        if self._chance(0.7):
            noun = self._pick(phrases.patterns[thing.pattern]).format(noun=noun)
        if size:
            noun = f"{self._pick(phrases.sizes[thing.size])} {noun}"
        return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"

    def _name(self, i: int) -> str:
        colour = f"{self.objects[i].colour} " if self._chance(0.25) else ""
        return f"the {colour}{self.nouns[i]}"

    def _add(self, i: int, template: str, *, alone: bool, **fields: str) -> None:
        """A further sentence on an object; "it" where no other can be meant."""
        self._say(template, s="it" if alone and self._chance(0.6) else self._name(i), **fields)
        self.can_join = False

    def _say(self, template: str, **fields: str) -> None:
        self.sentences.append(self._pick(self.vocabulary.templates[template]).format(**fields))

    def _pick(self, choices: Sequence[T]) -> T:
        return _pick(self.rng, choices)

    def _chance(self, probability: float) -> bool:
        return bool(self.rng.random() < probability)


# --- Vocabulary -----------------------------------------------------------------------------------

# What each section names, and the fields that every phrase of a name must have.
_SECTIONS: dict[str, dict[str, set[str]]] = {
    "shapes": {name: set() for name in SHAPES},
    "patterns": {name: {"noun"} for name in PATTERNS},
    "sizes": {name: set() for name in RADII},
    "positions": {name: set() for name in ZONES},
    "relations": {
        **{name: {"o"} for pair in INVERSE.items() for name in pair},
        "between": {"o", "p"},
    },
    "textures": {name: set() for name in TEXTURES},
    "lights": {name: set() for name in LIGHTS},
    "numbers": {str(count): set() for count in range(OBJECTS[0], OBJECTS[1] + 1)},
    "templates": {
        "opening": {"number", "ground", "texture"},
        "counting": {"number"},
        "background": {"ground", "texture"},
        "introduction": {"a", "where"},
        "related_introduction": {"a", "where", "relation"},
        "relation": {"s", "relation"},
        "colour": {"s", "colour"},
        "size": {"s", "size"},
        "join": {"first", "second"},
    },
}


def load_vocabulary(path: str | Path) -> Vocabulary:
    """Read a vocabulary like scenes.yaml; ``ValueError`` with one sentence if it is none."""
    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
        names = [entry.name for entry in fields(Vocabulary)]
        _refuse_other_names("the file", content, names, names)
        return Vocabulary(
            colours=_paints("colours", content["colours"]),
            grounds=_paints("grounds", content["grounds"]),
            **{section: _phrases(section, content[section]) for section in _SECTIONS},
        )
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"{path} cannot be read as a vocabulary of scenes: {reason}") from error
    except ValueError as error:
        raise ValueError(f"{path} is no vocabulary of scenes: {error}") from None


def _refuse_other_names(
    where: str, content: Any, needed: Sequence[str], allowed: Sequence[str]
) -> None:
    if not isinstance(content, dict) or not content:
        raise ValueError(f"{where} must be a mapping, not {content!r}")
    if missing := [name for name in needed if name not in content]:
        raise ValueError(f"{where} lacks {', '.join(missing)}")
    if unknown := [str(name) for name in content if name not in allowed]:
        raise ValueError(
            f"{where} must not hold {', '.join(unknown)}; valid are {', '.join(allowed)}"
        )


def _phrases(section: str, content: Any) -> Phrases:
    rules = _SECTIONS[section]
    if isinstance(content, dict):
        content = {str(name): phrases for name, phrases in content.items()}
    _refuse_other_names(section, content, [] if section == "shapes" else list(rules), list(rules))
    if len(content) < OBJECTS[1] and section == "shapes":
        raise ValueError(f"shapes must hold at least {OBJECTS[1]} shapes, not {len(content)}")
    for name, phrases in content.items():
        where = f"{section}.{name}"
        if not isinstance(phrases, list) or not phrases:
            raise ValueError(f"{where} must be a list of phrases, not {phrases!r}")
        for phrase in phrases:
            _check_phrase(where, phrase, rules[name])
    return {name: tuple(phrases) for name, phrases in content.items()}


def _check_phrase(where: str, phrase: Any, needed: set[str]) -> None:
    if not isinstance(phrase, str) or not phrase.strip():
        raise ValueError(f"{where} must hold text, not {phrase!r}")
    try:
        found = {name for _, name, _, _ in Formatter().parse(phrase) if name is not None}
    except ValueError as error:
        raise ValueError(f"{where} has a stray brace in {phrase!r}: {error}") from None
    if found != needed:
        wanted = " and ".join(f"{{{name}}}" for name in sorted(needed)) or "no field in braces"
        raise ValueError(f"{where} must hold {wanted}, which {phrase!r} does not")


def _paints(section: str, content: Any) -> dict[str, RGB]:
    if not isinstance(content, dict) or not content:
        raise ValueError(f"{section} must be a mapping, not {content!r}")
    for name, rgb in content.items():
        levels = rgb if isinstance(rgb, list) and len(rgb) == 3 else [None]
        if not all(type(level) is int and 0 <= level <= 255 for level in levels):
            raise ValueError(
                f"{section}.{name} must be three whole numbers from 0 to 255, not {rgb!r}"
            )
    return {str(name): (rgb[0], rgb[1], rgb[2]) for name, rgb in content.items()}
