"""What a package index shows: README.md, its relative links led into the repository that pyproject.toml names."""

import re
import tomllib
from pathlib import Path

from setuptools import setup

PROJECT = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["project"]


def absolute(link: re.Match) -> str:
    """A link seen from the files of this version; ../../ is the repository's page, as GitHub has it."""
    image, place = link.groups()
    above = place.startswith("../../")
    folder = "" if above else f"{'raw' if image else 'blob'}/v{PROJECT['version']}/"
    return f"{image or ''}]({PROJECT['urls']['Repository']}/{folder}{place.removeprefix('../../')}"


setup(
    long_description=re.sub(
        r"(!\[[^]]*)?\]\((?![a-z]+:|#)([^)]+)", absolute, Path("README.md").read_text(encoding="utf-8")
    ),
    long_description_content_type="text/markdown",
)
