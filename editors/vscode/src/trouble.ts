import * as vscode from 'vscode';
import type { Missing } from './discovery';

/** Says each trouble once, with what can be done about it. */
export class Trouble {
  private readonly said = new Set<string>();

  missing({ problem }: Missing): void {
    this.say(problem, { Install: 'dgemma.install', Settings: 'dgemma.settings', 'Open Log': 'dgemma.openLog' });
  }

  ended(reason: string): void {
    this.say(`The server ends as soon as it has started: ${reason}`, {
      'Try Again': 'dgemma.restart',
      'Open Log': 'dgemma.openLog',
    });
  }

  /** All is well again: what goes wrong from now on is news. */
  forget(): void {
    this.said.clear();
  }

  private say(problem: string, ways: Readonly<Record<string, string>>): void {
    if (this.said.has(problem)) {
      return;
    }
    this.said.add(problem);
    void vscode.window.showErrorMessage(`DGemma: ${problem}`, ...Object.keys(ways)).then((way) => {
      const command = way && ways[way];
      return command && vscode.commands.executeCommand(command);
    });
  }
}
