"""From an exception to one line on stderr and an exit status: what, where, what to do."""

from __future__ import annotations

import errno
import os
import sys

from cyclopts import App, CycloptsError, UnknownCommandError, UnusedCliTokensError

from mirada.training.settings import did_you_mean

FAILED = 1
"""The run itself failed."""
REFUSED = 2
"""The request can't be met as it was made."""
INTERRUPTED = 130

# A disk can fill up under any run; the request was fine, so these are failures of the run.
_WORN_OUT = {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EFBIG}
_REMEDIES = {
    errno.ENOENT: "check the path",
    errno.ENOTDIR: "check the path",
    errno.EISDIR: "name a file, not a folder",
    errno.EEXIST: "choose another name",
    errno.EACCES: "choose a place that you may use",
    errno.EPERM: "choose a place that you may use",
    errno.EROFS: "choose a place that can be written to",
    errno.ENOSPC: "free some space or choose another place; what was complete before is kept",
    errno.EDQUOT: "free some space or choose another place; what was complete before is kept",
}


def complain(error: BaseException) -> int:
    """Tell the error in one line on stderr and give the exit status that it stands for."""
    if isinstance(error, BrokenPipeError):
        _let_go_of_stdout()
        return FAILED
    status, text = verdict(error)
    print(f"mirada: {' '.join(text.split())}", file=sys.stderr)
    return status


def verdict(error: BaseException) -> tuple[int, str]:
    """The exit status and the sentence for an error."""
    match error:
        case KeyboardInterrupt():
            return INTERRUPTED, str(error) or "stopped"
        case CycloptsError():
            return REFUSED, _misspelt(error)
        case OSError(errno=int(number), strerror=str(reason)):
            where = f"{error.filename}: " if error.filename is not None else ""
            remedy = f"; {_REMEDIES[number]}" if number in _REMEDIES else ""
            return FAILED if number in _WORN_OUT else REFUSED, f"{where}{reason}{remedy}"
        case ArithmeticError() | MemoryError() | RuntimeError():
            return FAILED, str(error) or type(error).__name__
        case ValueError() | TypeError() | OSError():
            return REFUSED, str(error) or type(error).__name__
    if type(error).__module__.startswith("mirada."):
        return REFUSED, str(error)
    return FAILED, f"{type(error).__name__}: {error}; this should not happen: MIRADA_DEBUG=1 shows where it does"


def _misspelt(error: CycloptsError) -> str:
    chain = list(error.command_chain or ())
    match error:
        # Not cyclopts' own sentence: to make it, every command would be imported, and torch with them.
        case UnknownCommandError(unused_tokens=[word, *_], app=App() as app):
            known = [name for name in app if not name.startswith("-")]
            kind = "system to train" if chain == ["train"] else "command"
            text = f"no {kind} is called {word!r}{did_you_mean(word, known)}"
        case UnusedCliTokensError():
            text = f"unexpected argument {' '.join(error.unused_tokens or ())}"
        case _:
            text = str(error)
    return f"{text[:1].lower()}{text[1:].removesuffix('.')} (see {' '.join(['mirada', *chain])} --help)"


def _let_go_of_stdout() -> None:
    # The interpreter flushes stdout once more at exit, and would complain about the same broken pipe.
    if sys.stdout is not None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
