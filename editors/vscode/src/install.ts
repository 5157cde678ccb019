import * as vscode from 'vscode';
import { activePython } from './environment';
import { machine } from './machine';
import { which } from './discovery';
import { own } from './settings';
import { places } from './places';

const PACKAGE = 'dgemma-lsp[engine]';

/** Installs the server with pip, in a terminal that shows what happens. Returns whether it succeeded. */
export async function install(): Promise<boolean> {
  const python = own('interpreter') || (await trustedPython()) || (await which('python3', places(), machine)) || '';
  if (!python) {
    void vscode.window.showErrorMessage('DGemma: There is no Python. Install 3.10 or newer, or name one in dgemma.interpreter.');
    return false;
  }
  const execution = new vscode.ProcessExecution(python, ['-m', 'pip', 'install', PACKAGE]);
  const task = new vscode.Task({ type: 'dgemma' }, vscode.TaskScope.Workspace, 'install the server', 'dgemma', execution);
  const started = await vscode.tasks.executeTask(task);
  return new Promise((resolve) => {
    const listening = vscode.tasks.onDidEndTaskProcess(({ execution: ended, exitCode }) => {
      if (ended === started) {
        listening.dispose();
        resolve(exitCode === 0);
      }
    });
  });
}

async function trustedPython(): Promise<string | undefined> {
  return vscode.workspace.isTrusted ? activePython() : undefined;
}
