import type * as vscode from 'vscode';
import {
  CancellationReceiverStrategy,
  CancellationSenderStrategy,
  CloseAction,
  ErrorAction,
  LanguageClient,
  type Middleware,
} from 'vscode-languageclient/node';
import type { DraftStream } from './draft_stream';
import type { Draft, EngineStatus } from './protocol';
import type { Running } from './process';
import { chosen, SCHEMES } from './settings';

/** What a client tells and asks the rest of the extension. */
export interface Surroundings {
  readonly log: vscode.LogOutputChannel;
  readonly drafts: DraftStream;
  status(status: EngineStatus): void;
  readonly executeCommand: NonNullable<Middleware['executeCommand']>;
}

/** A language client that keeps what happens to its server to itself: whoever started the process says it, once. */
class QuietClient extends LanguageClient {
  override error(message: string, data?: unknown, show?: boolean | 'force'): void {
    super.error(message, data, show === 'force' ? false : show);
  }
}

/** A client of a server that runs already; it is not started yet. */
export function makeClient(running: Running, around: Surroundings): LanguageClient {
  const client = new QuietClient('dgemma', 'DGemma', () => Promise.resolve(running.child), {
    documentSelector: SCHEMES.map((scheme) => ({ scheme })),
    outputChannel: around.log,
    initializationOptions: { drafts: 'rewrite', asks: true },
    connectionOptions: {
      cancellationStrategy: {
        receiver: CancellationReceiverStrategy.Message,
        sender: {
          ...CancellationSenderStrategy.Message,
          enableCancellation: ({ id, params }) => around.drafts.sent(id, params),
          cleanup: (id) => around.drafts.answered(id),
        },
      },
    },
    errorHandler: {
      error: () => ({ action: ErrorAction.Continue, handled: true }),
      closed: () => ({ action: CloseAction.DoNotRestart, handled: true }),
    },
    initializationFailedHandler: () => false,
    middleware: {
      executeCommand: around.executeCommand,
      workspace: {
        configuration: ({ items }, token, next) =>
          items.every(({ section }) => section === 'dgemma') ? items.map(chosen) : next({ items }, token),
      },
    },
  });
  client.onNotification('dgemma/status', (status: EngineStatus) => around.status(status));
  client.onNotification('dgemma/draft', (draft: Draft) => around.drafts.heard(draft));
  return client;
}
