// A picture of one's own: up to its noise and down again, or redrawn from half-way.

import { make } from "../elements.js";
import { fit, run } from "../server.js";
import { ask, fromAddress, toAddress } from "../state.js";
import { decode } from "../states.js";
import { Viewer } from "../viewer.js";
import { fill, number, text, told, why } from "../words.js";

const COMMON = ["network", "mode", "engine", "precision", "sampler", "timesteps", "spacing"];
const AMPLIFIED = 8;

export class Picture {
  constructor(page) {
    this.page = page;
    this.viewers = { reconstruct: new Viewer(page, { most: 300 }), edit: new Viewer(page, {}) };
    this.errors = new Map();
    this.#build();
  }

  get controls() {
    const edit = ["eta", "strength", "variants", "seed", "class", "guidance"];
    return this.page.state.mode === "edit" ? [...COMMON, ...edit] : COMMON;
  }

  /** What a state must be here: not every sampler encodes, and none with noise. */
  fix({ mode, sampler }) {
    if (mode === "edit") return {};
    const encodes = this.page.about.samplers.find(({ name }) => name === sampler)?.encodes ?? true;
    return { eta: 0, ...(encodes ? {} : { sampler: "ddim" }) };
  }

  get viewer() {
    return this.viewers[this.page.state.mode] ?? this.viewers.reconstruct;
  }

  #build() {
    const input = make("input", { type: "file", accept: "image/*", id: "file" });
    input.addEventListener("change", () => this.#take(input.files[0]));
    this.small = make("canvas", { class: "small", role: "img", label: "your_picture", hidden: true });
    this.trouble = make("p", { class: "wrong", role: "alert" });
    const own = make("button", { type: "button", class: "quiet", text: "draw_one", onclick: () => this.#draw() });
    this.zone = make(
      "div", { class: "zone card" }, this.small,
      make("div", {}, make("p", { text: "drop" }),
        make("div", { class: "ways" }, input, make("label", { for: "file", class: "button", text: "choose" }), own),
        this.trouble),
    );
    for (const name of ["dragover", "dragleave", "drop"]) {
      this.zone.addEventListener(name, (event) => {
        event.preventDefault();
        this.zone.classList.toggle("over", name === "dragover");
        if (name === "drop" && event.dataTransfer.files[0]) this.#take(event.dataTransfer.files[0]);
      });
    }
    this.four = make("div", { class: "four" });
    this.table = make("table", {});
    this.place = make("div", {});
    this.found = make("div", { class: "found card", hidden: true }, this.four, this.table);
    this.element = make("div", { class: "own" }, this.zone, this.found, this.place);
  }

  async run() {
    const { state, about } = this.page;
    const { viewer } = this;
    this.place.replaceChildren(viewer.element);
    fill(this.place);
    Object.values(this.viewers).forEach((other) => other.stop());
    this.found.hidden = true;
    this.place.hidden = !state.picture;
    if (!state.picture) return;
    await this.#preview();
    const kind = state.mode === "edit" ? "edit" : "reconstruct";
    const picture = fromAddress(state.picture);
    const states = await viewer.begin(
      ask(state, about, kind, { picture, strength: state.strength, num_samples: state.variants }),
    );
    if (states && kind === "reconstruct") this.#compare(states);
  }

  async #take(file) {
    this.trouble.textContent = "";
    const most = this.page.about.most_bytes;
    try {
      if (file.size > most) throw new Error(text("too_large", { size: most / 1e6 }));
      this.page.change({ picture: toAddress(await fit(file, this.page.state.network)) });
    } catch (error) {
      this.trouble.textContent = why(error);
    }
  }

  /** A picture of the network's own, for whoever has none at hand. */
  async #draw() {
    const { state, about } = this.page;
    const drawn = { ...state, class: state.class === "all" ? "0" : state.class };
    const seed = Math.floor(Math.random() * 1e6);
    this.trouble.textContent = "";
    this.stop();
    try {
      let picture;
      for await (const event of run({ ...ask(drawn, about, "sample", { num_samples: 1 }), seed })) {
        if (event.error) throw told(event);
        picture = event.x_t ?? picture;
        if (event.done) this.page.change({ picture: toAddress(picture) }); // not where it was cancelled
      }
    } catch (error) {
      this.trouble.textContent = why(error);
    }
  }

  async #preview() {
    const { picture } = this.page.state;
    if (this.previewed === picture) return;
    const { image_size: size } = this.page.about;
    Object.assign(this.small, { width: size, height: size });
    try {
      this.small.getContext("2d").drawImage(await decode(fromAddress(picture)), 0, 0);
      this.small.hidden = false;
    } catch {
      this.small.hidden = true; // the server says what is wrong with it
    }
    this.previewed = picture;
  }

  /** The picture, its noise, what came back, and the difference; and the errors of all S so far. */
  #compare(states) {
    const { image_size: size } = this.page.about;
    const last = states.list.at(-1);
    // On a slow connection some states are missing.
    const latent = states.list.find(({ position }) => position === (states.start.states - 1) / 2);
    const pictures = { original: this.small, ...(latent && { latent: latent.x_t }), decoded: last.x_t };
    const data = {};
    const figures = Object.entries({ ...pictures, difference: null }).map(([name, picture]) => {
      const canvas = make("canvas", { width: size, height: size, role: "img", label: `four_${name}` });
      const context = canvas.getContext("2d");
      if (picture) {
        context.drawImage(picture, 0, 0);
        data[name] = context.getImageData(0, 0, size, size);
      } else context.putImageData(amplified(data.original, data.decoded), 0, 0);
      return make("figure", {}, canvas, make("figcaption", { text: `four_${name}` }));
    });
    this.four.replaceChildren(...figures);
    const { state } = this.page;
    const key = [state.picture, state.sampler, state.spacing, state.engine].join();
    if (key !== this.key) this.errors.clear();
    this.key = key;
    this.errors.set(state.timesteps, last.remark);
    this.found.hidden = false;
    this.translate();
  }

  translate() {
    Object.values(this.viewers).forEach((viewer) => viewer.translate());
    const rows = [...this.errors].sort(([a], [b]) => a - b).map(([count, { mse, largest }]) =>
      make("tr", { class: count === this.page.state.timesteps ? "now" : undefined },
        ...[String(count), number(mse), number(largest)].map((value) => make("td", {}, value))),
    );
    const heads = ["errors_calls", "errors_mse", "errors_largest"].map((name) => make("th", { scope: "col", text: name }));
    this.table.replaceChildren(make("caption", { text: "errors" }), make("tr", {}, ...heads), ...rows);
    fill(this.found);
  }

  stop() {
    Object.values(this.viewers).forEach((viewer) => viewer.stop());
  }
}

/** |a - b|, made visible. */
function amplified(a, b) {
  const result = new ImageData(a.width, a.height);
  for (let i = 0; i < a.data.length; i += 1) {
    result.data[i] = i % 4 === 3 ? 255 : AMPLIFIED * Math.abs(a.data[i] - b.data[i]);
  }
  return result;
}
