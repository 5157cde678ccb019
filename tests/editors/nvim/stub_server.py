"""`stub_server.py FOLDER`: a language server that plays FOLDER/script.json and notes what it hears in heard.jsonl.

The script's keys: `inline` are the items of an answer to an automatic request, `invoked` those to one by hand;
`rewrite` answers `dgemma.rewrite`, `drafts` come before it and `wait` is how many seconds it takes; `edit` is what
applying a preview has the editor do; `actions` are all code actions; `status` is notified at the start; `dies` is the
method at which the process ends.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

CAPABILITIES = {
    "positionEncoding": "utf-16",
    "textDocumentSync": {"openClose": True, "change": 2, "willSaveWaitUntil": True},
    "inlineCompletionProvider": {},
    "codeActionProvider": True,
    "executeCommandProvider": {"commands": ["dgemma.rewrite", "dgemma.explainLast", "dgemma.status"]},
}


class Server:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._asked = 1000

    def run(self) -> None:
        while (message := self._read()) is not None:
            script = json.loads((self._folder / "script.json").read_text(encoding="utf-8"))
            with (self._folder / "heard.jsonl").open("a", encoding="utf-8") as heard:
                heard.write(json.dumps(message) + "\n")
            method = message.get("method")
            if method == script.get("dies"):
                sys.exit("ModuleNotFoundError: No module named 'pygls'")
            if method == "exit":
                return
            if method == "initialized" and "status" in script:
                self._say({"method": "dgemma/status", "params": script["status"]})
            if method is not None and "id" in message:
                result = self._answer(method, message, script)
                self._say({"id": message["id"], "result": result})

    def _answer(self, method: str, message: dict[str, Any], script: dict[str, Any]) -> Any:
        params = message.get("params") or {}
        if method == "initialize":
            return {"capabilities": CAPABILITIES, "serverInfo": {"name": "stub"}}
        if method == "textDocument/inlineCompletion":
            kind = "invoked" if params["context"]["triggerKind"] == 1 else "inline"
            items = script.get(kind, [])
            return None if items is None else {"items": items}
        if method == "textDocument/codeAction":
            return script.get("actions", [])
        if method == "textDocument/willSaveWaitUntil":
            return script.get("save", [])
        if method == "workspace/executeCommand":
            return self._command(message["id"], params, script)
        return None

    def _command(self, id_: int, params: dict[str, Any], script: dict[str, Any]) -> Any:
        if params["command"] == "dgemma.explainLast":
            self._say({"method": "window/showMessage", "params": {"type": 3, "message": "nothing to add"}})
            return {"outcome": "empty", "message": "nothing to add", "earlier": []}
        if params["command"] == "dgemma.status":
            return {**script["status"], "outcomes": {"offered": 2}, "engine": None}
        [argument] = params["arguments"]
        if "preview" in argument:
            self._asked += 1
            self._say({"id": self._asked, "method": "workspace/applyEdit", "params": {"edit": script["edit"]}})
            return {"outcome": "applied", "applied": True, "hunks": []}
        for index, text in enumerate(script.get("drafts", []), 1):
            self._say({"method": "dgemma/draft", "params": {"id": id_, "pass": index, "text": text}})
        time.sleep(script.get("wait", 0))
        answer = {"outcome": "previewed", "applied": False, "hunks": [], "preview": 1, **script["rewrite"]}
        return {"version": argument["textDocument"]["version"], **answer}

    def _read(self) -> Any:
        length = 0
        while (line := sys.stdin.buffer.readline()).strip():
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        return json.loads(sys.stdin.buffer.read(length)) if length else None

    def _say(self, message: dict[str, Any]) -> None:
        body = json.dumps({"jsonrpc": "2.0", **message}).encode()
        sys.stdout.buffer.write(b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    Server(Path(sys.argv[1])).run()
