-- What Neovim 0.11 does differently, and is made to do as 0.12 does.
local M = {}

local OLD = vim.fn.has('nvim-0.12') == 0

---Text behind the last line gets an empty line after it there, unless its own line end is left out.
---@param edits lsp.TextEdit[]
---@param buf integer
---@return lsp.TextEdit[]
function M.fitted(edits, buf)
  if not OLD then
    return edits
  end
  local count = vim.api.nvim_buf_line_count(buf)
  return vim
    .iter(edits)
    :map(function(edit)
      if edit.range.start.line < count then
        return edit
      end
      return vim.tbl_extend('force', edit, { newText = (edit.newText:gsub('\r?\n$', '')) })
    end)
    :totable()
end

---Applies what the server has to say to one buffer, in one step of undo.
---@param edit lsp.WorkspaceEdit
---@param encoding string
function M.apply(edit, encoding)
  local changed = vim.deepcopy(edit)
  for _, change in ipairs(changed.documentChanges or {}) do
    change.edits = M.fitted(change.edits, vim.uri_to_bufnr(change.textDocument.uri))
  end
  for uri, edits in pairs(changed.changes or {}) do
    changed.changes[uri] = M.fitted(edits, vim.uri_to_bufnr(uri))
  end
  vim.lsp.util.apply_workspace_edit(changed, encoding)
end

---What is changed on save goes through here.
---@param client vim.lsp.Client
function M.attach(client)
  if not OLD or client._dgemma_fitted then
    return
  end
  client._dgemma_fitted = true
  local ask = client.request_sync
  client.request_sync = function(self, method, params, timeout, buf)
    local answer, problem = ask(self, method, params, timeout, buf)
    if method == 'textDocument/willSaveWaitUntil' and answer and answer.result then
      answer.result = M.fitted(answer.result, buf)
    end
    return answer, problem
  end
end

return M
