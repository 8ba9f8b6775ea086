"""Small towers of every kind: random, but with real tokenizers."""

from __future__ import annotations

import json

import open_clip
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    BertConfig,
    BertModel,
    BertTokenizerFast,
    PreTrainedTokenizerFast,
)

from structxlip.models.towers import (
    TextTower,
    load_text_tower,
)
from tests.clips import TINY, write_tiny_clip


@pytest.fixture(scope="module")
def tiny_clip(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The name of a random CLIP model of open_clip."""
    return write_tiny_clip(tmp_path_factory.mktemp("clip"))


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


@pytest.fixture(scope="module", params=["packaged", "open_clip", "siglip", "bert"])
def text_tower(
    request: pytest.FixtureRequest, tiny_clip: str, tiny_siglip: str, text_of_transformers: str
) -> TextTower:
    names = {
        "packaged": "packaged:all-minilm-l6-v2",
        "open_clip": tiny_clip,
        "siglip": tiny_siglip,
        "bert": text_of_transformers,
    }
    return load_text_tower(names[request.param])


@pytest.fixture(scope="module")
def text_of_transformers(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The name of a random CLIP whose text encoder is a BERT of transformers."""
    folder = tmp_path_factory.mktemp("bert")
    words = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", *"abcdefghijklmnopqrstuvwxyz0123456789&üs"]
    words += [f"##{letter}" for letter in "abcdefghijklmnopqrstuvwxyz0123456789"]
    (folder / "vocab.txt").write_text("\n".join(dict.fromkeys(words)))
    BertTokenizerFast(str(folder / "vocab.txt")).save_pretrained(folder)
    config = BertConfig(
        vocab_size=len(words),
        hidden_size=24,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=100,
    )
    torch.manual_seed(0)
    BertModel(config).save_pretrained(folder)  # a configuration without weights starts from these
    text = {
        "hf_model_name": str(folder),
        "hf_tokenizer_name": str(folder),
        "hf_proj_type": "linear",
        "hf_pooler_type": "cls_last_hidden_state_pooler",
        "context_length": 90,
    }
    file = folder / "bert-clip.json"
    file.write_text(json.dumps(TINY | {"text_cfg": text}))
    return f"open_clip:{file}"
