"""Where archived files go: a folder, or a bucket of an S3-compatible store.

A file is put whole, under a name that is never used for other bytes, and read by ranges. The
store is the world outside: what it refuses, or does not answer in time, is a `ConnectorError`, and
whoever meets it tries again later. Keys come from the environment (as every tool of S3 takes them)
and are in no message.

    s3://bucket/prefix                                   AWS, in the region of the environment
    s3://bucket/prefix?endpoint=http://10.0.0.7:9000     any other store that speaks S3
    /mnt/archive                                         a folder

pyarrow's file systems do the work; they are imported when the first store is opened.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias
from urllib.parse import parse_qsl, urlsplit

import pyarrow as pa

from headwater.errors import ConnectorError, DefinitionError, HeadwaterError
from headwater.storage.blobs import Blobs
from headwater.storage.local import LocalDisk
from headwater.storage.paths import folder_of

if TYPE_CHECKING:
    from pyarrow.fs import S3FileSystem

_EXAMPLE = (
    "for example 's3://bucket/prefix', 's3://bucket/prefix?endpoint=http://host:9000' or a path"
)
_OPTIONS = ("endpoint", "region")
# A store that is away is noticed after so long, and an attempt is given up after so long.
_CONNECT_SECONDS = 3.0
_REQUEST_SECONDS = 20.0
_ATTEMPTS = 2

Part: TypeAlias = bytes | memoryview | pa.Buffer


class Store(Protocol):
    """A place for files that are written once. Safe to use from many threads.

    Every method raises `ConnectorError` when the store cannot be reached, or refuses.
    """

    @property
    def name(self) -> str:
        """What it is called in messages."""
        ...

    def put(self, path: str, parts: Sequence[Part]) -> None:
        """Store the parts as one file; it is there as a whole on return, and not before."""
        ...

    def open(self, path: str) -> pa.NativeFile:
        """A file to be read by ranges. Raises `FileNotFoundError` when there is none."""
        ...

    def delete(self, path: str) -> None:
        """Remove a file, for good on return; nothing happens when there is none."""
        ...

    def list(self, prefix: str) -> list[str]:
        """The paths of all files below folder `prefix`, sorted."""
        ...


@dataclass(frozen=True, slots=True)
class Place:
    """Where an archive is, as it was written.

    Args:
        bucket: Of an S3-compatible store; None for a folder.
        path: The folder, or the prefix in the bucket, without a slash at its end.

    """

    bucket: str | None
    path: str
    endpoint: str | None = None
    region: str | None = None

    @staticmethod
    def parse(text: str) -> Place:
        """Read what an author wrote.

        Raises:
            DefinitionError: It is neither a path nor the address of a bucket.

        """
        if "://" not in text:
            if not text.strip():
                raise DefinitionError("an archive needs a place", hint=_EXAMPLE)
            return Place(None, text)
        address = urlsplit(text)
        if address.scheme == "file" and not address.netloc:
            return Place(None, address.path)
        if address.username is not None or address.password is not None:
            raise DefinitionError(
                "an archive's address must not hold keys",
                hint="set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the environment",
            )
        options = dict(parse_qsl(address.query))
        wrong = [name for name in options if name not in _OPTIONS]
        if address.scheme != "s3" or not address.netloc or wrong:
            what = f"the option {wrong[0]} of an archive" if wrong else f"the archive {text!r}"
            raise DefinitionError(f"{what} is not known", hint=_EXAMPLE)
        return Place(
            address.netloc,
            address.path.strip("/"),
            endpoint=options.get("endpoint"),
            region=options.get("region"),
        )

    def open(self) -> Store:
        """The store; nothing is asked of it yet, but a folder is made."""
        if self.bucket is None:
            return FolderStore(Path(self.path))
        return BucketStore(self)


class FolderStore:
    """A folder of this machine, or one that is mounted.

    Args:
        root: The folder; it is made when missing.

    """

    def __init__(self, root: Path) -> None:
        self._root = root.absolute()
        self.name = str(self._root)

    def put(self, path: str, parts: Sequence[Part]) -> None:
        """Store the parts as one file, durably."""
        with _reaching(self.name):
            self._blobs().put(path, parts)

    def open(self, path: str) -> pa.NativeFile:
        """A file to be read by ranges."""
        with _reaching(self.name):
            return pa.BufferReader(self._blobs().map(path))

    def delete(self, path: str) -> None:
        """Remove a file, durably: it is known to nobody then, and must not be back."""
        with _reaching(self.name):
            blobs = self._blobs()
            blobs.delete(path)
            blobs.settle(folder_of(path))

    def list(self, prefix: str) -> list[str]:
        """The paths of all files below folder `prefix`, sorted."""
        with _reaching(self.name):
            return self._blobs().list(prefix)

    def _blobs(self) -> Blobs:
        # Each time: what is mounted there may go and come again.
        return Blobs(LocalDisk.made(self._root))


class BucketStore:
    """A part of a bucket."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self.name = f"s3://{place.bucket}/{place.path}"
        self._root = "/".join(part for part in (place.bucket, place.path) if part)
        self._system: S3FileSystem | None = None

    def put(self, path: str, parts: Sequence[Part]) -> None:
        """Store the parts as one file. S3 shows it when it is complete."""
        whole = b"".join(memoryview(part) for part in parts) if len(parts) > 1 else parts[0]
        with _reaching(self.name):
            with self._files().open_output_stream(self._at(path)) as stream:
                stream.write(whole)
            # A stream that fails is closed as one that is complete.
            stored = self._files().get_file_info(self._at(path)).size
            if stored != memoryview(whole).nbytes:
                raise OSError(f"{path} has {stored} bytes there, not {memoryview(whole).nbytes}")

    def open(self, path: str) -> pa.NativeFile:
        """A file to be read by ranges."""
        with _reaching(self.name):
            return self._files().open_input_file(self._at(path))

    def delete(self, path: str) -> None:
        """Remove a file."""
        with _reaching(self.name):
            try:
                self._files().delete_file(self._at(path))
            except FileNotFoundError:
                return

    def list(self, prefix: str) -> list[str]:
        """The paths of all files below folder `prefix`, sorted."""
        from pyarrow.fs import FileSelector

        with _reaching(self.name):
            where = FileSelector(self._at(prefix), recursive=True, allow_not_found=True)
            found = [info for info in self._files().get_file_info(where) if info.is_file]
        lead = f"{self._root}/"
        # Some clients mark a folder by an empty object.
        return sorted(info.path.removeprefix(lead) for info in found if info.size)

    def _at(self, path: str) -> str:
        return f"{self._root}/{path}"

    def _files(self) -> S3FileSystem:
        if self._system is None:
            self._system = _s3(self._place)
        return self._system


def _s3(place: Place) -> S3FileSystem:
    from pyarrow.fs import AwsStandardS3RetryStrategy, S3FileSystem

    options: dict[str, Any] = {
        "connect_timeout": _CONNECT_SECONDS,
        "request_timeout": _REQUEST_SECONDS,
        "retry_strategy": AwsStandardS3RetryStrategy(max_attempts=_ATTEMPTS),
    }
    if place.region is not None:
        options["region"] = place.region
    if place.endpoint is not None:
        scheme, _, host = place.endpoint.rpartition("://")
        options |= {"endpoint_override": host, "scheme": scheme or "https"}
    return S3FileSystem(**options)


@contextmanager
def _reaching(name: str) -> Iterator[None]:
    """Turn what a store says when it is unwell into one kind of error."""
    try:
        yield
    except FileNotFoundError:
        raise
    except HeadwaterError as error:
        raise ConnectorError(f"the archive {name}: {error.message}", hint=error.hint) from error
    except (OSError, pa.ArrowException) as error:
        raise ConnectorError(
            f"the archive {name} cannot be used: {_first_line(error)}",
            hint="see that it can be reached and that the environment has its keys; what is to "
            "be archived stays here until then",
        ) from error


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).partition("\n")[0]
