"use strict";
// The page of a clear, or an undo, that is under way. The tab whose form began it sends the batches, one request
// at a time; every other tab only follows. A plain visit or a reload never sends anything by itself.
(() => {
  const root = document.getElementById("drive");
  if (!root) return;
  const { kind, plan, page, send, stop, progress, fingerprint, token } = root.dataset;
  const undo = kind === "undo";
  const find = (name) => root.querySelector(`[data-${name}]`);
  const bar = root.querySelector("progress");
  const numbers = new Intl.NumberFormat("en-US");
  const between = 3_000;
  const spokenEvery = 5_000;
  const answerWithin = 120_000;
  const failuresBeforeAsking = 5;
  const longestPause = 15_000;

  const safeClear = window.safeClear ?? {};
  const own = safeClear.drives === plan && root.dataset.mayDrive === "true";
  let batch = Number(root.dataset.batches);
  let driving = false;
  let stopping = false;
  let wake = () => {};

  const put = (element, text) => {
    if (element.textContent !== text) element.textContent = text;
  };
  const show = (element, shown = true) => {
    if (element) element.hidden = !shown;
  };
  const pause = (time) => new Promise((resolve) => {
    const timer = setTimeout(resolve, time);
    wake = () => {
      clearTimeout(timer);
      resolve();
    };
  });

  const leave = () => {
    driving = false;
    location.replace(page);
  };

  // The elements of the page.

  const trouble = (text) => {
    put(find("trouble"), text);
    show(find("trouble"), text !== "");
  };

  let spokenAt = performance.now();
  const say = (text, at_once = false) => {
    if (!at_once && performance.now() - spokenAt < spokenEvery) return;
    spokenAt = performance.now();
    put(find("spoken"), text);
  };

  const duration = (seconds) => {
    if (seconds < 90) return `about ${Math.max(1, Math.round(seconds))} s left`;
    if (seconds < 5_400) return `about ${Math.round(seconds / 60)} min left`;
    return `about ${(seconds / 3_600).toFixed(1)} h left`;
  };

  const began = { at: performance.now(), done: bar.value };
  const timeLeft = (done, total) => {
    const gone = done - began.done;
    const seconds = (performance.now() - began.at) / 1_000;
    return gone > 0 && done < total ? duration((seconds * (total - done)) / gone) : "";
  };

  const draw = ({ done, total, dag_runs_done, dag_runs_total }) => {
    const of = `${numbers.format(done)} of ${numbers.format(total)} task instance${total === 1 ? "" : "s"}`;
    bar.max = Math.max(1, total);
    bar.value = done;
    put(bar, `${numbers.format(done)} of ${numbers.format(total)}`);
    put(find("title"), `${undo ? "Restoring" : "Clearing"}: ${of}`);
    document.title = `${find("title").textContent} – Safe Clear`;
    put(find("runs"), `${numbers.format(dag_runs_done)} of ${numbers.format(dag_runs_total)} run${dag_runs_total === 1 ? "" : "s"}`);
    put(find("left"), timeLeft(done, total));
    say(of);
  };

  // Sending batches.

  const post = (url, body) => fetch(url, {
    method: "POST",
    headers: { Accept: "application/json", "Content-Type": "application/json", "X-CSRF-Token": token },
    body: JSON.stringify(body),
    signal: AbortSignal.timeout(answerWithin),
  });

  // Neither request restarts a stopped clear or extends a requested undo.
  const goOn = () => post(send, undo ? { go_on: true } : { fingerprint, take_over: true });

  const refusals = {
    401: "You are logged out, so this page sends nothing more. Log in to Airflow in another tab, then reload this page to continue.",
    403: "The server refuses requests from this page: its token has expired, or your permissions have changed. Reload this page. If that does not help, ask an Airflow admin.",
  };

  // Returns the answer to one batch, or null when there is no more to send.
  const oneBatch = async () => {
    for (let failures = 0; !stopping;) {
      let why = "Can’t reach the server";
      try {
        const answer = await goOn();
        const body = await answer.json().catch(() => ({}));
        if (answer.ok) {
          trouble("");
          return body;
        }
        if (answer.status in refusals) {
          trouble(refusals[answer.status]);
          quit();
          return null;
        }
        if (answer.status < 500) {
          leave();
          return null;
        }
        why = `The last batch failed (HTTP ${answer.status})`;
      } catch {
        // No answer: the batch may or may not be done. Sending it again clears nothing twice.
      }
      failures += 1;
      if (failures < failuresBeforeAsking) {
        trouble(`${why}; nothing is lost. Trying again.`);
        await pause(Math.min(1_000 * 2 ** (failures - 1), longestPause));
      } else {
        trouble(`${why}; nothing is lost. Each run is ${undo ? "restored" : "cleared"} completely or not at all.`);
        failures = 0;
        await asked();
      }
    }
    return null;
  };

  const asked = () => new Promise((resolve) => {
    const button = find("again");
    show(button);
    button.focus();
    wake = resolve;
    button.onclick = () => {
      show(button, false);
      trouble("");
      resolve();
    };
  });

  const isThrough = (answer) => (undo ? !answer.under_way : answer.status !== "applying");

  // The last word of this page: nothing more is sent, and nothing is said to have been stopped.
  const quit = () => {
    driving = false;
    show(find("halt"), false);
    put(find("left"), "");
  };

  // An undo pauses when no page sends batches; a clear must be stopped.
  const sayStopped = () => (undo ? fetch(progress, { signal: AbortSignal.timeout(10_000) }) : post(stop, {}));

  const halt = async () => {
    put(find("halt").querySelector("span"), "Stopping…");
    show(find("again"), false);
    for (let failures = 0; failures < failuresBeforeAsking; failures += 1) {
      try {
        if ((await sayStopped()).status < 500) {
          leave();
          return;
        }
      } catch {
        // The clear stops anyway: this page sends nothing more.
      }
      trouble("Can’t tell the server to stop. This page sends nothing more.");
      await pause(1_000 * 2 ** failures);
    }
    trouble("Can’t reach the server. This page sends nothing more; reload it when the server is back.");
    quit();
  };

  const drive = async () => {
    driving = true;
    show(find("driving"));
    show(find("watching"), false);
    show(find("halt"));
    for (const idle of root.querySelectorAll(".idle, .unscripted")) idle.hidden = true;
    find("halt").addEventListener("click", () => {
      if (stopping) return;
      stopping = true;
      find("halt").setAttribute("aria-disabled", "true");
      put(find("halt").querySelector("span"), "Stopping after this batch…");
      say("Stopping after this batch", true);
      wake();
    });
    while (driving && !stopping) {
      put(find("batch"), `batch ${numbers.format(batch + 1)}`);
      const answer = await oneBatch();
      if (!answer) break;
      batch += 1;
      draw(answer);
      if (isThrough(answer)) {
        leave();
        return;
      }
      // The scheduler queues nothing while a batch is restored, so the server says when the next one can start.
      if (answer.retry_after) await pause(answer.retry_after * 1_000);
    }
    if (driving && stopping) await halt();
  };

  // A tab that is closed or leaves the page stops the clear at once.
  window.addEventListener("pagehide", () => {
    if (!driving) return;
    driving = false;
    if (stop) navigator.sendBeacon(stop, new URLSearchParams({ csrf_token: token }));
  });
  window.addEventListener("pageshow", (event) => {
    if (event.persisted) leave();
  });

  // Following what another tab sends.

  const follow = async () => {
    for (;;) {
      await pause(between);
      if (document.hidden) continue;
      try {
        const answer = await fetch(progress, { headers: { Accept: "application/json" }, signal: AbortSignal.timeout(10_000) });
        if (answer.status < 500 && !answer.ok) return leave();
        if (!answer.ok) throw new Error(`HTTP ${answer.status}`);
        const state = await answer.json();
        trouble("");
        const now = undo ? state.undo : state;
        if (undo ? !state.undo.under_way : state.status !== "applying" || state.interrupted) return leave();
        draw(now);
      } catch {
        trouble("Can’t reach the server, so these numbers may be out of date. Trying again.");
      }
    }
  };

  if (own) drive();
  else {
    if (safeClear.forgets) for (const form of root.querySelectorAll(".unscripted")) form.classList.add("needed");
    follow();
  }
})();
