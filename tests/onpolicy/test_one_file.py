"""examples/rloo_in_one_file.py: its gradient is the trainer's, and as a script it learns."""

from pathlib import Path
from typing import Any

import pytest
import torch

from examples import rloo_in_one_file as one_file
from tempering.onpolicy.config import RLOOConfig
from tests.onpolicy import small


@pytest.mark.parametrize("micro_batch_size", [8, 2])
def test_its_gradient_is_the_trainers(tmp_path: Path, micro_batch_size: int) -> None:
    config = RLOOConfig(
        batch_size=8,
        rollout_batch_size=8,
        micro_batch_size=micro_batch_size,
        num_completions=4,
        max_steps=1,
        max_new_tokens=8,
        normalize_advantages=False,
        missing_eos_penalty=0,
        kl_coef=0.3,
        max_grad_norm=0,
    )
    trainer = small.trainer(tmp_path, config)
    rollouts: list[Any] = []
    gradients: list[torch.Tensor] = []
    # the trainer's only optimizer step, and the rollout that it is made from
    experience, policy = trainer.maker.experience, trainer.actor_critic.policy

    def keeping(compared: Any) -> Any:
        rollouts.append(experience(compared))
        return rollouts[-1]

    trainer.maker.experience = keeping  # type: ignore[method-assign]
    trainer.add_callback(small.AtEachStep(lambda: gradients.append(small.gradient(policy))))
    trainer.train_or_resume()
    # the same completions and scores by hand; policy and reference are other models
    (made,), policy, reference = rollouts, small.policy(), small.policy(5)
    rollout = one_file.Rollout(made.input_ids, made.attention_mask, made.completion_mask)
    with torch.no_grad():
        ref_logprobs = one_file.logprobs_of(reference, rollout)
    loss, kl = one_file.rloo_loss(policy, ref_logprobs, rollout, made.scores, siblings=4, kl_coef=0.3)
    loss.backward()
    assert made.lengths.unique().numel() > 2, "completions must be of uneven length"
    assert kl.abs().max() > 1
    assert gradients[0].abs().max() > 0.01
    torch.testing.assert_close(gradients[0], small.gradient(policy), atol=1e-6, rtol=1e-4)


def test_it_learns_as_it_says(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(one_file, "ROLLOUTS", 30)
    one_file.main()
    scores = [float(line.split()[3]) for line in capsys.readouterr().out.splitlines()]
    assert len(scores) == 4
    assert scores[0] < 0.6
    assert scores[-1] > 0.8
