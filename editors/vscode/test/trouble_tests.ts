import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import * as vscode from 'vscode';
import { configure, edit, engineProcess, environment, hooks, inWorkspace, play, until, untilState } from './desk';

const LACKING = 'total = sum(item.price for item in items\nprint(total)\n';
const CLOSED = 'total = sum(item.price for item in items)\nprint(total)\n';

const run = vscode.commands.executeCommand;
const { Range } = vscode;

/** Engines and servers that end, in this order. */
export const TROUBLE: Record<string, () => Promise<void>> = {
  'the engine is killed and comes back': async () => {
    await play({ candidates: [[')']] });
    const killed = engineProcess();
    process.kill(killed, 'SIGKILL');
    const { document } = await edit('killed.py', LACKING);
    await until('ghost text', async () => {
      await run('editor.action.inlineSuggest.trigger');
      await sleep(300);
      await run('editor.action.inlineSuggest.commit');
      return document.isDirty;
    });
    assert.equal(document.getText(), CLOSED);
    await untilState('ready');
    assert.notEqual(engineProcess(), killed);
  },

  'an engine that cannot start is named, and asked for again': async () => {
    const { state } = await hooks();
    const right = vscode.workspace.getConfiguration('dgemma').get('enginePython');
    await configure('enginePython', script('engine-without', "echo \"No module named 'torch'\" >&2\nexit 1"));
    process.kill(engineProcess(), 'SIGKILL');
    await edit('down.py', LACKING);
    await until('the state down', async () => {
      await run('editor.action.inlineSuggest.trigger');
      await sleep(100);
      return state.get().state === 'down';
    });
    assert.match(state.get().message, /torch/);
    await configure('enginePython', right);
    await untilState('ready');
  },

  'a server that dies is started again, with what is open': async () => {
    const { state, server } = await hooks();
    const before = server.client;
    const seen: string[] = [];
    const listening = state.changed((now) => seen.push(now.state));
    assert(server.pid);
    process.kill(server.pid, 'SIGKILL');
    await until('another server', () => server.client && server.client !== before);
    await untilState('ready');
    listening.dispose();
    assert.ok(seen.includes('starting'));
    const { document } = await edit('after.json', '{"a": [1, 2}\n');
    const all = new Range(0, 0, 1, 0);
    const actions = await run<vscode.CodeAction[]>('vscode.executeCodeActionProvider', document.uri, all, 'source.fixAll');
    assert.equal(actions.length, 1);
  },

  'a server that crashes at once is given up, with its reason': async () => {
    const starts = inWorkspace('starts').fsPath;
    await configure('path', script('crashes', `echo start >> '${starts}'\necho 'ImportError: no such thing' >&2\nexit 3`));
    await untilState('ended');
    const { state } = await hooks();
    assert.equal(state.get().message, 'ImportError: no such thing');
    assert.equal(readFileSync(starts, 'utf8'), 'start\n'.repeat(4));
    await sleep(1_000);
    assert.equal(state.get().state, 'ended');
  },

  'there is no server': async () => {
    await configure('path', '/nowhere/dgemma-lsp');
    await untilState('missing');
    const { state } = await hooks();
    assert.match(state.get().message, /dgemma\.path is \/nowhere\/dgemma-lsp/);
    // Nothing of this may throw or wait for a server.
    await run('dgemma.rewriteSelection');
  },

  'the wrong Python': async () => {
    const { state } = await hooks();
    await configure('interpreter', script('python-without', 'exit 3'));
    await configure('path', undefined);
    await until('its name', () => /which has no dgemma-lsp/.test(state.get().message));
    await configure('interpreter', script('python-broken', "echo 'bad magic number' >&2\nexit 1"));
    await until('its complaint', () => /does not run: bad magic number/.test(state.get().message));
    assert.equal(state.get().state, 'missing');
  },

  'and the right one again': async () => {
    await configure('interpreter', environment('DGEMMA_PYTHON'));
    await untilState('ready');
  },
};

function script(name: string, body: string): string {
  const file = inWorkspace(name).fsPath;
  writeFileSync(file, `#!/bin/sh\n${body}\n`, { mode: 0o755 });
  return file;
}
