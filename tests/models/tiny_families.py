"""A tiny model of any causal LM type of transformers, from the defaults of its config class.

Settings are made small by their name; a type that needs more than that has a line in `MORE`. Scales and caps
of logits are set to what is seen, as their defaults are often 1 or none.
"""

from typing import Any

VOCABULARY = 64
_NAMES = {
    32: "hidden_size d_model n_embd embedding_size word_embed_proj_dim input_embedding_size "
    "output_embedding_size emb_dim embedding_dim lru_width backbone_hidden_size",
    48: "intermediate_size moe_intermediate_size ffn_dim decoder_ffn_dim encoder_ffn_dim n_inner dff dim_ff "
    "ffn_hidden_size d_inner shared_expert_intermediate_size shared_intermediate_size intermediate_size_mlp "
    "expert_ffn_hidden_size dense_intermediate_size feed_forward_size moe_shared_expert_intermediate_size "
    "shared_experts_intermediate_size",
    2: "num_hidden_layers n_layer n_layers num_layers decoder_layers encoder_layers num_decoder_layers "
    "num_encoder_layers num_blocks num_key_value_heads swa_num_key_value_heads num_kv_heads "
    "num_experts_per_tok num_experts_per_token moe_topk moe_k index_n_heads linear_num_heads "
    "linear_num_key_heads linear_num_value_heads",
    4: "num_attention_heads n_head n_heads num_heads decoder_attention_heads encoder_attention_heads "
    "attention_heads num_decoder_attention_heads num_encoder_attention_heads swa_num_attention_heads "
    "num_experts num_local_experts n_routed_experts moe_num_experts zero_expert_num state_size mamba_d_state "
    "ssm_state_size time_step_rank mamba_dt_rank mamba_n_heads mamba_num_heads n_mamba_heads",
    8: "head_dim dim_head swa_head_dim kv_channels attention_head_dim d_head attention_head_size "
    "qk_rope_head_dim rotary_dim qk_nope_head_dim sliding_window sliding_window_size window_size "
    "attention_window_size local_attention attention_chunk_size chunk_size mamba_chunk_size index_topk "
    "hidden_size_per_layer_input",
    16: "v_head_dim kv_lora_rank q_lora_rank index_head_dim linear_head_dim linear_key_head_dim "
    "linear_value_head_dim o_lora_rank qk_head_dim mamba_d_head mamba_head_dim mamba_headdim",
    VOCABULARY: "vocab_size n_vocab unpadded_vocab_size vocab_size_per_layer_input max_position_embeddings "
    "n_positions n_ctx context_length max_seq_len model_max_length original_max_position_embeddings",
    1: "n_group topk_group num_expert_group n_shared_experts num_shared_experts moe_num_shared_experts "
    "mamba_n_groups n_groups mamba_ngroups bos_token_id eos_token_id sep_token_id cls_token_id eod_token_id",
    0: "pad_token_id",
}
_SIZES = {name: size for size, names in _NAMES.items() for name in names.split()}
_SCALES = {
    "logits_scaling": 4.0,
    "lm_head_multiplier": 0.5,
    "logit_scale": 0.25,
    "output_multiplier": 0.5,
    "logits_mup_width_multiplier": 2.0,
    "embedding_multiplier": 2.0,
    "final_logit_softcapping": 5.0,
    "logits_soft_cap": 5.0,
    "output_logit_soft_cap": 5.0,
}
_PER_LAYER = ("layer_types", "mlp_layer_types", "layers_block_type", "indexer_types", "layer_rope_theta",
              "no_rope_layers", "attention_layers", "num_attention_heads_per_layer",
              "activation_sparsity_pattern")  # fmt: skip
_LINEAR = ["linear_attention", "full_attention"]
_HYBRID = ["linear_attention", "hybrid"]
MORE: dict[str, dict[str, Any]] = {
    "bamba": {"attn_layer_indices": [1], "mamba_d_head": 16},
    "deepseek_v2": {"num_experts_per_tok": 2, "n_group": 1, "topk_group": 1},
    "dots1": {"n_routed_experts": 4, "n_shared_experts": 1, "num_experts_per_tok": 2},
    "dots3_note_text": {"q_lora_rank": 16, "kv_lora_rank": 16, "num_key_value_heads": 4},
    "falcon_h1": {"mamba_d_head": 16, "mamba_d_ssm": 64},
    "gemma3n_text": {"num_hidden_layers": 4, "num_kv_shared_layers": 2,
                     "layer_types": ["sliding_attention", "full_attention"] * 2,
                     "activation_sparsity_pattern": [0.0] * 4},
    "granitemoehybrid": {"layer_types": _LINEAR, "mamba_d_head": 16},
    "hrm_text": {"num_hidden_layers": 16, "num_layers_per_stack": 2},
    "hunyuan_v1_dense": {"head_dim": 8},
    "hunyuan_v1_moe": {"head_dim": 8},
    "jamba": {"attn_layer_period": 2, "attn_layer_offset": 1},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"]},
    "mamba2": {"num_heads": 4, "head_dim": 16},
    "ministral": {"head_dim": 8},
    "nemotron": {"head_dim": 8, "num_key_value_heads": 2},
    "nemotron_h": {"layers_block_type": ["linear_attention", "moe", "full_attention"]},
    "qwen4_exp_text": {"indexer_n_heads": 2, "indexer_kv_heads": 1, "indexer_head_dim": 8,
                       "indexer_budget": 8, "indexer_compress_ratio": 2, "ngram_vocab_size_base": 100,
                       "hc_lowrank": 8},
    "recurrent_gemma": {"block_types": ["recurrent", "attention"]},
    "zamba": {"layers_block_type": _HYBRID * 2, "num_hidden_layers": 4, "attention_head_dim": 16,
              "n_mamba_heads": 2},
    "zamba2": {"layers_block_type": _HYBRID, "attention_head_dim": 16, "n_mamba_heads": 4},
    "zaya": {"num_experts_per_tok": 1},
}  # fmt: skip


def tiny_config(model_type: str, **more: Any) -> Any:
    """The config of a tiny model; raises what transformers raises where its own defaults do not build."""
    from transformers import CONFIG_MAPPING

    defaults = CONFIG_MAPPING[model_type]()
    parts = {
        name: _small(part, scaled=False) | {"model_type": part.model_type}
        for name in type(defaults).sub_configs
        if hasattr(part := getattr(defaults, name, None), "to_dict") and part.model_type
    }
    settings = _small(defaults) | parts
    if "kv_lora_rank" in vars(defaults):  # latent attention has no groups
        settings["num_key_value_heads"] = settings["num_attention_heads"]
    return type(defaults)(**settings | MORE.get(model_type, {}) | more)


def tiny_model(model_type: str, **more: Any) -> Any:
    """A model in eval mode with weights large enough that each of them matters; refuses above 10 million."""
    import torch
    from transformers import AutoModelForCausalLM

    config = tiny_config(model_type, **more)
    with torch.device("meta"):
        size = sum(part.numel() for part in AutoModelForCausalLM.from_config(config).parameters())
    if size > 10**7:
        raise ValueError(f"{size:,} parameters are not tiny")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.ndim > 1:
                    parameter.normal_(std=0.2)
    return model


def _small(config: Any, scaled: bool = True) -> dict[str, Any]:
    """The settings that make a config of this class small; `scaled`: and its logits other than a product."""
    small: dict[str, Any] = {}
    for name, value in vars(config).items():
        if name in _SCALES and scaled:
            small[name] = _SCALES[name]
        elif name in _SIZES and isinstance(value, int) and not isinstance(value, bool):
            small[name] = _SIZES[name]
        elif name in _PER_LAYER and isinstance(value, list | tuple):
            kinds = (
                list(dict.fromkeys(value)) if all(isinstance(kind, str) for kind in value) else list(value)
            )
            small[name] = (kinds * 2)[:2]
    return small
