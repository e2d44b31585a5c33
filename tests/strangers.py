"""Tiny random models of other libraries, for the tests that watch them. Imported only where they are installed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

import torch
from torch import Tensor, nn

SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}


@dataclass(frozen=True)
class Case:
    """A model, what to call it with, and which of its outputs hold the weights, in the order of the calls."""

    build: Callable[[str], nn.Module]
    inputs: dict[str, Tensor]
    calls: int
    attentions: tuple[str, ...] = ("attentions",)
    #: Some have no implementation by torch's own function.
    sdpa: bool = True
    #: Encoder-decoders give self- and cross-attention in lists of their own; they are called in turn.
    turns: bool = False


def padded() -> dict[str, Tensor]:
    """Two texts of 9 and 6 tokens."""
    ids = torch.randint(3, 60, (2, 9), generator=torch.Generator().manual_seed(1))
    mask = torch.ones(2, 9, dtype=torch.long)
    mask[1, 6:] = 0
    return {"input_ids": ids, "attention_mask": mask}


def build_of(model: str, config: str, **settings: Any) -> Callable[[str], nn.Module]:
    """Builds a model of transformers, always the same, with the implementation of attention that is asked for."""

    def build(implementation: str) -> nn.Module:
        import transformers

        torch.manual_seed(0)
        made = getattr(transformers, config)(**settings, attn_implementation=implementation)
        return getattr(transformers, model)(made).eval()

    return build


_ENDS = {"bos_token_id": 1, "eos_token_id": 2}
_LLAMA = SIZES | {"vocab_size": 64, "num_key_value_heads": 2}
_SEQ = {"vocab_size": 64, "d_model": 32, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 4}
_SEQ |= {"decoder_attention_heads": 4, "encoder_ffn_dim": 48, "decoder_ffn_dim": 48, "max_position_embeddings": 32}
_TOKENS = _ENDS | {"pad_token_id": 0, "decoder_start_token_id": 1}
_IMAGE = SIZES | {"image_size": 16, "patch_size": 4}
_TARGET = torch.randint(3, 60, (2, 5), generator=torch.Generator().manual_seed(2))
_PIXELS = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(3))
_THREE = ("encoder_attentions", "decoder_attentions", "cross_attentions")
_T5 = {"vocab_size": 64, "d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 4}
_OPT = {"vocab_size": 64, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "ffn_dim": 48}
_OPT |= {"word_embed_proj_dim": 32, "max_position_embeddings": 32}
_DECODER = {"vocab_size": 64, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
_GPT = {"vocab_size": 64, "n_embd": 32, "n_layer": 2, "n_head": 4}
_RELATIVE = {"relative_attention": True, "pos_att_type": ["c2p", "p2c"]}
_LATENT = {"num_key_value_heads": 4, "q_lora_rank": 8, "kv_lora_rank": 8, "qk_rope_head_dim": 4, "qk_nope_head_dim": 4}
_LATENT |= {"v_head_dim": 8, "n_routed_experts": 4, "num_experts_per_tok": 2, "n_group": 2, "topk_group": 1}
_LATENT |= {"first_k_dense_replace": 1, "moe_intermediate_size": 16}
_SOUND = {"conv_dim": (8, 8), "conv_stride": (5, 2), "conv_kernel": (10, 3), "num_feat_extract_layers": 2}
_SOUND |= {"num_conv_pos_embeddings": 8, "num_conv_pos_embedding_groups": 2}
_WINDOWS = {"image_size": 16, "patch_size": 2, "embed_dim": 8, "depths": [1, 1], "num_heads": [2, 4], "window_size": 4}
_LOCAL = {"local_attention": 4, "global_attn_every_n_layers": 2, "cls_token_id": 1, "sep_token_id": 2}
_ENDS_AND_PADDING = _ENDS | {"pad_token_id": 0}

CASES: dict[str, Case] = {
    "GPT-2": Case(
        build_of("GPT2LMHeadModel", "GPT2Config", vocab_size=64, n_embd=32, n_layer=2, n_head=4, **_ENDS), padded(), 2
    ),
    "BERT": Case(build_of("BertModel", "BertConfig", vocab_size=64, **SIZES), padded(), 2),
    "Llama": Case(build_of("LlamaForCausalLM", "LlamaConfig", **_LLAMA), padded(), 2),
    "Qwen2": Case(build_of("Qwen2ForCausalLM", "Qwen2Config", **_LLAMA), padded(), 2),
    "Mistral": Case(build_of("MistralForCausalLM", "MistralConfig", sliding_window=3, **_LLAMA), padded(), 2),
    "T5": Case(
        build_of("T5ForConditionalGeneration", "T5Config", **_T5, **_TOKENS),
        padded() | {"decoder_input_ids": _TARGET},
        6,
        _THREE,
        turns=True,
    ),
    "BART": Case(
        build_of("BartForConditionalGeneration", "BartConfig", **_SEQ, **_TOKENS),
        padded() | {"decoder_input_ids": _TARGET},
        6,
        _THREE,
        turns=True,
    ),
    "Whisper": Case(
        build_of(
            "WhisperForConditionalGeneration",
            "WhisperConfig",
            num_mel_bins=8,
            max_source_positions=10,
            max_target_positions=16,
            **{name: size for name, size in _SEQ.items() if name != "max_position_embeddings"},
            **_TOKENS,
        ),
        {
            "input_features": torch.randn(2, 8, 20, generator=torch.Generator().manual_seed(4)),
            "decoder_input_ids": _TARGET,
        },
        6,
        _THREE,
        turns=True,
    ),
    "CLIP": Case(
        build_of(
            "CLIPModel",
            "CLIPConfig",
            text_config=SIZES | {"vocab_size": 64, "max_position_embeddings": 16, "bos_token_id": 1, "eos_token_id": 2},
            vision_config=_IMAGE,
            projection_dim=16,
        ),
        padded() | {"pixel_values": _PIXELS},
        4,
        ("vision_model_output.attentions", "text_model_output.attentions"),
    ),
    "OPT": Case(build_of("OPTModel", "OPTConfig", **_OPT), padded(), 2),
    "Bloom": Case(
        build_of("BloomModel", "BloomConfig", vocab_size=64, hidden_size=32, n_layer=2, n_head=4),
        padded(),
        2,
        sdpa=False,
    ),
    "DeBERTa-v2": Case(
        build_of(
            "DebertaV2Model",
            "DebertaV2Config",
            vocab_size=64,
            **_RELATIVE,
            **SIZES,
        ),
        padded(),
        2,
        sdpa=False,
    ),
    "ViT": Case(build_of("ViTModel", "ViTConfig", **_IMAGE), {"pixel_values": _PIXELS}, 2),
    "Gemma": Case(build_of("GemmaForCausalLM", "GemmaConfig", head_dim=8, **_LLAMA), padded(), 2),
    "Gemma 3": Case(
        build_of("Gemma3ForCausalLM", "Gemma3TextConfig", head_dim=8, sliding_window=4, **_LLAMA), padded(), 2
    ),
    "Phi": Case(build_of("PhiForCausalLM", "PhiConfig", vocab_size=64, **SIZES), padded(), 2),
    "Qwen3": Case(build_of("Qwen3ForCausalLM", "Qwen3Config", head_dim=8, **_LLAMA), padded(), 2),
    "Mixtral": Case(
        build_of("MixtralForCausalLM", "MixtralConfig", num_local_experts=2, num_experts_per_tok=1, **_LLAMA),
        padded(),
        2,
    ),
    "DeepSeek-V3": Case(
        build_of("DeepseekV3ForCausalLM", "DeepseekV3Config", vocab_size=64, **_LATENT, **SIZES), padded(), 2
    ),
    "Falcon": Case(build_of("FalconForCausalLM", "FalconConfig", **_DECODER), padded(), 2),
    "GPT-NeoX": Case(build_of("GPTNeoXForCausalLM", "GPTNeoXConfig", vocab_size=64, **SIZES), padded(), 2),
    "GPT-J": Case(build_of("GPTJForCausalLM", "GPTJConfig", rotary_dim=4, **_GPT), padded(), 2, sdpa=False),
    "CodeGen": Case(build_of("CodeGenForCausalLM", "CodeGenConfig", rotary_dim=4, **_GPT), padded(), 2, sdpa=False),
    "MPT": Case(
        build_of("MptForCausalLM", "MptConfig", vocab_size=64, d_model=32, n_layers=2, n_heads=4, max_seq_len=32),
        padded(),
        2,
        sdpa=False,
    ),
    "XLNet": Case(
        build_of("XLNetModel", "XLNetConfig", vocab_size=64, d_model=32, n_layer=2, n_head=4, d_inner=48),
        padded(),
        2,
        sdpa=False,
    ),
    "DeBERTa": Case(
        build_of("DebertaModel", "DebertaConfig", vocab_size=64, **_RELATIVE, **SIZES), padded(), 2, sdpa=False
    ),
    "ModernBERT": Case(
        build_of("ModernBertModel", "ModernBertConfig", vocab_size=64, **_LOCAL, **_ENDS_AND_PADDING, **SIZES),
        padded(),
        2,
    ),
    "DINOv2": Case(build_of("Dinov2Model", "Dinov2Config", **_IMAGE), {"pixel_values": _PIXELS}, 2),
    "Swin": Case(build_of("SwinModel", "SwinConfig", **_WINDOWS), {"pixel_values": _PIXELS}, 2),
    "Swin v2": Case(build_of("Swinv2Model", "Swinv2Config", **_WINDOWS), {"pixel_values": _PIXELS}, 2, sdpa=False),
    "Wav2Vec2": Case(
        build_of("Wav2Vec2Model", "Wav2Vec2Config", **_SOUND, **SIZES),
        {"input_values": torch.randn(2, 400, generator=torch.Generator().manual_seed(5))},
        2,
    ),
}


def expected(case: Case, model: nn.Module) -> list[Tensor]:
    """What the model itself says its weights are, in the order of the calls."""
    with torch.no_grad():
        given = model(**case.inputs, output_attentions=True)
    lists = [list(attrgetter(name)(given)) for name in case.attentions]
    if not case.turns:
        return [weights for weights_of in lists for weights in weights_of]
    encoder, own, cross = lists
    return encoder + [weights for pair in zip(own, cross, strict=True) for weights in pair]
