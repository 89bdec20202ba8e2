"""The loader: what MNIST and Fashion-MNIST hold, and every way in which their files can fail to come.

The failures are tried on the real test images, cut, altered or withheld, and on made ones, which never lack.
"""

import errno
import gzip
import hashlib
import re
import runpy
import sys
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Barrier, Thread

import numpy as np
import pooch
import pytest
from gaelib import data

IMAGES, LABELS = "mnist/t10k-images-idx3-ubyte", "mnist/t10k-labels-idx1-ubyte"

FACTS = {  # which, train or test: how many, the first ten labels, the mean pixel, how many of each class
    ("mnist", True): (60_000, "5041921314", 33.3184, [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]),
    ("mnist", False): (10_000, "7210414959", 33.7912, [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]),
    ("fashion_mnist", True): (60_000, "9003027255", 72.9404, [6000] * 10),
    ("fashion_mnist", False): (10_000, "9211614657", 73.1466, [1000] * 10),
}  # fmt: skip


@pytest.mark.data
@pytest.mark.parametrize(("name", "train"), FACTS)
def test_the_real_files_hold_what_is_known(name, train, real_data):
    n, first, mean, classes = FACTS[name, train]
    X, y = getattr(data, name)(train)
    assert (X.shape, X.dtype, y.shape, y.dtype) == ((n, 784), np.float32, (n,), np.int64)
    assert "".join(map(str, y[:10])) == first and np.bincount(y).tolist() == classes
    assert (X.min(), X.max(), round(float(X.mean(dtype=np.float64)), 4)) == (0, 255, mean)


@pytest.mark.data
@pytest.mark.parametrize("path", data.SHA256)
def test_the_checksums_are_those_of_the_real_files(path, real_data):
    raw = gzip.decompress(packed(real_data, path))
    assert hashlib.sha256(raw).hexdigest() == data.SHA256[path]


def packed(folder, path):
    file = folder / f"{path}.gz"
    return file.read_bytes() if file.exists() else gzip.compress((folder / path).read_bytes(), 1)


def made(folder, patch):
    """Fifty images and their labels, in idx files of our own."""
    for path, shape in ((IMAGES, (50, 28, 28)), (LABELS, (50,))):
        entries = np.random.default_rng(0).integers(0, 10, shape, np.uint8)
        raw = np.array((0x800 + len(shape), *shape), ">u4").tobytes() + entries.tobytes()
        (folder / f"{path}.gz").write_bytes(gzip.compress(raw))
        patch.setitem(data.SHA256, path, hashlib.sha256(raw).hexdigest())


@pytest.fixture(params=["made", pytest.param("real", marks=pytest.mark.data)])
def folder(request, tmp_path, monkeypatch):
    """A folder of our own for GAELIB_DATA, with the two files of MNIST's test part."""
    folder = tmp_path / "data"
    (folder / "mnist").mkdir(parents=True)
    if request.param == "real":
        real = request.getfixturevalue("real_data")
        for path in (IMAGES, LABELS):
            (folder / f"{path}.gz").write_bytes(packed(real, path))
    else:
        made(folder, monkeypatch)
    monkeypatch.setenv("GAELIB_DATA", str(folder))
    return folder


def load():
    return data.mnist(train=False)


def files(folder):
    return sorted(file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file())


def test_packed_and_unpacked_files_are_the_same(folder):
    X, y = load()
    for path in (IMAGES, LABELS):
        (folder / path).write_bytes(gzip.decompress((folder / f"{path}.gz").read_bytes()))
        (folder / f"{path}.gz").unlink()
    again, labels = load()
    assert np.array_equal(X, again) and np.array_equal(y, labels)


# --- a folder of the user's ---


def cut(packed):
    return packed[: len(packed) // 2]


def flipped(packed):
    middle = len(packed) // 2
    return packed[:middle] + bytes([packed[middle] ^ 0xFF]) + packed[middle + 1 :]


def altered(packed):
    raw = gzip.decompress(packed)
    return gzip.compress(raw[:-1] + bytes([raw[-1] ^ 1]), 1)


def cut_inside(packed):
    return gzip.decompress(packed)[:-100]


def too_few(packed):
    """One entry fewer, and saying so: a sound idx file."""
    raw = gzip.decompress(packed)
    return raw[:4] + (int.from_bytes(raw[4:8]) - 1).to_bytes(4) + raw[8:-1]


HARMS = {  # the file, what becomes of it, what the message must say
    "cut short": (IMAGES, cut, "{size:,} bytes", "does not unpack", "cut short", "fetch it again"),
    "a byte flipped": (IMAGES, flipped, "{size:,} bytes", "does not unpack", "corrupt", "fetch it again"),
    "a pixel altered": (IMAGES, altered, "has SHA-256", "not {digest}", "altered", "fetch it again"),
    "a label altered": (LABELS, altered, "has SHA-256", "not {digest}", "altered", "fetch it again"),
    "unpacked, cut": (IMAGES, cut_inside, "announces {n:,} entries", "holds {less:,}", "fetch it again"),
    "empty": (LABELS, lambda packed: b"", "starts with 0x0, not 0x801", "1-axis", "fetch it again"),
    "images in the place of labels": (LABELS, None, "starts with 0x803, not 0x801", "fetch it again"),
    "a label too few": (LABELS, too_few, "{rows:,} images", "{fewer:,} labels", "fetch both again"),
}


@pytest.mark.parametrize("harm", HARMS)
def test_a_harmed_file_is_refused(harm, folder):
    path, change, *says = HARMS[harm]
    rows = len(load()[1])
    file = folder / f"{path}.gz"
    file.write_bytes(change(file.read_bytes()) if change else (folder / f"{IMAGES}.gz").read_bytes())
    size, n = file.stat().st_size, rows * 784
    with pytest.raises(ValueError, match=re.escape(str(file))) as caught:
        load()
    known = {"size": size, "n": n, "less": n - 100, "rows": rows, "fewer": rows - 1}
    known["digest"] = data.SHA256[path]
    for part in says:
        assert part.format(**known) in str(caught.value)
    assert files(folder) == [f"{IMAGES}.gz", f"{LABELS}.gz"]


@pytest.mark.parametrize("path", [IMAGES, LABELS])
def test_a_missing_file_is_named(path, folder):
    (folder / f"{path}.gz").unlink()
    with pytest.raises(FileNotFoundError, match=f"neither {path} nor {path}.gz: add one, or unset GAELIB_DATA"):
        load()


def test_a_missing_folder_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("GAELIB_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(FileNotFoundError, match=r"nowhere is no folder: name the one that holds mnist/.*unset it"):
        load()


# --- a download ---


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.asked.append(self.path)
        packed = (self.server.folder / self.path.lstrip("/")).read_bytes()
        status, length, body = self.server.answer(packed)
        self.send_response(status)
        if length is not None:
            self.send_header("Content-Length", str(length))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def good(packed):
    return 200, len(packed), packed


@pytest.fixture
def web(folder, monkeypatch):
    """The source, on this machine: `web.answer` is what it says, `web.asked` what it was asked."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.folder, server.answer, server.asked = folder, good, []
        Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        monkeypatch.setitem(data.SOURCES, "mnist", (f"http://127.0.0.1:{server.server_port}/mnist/",))
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        monkeypatch.delenv("GAELIB_DATA")
        yield server
        server.shutdown()


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(pooch, "os_cache", lambda name: tmp_path / "cache" / name)
    return tmp_path / "cache" / "gaelib"


def no_web(monkeypatch):
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as closed:
        monkeypatch.setitem(data.SOURCES, "mnist", (f"http://127.0.0.1:{closed.server_port}/mnist/",))


def test_a_second_call_needs_no_network(web, cache, monkeypatch):
    X, y = load()
    assert files(cache) == [IMAGES, LABELS] and len(web.asked) == 2
    no_web(monkeypatch)
    again, labels = load()
    assert np.array_equal(X, again) and np.array_equal(y, labels) and len(web.asked) == 2


def test_calls_at_the_same_time_agree(web, cache):
    together = Barrier(4)

    def one(_):
        together.wait()
        return load()

    with ThreadPoolExecutor(4) as pool:
        (X, y), *others = pool.map(one, range(4))
    assert all(np.array_equal(X, a) and np.array_equal(y, b) for a, b in others)
    assert files(cache) == [IMAGES, LABELS]


ANSWERS = {  # what the source answers, and what the message must say of it
    "half of it, then silence": (lambda packed: (200, len(packed), cut(packed)), "IncompleteRead"),
    "half of it, of no announced length": (lambda packed: (200, None, cut(packed)), "does not unpack"),
    "a byte flipped on its way": (lambda packed: good(flipped(packed)), "does not unpack"),
    "another content": (lambda packed: good(altered(packed)), "expected {digest}"),
    "a page to log in": (lambda packed: good(b"<html>Who are you?</html>"), "expected {digest}"),
    "not found": (lambda packed: (404, 0, b""), "404"),
}


@pytest.mark.parametrize("answer", ANSWERS)
def test_a_failed_download_leaves_nothing_and_may_be_repeated(answer, web, cache):
    web.answer, says = ANSWERS[answer]
    with pytest.raises(ConnectionError) as caught:
        load()
    for part in (IMAGES, str(cache), "0 of 1 addresses", "set GAELIB_DATA", f":{web.server_port}/", says):
        assert part.format(digest=data.SHA256[IMAGES]) in str(caught.value)
    assert files(cache) == []
    web.answer = good
    load()
    assert files(cache) == [IMAGES, LABELS]


def test_the_second_address_serves_when_the_first_does_not(web, cache, monkeypatch):
    address = data.SOURCES["mnist"]
    no_web(monkeypatch)
    monkeypatch.setitem(data.SOURCES, "mnist", data.SOURCES["mnist"] + address)
    load()
    assert len(web.asked) == 2


def test_neither_data_nor_network(cache, monkeypatch):
    monkeypatch.delenv("GAELIB_DATA", raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    no_web(monkeypatch)
    with pytest.raises(ConnectionError, match="connect to the network and try again, or set GAELIB_DATA to a folder"):
        load()
    assert files(cache) == []


def test_a_cached_file_that_was_altered_is_fetched_again(web, cache, monkeypatch):
    X, _ = load()
    (cache / IMAGES).write_bytes(b"")
    assert np.array_equal(load()[0], X) and len(web.asked) == 3
    (cache / IMAGES).write_bytes(b"")
    no_web(monkeypatch)
    with pytest.raises(ConnectionError, match="connect to the network"):
        load()


@pytest.mark.parametrize("stop", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()], ids=repr)
def test_a_write_that_stops_half_way_leaves_nothing(stop, web, cache, monkeypatch):
    def half(path, raw):
        with open(path, "wb") as file:
            file.write(cut(raw))
        assert files(cache), "the half file is there, to be removed"
        raise stop

    monkeypatch.setattr(Path, "write_bytes", half)
    with pytest.raises(type(stop)) as caught:
        load()
    if isinstance(stop, OSError):
        for part in ("No space left", str(cache), "110 MB", "MB are free", "make room, or set GAELIB_DATA"):
            assert part in str(caught.value)
    assert files(cache) == []


def test_a_cache_that_cannot_be_made(web, cache):
    cache.parent.mkdir()
    cache.write_text("a file in the place of the folder")
    with pytest.raises(OSError, match=r"cannot keep mnist/.*make room, or set GAELIB_DATA"):
        load()


def test_only_a_download_needs_the_downloader(monkeypatch):
    monkeypatch.setitem(sys.modules, "pooch", None)  # now importing it fails
    X, _ = runpy.run_path(data.__file__)["digits"]()
    assert X.shape == (1797, 64)


@pytest.mark.data
@pytest.mark.parametrize(("name", "shape"), [("F16", (512, 512, 3)), ("barbara", (512, 512)), ("zebra", (388, 584, 3))])
def test_the_pictures_hold_what_is_known(name, shape, real_data):
    picture = data.image(name)
    assert picture.shape == shape and picture.dtype == np.float32
    assert 0 <= picture.min() < 0.1 and 0.9 < picture.max() <= 1


def test_a_picture_that_was_altered_is_refused(tmp_path, monkeypatch):
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "F16_GT.png").write_bytes(b"no picture")
    monkeypatch.setenv("GAELIB_DATA", str(tmp_path))
    with pytest.raises(ValueError, match=r"F16_GT.png has SHA-256 .*, not 33810cc9.*: altered; fetch it again"):
        data.image("F16")
    with pytest.raises(FileNotFoundError, match=r"holds neither images/zebra_GT.png"):
        data.image("zebra")


def test_a_picture_comes_from_its_own_place_at_the_source(tmp_path, monkeypatch):
    asked = []

    def refuse(url, *args, **options):
        asked.append(url)
        raise ValueError("not today")

    monkeypatch.delenv("GAELIB_DATA", raising=False)
    monkeypatch.setattr(pooch, "retrieve", refuse)
    with pytest.raises(ConnectionError, match=r"no sound images/barbara.png .* 0 of 1 addresses"):
        data.image("barbara")
    assert asked == [data.SOURCES["images"][0] + "inpainting/barbara.png"]


def test_an_unknown_picture_is_refused():
    with pytest.raises(ValueError, match="no picture 'lena' among the 5 known: pass one of"):
        data.image("lena")


@pytest.mark.parametrize("name", data.BUNDLED)
def test_the_bundled_pictures_are_scikit_images(name):
    from skimage import data as pictures

    assert np.abs(data.image(name) * 255 - getattr(pictures, name)()).max() < 1e-3
