// How to have the same again: an address, a command, Python lines, files.

import { make } from "./elements.js";
import { file } from "./server.js";
import { fill, text, why } from "./words.js";

const FILES = ["png", "gif", "webp", "npz"];

export class Share {
  /** @param status where a failed download is said */
  constructor(status) {
    this.status = status;
    this.dialog = make("dialog", { class: "share", label: "again" });
    this.open = make("button", { type: "button", text: "again", onclick: () => this.#open() });
    this.files = FILES.map((suffix) =>
      make("button", { type: "button", class: "quiet", onclick: () => this.#download(suffix) }, suffix.toUpperCase()),
    );
    this.element = make(
      "div", { class: "share-row" }, this.open,
      make("span", { class: "files", role: "group", label: "download" },
        make("span", { text: "download" }), ...this.files),
      this.dialog,
    );
  }

  /** Take what is shown now. */
  set({ ask, start }) {
    Object.assign(this, { ask, start });
  }

  #open() {
    const parts = [["address", location.href], ["command", this.start?.command], ["python", this.start?.python]];
    this.dialog.replaceChildren(
      make("h2", { text: "again" }),
      ...parts.map(([name, content]) => this.#part(name, content)),
      make("form", { method: "dialog" }, make("button", { text: "close" })),
    );
    fill(this.dialog);
    this.dialog.showModal();
  }

  #part(name, content) {
    if (!content) return make("section", {}, make("h3", { text: name }), make("p", { text: `no_${name}` }));
    const shown = make("pre", { tabindex: 0 }, content);
    const copy = make("button", { type: "button", class: "quiet", text: "copy" });
    copy.addEventListener("click", async () => {
      try {
        await navigator.clipboard.writeText(content);
        copy.textContent = text("copied");
      } catch { // no clipboard for a page of another machine: choose the text instead
        getSelection().selectAllChildren(shown);
      }
    });
    return make("section", {}, make("h3", { text: name }), shown, copy);
  }

  async #download(suffix) {
    if (!this.ask) return;
    this.files.forEach((button) => { button.disabled = true; });
    try {
      const url = URL.createObjectURL(await file(suffix, this.ask));
      make("a", { href: url, download: `ddim-${this.ask.kind}-${this.ask.seed}.${suffix}` }).click();
      setTimeout(() => URL.revokeObjectURL(url), 60000);
    } catch (error) {
      this.status.fail(why(error));
    }
    this.files.forEach((button) => { button.disabled = false; });
  }
}
