"""The language model and the lexicon, loaded once for all caption tests."""

import pytest

from structxlip.captions import load_language_model, load_lexicon


@pytest.fixture(scope="session")
def language():
    return load_language_model("en_core_web_sm")


@pytest.fixture(scope="session")
def lexicon():
    return load_lexicon(["general", "medical", "fashion"])
