// Videos on their way to the service: chosen, sent one after the other, tried again where that helps.

import { headers, refusal } from "./api.js";
import { parameters, showWrong } from "./parameters.js";
import { bytes, readable, say, settings } from "./words.js";

const list = document.getElementById("uploads");
const row = document.getElementById("upload-row");
const start = document.getElementById("start");
const form = document.getElementById("new");
const drop = document.getElementById("drop");
const input = document.getElementById("files");
// What passes by itself. No answer at all (0) may be a proxy that is being restarted.
const PASSING = new Set([0, 408, 429, 502, 503, 504]);
const FIRST_PAUSE_S = 2;
const LONGEST_PAUSE_S = 60;

/** Tells by the event "done" that a video has become a task. */
export const uploads = new EventTarget();

const known = new Set();
let isSending = false;

export function startUploads() {
  const extensions = settings.extensions.join(" ");
  document.getElementById("drop-what").textContent = say("drop_what", {
    extensions,
    size: bytes(settings.most_bytes),
  });
  input.addEventListener("change", () => {
    stage(input.files);
    input.value = ""; // so that the same file can be chosen once more
  });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    send();
  });
  startDropping();
  addEventListener("beforeunload", (event) => {
    if ([...known].some((upload) => upload.isUnderWay)) event.preventDefault();
  });
}

function startDropping() {
  // A video that misses the frame would else be opened in place of the page.
  for (const name of ["dragover", "drop"]) addEventListener(name, (event) => event.preventDefault());
  addEventListener("dragover", (event) => {
    const isTaken = !form.closest("[hidden]") && event.dataTransfer.types.includes("Files");
    event.dataTransfer.dropEffect = isTaken ? "copy" : "none";
    drop.classList.toggle("over", isTaken);
  });
  addEventListener("dragleave", (event) => {
    if (event.relatedTarget === null) drop.classList.remove("over");
  });
  addEventListener("drop", (event) => {
    drop.classList.remove("over");
    if (!form.closest("[hidden]")) stage(event.dataTransfer.files);
  });
}

function stage(files) {
  for (const file of files) known.add(new Upload(file));
  count();
}

function send() {
  const asked = parameters();
  for (const upload of known) if (upload.state === "staged") upload.wait(asked);
  count();
  sendNext();
}

async function sendNext() {
  if (isSending) return;
  isSending = true;
  // A video that waits to be tried again lets no other pass: what it waits for, they would, too.
  for (let next; (next = [...known].find((upload) => upload.state === "waiting")); ) await next.send();
  isSending = false;
}

/** Have something removed or switched off, and the focus, if it is there, at what is next. */
function keepingFocus(element, change) {
  const isThere = element.contains(document.activeElement);
  change();
  if (isThere) input.focus({ preventScroll: true });
}

function count() {
  const staged = [...known].filter((upload) => upload.state === "staged").length;
  if (staged === 0) keepingFocus(start, () => (start.disabled = true));
  else start.disabled = false;
  start.textContent = staged > 1 ? say("start_count", { count: staged }) : say("start");
}

/** Is the file still as it was chosen? A folder with a video's name never was one. */
async function isReadable(file) {
  try {
    // The last byte: only there Firefox finds that a file has become shorter.
    return (await file.slice(-1).arrayBuffer()).byteLength === 1;
  } catch {
    return false;
  }
}

/** One video: staged, waiting, sending, then gone from the list; or failed. */
class Upload {
  constructor(file) {
    this.file = file;
    this.state = "staged";
    // The same for each try, so that one whose answer was lost makes no second task.
    this.key = Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16)).join("-");
    this.element = row.content.cloneNode(true).firstElementChild;
    this.about = this.element.querySelector(".about");
    this.bar = this.element.querySelector("progress");
    this.againButton = this.element.querySelector("[data-act=again]");
    const name = readable(file.name);
    this.element.querySelector(".name").textContent = name;
    this.bar.ariaLabel = name;
    this.element.querySelector(".actions").ariaLabel = name;
    this.element.querySelector("[data-act=remove]").addEventListener("click", () => this.remove());
    this.againButton.addEventListener("click", () => this.again());
    list.append(this.element);
    const trouble = this.trouble();
    if (trouble) this.fail(trouble, false);
    else this.show("staged", say("upload_staged", { size: bytes(file.size) }));
  }

  get isUnderWay() {
    return this.state === "waiting" || this.state === "sending";
  }

  /** Return why the service would not take it, as far as that can be seen from here. */
  trouble() {
    const name = this.file.name.toLowerCase();
    if (!settings.extensions.some((extension) => name.endsWith(extension))) {
      return say("not_video", { extensions: settings.extensions.join(" ") });
    }
    if (this.file.size > settings.most_bytes) return say("too_large", { size: bytes(settings.most_bytes) });
    return this.file.size === 0 ? say("empty_file") : null;
  }

  wait(asked) {
    this.asked = asked;
    this.about.role = null;
    this.show("waiting", say("upload_waiting"));
  }

  async send() {
    for (let pause = FIRST_PAUSE_S; this.isUnderWay; pause = Math.min(2 * pause, LONGEST_PAUSE_S)) {
      this.show("sending", "");
      // A browser does not say why nothing was sent, and what is gone does not come back by itself.
      if (!(await isReadable(this.file))) return this.fail(say("file_gone"), false);
      if (this.state === "removed") return;
      // First without its bytes: Firefox and WebKit look at no answer until all is sent, and the service
      // waits only some seconds with one that is against the rest.
      let refused = await this.sendOnce(new File([], this.file.name));
      if (this.state === "removed") return;
      if (refused?.code === "unreadable_media") refused = await this.sendOnce(this.file);
      if (this.state === "removed") return;
      if (refused === null) {
        this.remove();
        uploads.dispatchEvent(new Event("done"));
        return;
      }
      // Firefox sends as much of a file that has grown as there was when it was chosen, and then ends.
      if (refused.code === "incomplete_upload") return this.fail(say("file_gone"), false);
      if (!PASSING.has(refused.status)) {
        this.fail(refused.message, refused.status !== 415 && refused.status !== 413);
        if (refused.field) showWrong(refused.field);
        return;
      }
      await this.pause(refused.message, refused.retryAfter ?? pause);
    }
  }

  /** Send it, or another in its place; return why it was refused, null where it was taken. */
  sendOnce(file) {
    return new Promise((resolve) => {
      const request = new XMLHttpRequest();
      this.request = request;
      if (file === this.file) request.upload.addEventListener("progress", (event) => this.showSent(event));
      request.addEventListener("loadend", () => {
        if (request.status === 200) resolve(null);
        else if (request.status === 0) resolve(refusal(0, JSON.stringify({ detail: say("upload_broken") }), null));
        else resolve(refusal(request.status, request.responseText, request.getResponseHeader("Retry-After")));
      });
      request.open("POST", "upload");
      const sent = { ...headers(), "Idempotency-Key": this.key, "Upload-Length": this.file.size };
      for (const [name, value] of Object.entries(sent)) request.setRequestHeader(name, value);
      request.send(this.body(file));
    });
  }

  body(file) {
    const body = new FormData();
    for (const [name, value] of Object.entries(this.asked)) body.append(name, value);
    body.append("file", file); // last: what is wrong before it is told before it was sent
    return body;
  }

  async pause(reason, seconds) {
    this.isImpatient = false;
    for (let left = Math.ceil(seconds); left > 0 && this.isUnderWay && !this.isImpatient; left--) {
      this.show("waiting", say("upload_again_in", { reason, seconds: left }));
      this.againButton.hidden = false;
      await new Promise((resolve) => {
        this.wake = resolve;
        setTimeout(resolve, 1000);
      });
    }
  }

  /** Try again: now, where that was to come later, or with what the form asks for by now. */
  again() {
    if (this.state === "waiting") {
      this.isImpatient = true;
      this.wake();
      return;
    }
    this.wait(parameters());
    sendNext();
  }

  showSent({ loaded, total }) {
    const sent = loaded < total ? say("upload_sending", { sent: bytes(loaded), size: bytes(total) }) : say("upload_checking");
    this.bar.value = loaded / total;
    this.show("sending", sent);
  }

  fail(reason, mayTryAgain) {
    this.about.role = "alert"; // said aloud: whoever does not see the list would wait for nothing
    this.show("failed", readable(reason)); // it may name the file
    this.againButton.hidden = !mayTryAgain;
  }

  show(state, text) {
    if (this.state === "removed") return;
    this.state = state;
    this.element.className = `upload ${state}`;
    this.about.textContent = text;
    this.bar.hidden = state !== "sending";
    this.againButton.hidden = true;
  }

  remove() {
    this.state = "removed";
    this.request?.abort();
    this.wake?.();
    keepingFocus(this.element, () => this.element.remove());
    known.delete(this);
    count();
  }
}
