import * as vscode from 'vscode';
import type { CurrentState } from './state';
import { described } from './status';

interface Way extends vscode.QuickPickItem {
  readonly command: string;
}

const WAYS: readonly Way[] = [
  { label: '$(question) Explain Last Request', description: 'why it ended as it did', command: 'dgemma.why' },
  { label: '$(debug-restart) Restart Engine and Server', command: 'dgemma.restart' },
  { label: '$(output) Open Log', command: 'dgemma.openLog' },
  { label: '$(server-environment) Choose Model…', command: 'dgemma.chooseModel' },
  { label: '$(gear) Settings', command: 'dgemma.settings' },
];

const INSTALL: Way = { label: '$(cloud-download) Install the Server', command: 'dgemma.install' };

/** The status bar item's menu. */
export async function menu(state: CurrentState): Promise<void> {
  const now = state.get();
  const title = `DGemma — ${described(now).split('\n').slice(0, 2).join(': ')}`;
  const way = await vscode.window.showQuickPick(now.state === 'missing' ? [INSTALL, ...WAYS] : WAYS, { title });
  if (way) {
    await vscode.commands.executeCommand(way.command);
  }
}
