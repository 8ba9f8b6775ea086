"""Frozen towers: names, features, and chunks pooled from the tokens that they span."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from open_clip.model import resize_pos_embed
from safetensors.torch import save_file
from transformers import (
    CLIPConfig,
    CLIPModel,
)

from structxlip.errors import UserError
from structxlip.models.towers import (
    ClipTextTower,
    TextTower,
    encode_images,
    encode_tokens,
    is_aligned,
    is_zero_shot,
    load_clip,
    load_encoders,
    load_image_tower,
    load_text_tower,
    patch_grid,
    project_tokens,
)
from structxlip.models.towers.offsets import character_offsets
from structxlip.models.towers.precision import autocast
from tests.clips import TINY, write_tiny_clip

TEXT = "A small circle, left of the cat's 2 balls &amp; über a SQUARE."
TEXT_RED = (2, 5)  # the characters of "red" in "a red ball"


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
    tower = load_text_tower(tiny_clip)
    assert isinstance(tower, ClipTextTower)
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
    with torch.inference_mode(), autocast(torch.device("cpu")):
        _, tokens = text_tower(inputs)
        members = [
            row.float()
            for row, (begin, end) in zip(tokens[0, : len(offsets)], offsets, strict=True)
            if end > begin and begin < spans[0][1] and end > spans[0][0]
        ]
        weights = torch.tensor([row.norm() for row in members]).softmax(dim=0)
        naive = text_tower.project(sum(w * row for w, row in zip(weights, members, strict=True)))
    assert len(members) >= 2
    np.testing.assert_allclose(chunks[1][0], naive.float(), atol=0.02)  # bf16 on some machines
    np.testing.assert_array_equal(chunks[1][1], 0)  # a span without a token


def test_chunks_pass_the_last_norm_once(tiny_clip: str) -> None:
    """The projection of a text's last token is the feature of the text: one norm, no more."""
    tower = load_text_tower(tiny_clip)
    for parameter in tower.clip.ln_final.parameters():  # type: ignore[union-attr, operator]
        torch.nn.init.normal_(parameter, mean=0.5)
    inputs, _ = tower.tokenize([TEXT])
    with torch.inference_mode():
        pooled, tokens = tower(inputs)
        end = int(inputs["text"].argmax())
        torch.testing.assert_close(tower.project(tokens[:, end]), pooled)
        assert not torch.allclose(tower.project(tower.clip.ln_final(tokens[:, end])), pooled)  # type: ignore[union-attr, operator]


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
        load_text_tower(tiny_clip).encode(["a red ball"], weights=[[1, 0, 1]])


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


def test_pictures_of_another_size_are_read_as_by_an_encoder_of_that_size(tmp_path: Path) -> None:
    """Against open_clip's own way to resize the positions of a checkpoint."""
    vision = TINY["vision_cfg"] | {"patch_size": 8}
    clip = load_clip(write_tiny_clip(tmp_path, vision_cfg=vision)).model.requires_grad_(True)
    state = {f"visual.{name}": value for name, value in clip.visual.state_dict().items()}
    small = write_tiny_clip(tmp_path, vision_cfg=vision | {"image_size": 16})
    expected = load_clip(small).model.eval()
    resize_pos_embed(state, expected)
    expected.load_state_dict(state, strict=False)
    pixels = torch.randn(3, 3, 16, 16)
    found = encode_images(clip, pixels)
    torch.testing.assert_close(found, expected.encode_image(pixels))
    (gradient,) = torch.autograd.grad(found.sum(), clip.visual.positional_embedding)
    assert gradient[1:].abs().min() > 0
    whole = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(encode_images(clip, whole), clip.encode_image(whole))
    with pytest.raises(ValueError, match=r"20 pixels .* of 8 pixels: take 16 or 24"):
        patch_grid(clip, 20)


def test_padding_is_not_computed_and_not_seen(tiny_clip: str) -> None:
    """Fault 7: texts are as long as the longest of the batch, and the same as at full length."""
    loaded = load_clip(tiny_clip)
    ids = loaded.tokenizer(["a ball", TEXT])
    longest = int((ids[1] != 0).sum())
    seen: list[int] = []
    first = loaded.model.transformer.resblocks[0]
    first.register_forward_hook(lambda _module, inputs, _out: seen.append(inputs[0].shape[1]))
    pooled, tokens = encode_tokens(loaded.model, ids)
    assert tokens.shape[1] == seen[0] == longest < loaded.tokenizer.context_length
    torch.testing.assert_close(pooled, loaded.model.encode_text(ids))


@pytest.mark.parametrize("kind", ["siglip", "transformers"])
def test_other_text_encoders_read_as_their_model_does(
    kind: str, tiny_siglip: str, text_of_transformers: str
) -> None:
    loaded = load_clip({"siglip": tiny_siglip, "transformers": text_of_transformers}[kind])
    ids = loaded.tokenizer(["a ball", TEXT])
    pooled, tokens = encode_tokens(loaded.model, ids)
    torch.testing.assert_close(pooled, loaded.model.encode_text(ids))
    if kind == "transformers":  # it has a mask for its padding, which SigLIP does not
        assert tokens.shape[1] == int((ids != 0).any(dim=0).sum()) < loaded.tokenizer.context_length
    read_off = tokens[:, 0 if kind == "transformers" else -1]
    torch.testing.assert_close(project_tokens(loaded.model, read_off), pooled)


def test_a_clip_comes_from_a_file_with_and_without_weights(tiny_clip: str, tmp_path: Path) -> None:
    first, again = load_clip(tiny_clip, seed=1), load_clip(tiny_clip, seed=1)
    other = load_clip(tiny_clip, seed=2)
    ids = first.tokenizer([TEXT])
    torch.testing.assert_close(first.model.encode_text(ids), again.model.encode_text(ids))
    assert not torch.allclose(first.model.encode_text(ids), other.model.encode_text(ids))
    torch.save(first.model.state_dict(), tmp_path / "weights.pt")
    loaded = load_clip(f"{tiny_clip}/{tmp_path / 'weights.pt'}", seed=3)
    torch.testing.assert_close(first.model.encode_text(ids), loaded.model.encode_text(ids))


def test_a_clip_of_transformers_is_a_tower(tmp_path: Path) -> None:
    text = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1}
    text |= {"num_attention_heads": 2, "vocab_size": 49408, "max_position_embeddings": 40}
    text |= {"bos_token_id": 49406, "eos_token_id": 49407}
    vision = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1}
    vision |= {"num_attention_heads": 2, "image_size": 32, "patch_size": 16}
    config = CLIPConfig(text_config=text, vision_config=vision, projection_dim=12)
    torch.manual_seed(0)
    model = CLIPModel(config).eval()
    model.save_pretrained(tmp_path)
    name = f"hf:{tmp_path}"
    assert is_aligned(name, name)
    assert is_zero_shot(name, name)
    assert not is_zero_shot(name, "packaged:all-minilm-l6-v2")
    tower = load_text_tower(name)
    inputs, _ = tower.tokenize([TEXT])
    expected = model.get_text_features(inputs["text"], attention_mask=inputs["text"] != 0)
    torch.testing.assert_close(tower(inputs)[0], getattr(expected, "pooler_output", expected))
    assert load_image_tower(name, 32).dim == 12
    stretched = load_clip(name, 60)
    assert stretched.tokenizer(["a ball " * 50]).shape == (1, 60)
    assert stretched.cfg["text_cfg"]["context_length"] == 60
    assert load_clip(name, 30).tokenizer(["a ball " * 50]).shape == (1, 30)


def test_a_timm_tower_with_weights_from_a_file(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = timm.create_model("test_resnet", num_classes=7).eval()
    save_file(network.state_dict(), tmp_path / "weights.safetensors")
    tower = load_image_tower(f"timm:test_resnet/{tmp_path / 'weights.safetensors'}", 64)
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8)
    mean, std = (
        torch.tensor(network.pretrained_cfg[key])[:, None, None] for key in ("mean", "std")
    )
    pixels = (torch.from_numpy(image).permute(2, 0, 1) / 255 - mean) / std
    with torch.inference_mode():
        expected = network.forward_head(network.forward_features(pixels[None]), pre_logits=True)
    np.testing.assert_allclose(tower.encode([image]), expected, atol=0.05, rtol=0.05)


def test_tokens_and_pixels_are_what_a_trained_tower_reads(tiny_clip: str) -> None:
    images, texts = load_encoders(tiny_clip, tiny_clip, 32, None, frozen=False)
    rgb = np.full((50, 20, 3), 7, np.uint8)
    assert images.encode([rgb]).shape == (1, *images.row.shape) == (1, 32, 32, 3)
    start = TEXT.index("small circle")
    spans = [(start, start + len("small circle")), (len(TEXT) + 5, len(TEXT) + 9)]
    ids, (found, none) = texts.encode([TEXT, "a ball"], [spans, []])
    assert ids.shape == (2, 40)
    decoder = load_clip(tiny_clip).tokenizer.decoder
    (first, last), gone = found.tolist()
    assert [decoder[i] for i in ids[0, first:last]] == ["small</w>", "circle</w>"]
    assert gone == [0, 0]
    assert none.shape == (0, 2)
    with pytest.raises(UserError, match="downweight needs a text tower that pools its tokens"):
        texts.encode(["a ball"], weights=[[1.0, 0.5]])


def test_a_tokenizer_that_tells_no_offsets_is_refused() -> None:
    class Slow:
        is_fast = False

    class Tokenizer:
        tokenizer = Slow()

        def clean_fn(self, text: str) -> str:
            return text

    with pytest.raises(UserError, match="Slow does not say which characters its tokens stand for"):
        character_offsets(Tokenizer(), "a ball")


def test_a_configuration_that_is_none_is_one_sentence(tmp_path: Path) -> None:
    file = tmp_path / "clip.json"
    for content, sentence in (
        ("{", "cannot be read"),
        ("{}", "is no model configuration of open_clip: it needs embed_dim, text_cfg, vision_cfg"),
        (json.dumps(TINY | {"vision_cfg": {"wdth": 3}}), "could not be loaded"),
    ):
        file.write_text(content)
        with pytest.raises(UserError) as refused:
            load_text_tower(f"open_clip:{file}")
        assert sentence in str(refused.value)


def test_a_text_is_stretched_where_that_can_be_done(
    tiny_clip: str, text_of_transformers: str
) -> None:
    assert load_text_tower(tiny_clip, 64).encode(["a ball " * 60])[0].shape == (1, 16)
    with pytest.raises(UserError, match=r"the text tower reads 512 tokens, not 600; set model\."):
        load_text_tower("packaged:all-minilm-l6-v2", 600)
    with pytest.raises(UserError, match="reads 90 tokens and cannot be stretched to 95"):
        load_text_tower(text_of_transformers, 95)


def test_both_sides_of_one_open_clip_model_are_aligned(tiny_clip: str) -> None:
    assert is_aligned(tiny_clip, tiny_clip)
    assert not is_zero_shot(tiny_clip, tiny_clip), "random weights"
    assert is_zero_shot(f"{tiny_clip}/weights.pt", f"{tiny_clip}/weights.pt")
    assert not is_aligned("packaged:efficientnet-lite0", "packaged:all-minilm-l6-v2")
    assert load_image_tower(tiny_clip, 32).dim == load_text_tower(tiny_clip).dim == 16
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
        (
            load_text_tower,
            "open_clip:ViT-B-32/openai",
            "choose open_clip:ViT-B-32-quickgelu/openai",
        ),
        (
            load_text_tower,
            "open_clip:gone.json",
            "the model configuration gone.json cannot be read",
        ),
        (load_text_tower, "open_clip:local-dir:gone", "could not be loaded"),
        (load_text_tower, "hf:tests", "hf:tests could not be loaded: tests is no CLIP model"),
        (load_image_tower, "timm:test_resnet/gone.pt", "timm could not load 'test_resnet/gone.pt'"),
        (load_image_tower, "torch:resnet", "no image tower of kind 'torch'; valid are: hf, open"),
    ],
)
def test_a_tower_that_cannot_be_had_is_one_sentence(load: object, name: str, sentence: str) -> None:
    with pytest.raises(UserError) as refused:
        load(name, 64)  # type: ignore[operator]
    assert sentence in str(refused.value)
    assert "\n" not in str(refused.value)
