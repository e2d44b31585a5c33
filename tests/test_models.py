"""Opening models: 25 families from folders, with words, patches and frames at the right places, and refusals."""

from __future__ import annotations

from operator import attrgetter

import pytest
import torch

import mirada
from model_folders import FAMILIES, TEXT, picture, recording, save

pytestmark = [pytest.mark.transformers, pytest.mark.filterwarnings("ignore")]


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A family's folder, made once."""
    root, made = tmp_path_factory.mktemp("models"), {}

    def folder(name):
        if name not in made:
            made[name] = save(name, root / name)
        return made[name]

    return folder


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    root = tmp_path_factory.mktemp("inputs")
    return {"image": picture(root / "cat.png"), "sound": recording(root / "tone.wav")}


def looked(name, saved, files, **options):
    takes = FAMILIES[name].takes
    given = {
        "text": (TEXT, {}),
        "image": (files["image"], {}),
        "sound": (files["sound"], {}),
        "text and image": (TEXT, {"image": files["image"]}),
    }[takes]
    return mirada.look(saved(name), given[0], **given[1], **options)


def eager(name, saved, view):
    """The weights that the model itself gives in eager mode, in the order of the calls."""
    family = FAMILIES[name]
    model = type(view.opened.model).from_pretrained(saved(name), attn_implementation="eager").eval()
    with torch.no_grad():
        output = model(**view.prepared.inputs, output_attentions=True, return_dict=True)
    lists = [list(attrgetter(part)(output)) for part in family.attentions]
    if not family.turns:
        return [weights for part in lists for weights in part]
    encoder, own, cross = lists
    return encoder + [weights for pair in zip(own, cross, strict=True) for weights in pair]


@pytest.mark.parametrize("name", FAMILIES)
def test_each_family_is_opened_and_its_matrices_are_eagers(name, saved, files):
    view = looked(name, saved, files, generate=4 if FAMILIES[name].turns else 0)
    assert type(view.opened.model).__name__ == FAMILIES[name].head
    assert len(view.records) == FAMILIES[name].calls
    weights = eager(name, saved, view)
    found = [record.matrix.to_dense() for record in view.records]
    found = [one for one in found if one.shape[-2] > 1 or FAMILIES[name].takes == "text"][-len(weights) :]
    assert len(found) == len(weights)
    for one, expected in zip(found, weights, strict=True):
        torch.testing.assert_close(one.reshape(expected.shape), expected, rtol=0, atol=1e-5)


def sides_of(view, part):
    layers = [layer for layer in view.scene.layers if part in layer.name]
    assert layers
    return list(layers[-1].queries), list(layers[-1].keys)


WORDS = ["<s>", *TEXT.replace(",", " ,").split(), "</s>"]


@pytest.mark.parametrize("name", FAMILIES)
def test_each_familys_page_carries_its_words_and_patches(name, saved, files, tmp_path):
    view = looked(name, saved, files)
    page = view.save(tmp_path / "page.html").read_text()
    for layer in view.scene.layers:
        assert not any(label.isdecimal() for label in (*layer.queries, *layer.keys)), layer.name
    expected = {"text": "sat", "image": "3,2", "sound": " s", "text and image": "sat"}[FAMILIES[name].takes]
    assert f'{expected}"' in page
    assert ("data:image/png" in page.split("data-scene")[1]) == ("image" in FAMILIES[name].takes)
    assert view.strongest()["entropy"]


@pytest.mark.parametrize("name", ["Llama", "BERT", "Falcon"])
def test_each_token_of_a_text_is_named_by_its_piece_of_it(name, saved, files):
    view = looked(name, saved, files)
    assert all(list(layer.queries) == list(layer.keys) == WORDS for layer in view.scene.layers)
    assert view.prepared.text.special == (True, *(False,) * 10, True)
    assert [layer.name for layer in view.scene.layers] == ["0", "1"]


@pytest.mark.parametrize("name", ["T5", "BART"])
def test_a_decoders_queries_are_what_it_wrote_and_its_cross_keys_the_source(name, saved, files):
    view = looked(name, saved, files, generate=3)
    written = list(view.prepared.target.labels)
    assert 1 < len(written) <= 4
    assert sides_of(view, "encoder.")[0] == WORDS
    cross = [layer for layer in view.scene.layers if layer.size == (len(written), 12)]
    assert [(list(layer.queries), list(layer.keys)) for layer in cross] == [(written, WORDS)] * 2


def test_patches_are_named_by_row_and_column_after_the_class_token(saved, files):
    grid = [f"{row},{column}" for row in range(4) for column in range(4)]
    for name in ("ViT", "DINOv2"):
        view = looked(name, saved, files)
        assert sides_of(view, "1") == (["[class]", *grid],) * 2
        assert (view.scene.picture.grid, view.scene.picture.first) == ((4, 4), 1)
    towers = looked("SigLIP", saved, files)
    assert sides_of(towers, "vision_model.encoder") == (grid, grid)
    assert sides_of(towers, "vision_model.head") == (["[pooled]"], grid)
    assert sides_of(towers, "text_model") == (WORDS, WORDS)


def test_an_image_within_a_text_stands_where_its_tokens_are(saved, files):
    """24 × 16 pixels in patches of 4 × 4, joined two by two: 2 × 3 tokens between two marks."""
    view = looked("Qwen2-VL", saved, files)
    patches = [f"{row},{column}" for row in range(2) for column in range(3)]
    words = TEXT.replace(",", " ,").split()
    assert sides_of(view, "language_model")[0] == ["<start_of_image>", *patches, "<end_of_image>", *words]
    assert (view.scene.picture.grid, view.scene.picture.first) == ((2, 3), 1)
    # The image tower takes its patches block by block.
    assert sides_of(view, "visual")[0][:8] == ["0,0", "0,1", "1,0", "1,1", "0,2", "0,3", "1,2", "1,3"]
    asked = mirada.look(saved("LLaVA"), "what is <image> ?", image=files["image"])
    assert sides_of(asked, "language_model")[0] == ["what", "is", *sides_of(asked, "vision")[0][1:], "?"]
    assert asked.scene.picture.first == 2


def test_frames_of_sound_are_named_by_their_time(saved, files):
    queries, keys = sides_of(looked("Whisper", saved, files), "encoder.layers")
    assert queries == keys
    assert (queries[:2], len(queries)) == (["0.00 s", "0.02 s"], 50)
    view = looked("Wav2Vec2", saved, files)
    assert sides_of(view, "1")[0][:2] == ["0.0000 s", "0.0006 s"]


def test_generated_tokens_follow_the_text_and_are_a_segment(saved, files):
    plain, longer = looked("GPT-2", saved, files), looked("GPT-2", saved, files, generate=3)
    assert longer.prepared.text.ids[:10] == plain.prepared.text.ids
    assert 1 <= len(longer.prepared.text) - 10 <= 3
    assert longer.prepared.text.ids[10] == plain.predictions[0].ids[0]
    assert longer.prepared.text.segments == {
        "prompt": slice(0, 10),
        "continuation": slice(10, len(longer.prepared.text)),
    }


def test_a_mask_is_predicted_where_it_stands(saved):
    view = mirada.look(saved("BERT"), "the <mask> sat")
    (mask,) = view.predictions
    with torch.no_grad():
        logits = view.opened.model(**view.prepared.inputs).logits[0, 2]
    assert mask.what == "mask at 2"
    assert mask.ids == tuple(logits.topk(5).indices.tolist())
    assert mask.probabilities == pytest.approx(logits.softmax(-1).topk(5).values.tolist())


def test_a_model_that_is_open_takes_its_tokenizer(saved):
    opened = mirada.look(saved("Llama"), TEXT).opened
    view = mirada.look(opened.model, TEXT, tokenizer=opened.tokenizer, layers=1, heads=[0, 3])
    assert [record.name for record in view.records] == ["model.layers.1.self_attn"]
    assert view.records[0].heads == (0, 3)
    own = mirada.look(opened.model, {"input_ids": torch.tensor([[1, 8, 9, 8]])})
    assert list(own.scene.layers[0].keys) == ["1", "8", "9", "8"]


def test_the_strongest_heads_are_the_summaries_largest(saved):
    view = mirada.look(saved("Llama"), TEXT)
    found = view.summaries()
    ids = torch.tensor(view.prepared.text.ids)
    expected = mirada.summaries.induction(view.records[1].matrix, ids)[0]
    torch.testing.assert_close(found["1"]["induction"], expected)
    best = view.strongest(3)["induction"]
    assert len(best) == 3
    assert best[0].value == pytest.approx(max(float(one["induction"].max()) for one in found.values()))
    entropies = [head.value for head in view.strongest()["entropy"]]
    assert entropies == sorted(entropies)
    assert "induction" not in mirada.look(saved("Llama"), "the cat").strongest()


def test_a_text_too_long_for_memory_is_watched_by_its_statistics(saved, monkeypatch):
    from mirada.models import running

    monkeypatch.setattr(running, "free_memory", lambda device: 0)
    view = mirada.look(saved("Llama"), " ".join(["the cat sat on"] * 50))
    assert "Too long to keep whole" in view.notes[0]
    assert not view.records[0].kept
    layer = view.scene.layers[0]
    assert layer.size == (64, 64)
    assert layer.keys[1] == "3–5"
    whole = mirada.look(saved("Llama"), " ".join(["the cat sat on"] * 50), keep="inputs")
    weights = whole.records[0].matrix.to_dense()[0]  # (heads, 202, 202)
    torch.testing.assert_close(view.records[0].answers["map"].sum(-1)[0], torch.ones(4, 64))
    first = weights[:, 0:3, 0:3].sum(-1).mean(-1)
    torch.testing.assert_close(view.records[0].answers["map"][0, :, 0, 0], first)
    for name, value in whole.summaries()["0"].items():
        torch.testing.assert_close(view.summaries()["0"][name], value, rtol=0, atol=1e-5)


def test_importance_of_a_language_models_heads_is_its_gates_gradient(saved):
    """In float64: what the output projection takes from a head is multiplied with its gate."""
    view = mirada.look(saved("GPT-2"), TEXT, dtype="float64")
    model, inputs = view.opened.model, view.prepared.inputs
    with mirada.watch(model) as records:
        score = model(**inputs).logits[0, -1].log_softmax(-1)[5]
    found = records.importance(score)
    weight, step = model.transformer.h[1].attn.c_proj.weight, 1e-4
    for head in range(4):
        rows, values = slice(8 * head, 8 * head + 8), []
        for by in (step, -step):
            with torch.no_grad():
                kept = weight[rows].clone()
                weight[rows] *= 1 + by
                values.append(float(model(**inputs).logits[0, -1].log_softmax(-1)[5]))
                weight[rows] = kept
        assert found[1, head].item() == pytest.approx(abs(values[0] - values[1]) / (2 * step), abs=1e-6)


def test_the_command_tells_and_saves(saved, tmp_path, capsys):
    from mirada.cli import main

    page = tmp_path / "page.html"
    (tmp_path / "text.txt").write_text(TEXT)
    assert main(["look", str(saved("Llama")), "--file", str(tmp_path / "text.txt"), "--save", str(page)]) == 0
    told = capsys.readouterr().out
    assert "1  model.layers.1.self_attn  LlamaAttention      4  12 × 12  causal" in told
    (line,) = [line for line in told.splitlines() if line.startswith("induction")]
    best = mirada.look(saved("Llama"), TEXT).strongest()["induction"]
    assert line.split()[-10:] == [part for head in best for part in str(head).split()]
    assert told.splitlines()[-1] == str(page)
    assert "\nnext token: " in told
    html = page.read_text()
    assert '"sat"' in html
    assert "http-equiv" in html
    assert main(["look", str(saved("Llama")), TEXT, "--no-page", "--layers", "1", "--heads", "2"]) == 0
    told = capsys.readouterr().out
    assert "layers.0" not in told
