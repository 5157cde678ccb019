"""The files that a command means: those named, and those below a folder that git would not ignore."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

import attrs
from pathspec import GitIgnoreSpec
from pathspec.pattern import Pattern, RegexPattern

from dgemma_lsp.files import MAX_BYTES, shown
from dgemma_lsp.secret_files import looks_secret
from dgemma_lsp.syntax.languages import language_of_file

_FOLDER = "ps_d"
"""The group in pathspec's regular expressions that is the `/` behind a folder."""


@attrs.frozen
class Found:
    """A file to look at, and its language by its name."""

    path: Path
    language: str


@attrs.frozen
class Left:
    """A file or folder that is not looked at, and why in a few words; `wrong` when that is an error."""

    path: Path
    why: str
    wrong: bool = False


class Walk:
    """Finds files of some languages, in the order of their names and each of them once.

    Links are not followed, `.git` is never entered, and a `.gitignore` counts for the folders below it, with those of
    the repository above the folder that is named. What is named itself is not looked up there.
    """

    def __init__(self, languages: Collection[str], secret: Collection[str]) -> None:
        self._languages = languages
        self._secret = secret
        self._seen: set[Path] = set()

    def files(self, paths: Iterable[Path]) -> Iterator[Found | Left]:
        for path in paths:
            if path.is_dir():
                whole = path.resolve()
                yield from self._below(path, str(whole), _rules_above(whole))
            elif not os.path.lexists(path):
                yield Left(path, "does not exist; check the path", wrong=True)
            else:
                yield from self._file(path, named=True)

    def _file(self, path: Path, named: bool) -> Iterator[Found | Left]:
        language = language_of_file(str(path.absolute()))
        if language is None or language not in self._languages:
            if named:
                yield Left(path, f"is not {' or '.join(self._languages)}, by its name")
            return
        if path.is_symlink():
            yield Left(path, "is a link; name the file it leads to")
            return
        whole = path.resolve()
        if whole in self._seen:
            return
        self._seen.add(whole)
        if looks_secret(whole.as_posix(), self._secret):
            yield Left(path, "looks like it holds secrets")
        elif path.is_file() and (size := path.stat().st_size) > MAX_BYTES:
            yield Left(path, f"has {size / 2**20:.1f} MB; files above {MAX_BYTES // 2**20} MB are not read")
        else:
            yield Found(path, language)

    def _below(self, folder: Path, whole: str, above: tuple[_Rules, ...]) -> Iterator[Found | Left]:
        """`whole` is the folder without links in it, as the rules have theirs."""
        rules = (*above, _Rules.of(whole))
        try:
            with os.scandir(folder) as entries:
                listed = sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            yield Left(folder, f"cannot be read: {error.strerror}", wrong=True)
            return
        for entry in listed:
            path = os.path.join(whole, entry.name)  # noqa: PTH118 (a path object for each entry costs more than the rest)
            into = entry.is_dir(follow_symlinks=False)
            if entry.name == ".git" or _ignored(path, into, rules):
                continue
            if into:
                yield from self._below(folder / entry.name, path, rules)
            elif entry.is_file(follow_symlinks=False) or entry.is_symlink():
                yield from self._file(folder / entry.name, named=False)


@attrs.frozen
class _Rules:
    """What one folder's `.gitignore` says of the paths below it."""

    folder: str
    spec: GitIgnoreSpec | None

    @classmethod
    def of(cls, folder: str, file: str = ".gitignore") -> _Rules:
        return cls(folder, _spec(Path(folder, file)))

    def ignore(self, path: str, is_folder: bool) -> bool | None:
        """None when nothing is said of a path."""
        if self.spec is None:
            return None
        relative = path[len(self.folder) :].replace(os.sep, "/").lstrip("/") + ("/" if is_folder else "")
        said = (one.include for one in reversed(self.spec.patterns) if _means(one, relative, is_folder))
        return next(said, None)


def _means(pattern: Pattern, path: str, is_folder: bool) -> bool:
    """Whether a pattern is for a path itself: pathspec has it match everything below as well, which is not git's way
    where a folder is ignored no longer. Its regular expressions mark the folder that they matched.
    """
    regex = pattern.regex if isinstance(pattern, RegexPattern) else None
    match = None if regex is None or pattern.include is None else regex.search(path)
    if regex is None or match is None or match.groupdict().get(_FOLDER) is None:
        return match is not None
    return is_folder and (match.end(_FOLDER) == len(path) or regex.match(path, len(path) - 1) is not None)


def _ignored(path: str, is_folder: bool, rules: tuple[_Rules, ...]) -> bool:
    """As git has it: the deepest file that says something of a path decides."""
    said = (one.ignore(path, is_folder) for one in reversed(rules))
    return next((ignore for ignore in said if ignore is not None), False)


def _rules_above(folder: Path) -> tuple[_Rules, ...]:
    """Those of the repository that a folder lies in, from its top on; none outside of one."""
    chain = [folder, *folder.parents]
    top = next((number for number, one in enumerate(chain) if (one / ".git").exists()), None)
    if top is None:
        return ()
    own = _Rules.of(str(chain[top]), ".git/info/exclude")
    return (own, *(_Rules.of(str(one)) for one in reversed(chain[1 : top + 1])))


def _spec(file: Path) -> GitIgnoreSpec | None:
    """The patterns of a file; those that are none are left out, as git does."""
    try:
        lines = file.read_text(encoding="utf-8-sig", errors="surrogateescape").splitlines()
    except OSError:
        return None
    good = []
    for line in lines:
        try:
            GitIgnoreSpec.from_lines([line])
        except ValueError:
            continue
        good.append(line)
    return GitIgnoreSpec.from_lines(good) if good else None


def message(left: Left) -> str:
    """One line for a person."""
    return f"{shown(left.path)} {left.why}"
