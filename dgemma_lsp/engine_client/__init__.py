"""The engine as everybody else here sees it: requests to a daemon that is found, started and replaced. No torch."""

from dgemma_lsp.engine_client.blocking import BlockingEngine
from dgemma_lsp.engine_client.client import EngineClient, resolve_model
from dgemma_lsp.engine_client.errors import EngineError, EngineNotRunning, EngineUnavailable

__all__ = ["BlockingEngine", "EngineClient", "EngineError", "EngineNotRunning", "EngineUnavailable", "resolve_model"]
