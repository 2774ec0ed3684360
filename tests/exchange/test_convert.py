"""Pickled states: read without running anything, refused unless they are exactly the model."""

import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from tempering.errors import ArtifactError, DataError, UserError
from tempering.exchange.convert import convert
from tempering.models.loading import load_causal_lm, load_scorer
from tests.exchange.toy_models import ToyStore

IDS = torch.tensor([[5, 6, 7, 8]])


@pytest.fixture(scope="module")
def toys(tmp_path_factory: pytest.TempPathFactory) -> ToyStore:
    return ToyStore(tmp_path_factory.mktemp("toys"))


@pytest.fixture(scope="module")
def like(toys: ToyStore) -> Path:
    """A model folder; its weights are what states are made of."""
    return toys.model("sft").model_dir


def state_of(folder: Path) -> dict[str, Any]:
    state = dict(load_causal_lm(folder).state_dict())
    state.pop("lm_head.weight")  # tied
    return state


def slices(state: dict[str, Any]) -> dict[str, Any]:
    """All tensors as views of one, as fused weights are cut up."""
    parts = torch.cat([one.flatten() for one in state.values()]).split(
        [one.numel() for one in state.values()]
    )
    return {name: part.view_as(state[name]) for name, part in zip(state, parts, strict=True)}


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        return model(input_ids=IDS).logits


def saved(path: Path, content: Any, **how: Any) -> Path:
    torch.save(content, path, **how)
    return path


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: {"model": state, "optimizer": {"state": {0: torch.ones(2)}}, "step": 7},
        lambda state: {"epoch": 1, "state_dict": {f"module.{name}": one for name, one in state.items()}},
        lambda state: {"model_state_dict": {f"_orig_mod.{name}": one for name, one in state.items()}},
        lambda state: {f"module._orig_mod.{name}": one for name, one in state.items()},
        lambda state: state | {"lm_head.weight": state["model.embed_tokens.weight"]},
        lambda state: state | {"model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(8)},
        slices,
    ],
    ids=["plain", "model", "ddp", "compiled", "both", "tied", "buffers", "slices"],
)
def test_what_people_save(like: Path, tmp_path: Path, wrap: Any) -> None:
    source = saved(tmp_path / "state.pt", wrap(state_of(like)))
    folder = convert(source, tmp_path / "out", like=like)
    assert torch.equal(logits(load_causal_lm(folder)), logits(load_causal_lm(like)))
    assert sorted(path.name for path in folder.glob("*model*")) == ["model.safetensors"]
    assert (folder / "tokenizer.json").read_bytes() == (like / "tokenizer.json").read_bytes()
    assert all(path.stat().st_mode & 0o777 == 0o644 for path in folder.iterdir())


def test_old_files_and_other_dtypes(like: Path, tmp_path: Path) -> None:
    state = {name: one.to(torch.bfloat16) for name, one in state_of(like).items()}
    source = saved(tmp_path / "state.bin", state, _use_new_zipfile_serialization=False)
    folder = convert(source, tmp_path / "out", like=like)
    assert json.loads((folder / "config.json").read_text())["dtype"] == "bfloat16"


def test_a_folder_with_an_index(like: Path, tmp_path: Path) -> None:
    source = tmp_path / "old"
    shutil.copytree(like, source, ignore=shutil.ignore_patterns("*.safetensors"))
    state = list(state_of(like).items())
    weight_map = {}
    for number, part in enumerate((state[:5], state[5:])):
        name = f"pytorch_model-0000{number}.bin"
        saved(source / name, dict(part))
        weight_map |= dict.fromkeys(dict(part), name)
    index = source / "pytorch_model.bin.index.json"
    index.write_text(json.dumps({"weight_map": weight_map}))
    folder = convert(source, tmp_path / "out")
    assert torch.equal(logits(load_causal_lm(folder)), logits(load_causal_lm(like)))
    (source / "pytorch_model-00001.bin").unlink()
    with pytest.raises(UserError, match=r"pytorch_model-00001\.bin"):
        convert(source, tmp_path / "out2")


def test_gpt2_without_its_head(toys: ToyStore, tmp_path: Path) -> None:
    like = toys.model("sft", model_type="gpt2").model_dir
    whole = state_of(like)
    bare = {name.removeprefix("transformer."): one for name, one in whole.items()}
    bare |= {"h.0.attn.bias": torch.ones(1, 1, 96, 96), "h.0.attn.masked_bias": torch.tensor(-1e4)}
    folder = convert(saved(tmp_path / "state.pt", bare), tmp_path / "out", like=like)
    assert torch.equal(logits(load_causal_lm(folder)), logits(load_causal_lm(like)))


def test_a_reward_model_keeps_its_head(toys: ToyStore, tmp_path: Path) -> None:
    like = toys.model("reward_model", head="score").model_dir
    state = load_scorer(like).state_dict()
    source = saved(tmp_path / "state.pt", dict(state))
    folder = convert(source, tmp_path / "out", like=like)
    assert torch.equal(logits(load_scorer(folder)), logits(load_scorer(like)))
    with pytest.raises(ArtifactError, match=r"1 unexpected: score\.weight \[1, 32\]"):
        convert(source, tmp_path / "out2", like=like, head="causal_lm")


def test_code_in_a_pickle_is_refused_and_not_run(like: Path, tmp_path: Path) -> None:
    mark = tmp_path / "mark"

    class Evil:
        def __reduce__(self) -> Any:
            return Path.touch, (mark,)

    class System:
        def __reduce__(self) -> Any:
            import os

            return os.system, (f"touch {mark}",)

    plain = tmp_path / "plain.bin"
    plain.write_bytes(pickle.dumps(System()))
    inside = saved(tmp_path / "inside.pt", state_of(like) | {"x": Evil()})
    legacy = saved(tmp_path / "legacy.pt", {"model": System()}, _use_new_zipfile_serialization=False)
    for source in (plain, inside, legacy):
        with pytest.raises(UserError) as error:
            convert(source, tmp_path / "out", like=like)
        assert "not a pickled PyTorch state" in error.value.found or "which was not run" in error.value.found
    assert "posix.system" in error.value.found
    assert not mark.exists()
    assert not (tmp_path / "out").exists()
    pickle.loads(plain.read_bytes())
    assert mark.exists(), "the pickle is a real one: read otherwise it does it"


def renamed(state: dict[str, Any]) -> dict[str, Any]:
    state["model.layers.0.nonsense"] = state.pop("model.layers.0.mlp.up_proj.weight")
    return state


def reshaped(state: dict[str, Any]) -> dict[str, Any]:
    return state | {"model.norm.weight": torch.ones(31)}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            renamed,
            r"1 missing: model\.layers\.0\.mlp\.up_proj\.weight \[64, 32\]; "
            r"1 unexpected: model\.layers\.0\.nonsense",
        ),
        (reshaped, r"model\.norm\.weight \[31\] for \[32\]"),
        (lambda state: dict(list(state.items())[:3]), r"\d+ missing: "),
        (
            lambda state: state | {"lm_head.weight": torch.ones(400, 32)},
            "differ although config.json ties them",
        ),
    ],
    ids=["renamed", "reshaped", "few", "untied"],
)
def test_a_state_of_another_model_is_refused(like: Path, tmp_path: Path, change: Any, said: str) -> None:
    source = saved(tmp_path / "state.pt", change(state_of(like)))
    with pytest.raises(ArtifactError, match=said) as error:
        convert(source, tmp_path / "out", like=like)
    assert error.value.found.count("[") <= 2 * 5 + 2, "the first five of each"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["state.pt"]


def test_other_mistakes(like: Path, tmp_path: Path) -> None:
    state = saved(tmp_path / "state.pt", state_of(like))
    torn = tmp_path / "torn.pt"
    torn.write_bytes(state.read_bytes()[:2000])
    text = tmp_path / "text.pt"
    text.write_text("hello")
    bare = tmp_path / "bare"
    shutil.copytree(like, bare, ignore=shutil.ignore_patterns("tokenizer*", "chat*"))
    for source, given, kind, said in (
        (state, None, UserError, "no config.json"),
        (tmp_path / "nothing.pt", like, UserError, "does not exist"),
        (like / "model.safetensors", None, UserError, "safetensors already"),
        (torn, like, UserError, "torn.pt"),
        (text, like, UserError, "text.pt"),
        (saved(tmp_path / "list.pt", [1, 2]), like, UserError, "holds a list"),
        (saved(tmp_path / "mixed.pt", {"a": torch.ones(1), "b": 3}), like, UserError, "more than tensors: b"),
        (saved(tmp_path / "empty.pt", {}), like, UserError, "contains nothing"),
        (state, bare, DataError, "no tokenizer"),
        (tmp_path, like, UserError, "pickled states"),
    ):
        with pytest.raises(kind, match=said):
            convert(source, tmp_path / "out", like=given)
    assert not (tmp_path / "out").exists()


def test_a_tokenizer_that_does_not_fit(toys: ToyStore, like: Path, tmp_path: Path) -> None:
    small = tmp_path / "small"
    shutil.copytree(like, small)
    config = json.loads((small / "config.json").read_text())
    (small / "config.json").write_text(json.dumps({**config, "vocab_size": 64}))
    with pytest.raises(ArtifactError, match="ids up to 399, its model embeddings for 64 tokens"):
        convert(saved(tmp_path / "state.pt", state_of(like)), tmp_path / "out", like=small)


def test_what_a_killed_process_left_is_swept(tmp_path: Path) -> None:
    import os
    import subprocess
    import sys

    from tempering.artifacts.atomic import here
    from tempering.exchange.atomic_folder import whole_folder

    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    stale, living = (tmp_path / f".tmp-out.{here()}-{pid}.1" for pid in (dead.pid, os.getppid()))
    for folder in (stale, living):
        folder.mkdir()
        (folder / "model.safetensors").touch()
    with whole_folder(tmp_path / "out") as temporary:
        (temporary / "config.json").touch()
    assert sorted(path.name for path in tmp_path.iterdir()) == [living.name, "out"]


def test_force_replaces_a_model_folder_and_nothing_else(tmp_path: Path) -> None:
    """A project has a config.json too; an artifact's folder is the store's."""
    from tempering.errors import UserError
    from tempering.exchange.atomic_folder import check_free

    model = tmp_path / "store" / "model"
    model.mkdir(parents=True)
    for name in ("config.json", "model.safetensors", "README.md"):
        (model / name).touch()
    check_free(model, force=True)
    (model.parent / "manifest.json").touch()
    with pytest.raises(UserError, match="part of an artifact"):
        check_free(model, force=True)
    (model.parent / "manifest.json").unlink()
    (model / "thesis.odt").touch()
    with pytest.raises(UserError, match="other files too"):
        check_free(model, force=True)
