"""README.md as a package index shows it, where a path of the repository leads nowhere."""

from __future__ import annotations

import os
import re

LINK = re.compile(r"(!?)\[([^\]]+)\]\((?![a-z]+:|#|/)([^)\s]+)\)")
NOTE = "Paths on this page are those of the source distribution.\n\n"


def repository() -> str | None:
    """AIECS_REDIS_REPOSITORY: the URL, which the workflow that builds a release knows."""
    return os.environ.get("AIECS_REDIS_REPOSITORY", "").rstrip("/") or None


def for_index(text: str, repository: str | None) -> str:
    """The text with links that lead somewhere.

    Args:
        text: README.md.
        repository: URL of the repository that is built; links and pictures lead to its files
            then. Without one a link becomes its text and the file's path, and a picture is left
            out, as there is nothing it could be loaded from.
    """

    def link(match: re.Match[str]) -> str:
        picture, words, path = match.groups()
        if repository:
            return f"{picture}[{words}]({repository}/{'raw' if picture else 'blob'}/HEAD/{path})"
        return f"`{path}`" if words == path else f"{words} (`{path}`)"

    if repository:
        return LINK.sub(link, text)
    without = re.sub(r"^!\[[^\n]*\)\n\n", "", text, flags=re.MULTILINE)
    title, rest = without.split("\n\n", 1)
    return f"{title}\n\n{NOTE}{LINK.sub(link, rest)}"
