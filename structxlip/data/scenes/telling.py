"""Write the captions of a scene: long, true, and varied in wording."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from structxlip.data.scenes.objects import Relation, SceneObject, Setting, T, pick
from structxlip.data.scenes.relations import true_relations, zone
from structxlip.data.scenes.vocabulary import Vocabulary

SENTENCES = (4, 8)  # fewest and most in a caption
WORDS = (55, 95)  # fewest and most in a caption
MAX_DRAFTS = 200  # drafts without the right length before the vocabulary is refused


def caption(
    rng: np.random.Generator,
    objects: Sequence[SceneObject],
    setting: Setting,
    image_px: int,
    vocabulary: Vocabulary,
) -> tuple[str, list[Relation]]:
    """Write one caption of 4 to 8 sentences and 55 to 95 words.

    Args:
        rng: source of all random draws.
        objects: the objects of the scene.
        setting: its background and light.
        image_px: side of the square image, in pixels.
        vocabulary: names and phrases.

    Returns:
        The caption, and the relations that it states, in order.

    Raises:
        ValueError: none of ``MAX_DRAFTS`` drafts has the right length.
    """
    zones = [zone(thing, image_px) for thing in objects]
    relations = true_relations(objects, image_px)
    for _ in range(MAX_DRAFTS):  # most drafts have the right length
        draft = _Draft(rng, vocabulary, objects, zones, relations)
        draft.write(setting)
        text = " ".join(f"{line[0].upper()}{line[1:]}." for line in draft.sentences)
        sentences, words = len(draft.sentences), len(text.split())
        if SENTENCES[0] <= sentences <= SENTENCES[1] and WORDS[0] <= words <= WORDS[1]:
            return text, draft.stated
    raise ValueError(
        f"no caption of {WORDS[0]} to {WORDS[1]} words could be made: the vocabulary's phrases are "
        f"too long or too short (the last draft had {words} words)"
    )


@dataclass
class _Draft:
    """A draft of a caption, written object by object.

    A relation of an object refers only to objects that were introduced before.

    Attributes:
        rng: source of all random draws.
        vocabulary: names and phrases.
        objects: the objects of the scene.
        zones: the position of each object.
        relations: all relations that hold.
        sentences: the sentences so far, without capitals and full stops.
        stated: the relations that they state.
        introduced: indices of the objects that they introduce.
        can_join: whether the last sentence introduces one object and says no more, so that the next
            introduction can join it.
        nouns: the noun of each object.
    """

    rng: np.random.Generator
    vocabulary: Vocabulary
    objects: Sequence[SceneObject]
    zones: Sequence[str]
    relations: Sequence[Relation]
    sentences: list[str] = field(default_factory=list)
    stated: list[Relation] = field(default_factory=list)
    introduced: list[int] = field(default_factory=list)
    can_join: bool = False

    def __post_init__(self) -> None:
        self.nouns = [self._pick(self.vocabulary.shapes[thing.shape]) for thing in self.objects]

    def write(self, setting: Setting) -> None:
        """Write the number of objects, each object, the background, and perhaps the light.

        A scene of more than four objects may leave one out.
        """
        phrases = self.vocabulary
        count = len(self.objects)
        number = self._pick(phrases.numbers[str(count)])
        background = {
            "ground": setting.ground,
            "texture": self._pick(phrases.textures[setting.texture]),
        }
        background_first = self._chance(0.6)
        self._add_sentence(
            "opening" if background_first else "counting", number=number, **background
        )
        skipped = int(count > 4 and self._chance(0.3))
        for i in self.rng.permutation(count)[skipped:].tolist():
            self._introduce(i)
        if not background_first:
            self._add_sentence("background", **background)
        if self._chance(0.5):
            self.sentences.append(self._pick(phrases.lights[setting.light]))

    def _introduce(self, i: int) -> None:
        """Introduce object ``i``: what it is, where it is, and perhaps a relation and attributes.

        The more objects a scene has, the fewer relations the caption states and the more
        introductions share a sentence, so that its length stays in range.
        """
        thing, phrases, count = self.objects[i], self.vocabulary, len(self.objects)
        may_refer_to = {*self.introduced, None}
        possible = [
            r for r in self.relations if r.subject == i and {r.object, r.other} <= may_refer_to
        ]
        relation = ""
        if possible and self._chance(1.25 - 0.15 * count):
            relation = self._relation_phrase(possible)
        merged = bool(relation) and self._chance(0.4)
        described = {"colour": self._chance(0.75), "size": self._chance(0.6)}
        joins = self.can_join and not relation and self._chance(0.15 * count - 0.3)
        previous = self.sentences.pop() if joins else ""
        self._add_sentence(
            "related_introduction" if merged else "introduction",
            a=self._noun_phrase(i, **described),
            where=self._pick(phrases.positions[self.zones[i]]),
            relation=relation,
        )
        if joins:
            self._add_sentence("join", first=previous, second=self.sentences.pop())
        self.can_join = not joins and not merged
        self.introduced.append(i)
        if relation and not merged:
            self._add_detail(i, "relation", alone=not joins, relation=relation)
        for attribute, is_described in described.items():
            if not is_described and self._chance(0.4):
                word = (
                    thing.colour if attribute == "colour" else self._pick(phrases.sizes[thing.size])
                )
                self._add_detail(i, attribute, alone=not joins, **{attribute: word})

    def _relation_phrase(self, possible: Sequence[Relation]) -> str:
        """Pick one of the possible relations and put it into words.

        The kind is picked first, so that rare kinds come as often as common ones.
        """
        kind = self._pick(sorted({relation.kind for relation in possible}))
        relation = self._pick([relation for relation in possible if relation.kind == kind])
        self.stated.append(relation)
        other = "" if relation.other is None else self._name(relation.other)
        phrase = self._pick(self.vocabulary.relations[kind])
        return phrase.format(o=self._name(relation.object), p=other)

    def _noun_phrase(self, i: int, *, colour: bool, size: bool) -> str:
        """Object ``i`` with its article, and perhaps its attributes: "a small red disc"."""
        thing, phrases = self.objects[i], self.vocabulary
        noun = f"{thing.colour} {self.nouns[i]}" if colour else self.nouns[i]
        if self._chance(0.7):
            noun = self._pick(phrases.patterns[thing.pattern]).format(noun=noun)
        if size:
            noun = f"{self._pick(phrases.sizes[thing.size])} {noun}"
        return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"

    def _name(self, i: int) -> str:
        """Object ``i`` as one that was introduced: "the disc" or "the red disc"."""
        colour = f"{self.objects[i].colour} " if self._chance(0.25) else ""
        return f"the {colour}{self.nouns[i]}"

    def _add_detail(self, i: int, template: str, *, alone: bool, **fields: str) -> None:
        """Add one more sentence about object ``i``.

        ``alone``: the last sentence introduces no other object, so that "it" is clear.
        """
        subject = "it" if alone and self._chance(0.6) else self._name(i)
        self._add_sentence(template, s=subject, **fields)
        self.can_join = False

    def _add_sentence(self, template: str, **fields: str) -> None:
        self.sentences.append(self._pick(self.vocabulary.templates[template]).format(**fields))

    def _pick(self, choices: Sequence[T]) -> T:
        return pick(self.rng, choices)

    def _chance(self, probability: float) -> bool:
        return bool(self.rng.random() < probability)
