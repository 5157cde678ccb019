// Reads the server's settings on stdin and puts them into package.json, after the client's own. `npm run settings`.
import { readFileSync, writeFileSync } from 'node:fs';

const OWN = ['dgemma.path', 'dgemma.interpreter'];

const manifest = JSON.parse(readFileSync('package.json', 'utf8'));
const { configuration } = manifest.contributes;
const own = Object.fromEntries(OWN.map((name) => [name, configuration.properties[name]]));
configuration.properties = { ...own, ...JSON.parse(readFileSync(0, 'utf8')) };
writeFileSync('package.json', `${JSON.stringify(manifest, null, 2)}\n`);
