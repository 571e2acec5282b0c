"""Fetches one file of a package from the Python package index, with the standard library alone.

Usage: fetch_wheel.py PACKAGE FILE FOLDER. The index is PIP_INDEX_URL, else the standard one (PEP 503). The caller checks
the file's checksum.
"""

from __future__ import annotations

import os
import ssl
import sys
import urllib.error
import urllib.parse
import urllib.request
from html.parser import HTMLParser
from pathlib import Path
from typing import IO

STANDARD_INDEX = "https://pypi.org/simple"
TIMEOUT_SECONDS = 60
CHUNK_BYTES = 1 << 18


class Links(HTMLParser):
    """Collects the links of an index page by file name."""

    def __init__(self, base: str) -> None:
        """Starts with no links; ``base`` is the page's address."""
        super().__init__()
        self._base = base
        self.by_name: dict[str, str] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keeps what an anchor points to."""
        target = dict(attrs).get("href") if tag == "a" else None
        if target:
            address = urllib.parse.urljoin(self._base, target)
            path = urllib.parse.urlsplit(address).path
            self.by_name[urllib.parse.unquote(path.rsplit("/", 1)[-1])] = address


def connect(address: str, certificates: ssl.SSLContext) -> IO[bytes]:
    """Opens an address."""
    request = urllib.request.Request(address, headers={"Accept": "text/html, */*"})
    return urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS, context=certificates)  # type: ignore[no-any-return]


def fetch(package: str, file: str, folder: Path) -> None:
    """Fetches ``file`` of ``package`` into ``folder``, telling progress."""
    certificates = ssl.create_default_context(cafile=os.environ.get("PIP_CERT") or None)
    index = os.environ.get("PIP_INDEX_URL") or STANDARD_INDEX
    page = f"{index.rstrip('/')}/{package}/"
    with connect(page, certificates) as answer:
        links = Links(page)
        links.feed(answer.read().decode())
    address = links.by_name.get(file)
    if address is None:
        sys.exit(f"the package index has no {file}")
    with connect(address, certificates) as answer, (folder / file).open("wb") as target:
        total_bytes = int(answer.headers.get("Content-Length") or 0)  # type: ignore[attr-defined]
        done_bytes = 0
        while chunk := answer.read(CHUNK_BYTES):
            target.write(chunk)
            done_bytes += len(chunk)
            tell(done_bytes, total_bytes)


def tell(done_bytes: int, total_bytes: int) -> None:
    """Shows progress on a terminal."""
    if sys.stderr.isatty():
        part = f" of {total_bytes / 1e6:.1f}" if total_bytes else ""
        end = "\n" if done_bytes == total_bytes else ""
        sys.stderr.write(f"\r{done_bytes / 1e6:.1f}{part} MB{end}")


def main() -> None:
    """Runs the command line."""
    package, file, folder = sys.argv[1:]
    try:
        fetch(package, file, Path(folder))
    except (urllib.error.URLError, OSError, ValueError) as error:
        sys.exit(f"failed to fetch {file}: {error}")


if __name__ == "__main__":
    main()
