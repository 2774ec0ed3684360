"""From an architecture of the config to a new model: presets, borrowed shapes, overrides, refusals."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import TypeAdapter

from tempering.artifacts.digests import external_digests
from tempering.artifacts.fingerprint import fingerprint
from tempering.config import external_revisions, named_files
from tempering.errors import ConfigError
from tempering.model_config import Architecture, TransformerConfig
from tempering.models.architecture import hf_config
from tempering.models.loading import new_model

SPECIAL = {"bos_token_id": None, "eos_token_id": 2, "pad_token_id": 1}


class Vocabulary:
    """What `new_model` asks of a tokenizer."""

    bos_token_id, eos_token_id, pad_token_id = None, 2, 1

    def __init__(self, size: int) -> None:
        self.size = size

    def __len__(self) -> int:
        return self.size


def architecture(**settings: Any) -> Any:
    return TypeAdapter(Architecture).validate_python({"kind": "transformer", **settings})


def made(size: int = 660, **settings: Any) -> Any:
    with torch.device("meta"):
        return new_model(architecture(**settings), Vocabulary(size), 0)  # type: ignore[arg-type]


def parameters(model: Any) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize(("preset", "size"), [("nano", 660), ("micro", 4096), ("small", 16000)])
def test_families_of_one_preset_are_of_one_size(preset: str, size: int) -> None:
    transformer, lstm, kgram = (
        parameters(made(size, kind=kind, preset=preset)) for kind in ("transformer", "lstm", "kgram")
    )
    assert {"nano": 0.4e6, "micro": 5e6, "small": 55e6}[preset] < transformer
    assert lstm == pytest.approx(transformer, rel=0.15)
    assert kgram == pytest.approx(transformer, rel=0.15)


def test_gpt2_small_is_gpt2_under_its_own_names() -> None:
    model = made(16000, preset="gpt2-small", max_position_embeddings=512)
    config = model.config
    assert (config.model_type, config.n_embd, config.n_layer, config.n_head) == ("gpt2", 768, 12, 12)
    assert (config.n_positions, config.resid_pdrop, config.tie_word_embeddings) == (512, 0.1, True)
    assert (config.bos_token_id, config.eos_token_id, config.pad_token_id) == (None, 2, 1)
    assert model.transformer.wpe.weight.shape == (512, 768)
    assert parameters(model) == 97_737_216


def test_a_preset_takes_the_form_of_its_model_type() -> None:
    assert made(model_type="gpt2").config.n_inner == 320
    assert made(model_type="qwen2").config.num_key_value_heads == 8
    assert made(model_type="llama", overrides={"num_attention_heads": 4}).config.num_key_value_heads == 4
    assert made(kind="kgram", overrides={"context_size": 5}).config.context_size == 5
    assert made(kind="lstm", max_position_embeddings=99).config.max_position_embeddings == 99


QWEN = {
    "model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"], "torch_dtype": "bfloat16",
    "hidden_size": 48, "intermediate_size": 64, "num_hidden_layers": 3, "num_attention_heads": 6,
    "num_key_value_heads": 2, "max_position_embeddings": 1024, "rope_theta": 1000000.0,
    "tie_word_embeddings": False, "vocab_size": 151936, "bos_token_id": 151643, "eos_token_id": 151645,
}  # fmt: skip


@pytest.fixture
def qwen(tmp_path: Path) -> Path:
    folder = tmp_path / "qwen"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(QWEN))
    return folder


def test_a_borrowed_shape_keeps_all_but_the_vocabulary(qwen: Path) -> None:
    model = made(name_or_path=str(qwen))
    config = model.config
    assert (config.hidden_size, config.num_key_value_heads, config.num_hidden_layers) == (48, 2, 3)
    assert (config.max_position_embeddings, config.tie_word_embeddings) == (1024, False)
    assert config.rope_parameters["rope_theta"] == 1e6
    assert (config.vocab_size, config.bos_token_id, config.eos_token_id) == (660, None, 2)
    assert model.dtype == torch.float32
    changed = made(name_or_path=str(qwen), max_position_embeddings=64, overrides={"num_hidden_layers": 1})
    assert changed.config.max_position_embeddings == 64
    assert len(changed.model.layers) == 1


def test_the_shape_belongs_to_the_identity_by_content(qwen: Path, tmp_path: Path) -> None:
    from tempering.artifacts.digests import DigestCache

    def identity_of(folder: Path) -> str:
        config = architecture(name_or_path=str(folder))
        files = external_digests(named_files(config), DigestCache(tmp_path / "digests.json"))
        return fingerprint("pretrain", 1, config, {}, files).hex

    before = identity_of(qwen)
    assert identity_of(qwen.rename(tmp_path / "elsewhere")) == before
    (tmp_path / "elsewhere" / "config.json").write_text(json.dumps(QWEN | {"hidden_size": 96}))
    assert identity_of(tmp_path / "elsewhere") != before


def test_a_shape_on_the_hub_is_pinned_to_its_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempering.model_config.model_commit", lambda name, revision: f"{name}@{revision}!")
    config = TransformerConfig(name_or_path="Qwen/Qwen2.5-0.5B", revision="v1")
    assert external_revisions(config) == (("hub:Qwen/Qwen2.5-0.5B", "Qwen/Qwen2.5-0.5B@v1!"),)


@pytest.mark.parametrize(
    ("settings", "found", "help_"),
    [
        ({"model_type": "lama"}, "no model type 'lama'", "llama"),
        ({"model_type": "bert"}, "a model of type 'bert' is an encoder, which reads in both", "causal"),
        (
            {"model_type": "bart"},
            "a model of type 'bart' is half of an encoder",
            "causal",
        ),
        ({"model_type": "vit"}, "no causal language model is 'vit'", "causal"),
        ({"overrides": {"hiden_size": 3}}, "no setting 'hiden_size'", "'hidden_size'"),
        ({"kind": "kgram", "overrides": {"k": 3}}, "'kgram' model has no setting 'k'", "context_size"),
        ({"overrides": {"num_attention_heads": 7}}, "not a multiple", "fit together"),
        ({"name_or_path": "/nowhere/at/all"}, "no config.json", "correct the path"),
    ],
)
def test_what_cannot_be_built_is_refused(settings: dict[str, Any], found: str, help_: str) -> None:
    with pytest.raises(ConfigError, match=found) as caught:
        hf_config(architecture(**settings), 660, SPECIAL)
    assert help_ in str(caught.value)


def test_a_shape_of_an_unknown_type_is_refused(qwen: Path) -> None:
    (qwen / "config.json").write_text(json.dumps(QWEN | {"model_type": "quen2"}))
    with pytest.raises(ConfigError, match="no model type 'quen2'") as caught:
        made(name_or_path=str(qwen))
    assert "qwen2" in str(caught.value)
    (qwen / "config.json").write_text("{")
    with pytest.raises(ConfigError, match="name_or_path"):
        made(name_or_path=str(qwen))


def test_a_shape_and_a_type_contradict_each_other() -> None:
    with pytest.raises(ValueError, match="drop one of the two"):
        architecture(name_or_path="x/y", model_type="llama")


def test_planning_needs_neither_torch_nor_transformers(repository: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from flows.cli.main import main; code = main(sys.argv[1:])\n"
        "print(code, sorted({'torch', 'transformers', 'peft', 'trl'} & set(sys.modules)))"
    )
    arguments = [
        "plan",
        "configs/quickstart.yaml",
        "pretrain.architecture.kind=lstm",
        "--store",
        str(tmp_path),
    ]
    found = subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=repository, capture_output=True, text=True, check=True
    )
    assert "pretrain" in found.stdout
    assert found.stdout.splitlines()[-1] == "0 []"
