import * as vscode from 'vscode';
import type { Places } from './discovery';
import { activePython } from './environment';
import { own } from './settings';

/** Where this window looks for a server. A workspace that is not trusted has no say: its environment does not count. */
export function places(): Places {
  return {
    path: own('path'),
    interpreter: own('interpreter'),
    active: async () => (looksAtEnvironment() ? activePython() : undefined),
    searchPath: process.env['PATH'] ?? '',
    windows: process.platform === 'win32',
  };
}

/** Whether the active environment counts: where nothing is set, and only where the workspace is trusted. */
export function looksAtEnvironment(): boolean {
  return vscode.workspace.isTrusted && !own('path') && !own('interpreter');
}
