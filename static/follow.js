"use strict";
// The page of a clear, or an undo, in progress: shows how far a driver is. It may be closed at any time.
(() => {
  const root = document.getElementById("follow");
  if (!root) return;
  const { kind, page, progress } = root.dataset;
  const undo = kind === "undo";
  const find = (name) => root.querySelector(`[data-${name}]`);
  const bar = root.querySelector("progress");
  const { number, count } = window.safeClear;
  const between = 1_500;
  const longest = 15_000;
  const spokenEvery = 5_000;

  const put = (element, text) => {
    if (element.textContent !== text) element.textContent = text;
  };

  const trouble = (text) => {
    put(find("trouble"), text);
    find("trouble").hidden = text === "";
  };

  let spokenAt = performance.now();
  const say = (text) => {
    if (performance.now() - spokenAt < spokenEvery) return;
    spokenAt = performance.now();
    put(find("spoken"), text);
  };

  const duration = (seconds) => {
    if (seconds < 90) return `about ${Math.max(1, Math.round(seconds))} s left`;
    const minutes = Math.round(seconds / 60);
    const parts = [[Math.floor(minutes / 60), "h"], [minutes % 60, "min"]];
    return `about ${parts.filter(([amount]) => amount > 0).map(([amount, unit]) => `${amount} ${unit}`).join(" ")} left`;
  };

  const began = { at: performance.now(), done: bar.value };
  const timeLeft = (done, total) => {
    const gone = done - began.done;
    const seconds = (performance.now() - began.at) / 1_000;
    return gone > 0 && done < total ? duration((seconds * (total - done)) / gone) : "";
  };

  const draw = ({ done, total, dag_runs_done, dag_runs_total }) => {
    const of = `${number(done)} of ${count(total, "task instance")}`;
    bar.max = Math.max(1, total);
    bar.value = done;
    put(bar, `${number(done)} of ${number(total)}`);
    put(find("title"), `${undo ? "Restoring" : "Clearing"}: ${of}`);
    document.title = `${find("title").textContent} – Safe Clear`;
    put(find("runs"), `${number(dag_runs_done)} of ${count(dag_runs_total, "run")}`);
    put(find("left"), timeLeft(done, total));
    say(of);
  };

  // The page knows how it ended, that no driver runs, or that the login is over.
  const reload = () => location.replace(page);

  const wasMissing = root.hasAttribute("data-missing");
  const look = async () => {
    const answer = await fetch(progress, { headers: { Accept: "application/json" }, signal: AbortSignal.timeout(10_000) });
    if (answer.status >= 400 && answer.status < 500) return false;
    if (!answer.ok) throw new Error(`HTTP ${answer.status}`);
    const state = await answer.json();
    const underWay = undo ? state.undo.under_way : state.status === "applying";
    if (!underWay || state.interrupted !== wasMissing) return false;
    trouble("");
    draw(undo ? state.undo : state);
    document.dispatchEvent(new CustomEvent("safe-clear:progress", { detail: state }));
    return true;
  };

  const follow = async (pause) => {
    let next = between;
    // A form that is being sent leads to the next page itself.
    if (!document.hidden && !document.querySelector("form[data-sent]")) {
      try {
        // What is being typed about the waves stays until it is sent.
        if (!(await look()) && !document.querySelector(".waves .pace[open]")) return void reload();
      } catch {
        trouble("Can’t reach the server, so these numbers may be out of date. Nothing is lost. Trying again.");
        next = Math.min(pause * 1.5, longest);
      }
    }
    setTimeout(follow, next, next);
  };

  setTimeout(follow, between, between);
  window.addEventListener("pageshow", (event) => {
    if (event.persisted) reload();
  });
})();
