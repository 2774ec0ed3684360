"""Model types that are refused by name, each with its reason, before anything is loaded.

`python -m tests.models.sweep` finds them: it builds a tiny model of every causal LM type that transformers
knows. A type that it does not know yet is asked when it comes in (`tempering.generation.probe`).
"""

_REASONS: dict[str, str] = {
    "is an encoder, which reads in both directions": "bert bert-generation big_bird camembert data2vec-text "
    "electra ernie megatron-bert rembert roberta roberta-prelayernorm roc_bert roformer xlm-roberta "
    "xlm-roberta-xl xmod",
    "reads in both directions": "cpmant xlm xlnet",
    "is half of an encoder-decoder": "bart bigbird_pegasus blenderbot blenderbot-small marian mbart musicgen "
    "musicgen_melody mvp pegasus plbart prophetnet trocr whisper",
    "keeps a state that padding changes and that rows cannot leave": "rwkv xlstm",
    "keeps no cache, so that it cannot decode token by token": "openai-gpt",
    "divides a text into chunks of fixed length": "reformer",
    "chooses what to attend to among later tokens too, once a text is longer than index_topk": "axk2 "
    "deepseek_v32 dots3_note dots3_note_text glm_moe_dsa hy_v4",
    "speaks: it decodes otherwise than it reads": "moshi",
    "describes images: it decodes otherwise than it reads": "git",
    "is written as a text part that cannot be read again": "emu3 mllama",
    "drafts tokens for another model": "gemma4_assistant gemma4_unified_assistant",
    "divides bytes into patches by a second model": "blt",
}
UNSERVED = {model_type: reason for reason, types in _REASONS.items() for model_type in types.split()}
"""Reason by model type; the reason follows on from the type's name."""

UNFUSED: dict[str, str] = {
    "inkling2_text": "",
    "inkling_text": "",
    "modernbert-decoder": "",
    "mpt": "logit_scale",
    "recurrent_gemma": "",
}
"""Model types that sft and dpo refuse, since TRL's loss is not theirs (`tempering.training.fused_head`); and
the setting of config.json that makes it so, where it is one."""
