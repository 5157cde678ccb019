"""Real files of every gated language: from this machine, and from packages that the usual clients fetch once.

Packages are kept in `build/downloads`; one that cannot be had is left out, and the table shows fewer files.
"""

from __future__ import annotations

import io
import random
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

from attrs import frozen

ROOT = Path(__file__).parent.parent
DOWNLOADS = ROOT / "build" / "downloads"
LARGEST = 200_000
"""Characters of a file, at most; larger ones have their own row in the table of times."""
LONGEST_LINE = 1_000
"""Files with longer lines are minified or data: nobody types in them."""
ENOUGH = 400
"""Files of a language, at most."""

STDLIB = Path(sysconfig.get_path("stdlib"))
SITE = Path(sysconfig.get_path("purelib"))
SHARE = Path("/usr/share")


@frozen
class Source:
    """Where files of a language come from: folders, and packages as `npm:NAME`, `pypi:NAME` or `deb:NAME`."""

    endings: tuple[str, ...]
    places: tuple[Path | str, ...]


SOURCES: dict[str, Source] = {
    "python": Source((".py",), (STDLIB, SITE)),
    "json": Source((".json",), ("npm:ai", "npm:nx", "npm:next", "npm:tm-themes", "npm:vega-lite", SITE, STDLIB)),
    "markdown": Source((".md",), ("npm:fastify", "npm:eslint-plugin-jest", "npm:@typescript-eslint/eslint-plugin",
                                  "npm:pino", "npm:markdownlint", "pypi:mlflow", "npm:undici", "npm:stylelint",
                                  "npm:eslint-plugin-import", "npm:nx")),
    "javascript": Source((".js", ".jsx", ".mjs"), ("npm:eslint", "npm:fastify", "npm:webpack", "npm:@shopify/hydrogen",
                                                  "npm:undici", "npm:knex", "npm:mongoose", "npm:stylelint")),
    "typescript": Source((".ts",), ("npm:effect", "npm:rxdb", "npm:ai", "npm:rxjs", "npm:vega-lite",
                                    "npm:@blueprintjs/core")),
    "typescriptreact": Source((".tsx",), ("npm:@blueprintjs/core", "npm:@react-spectrum/s2", "npm:@tamagui/sheet")),
    "rust": Source((".rs",), ("deb:librust-tokio-dev", "deb:librust-clap-dev", "deb:librust-regex-dev")),
    "go": Source((".go",), ("deb:golang-golang-x-tools-dev", "deb:golang-github-spf13-cobra-dev")),
    "c": Source((".c",), ("npm:tree-sitter", "sdist:psutil", "sdist:zstandard", SITE, Path("/usr/share/doc"))),
    "cpp": Source((".cpp", ".cc", ".hpp"), ("npm:react-native-reanimated", "deb:nlohmann-json3-dev", SITE,
                                            Path("/usr/include/c++"))),
    "java": Source((".java",), ("npm:@capacitor/android", "npm:cordova-android", "sdist:JPype1")),
    "html": Source((".html",), ("npm:startbootstrap-sb-admin-2", "npm:startbootstrap-agency",
                                "npm:startbootstrap-freelancer", "npm:startbootstrap-clean-blog",
                                "npm:html5-boilerplate", Path("/usr/lib/node_modules/npm/docs"), STDLIB, SITE,
                                Path("/usr/share/doc"))),
    "css": Source((".css",), ("npm:bootstrap", "npm:bulma", "npm:@primer/primitives", "npm:@ui5/webcomponents",
                              "npm:startbootstrap-agency", "pypi:django", "pypi:mlflow", SITE)),
    "shellscript": Source((".sh", ".bash"), ("deb:shunit2", "deb:bash-completion", "deb:git", SITE, SHARE,
                                             Path("/usr/lib"))),
    "yaml": Source((".yaml", ".yml"), ("pypi:homeassistant", "pypi:checkov", "pypi:apache-superset", "pypi:mlflow",
                                       "npm:startbootstrap-sb-admin-2", SITE)),
    "toml": Source((".toml",), ("pypi:jupyterlab", SITE, STDLIB, "deb:librust-tokio-dev", "deb:librust-clap-dev",
                                "deb:librust-regex-dev", "pypi:poetry")),
}  # fmt: skip


def files(language: str, rng: random.Random) -> list[tuple[str, str]]:
    """Names and texts in random order, no two alike, taken evenly from the language's places."""
    source = SOURCES[language]
    taken: list[tuple[str, str]] = []
    share = -(-ENOUGH // len(source.places))
    for place in source.places:
        found = list(_usable(_members(place, source.endings)))
        rng.shuffle(found)
        taken += found[: 2 * share]
    unique = list({text: (name, text) for name, text in taken}.values())
    rng.shuffle(unique)
    return unique[:ENOUGH]


def _usable(members: Iterator[tuple[str, bytes]]) -> Iterator[tuple[str, str]]:
    for name, raw in members:
        try:
            text = raw.decode("utf-8")
        except UnicodeDecodeError:
            continue
        if 200 <= len(text) <= LARGEST and max(map(len, text.splitlines())) <= LONGEST_LINE:
            yield name, text


def _members(place: Path | str, endings: tuple[str, ...]) -> Iterator[tuple[str, bytes]]:
    if isinstance(place, Path):
        for path in sorted(place.rglob("*")):
            if (
                path.suffix in endings
                and path.is_file()
                and not path.is_symlink()
                and path.stat().st_size < 2 * LARGEST
            ):
                yield str(path), path.read_bytes()
        return
    archive = fetched(place)
    if archive is None:
        print(f"left out: {place} could not be fetched", file=sys.stderr)
    else:
        yield from _archived(archive, endings)


def _archived(archive: Path, endings: tuple[str, ...]) -> Iterator[tuple[str, bytes]]:
    if archive.suffix in (".whl", ".zip"):
        with zipfile.ZipFile(archive) as wheel:
            for info in wheel.infolist():
                if info.filename.endswith(endings) and info.file_size < 2 * LARGEST:
                    yield f"{archive.name}/{info.filename}", wheel.read(info)
        return
    raw = archive.read_bytes()
    if archive.suffix == ".deb":
        raw = subprocess.run(["dpkg-deb", "--fsys-tarfile", archive], capture_output=True, check=True).stdout
    with tarfile.open(fileobj=io.BytesIO(raw)) as packed:
        for member in packed:
            if member.isfile() and member.name.endswith(endings) and member.size < 2 * LARGEST:
                content = packed.extractfile(member)
                if content is not None:
                    yield f"{archive.name}/{member.name}", content.read()


def fetched(place: str) -> Path | None:
    """The archive of a package, from the cache or from its registry; None when it cannot be had."""
    kind, _, name = place.partition(":")
    folder = DOWNLOADS / kind / name.replace("/", "__")
    folder.mkdir(parents=True, exist_ok=True)
    command = {
        "npm": ["npm", "pack", "--silent", "--ignore-scripts", name],
        "pypi": [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary=:all:", name],
        "sdist": [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-binary=:all:", name],
        "deb": ["apt-get", "download", "-q", name],
    }[kind]
    if not any(folder.iterdir()):
        try:
            subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=180)
        except (subprocess.SubprocessError, OSError):
            return None
    return next(iter(sorted(folder.iterdir())), None)
