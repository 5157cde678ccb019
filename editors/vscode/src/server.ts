import type { LanguageClient } from 'vscode-languageclient/node';
import { Backoff } from './backoff';
import type { Surroundings } from './client';
import type { Found, Missing } from './discovery';
import { type Running, run } from './process';
import type { CurrentState } from './state';

const START_MS = 30_000;
const STOP_MS = 2_000;

/** What the server's life asks and tells. */
export interface Hooks {
  find(): Promise<Found | Missing>;
  /** There is none. */
  missing(missing: Missing): void;
  /** It has ended again and again, and is left alone. */
  ended(reason: string): void;
}

/** The one server of this window, from its search to its end; starts and stops come one after the other. */
export class Server {
  client: LanguageClient | undefined;
  found: Found | undefined;
  private readonly backoff = new Backoff();
  private running: Running | undefined;
  private retry: NodeJS.Timeout | undefined;
  private queue: Promise<void> = Promise.resolve();

  constructor(
    private readonly state: CurrentState,
    private readonly around: Surroundings,
    private readonly hooks: Hooks,
  ) {}

  /** Of the server's process, while there is one. */
  get pid(): number | undefined {
    return this.running?.child.pid;
  }

  /** Starts a server unless there is one. */
  start(): Promise<void> {
    return this.inTurn(() => this.open());
  }

  /** Starts anew, whatever has failed before. */
  restart(): Promise<void> {
    this.backoff.reset();
    return this.inTurn(async () => {
      await this.close();
      await this.open();
    });
  }

  stop(): Promise<void> {
    return this.inTurn(() => this.close());
  }

  /** Runs one of the server's commands; undefined when there is no server. */
  async command<T>(name: string, argument?: unknown): Promise<T | undefined> {
    const params = { command: name, arguments: argument === undefined ? [] : [argument] };
    return this.client?.sendRequest<T>('workspace/executeCommand', params);
  }

  private inTurn(work: () => Promise<void>): Promise<void> {
    this.queue = this.queue.then(work).catch((error) => this.around.log.error(error));
    return this.queue;
  }

  private async open(): Promise<void> {
    clearTimeout(this.retry);
    if (this.running) {
      return;
    }
    this.state.set({ state: 'starting', message: 'the server is starting' });
    const found = await this.hooks.find();
    if ('problem' in found) {
      this.state.set({ state: 'missing', message: found.problem, server: '' });
      this.hooks.missing(found);
      return;
    }
    this.found = found;
    const server = [found.command, ...found.args].join(' ');
    this.around.log.info(`the server is ${server}, by ${found.origin}`);
    this.state.set({ state: 'starting', message: 'the server is starting', server: `${server} (${found.origin})` });
    const running = run(found);
    this.running = running;
    void running.ended.then((reason) => this.hasEnded(running, reason));
    // The language client is most of the code: not before it is needed.
    const { makeClient } = await import('./client.js');
    const client = makeClient(running, this.around);
    const patience = setTimeout(() => running.child.kill(), START_MS);
    try {
      await client.start();
      this.client = client;
    } catch (error) {
      this.around.log.error('the server did not start', error);
      running.child.kill();
    } finally {
      clearTimeout(patience);
    }
  }

  private async close(): Promise<void> {
    clearTimeout(this.retry);
    const { client, running } = this;
    this.client = this.running = undefined;
    await client?.dispose(STOP_MS).catch((error) => this.around.log.warn('the server did not stop', error));
    running?.child.kill();
  }

  private hasEnded(running: Running, reason: string): void {
    if (running !== this.running) {
      return;
    }
    this.running = this.client = undefined;
    this.around.log.error(`the server has ended: ${reason}`);
    const wait = this.backoff.next(Date.now() - running.startedMs);
    if (wait === undefined) {
      this.state.set({ state: 'ended', message: reason });
      this.hooks.ended(reason);
    } else {
      this.state.set({ state: 'starting', message: `the server has ended and is started again: ${reason}` });
      this.retry = setTimeout(() => void this.start(), wait);
    }
  }
}
