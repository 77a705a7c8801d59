// Keeps a page up to date: fetches it anew every few seconds and puts in what is marked data-live. The pages do without it.
(() => {
  "use strict";

  for (const code of document.querySelectorAll(".secret code")) offerCopy(code);
  for (const form of document.querySelectorAll("form[data-confirm]")) {
    form.addEventListener("submit", (event) => {
      if (!window.confirm(form.dataset.confirm)) event.preventDefault();
    });
  }

  const every = Number(document.body.dataset.every);
  if (!every) return;

  const footer = document.querySelector("footer");
  const pause = document.createElement("button");
  pause.type = "button";
  pause.className = "plain pause";
  let paused = false;
  let failures = 0;
  const say = () => {
    pause.textContent = paused ? "Go on updating" : failures ? "No answer, trying again · pause" : "Live · pause";
    pause.setAttribute("aria-pressed", String(paused));
  };
  pause.addEventListener("click", () => {
    paused = !paused;
    say();
  });
  say();
  footer.append(pause);

  const wait = () => setTimeout(update, every * 1000 * Math.min(2 ** failures, 16));

  async function update() {
    if (paused || document.hidden) return wait();
    try {
      const answer = await fetch(location.href, { headers: { Accept: "text/html" }, cache: "no-store" });
      // Signed out meanwhile: the log-in is a page of its own.
      if (answer.redirected) return location.reload();
      if (!answer.ok) throw new Error(String(answer.status));
      put(new DOMParser().parseFromString(await answer.text(), "text/html"));
      failures = 0;
    } catch {
      failures += 1;
    }
    say();
    wait();
  }

  function put(fresh) {
    for (const part of document.querySelectorAll("[data-live][id]")) {
      const next = fresh.getElementById(part.id);
      if (!next || next.isEqualNode(part)) continue;
      if (isBusy(part)) continue;
      keepOpen(part, next);
      const focused = part.contains(document.activeElement) && likeIn(next, part, document.activeElement);
      part.replaceWith(document.adoptNode(next));
      if (focused) focused.focus({ preventScroll: true });
    }
  }

  // Whoever types something or marks text there is not disturbed.
  function isBusy(part) {
    const selection = document.getSelection();
    const marks = selection && !selection.isCollapsed && selection.containsNode(part, true);
    return marks || (part.contains(document.activeElement) && document.activeElement.matches("input, select, textarea"));
  }

  // What is in the new part where an element was in the old one.
  function likeIn(next, part, element) {
    if (element === part) return next;
    if (element.id) return next.querySelector(`#${CSS.escape(element.id)}`);
    const alike = (root) => [...root.querySelectorAll(element.tagName)].filter((other) =>
      ["href", "aria-label"].every((name) => other.getAttribute(name) === element.getAttribute(name)));
    return alike(next)[alike(part).indexOf(element)];
  }

  function keepOpen(part, next) {
    const before = new Map([...part.querySelectorAll("details[id]")].map((details) => [details.id, details.open]));
    for (const details of next.querySelectorAll("details[id]")) details.open = before.get(details.id) ?? details.open;
  }

  wait();

  function offerCopy(code) {
    if (!navigator.clipboard) return;
    const button = document.createElement("button");
    button.type = "button";
    button.className = "plain";
    button.textContent = "Copy";
    button.addEventListener("click", async () => {
      await navigator.clipboard.writeText(code.textContent);
      button.textContent = "Copied";
    });
    code.after(" ", button);
  }
})();
