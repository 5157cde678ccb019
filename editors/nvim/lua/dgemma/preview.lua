-- The hunks of a rewrite, to be accepted or rejected before anything is changed.
local Hunk = require('dgemma.hunk')
local config = require('dgemma.config')
local say = require('dgemma.say')
local selection = require('dgemma.selection')

local api = vim.api
local namespace = api.nvim_create_namespace('dgemma.preview.selection')

---@class dgemma.Preview
---@field client vim.lsp.Client
---@field id integer the server's
---@field hunks dgemma.Hunk[]
---@field mark integer of the selection
---@field text string[] of the selection
---@field maps table[] of the buffer, that ours stand in for

---@type table<integer, dgemma.Preview>
local previews = {}

local M = {}

---@param buf integer
---@param preview dgemma.Preview
---@return string[]?
local function selected(buf, preview)
  local found = api.nvim_buf_get_extmark_by_id(buf, namespace, preview.mark, { details = true })
  local stop = found[3]
  return stop and api.nvim_buf_get_text(buf, found[1], found[2], stop.end_row, stop.end_col, {})
end

---@param preview dgemma.Preview
---@return dgemma.Hunk?
local function undecided(preview)
  return vim.iter(preview.hunks):find(function(hunk)
    return not hunk.decision
  end)
end

---@return string
local function hint()
  local keys = config.get().keys
  if not keys then
    return 'accept or reject'
  end
  local said = {}
  for _, pair in ipairs({
    { 'accept', 'accept' },
    { 'reject', 'reject' },
    { 'accept_all', 'all' },
    { 'reject_all', 'none' },
  }) do
    local name = keys[pair[1]]
    if name and #name > 0 then
      said[#said + 1] = ('%s %s'):format(name[#name], pair[2])
    end
  end
  return table.concat(said, ' · ')
end

---@param buf integer
local function draw(buf)
  local preview = previews[buf]
  Hunk.wipe(buf, false)
  local first = undecided(preview)
  for _, hunk in ipairs(preview.hunks) do
    hunk:draw(hunk == first and hint() or nil)
  end
end

---@param buf integer
---@param preview dgemma.Preview
local function map(buf, preview)
  for name, keys in pairs(config.get().keys or {}) do
    for _, key in ipairs(keys) do
      local before = vim.fn.maparg(key, 'n', false, true)
      if before.buffer == 1 then
        preview.maps[#preview.maps + 1] = before
      end
      vim.keymap.set('n', key, function()
        M.act(name)
      end, { buffer = buf, nowait = true, desc = 'dgemma: hunk ' .. name:gsub('_', ' ') })
    end
  end
end

---@param buf integer
---@param preview dgemma.Preview
local function unmap(buf, preview)
  for _, keys in pairs(config.get().keys or {}) do
    for _, key in ipairs(keys) do
      pcall(vim.keymap.del, 'n', key, { buffer = buf })
    end
  end
  api.nvim_buf_call(buf, function()
    for _, before in ipairs(preview.maps) do
      vim.fn.mapset('n', false, before)
    end
  end)
end

---@param client vim.lsp.Client
---@param buf integer
---@param span dgemma.Span of the selection
---@param answer { preview: integer, hunks: { range: lsp.Range, newText: string, edits: lsp.TextEdit[] }[] }
function M.open(client, buf, span, answer)
  M.close(buf)
  local mark = api.nvim_buf_set_extmark(buf, namespace, span.row, span.col, {
    end_row = span.end_row,
    end_col = span.end_col,
    end_right_gravity = false,
  })
  local hunks = {}
  for number, hunk in ipairs(answer.hunks) do
    local edits = vim
      .iter(hunk.edits)
      :map(function(edit)
        local where = selection.from_range(buf, edit.range, client.offset_encoding)
        return vim.tbl_extend('error', where, { text = edit.newText:gsub('\r', '') })
      end)
      :totable()
    local where = selection.from_range(buf, hunk.range, client.offset_encoding)
    hunks[number] = Hunk.new(buf, number - 1, where, hunk.newText, edits)
  end
  ---@type dgemma.Preview
  local preview = { client = client, id = answer.preview, hunks = hunks, mark = mark, text = {}, maps = {} }
  previews[buf] = preview
  preview.text = selected(buf, preview) or {}
  map(buf, preview)
  local group = api.nvim_create_augroup('dgemma.preview', { clear = false })
  api.nvim_create_autocmd({ 'TextChanged', 'TextChangedI' }, {
    group = group,
    buffer = buf,
    callback = function()
      if not vim.deep_equal(selected(buf, preview), preview.text) then
        M.close(buf)
        say.warn('the selection has changed, so the rewrite is dropped; run it again')
      end
    end,
  })
  api.nvim_create_autocmd('BufUnload', {
    group = group,
    buffer = buf,
    callback = function()
      M.close(buf)
    end,
  })
  draw(buf)
  if api.nvim_get_current_buf() == buf then
    api.nvim_win_set_cursor(0, { hunks[1]:row() + 1, 0 })
  end
end

---Leaves the buffer as it is.
---@param buf integer
function M.close(buf)
  local preview = previews[buf]
  if not preview then
    return
  end
  previews[buf] = nil
  api.nvim_clear_autocmds({ group = 'dgemma.preview', buffer = buf })
  if api.nvim_buf_is_loaded(buf) then
    Hunk.wipe(buf, true)
    api.nvim_buf_clear_namespace(buf, namespace, 0, -1)
    unmap(buf, preview)
  end
end

---@param buf integer
local function apply(buf)
  local preview = previews[buf]
  if not vim.bo[buf].modifiable then
    -- What was decided stays.
    draw(buf)
    return say.warn('this buffer cannot be changed; :set modifiable, then apply')
  end
  local numbers = {}
  for _, hunk in ipairs(preview.hunks) do
    if hunk.decision == 'accept' then
      numbers[#numbers + 1] = hunk.number
    end
  end
  M.close(buf)
  if #numbers == 0 then
    return
  end
  if preview.client:is_stopped() then
    return say.error('the server has ended, and the rewrite with it; run it again')
  end
  local arguments = { { preview = preview.id, hunks = numbers } }
  local params = { command = 'dgemma.rewrite', arguments = arguments }
  preview.client:request('workspace/executeCommand', params, function(err)
    if err then
      say.error(err.message)
    end
  end, buf)
end

---@param preview dgemma.Preview
---@param step integer
local function move(preview, step)
  local row = api.nvim_win_get_cursor(0)[1] - 1
  local rows = vim.iter(preview.hunks):map(Hunk.row):totable()
  if step < 0 then
    rows = vim.iter(rows):rev():totable()
  end
  for _, at in ipairs(rows) do
    if (at - row) * step > 0 then
      return api.nvim_win_set_cursor(0, { at + 1, 0 })
    end
  end
end

---@param name 'accept'|'reject'|'accept_all'|'reject_all'|'apply'|'next'|'prev'
function M.act(name)
  local buf = api.nvim_get_current_buf()
  local preview = previews[buf]
  if not preview then
    return
  elseif name == 'next' or name == 'prev' then
    return move(preview, name == 'next' and 1 or -1)
  elseif name == 'reject_all' then
    return M.close(buf)
  elseif name == 'apply' then
    return apply(buf)
  elseif name == 'accept_all' then
    for _, hunk in ipairs(preview.hunks) do
      hunk.decision = hunk.decision or 'accept'
    end
    return apply(buf)
  end
  local row = api.nvim_win_get_cursor(0)[1] - 1
  local hunk = vim.iter(preview.hunks):find(function(one)
    return one:covers(row)
  end) or undecided(preview)
  if not hunk then
    return apply(buf)
  end
  hunk.decision = name
  local following = undecided(preview)
  if not following then
    return apply(buf)
  end
  draw(buf)
  api.nvim_win_set_cursor(0, { following:row() + 1, 0 })
end

return M
