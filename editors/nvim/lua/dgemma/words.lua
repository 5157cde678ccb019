-- Which words of a hunk's new lines are new.
local M = {}

---@class dgemma.Edit: dgemma.Span
---@field text string what comes in place of the span

---@param old string[] the rows of a hunk
---@param edits dgemma.Edit[] that make the new lines of them; rows counted from the first
---@param new string[]
---@return integer[][][] by line: pairs of columns from 0, the second one behind; none when they make something else
function M.added(old, edits, new)
  local columns, starts, offset = {}, {}, 0
  for number, line in ipairs(new) do
    columns[number] = {}
    starts[number], offset = offset, offset + #line + 1
  end
  local begins, length = {}, 0
  for number, line in ipairs(old) do
    begins[number], length = length, length + #line + 1
  end
  begins[#old + 1] = length

  edits = vim.deepcopy(edits)
  table.sort(edits, function(one, other)
    return one.row < other.row or (one.row == other.row and one.col < other.col)
  end)
  local before, made, at = table.concat(old, '\n') .. '\n', '', 0
  local ranges = {}
  for _, edit in ipairs(edits) do
    local from, stop = begins[edit.row + 1], begins[edit.end_row + 1]
    if not from or not stop then
      return columns
    end
    made = made .. before:sub(at + 1, from + edit.col)
    ranges[#ranges + 1] = { #made, #made + #edit.text }
    made, at = made .. edit.text, stop + edit.end_col
  end
  if (made .. before:sub(at + 1)):gsub('\n$', '') ~= table.concat(new, '\n') then
    return columns
  end

  for number, line in ipairs(new) do
    for _, range in ipairs(ranges) do
      local from, stop = math.max(range[1] - starts[number], 0), math.min(range[2] - starts[number], #line)
      if from < stop then
        table.insert(columns[number], { from, stop })
      end
    end
  end
  return columns
end

return M
