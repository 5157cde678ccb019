const TAB = '\u00a0\u00a0\u00a0\u00a0';

/** A draft as one line beside each selected line; what is longer than the selection is counted on the last one. */
export function besideLines(draft: string, lines: number): string[] {
  const written = draft.split(/\r\n|\r|\n/);
  while (written.length > 1 && !written.at(-1)?.trim()) {
    written.pop();
  }
  const shown = written.slice(0, lines).map(solid);
  const more = written.length - shown.length;
  if (more > 0) {
    shown.push(`${shown.pop() ?? ''} ⋯ ${more} more ${more === 1 ? 'line' : 'lines'}`);
  }
  return shown;
}

/** Decorations swallow blanks at the start of a line. */
function solid(line: string): string {
  return line.trimEnd().replace(/^[ \t]+/, (blank) => blank.replaceAll('\t', TAB).replaceAll(' ', '\u00a0'));
}
