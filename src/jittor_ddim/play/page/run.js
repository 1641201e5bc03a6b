// One run at a time, and the line that says how it is going.

import { make } from "./elements.js";
import { run } from "./server.js";
import { States } from "./states.js";
import { number, text, told, why } from "./words.js";

export class Status {
  constructor() {
    this.bar = make("progress", { max: 1, value: 0, label: "progress" });
    this.line = make("p", { class: "line", role: "status" });
    this.element = make("div", { class: "status" }, this.bar, this.line);
  }

  /** @param passing whether it changes with every step, which is not for reading out */
  say(key, values, passing = false) {
    this.said = [key, values, passing];
    this.line.ariaBusy = passing;
    this.line.classList.remove("wrong");
    this.line.textContent = text(key, values);
  }

  /** Say the same in another language. */
  translate() {
    if (this.said) this.say(...this.said);
  }

  fail(message) {
    this.said = null;
    this.line.ariaBusy = false;
    this.bar.value = 0;
    this.line.classList.add("wrong");
    this.line.textContent = message;
  }
}

export class Run {
  /** @param size of an image, in pixels */
  constructor(size, status) {
    Object.assign(this, { size, status });
  }

  /**
   * Run, and call `each(states)` with every new state; end whatever ran before.
   * @returns the states, or null if the run did not reach its end
   */
  async begin(ask, each, title) {
    this.stop();
    const controller = new AbortController();
    this.controller = controller;
    let states = null;
    let seconds = 0;
    try {
      for await (const event of run(ask, controller.signal)) {
        if (controller.signal.aborted || event.cancelled) break;
        if (event.error) throw told(event);
        if (event.start) states = new States(event.start, this.size);
        else if (event.starting) this.status.say("starting", { engine: title });
        else if (event.opening) this.status.say("opening");
        else if (event.waiting) this.status.say("waiting", { count: event.waiting });
        else if (event.done) {
          this.#end(states, seconds);
          return states;
        } else if ("position" in event) {
          seconds = event.seconds;
          this.status.say("at", { t: number(Math.max(0, event.t)) }, true);
          this.status.bar.value = event.position / (states.start.states - 1);
          await states.add(event);
          if (controller.signal.aborted) break;
          if (event.x_t) each(states);
        }
      }
      if (!controller.signal.aborted) this.status.fail(text("lost")); // the server is ending
    } catch (error) {
      if (controller.signal.aborted) return null;
      this.status.fail(why(error));
    }
    return null;
  }

  stop() {
    this.controller?.abort();
  }

  #end(states, seconds) {
    states.seconds = seconds;
    const { calls, images } = states.start;
    this.status.bar.value = 1;
    this.status.say(states.list[0].phase === "up" ? "done_picture" : "done", {
      calls, images, seconds: number(seconds), rate: number(images / Math.max(seconds, 1e-6)),
    });
  }
}
