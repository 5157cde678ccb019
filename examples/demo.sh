#!/usr/bin/env bash
# Fills one place in each of these files, and changes none of them. On a terminal the canvas settles before your
# eyes; elsewhere every pass is a line.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

bold='' dim='' plain='' verbose=--verbose
if [[ -t 1 ]]; then
  bold=$'\e[1m' dim=$'\e[2m' plain=$'\e[0m' verbose=
fi

# An engine of its own, which ends with the demo and leaves nothing. A socket's path has to be short.
XDG_RUNTIME_DIR=$(mktemp -d /tmp/dgemma.XXXXXX)
export XDG_RUNTIME_DIR XDG_STATE_HOME=$XDG_RUNTIME_DIR/state
trap 'dgemma-lsp engine stop >/dev/null 2>&1; rm -rf "$XDG_RUNTIME_DIR"' EXIT

printf '%s$ dgemma-lsp engine start%s\n' "$dim" "$plain"
dgemma-lsp engine start

# fill FILE LINE:COL WHAT [OPTION...]
fill() {
  local file=examples/$1 at=$2 what=$3
  shift 3
  printf '\n%s%s%s\n%s$ dgemma-lsp fill %s --at %s%s%s\n' \
    "$bold" "$what" "$plain" "$dim" "$file" "$at" "${*:+ $*}" "$plain"
  dgemma-lsp fill "$file" --at "$at" "$@" $verbose 2>&1
}

fill inventory.py 27:64 'Close what is open, in Python' --seed 1
fill inventory.py 33:30 'Replace an argument by what stands around it' --until 33:39 --seed 1
fill settings.json 8:48 'Close a list, in JSON, the best of three' --max-tokens 4 --candidates 3 --seed 1
fill notes.md 11:1 'Close a fence, in markdown' --max-tokens 4 --seed 1
fill crlf_config.py 12:1 'A file with CRLF line ends keeps them' --max-tokens 4 --seed 1
fill emoji.py 7:34 'Columns count characters, whatever their width' --max-tokens 4 --seed 1

printf '\n%sNothing was written; --write does that, --json is for programs. Any file of yours will do:%s\n' \
  "$dim" "$plain"
printf '  %s fill FILE --at LINE:COL\n' "$(command -v dgemma-lsp)"
