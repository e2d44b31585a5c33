"""Any model of transformers, as small as it gets: its configuration shrunk by the names of its settings."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

WIDTH, HEADS, KEY_HEADS, VOCABULARY, IMAGE, PATCH, LENGTH = 32, 4, 2, 99, 32, 8, 9

#: The first pattern that a setting's name matches gives its new value.
RULES: list[tuple[str, int]] = [
    (
        r"^(pad|unk|sep|mask|cls|bos|eos|decoder_start)_token_id$",
        lambda name: 1 if name.startswith(("eos", "sep")) else 0,
    ),
    (r"(image|video|audio|vision|boi|eoi|speech).*token.*(id|index)$", VOCABULARY - 5),
    (r"kv_lora_rank|q_lora_rank|lora_rank", 8),
    (r"qk_rope_head_dim", 4),
    (r"qk_nope_head_dim", 4),
    (r"v_head_dim", 8),
    (r"(num|n)_(key_value|kv|query_groups).*heads?$|num_query_groups|multi_query_group_num|num_kv_heads", KEY_HEADS),
    (r"(num|n)_.*heads?$|^(encoder|decoder)_attention_heads$|^nhead$|^n_head$|^num_heads$|attention_heads$", HEADS),
    (r"^(head_dim|attention_head_size|d_kv|attention_head_dim|kv_channels|d_head|head_size|hidden_size_per_head)$", 8),
    (r"^rotary_dim$", 4),
    (r"(num|n)_(hidden_|encoder_|decoder_|conv_pos_|text_|vision_|block_|prediction_)?(hidden_)?layers?$|^layers$", 2),
    (
        r"(encoder|decoder)_(layers|depth|num_hidden_layers|layer_num|num_layers)$|num_(blocks|layers)(_per_|$)|^depth$",
        2,
    ),
    (r"n_layers?$|num_.*_layers$", 2),
    (r"(intermediate|ffn|ff|feedforward|mlp)_?(size|dim|hidden_size)$|^(d_ff|d_inner|n_inner)$|inner_dim", 48),
    (
        r"^(hidden_size|d_model|n_embd|dim|embed_dim|embedding_size|hidden_dim|width|emb_dim|word_embed_proj_dim)$",
        WIDTH,
    ),
    (r"(text|vision|encoder|decoder|projection|output).*(hidden_size|_dim)$", WIDTH),
    (r"(feature|qformer|cross).*(hidden_size|_dim)$", WIDTH),
    (r"vocab_size|codebook_size", VOCABULARY),
    (r"(max_position|n_positions|max_seq|max_length|n_ctx|max_source|max_target|max_text).*", 64),
    (r"_interval$|attn_layer_period|attention_every", 2),
    (r"^image_size$|^img_size$|input_resolution", IMAGE),
    (r"^patch_size$", PATCH),
    (r"num_(local_|routed_)?experts$|n_routed_experts|moe_num_experts", 4),
    (r"num_experts_per_tok|moe_k|top_k_experts|moe_topk|num_selected_experts", 2),
    (r"n_group$|topk_group|n_shared_experts|num_shared_experts", 1),
    (r"moe_intermediate_size|shared_expert_intermediate_size|expert_ffn", 16),
    (r"num_(queries|latents|query_tokens)|num_query", 6),
    (r"num_mel_bins|feature_size|input_feat_per_channel", 16),
    (r"sliding_window|attention_window|window_size", 4),
    (r"conv_dim", 8),
]
_SIZES_OF_STAGES = (
    "hidden_sizes",
    "embed_dims",
    "num_channels",
    "dims",
    "encoder_hidden_sizes",
    "decoder_hidden_sizes",
)


#: What may be made small without asking what else must fit: how many layers there are, and how many experts.
_MILD = re.compile(r"layers?$|depth|blocks|experts$|layers_per|n_group|topk_group")


def shrunk(config: Any, depth: int = 0, *, mild: bool = False) -> Any:
    """The same configuration with small numbers, its parts' too; ``mild``: with few layers, but its own widths."""
    for name, value in list(vars(config).items()):
        if name.startswith("_") or isinstance(value, bool) or value is None:
            continue
        if hasattr(value, "to_dict") and depth < 4:
            shrunk(value, depth + 1, mild=mild)
        elif mild and not _MILD.search(name):
            continue
        elif isinstance(value, int):
            new = _new(name, value)
            if new != value:
                _set(config, name, new)
        elif isinstance(value, (list, tuple)) and value and all(isinstance(part, int) for part in value):
            _set(config, name, type(value)(_stages(name, list(value))))
    return config


def _new(name: str, value: int) -> int:
    for pattern, new in RULES:
        if re.search(pattern, name):
            if "token" in name:
                return new
            return min(new, value) if value > 0 else value
    return value


def _stages(name: str, value: list[int]) -> list[int]:
    if re.search(r"depth|layers|blocks", name) and max(value) > 1:
        return [min(part, 1) for part in value]
    if re.search(r"head", name):
        return [min(part, 2) for part in value]
    if name in _SIZES_OF_STAGES or re.search(r"hidden_size|embed|channels|dim", name):
        least = min(value) or 1
        return [max(8, 8 * part // least) if part >= 8 else part for part in value]
    return value


def _set(config: Any, name: str, value: Any) -> None:
    try:
        setattr(config, name, value)
    except Exception:  # a setting that follows from others
        return


def model_types() -> list[str]:
    """All model types of the installed transformers."""
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

    return sorted(CONFIG_MAPPING_NAMES)


def classes_of(kind: str) -> Iterator[Any]:
    """Classes that open a model type, the barest first."""
    import transformers
    from transformers.models.auto import modeling_auto

    names: list[str] = []
    for mapping in (
        "MODEL_MAPPING_NAMES",
        "MODEL_FOR_CAUSAL_LM_MAPPING_NAMES",
        "MODEL_FOR_PRETRAINING_MAPPING_NAMES",
        "MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES",
        "MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES",
        "MODEL_FOR_OBJECT_DETECTION_MAPPING_NAMES",
    ):
        found = getattr(modeling_auto, mapping, {}).get(kind)
        names += [found] if isinstance(found, str) else list(found or ())
    given = [getattr(transformers, name) for name in dict.fromkeys(names) if hasattr(transformers, name)]
    yield from given
    yield from (cls for cls in _of_its_module(kind) if cls not in given)


def _of_its_module(kind: str) -> Iterator[Any]:
    """Models that no auto class opens: towers and decoders, found where the configuration is."""
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    config = CONFIG_MAPPING[kind]
    name = config.__module__.replace("configuration_", "modeling_")
    try:
        module = importlib.import_module(name)
    except ImportError:
        return
    for cls in vars(module).values():
        own = isinstance(cls, type) and issubclass(cls, nn.Module) and cls.__module__ == name
        if own and getattr(cls, "config_class", None) is config and not cls.__name__.endswith("PreTrainedModel"):
            yield cls


def inputs_of(model: nn.Module) -> Iterator[dict[str, Any]]:
    """Inputs that a model may take, the likeliest first."""
    wanted = inspect.signature(model.forward).parameters
    for inputs in _tensors_of(model, wanted):
        yield inputs | ({"use_cache": False} if "use_cache" in wanted else {})


def _tensors_of(model: nn.Module, wanted: Any) -> Iterator[dict[str, Any]]:
    random = torch.Generator().manual_seed(1)

    def tokens(length: int = LENGTH) -> Tensor:
        return torch.randint(3, VOCABULARY - 20, (2, length), generator=random)

    def numbers(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=random)

    config: Any = model.config
    mask = torch.ones(2, LENGTH, dtype=torch.long)
    mask[1, 6:] = 0
    text = {"input_ids": tokens(), "attention_mask": mask}
    decoder = {"decoder_input_ids": tokens(5)} if "decoder_input_ids" in wanted else {}
    vision = getattr(config, "vision_config", config)
    side = getattr(vision, "image_size", IMAGE)
    side = side if isinstance(side, int) else side[0] if isinstance(side, (list, tuple)) else IMAGE
    channels = getattr(vision, "num_channels", 3)
    channels = channels if isinstance(channels, int) else 3
    mel = getattr(config, "num_mel_bins", getattr(config, "feature_size", 16))
    if "pixel_values" in wanted and "input_ids" in wanted:
        yield text | {"pixel_values": numbers(2, channels, side, side)}
    if "input_ids" in wanted:
        yield text | decoder
        yield {"input_ids": tokens()} | decoder
        yield {"input_ids": tokens(64)} | decoder
    if "pixel_values" in wanted:
        for size in dict.fromkeys((side, 64, 32, 128, 224)):
            yield {"pixel_values": numbers(2, channels, size, size)}
        yield {"pixel_values": numbers(2, 4, channels, side, side)}
        yield {"pixel_values": numbers(1, getattr(config, "num_frames", 4), channels, side, side)}
    if "pixel_values_videos" in wanted:
        yield {"pixel_values_videos": numbers(1, 4, channels, side, side)}
    if "input_features" in wanted and isinstance(mel, int):
        for length in (128, 64, 3000):
            yield {"input_features": numbers(2, mel, length)} | decoder
            yield {"input_features": numbers(2, length, mel)} | decoder
    if "input_values" in wanted:
        yield {"input_values": numbers(2, 4000)} | decoder
        yield {"input_values": numbers(2, 1, 4000)} | decoder
        yield {"input_values": numbers(2, 64, mel if isinstance(mel, int) else 16)} | decoder
    if "past_values" in wanted and "past_observed_mask" in wanted:
        length = getattr(config, "context_length", 32)
        yield {"past_values": numbers(2, length, getattr(config, "num_input_channels", 1))}
    if "grid_thw" in wanted:
        vision = getattr(config, "vision_config", config)
        width = getattr(vision, "in_channels", 3) * getattr(vision, "temporal_patch_size", 2) * vision.patch_size**2
        yield {"hidden_states": numbers(64, width), "grid_thw": torch.tensor([[1, 8, 8]])}
    if "pixel_attention_mask" in wanted and "spatial_shapes" in wanted:
        width = 3 * getattr(vision, "patch_size", 16) ** 2
        shapes = torch.tensor([[3, 4], [2, 4]])
        seen = torch.arange(12) < shapes.prod(-1, keepdim=True)
        yield {"pixel_values": numbers(2, 12, width), "pixel_attention_mask": seen.long(), "spatial_shapes": shapes}
    if "inputs_embeds" in wanted:
        wide = getattr(config, "hidden_size", getattr(config, "d_model", WIDTH))
        yield {"inputs_embeds": numbers(2, LENGTH, wide)}
        yield {"inputs_embeds": numbers(2, LENGTH, WIDTH)}
    if "hidden_states" in wanted:
        yield {"hidden_states": numbers(2, LENGTH, WIDTH)}
    if "query_embeds" in wanted:
        yield {"query_embeds": numbers(2, 6, WIDTH), "encoder_hidden_states": numbers(2, LENGTH, WIDTH)}
