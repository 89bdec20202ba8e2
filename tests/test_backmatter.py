"""The back matter agrees with itself and with the chapters: ledger, notation, glossary, references, map.

Every check is a function from text to a list of faults, so that the tests at the end of this file can hand it
something wrong and see it complain.
"""

import json
import re
import sys
from pathlib import Path

import pytest
import yaml
from pybtex.database import parse_file

sys.path.insert(0, str(Path(__file__).parents[1] / "tools"))
import bookext

M, S = re.MULTILINE, re.DOTALL
BOOK = Path(__file__).parents[1] / "book"

VERDICTS = {"holds", "condition", "typo", "fails", "claim", "definition", "ours"}
FIELDS = {"id", "section", "statement", "verdict", "note", "chapter", "anchor"}
GREEK = (
    "alpha beta gamma delta epsilon varepsilon zeta eta theta vartheta iota kappa lambda mu nu xi pi "
    "rho sigma tau upsilon phi varphi chi psi omega Gamma Delta Theta Lambda Xi Pi Sigma Upsilon Phi "
    "Psi Omega ell"
)


# --- reading the book ---------------------------------------------------------------------------------------


def load(name):
    return yaml.safe_load((BOOK / name).read_text(encoding="utf-8"))


def docnames():
    """The pages in _toc.yml, as names without a suffix."""
    toc = load("_toc.yml")
    files = [entry["file"] for part in toc["parts"] for entry in part["chapters"]]
    return [toc["root"], *files]


def path(docname):
    return next((p for s in (".ipynb", ".md") if (p := BOOK / f"{docname}{s}").exists()), None)


def blocks(source):
    """The Markdown of a page in pieces: the Markdown cells of a notebook, or the whole page."""
    text = source.read_text(encoding="utf-8")
    if source.suffix == ".md":
        return [text]
    cells = json.loads(text)["cells"]
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown"]


def written():
    return [p for name in docnames() if (p := path(name))]


def prose(text):
    """Markdown without code: no plain fences, and no inline code unless it belongs to a role."""
    text = re.sub(r"^(`{3,})(?!\{).*?^\1", "", text, flags=M | S)
    code = r"(\{[\w:+-]+\})?(?<!`)(`{1,2})(?!`)((?:(?!\n\s*\n).)+?)(?<!`)\2(?!`)"
    return re.sub(code, lambda found: found[0] if found[1] else "", text, flags=S)


# --- the checks ---------------------------------------------------------------------------------------------


def row_faults(row):
    faults = []
    if set(row) != FIELDS:
        faults.append(f"fields {sorted(row)}")
        return faults
    faults += [f"no {name}" for name in ("statement", "note") if not str(row[name] or "").strip()]
    if row["verdict"] not in VERDICTS:
        faults.append(f"verdict {row['verdict']}")
    if row["chapter"] and "be reproduced" in row["note"]:
        faults.append("closed, but a figure is still to be reproduced")
    if row["anchor"] and not row["chapter"]:
        faults.append("an anchor without a chapter")
    return faults


def labels(source):
    """Everything on a page that an anchor can name."""
    text = "\n".join(blocks(source))
    label = r"^\(([\w-]+)\)=|\$\$[ \t]*\(([\w-]+)\)|^:(?:label|name):[ \t]*([\w-]+)"
    found = re.findall(label, text, flags=M)
    names = {name for match in found for name in match if name}
    if source.suffix == ".ipynb":
        cells = json.loads(source.read_text(encoding="utf-8"))["cells"]
        names |= {c["metadata"].get("mystnb", {}).get("figure", {}).get("name") for c in cells}
    return names


def tex_faults(text):
    """Dollars and braces that do not match, paragraph by paragraph."""
    faults = []
    for part in re.split(r"\n\s*\n", prose(text)):
        bare = re.sub(r"\\[\\$]", "", part)
        if bare.count("$$") % 2 or bare.replace("$$", "").count("$") % 2:
            faults.append(f"dollars: {part[:60]}")
        faults += [f"braces: {tex[:60]}" for tex in maths(part) if not braced(tex)]
    return faults


def braced(tex):
    bare = re.sub(r"\\[{}]", "", tex)
    return bare.count("{") == bare.count("}")


def maths(text):
    """The TeX of a piece of Markdown, display and inline."""
    text = prose(text)
    fence = r"^(`{3,}|:{3,})\{math\}[^\n]*\n(?::[^\n]*\n)*(.*?)^\1"
    found = [body for _, body in re.findall(fence, text, flags=M | S)]
    text = re.sub(fence, "", text, flags=M | S)
    found += re.findall(r"\$\$(.+?)\$\$", text, flags=S)
    text = re.sub(r"\$\$.+?\$\$", "", text, flags=S)
    return found + re.findall(r"(?<![\\$])\$([^$]+?)(?<!\\)\$", text)


def symbols(tex):
    """The base symbols of some TeX: Latin and Greek letters, bb and cal letters. Upright words are none."""
    upright = r"\\(?:text|mathrm|mathsf|operatorname\*?|begin|end|label|tag)\s*(?:\{[^{}]*\}|\w)"
    tex = re.sub(upright, " ", tex)
    found = {f"{kind} {letter}" for kind, letter in re.findall(r"\\math(bb|cal)\s*\{?(\w)\}?", tex)}
    tex = re.sub(r"\\math(bb|cal)\s*\{?\w\}?", " ", tex)
    found |= set(GREEK.split()) & set(re.findall(r"\\([A-Za-z]+)", tex))
    return found | set(re.findall(r"[A-Za-z]", re.sub(r"\\[A-Za-z]+", " ", tex)))


def symbols_of(texts):
    return set().union(*(symbols(tex) for text in texts for tex in maths(text)))


def notation():
    """The symbols in the first column of the notation page's tables."""
    page = (BOOK / "notation.md").read_text(encoding="utf-8")
    return symbols_of(re.findall(r"^\|([^|]*)\|", page, flags=M))


def glossary():
    """Term -> definition."""
    page = (BOOK / "glossary.md").read_text(encoding="utf-8")
    body = re.search(r"^```\{glossary\}\n(.*?)^```", page, flags=M | S).group(1)
    entries = re.findall(r"^(\S.*)\n((?:[ \t]+\S.*\n)+)", re.sub(r"^:.*\n", "", body, flags=M), flags=M)
    assert len(entries) == len({term.lower() for term, _ in entries}), "a term is defined twice"
    return {term.lower(): " ".join(text.split()) for term, text in entries}


def terms_used(text):
    targets = re.findall(r"\{term\}`(?:[^`<]*<([^`>]+)>|([^`<]+))`", prose(text))
    return {(explicit or plain).strip().lower() for explicit, plain in targets}


def keys_cited(text):
    cited = re.findall(r"\{cite(?::\w+)?\}`([^`]+)`", prose(text))
    return {key.strip() for keys in cited for key in keys.split(",")}


def keys_known():
    keys = re.findall(r"^@\w+\{([^,\s]+),", (BOOK / "references.bib").read_text(encoding="utf-8"), flags=M)
    assert len(keys) == len(set(keys)), "a key is used twice"
    return set(keys)


def description(source):
    text = source.read_text(encoding="utf-8")
    if source.suffix == ".ipynb":
        front = json.loads(text)["metadata"]
    else:
        front = yaml.safe_load(text.split("---\n")[1]) if text.startswith("---\n") else {}
    return (front or {}).get("myst", {}).get("html_meta", {}).get("description", "")


# --- the tests ----------------------------------------------------------------------------------------------

ROWS = load("ledger.yml")["rows"]


def ledger_texts():
    return [row[name] for row in ROWS for name in ("statement", "note")]


SECTIONS_OF_THE_LEDGER = list(load("ledger.yml")["sections"])


def place(id):
    section, number, letter = re.match(r"([A-Z])(\d+)([a-z]?)", id).groups()
    return SECTIONS_OF_THE_LEDGER.index(section), int(number), letter


def ledger_faults(rows):
    """Rows twice, out of order or in another's section; and those that others may link to, and that are gone."""
    ids, kept = [row["id"] for row in rows], (BOOK.parent / "tests/anchors.txt").read_text(encoding="utf-8")
    (page,) = re.findall(r"^ledger .*$", kept, M)
    faults = [] if ids == sorted(set(ids), key=place) else ["the rows are not in order, each once"]
    faults += [f"{row['id']}: section {row['section']}" for row in rows if row["section"] != row["id"][0]]
    gone = set(re.findall(r" ledger-([a-z]\d\S*)", page)) - {id.lower() for id in ids}
    return faults + [f"no row {id.upper()}" for id in sorted(gone)]


def test_ledger_has_every_row_once_and_in_order():
    assert len(ROWS) > 100 and {row["section"] for row in ROWS} == set(SECTIONS_OF_THE_LEDGER)
    assert ledger_faults(ROWS) == []
    assert ledger_faults(ROWS[1:]) == ["no row A0"] and len(ledger_faults([ROWS[1], ROWS[0], *ROWS[2:]])) == 1
    assert len(ledger_faults([*ROWS, ROWS[-1]])) == 1 and ledger_faults([ROWS[0] | {"section": "B"}, *ROWS[1:]])


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["id"])
def test_ledger_row(row):
    assert row_faults(row) == []
    assert tex_faults(row["statement"]) + tex_faults(row["note"]) == []
    assert not re.search(r"(?<!\\)\|", row["statement"] + row["note"]), "a bare bar ends a cell in a table"


@pytest.mark.parametrize("row", [row for row in ROWS if row["chapter"]], ids=lambda row: row["id"])
def test_ledger_row_points_to_a_label(row):
    assert row["chapter"] in docnames(), f"ledger row {row['id']}: {row['chapter']} stands in no line of book/_toc.yml"
    source = path(row["chapter"])
    assert source, f"{row['chapter']} is in _toc.yml and does not exist"
    assert row["anchor"] in labels(source), (
        f"no label {row['anchor']} on {row['chapter']}, which ledger row {row['id']} names"
    )


@pytest.mark.parametrize("docname", docnames())
def test_page_exists_and_has_a_description(docname):
    source = path(docname)
    assert source, f"{docname} is in _toc.yml and does not exist"
    length = len(description(source))
    assert 50 <= length <= 200, (
        f"{length} characters of description in the page's metadata (myst: html_meta), 50 to 200"
    )


@pytest.mark.parametrize("source", written(), ids=lambda p: p.stem)
def test_page_matches_the_back_matter(source):
    texts = blocks(source)
    assert [fault for text in texts for fault in tex_faults(text)] == []
    assert symbols_of(texts) - notation() == set(), "not on the notation page"
    assert set().union(*map(terms_used, texts)) - set(glossary()) == set(), "not in the glossary"
    assert set().union(*map(keys_cited, texts)) - keys_known() == set(), "not in references.bib"


DISPLAY = re.compile(r"\$\$(.*?)\$\$", S)
CONSTANTS = {"bb E", "cal N", "pi", "I", "e"}  # a reader of this book brings these along


def undefined(texts, known):
    """Symbols of displayed equations that no words and no earlier equation have introduced, and that do not stand
    on the left of an equals sign there.  ``known`` grows as the texts are read."""
    faults = []
    for text in texts:
        known |= symbols_of([DISPLAY.sub(" ", text)])
        for tex in DISPLAY.findall(prose(text)):
            lines = [line for line in re.split(r"\\\\", tex) if "=" in line or r"\approx" in line]
            known |= set().union(*(symbols(re.split(r"=|\\approx", line)[0]) for line in lines))
            faults += sorted(symbols(tex) - known)
            known |= symbols(tex)
    return faults


def test_symbols_are_defined_before_use():
    known, faults = set(CONSTANTS), {}
    for source in (source for source in written() if source.suffix == ".ipynb"):  # in the book's order
        faults[source.stem] = undefined(blocks(source), known)
    assert len(faults) >= 7 and not any(faults.values()), faults


def test_an_undefined_symbol_is_seen():
    assert undefined(["Let $x$ be a point.", "$$\nx + h\n$$"], set()) == ["h"]
    assert undefined(["$$\nh = 1\n$$", "$$\n2 h\n$$"], set()) == []
    assert undefined(["The width $h$ counts: $$\nh + 1\n$$"], set()) == []


def test_ledger_matches_the_back_matter():
    assert symbols_of(ledger_texts()) - notation() == set()
    assert set().union(*map(keys_cited, ledger_texts())) - keys_known() == set()


def test_glossary_is_of_a_readable_size():
    entries = glossary()
    assert 35 <= len(entries) <= 120
    # one or two sentences, three where a formula needs a gloss
    assert [t for t, text in entries.items() if len(re.findall(r"[.?!](?:\s|$)", text)) > 3] == []


def idle(terms, keys, texts):
    """Entries of the glossary that no page uses or links, and references that nobody cites."""
    used, words = set().union(*map(terms_used, texts)), " ".join(map(prose, texts)).lower()
    unused = [term for term in terms if term not in used and term not in words]
    return unused + sorted(keys - set().union(*map(keys_cited, texts)))


def test_every_entry_of_the_glossary_and_every_reference_is_used():
    texts = [text for source in written() if source.stem != "glossary" for text in blocks(source)] + ledger_texts()
    assert idle(glossary(), keys_known(), texts) == []
    terms = {"code": "", "prior": "", "flat": ""}
    assert idle(terms, {"lloyd1982least", "x"}, ["{term}`codes <code>` Flats {cite:p}`x`"]) == [
        "prior",
        "lloyd1982least",
    ]


def test_a_reference_is_called_as_the_pages_cite_it():
    """Of two that the pages call alike, the second gets a letter."""
    entries = parse_file(BOOK / "references.bib").entries
    style = bookext.References()
    labels = dict(zip(entries, style.format_labels(entries.values())))
    assert labels["beck2009fast"] == "Beck and Teboulle, 2009" and labels["jegou2011product"] == "Jégou et al., 2011"
    assert labels["maaten2008visualizing"] == "van der Maaten and Hinton, 2008"
    assert labels["tipping1999probabilistic"] == "Tipping and Bishop, 1999b"
    assert len(set(labels.values())) == len(entries)


def test_bibliography_entries_say_where_to_find_them():
    text = (BOOK / "references.bib").read_text(encoding="utf-8")
    for entry in re.split(r"^@", text, flags=M)[1:]:
        key, fields = entry.split(",")[0].split("{")[1], set(re.findall(r"^\s+(\w+)\s*=", entry, flags=M))
        assert {"author", "title", "year"} <= fields, key
        assert fields & {"doi", "url", "pages", "publisher"}, key
        assert re.search(r"year\s*=\s*\{(\d{4})\}", entry).group(1) in key, key


def map_faults(models):
    """What is wrong with the nodes of the map, each beside its model."""
    names, faults = [model.get("name") for model in models], []
    for model in models:
        faults += [(model["name"], "fields")] * (set(model) != {"name", "chapter", "infer", "line"})
        faults += [(model["name"], "twice")] * (names.count(model["name"]) > 1)
        faults += [(model["name"], "infer")] * (model.get("infer") not in bookext.ANSWERS)
        faults += [(model["name"], "part")] * (model["chapter"].split("/")[0] not in bookext.PARTS)
        faults += [(model["name"], "line")] * (not (model["line"].endswith(".") and len(model["line"]) < 100))
    return faults


def test_the_map_has_every_chapter_of_a_model_and_no_model_twice():
    models = bookext.models(BOOK)
    assert map_faults(models) == [] and len(models) >= 24
    chapters = {doc for doc in docnames() if doc.startswith(("cases/", "family/"))}
    bare = chapters - {model["chapter"] for model in models}
    assert not bare, f"say the models of {bare} in the metadata of the notebook, under `models`"


# --- the checks can fail ------------------------------------------------------------------------------------

GOOD = {
    "id": "A0", "section": "A", "statement": "$x$", "verdict": "holds", "note": "Why.", "chapter": None,
    "anchor": None,
}  # fmt: skip


@pytest.mark.parametrize(
    "change",
    [
        {"verdict": "true"}, {"note": " "}, {"statement": None}, {"extra": 1}, {"anchor": "eq-a0"},
        {"chapter": "cases/discrete-codes", "note": "To be reproduced: 1."},
    ],
    ids=str,
)  # fmt: skip
def test_a_bad_row_is_seen(change):
    assert row_faults(GOOD) == []
    assert row_faults(GOOD | change)


@pytest.mark.parametrize("change", [
    {"name": "GAN"}, {"part": "The family"}, {"infer": "guess"}, {"chapter": "attic/x"}, {"line": "No stop"},
], ids=str)  # fmt: skip
def test_a_bad_node_of_the_map_is_seen(change):
    good = {"name": "X", "chapter": "cases/x", "infer": "argmax", "line": "It ends."}
    assert map_faults([good]) == []
    assert map_faults([good | change, good | {"name": "GAN"}])


def test_bad_tex_is_seen():
    assert tex_faults("a $x$ costs \\$5, `$` is code, and\n\n$$\n\\sum_{k}\n$$ (eq-a)") == []
    assert tex_faults("an $x that never ends")
    assert tex_faults("$$ x $")
    assert tex_faults("$x_{k$")


def test_symbols_are_seen():
    assert symbols(r"\log p_{\text{data}}(x) \mathrm{EOL} W^{\mathsf T} \mathcal{N} \zeta_k \max") == {
        "p", "x", "W", "cal N", "zeta", "k",
    }  # fmt: skip
    page = "$a$ `$b$`\n```python\n$c$\n```\n$$\nd\n$$ (eq-e)"
    assert symbols_of([page, ":::{math}\n:label: f\ng\n:::"]) == {"a", "d", "g"}
    assert {"x", "z", "mu", "cal N", "bb E"} <= notation()
    assert not {"zeta", "bb Q"} & notation()


def test_references_are_seen():
    assert terms_used("{term}`prior`, {term}`the\nCodes <code>` and `{term}`") == {"prior", "code"}
    assert keys_cited("{cite:p}`lloyd1982least, rose1998deterministic` {cite:t}`x`") == {
        "lloyd1982least", "rose1998deterministic", "x",
    }  # fmt: skip


def test_labels_are_seen(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("(sec-a)=\n# A\n$$\nx\n$$ (eq-b)\n:::{exercise}\n:label: ex-c\n:::\nin (parentheses)\n")
    assert labels(page) == {"sec-a", "eq-b", "ex-c"}


SECTIONS = (  # the headings of the document and its lists, independent of crosswalk.md
    "前言", "自编码器", "变分视角负损失函数: 从自映射联合分布到边际分布", "变分视角负损失函数: 自映射", "损失函数原始推导",
    "特例: 基于离散编码空间和混合模型的GAE", "特例: 基于高斯核连续编码空间混合模型的GAE (GGAE)", "特例: 基于线性连续编码空间混合模型的GAE (LGAE)",
    "特例: 局部线性的生成式自编码模型 LLGAE", "特例: 深度图像先验 Deep Image Prior", "特例: 最大激活输入 Maximal Activated Input", "展望方向",
    "扩展材料:神经网络自编码器", "AE发展脉络",
)  # fmt: skip
ENTRIES = (
    "Transformer Attention Variational Autoencoders", "Prior works quoted by VAE", "AntixK/PyTorch-VAE", "mainak-ghosh/AutoEncoder",
    "2103.04874", "stats.stackexchange.com/questions/531706", "1312.6114", "zhihu.com/question/31032863", "MLR", "PCA", "NMF", "tSNE, LLE",
    "NN-VAE", "GAN", "压缩感知",
)  # fmt: skip


def crosswalk_faults(text):
    """Sections and entries of the document without a row, rows of the ledger that no section names."""
    parts = dict(re.findall(r"^## ([^\n]*)\n(.*?)(?=^## |\Z)", text, flags=M | S))
    faults = [f"no section {name}" for name in SECTIONS if name not in parts]
    faults += [f"no entry {name}" for name in ENTRIES if name not in text]
    lines = {
        name: [line for line in body.splitlines() if re.match(r"[\u4e00-\u9fff]", line)] for name, body in parts.items()
    }
    faults += [f"{name}: {len(found)} lines in Chinese" for name, found in lines.items() if len(found) != 2]
    faults += [f"{name}: leads nowhere" for name, body in parts.items() if not re.search(r"\{(doc|chapter)\}`", body)]
    named = set(re.findall(r"\{ledger\}`([^`]+)`", text))
    theirs = {row["id"] for row in ROWS if row["section"] != "R"}
    ours = {row["id"] for row in ROWS if row["verdict"] == "ours"}
    return faults + [f"no badge {id}" for id in sorted(theirs - ours - named)]


def test_the_crosswalk_has_every_section_and_entry_and_verdict():
    text = (BOOK / "crosswalk.md").read_text(encoding="utf-8")
    assert crosswalk_faults(text) == []
    assert crosswalk_faults(text.replace("{ledger}`E1`", "")) == ["no badge E1"]
    assert crosswalk_faults(text.replace("AntixK", "")) == ["no entry AntixK/PyTorch-VAE"]
    assert len(crosswalk_faults(text.replace("## 前言", "## 序"))) == 1
