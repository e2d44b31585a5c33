"""Brings MNIST and Fashion-MNIST into the user's cache: once, verified, with a progress bar."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pooch
import requests  # comes with pooch, whose downloads raise its errors
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TransferSpeedColumn

from mirada.data.files import DataError, read_at_most
from mirada.data.idx import pieces
from mirada.storage import place_beside

_LARGEST = 1 << 26  # bytes of a file that is downloaded; the largest has 26 MB


@dataclass(frozen=True)
class Source:
    """Where a collection comes from and how each of its files is known to be genuine."""

    mirrors: tuple[str, ...]
    """Addresses of folders, tried in this order."""
    digests: dict[str, str]
    """File name, without .gz, to its published digest."""
    digest: Callable[[Path], str]
    """What was published: a digest of the content, or of the gzipped file."""


def sha256_of_content(path: Path) -> str:
    """SHA-256 of the uncompressed content: the mirrors compress differently, so the gz files themselves differ."""
    digest = hashlib.sha256()
    for piece in pieces(path):
        digest.update(piece)
    return digest.hexdigest()


def md5_of_file(path: Path) -> str:
    """MD5 of the file as it lies there."""
    return hashlib.md5(read_at_most(path, _LARGEST), usedforsecurity=False).hexdigest()


SOURCES = {
    "mnist": Source(
        mirrors=(
            "https://ossci-datasets.s3.amazonaws.com/mnist/",
            "https://storage.googleapis.com/cvdf-datasets/mnist/",
        ),
        digests={
            "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
            "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
            "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
            "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        },
        digest=sha256_of_content,
    ),
    # Only MD5 sums of the gz files are published for it, and only its own address serves them.
    "fashion": Source(
        mirrors=("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",),
        digests={
            "train-images-idx3-ubyte": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
            "train-labels-idx1-ubyte": "25c81989df183df01b3e8a0aad5dffbe",
            "t10k-images-idx3-ubyte": "bef4ecab320f06d8554ea6380940ec79",
            "t10k-labels-idx1-ubyte": "bb300cfdad3c16e7a12a480ee83cd310",
        },
        digest=md5_of_file,
    ),
}


def cache() -> Path:
    """The folder that downloads are kept in: ``$MIRADA_CACHE``, else the system's cache folder for mirada."""
    return Path(os.environ.get("MIRADA_CACHE") or pooch.os_cache("mirada"))


def fetch(name: str, source: Source | None = None) -> Path:
    """The folder with the four files of a collection, downloaded if they are not in the cache yet.

    A cached file that has gone bad is downloaded again.

    Args:
        name: "mnist" or "fashion": the folder within the cache, and the source if none is given.
        source: where to get it from.

    Raises:
        DataError: no mirror could be reached, or none of them had the genuine file.
    """
    source = source or SOURCES[name]
    folder = cache() / name
    missing = [file for file in source.digests if not _genuine(folder / f"{file}.gz", source.digests[file], source)]
    if missing:
        folder.mkdir(parents=True, exist_ok=True)
        columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
        with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
            for file in missing:
                _from_mirrors(name, folder / f"{file}.gz", source.digests[file], source, progress)
    return folder


def _genuine(path: Path, digest: str, source: Source) -> bool:
    try:
        return path.is_file() and source.digest(path) == digest
    except (DataError, OSError):
        return False


def _from_mirrors(name: str, path: Path, digest: str, source: Source, progress: Progress) -> None:
    task = progress.add_task(path.name, total=None)
    failures = []
    for mirror in source.mirrors:
        try:
            with place_beside(path) as partial:
                bar: Any = _Bar(progress, task)  # pooch documents any such object, its annotation says bool
                pooch.HTTPDownloader(progressbar=bar, chunk_size=1 << 16)(mirror + path.name, partial, pooch=None)
                if _genuine(partial, digest, source):
                    partial.replace(path)
                    return
            reason = "not the genuine file"
        except requests.HTTPError as error:
            reason = str(error)
        except DataError as error:
            reason = str(error)
        except requests.RequestException as error:  # their texts are pages long
            reason = type(error).__name__
        failures.append(f"{urlsplit(mirror).netloc}: {reason}")
    raise DataError(
        f"{name}: could not download {path.name} ({'; '.join(failures)}): connect and try again, or get the four IDX "
        "files in another way and name their folder with --data-dir"
    )


class _Bar:
    """What pooch asks of a progress bar, as a task of rich's."""

    def __init__(self, progress: Progress, task: TaskID) -> None:
        self._progress, self._task = progress, task
        self.reset()

    def reset(self) -> None:
        self._progress.reset(self._task, total=None)
        self._held = 0

    def update(self, size: int) -> None:
        self._progress.advance(self._task, size)
        self._held += size
        if self._held > _LARGEST:
            raise DataError(f"more than {_LARGEST:,} bytes")

    def close(self) -> None:
        pass

    @property
    def total(self) -> float | None:
        return self._progress.tasks[self._task].total

    @total.setter
    def total(self, size: int) -> None:
        self._progress.update(self._task, total=size)
