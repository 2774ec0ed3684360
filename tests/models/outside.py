"""Model folders as other people make them, with plain transformers: tiny, random, of real architectures."""

from pathlib import Path
from typing import Any

SIZES: dict[str, dict[str, Any]] = {
    "llama": {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2},
    "qwen2": {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
    },
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 256},
}


def bare_tokenizer(**marks: str) -> Any:
    """A byte-level BPE with `<|endoftext|>` and nothing else that training needs, as GPT-2's is."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        special_tokens=["<|endoftext|>"],
        show_progress=False,
    )
    made.train_from_iterator(["Tell a story. Once upon a time there was a dog in the park."] * 5, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=made, **marks)


def outside(
    folder: Path, kind: str = "llama", *, tokenizer: Any = None, scorer: bool = False, **settings: Any
) -> Path:
    """A model of `kind` in `folder` with its tokenizer; `scorer`: a reward model of one output."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSequenceClassification

    words = tokenizer or bare_tokenizer(eos_token="<|endoftext|>")
    given = {"vocab_size": len(words), "eos_token_id": words.eos_token_id, "pad_token_id": words.pad_token_id}
    config = AutoConfig.for_model(kind, **(SIZES.get(kind, {}) | given | settings))
    torch.manual_seed(0)
    if scorer:
        config.num_labels = settings.get("num_labels", 1)
    auto = AutoModelForSequenceClassification if scorer else AutoModelForCausalLM
    model = auto.from_config(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.2)  # outputs that differ between inputs
    model.save_pretrained(folder)
    words.save_pretrained(folder)
    return folder
