local M = {}

local PREFIX = 'dgemma: '

---@param text string
function M.info(text)
  vim.notify(PREFIX .. text, vim.log.levels.INFO)
end

---@param text string
function M.warn(text)
  vim.notify(PREFIX .. text, vim.log.levels.WARN)
end

---@param text string
function M.error(text)
  vim.notify(PREFIX .. text, vim.log.levels.ERROR)
end

return M
