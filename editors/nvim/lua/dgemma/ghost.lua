-- Ghost text of our own, for a Neovim that has none.
local render = require('dgemma.render')
local text = require('dgemma.text')

local api = vim.api
local METHOD = 'textDocument/inlineCompletion'
local namespace = api.nvim_create_namespace('dgemma.ghost')

---@class dgemma.Ghost
---@field client_id integer
---@field items dgemma.Item[]
---@field index integer
---@field timer? uv.uv_timer_t
---@field request? integer

---@type table<integer, dgemma.Ghost>
local ghosts = {}

local M = {}

---@param ghost dgemma.Ghost
local function cancel(ghost)
  if ghost.timer and not ghost.timer:is_closing() then
    ghost.timer:stop()
    ghost.timer:close()
  end
  local client = ghost.request and vim.lsp.get_client_by_id(ghost.client_id)
  if client then
    client:cancel_request(ghost.request)
  end
  ghost.timer, ghost.request = nil, nil
end

---@param buf integer
local function hide(buf)
  ghosts[buf].items = {}
  api.nvim_buf_clear_namespace(buf, namespace, 0, -1)
end

---@param buf integer
---@param items dgemma.Item[]
---@param hint? boolean
local function show(buf, items, hint)
  local ghost = ghosts[buf]
  ghost.items, ghost.index = items, 1
  local more = hint and #items > 1 and (' (1/%d)'):format(#items) or nil
  if not (items[1] and render.show(buf, namespace, items[1], more)) then
    hide(buf)
  end
end

---@param client vim.lsp.Client
---@param buf integer
---@param items lsp.InlineCompletionItem[]
---@return dgemma.Item[]
local function read(client, buf, items)
  local cursor = api.nvim_win_get_cursor(0)
  return vim
    .iter(items)
    :map(function(item)
      return text.item(buf, item, client.offset_encoding, cursor[1] - 1, cursor[2])
    end)
    :totable()
end

---@param buf integer
local function request(buf)
  local ghost = ghosts[buf]
  local client = ghost and vim.lsp.get_client_by_id(ghost.client_id)
  if not client or api.nvim_get_current_buf() ~= buf or not vim.startswith(vim.fn.mode(), 'i') then
    return
  end
  local params = vim.lsp.util.make_position_params(0, client.offset_encoding)
  params.context = { triggerKind = 2 }
  local _, id
  _, id = client:request(METHOD, params, function(err, result, context)
    if not ghosts[buf] or ghost.request ~= id then
      return
    end
    ghost.request = nil
    local moved = context.version ~= vim.lsp.util.buf_versions[buf]
    -- null: a newer request took over; what is shown stays.
    if err or not result or moved or not vim.startswith(vim.fn.mode(), 'i') then
      return
    end
    show(buf, read(client, buf, result.items or result))
  end, buf)
  ghost.request = id
end

---@param buf integer
local function changed(buf)
  local ghost = ghosts[buf]
  if vim.fn.pumvisible() == 1 then
    return M.clear(buf)
  end
  local item = ghost.items[ghost.index]
  if item and render.show(buf, namespace, item) then
    return
  end
  hide(buf)
  cancel(ghost)
  ghost.timer = vim.defer_fn(function()
    request(buf)
  end, require('dgemma.config').get().debounce)
end

---@param client vim.lsp.Client
---@param buf integer
---@param group integer
function M.attach(client, buf, group)
  ghosts[buf] = { client_id = client.id, items = {}, index = 1 }
  api.nvim_create_autocmd({ 'InsertEnter', 'TextChangedI', 'CursorMovedI' }, {
    group = group,
    buffer = buf,
    callback = function()
      changed(buf)
    end,
  })
  api.nvim_create_autocmd({ 'TextChangedP', 'CompleteChanged', 'InsertLeave', 'BufLeave' }, {
    group = group,
    buffer = buf,
    callback = function()
      M.clear(buf)
    end,
  })
end

---@param _ vim.lsp.Client
---@param buf integer
function M.detach(_, buf)
  if ghosts[buf] then
    M.clear(buf)
    ghosts[buf] = nil
  end
end

---@param buf integer
---@return dgemma.Item?
function M.current(buf)
  local ghost = ghosts[buf]
  return ghost and ghost.items[ghost.index]
end

---@param buf integer
---@return integer
function M.count(buf)
  return ghosts[buf] and #ghosts[buf].items or 0
end

---@param client vim.lsp.Client
---@param buf integer
---@param items lsp.InlineCompletionItem[]
function M.show(client, buf, items)
  cancel(ghosts[buf])
  show(buf, read(client, buf, items), true)
end

---@param _ vim.lsp.Client
---@param buf integer
---@param item dgemma.Item
function M.keep(_, buf, item)
  cancel(ghosts[buf])
  show(buf, { item })
end

---@param buf integer
---@param count integer
function M.cycle(buf, count)
  local ghost = ghosts[buf]
  ghost.index = (ghost.index - 1 + count) % #ghost.items + 1
  local hint = (' (%d/%d)'):format(ghost.index, #ghost.items)
  render.show(buf, namespace, ghost.items[ghost.index], hint)
end

---@param buf integer
function M.clear(buf)
  if ghosts[buf] then
    cancel(ghosts[buf])
    if api.nvim_buf_is_loaded(buf) then
      hide(buf)
    end
  end
end

return M
