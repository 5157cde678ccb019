// Texts, numbers and colours as the page shows them. All of the trace's text goes into the page as text nodes.

const trace = JSON.parse(document.getElementById("trace").textContent);
const FILLER = "<|filler|>";
const STATES = { p: "pinned", a: "accepted", n: "noise" };
const HIDDEN = /[\p{Cc}\p{Cf}\p{Cs}\p{Co}\p{Cn}\p{Zl}\p{Zp}]/u;
const JOINERS = "\u200c\u200d";
const $ = (id) => document.getElementById(id);

/** An element with attributes (`class`, `text` and what else there is) and children; numbers and null are no children. */
function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key === "text") made.textContent = value;
    else if (value !== null && value !== undefined) made.setAttribute(key, value);
  }
  made.append(...children.filter((child) => child !== null));
  return made;
}

/** How a character is shown that would not be seen, or would do something to the text around it; else null. */
function picture(char, alone) {
  if (char === "\n") return "⏎";
  if (char === "\t") return "⇥";
  if (char === " ") return "·";
  if (/\p{Zs}/u.test(char)) return "␣";
  if (JOINERS.includes(char) && !alone) return null;
  if (HIDDEN.test(char)) return `U+${char.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}`;
  return null;
}

/** A token's text with its white space visible; with `broken` a line end also ends the line. */
function marked(text, broken = false) {
  if (text === FILLER || text === "") return [element("span", { class: "filler" })];
  const nodes = [];
  // A mark that combines needs something to sit on other than its neighbour in the next cell.
  let plain = /^\p{M}/u.test(text) ? "◌" : "";
  const flush = () => plain && nodes.push(document.createTextNode(plain));
  for (const char of text) {
    const shown = picture(char, text.length === 1);
    if (shown === null) {
      plain += char;
      continue;
    }
    flush();
    plain = broken && char === "\n" ? "\n" : "";
    nodes.push(element("span", { class: "mark", text: shown }));
  }
  flush();
  return nodes;
}

/** Text of the document: lines and indents as they are, anything a page would obey as a picture of itself. */
function inert(text) {
  return Array.from(text, (char) => ("\n\t ".includes(char) ? char : picture(char, false) ?? char)).join("");
}

/** A token for somebody who does not see it. */
function spoken(text) {
  if (text === FILLER || text === "") return "filler";
  const names = { "\n": "line end", "\t": "tab", " ": "space" };
  return text.trim() ? inert(text) : Array.from(text, (char) => names[char] ?? inert(char)).join(", ");
}

function nats(entropy) {
  if (entropy === null) return "not read";
  return `${entropy < 0.001 ? "<0.001" : entropy.toFixed(entropy < 0.1 ? 3 : 2)} nats`;
}

const milliseconds = (ms) => (ms < 1000 ? `${ms.toFixed(ms < 10 ? 1 : 0)} ms` : `${(ms / 1000).toFixed(2)} s`);
const percent = (share) => (share < 0.0005 ? "<0.1 %" : `${(100 * share).toFixed(share < 0.1 ? 1 : 0)} %`);
const count = (number, noun, many = `${noun}s`) => `${number.toLocaleString("en")} ${number === 1 ? noun : many}`;

/** The entropy at the warm end of the scale, in nats. */
const TOP = Math.ceil(trace.canvases.flatMap((canvas) => canvas.frames).reduce((top, frame) => frame.entropy.reduce((high, one) => Math.max(high, one), top), 1));

/** Where an entropy lies on the scale: by its square root, since rows are accepted by differences near zero. */
const heat = (entropy) => Math.sqrt(Math.max(0, entropy) / TOP);

/** The colours of the scale, as many as can be told apart, read again when the theme changes. */
const SHADES = 256;
let shades = [];
function readTheme() {
  const ramp = getComputedStyle(document.documentElement).getPropertyValue("--ramp");
  const stops = ramp.split(",").map((colour) => colour.match(/[\da-f]{2}/gi).map((hex) => parseInt(hex, 16)));
  shades = Array.from({ length: SHADES }, (_, index) => shade(stops, index / (SHADES - 1)));
}

/** A colour between the stops, and the one of black and white that stands out more on it. */
function shade(stops, share) {
  const at = share * (stops.length - 1);
  const low = Math.min(Math.floor(at), stops.length - 2);
  const rgb = stops[low].map((value, index) => Math.round(value + (stops[low + 1][index] - value) * (at - low)));
  const [red, green, blue] = rgb.map((value) => (value <= 10 ? value / 3294.6 : ((value / 255 + 0.055) / 1.055) ** 2.4));
  const luminance = 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  return { paper: `rgb(${rgb.join(" ")})`, ink: luminance > 0.18 ? "#16120c" : "#ffffff" };
}

/** Background and ink for an entropy. */
const warmth = (entropy) => shades[Math.round(Math.min(1, heat(entropy)) * (SHADES - 1))];
