// The way of one image as a strip of film, x_t above the predicted x0, and a slider along it.

import { make } from "./elements.js";
import { text } from "./words.js";

const FRAME = 48;
const GAP = 4;

export class Film {
  /** @param scrub called with the number of the state to show */
  constructor(scrub) {
    this.canvas = make("canvas", { class: "film", role: "img", label: "film" });
    this.slider = make("input", { type: "range", min: 0, max: 0, value: 0, label: "position" });
    this.element = make("div", { class: "strip" }, this.canvas, this.slider);
    this.slider.addEventListener("input", () => scrub(Math.min(Number(this.slider.value), this.states.list.length - 1)));
    this.canvas.addEventListener("click", (event) => {
      const found = this.frames?.[Math.floor((event.offsetX * this.frames.length) / this.canvas.clientWidth)];
      if (found < this.states.list.length) scrub(found);
    });
    new ResizeObserver(() => this.#draw()).observe(this.canvas);
  }

  show(states, image, position) {
    Object.assign(this, { states, image, position });
    this.last = Math.max(states.start.shown, states.list.length) - 1; // also of those that are still to come
    this.slider.max = this.last;
    this.slider.value = position;
    const { t } = states.list[position];
    this.slider.setAttribute("aria-valuetext", text(t < 0 ? "at_end" : "at", { t }));
    this.#draw();
  }

  #draw() {
    const { canvas, states } = this;
    if (!states?.list.length || !canvas.clientWidth) return;
    const room = Math.max(2, Math.floor(canvas.clientWidth / FRAME));
    const { last } = this;
    const count = Math.min(room, last + 1);
    this.frames = Array.from({ length: count }, (_, i) => Math.round((i * last) / Math.max(1, count - 1)));
    const scale = devicePixelRatio;
    const gap = GAP * scale;
    const side = Math.round((FRAME - GAP) * scale);
    canvas.width = Math.round(canvas.clientWidth * scale);
    canvas.height = 2 * side + 3 * gap;
    canvas.style.aspectRatio = `${canvas.width} / ${canvas.height}`;
    const context = canvas.getContext("2d");
    const step = canvas.width / count;
    const there = this.frames.filter((index) => index < states.list.length);
    const near = there.reduce((a, b) => (Math.abs(b - this.position) < Math.abs(a - this.position) ? b : a));
    there.forEach((index, i) => {
      const { x_t, x0 } = states.list[index];
      const x = Math.round(i * step + (step - side) / 2);
      if (index === near) {
        context.fillStyle = getComputedStyle(canvas).getPropertyValue("--accent");
        context.fillRect(x - gap / 2, gap / 2, side + gap, x0 ? 2 * side + 2 * gap : side + gap);
      }
      states.tile(context, x_t, this.image, x, gap, side);
      if (x0) states.tile(context, x0, this.image, x, side + 2 * gap, side);
    });
  }
}
