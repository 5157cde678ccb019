"""Syntax by tree-sitter: whether an edit does harm, and what a place in a document is. No IO, nothing of the protocol.

`Gate` judges edits, `scope_at` looks at places, `languages` says what can be judged.
"""
