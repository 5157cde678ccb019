local M = {}

local health = vim.health

local function check_neovim()
  health.start('dgemma: Neovim')
  if vim.fn.has('nvim-0.11') == 0 then
    return health.error('Neovim 0.11 or newer is needed')
  end
  local ghost = require('dgemma.config').get().ghost
  if ghost == 'off' then
    health.ok('ghost text is switched off')
  elseif ghost == 'auto' and require('dgemma.native').usable() then
    health.ok('ghost text by vim.lsp.inline_completion')
  else
    health.ok('ghost text by this plugin')
  end
  local problems = require('dgemma.config').problems()
  for _, problem in ipairs(problems) do
    health.warn(problem, ':help dgemma-config')
  end
end

---@param cmd string[]
local function check_version(cmd)
  local asked = vim.list_extend(vim.list_slice(cmd), { '--version' })
  local ok, ran = pcall(function()
    return vim.system(asked, { text = true, timeout = 20000 }):wait()
  end)
  if not ok then
    health.error(('%s cannot be run'):format(cmd[1]), 'Is its Python still there? Install it again.')
  elseif ran.code ~= 0 then
    local said = vim.split(vim.trim(ran.stderr), '\n')
    health.error(('it does not run: %s'):format(said[#said]), 'dgemma-lsp doctor')
  else
    health.ok(vim.trim(ran.stdout))
  end
end

local function check_server()
  health.start('dgemma: server')
  local server = require('dgemma.server')
  local cmd, found = server.find()
  if not cmd then
    health.error(found, "pip install 'dgemma-lsp[engine]'")
  else
    health.info(('%s (%s)'):format(table.concat(cmd, ' '), found))
    check_version(cmd)
  end
  if server.blocked then
    health.error(server.blocked, ':DgemmaRestart')
  elseif server.last.ended then
    health.warn('it ended with ' .. server.last.ended, ':DgemmaLog')
  end
end

local function check_engine()
  health.start('dgemma: engine')
  local client = vim.lsp.get_clients({ name = 'dgemma' })[1]
  if not client then
    return health.info('the server does not run; it starts with the first file it is for')
  end
  local status = require('dgemma.status').get()
  local said = ('%s %s'):format(status.model or 'the model', status.state)
  if status.message and status.message ~= '' then
    said = ('%s: %s'):format(said, status.message)
  end
  if status.state == 'down' then
    health.error(said, { 'dgemma-lsp doctor', ':DgemmaRestart!' })
  else
    health.ok(said)
  end
end

function M.check()
  check_neovim()
  check_server()
  check_engine()
end

return M
