"""Sound as a model takes it: a WAV file, or samples; and the time that each of its frames stands for."""

from __future__ import annotations

import os
import wave
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

_SCALE = {1: 2**7, 2: 2**15, 4: 2**31}  # of PCM samples, by their bytes


@dataclass(frozen=True)
class Frames:
    """Frames of sound, evenly over its length."""

    seconds: float

    def labels(self, tokens: int) -> list[str]:
        """When each frame begins, in seconds."""
        digits = 2 if self.seconds >= 0.01 * tokens else 4
        return [f"{self.seconds * n / tokens:.{digits}f} s" for n in range(tokens)]


def read(source: Any, rate: int) -> Tensor:
    """One channel of sound (samples,), in float32 from −1 to 1, at a rate in samples a second.

    Raises:
        ValueError: no WAV file, or no samples.
    """
    if not isinstance(source, str | os.PathLike):
        samples = torch.as_tensor(source, dtype=torch.float32)
        if samples.ndim != 1 or not len(samples):
            raise ValueError(f"sound: wanted samples (n,), got {tuple(samples.shape)}")
        return samples
    samples, own = _from_wave(Path(source))
    if own == rate:
        return samples
    from scipy.signal import resample_poly

    return torch.from_numpy(resample_poly(samples.numpy(), rate, own).astype(np.float32))


def _from_wave(path: Path) -> tuple[Tensor, int]:
    try:
        with wave.open(str(path), "rb") as file:
            width, channels, rate = file.getsampwidth(), file.getnchannels(), file.getframerate()
            raw = file.readframes(file.getnframes())
    except FileNotFoundError:
        raise ValueError(f"{path}: no such file") from None
    except (wave.Error, EOFError, OSError) as error:
        raise ValueError(f"{path}: not a WAV file that can be read ({error or type(error).__name__})") from None
    if width not in _SCALE or not raw:
        raise ValueError(f"{path}: wanted PCM samples of 8, 16 or 32 bits, got {len(raw)} bytes of {8 * width} bits")
    kind = {1: "u1", 2: "<i2", 4: "<i4"}[width]
    samples = np.frombuffer(raw, kind).astype(np.float32) - (128 if width == 1 else 0)
    return torch.from_numpy(samples.reshape(-1, channels).mean(1) / _SCALE[width]), rate
