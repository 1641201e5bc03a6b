// The page: tabs, controls and address around one state.

import { tabNames } from "./check.js";
import { Controls, describe } from "./controls.js";
import { make } from "./elements.js";
import * as server from "./server.js";
import { address, moved, read } from "./state.js";
import { Arc } from "./tabs/arc.js";
import { Picture } from "./tabs/picture.js";
import { Sample } from "./tabs/sample.js";
import { Twins } from "./tabs/twins.js";
import { choose, current, fill, LANGUAGES, load, text, why } from "./words.js";

const TABS = { sample: Sample, arc: Arc, picture: Picture, twins: Twins };
const WAIT_MS = 100; // after the last movement of a slider

const query = new URLSearchParams(location.search);
const stage = document.querySelector("#stage");
const language = document.querySelector("#language");
let shown; // the page of the chosen network
let asked = 0;
let timer;

const asking = server.about(query.get("network")).catch((error) => error); // while texts are read
await load(choose(query.get("lang")));
fill();
language.addEventListener("click", translate);
write();
await begin(await asking);

async function begin(found) {
  const gone = found instanceof Error; // perhaps only the network of this address
  if (gone) query.delete("network");
  const about = gone ? await server.about().catch(() => null) : found;
  if (about) {
    const { state, left } = read(query, about);
    open(about, state);
    if (left.length) warn(text("unknown", { names: left.join(", ") }));
  }
  if (gone) warn(why(found));
}

function warn(message) {
  stage.prepend(make("p", { class: "wrong", role: "alert" }, message));
}

/** Go to another network with as much of a state as it can have. */
async function move(state, network) {
  const turn = (asked += 1);
  try {
    const about = await server.about(network);
    if (turn === asked) open(about, moved(state, about));
  } catch (error) {
    if (turn !== asked) return;
    shown.show();
    warn(why(error));
  }
}

function open(about, state) {
  shown?.stop();
  const page = { about, state, change, remember };
  const tabs = {};
  const buttons = tabNames(about).map((name) =>
    make("button", {
      type: "button", role: "tab", id: `tab-${name}`, text: `tab_${name}`, "aria-controls": "stage",
      onclick: () => change({ tab: name }), onkeydown: walk,
    }),
  );
  document.querySelector("#tabs").replaceChildren(...buttons);
  fill(document.querySelector("#tabs"));
  const controls = new Controls(document.querySelector("#controls"), page, change);
  shown = { about, show, stop: () => tabs[state.tab].stop(), translate: () => {
    Object.values(tabs).forEach((tab) => { fill(tab.element); tab.translate(); });
    remember();
  } };
  write();
  show();

  function change(patch) {
    if (shown.about !== about) return; // a picture for a network that has been left
    if ("network" in patch) return void move(state, patch.network);
    const leaving = "tab" in patch && patch.tab !== state.tab ? tabs[state.tab] : null;
    leaving?.stop();
    Object.assign(state, patch);
    if ("tab" in patch || "mode" in patch) show();
    else {
      controls.show(tabs[state.tab].controls);
      remember();
      clearTimeout(timer);
      timer = setTimeout(() => tabs[state.tab].run(), WAIT_MS);
    }
  }

  function show() {
    const tab = (tabs[state.tab] ??= new TABS[state.tab](page));
    Object.assign(state, tab.fix?.(state));
    for (const button of buttons) {
      const chosen = button.id === `tab-${state.tab}`;
      button.setAttribute("aria-selected", chosen);
      button.tabIndex = chosen ? 0 : -1;
    }
    stage.setAttribute("aria-labelledby", `tab-${state.tab}`);
    stage.replaceChildren(tab.element);
    fill(stage);
    controls.show(tab.controls);
    remember();
    clearTimeout(timer);
    tab.run();
  }

  function remember() {
    history.replaceState(null, "", address(state, current()));
  }

  /** Arrow keys go from tab to tab. */
  function walk(event) {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!step) return;
    const next = buttons[(buttons.indexOf(event.target) + step + buttons.length) % buttons.length];
    next.focus();
    next.click();
  }
}

/** Write what stands above the tabs. */
function write() {
  if (shown) document.querySelector("#network").textContent = describe(shown.about);
  const other = Object.keys(LANGUAGES).find((name) => name !== current());
  language.textContent = LANGUAGES[other];
  language.lang = other === "zh" ? "zh-Hans" : other;
}

async function translate() {
  await load(Object.keys(LANGUAGES).find((name) => name !== current()));
  fill();
  write();
  shown?.translate();
}
