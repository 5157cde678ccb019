import assert from 'node:assert/strict';
import { test } from 'node:test';
import { besideLines } from '../src/canvas';

const TABLE: [name: string, draft: string, lines: number, beside: string[]][] = [
  ['a line', 'x = g(1)', 1, ['x = g(1)']],
  ['a line and its end', 'x = g(1)\n', 1, ['x = g(1)']],
  ['fewer lines than selected', 'x', 3, ['x']],
  ['more lines than selected', 'a\nb\nc\nd', 2, ['a', 'b ⋯ 2 more lines']],
  ['one line more', 'a\r\nb', 1, ['a ⋯ 1 more line']],
  ['indentation stays', '  a\n\tb', 2, ['\u00a0\u00a0a', '\u00a0\u00a0\u00a0\u00a0b']],
  ['nothing yet', '', 2, ['']],
];

for (const [name, draft, lines, beside] of TABLE) {
  test(`a draft beside the selection: ${name}`, () => assert.deepEqual(besideLines(draft, lines), beside));
}
