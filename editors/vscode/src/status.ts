import * as path from 'node:path';
import * as vscode from 'vscode';
import type { CurrentState, State } from './state';

const ICONS: Record<State['state'], string> = {
  idle: '$(sparkle)',
  starting: '$(loading~spin)',
  loading: '$(loading~spin)',
  ready: '$(sparkle)',
  down: '$(warning)',
  missing: '$(error)',
  ended: '$(error)',
};

const WORDS: Record<State['state'], string> = {
  idle: 'starts with the first file',
  starting: 'starting',
  loading: 'loading the model',
  ready: 'ready',
  down: 'the engine is not running',
  missing: 'there is no server',
  ended: 'the server has ended',
};

/** The status bar item: model, state and reason; a click opens the menu. */
export function statusItem(state: CurrentState): vscode.Disposable {
  const item = vscode.window.createStatusBarItem('dgemma', vscode.StatusBarAlignment.Right);
  item.name = 'DGemma';
  item.command = 'dgemma.menu';
  const show = (now: State): void => {
    item.text = `${ICONS[now.state]} ${modelName(now) || 'DGemma'}`;
    item.tooltip = described(now);
    item.accessibilityInformation = { label: `DGemma: ${described(now)}` };
    const wrong = now.state === 'missing' || now.state === 'ended';
    item.backgroundColor = wrong ? new vscode.ThemeColor('statusBarItem.errorBackground') : undefined;
  };
  show(state.get());
  item.show();
  return vscode.Disposable.from(item, state.changed(show));
}

/** A state in words, a line each: model and state, the reason, what the model cannot do, the server. */
export function described(state: State): string {
  const model = modelName(state);
  const where = state.state === 'ready' && state.device ? ` on ${state.device}` : '';
  const lines = [
    `${model ? `${model}${where}: ` : ''}${WORDS[state.state]}`,
    state.message,
    state.state === 'ready' && !state.instructed ? 'It fills and repairs; rewriting takes another model.' : '',
    state.server,
  ];
  return lines.filter(Boolean).join('\n');
}

function modelName({ model }: State): string {
  return path.basename(model);
}
