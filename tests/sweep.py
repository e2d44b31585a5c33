"""Watches every model type of transformers that can be built small, against a recorder that knows nothing of mirada.

    python tests/sweep.py FROM TO OUT.json

The recorder keeps what every softmax gives and computes the weights of every call of torch's fused attention in
float64. A verdict is one of: exact; named (some attention is named as not seen, the rest is exact); without (no
attention ran); crashed, changed, wrong, silent: never to be seen.
"""

from __future__ import annotations

import json
import resource
import signal
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

import mirada
from shrinking import classes_of, inputs_of, model_types, shrunk

SECONDS = 60  # of processor time, so that a busy machine changes no verdict
LARGEST = 1.5e8  # parameters
MEMORY = 12 << 30  # bytes of address space: a model that takes more can't be built small


class TooLong(BaseException):
    """A model that takes too long."""


class Recorder(TorchFunctionMode):
    """Weights as the model computed them: outputs of softmax that are multiplied, and recomputed fused calls."""

    def __init__(self) -> None:
        super().__init__()
        self.softmaxes: list[Tensor] = []
        self.used: set[int] = set()
        self.fused: list[Tensor] = []
        self.inside = False

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        if name == "multi_head_attention_forward":
            told = {**kwargs, "need_weights": True, "average_attn_weights": False}
            self.fused.append(func(*args, **told)[1].detach())
        out = func(*args, **kwargs)
        if name in ("softmax", "_softmax", "special_softmax") and isinstance(out, Tensor) and out.ndim > 2:
            self.softmaxes.append(out.detach().clone())
        elif name == "scaled_dot_product_attention":
            self.fused.append(weights_of(*args, **kwargs))
        elif name in ("matmul", "bmm", "einsum", "__matmul__"):
            self._use([*args, *kwargs.values()])
        return out

    def _use(self, operands: list[Any]) -> None:
        flat = [t for part in operands for t in (part if isinstance(part, (list, tuple)) else [part])]
        for operand in (tensor for tensor in flat if isinstance(tensor, Tensor)):
            for n, weights in enumerate(self.softmaxes):
                if n not in self.used and same(operand.detach(), weights):
                    self.used.add(n)

    @property
    def weights(self) -> list[Tensor]:
        """All of them."""
        return self.fused + [self.softmaxes[n] for n in sorted(self.used)]

    @property
    def unused(self) -> list[Tensor]:
        """What other softmaxes gave: of some only a part is multiplied, a sink being left out."""
        return [weights for n, weights in enumerate(self.softmaxes) if n not in self.used]


def same(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors hold the same numbers, but for how they are laid out."""
    if one.numel() != other.numel() or one.numel() == 0:
        return False
    flat = other.double().reshape(-1)
    views = [one, one.mT] if one.ndim > 1 else [one]
    return any(bool(torch.equal(view.double().reshape(-1), flat)) for view in views)


def weights_of(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """What the documentation of torch's function says, in float64; rows that see nothing are 0."""
    query, key = query.detach().double(), key.detach().double()
    if enable_gqa:
        key = key.repeat_interleave(query.shape[-3] // key.shape[-3], -3)
    scores = query @ key.mT * (query.shape[-1] ** -0.5 if scale is None else scale)
    if is_causal:
        scores = scores.masked_fill(~torch.ones(scores.shape[-2:], dtype=torch.bool).tril(), -torch.inf)
    if attn_mask is not None and attn_mask.dtype == torch.bool:
        scores = scores.masked_fill(~attn_mask, -torch.inf)
    elif attn_mask is not None:
        scores = scores + attn_mask.detach()
    return scores.softmax(-1).nan_to_num()


def tensors_in(output: Any) -> Iterator[Tensor]:
    """All tensors of a model's output."""
    if isinstance(output, Tensor):
        yield output
    elif isinstance(output, dict):
        for part in output.values():
            yield from tensors_in(part)
    elif isinstance(output, (list, tuple)):
        for part in output:
            yield from tensors_in(part)


def built(kind: str, implementation: str) -> tuple[nn.Module, dict[str, Tensor]] | None:
    """A small model of a type that runs, and inputs for it."""
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    for cls in classes_of(kind):
        for mild in (False, True):
            try:
                torch.manual_seed(0)
                config = shrunk(CONFIG_MAPPING[kind](), mild=mild)
                with torch.device("meta"):
                    size = sum(part.numel() for part in cls(config).parameters())
                if size > LARGEST:
                    continue
                model = cls._from_config(config, attn_implementation=implementation).eval()
            except (Exception, SystemExit):
                continue
            for inputs in inputs_of(model):
                try:
                    run(model, inputs)
                except Exception:
                    continue
                return model, inputs
    return None


def run(model: nn.Module, inputs: dict[str, Tensor]) -> Any:
    torch.manual_seed(3)
    with torch.no_grad():
        return model(**inputs)


def verdict(kind: str, implementation: str) -> dict[str, Any]:
    """What watching one model type comes to."""
    found = built(kind, implementation)
    if found is None:
        return {"verdict": "not built"}
    model, inputs = found
    plain = list(tensors_in(run(model, inputs)))
    if not all(
        torch.equal(a, b) or a.isnan().any() for a, b in zip(plain, tensors_in(run(model, inputs)), strict=True)
    ):
        return {"verdict": "not built", "why": "its outputs differ from run to run"}
    recorder = Recorder()
    with recorder:
        run(model, inputs)
    expected = recorder.weights
    records: Any = []
    unseen: dict[str, str] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            watch = mirada.watch(model)
            with watch as records:
                output = run(model, inputs)
        except ValueError as error:
            if "nothing was seen" not in str(error):
                return {"verdict": "crashed", "why": str(error)[:300]}
            if not records.unseen:
                return {"verdict": "silent" if expected else "without", "calls": len(expected)}
        except Exception as error:
            return {"verdict": "crashed", "why": f"{type(error).__name__}: {error}"[:300]}
    unseen = dict(records.unseen)
    watched = list(tensors_in(output))
    equal = all(torch.equal(a.nan_to_num(), b.nan_to_num()) for a, b in zip(plain, watched, strict=True))
    if not equal:
        return {"verdict": "changed"}
    return {"classes": type(model).__name__} | judged(list(records), expected, recorder.unused, unseen)


def judged(records: list[Any], expected: list[Tensor], others: list[Tensor], unseen: dict[str, str]) -> dict[str, Any]:
    """Each record against what the recorder has: every record must be one of these, and each of these a record."""
    left, worst = list(expected), 0.0
    for record in records:
        weights = record.matrix.to_dense().double()
        distance, n = nearest(weights, left)
        if distance > 1e-4:
            again, _ = nearest(weights, expected + others)
            if again > 1e-4:
                return {"verdict": "wrong", "why": f"{record!r} is off by {min(distance, again):.2e}", "named": unseen}
            continue
        worst = max(worst, distance)
        left.pop(n)
    if left and not unseen:
        return {"verdict": "silent", "why": f"{len(left)} of {len(expected)}: {[tuple(t.shape) for t in left][:4]}"}
    if unseen:
        return {"verdict": "named", "named": unseen, "seen": len(records), "worst": worst}
    return {"verdict": "exact" if records else "without", "calls": len(records), "worst": worst}


def nearest(weights: Tensor, candidates: list[Tensor]) -> tuple[float, int]:
    """The least distance to one of them, however it is laid out, and which."""
    best, which = float("inf"), -1
    for n, other in enumerate(candidates):
        distance = apart(weights, other.double())
        if distance < best:
            best, which = distance, n
        if best < 1e-6:
            break
    return best, which


def apart(one: Tensor, other: Tensor) -> float:
    if one.numel() != other.numel():
        return float("inf")
    if one.numel() == 0:
        return 0.0
    views = [other.reshape(-1)] + ([other.mT.reshape(-1)] if other.ndim > 1 else [])
    flat = one.reshape(-1)
    if other.ndim == 4:
        views += [
            other.permute(order).reshape(-1) for order in ((0, 2, 1, 3), (0, 3, 1, 2), (1, 0, 2, 3), (2, 0, 1, 3))
        ]
    if other.ndim == 5:
        views += [other.permute(order).reshape(-1) for order in ((0, 1, 3, 2, 4), (0, 2, 1, 3, 4), (0, 2, 3, 1, 4))]
    row = one.reshape(-1, one.shape[-1])
    blind = (row == 0).all(-1, keepdim=True).expand_as(row).reshape(-1)  # a query that sees nothing
    return min(float((flat - view).abs().masked_fill(blind, 0.0).nan_to_num(0.0).max()) for view in views)


def sweep(kinds: list[str], implementations: tuple[str, ...] = ("sdpa", "eager")) -> dict[str, dict[str, Any]]:
    """The verdict of each type and implementation."""

    def stop(*_: object) -> None:
        raise TooLong

    signal.signal(signal.SIGPROF, stop)
    found: dict[str, dict[str, Any]] = {}
    for kind in kinds:
        for implementation in implementations:
            signal.setitimer(signal.ITIMER_PROF, SECONDS)
            start = time.monotonic()
            try:
                result = verdict(kind, implementation)
            except TooLong:
                result = {"verdict": "not built", "why": "it takes too long"}
            except Exception as error:
                result = {"verdict": "not built", "why": f"{type(error).__name__}: {error}"[:200]}
            finally:
                signal.setitimer(signal.ITIMER_PROF, 0)
            found[f"{kind} {implementation}"] = result | {"seconds": round(time.monotonic() - start, 1)}
    return found


def main() -> None:
    import transformers

    transformers.logging.set_verbosity_error()
    warnings.simplefilter("ignore")
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    first, last, out = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
    kinds = model_types()[first:last]
    found: dict[str, Any] = {}
    for kind in kinds:
        found |= sweep([kind])
        out.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
