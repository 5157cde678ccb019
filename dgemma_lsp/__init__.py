"""The language server: starts fast and never imports torch."""
