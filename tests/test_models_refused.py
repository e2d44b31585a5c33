"""What `mirada look` refuses: in one line, with exit status 2, and nothing of the model's folder is executed."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest

from mirada.cli import main
from model_folders import picture, save

pytestmark = [pytest.mark.transformers, pytest.mark.filterwarnings("ignore")]
EXECUTED = "raise SystemExit('executed')\nopen('executed', 'w').close()\n"


class Bomb:
    """Unpickled, it leaves a file behind."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return Path.touch, (Path(self.mark),)


@pytest.fixture
def folder(tmp_path):
    return save("Llama", tmp_path / "model")


def refused(capsys, *arguments):
    capsys.readouterr()
    assert main(["look", *map(str, arguments), "--no-page"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1, captured.err
    line = captured.err
    assert line.startswith("mirada: ")
    return line


def configured(folder, **changes):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    return folder


def test_pickled_weights(folder, capsys, tmp_path):
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps({"weight": Bomb(tmp_path / "executed")}))
    assert "pickled (pytorch_model.bin)" in refused(capsys, folder, "the cat")
    assert not (tmp_path / "executed").exists()


def test_pickled_weights_beside_safetensors_are_not_read(folder, capsys, tmp_path):
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps({"weight": Bomb(tmp_path / "executed")}))
    assert main(["look", str(folder), "the cat", "--no-page"]) == 0
    assert not (tmp_path / "executed").exists()


def test_a_model_of_an_unknown_type_that_brings_code(folder, capsys):
    (folder / "modeling_own.py").write_text(EXECUTED)
    configured(folder, model_type="own", auto_map={"AutoModelForCausalLM": "modeling_own.Own"})
    assert "needs its own code (modeling_own.Own)" in refused(capsys, folder, "the cat")


def test_code_beside_a_type_that_transformers_knows_is_not_run(folder, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("modeling_own", "tokenization_own", "configuration_own"):
        (folder / f"{name}.py").write_text(EXECUTED)
    (folder / "custom_generate").mkdir()
    (folder / "custom_generate" / "generate.py").write_text(EXECUTED)
    configured(folder, auto_map={"AutoModelForCausalLM": "modeling_own.Own", "AutoConfig": "configuration_own.Own"})
    assert main(["look", str(folder), "the cat", "--no-page", "--generate", "1"]) == 0
    assert not (tmp_path / "executed").exists()


def test_a_tokenizer_that_brings_code(folder, capsys):
    (folder / "tokenization_own.py").write_text(EXECUTED)
    path = folder / "tokenizer_config.json"
    own = {"tokenizer_class": "OwnTokenizer", "auto_map": {"AutoTokenizer": ["tokenization_own.OwnTokenizer", None]}}
    path.write_text(json.dumps(json.loads(path.read_text()) | own))
    assert "its own code" in refused(capsys, folder, "the cat")


@pytest.mark.parametrize("key", ["_attn_implementation", "attn_implementation", "experts_implementation"])
def test_kernels_from_a_hub(folder, capsys, key):
    configured(folder, **{key: "somebody/kernel"})
    assert "kernels from a hub (somebody/kernel)" in refused(capsys, folder, "the cat")


def test_no_tokenizer(folder, capsys):
    for path in folder.glob("tokenizer*"):
        path.unlink()
    assert "no tokenizer" in refused(capsys, folder, "the cat")


def test_a_broken_tokenizer(folder, capsys):
    (folder / "tokenizer.json").write_text("{}")
    assert "its tokenizer can't be read" in refused(capsys, folder, "the cat")


def test_no_such_model(capsys, tmp_path):
    assert "no such folder" in refused(capsys, tmp_path / "nothing", "the cat")
    assert "no such folder" in refused(capsys, "./nothing", "the cat")
    assert "no such folder" in refused(capsys, "nothing.gguf", "the cat")
    assert "no config.json" in refused(capsys, _safetensors_alone(tmp_path / "bare"), "the cat")
    assert "no weights" in refused(capsys, tmp_path, "the cat")


def _safetensors_alone(folder):
    folder.mkdir()
    (folder / "model.safetensors").touch()
    return folder


def test_an_unknown_type_without_code(folder, capsys):
    configured(folder, model_type="nothing")
    assert "'nothing'" in refused(capsys, folder, "the cat")


def test_broken_files(folder, capsys):
    (folder / "model.safetensors").write_bytes(b"\0" * 64)
    assert "can't be opened" in refused(capsys, folder, "the cat")
    (folder / "config.json").write_text("{")
    assert "not JSON" in refused(capsys, folder, "the cat")


def test_a_broken_gguf(tmp_path, capsys):
    path = tmp_path / "model.gguf"
    path.write_bytes(b"GGUF" + b"\0" * 20)
    assert "model: can't be opened" in refused(capsys, path, "the cat")


def test_texts_that_can_not_be_shown(tmp_path, capsys):
    folder = save("GPT-2", tmp_path / "model")
    assert "0 tokens" in refused(capsys, folder, "")
    assert "takes text: give a text" in refused(capsys, folder)
    assert "chat template" in refused(capsys, folder, "the cat", "--chat")
    (tmp_path / "text.txt").write_bytes(b"\xff\xfe\xfa")
    assert "UTF-8" in refused(capsys, folder, "--file", tmp_path / "text.txt")
    assert "No such file" in refused(capsys, folder, "--file", tmp_path / "nothing.txt")
    assert "takes text, not an image" in refused(capsys, folder, "the cat", "--image", picture(tmp_path / "a.png"))


def test_more_tokens_than_learned_positions(tmp_path, capsys):
    folder = save("OPT", tmp_path / "model")
    assert "takes 32 tokens, the text has 102" in refused(capsys, folder, "the " * 100)


def test_images_that_are_none(tmp_path, capsys):
    folder = save("ViT", tmp_path / "model")
    (tmp_path / "cat.png").write_text("not an image")
    assert "not an image" in refused(capsys, folder, tmp_path / "cat.png")
    assert "no such file" in refused(capsys, folder, tmp_path / "dog.png")
    assert "takes an image" in refused(capsys, folder)


def test_a_model_of_text_and_images_needs_both(tmp_path, capsys):
    folder = save("CLIP", tmp_path / "model")
    assert "give the image too" in refused(capsys, folder, "the cat")


def test_sound_that_is_none(tmp_path, capsys):
    folder = save("Wav2Vec2", tmp_path / "model")
    (tmp_path / "tone.wav").write_text("not a sound")
    assert "not a WAV file" in refused(capsys, folder, tmp_path / "tone.wav")
    assert "takes sound" in refused(capsys, folder)


@pytest.mark.parametrize(
    ("option", "value", "says"),
    [
        ("--device", "abacus", "device='abacus'"),
        ("--dtype", "int3", "dtype='int3'"),
        ("--layers", "9", "layers has 9"),
        ("--heads", "7", "heads has 7"),
    ],
)
def test_options_that_do_not_fit(folder, capsys, option, value, says):
    assert says in refused(capsys, folder, "the cat", option, value)
