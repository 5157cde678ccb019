"""What of a markdown document is unclosed, and how to close it.

Every text is valid markdown. A fault is something that a reader would see swallowed or left over: code that runs on
over headings and prose, a mark without its partner, a table shown as text.
"""

from __future__ import annotations

from dgemma_lsp.syntax.repair.markdown.diagnose import diagnose_markdown

__all__ = ["diagnose_markdown"]
