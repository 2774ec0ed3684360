"""SFT and DPO refuse a model whose loss TRL would compute otherwise than the model does."""

import pytest
import torch

from tempering.errors import ConfigError
from tempering.model_config import LoraConfig
from tempering.models.adapters import add_adapter
from tempering.training.fused_head import check_fused_head, fused_gap
from tests.models.tiny_families import tiny_model


@pytest.mark.parametrize("model_type", ["llama", "cohere", "granite", "gemma2", "minicpm3", "llama4_text"])
def test_scales_and_caps_that_trl_knows_pass(model_type: str) -> None:
    model = tiny_model(model_type)
    assert fused_gap(model) < 1e-5
    check_fused_head(model, "sft")
    assert "forward" not in model.__dict__, "the model is itself again"


@pytest.mark.parametrize("model_type", ["modernbert-decoder", "recurrent_gemma", "mpt"])
def test_others_are_refused_by_name(model_type: str) -> None:
    with pytest.raises(ConfigError, match=f"TRL's loss of a {model_type} model is not the model's own"):
        check_fused_head(tiny_model(model_type), "sft")


def test_an_adapter_on_the_output_head_is_refused_before_training() -> None:
    model = tiny_model("llama", tie_word_embeddings=False)
    adapted = add_adapter(model, LoraConfig(rank=2, target_modules=["q_proj", "lm_head"]), seed=0)
    with pytest.raises(ConfigError, match="on the output head"):
        check_fused_head(adapted, "dpo")


def test_asking_leaves_the_random_numbers_and_the_mode() -> None:
    model = tiny_model("llama").train()
    before = torch.random.get_rng_state()
    check_fused_head(model, "sft")
    assert model.training
    assert torch.equal(torch.random.get_rng_state(), before)
