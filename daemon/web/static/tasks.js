// The list of tasks, kept as the service has it, and what can be done to each.

import { get, linkTo, post } from "./api.js";
import { compare } from "./compare.js";
import { showDetails } from "./details.js";
import { moment, number, readable, say, settings, span, write } from "./words.js";

const list = document.getElementById("tasks");
const rowTemplate = document.getElementById("task-row");
const trouble = document.getElementById("trouble");
const chips = [...document.querySelectorAll("#filters .chip")];
const owner = document.querySelector("#filter-user input");
const pages = document.getElementById("pages");
const older = document.getElementById("older");
const newer = document.getElementById("newer");
const ON_A_PAGE = 50;
const LIVELY_MS = 1000;
const CALM_MS = 5000;
const ENDED = new Set(["completed", "failed", "cancelled"]);

/** Tells by the event "caller" who calls, whenever that is known anew. */
export const tasks = new EventTarget();

const rows = new Map();
// Below which task each page begins; the first is the newest of all.
let befores = [null];
let status = "";
// Grows with whatever makes answers that are under way out of date.
let turn = 0;
let wake = () => {};
let isShown = false;

export function startTasks() {
  for (const chip of chips) chip.addEventListener("click", () => filter(chip.dataset.status));
  owner.addEventListener("change", () => filter(status));
  older.addEventListener("click", () => {
    const last = [...rows.keys()].at(-1);
    if (last !== befores.at(-1)) leaf([...befores, last]); // else that page is on its way already
  });
  newer.addEventListener("click", () => leaf(befores.slice(0, -1)));
  document.addEventListener("visibilitychange", () => wake());
  follow();
}

/** Show the list as it is by now. */
export function refresh() {
  turn++;
  wake();
}

export function showTasks(isWanted) {
  isShown = isWanted;
  if (isWanted) return refresh();
  for (const row of rows.values()) row.element.remove();
  rows.clear();
  owner.value = ""; // the next key may be a user's, who would not even see it
  befores = [null];
}

async function follow() {
  for (;;) {
    let pause = CALM_MS;
    if (isShown && !document.hidden) {
      try {
        pause = await look();
        tell(null);
      } catch (error) {
        if (error.code !== "invalid_api_key") tell(error.message);
      }
    }
    await new Promise((resolve) => {
      wake = resolve;
      setTimeout(resolve, pause);
    });
  }
}

/** Ask and show; return in how many milliseconds to look again. */
async function look() {
  const asked = turn;
  const query = { limit: ON_A_PAGE + 1 };
  if (status) query.status = status;
  if (owner.value.trim()) query.user_id = owner.value.trim();
  if (befores.at(-1)) query.before = befores.at(-1);
  const [stats, found] = await Promise.all([get("stats"), get("tasks", query)]);
  if (asked !== turn) return 0;
  tasks.dispatchEvent(new CustomEvent("caller", { detail: stats.caller }));
  showCounts(stats.queue);
  show(found.tasks);
  return stats.queue.pending + stats.queue.processing > 0 ? LIVELY_MS : CALM_MS;
}

function tell(message) {
  write(trouble, message ?? "");
  trouble.hidden = message === null;
}

function filter(wanted) {
  status = wanted;
  for (const chip of chips) chip.setAttribute("aria-pressed", String(chip.dataset.status === status));
  leaf([null]);
}

function leaf(to) {
  befores = to;
  refresh();
}

function showCounts(queue) {
  for (const chip of chips) {
    write(chip.querySelector(".count"), number(queue[chip.dataset.status || "total"]));
  }
}

function show(found) {
  const shown = found.slice(0, ON_A_PAGE);
  const ids = new Set(shown.map((task) => task.task_id));
  for (const [id, row] of rows) if (!ids.has(id)) row.element.remove();
  const before = new Map(rows);
  rows.clear();
  shown.forEach((task, place) => {
    const row = before.get(task.task_id) ?? new Row();
    row.show(task);
    rows.set(task.task_id, row);
    // Moved only where it lies elsewhere: moving takes the focus away.
    if (list.children[place] !== row.element) list.insertBefore(row.element, list.children[place] ?? null);
  });
  older.disabled = found.length <= ON_A_PAGE;
  newer.disabled = befores.length === 1;
  pages.hidden = older.disabled && newer.disabled;
  document.getElementById("none").hidden = found.length > 0;
}

class Row {
  constructor() {
    this.element = rowTemplate.content.cloneNode(true).firstElementChild;
    this.problem = this.element.querySelector(".problem");
    for (const button of this.element.querySelectorAll("button")) {
      button.addEventListener("click", () => this.act(button));
    }
  }

  show(task) {
    if (task.status !== this.task?.status) this.isRefused = false; // what was refused is over
    this.task = task;
    const part = (selector) => this.element.querySelector(selector);
    this.element.dataset.status = task.status;
    this.element.dataset.id = task.task_id;
    const name = readable(task.input_video);
    write(part(".name"), name);
    write(part(".status"), task.status_text);
    part("progress").hidden = task.status !== "processing";
    part("progress").value = task.progress;
    part("progress").ariaLabel = name;
    part(".actions").ariaLabel = name;
    write(part(".about"), about(task));
    if (!this.isRefused) this.tell(task.status === "failed" ? task.error_message : null);
    const isCompleted = task.status === "completed";
    const may = { download: isCompleted, compare: isCompleted, cancel: !ENDED.has(task.status), details: true };
    may.retry = task.status === "failed" || task.status === "cancelled";
    const focused = document.activeElement;
    for (const button of this.element.querySelectorAll("button")) button.hidden = !may[button.dataset.act];
    // Else whoever has no mouse would begin at the top of the page again.
    if (focused.hidden && this.element.contains(focused)) part("[data-act=details]").focus();
  }

  async act(button) {
    const acts = { download, compare, details: showDetails, cancel: change, retry: change };
    if (button.ariaBusy) return; // and not disabled, which would take the focus away
    button.ariaBusy = "true";
    try {
      this.isRefused = false;
      const changed = await acts[button.dataset.act](this.task, button.dataset.act);
      if (changed) {
        refresh();
        this.show(changed);
      }
    } catch (error) {
      this.isRefused = true;
      this.tell(error.message);
    }
    button.ariaBusy = null;
  }

  tell(message) {
    this.problem.role = this.isRefused ? "alert" : null; // what was just asked for is answered aloud
    this.problem.lang = this.isRefused ? settings.language : "en"; // as the service keeps it
    write(this.problem, readable(message ?? "")); // it may name the file
    this.problem.hidden = !message;
  }
}

async function change(task, act) {
  return (await post(`${act}/${task.task_id}`)).task;
}

async function download(task) {
  const link = document.createElement("a");
  link.href = await linkTo(task.task_id);
  link.download = "";
  link.click();
}

function about(task) {
  const words = [];
  if (task.user_id) words.push(task.user_id);
  words.push(moment(task.created_at));
  if (task.queue_position !== null) words.push(say("task_place", { place: number(task.queue_position) }));
  if (task.status === "processing") {
    words.push(`${number(task.progress)} %`);
    if (task.processed_frames && task.total_frames) {
      words.push(say("task_frames", { done: number(task.processed_frames), total: number(task.total_frames) }));
    }
    if (task.eta_s !== null) words.push(say("task_eta", { time: span(task.eta_s) }));
  }
  return words.join(" · ");
}
