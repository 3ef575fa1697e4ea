"""Looks at the built site as a browser would: every link, anchor and picture within it has to be there.

python docs/check_site.py build/docs    # names what is missing, and exits with 1 if anything is
"""

from __future__ import annotations

import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit


class Page(HTMLParser):
    """Where a page points to, and what in it can be pointed to."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.targets: list[str] = []
        self.anchors: set[str] = set()
        self.feed(path.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Take its id and its links."""
        for name, value in attrs:
            if value and name == "id":
                self.anchors.add(value)
            if value and name in ("href", "src"):
                self.targets.append(value)


def missing(site: Path) -> list[str]:
    """``page: target`` for each target within the site that is not there."""
    pages = {path: Page(path) for path in sorted(site.rglob("*.html"))}
    found = []
    for path, page in pages.items():
        for target in page.targets:
            url = urlsplit(target)
            if url.scheme or url.netloc:
                continue
            file = (path.parent / unquote(url.path)).resolve() if url.path else path
            there = file.is_file() and (not url.fragment or file not in pages or url.fragment in pages[file].anchors)
            if not there:
                found.append(f"{path.relative_to(site)}: {target}")
    return sorted(set(found))


if __name__ == "__main__":
    broken = missing(Path(sys.argv[1]).resolve())
    print("\n".join(broken) or "every link, anchor and picture is there")
    sys.exit(1 if broken else 0)
