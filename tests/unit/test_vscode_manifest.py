"""package.json of the VS Code client: the server's settings as they are, and nothing that only one machine knows."""

from __future__ import annotations

import json
from pathlib import Path

from dgemma_lsp.config import vscode

CLIENT = Path(__file__).parents[2] / "editors" / "vscode"
MANIFEST = json.loads((CLIENT / "package.json").read_text(encoding="utf-8"))
OWN = ("dgemma.path", "dgemma.interpreter")


def test_the_settings_are_made_from_the_class() -> None:
    found = MANIFEST["contributes"]["configuration"]["properties"]
    assert {name: found[name] for name in found if name not in OWN} == json.loads(json.dumps(vscode())), (
        "in editors/vscode: npm run settings"
    )
    assert set(OWN) < set(found)


def test_an_untrusted_workspace_chooses_nothing_that_runs() -> None:
    found = MANIFEST["contributes"]["configuration"]["properties"]
    by_machine = {name for name in found if found[name].get("scope") == "machine-overridable"}
    restricted = MANIFEST["capabilities"]["untrustedWorkspaces"]["restrictedConfigurations"]
    assert by_machine == set(restricted)


def test_the_lock_names_no_registry() -> None:
    assert '"resolved"' not in (CLIENT / "package-lock.json").read_text(encoding="utf-8")
