"""Long captions that are true of a scene, in varied wording."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from structxlip.data.scenes.objects import Relation, SceneObject, Setting, T, pick
from structxlip.data.scenes.relations import true_relations, zone
from structxlip.data.scenes.vocabulary import Vocabulary

SENTENCES = (4, 8)
WORDS = (55, 95)
MAX_DRAFTS = 200


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
        return pick(self.rng, choices)

    def _chance(self, probability: float) -> bool:
        return bool(self.rng.random() < probability)
