"""Frozen towers: names, features, and chunks pooled from the tokens that they span."""

from __future__ import annotations

import json

import numpy as np
import open_clip
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from structxlip.errors import UserError
from structxlip.models import towers
from structxlip.models.towers import (
    OpenClipTextTower,
    TextTower,
    is_aligned,
    load_image_tower,
    load_text_tower,
)

TEXT = "A small circle, left of the cat's 2 balls &amp; über a SQUARE."
TEXT_RED = (2, 5)  # the characters of "red" in "a red ball"
TINY = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 16},
    "text_cfg": {"context_length": 40, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1},
}


@pytest.fixture(scope="module")
def tiny_clip(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The name of a random CLIP model of open_clip, with its weights in a file."""
    folder = tmp_path_factory.mktemp("clip")
    (folder / "tiny.json").write_text(json.dumps(TINY))
    open_clip.add_model_config(folder / "tiny.json")
    torch.manual_seed(0)
    torch.save(open_clip.create_model("tiny").state_dict(), folder / "tiny.pt")
    return f"open_clip:tiny/{folder / 'tiny.pt'}"


@pytest.fixture(scope="module")
def tiny_siglip(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The name of a random SigLIP model of open_clip: SentencePiece, no causal mask, last token."""
    folder = tmp_path_factory.mktemp("siglip")
    pieces = [
        "<pad>",
        "</s>",
        "<unk>",
        *(f"▁{word}" for word in ["a", "small", "of", "the", "left"]),
    ]
    pieces += ["▁", "cir", "cle", "▁cat", *"abcdefghijklmnopqrstuvwxyz0123456789&üs"]
    unigram = Tokenizer(models.Unigram([(p, -float(i)) for i, p in enumerate(pieces)], unk_id=2))
    unigram.pre_tokenizer = pre_tokenizers.Metaspace()
    unigram.post_processor = processors.TemplateProcessing("$A </s>", special_tokens=[("</s>", 1)])
    PreTrainedTokenizerFast(
        tokenizer_object=unigram, pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    ).save_pretrained(folder)
    text = {
        "vocab_size": len(pieces),
        "hf_tokenizer_name": str(folder),
        "tokenizer_kwargs": {"clean": "canonicalize"},
        "no_causal_mask": True,
        "proj_bias": True,
        "pool_type": "last",
    }
    config = {
        **TINY,
        "custom_text": True,
        "init_logit_bias": -10,
        "text_cfg": TINY["text_cfg"] | text,
    }
    (folder / "tiny-siglip.json").write_text(json.dumps(config))
    open_clip.add_model_config(folder / "tiny-siglip.json")
    torch.manual_seed(0)
    torch.save(open_clip.create_model("tiny-siglip").state_dict(), folder / "tiny.pt")
    return f"open_clip:tiny-siglip/{folder / 'tiny.pt'}"


@pytest.fixture(scope="module", params=["packaged", "open_clip", "siglip"])
def text_tower(request: pytest.FixtureRequest, tiny_clip: str, tiny_siglip: str) -> TextTower:
    names = {
        "packaged": "packaged:all-minilm-l6-v2",
        "open_clip": tiny_clip,
        "siglip": tiny_siglip,
    }
    return load_text_tower(names[request.param], 64)


def test_tokens_stand_for_the_characters_that_made_them(text_tower: TextTower) -> None:
    inputs, (offsets,) = text_tower.tokenize([TEXT])
    ids = next(iter(inputs.values()))[0]
    assert len(offsets) <= len(ids)
    spans = [(start, end) for start, end in offsets if end > start]
    assert spans == sorted(spans)
    for word in ("small", "circle", "left", "cat", "balls", "SQUARE"):
        start = TEXT.index(word)
        inside = [span for span in spans if span[0] < start + len(word) and span[1] > start]
        assert inside[0][0] == start
        assert inside[-1][1] == start + len(word)
    covered = {i for start, end in spans for i in range(start, end)}
    assert not any(TEXT[i].isspace() for i in covered)


def test_open_clip_offsets_have_one_span_a_token(tiny_clip: str) -> None:
    tower = load_text_tower(tiny_clip, 64)
    assert isinstance(tower, OpenClipTextTower)
    inputs, (offsets,) = tower.tokenize([TEXT])
    end_of_text = int((inputs["text"][0] == 49407).nonzero()[0])
    assert len(offsets) == end_of_text
    decoded = [tower.tokenizer.decoder[int(t)] for t in inputs["text"][0, 1:end_of_text]]
    for piece, (start, end) in zip(decoded, offsets[1:], strict=True):
        word = piece.removesuffix("</w>")
        if word.isascii() and end > start:
            assert word in TEXT[start:end].lower()


def test_a_chunk_pools_its_tokens_by_the_softmax_of_their_norms(text_tower: TextTower) -> None:
    start = TEXT.index("small circle")
    spans = [(start, start + len("small circle")), (len(TEXT) + 5, len(TEXT) + 9)]
    pooled, chunks = text_tower.encode(["a longer text than the other one is", TEXT], [[], spans])
    assert pooled.shape == (2, text_tower.dim)
    assert chunks[0].shape == (0, text_tower.dim)
    inputs, (offsets,) = text_tower.tokenize([TEXT])
    with torch.inference_mode(), towers._autocast(torch.device("cpu")):
        _, tokens = text_tower(inputs)
        members = [
            row.float()
            for row, (begin, end) in zip(tokens[0, : len(offsets)], offsets, strict=True)
            if end > begin and begin < spans[0][1] and end > spans[0][0]
        ]
        weights = torch.tensor([row.norm() for row in members]).softmax(dim=0)
        naive = text_tower.finish(sum(w * row for w, row in zip(weights, members, strict=True)))
    assert 2 <= len(members) <= 4
    np.testing.assert_allclose(chunks[1][0], naive.float(), atol=0.02)  # bf16 on some machines
    np.testing.assert_array_equal(chunks[1][1], 0)  # a span without a token


def test_chunks_pass_the_last_norm_once(tiny_clip: str) -> None:
    """As a text does: the token that its feature is read from, finished, is that feature."""
    tower = load_text_tower(tiny_clip, 64)
    for parameter in tower.text.ln_final.parameters():  # type: ignore[union-attr, operator]
        torch.nn.init.normal_(parameter, mean=0.5)
    inputs, _ = tower.tokenize([TEXT])
    with torch.inference_mode():
        pooled, tokens = tower(inputs)
        end = int(inputs["text"].argmax())
        torch.testing.assert_close(tower.finish(tokens[:, end]), pooled)
        assert not torch.allclose(tower.finish(tower.text.ln_final(tokens[:, end])), pooled)  # type: ignore[union-attr, operator]


def test_words_of_weight_0_are_not_in_the_pooled_feature() -> None:
    tower = load_text_tower("packaged:all-minilm-l6-v2", 64)
    texts = ["a red ball", "a ball"]
    same, _ = tower.encode(texts, weights=[[1, 1, 1], [1, 1]])
    plain, _ = tower.encode(texts)
    np.testing.assert_allclose(same, plain, atol=1e-3)
    down, _ = tower.encode(texts, weights=[[1, 0, 1], [1, 1]])
    half, _ = tower.encode(texts, weights=[[1, 0.5, 1], [1, 1]])
    inputs, (offsets, _) = tower.tokenize(texts)
    with torch.inference_mode():
        _, tokens = tower(inputs)
    kept = [i for i, (start, end) in enumerate(offsets[:5]) if (start, end) != TEXT_RED]
    np.testing.assert_allclose(down[0], tokens[0, kept].mean(dim=0), atol=0.02)
    assert np.abs(half[0] - plain[0]).max() < np.abs(down[0] - plain[0]).max()
    np.testing.assert_allclose(down[1], plain[1], atol=1e-3)


def test_a_tower_that_does_not_pool_refuses_weights(tiny_clip: str) -> None:
    with pytest.raises(UserError, match="downweight needs a text tower that pools its tokens"):
        load_text_tower(tiny_clip, 64).encode(["a red ball"], weights=[[1, 0, 1]])


def test_texts_are_embedded_alike_alone_and_in_company(text_tower: TextTower) -> None:
    texts = [TEXT, "one", "a much longer text, so that the others are padded " * 2]
    together, _ = text_tower.encode(texts)
    alone = np.concatenate([text_tower.encode([text])[0] for text in texts])
    cosines = (together * alone).sum(1) / np.linalg.norm(together, axis=1)
    np.testing.assert_allclose(cosines / np.linalg.norm(alone, axis=1), 1, atol=1e-3)


def test_packaged_image_tower_tells_colours_apart_and_takes_any_size() -> None:
    tower = load_image_tower("packaged:efficientnet-lite0", 64)
    red, grey = np.zeros((40, 70, 3), np.uint8), np.full((128, 64, 3), 128, np.uint8)
    red[..., 0] = 255
    features = tower.encode([red, red[:20], grey])
    assert features.shape == (3, tower.dim)
    assert np.isfinite(features).all()
    np.testing.assert_allclose(features[0], features[1], atol=0.05)
    assert np.abs(features[0] - features[2]).max() > 0.2


def test_both_sides_of_one_open_clip_model_are_aligned(tiny_clip: str) -> None:
    assert is_aligned(tiny_clip, tiny_clip)
    assert not is_aligned("packaged:efficientnet-lite0", "packaged:all-minilm-l6-v2")
    assert load_image_tower(tiny_clip, 32).dim == load_text_tower(tiny_clip, 64).dim == 16
    with pytest.raises(UserError, match=r"takes images of .*32.* px; set model\.image_px"):
        load_image_tower(tiny_clip, 224)


@pytest.mark.parametrize(
    ("load", "name", "sentence"),
    [
        (load_image_tower, "packaged:efficientnet-lite1", "did you mean 'efficientnet-lite0'"),
        (load_text_tower, "packaged:bert", "no packaged tower 'bert'; valid are: all-minilm"),
        (load_image_tower, "timm:resnet5x", "timm has no model 'resnet5x'"),
        (load_text_tower, "open_clip:ViT-B-3", "open_clip has no model 'ViT-B-3'; did you mean"),
        (load_text_tower, "open_clip:ViT-B-32", "needs weights, as open_clip:ViT-B-32/PRETRAINED"),
        (load_text_tower, "open_clip:ViT-B-32/no.pt", "could not be loaded"),
        (load_image_tower, "torch:resnet", "no image tower of kind 'torch'; valid are: packaged"),
    ],
)
def test_a_tower_that_cannot_be_had_is_one_sentence(load: object, name: str, sentence: str) -> None:
    with pytest.raises(UserError) as refused:
        load(name, 64)  # type: ignore[operator]
    assert sentence in str(refused.value)
    assert "\n" not in str(refused.value)
