-- <Plug> maps of insert mode: they do something with ghost text, or else what their key does by itself.
local M = {}

---The key that is mapped to a <Plug> map.
---@param plug string
---@return string?
local function key_of(plug)
  for _, maps in ipairs({ vim.api.nvim_buf_get_keymap(0, 'i'), vim.api.nvim_get_keymap('i') }) do
    for _, map in ipairs(maps) do
      if map.rhs == plug then
        return map.lhsraw
      end
    end
  end
end

---@param name string of a function of dgemma.suggest
function M.press(name)
  if require('dgemma.suggest')[name]() then
    return
  end
  local key = key_of(('<Plug>(dgemma-%s)'):format(name:gsub('_', '-')))
  if key then
    -- Before what was typed meanwhile, and not mapped again.
    vim.api.nvim_feedkeys(key, 'in', false)
  end
end

return M
