"""The dependency tree of a parsed caption, whose walks take linear time together.

spaCy's own walks (``children``, ``subtree``, ``conjuncts``, ``noun_chunks``) start at one token and
read along chains of conjuncts again for each of them: a list of 4,000 words takes ten seconds.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from spacy.tokens import Doc, Token


class Tree:
    """The dependents of each token of a parsed caption, found once.

    Attributes:
        doc: the caption.
        tokens: its tokens; spaCy makes them again each time that it is asked.
    """

    def __init__(self, doc: Doc) -> None:
        self.doc = doc
        self.tokens = list(doc)
        self._children: list[list[Token]] = [[] for _ in self.tokens]
        for token in self.tokens:
            if token.head.i != token.i:
                self._children[token.head.i].append(token)
        self._governors: list[int | None] = [None] * len(self.tokens)

    def children(self, token: Token) -> list[Token]:
        """The dependents of a token, in the order of the text."""
        return self._children[token.i]

    def lefts(self, token: Token) -> list[Token]:
        """The dependents before a token."""
        return [child for child in self._children[token.i] if child.i < token.i]

    def rights(self, token: Token) -> list[Token]:
        """The dependents after a token."""
        return [child for child in self._children[token.i] if child.i > token.i]

    def subtree(self, token: Token, without: set[int] | None = None) -> Iterator[Token]:
        """A token and all below it, without what is below the tokens in ``without``."""
        waiting = [token]
        while waiting:
            found = waiting.pop()
            yield found
            waiting += [c for c in self._children[found.i] if without is None or c.i not in without]

    def conjuncts(self, token: Token) -> Iterator[Token]:
        """A token and all that are coordinated with it behind it."""
        waiting = [token]
        while waiting:
            found = waiting.pop()
            yield found
            waiting += [child for child in self._children[found.i] if child.dep_ == "conj"]

    def governor(self, token: Token) -> Token:
        """The first conjunct of the coordination that holds a token; the token itself without one.

        The parse gives the grammatical role of all conjuncts to the first one.
        """
        chain = []
        while token.dep_ == "conj" and token.head.i != token.i:
            chain.append(token.i)
            if (known := self._governors[token.i]) is not None:
                token = self.tokens[known]
                break
            token = self.tokens[token.head.i]
        for i in chain:
            self._governors[i] = token.i
        return token
