import { execFile } from 'node:child_process';
import { constants } from 'node:fs';
import { access, stat } from 'node:fs/promises';
import { homedir } from 'node:os';
import type { Machine } from './discovery';

const PATIENCE_MS = 10_000;
const PROBE = "import importlib.util, sys; sys.exit(3 if importlib.util.find_spec('dgemma_lsp') is None else 0)";

/** Where programs are run. Python takes modules from its working folder: never from the workspace. */
export const FOLDER = homedir();

export const machine: Machine = {
  async runs(file) {
    try {
      await access(file, constants.X_OK);
      return (await stat(file)).isFile();
    } catch {
      return false;
    }
  },
  imports(python) {
    return new Promise((resolve) => {
      execFile(python, ['-c', PROBE], { cwd: FOLDER, timeout: PATIENCE_MS }, (error, _, said) => {
        if (!error) {
          resolve(true);
        } else if (error.code === 3) {
          resolve(false);
        } else {
          resolve(said.trim().split('\n').at(-1) || (error.killed ? 'it does not answer' : error.message));
        }
      });
    });
  },
};
