"""The true positions and relations of the objects of a scene."""

from __future__ import annotations

from collections.abc import Sequence
from math import hypot

from structxlip.data.scenes.objects import INVERSE, ZONES, Relation, SceneObject


def zone(thing: SceneObject, image_px: int) -> str:
    """The name of the ninth of the image that holds the centre of an object, one of ``ZONES``."""
    column, row = (min(int(3 * c / image_px), 2) for c in thing.centre)
    return ZONES[3 * row + column]


def true_relations(objects: Sequence[SceneObject], image_px: int) -> list[Relation]:
    """Every relation that holds between the objects of a scene.

    - ``left_of``: the boxes do not overlap in x, and the centres differ more in x than in y.
    - ``above``: the same with x and y exchanged.
    - ``next_to``: the boxes do not overlap, and their gap is at most 6 % of the image side.
    - ``between``: the boxes of all three do not overlap. The centre lies beside the middle half of
      the line that joins the centres of the two others, at most 10 % of the image side off it.
    - ``in_front_of``: the object covers a part of the other.
    - ``right_of``, ``below``, ``behind``: the inverse relations.

    Args:
        objects: the objects of the scene.
        image_px: side of the square image, in pixels.
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
    """The gap between two boxes in x and in y, in pixels; 0 or less where they touch or overlap."""
    (ax, ay, aw, ah), (bx, by, bw, bh) = a.box, b.box
    return max(bx - ax - aw, ax - bx - bw), max(by - ay - ah, ay - by - bh)


def _kinds(a: SceneObject, b: SceneObject, near_px: float) -> list[str]:
    """The relations of ``a`` to ``b`` that depend on their boxes; inverse ones are left out."""
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
    """Whether ``a`` is between ``b`` and ``c``, at most ``off_px`` off the line that joins them."""
    if any(max(_gaps(p, q)) < 0 for p, q in ((a, b), (a, c), (b, c))):
        return False
    ux, uy = c.centre[0] - b.centre[0], c.centre[1] - b.centre[1]
    vx, vy = a.centre[0] - b.centre[0], a.centre[1] - b.centre[1]
    length = hypot(ux, uy)
    along, off = (vx * ux + vy * uy) / length**2, abs(vx * uy - vy * ux) / length
    return 0.25 <= along <= 0.75 and off <= off_px
