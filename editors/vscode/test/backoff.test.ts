import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Backoff } from '../src/backoff';

test('a server that ends at once is started a few times, later and later', () => {
  const backoff = new Backoff();
  assert.deepEqual([0, 0, 0, 0, 0].map((lived) => backoff.next(lived)), [500, 2_000, 8_000, undefined, undefined]);
});

test('one that has lived is started at once, however often', () => {
  const backoff = new Backoff();
  assert.deepEqual([60_000, 90_000, 10, 60_000].map((lived) => backoff.next(lived)), [500, 500, 2_000, 500]);
});

test('who asks for another start is not made to wait', () => {
  const backoff = new Backoff();
  [0, 0, 0, 0].forEach((lived) => backoff.next(lived));
  backoff.reset();
  assert.equal(backoff.next(0), 500);
});
