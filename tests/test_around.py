"""What people expect around the models: the bar of a fit, pictures, comparisons."""

import io
import json
import math
import sys

import gaelib
import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
import registry
from gaelib import (
    LGAE,
    LLGAE,
    MPPCA,
    PPCA,
    TSNE,
    VAE,
    GaussianMixture,
    KMeans,
    LogisticRegression,
    Memory,
    compare,
    explain,
    plot,
)
from gaelib.bars import FORMULA
from sklearn.base import clone
from sklearn.cluster import KMeans as Theirs
from sklearn.exceptions import NotFittedError

MODELS = registry.gather("ESTIMATORS")
ROWS = np.random.default_rng(0).normal(size=(30, 16))


def fitted(model):
    """A copy, fitted to rows that all models accept."""
    model = clone(model)
    X = np.abs(ROWS)
    return model.fit(X, np.arange(30) % 2) if "Regression" in type(model).__name__ else model.fit(X)


def sizes(figure):
    """How large its words are, in points."""
    return {words.get_fontsize() for words in figure.findobj(mpl.text.Text) if words.get_text()}


@pytest.fixture(autouse=True)
def closed():
    """Every figure is in the style, whatever wrote on it."""
    mpl.use("agg")
    yield
    found = [sizes(mpl.pyplot.figure(number)) for number in mpl.pyplot.get_fignums()]
    mpl.pyplot.close("all")
    assert set().union(*found) <= {plot.STYLE["font.size"]}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("model", MODELS, ids=lambda model: type(model).__name__)
def test_every_model_fills_its_bar(model, record_property):
    made = fitted(model)
    bar = explain(made)
    assert set(bar.lines) == {"code", "prior", "decoder", "answers", "moves", "nats"}
    assert all(len(words) > 3 and not words.startswith("<") for words in bar.lines.values())
    text, page = str(bar), bar._repr_html_()
    assert FORMULA in text and type(made).__name__ in text
    assert all(words in text for words in bar.lines.values()) and page.count("<tr>") == 6
    told = made._chapter != "index" and (registry.MODELS.parents[1] / f"book/{made._chapter}.ipynb").is_file()
    assert told, f"{type(made).__name__}._chapter is {made._chapter!r}: name the notebook that derives it, 'part/page'"
    assert bar.chapter.endswith(f"{made._chapter}.html") and bar.chapter.startswith("https://")
    assert f"{made.history_[-1]:.6g} a row" in bar.lines["nats"]
    row = {"model": type(made).__name__, "chapter": made._chapter, "lacks": bar.lacks, "lines": bar.lines}
    record_property("bar", json.dumps(row))  # for book/bars.md


def test_a_bar_says_the_sizes_of_this_fit():
    X = np.abs(ROWS)
    bar = explain(LLGAE(3, 2, random_state=0).fit(X))
    assert (
        "3 flats" in bar.lines["code"]
        and "2 coordinates" in bar.lines["code"]
        and "16 features" in bar.lines["decoder"]
    )
    assert explain(KMeans(1).fit(X)).lines["code"] == "k, one of 1 point"
    assert "temperature 1" in explain(PPCA(2).fit(X)).lines["answers"]
    assert "temperature 0.5" in explain(Memory(temperature=0.5).fit(X)).lines["answers"]
    assert "the max itself" in explain(Memory().fit(X)).lines["answers"]
    assert "nobody" in explain(LogisticRegression().fit(X, np.arange(30) % 2)).lines["answers"]


def test_a_bar_is_safe_in_a_page():
    bar = gaelib.bars.Explanation("<b>", {"code": "a < b & c"}, 'https://x/"y')
    assert "<b>" not in bar._repr_html_() and "a &lt; b &amp; c" in bar._repr_html_() and '"y' not in bar._repr_html_()


def test_what_cannot_be_explained():
    with pytest.raises(TypeError, match="a KMeans, which is no model of this package: pass a fitted"):
        explain(Theirs(2))
    with pytest.raises(NotFittedError):
        explain(KMeans(2))


@pytest.mark.parametrize("model", [KMeans(3, random_state=0), LGAE(3), LLGAE(3, 1, random_state=0)], ids=str)
def test_components_are_drawn(model):
    axes = plot.components(model.fit(ROWS))
    wanted = np.reshape(model.cluster_centers_ if type(model) is KMeans else model.components_, (3, 4, 4))
    shown = [np.asarray(ax.images[0].get_array()) for ax in axes[:3]]
    assert np.allclose(shown, wanted)


def test_rows_that_are_no_picture_are_lines():
    model = LGAE(2).fit(ROWS[:, :7])
    axes = plot.components(model)
    assert np.allclose([ax.lines[0].get_ydata() for ax in axes], model.components_)
    assert axes[0].figure.get_supxlabel() == "column"
    assert np.allclose(plot.components(LGAE(2).fit(ROWS), (2, 8))[1].images[0].get_array().shape, (2, 8))


def test_reconstructions_and_samples_are_drawn():
    model = PPCA(3).fit(ROWS)
    axes = plot.reconstructions(model, ROWS, n=4)
    shown = np.array([ax.images[0].get_array() for ax in axes]).reshape(2, 4, 16)
    assert np.allclose(shown[0], ROWS[:4]) and np.allclose(shown[1], model.inverse_transform(model.transform(ROWS[:4])))
    drawn = np.array([ax.images[0].get_array() for ax in plot.samples(model, 6)]).reshape(6, 16)
    assert np.allclose(drawn, model.sample(6, random_state=0))


def test_pictures_of_a_network_keep_their_shape():
    X = np.abs(ROWS).reshape(30, 1, 2, 8)
    model = VAE(1, hidden=(4,), max_epochs=1, random_state=0).fit(X)
    assert plot.reconstructions(model, X, n=2)[0].images[0].get_array().shape == (2, 8)
    assert plot.samples(model, 2)[0].images[0].get_array().shape == (2, 8)


def test_channels_stand_side_by_side():
    X = np.random.default_rng(0).random((30, 3, 2, 4))
    model = VAE(1, hidden=(4,), max_epochs=1, random_state=0).fit(X)
    (first, *_) = plot.reconstructions(model, X, n=2)
    assert np.array_equal(first.images[0].get_array(), np.concatenate(X[0], 1))
    assert plot.samples(model, 2)[0].images[0].get_array().shape == (2, 12)


def test_codes_and_history_are_drawn():
    model, labels = LGAE(2).fit(ROWS), np.arange(30) % 3
    ax = plot.codes(model, ROWS, labels)
    places = np.concatenate([part.get_offsets() for part in ax.collections])
    assert np.allclose(places, np.concatenate([model.transform(ROWS)[labels == k] for k in range(3)]))
    assert [text.get_text() for text in ax.figure.legends[0].get_texts()] == ["0", "1", "2"]
    assert len(plot.codes(model, ROWS, np.arange(30)).figure.axes) == 2  # a colour scale beside it
    means = KMeans(3, random_state=0).fit(ROWS)
    assert np.allclose(plot.history(means).lines[0].get_ydata(), means.history_)


def test_components_are_what_a_model_has():
    mixture = GaussianMixture(3, random_state=0).fit(ROWS)  # its components_ are empty
    shown = [ax.images[0].get_array().ravel() for ax in plot.components(mixture)]
    assert np.allclose(shown, mixture.means_)
    stored = [ax.images[0].get_array().ravel() for ax in plot.components(Memory().fit(ROWS), n=7)]
    assert np.allclose(stored, ROWS[:7]) and mpl.pyplot.gcf().get_suptitle() == "the first 7 of 30 components"
    assert mpl.pyplot.gcf().get_size_inches()[0] > 4
    plot.components(KMeans(1).fit(ROWS))  # one picture is no poster
    assert max(mpl.pyplot.gcf().get_size_inches()) < 1.5


def test_tables_show_a_row_and_its_decoding_in_one_place_under_the_columns_names():
    frame = pd.DataFrame(ROWS[:, :5], columns=list("abcde"))
    model = LGAE(2).fit(frame)
    axes = plot.reconstructions(model, frame, n=6)
    decoded = model.inverse_transform(model.transform(frame))
    for ax, x, y in zip(axes, ROWS, decoded, strict=False):
        assert np.allclose([line.get_ydata() for line in ax.lines], [x[:5], y])
    assert len(axes) == 6 == len(axes[0].figure.axes)  # no empty one
    assert [text.get_text() for text in axes[0].figure.legends[0].get_texts()] == ["x", "decoded"]
    assert [text.get_text() for text in axes[-1].get_xticklabels()] == list("abcde")


def test_reconstructions_of_batches_are_of_their_first_rows():
    model = LGAE(2).fit([ROWS[:3], ROWS[3:]])
    axes = plot.reconstructions(model, [ROWS[:3], ROWS[3:]], n=5)
    assert len(axes) == 10 and np.allclose(axes[4].images[0].get_array().ravel(), ROWS[4])


def test_codes_of_components_are_counts():
    model, labels = KMeans(3, random_state=0).fit(ROWS), np.arange(30) % 2
    ax = plot.codes(model, ROWS, labels)
    counts = [[(model.labels_[labels == kind] == k).sum() for k in range(3)] for kind in (0, 1)]
    assert np.array_equal(ax.images[0].get_array(), counts)
    bars = plot.codes(model, ROWS).patches
    assert [bar.get_height() for bar in bars] == np.bincount(model.labels_).tolist()


@pytest.mark.parametrize("model", [LLGAE(3, 2, random_state=0), MPPCA(3, 2, random_state=0)], ids=str)
def test_codes_on_flats_have_axes_for_each(model):
    grid, labels = plot.codes(model.fit(ROWS), ROWS, np.arange(30) % 2), np.arange(30) % 2
    blocks = model.transform(ROWS).reshape(30, 3, 3)
    for k, ax in enumerate(grid):
        rows = blocks[:, :, 2].argmax(1) == k
        wanted = np.concatenate([blocks[rows & (labels == kind), k] for kind in (0, 1)])
        shown = np.concatenate([part.get_offsets() for part in ax.collections])
        assert ax.get_title() == f"flat {k + 1}" and np.allclose(shown, wanted[:, :2] / wanted[:, 2:])
    assert len(grid) == 3 and len(plot.codes(model, ROWS, n=2)) == 2
    assert mpl.pyplot.gcf().get_suptitle() == "the first 2 of 3 flats"


def test_codes_of_one_entry_stand_against_their_labels():
    model, labels = LGAE(1).fit(ROWS), np.array(["a", "b", "c"])[np.arange(30) % 3]
    ax = plot.codes(model, ROWS, labels)
    assert [text.get_text() for text in ax.get_yticklabels()] == ["a", "b", "c"]
    assert all((part.get_offsets()[:, 1] == i).all() for i, part in enumerate(ax.collections))
    many = plot.codes(model, ROWS, np.arange(30) / 2)
    assert np.allclose(many.collections[0].get_offsets()[:, 1], np.arange(30) / 2)
    assert sum(bar.get_height() for bar in plot.codes(model, ROWS).patches) == 30


def test_codes_of_a_map_are_its_places():
    model = TSNE(perplexity=5, max_iter=20, random_state=0).fit(ROWS)
    ax = plot.codes(model, ROWS)
    assert np.allclose(ax.collections[0].get_offsets(), model.embedding_)
    with pytest.raises(ValueError, match="own 30 rows, got 4"):
        plot.codes(model, ROWS[:4])


def test_circles_stay_circles_where_there_is_room():
    assert plot.codes(LGAE(2).fit(ROWS), ROWS).get_aspect() == 1
    long = ROWS * ([1000] + [1] * 15)
    assert plot.codes(LGAE(2).fit(long), long).get_aspect() == "auto"


def test_steps_are_whole_numbers_and_epochs_are_called_so():
    ax = plot.history(VAE(1, hidden=(4,), max_epochs=1, random_state=0).fit(ROWS))
    assert ax.get_xlabel() == "epoch" and [t for t in ax.get_xticks() if 0.5 < t < 1.5] == [1]
    assert plot.history(LGAE(2).fit(ROWS)).get_xlabel() == "step"


@pytest.mark.parametrize(
    ("draw", "words"),
    [
        (lambda: plot.codes(LGAE(2).fit(ROWS), ROWS, [f"no {i}" for i in range(30)]), ("30 names", "16", "numbers")),
        (lambda: plot.components(VAE(1, hidden=(4,), max_epochs=1).fit(ROWS)), ("VAE", "components_")),
        (lambda: plot.samples(KMeans(2).fit(ROWS)), ("KMeans", "sample", "PPCA")),
        (lambda: plot.components(LGAE(2).fit(ROWS), (3, 3)), ("9 entries", "16", "pass one that fits")),
        (lambda: plot.codes(LGAE(2).fit(ROWS), ROWS, [1, 2]), ("30 rows", "2 labels", "one label a row")),
        (
            lambda: plot.codes(LGAE(2).fit(ROWS), ROWS, [None, "a"] * 15),
            ("NoneType, str", "in order", "labels of one kind"),
        ),
        (lambda: plot.components(LGAE(2).fit(ROWS), n=0), ("n=0", "at least 1")),
        (lambda: plot.components(LGAE(2).fit(ROWS), columns=0), ("columns=0", "at least 1")),
        (lambda: plot.components(LGAE(2).fit(ROWS), (16,)), ("shape=(16,)", "height and width")),
        (lambda: plot.components(LGAE(2).fit(ROWS), (-4, -4)), ("shape=-4", "at least 1")),
        (lambda: plot.reconstructions(LGAE(2).fit(ROWS), ROWS, n=1.5), ("n=1.5", "integer")),
        (lambda: plot.history(Theirs(2)), ("KMeans", "no model of this package")),
        (lambda: plot.history(KMeans(2)), ("not fitted",)),
    ],
)
def test_what_cannot_be_drawn(draw, words):
    with pytest.raises((TypeError, ValueError, NotFittedError)) as caught:
        draw()
    assert all(word in str(caught.value) for word in words)


def test_a_comparison_measures_each_model():
    given = KMeans(3, random_state=0)
    table = compare(ROWS[:20], {"few": given, "flat": LGAE(2), "dense": PPCA(2)}, ROWS[20:], verbose=0)
    assert not hasattr(given, "joint_")  # a copy was fitted
    for row, model in zip(table, [KMeans(3, random_state=0), LGAE(2), PPCA(2)]):
        model.fit(ROWS[:20])
        decoded = model.inverse_transform(model.transform(ROWS[20:]))
        assert math.isclose(row["score"], model.score(ROWS[20:])) and row["fit seconds"] > 0 < row["encode seconds"]
        assert math.isclose(row["error"], ((decoded - ROWS[20:]) ** 2).mean())
    assert np.allclose(table.models["few"].cluster_centers_, KMeans(3, random_state=0).fit(ROWS[:20]).cluster_centers_)
    lines = repr(table).splitlines()
    assert len(lines) == 4 and lines[0].split()[:3] == ["model", "score", "error"] and len(set(map(len, lines))) == 1
    assert table._repr_html_().count("<tr>") == 4


def test_a_comparison_reads_batches():
    whole = compare(ROWS, [LGAE(2), KMeans(2, random_state=0)], ROWS[5:], verbose=0)
    parts = compare([ROWS[:9], ROWS[9:]], [LGAE(2), KMeans(2, random_state=0)], [ROWS[5:20], ROWS[20:]], verbose=0)
    for one, other in zip(whole, parts):
        assert math.isclose(one["error"], other["error"]) and math.isclose(one["score"], other["score"])
    listed = compare(ROWS.tolist(), [LGAE(2)], ROWS[5:].tolist(), verbose=0)
    assert math.isclose(listed[0]["error"], whole[0]["error"])


class Kernel(io.StringIO):
    """The stream of a notebook's kernel: it is no terminal."""

    __module__ = "ipykernel.iostream"


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize(("stream", "seen"), [(Kernel, True), (Terminal, True), (io.StringIO, False)])
def test_progress_is_shown_where_somebody_watches(stream, seen, monkeypatch):
    X = np.abs(ROWS)
    for fit in (
        lambda verbose: compare(X, [LGAE(2)], verbose=verbose),
        lambda verbose: KMeans(2, random_state=0, verbose=verbose).fit(X),
        lambda verbose: VAE(1, hidden=(4,), max_epochs=1, verbose=verbose).fit(X),
        lambda verbose: gaelib.GAN(1, hidden=(4,), max_epochs=1, verbose=verbose).fit(X),
        lambda verbose: TSNE(perplexity=5, max_iter=5, verbose=verbose).fit(X),
        lambda verbose: gaelib.deep_image_prior(np.eye(32), steps=2, random_state=0, verbose=verbose),
    ):
        for verbose in (0, 1):
            monkeypatch.setattr(sys, "stderr", stream())
            fit(verbose)
            assert bool(sys.stderr.getvalue()) == (seen and verbose == 1)


@pytest.mark.parametrize(
    ("models", "words"),
    [
        ([], ("0 models", "pass at least one")),
        ([KMeans(2), KMeans(2)], ("2 times", "pass a dict")),
        ({"theirs": Theirs(2)}, ("theirs", "no model of this package")),
    ],
)
def test_what_cannot_be_compared(models, words):
    with pytest.raises((TypeError, ValueError)) as caught:
        compare(ROWS, models)
    assert all(word in str(caught.value) for word in words)


def test_what_one_model_refuses_is_said_with_its_name():
    flat = np.outer(np.arange(30.0), np.ones(4))
    with pytest.raises(ValueError, match="unbounded") as caught:
        compare(flat, {"groups": KMeans(2, random_state=0), "dense": PPCA(2)}, verbose=0)
    assert caught.value.__notes__ == ["said by dense, one of the 2 models that are compared"]


def test_a_table_hides_by_its_own_rules_and_reads_without_them():
    rows = [{"model": f"<m{d}>", "d": d, "error": "\N{MINUS SIGN}1 ± 2"} for d in (1, 3, 3)]
    made = plot.table(rows, {"d": 3}, "A & B")
    page = made._repr_html_()
    assert page.count("<tr") == 4 and page.count('<th scope="row">&lt;m3&gt;</th>') == 2 and "A &amp; B" in page
    assert page.count(" checked") == 1 and "<label>" in page
    key = made.key
    hidden = f":is(tbody tr:not(.{key}-0-2),tr>:nth-child(2):not(:first-child))"  # the others' rows, and the column that is now alike
    assert f".{key}:has(#{key}-0-2:checked) {hidden}{{display:none!important}}" in page
    assert page.count(f'<tr class="{key}-0-2">') == 2 and page.count(f'<tr class="{key}-0-1">') == 1
    assert "<fieldset" not in plot.table(rows, {}, "all")._repr_html_()
    assert plot.table(rows, {}, "other").key != plot.table(rows, {}, "all").key  # two tables on a page


def test_what_a_model_lacks_is_said_for_each_of_two_reasons():
    X = np.abs(ROWS)
    assert explain(KMeans(2, random_state=0).fit(X)).lacks == ""
    assert explain(LogisticRegression().fit(X, np.arange(30) % 2)).lacks == ""  # its code is given
    assert "likelihood" in explain(gaelib.GAN(1, hidden=(4,), max_epochs=1).fit(X)).lacks
    assert "corrupted" in explain(gaelib.DenoisingAutoencoder(1, hidden=(4,), max_epochs=1).fit(X)).lacks


def test_what_is_written_on_axes_later_is_in_the_style():
    """Words, ticks and keys; and powers of ten stand without exponents, which a phone shows too small."""
    before = dict(mpl.rcParams)
    ax, _ = plot.axes(2)
    ax.loglog([0.01, 100], [0.01, 100], label="a")
    ax.set(title="t", xlabel="x")
    ax.text(1, 1, "b")
    ax.annotate("c", (1, 1))
    ax.legend(title="key")
    ax.figure.legend(ax.lines, ["d"], loc="outside upper center")
    ax.figure.suptitle("e")
    ax.figure.canvas.draw()
    words = [found.get_text() for found in ax.figure.findobj(mpl.text.Text)]
    assert set("tabcde") <= set(words) and "key" in words and any("0.01" in word for word in words)
    assert sizes(ax.figure) == {plot.STYLE["font.size"]} and not [word for word in words if "^" in word]
    assert dict(mpl.rcParams) == before
