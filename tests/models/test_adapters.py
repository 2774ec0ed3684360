"""Adapters: every kind trains and merges without changing an output; chains start from the merged model."""

from pathlib import Path
from typing import Any

import pytest
import torch

from tempering.errors import ArtifactError, ConfigError
from tempering.model_config import LoraConfig, MergeConfig
from tempering.models.adapters import add_adapter, trainable_lm
from tempering.models.loading import DTYPES, load_causal_lm
from tests.conftest import tiny_nodes
from tests.models.outside import outside
from tests.tiny import fresh_draft, inputs_of, run_nodes

LORA: dict[str, Any] = {"kind": "lora", "rank": 4}
KINDS: dict[str, dict[str, Any]] = {
    "dora": {"dora": True},
    "rslora": {"rslora": True, "alpha": 8},
    "targets": {"target_modules": ["o_proj", "up_proj", "down_proj"], "dropout": 0.1},
    "bf16 base": {"base_weights": "bf16"},
}


@pytest.fixture(scope="module")
def adapted(tiny_store: Any, tiny: Any) -> Any:
    """Artifacts of the tiny pipeline with LoRA in SFT, DPO and the reward model."""
    nodes = tiny_nodes({f"{name}.adapter": LORA for name in ("sft", "dpo", "reward_model")})
    made: dict[str, Any] = {}
    return lambda name: run_nodes(tiny_store, nodes, name, made)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_trains_and_merges(kind: str, tiny_store: Any) -> None:
    nodes = tiny_nodes({"sft.adapter": LORA | KINDS[kind], "sft.learning_rate": 1e-2})
    made: dict[str, Any] = {}
    merged = run_nodes(tiny_store, nodes, "merge[sft]", made)
    losses = made["sft"].read("training_stats")["loss"]
    assert losses.iloc[-2:].mean() < losses.iloc[:2].mean() - 0.02
    worst = merged.read("merge")["difference"].max()
    assert 0 < worst < (1e-4 if kind != "bf16 base" else 1e-3)


@pytest.mark.slow
def test_merging_changes_no_logits(adapted: Any) -> None:
    merged = adapted("merge[sft]")
    differences = merged.read("merge")["difference"]
    assert len(differences) == MergeConfig().rows
    assert 0 < differences.max() < 1e-4
    assert not (merged.model_dir / "adapter_config.json").exists()
    assert (adapted("sft").model_dir / "adapter_config.json").exists()


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["bf16", "fp16"])
def test_a_merge_in_16_bits_differs_and_stays_in_its_tolerance(
    dtype: str, adapted: Any, tiny_store: Any
) -> None:
    from safetensors.torch import load_file

    nodes = tiny_nodes({"sft.adapter": LORA, "merge.dtype": dtype})
    merged = run_nodes(tiny_store, nodes, "merge[sft]")
    kept = load_file(merged.model_dir / "model.safetensors")
    assert {tensor.dtype for tensor in kept.values()} == {DTYPES[dtype]}
    worst = merged.read("merge")["difference"].max()
    assert adapted("merge[sft]").read("merge")["difference"].max() < worst < MergeConfig(dtype=dtype).allowed


@pytest.mark.slow
def test_a_merge_above_its_tolerance_fails_and_leaves_nothing(adapted: Any, tiny_store: Any) -> None:
    adapted("sft")
    nodes = tiny_nodes({"sft.adapter": LORA, "merge": {"dtype": "bf16", "tolerance": 1e-6}})
    before = set(tiny_store.folders())
    with pytest.raises(ArtifactError, match="changes the logits by"):
        run_nodes(tiny_store, nodes, "merge[sft]")
    assert set(tiny_store.folders()) == before


@pytest.mark.slow
def test_a_damaged_merge_is_noticed(adapted: Any, tmp_path: Path) -> None:
    """What counts is the model as it is read back, not as it was in memory."""
    from tempering.data.tokenizers import load_tokenizer
    from tempering.models.loading import save_model
    from tempering.models.merging import merge_adapter

    base, adapter = adapted("pretrain"), adapted("sft")

    def save(model: Any) -> Path:
        model.lm_head.weight.data[7] += 0.5  # a bug on the way to the disk
        save_model(model, load_tokenizer(adapter.model_dir), tmp_path)
        return tmp_path

    rows = adapted("sample[sft]").rows_path("train")
    with pytest.raises(ArtifactError, match="changes the logits"):
        merge_adapter(base, adapter, rows, MergeConfig(), save)


@pytest.mark.slow
def test_one_nan_is_a_difference(adapted: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever max() makes of it: fp16 may overflow in a single longer row."""
    from tempering.models import merging

    calls: list[Any] = []

    def logits(model: Any, batches: list[Any]) -> list[Any]:
        calls.append(model)
        last = float("nan") if len(calls) == 2 else 1.0
        return [torch.ones(1), torch.tensor([last]), torch.ones(1)]

    monkeypatch.setattr(merging, "_logits", logits)
    monkeypatch.setattr(
        merging, "load_causal_lm", lambda *a, **k: load_causal_lm(adapted("pretrain").model_dir)
    )
    rows = adapted("sample[sft]").rows_path("train")
    with pytest.raises(ArtifactError, match="changes the logits by nan"):
        merging.merge_adapter(
            adapted("pretrain"), adapted("sft"), rows, MergeConfig(), lambda model: tmp_path
        )


@pytest.mark.slow
def test_an_adapter_on_an_adapter_trains_on_the_merged_model(adapted: Any) -> None:
    dpo = adapted("dpo")
    assert dpo.manifest.inputs["model"].id == adapted("merge[sft]").id
    losses = dpo.read("training_stats")["loss"]
    assert losses.iloc[0] == pytest.approx(0.6931, abs=1e-3), "the reference is the model it starts from"
    assert losses.min() > 0
    assert adapted("merge[dpo]").manifest.inputs["base"].id == adapted("merge[sft]").id


@pytest.mark.slow
def test_the_reward_models_head_is_trained_saved_and_merged(adapted: Any) -> None:
    from tempering.models.loading import load_scorer

    assert adapted("merge[reward_model]").read("merge")["difference"].max() < 1e-4
    head = load_scorer(adapted("merge[reward_model]").model_dir).score.weight
    fresh = load_scorer(adapted("merge[sft]").model_dir, new_head=True, seed=0).score.weight
    assert (head - fresh).abs().max() > 0


@pytest.mark.slow
def test_a_bare_adapter_is_no_model_to_start_from(adapted: Any, tmp_path: Path) -> None:
    node = next(node for node in tiny_nodes({}) if node.name == "dpo")
    with pytest.raises(ArtifactError, match="merge"):
        node.stage(
            fresh_draft(tmp_path), node.config, model=adapted("sft"), sample=adapted("sample[preferences]")
        )


@pytest.mark.slow
def test_a_merge_into_the_wrong_base_is_refused(adapted: Any, tiny: Any) -> None:
    from tempering.models.merging import merge_adapter

    rows = tiny("sample[sft]").rows_path("train")
    with pytest.raises(ArtifactError, match="was trained on"):
        merge_adapter(tiny("dpo"), adapted("sft"), rows, MergeConfig(), lambda model: Path())


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ppo", "rloo"])
def test_the_reference_is_the_adapter_switched_off(name: str, tiny: Any, tmp_path: Path) -> None:
    """One copy of the weights in memory, and the probabilities of the model it started from."""
    from tempering.generation.logprobs import completion_logprobs
    from tempering.onpolicy import run as setting_up

    node = next(n for n in tiny_nodes({f"{name}.adapter": LORA}) if n.name == name)
    inputs = inputs_of(node, lambda source: tiny(source))
    trainer = _trainer(setting_up, fresh_draft(tmp_path), node.config, **inputs)
    assert trainer.maker.reference is None
    policy = trainer.model.policy
    for parameter in policy.parameters():
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter, std=0.1)  # an adapter that has learnt something
    found = trainer.collect()
    start = load_causal_lm(inputs["model"].model_dir)
    batch = (found.input_ids, found.attention_mask, found.completion_mask)
    with torch.no_grad():
        wanted = completion_logprobs(start, *batch, 1.0)[0]
    torch.testing.assert_close(found.ref_logprobs, wanted, atol=1e-5, rtol=1e-4)
    assert (found.old_logprobs - wanted).abs().max() > 0.01
    if name == "ppo":
        trained = {n for n, p in trainer.model.value.named_parameters() if p.requires_grad}
        assert {n.split(".")[0] for n in trained} == {"backbone", "head"}
        assert all("lora" in n for n in trained if n.startswith("backbone")), "the trunk is frozen"


def _trainer(setting_up: Any, out: Any, config: Any, model: Any, sample: Any, reward_models: Any) -> Any:
    """The trainer that `on_policy` sets up, before it trains."""
    made: list[Any] = []

    class Stop(Exception):
        pass

    def stop(self: Any) -> None:
        made.append(self)
        raise Stop

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(setting_up.OnPolicyTrainer, "train_or_resume", stop)
        with pytest.raises(Stop):
            setting_up.on_policy(out, config, model, sample, reward_models)
    return made[0]


def test_targets_that_match_nothing_are_refused(tmp_path: Path) -> None:
    model = load_causal_lm(outside(tmp_path / "llama"))
    with pytest.raises(ConfigError, match="q_proj"):
        add_adapter(model, LoraConfig(target_modules=["nonsense"]), 0)


def test_one_good_target_does_not_hide_a_bad_one(tmp_path: Path) -> None:
    model = load_causal_lm(outside(tmp_path / "llama"))
    with pytest.raises(ConfigError, match="v_prj"):
        add_adapter(model, LoraConfig(target_modules=["q_proj", "v_prj"]), 0)


def test_a_checkpoint_of_another_adapter_is_refused(tmp_path: Path) -> None:
    """PEFT takes what fits and says nothing."""
    from tempering.models.saved_weights import load_weights

    source = outside(tmp_path / "llama")
    saved = add_adapter(load_causal_lm(source), LoraConfig(rank=2, target_modules=["q_proj"]), 0)
    saved.save_pretrained(tmp_path / "a")
    other = add_adapter(load_causal_lm(source), LoraConfig(rank=2, target_modules=["q_proj", "o_proj"]), 0)
    load_weights(saved, tmp_path / "a")
    with pytest.raises(ArtifactError, match="o_proj"):
        load_weights(other, tmp_path / "a")


def test_no_folder_of_this_machine_is_written_with_an_adapter(tmp_path: Path) -> None:
    add_adapter(load_causal_lm(outside(tmp_path / "llama")), LoraConfig(rank=2), 0).save_pretrained(
        tmp_path / "a"
    )
    assert str(tmp_path) not in (tmp_path / "a" / "adapter_config.json").read_text()


def test_four_bits_need_a_gpu_and_bitsandbytes(tmp_path: Path) -> None:
    import importlib.util

    if torch.cuda.is_available() and importlib.util.find_spec("bitsandbytes"):
        pytest.skip("this machine has both")
    with pytest.raises(ConfigError, match="nf4 needs") as caught:
        load_causal_lm(outside(tmp_path / "llama"), weights="nf4")
    assert "base_weights" in str(caught.value)


def test_a_held_down_base_leaves_what_is_trained_in_fp32(tmp_path: Path) -> None:
    from tempering.artifacts.kinds import ModelArtifact

    source = outside(tmp_path / "llama")

    class Artifact(ModelArtifact):
        model_dir = source  # type: ignore[assignment]
        trusts_remote_code = False  # type: ignore[assignment]

    model = trainable_lm(Artifact(tmp_path, None), LoraConfig(rank=2, base_weights="bf16"), 0)  # type: ignore[arg-type]
    kinds = {parameter.requires_grad: parameter.dtype for parameter in model.parameters()}
    assert kinds == {True: torch.float32, False: torch.bfloat16}


@pytest.mark.parametrize(
    "target", [["q_proj", "lm_head"], ["embed_tokens"], ["lm_head", "embed_tokens"], ".*(v_proj|lm_head)"]
)
def test_an_adapter_on_tied_weights_is_refused_before_training(target: Any, tmp_path: Path) -> None:
    """Merged, it would change both layers."""
    model = load_causal_lm(outside(tmp_path / "tied", tie_word_embeddings=True))
    with pytest.raises(ConfigError, match=r"lm_head and model\.embed_tokens are one weight"):
        add_adapter(model, LoraConfig(rank=2, target_modules=target), seed=0)


def test_an_adapter_on_embeddings_of_their_own_merges(tmp_path: Path) -> None:
    model = load_causal_lm(outside(tmp_path / "untied", tie_word_embeddings=False))
    ids = torch.tensor([[5, 60, 7]])
    adapted = add_adapter(model, LoraConfig(rank=2, target_modules=["embed_tokens", "q_proj"]), seed=0)
    for name, weight in adapted.named_parameters():
        if "lora" in name:
            torch.nn.init.normal_(weight, std=0.3)
    before = adapted(ids).logits
    torch.testing.assert_close(adapted.merge_and_unload()(ids).logits, before)
