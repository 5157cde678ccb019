"""Whether an edit does harm to the syntax of a document."""

from __future__ import annotations

import contextlib
import time

import attrs

from dgemma_lsp.syntax import languages
from dgemma_lsp.syntax.excerpt import Excerpt, excerpt
from dgemma_lsp.syntax.explain import verdict_of
from dgemma_lsp.syntax.faults import Fault
from dgemma_lsp.syntax.json_rules import strict_error
from dgemma_lsp.syntax.judge import Finding, judge
from dgemma_lsp.syntax.markdown_blocks import markdown_faults
from dgemma_lsp.syntax.markdown_judge import judge_markdown
from dgemma_lsp.syntax.readings import same_conditionals
from dgemma_lsp.syntax.rules import Rules, rules_of
from dgemma_lsp.syntax.source import Source
from dgemma_lsp.syntax.trees import ParseTimeoutError, Trees
from dgemma_lsp.syntax.trial import Trial
from dgemma_lsp.syntax.verdicts import Judgement, Verdict
from dgemma_lsp.text.ends import common_end, common_start
from dgemma_lsp.text.lines import NEWLINE

LARGEST = 1_000_000
"""Characters of a document that is judged whole."""

WINDOW = 200_000
"""Characters on either side of an edit that are judged of a larger one."""

LONG = 20_000
"""Characters of a document that is judged by an excerpt."""

MOST = 60_000
"""Characters of an excerpt; of a longer one only the lines around the edit are judged."""

SEARCH = 20_000
"""Characters in which a window's start looks for a line without indentation, where no block is open."""


class Gate:
    """Judges edits. It remembers the trees of the last documents, so that a keystroke costs little.

    One gate serves one server; its methods may be called from any thread, one at a time gets to parse. `seconds`
    bounds a verdict: a document that cannot be parsed in time is ungated, an edit with faults that cannot be told
    apart in time is broken.
    """

    def __init__(self, seconds: float = 0.5, trees: Trees | None = None) -> None:
        self._seconds = seconds
        self._trees = trees or Trees()
        self._excerpts = Trees()
        self._kept: tuple[tuple[str, str, int, int], Excerpt] | None = None

    def warm(self, language: str, document: str, seconds: float = 5.0) -> bool:
        """Parse a document, so that the next verdict on it is quick; whether it can be judged at all."""
        grammar = languages.grammar_of(language)
        if grammar is None or languages.load(grammar) is None:
            return False
        if grammar.name != "markdown" and len(document) <= LARGEST:
            source = Source.of(rules_of(languages.known_as(language)).readings[0](document))
            try:
                self._trees.parse(grammar, source, time.monotonic() + seconds)
            except ParseTimeoutError:
                return False
        return True

    def prepare(self, language: str, document: str, at: int, seconds: float = 5.0) -> None:
        """Do beforehand what the verdicts on edits in the line of a place have in common."""
        language = languages.known_as(language)
        grammar = languages.grammar_of(language)
        if grammar is None or grammar.name == "markdown" or not self.warm(language, document, seconds):
            return
        part = self._part(language, grammar, document, at, at)
        if part.left_out:
            source = Source.of(rules_of(language).readings[0](part.text))
            with contextlib.suppress(ParseTimeoutError):
                self._excerpts.parse(grammar, source, time.monotonic() + seconds)

    def verdict(self, language: str, document: str, start: int, end: int, text: str) -> Verdict:
        """What replacing the characters [start, end) of a document by `text` does to its syntax.

        The document as it stands is the measure: what is wrong with it already does not count against the edit. For
        ghost text that is the document with an empty hole; what the text and the replaced part have in common at
        their ends is not judged. `language` is an id of the protocol; the verdict's spans count characters of `text`.
        """
        language = languages.known_as(language)
        grammar = languages.grammar_of(language)
        if grammar is None:
            return Verdict(Judgement.UNGATED, f"no grammar reads {language or 'this language'}")
        if document[start:end] == text:
            return Verdict(Judgement.CLEAN)
        lead = common_start(document[start:end], text)
        trail = common_end(document[start:end], text, min(end - start, len(text)) - lead)
        windowed = len(document) > LARGEST
        first, last = _window(document, start, end, WINDOW) if windowed else (0, len(document))
        part = self._part(language, grammar, document[first:last], start - first, end - first)
        begin, stop = part.start + lead, part.end - trail
        before, old, after = part.text[:begin], part.text[begin:stop], part.text[stop:]
        middle = text[lead : len(text) - trail]
        if grammar.name == "markdown":
            verdict = _markdown(before, old, middle, after)
        else:
            trees = self._excerpts if part.left_out else self._trees
            verdict = self._code(trees, language, grammar, before, old, middle, after)
        spans = tuple((begin + lead, end + lead) for begin, end in verdict.spans)
        grown = len(middle) - len(old)
        return attrs.evolve(
            verdict,
            # What is deleted leaves nothing to write anew but the rest.
            spans=spans if middle else ((0, len(text)),) * (not verdict.clean),
            places=tuple(
                (first + part.edited(begin, grown), first + part.edited(end, grown)) for begin, end in verdict.places
            ),
            windowed=windowed,
        )

    def _part(self, language: str, grammar: languages.Grammar, document: str, start: int, end: int) -> Excerpt:
        """What is parsed of a document: all of it, unless that takes long."""
        if grammar.name == "markdown" or len(document) <= LONG:
            return Excerpt(document, start, end)
        # One excerpt serves all edits of a line.
        first = max(document.rfind("\n", 0, start), document.rfind("\r", 0, start)) + 1
        stop = NEWLINE.search(document, end)
        last = stop.start() if stop else len(document)
        asked = (language, document, first, last)
        kept = self._kept
        if kept is None or kept[0] != asked:
            kept = self._kept = asked, self._excerpt(language, grammar, document, first, last)
        part = kept[1]
        return attrs.evolve(part, start=part.start + start - first, end=part.end - (last - end))

    def _excerpt(self, language: str, grammar: languages.Grammar, document: str, start: int, end: int) -> Excerpt:
        source = Source.of(rules_of(language).readings[0](document))
        try:
            parsed = self._trees.parse(grammar, source, time.monotonic() + self._seconds)
        except ParseTimeoutError:
            parsed = None
        if parsed is None:
            return Excerpt(document, start, end)
        part = excerpt(parsed, document, start, end)
        if len(part.text) <= MOST:
            return part
        # The parser has lost its way: a string or a bracket is open, and all that follows is an error to it.
        first, last = _window(document, start, end, LONG)
        if document[first - 1 : first] not in ("", "\n") or document[last - 1 : last] != "\n":
            return part
        left_out = ((0, first), (last, len(document)))
        return Excerpt(document[first:last], start - first, end - first, left_out)

    def _code(
        self, trees: Trees, language: str, grammar: languages.Grammar, before: str, old: str, middle: str, after: str
    ) -> Verdict:
        rules = rules_of(language)
        deadline = time.monotonic() + self._seconds
        found: Verdict | None = None
        readings = rules.readings if same_conditionals(old, middle) else rules.readings[:1]
        for read in readings:
            trial = Trial(trees, grammar, rules.checks, read, before, after, deadline)
            verdict = _read(language, rules, trial, old, middle)
            if verdict.judgement in (Judgement.CLEAN, Judgement.UNGATED):
                return verdict
            if found is None or found.broken:
                found = verdict
        assert found is not None
        return found


def _markdown(before: str, old: str, middle: str, after: str) -> Verdict:
    finding = judge_markdown(before, old, middle, after)
    text, start, stop = before + middle + after, len(before), len(before) + len(middle)
    verdict = verdict_of(finding, text, start, stop, lambda offset: offset)
    return attrs.evolve(verdict, faults=len(markdown_faults(text, start, stop)))


def _read(language: str, rules: Rules, trial: Trial, old: str, middle: str) -> Verdict:
    try:
        baseline = trial.baseline(old)
        if baseline is None:
            return Verdict(Judgement.UNGATED, f"the grammar for {language} is not installed")
        new = trial.variant(baseline, middle)
    except ParseTimeoutError:
        return Verdict(Judgement.UNGATED, "the document takes too long to parse")
    text = trial.before + middle + trial.after
    try:
        finding = judge(trial, baseline, new, middle, rules.lagging)
        if rules.strict and finding.judgement is Judgement.CLEAN:
            finding = _strictly(finding, trial.before + old + trial.after, text)
    except ParseTimeoutError:
        return Verdict(Judgement.BROKEN, "there was no time to find out what is wrong", ((0, len(middle)),))
    start = len(trial.before)
    verdict = verdict_of(finding, text, start, start + len(middle), new.parsed.source.to_char)
    return attrs.evolve(verdict, faults=len(new.faults))


def _strictly(finding: Finding, old: str, new: str) -> Finding:
    """A finding of strict JSON, should the grammar let anything pass that the rules have missed."""
    at = strict_error(new)
    if at is None or strict_error(old) is not None:
        return finding
    byte = Source.of(new).to_byte(at)
    return Finding(Judgement.BROKEN, (Fault("what is no JSON", byte, byte),))


def _window(document: str, start: int, end: int, reach: int) -> tuple[int, int]:
    """Whole lines around [start, end), at most `reach` characters on either side.

    They begin where nothing is likely to be open.
    """
    first = max(0, start - reach)
    if first:
        line = document.find("\n", first, start) + 1 or first
        first = line
        while 0 < line < min(start, first + SEARCH):
            if not document[line].isspace() and document[line] not in ")]}":
                first = line
                break
            line = document.find("\n", line, start) + 1
    last = min(len(document), end + reach)
    return first, document.rfind("\n", end, last) + 1 or last
