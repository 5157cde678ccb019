// Bundles the extension into dist/, with the licences of what is in it, or with `test` the tests into out/.
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { build } from 'esbuild';

const testing = process.argv.includes('test');
const { metafile } = await build({
  entryPoints: testing ? ['test/unit.ts', 'test/host.ts'] : ['src/extension.ts', 'src/client.ts'],
  outdir: testing ? 'out' : 'dist',
  bundle: true,
  // The language client is loaded when a server is started.
  external: testing ? ['vscode'] : ['vscode', './client.js'],
  format: 'cjs',
  conditions: ['node'],
  mainFields: ['module', 'main'],
  metafile: true,
  minify: !testing,
  platform: 'node',
  sourcemap: testing && 'inline',
  // As require: VS Code puts its own module there.
  supported: { 'dynamic-import': false },
  target: 'node20',
});

if (!testing) {
  const folder = /^node_modules\/(?:.*\/node_modules\/)?(?:@[^/]+\/)?[^/]+/;
  const packages = new Set(Object.keys(metafile.inputs).flatMap((path) => path.match(folder)?.[0] ?? []));
  const licences = [...packages].sort().map((path) => {
    const file = readdirSync(path).find((name) => /^licen[cs]e/i.test(name));
    return `${path.replace('node_modules/', '')}\n\n${readFileSync(`${path}/${file}`, 'utf8').trim()}\n`;
  });
  writeFileSync('dist/licences.txt', licences.join(`\n${'-'.repeat(80)}\n\n`));
}
