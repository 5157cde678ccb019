---@alias dgemma.State 'off'|'missing'|'starting'|'loading'|'ready'|'down'

---@class dgemma.Status What the server said last of its engine, and before that what is known without it.
---@field state dgemma.State
---@field model? string
---@field device? string
---@field message? string for people
---@field instructed? boolean whether the model can be told what to do

local M = {}

---@type dgemma.Status
local current = { state = 'off' }

---@param new dgemma.Status
function M.set(new)
  current = new
  vim.api.nvim_exec_autocmds('User', { pattern = 'DgemmaStatus', modeline = false, data = M.get() })
  vim.cmd.redrawstatus({ bang = true })
end

---@return dgemma.Status
function M.get()
  return vim.deepcopy(current)
end

---For a status line: an icon and the model, and what it does unless it is ready. Empty where there is no server.
---@return string
function M.text()
  if current.state == 'off' then
    return ''
  end
  local icon = require('dgemma.config').get().icons[current.state] or ''
  local doing = current.state == 'ready' and '' or ' ' .. current.state
  return vim.trim(('%s %s%s'):format(icon, current.model or 'dgemma', doing))
end

return M
