"""Loss and gradient of every step equal TRL's RLOOTrainer on the same completions; GRPO's advantages TRL's.

Two rollouts of injected completions, one and two updates each, with another reference than the policy.
"""

from pathlib import Path
from typing import Any

import pytest
import torch

from tempering.artifacts.tables import read_rows
from tempering.generation.rollout import Rollout, pad_left
from tempering.onpolicy.advantages import group_normalized
from tempering.onpolicy.config import RLOOConfig
from tempering.onpolicy.prompts import Prompts
from tests.onpolicy import small

RATE, K = 1e-4, 4
PROMPTS = [[5, 9, 11, 7], [8, 6]]
COMPLETIONS = [  # rollout -> prompt -> completions, some of which do not end
    [
        [[3, 4, 1], [7, 7, 7, 7, 2, 1], [12, 1], [9, 8, 7, 6, 5, 4]],
        [[1], [3, 3, 1], [30, 31, 32, 33, 34, 35], [4, 1]],
    ],
    [[[13, 1], [6, 5, 1], [2, 30, 2, 30, 1], [11, 1]], [[9, 9, 9, 9, 9, 9], [35, 1], [5, 6, 7, 1], [8, 1]]],
]


def score(text: str) -> float:
    words = [int(word) for word in text.split()]
    return sum(words) / 40 - 0.3 * len(words)


class Given:
    """Serves the injected completions, rollout after rollout, whoever asks."""

    exact, accelerator = False, None

    def __init__(self) -> None:
        self.rollout = 0

    def completions(self, prompts: list[list[int]]) -> list[list[int]]:
        siblings = {
            tuple(prompt): iter(texts)
            for prompt, texts in zip(PROMPTS, COMPLETIONS[self.rollout], strict=True)
        }
        self.rollout += 1
        return [next(siblings[tuple(prompt)]) for prompt in prompts]

    def update(self, model: Any) -> None:
        """Nothing."""

    def generate(self, prompts: list[list[int]], *_: Any) -> Rollout:
        completions = self.completions(prompts)
        ids, mask = pad_left(prompts, small.PAD)
        width = max(map(len, completions))
        tokens = torch.tensor([one + [small.PAD] * (width - len(one)) for one in completions])
        counts = torch.tensor([[place < len(one) for place in range(width)] for one in completions])
        ended = torch.tensor([one[-1] == small.EOS for one in completions])
        return Rollout(ids, mask, tokens, counts, torch.zeros(tokens.shape), ended)


def ours(folder: Path, beta: float, iterations: int) -> tuple[list[float], list[torch.Tensor]]:
    config = RLOOConfig(
        batch_size=2 * K, rollout_batch_size=2 * K, num_completions=K, num_epochs=len(COMPLETIONS),
        ppo_epochs=iterations, normalize_advantages=False, kl_coef=beta, missing_eos_penalty=0,
        learning_rate=RATE, lr_schedule="constant", warmup_fraction=0, weight_decay=0, adam_beta2=0.999,
        max_grad_norm=0, max_new_tokens=6, max_sampler_gap=1e9,
    )  # fmt: skip
    rows = [{"input_ids": ids, "query": "", "prompt": []} for ids in PROMPTS]
    made = small.trainer(folder, config, rewarding, prompts=Prompts(rows, seed=0))
    made.maker.engine = Given()
    policy, gradients = made.actor_critic.policy, []
    made.add_callback(small.AtEachStep(lambda: gradients.append(small.gradient(policy))))
    made.train_or_resume()
    return [row["loss"] for row in read_rows(folder / "metadata" / "training_stats.parquet")], gradients


def rewarding(prompts: list[Any], completions: list[str], **_: Any) -> Any:
    from tempering.rewards.scoring import Scored

    scores = [score(text) for text in completions]
    return Scored(scores, {"score": scores}, {})


def _word(token: int) -> str:
    return f"{token:02d}"


def theirs(folder: Path, beta: float, iterations: int) -> tuple[list[float], list[torch.Tensor]]:
    from datasets import Dataset
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast
    from trl import RLOOConfig, RLOOTrainer

    words = Tokenizer(models.WordLevel({_word(index): index for index in range(small.VOCABULARY)}, "02"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, eos_token="01", pad_token="00")
    small.policy().save_pretrained(folder / "policy")
    given = Given()

    class Injected(RLOOTrainer):  # type: ignore[misc]
        def _generate_single_turn(self, prompt_ids: Any, *_: Any) -> Any:
            return given.completions(prompt_ids)

    arguments = RLOOConfig(
        output_dir=str(folder), per_device_train_batch_size=2 * K, num_generations=K, beta=beta,
        num_iterations=iterations, max_steps=iterations * len(COMPLETIONS), learning_rate=RATE,
        lr_scheduler_type="constant", weight_decay=0, max_grad_norm=0, max_completion_length=6,
        logging_steps=1, save_strategy="no", bf16=False, gradient_checkpointing=False, use_cpu=True,
        report_to=[], disable_tqdm=True,
    )  # fmt: skip
    made = Injected(
        str(folder / "policy"),
        lambda completions, **_: [score(text) for text in completions],
        args=arguments,
        train_dataset=Dataset.from_list([{"prompt": " ".join(map(_word, ids))} for ids in PROMPTS]),
        processing_class=tokenizer,
    )
    if beta:
        made.ref_model.load_state_dict(small.policy(5).state_dict())
    gradients: list[torch.Tensor] = []
    made.add_callback(small.AtEachStep(lambda: gradients.append(small.gradient(made.model))))
    made.train()
    return [row["loss"] for row in made.state.log_history if "loss" in row], gradients


@pytest.mark.slow
@pytest.mark.parametrize("iterations", [1, 2])
@pytest.mark.parametrize("beta", [0.0, 0.05])
def test_rloo_equals_trl(tmp_path: Path, beta: float, iterations: int) -> None:
    losses, gradients = ours(tmp_path / "ours", beta, iterations)
    their_losses, their_gradients = theirs(tmp_path / "theirs", beta, iterations)
    assert len(losses) == len(their_losses) == 2 * iterations
    assert losses == pytest.approx(their_losses, abs=1e-5)
    for ours_, theirs_ in zip(gradients, their_gradients, strict=True):
        assert ours_.abs().max() > 0.01
        torch.testing.assert_close(ours_, theirs_, atol=1e-5, rtol=1e-5)


def test_grpo_advantages_are_trls() -> None:
    """The lines of `GRPOTrainer._generate_and_score_completions` for `scale_rewards="group"`."""
    from trl.trainer.utils import nanstd

    scores = torch.tensor([[1.0, 2, 3, 6], [0.5, 0.5, 0.5, 0.5], [1.0, torch.nan, 4, 2]])
    mean = torch.nanmean(scores, dim=1, keepdim=True)
    wanted = (scores - mean) / (nanstd(scores, dim=1)[:, None] + 1e-4)
    torch.testing.assert_close(group_normalized(scores), wanted.nan_to_num(0.0))
