"""Layers of each known architecture family, from the keys of its `config.json`.

A family is a function from a `ConfigReader` to the attention and the feed-forward block of every layer.
`FAMILIES` maps `model_type` to it. What a family's reference implementation fixes in code rather than in
the config (query/key norms, biases, gates) is fixed here too, with the implementation named.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from llmopt_problems.models.reader import ConfigReader
from llmopt_problems.models.spec import (
    Attention,
    DenseFfn,
    Ffn,
    GroupedQueryAttention,
    LatentAttention,
    LinearAttention,
    MoeFfn,
)

Layer = tuple[Attention, Ffn]
Family = Callable[[ConfigReader], list[Layer]]

_EXPERT_COUNT_KEYS = ("num_experts", "num_local_experts", "n_routed_experts")
_MOST_LAYERS = 10_000
_LAYER_TYPES = frozenset({"full_attention", "sliding_attention", "linear_attention"})


def _layer_count(config: ConfigReader) -> int:
    count = config.integer("num_hidden_layers", "n_layer")
    if count > _MOST_LAYERS:  # a typing error must not become a list of billions
        raise config.error("num_hidden_layers", count, "layer-count", f"give at most {_MOST_LAYERS} layers")
    return count


def _grouped_query(config: ConfigReader) -> GroupedQueryAttention:
    heads = config.integer("num_attention_heads")
    head_dim = config.integer("head_dim", default=config.integer("hidden_size") // heads)
    bias = config.flag("attention_bias", False)
    return GroupedQueryAttention(
        query_heads=heads,
        kv_heads=config.integer("num_key_value_heads", default=heads),
        head_dim=head_dim,
        value_head_dim=head_dim,
        qkv_bias=bias,
        output_bias=bias,
    )


def _dense(config: ConfigReader) -> DenseFfn:
    return DenseFfn(config.integer("intermediate_size"), bias=config.flag("mlp_bias", False))


def _mixture(config: ConfigReader, *width_keys: str) -> MoeFfn:
    return MoeFfn(
        experts=config.integer(*_EXPERT_COUNT_KEYS),
        experts_per_token=config.integer("num_experts_per_tok", "experts_per_token"),
        expert_intermediate=config.integer(*width_keys),
    )


def _windows(config: ConfigReader) -> list[int | None]:
    """Window of each layer: from `layer_types`, else the same for all but the first `max_window_layers`."""
    count = _layer_count(config)
    types = config.per_layer("layer_types", count, _LAYER_TYPES)
    if types is not None:
        return [config.integer("sliding_window") if kind == "sliding_attention" else None for kind in types]
    if config.get("sliding_window") is None or not config.flag("use_sliding_window", True):
        return [None] * count
    full = config.count("max_window_layers")
    return [None] * min(full, count) + [config.integer("sliding_window")] * max(0, count - full)


def _with_windows(config: ConfigReader, attention: GroupedQueryAttention) -> list[GroupedQueryAttention]:
    return [replace(attention, window_tokens=window) for window in _windows(config)]


def _llama(config: ConfigReader) -> list[Layer]:
    return [(attention, _dense(config)) for attention in _with_windows(config, _grouped_query(config))]


def _qwen2(config: ConfigReader) -> list[Layer]:
    # transformers modeling_qwen2: q, k and v always have a bias, o never.
    attention = replace(_grouped_query(config), qkv_bias=True, output_bias=False)
    return [(layer, _dense(config)) for layer in _with_windows(config, attention)]


def _qwen3(config: ConfigReader) -> list[Layer]:
    attention = replace(_grouped_query(config), qk_norm=True)
    return [(layer, _dense(config)) for layer in _with_windows(config, attention)]


def _qwen3_moe(config: ConfigReader) -> list[Layer]:
    attention = replace(_grouped_query(config), qk_norm=True)
    mixture = _mixture(config, "moe_intermediate_size")
    step = config.integer("decoder_sparse_step", default=1)
    dense = _dense_layers(config)
    sparse = [i not in dense and (i + 1) % step == 0 for i in range(_layer_count(config))]
    return [
        (layer, mixture if is_sparse else _dense(config))
        for layer, is_sparse in zip(_with_windows(config, attention), sparse, strict=True)
    ]


def _dense_layers(config: ConfigReader) -> list[object]:
    value = config.get("mlp_only_layers")
    if value is not None and not isinstance(value, list):
        raise config.error("mlp_only_layers", value, "list", "give a list of layer indices")
    return value or []


def _mixtral(config: ConfigReader) -> list[Layer]:
    mixture = _mixture(config, "intermediate_size")
    return [(layer, mixture) for layer in _with_windows(config, _grouped_query(config))]


def _minimax_m2(config: ConfigReader) -> list[Layer]:
    attention = replace(_grouped_query(config), qk_norm=config.flag("use_qk_norm", False))
    # modeling_minimax_m2: "per_layer" norms run over all heads of a layer at once.
    attention = replace(attention, qk_norm_all_heads=config.text("qk_norm_type") == "per_layer")
    shared = config.count("shared_intermediate_size")
    mixture = replace(
        _mixture(config, "intermediate_size"),
        router_bias=config.flag("use_routing_bias", False),
        shared_intermediate=shared,
    )
    return [(attention, mixture)] * _layer_count(config)


def _gpt_oss(config: ConfigReader) -> list[Layer]:
    attention = replace(_grouped_query(config), sinks=True)
    mixture = replace(_mixture(config, "intermediate_size"), router_bias=True, expert_bias=True)
    return [(layer, mixture) for layer in _with_windows(config, attention)]


def _latent(config: ConfigReader) -> LatentAttention:
    if config.flag("attention_bias", False):
        raise config.error("attention_bias", True, "latent-without-bias", "only false is known with MLA")
    rank = config.get("q_lora_rank")
    return LatentAttention(
        query_heads=config.integer("num_attention_heads"),
        q_lora_rank=None if rank is None else config.integer("q_lora_rank"),
        kv_lora_rank=config.integer("kv_lora_rank"),
        nope_head_dim=config.integer("qk_nope_head_dim"),
        rope_head_dim=config.integer("qk_rope_head_dim"),
        value_head_dim=config.integer("v_head_dim"),
    )


def _deepseek_ffn(config: ConfigReader) -> list[Ffn]:
    mixture = replace(
        _mixture(config, "moe_intermediate_size"),
        shared_intermediate=config.count("n_shared_experts") * config.integer("moe_intermediate_size"),
        # e_score_correction_bias of the auxiliary-loss-free balancing (DeepSeek-V3 report, section 2.1.2)
        router_bias=config.text("topk_method") == "noaux_tc",
    )
    if config.integer("moe_layer_freq", default=1) != 1:
        value = config.get("moe_layer_freq")
        raise config.error("moe_layer_freq", value, "every-layer-sparse", "only 1 is known")
    dense = config.count("first_k_dense_replace")
    return [_dense(config) if i < dense else mixture for i in range(_layer_count(config))]


def _deepseek_v3(config: ConfigReader) -> list[Layer]:
    return [(_latent(config), ffn) for ffn in _deepseek_ffn(config)]


def _deepseek_sparse(config: ConfigReader) -> list[Layer]:
    """DeepSeek-V3.2 and GLM-5: an indexer a layer; GLM-5.2 layers marked `shared` have none of their own."""
    top = config.integer("index_topk")
    shared = replace(_latent(config), indexer_top_tokens=top)
    full = replace(
        shared,
        indexer_heads=config.integer("index_n_heads"),
        indexer_head_dim=config.integer("index_head_dim"),
    )
    types = config.per_layer("indexer_types", _layer_count(config), {"full", "shared"})
    kinds = types or ["full"] * _layer_count(config)
    return [
        (full if kind == "full" else shared, ffn)
        for kind, ffn in zip(kinds, _deepseek_ffn(config), strict=True)
    ]


def _linear(config: ConfigReader) -> LinearAttention:
    dtype = config.text("mamba_ssm_dtype") or "float32"
    widths = {"float32": 4, "bfloat16": 2, "float16": 2}
    if dtype not in widths:
        raise config.error("mamba_ssm_dtype", dtype, "known-dtype", f"give one of {', '.join(widths)}")
    return LinearAttention(
        key_heads=config.integer("linear_num_key_heads"),
        value_heads=config.integer("linear_num_value_heads"),
        key_head_dim=config.integer("linear_key_head_dim"),
        value_head_dim=config.integer("linear_value_head_dim"),
        conv_kernel=config.integer("linear_conv_kernel_dim"),
        state_element_bytes=widths[dtype],
    )


def _hybrid_attention(config: ConfigReader) -> list[Attention]:
    count = _layer_count(config)
    full = replace(_grouped_query(config), qk_norm=True, output_gate=config.flag("attn_output_gate", True))
    linear = _linear(config)
    types = config.per_layer("layer_types", count, {"full_attention", "linear_attention"})
    if types is None:
        interval = config.integer("full_attention_interval")
        types = ["linear_attention" if (i + 1) % interval else "full_attention" for i in range(count)]
    return [full if kind == "full_attention" else linear for kind in types]


def _qwen3_5(config: ConfigReader) -> list[Layer]:
    return [(attention, _dense(config)) for attention in _hybrid_attention(config)]


def _qwen3_5_moe(config: ConfigReader) -> list[Layer]:
    mixture = replace(
        _mixture(config, "moe_intermediate_size"),
        shared_intermediate=config.integer("shared_expert_intermediate_size"),
        shared_gate=True,
    )
    return [(attention, mixture) for attention in _hybrid_attention(config)]


def _gpt2(config: ConfigReader) -> list[Layer]:
    hidden, heads = config.integer("n_embd"), config.integer("n_head")
    dim = config.integer("head_dim", default=hidden // heads)
    attention = GroupedQueryAttention(heads, heads, dim, dim, qkv_bias=True, output_bias=True)
    ffn = DenseFfn(config.integer("n_inner", default=4 * hidden), gated=False, bias=True)
    return [(attention, ffn)] * _layer_count(config)


FAMILIES: Mapping[str, Family] = {
    "llama": _llama,
    "mistral": _llama,
    "qwen2": _qwen2,
    "qwen3": _qwen3,
    "qwen3_vl_text": _qwen3,
    "qwen3_moe": _qwen3_moe,
    "qwen3_vl_moe_text": _qwen3_moe,
    "mixtral": _mixtral,
    "minimax_m2": _minimax_m2,
    "gpt_oss": _gpt_oss,
    "deepseek_v3": _deepseek_v3,
    "kimi_k2": _deepseek_v3,
    "deepseek_v32": _deepseek_sparse,
    "glm_moe_dsa": _deepseek_sparse,
    "qwen3_5_text": _qwen3_5,
    "qwen3_5_moe_text": _qwen3_5_moe,
    "gpt2": _gpt2,
}
