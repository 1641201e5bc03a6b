// Two engines, the same seed: their images, the difference made visible, the time of each.

import { Board } from "../board.js";
import { make } from "../elements.js";
import { Run, Status } from "../run.js";
import { Share } from "../share.js";
import { ask } from "../state.js";
import { fill, number, text } from "../words.js";

const MOST_IMAGES = 16; // whose numbers a page keeps for every step

export class Twins {
  controls = ["network", "precision", "sampler", "timesteps", "spacing", "eta", "num_samples", "seed", "class", "guidance", "gain"];

  constructor(page) {
    this.page = page;
    this.engines = page.about.engines.slice(0, 2);
    this.sides = this.engines.map(({ name, title }) => {
      const status = new Status();
      const board = new Board(null);
      const share = new Share(status, name);
      const figure = make("figure", { class: "card" }, make("figcaption", {}, title), board.canvas, status.element, share.element);
      return { name, title, board, figure, status, share, run: new Run(page.about.image_size, status), states: null };
    });
    this.board = new Board(null);
    const apart = make("figure", { class: "card" }, make("figcaption", { text: "apart" }), this.board.canvas);
    this.slider = make("input", { type: "range", min: 0, max: 0, value: 0, label: "position" });
    this.slider.addEventListener("input", () => this.#show(Number(this.slider.value)));
    this.table = make("table", { class: "times" });
    this.element = make(
      "div", { class: "twins" }, make("p", { class: "about", text: "about_twins" }),
      make("div", { class: "sides" }, ...this.sides.map(({ figure }) => figure), apart),
      make("div", { class: "strip-slider card" }, this.slider), make("div", { class: "found card" }, this.table),
    );
  }

  /** One after the other, so that neither slows the other down. */
  async run() {
    const { state, about } = this.page;
    const turn = (this.turn = (this.turn ?? 0) + 1);
    this.stop();
    const count = Math.min(MOST_IMAGES, about.most_raw, state.num_samples);
    const common = ask(state, about, "sample", { num_samples: count });
    for (const { share, name } of this.sides) share.set({ ask: { ...common, engine: name }, start: null });
    for (const side of this.sides) {
      if (turn !== this.turn) return;
      const wanted = { ...common, engine: side.name };
      side.fresh = await side.run.begin({ ...wanted, raw: true }, (states) => {
        side.share.set({ ask: wanted, start: states.start });
        side.board.show(states, states.list.at(-1).x_t);
      }, side.title);
      if (!side.fresh) return;
    }
    if (turn !== this.turn) return;
    for (const side of this.sides) {
      side.states?.close();
      side.states = side.fresh;
    }
    this.slider.max = this.sides[0].states.list.length - 1;
    this.slider.value = this.slider.max;
    this.#show(Number(this.slider.max));
    this.element.dataset.done = Number(this.element.dataset.done ?? 0) + 1;
  }

  stop() {
    this.sides.forEach(({ run }) => run.stop());
  }

  translate() {
    this.sides.forEach(({ status }) => status.translate());
    if (this.sides.every(({ states }) => states)) this.#show(Number(this.slider.value));
  }

  #show(position) {
    if (!this.sides.every(({ states }) => states)) return;
    const { states } = this.sides[0];
    const first = states.list[position];
    // Of a side that a slow connection has held up, a state may be missing.
    const shown = this.sides.map(({ states: { list } }) => list.find((s) => s.position >= first.position) ?? list.at(-1));
    this.sides.forEach((side, i) => side.board.show(side.states, shown[i].x_t));
    const [a, b] = shown.map(({ raw }) => raw);
    this.board.show(states, this.#apart(states, a, b));
    const { t } = first;
    this.slider.setAttribute("aria-valuetext", text(t < 0 ? "at_end" : "at", { t }));
    let largest = 0;
    let beyond = 0;
    for (let i = 0; i < a.length; i += 1) {
      const d = Math.abs(a[i] - b[i]);
      largest = Math.max(largest, d);
      beyond += d > 1 / 255;
    }
    this.#say({ largest, share: (100 * beyond) / a.length, t });
  }

  /** The difference as a picture laid out like those of the server. */
  #apart(states, a, b) {
    const { size, columns } = states;
    const { images } = states.start;
    const channels = a.length / (images * size * size);
    const canvas = make("canvas", { width: columns * size, height: Math.ceil(images / columns) * size });
    const context = canvas.getContext("2d");
    const gain = this.page.state.gain * 255;
    for (let image = 0; image < images; image += 1) {
      const tile = new ImageData(size, size);
      for (let p = 0; p < size * size; p += 1) {
        for (let c = 0; c < 3; c += 1) {
          const i = (image * channels + (channels === 1 ? 0 : c)) * size * size + p;
          tile.data[4 * p + c] = gain * Math.abs(a[i] - b[i]);
        }
        tile.data[4 * p + 3] = 255;
      }
      context.putImageData(tile, (image % columns) * size, Math.floor(image / columns) * size);
    }
    return canvas;
  }

  #say({ largest, share, t }) {
    const row = (name, ...values) =>
      make("tr", {}, make("th", { scope: "row", text: name }), ...values.map((value) => make("td", { colspan: values.length === 1 ? 2 : 1 }, value)));
    const seconds = this.sides.map(({ states }) => states.seconds);
    this.table.replaceChildren(
      make("tr", {}, make("td"), ...this.sides.map(({ title }) => make("th", { scope: "col" }, title))),
      row("times_seconds", ...seconds.map((s) => number(s))),
      row("times_step", text(t < 0 ? "at_end" : "at", { t })),
      row("times_largest", number(largest)),
      row("times_share", `${number(share)} %`),
    );
    fill(this.table);
  }
}
