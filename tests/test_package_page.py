"""The page of a package index: README.md with links that lead somewhere, in both of its forms."""

import re
from pathlib import Path

from build_support.readme import LINK, NOTE, for_index

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()
URL = "https://code.example.com/somebody/aiecs-redis"
TARGET = re.compile(r"\]\(([^)]*)\)")


def test_the_readme_has_what_is_turned():
    found = [path for _, _, path in LINK.findall(README)]
    assert len(found) > 15
    assert found == TARGET.findall(README)  # none in another form
    assert all((ROOT / path).is_file() for path in found)


def test_without_a_repository_paths_are_named():
    page = for_index(README, None)
    assert TARGET.findall(page) == []
    assert page.count(NOTE) == 1
    for picture, words, path in LINK.findall(README):
        if picture:
            assert words not in page
            assert Path(path).name not in page
        else:
            assert f"`{path}`" in page
    for line in README.splitlines():  # nothing else is touched
        assert LINK.search(line) or line in page


def test_with_a_repository_they_lead_there():
    page = for_index(README, URL)
    for picture, words, path in LINK.findall(README):
        kind = "raw" if picture else "blob"
        assert f"{picture}[{words}]({URL}/{kind}/HEAD/{path})" in page
    assert all(target.startswith(f"{URL}/") for target in TARGET.findall(page))


def test_other_links_stay_as_they_are():
    text = "# t\n\n[a](https://example.com) [b](#c) [d](e.md#f)\n"
    assert for_index(text, URL).endswith(
        f"[a](https://example.com) [b](#c) [d]({URL}/blob/HEAD/e.md#f)\n"
    )
