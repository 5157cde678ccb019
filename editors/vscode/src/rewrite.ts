import * as vscode from 'vscode';
import type { CodeAction } from 'vscode-languageclient/node';
import { askInstruction, type Preset } from './ask';
import { CanvasView } from './canvas_view';
import type { DraftStream } from './draft_stream';
import type { Rewritten, Wish } from './protocol';
import type { Review } from './review';
import type { Server } from './server';
import type { CurrentState } from './state';

const KIND = 'refactor.rewrite.dgemma';
const COMMAND = 'dgemma.rewrite';

/** From a selection to changes that the user has seen: ask, watch the canvas settle, review, apply. */
export class Rewriting {
  constructor(
    private readonly server: Server,
    private readonly state: CurrentState,
    private readonly drafts: DraftStream,
    private readonly review: Review,
    private readonly memory: vscode.Memento,
  ) {}

  /** The command: rewrites what is selected, or what a code action names. Asks what to do where that does not say it. */
  async rewriteSelection(given?: Wish): Promise<Rewritten | undefined> {
    const { client } = this.server;
    if (!client) {
      void vscode.window.showWarningMessage(`DGemma: ${this.state.get().message || 'the server does not run'}`);
      return undefined;
    }
    const editor = vscode.window.activeTextEditor;
    if (!given && (!editor || editor.selection.isEmpty)) {
      void vscode.window.showInformationMessage('DGemma: Select what is to be rewritten.');
      return undefined;
    }
    const wish = given ?? this.selected(editor as vscode.TextEditor);
    if (wish.instruction) {
      return this.run(wish);
    }
    const presets = await this.presets(wish);
    const instruction = presets && (await askInstruction(presets, this.memory));
    return instruction ? this.run({ ...wish, instruction }) : undefined;
  }

  /** Has the server rewrite, shows the drafts and then the changes, and applies those that are taken. */
  async run(wish: Wish): Promise<Rewritten | undefined> {
    const { client } = this.server;
    if (!client) {
      return undefined;
    }
    const uri = client.protocol2CodeConverter.asUri(wish.textDocument.uri);
    const document = await vscode.workspace.openTextDocument(uri);
    const canvas = new CanvasView(document, client.protocol2CodeConverter.asRange(wish.range));
    const previewed: Wish = { ...wish, apply: false };
    let answer: Rewritten | undefined;
    try {
      answer = await this.drafts.follow(
        previewed,
        ({ text }) => canvas.show(text),
        () => this.server.command<Rewritten>(COMMAND, previewed),
      );
    } catch (error) {
      void vscode.window.showErrorMessage(`DGemma: ${error instanceof Error ? error.message : String(error)}`);
    } finally {
      canvas.dispose();
    }
    // Of anything but a preview the server has told the user itself.
    return answer?.outcome === 'previewed' ? this.settle(document, answer) : answer;
  }

  private async settle(document: vscode.TextDocument, { hunks, preview, version }: Rewritten): Promise<Rewritten | undefined> {
    if (preview === undefined || document.version !== version) {
      void vscode.window.showWarningMessage('DGemma: The file has changed meanwhile; rewrite again.');
      return undefined;
    }
    const taken = await this.review.choose(document, hunks, preview);
    return taken?.length ? this.server.command<Rewritten>(COMMAND, { preview, hunks: taken }) : undefined;
  }

  private selected({ document, selection }: vscode.TextEditor): Wish {
    return {
      textDocument: { uri: document.uri.toString(), version: document.version },
      range: {
        start: { line: selection.start.line, character: selection.start.character },
        end: { line: selection.end.line, character: selection.end.character },
      },
    };
  }

  /** What the server offers to do there; undefined when it cannot rewrite, and then the user is told why. */
  private async presets({ textDocument, range }: Wish): Promise<Preset[] | undefined> {
    const { client } = this.server;
    const found = await client?.sendRequest<CodeAction[] | null>('textDocument/codeAction', {
      textDocument: { uri: textDocument.uri },
      range,
      context: { diagnostics: [], only: [KIND] },
    });
    const actions = found ?? [];
    const reason = actions.find(({ disabled }) => disabled)?.disabled?.reason;
    if (reason) {
      void vscode.window.showWarningMessage(`DGemma: ${reason}`, 'Choose Model…').then((way) => {
        return way && vscode.commands.executeCommand('dgemma.chooseModel');
      });
      return undefined;
    }
    return actions.flatMap(({ title, command }) => {
      const instruction = (command?.arguments?.[0] as Wish | undefined)?.instruction;
      return command?.command === COMMAND && instruction ? [{ title: title.replace(/^DGemma: /, ''), instruction }] : [];
    });
  }
}

/** Whether a run of the server's command is one that nobody has reviewed yet: a preset of a code action. */
export function isUnseen(command: string, argument: unknown): argument is Wish {
  const wish = argument as Partial<Wish> | undefined;
  return command === COMMAND && wish?.range !== undefined && wish.apply === undefined;
}
