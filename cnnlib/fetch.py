"""One file from the network: announced, checked, and whole or not there at all."""

import contextlib
import os
from collections.abc import Callable
from pathlib import Path


class FetchError(ValueError):
    """A file that can't be fetched, or is not the published one."""


def fetch(
    url: str,
    to: Path,
    algorithm: str,
    checksum: str,
    size: int | None = None,
    progress: Callable[[int, int | None], None] = lambda done, of: None,
) -> None:
    """Download `url` to the file `to`, whose folder is made; `checksum` is what its digest begins with, in hex.

    `progress` is told the bytes that are there and how many there will be, if the server says so. The file appears
    under its name when it is whole and checked. Raises FetchError otherwise; nothing is left behind then.
    """
    import hashlib  # all of them here, so that `import cnnlib` stays light
    import http.client
    import urllib.request

    to = Path(os.path.realpath(to))  # a link is followed
    partial = to.with_name(f".{to.name}.{os.getpid()}")
    try:
        to.parent.mkdir(parents=True, exist_ok=True)
        digest, done = hashlib.new(algorithm, usedforsecurity=False), 0
        with partial.open("wb") as out, urllib.request.urlopen(url, timeout=60) as answer:
            announced = answer.headers.get("Content-Length")
            of = int(announced) if announced else size
            while block := answer.read(1 << 20):
                digest.update(block)
                done += len(block)
                out.write(block)
                progress(done, of)
        if announced and done != int(announced):  # http.client says nothing
            raise FetchError(f"{url} broke off: {done:,} of {int(announced):,} bytes came. Try again")
        if not digest.hexdigest().startswith(checksum):
            published = f"{checksum}..." if len(checksum) < 2 * digest.digest_size else checksum
            expected = f"{size:,} with {published}" if size else published
            raise FetchError(
                f"{url} is not the published file: {done:,} bytes with {algorithm} {digest.hexdigest()}, not {expected}"
            )
        os.replace(partial, to)
    except (OSError, http.client.HTTPException) as error:
        raise FetchError(f"{url} could not be fetched to {to}: {error}") from error
    finally:
        with contextlib.suppress(OSError):  # gone already where all went well
            partial.unlink()
