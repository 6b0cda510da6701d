// Everything about one task: what was asked for, what was done and measured.

import { bytes, finding, moment, number, readable, say, settings, span } from "./words.js";

const dialog = document.getElementById("details");
const LEVELS = { none: "audio_none", слабый: "audio_weak", средний: "audio_medium", сильный: "audio_strong" };
const facts = dialog.querySelector(".facts");

export function startDetails() {
  dialog.querySelector(".close").addEventListener("click", () => dialog.close());
}

/** Open the dialog for a task, as it was when it was asked for. */
export function showDetails(task) {
  dialog.querySelector("h2").textContent = readable(task.input_video);
  facts.replaceChildren(listOf(ofTask(task)));
  if (task.report) {
    const heading = document.createElement("h3");
    heading.textContent = say("report");
    facts.append(heading, listOf(ofReport(task.report)));
  }
  dialog.showModal();
}

function listOf(pairs) {
  const list = document.createElement("dl");
  for (const [name, value, language = settings.language] of pairs) {
    if (value === null || value === undefined || value === "") continue;
    const term = document.createElement("dt");
    const description = document.createElement("dd");
    term.textContent = name;
    description.textContent = value;
    description.lang = language;
    list.append(term, description);
  }
  return list;
}

function* ofTask(task) {
  yield [say("details_task"), task.task_id];
  yield [say("details_created"), moment(task.created_at, "medium")];
  yield [say("details_started"), task.started_at && moment(task.started_at, "medium")];
  yield [say("details_ended"), task.completed_at && moment(task.completed_at, "medium")];
  yield [say("details_attempts"), number(task.attempts)];
  yield [say("mode"), say(`mode_${task.mode}`)];
  if (task.mode === "protect") {
    yield [say("epsilon"), number(task.epsilon, 3)];
    yield [say("video_strength"), number(task.video_strength, 2)];
    yield [say("audio_level"), say(LEVELS[task.audio_level])];
    yield [say("every_n_frames"), number(task.every_n_frames)];
  }
  yield [say("user_id"), task.user_id];
  yield [say("notes"), task.notes];
  yield [say("details_webhook"), task.webhook && say(`webhook_${task.webhook.status}`)];
  yield [say("details_webhook_error"), task.webhook?.last_error, "en"];
  yield [say("details_result"), task.output_video && readable(task.output_video)];
}

function* ofReport(report) {
  yield [say("report_surrogate"), report.surrogate];
  const frames = report.frames && number(report.frames);
  const anchors = report.anchors && say("report_anchors", { frames, anchors: number(report.anchors) });
  yield [say("report_frames"), anchors || frames];
  if (report.psnr_db !== null) {
    yield [say("report_picture"), `PSNR ${number(report.psnr_db, 2)} dB, SSIM ${number(report.ssim, 4)}`];
    const { mean_change: mean, p999_change: p999, largest_change: largest } = report;
    const levels = { mean: number(mean, 2), p999: number(p999), largest: number(largest) };
    yield [say("report_change"), say("report_levels", levels)];
  }
  if (report.top1_changed !== null) {
    yield [say("report_top1"), say("report_top1_share", { share: `${number(100 * report.top1_changed)} %` })];
  }
  if (report.faces) yield [say("report_faces"), number(report.faces.found)];
  for (const track of report.audio) yield [say("report_sound", { track: track.track }), ofSound(track)];
  const { original_bytes: before, protected_bytes: after, size_ratio: ratio } = report;
  yield [say("report_size"), say("report_sizes", { before: bytes(before), after: bytes(after), ratio: number(ratio, 2) })];
  const seconds = span(report.seconds, 1);
  const rate = report.frames_per_second && number(report.frames_per_second);
  yield [say("report_seconds"), rate ? say("report_speed", { seconds, rate }) : seconds];
  yield [say("report_removed"), report.metadata_removed.map(finding).join(", ") || say("report_nothing_removed")];
  yield [say("report_notes"), report.notes.join("\n"), "en"];
}

function ofSound(track) {
  const words = [say(`treatment_${track.treatment}`)];
  if (track.nmr_db !== null) words.push(`NMR ${number(track.nmr_db)} dB`);
  if (track.snr_db !== null) words.push(`SNR ${number(track.snr_db)} dB`);
  return words.join(", ");
}
