import * as path from 'node:path';

/** What starts the server, and how it was found. */
export interface Found {
  readonly command: string;
  readonly args: readonly string[];
  readonly origin: string;
}

/** Why there is none: one sentence. `python` is one that it could be installed into. */
export interface Missing {
  readonly problem: string;
  readonly python?: string;
}

/** Where to look. */
export interface Places {
  /** The setting `dgemma.path`, or empty. */
  readonly path: string;
  /** The setting `dgemma.interpreter`, or empty. */
  readonly interpreter: string;
  /** The Python of the active environment; not asked for where nobody trusts the workspace. */
  readonly active: () => Promise<string | undefined>;
  /** The variable PATH. */
  readonly searchPath: string;
  readonly windows: boolean;
}

/** The machine, as far as a search looks at it. */
export interface Machine {
  /** Whether a path names a file that may be run. */
  runs(file: string): Promise<boolean>;
  /** Whether a Python can import the server; an error's text when it does not even start. */
  imports(python: string): Promise<boolean | string>;
}

/** `dgemma.path`, `dgemma.interpreter`, the active environment, PATH: what is set counts, or is named as the problem. */
export async function findServer(places: Places, machine: Machine): Promise<Found | Missing> {
  if (places.path) {
    return (await machine.runs(places.path))
      ? { command: places.path, args: [], origin: 'dgemma.path' }
      : { problem: `The setting dgemma.path is ${places.path}, and nothing can be run there.` };
  }
  if (places.interpreter) {
    const found = await ofPython(places.interpreter, 'dgemma.interpreter', places.windows, machine);
    if (typeof found === 'object') {
      return found;
    }
    return {
      problem: `The setting dgemma.interpreter is ${places.interpreter}, which ${found}.`,
      ...(found === LACKS && { python: places.interpreter }),
    };
  }
  const active = await places.active();
  const found = active && (await ofPython(active, 'the active environment', places.windows, machine));
  if (typeof found === 'object') {
    return found;
  }
  const python = active && found === LACKS ? { python: active } : {};
  const onPath = await which('dgemma-lsp', places, machine);
  if (onPath) {
    return { command: onPath, args: [], origin: 'PATH' };
  }
  const tried = active ? `The active environment (${active}) ${found || LACKS}` : 'There is no active Python environment';
  return { problem: `${tried}, and dgemma-lsp is not on PATH.`, ...python };
}

/** The first executable of that name on PATH; relative entries are whatever folder one is in, and do not count. */
export async function which(name: string, places: Places, machine: Machine): Promise<string | undefined> {
  const syntax = places.windows ? path.win32 : path.posix;
  for (const folder of places.searchPath.split(syntax.delimiter)) {
    const file = syntax.join(folder, executable(name, places.windows));
    if (syntax.isAbsolute(folder) && (await machine.runs(file))) {
      return file;
    }
  }
  return undefined;
}

const LACKS = 'has no dgemma-lsp';

/** The server of a Python, or what is wrong with that Python. */
async function ofPython(python: string, origin: string, windows: boolean, machine: Machine): Promise<Found | string> {
  const syntax = windows ? path.win32 : path.posix;
  const folder = syntax.dirname(python);
  for (const beside of windows ? [folder, syntax.join(folder, 'Scripts')] : [folder]) {
    const file = syntax.join(beside, executable('dgemma-lsp', windows));
    if (syntax.isAbsolute(python) && (await machine.runs(file))) {
      return { command: file, args: [], origin };
    }
  }
  const imports = await machine.imports(python);
  if (imports === true) {
    return { command: python, args: ['-m', 'dgemma_lsp.cli'], origin };
  }
  return imports === false ? LACKS : `does not run: ${imports}`;
}

function executable(name: string, windows: boolean): string {
  return windows ? `${name}.exe` : name;
}
