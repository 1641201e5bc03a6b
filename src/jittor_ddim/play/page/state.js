// What the page shows, as its address says it: the same address gives the same images again.

import { check } from "./check.js";
import { text } from "./words.js";

const COMMON = ["tab", "network", "engine", "precision", "sampler", "timesteps", "eta", "spacing", "seed", "class", "guidance"];
/** Which of the keys a tab has. */
export const KEYS = {
  sample: [...COMMON, "num_samples", "view"],
  arc: [...COMMON, "other_seed", "points", "view"],
  picture: [...COMMON, "mode", "strength", "variants", "picture", "view"],
  twins: [...COMMON, "num_samples", "gain"],
};
const LONGEST_PICTURE = 16000; // characters that an address still carries
const LONGEST_SHOWN = 60; // of what an address says wrong
const OF_NETWORK = ["network", "spacing", "class", "guidance", "picture"]; // of no use to another one

/** The state with which the page opens on a network. */
export function usual({ network, usual, most_images: most }) {
  const { engine, precision, sampler, timesteps, eta, spacing, seed, guidance, num_samples, other_seed, strength } = usual;
  return {
    tab: "sample", network, engine, precision, sampler, timesteps, eta, spacing, seed,
    class: usual.class ?? "", guidance, num_samples, view: "x_t", other_seed, points: Math.min(9, most),
    mode: "reconstruct", strength, variants: Math.min(4, most), picture: "", gain: 100000,
  };
}

/** A state as far as it can be had of another network. */
export function moved(state, about) {
  const found = usual(about);
  for (const key of Object.keys(state)) if (!OF_NETWORK.includes(key)) found[key] = state[key];
  for (const key of ["num_samples", "points", "variants"]) found[key] = Math.min(found[key], about.most_images);
  found.timesteps = Math.min(found.timesteps, about.timesteps);
  return found;
}

/** The state of an address, and what of it is left out, with what would do instead. */
export function read(query, about) {
  const state = usual(about);
  const left = [];
  for (const [key, given] of new URLSearchParams(query)) {
    if (key === "lang") continue;
    const { value, possible } = Object.hasOwn(state, key) ? check(key, given, about) : {};
    const shown = `${key}=${given}`.slice(0, LONGEST_SHOWN);
    if (value !== undefined) state[key] = value;
    else left.push(possible ? text("left_out", { given: shown, possible }) : shown);
  }
  return { state, left };
}

/** The address of a state. */
export function address(state, language) {
  const query = new URLSearchParams();
  for (const key of KEYS[state.tab]) {
    const value = String(state[key]);
    if (key !== "picture" || (value && value.length < LONGEST_PICTURE)) query.set(key, value);
  }
  query.set("lang", language);
  return `${location.origin}${location.pathname}?${query}`;
}

/** What the server is asked for. */
export function ask(state, about, kind, more = {}) {
  const takesEta = about.samplers.find(({ name }) => name === state.sampler)?.eta ?? true;
  const drawn = kind === "reconstruct" ? "" : state.class;
  const label = drawn === "" || drawn === "all" ? drawn || null : Number(drawn);
  return {
    kind, network: state.network, engine: state.engine, precision: state.precision,
    sampler: state.sampler, timesteps: state.timesteps, eta: takesEta ? state.eta : 0, spacing: state.spacing, seed: state.seed,
    class: label, guidance: label === null ? 0 : state.guidance, ...more,
  };
}

/** The bytes of a picture in an address, and back. */
export const toAddress = (base64) => base64.replace(/\+/g, "-").replace(/\//g, "_").replace(/=/g, "");
export function fromAddress(picture) {
  const text = picture.replace(/-/g, "+").replace(/_/g, "/");
  return text.padEnd(Math.ceil(text.length / 4) * 4, "=");
}
