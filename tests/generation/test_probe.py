"""A model that our code would read otherwise than itself is refused at the door, with what differs."""

from pathlib import Path
from typing import Any

import pytest
import torch

from tempering.errors import ArtifactError, ConfigError, UserError
from tempering.generation import probe
from tempering.generation.probe import refuse_unserved, why_unserved
from tempering.model_config import TransformerConfig
from tempering.models.architecture import hf_config
from tempering.unserved import UNSERVED
from tests.exchange.test_adopt import adopted, edit, store
from tests.models.outside import outside
from tests.models.tiny_families import tiny_model

__all__ = ["store"]  # the fixture


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_model_that_is_what_it_seems_passes_and_stays_as_it_was(dtype: torch.dtype) -> None:
    model = tiny_model("cohere").to(dtype).train()
    numbers = torch.random.get_rng_state()
    assert why_unserved(model) is None
    assert model.training
    assert torch.equal(torch.random.get_rng_state(), numbers)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    ("model_type", "reason"),
    [
        ("rwkv", "cannot be run|reads the padding"),
        ("xlnet", "reads what follows"),
        ("trocr", "reads the padding"),
        ("openai-gpt", "cannot be run"),
    ],
)
def test_each_way_to_differ_is_named(model_type: str, reason: str, dtype: torch.dtype) -> None:
    """These types are refused by name; here they stand for those that nobody knows yet."""
    with pytest.raises(ArtifactError, match=f"x: a model of type {model_type} ({reason})"):
        refuse_unserved(tiny_model(model_type).to(dtype), "x")


def test_a_head_and_a_cache_that_lie_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """As our code did before: the plain product for every head, no state for Mamba."""
    with monkeypatch.context() as patch:
        patch.setattr("tempering.generation.head._is_plain", lambda *_: True)
        assert "a head that cannot be computed in chunks" in str(why_unserved(tiny_model("cohere")))
    with monkeypatch.context() as patch:
        patch.setattr("tempering.generation.decoder.cache_name", lambda _: "past_key_values")
        assert "decodes with a cache otherwise" in str(why_unserved(tiny_model("mamba")))
    with monkeypatch.context() as patch:
        patch.setattr("tempering.models.reading.READS_PADDING", frozenset())
        assert "reads the padding of a batch" in str(why_unserved(tiny_model("recurrent_gemma")))


@pytest.mark.parametrize("model_type", ["bert", "bart", "rwkv", "xlnet", "glm_moe_dsa"])
def test_types_that_cannot_be_served_are_refused_by_the_config_alone(
    model_type: str, store: Any, tmp_path: Path
) -> None:
    special = {f"{name}_token_id": 0 for name in ("bos", "eos", "pad")}
    with pytest.raises(ConfigError, match=f"a model of type '{model_type}' {UNSERVED[model_type]}"):
        hf_config(TransformerConfig(model_type=model_type), 300, special)
    source = outside(tmp_path / "x")
    edit(source, "config.json", model_type=model_type, architectures=["XLMHeadModel"])
    with pytest.raises(UserError, match=f"a model of type {model_type} {UNSERVED[model_type]}"):
        adopted(source, store)


def test_an_unknown_family_is_asked_when_it_is_adopted(
    store: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe, "why_unserved", lambda _: "reads backwards")
    with pytest.raises(UserError, match="a model of type llama reads backwards"):
        adopted(outside(tmp_path / "llama"), store)
