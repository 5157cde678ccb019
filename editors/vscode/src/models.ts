import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import * as vscode from 'vscode';
import { FOLDER } from './machine';
import type { Server } from './server';

interface Listed {
  readonly name: string;
  readonly problem: string;
}

/** Lets the user choose a checkpoint, one that comes with the package or a folder, for the setting `dgemma.model`. */
export async function chooseModel({ found }: Server, log: vscode.LogOutputChannel): Promise<void> {
  let listed: Listed[] = [];
  if (found) {
    try {
      const { stdout } = await promisify(execFile)(found.command, [...found.args, 'model', 'list', '--json'], { cwd: FOLDER });
      listed = JSON.parse(stdout) as Listed[];
    } catch (error) {
      log.warn('the models could not be listed', String(error));
    }
  }
  const folder = { label: '$(folder) A Folder…', description: 'a checkpoint in the Hugging Face layout' };
  const items = listed.map(({ name, problem }) => ({ label: name, description: problem || 'comes with the package' }));
  const item = await vscode.window.showQuickPick([...items, folder], { title: 'DGemma: Choose Model' });
  const model = item === folder ? await askFolder() : item?.label;
  if (model) {
    const configuration = vscode.workspace.getConfiguration('dgemma');
    const inWorkspace = configuration.inspect('model')?.workspaceValue !== undefined;
    await configuration.update('model', model, inWorkspace ? undefined : vscode.ConfigurationTarget.Global);
  }
}

async function askFolder(): Promise<string | undefined> {
  const chosen = await vscode.window.showOpenDialog({ canSelectFolders: true, canSelectFiles: false, openLabel: 'Use Model' });
  return chosen?.[0]?.fsPath;
}
