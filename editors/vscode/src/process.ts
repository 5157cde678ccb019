import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import type { Found } from './discovery';
import { FOLDER } from './machine';

const KEPT = 2_000;

/** A server's process. */
export interface Running {
  readonly child: ChildProcessWithoutNullStreams;
  /** Settles when it has ended, in one line: what it said last, or its exit code. */
  readonly ended: Promise<string>;
  readonly startedMs: number;
}

export function run({ command, args }: Found): Running {
  const child = spawn(command, args, { cwd: FOLDER });
  let said = '';
  child.stderr.on('data', (piece) => {
    said = (said + String(piece)).slice(-KEPT);
  });
  const ended = new Promise<string>((resolve) => {
    child.once('error', (error) => resolve(error.message));
    // Not `exit`: what it said last may still be on its way then.
    child.once('close', (code, signal) => {
      const last = said.trim().split('\n').at(-1)?.trim();
      resolve(last || (signal ? `it was ended by ${signal}` : `it ended with exit code ${code}`));
    });
  });
  // A write to a process that is gone; `ended` says so.
  child.stdin.on('error', () => {});
  return { child, ended, startedMs: Date.now() };
}
