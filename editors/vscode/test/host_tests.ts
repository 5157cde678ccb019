import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import * as vscode from 'vscode';
import type { Rewritten } from '../src/protocol';
import { again, edit, environment, hooks, onDisk, play, until, untilState } from './desk';

const LACKING = 'total = sum(item.price for item in items\nprint(total)\n';
const CLOSED = 'total = sum(item.price for item in items)\nprint(total)\n';
const CALLS = 'x = f(1)\n\n\ny = 2\n\n\nz = f(3)\n';
const OTHER_CALLS = CALLS.replaceAll('f(', 'g(');

const run = vscode.commands.executeCommand;
const { WorkspaceEdit, Range, Selection } = vscode;

/** In this order. */
export const TESTS: Record<string, () => Promise<void>> = {
  'the server is found and gets ready': async () => {
    await edit('first.py', LACKING);
    await untilState('ready');
    const { state } = await hooks();
    assert.match(state.get().server, /dgemma\.interpreter/);
    assert.equal(state.get().instructed, true);
  },

  'ghost text is shown and taken': async () => {
    await play({ candidates: [[')']] });
    const { document } = await edit('ghost.py', LACKING);
    await run('editor.action.inlineSuggest.trigger');
    await again('editor.action.inlineSuggest.commit', 'ghost text', () => document.isDirty);
    assert.equal(document.getText(), CLOSED);
    await run('undo');
    assert.equal(document.getText(), LACKING);
  },

  'ghost text is taken by words': async () => {
    await play({ candidates: [['first + second']] });
    const { document } = await edit('word.py', 'total = \n');
    await run('editor.action.inlineSuggest.trigger');
    await again('editor.action.inlineSuggest.acceptNextWord', 'a word', () => document.isDirty);
    assert.equal(document.getText(), 'total = first\n');
    await again('editor.action.inlineSuggest.commit', 'the rest', () => document.getText() !== 'total = first\n');
    assert.equal(document.getText(), 'total = first + second\n');
  },

  'ghost text is taken by lines': async () => {
    await play({ candidates: [['a = 1\n    b = 2']] });
    const { document } = await edit('line.py', 'def f():\n    \n', 1);
    await run('editor.action.inlineSuggest.trigger');
    await again('editor.action.inlineSuggest.acceptNextLine', 'a line', () => document.isDirty);
    assert.match(document.getText(), /^def f\(\):\n {4}a = 1\n(?! *b)/);
    await again('editor.action.inlineSuggest.commit', 'the rest', () => document.getText().includes('b = 2'));
  },

  'ghost text is typed along': async () => {
    // Were it asked for again, there would be another.
    await play({ candidates: [['first + second'], ['other']] });
    const { document } = await edit('along.py', 'total = \n');
    await run('editor.action.inlineSuggest.trigger');
    await again('editor.action.inlineSuggest.acceptNextWord', 'ghost text', () => document.isDirty);
    for (const key of ' + s') {
      await run('type', { text: key });
    }
    assert.equal(document.getText(), 'total = first + s\n');
    await again('editor.action.inlineSuggest.commit', 'the rest', () => document.getText() === 'total = first + second\n');
  },

  'what the client adds to a request': async () => {
    // Measured here and reported, never judged: how long an answer takes on a busy machine says nothing of the client.
    await play({ candidates: [[')']], drafts: [] });
    const { server } = await hooks();
    const added: number[] = [];
    const editor = await edit('added.py', LACKING);
    for (let round = 0; round < 60; round++) {
      await editor.edit((builder) => builder.insert(editor.document.lineAt(1).range.end, ' '));
      const start = performance.now();
      await server.client?.sendRequest('textDocument/inlineCompletion', {
        textDocument: { uri: editor.document.uri.toString() },
        position: { line: 0, character: 40 },
        context: { triggerKind: 1 },
      });
      const took = performance.now() - start;
      const explained = await server.command<{ ms: number }>('dgemma.explainLast');
      added.push(took - (explained?.ms ?? 0));
    }
    added.sort((one, other) => one - other);
    writeFileSync(environment('DGEMMA_ADDED'), JSON.stringify(added));
  },

  'a rewrite of which one change is rejected': async () => {
    await play({ candidates: [[OTHER_CALLS]], drafts: ['░░░░', 'x = ░', OTHER_CALLS] });
    const editor = await edit('rewrite.py', CALLS);
    editor.selection = new Selection(0, 0, 7, 0);
    const answer = run<Rewritten>('dgemma.rewriteSelection', wish(editor));
    await until('the diff is open', () => diffs().length === 1);
    const proposed = (diffs()[0]?.input as vscode.TabInputTextDiff).modified;
    const shown = async (): Promise<string> => (await vscode.workspace.openTextDocument(proposed)).getText();
    assert.equal(await shown(), OTHER_CALLS);
    const kept = CALLS.replace('f(3)', 'g(3)');
    await until('the diff is without the first change', async () => {
      if ((await shown()) !== kept) {
        // Of two changes: the next one, until it is the first and unticked. Before the list is there they do nothing.
        await run('workbench.action.quickOpenSelectNext');
        await run('workbench.action.quickPickManyToggle');
        await sleep(500);
      }
      return (await shown()) === kept;
    });
    assert.equal(editor.document.getText(), CALLS);
    await again('workbench.action.acceptSelectedQuickOpenItem', 'it is taken', () => diffs().length === 0);
    assert.equal((await answer)?.outcome, 'applied');
    assert.equal(editor.document.getText(), kept);
    assert.equal(diffs().length, 0);
    await run('undo');
    assert.equal(editor.document.getText(), CALLS);
  },

  'a rewrite that is not wanted': async () => {
    await play({ candidates: [[OTHER_CALLS]] });
    const editor = await edit('unwanted.py', CALLS);
    editor.selection = new Selection(0, 0, 7, 0);
    const answer = run<Rewritten>('dgemma.rewriteSelection', wish(editor));
    await until('the diff is open', () => diffs().length === 1);
    await again('workbench.action.closeQuickOpen', 'it is closed', () => diffs().length === 0);
    assert.equal(await answer, undefined);
    assert.equal(editor.document.getText(), CALLS);
  },

  'a preset of a code action is reviewed too': async () => {
    await play({ candidates: [[OTHER_CALLS]] });
    const { document } = await edit('preset.py', CALLS);
    const actions = await run<vscode.CodeAction[]>(
      'vscode.executeCodeActionProvider', document.uri, new Range(0, 0, 7, 0), 'refactor.rewrite.dgemma',
    );
    assert.ok(actions.some(({ title }) => title === 'DGemma: Rewrite selection…'));
    const preset = actions.find(({ title }) => title === 'DGemma: Simplify')?.command;
    assert(preset);
    const done = run(preset.command, ...(preset.arguments ?? []));
    await until('the diff is open', () => diffs().length === 1);
    await again('workbench.action.acceptSelectedQuickOpenItem', 'it is taken', () => document.isDirty);
    await done;
    assert.equal(document.getText(), OTHER_CALLS);
  },

  'a file that changes on disk during a rewrite': async () => {
    await play({ candidates: [[OTHER_CALLS]] });
    const editor = await edit('disk.py', CALLS);
    editor.selection = new Selection(0, 0, 7, 0);
    const answer = run<Rewritten>('dgemma.rewriteSelection', wish(editor));
    await until('the diff is open', () => diffs().length === 1);
    const theirs = CALLS.replace('f(1)', 'other(1)');
    writeFileSync(editor.document.uri.fsPath, theirs);
    await until('VS Code has seen it', () => editor.document.getText() === theirs);
    await again('workbench.action.acceptSelectedQuickOpenItem', 'it is taken', () => diffs().length === 0);
    assert.equal((await answer)?.outcome, 'stale');
    assert.equal(editor.document.getText(), theirs);
  },

  'json is saved and repaired': async () => {
    const { document } = await edit('saved.json', '{\n  "name": "demo"\n  "private": true\n}\n');
    const change = new WorkspaceEdit();
    change.insert(document.uri, document.lineAt(2).range.end, ' ');
    await vscode.workspace.applyEdit(change);
    await document.save();
    assert.deepEqual(JSON.parse(onDisk(document.uri)), { name: 'demo', private: true });
    assert.equal(document.isDirty, false);
  },

  'source.fixAll.dgemma is offered to those who ask for it': async () => {
    const { document } = await edit('fix.json', '{"a": [1, 2}\n');
    const all = new Range(0, 0, 1, 0);
    const actions = await run<vscode.CodeAction[]>('vscode.executeCodeActionProvider', document.uri, all, 'source.fixAll');
    assert.deepEqual(actions.map(({ kind }) => kind?.value), ['source.fixAll.dgemma']);
  },

};

function wish({ document }: vscode.TextEditor): unknown {
  return {
    textDocument: { uri: document.uri.toString(), version: document.version },
    range: { start: { line: 0, character: 0 }, end: { line: 7, character: 0 } },
    instruction: 'call g',
  };
}

function diffs(): vscode.Tab[] {
  const tabs = vscode.window.tabGroups.all.flatMap((group) => group.tabs);
  return tabs.filter(({ input }) => input instanceof vscode.TabInputTextDiff);
}
