// Live parts of pages. Every page is complete without this file.
"use strict";

// A part that the server sends again when it has changed: <div data-live="address">.
function follow(part) {
  const source = new EventSource(part.dataset.live);
  source.onmessage = (event) => {
    const focused = part.contains(document.activeElement) ? document.activeElement.id : "";
    const open = [...part.querySelectorAll("details[open][id]")].map((each) => each.id);
    part.innerHTML = event.data;
    open.forEach((id) => document.getElementById(id)?.setAttribute("open", ""));
    if (focused) document.getElementById(focused)?.focus();
    part.querySelectorAll("[data-copy]").forEach(copies);
  };
  source.addEventListener("end", () => source.close());
  addEventListener("pagehide", () => source.close());
}

// A button that copies the text of another element: <button data-copy="id" hidden>.
function copies(button) {
  if (!navigator.clipboard) return;
  const label = button.textContent;
  button.hidden = false;
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(document.getElementById(button.dataset.copy).textContent.trim());
    button.textContent = "copied";
    setTimeout(() => { button.textContent = label; }, 1500);
  });
}

document.querySelectorAll("[data-live]").forEach(follow);
document.querySelectorAll("[data-copy]").forEach(copies);
document.querySelectorAll("[data-needs-no-script]").forEach((each) => each.remove());

// A notice is for one look: a reload does not show it again.
const address = new URL(location);
if (address.searchParams.has("notice")) {
  address.searchParams.delete("notice");
  history.replaceState(null, "", address);
}
