-- One hunk of a previewed rewrite, in its place in the buffer.
local text = require('dgemma.text')
local words = require('dgemma.words')

local api = vim.api
local namespace = api.nvim_create_namespace('dgemma.preview')
---Where the hunks are: these marks move with the buffer, and those that are seen are drawn by them.
local anchors = api.nvim_create_namespace('dgemma.preview.anchors')

for name, link in pairs({
  DgemmaDelete = 'DiffDelete',
  DgemmaDeleteWord = 'DiffText',
  DgemmaAdd = 'DiffAdd',
  DgemmaAddWord = 'DiffText',
  DgemmaHint = 'Comment',
}) do
  api.nvim_set_hl(0, name, { link = link, default = true })
end

---@class dgemma.Hunk
---@field buf integer
---@field number integer the server's, from 0
---@field height integer rows of it; 0 for new lines between two
---@field lines string[] that take their place
---@field words dgemma.Edit[] what changes in its rows, rows counted from its first
---@field new integer[][][] the columns of what is new in each of the lines
---@field mark integer
---@field decision? 'accept'|'reject'
local Hunk = {}
Hunk.__index = Hunk

---@param buf integer
---@param number integer
---@param span dgemma.Span
---@param new string
---@param edits dgemma.Edit[]
---@return dgemma.Hunk
function Hunk.new(buf, number, span, new, edits)
  local before = text.line(buf, span.row):sub(1, span.col)
  local after = text.line(buf, span.end_row):sub(span.end_col + 1)
  local last = span.end_row
  local whole = span.end_col == 0 and before == '' and (new == '' or new:sub(-1) == '\n')
  if whole then
    -- Up to the end of a line, which is not the beginning of the next.
    last, after = last - 1, ''
    new = new:gsub('\n$', '')
  end
  local gone = whole and new == '' and span.end_row > span.row
  local lines = gone and {} or vim.split(before .. new:gsub('\r', '') .. after, '\n')
  local changes = vim
    .iter(edits)
    :map(function(edit)
      return vim.tbl_extend('force', edit, { row = edit.row - span.row, end_row = edit.end_row - span.row })
    end)
    :totable()
  local height = last - span.row + 1
  local old = api.nvim_buf_get_lines(buf, span.row, last + 1, false)
  local count = api.nvim_buf_line_count(buf)
  local mark = api.nvim_buf_set_extmark(buf, anchors, math.min(span.row, count - 1), 0, {
    end_row = math.min(span.row + height, count),
    end_col = 0,
    strict = false,
  })
  return setmetatable({
    buf = buf,
    number = number,
    height = height,
    lines = lines,
    words = changes,
    -- Between two lines all is new, and no word stands out.
    new = words.added(old, height > 0 and changes or {}, lines),
    mark = mark,
  }, Hunk)
end

---@return integer
function Hunk:row()
  return api.nvim_buf_get_extmark_by_id(self.buf, anchors, self.mark, {})[1] or 0
end

---@param row integer
---@return boolean
function Hunk:covers(row)
  local first = self:row()
  return row >= first and row < first + math.max(self.height, 1)
end

---One of the new lines, with what is new in it.
---@param number integer
---@return string[][] chunks
function Hunk:line(number)
  local line, chunks, at = self.lines[number] .. ' ', {}, 0
  local function add(stop, group)
    if stop > at then
      chunks[#chunks + 1] = { (line:sub(at + 1, stop):gsub('\t', (' '):rep(vim.bo[self.buf].tabstop))), group }
      at = stop
    end
  end
  for _, columns in ipairs(self.new[number]) do
    add(columns[1], 'DgemmaAdd')
    add(columns[2], 'DgemmaAddWord')
  end
  add(#line, 'DgemmaAdd')
  return chunks
end

---@param hint? string
function Hunk:draw(hint)
  local row = self:row()
  if self.decision == 'reject' then
    return
  end
  local set = api.nvim_buf_set_extmark
  for offset = 0, self.height - 1 do
    set(self.buf, namespace, row + offset, 0, { line_hl_group = 'DgemmaDelete', priority = 100 })
  end
  for _, word in ipairs(self.words) do
    if word.row < self.height and (word.row ~= word.end_row or word.col ~= word.end_col) then
      set(self.buf, namespace, row + word.row, word.col, {
        end_row = math.min(row + word.end_row, api.nvim_buf_line_count(self.buf)),
        end_col = word.end_col,
        hl_group = 'DgemmaDeleteWord',
        priority = 110,
        strict = false,
      })
    end
  end
  local mark = self.decision == 'accept' and '✓ ' or nil
  local below = {}
  for number = 1, #self.lines do
    below[number] = self:line(number)
  end
  if mark and below[1] then
    table.insert(below[1], { mark, 'DgemmaHint' })
  end
  local above = self.height == 0 and row == 0
  if #below > 0 then
    local at = self.height > 0 and row + self.height - 1 or math.max(row - 1, 0)
    set(self.buf, namespace, at, 0, { virt_lines = below, virt_lines_above = above })
  end
  if hint then
    set(self.buf, namespace, row, 0, { virt_text = { { ' ' .. hint, 'DgemmaHint' } } })
  end
end

---Nothing of any hunk is seen any more, and with `for_good` nothing is left of them.
---@param buf integer
---@param for_good boolean
function Hunk.wipe(buf, for_good)
  api.nvim_buf_clear_namespace(buf, namespace, 0, -1)
  if for_good then
    api.nvim_buf_clear_namespace(buf, anchors, 0, -1)
  end
end

return Hunk
