"""The structural losses in a ``transformers`` Trainer, on a ``CLIPModel``.

    python examples/hf_trainer.py --steps 40

The script trains a small CLIP with random weights on the drawings of ``plug_and_play.py``, which
stands beside this file. The first step and every fifth one print the CLIP loss, the three
structural losses, and their weighted sum `loss`.
"""

from __future__ import annotations

import argparse
import tempfile
from typing import Any

import torch
from torch import Tensor, nn
from transformers import CLIPConfig, CLIPModel, Trainer, TrainingArguments
from transformers.utils import logging

from plug_and_play import BATCH, CHUNKS, DIM, IMAGE_PX, drawings
from structxlip.losses import CompositeLoss, Features
from structxlip.models.edge_encoder import EdgeEncoder


def small_clip() -> CLIPModel:
    """A CLIP model of 64 dimensions with random weights."""
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
        """Text features ``[M, D]`` of tokens ``[M, L]``."""
        features: Tensor = self.clip.text_projection(self.clip.text_model(tokens).pooler_output)
        return features

    def forward(self, images: Tensor, captions: Tensor, **structure: Tensor) -> dict[str, Tensor]:
        """The losses of a batch; ``structure`` holds the other fields of ``Data``."""
        vision = self.clip.vision_model(pixel_values=images).pooler_output
        edge_features, patch_features = self.edge_encoder(structure["edges"])
        chunk_features = self.texts(structure["chunks"].flatten(0, 1))
        features = Features(
            image_features=self.clip.visual_projection(vision),
            text_features=self.texts(captions),
            logit_scale=self.clip.logit_scale.exp(),
            edge_features=edge_features,
            patch_features=patch_features,
            structure_features=self.texts(structure["structures"]),
            chunk_features=chunk_features.unflatten(0, (len(images), CHUNKS)),
            chunk_mask=structure["chunk_mask"],
            has_structure=structure["has_structure"],
        )
        losses: dict[str, Tensor] = self.loss(features)
        return losses


class StructuralTrainer(Trainer):
    """A Trainer that prints every loss."""

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Tensor:
        losses = model(**inputs)
        step = self.state.global_step + 1
        if step == 1 or step % 5 == 0:
            shown = (f"{name} {float(value.detach()):.3f}" for name, value in losses.items())
            print(f"step {step}: {', '.join(shown)}")
        total: Tensor = losses["loss"]
        return total


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--smoke", action="store_true", help="5 steps on 16 drawings")
    options = parser.parse_args()
    steps, number = (5, 16) if options.smoke else (options.steps, 4 * BATCH)
    logging.set_verbosity_error()
    torch.manual_seed(0)
    data = vars(drawings(number))
    rows = [{name: value[i] for name, value in data.items()} for i in range(number)]
    with tempfile.TemporaryDirectory() as output:
        arguments = TrainingArguments(
            output_dir=output,
            max_steps=steps,
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
