"""Packages as their registries and this machine have them: names, licences, files."""

from __future__ import annotations

import json
import logging
import re
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from email.parser import HeaderParser
from importlib import metadata
from pathlib import Path, PurePosixPath

from .filters import is_wanted, python_license

log = logging.getLogger(__name__)

READ_ERRORS = (KeyError, ValueError, StopIteration, OSError, tarfile.TarError, zipfile.BadZipFile)


@dataclass
class Package:
    """One package: ``files`` maps a path inside it to its raw bytes, read only when iterated."""

    source: str
    version: str
    license: str
    files: Iterable[tuple[str, bytes]]


def with_readme(meta: str, files: Iterable[tuple[str, bytes]]) -> Iterator[tuple[str, bytes]]:
    """Add the README of a Python package, which lives in its METADATA, where it is markdown."""
    head = HeaderParser().parsestr(meta)
    if "markdown" in (head["Description-Content-Type"] or ""):
        yield "README.md", str(head.get_payload() or "").encode("utf-8", "replace")
    yield from files


def read_wheel(path: Path) -> Package:
    """Open a wheel. Raises KeyError, zipfile.BadZipFile or StopIteration on a broken one."""
    archive = zipfile.ZipFile(path)
    name = next(n for n in archive.namelist() if n.endswith(".dist-info/METADATA"))
    meta = archive.read(name).decode("utf-8", "replace")
    head = HeaderParser().parsestr(meta)
    files = ((i.filename, archive.read(i)) for i in archive.infolist() if is_wanted(i.filename, i.file_size))
    source = f"pypi:{_norm(head['Name'])}"
    return Package(source, head["Version"], python_license(meta), with_readme(meta, files))


def read_npm(path: Path) -> Package:
    """Open an npm tarball; its members are read in one pass, as seeking back in gzip is slow."""
    meta: dict = {}
    files: list[tuple[str, bytes]] = []
    with tarfile.open(path, "r:gz") as archive:
        for member in archive:
            name = member.name.split("/", 1)[-1]
            manifest = name == "package.json"
            if member.isfile() and (manifest or is_wanted(name, member.size)):
                raw = archive.extractfile(member).read()  # type: ignore[union-attr]
                files.append((name, raw))
                meta = json.loads(raw) if manifest else meta
    licence = meta.get("license", "")
    return Package(f"npm:{meta['name']}", meta["version"], licence if isinstance(licence, str) else "", files)


def read_tree(root: Path, paths: Iterable[str]) -> Iterator[tuple[str, bytes]]:
    """Raw files below ``root``; paths that leave it, or are gone, are passed over."""
    for path in paths:
        full = root / path
        if ".." not in PurePosixPath(path).parts and full.is_file() and is_wanted(path, full.stat().st_size):
            yield path, full.read_bytes()


def installed() -> Iterator[Package]:
    """The standard library and the distributions beside this interpreter and the one it was made from."""
    stdlib = Path(sysconfig.get_path("stdlib"))
    skip = {"site-packages", "test", "tests", "lib2to3", "idlelib", "__pycache__"}
    names = (p.relative_to(stdlib) for p in sorted(stdlib.rglob("*.py")))
    own = [n.as_posix() for n in names if not skip.intersection(n.parts)]
    yield Package("cpython:stdlib", sys.version.split()[0], "PSF-2.0", read_tree(stdlib, own))
    sites = list(dict.fromkeys([sysconfig.get_path("purelib"), str(stdlib / "site-packages")]))
    for dist in metadata.distributions(path=sites):
        paths = [str(p) for p in dist.files or ()]
        root = Path(str(dist.locate_file("")))
        meta = dist.read_text("METADATA") or ""
        files = with_readme(meta, read_tree(root, paths))
        yield Package(f"pypi:{_norm(dist.name)}", dist.version, python_license(meta), files)


def _norm(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def fetch(kind: str, name: str, cache: Path) -> Path | None:
    """Fetch one package with its registry's own client, unless cached; None (logged) on failure."""
    folder = cache / kind / name.replace("/", "__")
    done = [p for p in folder.glob("*") if p.suffix in {".whl", ".tgz"}] if folder.exists() else []
    if done:
        return done[0]
    folder.mkdir(parents=True, exist_ok=True)
    if kind == "pypi":
        command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary=:all:", name]
    else:
        command = ["npm", "pack", "--silent", "--ignore-scripts", name]
    try:
        subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=180)
    except (subprocess.SubprocessError, OSError) as error:
        log.warning("not fetched: %s:%s (%s)", kind, name, error)
        return None
    return next((p for p in folder.glob("*") if p.suffix in {".whl", ".tgz"}), None)
