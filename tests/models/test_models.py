"""Loading and saving: nothing changes on the way, nothing fits by accident."""

from pathlib import Path
from typing import Any

import pytest
import torch

from tempering.errors import ArtifactError
from tests.conftest import tiny_nodes

pytestmark = pytest.mark.slow
IDS = torch.tensor([[5, 6, 7, 8]])


def test_value_model_survives_save_and_load(tiny: Any, tmp_path: Path) -> None:
    from tempering.onpolicy.value import ValueModel

    model = ValueModel.from_folder(tiny("sft").model_dir)
    arguments = (IDS, torch.ones_like(IDS))
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
        ppo.stage(
            fresh_draft(tmp_path / "b"),
            ppo.config,
            model=tiny("reward_model"),
            sample=tiny("sample[prompts]"),
            reward_models={"model": tiny("reward_model")},
        )
