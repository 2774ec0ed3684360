"""TRL's RLOOTrainer, with everything off that costs time and that ours does not do.

One update a rollout, no gradient checkpointing, nothing saved or reported. A second argument is the size of
micro-batches; without it there is no accumulation.
"""

from typing import Any

import trl
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import RLOOConfig, RLOOTrainer

from benchmarks.peers.measure import Clock, Memory, given_job, micro_batch, processes, report, variety
from benchmarks.peers.step_clock import StepClock


def main() -> None:
    """Train and report."""
    job, clock = given_job(), Clock()
    memory = Memory(job.memory)
    tokenizer = AutoTokenizer.from_pretrained(job.model, padding_side="left")
    first = job.prompts[0]
    assert tokenizer(first["text"])["input_ids"] == first["input_ids"], "other tokens than ours"
    trainer = RLOOTrainer(
        model=AutoModelForCausalLM.from_pretrained(job.model, dtype="float32"),
        reward_funcs=variety,
        args=RLOOConfig(
            output_dir=job.folder,
            per_device_train_batch_size=micro_batch(job),
            gradient_accumulation_steps=job.batch // processes() // micro_batch(job),
            num_generations=job.siblings,
            max_completion_length=job.new_tokens,
            max_steps=job.total,
            learning_rate=job.learning_rate,
            lr_scheduler_type="constant",
            beta=job.kl_coef,
            normalize_advantages=True,
            shuffle_dataset=False,
            gradient_checkpointing=False,
            bf16=job.precision == "bf16",
            use_cpu=True,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
        ),
        train_dataset=Dataset.from_list([{"prompt": row["text"]} for row in job.prompts]),
        processing_class=tokenizer,
        callbacks=[StepClock(clock)],
    )
    clock.wrap(trainer, "_generate_single_turn", "decode")
    clock.wrap(trainer, "_calculate_rewards", "score")
    clock.wrap(trainer, "_get_per_token_logps_and_entropies", "compare", without_gradients=True)
    _note_lengths(trainer, clock)
    trainer.train()
    report(job, clock, memory, version=trl.__version__)


def _note_lengths(trainer: Any, clock: Clock) -> None:
    generate = trainer._generate_single_turn

    def noting(*args: Any) -> Any:
        completions = generate(*args)
        clock.lengths.append(sum(map(len, completions)) / len(completions))
        return completions

    trainer._generate_single_turn = noting


if __name__ == "__main__":
    main()
