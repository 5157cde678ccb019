local config = require('dgemma.config').get()

---@type vim.lsp.Config
return {
  cmd = function(dispatchers, given)
    return require('dgemma.server').start(dispatchers, given)
  end,
  filetypes = config.filetypes,
  -- Neovim starts nothing as long as this does not call back.
  root_dir = function(_, start)
    if require('dgemma.server').may_start() then
      start(nil)
    end
  end,
  -- The server looks at documents, not at folders: one is enough.
  reuse_client = function(client, wanted)
    return client.name == wanted.name and not client:is_stopped()
  end,
  -- What Neovim calls by another name than the protocol does.
  get_language_id = function(_, filetype)
    return ({ sh = 'shellscript', bash = 'shellscript', zsh = 'shellscript' })[filetype] or filetype
  end,
  capabilities = { workspace = { workspaceEdit = { documentChanges = true } } },
  -- The settings here as well: the engine is started before they can be asked for.
  init_options = vim.tbl_extend('force', config.settings, { drafts = 'rewrite', asks = true }),
  settings = { dgemma = next(config.settings) and config.settings or vim.empty_dict() },
  handlers = require('dgemma.handlers'),
  commands = {
    ['dgemma.rewriteSelection'] = function(command, context)
      require('dgemma.rewrite').ask(command.arguments[1], context.bufnr)
    end,
    -- Presets of the code actions: with a preview as well.
    ['dgemma.rewrite'] = function(command, context)
      require('dgemma.rewrite').run(command.arguments[1], context.bufnr)
    end,
  },
}
