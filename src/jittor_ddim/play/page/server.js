// What the page asks of its server: states as they are computed, files, pictures.

import { told } from "./words.js";

const client = Array.from(crypto.getRandomValues(new Uint32Array(4)), (n) => n.toString(36)).join("");

/** What there is to choose from, and what a network is; without a name the one the page opens with. */
export const about = async (network) => (await checked(await fetch(`api/about${of(network)}`))).json();

/** Yield the events of a run; aborting the signal ends it on the server too. */
export async function* run(ask, signal) {
  const answer = await checked(await post("api/run", ask, signal));
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const parts = (rest + value).split("\n\n");
    rest = parts.pop();
    for (const part of parts) yield JSON.parse(part.slice("data: ".length));
  }
}

/** The images of a state as a file: png, gif, webp or npz. */
export async function file(suffix, ask) {
  return (await checked(await post(`api/file/${suffix}`, ask))).blob();
}

/** A picture at a network's size, as a PNG in base64. */
export async function fit(picture, network) {
  const answer = await checked(await fetch(`api/picture${of(network)}`, { method: "POST", body: picture }));
  const bytes = new Uint8Array(await answer.arrayBuffer());
  let text = "";
  for (const byte of bytes) text += String.fromCharCode(byte);
  return btoa(text);
}

function post(path, ask, signal) {
  const headers = { "content-type": "application/json" };
  return fetch(path, { method: "POST", headers, body: JSON.stringify({ client, ask }), signal });
}

const of = (network) => (network ? `?${new URLSearchParams({ network })}` : "");

async function checked(answer) {
  if (answer.ok) return answer;
  throw told(await answer.json().catch(() => ({ error: answer.statusText })));
}
