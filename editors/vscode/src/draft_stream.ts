import type { Draft, Wish } from './protocol';

type Listener = (draft: Draft) => void;
type Id = number | string | null;

/** Who gets which draft. Drafts carry the id of their request, which only the connection knows: it tells when it sends. */
export class DraftStream {
  private readonly expected = new Map<Wish, Listener>();
  private readonly running = new Map<Id, Listener>();

  /** Lets `listener` hear the drafts of the request that `send` makes of this very object. */
  async follow<T>(wish: Wish, listener: Listener, send: () => Promise<T>): Promise<T> {
    this.expected.set(wish, listener);
    try {
      return await send();
    } finally {
      this.expected.delete(wish);
    }
  }

  /** A request leaves, and has this id. */
  sent(id: Id, params: unknown): void {
    const wish = (params as { arguments?: [Wish] } | undefined)?.arguments?.[0];
    const listener = wish && this.expected.get(wish);
    if (listener) {
      this.running.set(id, listener);
    }
  }

  /** A request was answered. */
  answered(id: Id): void {
    this.running.delete(id);
  }

  heard(draft: Draft): void {
    this.running.get(draft.id)?.(draft);
  }
}
