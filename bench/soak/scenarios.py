"""All scenarios by name, in the order of their modules."""

from __future__ import annotations

from . import clients, deaths, leaving, messages, races, starts, surroundings
from .scenario import Scenario

SCENARIOS: dict[str, Scenario] = {
    one.name: one
    for module in (starts, deaths, clients, messages, races, leaving, surroundings)
    for one in vars(module).values()
    if isinstance(one, Scenario)
}
