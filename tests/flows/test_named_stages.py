"""A pipeline is named stages, each of a kind: the graph follows names, the fingerprint the kind alone."""

import copy
from pathlib import Path
from typing import Any

import pytest

from flows.build import build_graph
from flows.config import PipelineConfig, load_pipeline
from flows.plan import check, plan, select
from tempering.artifacts.store import Store
from tempering.errors import ConfigError, UserError
from tests.tiny import PIPELINE

QUICK = Path(__file__).parents[2] / "configs" / "quickstart.yaml"
MORE: dict[str, Any] = {
    "sft_short": {"kind": "sft", "max_steps": 2},
    "grpo": {"kind": "rloo", "estimator": "grpo", "model": "sft_short", "sample": "prompts"},
    "dpo_again": {"kind": "dpo", "model": "dpo", "reference": "sft"},
    "scorer": {"kind": "reward_model", "model": "sft_short"},
}


def nodes_of(**sections: Any) -> dict[str, Any]:
    tree = copy.deepcopy(PIPELINE) | sections
    return {node.name: node for node in build_graph(PipelineConfig.model_validate(tree))}


def fingerprints(nodes: dict[str, Any], tmp_path: Path) -> dict[str, str]:
    return {row.stage: row.fingerprint for row in plan(list(nodes.values()), Store(tmp_path / "store"))}


def mistake(*overrides: str) -> str:
    with pytest.raises(ConfigError) as caught:
        check(build_graph(load_pipeline(QUICK, overrides)))
    assert len(str(caught.value)) < 500
    return str(caught.value)


def test_inputs_follow_names() -> None:
    nodes = nodes_of(**MORE)
    assert nodes["grpo"].stage.name == "rloo"
    assert nodes["grpo"].inputs["model"] == "sft_short"
    assert nodes["grpo"].inputs["reward_models"] == {"model": "reward_model"}
    assert nodes["dpo_again"].inputs["model"] == "dpo"
    assert nodes["dpo_again"].inputs["reference"] == "sft"
    assert {"evaluate[grpo]", "evaluate[dpo_again]", "evaluate[scorer]"} <= nodes.keys()
    report = nodes["report"].inputs
    order = list(report["models"])
    assert set(order) == {*MORE, "pretrain", "sft", "reward_model", "dpo", "ppo", "rloo"}
    assert list(report["evaluations"]) == order
    assert all(
        order.index(first) < order.index(then)
        for first, then in [("sft_short", "grpo"), ("dpo", "dpo_again")]
    )


def test_a_scorer_of_any_name_is_measured_as_one() -> None:
    nodes = nodes_of(**MORE)
    assert list(nodes["evaluate[scorer]"].config.benchmarks) == ["preferences"]
    assert "preferences" not in nodes["evaluate[grpo]"].config.benchmarks


def test_an_adapter_of_any_name_is_merged() -> None:
    adapted = {**MORE["sft_short"], "adapter": {"rank": 2}}
    nodes = nodes_of(**{**MORE, "sft_short": adapted})
    assert nodes["grpo"].inputs["model"] == "merge[sft_short]"
    assert nodes["evaluate[sft_short]"].inputs["model"] == "merge[sft_short]"


def test_the_kind_is_hashed_and_the_name_is_not(tmp_path: Path) -> None:
    plain = fingerprints(nodes_of(), tmp_path)
    twin = {"kind": "rloo", **PIPELINE["rloo"]}
    named = fingerprints(nodes_of(rloo=None, other=twin, **MORE), tmp_path)
    assert named["other"] == plain["rloo"]
    assert named["evaluate[other]"] == plain["evaluate[rloo]"]  # an evaluation belongs to its model
    assert named["grpo"] != plain["rloo"]
    assert {name: named[name] for name in ("sft", "dpo", "ppo", "evaluate[sft]")} == {
        name: plain[name] for name in ("sft", "dpo", "ppo", "evaluate[sft]")
    }
    said = fingerprints(nodes_of(dpo={"kind": "dpo", **PIPELINE["dpo"]}), tmp_path)
    assert said == plain


def test_the_resolved_config_is_a_config(tmp_path: Path) -> None:
    config = PipelineConfig.model_validate(copy.deepcopy(PIPELINE) | MORE)
    assert PipelineConfig.model_validate(config.model_dump(mode="json")) == config


def test_a_name_selects_its_stage_and_a_kind_all_of_its_stages() -> None:
    nodes = list(nodes_of(**MORE).values())
    assert select(nodes, "rloo") == {"rloo"}
    assert select(nodes, "grpo") == {"grpo"}
    assert select(list(nodes_of(rloo=None, **MORE).values()), "rloo") == {"grpo"}
    assert {"evaluate[grpo]", "evaluate[sft]"} <= select(nodes, "evaluate")
    with pytest.raises(UserError, match="grpo"):
        select(nodes, "gropo")


def test_an_override_replaces_a_mapping() -> None:
    config = load_pipeline(QUICK, ["samples.sft.datasets={preferences: 1}", "rloo={estimator: grpo}"])
    assert list(config.samples["sft"].datasets) == ["preferences"]
    rloo: Any = config.stages["rloo"]
    assert rloo.token_limit is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sft: {learning_rate: 1e-3, learning_rate: 9e-1}", "learning_rate is set twice"),
        ("foo: {kind: sft}\nfoo: {kind: dpo}", "foo is set twice"),
        ("1: {kind: sft}", "a section's name is a string"),
        ("extends: 3", "extends is 3"),
    ],
)
def test_mistakes_in_a_file(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text if "extends" in text else f"extends: {QUICK}\n{text}\n")
    with pytest.raises(ConfigError, match=message):
        load_pipeline(path)


def test_a_string_is_merged_as_the_mapping_it_stands_for(tmp_path: Path) -> None:
    base, over = tmp_path / "base.yaml", tmp_path / "over.yaml"
    base.write_text(f"extends: {QUICK}\nrloo: {{estimator: grpo}}\n")
    over.write_text("extends: base.yaml\nrloo: {estimator: {clip_range: 0.1}}\n")
    rloo: Any = load_pipeline(over).stages["rloo"]
    assert (rloo.estimator.kind, rloo.estimator.clip_range, rloo.kl_in) == ("grpo", 0.1, "loss")


def test_a_folder_that_is_called_like_a_stage(tmp_path: Path) -> None:
    (tmp_path / "sft").mkdir()
    assert "two models would both be called sft" in mistake(f"evaluate.models=[sft, {tmp_path / 'sft'}]")


def test_what_one_override_adds_another_takes_away() -> None:
    assert "more" not in load_pipeline(QUICK, ["more={kind: sft}", "more=null"]).stages


def test_what_extends_a_pipeline_can_add_change_and_drop_stages(tmp_path: Path) -> None:
    base = tmp_path / "base.yaml"
    base.write_text(f"extends: {QUICK}\ngrpo: {{kind: rloo, estimator: grpo, learning_rate: 1e-5}}\n")
    over = tmp_path / "over.yaml"
    over.write_text(
        "extends: base.yaml\ngrpo: {learning_rate: 2e-5}\nrloo: {kind: rloo, max_steps: 3}\ndpo: null\n"
    )
    config = load_pipeline(over)
    grpo: Any = config.stages["grpo"]
    assert (grpo.estimator.kind, grpo.learning_rate) == ("grpo", 2e-5)
    rloo: Any = config.stages["rloo"]
    assert (rloo.max_steps, rloo.learning_rate) == (3, load_pipeline(QUICK).stages["rloo"].learning_rate)  # type: ignore[attr-defined]
    assert "dpo" not in config.stages
    assert "grpo" not in load_pipeline(over, ["grpo=null"]).stages


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["rlooo.learning_rate=1"], "rlooo: unknown key; did you mean 'rloo'?"),
        (["mine.learning_rate=1"], "mine: unknown key; a stage says `kind:`, one of"),
        (["mine=null"], "mine: unknown key"),
        (["mine.kind=rlo"], "there is no kind of stage 'rlo'; did you mean 'rloo'?"),
        (["mine.kind=evaluate"], "there is no kind of stage 'evaluate'"),
        (["samples.kind=rloo"], "samples: this section is not a stage"),
        (["rloo.kind=ppo"], "rloo is a kind of stage, but this stage is of kind ppo"),
        (["dataset.kind=ppo"], "dataset is a kind of stage"),
        (["a b.kind=ppo"], "a stage's name has up to 64 letters"),
        (["ppo=3"], "ppo: found 3; expected the settings of a stage"),
        (["g.kind=rloo", "g.estimtor=grpo"], "g.estimtor: unknown key; did you mean 'estimator'?"),
        (["g.kind=rloo", "models.g=some/folder"], "g is the name of a stage"),
        (["g.kind=dpo", "g.model=h", "h.kind=dpo", "h.model=g"], "circle: g -> h -> g"),
        (
            ["samples.sft.curriculum.by=loss", "samples.sft.curriculum.model=sft"],
            "circle: sft -> sample[sft] -> sft",
        ),
        (["g.kind=dpo", "g.model=sfft"], "g.model: 'sfft' is not a stage"),
        (["g.kind=dpo", "g.model=sfft"], "did you mean 'sft'?"),
        (["g.kind=dpo", "g.reference=dppo"], "g.reference: 'dppo' is not a stage"),
        (["g.kind=dpo", "g.reference=reward_model"], "'reward_model' does not make a language model"),
        (["ppo.reward.kind=model", "ppo.reward.model=sft"], "'sft' does not make a reward model"),
        (["evaluate.benchmarks.stories.judge=sft"], "stories.judge: the stage 'sft' does not make a reward"),
        (["runs.kind=sft"], "runs: the store keeps its records of runs under this name"),
        (["evaluate-sft.kind=sft"], "artifacts of evaluate[...] lie under such names"),
        (
            ["evaluate.reward_model=sft"],
            "reward_model: the stage 'sft' does not make a reward model",
        ),
        (["evaluate.baseline=reward_model"], "'reward_model' does not make a language model"),
        (["sft.kind=false"], "there is no kind of stage 'False'"),
        (["g.kind=sft", "g.hub_repo=nonsense"], "g.hub_repo: found 'nonsense'"),
        (["sft.hub_repo=a/b", "dpo.hub_repo=a/b"], "is pushed to a/b as well"),
        (["g.kind=rloo", "g.estimator=gpro"], "there is no kind 'gpro'; did you mean 'grpo'?"),
        ([f"{'g' * 65}.kind=rloo"], "up to 64 letters"),
        (["samples.kind=[rloo]"], "samples.kind"),
        (["a__b.kind=sft", "a_b.kind=dpo"], "artifacts of a__b and a_b would lie in one folder, a_b"),
        (["tokenizer=null"], "tokenizer: it is not set"),
    ],
)
def test_mistakes(overrides: list[str], message: str) -> None:
    assert message in mistake(*overrides)
