// The page: who may come in, and its parts.

import { door, forgetKey, get, headers, keepKey, key, mayRemember } from "./api.js";
import { startCompare } from "./compare.js";
import { startDetails } from "./details.js";
import { showOwner, startParameters } from "./parameters.js";
import { refresh, showTasks, startTasks, tasks } from "./tasks.js";
import { startUploads, uploads } from "./uploads.js";
import { say, write } from "./words.js";

const inside = document.getElementById("inside");
const form = document.getElementById("key");
const problem = form.querySelector(".problem");
const forget = document.getElementById("key-forget");
const health = document.getElementById("health");
const problems = document.getElementById("problems");
const HEALTH_MS = 15_000;

function open() {
  form.hidden = true;
  inside.hidden = false;
  forget.hidden = key() === null;
  showTasks(true);
}

/** Ask for a key. */
function close() {
  // What they show is the former key's.
  for (const dialog of document.querySelectorAll("dialog")) dialog.close();
  inside.hidden = true;
  form.hidden = false;
  forget.hidden = true;
  showTasks(false);
  form.elements.key.focus();
}

async function enter(event) {
  event.preventDefault();
  keepKey(form.elements.key.value.trim(), form.elements.remember.checked);
  tell(null);
  try {
    await get("stats");
    form.reset();
    open();
  } catch (error) {
    forgetKey();
    tell(error.message);
  }
}

/** A key that is no longer one is forgotten; what its owner has begun here may go on by the next. */
function leave() {
  forgetKey();
  tell(null);
  close();
}

/** Who signs out leaves nothing to whoever comes next: no videos to be sent, no notes, no filter. */
function signOut() {
  forgetKey();
  location.reload();
}

function tell(message) {
  problem.textContent = message ?? "";
  problem.hidden = message === null;
}

async function begin() {
  try {
    await get("stats");
  } catch (error) {
    // Whatever else is wrong the list tells.
    if (error.code === "invalid_api_key") return leave();
  }
  open();
}

async function showHealth() {
  if (document.hidden) return;
  let told = {};
  try {
    told = await (await fetch("health", { cache: "no-store", headers: headers() })).json();
  } catch {
    // the list says so
  }
  const isGood = told.status === "healthy";
  health.hidden = false;
  health.className = isGood ? "good" : "bad";
  write(health, say(isGood ? "health_good" : "health_bad"));
  write(problems, (told.problems ?? []).join("\n"));
  problems.hidden = problems.textContent === "";
}

startParameters();
startUploads();
startCompare();
startDetails();
startTasks();
form.elements.remember.closest("label").hidden = !mayRemember;
form.addEventListener("submit", enter);
forget.addEventListener("click", signOut);
door.addEventListener("wanted", () => inside.hidden || leave());
uploads.addEventListener("done", refresh);
tasks.addEventListener("caller", ({ detail }) => {
  // A user's key is for that user alone.
  const isForAll = detail.is_admin || detail.user_id === null;
  showOwner(isForAll);
  document.getElementById("filter-user").hidden = !isForAll;
});
// "Back" shall bring no page as it was left: it may have been signed out of since, and Firefox gives even
// its key back to it. Firefox keeps none that listens to "unload"; other browsers keep it, and are told here.
addEventListener("unload", () => {});
addEventListener("pageshow", (event) => event.persisted && location.reload());
setInterval(showHealth, HEALTH_MS);
showHealth();
begin();
