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
    #: Encoder-decoders give self- and cross-attention in lists of their own; they are called in turn.
    turns: bool = False


def padded() -> dict[str, Tensor]:
    """Two texts of 9 and 6 tokens."""
    ids = torch.randint(3, 60, (2, 9), generator=torch.Generator().manual_seed(1))
    mask = torch.ones(2, 9, dtype=torch.long)
    mask[1, 6:] = 0
    return {"input_ids": ids, "attention_mask": mask}


def _of(model: str, config: str, **settings: Any) -> Callable[[str], nn.Module]:
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

CASES: dict[str, Case] = {
    "GPT-2": Case(
        _of("GPT2LMHeadModel", "GPT2Config", vocab_size=64, n_embd=32, n_layer=2, n_head=4, **_ENDS), padded(), 2
    ),
    "BERT": Case(_of("BertModel", "BertConfig", vocab_size=64, **SIZES), padded(), 2),
    "Llama": Case(_of("LlamaForCausalLM", "LlamaConfig", **_LLAMA), padded(), 2),
    "Qwen2": Case(_of("Qwen2ForCausalLM", "Qwen2Config", **_LLAMA), padded(), 2),
    "Mistral": Case(_of("MistralForCausalLM", "MistralConfig", sliding_window=3, **_LLAMA), padded(), 2),
    "T5": Case(
        _of("T5ForConditionalGeneration", "T5Config", **_T5, **_TOKENS),
        padded() | {"decoder_input_ids": _TARGET},
        6,
        _THREE,
        turns=True,
    ),
    "BART": Case(
        _of("BartForConditionalGeneration", "BartConfig", **_SEQ, **_TOKENS),
        padded() | {"decoder_input_ids": _TARGET},
        6,
        _THREE,
        turns=True,
    ),
    "Whisper": Case(
        _of(
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
        _of(
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
    "OPT": Case(_of("OPTModel", "OPTConfig", **_OPT), padded(), 2),
    "Bloom": Case(_of("BloomModel", "BloomConfig", vocab_size=64, hidden_size=32, n_layer=2, n_head=4), padded(), 2),
    "DeBERTa-v2": Case(
        _of(
            "DebertaV2Model",
            "DebertaV2Config",
            vocab_size=64,
            relative_attention=True,
            pos_att_type=["c2p", "p2c"],
            **SIZES,
        ),
        padded(),
        2,
    ),
    "ViT": Case(_of("ViTModel", "ViTConfig", **_IMAGE), {"pixel_values": _PIXELS}, 2),
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
