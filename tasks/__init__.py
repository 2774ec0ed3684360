"""The stages: one file each, config and input artifacts in, one output artifact out.

Importing this package registers them all and is cheap: whatever is heavy is imported inside
the stage functions, which run in processes of their own.
"""

from tasks import (
    adopt,
    dataset,
    dpo,
    evaluate,
    merge,
    ppo,
    pretrain,
    publish,
    report,
    reward_model,
    rloo,
    sample,
    sft,
    tokenizer,
)

__all__ = [
    "adopt",
    "dataset",
    "dpo",
    "evaluate",
    "merge",
    "ppo",
    "pretrain",
    "publish",
    "report",
    "reward_model",
    "rloo",
    "sample",
    "sft",
    "tokenizer",
]
