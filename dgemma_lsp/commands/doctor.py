"""`dgemma-lsp doctor`: findings as they are made."""

from __future__ import annotations

import json

import typer

from dgemma_lsp.commands.options import EnginePythonOption, JsonOption


def doctor(as_json: JsonOption = False, engine_python: EnginePythonOption = None) -> None:
    """Check the installation and try a fill; exit code 1 when something is wrong."""
    import attrs
    from rich.console import Console
    from rich.text import Text

    from dgemma_lsp.doctor import examine

    console = Console()
    findings = []
    for finding in examine(engine_python):
        findings.append(finding)
        if not as_json:
            mark = ("ok   ", "green") if finding.ok else ("wrong", "red")
            line = Text.assemble(mark, f" {finding.name:<16} {finding.detail}")
            console.print(line, soft_wrap=True, highlight=False)
    if as_json:
        print(json.dumps([attrs.asdict(finding) for finding in findings]))
    raise typer.Exit(0 if all(finding.ok for finding in findings) else 1)
