/** What this client and the server say beyond LSP: docs/protocol.md of the server. */

export interface Position {
  readonly line: number;
  readonly character: number;
}

export interface Range {
  readonly start: Position;
  readonly end: Position;
}

/** `dgemma/status`. */
export interface EngineStatus {
  readonly state: 'starting' | 'loading' | 'ready' | 'down';
  readonly model: string;
  readonly device: string;
  readonly message: string;
  readonly instructed: boolean;
}

/** `dgemma/draft`: `id` is the request's. */
export interface Draft {
  readonly id: number | string;
  readonly pass: number;
  readonly text: string;
}

export interface Hunk {
  readonly range: Range;
  readonly newText: string;
}

/** The argument of `dgemma.rewrite`. */
export interface Wish {
  readonly textDocument: { readonly uri: string; readonly version?: number };
  readonly range: Range;
  readonly instruction?: string;
  readonly problems?: readonly string[];
  readonly apply?: boolean;
}

/** The answer of `dgemma.rewrite`. */
export interface Rewritten {
  readonly outcome: string;
  readonly message: string;
  readonly applied: boolean;
  readonly preview?: number;
  readonly version?: number;
  readonly hunks: readonly Hunk[];
}
