"""One small style sheet from the theme's many: the rules that a page of the book can use, in their order.

The theme brings 500 KB of styles for things that no page has, and a browser shows nothing before it has read them.
A rule is dropped where every one of its selectors asks for a class or an id that stands neither in a page nor in a
script. Whatever is not understood stays.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

# What may hold a brace, a comma or a comment's sign without meaning it.
QUIET = r""""(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|url\(\s*[^"')][^)]*\)"""
NESTED = ("@media", "@supports", "@container", "@layer")


def shorten(css: str) -> str:
    """Without comments, and with no more white space than CSS needs."""
    css = re.sub(rf"({QUIET})|/\*.*?\*/", lambda m: m[1] or "", css, flags=re.DOTALL)
    css = re.sub(rf"({QUIET})|\s+", lambda m: m[1] or " ", css)
    return re.sub(rf"({QUIET})|;? ?([{{}};]) ?", lambda m: m[1] or (m[2] if m[2] != "}" else "}"), css).strip()


def rules(css: str) -> Iterator[tuple[str, str | None]]:
    """(what stands before the brace, what stands inside) of each rule; (statement, None) where there is no brace."""
    start, depth, opened = 0, 0, 0
    for sign in re.finditer(rf"{QUIET}|[{{}};]", css):
        if sign[0] == "{":
            depth += 1
            opened = sign.start() if depth == 1 else opened
        elif sign[0] == "}":
            depth -= 1
            if depth == 0:
                yield css[start:opened], css[opened + 1 : sign.start()]
                start = sign.end()
        elif sign[0] == ";" and depth == 0:
            yield css[start : sign.start()], None
            start = sign.end()


def selectors(prelude: str) -> list[str]:
    """The selectors of a list; commas inside brackets do not part them."""
    parts, depth = [""], 0
    for piece in re.findall(rf"{QUIET}|.", prelude, re.DOTALL):
        depth += (piece in "([") - (piece in ")]")
        if piece == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += piece
    return parts


def possible(selector: str, names: set[str]) -> bool:
    """Whether every class and id that the selector asks for is among the names."""
    plain = re.sub(rf"{QUIET}|\\.", lambda m: m[0][1:] if m[0][0] == "\\" else "", selector)
    while (shorter := re.sub(r"\([^()]*\)|\[[^\[\]]*\]", "", plain)) != plain:
        plain = shorter
    return names.issuperset(re.findall(r"[.#]([\w-]+)", plain))


def used(css: str, names: set[str]) -> str:
    """The rules that something named can match."""
    kept = []
    for prelude, body in rules(css):
        if body is None:
            kept += [f"{prelude};"] * (not prelude.startswith("@charset"))
        elif prelude.startswith(NESTED):
            inner = used(body, names)
            kept += [f"{prelude}{{{inner}}}"] * bool(inner)
        elif prelude.startswith("@"):
            kept.append(f"{prelude}{{{body}}}")
        elif fits := [part for part in selectors(prelude) if possible(part, names)]:
            # One selector that a browser does not know makes it drop the whole list: such a list stays whole.
            chosen = prelude if re.search(r":-(?:moz|webkit|ms)-|::-", prelude) else ",".join(fits)
            kept.append(f"{chosen}{{{body}}}")
    return "".join(kept)


def needed(css: str, names: set[str]) -> str:
    """The sheet without the variables that nothing reads."""
    while True:
        read = names.union(re.findall(r"var\(\s*(--[\w-]+)", css))
        value = rf"(?:{QUIET}|[^;}}\"'])*"
        fewer = re.sub(rf"(?<=[{{;])\s*(--[\w-]+):{value}(?:;|(?=}}))", lambda m: m[0] if m[1] in read else "", css)
        if fewer == css:
            return css
        css = fewer


def sheet(folder: Path, address: str) -> str:
    """A sheet with what it imports in its place; addresses inside are seen from the folder."""

    def seen(target: str) -> str:
        return posixpath.normpath(posixpath.join(posixpath.dirname(address), target))

    def moved(match):
        return match[0] if match[1].startswith(("data:", "/", "http", "#")) else f"url({seen(match[1])})"

    text = shorten((folder / address).read_text(encoding="utf-8"))
    text = re.sub(r"""url\(\s*["']?([^"')]+)["']?\s*\)""", moved, text)
    return re.sub(r"""@import "([^":]+)";""", lambda match: sheet(folder, seen(match[1])), text)


def bundle(folder: Path, addresses: Iterable[str], names: set[str]) -> str:
    """One sheet from many, in their order, for pages and scripts that use these names and no others."""
    return needed("\n".join(used(sheet(folder, address), names) for address in addresses), names)
