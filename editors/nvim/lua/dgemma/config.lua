---@class dgemma.Keys Normal mode maps of a buffer for as long as a rewrite is previewed in it; lists of keys.
---@field accept string[] the hunk under the cursor
---@field reject string[]
---@field accept_all string[] all that are undecided, and apply
---@field reject_all string[] nothing is changed
---@field apply string[] what is accepted; the undecided are left out
---@field next string[]
---@field prev string[]

---@class dgemma.Config
---@field enabled boolean start the server by itself for `filetypes`
---@field cmd? string|string[] the server, instead of the one in the active environment or on PATH
---@field filetypes string[]
---@field settings table<string, any> of the server: docs/configuration.md
---@field ghost 'auto'|'own'|'off' ghost text by Neovim where it knows it, by this plugin, or none
---@field debounce integer milliseconds without a key before a request, where the ghost text is our own
---@field keys dgemma.Keys|false
---@field icons table<dgemma.State, string>

local M = {}

---@type dgemma.Config
M.defaults = {
  enabled = true,
  cmd = nil,
  -- stylua: ignore
  filetypes = {
    'python', 'json', 'jsonc', 'markdown', 'javascript', 'javascriptreact', 'typescript', 'typescriptreact',
    'rust', 'go', 'c', 'cpp', 'java', 'html', 'css', 'sh', 'bash', 'yaml', 'toml', 'lua',
  },
  settings = {},
  ghost = 'auto',
  debounce = 10,
  keys = {
    accept = { 'a' },
    reject = { 'r' },
    accept_all = { 'A' },
    reject_all = { 'R', '<Esc>' },
    apply = { '<CR>' },
    next = { ']c' },
    prev = { '[c' },
  },
  icons = {
    starting = '…',
    loading = '…',
    ready = '◆',
    down = '✗',
    missing = '✗',
    off = '',
  },
}

local TYPES = {
  enabled = { 'boolean' },
  cmd = { 'string', 'table' },
  filetypes = { 'table' },
  settings = { 'table' },
  ghost = { 'string' },
  debounce = { 'number' },
  keys = { 'table', 'boolean' },
  icons = { 'table' },
}

---@type dgemma.Config?
local current

---@type table<string, any>
local given = {}

local GHOSTS = { 'auto', 'own', 'off' }

---Options that fit, and what is wrong with the others: a line each, in an order that does not change.
---@param options table<string, any>
---@return table<string, any> good
---@return string[] problems
local function check(options)
  local good, problems = {}, {}
  for name, value in vim.spairs(options) do
    local wanted = TYPES[name]
    if not wanted then
      problems[#problems + 1] = ('there is no option %s'):format(name)
    elseif not vim.list_contains(wanted, type(value)) then
      problems[#problems + 1] = ('the option %s cannot be a %s'):format(name, type(value))
    elseif name == 'ghost' and not vim.list_contains(GHOSTS, value) then
      problems[#problems + 1] = ('the option ghost is one of %s'):format(table.concat(GHOSTS, ', '))
    else
      good[name] = value
    end
  end
  return good, problems
end

---@return table<string, any> good
---@return string[] problems
local function chosen()
  local global = type(vim.g.dgemma) == 'table' and vim.g.dgemma or {}
  return check(vim.tbl_extend('force', global, given))
end

---@return dgemma.Config
function M.get()
  if not current then
    local good, problems = chosen()
    for _, problem in ipairs(problems) do
      require('dgemma.say').warn(problem .. ' (:help dgemma-config)')
    end
    current = vim.tbl_deep_extend('force', M.defaults, good)
    current.filetypes = good.filetypes or M.defaults.filetypes
  end
  return current
end

---What is wrong with the options that were given.
---@return string[]
function M.problems()
  return select(2, chosen())
end

---@param options? table<string, any>
function M.set(options)
  given, current = options or {}, nil
end

return M
