"""TRL 1.12's PPOTrainer, the last that there was: `epochs` updates a rollout, a reward and a value model.

Runs in an environment of its own (see benchmarks/onpolicy_speed.py), without Tempering. Everything is off
that costs time and that ours does not do; the whole rollout is decoded and compared as one batch. A second
argument is the size of micro-batches; without it there is no accumulation.
"""

from typing import Any

import trl
from datasets import Dataset
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
)
from trl.experimental.ppo import PPOConfig, PPOTrainer, ppo_trainer

from benchmarks.peers.measure import Clock, Job, Memory, given_job, micro_batch, processes, report
from benchmarks.peers.step_clock import StepClock


def main() -> None:
    """Train and report."""
    job, clock = given_job(), Clock()
    memory = Memory(job.memory)
    tokenizer = AutoTokenizer.from_pretrained(job.model, padding_side="left")
    prompts = Dataset.from_list([{"input_ids": row["input_ids"]} for row in job.prompts])
    trainer = PPOTrainer(
        args=arguments(job),
        processing_class=tokenizer,
        model=AutoModelForCausalLM.from_pretrained(job.model, dtype="float32"),
        ref_model=AutoModelForCausalLM.from_pretrained(job.model, dtype="float32"),
        reward_model=scorer(job),
        value_model=scorer(job),
        train_dataset=prompts,
        eval_dataset=prompts.select(range(job.batch)),
        callbacks=[StepClock(clock)],
    )
    clock.wrap(ppo_trainer, "batch_generation", "decode")
    clock.wrap(ppo_trainer, "get_reward", "score and values", without_gradients=True)
    clock.wrap(ppo_trainer, "forward", "compare", without_gradients=True)
    _note_lengths(clock, tokenizer.eos_token_id)
    trainer.train()
    report(job, clock, memory, version=trl.__version__)


def arguments(job: Job) -> PPOConfig:
    """One batch, one mini-batch, `epochs` passes."""
    return PPOConfig(
        output_dir=job.folder,
        per_device_train_batch_size=micro_batch(job),
        gradient_accumulation_steps=job.batch // processes() // micro_batch(job),
        per_device_eval_batch_size=job.batch // processes(),
        local_rollout_forward_batch_size=job.batch,
        num_mini_batches=1,
        num_ppo_epochs=job.epochs,
        total_episodes=job.total * job.batch,
        response_length=job.new_tokens,
        stop_token="eos",
        missing_eos_penalty=1.0,
        temperature=1.0,
        learning_rate=job.learning_rate,
        lr_scheduler_type="constant",
        kl_coef=job.kl_coef,
        num_sample_generations=0,
        gradient_checkpointing=False,
        bf16=job.precision == "bf16",
        use_cpu=True,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )


def scorer(job: Job) -> Any:
    """The reward model; the value model starts as another copy of it."""
    return AutoModelForSequenceClassification.from_pretrained(job.reward_model, num_labels=1, dtype="float32")


def _note_lengths(clock: Clock, eos: int) -> None:
    generation = ppo_trainer.batch_generation

    def noting(model: Any, queries: Any, *args: Any) -> Any:
        found, logits = generation(model, queries, *args)
        completions = found[:, queries.shape[1] :]
        before = ((completions == eos).cumsum(1) == 0).sum(1)
        clock.lengths.append(float((before + 1).clamp(max=completions.shape[1]).float().mean()))
        return found, logits

    ppo_trainer.batch_generation = noting


if __name__ == "__main__":
    main()
