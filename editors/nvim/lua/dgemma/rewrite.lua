-- A selection written anew: asked for, watched, and handed to the preview.
local drafts = require('dgemma.drafts')
local say = require('dgemma.say')
local selection = require('dgemma.selection')

local api = vim.api

---@class dgemma.Wish The argument of the server's command dgemma.rewrite.
---@field textDocument { uri: string, version?: integer }
---@field range lsp.Range
---@field instruction? string
---@field problems? string[]

---@type table<integer, { client: vim.lsp.Client, id: integer }>
local running = {}

local M = {}

---@param buf integer
---@return vim.lsp.Client? client nil when nothing can be rewritten there, which was said
local function client_for(buf)
  if not vim.bo[buf].modifiable then
    say.warn('this buffer cannot be changed')
    return nil
  end
  local client = vim.lsp.get_clients({ name = 'dgemma', bufnr = buf })[1]
  if not client then
    say.warn('there is no server for this buffer (:DgemmaStatus)')
    return nil
  end
  local status = require('dgemma.status').get()
  if status.state == 'ready' and status.instructed == false then
    say.warn(('%s follows no instructions; another model does (setting model)'):format(status.model))
    return nil
  end
  return client
end

---@param buf integer
---@return { client: vim.lsp.Client, id: integer, span?: dgemma.Span }?
local function finished(buf)
  local found = running[buf]
  if not found then
    return nil
  end
  running[buf] = nil
  api.nvim_clear_autocmds({ group = 'dgemma.rewrite', buffer = buf })
  return vim.tbl_extend('error', found, { span = drafts.finish(found.id) })
end

---@param wish dgemma.Wish
---@param buf integer
function M.run(wish, buf)
  local client = client_for(buf)
  if not client then
    return
  end
  M.cancel(buf)
  local arguments = { vim.tbl_extend('force', wish, { apply = false }) }
  local params = { command = 'dgemma.rewrite', arguments = arguments }
  local _, id
  _, id = client:request('workspace/executeCommand', params, function(err, answer)
    if not running[buf] or running[buf].id ~= id then
      return
    end
    local span = assert(finished(buf)).span
    if err then
      say.error(err.message)
    elseif not span then
      return
    elseif answer.outcome ~= 'previewed' then
      -- The server has said why.
      return
    elseif answer.version ~= vim.lsp.util.buf_versions[buf] then
      say.warn('the buffer has changed; run it again')
    else
      require('dgemma.preview').open(client, buf, span, answer)
    end
  end, buf)
  if not id then
    return
  end
  running[buf] = { client = client, id = id }
  drafts.begin(id, buf, selection.from_range(buf, wish.range, client.offset_encoding))
  api.nvim_create_autocmd({ 'BufUnload', 'LspDetach' }, {
    group = api.nvim_create_augroup('dgemma.rewrite', { clear = false }),
    buffer = buf,
    callback = function(event)
      if event.event == 'BufUnload' or event.data.client_id == client.id then
        M.cancel(buf)
      end
    end,
  })
end

---Asks for the instruction first.
---@param wish dgemma.Wish
---@param buf integer
function M.ask(wish, buf)
  if not client_for(buf) then
    return
  end
  vim.ui.input({ prompt = 'Rewrite: ' }, function(instruction)
    if instruction and vim.trim(instruction) ~= '' and api.nvim_buf_is_loaded(buf) then
      M.run(vim.tbl_extend('force', wish, { instruction = instruction }), buf)
    end
  end)
end

---@param instruction? string
---@param where? dgemma.Span the visual selection or the current line without it
function M.selection(instruction, where)
  local buf = api.nvim_get_current_buf()
  where = where or selection.current()
  local client = client_for(buf)
  if not client then
    return
  end
  local wish = {
    textDocument = { uri = vim.uri_from_bufnr(buf), version = vim.lsp.util.buf_versions[buf] },
    range = selection.to_range(buf, where, client.offset_encoding),
    problems = selection.problems(buf, where),
  }
  if instruction and vim.trim(instruction) ~= '' then
    wish.instruction = instruction
    M.run(wish, buf)
  else
    M.ask(wish, buf)
  end
end

---@param buf? integer
function M.cancel(buf)
  buf = buf or api.nvim_get_current_buf()
  local found = finished(buf)
  if found and not found.client:is_stopped() then
    found.client:cancel_request(found.id)
  end
  require('dgemma.preview').close(buf)
end

return M
