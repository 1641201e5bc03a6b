// The texts of the page: one file per language, with the same keys.

export const LANGUAGES = { en: "English", zh: "中文" };

let texts = {};
let language = "en";

export const current = () => language;

/** The language of an address, else of the browser, else English. */
export function choose(asked) {
  const wanted = [asked, ...navigator.languages].map((name) => name?.slice(0, 2));
  return wanted.find((name) => name in LANGUAGES) ?? "en";
}

export async function load(name) {
  texts = await (await fetch(`languages/${name}.json`)).json();
  language = name;
  document.documentElement.lang = name === "zh" ? "zh-Hans" : name;
}

/** The text of a key, with its {placeholders} filled in. */
export function text(key, values = {}) {
  const found = texts[key];
  if (found === undefined) throw new Error(`no text ${key}`);
  return found.replace(/\{(\w+)\}/g, (whole, name) => values[name] ?? whole);
}

/** The error of an answer: some messages are texts of ours, the others are there in English only. */
export const told = ({ error, words }) =>
  new Error(words ? text(words.key, words) : text("program", { message: error }));

/** What an error is for people; a browser's own is that nobody answers. */
export const why = (error) => (error instanceof TypeError ? text("lost") : error.message);

/** Fill in all marked elements below one: data-text is what they say, data-label their name. */
export function fill(root = document) {
  for (const element of root.querySelectorAll("[data-text]")) {
    element.textContent = text(element.dataset.text);
  }
  for (const element of root.querySelectorAll("[data-label]")) {
    element.setAttribute("aria-label", text(element.dataset.label));
  }
}

/** A number as people of this language write it. */
export function number(value, digits = 3) {
  if (value && Math.abs(value) < 1e-3) return value.toExponential(digits - 1);
  return value.toLocaleString(language, { maximumSignificantDigits: digits });
}
