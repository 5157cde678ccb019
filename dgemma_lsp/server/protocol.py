"""pygls' protocol as this server needs it: no second copy of the documents, and an answer to every request."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Generator
from typing import Any

from lsprotocol import types
from pygls.exceptions import (
    JsonRpcException,
    JsonRpcInvalidParams,
    JsonRpcInvalidRequest,
    JsonRpcServerNotInitialized,
)
from pygls.protocol import JsonRPCNotification, LanguageServerProtocol, lsp_method

log = logging.getLogger(__name__)

Handled = Generator[Any, Any, Any]

NOT_UNDERSTOOD = JsonRPCNotification(method="$/notUnderstood", jsonrpc="2.0", params=None)


class Protocol(LanguageServerProtocol):
    """Leaves the texts to `Documents`, since pygls' own mirror splits lines where the protocol does not."""

    exit_status: int | None = None
    """What the process ends with; None when the client went without saying `exit`."""

    @lsp_method(types.TEXT_DOCUMENT_DID_OPEN)
    def lsp_text_document__did_open(self, params: types.DidOpenTextDocumentParams) -> Handled:
        yield from self._ours(types.TEXT_DOCUMENT_DID_OPEN, params)

    @lsp_method(types.TEXT_DOCUMENT_DID_CHANGE)
    def lsp_text_document__did_change(self, params: types.DidChangeTextDocumentParams) -> Handled:
        yield from self._ours(types.TEXT_DOCUMENT_DID_CHANGE, params)

    @lsp_method(types.TEXT_DOCUMENT_DID_CLOSE)
    def lsp_text_document__did_close(self, params: types.DidCloseTextDocumentParams) -> Handled:
        yield from self._ours(types.TEXT_DOCUMENT_DID_CLOSE, params)

    @lsp_method(types.WORKSPACE_EXECUTE_COMMAND)
    async def lsp_workspace__execute_command(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, params: types.ExecuteCommandParams
    ) -> Any:
        """As a task: pygls would answer a cancelled command and let it run on."""
        handler, args, kwargs = next(super().lsp_workspace__execute_command(params))
        result = handler(*args, **kwargs)
        return await result if inspect.isawaitable(result) else result

    @lsp_method(types.EXIT)
    def lsp_exit(self, *args: Any) -> Handled:
        self.exit_status = 0 if self._shutdown else 1
        return (yield from super().lsp_exit(*args))

    def structure_message(self, data: dict[str, Any]) -> Any:
        """A message that cannot be understood is answered when it is a request, and left out when it is not."""
        try:
            return super().structure_message(data)
        except JsonRpcException as error:
            id_ = data.get("id")
            if not isinstance(id_, int | str):
                log.warning("a notification that cannot be understood is left out")
            elif "method" in data:
                wrong = JsonRpcInvalidParams(message=f"the parameters of {data['method']!r:.60} do not fit it")
                self._send_response(id_, error=wrong.to_response_error())
            else:
                # The answer to a request of ours: who waits for it hears of it.
                future = self._request_futures.pop(id_, None)
                if future is not None and not future.done():
                    future.set_exception(error)
            return NOT_UNDERSTOOD

    def complain(self, wrong: JsonRpcException) -> None:
        """Say what is wrong with something that is no request."""
        log.warning("a message is left out: %s", wrong.message)
        error = {"code": wrong.code, "message": wrong.message}
        self._send_data({"jsonrpc": self.VERSION, "id": None, "error": error})

    def handle_message(self, message: Any) -> None:
        """Requests at the wrong time are answered as well, and notifications then are left out."""
        if not hasattr(message, "jsonrpc"):
            self.complain(JsonRpcInvalidRequest(message="it is not one of JSON-RPC 2.0"))
            return
        method, id_ = getattr(message, "method", None), getattr(message, "id", None)
        wrong = self._untimely(method)
        if wrong is None:
            super().handle_message(message)
        elif id_ is not None:
            self._send_response(id_, error=wrong.to_response_error())

    def _untimely(self, method: str | None) -> JsonRpcException | None:
        if method is None or method == types.EXIT:
            return None
        if self._shutdown:
            return JsonRpcInvalidRequest(message="the server is shutting down")
        if self._workspace is None and method != types.INITIALIZE:
            return JsonRpcServerNotInitialized(message="the first request is initialize")
        if self._workspace is not None and method == types.INITIALIZE:
            return JsonRpcInvalidRequest(message="the server is initialized already")
        return None

    def _handle_notification(self, method_name: str, params: Any) -> None:
        # The specification: notifications under $/ that are not known are ignored.
        if not method_name.startswith("$/") or method_name == types.CANCEL_REQUEST or method_name in self.fm.features:
            super()._handle_notification(method_name, params)

    def _ours(self, method: str, params: Any) -> Handled:
        handler = self.fm.features.get(method)
        if handler is not None:
            yield handler, (params,), None
