"""A step: gradients of a batch that is cut are those of the batch."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from open_clip.transformer import ResidualAttentionBlock

from structxlip.config import Arm, Params
from structxlip.errors import UserError
from structxlip.models.dropout import RowDropout, set_batch_rows
from structxlip.training.assembly import assemble
from structxlip.training.parallel import World
from structxlip.training.step import backward
from tests.store import Artifacts
from tests.training.test_loop import change


def gradients(
    artifacts: Artifacts, params: Params, micro_batch_size: int | None
) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    training = assemble(artifacts.run(params))
    task: Any = training.loop.task.train()
    batches = training.batches
    batch = batches.batch(batches.epoch(1)[0], 1, 0)
    found = backward(
        task,
        batch,
        {"edge_text": 0.7},
        world=World(),
        seed=3,
        micro_batch_size=micro_batch_size,
    )
    named = {name: p.grad for name, p in task.named_parameters() if p.grad is not None}
    return {name: loss.detach() for name, loss in found.items()}, named


def test_both_arms_start_from_the_champion(
    artifacts: Artifacts, params: Params, tmp_path: Path
) -> None:
    champion = assemble(artifacts.run(params)).model
    with torch.no_grad():
        for weight in champion.parameters():
            weight.add_(0.01)
    champion.save(tmp_path)
    expected = champion.state_dict()
    names = set()
    for arm in get_args(Arm):
        run = replace(artifacts.run(params, arm), start=tmp_path)
        for name, weight in assemble(run).model.state_dict().items():
            torch.testing.assert_close(weight, expected[name], rtol=0, atol=0)
        names |= {run.name, artifacts.run(params, arm).name}
    assert len(names) == 4, "checkpoints of another start are others"
    other = change(params, "model", embed_dim=8)
    with pytest.raises(UserError, match=r"cannot be started from: .* set train.start to base"):
        assemble(replace(artifacts.run(other), start=tmp_path))


@pytest.mark.parametrize("micro_batch_size", [1, 4, 5, 11])
@pytest.mark.parametrize("recipe", ["frozen", "paper"])
def test_micro_batches_give_the_gradients_of_the_batch(
    recipe: str,
    micro_batch_size: int,
    artifacts: Artifacts,
    params: Params,
    raw_artifacts: Artifacts,
    paper_params: Params,
) -> None:
    if recipe == "frozen":
        params = change(params, "model", dropout=0.3)
    else:
        artifacts, params = raw_artifacts, paper_params
    whole, expected = gradients(artifacts, params, None)
    cut, found = gradients(artifacts, params, micro_batch_size)
    assert {"clip_loss", "edge_text_loss", "region_chunk_loss", "edge_image_loss"} < set(whole)
    torch.testing.assert_close(cut, whole, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    assert any("logit_scale" in name for name in found)


def test_gradients_are_the_same_where_activations_are_computed_twice(
    raw_artifacts: Artifacts, paper_params: Params
) -> None:
    ran: list[str] = []

    def count(module: torch.nn.Module, *_: object) -> None:
        if isinstance(module, ResidualAttentionBlock):
            ran.append("block")

    hook = torch.nn.modules.module.register_module_forward_pre_hook(count)
    _, expected = gradients(raw_artifacts, paper_params, None)
    once = len(ran)
    twice = change(paper_params, "machine", gradient_checkpointing=True)
    _, found = gradients(raw_artifacts, twice, None)
    hook.remove()
    assert len(ran) == 3 * once
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


def test_gradients_are_the_same_when_compiled(
    artifacts: Artifacts, params: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    params = change(params, "model", dropout=0.3)
    _, expected = gradients(artifacts, params, None)
    compiled = change(params, "machine", compiled=True)
    if shutil.which("g++") or shutil.which("clang++"):
        _, found = gradients(artifacts, compiled, None)
        assert torch._dynamo.utils.counters["stats"]["unique_graphs"] > 0
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(UserError, match=r"machine\.compiled needs a C\+\+ compiler"):
        gradients(artifacts, compiled, None)


@settings(deadline=None)
@given(rows=st.integers(1, 9), cut=st.integers(0, 9), seed=st.integers(0, 5))
def test_a_row_drops_the_same_wherever_its_batch_is_cut(rows: int, cut: int, seed: int) -> None:
    layer = torch.nn.Sequential(RowDropout(0.4))
    values, cut = torch.arange(1.0, rows * 6 + 1).reshape(rows, 2, 3), min(cut, rows)
    torch.manual_seed(seed)
    whole = layer(values)
    parts = []
    for part in (slice(0, cut), slice(cut, rows)):
        torch.manual_seed(seed)
        set_batch_rows(layer, part.start, rows)
        parts.append(layer(values[part]))
    torch.testing.assert_close(torch.cat(parts), whole, rtol=0, atol=0)
    torch.manual_seed(seed)
    torch.testing.assert_close(torch.nn.functional.dropout(values, 0.4), whole)
    assert layer.eval()(values) is values
