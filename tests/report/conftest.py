"""A book of two chapters that builds in seconds, for tests that break it in various ways."""

from __future__ import annotations

from pathlib import Path

import pytest

FRONT_MATTER = """---
jupytext:
  text_representation:
    extension: .md
    format_name: myst
kernelspec:
  display_name: Python 3
  language: python
  name: python3
---
"""

FIRST = (
    FRONT_MATTER
    + """
# The first chapter

It continues in [the second](second.md).

```{code-cell} ipython3
:tags: [parameters]

trials = 3
label = "plain"
```

```{code-cell} ipython3
print("trials:", trials, label)
```
"""
)

SECOND = (
    FRONT_MATTER
    + """
# The second chapter

```{code-cell} ipython3
6 * 7
```
"""
)

CONFIG = """title: A tiny book
only_build_toc_files: true
execute: {execute_notebooks: "off"}
sphinx:
  recursive_update: true
  extra_extensions: [hpopt_lib.report.sphinx_ext]
"""

TOC = """format: jb-book
root: index
chapters:
  - file: book/first
  - file: book/second
  - file: book/execution_statistics
"""


@pytest.fixture
def tiny_book(tmp_path: Path) -> Path:
    """The root of a fresh tiny book."""
    root = tmp_path / "tiny"
    files = {
        "_config.yml": CONFIG,
        "_toc.yml": TOC,
        "index.md": "# A tiny book\n\nSee [the first](book/first.md).\n",
        "book/first.md": FIRST,
        "book/second.md": SECOND,
        "book/plain.md": "# A page without cells\n",
        "profiles/quick.yml": "timeout_s: 60\nchapters:\n  first: {trials: 5}\n",
    }
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")
    return root
