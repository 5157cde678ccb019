-- The commands, each by its name in small letters.
local say = require('dgemma.say')

local api = vim.api

local M = {}

---@return vim.lsp.Client? client of the current buffer, or any; nil when there is none, which was said
local function client_here()
  local clients = vim.lsp.get_clients({ name = 'dgemma', bufnr = 0 })
  local client = clients[1] or vim.lsp.get_clients({ name = 'dgemma' })[1]
  if not client then
    local why = require('dgemma.server').blocked or 'the server does not run; open a file it is for'
    say.warn(why .. ' (:checkhealth dgemma)')
  end
  return client
end

---@param name string
---@param answered? fun(answer: any)
local function run(name, answered)
  local client = client_here()
  if client then
    client:request('workspace/executeCommand', { command = name, arguments = {} }, function(err, answer)
      if err then
        say.error(err.message)
      elseif answered then
        answered(answer)
      end
    end)
  end
end

---@param given vim.api.keyset.create_user_command.command_args
function M.rewrite(given)
  require('dgemma.rewrite').selection(given.args, require('dgemma.selection').of_command(given))
end

function M.fix()
  local buf = api.nvim_get_current_buf()
  local client = vim.lsp.get_clients({ name = 'dgemma', bufnr = buf })[1]
  if not client then
    client_here()
    return
  elseif not vim.bo[buf].modifiable then
    return say.warn('this buffer cannot be changed')
  end
  local params = vim.lsp.util.make_range_params(0, client.offset_encoding)
  params.context = { diagnostics = {}, only = { 'source.fixAll.dgemma' } }
  client:request('textDocument/codeAction', params, function(err, actions, context)
    local edit = actions and actions[1] and actions[1].edit
    if err then
      say.error(err.message)
    elseif not edit then
      say.info('there is nothing to close that is clear how to (:DgemmaExplain)')
    elseif context.version ~= vim.lsp.util.buf_versions[buf] then
      say.warn('the buffer has changed; run it again')
    else
      require('dgemma.compat').apply(edit, client.offset_encoding)
    end
  end, buf)
end

function M.explain()
  -- The server says it as a message.
  run('dgemma.explainLast')
end

function M.status()
  run('dgemma.status', function(answer)
    local lines = { ('%s: %s'):format(answer.model, answer.state) }
    if answer.device ~= '' then
      lines[1] = ('%s on %s'):format(lines[1], answer.device)
    end
    if answer.message ~= '' then
      lines[#lines + 1] = answer.message
    end
    local ended = {}
    for name, count in vim.spairs(answer.outcomes) do
      ended[#ended + 1] = ('%d %s'):format(count, name)
    end
    lines[#lines + 1] = 'requests: ' .. (#ended > 0 and table.concat(ended, ', ') or 'none')
    say.info(table.concat(lines, '\n'))
  end)
end

---@param given vim.api.keyset.create_user_command.command_args
function M.restart(given)
  if given.bang and vim.lsp.get_clients({ name = 'dgemma' })[1] then
    run('dgemma.restartEngine', require('dgemma.server').restart)
  else
    require('dgemma.server').restart()
  end
end

function M.log()
  vim.cmd.split(vim.fn.fnameescape(vim.lsp.log.get_filename()))
  vim.bo.readonly = true
  vim.cmd.normal({ 'G', bang = true })
end

return M
