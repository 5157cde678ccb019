/** What the tests in VS Code have in common: documents, an engine with a script, and waiting. */
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import * as vscode from 'vscode';
import type { Hooks } from '../src/extension';

const PATIENCE_MS = 30_000;

export async function hooks(): Promise<Hooks> {
  const extension = vscode.extensions.getExtension<Hooks>('dgemma-lsp.dgemma-lsp');
  assert(extension, 'the extension is there');
  return extension.activate();
}

/** Until something holds; whatever it last said is told when it never does. */
export async function until(name: string, holds: () => unknown): Promise<void> {
  const end = Date.now() + PATIENCE_MS;
  while (!(await holds())) {
    if (Date.now() > end) {
      const { state } = await hooks();
      throw new Error(`never: ${name}; the state is ${JSON.stringify(state.get())}`);
    }
    await sleep(20);
  }
}

export async function untilState(wanted: string): Promise<void> {
  const { state } = await hooks();
  await until(`the state ${wanted}`, () => state.get().state === wanted);
}

export interface Script {
  /** For each fill or rewrite to come; the last one stays. */
  readonly candidates: string[][];
  readonly drafts?: string[];
  /** Seconds between two drafts. */
  readonly delay?: number;
}

/** Has an engine that answers like this. */
export async function play(script: Script): Promise<void> {
  writeFileSync(environment('DGEMMA_SCRIPT'), JSON.stringify({ drafts: ['░░░'], ...script }));
  await vscode.commands.executeCommand('dgemma.restartEngine');
  await untilState('ready');
}

export function engineProcess(): number {
  return Number(readFileSync(`${environment('XDG_RUNTIME_DIR')}/dgemma-engine.lock`, 'utf8'));
}

/** An editor on a new file of the workspace, with the cursor at the end of a line. */
export async function edit(name: string, text: string, line = 0): Promise<vscode.TextEditor> {
  const uri = inWorkspace(name);
  await vscode.workspace.fs.writeFile(uri, Buffer.from(text));
  const editor = await vscode.window.showTextDocument(await vscode.workspace.openTextDocument(uri), { preview: false });
  const { end } = editor.document.lineAt(line).range;
  editor.selection = new vscode.Selection(end, end);
  return editor;
}

export function inWorkspace(name: string): vscode.Uri {
  const folder = vscode.workspace.workspaceFolders?.[0];
  assert(folder, 'a folder is open');
  return vscode.Uri.joinPath(folder.uri, name);
}

export function onDisk(uri: vscode.Uri): string {
  return readFileSync(uri.fsPath, 'utf8');
}

/** Runs a command until it has had its effect: ghost text comes when it comes. */
export async function again(command: string, name: string, holds: () => boolean): Promise<void> {
  await until(name, async () => {
    await vscode.commands.executeCommand(command);
    await sleep(100);
    return holds();
  });
}

export async function configure(name: string, value: unknown): Promise<void> {
  await vscode.workspace.getConfiguration('dgemma').update(name, value, vscode.ConfigurationTarget.Global);
}

export function environment(name: string): string {
  const value = process.env[name];
  assert(value, `${name} is set`);
  return value;
}
