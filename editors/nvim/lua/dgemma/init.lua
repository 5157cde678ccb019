local M = {}

---Options instead of, or over, those of vim.g.dgemma; not needed.
---@param options? table<string, any>
function M.setup(options)
  require('dgemma.config').set(options)
end

---Whether ghost text is shown that can be taken.
---@return boolean
function M.visible()
  return require('dgemma.suggest').visible()
end

---Takes what `name` says once the mapping that calls this has ended, in which text cannot be changed.
---@param name string
---@return boolean
local function soon(name)
  local suggest = require('dgemma.suggest')
  if not suggest.visible() then
    return false
  end
  vim.schedule(suggest[name])
  return true
end

---Take the whole ghost text. Like the functions below it is false when there is none, also from an <expr> mapping.
---@return boolean
function M.accept()
  return soon('accept')
end

---@return boolean
function M.accept_word()
  return soon('accept_word')
end

---@return boolean
function M.accept_line()
  return soon('accept_line')
end

---Show the next suggestion; asks for more when there is only one.
---@return boolean
function M.next()
  return soon('next')
end

---@return boolean
function M.prev()
  return soon('prev')
end

---@return boolean
function M.dismiss()
  return soon('dismiss')
end

---Ask for suggestions now, whatever the setting `trigger` is.
function M.trigger()
  vim.schedule(require('dgemma.suggest').trigger)
end

---Rewrite the visual selection, else the current line, with a preview.
---@param instruction? string asks for it when there is none
function M.rewrite(instruction)
  require('dgemma.rewrite').selection(instruction)
end

---End a rewrite: the one that runs, or the one that is previewed, in the current buffer.
function M.cancel()
  require('dgemma.rewrite').cancel()
end

---For a status line.
---@return string
function M.status()
  return require('dgemma.status').text()
end

return M
