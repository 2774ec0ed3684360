"""`compile`: the same training, by compiled layers."""

import shutil
import sysconfig
from typing import Any

import pytest
import torch

from tempering.errors import ConfigError
from tempering.models import compiling
from tempering.models.compiling import check_compiler, compile_layers, uncompiled
from tempering.models.loading import new_model
from tests.models.test_architecture import Vocabulary, architecture
from tests.training.test_settings import losses


@pytest.fixture
def traced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Layers are traced as for compiling, and run as they are: compiling takes half a minute each time."""
    torch._dynamo.reset()
    monkeypatch.setattr(compiling, "BACKEND", "eager")


def compiled_frames() -> int:
    from torch._dynamo.utils import counters

    return int(counters["frames"]["ok"])


@pytest.mark.slow
@pytest.mark.usefixtures("traced")
@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("pretrain", {}),
        ("sft", {}),
        ("reward_model", {}),
        ("dpo", {"adapter": {"rank": 2}}),
        ("ppo", {"adapter": {"rank": 2}, "micro_batch_size": 4, "gradient_checkpointing": True}),
        ("rloo", {"engine": {"kind": "transformers"}}),
    ],
)
def test_every_trainer_computes_the_same(name: str, changes: Any, tiny: Any, tmp_path: Any) -> None:
    plain = losses(tiny, tmp_path / "plain", name, **changes)
    before = compiled_frames()
    found = losses(tiny, tmp_path / "compiled", name, compile=True, **changes)
    assert compiled_frames() > before, "layers have been compiled"
    assert found == pytest.approx(plain, abs=2e-5)


FAMILIES = {kind: {"model_type": kind} for kind in ("llama", "gpt2", "qwen2")}
FAMILIES |= {kind: {"kind": kind} for kind in ("lstm", "kgram")}


@pytest.mark.usefixtures("traced")
@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_has_layers_that_compile(family: str) -> None:
    computes_the_same(new_model(architecture(**FAMILIES[family]), Vocabulary(60), 0))  # type: ignore[arg-type]


@pytest.mark.slow
@pytest.mark.parametrize("dropout", [0.0, 0.1])
def test_code_from_the_compiler_computes_the_same(dropout: float) -> None:
    torch._dynamo.reset()
    shape = {"n_layer": 1, "resid_pdrop": dropout, "attn_pdrop": dropout}
    model = new_model(architecture(model_type="gpt2", overrides=shape), Vocabulary(60), 0)  # type: ignore[arg-type]
    computes_the_same(model.train())


def test_layers_are_found_wherever_they_stand() -> None:
    def linear() -> torch.nn.Linear:
        return torch.nn.Linear(2, 2)

    flat = torch.nn.ModuleList([linear(), linear()])
    nested = torch.nn.ModuleList([torch.nn.ModuleList([linear(), linear()])])
    expert = linear()
    expert.add_module("parts", torch.nn.ModuleList([linear()]))
    experts = torch.nn.ModuleList([expert])
    for model, wanted in ((flat, list(flat)), (nested, list(nested[0])), (experts, [expert])):  # type: ignore[call-overload]
        assert list(compiling._layers(torch.nn.Sequential(model))) == wanted
    alone = linear()
    assert list(compiling._layers(alone)) == [alone]


def computes_the_same(model: Any) -> None:
    """Loss and gradients; names stay, and what is called `uncompiled` compiles nothing."""
    ids = torch.randint(1, 50, (3, 9), generator=torch.Generator().manual_seed(0))
    torch.manual_seed(0)  # of dropout
    plain = model(input_ids=ids, labels=ids)
    plain.loss.backward()
    wanted = [parameter.grad.clone() for parameter in model.parameters()]
    model.zero_grad()
    compile_layers(model)
    names, before = list(model.state_dict()), compiled_frames()
    torch.manual_seed(0)
    found = model(input_ids=ids, labels=ids)
    found.loss.backward()
    assert (between := compiled_frames()) > before
    torch.testing.assert_close(found.loss, plain.loss, atol=1e-5, rtol=1e-5)
    for parameter, gradient in zip(model.parameters(), wanted, strict=True):
        torch.testing.assert_close(parameter.grad, gradient, atol=1e-5, rtol=1e-4)
    assert list(model.state_dict()) == names, "checkpoints keep their names"
    with uncompiled(model), torch.no_grad():
        model(input_ids=ids[:, :4])
    assert compiled_frames() == between


def test_without_a_compiler_it_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda program: f"/bin/{program}")
    check_compiler("cpu")
    with monkeypatch.context() as without:
        without.setattr(sysconfig, "get_path", lambda name: "/nowhere")
        with pytest.raises(ConfigError, match=r"compile: true, and /nowhere/Python\.h is missing"):
            check_compiler("cpu")
    monkeypatch.setattr(shutil, "which", lambda program: None)
    check_compiler("cuda")
    with pytest.raises(ConfigError, match=r"compile: true, and (g|clang)\+\+ is missing"):
        check_compiler("cpu")
