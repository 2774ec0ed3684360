"""Settings of the rollout engines. A new engine: one class here, one file, one line in `build`."""

from typing import Annotated, Literal

from pydantic import Field

from tempering.config import MOST_SEQUENCES, Config, runtime_field


class DecoderEngine(Config):
    """Our own decoder: a static cache, ended rows leave the batch."""

    kind: Literal["decoder"] = "decoder"
    decode_batch_size: int | None = runtime_field(
        None, ge=1, le=MOST_SEQUENCES, description="rows decoded together; null: the whole rollout"
    )
    compile: bool = runtime_field(
        False, description="compile the decoding step with torch.compile (CUDA graphs on a GPU)"
    )


class TransformersEngine(Config):
    """`generate()` of transformers: slower, for models that our decoder cannot run."""

    kind: Literal["transformers"]


class VLLMEngine(Config):
    """A vLLM server, through TRL's client; its weights are updated before each rollout."""

    kind: Literal["vllm"]
    base_url: str = runtime_field("http://localhost:8000", description="address of the server")
    group_port: int = runtime_field(51216, ge=1, le=65535, description="port for sending weights")
    timeout: float = runtime_field(240.0, gt=0, description="seconds to wait for the server to be up")


EngineConfig = Annotated[DecoderEngine | TransformersEngine | VLLMEngine, Field(discriminator="kind")]
