"""The server: what it holds between requests, and which handler answers what."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import attrs
from lsprotocol import types
from pygls.exceptions import JsonRpcException, JsonRpcParseError
from pygls.lsp.server import LanguageServer

from dgemma_engine.wire import package_version
from dgemma_lsp import config
from dgemma_lsp.default_model import BUNDLED, model_of
from dgemma_lsp.engine_client import EngineClient
from dgemma_lsp.syntax.trees import Trees

from .bugs import log_bug
from .capabilities import Client, read_client
from .diagnostics import Diagnostics
from .documents import Documents
from .engine_life import EngineLife, EngineState
from .outcomes import Outcomes
from .progress import LazyProgress
from .protocol import Protocol
from .repairing import Repairer
from .rewriting import Rewriter
from .suggest import Suggester

OF_THE_CLIENT = ("drafts", "asks")
"""Among the initializationOptions: what the client can do, where the others are settings."""

WARMED = 4
"""Documents, the last ones opened or changed, that an engine reads when it is ready."""


class Server(LanguageServer):
    """One editor window. Requests get a snapshot of a document and leave nothing behind but an outcome."""

    protocol: Protocol  # type: ignore[assignment]
    client: Client
    engine: EngineLife
    suggester: Suggester
    repairer: Repairer
    rewriter: Rewriter

    def __init__(self) -> None:
        super().__init__("dgemma-lsp", package_version(), protocol_cls=Protocol)
        self.documents = Documents()
        self.outcomes = Outcomes()
        self.settings = config.Settings(model=BUNDLED)
        self.trees = Trees()
        self.diagnostics = Diagnostics(self.text_document_publish_diagnostics)
        self._options: Any = None
        self._loading = LazyProgress(self, "DGemma: loading the model")
        self._said: set[str] = set()
        self._chores: set[asyncio.Task[None]] = set()

    def set_up(self, params: types.InitializeParams) -> None:
        """With what `initialize` says; nothing here waits for the engine."""
        self.client = read_client(params, self.workspace.position_encoding)
        self.documents.encoding = self.client.encoding
        self._loading.enabled = self.client.progress
        options = params.initialization_options
        self._options = (
            {name: options[name] for name in options if name not in OF_THE_CLIENT}
            if isinstance(options, dict)
            else options
        )
        self.read_settings(None)
        self._make_engine()

    def _make_engine(self) -> None:
        settings = self.settings
        name = f"dgemma-lsp for {self.client.name or 'an editor'}"
        client = EngineClient(settings.engine_python or None, name=name)
        self.engine = EngineLife(client, settings.model, settings.idle_unload, self.tell_status, self._loading.report)
        self.suggester = Suggester(self.engine, self.trees, self.documents.get)
        self.rewriter = Rewriter(self.engine, self.trees, self.documents.get)
        # A client of its own: a save asks the engine that is there, and never starts one.
        self.repairer = Repairer(EngineClient(name=f"{name}, on save", start=False), self.documents.get)

    def read_settings(self, editor: Any) -> None:
        """From the user's file, the initializationOptions and what the editor says now."""
        path = config.user_file()
        user, unreadable = config.read_user_file(path)
        read = config.read_settings((str(path), user), ("initializationOptions", self._options), ("editor", editor))
        model, unusable = model_of(read.settings)
        self.settings = attrs.evolve(read.settings, model=model)
        problems = [*(one for one in (unreadable, unusable) if one), *read.problems]
        for problem in problems:
            # Once, and again when it was mended in between: settings are read on every change of any of them.
            if problem not in self._said:
                self.say(types.MessageType.Warning, problem)
        self._said = set(problems)

    def renew_settings(self, editor: Any) -> None:
        """Settings have changed; another model or interpreter needs another engine."""
        before = self.settings
        self.read_settings(editor)
        if (before.model, before.engine_python, before.idle_unload) != (
            self.settings.model,
            self.settings.engine_python,
            self.settings.idle_unload,
        ):
            self.chore(self.engine.close())
            self.chore(self.repairer.close())
            self._make_engine()
            self.engine.want()
        if (before.diagnostics, before.secret_files) != (self.settings.diagnostics, self.settings.secret_files):
            for document in self.documents:
                self.diagnostics.look(document, self.repairer, self.settings)

    def say(self, kind: types.MessageType, message: str) -> None:
        """A message for the user."""
        self.window_show_message(types.ShowMessageParams(kind, f"dgemma: {message}"))

    def tell_status(self, state: EngineState) -> None:
        self.protocol.notify("dgemma/status", attrs.asdict(state))
        if state.state == "ready":
            for document in self.documents.latest(WARMED):
                self.chore(self.suggester.warm(document, self.settings))

    def chore(self, work: Coroutine[Any, Any, Any]) -> None:
        """Something that nobody waits for."""
        task = asyncio.ensure_future(work)
        self._chores.add(task)
        task.add_done_callback(self._chored)

    def _chored(self, task: asyncio.Task[Any]) -> None:
        self._chores.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log_bug(error)

    def report_server_error(self, error: Exception, source: Any) -> None:
        # pygls would open a message box for it.
        if isinstance(error, ValueError) and source is JsonRpcException:
            self.protocol.complain(JsonRpcParseError(message="it is not JSON"))
        elif not isinstance(error, JsonRpcException):
            log_bug(error)
