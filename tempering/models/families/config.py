"""The config.json of an `lstm` or `kgram` model: the settings of our own families.

They have transformers' names (`hidden_size`, `num_hidden_layers`, ...), since trainers and adapters look for
those.
"""

from typing import ClassVar

from transformers import PreTrainedConfig


class SequenceConfig(PreTrainedConfig):
    """What both families share.

    `max_position_embeddings` is the longest sequence the model is declared for. Neither family has
    positions, so it limits what our stages feed it, not what it can compute.
    """

    keys_to_ignore_at_inference: ClassVar[list[str]] = ["past_key_values"]
    auto_map: ClassVar[dict[str, str]] = {}  # TRL reads it for every class that is not transformers' own

    vocab_size: int = 32000
    hidden_size: int = 512
    num_hidden_layers: int = 2
    dropout: float = 0.0  # on the embeddings and on what each layer adds
    initializer_range: float = 0.02  # of the embeddings; a linear layer's is 1 / sqrt(its inputs)
    rms_norm_eps: float = 1e-6
    max_position_embeddings: int = 512
    use_cache: bool = True
    pad_token_id: int | None = None
    bos_token_id: int | None = None
    eos_token_id: int | None = None
    tie_word_embeddings: bool = True


class LSTMModelConfig(SequenceConfig):
    """`num_hidden_layers` LSTMs with `state_size` cells each."""

    model_type = "lstm"
    state_size: int = 512


class KGramModelConfig(SequenceConfig):
    """An MLP of `num_hidden_layers` blocks over the last `context_size` tokens (the k).

    Each token enters the window with `token_size` numbers, projected from its embedding.
    """

    model_type = "kgram"
    context_size: int = 16
    token_size: int = 64
    intermediate_size: int = 1024
