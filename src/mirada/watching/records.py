"""What was seen: one attention call, and all of a block."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, overload

import torch
from torch import Tensor

from mirada.masks import Mask
from mirada.matrix import AttentionMatrix
from mirada.watching.call import Call
from mirada.watching.keeping import Kept

if TYPE_CHECKING:
    from mirada.watching.relevance import Relevance


@dataclass(frozen=True, eq=False)
class Inputs:
    """The tensors of a call, kept."""

    call: Call  # without its tensors
    query: Kept
    key: Kept
    value: Kept
    masks: tuple[Kept, ...]

    def given(self, name: str) -> Call:
        """The call again; ValueError where a tensor has been written to since."""
        return replace(
            self.call,
            query=self.query.get(f"the query of {name!r}"),
            key=self.key.get(f"the key of {name!r}"),
            value=self.value.get(f"the value of {name!r}"),
            masks=tuple(mask.get(f"the mask of {name!r}") for mask in self.masks),
        )


@dataclass(frozen=True, eq=False)
class AttentionRecord:
    """One attention call of a watched model."""

    index: int
    """Its place in the order of all calls seen."""
    name: str
    """The qualified name of the module that attended."""
    module: str
    """That module's class."""
    nth: int
    """Which call of this module it was, from 0 up."""
    shape: torch.Size
    """Of the matrix: (..., heads, L, S)."""
    heads: tuple[int, ...] | None
    """The heads that were kept, by number; None where all were."""
    masked: str
    """What kind of mask there was."""
    scale: float
    """What scores were multiplied with."""
    dtype: torch.dtype
    """What attention was computed in."""
    dropout_p: float
    """The dropout of the weights; the matrix is the one before it."""
    how: str
    """The door: ``scaled_dot_product_attention``, ``flex_attention`` or ``by hand``."""
    kernel: str
    """The kernel that torch chose."""
    edits: tuple[str, ...] = ()
    """What was changed about it."""
    answers: Mapping[str, object] = field(default_factory=dict)
    """What ``keep="statistics"`` asked, by name."""
    context: Tensor | None = None
    """The context that came out, where gradients flow through it."""
    inputs: Inputs | None = None

    @classmethod
    def of(cls, call: Call, *, index: int, name: str, module: str, nth: int = 0, **more: Any) -> AttentionRecord:
        """What a call tells of itself, and what else is known of it."""
        told: dict[str, Any] = {
            "shape": call.shape,
            "heads": None,
            "masked": call.masked,
            "scale": call.query.shape[-1] ** -0.5 if call.scale is None else float(call.scale),
            "dtype": call.dtype,
            "dropout_p": call.dropout_p,
            "how": call.how,
            "kernel": call.kernel,
        }
        return cls(index=index, name=name, module=module, nth=nth, **(told | more))

    @property
    def call(self) -> Call:
        """The call; ValueError where its tensors were let go."""
        if self.inputs is None:
            raise ValueError(
                f"the tensors of {self.name!r} were let go (keep='statistics'): read .answers, "
                f"which has {', '.join(self.answers)}, or watch with keep='inputs'"
            )
        return self.inputs.given(self.name)

    @property
    def matrix(self) -> AttentionMatrix:
        """The attention matrix, (..., heads, L, S), before dropout."""
        return self.call.matrix()

    @property
    def query(self) -> Tensor:
        """(..., heads, L, E)."""
        return self.call.query

    @property
    def key(self) -> Tensor:
        """(..., heads, S, E), with fewer heads where several queries' heads share one."""
        return self.call.key

    @property
    def value(self) -> Tensor:
        """(..., heads, S, Ev), with fewer heads where several queries' heads share one."""
        return self.call.value

    @property
    def mask(self) -> Mask | None:
        """Who could look at whom; None where everybody at everything."""
        return self.call.mask

    def relevance(self, score: Tensor) -> Relevance:
        """Attention × gradient for a scalar that the model computed (Chefer et al. 2021), asked in blocks."""
        from mirada.watching.relevance import relevances

        return relevances([self], score)[0]

    def __repr__(self) -> str:
        return f"<AttentionRecord {self.index}: {self.name or self.module}, {self.how}, shape {tuple(self.shape)}>"


class Records(Sequence[AttentionRecord]):
    """All sightings of a block, in the order of the calls; printed, a table.

    ``records[3]`` is the fourth call, ``records["layers.3.attn"]`` the one call of that module.

    >>> import mirada
    >>> model = torch.nn.TransformerEncoderLayer(8, 2, batch_first=True).eval()
    >>> with mirada.watch(model) as records:
    ...     context = model(torch.randn(1, 5, 8))
    >>> records
       name       module              heads  L × S  mask  kernel
    0  self_attn  MultiheadAttention      2  5 × 5  –     flash
    """

    def __init__(self, noted: Iterable[AttentionRecord | Callable[[], AttentionRecord]] = ()) -> None:
        self._noted: list[AttentionRecord | Callable[[], AttentionRecord]] = list(noted)
        self.unseen: dict[str, str] = {}
        """Modules that ran and attended unseen, and why."""
        self.left_out = 0
        """Calls that ``layers`` left out."""

    @property
    def records(self) -> list[AttentionRecord]:
        """All of them; those that were only noted as they went by are made now."""
        made = [noted() if callable(noted) else noted for noted in self._noted]
        self._noted = list(made)
        return made

    def note(self, record: AttentionRecord | Callable[[], AttentionRecord]) -> None:
        """Adds a sighting, or what will make it."""
        self._noted.append(record)

    def __len__(self) -> int:
        return len(self._noted)

    def __iter__(self) -> Iterator[AttentionRecord]:
        return iter(self.records)

    @overload
    def __getitem__(self, index: int | str) -> AttentionRecord: ...
    @overload
    def __getitem__(self, index: slice) -> list[AttentionRecord]: ...
    def __getitem__(self, index: int | str | slice) -> AttentionRecord | list[AttentionRecord]:
        if not isinstance(index, str):
            return self.records[index]
        calls = self.calls(index)
        if len(calls) > 1:
            raise KeyError(
                f"{index!r} was called {len(calls)} times: .calls({index!r})[n] is one of them, "
                f".stitched()[{index!r}] the steps of a generation as one matrix"
            )
        return calls[0]

    def calls(self, name: str) -> list[AttentionRecord]:
        """All calls of one module, in their order; KeyError where there is none."""
        calls = [record for record in self.records if record.name == name]
        if calls:
            return calls
        close = get_close_matches(name, self.names(), n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"seen were {', '.join(self.names()) or 'none'}"
        raise KeyError(f"no attention of {name!r} was seen: {self.unseen.get(name, hint)}")

    def names(self) -> list[str]:
        """The modules that were seen, in the order of their first call."""
        return list(dict.fromkeys(record.name for record in self.records))

    def stitched(self) -> Records:
        """The steps of a generation as one matrix a module: queries in order, keys as they grew.

        Raises:
            ValueError: where a module's calls are no such steps.
        """
        from mirada.watching.generation import stitch

        whole = Records(replace(stitch(self.calls(name)), index=n) for n, name in enumerate(self.names()))
        whole.unseen, whole.left_out = self.unseen, self.left_out
        return whole

    def relevance(self, score: Tensor, position: int) -> Tensor:
        """How much each token counts for a score, through all layers of self-attention (Chefer et al. 2021).

        Args:
            score: a scalar that the watched model computed, under grad: a logit.
            position: the query whose state the score is read from: 0 for a class token, −1 for the last.

        Returns:
            (..., S): one number a token, for each example.

        Raises:
            ValueError: no graph; calls that are not self-attention over one sequence.
            IndexError: a position outside of the sequence.
        """
        from mirada.watching.relevance import through_layers

        return through_layers(self.records, score, position)

    def importance(self, score: Tensor) -> Tensor:
        """How much each head counts for a score, by one backward pass: |∂score/∂gate| (Michel et al. 2019).

        A gate at 1 multiplies the head's context. The gates of several examples are apart; their absolute gradients are
        summed: with the mean loss of a batch as the score, this is Michel's mean over examples.

        Args:
            score: a scalar that the watched model computed, under grad: a loss or a logit.

        Returns:
            (calls, heads), a row for each attention call, in the order of the calls: of most models, a row a layer.

        Raises:
            ValueError: no graph; calls that differ in their number of heads.

        >>> import mirada
        >>> model = torch.nn.MultiheadAttention(8, 2)
        >>> with mirada.watch(model) as records:
        ...     output, _ = model(*[torch.randn(3, 1, 8)] * 3)
        >>> records.importance(output.sum()).shape
        torch.Size([1, 2])
        """
        from mirada.watching.importance import importance

        return importance(self.records, score)

    def __repr__(self) -> str:
        from mirada.watching.report import table

        return table(self)
