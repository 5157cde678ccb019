-- What a running rewrite looks like so far, over the selection: the buffer itself is not touched.
local text = require('dgemma.text')

local api = vim.api
local namespace = api.nvim_create_namespace('dgemma.drafts')
---Where the selections are.
local marks = api.nvim_create_namespace('dgemma.drafts.marks')

api.nvim_set_hl(0, 'DgemmaDraft', { link = 'NonText', default = true })
api.nvim_set_hl(0, 'DgemmaHint', { link = 'Comment', default = true })

---@class dgemma.Span Rows and columns from 0, columns in bytes; the end is not in it.
---@field row integer
---@field col integer
---@field end_row integer
---@field end_col integer

---@class dgemma.Drafted
---@field buf integer
---@field mark integer of the selection, which moves with the text around it

---@type table<integer, dgemma.Drafted>
local running = {}

local M = {}

---@param id integer of the request
---@param buf integer
---@param span dgemma.Span
function M.begin(id, buf, span)
  local mark = api.nvim_buf_set_extmark(buf, marks, span.row, span.col, {
    end_row = span.end_row,
    end_col = span.end_col,
    virt_text = { { 'rewriting…', 'DgemmaHint' } },
  })
  running[id] = { buf = buf, mark = mark }
end

---@param drafted dgemma.Drafted
---@return dgemma.Span?
local function span_of(drafted)
  local found = api.nvim_buf_get_extmark_by_id(drafted.buf, marks, drafted.mark, { details = true })
  if not found[1] then
    return nil
  end
  return { row = found[1], col = found[2], end_row = found[3].end_row, end_col = found[3].end_col }
end

---@param params { id: integer, pass: integer, text: string }
function M.heard(params)
  local drafted = running[params.id]
  if not drafted or not api.nvim_buf_is_loaded(drafted.buf) then
    return
  end
  local span = span_of(drafted)
  if not span then
    return
  end
  api.nvim_buf_clear_namespace(drafted.buf, namespace, 0, -1)
  local blanks = (' '):rep(vim.bo[drafted.buf].tabstop)
  local lines = vim.split(params.text:gsub('\r', ''):gsub('\t', blanks), '\n')
  local last = span.end_col == 0 and span.end_row > span.row and span.end_row - 1 or span.end_row
  for row = span.row, last do
    local line = text.line(drafted.buf, row)
    local from = row == span.row and span.col or 0
    local stop = row == span.end_row and span.end_col or #line
    local width = vim.fn.strdisplaywidth(line:sub(1, stop)) - vim.fn.strdisplaywidth(line:sub(1, from))
    local said = table.remove(lines, 1) or ''
    local missing = width - vim.fn.strdisplaywidth(said)
    api.nvim_buf_set_extmark(drafted.buf, namespace, row, from, {
      virt_text = { { said .. (' '):rep(missing), 'DgemmaDraft' } },
      virt_text_pos = 'overlay',
    })
  end
  if lines[#lines] == '' then
    table.remove(lines)
  end
  if #lines > 0 then
    api.nvim_buf_set_extmark(drafted.buf, namespace, last, 0, {
      virt_lines = vim
        .iter(lines)
        :map(function(said)
          return { { said, 'DgemmaDraft' } }
        end)
        :totable(),
    })
  end
end

---@param id integer
---@return dgemma.Span? span where the selection is now; nil when its buffer is gone
function M.finish(id)
  local drafted = running[id]
  running[id] = nil
  if not drafted or not api.nvim_buf_is_loaded(drafted.buf) then
    return nil
  end
  local span = span_of(drafted)
  api.nvim_buf_clear_namespace(drafted.buf, namespace, 0, -1)
  api.nvim_buf_del_extmark(drafted.buf, marks, drafted.mark)
  return span
end

return M
