"""The structural losses in a ``transformers`` Trainer, on a ``CLIPModel``.

    python examples/hf_trainer.py --steps 40

The data are the drawings of ``plug_and_play.py``, which stands beside this file.
"""

from __future__ import annotations

import argparse
import tempfile
from typing import Any

import torch
from plug_and_play import BATCH, CHUNKS, DIM, IMAGE_PX, drawings
from torch import Tensor, nn
from transformers import CLIPConfig, CLIPModel, Trainer, TrainingArguments
from transformers.utils import logging

from structxlip.losses import CompositeLoss
from structxlip.models.edge_encoder import EdgeEncoder


def small_clip() -> CLIPModel:
    tower = {"hidden_size": 96, "intermediate_size": 384, "num_attention_heads": 3}
    text = {"num_hidden_layers": 2, "vocab_size": 49408, "max_position_embeddings": 64}
    ends = {"bos_token_id": 49406, "eos_token_id": 49407}
    vision = {"num_hidden_layers": 3, "image_size": IMAGE_PX, "patch_size": 16}
    return CLIPModel(
        CLIPConfig(
            text_config=tower | text | ends, vision_config=tower | vision, projection_dim=DIM
        )
    )


class StructuralCLIP(nn.Module):
    """A ``CLIPModel`` with an edge encoder, trained with all four losses."""

    def __init__(self, clip: CLIPModel) -> None:
        super().__init__()
        self.clip = clip
        self.edge_encoder = EdgeEncoder(DIM)
        self.loss = CompositeLoss(DIM, edge_text=0.5, region_chunk=0.1, edge_image=0.05)

    def texts(self, tokens: Tensor) -> Tensor:
        return self.clip.text_projection(self.clip.text_model(tokens).pooler_output)

    def forward(self, images: Tensor, captions: Tensor, **structure: Tensor) -> dict[str, Tensor]:
        vision = self.clip.vision_model(pixel_values=images).pooler_output
        edge_features, patch_features = self.edge_encoder(structure["edges"])
        losses: dict[str, Tensor] = self.loss(
            {
                "image_features": self.clip.visual_projection(vision),
                "text_features": self.texts(captions),
                "logit_scale": self.clip.logit_scale.exp(),
                "edge_features": edge_features,
                "patch_features": patch_features,
                "structure_features": self.texts(structure["structures"]),
                "chunk_features": self.texts(structure["chunks"].flatten(0, 1)).unflatten(
                    0, (len(images), CHUNKS)
                ),
                "chunk_mask": structure["chunk_mask"],
                "has_structure": structure["has_structure"],
            }
        )
        return losses


class StructuralTrainer(Trainer):
    """A Trainer that tells every loss apart."""

    def compute_loss(self, model: nn.Module, inputs: dict[str, Any], **_: Any) -> Tensor:
        losses = model(**inputs)
        step = self.state.global_step + 1
        if step == 1 or step % 5 == 0:
            shown = ", ".join(
                f"{name} {float(value.detach()):.3f}" for name, value in losses.items()
            )
            print(f"step {step}: {shown}")
        total: Tensor = losses["loss"]
        return total


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=40)
    options = parser.parse_args()
    logging.set_verbosity_error()
    torch.manual_seed(0)
    data = vars(drawings(4 * BATCH))
    rows = [{name: value[i] for name, value in data.items()} for i in range(4 * BATCH)]
    with tempfile.TemporaryDirectory() as output:
        arguments = TrainingArguments(
            output_dir=output,
            max_steps=options.steps,
            per_device_train_batch_size=BATCH,
            learning_rate=5e-4,
            lr_scheduler_type="constant",
            remove_unused_columns=False,
            save_strategy="no",
            logging_strategy="no",
            report_to="none",
            disable_tqdm=True,
            seed=0,
        )
        model = StructuralCLIP(small_clip())
        StructuralTrainer(model=model, args=arguments, train_dataset=rows).train()


if __name__ == "__main__":
    main()
