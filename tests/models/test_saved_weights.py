"""The weights of a checkpoint go back into the model that wrote them, all of them, or they are refused."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from tempering.errors import ArtifactError
from tempering.models.saved_weights import load_weights

SIZES = {
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "vocab_size": 32,
}


def model(family: str, **changes: Any) -> Any:
    from transformers import AutoConfig, AutoModelForCausalLM

    return AutoModelForCausalLM.from_config(AutoConfig.for_model(family, **SIZES | changes))


@pytest.mark.parametrize(
    ("family", "changes"),
    [
        ("llama", {}),
        ("llama", {"tie_word_embeddings": True}),
        # One tensor holds all experts in memory, and one each of them on disk.
        ("mixtral", {"num_key_value_heads": 1, "num_local_experts": 2}),
        (
            "qwen3_moe",
            {"num_key_value_heads": 1, "num_experts": 2, "moe_intermediate_size": 8, "head_dim": 8},
        ),
    ],
)
def test_every_weight_comes_back(tmp_path: Path, family: str, changes: Any) -> None:
    """Mutation: `load_state_dict(strict=False)` alone, which leaves a mixture's experts as they are."""
    saved, other = model(family, **changes), model(family, **changes)
    saved.save_pretrained(tmp_path)
    load_weights(other, tmp_path)
    torch.testing.assert_close(other.state_dict(), saved.state_dict(), atol=0, rtol=0)


@pytest.mark.parametrize(
    ("name", "tensor", "fault"),
    [
        ("model.norm.weight", None, "missing: model.norm.weight"),
        ("lm_head.weight", None, "missing: lm_head.weight"),
        ("more", torch.zeros(2), "unexpected: more"),
        ("model.norm.weight", torch.zeros(3), "of another shape or dtype: model.norm.weight"),
        ("model.norm.weight", torch.zeros(16, dtype=torch.float16), "of another shape or dtype"),
    ],
)
def test_other_weights_are_refused_and_nothing_is_loaded(
    tmp_path: Path, name: str, tensor: Any, fault: str
) -> None:
    saved, other = model("llama"), model("llama")
    saved.save_pretrained(tmp_path)
    weights = {key: value for key, value in load_file(tmp_path / "model.safetensors").items() if key != name}
    save_file(weights | ({} if tensor is None else {name: tensor}), tmp_path / "model.safetensors")
    before = {key: value.clone() for key, value in other.state_dict().items()}
    with pytest.raises(ArtifactError, match=fault):
        load_weights(other, tmp_path)
    torch.testing.assert_close(dict(other.state_dict()), before, atol=0, rtol=0)


def test_a_tied_head_is_stored_once_and_its_twin_is_needed(tmp_path: Path) -> None:
    saved = model("llama", tie_word_embeddings=True)
    saved.save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    assert "lm_head.weight" not in weights
    del weights["model.embed_tokens.weight"]
    save_file(weights, tmp_path / "model.safetensors")
    with pytest.raises(ArtifactError, match=r"missing: model\.embed_tokens\.weight"):
        load_weights(saved, tmp_path)
