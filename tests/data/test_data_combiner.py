"""Builders in, one tokenised data set out."""

import pytest

from tempering.combiner import DatasetCombiner
from tempering.data.builders import TextConfig, WorldConfig
from tempering.data.sample.curriculum import CurriculumConfig
from tempering.errors import ConfigError, DataError


def world(rows, size=60, **settings):
    return WorldConfig(rows=rows, size=size, eval_fraction=0.2, **settings)


def test_prompts_from_texts_and_from_prompts(tokenizer, tmp_path):
    stories = tmp_path / "stories.txt"
    texts = [f"the dog saw the cat number {index} " * 3 for index in range(50)]
    stories.write_text("<|endoftext|>".join(texts))
    combiner = DatasetCombiner(
        [TextConfig(path=stories), world("corpus")],
        tokenizer,
        weights=[3, 1],
        row_type="prompt",
        prompt_format="plain",
        query_min_length=3,
        query_max_length=6,
    ).set_token_limit(120)
    rows = combiner.load()
    assert 120 <= sum(rows["num_tokens"]) == combiner.tokens < 126
    for row in rows:
        assert row["num_tokens"] == len(row["input_ids"]) in range(3, 7)
        assert row["query"] == tokenizer.decode(row["input_ids"])
    again = combiner.load()
    assert again.to_list() == rows.to_list()
    dogs = sum(row["num_tokens"] for row in rows if row["query"].startswith("the dog"))
    assert dogs == pytest.approx(90, abs=12)


def test_limits_of_each_source(tokenizer):
    combiner = DatasetCombiner([world("demonstrations"), world("demonstrations", seed=1)], tokenizer)
    combiner.set_token_limit(None, per_source=[200, None])
    sides = combiner.load()["num_tokens"]
    fewer = DatasetCombiner([world("demonstrations")], tokenizer, row_counts=[7]).load()
    assert len(fewer) == 7
    assert len(sides) > 48
    half = DatasetCombiner([world("demonstrations")], tokenizer, fractions=[0.5]).load()
    whole = DatasetCombiner([world("demonstrations")], tokenizer).load()
    assert len(half) == -(-len(whole) // 2)


def test_every_use_carries_its_decoded_prompt(tokenizer):
    pairs = DatasetCombiner([world("preferences")], tokenizer).load()
    assert pairs[0]["query"] == tokenizer.decode(pairs[0]["prompt_ids"])
    (answers,) = DatasetCombiner([world("demonstrations")], tokenizer, row_counts=[1]).load()
    start = answers["completion_mask"].index(True)
    assert answers["query"] == tokenizer.decode(answers["input_ids"][:start])
    (text,) = DatasetCombiner([world("corpus")], tokenizer, row_counts=[1]).load()
    assert text["query"] == tokenizer.decode(text["input_ids"])


def test_a_curriculum_holds_here_too(tokenizer):
    lengths = DatasetCombiner(
        [world("demonstrations")], tokenizer, curriculum=CurriculumConfig(by="length")
    ).load()["num_tokens"]
    assert list(lengths) == sorted(lengths)
    with pytest.raises(ConfigError, match="folder of a model"):
        DatasetCombiner(
            [world("corpus")], tokenizer, curriculum=CurriculumConfig(by="loss", model="sft")
        ).load()


def test_wrong_settings_are_said_before_anything_is_read(tokenizer):
    with pytest.raises(ConfigError, match="2 values of weight for 1 data sets"):
        DatasetCombiner([world("corpus")], tokenizer, weights=[1, 2])
    with pytest.raises(ConfigError, match="max_lenght"):
        DatasetCombiner([world("corpus")], tokenizer, max_lenght=3)
    with pytest.raises(ConfigError, match="token_limit"):
        DatasetCombiner([world("corpus")], tokenizer).set_token_limit(0)
    with pytest.raises(ConfigError, match="2 token limits for 1 data sets"):
        DatasetCombiner([world("corpus")], tokenizer).set_token_limit(10, [1, 2])
    with pytest.raises(ConfigError, match=r"sets quality\.decontaminate"):
        DatasetCombiner([world("corpus", quality={"decontaminate": ["test"]})], tokenizer)
    with pytest.raises(DataError, match="cannot be mixed"):
        DatasetCombiner([world("corpus"), world("preferences")], tokenizer).load()
