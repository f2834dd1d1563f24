"use strict";
// The preview of an undo: counts the task instances that can still be put back, until it is confirmed.
(() => {
  const root = document.getElementById("countdown");
  if (!root) return;
  const { url, page } = root.dataset;
  const find = (name) => document.querySelector(`[data-${name}]`);
  const promised = find("promised");
  const gone = root.querySelector("[data-gone]");
  const trouble = root.querySelector("[data-trouble]");
  const { number, count } = window.safeClear;
  const shortest = 3_000;
  const longest = 30_000;
  const first = Number(promised.value);
  const reason = document.getElementById("reason");
  let timer;
  let isOver = false;
  // Don't change a page while its form is being sent.
  const isSent = () => document.querySelector("form[data-sent]") !== null;

  const put = (element, text) => {
    if (element && element.textContent !== text) element.textContent = text;
  };

  const draw = ({ put_back, task_instances }) => {
    const now = new Date();
    for (const checked of document.querySelectorAll("[data-checked]")) {
      checked.dateTime = now.toISOString();
      put(checked, `${now.toISOString().slice(11, 19)} UTC`);
    }
    if (Number(promised.value) === put_back) return false;
    promised.value = String(put_back);
    put(find("put-back"), number(put_back));
    const label = find("restore");
    put(label, `Restore ${count(put_back, "task instance")}`);
    delete label.closest("button").dataset.label;
    put(find("title"), `Restore ${number(put_back)} of ${count(task_instances, "task instance")}`);
    document.title = `${find("title").textContent} – Safe Clear`;
    const fewer = first - put_back;
    gone.hidden = fewer <= 0;
    put(gone, fewer > 0 ? `${number(fewer)} more started, or changed otherwise, while this page was open` : "");
    return true;
  };

  // The sentences and lists come from a new page; typed texts and ticks of this one stay.
  const renew = async () => {
    const answer = await fetch(page + location.search, { headers: { Accept: "text/html" }, signal: AbortSignal.timeout(20_000) });
    if (!answer.ok) return;
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    if (isSent()) return;
    if (!window.safeClear.fits(fresh)) {
      // Typed texts stay. The numbers of the bar are right without the new page, too.
      if (!reason?.value) location.replace(page + location.search);
      return;
    }
    for (const part of document.querySelectorAll("[data-live]")) {
      const other = fresh.querySelector(`[data-live="${part.dataset.live}"]`);
      if (!other) continue;
      const opened = new Set([...part.querySelectorAll("details[open]")].map(nameOf));
      for (const details of other.querySelectorAll("details")) if (opened.has(nameOf(details))) details.open = true;
      part.replaceChildren(...other.childNodes);
    }
    renewRuns(fresh);
  };

  // The summary of details, without its numbers.
  const nameOf = (details) => details.querySelector("summary").textContent.replace(/[\d,]+/g, "").trim();

  // Each run's numbers; the tick of its box stays.
  const renewRuns = (fresh) => {
    const rowOf = (box) => box.closest("tr");
    const rows = new Map([...fresh.querySelectorAll("#choose tbody input")].map((box) => [box.value, rowOf(box)]));
    for (const box of document.querySelectorAll("#choose tbody input")) {
      const other = rows.get(box.value);
      if (!other) continue;
      const cells = [...other.cells].slice(2);
      [...rowOf(box).cells].slice(2).forEach((cell, index) => cell.replaceWith(cells[index]));
    }
  };

  // The page may show only chosen runs; its address names them. Returns the reason if there is nothing more to count.
  const look = async () => {
    const answer = await fetch(url + location.search, { headers: { Accept: "application/json" }, signal: AbortSignal.timeout(20_000) });
    if (answer.status >= 400 && answer.status < 500) return `The server does not count this any more (HTTP ${answer.status}).`;
    if (!answer.ok) throw new Error(`HTTP ${answer.status}`);
    const found = await answer.json();
    if (isSent()) return "";
    if (found.problem || found.put_back === 0) return "Nothing can be restored any more.";
    if (draw(found)) await renew();
    return "";
  };

  // Typed texts stay, but no text promises task instances that can't be restored any more.
  const end = (why) => {
    isOver = true;
    put(find("title"), why);
    document.title = `${why} – Safe Clear`;
    document.querySelector('button[form="confirm"]').disabled = true;
    put(trouble, `${why} Copy your reason, then reload this page.`);
    trouble.hidden = false;
  };

  const follow = async (pause) => {
    clearTimeout(timer);
    let next = shortest;
    if (isOver) return;
    if (!document.hidden && !isSent()) {
      const began = performance.now();
      try {
        const why = await look();
        if (why && !isSent()) return void (reason?.value ? end(why) : location.replace(page + location.search));
        put(trouble, "");
        trouble.hidden = true;
        // If a count takes the database long, the page asks for it less often.
        next = Math.min(Math.max(shortest, 5 * (performance.now() - began)), longest);
      } catch {
        put(trouble, "Can’t reach the server, so these numbers may be out of date. Trying again.");
        trouble.hidden = false;
        next = Math.min(pause * 1.5, longest);
      }
    }
    timer = setTimeout(follow, next, next);
  };

  // The Dag is paused in the background, so that the typed reason and the ticks stay.
  document.addEventListener("submit", async (event) => {
    const form = event.target;
    if (event.defaultPrevented || !form.matches("form.pause")) return;
    event.preventDefault();
    const body = new URLSearchParams(new FormData(form));
    let problem = "";
    try {
      const answer = await fetch(form.action, { method: "POST", body, headers: { Accept: "application/json" }, signal: AbortSignal.timeout(20_000) });
      if (!answer.ok) {
        const { error, remedy } = await answer.json().catch(() => ({}));
        problem = [error, remedy].filter(Boolean).join(" ") || `The server refused this (HTTP ${answer.status}).`;
      }
      window.safeClear.setBusy(form, false);
      if (!problem) {
        await renew();
        find('live="pause"').focus({ preventScroll: true });
      }
    } catch {
      window.safeClear.setBusy(form, false);
      problem = "Can’t reach the server. Try again.";
    }
    put(trouble, problem);
    trouble.hidden = problem === "";
  });

  timer = setTimeout(follow, shortest, shortest);
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden) follow(shortest);
  });
})();
