"""Curricula and decontamination through a pipeline: what feeds what, and what trainers make of it."""

import pytest

from tempering.data.shards import iter_rows
from tempering.errors import ArtifactError, ConfigError
from tests.tiny import run_nodes


def changed(nodes, **more):
    return nodes({"samples.sft.curriculum": more})


def difficulty(sample):
    return sample.read("curriculum")["difficulty"].tolist()


def test_easy_rows_first_by_length(tiny, tiny_store, nodes):
    sample = run_nodes(tiny_store, changed(nodes, by="length"), "sample[sft]")
    lengths = [row["num_tokens"] for row in iter_rows(sample.rows_path())]
    assert lengths == sorted(lengths) == difficulty(sample)
    plain = tiny("sample[sft]")
    assert sorted(lengths) == sorted(row["num_tokens"] for row in iter_rows(plain.rows_path()))
    assert (sample.details["ordered"], plain.details["ordered"]) == (True, False)


def test_easy_rows_first_by_the_loss_of_a_model(tiny_store, nodes):
    graph = changed(nodes, by="loss", model="pretrain", stages=4)
    node = next(node for node in graph if node.name == "sample[sft]")
    assert node.inputs["model"] == "pretrain"
    sample = run_nodes(tiny_store, graph, "sample[sft]")
    found = difficulty(sample)
    quarter = len(found) // 4
    assert max(found[:quarter]) <= min(found[-quarter:])
    assert found != sorted(found)


def test_a_column_of_the_data_set_orders_it(tiny_store, nodes):
    sample = run_nodes(tiny_store, changed(nodes, by="column", column="gold", descending=True), "sample[sft]")
    assert difficulty(sample) == sorted(difficulty(sample), reverse=True)


def test_a_curriculum_by_loss_needs_a_model_of_the_same_tokenizer(tiny, tiny_store, nodes):
    graph = nodes(
        {
            "samples.sft.curriculum": {"by": "loss", "model": tiny("pretrain").id},
            "tokenizer.vocab_size": 380,
        }
    )
    node = next(node for node in graph if node.name == "sample[sft]")
    inputs = {
        "tokenizer": run_nodes(tiny_store, graph, "tokenizer"),
        "datasets": {"demonstrations": tiny("dataset[demonstrations]")},
        "model": tiny("pretrain"),
    }
    with pytest.raises(ArtifactError, match="different tokenizers"):
        node.stage(None, node.config, **inputs)


def test_a_model_cannot_order_its_own_sample(nodes):
    with pytest.raises(ConfigError, match="circle"):
        changed(nodes, by="loss", model="sft")


def test_train_rows_lose_what_the_evaluation_holds(tiny, tiny_store, nodes):
    graph = nodes({"datasets.demonstrations.quality": {"decontaminate": ["corpus"], "ngram": 8}})
    node = next(node for node in graph if node.name == "dataset[demonstrations]")
    assert node.inputs == {"against": {"corpus": "dataset[corpus]"}}
    made = run_nodes(tiny_store, graph, "dataset[demonstrations]")
    removed = made.read("quality").to_dict("records")[0]
    assert removed["filter"] == "decontamination"
    before, after = (len(one.rows("train")) for one in (tiny("dataset[demonstrations]"), made))
    assert before - after == removed["removed"] > 0
    assert len(made.rows("eval")) == len(tiny("dataset[demonstrations]").rows("eval"))


def test_data_sets_cannot_be_cleaned_of_each_other(nodes):
    with pytest.raises(ConfigError, match="circle"):
        nodes({"datasets.corpus.quality": {"decontaminate": ["corpus"]}})
    with pytest.raises(ConfigError, match="no data set 'tests'"):
        nodes({"datasets.corpus.quality": {"decontaminate": ["tests"]}})


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["sft", "rloo"])
def test_trainers_keep_the_order_of_a_curriculum(tiny_store, nodes, stage):
    sample = {"sft": "sft", "rloo": "prompts"}[stage]
    graph = nodes({f"samples.{sample}.curriculum": {"by": "length"}})
    trained = run_nodes(tiny_store, graph, stage)
    if stage == "rloo":
        prompts = trained.read("generated_outputs")["prompt"].tolist()
        asked = list(dict.fromkeys(prompts))[:4]
        ordered = run_nodes(tiny_store, graph, "sample[prompts]")
        queries = [row["query"] for row in iter_rows(ordered.rows_path())]
        assert asked == list(dict.fromkeys(queries))[:4]
    else:
        tokens = trained.read("training_stats")["tokens"].tolist()
        steps = [after - before for before, after in zip([0, *tokens], tokens, strict=False)]
        assert steps[:-1] == sorted(steps[:-1])
        assert steps[0] < steps[-2]
