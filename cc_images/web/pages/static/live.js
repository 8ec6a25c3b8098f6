// Live parts of pages. Every page is complete without this file.
"use strict";

// A connection for events, open while the tab is seen: browsers have few for all tabs together. Returns its end.
function connect(address, acts) {
  let source = null;
  let over = false;
  const close = () => {
    source?.close();
    source = null;
  };
  const open = () => {
    if (source || over) return;
    source = new EventSource(address());
    source.onerror = () => {
      if (source?.readyState !== EventSource.CLOSED) return; // the browser tries again itself
      close();
      setTimeout(open, 5000);
    };
    Object.entries(acts).forEach(([kind, act]) => source.addEventListener(kind, act));
  };
  document.addEventListener("visibilitychange", () => (document.hidden ? close() : open()));
  open();
  return () => {
    over = true;
    close();
  };
}

// A part that the server sends again when it has changed: <div data-live="address">.
function follow(part) {
  let newest = null;
  const show = () => {
    if (newest === null || part.querySelector("button:hover, :focus-visible")) return; // in use: once that is over
    const open = [...part.querySelectorAll("details[open][id]")].map((each) => each.id);
    part.innerHTML = newest;
    newest = null;
    open.forEach((id) => document.getElementById(id)?.setAttribute("open", ""));
  };
  setInterval(show, 500);
  const end = connect(() => part.dataset.live, {
    message: (event) => {
      newest = event.data;
      show();
    },
    end: () => end(),
  });
}

// A button that copies the text of another element: <button data-copy="id" hidden>.
function copies(button) {
  if (!navigator.clipboard) return;
  const label = button.textContent;
  button.hidden = false;
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(document.getElementById(button.dataset.copy).textContent.trim());
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = label; }, 1500);
  });
}

// A log that grows: <pre id="log" data-follow="address">. Ids of events are offsets, so a cut costs nothing.
const MOST = 2_000_000; // characters that are kept on the page; the file has all
function grows(log) {
  const state = document.getElementById("log-state");
  const pause = document.getElementById("pause");
  const bottom = document.getElementById("bottom");
  const held = [];
  let paused = false;
  let kept = log.textContent.length;
  const atEnd = () => log.scrollTop + log.clientHeight >= log.scrollHeight - 40;
  const toEnd = () => { log.scrollTop = log.scrollHeight; };
  let following = true; // until somebody scrolls away from the end
  const add = (text) => {
    log.append(text);
    kept += text.length;
    while (kept > MOST && log.childNodes.length > 1) {
      kept -= log.firstChild.textContent.length;
      log.firstChild.remove();
    }
    if (following) toEnd();
    mark();
  };
  pause.hidden = false;
  pause.addEventListener("click", () => {
    paused = !paused;
    if (!paused) add(held.splice(0).join(""));
    pause.textContent = paused ? "Go on" : "Pause";
  });
  bottom.addEventListener("click", toEnd);
  log.addEventListener("scroll", () => {
    following = atEnd();
    bottom.hidden = following;
  });
  new ResizeObserver(() => following && toEnd()).observe(log);
  toEnd();
  let offset = "";
  const address = () => {
    const from = new URL(log.dataset.follow, location);
    if (offset) from.searchParams.set("offset", offset);
    return from;
  };
  const end = connect(address, {
    message: (event) => {
      offset = event.lastEventId;
      if (paused) {
        held.push(event.data + "\n");
        pause.textContent = `Go on (${held.length} new)`;
      } else add(event.data + "\n");
    },
    end: (event) => {
      if (!/^[A-Z]+$|^removed$/.test(event.data)) return; // the service starts again: so does this
      end();
      if (paused) pause.click();
      pause.hidden = true;
      state.textContent = event.data.toLowerCase();
      state.className = `badge ${state.textContent}`;
    },
  });
}

// Marks the words of the search field in the log that is shown; Enter searches all of it on the server.
const log = document.getElementById("log");
const words = document.getElementById("q");
function mark() {
  if (!log || !words || !window.Highlight) return;
  const wanted = words.value.toLowerCase();
  const ranges = [];
  for (const node of wanted.length > 1 ? log.childNodes : []) {
    const text = node.textContent.toLowerCase();
    if (text.length !== node.length) continue;
    for (let at = text.indexOf(wanted); at >= 0 && ranges.length < 5000; at = text.indexOf(wanted, at + wanted.length)) {
      const range = new Range();
      range.setStart(node, at);
      range.setEnd(node, at + wanted.length);
      ranges.push(range);
    }
  }
  CSS.highlights.set("found", new Highlight(...ranges));
}
words?.addEventListener("input", mark);

document.querySelectorAll("[data-live]").forEach(follow);
document.querySelectorAll("[data-copy]").forEach(copies);
document.querySelectorAll("[data-follow]").forEach(grows);
document.querySelectorAll("[data-needs-no-script]").forEach((each) => each.remove());

// A notice is for one look: a reload does not show it again.
const address = new URL(location);
if (address.searchParams.has("notice")) {
  address.searchParams.delete("notice");
  history.replaceState(null, "", address);
}
