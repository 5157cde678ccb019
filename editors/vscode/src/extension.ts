import * as vscode from 'vscode';
import { findServer } from './discovery';
import { DraftStream } from './draft_stream';
import { onActivePython } from './environment';
import { install } from './install';
import { machine } from './machine';
import { menu } from './menu';
import { chooseModel } from './models';
import { looksAtEnvironment, places } from './places';
import type { Wish } from './protocol';
import { Review } from './review';
import { isUnseen, Rewriting } from './rewrite';
import { Server } from './server';
import { choosesServer, SCHEMES } from './settings';
import { CurrentState } from './state';
import { statusItem } from './status';
import { Trouble } from './trouble';

/** For the tests, which the bundler keeps apart from the extension. */
export interface Hooks {
  readonly state: CurrentState;
  readonly server: Server;
}

let server: Server | undefined;

export function activate(context: vscode.ExtensionContext): Hooks {
  const log = vscode.window.createOutputChannel('DGemma', { log: true });
  const state = new CurrentState();
  const drafts = new DraftStream();
  const trouble = new Trouble();
  const review = new Review();
  const started = new Server(
    state,
    {
      log,
      drafts,
      status: (status) => {
        trouble.forget();
        state.set(status);
      },
      executeCommand: (command, args, next) =>
        isUnseen(command, args[0]) ? rewriting.run(args[0]) : next(command, args),
    },
    {
      find: async () => {
        const found = await findServer(places(), machine);
        await watchEnvironment();
        return found;
      },
      missing: (missing) => trouble.missing(missing),
      ended: (reason) => trouble.ended(reason),
    },
  );
  server = started;
  const rewriting = new Rewriting(started, state, drafts, review, context.workspaceState);

  const commands: Record<string, (argument?: Wish) => unknown> = {
    rewriteSelection: (wish) => rewriting.rewriteSelection(wish),
    // Only VS Code knows which editors are: a command of its own, by the same name, takes the other's place there.
    rewriteReadonly: () => vscode.window.showWarningMessage('DGemma: This editor is read-only; nothing can be rewritten in it.'),
    why: async () => (await started.command('dgemma.explainLast')) ?? menu(state),
    restart: async () => {
      trouble.forget();
      await started.command('dgemma.restartEngine').catch((error) => log.warn(error));
      await started.restart();
    },
    chooseModel: () => chooseModel(started, log),
    openLog: () => log.show(),
    menu: () => menu(state),
    settings: () => vscode.commands.executeCommand('workbench.action.openSettings', 'dgemma.'),
    install: async () => (await install()) && started.restart(),
  };

  const wanted = ({ uri }: vscode.TextDocument): void => {
    if (SCHEMES.includes(uri.scheme) && state.get().state === 'idle') {
      void started.start();
    }
  };
  context.subscriptions.push(
    log,
    state,
    review,
    statusItem(state),
    ...Object.entries(commands).map(([name, run]) => vscode.commands.registerCommand(`dgemma.${name}`, run)),
    vscode.workspace.onDidOpenTextDocument(wanted),
    vscode.workspace.onDidGrantWorkspaceTrust(() => void started.restart()),
    vscode.workspace.onDidChangeConfiguration((change) => choosesServer(change) && void started.restart()),
  );
  vscode.workspace.textDocuments.forEach(wanted);

  let watched = false;
  /** Once the environment has been looked at: to ask for it earlier would start the Python extension for nothing. */
  async function watchEnvironment(): Promise<void> {
    if (!watched && looksAtEnvironment()) {
      watched = true;
      const listening = await onActivePython(() => void started.restart());
      context.subscriptions.push(...(listening ? [listening] : []));
    }
  }
  return { state, server: started };
}

export function deactivate(): Promise<void> | undefined {
  return server?.stop();
}
