"""What model to train, from where, and the adapter around it. Light: planning reads this, without torch.

An architecture is made from scratch: a transformer of any Hugging Face type, or one of our own families.
Their `preset`s have about the same number of parameters, so that families can be compared by one
override: `pretrain.architecture.kind=lstm`.
"""

from typing import Annotated, Any, Literal

from pydantic import Field

from tempering.config import Config

# initializer_range is about 1 / sqrt(hidden_size): the usual 0.02 is for widths of 768 and more, and a
# narrow model started with it needs twice the tokens to learn to use the words of its prompt.
PRESETS: dict[str, dict[str, Any]] = {
    # 0.44 M parameters with a 660-token vocabulary: minutes on two CPU cores
    "nano": {
        "hidden_size": 128,
        "intermediate_size": 320,
        "num_hidden_layers": 2,
        "num_attention_heads": 8,
        "initializer_range": 0.08,
    },
    # 5 M: an hour on a laptop
    "micro": {
        "hidden_size": 256,
        "intermediate_size": 704,
        "num_hidden_layers": 6,
        "num_attention_heads": 8,
        "initializer_range": 0.06,
    },
    # 60 M: a single GPU
    "small": {
        "hidden_size": 640,
        "intermediate_size": 1728,
        "num_hidden_layers": 10,
        "num_attention_heads": 10,
        "initializer_range": 0.04,
    },
    # GPT-2 small (Radford et al. 2019), as the BabyLM baselines use it: 98 M with a vocabulary of 16,000
    "gpt2-small": {"model_type": "gpt2", "n_embd": 768, "n_layer": 12, "n_head": 12},
}


class ArchitectureBase(Config):
    """What every family has."""

    max_position_embeddings: int = Field(512, ge=8, description="longest sequence, in tokens")
    overrides: dict[str, Any] = Field(
        default_factory=dict, description="settings of the Hugging Face config, laid over the preset"
    )


class TransformerConfig(ArchitectureBase):
    """A decoder-only transformer from scratch, Llama-style unless the preset or `model_type` says otherwise."""

    kind: Literal["transformer"] = "transformer"
    preset: Literal["nano", "micro", "small", "gpt2-small"] = Field("nano", description="named size")
    model_type: str | None = Field(
        None, description="Hugging Face model type, e.g. llama, gpt2, qwen2; null: the preset's"
    )


class LSTMConfig(ArchitectureBase):
    """Stacked LSTM (Hochreiter & Schmidhuber 1997) with tied embeddings."""

    kind: Literal["lstm"]
    preset: Literal["nano", "micro", "small"] = Field("nano", description="named size")


class KGramConfig(ArchitectureBase):
    """A neural k-gram (Bengio et al. 2003): an MLP over the embeddings of the last `k` tokens."""

    kind: Literal["kgram"]
    preset: Literal["nano", "micro", "small"] = Field("nano", description="named size")


Architecture = Annotated[TransformerConfig | LSTMConfig | KGramConfig, Field(discriminator="kind")]


class LoraConfig(Config):
    """A low-rank adapter (Hu et al. 2021, arXiv:2106.09685), made by PEFT."""

    kind: Literal["lora"] = "lora"
    rank: int = Field(16, ge=1, description="rank r of the update BA")
    alpha: float = Field(32, gt=0, description="the update is scaled by alpha / rank")
    dropout: float = Field(0.0, ge=0, lt=1, description="dropout before A, share of units")
    target_modules: str | list[str] = Field("all-linear", description="module names, or all-linear")


class MergeConfig(Config):
    """Folding an adapter into its base model."""

    tolerance: float = Field(1e-3, gt=0, description="largest allowed absolute difference of fp32 logits")
    rows: int = Field(8, ge=1, description="sequences of the stage's sample that are compared")
