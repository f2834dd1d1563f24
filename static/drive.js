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

  // What is on the page.

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
    put(find("title"), `${undo ? "Putting back" : "Clearing"}: ${of}`);
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

  // Neither starts anew what somebody else has stopped, nor asks for more than was asked for.
  const goOn = () => post(send, undo ? { go_on: true } : { fingerprint, take_over: true });

  const refusals = {
    401: "You are not logged in any more, so nothing more is sent. Log in to Airflow in another tab, then reload this page and go on.",
    403: "The server does not take this page’s requests any more: its token is too old, or your permissions have changed. Reload this page; ask an Airflow admin if it stays so.",
  };

  // Returns the answer to one batch, or null when there is no more to send.
  const oneBatch = async () => {
    for (let failures = 0; !stopping;) {
      let why = "The server cannot be reached";
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
        why = `The server did not carry out the last batch (HTTP ${answer.status})`;
      } catch {
        // no answer: what became of the batch is not known, and sending it again clears nothing twice
      }
      failures += 1;
      if (failures < failuresBeforeAsking) {
        trouble(`${why}; nothing is lost. Trying again.`);
        await pause(Math.min(1_000 * 2 ** (failures - 1), longestPause));
      } else {
        trouble(`${why}; nothing is lost. Each run is ${undo ? "put back" : "cleared"} whole or not at all.`);
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

  // An undo that nobody sends further batches of stands still by itself; a clear is told to.
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
        // it stops all the same: nothing more is sent
      }
      trouble("The server cannot be reached to say that this is stopped. Nothing more is sent from here.");
      await pause(1_000 * 2 ** failures);
    }
    trouble("The server cannot be reached. Nothing more is sent from here; reload the page once the server is back.");
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
      // No scheduler queues anything while a batch is put back: the server says when it is our turn again.
      if (answer.retry_after) await pause(answer.retry_after * 1_000);
    }
    if (driving && stopping) await halt();
  };

  // A tab that is closed or led elsewhere says so, so that nobody waits for it.
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
        trouble("The server cannot be reached, so these numbers may be old. Trying again.");
      }
    }
  };

  if (own) drive();
  else {
    if (safeClear.forgets) for (const form of root.querySelectorAll(".unscripted")) form.classList.add("needed");
    follow();
  }
})();
