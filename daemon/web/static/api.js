// Requests to the service: with the key, in the page's language, errors as exceptions.

import { say, settings } from "./words.js";

const KEY = "media-cleaner-key";
const HEADER = "X-API-Key";
const PATIENCE_MS = 60_000;
const session = storage("sessionStorage");
const device = storage("localStorage");
// The key where the browser keeps nothing for this page: until the page is left.
let unkept = null;

/** A request that was refused. `status` is 0 where no answer came. */
export class Refused extends Error {
  constructor(status, code, detail, field = null, retryAfter = null) {
    super(detail);
    Object.assign(this, { status, code, field, retryAfter });
  }
}

/** Tells by the event "wanted" that a key is needed, or another one. */
export const door = new EventTarget();

/** Return a storage of the browser's; null where it keeps nothing, as one that blocks all cookies. */
function storage(name) {
  try {
    return window[name];
  } catch {
    return null;
  }
}

/** Can a key be kept beyond this window? */
export const mayRemember = device !== null;

export function key() {
  return session?.getItem(KEY) ?? device?.getItem(KEY) ?? unkept;
}

export function keepKey(text, isRemembered) {
  forgetKey();
  const place = isRemembered ? device : session;
  if (place === null) unkept = text;
  else place.setItem(KEY, text);
}

export function forgetKey() {
  session?.removeItem(KEY);
  device?.removeItem(KEY);
  unkept = null;
}

export function headers() {
  const known = key();
  return { "Accept-Language": settings.language, ...(known === null ? {} : { [HEADER]: known }) };
}

export async function get(path, query = {}, signal = undefined) {
  return JSON.parse(await (await answer("GET", path, query, signal)).body.text());
}

export async function post(path) {
  return JSON.parse(await (await answer("POST", path)).body.text());
}

/** Return where the browser itself can have a result: it sends no key with a download. */
export async function linkTo(taskId) {
  // Below this page, which need not be the root of its host.
  return (await post(`link/${taskId}`)).url.slice(1);
}

/** Return an answer's headers and, as a Blob, its body, which may take its time as long as it comes. */
export async function answer(method, path, query = {}, signal = undefined) {
  const words = new URLSearchParams(query).toString();
  const patience = new AbortController();
  let timer = 0;
  const waitOn = () => {
    clearTimeout(timer);
    timer = setTimeout(() => patience.abort(), PATIENCE_MS);
  };
  let response;
  const parts = [];
  try {
    signal?.throwIfAborted();
    signal?.addEventListener("abort", () => patience.abort()); // some browsers know no AbortSignal.any
    waitOn();
    response = await fetch(words ? `${path}?${words}` : path, {
      method,
      headers: headers(),
      cache: "no-store",
      credentials: "omit",
      signal: patience.signal,
    });
    const reader = response.body.getReader();
    for (let part; !(part = await reader.read()).done; waitOn()) parts.push(part.value);
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new Refused(0, "no_answer", say("no_connection"));
  } finally {
    clearTimeout(timer);
  }
  const body = new Blob(parts, { type: response.headers.get("Content-Type") ?? "" });
  if (!response.ok) {
    throw refusal(response.status, await body.text(), response.headers.get("Retry-After"));
  }
  return { headers: response.headers, body };
}

/** Return what an answer that is no success says, whoever gave it: a proxy speaks no JSON. */
export function refusal(status, text, retryAfter) {
  let said = {};
  try {
    said = JSON.parse(text);
  } catch {
    // told below
  }
  const detail = said.detail ?? say("upload_odd", { status });
  if (said.code === "invalid_api_key") door.dispatchEvent(new Event("wanted"));
  return new Refused(status, said.code ?? null, detail, said.field ?? null, Number(retryAfter) || null);
}
