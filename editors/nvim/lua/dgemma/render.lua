local text = require('dgemma.text')

local api = vim.api

api.nvim_set_hl(0, 'DgemmaReplaced', { link = 'DiffDelete', default = true })

local M = {}

---Neovim's own highlights of ghost text, where it has them.
local GHOST = vim.fn.hlexists('ComplHint') == 1 and 'ComplHint' or 'NonText'
local HINT = vim.fn.hlexists('ComplHintMore') == 1 and 'ComplHintMore' or 'MoreMsg'

---Shows what is left of a suggestion at the cursor.
---@param buf integer
---@param namespace integer
---@param item dgemma.Item
---@param hint? string
---@return boolean shown false when there is nothing left of it, or something else was typed
function M.show(buf, namespace, item, hint)
  api.nvim_buf_clear_namespace(buf, namespace, 0, -1)
  local cursor = api.nvim_win_get_cursor(0)
  local row, column = cursor[1] - 1, cursor[2]
  if api.nvim_get_current_buf() ~= buf or row ~= item.row then
    return false
  end
  local remainder, tail = text.remainder(text.line(buf, row), item, column)
  if not remainder or remainder == '' or remainder == tail then
    return false
  end
  local lines = vim.split(remainder, '\n', { plain = true })
  local below = {}
  for index = 2, #lines do
    below[#below + 1] = { { lines[index], GHOST } }
  end
  local pieces = #lines == 1 and text.pieces(lines[1], tail)
  if not pieces then
    pieces = { { at = 0, text = lines[1] } }
    if tail ~= '' then
      local stop = { end_col = column + #tail, hl_group = 'DgemmaReplaced' }
      api.nvim_buf_set_extmark(buf, namespace, row, column, stop)
    end
  end
  for _, piece in ipairs(pieces) do
    api.nvim_buf_set_extmark(buf, namespace, row, column + piece.at, {
      virt_text = { { piece.text, GHOST } },
      virt_text_pos = 'inline',
      hl_mode = 'combine',
    })
  end
  if hint then
    local target = below[#below]
    if target then
      target[#target + 1] = { hint, HINT }
    else
      api.nvim_buf_set_extmark(buf, namespace, row, column, { virt_text = { { vim.trim(hint), HINT } } })
    end
  end
  if #below > 0 then
    api.nvim_buf_set_extmark(buf, namespace, row, column, { virt_lines = below })
  end
  return true
end

return M
