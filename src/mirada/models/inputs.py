"""From what a person gives (a text, an image, sound) to what a model is called with, and what its tokens stand for."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from mirada.models import images, sounds, words
from mirada.models.opening import OpenModel
from mirada.models.words import Tokens


@dataclass(frozen=True)
class Prepared:
    """The inputs of one forward pass, on one example, and what stands along the edges of its attention."""

    inputs: dict[str, Any]
    """What the model is called with."""
    text: Tokens | None = None
    """Of a decoder alone or of an encoder."""
    target: Tokens | None = None
    """Of a decoder beside an encoder."""
    image: Tensor | None = None
    """(3, H, W): the picture under the patches."""
    patches: images.Patches | None = None
    """How an image tower cuts the picture."""
    within: tuple[int, images.Patches] | None = None
    """Where the image stands in the text: its first token there, and the grid of its tokens."""
    sound: sounds.Frames | None = None
    notes: tuple[str, ...] = field(default=())


def prepare(
    opened: OpenModel, given: Any = None, *, image: Any = None, sound: Any = None, chat: bool = False
) -> Prepared:
    """The inputs of a model.

    Args:
        opened: the model and what reads its inputs.
        given: a text; or the path, PIL image, pixels or samples of a model of images or sound; or the model's own
            inputs, as a mapping.
        image: for a model that takes text and an image.
        sound: for a model that takes text and sound.
        chat: the text is what a user says; the tokenizer's own template goes around it.

    Raises:
        ValueError: a text of 0 tokens, no tokenizer, not an image, an input that this model doesn't take.
    """
    if isinstance(given, Mapping):
        return _own(opened, given)
    if opened.takes == "image":
        return _image(opened, image if given is None else given)
    if opened.takes == "sound":
        return _with_target(opened, _sound(opened, sound if given is None else given))
    if sound is not None:
        raise ValueError(f"{opened.title}: takes {opened.takes}, not sound")
    if image is not None and opened.takes == "text":
        raise ValueError(f"{opened.title}: takes text, not an image")
    if given is None:
        raise ValueError(f"{opened.title}: takes {opened.takes}: give a text")
    if not isinstance(given, str):
        raise ValueError(f"{opened.title}: takes {opened.takes}, wanted a text, got {type(given).__name__}")
    if image is None and opened.takes == "text and image" and opened.tokenizer is not None and _marker(opened) is None:
        raise ValueError(f"{opened.title}: takes a text and an image: give the image too (image=, --image)")
    prepared = _text(opened, given, chat) if image is None else _text_and_image(opened, given, image, chat)
    _check_length(opened, prepared)
    return _with_target(opened, prepared)


def with_target(opened: OpenModel, prepared: Prepared, ids: list[int]) -> Prepared:
    """The same, with these tokens given to the decoder beside the encoder."""
    return replace(
        prepared,
        inputs=prepared.inputs | {"decoder_input_ids": torch.tensor([ids], device=opened.device)},
        target=_of_ids(opened, ids),
    )


def continued(opened: OpenModel, prepared: Prepared, ids: list[int]) -> Prepared:
    """The same, with these tokens after the text."""
    new, device = torch.tensor([ids], device=opened.device), opened.device
    inputs = dict(prepared.inputs)
    inputs["input_ids"] = torch.cat([inputs["input_ids"], new], 1)
    for name, fill in (("attention_mask", 1), ("token_type_ids", 0), ("mm_token_type_ids", 0)):
        if name in inputs:
            inputs[name] = torch.cat([inputs[name], torch.full_like(new, fill, device=device)], 1)
    before = prepared.text or _of_ids(opened, inputs["input_ids"][0].tolist())
    text = words.joined(before, _of_ids(opened, ids), ("prompt", "continuation"))
    return replace(prepared, inputs=inputs, text=text)


# --- each kind of input ---


def _text(opened: OpenModel, text: str, chat: bool) -> Prepared:
    tokenizer = _tokenizer(opened)
    tokens = words.chat(tokenizer, text) if chat else words.read(tokenizer, text)
    ids = torch.tensor([tokens.ids], device=opened.device)
    inputs: dict[str, Any] = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    return Prepared(_taken(opened.model, inputs), text=tokens)


def _image(opened: OpenModel, source: Any) -> Prepared:
    if opened.images is None:
        raise ValueError(
            f"{opened.title}: takes an image, and its folder has no preprocessor_config.json to read one by"
        )
    if source is None:
        raise ValueError(f"{opened.title}: takes an image: give its path")
    image = images.read(source)
    inputs = _tensors(opened, opened.images(image, return_tensors="pt"))
    return Prepared(
        _taken(opened.model, inputs),
        image=images.pixels_of(image, inputs),
        patches=images.patches(opened.config, inputs),
    )


def _text_and_image(opened: OpenModel, text: str, source: Any, chat: bool) -> Prepared:
    if opened.images is None:
        raise ValueError(f"{opened.title}: its folder has nothing to read an image by (preprocessor_config.json)")
    image, tokenizer = images.read(source), _tokenizer(opened)
    pictured = _tensors(opened, opened.images(image, return_tensors="pt"))
    grid = images.patches(opened.config, pictured)
    shown = images.pixels_of(image, pictured, grid)
    marker = _marker(opened)
    if marker is None:  # text and image in towers of their own
        tokens = words.read(tokenizer, text)
        ids = torch.tensor([tokens.ids], device=opened.device)
        inputs = _taken(opened.model, {"input_ids": ids, "attention_mask": torch.ones_like(ids)} | pictured)
        return Prepared(inputs, text=tokens, image=shown, patches=grid)
    inner = _merged(opened, grid, pictured)
    whole = text if marker[1] in text else f"{marker[0]}{text}"
    if chat:
        whole = _chat_with_image(tokenizer, whole)
    ids = tokenizer(whole.replace(marker[1], marker[1] * inner.count, 1), add_special_tokens=not chat)["input_ids"]
    tokens = _with_patches(opened, words.of_ids(tokenizer, ids), inner)
    tensor = torch.tensor([ids], device=opened.device)
    found = images.placeholders(opened.config, tensor[0])
    if found is None or found[1] != inner.count:
        raise ValueError(
            f"{opened.title}: the text has no place for the image ({marker[1]!r} makes no token of its own)"
        )
    inputs = {"input_ids": tensor, "attention_mask": torch.ones_like(tensor)} | pictured
    inputs["mm_token_type_ids"] = (tensor == ids[found[0]]).long()
    inputs = _taken(opened.model, inputs)
    return Prepared(inputs, text=tokens, image=shown, patches=grid, within=(found[0], inner))


def _sound(opened: OpenModel, source: Any) -> Prepared:
    if opened.sounds is None:
        raise ValueError(f"{opened.title}: takes sound, and its folder has no preprocessor_config.json to read it by")
    if source is None:
        raise ValueError(f"{opened.title}: takes sound: give the path of a WAV file")
    rate = opened.sounds.sampling_rate
    samples = sounds.read(source, rate)
    inputs = _tensors(opened, opened.sounds(samples.numpy(), sampling_rate=rate, return_tensors="pt"))
    seconds = getattr(opened.sounds, "chunk_length", None) or len(samples) / rate
    return Prepared(_taken(opened.model, inputs), sound=sounds.Frames(float(seconds)))


def _own(opened: OpenModel, given: Mapping[str, Any]) -> Prepared:
    """Inputs as the model takes them, of one example."""
    inputs = {name: value.to(opened.device) if isinstance(value, Tensor) else value for name, value in given.items()}
    batch = next((len(value) for value in inputs.values() if isinstance(value, Tensor) and value.ndim), 1)
    if batch != 1 and "image_grid_thw" not in inputs:
        raise ValueError(f"inputs: one example at a time, got a batch of {batch}")
    ids, target = inputs.get("input_ids"), inputs.get("decoder_input_ids")
    return Prepared(
        inputs,
        text=None if ids is None else _of_ids(opened, ids[0].tolist()),
        target=None if target is None else _of_ids(opened, target[0].tolist()),
        image=images.pixels_of(None, inputs),
        patches=images.patches(opened.config, inputs),
    )


def _with_target(opened: OpenModel, prepared: Prepared) -> Prepared:
    """A decoder beside an encoder begins with its start token."""
    if not opened.decodes:
        return prepared
    generation = getattr(opened.model, "generation_config", None)
    start = next(
        (
            getattr(place, name)
            for place in (generation, opened.config)
            for name in ("decoder_start_token_id", "bos_token_id")
            if getattr(place, name, None) is not None
        ),
        0,
    )
    return with_target(opened, prepared, [int(start)])


# --- what they need ---


def _tokenizer(opened: OpenModel) -> Any:
    if opened.tokenizer is None and opened.unread:
        raise ValueError(f"{opened.title}: its tokenizer can't be read: {opened.unread}")
    if opened.tokenizer is None:
        raise ValueError(f"{opened.title}: it has no tokenizer: give one (tokenizer=), or the model's own inputs")
    return opened.tokenizer


def _of_ids(opened: OpenModel, ids: list[int]) -> Tokens:
    if opened.tokenizer is not None:
        return words.of_ids(opened.tokenizer, ids)
    names = tuple(map(str, ids))
    return Tokens(tuple(ids), names, tuple(range(len(ids))), (False,) * len(ids))


def _tensors(opened: OpenModel, found: Mapping[str, Any]) -> dict[str, Any]:
    """On the model's device; floating ones in its dtype."""
    tensors = {name: torch.as_tensor(value) for name, value in found.items()}
    kind = opened.dtype
    return {
        name: value.to(opened.device, kind if value.is_floating_point() else None) for name, value in tensors.items()
    }


def _taken(model: nn.Module, inputs: dict[str, Any]) -> dict[str, Any]:
    """Those that the model's forward knows."""
    known = inspect.signature(model.forward).parameters
    takes_all = any(one.kind is one.VAR_KEYWORD for one in known.values())
    own = ("mm_token_type_ids",)  # passed on by no model that doesn't name it
    return {name: value for name, value in inputs.items() if name in known or (takes_all and name not in own)}


def _marker(opened: OpenModel) -> tuple[str, str] | None:
    """What stands for an image in the text: with what belongs around it, and its token alone; None: no such token."""
    config, tokenizer = opened.config, opened.tokenizer
    name = next(
        (one for one in ("image_token_id", "image_token_index") if getattr(config, one, None) is not None), None
    )
    if name is None:
        return None
    token = tokenizer.convert_ids_to_tokens(getattr(config, name))
    ends = [getattr(config, end, None) for end in ("vision_start_token_id", "vision_end_token_id")]
    if None in ends:
        return f"{token}\n", token
    start, end = tokenizer.convert_ids_to_tokens(ends)
    return f"{start}{token}{end}", token


def _merged(opened: OpenModel, grid: images.Patches | None, pictured: dict[str, Tensor]) -> images.Patches:
    """The grid of an image's tokens in the text, where the model joins neighbouring patches."""
    vision = opened.config.vision_config
    if grid is None:
        raise ValueError(f"{opened.title}: how it cuts an image into patches is not known")
    merge = getattr(vision, "spatial_merge_size", None) or getattr(opened.config, "spatial_merge_size", None) or 1
    rows, columns = grid.grid
    known = getattr(opened.config, "mm_tokens_per_image", None)
    if known:
        side = int(known**0.5)
        return images.Patches((side, side))
    return images.Patches((rows // merge, columns // merge))


def _with_patches(opened: OpenModel, tokens: Tokens, inner: images.Patches) -> Tokens:
    """The image's tokens named by their place in it."""
    first = images.placeholders(opened.config, torch.tensor(tokens.ids))
    if first is None:
        return tokens
    start, count = first
    labels = list(tokens.labels)
    labels[start : start + count] = inner.labels(count) or labels[start : start + count]
    parts = {
        "text before": slice(0, start),
        "image": slice(start, start + count),
        "text": slice(start + count, len(tokens)),
    }
    special = list(tokens.special)
    special[start : start + count] = [False] * count  # the vocabulary's token for a patch, which stands for the image
    names = tokens.names and tuple(
        labels[tokens.words.index(word)] if start <= tokens.words.index(word) < start + count else name
        for word, name in enumerate(tokens.names)
    )
    segments = {name: part for name, part in parts.items() if part.start < part.stop}
    return replace(tokens, labels=tuple(labels), special=tuple(special), segments=segments, names=names)


def _chat_with_image(tokenizer: Any, text: str) -> str:
    if not getattr(tokenizer, "chat_template", None):
        raise ValueError("chat: this model's tokenizer has no chat template")
    said = [{"role": "user", "content": text}]
    return tokenizer.apply_chat_template(said, tokenize=False, add_generation_prompt=True)


def _check_length(opened: OpenModel, prepared: Prepared) -> None:
    """A table of learned positions ends somewhere."""
    if prepared.text is None:
        return
    most = getattr(getattr(opened.config, "text_config", opened.config), "max_position_embeddings", None)
    learned = any("position" in name and isinstance(part, nn.Embedding) for name, part in opened.model.named_modules())
    if most and learned and len(prepared.text) > most:
        raise ValueError(f"{opened.title}: takes {most} tokens, the text has {len(prepared.text)}: shorten it")
