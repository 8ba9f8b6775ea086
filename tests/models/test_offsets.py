"""Tokens of CLIP's tokenizer stand for the characters that they were made of."""

from __future__ import annotations

import time

import open_clip
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from open_clip.tokenizer import get_clean_fn
from transformers import CLIPTokenizerFast

from structxlip.captions import sliding_chunks
from structxlip.models.towers.offsets import character_offsets

TOKENIZER = open_clip.SimpleTokenizer(context_length=77)
UNTOUCHED = [
    *["dog", "A", "T-shirt", "man's", "2.5", "1,000", "(old)", "e.g."],
    *["ümlaut", "犬が", "👨‍👩‍👧", "❤️"],
]
# Parts of words that the tokenizer replaces, with their clean form.
REPLACED = {
    "’": "'", "“": '"', "”": '"', "ﬁ": "fi", "ﬀ": "ff", "e\u0301": "é", "o\u0308": "ö", "Ｆ": "f",
    "&amp;": "&", "&lt;": "<", "&eacute;": "é", "&#8212;": "—", "&amp;amp;": "&", "…": "…",
    "x": "x", "Y": "y",
}  # fmt: skip


def covered(text, tokenizer=TOKENIZER):
    return [text[start:end] for start, end in character_offsets(tokenizer, text)[1:]]


@pytest.fixture(scope="module")
def fast_tokenizer():
    """The same encoding by ``tokenizers``, which keeps its own offsets."""
    special = {"bos_token": "<start_of_text>", "eos_token": "<end_of_text>"}
    return CLIPTokenizerFast(
        vocab=TOKENIZER.encoder,
        merges=list(TOKENIZER.bpe_ranks),
        unk_token="<end_of_text>",
        **special,
    )


@settings(deadline=None)
@given(
    words=st.lists(st.sampled_from(UNTOUCHED), min_size=1, max_size=12),
    gap=st.sampled_from([" ", "  ", "\t"]),
)
def test_every_character_of_every_chunk_as_a_tokenizer_with_offsets_says(
    fast_tokenizer, words, gap
):
    text = gap.join(words)
    encoded = fast_tokenizer(text, return_offsets_mapping=True)
    theirs, ours = encoded["offset_mapping"][1:-1], character_offsets(TOKENIZER, text)[1:]
    assert encoded["input_ids"][1:-1] == TOKENIZER.encode(text)
    for chunk in sliding_chunks(text):
        for i in range(chunk.start, chunk.end):
            found, right = (
                [token for token, (start, end) in enumerate(spans) if start <= i < end]
                for spans in (ours, theirs)
            )
            assert found == right, (text, text[i])


@settings(deadline=None)
@given(st.lists(st.lists(st.sampled_from(sorted(REPLACED)), min_size=1, max_size=4), min_size=1))
def test_what_is_replaced_is_covered_whole(words):
    """Against the definition: each clean character comes from the part that it replaces."""
    text = " ".join("".join(parts) for parts in words)
    clean = " ".join("".join(REPLACED[part] for part in parts) for parts in words)
    if TOKENIZER.clean_fn(text) != clean:
        return  # neighbours changed each other: "&" and "lt" of two parts make one entity
    owners, at = [], 0  # the part of each clean character
    for parts in words:
        for part in parts:
            owners += [(at, at + len(part))] * len(REPLACED[part])
            at += len(part)
        owners.append(None)
        at += 1
    expected = []
    for word in TOKENIZER.pat.finditer(clean):
        letters = "".join(TOKENIZER.byte_encoder[byte] for byte in word[0].encode())
        sources = [owners[i] for i, c in enumerate(word[0], word.start()) for _ in c.encode()]
        for symbol in TOKENIZER.bpe(letters).split(" "):
            taken = [sources.pop(0) for _ in symbol.removesuffix("</w>")]
            expected.append((taken[0][0], taken[-1][1]))
    assert character_offsets(TOKENIZER, text)[1:] == expected[:75]


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("A man’s “red” hat…", ["A", "man", "’s", "“", "red", "”", "hat", "…"]),
        ("one&nbsp;red ﬁne dog", ["one", "red", "ﬁne", "dog"]),
        ("a &amp; b &lt; c", ["a", "&amp;", "b", "&lt;", "c"]),
        # repairs that need the whole word, or its neighbours
        ("die schÃ¶ne Tür", ["die", "sch", "Ã¶", "ne", "t"]),
        ("â€œA dogâ€\x9d runs", ["â€œ", "A", "dog", "â€\x9d", "runs"]),
        ("Ã la carte men", ["Ã", "la", "carte", "men"]),
        ("ΟΔΟΣ dog", ["dog"]),
        ("&amp;amp;amp; dog", ["dog"]),
    ],
)
def test_table(text, parts):
    rest = iter(covered(text))
    assert all(any(part.lower() in found.lower() for found in rest) for part in parts)
    spans = character_offsets(TOKENIZER, text)
    assert [start for start, _ in spans] == sorted(start for start, _ in spans)
    assert len(spans) == len(TOKENIZER.encode(text)) + 1


@settings(deadline=None)
@example("\x85")  # a space that cleaning makes visible
@example("a\x85 b\x85\x85c")
@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_text_has_spans_inside_in_rising_order(text):
    for clean in ("lower", "canonicalize", "whitespace"):
        tokenizer = TOKENIZER if clean == "lower" else _With(get_clean_fn(clean))
        spans = [(a, b) for a, b in character_offsets(tokenizer, text) if b > a]
        assert all(0 <= start < end <= len(text) for start, end in spans)
        assert spans == sorted(spans, key=lambda span: span[0])


class _With:
    """CLIP's tokenizer with another way of cleaning."""

    context_length = 77
    byte_encoder, pat = TOKENIZER.byte_encoder, TOKENIZER.pat
    bpe = staticmethod(TOKENIZER.bpe)

    def __init__(self, clean_fn):
        self.clean_fn = clean_fn


def test_removed_punctuation_moves_no_word():
    text = "The man's T-shirt, size_10 (“old”), is here"
    tokenizer = _With(get_clean_fn("canonicalize"))
    assert covered(text, tokenizer)[-2:] == ["is", "here"]
    assert "".join(covered(text, tokenizer)[:2]) == "Theman's"


def test_long_texts_take_milliseconds():
    base = "A man’s “red” coat hangs near the door—size 10, &amp; a belt; it’s old. "
    short, long = base * 20, base * 700  # 10,000 words
    texts = ["A", *(base * 3, short, long)]
    character_offsets(TOKENIZER, short)
    seconds = []
    for text in texts:
        started = time.process_time()
        spans = character_offsets(TOKENIZER, text)
        seconds.append(time.process_time() - started)
    assert len(spans) == 76
    assert character_offsets(TOKENIZER, long) == character_offsets(TOKENIZER, short)
    cleaning = time.process_time()
    TOKENIZER.clean_fn(long)
    assert seconds[-1] < 5 * (time.process_time() - cleaning) + 0.1
