-- Ghost text by vim.lsp.inline_completion: it asks and keeps the answers. What it lacks (asking by hand, taking a
-- part, a suggestion that is not over the text behind the cursor) takes its inner object, if that is as we know it;
-- else our own layer is used.
local render = require('dgemma.render')
local text = require('dgemma.text')

local api = vim.api

local M = {}

local METHODS = { 'abort', 'count_items', 'destroy', 'hide', 'on_detach', 'reset_timer', 'select', 'show' }

---@return table?
local function class()
  if not vim.lsp.inline_completion then
    return nil
  end
  local ok, capability = pcall(require, 'vim.lsp._capability')
  return ok and vim.tbl_get(capability, 'all', 'inline_completion') or nil
end

---@return boolean
function M.usable()
  local found = class()
  return found ~= nil
    and type(found.active) == 'table'
    and vim.iter(METHODS):all(function(name)
      return type(found[name]) == 'function'
    end)
end

---@param buf integer
---@return table?
local function completor(buf)
  local found = class()
  return found and found.active[buf]
end

---@param buf integer
---@param current table
---@return dgemma.Item
local function item_of(buf, current)
  local range = current.range
  local cursor = api.nvim_win_get_cursor(0)
  local row, first, last = cursor[1] - 1, cursor[2], cursor[2]
  if range then
    row, first, last = range.start_row, range.start_col, range.end_col
  end
  return { row = row, col = first, after = #text.line(buf, row) - last, text = current.insert_text }
end

---@param client vim.lsp.Client
---@param buf integer
---@param group integer
function M.attach(client, buf, group)
  vim.lsp.inline_completion.enable(true, { bufnr = buf, client_id = client.id })
  local inner = completor(buf)
  if not inner then
    return
  end
  local namespace = api.nvim_create_namespace('nvim.lsp.inline_completion')
  inner.show = function(self, hint)
    local current = self.current
    if not current or current.client_id ~= client.id then
      return getmetatable(self).show(self, hint)
    end
    current.dgemma = current.dgemma or item_of(buf, current)
    if not render.show(buf, namespace, current.dgemma, hint) then
      self.current = nil
    end
  end
  -- After Neovim's own: what is typed along needs no new request, and the menu goes first.
  api.nvim_create_autocmd({ 'CursorMovedI', 'TextChangedI' }, {
    group = group,
    buffer = buf,
    callback = function()
      if M.current(buf) then
        inner:reset_timer()
      end
    end,
  })
  api.nvim_create_autocmd({ 'TextChangedP', 'CompleteChanged' }, {
    group = group,
    buffer = buf,
    callback = function()
      inner:abort()
    end,
  })
end

---@param buf integer
---@return dgemma.Item?
function M.current(buf)
  local inner = completor(buf)
  return inner and inner.current and inner.current.dgemma
end

---@param buf integer
---@return integer
function M.count(buf)
  local inner = completor(buf)
  return inner and inner:count_items() or 0
end

---@param client vim.lsp.Client
---@param buf integer
---@param items lsp.InlineCompletionItem[]
function M.show(client, buf, items)
  local inner = completor(buf)
  local state = inner and inner.client_state[client.id]
  if state then
    inner:abort()
    state.items = items
    inner:select(1, #items > 1)
  end
end

---@param client vim.lsp.Client
---@param buf integer
---@param item dgemma.Item
function M.keep(client, buf, item)
  local encoding = client.offset_encoding
  local stop = #text.line(buf, item.row) - item.after
  M.show(client, buf, {
    {
      insertText = item.text,
      range = {
        start = text.position(buf, item.row, item.col, encoding),
        ['end'] = text.position(buf, item.row, stop, encoding),
      },
    },
  })
end

---@param buf integer
---@param count integer
function M.cycle(buf, count)
  vim.lsp.inline_completion.select({ bufnr = buf, count = count })
end

---@param buf integer
function M.clear(buf)
  local inner = completor(buf)
  if inner then
    inner:abort()
  end
end

---Neovim itself forgets only the clients of buffers in which all are switched on.
---@param client vim.lsp.Client
---@param buf integer
function M.detach(client, buf)
  local inner = completor(buf)
  if inner and inner.client_state[client.id] then
    inner:abort()
    inner:on_detach(client.id)
    if not next(inner.client_state) then
      inner:destroy()
    end
  end
end

return M
