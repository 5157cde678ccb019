local config = require('dgemma.config')
local say = require('dgemma.say')
local status = require('dgemma.status')

local M = {}

---Seconds in which that many ends are too many.
local WINDOW = 180
local MOST = 3

---Milliseconds before the server is started again; four times that after the next end.
M.pause = 1000

---@type number[] when it ended by itself, in seconds
local ends = {}
---Why it is not started, until somebody restarts it.
---@type string?
M.blocked = nil
---How it was started last, and how that ended.
---@type { cmd?: string[], ended?: string }
M.last = {}

---The command that starts the server, or why there is none.
---@return string[]? cmd
---@return string found where it comes from, or what is wrong
function M.find()
  local cmd = config.get().cmd
  if cmd then
    cmd = type(cmd) == 'string' and { cmd } or cmd --[[@as string[] ]]
    if cmd[1] and vim.fn.executable(cmd[1]) == 1 then
      return cmd, 'the option cmd'
    end
    return nil, ('the option cmd names %s, which cannot be run'):format(cmd[1] or 'nothing')
  end
  local environment = vim.env.VIRTUAL_ENV
  if environment then
    local folder = vim.fn.has('win32') == 1 and 'Scripts' or 'bin'
    local path = vim.fs.joinpath(environment, folder, 'dgemma-lsp')
    if vim.fn.executable(path) == 1 then
      return { path }, 'the active environment'
    end
  end
  local path = vim.fn.exepath('dgemma-lsp')
  if path ~= '' then
    return { path }, 'PATH'
  end
  return nil,
    "there is no dgemma-lsp in the active environment nor on PATH; pip install 'dgemma-lsp[engine]', "
      .. 'or name it with the option cmd'
end

---@param reason string
local function block(reason)
  M.blocked = reason
  status.set({ state = 'missing', message = reason })
  say.error(reason .. ' (:checkhealth dgemma)')
end

---Whether the server may be started now; says once why not.
---@return boolean
function M.may_start()
  if M.blocked then
    return false
  end
  local cmd, reason = M.find()
  if not cmd then
    block(reason)
  end
  return cmd ~= nil
end

---Whether the server was switched on by us.
local enabled = false

---A buffer was opened: have the server started if it is for such files.
---@param buf integer
function M.wanted(buf)
  local options = config.get()
  if enabled or not options.enabled or vim.bo[buf].buftype ~= '' then
    return
  end
  if vim.list_contains(options.filetypes, vim.bo[buf].filetype) then
    enabled = true
    -- After the start of the editor, of which this is no part.
    vim.schedule(M.enable)
  end
end

---Also for the buffers that are open already.
function M.enable()
  vim.lsp.enable('dgemma')
end

---What the server said last before it ended, by Neovim's log.
---@return string?
local function last_words()
  local file = io.open(vim.lsp.log.get_filename(), 'rb')
  if not file then
    return nil
  end
  local size = file:seek('end')
  file:seek('set', math.max(0, size - 16384))
  local tail = file:read('*a')
  file:close()
  -- Every piece that came is a line there, whatever lines it has itself.
  local said = {}
  for chunk in tail:gmatch('"stderr"\t"([^\n]*)"\n') do
    said[#said + 1] = chunk
  end
  local words = table.concat(said):gsub('\\n', '\n'):gsub('\\"', '"')
  local lines = vim.split(vim.trim(words), '\n', { trimempty = true })
  return lines[#lines]
end

---@param code integer
---@param signal integer
local function ended(code, signal)
  local now = vim.uv.now() / 1000
  ends[#ends + 1] = now
  ends = vim
    .iter(ends)
    :filter(function(at)
      return now - at < WINDOW
    end)
    :totable()
  local how = signal ~= 0 and ('signal %d'):format(signal) or ('status %d'):format(code)
  local why = last_words()
  M.last.ended = why and ('%s: %s'):format(how, why) or how
  if #ends >= MOST then
    M.blocked = ('the server ended %d times, the last time with %s'):format(#ends, M.last.ended)
    status.set({ state = 'missing', message = M.blocked })
    say.error('the server keeps ending and is not started again; :DgemmaRestart tries, :DgemmaLog shows the log')
    return
  end
  status.set({ state = 'down', message = 'the server ended with ' .. M.last.ended })
  if #ends == 1 then
    say.warn(('the server ended with %s; it is started again (:DgemmaLog)'):format(M.last.ended))
  end
  vim.defer_fn(M.enable, M.pause * 4 ^ (#ends - 1))
end

---Starts the process; the `cmd` of its LSP configuration. Raises an error when that is not possible.
---@param dispatchers vim.lsp.rpc.Dispatchers
---@param given vim.lsp.ClientConfig
---@return vim.lsp.rpc.PublicClient
function M.start(dispatchers, given)
  local cmd, reason = M.find()
  if not cmd then
    error(reason, 0)
  end
  M.last = { cmd = cmd }
  local watched = vim.tbl_extend('force', dispatchers, {
    on_exit = function(code, signal)
      local stopped = (code == 0 and signal == 0) or signal == 15 or vim.v.exiting ~= vim.NIL
      -- Neovim would say after every end what is said here once.
      dispatchers.on_exit(0, 0)
      if not stopped then
        vim.schedule(function()
          ended(code, signal)
        end)
      end
    end,
  })
  local extra = { cwd = given.cmd_cwd, env = given.cmd_env, detached = given.detached }
  local ok, started = pcall(vim.lsp.rpc.start, cmd, watched, extra)
  if not ok then
    -- The usual cause is a script whose Python is gone.
    M.blocked = ('%s cannot be run; is its Python still there? Install it again'):format(cmd[1])
    status.set({ state = 'missing', message = M.blocked })
    error('dgemma: ' .. M.blocked, 0)
  end
  return started
end

---End the server and start it again, whatever has happened before.
function M.restart()
  ends, M.blocked = {}, nil
  local clients = vim.lsp.get_clients({ name = 'dgemma' })
  for _, client in ipairs(clients) do
    client:stop()
  end
  local patience = 50
  local function again()
    patience = patience - 1
    local running = vim.iter(clients):any(function(client)
      return not client:is_stopped()
    end)
    if running and patience > 0 then
      return vim.defer_fn(again, 100)
    end
    for _, client in ipairs(running and clients or {}) do
      client:stop(true)
    end
    M.enable()
  end
  again()
end

return M
