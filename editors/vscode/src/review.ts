import * as path from 'node:path';
import * as vscode from 'vscode';
import { patched, summary } from './hunks';
import type { Hunk } from './protocol';

const SCHEME = 'dgemma';

interface Item extends vscode.QuickPickItem {
  readonly number: number;
}

/** Shows what a rewrite would come to in VS Code's diff, and lets the user take it hunk by hunk. */
export class Review implements vscode.TextDocumentContentProvider, vscode.Disposable {
  private readonly changes = new vscode.EventEmitter<vscode.Uri>();
  readonly onDidChange = this.changes.event;
  private readonly registration = vscode.workspace.registerTextDocumentContentProvider(SCHEME, this);
  private readonly texts = new Map<string, string>();

  provideTextDocumentContent(uri: vscode.Uri): string {
    return this.texts.get(uri.toString()) ?? '';
  }

  /** The numbers of the hunks that are taken; undefined when the user leaves. `id` tells previews of a file apart. */
  async choose(document: vscode.TextDocument, hunks: readonly Hunk[], id: number): Promise<number[] | undefined> {
    const text = document.getText();
    // With the file's name at the end: the language goes by it.
    const proposed = vscode.Uri.from({ scheme: SCHEME, path: document.uri.path, query: String(id) });
    this.texts.set(proposed.toString(), patched(text, hunks));
    const first = Math.min(...hunks.map(({ range }) => range.start.line));
    const title = `${path.basename(document.uri.path)}: rewritten`;
    await vscode.commands.executeCommand('vscode.diff', document.uri, proposed, title, {
      preview: true,
      selection: new vscode.Range(first, 0, first, 0),
    });
    try {
      return await this.pick(text, hunks, (taken) => {
        this.texts.set(proposed.toString(), patched(text, taken));
        this.changes.fire(proposed);
      });
    } finally {
      await closeDiff(proposed);
      this.texts.delete(proposed.toString());
      await vscode.window.showTextDocument(document);
    }
  }

  dispose(): void {
    this.registration.dispose();
    this.changes.dispose();
  }

  private pick(text: string, hunks: readonly Hunk[], changed: (taken: Hunk[]) => void): Promise<number[] | undefined> {
    const pick = vscode.window.createQuickPick<Item>();
    pick.title = 'DGemma: Take These Changes?';
    pick.placeholder = 'Enter takes what is ticked, Escape nothing';
    pick.canSelectMany = true;
    // The diff may be scrolled and looked at meanwhile.
    pick.ignoreFocusOut = true;
    pick.items = hunks.map((hunk, number) => ({
      label: summary(text, hunk),
      description: `line ${hunk.range.start.line + 1}`,
      number,
    }));
    pick.selectedItems = pick.items;
    return new Promise((resolve) => {
      pick.onDidChangeSelection((items) => changed(hunks.filter((_, number) => items.some((item) => item.number === number))));
      pick.onDidAccept(() => {
        resolve(pick.selectedItems.map(({ number }) => number).sort((one, other) => one - other));
        pick.hide();
      });
      pick.onDidHide(() => {
        resolve(undefined);
        pick.dispose();
      });
      pick.show();
    });
  }
}

async function closeDiff(proposed: vscode.Uri): Promise<void> {
  const isIt = ({ input }: vscode.Tab): boolean =>
    input instanceof vscode.TabInputTextDiff && input.modified.toString() === proposed.toString();
  await vscode.window.tabGroups.close(vscode.window.tabGroups.all.flatMap(({ tabs }) => tabs.filter(isIt)));
}
