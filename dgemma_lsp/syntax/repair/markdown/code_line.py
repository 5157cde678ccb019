"""Whether a line reads as code or as prose."""

from __future__ import annotations

import re
from collections.abc import Iterator

from dgemma_lsp.syntax.repair.markdown.weights.code_line import CODE_LINE

_TRAITS: tuple[tuple[str, re.Pattern[str]], ...] = tuple(
    (name, re.compile(pattern))
    for name, pattern in (
        ("heading", r"[ \t>]*#{1,6}[ \t]+\S"),
        ("deep heading", r"[ \t>]*##+[ \t]+\S"),
        ("item", r"[ \t>]*(?:[-*+]|\d+[.)])[ \t]+\S"),
        ("quote", r"[ \t]*>"),
        ("row", r"[ \t>]*\|.*\|[ \t]*$"),
        ("tag", r"[ \t>]*</?[A-Za-z]"),
        ("link", r".*\]\([^)]"),
        ("definition", r"[ \t]*\[[^\]]+\]:[ \t]"),
        ("span", r".*`[^`\n]+`"),
        ("strong", r".*\*\*\w"),
        ("comment", r"[ \t>]*(?://|--[ \t]|/\*|\*/|\*[ \t]|;;|%|<!--)"),
        ("hash", r"[ \t>]*#[ \t]"),
        ("directive", r"[ \t]*(?::::|\{%|\{/\*|<[A-Z]|\.\. )"),
        ("ends as code", r".*[;{}()\[\]\\<>]\s*$"),
        ("ends as a sentence", r".*[A-Za-z`)*][.:!?]\s*$"),
        ("sentence", r"[ \t>]*(?:[-*+][ \t]|\d+[.)][ \t])?[\"'*_(\[]*[A-Z][A-Za-z']*,?[ \t]+[a-z`\[*(]"),
        ("assignment", r".*[\w)\]\"'] ?[-+:]?=[ \w\"'\[{(]"),
        ("arrow", r".*(?:=>|->|::|&&|\|\||==)"),
        ("call", r".*\w\("),
        ("brace", r".*[{}]"),
        ("key", r"[ \t>]*[-\"']*[\w.-]+[\"']?:(?:[ \t]|$)"),
        ("semicolon", r".*;"),
        ("prompt", r"[ \t>]*(?:\$|>>>|PS|\.\.\.|[-+]) "),
        ("string", r".*(?:\"[^\"\s]*\"|'[^'\s]+')"),
        ("flag", r".*\s--?[a-z]"),
        ("path", r".*(?:^|\s)[~.]?/[\w.-]"),
        ("indented", r"[ \t>]*(?:  |\t)\S"),
        ("deeply indented", r"(?: {4}|\t)\s*\S"),
        ("one word", r"[ \t>]*\S+\s*$"),
        (
            "keyword",
            r"[ \t>]*(?:import|const|let|var|def|class|from|return|if|else|for|while|function|export|async|await|"
            r"try|catch|public|private|static|type|interface|new|use|package|func|fn|select|insert|create|end|"
            r"describe|it|test|require|module|print|echo)\b[^.:]*$",
        ),
        (
            "command",
            r"[ \t>]*(?:\$ ?)?(?:npm|npx|yarn|pnpm|bun|bunx|pip|pip3|git|curl|wget|cd|sudo|docker|brew|apt|apt-get|"
            r"make|cmake|node|python|python3|go|cargo|gem|bundle|mkdir|cp|mv|rm|export|source|kubectl|aws|gsutil|cdk|deno)\s",
        ),
        ("bracket", r"[ \t>]*[\[\](){}]+[,;]?\s*$"),
        ("tree", r".*[├└│─]"),
        ("number", r"[ \t>]*\d"),
        ("fence", r"[ \t>]*(?:```|~~~)"),
    )
)

_PLAIN = re.compile(r"\b[A-Za-z]+(?=[ ,.])")
_LITTLE = re.compile(r"\b(?:the|is|are|you|to|of|that|this|can|will|your|a|and|for|with)(?=[ ,.])")
_LONGEST = 300
"""Characters of a line that are looked at."""


def traits(line: str) -> Iterator[str]:
    line = line[:_LONGEST]
    yield from (name for name, pattern in _TRAITS if pattern.match(line))
    words = _PLAIN.findall(line)
    little = len(_LITTLE.findall(line))
    for name, count, least in (
        ("words", len(words), 7),
        ("many words", len(words), 12),
        ("little word", little, 1),
        ("little words", little, 2),
    ):
        if count >= least:
            yield name


def code_score(line: str) -> float:
    """How much likelier the line is in a fence than in prose, in nats; 0 for a blank line."""
    if not line or line.isspace():
        return 0.0
    return CODE_LINE["any"] + sum(CODE_LINE[name] for name in traits(line))
