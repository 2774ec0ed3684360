"""TRL's fused LM head computes the losses of SFT and DPO: it must be the model's own.

It multiplies by the output embeddings and knows scales and caps by the names of their settings. Where a model
does something else there (ModernBERT, RecurrentGemma, MPT with a logit_scale), the loss would be another
model's; so both are asked before training.
"""

from typing import Any

import torch

from tempering.errors import ConfigError
from tempering.models.reading import without_adapter_wrapper

_ALLOWED = 1e-2  # of the spread of the logits


def check_fused_head(model: Any, stage: str) -> None:
    """Refuse a model whose loss TRL would compute otherwise than the model does.

    Raises:
        ConfigError: naming the model type; or an adapter on the output head, which TRL would not train.
    """
    from peft.tuners.tuners_utils import BaseTunerLayer

    causal_lm = without_adapter_wrapper(model)
    if isinstance(causal_lm.get_output_embeddings(), BaseTunerLayer):
        raise ConfigError(
            f"{stage}: the adapter is on the output head, and TRL multiplies by the head's own weight",
            expected="an adapter on other layers: this one would never be trained",
            fix="leave lm_head out of adapter.target_modules",
        )
    gap = fused_gap(causal_lm)
    if isinstance(gap, float) and gap <= _ALLOWED:
        return
    found = gap if isinstance(gap, str) else f"log-probabilities off by {gap:.1g} of the logits' spread"
    raise ConfigError(
        f"{stage}: TRL's loss of a {causal_lm.config.model_type} model is not the model's own ({found})",
        expected="a head that multiplies by the output embeddings, and scales and caps by names TRL knows",
        fix="take a model of another type for sft and dpo; pretrain, ppo, rloo and evaluate serve this one",
    )


@torch.no_grad()
def fused_gap(model: Any) -> float | str:
    """Largest gap of TRL's log-probabilities, by the spread of the model's logits; or why there is none."""
    from trl.trainer.utils import add_fused_lm_head

    if model.base_model is model and hasattr(model, "model"):
        model.base_model_prefix = "model"  # Llama 4 names a backbone that it does not have
    was_training, before = model.training, model.__dict__.get("forward")
    size = model.get_input_embeddings().weight.shape[0]
    ids = torch.linspace(0.15 * size, 0.95 * size, 8, device=model.device).long()[None]
    mask = torch.ones_like(ids)
    model.eval()
    try:
        logits = model(input_ids=ids, attention_mask=mask, use_cache=False).logits.float()
        own = logits.log_softmax(-1)[:, :-1].gather(-1, ids[:, 1:, None]).squeeze(-1)
        add_fused_lm_head(model)
        fused = model(input_ids=ids, attention_mask=mask, labels=ids, fused_lm_head=True).log_probs
    except (AttributeError, TypeError, ValueError, RuntimeError, IndexError) as error:
        return f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0][:120]}"
    finally:
        model.__dict__.pop("forward", None)
        if before is not None:
            model.forward = before
        model.train(was_training)
    spread: float = max(float(logits.std(-1).mean()), torch.finfo(torch.float32).tiny)
    gap = (fused.float().reshape(-1)[: own.numel()] - own.reshape(-1)).abs()
    size = float(gap.max() if model.dtype == torch.float32 else gap.mean())
    return size / spread
