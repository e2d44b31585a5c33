"""Exercises that check themselves: give a function or a layer, read one line.

A right answer prints ``right: …``. A wrong one prints ``not yet: …`` with a hint, and never a traceback: shapes first,
then the slips that people really make.

>>> import torch
>>> from mirada import check
>>> check.causal_mask(lambda length: torch.ones(length, length).tril().bool())
right: each query attends to its own position and those before it
>>> check.causal_mask(lambda length: torch.ones(length, length).triu(1).bool())
not yet: the polarity is turned round: True means may attend
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any, ParamSpec

import torch
from torch import Generator, Tensor, nn

from mirada.data.counts import more_twos_than_fours

__all__ = [
    "attention",
    "bits",
    "bug",
    "causal_mask",
    "embedding",
    "generator",
    "keys_values",
    "macro_accuracy",
    "module",
    "patches",
    "softmax",
    "split_heads",
]

P = ParamSpec("P")

_WIDTH = 5  # of an embedding, a query and a key, as in the counting lesson
_LENGTH = 10  # digits in a sequence
_SHAPE_OF_WEIGHTS = "one row a query, one column a key"


class _AnswerError(Exception):
    """What to say to a wrong answer."""


def _exercise(judge: Callable[P, str]) -> Callable[P, None]:
    """Prints what `judge` returns as right, and what it raises as a hint."""

    @wraps(judge)
    def check(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            verdict = f"right: {judge(*args, **kwargs)}"
        except _AnswerError as hint:
            verdict = f"not yet: {hint}"
        except Exception as error:
            # An answer of a kind that no hint foresees, such as an object that fails when it is compared.
            verdict = f"not yet: checking it raised {_in_one_line(error)}"
        print(verdict)

    return check


# --- before attention ---


@_exercise
def softmax(answer: Callable[[Tensor], Tensor]) -> str:
    """Weights of scores (L, S), over the keys, also of large ones.

    >>> softmax(lambda scores: scores.exp() / scores.exp().sum(-1, keepdim=True))
    not yet: large scores give inf/inf, NaN: subtract the largest of a row first, as only differences count
    """
    scores = _draw(3, 4)
    found = _tensor("the weights", _call(answer, scores.clone()))
    _shape("the weights", found, (3, 4), _SHAPE_OF_WEIGHTS)
    powers = scores.exp()
    slips = [
        (powers, "these are the powers: divide each by the sum of its row"),
        (powers / powers.sum(), "the sum runs over all rows: each row must sum to 1, dim=-1"),
        (torch.softmax(scores, 0), "the sum runs over the queries: each row must sum to 1, dim=-1"),
        (scores / scores.sum(-1, keepdim=True), "e to the power of the scores is missing: scores can be negative"),
        (torch.log_softmax(scores, -1), "these are logarithms of the weights"),
    ]
    _compare("the weights", found, torch.softmax(scores, -1), slips)
    if not _alike(_tensor("the weights", _call(answer, 200 * scores)), torch.softmax(200 * scores, -1)):
        raise _AnswerError(
            "large scores give inf/inf, NaN: subtract the largest of a row first, as only differences count"
        )
    return "each row sums to 1, and large scores do no harm"


@_exercise
def bits(answer: Callable[[Tensor, Tensor], Tensor]) -> str:
    """The mean surprise in bits at the right classes (N,), of logits (N, classes).

    >>> bits(torch.nn.functional.cross_entropy)
    not yet: these are nats: divide by ln 2 = 0.693
    """
    logits, classes = _draw(6, 10), torch.tensor([3, 1, 4, 1, 5, 9])
    found = _tensor("the bits", _call(answer, logits.clone(), classes.clone()))
    surprise = -logits.log_softmax(-1)[range(6), classes]  # (6,), in nats
    one_bit = torch.tensor(2.0).log()
    if found.shape == (6,):
        raise _AnswerError("one number is wanted, the mean over the examples, got one for each")
    _shape("the bits", found, (), "one number, the mean over the examples")
    slips = [
        (surprise.mean(), "these are nats: divide by ln 2 = 0.693"),
        (surprise.mean() * one_bit, "multiplied by ln 2: divide, as a nat is more than a bit"),
        (surprise.sum() / one_bit, "this is the sum over the examples: the mean is wanted"),
        (-surprise.mean() / one_bit, "the sign is turned round: surprise is −log p, 0 or more"),
        (
            torch.nn.functional.cross_entropy(logits.softmax(-1), classes) / one_bit,
            "a softmax too many: cross_entropy takes logits, and applies it itself",
        ),
    ]
    _compare("the bits", found, surprise.mean() / one_bit, slips)
    return f"{found:.2f} bits on these examples; ten classes alike would be 3.32"


# --- the counting exercise, part by part ---


@_exercise
def generator(answer: Callable[[int], tuple[Tensor, Tensor]]) -> str:
    """Draw N sequences of ten digits, and whether each holds more 2s than 4s.

    Args:
        answer: takes N, returns digits (N, 10), integers from 0 to 9, and answers (N, 1), float: 1 for yes, 0 for no.

    >>> def mine(count):
    ...     digits = torch.randint(10, (count, 10))
    ...     return digits, ((digits == 2).sum(1) >= (digits == 4).sum(1)).float()[:, None]
    >>> generator(mine)
    not yet: a tie is answered with 1: as many 2s as 4s is not more
    """
    count = 500
    digits, answers = _pair(_call(answer, count), "digits", "answers")
    _shape("digits", digits, (count, _LENGTH), "N sequences of ten digits")
    _whole_numbers("digits", digits)
    if set(digits.unique().tolist()) != set(range(10)):
        found = f"{digits.min().item()} to {digits.max().item()}"
        raise _AnswerError(
            f"each digit from 0 to 9 must be drawn, yours go from {found} with {digits.unique().numel()} different"
        )
    _shape("answers", answers, (count, 1), "one answer a sequence, in a column of its own")
    if not answers.is_floating_point():
        raise _AnswerError(
            f"the loss needs answers as floating-point numbers, got {answers.dtype}: .float() makes them so"
        )
    right = more_twos_than_fours(digits)
    more_fours = ((digits == 4).sum(-1, keepdim=True) > (digits == 2).sum(-1, keepdim=True)).float()
    _compare(
        "answers",
        answers,
        right,
        [
            (1 - more_fours, "a tie is answered with 1: as many 2s as 4s is not more"),
            (more_fours, "2 and 4 have changed places: 1 is for more 2s than 4s"),
            (1 - right, "yes and no have changed places: 1 is for more 2s than 4s"),
        ],
    )
    again, _ = _pair(_call(answer, count), "digits", "answers")
    if torch.equal(again, digits):
        raise _AnswerError(
            "two calls return the same sequences: draw fresh ones each time, without a fixed seed inside"
        )
    return f"digits {_text(digits)} and answers {_text(answers)}, {answers.mean():.0%} of them yes"


@_exercise
def embedding(layer: Callable[[Tensor], Tensor]) -> str:
    """Turn digits (N, M) into vectors (N, M, d), as ``nn.Embedding(10, d)`` does.

    >>> embedding(nn.Embedding(10, 5))
    right: (3, 10) digits become (3, 10, 5): one vector of 5 numbers a digit
    """
    digits = torch.arange(10).repeat(3, 1)  # (3, 10): each digit three times
    digits[1] = digits[1].flip(0)
    vectors = _tensor("vectors", _call(layer, digits.clone()))
    if vectors.ndim != 3 or vectors.shape[:2] != digits.shape:
        raise _AnswerError(f"(3, 10) digits must become (3, 10, d), a vector of d numbers each, got {_text(vectors)}")
    if not torch.allclose(vectors[0], vectors[1].flip(0), equal_nan=True):
        raise _AnswerError("the same digit gets another vector at another position: a vector depends on the digit only")
    if vectors[0].unique(dim=0).shape[0] != 10:
        raise _AnswerError("some digits share one vector: each of the ten needs its own")
    return f"(3, 10) digits become {_text(vectors)}: one vector of {vectors.shape[-1]} numbers a digit"


@_exercise
def keys_values(answer: Callable[[Tensor], tuple[Tensor, Tensor]]) -> str:
    """Project embedded digits (N, M, 5) to keys (N, M, K) and values (N, M, 1), each by one linear layer.

    >>> to_key, to_value = nn.Linear(5, 5), nn.Linear(5, 1)
    >>> keys_values(lambda embedded: (to_key(embedded), to_value(embedded)))
    right: keys (3, 10, 5), values (3, 10, 1)
    """
    embedded = _draw(3, _LENGTH, _WIDTH)
    keys, values = _pair(_call(answer, embedded.clone()), "keys", "values")
    if keys.ndim == 3 and keys.shape[-1] == 1 and values.shape[-1] > 1:
        raise _AnswerError("keys and values have changed places: keys come first, and a value is one number")
    if keys.ndim != 3 or keys.shape[:2] != embedded.shape[:2]:
        raise _AnswerError(f"keys must be of shape (3, 10, K), one key a digit, got {_text(keys)}")
    _shape("values", values, (3, _LENGTH, 1), "one number a digit")
    _by_position("keys", keys, _pair(_call(answer, embedded.flip(1)), "keys", "values")[0])
    # A linear layer may add a bias, which the first difference takes away.
    doubled, zero = _call(answer, 2 * embedded), _call(answer, torch.zeros_like(embedded))
    for name, once, twice, none in zip(("keys", "values"), (keys, values), doubled, zero, strict=True):
        if not torch.allclose(twice - none, 2 * (once - none), atol=1e-4):
            raise _AnswerError(f"{name} are no linear function of the embedding: one nn.Linear, with nothing behind it")
    return f"keys {_text(keys)}, values {_text(values)}"


@_exercise
def attention(answer: Callable[[Tensor, Tensor], Tensor]) -> str:
    """The weights of a batch: the softmax over the keys of q · k / √E (Vaswani et al. 2017, equation 1).

    Args:
        answer: takes query (B, L, E) and key (B, S, E), returns weights (B, L, S).

    >>> attention(lambda q, k: torch.softmax(torch.einsum("bik,bjk->bij", q, k), dim=-1))
    not yet: the scale is missing: divide the scores by √E, the square root of the width of a query
    """
    return _attention(answer)


@_exercise
def module(answer: type[nn.Module] | nn.Module) -> str:
    """The whole model: ``attention(x)``, ``values(x)`` and the forward pass, for digits x (N, 10).

    Args:
        answer: the class, which is made without arguments, or a module. ``attention(x)`` is (N, 10) or (N, 1, 10),
            ``values(x)`` (N, 10) or (N, 10, 1), and the module itself returns (N, 1).

    >>> module(nn.Linear(10, 1))
    not yet: the module needs a method attention(x)
    """
    model = _call(answer) if isinstance(answer, type) else answer
    if not isinstance(model, nn.Module):
        raise _AnswerError(f"an nn.Module is wanted, got {type(model).__name__}")
    attention_of, values_of = (getattr(model, method, None) for method in ("attention", "values"))
    for method, found in (("attention", attention_of), ("values", values_of)):
        if not callable(found):
            raise _AnswerError(f"the module needs a method {method}(x)")
    digits = torch.randint(10, (7, _LENGTH), generator=Generator().manual_seed(0))
    weights = _tensor("attention(x)", _call(attention_of, digits.clone()))
    _one_of("attention(x)", weights, ((7, _LENGTH), (7, 1, _LENGTH)), "one weight a digit")
    _sums_to_one(weights)
    values = _tensor("values(x)", _call(values_of, digits.clone()))
    _one_of("values(x)", values, ((7, _LENGTH), (7, _LENGTH, 1)), "one value a digit")
    with torch.enable_grad():
        found = _call(model, digits.clone())
        output = _tensor("the output", found)
        _shape("the output", output, (7, 1), "one answer a sequence")
        _every_parameter_learns(model, found)
    order = torch.randperm(_LENGTH, generator=Generator().manual_seed(1))
    if not torch.allclose(_tensor("the output", _call(model, digits[:, order])), output, atol=1e-5):
        raise _AnswerError(
            "the answer changes with the order of the digits: the output must be made of the context only"
        )
    learned = sum(parameter.numel() for parameter in model.parameters())
    return f"weights {_text(weights)}, values {_text(values)}, output {_text(output)}, {learned} learned numbers"


# --- every pixel ---


@_exercise
def macro_accuracy(answer: Callable[[Tensor, Tensor], Tensor]) -> str:
    """The mean over the classes of the labels of the share named right, of predictions (N,) and labels (N,).

    >>> macro_accuracy(lambda predictions, labels: (predictions == labels).float().mean())
    not yet: this is the share over all examples: take it for each class, and then the mean of the classes
    """
    labels = torch.tensor([0, 0, 0, 0, 0, 0, 1, 1, 3])
    predictions = torch.tensor([0, 0, 0, 0, 0, 0, 1, 2, 3])
    found = _tensor("the accuracy", _call(answer, predictions.clone(), labels.clone()))
    _shape("the accuracy", found, (), "one number, the mean over the classes")
    if found.isnan():
        raise _AnswerError("0/0: class 2 is predicted once, and is the label of no example; leave such classes out")
    classes = labels.unique()  # 0, 1, 3
    shares = torch.stack([(predictions[labels == c] == c).double().mean() for c in classes])
    slips = [
        (
            (predictions == labels).double().mean(),
            "this is the share over all examples: take it for each class, and then the mean of the classes",
        ),
        (shares.sum() / 4, "class 2 is the label of no example: it must not count as 0"),
        (shares.sum() / 10, "only three classes are labels of an example: the mean is over them, not over ten"),
        (shares.sum(), "this is the sum over the classes: the mean is wanted"),
        (
            torch.stack([(labels[predictions == c] == c).double().mean() for c in classes]).mean(),
            "this is the precision: of those named c; wanted is, of those that are c, the share named c",
        ),
    ]
    _compare("the accuracy", found, shares.mean(), slips)
    return f"{found:.1%}, where the share over all examples is {(predictions == labels).double().mean():.1%}"


# --- many heads ---


@_exercise
def patches(answer: Callable[[Tensor, int], Tensor]) -> str:
    """Cut images (N, H, W) into patches (N, P, side²), both in reading order.

    >>> patches(lambda images, side: images.reshape(len(images), -1, side * side))
    not yet: these are pieces of rows: a patch holds neighbours from several rows
    """
    images, side = torch.arange(48.0).view(2, 4, 6), 2
    found = _tensor("the patches", _call(answer, images.clone(), side))
    tiles = images.view(2, 2, side, 3, side)  # (N, H/side, side, W/side, side)
    right = tiles.transpose(2, 3).reshape(2, 6, 4)
    _shape("the patches", found, (2, 6, 4), "one row a patch, side² numbers each")
    slips = [
        (images.reshape(2, 6, 4), "these are pieces of rows: a patch holds neighbours from several rows"),
        (
            tiles.permute(0, 3, 1, 2, 4).reshape(2, 6, 4),
            "the patches run down the columns: reading order is row by row",
        ),
        (
            tiles.permute(0, 1, 3, 4, 2).reshape(2, 6, 4),
            "the pixels within a patch run down: reading order is row by row",
        ),
        (tiles.permute(0, 3, 1, 4, 2).reshape(2, 6, 4), "patches and pixels run down the columns, not row by row"),
        (right / 255, "the numbers are divided by 255: leave them as they are"),
    ]
    _compare("the patches", found, right, slips)
    return "2 images (4, 6) become 6 patches of 2 × 2 pixels each"


@_exercise
def split_heads(answer: Callable[[Tensor, int], Tensor]) -> str:
    """Divide features (N, P, H · E) among H heads, (N, H, P, E): head 1 gets the first E, head 2 the next.

    >>> split_heads(lambda x, heads: x.view(len(x), heads, x.shape[1], -1))
    not yet: the shape is right, but patches were mixed: split the last dimension first, then move the heads forward
    """
    x, heads = _draw(2, 4, 6), 3
    found = _tensor("the heads", _call(answer, x.clone(), heads))
    right = x.view(2, 4, heads, 2).transpose(1, 2)  # (2, 3, 4, 2)
    if found.shape == (2, 3, 2, 4):
        raise _AnswerError("two axes are swapped: (N, H, E, P) lets features attend to each other, wanted (N, H, P, E)")
    if found.shape == (2, 4, 3, 2):
        raise _AnswerError("the heads are split, but stand behind the patches: move them forward, transpose(1, 2)")
    _shape("the heads", found, (2, 3, 4, 2), "(N, H, P, E)")
    slips = [
        (
            x.reshape(2, 3, 4, 2),
            "the shape is right, but patches were mixed: split the last dimension first, then move the heads forward",
        ),
        (
            x.view(2, 4, 2, heads).permute(0, 3, 1, 2),
            "each head gets every third feature: the first E features are head 1's, the next E head 2's",
        ),
    ]
    _compare("the heads", found, right, slips)
    return "(2, 4, 6) becomes (2, 3, 4, 2): 3 heads of 4 patches with 2 features"


# --- masks ---


@_exercise
def causal_mask(answer: Callable[[int], Tensor]) -> str:
    """A mask in one line: booleans (L, L), True where query i may attend to key j, that is j ≤ i.

    >>> causal_mask(lambda length: torch.ones(length, length).tril())
    not yet: a mask is made of booleans, got torch.float32: .bool() makes it so
    """
    for length in (5, 1):
        mask = _tensor("the mask", _call(answer, length))
        _shape("the mask", mask, (length, length), _SHAPE_OF_WEIGHTS)
        if mask.dtype != torch.bool:
            raise _AnswerError(f"a mask is made of booleans, got {mask.dtype}: .bool() makes it so")
        right = torch.ones(length, length).tril().bool()
        _compare(
            "the mask",
            mask,
            right,
            [
                (
                    ~right,
                    "the polarity is turned round: True means may attend",
                ),
                (right.T, "rows and columns have changed places: each query attends to the future only"),
                (right.tril(-1), "a query may attend to its own position too: the diagonal is True"),
                (torch.ones_like(right), "nothing is hidden: a query must not attend to what comes after it"),
            ],
        )
    return "each query attends to its own position and those before it"


# --- three buggy snippets ---

_FILL = """def weights(scores, visible):  # (L, S) numbers, (L, S) booleans: True = may attend
    scores = scores.masked_fill(~visible, -1e-9)
    return torch.softmax(scores, dim=-1)"""

_DIMENSION = """def weights(query, key):  # (B, L, E), (B, S, E)
    scores = query @ key.transpose(1, 2) / query.shape[-1] ** 0.5
    return torch.softmax(scores, dim=1)"""

_DIAGONAL = """def weights(scores):  # (L, L)
    future = torch.ones_like(scores).triu().bool()
    return torch.softmax(scores.masked_fill(future, -torch.inf), dim=-1)"""

_SNIPPETS = (_FILL, _DIMENSION, _DIAGONAL)


def bug(number: int, fixed: Callable[..., Tensor] | None = None) -> None:
    """Without `fixed`, print a snippet with one mistake in it; with it, check the mended function.

    Args:
        number: 1, 2 or 3.
        fixed: takes what the snippet's function takes, and returns the right weights.

    >>> bug(3)
    def weights(scores):  # (L, L)
        future = torch.ones_like(scores).triu().bool()
        return torch.softmax(scores.masked_fill(future, -torch.inf), dim=-1)
    >>> bug(3, lambda scores: torch.softmax(scores, dim=-1))
    not yet: nothing is hidden: no query may attend to what comes after it
    """
    if number not in (1, 2, 3):
        print(f"not yet: there are snippets 1, 2 and 3, not {number!r}")
    elif fixed is None:
        print(_SNIPPETS[number - 1])
    else:
        (_fill, _exercise(_attention), _diagonal)[number - 1](fixed)


@_exercise
def _fill(fixed: Callable[[Tensor, Tensor], Tensor]) -> str:
    scores = _draw(4, 6)
    visible = torch.arange(6).expand(4, 6) < torch.tensor([6, 4, 2, 5])[:, None]
    found = _tensor("the weights", _call(fixed, scores.clone(), visible.clone()))
    _shape("the weights", found, (4, 6), _SHAPE_OF_WEIGHTS)
    slips = [
        (_masked_softmax(scores, visible, -1e-9), "−1e-9 is as good as 0, and e⁰ is 1: fill with −∞"),
        (_masked_softmax(scores, visible, 0.0), "a score of 0 hides nothing, as e⁰ is 1: fill with −∞"),
        (torch.softmax(scores, -1), "nothing is hidden: where `visible` is False the weight must be 0"),
        (_masked_softmax(scores, ~visible), "the polarity is turned round: True in `visible` means may attend"),
        (torch.softmax(scores, -1) * visible, "hide before the softmax, not after it: each row must sum to 1"),
        (
            torch.softmax(scores.masked_fill(~visible, -torch.inf), 0),
            "the softmax runs over the queries: each row must sum to 1, dim=-1",
        ),
    ]
    _compare("the weights", found, _masked_softmax(scores, visible), slips)
    return "hidden keys get a weight of exactly 0, the others share what they would have had"


@_exercise
def _diagonal(fixed: Callable[[Tensor], Tensor]) -> str:
    scores = _draw(5, 5)
    visible = torch.ones(5, 5).tril().bool()
    found = _tensor("the weights", _call(fixed, scores.clone()))
    _shape("the weights", found, (5, 5), _SHAPE_OF_WEIGHTS)
    slips = [
        (
            _masked_softmax(scores, visible.tril(-1)),
            "the diagonal is hidden too, so that query 1 has no key left and its row is 0/0, NaN",
        ),
        (_masked_softmax(scores, ~visible), "the polarity is turned round: the past is hidden, and the future is not"),
        (_masked_softmax(scores, visible.T), "the polarity is turned round: the past is hidden, and the future is not"),
        (torch.softmax(scores, -1), "nothing is hidden: no query may attend to what comes after it"),
    ]
    _compare("the weights", found, _masked_softmax(scores, visible), slips)
    return "query 1 attends to itself alone, and each row sums to 1"


def _attention(answer: Callable[[Tensor, Tensor], Tensor]) -> str:
    query, key = _draw(2, 3, _WIDTH), _draw(2, 4, _WIDTH, seed=1)
    scores = query @ key.mT  # (B, L, S)
    found = _tensor("the weights", _call(answer, query.clone(), key.clone()))
    if found.shape == scores.mT.shape:
        raise _AnswerError("queries and keys have changed places: einsum 'bik,bjk->bij' gives one row a query")
    _shape("the weights", found, tuple(scores.shape), _SHAPE_OF_WEIGHTS)
    root = _WIDTH**0.5
    slips = [
        (
            torch.softmax(scores, -1),
            "the scale is missing: divide the scores by √E, the square root of the width of a query",
        ),
        (torch.softmax(scores / _WIDTH, -1), "the scores are divided by E: its square root is wanted"),
        (torch.softmax(scores * root, -1), "the scores are multiplied by √E: divide them"),
        (scores / root, "these are scores: the softmax over the keys is missing"),
        (scores, "these are scores: the scale and the softmax over the keys are missing"),
    ]
    for scaled in (scores / root, scores):
        slips += [
            (torch.softmax(scaled, 1), "the softmax runs over the queries: the keys are the last dimension, dim=-1"),
            (torch.softmax(scaled, 0), "the softmax runs over the batch: the keys are the last dimension, dim=-1"),
        ]
    _compare("the weights", found, torch.softmax(scores / root, -1), slips)
    return f"query (2, 3, 5) and key (2, 4, 5) give weights {_text(found)}, and each row sums to 1"


# --- what hints are made of ---


def _call(answer: Any, *arguments: Any) -> Any:
    if not callable(answer):
        raise _AnswerError(f"a function is wanted, got {type(answer).__name__}")
    try:
        return answer(*arguments)
    except (Exception, SystemExit) as error:
        shapes = [_text(given) if isinstance(given, Tensor) else repr(given) for given in arguments]
        raise _AnswerError(
            f"called with {', '.join(shapes) or 'no argument'}, it raised {_in_one_line(error)}"
        ) from None


def _in_one_line(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]


def _tensor(name: str, found: Any) -> Tensor:
    if found is None or found is ...:
        raise _AnswerError(f"{name}: nothing was returned")
    if not isinstance(found, Tensor):
        raise _AnswerError(f"{name} must be a tensor, got {type(found).__name__}")
    return found.detach().cpu()


def _pair(found: Any, first: str, second: str) -> tuple[Tensor, Tensor]:
    if not isinstance(found, tuple | list) or len(found) != 2:
        raise _AnswerError(f"two tensors are wanted, {first} and {second}, got {type(found).__name__}")
    return _tensor(first, found[0]), _tensor(second, found[1])


def _shape(name: str, found: Tensor, wanted: tuple[int, ...], meaning: str) -> None:
    _one_of(name, found, (wanted,), meaning)


def _one_of(name: str, found: Tensor, wanted: Sequence[tuple[int, ...]], meaning: str) -> None:
    if tuple(found.shape) not in wanted:
        raise _AnswerError(f"{name} must be of shape {' or '.join(map(str, wanted))}, {meaning}, got {_text(found)}")


def _whole_numbers(name: str, found: Tensor) -> None:
    if found.is_floating_point() or found.dtype == torch.bool:
        raise _AnswerError(f"{name} must be integers, as they index an embedding, got {found.dtype}")


def _by_position(name: str, found: Tensor, of_flipped: Tensor) -> None:
    if not torch.allclose(found.flip(1), of_flipped, atol=1e-5):
        raise _AnswerError(f"{name} of a digit depend on its position: the same layer is for each position")


def _sums_to_one(weights: Tensor) -> None:
    if (weights < 0).any() or not torch.allclose(weights.sum(-1), torch.ones(weights.shape[:-1]), atol=1e-4):
        raise _AnswerError(
            "attention(x): the weights of a sequence must be 0 or more and sum to 1, a softmax over the digits"
        )


def _every_parameter_learns(model: nn.Module, output: Tensor) -> None:
    learned = dict(model.named_parameters())
    if not learned or not output.requires_grad:
        raise _AnswerError(
            "nothing in the output can be learned: layers and the query belong to the module, as nn.Parameter"
        )
    slopes = torch.autograd.grad(output.sum(), list(learned.values()), allow_unused=True)
    unused = [name for name, slope in zip(learned, slopes, strict=True) if slope is None]
    if unused:
        raise _AnswerError(f"the output does not depend on {', '.join(unused)}: use it, or leave it out")


def _compare(name: str, found: Tensor, right: Tensor, slips: Sequence[tuple[Tensor, str]]) -> None:
    """Right within 1e-4; else the hint of the slip that gives these numbers."""
    if _alike(found, right):
        return
    for wrong, hint in slips:
        if _alike(found, wrong):
            raise _AnswerError(hint)
    if found.isnan().any():
        raise _AnswerError(f"{name} hold NaN: a row in which all is hidden, or 0/0")
    first = tuple((~torch.isclose(found.double(), right.double(), atol=1e-4)).nonzero()[0].tolist())
    raise _AnswerError(
        f"the shape is right, a number is not: at {list(first)} {found[first]:.4g}, wanted {right[first]:.4g}"
    )


def _alike(found: Tensor, wanted: Tensor) -> bool:
    return torch.allclose(found.double(), wanted.double(), atol=1e-4, equal_nan=True)


def _masked_softmax(scores: Tensor, visible: Tensor, fill: float = -torch.inf) -> Tensor:
    return torch.softmax(scores.masked_fill(~visible, fill), -1)


def _draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=Generator().manual_seed(seed))


def _text(tensor: Tensor) -> str:
    return str(tuple(tensor.shape))
