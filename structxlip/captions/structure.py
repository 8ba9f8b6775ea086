"""The structure-centric form of a caption, read off its parse: what is where, not how it looks."""

from __future__ import annotations

import difflib
import re
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import yaml

from structxlip.captions.chunks import Chunk, sliding_chunks

if TYPE_CHECKING:
    from spacy.tokens import Doc, Span, Token

_LEXICONS = Path(__file__).parent / "lexicons"
_WORD = re.compile(r"\S+")
_JOINERS = frozenset("-–/")
_SOFT_PUNCTUATION = frozenset(",;:-–")
_BRACKETS = {"(": ")", "[": "]", '"': '"', "“": "”", "'": "'"}
_EDGE_PUNCTUATION = " .,;:!?\"'"
_CONTENT = frozenset({"NOUN", "PROPN", "VERB", "NUM"})
_MODIFIER = frozenset({"amod", "compound", "nmod"})
_NOMINAL = frozenset({"nsubj", "nsubjpass", "dobj", "pobj", "dative"})
_COMPLEMENT = frozenset({"pobj", "pcomp", "dobj", "oprd", "attr", "acomp", "xcomp", "ccomp"})
_PREPOSITION = frozenset({"prep", "agent", "dative"})
# Dependents that mean nothing without the word that they stand before.
_SATELLITES = frozenset({"det", "predet", "neg", "quantmod", "advmod"})
_AUXILIARIES = frozenset({"aux", "auxpass", "neg", "advmod"})


@dataclass(frozen=True)
class Lexicon:
    """Words, as lemmas or forms in lower case, that a tagger cannot sort by itself."""

    keep: frozenset[str]  # adjectives and adverbs of space, shape, size and quantity
    drop: frozenset[str]  # colours, materials and textures; holds `colours`
    colours: frozenset[str]
    shades: frozenset[str]  # belong to the colour right after them: "deep red"
    carriers: frozenset[str]  # verbs that go with their complement: "made of wood"


@dataclass(frozen=True)
class StructuralCaption:
    """A structural caption, its chunks, whose offsets are characters of ``text``, and the weight of
    each of its words, ``text.split()``."""

    text: str
    chunks: tuple[Chunk, ...]
    weights: tuple[float, ...]


def load_lexicon(names: Sequence[str | Path]) -> Lexicon:
    """The union of lexicons, each the name of a packaged one or the path of a YAML file.

    Raises ``ValueError`` for a name that is not packaged, with the nearest that is, for a file
    without the layout of ``lexicons/general.yaml``, and for a word that is both kept and dropped.
    """
    files = [_read_lexicon(name) for name in names]
    keep = frozenset(word for file in files for word in _flat(file["keep"]))
    drop = frozenset(word for file in files for word in _flat(file["drop"]))
    if keep & drop:
        raise ValueError(f"lexicons both keep and drop: {', '.join(sorted(keep & drop))}")
    return Lexicon(
        keep=keep,
        drop=drop,
        colours=frozenset(word for file in files for word in file["drop"].get("colour", [])),
        shades=frozenset(word for file in files for word in file["shades"]),
        carriers=frozenset(word for file in files for word in file["carriers"]),
    )


def structure_caption(
    doc: Doc,
    *,
    method: Literal["parse", "lexicon"] = "parse",
    mode: Literal["drop", "mask", "downweight"] = "drop",
    mask_word: str = "[MASK]",
    downweight: float = 0.25,
    chunks: Literal["phrases", "windows"] = "phrases",
    max_chunks: int = 32,
    lexicon: Lexicon,
) -> StructuralCaption:
    """Keep the structure of a parsed caption and drop, mask or play down how things look.

    Nouns, verbs, numbers, prepositions, particles, negations and function words stay, and so do
    the adjectives and adverbs that ``lexicon.keep`` lists. Other adjectives and adverbs go, and so
    do colours, materials and textures in the role of a modifier ("leather jacket", "a man in
    blue", "made of wood"); as things of their own ("a glass of water", "an orange") they stay.
    With ``method="lexicon"`` only words of ``lexicon.drop`` go, in those roles, and all other
    adjectives and adverbs stay.

    Dropping also removes what would be left dangling: a preposition or copula without its
    complement, a conjunction without its conjunct, a comma of a list. Masking puts one
    ``mask_word`` for each run of such words. Playing down keeps all words and gives these the
    weight ``downweight``; all other weights are 1. A caption that would lose every content word
    stays whole. ``text`` is one line with single spaces.

    Chunks are the noun phrases and prepositional phrases that still have their noun, in order of
    their start, at most ``max_chunks``; sliding windows where there is none, or with
    ``chunks="windows"``.

    Raises ``ValueError`` for an empty text, a ``doc`` without a parse, and bad arguments.
    """
    if not doc.text.strip():
        raise ValueError("the caption is empty")
    if not doc.has_annotation("DEP"):
        raise ValueError("the caption is not parsed: the language model needs a parser")
    for name, value, valid in (
        ("method", method, ("parse", "lexicon")),
        ("mode", mode, ("drop", "mask", "downweight")),
        ("chunks", chunks, ("phrases", "windows")),
    ):
        if value not in valid:
            raise ValueError(f"{name} must be one of {', '.join(valid)}, not {value!r}")
    if max_chunks < 1 or not 0 <= downweight <= 1:
        raise ValueError(
            f"needs max_chunks >= 1 and 0 <= downweight <= 1, not {max_chunks} and {downweight}"
        )
    if not mask_word or mask_word != " ".join(mask_word.split()):
        raise ValueError(f"mask_word must be words with single spaces, not {mask_word!r}")
    gone = _appearance(doc, lexicon, listed_only=method == "lexicon")
    if mode == "drop":
        gone = _with_dangling(doc, gone, lexicon)
    if not any(_is_content(token, lexicon) for token in doc if token.i not in gone):
        gone = set()
    faded: set[int] = set()
    if mode == "downweight":
        gone, faded = set(), gone
    pieces = _masked(doc, gone, mask_word) if mode == "mask" else _remaining(doc, gone)
    text, spans = _join(doc, pieces)
    found = _phrases(doc, gone, text, spans, lexicon) if chunks == "phrases" else []
    found = found[:max_chunks] or sliding_chunks(text, max_chunks=max_chunks)
    return StructuralCaption(text, tuple(found), _weights(text, spans, faded, downweight))


# --- Lexicons


def _read_lexicon(name: str | Path) -> dict:
    path = Path(name)
    if path.suffix not in (".yaml", ".yml"):
        packaged = sorted(file.stem for file in _LEXICONS.glob("*.yaml"))
        if str(name) not in packaged:
            close = difflib.get_close_matches(str(name), packaged, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"valid are: {', '.join(packaged)}"
            raise ValueError(f"unknown lexicon {str(name)!r}; {hint}")
        path = _LEXICONS / f"{name}.yaml"
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ValueError(f"the lexicon {path} cannot be read: {error}") from error
    default: dict = {"keep": {}, "drop": {}, "shades": [], "carriers": []}
    if not isinstance(content, dict) or not content.keys() <= default.keys():
        raise ValueError(f"the lexicon {path} must have the keys {', '.join(default)}, or some")
    file = default | content
    if not all(
        isinstance(file[key], type(default[key]))
        and all(isinstance(word, str) for word in _flat(file[key]))
        for key in default
    ):
        raise ValueError(f"the lexicon {path} must hold lists of words (quote `on` and `off`)")
    return file


def _flat(words: list[str] | dict[str, list[str]]) -> list[str]:
    if isinstance(words, list):
        return words
    return [word for group in words.values() for word in group]


# --- Which words are appearance


def _appearance(doc: Doc, lexicon: Lexicon, *, listed_only: bool) -> set[int]:
    words = list(_words(doc))
    gone = {
        token.i for word in words if _is_appearance(word, lexicon, listed_only) for token in word
    }
    tints = lexicon.colours | lexicon.shades
    for word, following in reversed(list(pairwise(words))):
        is_tint = len(word) == 1 and _names(word[0]) & tints
        if is_tint and following[-1].i in gone and _names(following[-1]) & tints:
            gone.add(word[0].i)
    return gone


def _words(doc: Doc) -> Iterator[list[Token]]:
    """Tokens, with those of a hyphenated word in one list."""
    word: list[Token] = []
    for token in doc:
        joined = word and not word[-1].whitespace_ and not token.is_space
        if joined and (token.text in _JOINERS or word[-1].text in _JOINERS):
            word.append(token)
        else:
            if word:
                yield word
            word = [token]
    yield word


def _is_appearance(word: list[Token], lexicon: Lexicon, listed_only: bool) -> bool:
    parts = [token for token in word if token.text not in _JOINERS]
    if not parts or not any(part.is_alpha for part in parts):
        return False
    if len(parts) == 1:
        return _fades(parts[0], lexicon, listed_only)
    if "".join(token.lower_ for token in word) in lexicon.keep:
        return False
    head = [part for part in parts if part.head not in word or part.head is part] or parts
    governor = _governor(head[-1])
    if head[-1].pos_ not in ("ADJ", "ADV") and governor.dep_ not in _MODIFIER:
        return False
    if _names(parts[-1]) & lexicon.drop:
        return True
    if any(_names(part) & lexicon.keep or part.pos_ == "NUM" for part in parts):
        return False
    return any(_names(part) & lexicon.drop for part in parts) or (
        not listed_only and all(part.pos_ in ("ADJ", "ADV") for part in parts)
    )


def _fades(token: Token, lexicon: Lexicon, listed_only: bool) -> bool:
    names = _names(token)
    named = bool(names & lexicon.drop)
    governor = _governor(token)
    if token.pos_ in ("ADJ", "ADV"):
        if names & lexicon.keep or token.dep_ in ("prt", "neg", "cc", "mark", "preconj"):
            return False
        if token.tag_ == "WRB" or token.head.dep_ == "cc":  # "where", "as well as"
            return False
        # An adjective in the place of a noun is one, unless it is a colour: "the blind", "in red".
        is_noun = governor.pos_ == "ADJ" and governor.dep_ in _NOMINAL
        return named or not (is_noun or listed_only)
    if not named or token.pos_ not in ("NOUN", "PROPN", "VERB"):
        return False
    if governor.dep_ in _MODIFIER and governor.head.i > token.i:
        return True
    return token.pos_ != "VERB" and _is_bare_attribute(token, governor, lexicon)


def _is_bare_attribute(token: Token, governor: Token, lexicon: Lexicon) -> bool:
    """Whether a colour or material stands alone as a complement: "in blue", "made of wood"."""
    if token.tag_ in ("NNS", "NNPS") or any(
        child.dep_ in ("det", "poss") and child.lower_ != "all" for child in token.children
    ):
        return False
    head = governor.head
    if governor.dep_ == "pobj":
        carried = head.head.lemma_ in lexicon.carriers
        if head.lower_ == "in":
            colour = bool(_names(token) & lexicon.colours)
            return colour or (carried and head.head.lemma_ != "be")
        return carried and head.lower_ in ("of", "from")
    if governor.dep_ in ("dobj", "oprd", "attr", "acomp"):
        there_is = any(child.dep_ == "expl" for child in head.children)
        return head.lemma_ in lexicon.carriers and not there_is
    return False


def _names(token: Token) -> set[str]:
    return {token.lower_, token.lemma_.lower()}


def _governor(token: Token) -> Token:
    """The first of the conjuncts that a token belongs to: it carries their common role."""
    while token.dep_ == "conj":
        token = token.head
    return token


def _is_content(token: Token, lexicon: Lexicon) -> bool:
    if token.pos_ in ("ADJ", "ADV"):
        return bool(_names(token) & lexicon.keep)
    return token.pos_ in _CONTENT and any(character.isalnum() for character in token.text)


# --- What must go with them for the rest to read well


def _with_dangling(doc: Doc, appearance: set[int], lexicon: Lexicon) -> set[int]:
    gone = set(appearance)
    for token in (doc[i] for i in sorted(appearance)):
        fallen = [child for child in token.lefts if _is_satellite(child, token, gone)]
        fallen += [child for child in token.rights if child.lower_ in ("than", "as")]
        if any(child.lower_ == "but" for child in token.rights):  # "is *not* red but round"
            fallen += [child for child in token.head.children if child.dep_ == "neg"]
        gone.update(t.i for child in fallen for t in child.subtree)
    for token in reversed(doc):  # complements stand on the right, so they are settled first
        if token.i not in gone and _is_hollow(token, gone, lexicon):
            gone.add(token.i)
            gone.update(child.i for child in token.lefts if _falls_with(child, token))
    for sentence in doc.sents:
        gone.update(token.i for token in sentence if _is_idle_conjunction(token, gone))
        _drop_punctuation(doc, sentence, gone)
        if not any(_is_content(token, lexicon) for token in sentence if token.i not in gone):
            gone.update(token.i for token in sentence)
    return gone


def _is_satellite(child: Token, token: Token, gone: set[int]) -> bool:
    """Whether the left dependent of a gone word means nothing without it."""
    governor = _governor(token)
    if governor.dep_ in _MODIFIER:
        # Parsers may give the noun's article to its adjective: "*a* grey and white dog".
        has_article = any(c.dep_ == "det" and c.i not in gone for c in governor.head.lefts)
        return child.dep_ in _SATELLITES and (child.dep_ != "det" or has_article)
    is_noun = token.pos_ in ("NOUN", "PROPN")
    return child.dep_ in _SATELLITES or (is_noun and child.dep_ in _MODIFIER | {"nummod"})


def _is_hollow(token: Token, gone: set[int], lexicon: Lexicon) -> bool:
    """Whether a preposition, copula or other carrier has lost all of its complement."""
    if token.pos_ == "ADP" and token.dep_ in _PREPOSITION:
        lost = kept = [c for c in token.rights if c.dep_ in _COMPLEMENT or c.pos_ == "ADJ"]
    elif token.pos_ not in ("VERB", "AUX") or token.lemma_ not in lexicon.carriers:
        return False
    elif token.lemma_ == "be":  # "is brown in a field" still is in a field
        lost = [c for c in token.rights if c.dep_ not in ("cc", "conj", "punct")]
        kept = [t for c in lost for t in c.subtree if t.pos_ not in ("PUNCT", "CCONJ", "SPACE")]
    else:  # "made of wood by hand" is no longer made
        kept = [c for c in token.rights if c.dep_ in _COMPLEMENT]
        lost = kept + [c for c in token.rights if c.dep_ in _PREPOSITION]
    return any(c.i in gone for c in lost) and not any(
        t.i not in gone for c in kept for t in (c, *c.conjuncts)
    )


def _falls_with(child: Token, verb: Token) -> bool:
    """Whether the left dependent of a hollow verb goes too: "*which* *is not* red"."""
    if child.dep_ in ("nsubj", "nsubjpass"):
        return child.pos_ == "PRON" and verb.dep_ != "ROOT"
    return child.dep_ in _AUXILIARIES or (child.dep_ == "mark" and verb.dep_ != "ROOT")


def _is_idle_conjunction(token: Token, gone: set[int]) -> bool:
    """Whether a conjunction no longer joins two things that stayed."""
    if token.pos_ != "CCONJ" or token.dep_ != "cc":
        return False
    left = token.head
    right = next((c for c in left.children if c.dep_ == "conj" and c.i > token.i), None)
    if right is None:  # the parser saw no conjunct
        return token.i + 1 in gone
    # Two clauses may lose a verb and still have their subjects: "the cat sits and the dog".
    clause = _has_subject(left, gone) and _has_subject(right, gone)
    return not clause and (left.i in gone or right.i in gone)


def _has_subject(token: Token, gone: set[int]) -> bool:
    return any(c.dep_ in ("nsubj", "nsubjpass") and c.i not in gone for c in token.children)


def _drop_punctuation(doc: Doc, sentence: Span, gone: set[int]) -> None:
    """Remove the soft punctuation and the empty brackets that the gone words leave behind."""
    for token in sentence:
        if token.i in gone or not (token.is_punct or token.text in _SOFT_PUNCTUATION):
            continue
        left = _nearest(doc, sentence, token.i, -1, gone)
        right = _nearest(doc, sentence, token.i, 1, gone)
        untouched = not {token.i - 1, token.i + 1} & gone
        if untouched:
            continue
        if right is not None and token.text in _BRACKETS:
            if right.text == _BRACKETS[token.text]:
                gone.update((token.i, right.i))
        elif token.text in _SOFT_PUNCTUATION:
            if right is not None and right.text in _SOFT_PUNCTUATION and left is not None:
                gone.update((token.i, right.i))  # both commas of an aside
            elif (
                left is None
                or right is None
                or right.is_punct
                or left.pos_ in ("DET", "ADP", "AUX")
                or _is_list_comma(token, gone)
            ):
                gone.add(token.i)


def _nearest(doc: Doc, sentence: Span, i: int, step: int, gone: set[int]) -> Token | None:
    """The first token that stayed, from ``i`` on by ``step``, inside the sentence."""
    i += step
    while sentence.start <= i < sentence.end:
        if i not in gone and not doc[i].is_space:
            return doc[i]
        i += step
    return None


def _is_list_comma(comma: Token, gone: set[int]) -> bool:
    """Whether a comma stood between the adjectives of one noun: "a round*,* red ball"."""
    neighbours = [_governor(comma.doc[i]) for i in (comma.i - 1, comma.i + 1) if i in gone]
    return any(
        word.dep_ in _MODIFIER and word.head.left_edge.i < comma.i < word.head.i
        for word in neighbours
    )


# --- Text and offsets

_Piece = tuple[str, int, int]  # a text, and the first and last token that it stands for


def _remaining(doc: Doc, gone: set[int]) -> list[_Piece]:
    return [(t.text, t.i, t.i) for t in doc if t.i not in gone and not t.is_space]


def _masked(doc: Doc, gone: set[int], mask_word: str) -> list[_Piece]:
    pieces: list[_Piece] = []
    between: list[_Piece] = []  # "," and "and" since the last mask: part of it if a mask follows
    in_run = False
    for token in doc:
        if token.is_space:
            continue
        if token.i not in gone:
            between.append((token.text, token.i, token.i))
            if token.pos_ != "CCONJ" and token.text not in _SOFT_PUNCTUATION:
                pieces += between
                between, in_run = [], False
        elif in_run:
            pieces[-1] = (mask_word, pieces[-1][1], token.i)
            between = []
        else:
            pieces += [*between, (mask_word, token.i, token.i)]
            between, in_run = [], True
    return pieces + between


def _join(doc: Doc, pieces: Iterable[_Piece]) -> tuple[str, dict[int, tuple[int, int]]]:
    """The text of the pieces, and the characters that stand for each of their tokens."""
    text = ""
    spans: dict[int, tuple[int, int]] = {}
    last = -1
    for piece, start, end in pieces:
        if text and _is_spaced(doc, last, start):
            text += " "
        for i in range(start, end + 1):
            spans[i] = (len(text), len(text) + len(piece))
        text += piece
        last = end
    return text, spans


def _weights(
    text: str, spans: dict[int, tuple[int, int]], faded: set[int], downweight: float
) -> tuple[float, ...]:
    """The weight of each word between spaces: lower where all of its letters are faded."""
    faint = [spans[i] for i in faded]
    return tuple(
        downweight
        if all(
            any(start <= i < end for start, end in faint)
            for i in range(*word.span())
            if text[i].isalnum()
        )
        and re.search(r"\w", word[0])
        else 1.0
        for word in _WORD.finditer(text)
    )


def _is_spaced(doc: Doc, left: int, right: int) -> bool:
    if right == left + 1:
        return bool(doc[left].whitespace_)
    if any(token.is_space for token in doc[left + 1 : right]):
        return True
    touches = doc[left].is_punct or doc[right].is_punct
    return not touches or bool(doc[left].whitespace_ and doc[right - 1].whitespace_)


# --- Chunks


def _phrases(
    doc: Doc, gone: set[int], text: str, spans: dict[int, tuple[int, int]], lexicon: Lexicon
) -> list[Chunk]:
    """Noun phrases and prepositional phrases of the structural text, by start and then end."""
    nouns = {
        span.root.i: span.start
        for span in doc.noun_chunks
        if span.root.pos_ in ("NOUN", "PROPN")
        and any(character.isalnum() for character in span.root.text)
        and span.root.i not in gone
    }
    chunks: set[Chunk] = set()
    parts: set[int] = set()  # words inside a preposition, which head no phrase of their own

    def add(start: int, end: int, kind: Literal["noun_phrase", "prepositional_phrase"]) -> None:
        words = [i for i in range(start, end + 1) if i in spans and not doc[i].is_punct]
        left, right = spans[words[0]][0], spans[words[-1]][1]
        # A token may hold punctuation: "St.", "o'clock.".
        left += len(text[left:right]) - len(text[left:right].lstrip(_EDGE_PUNCTUATION))
        chunks.add(Chunk(left, left + len(text[left:right].rstrip(_EDGE_PUNCTUATION)), kind))

    for token in doc:
        if token.i in gone or token.i in parts or token.dep_ not in _PREPOSITION:
            continue
        *inside, last = _path_to_object(token, nouns, lexicon)
        if last in nouns:
            parts.update(inside)
            add(min(nouns.get(token.head.i, token.i), token.i), last, "prepositional_phrase")
    for noun, start in nouns.items():
        if noun not in parts:
            add(start, noun, "noun_phrase")
    return sorted(chunks, key=lambda chunk: (chunk.start, chunk.end))


def _path_to_object(preposition: Token, nouns: Container[int], lexicon: Lexicon) -> list[int]:
    """From a preposition to its noun, over its other words: "in front of", "out of"."""
    path = [preposition.i]
    for child in preposition.rights:
        if child.dep_ == "prep":
            return path + _path_to_object(child, nouns, lexicon)
        if child.dep_ == "pobj" and child.i in nouns:
            of = [c for c in child.rights if c.lower_ == "of"]
            if of and not child.n_lefts and _names(child) & lexicon.keep:
                return [*path, child.i, *_path_to_object(of[0], nouns, lexicon)]
            return [*path, child.i]
    return path
