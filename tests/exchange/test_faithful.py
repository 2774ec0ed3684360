"""Adoption changes no answer: heads, tying, dtypes and generation settings of all sorts; else it refuses."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM

from tempering.errors import ArtifactError, UserError
from tempering.exchange.faithful import check_same_answers
from tests.exchange.test_adopt import adopted, edit, store, weights
from tests.models.outside import bare_tokenizer, outside

__all__ = ["store"]  # the fixture
HEAD, EMBEDDINGS = "lm_head.weight", "model.embed_tokens.weight"


def another_head(source: Path) -> None:
    """As a checkpoint whose head was trained apart, under a config that says tied."""
    weights(source, lambda tensors: tensors.update({HEAD: tensors[EMBEDDINGS].flip(0).contiguous()}))
    edit(source, "config.json", tie_word_embeddings=True)


def same_head(source: Path) -> None:
    weights(source, lambda tensors: tensors.update({HEAD: tensors[EMBEDDINGS].clone()}))
    edit(source, "config.json", tie_word_embeddings=True)


def no_head(source: Path) -> None:
    weights(source, lambda tensors: tensors.pop(HEAD))
    edit(source, "config.json", tie_word_embeddings=True)


def own_head(source: Path) -> None:
    edit(source, "config.json", tie_word_embeddings=False)


def without_layer_prefix(source: Path) -> None:
    """As saved from the bare model."""
    no_head(source)

    def rename(tensors: dict[str, Any]) -> None:
        for name in list(tensors):
            tensors[name.removeprefix("model.")] = tensors.pop(name)

    weights(source, rename)


@pytest.mark.parametrize("pad", [None, "!"], ids=["grown", "same size"])
@pytest.mark.parametrize("change", [another_head, same_head, no_head, own_head, without_layer_prefix])
def test_the_answers_stay_whatever_the_config_says_of_tying(
    change: Any, pad: str | None, store: Any, tmp_path: Path
) -> None:
    marks = {"eos_token": "<|endoftext|>"} | ({"pad_token": pad} if pad else {})
    source = outside(tmp_path / "llama", tokenizer=bare_tokenizer(**marks))
    change(source)
    made = adopted(source, store)
    before, after = (AutoModelForCausalLM.from_pretrained(folder) for folder in (source, made.model_dir))
    ids = torch.tensor([[5, 60, 7, 200]])
    size = before.config.vocab_size
    assert (after(ids).logits[..., :size] - before(ids).logits).abs().max() == 0
    assert made.details["logit_difference"] == 0
    tied = after.lm_head.weight is after.model.embed_tokens.weight
    assert tied == after.config.tie_word_embeddings == (change not in (another_head, own_head))


def test_a_head_that_the_config_does_not_know_of_is_refused(store: Any, tmp_path: Path) -> None:
    """BioGPT calls its head output_projection: another name would be left out without a word."""
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    source = outside(tmp_path / "biogpt", "biogpt", tie_word_embeddings=True, **sizes)
    name = "biogpt.embed_tokens.weight"
    weights(source, lambda tensors: tensors.update({HEAD: tensors[name].flip(0).contiguous()}))
    with pytest.raises(UserError, match=r"unexpected: lm_head\.weight"):
        adopted(source, store)


def test_a_head_that_is_missing_is_refused(store: Any, tmp_path: Path) -> None:
    source = outside(tmp_path / "llama")
    no_head(source)
    own_head(source)
    with pytest.raises(UserError, match=r"missing: lm_head\.weight"):
        adopted(source, store)


def test_weights_stay_in_the_dtype_that_holds_them_all(
    store: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """config.json says bfloat16, one tensor is in float16, the others in float32."""
    source = outside(tmp_path / "llama")
    edit(source, "config.json", dtype="bfloat16")
    weights(source, lambda tensors: tensors.update({HEAD: tensors[HEAD].half()}))
    made = adopted(source, store)
    before = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32)
    after = AutoModelForCausalLM.from_pretrained(made.model_dir)
    assert after.dtype == torch.float32
    assert torch.equal(after.model.layers[1].mlp.up_proj.weight, before.model.layers[1].mlp.up_proj.weight)
    assert "config.json says bfloat16" in caplog.text


def half(tensors: dict[str, Any]) -> None:
    tensors.update({name: tensor.half() for name, tensor in tensors.items()})


def test_weights_that_the_model_does_not_read_say_nothing_of_its_dtype(store: Any, tmp_path: Path) -> None:
    """Mistral's consolidated.safetensors."""
    source = outside(tmp_path / "llama")
    weights(source, half)
    save_file({"tok_embeddings.weight": torch.zeros(3, 3)}, source / "consolidated.safetensors")
    made = adopted(source, store)
    assert AutoModelForCausalLM.from_pretrained(made.model_dir).dtype == torch.float16


def test_a_model_that_overflows_in_its_dtype_is_called_that(store: Any, tmp_path: Path) -> None:
    source = outside(tmp_path / "llama")

    def large(tensors: dict[str, Any]) -> None:
        tensors.update({name: tensor * 1e4 for name, tensor in tensors.items() if "_proj" in name})
        half(tensors)

    weights(source, large)
    with pytest.raises(UserError, match="no finite numbers in float16; converted to float32"):
        adopted(source, store)


@pytest.mark.parametrize(
    "settings",
    [
        {"temperature": 0.9, "top_p": 0.6},
        {"temperature": 0.7, "do_sample": False},
        {"top_k": 5, "eos_token_id": [0, 7]},
        {"temperature": 0.9, "num_beams": 2},
    ],
)
def test_sampling_settings_without_do_sample_are_adopted_and_said(
    settings: dict[str, Any], store: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The first Llama 2 and Vicuna."""
    source = outside(tmp_path / "llama")
    (source / "generation_config.json").write_text(json.dumps(settings))
    made = adopted(source, store)
    kept = json.loads((made.model_dir / "generation_config.json").read_text())
    assert kept["do_sample"] is True
    assert {name: kept[name] for name in settings if name != "do_sample"} == {
        name: value for name, value in settings.items() if name != "do_sample"
    }
    assert "do_sample" in caplog.text


@pytest.mark.parametrize(
    "text",
    [
        '{"max_new_tokens": -1}',
        "{",
        "[]",
        '{"num_return_sequences": 3}',
        '{"eos_token_id": "2"}',
        '{"eos_token_id": [2, null, "3"]}',
    ],
)
def test_generation_settings_that_nothing_can_use_are_refused_by_name(
    text: str, store: Any, tmp_path: Path
) -> None:
    source = outside(tmp_path / "llama")
    (source / "generation_config.json").write_text(text)
    with pytest.raises(UserError, match=r"generation_config\.json cannot be used"):
        adopted(source, store)


@pytest.mark.parametrize(
    ("config", "file", "tensor", "expected"),
    [
        ({"quantization_config": {"quant_method": "gptq", "bits": 4}}, "", "", "gptq"),
        ({"quantization_config": {"load_in_4bit": True}}, "", "", "bitsandbytes"),
        ({"text_config": {"quantization_config": {"quant_method": "fp8"}}}, "", "", "dequantize"),
        ({}, "quantize_config.json", "", "gptq"),
        ({}, "quant_config.json", "", "awq"),
        ({}, "", "model.layers.0.mlp.up_proj.qweight", "qweight"),
        ({}, "", "model.layers.0.mlp.up_proj.weight_scale_inv", "weight_scale_inv"),
    ],
)
def test_quantised_weights_are_refused_with_what_to_take_instead(
    config: Any, file: str, tensor: str, expected: str, store: Any, tmp_path: Path
) -> None:
    source = outside(tmp_path / "llama")
    edit(source, "config.json", **config)
    if file:
        (source / file).write_text("{}")
    if tensor:
        weights(source, lambda tensors: tensors.update({tensor: torch.ones(2, 2, dtype=torch.int32)}))
    with pytest.raises(UserError, match="holds quantised weights") as caught:
        adopted(source, store)
    assert expected in str(caught.value)
    assert "that it was quantised from" in str(caught.value)


def test_other_answers_are_refused() -> None:
    logits = torch.randn(4, 9)
    assert check_same_answers(logits, torch.cat([logits * (1 + 1e-7), logits[:, :1]], 1), Path("x")) < 1e-6
    for other in (logits + 1e-6, logits * float("nan"), torch.cat([logits.roll(1, 1), logits[:, :1]], 1)):
        with pytest.raises(ArtifactError, match="would change its answers"):
            check_same_answers(logits, other, Path("x"))
