-- Pure functions over lines and positions. Rows and columns count from 0, columns in bytes.

---@class dgemma.Item A suggestion for one line: its text takes the place of [col, #line - after).
---@field row integer
---@field col integer
---@field after integer bytes of the line behind what is replaced; stays the same while the line is typed on
---@field text string

local M = {}

---What of a suggestion is not typed yet, and what stands between the cursor and the end of its range.
---@param line string
---@param item dgemma.Item
---@param column integer of the cursor
---@return string? remainder nil when something else was typed
---@return string tail
function M.remainder(line, item, column)
  local stop = #line - item.after
  local typed = line:sub(item.col + 1, column)
  if column < item.col or column > stop or item.text:sub(1, #typed) ~= typed then
    return nil, ''
  end
  return item.text:sub(#typed + 1), line:sub(column + 1, stop)
end

---The beginning of a text up to the end of its first word, or of a run of other characters.
---@param text string
---@return string
function M.first_word(text)
  local blank = text:match('^%s*')
  local rest = text:sub(#blank + 1)
  local word = rest:match('^[%w_\128-\255]+') or rest:match('^[^%w_%s\128-\255]+') or ''
  return blank .. word
end

---The beginning of a text up to the end of its first line that is not empty, without the line end.
---@param text string
---@return string
function M.first_line(text)
  return (text:match('^\n*[^\n]*'))
end

---The suggestion that remains when `part`, the beginning of its remainder, was put before the cursor.
---@param item dgemma.Item
---@param typed string what of the item stood before the cursor already
---@param part string
---@return dgemma.Item
function M.advanced(item, typed, part)
  local before = typed .. part
  local lines = select(2, before:gsub('\n', ''))
  if lines == 0 then
    return item
  end
  local last = before:match('[^\n]*$')
  return {
    row = item.row + lines,
    col = 0,
    after = item.after,
    text = last .. item.text:sub(#before + 1),
  }
end

---Where the pieces of a suggestion's first line stand among the characters of the tail that it brings itself.
---@param first string
---@param tail string
---@return { at: integer, text: string }[]? pieces by their offset in the tail; nil when the tail is really replaced
function M.pieces(first, tail)
  if tail:find('[\128-\255]') then
    return nil
  end
  local pieces, from = {}, 1
  for at = 1, #tail do
    local rest = first:sub(from)
    -- What stands before the last closer is kept together.
    local before = at == #tail and rest:match('^(.*)' .. vim.pesc(tail:sub(at)))
      or rest:match('^(.-)' .. vim.pesc(tail:sub(at, at)))
    if not before then
      return nil
    end
    if before ~= '' then
      pieces[#pieces + 1] = { at = at - 1, text = before }
    end
    from = from + #before + 1
  end
  if from <= #first then
    pieces[#pieces + 1] = { at = #tail, text = first:sub(from) }
  end
  return pieces
end

---@param buf integer
---@param row integer
---@return string
function M.line(buf, row)
  return vim.api.nvim_buf_get_lines(buf, row, row + 1, false)[1] or ''
end

---@param buf integer
---@param position lsp.Position
---@param encoding string
---@return integer column
function M.column(buf, position, encoding)
  return vim.str_byteindex(M.line(buf, position.line), encoding, position.character, false)
end

---@param buf integer
---@param row integer
---@param column integer
---@param encoding string
---@return lsp.Position
function M.position(buf, row, column, encoding)
  return { line = row, character = vim.str_utfindex(M.line(buf, row), encoding, column, false) }
end

---@param buf integer
---@param given lsp.InlineCompletionItem
---@param encoding string
---@param row integer of the cursor, for an item without a range
---@param column integer
---@return dgemma.Item
function M.item(buf, given, encoding, row, column)
  local first, last = column, column
  if given.range then
    row = given.range.start.line
    first = M.column(buf, given.range.start, encoding)
    last = M.column(buf, given.range['end'], encoding)
  end
  local text = type(given.insertText) == 'string' and given.insertText or given.insertText.value
  return { row = row, col = first, after = #M.line(buf, row) - last, text = text:gsub('\r\n', '\n') }
end

return M
