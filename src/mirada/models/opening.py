"""A transformers model, opened with the head that its own config names, and what reads its inputs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from mirada.models.origin import Origin, find

DTYPES = {"float64": torch.float64, "float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True)
class OpenModel:
    """A model that is ready to run, and the parts that turn text, images and sound into its inputs."""

    model: nn.Module
    title: str
    tokenizer: Any = None
    images: Any = None
    """The image processor."""
    sounds: Any = None
    """The feature extractor of a model of sound."""
    unread: str = ""
    """Why a tokenizer that is there could not be read."""

    @property
    def config(self) -> Any:
        """The model's config."""
        return getattr(self.model, "config", None)

    @property
    def device(self) -> torch.device:
        """Where the model's parameters lie."""
        return next((parameter.device for parameter in self.model.parameters()), torch.device("cpu"))

    @property
    def dtype(self) -> torch.dtype:
        """Of the model's parameters."""
        return next((one.dtype for one in self.model.parameters() if one.is_floating_point()), torch.float32)

    @property
    def takes(self) -> str:
        """What the model is run on: "text", "image", "sound", or "text and image"."""
        main = getattr(self.model, "main_input_name", "input_ids")
        if main == "pixel_values" and not self._has_text():
            return "image"
        if main in ("input_values", "input_features"):
            return "sound"
        return "text and image" if self.images is not None or self._has_vision() else "text"

    @property
    def decodes(self) -> bool:
        """Whether a decoder attends to an encoder."""
        return bool(getattr(self.config, "is_encoder_decoder", False))

    @property
    def generates(self) -> bool:
        """Whether the model can continue a text."""
        return bool(getattr(self.model, "can_generate", bool)())

    def _has_text(self) -> bool:
        return hasattr(self.config, "text_config") or self.decodes

    def _has_vision(self) -> bool:
        return hasattr(self.config, "vision_config")


def open_model(
    name: str | os.PathLike[str],
    *,
    device: str | torch.device | None = None,
    dtype: str | torch.dtype | None = None,
    revision: str | None = None,
) -> OpenModel:
    """Open a model: safetensors or GGUF, with the head that its config names; nothing of its folder is executed.

    Args:
        name: a folder, a ``.gguf`` file, or a hub name.
        device: "cpu" if left out.
        dtype: float32 on the CPU, else the checkpoint's own, if left out.
        revision: of a hub name.

    Raises:
        ValueError: no such model, pickled weights, a model that needs code of its own, an unknown dtype or device.
        RuntimeError: the extra `models` is missing.
    """
    try:
        import transformers
    except ImportError:
        raise RuntimeError("opening a model needs transformers: pip install 'mirada[models]'") from None
    place, kind = _device(device), _dtype(dtype)
    origin = find(name, revision)
    if kind is None:
        kind = torch.float32 if place.type == "cpu" or origin.gguf else "auto"
    safe: dict[str, Any] = {"trust_remote_code": False, "local_files_only": True}
    if origin.gguf:
        _needed_by_gguf()
        safe["gguf_file"] = origin.gguf
    with _in_one_line(origin.title):
        config = transformers.AutoConfig.from_pretrained(origin.folder, **safe)
        config._attn_implementation = None  # transformers' own choice: a file chooses no implementation
        head = transformers.AutoModelForCausalLM if origin.gguf else _head(config, origin.title)
        weights = {} if origin.gguf else {"use_safetensors": True}
        model: Any = head.from_pretrained(origin.folder, config=config, dtype=kind, **weights, **safe)
        model = model.to(place).eval()
    return OpenModel(model, origin.title, **_readers(origin, model, safe))


def with_readers(model: nn.Module, reader: Any, title: str | None = None) -> OpenModel:
    """A model that is open already, with its tokenizer, image processor, feature extractor or processor."""
    parts = _parts(reader) if reader is not None else {}
    return OpenModel(model, title or type(model).__name__, **parts)


def _head(config: Any, title: str) -> Any:
    """The class that the config names; without a name, the bare model of its type."""
    import transformers

    for name in config.architectures or ():
        head = getattr(transformers, str(name), None)
        if isinstance(head, type) and issubclass(head, transformers.PreTrainedModel):
            return head
    if config.architectures and config.model_type not in transformers.CONFIG_MAPPING:
        raise ValueError(f"{title}: needs {config.architectures[0]}, which transformers lacks")
    return transformers.AutoModel


def _readers(origin: Origin, model: nn.Module, safe: dict[str, Any]) -> dict[str, Any]:
    """Tokenizer, image processor, feature extractor: those whose files are there."""
    import transformers

    if origin.gguf:
        return {"tokenizer": _read(transformers.AutoTokenizer, origin, safe)}
    if (whole := _read(transformers.AutoProcessor, origin, safe)) is not None:
        return _parts(whole)
    kinds = {
        "tokenizer": transformers.AutoTokenizer,
        "images": transformers.AutoImageProcessor,
        "sounds": transformers.AutoFeatureExtractor,
    }
    why: list[str] = []
    found = {name: _read(kind, origin, safe, why) for name, kind in kinds.items() if _has_files(name, origin.folder)}
    return found | {"unread": why[0] if why and found.get("tokenizer") is None else ""}


def _read(kind: Any, origin: Origin, safe: dict[str, Any], why: list[str] | None = None) -> Any:
    """A reader, or None where the folder has none or it can't be read; then `why` gets the reason."""
    try:
        return kind.from_pretrained(origin.folder, **safe)
    except Exception as error:
        if "trust_remote_code" in str(error):
            raise ValueError(f"{origin.title}: its tokenizer needs its own code, which is never run here") from None
        if why is not None:
            why.append(" ".join(str(error).split())[:200] or type(error).__name__)
        return None


def _has_files(part: str, folder: Path) -> bool:
    names = {path.name for path in folder.iterdir()}
    if part == "tokenizer":
        return any(name.startswith(("tokenizer", "vocab", "spiece", "sentencepiece")) for name in names)
    return bool(names & {"preprocessor_config.json", "processor_config.json"})


def _parts(reader: Any) -> dict[str, Any]:
    """A reader by what it reads."""
    if any(hasattr(reader, name) for name in ("tokenizer", "image_processor", "feature_extractor")):
        return {
            "tokenizer": getattr(reader, "tokenizer", None),
            "images": getattr(reader, "image_processor", None),
            "sounds": getattr(reader, "feature_extractor", None),
        }
    if hasattr(reader, "convert_ids_to_tokens"):
        return {"tokenizer": reader}
    if hasattr(reader, "sampling_rate"):
        return {"sounds": reader}
    if hasattr(reader, "preprocess"):
        return {"images": reader}
    raise TypeError(
        f"tokenizer must be a tokenizer, image processor, feature extractor or processor, got {type(reader).__name__}"
    )


@contextmanager
def _in_one_line(title: str) -> Iterator[None]:
    """What goes wrong while a model is loaded, in one line that names the model."""
    try:
        yield
    except (KeyboardInterrupt, MemoryError):
        raise
    except Exception as error:
        said = " ".join(str(error).split()) or type(error).__name__
        if "trust_remote_code" in said:
            raise ValueError(f"{title}: needs its own code, which is never run here") from None
        if isinstance(error, ValueError) and said.startswith(f"{title}: "):
            raise
        raise ValueError(f"{title}: can't be opened: {said[:300]}") from None


def _device(device: str | torch.device | None) -> torch.device:
    try:
        place = torch.device(device or "cpu")
        torch.empty(0, device=place)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ValueError(f"device={str(device)!r} can't be used: {str(error).splitlines()[0]}") from None
    return place


def _dtype(dtype: str | torch.dtype | None) -> Any:
    if dtype is None or isinstance(dtype, torch.dtype) or dtype == "auto":
        return dtype
    if dtype not in DTYPES:
        raise ValueError(f"dtype={dtype!r}: wanted auto, {', '.join(DTYPES)}")
    return DTYPES[dtype]


def _needed_by_gguf() -> None:
    from importlib.util import find_spec

    missing = [name for name in ("gguf", "accelerate") if find_spec(name) is None]
    if missing:
        raise RuntimeError(f"a GGUF file needs {' and '.join(missing)}: pip install 'mirada[models]'")
