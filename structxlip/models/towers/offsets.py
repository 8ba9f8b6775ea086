"""Map each token of an open_clip tokenizer to its characters in the text."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from itertools import islice, takewhile
from typing import Any

from structxlip.errors import UserError

Span = tuple[int, int]  # start and end of some characters of a text; the end is exclusive
Clean = Callable[[str], str]

# Without the control character 0x85: it is a space, and cleaning makes a visible "…" of it.
_WORD = re.compile(r"[\S\x85]+")
# Parts of a word that cleaning changes on their own: an entity, or a character with its marks.
_ATOM = re.compile(r"&(?:amp;)+#?\w{1,31};|&#?\w{1,31};?|.[\u0300-\u036f]*", re.DOTALL)
_LOOKAHEAD = 4  # words in which a text and its clean form are searched for where they meet again


def character_offsets(tokenizer: Any, text: str) -> list[Span]:
    """The characters of ``text`` that each token covers.

    Tokenizers of ``transformers`` (WordPiece, SentencePiece) say it themselves; for the byte-pair
    encoding of CLIP it is counted here. Both refer to the text that the tokenizer has cleaned
    (lower case, entities, quotes, punctuation, spaces); the spans here refer to ``text`` itself. A
    token that stands for a part of a character, or for a part of what was replaced as a whole, such
    as an entity, covers all of it.

    Args:
        tokenizer: a tokenizer of open_clip.
        text: one text.

    Returns:
        A span for each token, at most ``context_length`` of them; (0, 0) for a token without
        characters, such as the start of the text.

    Raises:
        UserError: a tokenizer of ``transformers`` that is not a fast one.
    """
    clean = tokenizer.clean_fn(text)
    if hasattr(tokenizer, "byte_encoder"):
        found = islice(_byte_pair_spans(tokenizer, clean), tokenizer.context_length - 2)
        spans = [(0, 0), *found]
    else:
        hf_tokenizer = tokenizer.tokenizer
        if not hf_tokenizer.is_fast:
            raise UserError(
                f"{type(hf_tokenizer).__name__} does not say which characters its tokens stand for;"
                f" choose a text tower with a fast tokenizer of transformers"
            )
        encoded = hf_tokenizer(
            clean,
            max_length=tokenizer.context_length,
            truncation=True,
            return_offsets_mapping=True,
        )
        # A SentencePiece token may hold the space before its word.
        spans = [_without_spaces(clean, start, end) for start, end in encoded["offset_mapping"]]
    count = max((end for _, end in spans), default=0)
    origin = _origins(tokenizer.clean_fn, text, clean, count)
    return [
        (origin[start][0], origin[end - 1][1]) if end > start else (0, 0) for start, end in spans
    ]


def token_counts(tokenizer: Any, texts: Sequence[str]) -> list[int]:
    """The number of tokens of each text, with start and end tokens, before any truncation."""
    if hasattr(tokenizer, "byte_encoder"):
        return [len(tokenizer.encode(text)) + 2 for text in texts]
    hf_tokenizer = getattr(tokenizer, "tokenizer", tokenizer)
    return [len(ids) for ids in hf_tokenizer(list(texts), verbose=False)["input_ids"]]


def _byte_pair_spans(tokenizer: Any, text: str) -> Iterator[Span]:
    """The span of each token of CLIP's byte-pair encoding."""
    for word in tokenizer.pat.finditer(text):
        owners = [i for i, letter in enumerate(word[0], word.start()) for _ in letter.encode()]
        symbols = "".join(tokenizer.byte_encoder[byte] for byte in word[0].encode())
        first = 0
        for symbol in tokenizer.bpe(symbols).split(" "):
            last = first + len(symbol.removesuffix("</w>"))
            yield owners[first], owners[last - 1] + 1
            first = last


def _without_spaces(text: str, start: int, end: int) -> Span:
    """The span ``[start, end)`` of a text, without the spaces at its ends."""
    token = text[start:end]
    return start + len(token) - len(token.lstrip()), start + len(token.rstrip())


def _origins(clean_fn: Clean, text: str, clean: str, count: int) -> list[Span]:
    """The characters of ``text`` behind each of the first ``count`` characters of ``clean``.

    Each word is cleaned alone and found again in ``clean``, one after the other. A word that is not
    found, because its repair needs the words around it, goes together with the next ones up to one
    that is found.

    Args:
        clean_fn: cleans a text.
        text: the text.
        clean: ``clean_fn(text)``.
        count: characters to map.

    Returns:
        ``count`` spans in rising order. A space has the span of the character before it.
    """
    if len(clean) == len(text) and clean in (text, text.lower()):
        return [(i, i + 1) for i in range(count)]
    solid = _solid(clean)
    wanted = len(_solid(clean[:count]))
    words = [word.span() for word in _WORD.finditer(text)]
    found: list[Span] = []
    first = 0
    while len(found) < wanted:
        near = words[first : first + _LOOKAHEAD]
        last, width = _next_part(clean_fn, text, near, solid, len(found))
        start, end = near[0][0], near[last][1]
        part = solid[len(found) :][: None if near[last] is words[-1] else width]
        found += [(start + a, start + b) for a, b in _in_part(clean_fn, text[start:end], part)]
        first += last + 1
    spans: list[Span] = []
    solid_spans = iter(found)
    for character in clean[:count]:
        spans.append(spans[-1] if character.isspace() else next(solid_spans))
    return spans


def _next_part(
    clean_fn: Clean, text: str, words: Sequence[Span], solid: str, position: int
) -> tuple[int, int]:
    """The last of the words, and the characters of ``solid``, that belong to the first word."""
    pieces = [_clean_part(clean_fn, text[start:end]) for start, end in words]
    if not solid.startswith(pieces[0], position):
        for last in range(len(words) - 1):
            most = 2 * (words[last][1] - words[0][0]) + 8
            key = "".join(pieces[last + 1 : last + 3])
            at = solid.find(key, position, position + most + len(key)) if key else -1
            if at >= 0:
                return last, at - position
    return 0, len(pieces[0])


def _in_part(clean_fn: Clean, raw: str, clean: str) -> list[Span]:
    """The span in ``raw``, some words, of each character of their clean form without spaces."""
    if len(raw) == len(clean) and clean in (raw, raw.lower()):
        return [(i, i + 1) for i in range(len(raw))]
    atoms = [(atom.span(), _clean_part(clean_fn, atom[0])) for atom in _ATOM.finditer(raw)]
    if "".join(piece for _, piece in atoms) == clean:
        return [
            (start + i, start + i + 1) if len(piece) == end - start else (start, end)
            for (start, end), piece in atoms
            for i in range(len(piece))
        ]
    # What is alike at both ends is mapped one by one; the rest in between as a whole.
    before = _alike(raw, clean)
    after = _alike(raw[before:][::-1], clean[before:][::-1])
    start, end = before, len(raw) - after
    if start == end:
        start, end = max(start - 1, 0), max(end, 1)
    return [
        *((i, i + 1) for i in range(before)),
        *[(start, end)] * (len(clean) - before - after),
        *((i, i + 1) for i in range(len(raw) - after, len(raw))),
    ]


def _alike(first: str, second: str) -> int:
    """The number of characters with which both texts start, in upper or lower case."""
    pairs = zip(first, second, strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0].lower() == pair[1].lower(), pairs))


@lru_cache(maxsize=1 << 14)
def _clean_part(clean_fn: Clean, part: str) -> str:
    """A part of a text, cleaned alone, without its spaces."""
    return _solid(clean_fn(part))


def _solid(text: str) -> str:
    """A text without its spaces. No token stands for a space."""
    return "".join(text.split())
