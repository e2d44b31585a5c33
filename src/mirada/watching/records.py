"""What was seen: one attention call, and all of a block."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from difflib import get_close_matches
from typing import overload

from torch import Tensor

from mirada.watching.record import AttentionRecord


class Records(Sequence[AttentionRecord]):
    """All recorded calls of a block, in the order of the calls; printed, a table.

    ``records[3]`` is the fourth call, ``records["layers.3.attn"]`` the one call of that module.

    >>> import torch, mirada
    >>> model = torch.nn.TransformerEncoderLayer(8, 2, batch_first=True).eval()
    >>> with mirada.watch(model) as records:
    ...     context = model(torch.randn(1, 5, 8))
    >>> records
       name       module              heads  L × S  mask  kernel
    0  self_attn  MultiheadAttention      2  5 × 5  –     flash
    """

    def __init__(self, records: Iterable[AttentionRecord] = ()) -> None:
        self.records: list[AttentionRecord] = list(records)
        """All of them, in their order."""
        self.unseen: dict[str, str] = {}
        """Modules that ran and attended unseen, and why."""
        self.left_out = 0
        """Calls that ``layers`` left out."""

    def __len__(self) -> int:
        return len(self.records)

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

        whole = Records()
        ordered = False
        for name in sorted(self.names(), key=lambda name: self._crosses(name)):
            record = stitch(self.calls(name), ordered=ordered)
            ordered |= len(self.calls(name)) > 1 and not record.crossing
            whole.records.append(record)
        places = {name: n for n, name in enumerate(self.names())}
        whole.records.sort(key=lambda record: places[record.name])
        whole.records = [record.copy(index=n) for n, record in enumerate(whole.records)]
        whole.unseen, whole.left_out = self.unseen, self.left_out
        return whole

    def _crosses(self, name: str) -> bool:
        """Whether a module's keys stay as many as they were: a cross-attention's, which show no order."""
        calls = self.calls(name)
        return len(calls) > 1 and calls[0].shape[-1] == calls[-1].shape[-1]

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

        >>> import torch, mirada
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
