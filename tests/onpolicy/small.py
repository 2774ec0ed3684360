"""A tiny policy, prompts and trainer, made in memory: no artifacts, no files but the draft's."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback

from tempering.generation.decoder import Decoder
from tempering.onpolicy.algorithm import RolloutMaker
from tempering.onpolicy.config import OnPolicyConfig
from tempering.onpolicy.prompts import Prompts
from tempering.onpolicy.trainer import OnPolicyTrainer
from tempering.onpolicy.value import ValueHead, ValueModel
from tempering.rewards.scoring import Scored
from tests.tiny import fresh_draft

VOCABULARY, EOS, PAD = 40, 1, 0
ENDS = [EOS, *range(20, 27)]  # so many that completions are of uneven length


def policy(seed: int = 3) -> Any:
    """A Llama of 20,000 parameters; its weights are the seed's."""
    from transformers import LlamaConfig, LlamaForCausalLM, set_seed

    set_seed(seed)
    config = LlamaConfig(
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        vocab_size=VOCABULARY,
        max_position_embeddings=64,
        tie_word_embeddings=False,
        initializer_range=0.3,
        pad_token_id=PAD,
        eos_token_id=EOS,
        bos_token_id=None,
    )
    return LlamaForCausalLM(config)


class Words:
    """A tokenizer whose words are numbers."""

    pad_token_id, eos_token_id = PAD, EOS

    def batch_decode(self, rows: list[list[int]], **_: Any) -> list[str]:
        return [" ".join(str(word) for word in row if word not in (PAD, EOS)) for row in rows]

    def save_pretrained(self, folder: Any) -> None:
        Path(folder, "words.txt").write_text("numbers")


def prompts(count: int = 12) -> Prompts:
    """Of 2 to 6 tokens."""
    rows = []
    for index in range(count):
        ids = [2 + (7 * index + place) % 17 for place in range(2 + index % 5)]
        query = " ".join(map(str, ids))
        rows.append({"input_ids": ids, "query": query, "prompt": [{"role": "user", "content": query}]})
    return Prompts(rows, seed=0)


def likes_small_numbers(prompts: list[Any], completions: list[str], **_: Any) -> Scored:
    """A score in [0, 1]: the share of tokens below 20."""
    shares = []
    for text in completions:
        words = text.split()
        shares.append(sum(int(word) < 20 for word in words) / max(1, len(words)))
    return Scored(shares, {"small": shares}, {})


def gradient(model: Any) -> torch.Tensor:
    """All gradients of a model as one vector."""
    return torch.cat([one.grad.flatten() for one in model.parameters()]).clone()


class AtEachStep(TrainerCallback):  # type: ignore[misc]
    """Calls a function when the gradients of an optimizer step are complete."""

    def __init__(self, function: Callable[[], None]) -> None:
        self.function = function

    def on_pre_optimizer_step(self, *_: Any, **__: Any) -> None:
        self.function()


def trainer(
    folder: Path, config: OnPolicyConfig, reward: Callable[..., Scored] = likes_small_numbers, **changes: Any
) -> OnPolicyTrainer:
    """Ready to train; `changes` replace what it is made of."""
    made = changes.pop("policy", None) or policy()
    value: Any = None
    settings = config.estimator.value_model
    if settings is not None:
        value = ValueHead(32) if settings.value_trunk == "shared" else ValueModel(policy(4).model, 32)
    out = fresh_draft(folder)
    parts: dict[str, Any] = {
        "prompts": prompts(),
        "engine": Decoder(made, ENDS, PAD),
        "reward": reward,
        "tokenizer": Words(),
        "reference": policy(5),
        "seed": out.seed,
    }
    maker = RolloutMaker(config, **{**parts, **changes})
    return OnPolicyTrainer(policy=made, value=value, maker=maker, tokenizer=Words(), config=config, out=out)
