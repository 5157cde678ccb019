import type { Hunk, Position, Range } from './protocol';

/** A text with some of its hunks applied; they do not overlap. */
export function patched(text: string, hunks: readonly Hunk[]): string {
  const offset = offsets(text);
  let at = 0;
  let result = '';
  for (const { range, newText } of [...hunks].sort((one, other) => offset(one.range.start) - offset(other.range.start))) {
    result += text.slice(at, offset(range.start)) + newText;
    at = offset(range.end);
  }
  return result + text.slice(at);
}

/** One line that tells a hunk from the others: what goes and what comes. */
export function summary(text: string, { range, newText }: Hunk): string {
  const [before, after] = [gist(cut(text, range)), gist(newText)];
  if (before && after) {
    return `${before} → ${after}`;
  }
  return before ? `− ${before}` : `+ ${after}`;
}

const MOST = 60;

function gist(text: string): string {
  const lines = text
    .split(/\r\n|\r|\n/)
    .map((line) => line.trim())
    .filter(Boolean);
  const first = lines[0] ?? '';
  const short = first.length > MOST ? `${first.slice(0, MOST)}…` : first;
  return lines.length > 1 ? `${short} (${lines.length} lines)` : short;
}

function cut(text: string, { start, end }: Range): string {
  const offset = offsets(text);
  return text.slice(offset(start), offset(end));
}

/** From positions, in UTF-16 units, to places in the text. */
function offsets(text: string): (position: Position) => number {
  const starts = [0, ...Array.from(text.matchAll(/\r\n|\r|\n/g), (end) => end.index + end[0].length)];
  return ({ line, character }) => Math.min((starts[line] ?? text.length) + character, text.length);
}
