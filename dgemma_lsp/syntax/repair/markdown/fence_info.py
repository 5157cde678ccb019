"""What language a fence without its opening line was in: as the others of the file, and as its words say."""

from __future__ import annotations

import math
import re
from collections import Counter

from dgemma_lsp.syntax.repair.markdown.block import Outline

_WORD = re.compile(r"[A-Za-z_$][\w$-]*|[{}()\[\];=<>$#:|&]+|\"")
_KNOWN = frozenset(
    [
        "js",
        "javascript",
        "jsx",
        "ts",
        "typescript",
        "tsx",
        "json",
        "jsonc",
        "json5",
        "sh",
        "bash",
        "shell",
        "console",
        "zsh",
        "powershell",
        "bat",
        "cmd",
        "html",
        "css",
        "scss",
        "less",
        "vue",
        "svelte",
        "yaml",
        "yml",
        "toml",
        "xml",
        "sql",
        "graphql",
        "diff",
        "md",
        "mdx",
        "markdown",
        "text",
        "txt",
        "python",
        "py",
        "rust",
        "go",
        "java",
        "c",
        "cpp",
        "csharp",
        "kotlin",
        "swift",
        "objc",
        "ruby",
        "php",
        "dockerfile",
        "ini",
        "http",
        "mermaid",
    ]
)
_SHELL, _JSON, _MARKUP = ("sh", "bash", "shell", "console", "zsh"), ("json", "jsonc", "json5"), ("html", "xml", "vue")
_SIGNS: tuple[tuple[tuple[str, ...], re.Pattern[str]], ...] = (
    (
        _SHELL,
        re.compile(r"\s*(?:\$ |npm |npx |yarn |pnpm |bun |bunx |git |cd |curl |pip |sudo |brew |docker |mkdir |cdk )"),
    ),
    (_JSON, re.compile(r"\s*(?:\{\s*$|\"[\w@/.-]+\": )")),
    (_MARKUP, re.compile(r"\s*<[!/a-z]")),
    (
        ("js", "javascript", "ts", "typescript", "jsx", "tsx", "mjs"),
        re.compile(r"\s*(?:const|let|import .* from|await|export|function|var) ?"),
    ),
    (("py", "python"), re.compile(r"\s*(?:def |from \S+ import|import \w+$|class \w+.*:$|>>> )")),
    (("yaml", "yml"), re.compile(r"\s*(?:- )?[\w-]+:(?: \S.*)?$")),
    (("css", "scss", "less"), re.compile(r"\s*(?:[.#@]?[\w-]+ \{|[a-z-]+: .*;$)")),
)
LONGEST_NAME = 80
SIGN = 3.0
SMOOTH = 0.5
BARE = 0.3
"""How often a fence of a language that is new to the file has none."""


def language(info: str) -> str:
    """The first word of an info string, without what some tools put around it."""
    return re.split(r"[\s{,:]", info[:LONGEST_NAME].strip().lstrip("{.").lower(), maxsplit=1)[0]


class Infos:
    """The info strings of a document's fences, and the words in them."""

    def __init__(self, outline: Outline):
        self.counts: Counter[str] = Counter()
        self.words: dict[str, Counter[str]] = {}
        for block in outline.blocks:
            if block.kind != "fence":
                continue
            self.counts[block.info] += 1
            words = self.words.setdefault(block.info, Counter())
            for begin, end in block.rows[:40]:
                words.update(_WORD.findall(outline.text, begin, min(end, begin + 300)))

    def is_name(self, word: str) -> bool:
        """Whether the text of a line may be an info string that lost its fence."""
        return bool(word) and (word in self.counts or word.split()[0].lower() in _KNOWN) and len(word) < 80

    def guesses(self, code: list[str]) -> list[tuple[str, float]]:
        """Info strings that the file knows, with their log-probabilities."""
        found = Counter(word for line in code for word in _WORD.findall(line[:300]))
        if not self.counts:
            return [("", math.log(BARE))]
        total = sum(self.counts.values())
        scores = {}
        for info, count in self.counts.items():
            words = self.words.get(info, Counter())
            size = sum(words.values()) + 200 * SMOOTH
            score = math.log(count / total)
            likely = sum(min(n, 3) * math.log((words[word] + SMOOTH) / size) for word, n in found.items())
            score += likely / max(1.0, sum(min(n, 3) for n in found.values()) ** 0.5)
            name = info.split()[0].lower() if info else ""
            for names, sign in _SIGNS:
                if name in names and any(sign.match(line) for line in code[:6]):
                    score += SIGN
            scores[info] = score
        # As often as a language occurs only once, the missing one is likely to be new.
        new = (sum(count == 1 for count in self.counts.values()) + 0.5) / (sum(self.counts.values()) + 1.0)
        top = max(scores.values())
        norm = top + math.log(sum(math.exp(score - top) for score in scores.values()))
        ranked = sorted(scores.items(), key=lambda item: -item[1])[:3]
        found = [(info, max(score - norm + math.log1p(-min(new, 0.95)), -12.0)) for info, score in ranked]
        if "" not in self.counts:
            found.append(("", math.log(new * BARE)))
        return found
