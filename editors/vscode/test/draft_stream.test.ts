import assert from 'node:assert/strict';
import { test } from 'node:test';
import { DraftStream } from '../src/draft_stream';
import type { Wish } from '../src/protocol';

const start = { line: 0, character: 0 };
const wish = (): Wish => ({ textDocument: { uri: 'file:///a' }, range: { start, end: start } });

test('drafts reach the request that they are of, until it is answered', async () => {
  const stream = new DraftStream();
  const heard: string[] = [];
  const draft = (id: number, text: string): void => stream.heard({ id, pass: 1, text });
  const [mine, other] = [wish(), wish()];
  await stream.follow(mine, ({ text }) => heard.push(text), async () => {
    stream.sent(6, { textDocument: {} });
    stream.sent(7, { command: 'dgemma.rewrite', arguments: [other] });
    stream.sent(8, { command: 'dgemma.rewrite', arguments: [mine] });
    draft(6, 'ghost text');
    draft(7, 'of another');
    draft(8, 'mine');
    stream.answered(8);
    draft(8, 'late');
  });
  stream.sent(9, { arguments: [mine] });
  draft(9, 'not followed any more');
  assert.deepEqual(heard, ['mine']);
});

test('a request that fails is followed no more', async () => {
  const stream = new DraftStream();
  const mine = wish();
  const failing = stream.follow(mine, () => assert.fail(), () => Promise.reject(new Error('gone')));
  await assert.rejects(failing, /gone/);
  stream.sent(1, { arguments: [mine] });
  stream.heard({ id: 1, pass: 1, text: '' });
});
