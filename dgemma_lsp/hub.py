"""What becomes of a name that somebody chooses: looked up, downloaded, checked, remembered. The engine does it all."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import attrs

from dgemma_engine.wire import ModelName
from dgemma_lsp import models
from dgemma_lsp.default_model import BUNDLED, remember, remembered
from dgemma_lsp.engine_client import resolve_model
from dgemma_lsp.engine_client.errors import EngineError
from dgemma_lsp.engine_tool import ask
from dgemma_lsp.errors import UserError

TOOL = "dgemma_engine.hub"


@attrs.frozen
class Found:
    """What the hub has: `size` and `missing` in bytes, `place` where it goes; `fit` as in `Choosing.check`."""

    hub_id: str
    commit: str
    licence: str
    gated: bool
    size: int
    missing: int
    place: str
    fit: dict[str, Any] | None


class Choosing:
    """The way of one name; every method raises `UserError`, which says what to do."""

    def __init__(self, name: str, engine_python: str | None) -> None:
        self.name = resolve_model(name)
        self._python = engine_python or sys.executable

    def check_here(self) -> dict[str, Any] | None:
        """As `check`; None where a download would mend what is wrong."""
        try:
            return self.check()
        except EngineError as error:
            name = ModelName.parse(self.name)
            if error.code == "checkpoint" and name.is_hub_id and not _is_base(error, name):
                return None
            raise

    def check(self) -> dict[str, Any]:
        """Whether it is whole, and what of it fits here.

        Keys: `name`, `folder`, `adapter`, `bytes`, `instructed` (it takes prompts), `device`, `free` (bytes), `fits`,
        `precision`, `window` (tokens), `need` (bytes at its peak), `reason` (a line for people).
        """
        return next(event for event in self._ask("check", self.name) if event.pop("event", None) == "checked")

    def look(self) -> Found:
        """What the hub has of it; uses the network."""
        if not ModelName.parse(self.name).is_hub_id:
            raise UserError(f"{self.name} is no hub id, so there is nothing to download")
        event = next(event for event in self._ask("look", self.name) if event.get("event") == "found")
        fit = {key: event[key] for key in ("device", "fits", "reason")} if "fits" in event else None
        return Found(
            event["id"],
            event["commit"],
            event["licence"],
            event["gated"],
            event["bytes"],
            event["missing"],
            event["place"],
            fit,
        )

    def fetch(self, found: Found) -> Iterator[dict[str, Any]]:
        """Download it; yields `done` and `bytes` in bytes and the `file` that comes. Uses the network."""
        for event in self._ask("fetch", self.name, found.commit):
            if event.get("event") == "progress":
                yield event

    def remember(self) -> None:
        """Use it wherever nobody names another."""
        remember(None if self.name == BUNDLED else self.name)

    def _ask(self, *arguments: str) -> Iterator[dict[str, Any]]:
        return ask(self._python, TOOL, arguments)


def listed(engine_python: str | None) -> tuple[list[dict[str, Any]], str | None]:
    """The models that are here, each `name`, `source` (bundled, hub, folder), `folder`, `bytes`, `problem` and
    `chosen`; and why the hub's cache could not be looked into, if so.
    """
    chosen, problem = remembered()
    name = ModelName.parse(chosen).name
    found = [
        {"name": one.name, "source": "bundled", "folder": str(one.folder), "bytes": one.size, "problem": one.problem}
        for one in models.bundled()
    ]
    try:
        for event in ask(engine_python or sys.executable, TOOL, ["list"]):
            if event.pop("event", None) == "model":
                found.append({**event, "source": "hub"})
        if name not in {one["name"] for one in found}:
            found.append(_chosen(chosen, engine_python))
    except UserError as error:
        problem = str(error)
    return [{**one, "chosen": one["name"] == name} for one in found], problem


def _chosen(chosen: str, engine_python: str | None) -> dict[str, Any]:
    name = ModelName.parse(chosen).name
    entry = {"name": name, "source": "folder", "folder": name, "bytes": 0}
    try:
        return {**entry, "bytes": Choosing(chosen, engine_python).check()["bytes"], "problem": None}
    except EngineError as error:
        return {**entry, "problem": str(error)}


def _is_base(error: EngineError, name: ModelName) -> bool:
    """Whether it is the base of an adapter that is missing, where the adapter is all there."""
    return str(error).startswith(f"{name.name} is an adapter of")
