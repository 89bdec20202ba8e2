"""Real data, and the stored results of the benchmarks."""

import gzip
import hashlib
import io
import json
import math
import os
import shutil
import zlib
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from gaelib.files import parquet as parquet  # a source of data like the others
from sklearn.datasets import load_digits

SOURCES = {  # where the packed files lie; the second address serves when the first does not
    "mnist": (
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
    ),
    "fashion-mnist": (
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/",
    ),
    "images": ("https://github.com/DmitryUlyanov/deep-image-prior/raw/master/data/",),
}
BUNDLED = ("camera", "astronaut")  # with scikit-image
PICTURES = {  # name -> where the source keeps it; a folder keeps it as images/<its file>
    "F16": "denoising/F16_GT.png",
    "barbara": "inpainting/barbara.png",
    "zebra": "sr/zebra_GT.png",
}
# Of the unpacked files, as sha256sum prints it: each source packs them in its own way.
SHA256 = """
ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db  mnist/train-images-idx3-ubyte
65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5  mnist/train-labels-idx1-ubyte
0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7  mnist/t10k-images-idx3-ubyte
ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2  mnist/t10k-labels-idx1-ubyte
c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888  fashion-mnist/train-images-idx3-ubyte
bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9  fashion-mnist/train-labels-idx1-ubyte
5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b  fashion-mnist/t10k-images-idx3-ubyte
0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34  fashion-mnist/t10k-labels-idx1-ubyte
33810cc97ab8222e5bbb5fb32394d314d7d53564b008a4bf5371d0044ca45336  images/F16_GT.png
764b8a2748cc7ad381cccc047c5e512cb528c197ba86adb83aa339e8932e66c0  images/barbara.png
eb531120c7bddf6858c2d9c274ce989df63becd39a4dd29f46215a21a884603a  images/zebra_GT.png
"""
SHA256 = {path: digest for digest, path in map(str.split, SHA256.strip().splitlines())}


def digits() -> tuple[np.ndarray, np.ndarray]:
    """The 1797 handwritten digits bundled with scikit-learn.

    Returns
    -------
    X : array (1797, 64), float64
        8 x 8 images, flattened; grey levels 0 to 16.
    y : array (1797,), int
        The digit.

    Examples
    --------
    >>> X, y = digits()
    >>> X.shape, float(X.max())
    ((1797, 64), 16.0)
    """
    return load_digits(return_X_y=True)


def mnist(train: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """MNIST: 70,000 handwritten digits, in two parts.

    The files come from the folder that the environment variable ``GAELIB_DATA`` names (it holds ``mnist/``
    and ``fashion-mnist/``, packed files or not), else from the user's cache folder, which a first call fills
    over the network (11 MB). Their SHA-256 is checked. By LeCun, Cortes and Burges; CC BY-SA 3.0.

    Parameters
    ----------
    train : bool
        True for the 60,000 training images, False for the 10,000 test images.

    Returns
    -------
    X : array (n, 784), float32
        28 x 28 images, flattened; grey levels 0 to 255.
    y : array (n,), int64
        The digit.

    Raises
    ------
    OSError
        When ``GAELIB_DATA`` lacks a file, when no address gives it, or when the cache has no room for it.
    ValueError
        When a file of ``GAELIB_DATA`` is cut short, corrupt or altered.

    Examples
    --------
    Not run as a test, for it may download:

    >>> X, y = mnist(train=False)  # doctest: +SKIP
    >>> X.shape, y[:4]  # doctest: +SKIP
    ((10000, 784), array([7, 2, 1, 0]))
    """
    return _load("mnist", train)


def fashion_mnist(train: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """Fashion-MNIST: 70,000 pictures of clothes in ten classes; the rest is as for `mnist`.

    A first call downloads 31 MB. By Xiao, Rasul and Vollgraf, arXiv:1708.07747; MIT licence.

    Examples
    --------
    Not run as a test, for it may download:

    >>> X, y = fashion_mnist()  # doctest: +SKIP
    >>> X.shape, y[:4]  # doctest: +SKIP
    ((60000, 784), array([9, 0, 0, 3]))
    """
    return _load("fashion-mnist", train)


def image(name: str) -> np.ndarray:
    """A picture to restore: "camera" or "astronaut", "F16", "barbara" or "zebra".

    The first two are bundled with scikit-image. The others are the deep image prior's own; each comes from ``images/``
    in the folder that ``GAELIB_DATA`` names, else from the user's cache folder, and its SHA-256 is checked, as for
    `mnist`.  From the public repository of Ulyanov, Vedaldi and Lempitsky; Apache-2.0.

    Returns
    -------
    array (H, W, 3) or (H, W), float32
        Values in [0, 1].

    Examples
    --------
    Not run as a test, for it may download:

    >>> image("F16").shape  # doctest: +SKIP
    (512, 512, 3)
    """
    if name in BUNDLED:
        with (resources.files("skimage") / "data" / f"{name}.png").open("rb") as file:
            return _png(file)
    known = sorted((*BUNDLED, *PICTURES))
    if name not in known:
        raise ValueError(f"no picture {name!r} among the {len(known)} known: pass one of {known}")
    path = f"images/{Path(PICTURES[name]).name}"
    file = _find(path)
    raw = _unpack(file.read_bytes(), file)
    _check_sum(path, raw, file)
    return _png(io.BytesIO(raw))


def _png(file):
    from matplotlib.image import imread  # half a second that only pictures need

    return imread(file, format="png")


def _load(name, train):
    if train not in (True, False):
        raise ValueError(f"train={train!r}: pass True (60,000 images to train) or False (10,000 to test)")
    part = "train" if train else "t10k"
    paths = [f"{name}/{part}-images-idx3-ubyte", f"{name}/{part}-labels-idx1-ubyte"]
    files = [_find(path) for path in paths]
    raws = [_unpack(file.read_bytes(), file) for file in files]
    images, labels = (_parse(*each) for each in zip(raws, (3, 1), files))
    if len(images) != len(labels):
        raise ValueError(
            f"{len(images):,} images in {files[0]}, {len(labels):,} labels in {files[1]}: fetch both again"
        )
    for path, raw, file in zip(paths, raws, files):
        _check_sum(path, raw, file)
    return images.reshape(len(images), -1).astype(np.float32), labels.astype(np.int64)


def _find(path):
    folder = os.environ.get("GAELIB_DATA")
    return _given(Path(folder).expanduser(), path) if folder else _cached(path)


def _check_sum(path, raw, file):
    if (found := hashlib.sha256(raw).hexdigest()) != SHA256[path]:
        raise ValueError(f"{file} has SHA-256 {found}, not {SHA256[path]}: altered; fetch it again")


def _given(folder, path):
    """The file in the user's own folder, to which nothing is ever downloaded."""
    if not folder.is_dir():
        raise FileNotFoundError(f"GAELIB_DATA={folder} is no folder: name the one that holds {path}, or unset it")
    for file in (folder / path, folder / f"{path}.gz"):
        if file.is_file():
            return file
    raise FileNotFoundError(
        f"GAELIB_DATA={folder} holds neither {path} nor {path}.gz: add one, or unset GAELIB_DATA to download"
    )


def _cached(path):
    """The file in the cache folder, unpacked.

    Pooch fetches it when it is missing or altered, moves it to its place once its checksum is right, and
    removes what it has written when anything goes wrong before.
    """
    import pooch
    from requests import RequestException

    name, file = path.split("/")
    places = {Path(place).name: place for place in PICTURES.values()}
    place = places.get(file, f"{file}.gz")
    cache, answers = Path(pooch.os_cache("gaelib")) / name, []

    def download(url, target, _):
        packed = io.BytesIO()
        pooch.HTTPDownloader()(url, packed, None)
        Path(target).write_bytes(_unpack(packed.getvalue(), url))

    for source in SOURCES[name]:
        try:
            return Path(pooch.retrieve(f"{source}{place}", SHA256[path], file, cache, downloader=download))
        except (RequestException, ValueError) as error:  # the source's fault: ask the next
            answers.append(f"\n  {source}: {error}")
        except OSError as error:
            disk = next(folder for folder in (cache, *cache.parents) if folder.is_dir())
            raise OSError(
                f"cannot keep {path} in {cache} ({error}): all files need 110 MB, and "
                f"{shutil.disk_usage(disk).free / 1e6:,.0f} MB are free; make room, or set GAELIB_DATA to a "
                "folder that holds it"
            ) from error
    raise ConnectionError(
        f"no sound {path} in {cache}, and 0 of {len(answers)} addresses gave one: connect to the network and "
        f"try again, or set GAELIB_DATA to a folder that holds it. They answered:{''.join(answers)}"
    )


def _unpack(raw, where):
    if not raw.startswith(b"\x1f\x8b"):  # not gzip: unpacked on its way, or by hand
        return raw
    try:
        return gzip.decompress(raw)
    except (EOFError, OSError, zlib.error) as error:
        raise ValueError(
            f"{where}, {len(raw):,} bytes, does not unpack ({error}): cut short or corrupt; fetch it again"
        ) from error


def _parse(raw, axes, where):
    """An idx file: 0x800 + the number of axes, then each axis' length, all uint32 big-endian; then bytes."""
    start = 4 * (axes + 1)
    magic, *shape = np.frombuffer(raw[:start].ljust(start, b"\0"), ">u4").tolist()
    if magic != 0x800 + axes:
        raise ValueError(
            f"{where} starts with {magic:#x}, not {0x800 + axes:#x}: no {axes}-axis idx file; fetch it again"
        )
    if (held := len(raw) - start) != math.prod(shape):
        raise ValueError(
            f"{where} announces {math.prod(shape):,} entries but holds {held:,}: cut short; fetch it again"
        )
    return np.frombuffer(raw, np.uint8, offset=start).reshape(shape)


def results(name: str) -> dict[str, Any]:
    """A benchmark's stored result, as ``benchmarks/`` wrote it: a dict.

    Raises
    ------
    FileNotFoundError
        When there is none of that name; the message lists those there are.
    """
    folder = resources.files("gaelib") / "results"
    stored = sorted(file.name[:-5] for file in folder.iterdir() if file.name.endswith(".json"))
    if name not in stored:
        raise FileNotFoundError(f"no stored result {name!r} among {stored}: run `make bench`, or pass one of them")
    return json.loads((folder / f"{name}.json").read_text())
