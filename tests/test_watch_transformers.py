"""Watching the models of other libraries: what is seen equals what they say of themselves in eager mode."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

import mirada
from mirada.interventions import ablate
from mirada.watching import UnseenAttention
from strangers import CASES, expected, padded

pytestmark = [
    pytest.mark.transformers,
    # The libraries' own: flex_attention without the compiler, names that are on their way out.
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.filterwarnings("error::mirada.watching.UnseenAttention"),
]

ALL_SDPA = [name for name, case in CASES.items() if case.sdpa]
FLEX = ["BERT", "Llama", "Mistral", "BART", "Whisper", "ViT", "Gemma 3", "ModernBERT"]


def run(model, inputs):
    with torch.no_grad():
        return model(**inputs)


def watched(model, inputs, **options):
    with torch.no_grad(), mirada.watch(model, **options) as records:
        output = model(**inputs)
    return records, output


def same(records, weights):
    assert len(records) == len(weights)
    for record, expected_weights in zip(records, weights, strict=True):
        found = record.matrix.to_dense()
        # A query that sees nothing attends to nothing; eager mode shares its attention out evenly.
        sees = found.sum(-1) > 0.5
        assert sees.float().mean() > 0.75
        torch.testing.assert_close(found[sees], expected_weights[sees], rtol=0, atol=1e-5)


def equal(one, other):
    pairs = [(one[name], other[name]) for name in one if isinstance(one[name], torch.Tensor)]
    assert pairs
    assert all(torch.equal(before, after) for before, after in pairs)


@pytest.mark.parametrize("name", ALL_SDPA)
def test_sdpa(name):
    case = CASES[name]
    model = case.build("sdpa")
    records, output = watched(model, case.inputs)
    assert len(records) == case.calls
    assert {record.how for record in records} == {"scaled_dot_product_attention"}
    equal(output, run(model, case.inputs))
    same(records, expected(case, case.build("eager")))


@pytest.mark.parametrize("name", CASES)
def test_eager(name):
    case = CASES[name]
    model = case.build("eager")
    records, output = watched(model, case.inputs)
    assert {record.how for record in records} == {"by hand"}
    equal(output, run(model, case.inputs))
    same(records, expected(case, model))


@pytest.mark.parametrize("name", FLEX)
def test_flex(name):
    case = CASES[name]
    records, _ = watched(case.build("flex_attention"), case.inputs)
    assert {record.how for record in records} == {"flex_attention"}
    same(records, expected(case, case.build("eager")))


@pytest.mark.parametrize("cache", ["dynamic", "static"])
@pytest.mark.parametrize("name", ["GPT-2", "Llama", "Qwen2", "Mistral"])
def test_a_generation_is_one_forward(name, cache):
    model, ids = CASES[name].build("sdpa"), padded()["input_ids"]
    with mirada.watch(model) as records:
        text = model.generate(ids, max_new_tokens=5, do_sample=False, pad_token_id=0, cache_implementation=cache)
    whole = CASES[name].build("eager")
    with torch.no_grad():
        weights = whole(text[:, :-1], output_attentions=True).attentions
    stitched = records.stitched()
    length = text.shape[1] - 1
    assert [record.shape[:3] for record in stitched] == [(2, 4, length)] * 2
    for record, expected_weights in zip(stitched, weights, strict=True):
        torch.testing.assert_close(record.matrix.to_dense()[..., :length], expected_weights, rtol=0, atol=1e-5)


def test_a_generation_of_padded_texts_with_grouped_heads():
    """Without a cache of its own shape: transformers packs the one query's heads when there is a mask."""
    model, inputs = CASES["Llama"].build("sdpa"), {name: part.flip(1) for name, part in padded().items()}
    with mirada.watch(model) as records:
        text = model.generate(**inputs, max_new_tokens=5, do_sample=False, pad_token_id=0)
    real = torch.cat([inputs["attention_mask"], torch.ones(2, 4, dtype=torch.long)], 1)
    with torch.no_grad():
        weights = CASES["Llama"].build("eager")(
            text[:, :-1],
            attention_mask=real,
            position_ids=(real.cumsum(-1) - 1).clamp(min=0),
            output_attentions=True,
        )
    assert records[-1].shape == (2, 4, 1, 13)
    for record, expected_weights in zip(records.stitched(), weights.attentions, strict=True):
        rows = real.bool()[:, None].expand(2, 4, 13)
        torch.testing.assert_close(record.matrix.to_dense()[rows], expected_weights[rows], rtol=0, atol=1e-5)


def test_an_encoder_decoders_generation():
    case = CASES["T5"]
    model = case.build("sdpa")
    with mirada.watch(model) as records:
        text = model.generate(**padded(), max_new_tokens=5, do_sample=False)
    inputs = padded() | {"decoder_input_ids": text[:, :-1]}
    whole = expected(type(case)(case.build, inputs, case.calls, case.attentions, turns=True), case.build("eager"))
    same(records.stitched(), whole)


def test_a_beam_search_is_refused():
    model = CASES["Llama"].build("sdpa")
    with mirada.watch(model) as records:
        model.generate(padded()["input_ids"], max_new_tokens=5, num_beams=3, pad_token_id=0)
    with pytest.raises(ValueError, match="beam search"):
        records.stitched()


def test_knocking_out_a_head_equals_silencing_its_part_of_the_projection():
    case = CASES["Llama"]
    model = case.build("sdpa")
    _, edited = watched(model, case.inputs, edit=ablate(layers=1, heads=2))
    with torch.no_grad():
        model.model.layers[1].self_attn.o_proj.weight[:, 2 * 8 : 3 * 8] = 0
    torch.testing.assert_close(edited.logits, run(model, case.inputs).logits)


def test_gradient_checkpointing():
    case = CASES["BERT"]
    model = case.build("sdpa")
    model.gradient_checkpointing_enable()
    model.train()
    with mirada.watch(model) as records:
        model(**case.inputs).last_hidden_state.sum().backward()
    assert len(records) == 2


def test_a_softcap_written_by_hand():
    """Gemma 2 caps its scores, in eager mode only."""
    import transformers

    from strangers import SIZES, Case

    config = transformers.Gemma2Config(vocab_size=64, num_key_value_heads=2, head_dim=8, **SIZES)
    config._attn_implementation = "eager"
    model = transformers.Gemma2ForCausalLM(config).eval()
    records, output = watched(model, padded())
    equal(output, run(model, padded()))
    same(records, expected(Case(lambda _: model, padded(), 2), model))


def test_the_sink_of_gpt_oss_is_the_last_key():
    from strangers import SIZES, Case, build_of

    settings = {"vocab_size": 64, "num_key_value_heads": 2, "head_dim": 8, "sliding_window": 4, "num_local_experts": 2}
    build = build_of("GptOssForCausalLM", "GptOssConfig", num_experts_per_tok=1, **settings, **SIZES)
    model = build("eager")
    records, output = watched(model, padded())
    equal(output, run(model, padded()))
    for record, weights in zip(records, expected(Case(build, padded(), 2), model), strict=True):
        torch.testing.assert_close(record.matrix.to_dense()[..., :-1], weights, rtol=0, atol=1e-5)


def test_one_unseen_among_seen_is_a_warning():
    case = CASES["BERT"]
    model = case.build("eager")
    first = model.encoder.layer[0].attention.self
    first.forward = lambda states, *args, **kwargs: (states, None)
    with pytest.warns(UnseenAttention, match=r"encoder\.layer\.0\.attention.*attn_implementation='sdpa'"):
        watched(model, case.inputs)


@pytest.mark.parametrize("flash", [True, False])
@pytest.mark.parametrize("options", [{}, {"rotary_pos_emb": True}, {"attn_kv_heads": 2}, {"alibi_pos_bias": True}])
def test_x_transformers(flash, options):
    from x_transformers import Decoder, TransformerWrapper

    def build(flash):
        torch.manual_seed(0)
        layers = Decoder(dim=128, depth=2, heads=4, attn_dim_head=32, attn_flash=flash, **options)
        return TransformerWrapper(num_tokens=64, max_seq_len=32, attn_layers=layers).eval()

    ids = padded()["input_ids"]
    with torch.no_grad():
        _, intermediates = build(flash=False)(ids, return_intermediates=True)
    model = build(flash)
    records, output = watched(model, {"x": ids})
    assert torch.equal(output, run(model, {"x": ids}))
    assert len(records) == 2
    same(records, [layer.post_softmax_attn for layer in intermediates.attn_intermediates])


def test_the_page_lists_these_models_and_their_calls():
    page = (Path(__file__).parent.parent / "docs" / "watch.md").read_text()
    rows = [line.strip("| ").split(" | ") for line in page.splitlines() if re.search(r"\de[-+]\d\d \|$", line)]
    assert {row[0]: int(row[1]) for row in rows} == {name: case.calls for name, case in CASES.items()}
    assert all(calls in (row[1], "–") for row in rows for calls in row[2:5])
