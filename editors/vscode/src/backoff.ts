const DELAYS_MS = [500, 2_000, 8_000];
/** A server that lived this long has not crashed at its start: counting begins anew. */
const HEALTHY_MS = 60_000;

/** How long to wait before a server that has ended is started again; after a few early ends never. */
export class Backoff {
  private ends = 0;

  /** Milliseconds to wait after a server that lived for `livedMs`; undefined to leave it. */
  next(livedMs: number): number | undefined {
    this.ends = livedMs >= HEALTHY_MS ? 0 : this.ends;
    return DELAYS_MS[this.ends++];
  }

  reset(): void {
    this.ends = 0;
  }
}
