/** Runs in VS Code's extension test host, against the real server and an engine that plays a script. */
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { TESTS } from './host_tests';
import { TROUBLE } from './trouble_tests';

interface Result {
  readonly name: string;
  readonly ms: number;
  readonly failure?: string;
}

/** VS Code calls this. The results go to the file that DGEMMA_RESULTS names. */
export async function run(): Promise<void> {
  const file = process.env['DGEMMA_RESULTS'];
  assert(file, 'DGEMMA_RESULTS names a file');
  const results: Result[] = [];
  for (const [name, test] of Object.entries({ ...TESTS, ...TROUBLE })) {
    const start = performance.now();
    const outcome = await test().then(
      () => ({}),
      (error: Error) => ({ failure: error.stack ?? error.message }),
    );
    results.push({ name, ms: Math.round(performance.now() - start), ...outcome });
    writeFileSync(`${file}.part`, JSON.stringify(results, null, 1));
  }
  writeFileSync(file, JSON.stringify(results));
}
