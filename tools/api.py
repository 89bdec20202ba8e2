"""Write gaelib/__init__.pyi and book/api.md from gaelib's files: `python tools/api.py [--check]`.

The stub lists what is public: `OWN`, and the ``__all__`` of every model. The package reads it at run time, type
checkers read it too. The page is written from docstrings, committed text, so that the book builds without torch. numpydoc sections become bold titles,
their entries definition lists, examples `python` fences; reStructuredText's backticks and `:math:` become
Markdown's.
"""

import argparse
import ast
import importlib
import inspect
import pkgutil
import re
import sys
import textwrap
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from tools import nb as book

PAGE, STUB = book.BOOK / "api.md", book.ROOT / "gaelib" / "__init__.pyi"
OWN = """from . import core, data, noise, parallel, pictures, plot
from .bars import explain
from .comparison import compare
from .saving import checkpoint, resume
from .joints import flats
from .pictures import targets as terms
from .pictures.activation import activate
from .pictures.image_prior import deep_image_prior
from .verify import CheckFailed, check, glue
"""  # what is public besides the models
ROOMS = ("core", "noise", "joints", "models", "pictures")  # first on the page; every other module follows by name
ENTRIES = ("Parameters", "Attributes", "Returns", "Yields", "Raises", "Warns")
SECTIONS = (*ENTRIES, "See Also", "Notes", "References", "Examples")
FORMER = {  # an entry's anchor -> names of older versions that others may link to
    "api-remedies": ["with-remedy"],
    "api-runners": ["claims"],
    "api-gram": ["totals"],
    "api-transposed": ["standardised"],
    "api-need-switch": ["api-need-truth"],
    "api-sample-rows": ["draw-rows"],
    "api-screen": ["screened"],
    "api-total": ["sum-rows"],
}
HEAD = """---
myst:
  html_meta:
    description: >-
      Reference of every public class and function of {package}, from the core on one page to the models:
      what each takes, returns and refuses, with shapes, units and an example that runs.
---

# API reference

This page is written from the docstrings of version {version}. Shapes use $n$ for samples and $D$ for
features; log densities are in nats.
"""
CONTENTS = """(api-contents)=
## What to import

These names are what most programs need. What they are made of follows below, module by module."""


# --- reStructuredText, as far as docstrings use it, to Markdown ---

CODE = re.compile(r":math:`(?P<maths>[^`]+)`|(?::[\w:]+:)?`{1,2}(?P<code>[^`]+)`{1,2}|(?P<dollar>\$[^$\n]+\$)")


def escape(text):
    """Plain text, safe in Markdown; `**bold**` and `*emphasis*` stay what they are in both languages."""
    text = re.sub(r"([\\<_{])", r"\\\1", text)
    text = re.sub(r"\](?=[(:])", r"\\]", re.sub(r"(\[\w+\])\\_", r"\1", text))
    parts = re.split(r"(?:(?<=\s)|^)(\*\*?[^*\s](?:[^*]*[^*\s])?\*\*?)(?=[\s.,;:)]|$)", text)
    return "".join(part if i % 2 else part.replace("*", r"\*") for i, part in enumerate(parts))


def inline(text, links):
    """One paragraph on one line. A single-backtick name that the page documents becomes a link."""
    text = " ".join(text.split())
    out, end = [], 0
    for match in CODE.finditer(text):
        out.append(escape(text[end : match.start()]))
        if match["code"]:
            code = match["code"].lstrip("~")
            name = code.removesuffix("()").split(".")[-1]
            linked = name in links and not match[0].startswith("``")
            out.append(f"[`{code}`](#{links[name]})" if linked else f"`{code}`")
        else:
            out.append(f"${match['maths']}$" if match["maths"] else match["dollar"])
        end = match.end()
    out.append(escape(text[end:]))
    return re.sub(r"^([#>%+=-])", r"\\\1", "".join(out))  # a paragraph, not a heading, quote, comment or list


ITEM = re.compile(r"(?:[-*]|\d+\.|\.\. \[\w+\]) +")


def blocks(text, links):
    """Paragraphs, lists and indented code of a docstring."""
    out, literal = [], False
    for block in re.split(r"\n\s*\n", text.strip("\n")) if text.strip() else ():
        lines = block.splitlines()
        if block.startswith((" ", "\t")):
            code = textwrap.dedent(block)
            if out and out[-1].endswith("```") and literal:  # one example with a blank line in it
                out[-1] = out[-1][:-3] + "\n" + code + "\n```"
            else:
                out.append(f"```text\n{code}\n```")
            literal = True
            continue
        literal = False
        if lines[0].startswith(".. math::"):
            out.append("$$\n" + textwrap.dedent("\n".join(lines))[len(".. math::") :].strip() + "\n$$")
        elif ITEM.match(lines[0]):
            items = []
            for line in lines:
                items = [*items, line] if ITEM.match(line) else [*items[:-1], f"{items[-1]} {line.strip()}"]
            for item in items:
                mark = ITEM.match(item)[0].strip()
                text_ = inline(item[len(ITEM.match(item)[0]) :], links)
                out.append(f"{mark if mark[0].isdigit() else '-'} {text_}")
            out = [*out[: -len(items)], "\n".join(out[-len(items) :])]
        else:
            out.append(inline(re.sub(r"::$", ":", block), links))
    return "\n\n".join(out)


def examples(text):
    """Doctest lines and the prose between them: the code in `python` fences."""
    out = []
    for block in re.split(r"\n\s*\n", text.strip("\n")):
        code = block.lstrip().startswith(">>>")
        out.append(f"```python\n{textwrap.dedent(block)}\n```" if code else inline(block, {}))
    return "\n\n".join(out)


def entries(title, text, links):
    """`name : type` or `type` lines with indented descriptions, as a definition list."""
    out = []
    for entry in re.split(r"\n(?=\S)", text.strip("\n")):
        head, _, body = entry.partition("\n")
        names, _, kind = head.partition(" : ")
        named = kind or title in ("Parameters", "Attributes", "Raises", "Warns")
        term = ", ".join(f"`{name.strip()}`" for name in names.split(",")) if named else inline(head, links)
        kind = f"*{inline(kind, {})}.*" if kind else ""
        said = " ".join(filter(None, (kind, blocks(textwrap.dedent(body), links))))
        out.append(f"{term}\n: " + textwrap.indent(said, "  ").strip() if said else term)
    return "\n\n".join(out)


def markdown(doc, links=()):
    """A numpydoc docstring as Markdown for MyST."""
    links = links or {}
    doc = inspect.cleandoc(doc or "")
    heads = "|".join(SECTIONS)
    parts = re.split(rf"^({heads})\n-{{3,}}\n", doc, flags=re.M)
    out = [blocks(parts[0], links)] if parts[0].strip() else []
    for title, body in zip(parts[1::2], parts[2::2]):
        if title == "Examples":
            body = examples(body)
        else:
            body = entries(title, body, links) if title in ENTRIES else blocks(body, links)
        out.append(f"**{title}**\n\n{body}")
    return "\n\n".join(out)


# --- what is public ---


def signature(name, thing):
    """`name(a, b=1)` without annotations: the docstring gives types and shapes. Wrapped to fit a page."""
    try:
        found = inspect.signature(thing)
    except (TypeError, ValueError):
        return name

    def plain(parameter):
        default = parameter.default
        if callable(default) and default is not parameter.empty:
            default = type("", (), {"__repr__": lambda self: "..."})()
        return parameter.replace(annotation=parameter.empty, default=default)

    kept = [plain(p) for p in found.parameters.values() if p.name != "self"]
    line = f"{name}{found.replace(parameters=kept, return_annotation=found.empty)}"
    return line if len(line) <= 88 else "\n".join(textwrap.wrap(line, 84, subsequent_indent="    "))


def public(module):
    """The classes and functions that a module defines, describes and does not hide, in their order."""
    found = [
        thing
        for name, thing in vars(module).items()
        if not name.startswith("_")
        and (inspect.isclass(thing) or inspect.isfunction(thing))
        and thing.__module__ == module.__name__
        and thing.__doc__
    ]
    return sorted(found, key=lambda thing: inspect.getsourcelines(thing)[1])


def methods(cls, package):
    """Public methods with a docstring that gaelib writes, its own and inherited, each once."""
    seen = {}
    for base in reversed(cls.__mro__):
        if base.__module__.partition(".")[0] == package:
            for name, thing in vars(base).items():
                thing = thing.fget if isinstance(thing, property) else getattr(thing, "__func__", thing)
                ours = inspect.isfunction(thing) and thing.__module__.partition(".")[0] == package
                if not name.startswith("_") and ours and thing.__doc__:
                    seen[name] = thing
    return seen


def modules(package="gaelib"):
    """Every module that does not hide, a package before what it holds; `ROOMS` first."""
    root = importlib.import_module(package)
    names = [info.name.split(".")[1:] for info in pkgutil.walk_packages(root.__path__, f"{package}.")]
    rank = {room: place for place, room in enumerate(ROOMS)}
    shown = sorted((rank.get(name[0], len(rank)), name) for name in names if not any(n.startswith("_") for n in name))
    return [importlib.import_module(".".join([package, *name])) for _, name in shown]


def anchors(things):
    """One anchor for each thing, `api-<name>`; a class has it before a function that differs in case."""
    taken = {}
    for thing in sorted(things, key=lambda thing: not inspect.isclass(thing)):
        anchor = f"api-{thing.__name__.lower().replace('_', '-')}"
        while anchor in taken.values():
            anchor += "-function"
        taken[thing] = anchor
    return taken


def contents(root, anchor):
    """What the package exports, each with its first sentence: models, other classes and functions, modules."""
    groups = {"Models": [], "Functions and errors": [], "Modules": []}
    for name in root.__all__:
        thing = getattr(root, name)
        group = "Modules" if inspect.ismodule(thing) else "Models" if hasattr(thing, "fit") else "Functions and errors"
        where = module_anchor(thing) if group == "Modules" else anchor[thing]
        said = re.split(r"\n\n|(?<=\.)\s", inspect.cleandoc(thing.__doc__), maxsplit=1)[0]
        groups[group].append(f"- [`{root.__name__}.{name}`](#{where}): {inline(said, {})}")
    lists = [f"**{group}**\n\n" + "\n".join(lines) for group, lines in groups.items()]
    return "\n\n".join([CONTENTS, *lists]) + "\n"


def module_anchor(module):
    return f"api-module-{re.sub('[._]', '-', module.__name__.partition('.')[2])}"


def page(package="gaelib"):
    """The whole of api.md."""
    root = importlib.import_module(package)
    found = {module: public(module) for module in modules(package)}
    anchor = anchors([thing for things in found.values() for thing in things])
    links = {thing.__name__: where for thing, where in anchor.items()}
    out = [HEAD.format(package=package, version=root.__version__), contents(root, anchor)]
    for module, things in found.items():
        former = [re.sub("[._]", "-", old) for old, new in root.MOVED.items() if new == module.__name__]
        out += [f"({name})=" for old in former for name in (old, old.replace(package, "api-module", 1))]
        out.append(f"({module_anchor(module)})=")
        out.append(f"## `{module.__name__}`\n")
        out.append(markdown(module.__doc__, links) + "\n")
        for thing in things:
            name = thing.__name__
            path = f"{package}.{name}" if getattr(root, name, None) is thing else f"{module.__name__}.{name}"
            out += [f"({prefix}{old})=" for old in FORMER.get(anchor[thing], ()) for prefix in ("", "api-")]
            out.append(f"({anchor[thing]})=\n### `{name}`\n")
            out.append(f"```python\n{signature(path, thing)}\n```\n\n{markdown(thing.__doc__, links)}\n")
            if inspect.isclass(thing):
                for label, method in methods(thing, package).items():
                    out.append(f"**`{signature(f'{name}.{label}', method)}`**\n\n{markdown(method.__doc__, links)}\n")
    return "\n".join(out)


def exported(path):
    """The names in a file's ``__all__``, which is read and not run; none where it has no ``__all__``."""
    for statement in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(statement, ast.Assign) and getattr(statement.targets[0], "id", "") == "__all__":
            return ast.literal_eval(statement.value)
    return []


def exports(models=STUB.parent / "models"):
    """The whole of gaelib/__init__.pyi."""
    lines = [
        f"from .models.{path.stem} import {', '.join(names)}"
        for path in sorted(models.glob("*.py"))
        if (names := exported(path))
    ]
    text = "\n".join(sorted([*OWN.splitlines(), *lines]))
    names = [alias.asname or alias.name for line in ast.parse(text).body for alias in line.names]
    listed = "".join(f'    "{name}",\n' for name in sorted(names, key=lambda n: (not n.isupper(), n.islower(), n)))
    return f"# Written by tools/api.py.\n{text}\n\n__version__: str\n__all__ = [\n{listed}]\n"


def main(argv=None):
    parser = argparse.ArgumentParser(description="Write gaelib/__init__.pyi and book/api.md from gaelib's files.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if a file would change")
    args, changed = parser.parse_args(argv), []
    for path, make in ((STUB, exports), (PAGE, page)):  # the page shows what the stub says is public
        text = make()
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            changed.append(path)
            if not args.check:
                path.write_text(text, encoding="utf-8")
    for path in changed:
        print(f"{path.name}: {'would change' if args.check else 'written'}")
    return int(args.check and bool(changed))


if __name__ == "__main__":
    sys.exit(main())
