-- What can be done with ghost text, whoever shows it.
local config = require('dgemma.config')
local text = require('dgemma.text')

local api = vim.api
local METHOD = 'textDocument/inlineCompletion'

local M = {}

---@return table? layer native or ghost
local function layer()
  local wanted = config.get().ghost
  if wanted == 'off' then
    return nil
  end
  local native = require('dgemma.native')
  return wanted == 'auto' and native.usable() and native or require('dgemma.ghost')
end

---@param buf integer
---@return integer
local function group_of(buf)
  return api.nvim_create_augroup('dgemma.suggest.' .. buf, {})
end

---@param client vim.lsp.Client
---@param buf integer
function M.attach(client, buf)
  require('dgemma.compat').attach(client)
  local found = layer()
  if found and client:supports_method(METHOD, buf) then
    found.attach(client, buf, group_of(buf))
  end
end

---@param client vim.lsp.Client
---@param buf integer
function M.detach(client, buf)
  local found = layer()
  if found then
    api.nvim_clear_autocmds({ group = group_of(buf) })
    found.detach(client, buf)
  end
end

---The suggestion that is shown in the current buffer, with what of it can be taken now.
---@return { layer: table, buf: integer, item: dgemma.Item, remainder: string, tail: string, column: integer }?
local function shown()
  local found, buf = layer(), api.nvim_get_current_buf()
  local item = found and found.current(buf)
  if not found or not item or vim.fn.pumvisible() == 1 then
    return nil
  end
  local cursor = api.nvim_win_get_cursor(0)
  local remainder, tail = text.remainder(text.line(buf, item.row), item, cursor[2])
  if cursor[1] - 1 ~= item.row or not remainder or remainder == '' then
    return nil
  end
  -- stylua: ignore
  return { layer = found, buf = buf, item = item, remainder = remainder, tail = tail, column = cursor[2] }
end

---@return vim.lsp.Client?
local function client_of(buf)
  return vim.lsp.get_clients({ name = 'dgemma', bufnr = buf })[1]
end

---@return boolean
function M.visible()
  return shown() ~= nil
end

---@param part fun(remainder: string): string the beginning of it that is wanted
---@return boolean taken
local function take(part)
  local now = shown()
  local client = now and client_of(now.buf)
  if not now or not client then
    return false
  end
  local row, column = now.item.row, now.column
  local piece = part(now.remainder)
  local whole = #piece == #now.remainder
  local lines = vim.split(piece, '\n', { plain = true })
  -- One step of undo of its own: setting this closes the one before.
  vim.go.undolevels = vim.go.undolevels
  local stop = whole and column + #now.tail or column
  api.nvim_buf_set_text(now.buf, row, column, row, stop, lines)
  local last = #lines == 1 and column + #piece or #lines[#lines]
  api.nvim_win_set_cursor(0, { row + #lines, last })
  if whole then
    now.layer.clear(now.buf)
  else
    local typed = now.item.text:sub(1, #now.item.text - #now.remainder)
    now.layer.keep(client, now.buf, text.advanced(now.item, typed, piece))
  end
  return true
end

---@return boolean
function M.accept()
  return take(function(remainder)
    return remainder
  end)
end

---@return boolean
function M.accept_word()
  return take(text.first_word)
end

---@return boolean
function M.accept_line()
  return take(text.first_line)
end

---@param count integer
---@return boolean
local function cycle(count)
  local now = shown()
  if not now then
    return false
  end
  -- What comes by itself is a single one.
  if now.layer.count(now.buf) < 2 then
    return M.trigger()
  end
  now.layer.cycle(now.buf, count)
  return true
end

---@return boolean
function M.next()
  return cycle(1)
end

---@return boolean
function M.prev()
  return cycle(-1)
end

---@return boolean
function M.dismiss()
  local now = shown()
  if now then
    now.layer.clear(now.buf)
  end
  return now ~= nil
end

---Ask now, for several; says why when nothing comes.
---@return boolean
function M.trigger()
  local found, buf = layer(), api.nvim_get_current_buf()
  local client = client_of(buf)
  if not found or not client then
    require('dgemma.say').warn('there is no server for this buffer (:DgemmaStatus)')
    return true
  end
  local params = vim.lsp.util.make_position_params(0, client.offset_encoding)
  params.context = { triggerKind = 1 }
  client:request(METHOD, params, function(_, result, context)
    local moved = context.version ~= vim.lsp.util.buf_versions[buf] or api.nvim_get_current_buf() ~= buf
    if not result or moved or not vim.startswith(vim.fn.mode(), 'i') then
      return
    end
    local items = result.items or result
    if #items > 0 then
      found.show(client, buf, items)
    else
      found.clear(buf)
      require('dgemma.commands').explain()
    end
  end, buf)
  return true
end

return M
