import * as vscode from 'vscode';
import type { EngineStatus } from './protocol';

/** What is known of server and engine: the engine's own states, and those in which there is no server to ask. */
export interface State extends Omit<EngineStatus, 'state'> {
  readonly state: EngineStatus['state'] | 'idle' | 'missing' | 'ended';
  /** How the server was started. */
  readonly server: string;
}

/** The one state of this window; `changed` hears of every new one. */
export class CurrentState implements vscode.Disposable {
  private readonly emitter = new vscode.EventEmitter<State>();
  readonly changed = this.emitter.event;
  private current: State = { state: 'idle', model: '', device: '', message: '', instructed: false, server: '' };

  get(): State {
    return this.current;
  }

  set(what: Partial<State>): void {
    this.current = { ...this.current, message: '', ...what };
    void vscode.commands.executeCommand('setContext', 'dgemma.ready', this.current.state === 'ready');
    void vscode.commands.executeCommand('setContext', 'dgemma.found', !['idle', 'missing'].includes(this.current.state));
    this.emitter.fire(this.current);
  }

  dispose(): void {
    this.emitter.dispose();
  }
}
