"""Which characters of a text each token of an open_clip tokenizer stands for."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import SequenceMatcher
from typing import Any

from structxlip.errors import UserError

Span = tuple[int, int]  # characters [start, end) of a text


def character_offsets(tokenizer: Any, text: str) -> list[Span]:
    """The span of each token of ``text``; (0, 0) for one that stands for none.

    CLIP's byte pairs keep no offsets: each piece takes the place of its whole word. Tokenizers of
    transformers (WordPiece, SentencePiece) give their own. Both count in the text that the
    tokenizer has cleaned (lower case, entities, punctuation, spaces) first.

    Raises ``UserError`` for a tokenizer of transformers that is not a fast one.
    """
    clean = tokenizer.clean_fn(text)
    if hasattr(tokenizer, "byte_encoder"):
        spans = [(0, 0), *_byte_pair_words(tokenizer, clean)][: tokenizer.context_length - 1]
    else:
        inner = tokenizer.tokenizer
        if not inner.is_fast:
            raise UserError(
                f"{type(inner).__name__} does not say which characters its tokens stand for; "
                f"choose a text tower with a fast tokenizer of transformers"
            )
        encoded = inner(
            clean,
            max_length=tokenizer.context_length,
            truncation=True,
            return_offsets_mapping=True,
        )
        # A SentencePiece token may hold the space before its word.
        spans = [_stripped(clean, start, end) for start, end in encoded["offset_mapping"]]
    place = _places(clean, text)
    return [(place[start], place[end - 1] + 1) if end > start else (0, 0) for start, end in spans]


def token_counts(tokenizer: Any, texts: Sequence[str]) -> list[int]:
    """How many tokens texts have, with those at both ends, where nothing is cut."""
    if hasattr(tokenizer, "byte_encoder"):
        return [len(tokenizer.encode(text)) + 2 for text in texts]
    inner = getattr(tokenizer, "tokenizer", tokenizer)
    return [len(ids) for ids in inner(list(texts), verbose=False)["input_ids"]]


def _byte_pair_words(tokenizer: Any, text: str) -> list[Span]:
    spans = []
    for word in tokenizer.pat.finditer(text):
        piece = "".join(tokenizer.byte_encoder[byte] for byte in word[0].encode())
        spans += [word.span()] * len(tokenizer.bpe(piece).split(" "))
    return spans


def _stripped(text: str, start: int, end: int) -> Span:
    token = text[start:end]
    return start + len(token) - len(token.lstrip()), start + len(token.rstrip())


def _places(clean: str, text: str) -> list[int]:
    """Where in ``text`` each character of ``clean`` comes from, never falling."""
    lowered = text.lower()
    if len(lowered) != len(text):  # a few letters are two in lower case
        lowered = text
    if clean.lower() == lowered:
        return list(range(len(text)))
    places = [-1] * len(clean)
    for block in SequenceMatcher(
        None, lowered, clean.lower(), autojunk=False
    ).get_matching_blocks():
        for i in range(block.size):
            if block.b + i < len(clean):
                places[block.b + i] = block.a + i
    last = 0
    for i, place in enumerate(places):  # what came from nowhere stands where the one before does
        last = places[i] = last if place < 0 else place
    return places
