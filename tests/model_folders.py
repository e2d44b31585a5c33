"""Tiny random models of 25 families, saved as folders: config, safetensors, tokenizer, processor."""

from __future__ import annotations

import wave
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from strangers import SIZES

TEXT = "the cat sat on the mat, the cat ran"
WORDS = ("the", "cat", "sat", "on", "mat", ",", "ran", "a", "dog", "?", "what", "is")
SPECIAL = ("<pad>", "<s>", "</s>", "<unk>", "<mask>", "<image>", "<start_of_image>", "<end_of_image>")
VOCABULARY = 64
_END = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
_TEXT = SIZES | {"vocab_size": VOCABULARY}
_GROUPED = _TEXT | {"num_key_value_heads": 2, "head_dim": 8}
_IMAGE = SIZES | {"image_size": 16, "patch_size": 4}
_SEQ = {"vocab_size": VOCABULARY, "d_model": 32, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 4}
_SEQ |= {"decoder_attention_heads": 4, "encoder_ffn_dim": 48, "decoder_ffn_dim": 48, "decoder_start_token_id": 1} | _END
_SOUND = {"conv_dim": (8, 8), "conv_stride": (5, 2), "conv_kernel": (10, 3), "num_feat_extract_layers": 2}
_SOUND |= {"num_conv_pos_embeddings": 8, "num_conv_pos_embedding_groups": 2}
_TOWERS = {"text_config": _TEXT | {"max_position_embeddings": 32} | _END, "vision_config": _IMAGE}


@dataclass(frozen=True)
class Family:
    """What makes a folder, what the model is given, and how many attention calls there are."""

    head: str
    config: str
    settings: dict[str, Any]
    calls: int
    takes: str = "text"
    #: Which of its outputs hold the weights, in the order of the calls; "turns": decoder's own and cross in turn.
    attentions: tuple[str, ...] = ("attentions",)
    turns: bool = False


def _family(head: str, config: str, calls: int = 2, takes: str = "text", **settings: Any) -> Family:
    return Family(head, config, settings, calls, takes)


_THREE = ("encoder_attentions", "decoder_attentions", "cross_attentions")
FAMILIES: dict[str, Family] = {
    "GPT-2": _family("GPT2LMHeadModel", "GPT2Config", vocab_size=VOCABULARY, n_embd=32, n_layer=2, n_head=4, **_END),
    "Llama": _family("LlamaForCausalLM", "LlamaConfig", **_GROUPED, **_END),
    "Qwen3": _family("Qwen3ForCausalLM", "Qwen3Config", **_GROUPED, **_END),
    "Gemma 3": _family("Gemma3ForCausalLM", "Gemma3TextConfig", sliding_window=4, **_GROUPED, **_END),
    "Mistral": _family("MistralForCausalLM", "MistralConfig", sliding_window=4, **_GROUPED, **_END),
    "Phi": _family("PhiForCausalLM", "PhiConfig", **_TEXT, **_END),
    "OPT": _family("OPTForCausalLM", "OPTConfig", vocab_size=VOCABULARY, hidden_size=32, num_hidden_layers=2,
                   num_attention_heads=4, ffn_dim=48, word_embed_proj_dim=32, max_position_embeddings=32, **_END),
    "Falcon": _family("FalconForCausalLM", "FalconConfig", vocab_size=VOCABULARY, hidden_size=32, num_hidden_layers=2,
                      num_attention_heads=4, **_END),
    "OLMo": _family("OlmoForCausalLM", "OlmoConfig", **_TEXT, num_key_value_heads=2, **_END),
    "Mixtral": _family("MixtralForCausalLM", "MixtralConfig", num_local_experts=2, num_experts_per_tok=1, **_GROUPED,
                       **_END),
    "BERT": _family("BertForMaskedLM", "BertConfig", **_TEXT, **_END),
    "RoBERTa": _family("RobertaForMaskedLM", "RobertaConfig", max_position_embeddings=40, **_TEXT, **_END),
    "ALBERT": _family("AlbertForMaskedLM", "AlbertConfig", embedding_size=16, **_TEXT, **_END),
    "ModernBERT": _family("ModernBertForSequenceClassification", "ModernBertConfig", local_attention=4,
                          global_attn_every_n_layers=2, cls_token_id=1, sep_token_id=2, **_TEXT, **_END),
    "DeBERTa": _family("DebertaV2ForMaskedLM", "DebertaV2Config", relative_attention=True,
                       pos_att_type=["c2p", "p2c"], **_TEXT, **_END),
    "T5": Family("T5ForConditionalGeneration", "T5Config", {"vocab_size": VOCABULARY, "d_model": 32, "d_kv": 8,
                 "d_ff": 48, "num_layers": 2, "num_heads": 4, "decoder_start_token_id": 0} | _END, 6,
                 attentions=_THREE, turns=True),
    "BART": Family("BartForConditionalGeneration", "BartConfig", _SEQ | {"max_position_embeddings": 32}, 6,
                   attentions=_THREE, turns=True),
    "Whisper": Family("WhisperForConditionalGeneration", "WhisperConfig", _SEQ | {"num_mel_bins": 8,
                      "max_source_positions": 50, "max_target_positions": 32}, 6, "sound", _THREE, True),
    "Wav2Vec2": _family("Wav2Vec2ForCTC", "Wav2Vec2Config", 2, "sound", **_SOUND, **_TEXT),
    "ViT": _family("ViTForImageClassification", "ViTConfig", 2, "image", **_IMAGE),
    "DINOv2": _family("Dinov2Model", "Dinov2Config", 2, "image", **_IMAGE),
    "CLIP": Family("CLIPModel", "CLIPConfig", _TOWERS | {"projection_dim": 16}, 4, "text and image",
                   ("vision_model_output.attentions", "text_model_output.attentions")),
    "SigLIP": Family("SiglipModel", "SiglipConfig", _TOWERS, 5, "text and image",
                     ("vision_model_output.attentions", "text_model_output.attentions")),
    "LLaVA": Family("LlavaForConditionalGeneration", "LlavaConfig", {
        "text_config": _GROUPED | _END | {"model_type": "llama"},
        "vision_config": _IMAGE | {"model_type": "clip_vision_model", "projection_dim": 16},
        "image_token_id": 5, "image_token_index": 5, "vision_feature_layer": -1}, 4, "text and image"),
    "Qwen2-VL": Family("Qwen2VLForConditionalGeneration", "Qwen2VLConfig", {
        "text_config": _GROUPED | _END | {"rope_parameters": {"rope_type": "default", "mrope_section": [1, 1, 2],
                                                               "rope_theta": 10000.0}},
        "vision_config": {"depth": 2, "embed_dim": 32, "hidden_size": 32, "num_heads": 4, "patch_size": 4,
                          "spatial_merge_size": 2, "temporal_patch_size": 2, "mlp_ratio": 2},
        "image_token_id": 5, "vision_start_token_id": 6, "vision_end_token_id": 7, "video_token_id": 8}, 4,
        "text and image"),
}  # fmt: skip


def tokenizer(start: bool = True) -> Any:
    """A tokenizer of a few words and of single letters, with offsets; `start`: it adds <s> and </s>."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    vocabulary = {name: n for n, name in enumerate((*SPECIAL, *WORDS))}
    made = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    if start:
        made.post_processor = processors.TemplateProcessing(
            single="<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)]
        )
    return PreTrainedTokenizerFast(
        tokenizer_object=made, bos_token="<s>", eos_token="</s>", unk_token="<unk>", pad_token="<pad>",
        mask_token="<mask>", extra_special_tokens=["<image>", "<start_of_image>", "<end_of_image>"],
    )  # fmt: skip


def build(family: Family) -> Any:
    """The model, always the same."""
    import transformers

    torch.manual_seed(0)
    config = getattr(transformers, family.config)(**family.settings)
    return getattr(transformers, family.head)(config).eval()


def save(name: str, folder: Path) -> Path:
    """Saves a family's model with all that belongs to it."""
    family = FAMILIES[name]
    build(family).save_pretrained(folder)
    if "text" in family.takes or name == "Whisper":
        tokenizer(start=name not in ("GPT-2", "LLaVA", "Qwen2-VL")).save_pretrained(folder)
    if "image" in family.takes:
        _image_processor(name).save_pretrained(folder)
    if family.takes == "sound":
        _feature_extractor(name).save_pretrained(folder)
    return folder


def _image_processor(name: str) -> Any:
    import transformers

    if name == "Qwen2-VL":
        size = {"shortest_edge": 64, "longest_edge": 1024}
        return transformers.Qwen2VLImageProcessor(patch_size=4, merge_size=2, size=size)
    return transformers.ViTImageProcessor(size={"height": 16, "width": 16})


def _feature_extractor(name: str) -> Any:
    import transformers

    if name == "Whisper":
        return transformers.WhisperFeatureExtractor(feature_size=8, chunk_length=1, n_fft=400, hop_length=160)
    return transformers.Wav2Vec2FeatureExtractor()


def picture(path: Path) -> Path:
    """An image of 24 × 16 pixels, as a file."""
    from PIL import Image

    pixels = np.random.default_rng(0).integers(0, 255, (16, 24, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def recording(path: Path, seconds: float = 0.1, rate: int = 16_000) -> Path:
    """A falling tone as a WAV file."""
    time = np.arange(int(seconds * rate)) / rate
    samples = (20_000 * np.sin(2 * np.pi * 440 * time * (1 - time))).astype("<i2")
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(samples.tobytes())
    return path
