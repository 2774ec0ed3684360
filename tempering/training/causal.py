"""Pretraining on packed blocks and SFT with completion-only loss."""

from typing import Any

import datasets
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from transformers import Trainer, TrainingArguments
from trl import SFTConfig as TRLSFTConfig
from trl import SFTTrainer

from tempering.artifacts.draft import Draft
from tempering.artifacts.kinds import SampleArtifact
from tempering.errors import DataError
from tempering.training.config import PretrainConfig, SFTConfig
from tempering.training.fused_head import check_fused_head
from tempering.training.trainer import TokenTrainer, row_order, training_arguments


def read_part(sample: SampleArtifact, part: str, columns: list[str]) -> datasets.Dataset | None:
    """The `train` or `eval` rows of a sample as a Dataset; None where there are none."""
    table = pq.read_table(sample.rows_path(part), columns=columns, memory_map=True)
    return datasets.Dataset(table) if table.num_rows else None


def need_rows(rows: datasets.Dataset | None, what: str) -> datasets.Dataset:
    """`rows`; DataError where there is nothing to train on."""
    if rows is None:
        raise DataError(
            f"{what} has no training rows",
            expected="at least one row",
            fix="check the data sets and weights of this sample, and max_length",
        )
    return rows


def pack(documents: datasets.Dataset, block_size: int) -> datasets.Dataset:
    """Join documents (each ends with EOS) and cut them into (N, block_size) tokens.

    The last, shorter block is dropped, so every position of a block counts in the loss.
    """
    flat = documents.data.column("input_ids").combine_chunks()
    tokens = (flat.chunk(0) if isinstance(flat, pa.ChunkedArray) else flat).flatten().to_numpy()
    count = len(tokens) // block_size
    if not count:
        raise DataError(
            f"the sample has {len(tokens)} tokens",
            expected=f"at least one block of {block_size}",
            fix="raise the sample's token_limit or lower pretrain.block_size",
        )
    blocks = list(tokens[: count * block_size].reshape(count, block_size))
    return datasets.Dataset.from_dict({"input_ids": blocks})


def _collate_blocks(rows: list[dict[str, Any]]) -> dict[str, Any]:
    import torch

    ids = torch.tensor([row["input_ids"] for row in rows])
    return {"input_ids": ids, "labels": ids, "attention_mask": torch.ones_like(ids)}


class PretrainTrainer(TokenTrainer, Trainer):
    """`transformers.Trainer` with token accounting."""


class SFTStageTrainer(TokenTrainer, SFTTrainer):
    """TRL's SFTTrainer with token accounting."""


def pretrain_trainer(
    model: Any, tokenizer: Any, sample: SampleArtifact, config: PretrainConfig, out: Draft
) -> PretrainTrainer:
    """Trainer over the packed blocks of a sample; held-out blocks where it has enough for one."""
    train = pack(need_rows(read_part(sample, "train", ["input_ids"]), sample.id), config.block_size)
    held_out = read_part(sample, "eval", ["input_ids"])
    fits = held_out is not None and sum(map(len, held_out["input_ids"])) >= config.block_size
    if held_out is not None and not fits:
        out.warn(f"the eval part of {sample.id} is shorter than one block: not measured")
    return PretrainTrainer(
        model=model,
        config=config,
        out=out,
        processing_class=tokenizer,
        data_collator=_collate_blocks,
        train_dataset=train,
        eval_dataset=pack(held_out, config.block_size) if fits else None,
        args=TrainingArguments(**training_arguments(config, out, train_sampling_strategy=row_order(sample))),
    )


def sft_trainer(
    model: Any, tokenizer: Any, sample: SampleArtifact, config: SFTConfig, out: Draft
) -> SFTStageTrainer:
    """TRL trainer over tokenised prompt-completion rows; the loss covers the completion only."""
    check_fused_head(model, "sft")
    columns = ["input_ids", "completion_mask"]
    train = need_rows(read_part(sample, "train", columns), sample.id)
    # An empty loss mask looks like healthy training and learns nothing.
    empty = _without_completion(train)
    if empty:
        raise DataError(
            f"{sample.id} has {empty} rows without a completion token",
            expected="a loss mask that covers the completion",
            fix="raise the sample's max_length",
        )
    # Rows are tokenised and cut already: TRL must not truncate them.
    return SFTStageTrainer(
        model=model,
        config=config,
        out=out,
        processing_class=tokenizer,
        train_dataset=train,
        eval_dataset=read_part(sample, "eval", columns),
        args=TRLSFTConfig(
            **training_arguments(
                config,
                out,
                max_length=None,
                completion_only_loss=True,
                train_sampling_strategy=row_order(sample),
            )
        ),
    )


def _without_completion(rows: datasets.Dataset) -> int:
    """The number of rows whose mask is all false, counted without leaving Arrow."""
    empty = 0
    for chunk in rows.data.column("completion_mask").chunks:
        covered = pc.list_parent_indices(chunk).filter(chunk.flatten())
        empty += len(chunk) - len(pc.unique(covered))
    return empty
