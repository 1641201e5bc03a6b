// The controls of all tabs; a tab shows some of them.

import { make } from "./elements.js";
import { fill, text } from "./words.js";

const STOPS = {
  timesteps: [1, 2, 3, 4, 5, 6, 8, 10, 12, 15, 20, 25, 30, 40, 50, 75, 100, 150, 200, 300, 500, 1000],
  num_samples: [4, 9, 16, 25, 36, 49, 64],
  gain: [1, 10, 100, 1000, 10000, 100000, 1000000],
};

export class Controls {
  /** @param change called with {key: value} when somebody moves something */
  constructor(form, page, change) {
    Object.assign(this, { form, page, change, rows: {}, inputs: {} });
    const { about } = page;
    form.replaceChildren();
    this.#choice("network", about.networks.map((name) => [name, name]));
    this.#choice("engine", about.engines.map(({ name, title }) => [name, title]));
    if (about.precisions.length > 1) this.#choice("precision", about.precisions.map((name) => [name, name]));
    this.#choice("mode", ["reconstruct", "edit"].map((name) => [name, null]));
    this.#choice("sampler", about.samplers.map(({ name }) => [name, name]));
    this.#stops("timesteps", true);
    this.#choice("spacing", about.spacings.map((name) => [name, name]));
    this.#range("eta", 0, 1, 0.05);
    this.#range("strength", 0.05, 1, 0.05);
    this.#stops("num_samples");
    this.#range("points", Math.min(3, about.most_images), Math.min(12, about.most_images), 1);
    this.#range("variants", 1, Math.min(16, about.most_images), 1);
    this.#seed("seed");
    this.#seed("other_seed");
    if (about.classes.length) this.#classes(about);
    this.#stops("gain");
    form.addEventListener("submit", (event) => event.preventDefault());
    fill(form);
  }

  /** Show some of them, with the values of the state. */
  show(names) {
    const { state, about } = this.page;
    const sampler = about.samplers.find(({ name }) => name === state.sampler);
    for (const [name, row] of Object.entries(this.rows)) {
      row.hidden = !names.includes(name);
      this.inputs[name].forEach((put) => put(state[name]));
    }
    this.#able("eta", sampler?.eta ?? true);
    if (this.rows.guidance) this.#able("guidance", state.class !== "");
    const turns = this.rows.class?.querySelector("option[value=all]");
    if (turns) turns.disabled = state.tab === "arc";
    for (const option of this.rows.sampler.querySelectorAll("option")) {
      const { encodes } = about.samplers.find(({ name }) => name === option.value);
      option.disabled = names.includes("mode") && state.mode === "reconstruct" && !encodes;
    }
  }

  #able(name, able) {
    for (const input of this.rows[name].querySelectorAll("input")) input.disabled = !able;
  }

  #row(name, inputs, puts, output) {
    inputs[0].id = `control-${name}`;
    const label = make("label", { for: inputs[0].id }, make("span", { text: `control_${name}` }));
    if (output) label.append(output);
    this.rows[name] = make("div", { class: "row", "data-name": name }, label, make("div", { class: "inputs" }, ...inputs));
    this.inputs[name] = puts;
    this.form.append(this.rows[name]);
  }

  #choice(name, options) {
    const select = make("select", { onchange: () => this.change({ [name]: select.value }) });
    for (const [value, title] of options) {
      select.append(make("option", { value, text: title === null ? `${name}_${value || "none"}` : undefined }, title ?? ""));
    }
    this.#row(name, [select], [(value) => { select.value = value; }]);
  }

  #range(name, min, max, step) {
    const output = make("output", { for: `control-${name}` });
    const range = make("input", { type: "range", min, max, step });
    range.addEventListener("input", () => {
      output.textContent = range.value;
      this.change({ [name]: Number(range.value) });
    });
    this.#row(name, [range], [(value) => { range.value = value; output.textContent = value; }], output);
  }

  /** A slider over chosen numbers, and with `exact` a field for any other. */
  #stops(name, exact = false) {
    const { timesteps, most_images: num_samples } = this.page.about;
    const most = { timesteps, num_samples }[name] ?? Infinity;
    const stops = STOPS[name].filter((n) => n < most);
    if (most < Infinity) stops.push(most);
    const output = make("output", { for: `control-${name}` });
    const range = make("input", { type: "range", min: 0, max: stops.length - 1, step: 1 });
    const field = make("input", { type: "number", min: 1, max: stops.at(-1), label: `control_${name}` });
    range.addEventListener("input", () => {
      const value = stops[range.value];
      field.value = output.textContent = value;
      range.setAttribute("aria-valuetext", value);
      this.change({ [name]: value });
    });
    field.addEventListener("change", () => {
      if (field.checkValidity() && field.value) this.change({ [name]: Number(field.value) });
    });
    const put = (value) => {
      const nearest = stops.reduce((a, b) => (Math.abs(b - value) < Math.abs(a - value) ? b : a));
      range.value = stops.indexOf(nearest);
      range.setAttribute("aria-valuetext", value);
      field.value = output.textContent = value;
    };
    this.#row(name, exact ? [range, field] : [range], [put], exact ? null : output);
  }

  #seed(name) {
    const field = make("input", { type: "number", min: 0, max: Number.MAX_SAFE_INTEGER, step: 1 });
    field.addEventListener("change", () => {
      if (field.checkValidity() && field.value) this.change({ [name]: Number(field.value) });
    });
    const dice = make("button", {
      type: "button", class: "quiet", text: "another",
      onclick: () => this.change({ [name]: Math.floor(Math.random() * 1e6) }),
    });
    this.#row(name, [field, dice], [(value) => { field.value = value; }]);
  }

  #classes(about) {
    const named = about.classes.map((name, number) => [String(number), name]);
    const none = about.no_class ? [["", null]] : [];
    this.#choice("class", [["all", null], ...none, ...named]);
    this.#range("guidance", 0, 5, 0.25);
  }

  translate() {
    fill(this.form);
  }
}

/** A network in a line. */
export const describe = ({ title, image_size: size, classes: { length: classes } }) =>
  text(classes ? "network_classes" : "network", { title, size, classes });
