// Peers on npm, for bench/repair_peers.py: one JSON line {"tool", "text"} in, one JSON line with the result out; null
// where the peer gives up.
import { createInterface } from "node:readline";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const require = createRequire(process.argv[2] + "/");
const { jsonrepair } = await import(pathToFileURL(require.resolve("jsonrepair")));
const remend = await import(pathToFileURL(process.argv[2] + "/remend/dist/index.js"));
const tools = { jsonrepair, remend: remend.default ?? remend.remend };

for await (const line of createInterface({ input: process.stdin })) {
  const { tool, text } = JSON.parse(line);
  let result = null;
  try {
    result = tools[tool](text);
  } catch {}
  process.stdout.write(JSON.stringify(result) + "\n");
}
