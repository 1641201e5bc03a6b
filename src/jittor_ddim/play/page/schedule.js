// How much of the image and of the noise is left at each timestep, with those that were chosen.

import { draw, make } from "./elements.js";
import { text } from "./words.js";

const WIDTH = 360;
const HEIGHT = 110;
const FOOT = 20;

export class Schedule {
  constructor(about) {
    this.last = about.timesteps - 1;
    const line = (value) =>
      about.curve.map(([t, a], i) => `${i ? "L" : "M"}${this.#x(t).toFixed(1)} ${this.#y(value(a)).toFixed(1)}`).join("");
    this.ticks = draw("g", { class: "ticks" });
    this.now = draw("line", { class: "now", y1: 0, y2: HEIGHT - FOOT + 8 });
    this.words = ["from", "signal", "noise", "to"].map((name) => draw("text", { class: name }));
    const [from, signal, noise, to] = this.words;
    const places = [
      [from, 0, HEIGHT - 1, "start"], [to, WIDTH, HEIGHT - 1, "end"],
      [signal, 4, HEIGHT - FOOT - 12, "start"], [noise, 4, 17, "start"],
    ];
    for (const [word, x, y, anchor] of places) {
      for (const [key, value] of Object.entries({ x, y, "text-anchor": anchor })) word.setAttribute(key, value);
    }
    this.svg = draw(
      "svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img" },
      draw("path", { class: "signal", d: line(Math.sqrt) }),
      draw("path", { class: "noise", d: line((a) => Math.sqrt(1 - a)) }),
      this.ticks, this.now, ...this.words,
    );
    this.element = make("figure", { class: "schedule" }, this.svg, make("figcaption", { text: "schedule" }));
  }

  /** Mark the timesteps of a run. */
  show(timesteps) {
    const y = HEIGHT - FOOT;
    this.ticks.replaceChildren(
      ...timesteps.map((t) => draw("line", { x1: this.#x(t), x2: this.#x(t), y1: y, y2: y + 7 })),
    );
    this.svg.setAttribute("aria-label", text("schedule_of", { count: timesteps.length }));
    const names = [text("t", { t: this.last }), text("signal"), text("noise"), text("t", { t: 0 })];
    this.words.forEach((word, i) => { word.textContent = names[i]; });
  }

  /** Mark where a state is; -1 is past the last timestep. */
  mark(t) {
    for (const end of ["x1", "x2"]) this.now.setAttribute(end, this.#x(Math.max(0, t)));
  }

  #x(t) { // noise on the left, images on the right, as sampling goes
    return ((this.last - t) / this.last) * WIDTH;
  }

  #y(value) {
    return 3 + (1 - value) * (HEIGHT - FOOT - 6);
  }
}
