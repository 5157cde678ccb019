import assert from 'node:assert/strict';
import { test } from 'node:test';
import { findServer, type Machine, type Places } from '../src/discovery';

interface Case {
  readonly name: string;
  readonly places?: Partial<Places>;
  /** Files that may be run. */
  readonly runs?: string[];
  /** What each Python says when it is asked to import the server. */
  readonly imports?: Record<string, boolean | string>;
  /** The command and how it was found, or a part of the problem. */
  readonly found: string[] | RegExp;
  /** Where it could be installed into. */
  readonly python?: string;
}

const VENV = { active: async () => '/venv/bin/python' };

const TABLE: Case[] = [
  { name: 'dgemma.path', places: { path: '/x/dgemma-lsp' }, runs: ['/x/dgemma-lsp'], found: ['/x/dgemma-lsp', 'dgemma.path'] },
  {
    name: 'dgemma.path comes before all else, also when it is wrong',
    places: { path: '/nowhere', ...VENV },
    runs: ['/venv/bin/dgemma-lsp', '/bin/dgemma-lsp'],
    found: /dgemma\.path is \/nowhere/,
  },
  {
    name: 'beside dgemma.interpreter',
    places: { interpreter: '/py/bin/python3', ...VENV },
    runs: ['/py/bin/dgemma-lsp', '/venv/bin/dgemma-lsp'],
    found: ['/py/bin/dgemma-lsp', 'dgemma.interpreter'],
  },
  {
    name: 'in dgemma.interpreter',
    places: { interpreter: 'python3' },
    imports: { python3: true },
    found: ['python3', '-m', 'dgemma_lsp.cli', 'dgemma.interpreter'],
  },
  {
    name: 'dgemma.interpreter without it',
    places: { interpreter: '/usr/bin/python3' },
    runs: ['/bin/dgemma-lsp'],
    imports: { '/usr/bin/python3': false },
    found: /dgemma\.interpreter is \/usr\/bin\/python3, which has no dgemma-lsp/,
    python: '/usr/bin/python3',
  },
  {
    name: 'dgemma.interpreter that is none',
    places: { interpreter: '/bin/sl' },
    imports: { '/bin/sl': 'spawn /bin/sl ENOENT' },
    found: /which does not run: spawn \/bin\/sl ENOENT/,
  },
  { name: 'the active environment', places: VENV, runs: ['/venv/bin/dgemma-lsp'], found: ['/venv/bin/dgemma-lsp', 'the active environment'] },
  {
    name: 'PATH when the active environment lacks it',
    places: VENV,
    runs: ['/bin/dgemma-lsp'],
    imports: { '/venv/bin/python': false },
    found: ['/bin/dgemma-lsp', 'PATH'],
  },
  { name: 'PATH alone', runs: ['/bin/dgemma-lsp'], found: ['/bin/dgemma-lsp', 'PATH'] },
  { name: 'never in a relative folder', places: { searchPath: '.::bin' }, runs: ['dgemma-lsp', 'bin/dgemma-lsp'], found: /not on PATH/ },
  {
    name: 'nowhere, with an environment',
    places: VENV,
    imports: { '/venv/bin/python': false },
    found: /active environment \(\/venv\/bin\/python\) has no dgemma-lsp, and dgemma-lsp is not on PATH/,
    python: '/venv/bin/python',
  },
  { name: 'nowhere', found: /no active Python environment, and dgemma-lsp is not on PATH/ },
  {
    name: 'Windows: beside a Python and below it',
    places: { windows: true, interpreter: 'C:\\Py\\python.exe' },
    runs: ['C:\\Py\\Scripts\\dgemma-lsp.exe'],
    found: ['C:\\Py\\Scripts\\dgemma-lsp.exe', 'dgemma.interpreter'],
  },
  {
    name: 'Windows: PATH',
    places: { windows: true, searchPath: 'C:\\a;D:\\b' },
    runs: ['D:\\b\\dgemma-lsp.exe'],
    found: ['D:\\b\\dgemma-lsp.exe', 'PATH'],
  },
];

for (const { name, places, runs = [], imports = {}, found: wanted, python } of TABLE) {
  test(`the server is found: ${name}`, async () => {
    const machine: Machine = {
      runs: async (file) => runs.includes(file),
      imports: async (one) => imports[one] ?? `spawn ${one} ENOENT`,
    };
    const nowhere: Places = { path: '', interpreter: '', active: async () => undefined, searchPath: '/bin', windows: false };
    const found = await findServer({ ...nowhere, ...places }, machine);
    if ('problem' in found) {
      assert.ok(wanted instanceof RegExp, found.problem);
      assert.match(found.problem, wanted);
      assert.equal(found.python, python);
    } else {
      assert.deepEqual([found.command, ...found.args, found.origin], wanted);
    }
  });
}
