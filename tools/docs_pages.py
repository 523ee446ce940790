"""A hook of MkDocs: pages that stand elsewhere in the repository, and links out of docs/.

The root's documents become pages of the site, as they are. A link to a page is turned to where the
page is on the site; a link to any other file of the repository is not followed from a site, and
becomes the file's name.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parent.parent

PAGES = {
    "ARCHITECTURE.md": "architecture.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
}
"""From the repository to the site. README.md has a page of its own, index.md."""

LINK = re.compile(r"(?<!`)(!?)\[([^\]]*)\]\(([^)#\s]+)(#[^)\s]*)?\)")


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Add the pages, and the pictures that stand beside them."""
    for source, page in PAGES.items():
        text = (ROOT / source).read_text(encoding="utf-8")
        files.append(File.generated(config, page, content=text))
        for mark, _, target, _ in LINK.findall(text):
            path = _in_repository(source, target)
            outside = path and not path.startswith("docs/") and not files.get_file_from_path(path)
            if mark and outside and (ROOT / path).is_file():
                files.append(File.generated(config, path, abs_src_path=str(ROOT / path)))
    return files


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn the links of one page."""
    here = page.file.src_uri
    source = {page: source for source, page in PAGES.items()}.get(here, f"docs/{here}")

    def turned(match: re.Match[str]) -> str:
        mark, text, target, anchor = match.groups(default="")
        path = _in_repository(source, target)
        if path is None:
            return match[0]
        if path == "README.md":
            on_site = "index.md"
        else:
            on_site = PAGES.get(path) or path.removeprefix("docs/")
        if files.get_file_from_path(on_site) is not None:
            to = posixpath.relpath(on_site, posixpath.dirname(here) or ".")
            return f"{mark}[{text}]({to}{anchor})"
        if not (ROOT / path).exists():
            return match[0]  # MkDocs reports it
        return text if text.startswith("`") else f"`{path}`"

    return LINK.sub(turned, markdown)


def on_post_page(output: str, *, page: Page, config: MkDocsConfig) -> str:
    """Refuse a page that loads something from elsewhere: it has to work without a network."""
    loads = r"<(?:script|img|iframe|link)\b[^>]*\b(?:src|href)=[\"']?(?:https?:)?//[^\s>\"']+"
    foreign = [tag for tag in re.findall(loads, output) if 'rel="canonical"' not in tag]
    if foreign:
        raise PluginError(f"{page.file.src_uri} loads from elsewhere: {foreign[0]}")
    return output


def _in_repository(source: str, target: str) -> str | None:
    """The path a link of `source` leads to, from the root; None for one that leads elsewhere."""
    if re.match(r"[a-z]+:|/", target):
        return None
    path = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
    return None if path.startswith("..") else path
