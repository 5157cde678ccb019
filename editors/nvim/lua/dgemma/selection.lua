-- What a rewrite is for, as the protocol has it.
local text = require('dgemma.text')

local api = vim.api

local M = {}

---@param first integer rows from 0, both in it
---@param last integer
---@return dgemma.Span
local function rows(first, last)
  if last + 1 < api.nvim_buf_line_count(0) then
    return { row = first, col = 0, end_row = last + 1, end_col = 0 }
  end
  return { row = first, col = 0, end_row = last, end_col = #text.line(0, last) }
end

---@param start integer[] of getpos()
---@param stop integer[]
---@param kind string of visualmode(); blocks count as lines
---@return dgemma.Span
local function span(start, stop, kind)
  if start[2] > stop[2] or (start[2] == stop[2] and start[3] > stop[3]) then
    start, stop = stop, start
  end
  local first, last = start[2] - 1, stop[2] - 1
  if kind ~= 'v' then
    return rows(first, last)
  end
  local line = text.line(0, last)
  local column = math.min(stop[3] - 1, #line)
  if vim.o.selection ~= 'exclusive' and column < #line then
    column = column + #vim.fn.matchstr(line:sub(column + 1), '.')
  end
  return {
    row = first,
    col = math.min(start[3] - 1, #text.line(0, first)),
    end_row = last,
    end_col = column,
  }
end

---The visual selection, which is left, or the current line.
---@return dgemma.Span
function M.current()
  local mode = vim.fn.mode()
  if not mode:match('[vV\22]') then
    local row = api.nvim_win_get_cursor(0)[1] - 1
    return rows(row, row)
  end
  local found = span(vim.fn.getpos('v'), vim.fn.getpos('.'), mode)
  api.nvim_feedkeys(vim.keycode('<Esc>'), 'nx', false)
  return found
end

---The range of a command; the characters of the last selection when it is that one.
---@param given vim.api.keyset.create_user_command.command_args
---@return dgemma.Span
function M.of_command(given)
  local start, stop = vim.fn.getpos("'<"), vim.fn.getpos("'>")
  if given.range == 2 and start[2] == given.line1 and stop[2] == given.line2 then
    return span(start, stop, vim.fn.visualmode())
  end
  return rows(given.line1 - 1, given.line2 - 1)
end

---@param buf integer
---@param where dgemma.Span
---@param encoding string
---@return lsp.Range
function M.to_range(buf, where, encoding)
  return {
    start = text.position(buf, where.row, where.col, encoding),
    ['end'] = text.position(buf, where.end_row, where.end_col, encoding),
  }
end

---@param buf integer
---@param range lsp.Range
---@param encoding string
---@return dgemma.Span
function M.from_range(buf, range, encoding)
  local start, stop = range.start, range['end']
  local count = api.nvim_buf_line_count(buf)
  return {
    row = start.line,
    col = start.line < count and text.column(buf, start, encoding) or 0,
    end_row = stop.line,
    end_col = stop.line < count and text.column(buf, stop, encoding) or 0,
  }
end

---The diagnostics there, a line each.
---@param buf integer
---@param where dgemma.Span
---@return string[]
function M.problems(buf, where)
  local found = {}
  for _, one in ipairs(vim.diagnostic.get(buf)) do
    if one.lnum >= where.row and one.lnum <= where.end_row then
      local source = one.source and one.source .. ': ' or ''
      found[#found + 1] = ('line %d: %s%s'):format(one.lnum + 1, source, one.message:gsub('%s+', ' '))
    end
  end
  return found
end

return M
