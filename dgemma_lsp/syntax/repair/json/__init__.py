"""What is broken in a JSON document, and the repairs that fit the rest of the file."""

from __future__ import annotations

from dgemma_lsp.syntax.repair.json.diagnose import diagnose_json

__all__ = ["diagnose_json"]
