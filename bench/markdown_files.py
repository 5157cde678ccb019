"""The markdown that the weights of `dgemma_lsp/syntax/repair/markdown` are fitted to."""

from __future__ import annotations

import random
from itertools import zip_longest

from bench.gate_files import members
from bench.repair_files import ENDINGS, Sample, packages

FITTED = (
    "npm:ai", "npm:appium", "npm:aws-cdk-lib", "npm:aws-sdk", "npm:@blueprintjs/core", "npm:bull", "npm:bun-types",
    "npm:cheerio", "npm:effect", "npm:eslint", "npm:eslint-plugin-jest", "npm:eslint-plugin-jsx-a11y", "npm:expo",
    "npm:hexo", "npm:karma", "npm:knex", "npm:lodash", "npm:markdownlint", "npm:@mastra/mcp-docs-server",
    "npm:mermaid", "npm:mongoose", "npm:mysql2", "npm:next", "npm:node-fetch", "npm:nodemon", "npm:prettier",
    "npm:@primer/primitives", "npm:ramda", "npm:rxdb", "npm:rxjs", "npm:sequelize", "npm:@shopify/hydrogen",
    "npm:stylelint", "npm:svelte", "npm:type-fest", "npm:@ui5/webcomponents", "npm:vega-lite", "npm:vite",
    "npm:webpack", "npm:zx", "pypi:django", "pypi:homeassistant",
)  # fmt: skip
"""Packages to fit to: none that `bench.repair` reports on."""

LARGEST = 40_000
"""Characters of a file, at most; every deletion reads all of it again."""
SMALLEST = 200
SHARE = 150
"""Files of a package, at most: many of them are alike."""


def fitted(count: int) -> list[Sample]:
    """At most `count` files, always the same ones, in turn from each package while it has any; no two alike."""
    if reported := set(FITTED) & set(packages(trained=False)):
        raise ValueError(f"fitted and reported on: {', '.join(sorted(reported))}; take them out of one of the lists")
    seen: set[str] = set()
    shelves: list[list[Sample]] = []
    for package in FITTED:
        own = []
        for name, raw in members(package, (*ENDINGS["markdown"], ".mdx")):
            text = raw.decode("utf-8", errors="replace")
            if SMALLEST <= len(text) <= LARGEST and text not in seen and "\ufffd" not in text:
                seen.add(text)
                own.append(Sample(name, "markdown", package, text))
        random.Random(package).shuffle(own)
        shelves.append(own[:SHARE])
    turns = zip_longest(*shelves)
    return [one for turn in turns for one in turn if one is not None][:count]
