"""From settings to a rollout engine."""

from typing import Any

from tempering.generation.engines.config import DecoderEngine, EngineConfig, TransformersEngine, VLLMEngine
from tempering.generation.rollout import RolloutEngine
from tempering.generation.sampling import Sampling


def build_engine(
    config: EngineConfig,
    model: Any,
    eos_ids: list[int],
    pad_id: int,
    sampling: Sampling | None = None,
    accelerator: Any = None,
) -> RolloutEngine:
    """The engine that completes prompts with `model`.

    Args:
        eos_ids: tokens that end a completion.
        pad_id: fills up rows.
        sampling: checked at once by engines that do not support all of it.
        accelerator: where accelerate shards the model (FSDP, ZeRO); our decoder needs a whole one.
    """
    # Each engine is imported by itself: vLLM and transformers' generation are heavy.
    match config:
        case DecoderEngine():
            from tempering.generation.decoder import Decoder

            return Decoder(
                model, eos_ids, pad_id, decode_batch_size=config.decode_batch_size, compile=config.compile
            )
        case TransformersEngine():
            from tempering.generation.engines.transformers_engine import TransformersSampler

            return TransformersSampler(model, eos_ids, pad_id, accelerator)
        case VLLMEngine():
            from tempering.generation.engines.vllm_engine import VLLMSampler

            return VLLMSampler(config, model, eos_ids, pad_id, accelerator, sampling)
