-- Costs next to nothing at the start: everything else is loaded with the first file it is for.
if vim.g.loaded_dgemma then
  return
end
vim.g.loaded_dgemma = true

if vim.fn.has('nvim-0.11') == 0 then
  vim.notify('dgemma needs Neovim 0.11 or newer', vim.log.levels.ERROR)
  return
end

local api = vim.api
local group = api.nvim_create_augroup('dgemma', {})

api.nvim_create_autocmd('FileType', {
  group = group,
  callback = function(event)
    require('dgemma.server').wanted(event.buf)
  end,
})
api.nvim_create_autocmd('LspAttach', {
  group = group,
  callback = function(event)
    local client = vim.lsp.get_client_by_id(event.data.client_id)
    if client and client.name == 'dgemma' then
      require('dgemma.suggest').attach(client, event.buf)
    end
  end,
})
api.nvim_create_autocmd('LspDetach', {
  group = group,
  callback = function(event)
    local client = vim.lsp.get_client_by_id(event.data.client_id)
    if client and client.name == 'dgemma' then
      require('dgemma.suggest').detach(client, event.buf)
    end
  end,
})

---@param name string
---@param what string
---@param options? vim.api.keyset.user_command
local function command(name, what, options)
  api.nvim_create_user_command('Dgemma' .. name, function(given)
    require('dgemma.commands')[name:lower()](given)
  end, vim.tbl_extend('force', { desc = what }, options or {}))
end

command('Rewrite', 'Rewrite the selection as an instruction says', { nargs = '*', range = true })
command('Fix', 'Close what is unclosed in this file')
command('Explain', 'Say what became of the last request')
command('Status', 'Say how the server and its engine are')
command('Restart', 'Start the server again; with ! the engine as well', { bang = true })
command('Log', 'Open the log of the server')

for _, name in ipairs({
  'accept',
  'accept_word',
  'accept_line',
  'next',
  'prev',
  'trigger',
  'dismiss',
}) do
  api.nvim_set_keymap('i', '<Plug>(dgemma-' .. name:gsub('_', '-') .. ')', '', {
    noremap = true,
    desc = 'dgemma: ' .. name:gsub('_', ' '),
    callback = function()
      require('dgemma.keys').press(name)
    end,
  })
end
for _, name in ipairs({ 'accept', 'reject', 'accept_all', 'reject_all', 'apply', 'next', 'prev' }) do
  api.nvim_set_keymap('n', '<Plug>(dgemma-hunk-' .. name:gsub('_', '-') .. ')', '', {
    noremap = true,
    desc = 'dgemma: hunk ' .. name:gsub('_', ' '),
    callback = function()
      require('dgemma.preview').act(name)
    end,
  })
end

-- A plugin manager may load this after the first files are open.
if vim.v.vim_did_enter == 1 then
  vim.schedule(function()
    for _, buf in ipairs(api.nvim_list_bufs()) do
      if api.nvim_buf_is_loaded(buf) then
        require('dgemma.server').wanted(buf)
      end
    end
  end)
end
