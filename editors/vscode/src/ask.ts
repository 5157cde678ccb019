import * as vscode from 'vscode';

/** A ready-made instruction, as the server offers it. */
export interface Preset {
  readonly title: string;
  readonly instruction: string;
}

interface Item extends vscode.QuickPickItem {
  readonly instruction: string;
}

const KEPT = 5;
const KEY = 'instructions';

/** Asks what is to be done: a preset, something said before, or what is typed. */
export function askInstruction(presets: readonly Preset[], memory: vscode.Memento): Promise<string | undefined> {
  const before = memory.get<string[]>(KEY, []);
  const offered: Item[] = [
    ...presets.map(({ title, instruction }) => ({ label: title, detail: instruction, instruction })),
    ...before.map((instruction) => ({ label: `$(history) ${instruction}`, instruction })),
  ];
  const pick = vscode.window.createQuickPick<Item>();
  pick.title = 'DGemma: Rewrite Selection';
  pick.placeholder = 'Say what is to be done, or choose';
  pick.items = offered;
  return new Promise((resolve) => {
    pick.onDidChangeValue((value) => {
      const typed = value.trim();
      const item: Item = { label: `$(edit) ${typed}`, instruction: typed, alwaysShow: true };
      pick.items = typed ? [item, ...offered] : offered;
    });
    pick.onDidAccept(() => {
      // Who types fast is ahead of the list.
      const instruction = pick.activeItems[0]?.instruction ?? pick.value.trim();
      if (instruction && instruction === pick.value.trim()) {
        void memory.update(KEY, [instruction, ...before.filter((one) => one !== instruction)].slice(0, KEPT));
      }
      resolve(instruction);
      pick.hide();
    });
    pick.onDidHide(() => {
      resolve(undefined);
      pick.dispose();
    });
    pick.show();
  });
}
