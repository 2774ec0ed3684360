"""The stages: one file each, config and input artifacts in, one output artifact out.

Importing this package registers them all and is cheap: whatever is heavy is imported inside
the stage functions, which run in processes of their own.
"""

from tasks import (
    dataset,
    dpo,
    evaluate,
    merge,
    ppo,
    pretrain,
    report,
    reward_model,
    rloo,
    sample,
    sft,
    tokenizer,
)

__all__ = [
    "dataset",
    "dpo",
    "evaluate",
    "merge",
    "ppo",
    "pretrain",
    "report",
    "reward_model",
    "rloo",
    "sample",
    "sft",
    "tokenizer",
]
