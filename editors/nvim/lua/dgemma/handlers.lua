-- What the server sends by itself.

---@type table<string, lsp.Handler>
local M = {}

M['dgemma/status'] = function(_, params)
  require('dgemma.status').set(params)
end

M['dgemma/draft'] = function(_, params)
  require('dgemma.drafts').heard(params)
end

---Neovim's own says that an edit was applied which it left out because the buffer had moved.
M['workspace/applyEdit'] = function(_, params, context)
  local client = assert(vim.lsp.get_client_by_id(context.client_id))
  for _, change in ipairs(params.edit.documentChanges or {}) do
    local document = change.textDocument
    local buf = vim.uri_to_bufnr(document.uri)
    local version = document.version
    if version and version ~= vim.NIL and version ~= vim.lsp.util.buf_versions[buf] then
      return { applied = false, failureReason = 'the buffer has changed' }
    end
    if not vim.bo[buf].modifiable then
      return { applied = false, failureReason = 'the buffer cannot be changed' }
    end
  end
  local ok, problem = pcall(require('dgemma.compat').apply, params.edit, client.offset_encoding)
  return { applied = ok, failureReason = not ok and tostring(problem) or nil }
end

return M
