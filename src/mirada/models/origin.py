"""Where a model's files are: a folder, a GGUF file, or a name on the hub. Only safetensors and GGUF weights count."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

# What a model needs besides its weights. Python files are not among them: nothing of a model's folder is executed.
_SIDE_FILES = ("*.json", "*.txt", "*.model", "*.jinja", "*.tiktoken")
_WEIGHTS = ("model*.safetensors", "model.safetensors.index.json")
_PICKLED = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".h5", ".msgpack")
_PATIENCE = 10.0  # seconds, for the hub's first answer


@dataclass(frozen=True)
class Origin:
    """A model's files on this machine."""

    folder: Path
    gguf: str | None
    """The GGUF file in the folder that holds the weights; None: safetensors."""
    title: str
    """What the model is called."""


def find(name: str | os.PathLike[str], revision: str | None = None) -> Origin:
    """Find a model's files, and download those of a hub name that are not here yet.

    Args:
        name: a folder, a ``.gguf`` file, a hub name (``owner/model``), or a file there (``owner/model/file.gguf``).
        revision: a branch, tag or commit of the hub.

    Raises:
        ValueError: no such model; pickled weights; code of its own; no network.
        RuntimeError: the extra `models` (transformers) is missing.
    """
    path = Path(name)
    if path.is_file() and path.suffix == ".gguf":
        return Origin(path.parent, path.name, path.stem)
    if path.is_dir():
        return _in_folder(path, path.resolve().name)
    if path.exists():
        raise ValueError(f"{name}: not a model: wanted a folder, a .gguf file or a hub name")
    if (
        path.is_absolute()
        or str(name).startswith(("./", "../", "~"))
        or (path.suffix == ".gguf" and len(path.parts) < 3)
    ):
        raise ValueError(f"{name}: no such folder or file; a hub name has the form owner/model")
    return _on_hub(str(name), revision)


def _in_folder(folder: Path, title: str, gguf: str | None = None) -> Origin:
    names = [path.name for path in folder.iterdir()]
    gguf = gguf or choose_weights(names, title)
    if gguf is not None:
        return Origin(folder, gguf, Path(gguf).stem)
    refuse_code(_read(folder / "config.json"), title)
    return Origin(folder, None, title)


def choose_weights(names: Iterable[str], title: str) -> str | None:
    """The GGUF file to take, or None for safetensors; ValueError where there are neither."""
    names = sorted(names)
    if "adapter_config.json" in names and "config.json" not in names:
        raise ValueError(f"{title}: an adapter without its base model: merge the two and save the result")
    if any(name.endswith(".safetensors") for name in names):
        return None
    quantised = [name for name in names if name.endswith(".gguf")]
    if len(quantised) > 1:
        raise ValueError(f"{title}: several GGUF files, name one of them: {', '.join(quantised[:8])}")
    if quantised:
        return quantised[0]
    pickled = [name for name in names if name.endswith(_PICKLED)]
    if pickled:
        raise ValueError(
            f"{title}: its weights are pickled ({pickled[0]}), and unpickling can run any code: only safetensors and "
            "GGUF are opened; save the model again with save_pretrained"
        )
    raise ValueError(f"{title}: no weights there: wanted .safetensors or .gguf")


def refuse_code(config: dict[str, Any], title: str) -> None:
    """Refuses a model that needs code of its own: its type is not among those of transformers, or kernels are named."""
    from transformers import CONFIG_MAPPING

    kind = config.get("model_type")
    if kind not in CONFIG_MAPPING:
        if config.get("auto_map"):
            raise ValueError(f"{title}: needs its own code ({_first(config['auto_map'])}), which is never run here")
        raise ValueError(f"{title}: the model type {kind!r} in config.json is not one that transformers knows")
    named = [value for key, value in _entries(config) if key.endswith("implementation") and "/" in str(value)]
    if named:
        raise ValueError(f"{title}: asks for kernels from a hub ({named[0]}), which are never run here")


def _entries(config: Any) -> Iterable[tuple[str, Any]]:
    if isinstance(config, dict):
        for key, value in config.items():
            yield str(key), value
            yield from _entries(value)


def _first(auto_map: Any) -> str:
    return str(next(iter(auto_map.values()))) if isinstance(auto_map, dict) and auto_map else str(auto_map)


def _read(path: Path) -> dict[str, Any]:
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(f"{path.parent.name}: no config.json there, so it is not a transformers model") from None
    except ValueError as error:
        raise ValueError(f"{path}: not JSON ({error})") from None
    if not isinstance(config, dict):
        raise ValueError(f"{path}: wanted a JSON object")
    return config


# --- the hub ---


def _on_hub(name: str, revision: str | None) -> Origin:
    try:
        import huggingface_hub
    except ImportError:
        raise RuntimeError("a model from the hub needs huggingface_hub: pip install 'mirada[models]'") from None
    repo, gguf = _split(name)
    try:
        return _downloaded(repo, gguf, revision)
    except (huggingface_hub.errors.HFValidationError, huggingface_hub.errors.RepositoryNotFoundError):
        raise ValueError(f"{name}: no such folder, and no such model on the hub (or it is private)") from None
    except huggingface_hub.errors.RevisionNotFoundError:
        raise ValueError(f"{name}: no revision {revision!r} on the hub") from None
    except huggingface_hub.errors.HfHubHTTPError as error:
        raise ValueError(f"{name}: the hub answered: {str(error).splitlines()[0]}") from None
    except OSError:  # not in the cache, offline, no connection
        raise ValueError(f"{name}: no such folder, not in the hub's cache, and the hub can't be reached") from None


def _split(name: str) -> tuple[str, str | None]:
    parts = PurePosixPath(name).parts
    if len(parts) > 2 and name.endswith(".gguf"):
        return "/".join(parts[:2]), "/".join(parts[2:])
    return name, None


def _downloaded(repo: str, gguf: str | None, revision: str | None) -> Origin:
    import huggingface_hub

    names = _listed(repo, revision)
    if names is None:  # no network: what the cache has
        cached = huggingface_hub.snapshot_download(
            repo, revision=revision, allow_patterns=[*_SIDE_FILES], local_files_only=True
        )
        return _in_folder(Path(cached), repo, gguf)
    gguf = gguf or choose_weights([name for name in names if "/" not in name], repo)
    weights = _WEIGHTS if gguf is None else (gguf,)
    folder = huggingface_hub.snapshot_download(
        repo, revision=revision, allow_patterns=[*_SIDE_FILES, *weights], ignore_patterns=["*/*.safetensors"]
    )
    return _in_folder(Path(folder), repo, gguf)


def _listed(repo: str, revision: str | None) -> list[str] | None:
    """The names of a repository's files, or None where the hub can't be reached."""
    import huggingface_hub

    try:
        files = huggingface_hub.HfApi().model_info(repo, revision=revision, timeout=_PATIENCE).siblings
    except huggingface_hub.errors.HfHubHTTPError:
        raise
    except OSError:
        return None
    except Exception as error:  # the hub's client raises errors of the HTTP library that it happens to use
        if type(error).__module__.startswith("http"):
            return None
        raise
    return [file.rfilename for file in files or ()]
