"""State dicts of every form are read; what does not fit is named, and nothing is loaded."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from structxlip.models.state_dicts import load_strictly, read_state_dict, weight_files

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 17\n"


class Model(nn.Module):
    """A model with a name at its root, as a CLIP has."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.logit_scale = nn.Parameter(torch.tensor(2.0))
        self.first, self.norm = nn.Linear(3, 4), nn.BatchNorm1d(4)


def prefixed(prefix: str) -> Callable[[dict[str, Tensor]], dict[str, Tensor]]:
    return lambda state: {prefix + name: value for name, value in state.items()}


def training_checkpoint(state: dict[str, Tensor]) -> dict[str, Any]:
    """What open_clip's training loop saves, with the state of an optimizer after a step."""
    model = Model()
    optimizer = torch.optim.AdamW(model.parameters())
    model.first(torch.ones(2, 3)).sum().backward()
    optimizer.step()
    wrapped = {f"module.{name}": value for name, value in state.items()}
    checkpoint = {"epoch": 3, "name": "run", "state_dict": wrapped}
    rng = {"cpu": torch.get_rng_state()}
    return checkpoint | {"optimizer": optimizer.state_dict(), "scaler": {"scale": 2.0}, "rng": rng}


FORMS: dict[str, Callable[[dict[str, Tensor]], Any]] = {
    "plain": lambda state: state,
    "module.": prefixed("module."),
    "model.": prefixed("model."),
    "_orig_mod.": prefixed("_orig_mod."),
    "all of them": prefixed("_orig_mod.module.model."),
    "compiled part": lambda state: {
        n.replace("first.", "first._orig_mod."): v for n, v in state.items()
    },
    "FSDP": prefixed("_fsdp_wrapped_module."),
    "state_dict": lambda state: {"state_dict": state, "epoch": 1},
    "model_state_dict": lambda state: {"model_state_dict": prefixed("clip_model.")(state)},
    "model": lambda state: {"model": state, "step": torch.tensor(3)},
    "open_clip": training_checkpoint,
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_a_checkpoint_is_the_same_model(form: str, tmp_path: Path) -> None:
    state = Model(seed=1).state_dict()
    torch.save(FORMS[form](state), tmp_path / "model.pt")
    model = Model()
    load_strictly(model, read_state_dict(tmp_path / "model.pt"), "the model")
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value, state[name], rtol=0, atol=0)


def write_shards(folder: Path, ending: str) -> dict[str, Tensor]:
    """Two shards and their index, as ``save_pretrained`` writes them; returns the weights."""
    state = prefixed("module.")(Model(seed=1).state_dict())
    shards: list[dict[str, Tensor]] = [{}, {}]
    weight_map = {}
    stem = "model" if ending == "safetensors" else "pytorch_model"
    for place, (name, value) in enumerate(state.items()):
        shards[place % 2][name] = value
        weight_map[name] = f"{stem}-0000{place % 2 + 1}-of-00002.{ending}"
    for number, shard in enumerate(shards, 1):
        file = folder / f"{stem}-0000{number}-of-00002.{ending}"
        save_file(shard, file) if ending == "safetensors" else torch.save(shard, file)
    index = folder / f"{stem}.{ending}.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    return state


@pytest.mark.parametrize("ending", ["safetensors", "bin"])
def test_shards_are_one_state_dict(ending: str, tmp_path: Path) -> None:
    state = write_shards(tmp_path, ending)
    found = read_state_dict(tmp_path)
    assert {f"module.{name}" for name in found} == state.keys()
    gone = weight_files(tmp_path)[1]
    gone.unlink()
    with pytest.raises(ValueError, match=f"lacks {gone.name}, which .*index.json names"):
        read_state_dict(tmp_path)


def test_an_index_names_no_file_outside_of_its_folder(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    save_file(Model().state_dict(), tmp_path / "other.safetensors")
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": "../other.safetensors"}}))
    with pytest.raises(ValueError, match=r"lacks \.\./other\.safetensors"):
        read_state_dict(folder)
    index.write_text("[]")
    with pytest.raises(ValueError, match="is no index of shards"):
        read_state_dict(folder)


def test_the_file_that_transformers_would_take_is_taken(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"holds no weights; it needs model\.safetensors or"):
        weight_files(tmp_path)
    for name in ("pytorch_model.bin", "model.safetensors"):
        (tmp_path / name).touch()
        assert weight_files(tmp_path) == [tmp_path / name]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"a": 1}, "holds no state dict of tensors; save model"),
        ([1], "holds no state dict of tensors"),
        ({}, "holds no state dict of tensors"),
        (
            {"state_dict": Model().state_dict(), "state_dict_ema": Model().state_dict()},
            r"holds several state dicts \(state_dict, state_dict_ema\); save the one to be used",
        ),
        (
            prefixed("model.")(Model().state_dict()) | {"loss.weight": torch.zeros(2, 2)},
            r"under the prefix model\. and more beside it \(loss\.weight\); save the part under",
        ),
        (
            prefixed("student.")(Model().state_dict()) | prefixed("teacher.")(Model().state_dict()),
            r"under the prefix student\. and more beside it \(teacher\.first\.bias",
        ),
    ],
)
def test_what_is_not_clear_is_a_sentence(content: Any, message: str, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "model.pt")
    with pytest.raises(ValueError, match=message) as refused:
        read_state_dict(tmp_path / "model.pt")
    assert "\n" not in str(refused.value)


@pytest.mark.filterwarnings("ignore:.*torch.*jit")
@pytest.mark.filterwarnings("ignore:.*torch.load")
def test_bytes_that_are_no_weights_are_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "text.pt").write_text("no weights")
    (tmp_path / "text.safetensors").write_text("no weights")
    (tmp_path / "pointer.pt").write_text(POINTER)
    (tmp_path / "pointer.safetensors").write_text(POINTER)
    torch.save(Model(), tmp_path / "pickled.pt")  # runs code when it is loaded
    torch.jit.save(torch.jit.script(nn.Linear(2, 2)), tmp_path / "script.pt")
    for name, message in (
        ("text.pt", "holds no weights that can be read"),
        ("text.safetensors", "holds no weights that can be read"),
        ("pickled.pt", "it must be .safetensors, or the state dict of a model"),
        ("script.pt", "it must be .safetensors, or the state dict of a model"),
        ("pointer.pt", "is a pointer of Git LFS, not the file; run `git lfs pull`"),
        ("pointer.safetensors", "is a pointer of Git LFS"),
        ("gone.pt", f"gone.pt is missing \\(looked for {tmp_path.resolve()}/gone.pt"),
    ):
        with pytest.raises(ValueError, match=message) as refused:
            read_state_dict(tmp_path / name)
        assert "\n" not in str(refused.value)


def test_everything_that_does_not_fit_is_named_and_nothing_is_loaded() -> None:
    model = Model()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = Model(seed=1).state_dict()
    state["stray"] = state.pop("first.bias")
    state["norm.weight"] = torch.zeros(5)
    state["first.weight"] = state["first.weight"].to(torch.int8)
    with pytest.raises(ValueError, match="do not fit") as refused:
        load_strictly(model, state, "m.pt")
    assert str(refused.value) == (
        "the weights of m.pt do not fit; missing: first.bias; unexpected: stray; of another shape: "
        "norm.weight (5,) for (4,); of another type: first.weight torch.int8 for torch.float32"
    )
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])


def test_half_precision_weights_fit() -> None:
    model = Model()
    load_strictly(model, Model(seed=1).half().state_dict(), "the model")
    assert model.first.weight.dtype == torch.float32
    torch.testing.assert_close(model.first.weight, Model(seed=1).first.weight, atol=1e-3, rtol=0)


def test_many_names_are_counted() -> None:
    model = nn.ModuleList([nn.Linear(1, 1) for _ in range(16)])
    with pytest.raises(ValueError, match="do not fit") as refused:
        load_strictly(model, {}, "m.pt")
    assert str(refused.value).startswith(
        "the weights of m.pt do not fit; missing: 0.bias, 0.weight, "
    )
    assert str(refused.value).count(".bias") == 10
    assert str(refused.value).endswith(" and 12 more")
