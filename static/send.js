"use strict";
// Sends a confirmation, a stop or an undo in the background. If the answer is lost, the page asks how the plan
// stands and never guesses; what was typed stays until the server has taken it.
(() => {
  const answerWithin = 120_000;
  const pauses = [500, 1_000, 2_000, 4_000, 8_000, 15_000];
  const wait = (time) => new Promise((resolve) => setTimeout(resolve, time));
  const json = (url, options = {}, within = 10_000) =>
    fetch(url, { ...options, headers: { Accept: "application/json", ...options.headers }, signal: AbortSignal.timeout(within) });

  const places = new WeakMap();
  const placeFor = (form) => {
    if (!places.has(form)) {
      const place = document.createElement("p");
      place.className = "trouble";
      place.setAttribute("role", "alert");
      place.hidden = true;
      // Beside the button, which may be in the bar at the bottom of the page.
      const dock = form.id && document.querySelector(`.dock button[form="${form.id}"]`)?.closest(".dock")?.querySelector(".say");
      if (dock) dock.append(place);
      else form.append(place);
      places.set(form, place);
    }
    return places.get(form);
  };
  const say = (form, text) => {
    const place = placeFor(form);
    place.textContent = text;
    place.hidden = text === "";
  };

  const refusals = {
    401: "You are logged out. Log in to Airflow in another tab, then try again here.",
    403: "The server refused this: the page’s token has expired, or your permissions have changed. Copy what you typed, then reload this page.",
  };

  const open = "The connection was lost. So far the plan is as it was, but the server may still be working on this. Reload the page before you try again.";
  const unknown = "The connection was lost, and the server does not say how the plan stands. Reload the page.";

  const sentences = ({ error, remedy }) => [error, remedy].filter(Boolean).join(" ");

  // Whether the plan has changed since the page was made, or the status with which the server refuses to say
  // so; asks until the server answers.
  const look = async (form) => {
    for (let number = 0; ; number += 1) {
      try {
        const answer = await json(form.dataset.progress);
        if (answer.ok) {
          const { status, undo, cleared_at, waves } = await answer.json();
          if ("waves" in form.dataset && (waves?.state ?? "") !== form.dataset.waves) return { changed: true };
          const changed = !`${status} ${undo.dag_runs_total} ${cleared_at}`.startsWith(form.dataset.state);
          return { changed };
        }
        if (answer.status < 500) return { refused: answer.status };
      } catch {
        // Still no connection.
      }
      say(form, "The connection was lost. Checking whether the server received this…");
      await wait(pauses[Math.min(number, pauses.length - 1)]);
    }
  };

  const send = async (form) => {
    const body = new URLSearchParams(new FormData(form));
    say(form, "");
    try {
      const answer = await json(form.action, { method: "POST", body }, answerWithin);
      if (answer.ok) return location.assign(form.dataset.page);
      const told = await answer.json().catch(() => ({}));
      // The plan’s page shows what changed.
      if (answer.status === 409 || answer.status === 410) {
        if (told.drift || (await look(form)).changed) return location.assign(form.dataset.page);
      }
      // A server that fails, or a proxy before it, may have passed it on all the same.
      if (answer.status >= 500 && (await look(form)).changed) return location.assign(form.dataset.page);
      window.safeClear.setBusy(form, false);
      const otherwise = answer.status >= 500 ? open : `The server refused this (HTTP ${answer.status}).`;
      // A confirmation that lacks something is told what; another refusal of this status is about the login.
      const why = told.missing ? sentences(told) : refusals[answer.status] ?? sentences(told);
      return say(form, why || otherwise);
    } catch {
      // The answer is lost, or did not come in time.
    }
    const { changed, refused } = await look(form);
    if (changed) return location.assign(form.dataset.page);
    window.safeClear.setBusy(form, false);
    return say(form, refused ? refusals[refused] ?? unknown : open);
  };

  // After the checks of the page, and after the form has been marked as sent.
  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (event.defaultPrevented || !form.matches("[data-background]")) return;
    event.preventDefault();
    send(form);
  });
})();
