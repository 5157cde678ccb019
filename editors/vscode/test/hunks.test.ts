import assert from 'node:assert/strict';
import { test } from 'node:test';
import { patched, summary } from '../src/hunks';
import type { Hunk } from '../src/protocol';

function hunk(first: [number, number], last: [number, number], newText: string): Hunk {
  const [start, end] = [first, last].map(([line, character]) => ({ line, character }));
  return { range: { start: start!, end: end! }, newText };
}

const TABLE: [name: string, text: string, hunks: Hunk[], result: string][] = [
  ['none', 'a\nb\n', [], 'a\nb\n'],
  ['a line', 'a\nb\nc\n', [hunk([1, 0], [2, 0], 'B\n')], 'a\nB\nc\n'],
  ['in any order', 'a\nb\nc', [hunk([2, 0], [2, 1], 'C'), hunk([0, 0], [0, 1], 'A')], 'A\nb\nC'],
  ['every line end', 'a\r\nb\rc', [hunk([1, 0], [1, 1], 'B'), hunk([2, 0], [2, 1], 'C')], 'a\r\nB\rC'],
  ['UTF-16 units', '🙂x', [hunk([0, 2], [0, 3], 'y')], '🙂y'],
  ['at the end', 'a\n', [hunk([1, 0], [1, 0], 'b\n')], 'a\nb\n'],
  ['past the end', 'a', [hunk([9, 0], [9, 9], 'b')], 'ab'],
];

for (const [name, text, hunks, result] of TABLE) {
  test(`hunks applied: ${name}`, () => assert.equal(patched(text, hunks), result));
}

const SUMMARIES: [hunk: Hunk, line: string][] = [
  [hunk([0, 0], [1, 0], 'x = g(1)\n'), 'x = f(1) → x = g(1)'],
  [hunk([0, 0], [2, 0], ''), '− x = f(1) (2 lines)'],
  [hunk([1, 0], [1, 0], '\n# new\n'), '+ # new'],
  [hunk([1, 0], [1, 0], 'z'.repeat(99)), `+ ${'z'.repeat(60)}…`],
];

for (const [one, line] of SUMMARIES) {
  test(`a hunk in a line: ${line}`, () => assert.equal(summary('x = f(1)\n  y = 2\n', one), line));
}
