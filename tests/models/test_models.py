"""Loading, saving, heads and adapters: nothing changes on the way, nothing fits by accident."""

from pathlib import Path
from typing import Any

import pytest
import torch

from tempering.errors import ArtifactError, ConfigError
from tempering.model_config import LoraConfig, MergeConfig
from tests.conftest import tiny_nodes
from tests.tiny import run_nodes

pytestmark = pytest.mark.slow
IDS = torch.tensor([[5, 6, 7, 8]])


def test_value_model_survives_save_and_load(tiny: Any, tmp_path: Path) -> None:
    from tempering.onpolicy.value import ValueModel

    model = ValueModel.from_folder(tiny("sft").model_dir)
    arguments = (IDS, torch.ones_like(IDS), torch.arange(4)[None])
    assert model(*arguments).abs().max() == 0, "the head starts at zero"
    torch.nn.init.normal_(model.head.weight)
    model.save(tmp_path)
    torch.testing.assert_close(ValueModel.from_folder(tmp_path)(*arguments), model(*arguments))


def test_weights_that_do_not_fit_are_refused(tiny: Any, tmp_path: Path) -> None:
    import shutil

    from safetensors.torch import load_file, save_file

    from tempering.models.loading import load_causal_lm

    folder = tmp_path / "model"
    shutil.copytree(tiny("sft").model_dir, folder)
    weights = load_file(folder / "model.safetensors")
    weights.pop(next(name for name in weights if "mlp" in name))
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ArtifactError, match="missing"):
        load_causal_lm(folder)


@pytest.fixture(scope="module")
def adapted(tiny_store: Any, tiny: Any) -> Any:
    """Artifacts of the tiny pipeline with LoRA in SFT, DPO and the reward model."""
    lora = {"kind": "lora", "rank": 4}
    nodes = tiny_nodes({f"{name}.adapter": lora for name in ("sft", "dpo", "reward_model")})
    made: dict[str, Any] = {}
    return lambda name: run_nodes(tiny_store, nodes, name, made)


def test_merging_changes_no_logits(adapted: Any) -> None:
    merged = adapted("merge[sft]")
    differences = merged.read("merge")["difference"]
    assert len(differences) == MergeConfig().rows
    assert 0 < differences.max() < 1e-4
    assert not (merged.model_dir / "adapter_config.json").exists()
    assert (adapted("sft").model_dir / "adapter_config.json").exists()


def test_an_adapter_on_an_adapter_trains_on_the_merged_model(adapted: Any) -> None:
    dpo = adapted("dpo")
    assert dpo.manifest.inputs["model"].id == adapted("merge[sft]").id
    losses = dpo.read("training_stats")["loss"]
    assert losses.iloc[0] == pytest.approx(0.6931, abs=1e-3), "the reference is the model it starts from"
    assert losses.min() > 0
    assert adapted("merge[dpo]").manifest.inputs["base"].id == adapted("merge[sft]").id


def test_the_reward_models_head_is_trained_saved_and_merged(adapted: Any) -> None:
    from tempering.models.loading import load_scorer

    assert adapted("merge[reward_model]").read("merge")["difference"].max() < 1e-4
    head = load_scorer(adapted("merge[reward_model]").model_dir).score.weight
    fresh = load_scorer(adapted("merge[sft]").model_dir, new_head=True, seed=0).score.weight
    assert (head - fresh).abs().max() > 0


def test_a_merge_into_the_wrong_base_is_refused(adapted: Any, tiny: Any) -> None:
    from tempering.models.adapters import merge_adapter

    with pytest.raises(ArtifactError, match="was trained on"):
        merge_adapter(
            tiny("dpo"), adapted("sft"), "causal_lm", tiny("sample[sft]").rows_path("train"), MergeConfig()
        )


def test_targets_that_match_nothing_are_refused(tiny: Any) -> None:
    from tempering.models.adapters import add_adapter
    from tempering.models.loading import load_causal_lm

    with pytest.raises(ConfigError, match="q_proj"):
        add_adapter(load_causal_lm(tiny("sft").model_dir), LoraConfig(target_modules=["nonsense"]), 0)


def test_stages_refuse_the_wrong_inputs(tiny: Any, tmp_path: Path) -> None:
    from tempering.errors import DataError, UserError
    from tests.tiny import fresh_draft

    nodes = {node.name: node for node in tiny_nodes({})}
    sft, ppo = nodes["sft"], nodes["ppo"]
    with pytest.raises(DataError, match="preference rows"):
        sft.stage(
            fresh_draft(tmp_path / "a"),
            sft.config,
            model=tiny("pretrain"),
            sample=tiny("sample[preferences]"),
        )
    with pytest.raises(UserError, match="is a reward model"):
        ppo.stage(fresh_draft(tmp_path / "b"), ppo.config, model=tiny("reward_model"),
                  sample=tiny("sample[prompts]"), reward_model=tiny("reward_model"))  # fmt: skip
