// Original and protected at one moment, one over the other, with a border to be moved.

import { answer, linkTo } from "./api.js";
import { number, readable, say } from "./words.js";

const dialog = document.getElementById("compare");
const stage = document.getElementById("stage");
const pair = document.getElementById("pair");
const edge = document.getElementById("edge");
const slider = document.getElementById("moment");
const full = document.getElementById("full");
const play = document.getElementById("play");
const video = dialog.querySelector("video");
const problem = dialog.querySelector(".problem");
const WHICH = ["original", "protected"];
// A slider that is being moved asks for nothing until it rests.
const REST_MS = 150;
const FIRST_LOOK = 0.3;

let task = null;
let asked = null;
let rest = 0;

/** Open the dialog for a completed task. */
export function compare(shown) {
  task = shown;
  dialog.querySelector("h2").textContent = readable(task.input_video);
  slider.max = 0;
  edge.value = 50;
  full.checked = false;
  pair.hidden = true; // until there are frames: browsers draw a broken picture in their place
  showEdge();
  showFull();
  showStills();
  dialog.showModal();
  look(0).then((length) => {
    // The beginning of a video is often black.
    if (length) look(length * FIRST_LOOK);
  });
}

export function startCompare() {
  dialog.querySelector(".close").addEventListener("click", () => dialog.close());
  dialog.addEventListener("close", leave);
  edge.addEventListener("input", showEdge);
  full.addEventListener("change", showFull);
  play.addEventListener("click", () => (video.hidden ? showVideo() : showStills()));
  video.addEventListener("error", () => {
    if (video.hasAttribute("src")) tell(say("compare_unplayable"));
  });
  slider.addEventListener("input", () => {
    asked?.abort(); // what comes late would move the slider back
    showMoment(slider.value);
    clearTimeout(rest);
    rest = setTimeout(() => look(Number(slider.value)), REST_MS);
  });
  pair.addEventListener("pointerdown", (event) => {
    // A finger moves a picture that is larger than the screen.
    if (event.button !== 0 || (full.checked && event.pointerType === "touch")) return;
    pair.setPointerCapture(event.pointerId);
    drag(event);
  });
  pair.addEventListener("pointermove", (event) => {
    if (pair.hasPointerCapture(event.pointerId)) drag(event);
  });
}

function drag(event) {
  const box = pair.getBoundingClientRect();
  edge.value = (100 * (event.clientX - box.left)) / box.width;
  showEdge();
}

function showEdge() {
  pair.style.setProperty("--edge", `${edge.value}%`);
}

function showFull() {
  stage.classList.toggle("full", full.checked);
}

function showMoment(seconds) {
  slider.labels[0].querySelector(".value").textContent = say("seconds", { seconds: number(Number(seconds), 2) });
}

/** Show both at a moment; return how long the video is, null where that is unknown or out of date. */
async function look(seconds) {
  asked?.abort();
  asked = new AbortController();
  const { signal } = asked;
  stage.classList.add("busy");
  try {
    const original = await stillOfOriginal(seconds, signal);
    // Of the same frame: containers round times differently, so one moment may be of two frames.
    const result = await still("protected", original.seconds, signal);
    if (signal.aborted) return null;
    put(pair.querySelector(".original"), original.png);
    put(pair.querySelector(".protected"), result.png);
    pair.classList.toggle("alone", original.png === null);
    pair.hidden = false;
    edge.disabled = original.png === null;
    // An original that was cut short may say more than it has.
    const length = result.length || original.length;
    slider.max = length;
    slider.value = seconds;
    showMoment(result.seconds);
    tell(original.problem);
    return length;
  } catch (error) {
    if (!signal.aborted) tell(error.message);
    return null;
  } finally {
    if (!signal.aborted) stage.classList.remove("busy");
  }
}

/** Results are kept longer than originals: without one there is its copy to see, and a word why. */
async function stillOfOriginal(seconds, signal) {
  try {
    return await still("original", seconds, signal);
  } catch (error) {
    if (error.code !== "original_removed") throw error;
    return { png: null, problem: error.message, seconds, length: 0 };
  }
}

async function still(which, seconds, signal) {
  const { headers, body } = await answer("GET", `still/${task.task_id}`, { of: which, at: seconds.toFixed(3) }, signal);
  const numbered = (name) => Number(headers.get(name)) || 0;
  return { png: body, seconds: numbered("Still-Seconds"), length: numbered("Video-Seconds") };
}

function put(image, png) {
  if (image.src) URL.revokeObjectURL(image.src);
  if (png) image.src = URL.createObjectURL(png);
  else image.removeAttribute("src");
}

async function showVideo() {
  const wanted = task;
  try {
    const url = await linkTo(task.task_id);
    if (!dialog.open || task !== wanted) return;
    video.src = url;
  } catch (error) {
    return tell(error.message);
  }
  swap(true);
  // It may be refused, as by a browser that saves data; then the controls are there.
  video.play().catch(() => {});
}

function showStills() {
  video.pause();
  video.removeAttribute("src");
  video.load();
  swap(false);
}

function swap(isPlaying) {
  video.hidden = !isPlaying;
  stage.hidden = isPlaying;
  for (const input of [edge, slider, full]) input.closest("label").hidden = isPlaying;
  play.textContent = say(isPlaying ? "compare_stills" : "compare_play");
  tell(null);
}

function tell(message) {
  problem.textContent = message ?? "";
  problem.hidden = !message;
}

function leave() {
  asked?.abort();
  clearTimeout(rest);
  showStills();
  for (const which of WHICH) put(pair.querySelector(`.${which}`), null);
}
