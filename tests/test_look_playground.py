"""The live playground of a model: its answers equal the model run with the same edits; bad input is told."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection

import numpy as np
import pytest
import torch

import mirada
from mirada.interventions import ablate, knock_out_edges
from mirada.viewer.server import Server
from model_folders import TEXT, picture, recording, save

pytestmark = [pytest.mark.transformers, pytest.mark.filterwarnings("ignore")]


@pytest.fixture(scope="module")
def views(tmp_path_factory):
    root, made = tmp_path_factory.mktemp("models"), {}

    def view(name, given=TEXT, **options):
        if name not in made:
            save(name, root / name)
            made[name] = True
        return mirada.look(root / name, given, **options)

    return view


def tried(view, **given):
    return view.trials["language"].answer({"do": "run", "text": TEXT, "top": 6, **given})


def distribution(view, edit=(), temperature=1.0, ids=None):
    inputs = view.prepared.inputs if ids is None else {"input_ids": torch.tensor([ids])}
    with torch.no_grad(), mirada.watch(view.opened.model, edit=edit):
        logits = view.opened.model(**inputs).logits[0, -1]
    return (logits / temperature).softmax(-1)


def test_the_next_token_has_the_models_probabilities(views):
    view = views("Llama")
    (found,) = tried(view, temperature=0.5)["predictions"]
    expected = distribution(view, temperature=0.5).topk(6)
    assert found["what"] == "next token"
    assert found["ids"] == expected.indices.tolist()
    assert found["probabilities"] == pytest.approx(expected.values.tolist(), abs=1e-5)
    assert found["before"] is None


def test_heads_off_and_edges_cut_equal_the_same_edits_in_python(views):
    view = views("Qwen3")
    edits = [ablate(layers=1, heads=[0, 2]), ablate(layers=0)]
    allowed = torch.ones(12, 12, dtype=torch.bool)
    allowed[11, 3] = allowed[5, 0] = False
    for given, edit in (
        ({"off": [[1, 0], [1, 2], [0, 0], [0, 1], [0, 2], [0, 3]]}, edits),
        ({"cut": [[11, 3], [5, 0]]}, [knock_out_edges(allowed)]),
        ({"off": [[1, 3]], "cut": [[11, 3], [5, 0]]}, [ablate(layers=1, heads=3), knock_out_edges(allowed)]),
    ):
        answer = tried(view, **given)
        (found,) = answer["predictions"]
        after, before = distribution(view, edit), distribution(view)
        assert found["probabilities"] == pytest.approx(after[found["ids"]].tolist(), abs=1e-5)
        assert found["before"] == pytest.approx(before[found["ids"]].tolist(), abs=1e-5)
        assert {int(before.argmax()), int(after.argmax())} <= set(found["ids"])
        with torch.no_grad(), mirada.watch(view.opened.model, edit=edit) as records:
            view.opened.model(**view.prepared.inputs)
        assert answer["about"]["compared"] == ("before", "after")
        for layer, of in ((1 + len(records), records), (1, view.records)):
            asked = {"layer": layer, "head": 1, "query": 11, "version": answer["version"]}
            row = np.frombuffer(view.answers().answer("row", asked), "<f4")
            np.testing.assert_allclose(row, of[1].matrix.to_dense()[0, 1, 11], atol=1e-5)


def test_what_is_written_equals_generate(views):
    view = views("GPT-2")
    whole = view.opened.model.generate(**view.prepared.inputs, max_new_tokens=5, do_sample=False, pad_token_id=0)
    written = []
    for _ in range(len(whole[0]) - 10):
        answer = tried(view, written=written, top=1)
        assert answer["about"]["layers"][0]["keys"] == 10 + len(written)
        assert answer["next"] == answer["predictions"][0]["ids"][0]
        written.append(answer["next"])
    assert written == whole[0, 10:].tolist()


def test_a_decoder_writes_its_translation_token_by_token(views):
    view = views("BART", generate=0)
    answer = tried(view, written=[9, 10])
    sizes = {(layer["queries"], layer["keys"]) for layer in answer["about"]["layers"]}
    assert sizes == {(12, 12), (3, 3), (3, 12)}
    inputs = view.prepared.inputs | {"decoder_input_ids": torch.tensor([[1, 9, 10]])}
    with torch.no_grad():
        expected = view.opened.model(**inputs).logits[0, -1].softmax(-1)
    (found,) = answer["predictions"]
    assert found["probabilities"] == pytest.approx(expected[found["ids"]].tolist(), abs=1e-5)


def test_a_page_begins_with_what_was_looked_at(views, tmp_path):
    """What was written, and edits that were given, hold in the page too."""
    edit = ablate(layers=0, heads=2)
    view = views("GPT-2", generate=3, edit=edit)
    about, ids = view.trials["language"].about, list(view.prepared.text.ids)
    assert about["written"] == ids[10:]
    assert about["text"] == TEXT
    (first,) = about["first"]["predictions"]
    (again,) = tried(view, written=about["written"])["predictions"]
    expected = distribution(view, edit, ids=ids)
    for found in (first, again):
        assert found["probabilities"] == pytest.approx(expected[found["ids"]].tolist(), abs=1e-5)
    (off,) = tried(view, written=about["written"], off=[[1, 1]])["predictions"]
    assert off["before"] == pytest.approx(expected[off["ids"]].tolist(), abs=1e-5)
    both = distribution(view, [edit, ablate(layers=1, heads=1)], ids=ids)
    assert off["probabilities"] == pytest.approx(both[off["ids"]].tolist(), abs=1e-5)
    sound = views("Whisper", recording(tmp_path / "tone.wav"), generate=2)
    assert tried(sound, written=sound.trials["language"].about["written"])["about"]["layers"][2]["keys"] == 3
    assert tried(sound)["about"]["layers"][2]["keys"] == 1


def test_two_texts_are_compared(views):
    view = views("Llama")
    other = mirada.look(view.opened, "the dog ran on a mat")
    given = {"off": [[1, 1]], "beside": {"text": "the dog ran on a mat", "chat": False, "written": [9]}}
    (found,) = tried(view, **given)["predictions"]
    edit = ablate(layers=1, heads=1)
    before = distribution(view, edit, ids=[*other.prepared.text.ids, 9])
    assert found["before"] == pytest.approx(before[found["ids"]].tolist(), abs=1e-5)
    assert found["probabilities"] == pytest.approx(distribution(view, edit)[found["ids"]].tolist(), abs=1e-5)
    with pytest.raises(ValueError, match="beside"):
        tried(view, beside="the dog")


def test_maps_of_two_texts_of_equal_length_are_compared(views):
    view = views("Llama")
    text, other = "the cat sat on a mat", "the dog ran on a mat"
    pair = mirada.look(view.opened, text, compare=other)
    assert pair.scene.compared == (other, text)
    counted = len(mirada.look(view.opened, other).prepared.text), len(pair.prepared.text)
    assert counted[0] == counted[1]
    for given in ({"beside": {"text": other}}, {"beside": {"text": other}, "off": [[1, 1]]}):
        about = tried(view, text=text, **given)["about"]
        assert about["compared"] == (other, text)
        assert len(about["layers"]) == 2 * len(view.records)
    words = [about["words"][about["layers"][n]["query_words"]] for n in (0, len(view.records))]
    assert "".join(words[0]).replace(" ", "") != "".join(words[1]).replace(" ", "")
    unlike = tried(view, text=text, beside={"text": other + " again"})
    assert unlike["about"]["compared"] is None
    assert "tokens: maps are compared of texts of equal length" in unlike["says"]
    with pytest.raises(ValueError, match=r"compare: .* has .* tokens, .* maps are compared of texts of equal length"):
        mirada.look(view.opened, text, compare=other + " again")


def test_masks_classes_images_and_sound_have_it_too(views, tmp_path):
    assert [one["what"] for one in tried(views("BERT"), text="the <mask> sat")["predictions"]] == ["mask at 2"]
    assert tried(views("BERT"))["predictions"] == []
    (found,) = tried(views("ModernBERT"), off=[[0, 1]])["predictions"]
    assert (found["what"], sorted(found["labels"])) == ("class", ["LABEL_0", "LABEL_1"])
    view = views("ViT", picture(tmp_path / "cat.png"))
    assert view.trials["language"].about["text"] is None
    (found,) = tried(view, off=[[1, 0]])["predictions"]
    with torch.no_grad(), mirada.watch(view.opened.model, edit=ablate(layers=1, heads=0)):
        expected = view.opened.model(**view.prepared.inputs).logits[0].softmax(-1)
    assert found["probabilities"] == pytest.approx(expected[found["ids"]].tolist(), abs=1e-5)
    assert tried(views("Wav2Vec2", recording(tmp_path / "tone.wav")))["about"]["layers"][1]["name"] == "1"


def test_importance_and_the_measured_effect_of_each_head(views):
    view = views("GPT-2")
    given = {"text": TEXT, "off": [[0, 1]]}
    importance = view.trials["language"].answer({"do": "importance", **given})["values"]
    with mirada.watch(view.opened.model, edit=ablate(layers=0, heads=1)) as records:
        logits = view.opened.model(**view.prepared.inputs).logits[0, -1]
        score = logits.log_softmax(-1)[logits.argmax()]
    np.testing.assert_allclose(importance, records.importance(score).tolist(), atol=1e-6)
    assert importance[0][1] == pytest.approx(0, abs=1e-7)
    effects = view.trials["language"].answer({"do": "effect", "layer": 1, **given})["values"]
    edits = [ablate(layers=0, heads=1)]
    best = int(distribution(view, edits).argmax())
    for head, effect in enumerate(effects):
        less = distribution(view, [*edits, ablate(layers=1, heads=head)])
        assert effect == pytest.approx(float(distribution(view, edits)[best].log() - less[best].log()), abs=1e-5)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"text": 3}, "text"),
        ({"text": "the " * 5000}, "up to 4096"),
        ({"off": [[9, 0]]}, "no head 9.0"),
        ({"off": [[0, 4]]}, "no head 0.4"),
        ({"off": [[0]]}, "off"),
        ({"off": "all"}, "off"),
        ({"cut": [[0, 99]]}, "0 → 99"),
        ({"written": [-1]}, "written"),
        ({"written": [64]}, "written: there is no token 64"),
        ({"temperature": 0}, "temperature"),
        ({"temperature": "hot"}, "temperature"),
        ({"top": 0}, "top"),
        ({"do": "fly"}, "fly"),
        ({"do": "effect", "layer": 7}, "layer"),
        ({"chat": True}, "chat template"),
    ],
)
def test_what_a_page_sends_is_checked(views, given, says):
    view = views("Mistral")
    with pytest.raises(ValueError, match=says):
        tried(view, **given)
    assert tried(view)["predictions"]


def test_forty_prompts_of_two_tabs_at_once(views):
    """The last one of each tab is answered, nothing hangs, and only a few scenes are kept."""
    view = views("Llama")
    server = Server(view.answers(), trials=view.trials)
    server.start()
    host, port = "127.0.0.1", int(server.address.split(":")[2].split("/")[0])
    path = server.address.split(str(port))[1] + "language"

    def post(turn, tab):
        connection = HTTPConnection(host, port, timeout=60)
        text = " ".join(["the cat"] * (1 + turn))
        connection.request("POST", path, json.dumps({"do": "run", "text": text, "tab": tab, "turn": turn}))
        answer = connection.getresponse()
        return answer.status, answer.read()

    try:
        with ThreadPoolExecutor(40) as pool:
            futures = {(tab, turn): pool.submit(post, turn, tab) for turn in range(1, 21) for tab in ("left", "right")}
            answers = {of: future.result(timeout=120) for of, future in futures.items()}
        assert {status for status, _ in answers.values()} <= {200, 400}
        for tab in ("left", "right"):
            status, body = answers[tab, 20]
            assert status == 200
            assert json.loads(body)["about"]["layers"][0]["keys"] == 2 + 2 * 21
        assert len(view.answers()._scenes) <= 8
        assert threading.active_count() < 60
    finally:
        server.stop()


def test_numbers_of_a_text_that_is_gone_are_refused(views):
    view = views("Llama")
    first = tried(view)["version"]
    for n in range(9):
        last = tried(view, text=f"the cat {'sat ' * n}")["version"]
    with pytest.raises(ValueError, match="no longer"):
        view.answers().answer("row", {"layer": 0, "head": 0, "query": 0, "version": first})
    assert view.answers().answer("row", {"layer": 0, "head": 0, "query": 0, "version": last})
    assert view.answers().answer("row", {"layer": 0, "head": 0, "query": 0})  # what a page begins with


def test_an_emptied_text_is_told(views):
    with pytest.raises(ValueError, match="0 tokens"):
        tried(views("GPT-2"), text="")


ROOT = "document.querySelector('.mirada').shadowRoot"


@pytest.mark.browser
def test_the_page_follows_what_is_typed_written_and_switched_off(browser, views):
    view = views("GPT-2", "the cat")
    server = Server(view.answers(), trials=view.trials)
    server.start()
    complaints, urls = [], []
    page = browser.new_page(viewport={"width": 1280, "height": 800})
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: urls.append(request.url))
    try:
        page.goto(server.address)
        page.locator(".answer").first.wait_for()
        page.get_by_text("2 × 2, live").wait_for()
        box = page.locator(".prompt")
        box.press("ControlOrMeta+a")  # what is typed takes its place, so that the text is never empty
        box.press_sequentially("the cat sat on <b>", delay=5)
        expected = mirada.look(view.opened, "the cat sat on <b>")
        length = len(expected.prepared.text)
        page.get_by_text(f"{length} × {length}, live").wait_for()
        page.wait_for_function(f"() => !{ROOT}.querySelector('.playground').hasAttribute('data-busy')")
        assert page.locator(".answer").count() == 6
        assert box.evaluate("box => box === box.getRootNode().activeElement")
        page.get_by_role("tab", name="Map").click()
        page.get_by_role("button", name="Write a token").click()
        page.get_by_text(f"{length + 1} × {length + 1}, live").wait_for()
        page.get_by_role("button", name="Undo").click()
        page.get_by_text(f"{length} × {length}, live").wait_for()
        page.get_by_role("button", name="head 1.2", exact=True).click()
        page.locator(".ghost").first.wait_for()
        page.get_by_text("All heads on (1 off)").wait_for()
        off = tried(view, text="the cat sat on <b>", off=[[1, 2]])["predictions"][0]
        share = f"{100 * off['before'][0]:.1f} % → {100 * off['probabilities'][0]:.1f} %"
        assert page.locator(".answer .figure").first.text_content() == share
        page.get_by_role("tab", name="Compare").click()
        page.locator(".compare > .readout[data-weights]").wait_for()
        assert page.get_by_role("button", name="after", exact=True).get_attribute("aria-pressed") == "true"
        page.get_by_role("tab", name="Map").click()
        page.get_by_role("button", name="layer 1: switch all of it").or_(
            page.locator(".switch-layer").nth(1)
        ).first.click()
        page.get_by_text("All heads on (4 off)").wait_for()
        page.get_by_text("All heads on (4 off)").click()
        page.get_by_role("button", name="Measure each").click()
        page.locator(".ranking li").nth(7).wait_for()
        page.get_by_role("button", name="Importance").click()
        page.get_by_role("tab", name="Heads").click()
        page.get_by_label("Measure").select_option("importance")
        page.get_by_text("|gradient of the head's gate|").wait_for()
        found = view.trials["language"].answer({"do": "importance", "text": "the cat sat on <b>"})["values"]
        first = max((value, layer, head) for layer, row in enumerate(found) for head, value in enumerate(row))
        page.wait_for_function(f"() => {ROOT}.querySelector('.card-words').textContent === 'L{first[1]}·{first[2]}'")
        box.press("End")
        box.press_sequentially(" on")  # another text: what was measured no longer holds
        page.get_by_text(f"{length + 1} × {length + 1}, live").wait_for()
        page.wait_for_function(f"() => {ROOT}.querySelectorAll('.heads select')[1].value === ''")
        page.get_by_role("button", name="Compare", exact=True).click()
        page.get_by_text("→ this text").wait_for()
        page.get_by_role("button", name="Compared with").click()
        page.get_by_text("→ this text").wait_for(state="detached")
        page.locator(".cut-now").click()
        page.locator(".cut-edge").wait_for()
        server.stop()
        box.fill("the dog")
        page.get_by_text("The server has ended").first.wait_for()
    finally:
        page.close()
        server.stop()
    # While one types, a number may still be asked of a text that another has replaced: 410, and the page drops it.
    foreseen = ("ERR_CONNECTION_REFUSED", "410 (Gone)")
    assert [text for text in complaints if not any(words in text for words in foreseen)] == []
    assert all(url.startswith((server.address, "data:")) for url in urls)


@pytest.mark.browser
def test_what_was_measured_of_another_text_is_not_shown(browser, views):
    view = views("GPT-2", "the cat")
    server = Server(view.answers(), trials=view.trials)
    server.start()
    page = browser.new_page(viewport={"width": 1280, "height": 800})
    held = []

    def hold(route):  # answers about heads wait until the text is another one
        if json.loads(route.request.post_data)["do"] == "run":
            route.continue_()
        else:
            held.append(route)

    def quiet():
        page.wait_for_function(f"() => {ROOT}.querySelector('.playground .status').hidden")
        page.wait_for_function(f"() => !{ROOT}.querySelector('.playground').hasAttribute('data-busy')")

    try:
        page.goto(server.address)
        page.route("**/language", hold)
        page.get_by_role("button", name="Importance").click()
        page.locator(".prompt").press_sequentially(" sat")
        page.get_by_text("3 × 3, live").wait_for()
        held.pop().continue_()
        quiet()
        assert page.locator(".ranking li").count() == 0
        page.get_by_role("button", name="Measure each").click()
        page.get_by_text("measured 0 of").wait_for()
        page.get_by_role("button", name="Write a token").click()
        page.get_by_text("4 × 4, live").wait_for()
        held.pop().continue_()
        page.get_by_text("measuring was stopped").wait_for()
        assert page.locator(".ranking li").count() == 0
        page.unroute("**/language")
        page.get_by_role("button", name="Importance").click()
        page.locator(".ranking li").nth(7).wait_for()
        page.get_by_role("button", name="Undo").click()  # the importance was of the text with one token more
        page.get_by_text("3 × 3, live").wait_for()
        page.locator(".ranking li").first.wait_for(state="detached")
    finally:
        page.close()
        server.stop()
