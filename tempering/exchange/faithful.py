"""What adoption may not change: the model's answers.

The logits of the loaded model on real ids are compared with those of the folder that was written, read back
as later stages read it. Same weights and shapes: the same numbers, to the last bit. Only where the vocabulary
grew the head multiplies by a larger matrix, and may round otherwise.
"""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tempering.errors import ArtifactError

_LENGTH = 16
_ROUNDING = 16  # steps of the dtype's precision, of the largest logit


@torch.no_grad()
def answers(model: Any, vocabulary: int) -> Tensor:
    """(T, V) logits, of a reward model (1, 1), after ids from all over the `vocabulary`."""
    ids = torch.linspace(0, vocabulary - 1, _LENGTH).long()[None]
    logits: Tensor = model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[0]
    return logits


def check_same_answers(before: Tensor, after: Tensor, folder: Path) -> float:
    """The largest difference between logits before and after, over the vocabulary of before.

    Raises:
        ArtifactError: they differ.
    """
    grown = after.shape[-1] > before.shape[-1]
    after = after[..., : before.shape[-1]]
    difference = float((before.float() - after.float()).abs().max())
    scale = float(before.float().abs().max())
    allowed = _ROUNDING * torch.finfo(before.dtype).eps * scale if grown else 0.0
    if not difference <= allowed:  # NaN, too
        raise ArtifactError(
            f"{folder}: adopting it would change its answers: logits differ by {difference:.2g}",
            expected="the same logits before and after",
            fix="give it a pad token and an embedding for it with transformers, and adopt that",
        )
    return difference


def settle_tying(model: Any) -> list[str]:
    """Let config.json say whether the output head is the input embeddings; what changed, in words.

    transformers does not tie a head that the checkpoint holds apart, whatever the config says; but growing
    the vocabulary, or loading once more, would.
    """
    head = model.get_output_embeddings()
    if head is None or head.weight is model.get_input_embeddings().weight:
        return []
    configs = [config for config in (model.config, model.config.get_text_config()) if _says_tied(config)]
    for config in configs:
        config.tie_word_embeddings = False
    said = "tie_word_embeddings set to false: the checkpoint holds an output head of its own"
    return [said] if configs else []


def _says_tied(config: Any) -> bool:
    return bool(getattr(config, "tie_word_embeddings", False))


def dtype_note(settings: dict[str, Any], model: Any) -> list[str]:
    """A line where config.json names another dtype than the weights have, which are kept as they are."""
    named = str(settings.get("dtype") or settings.get("torch_dtype") or "").removeprefix("torch.")
    held = str(model.dtype).removeprefix("torch.")
    return (
        [f"weights kept in {held}, as they are stored (config.json says {named})"]
        if named not in ("", held)
        else []
    )


def check_generation(folder: Path) -> None:
    """Refuse a generation config that cannot be read: transformers would pass over it and its end tokens."""
    from transformers import GenerationConfig

    if not (folder / "generation_config.json").is_file():
        return
    try:
        settings = GenerationConfig.from_pretrained(str(folder))
        ends = settings.eos_token_id if isinstance(settings.eos_token_id, list) else [settings.eos_token_id]
        if not all(end is None or type(end) is int for end in ends):
            raise ValueError(f"eos_token_id is {settings.eos_token_id!r}, which is no id or list of ids")
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise ArtifactError(
            f"{folder}/generation_config.json cannot be used: {str(error).strip().splitlines()[0][:200]}",
            expected="settings that transformers accepts",
            fix="correct or remove that file",
        ) from None


def settle_generation(model: Any) -> list[str]:
    """Make a generation config that came with the model one that can be saved; what changed, in words.

    The first Llama 2 and Vicuna set temperature and top_p without do_sample, which transformers refuses.
    """
    settings: Any = getattr(model, "generation_config", None)
    reason = _invalid(settings)
    if reason is None:
        return []
    settings.do_sample = True
    if _invalid(settings) is None:
        return ["generation_config.json: do_sample set to true, as its temperature or top_p ask for"]
    special = {name: getattr(settings, name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    model.generation_config = type(settings)(**special)
    return [f"generation_config.json left out but for its special tokens ({reason})"]


def _invalid(settings: Any) -> str | None:
    """Why transformers would not save a generation config."""
    try:
        if settings is not None:
            settings.validate(strict=True)
    except (ValueError, TypeError) as error:
        return (str(error).strip().splitlines() or [type(error).__name__])[-1][:200]
    return None
