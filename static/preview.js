"use strict";
// Previews in place: for the switches of a plan, unticked rows, and the remedies of findings. The plan on the page
// stays, dimmed, until the next one is there. If there is no next one, it stays, and the page says why.
(() => {
  const SLOW = 6_000;
  const LONGEST = 120_000;
  const ANSWERED = 300;
  const KEPT = "safe-clear:drafts"; // drafts of tabs and switches, by the address that removes each
  let latest = 0; // only the answer to the latest question is shown

  const { session, REASON_KEY } = window.safeClear;
  const drafts = () => session((storage) => JSON.parse(storage.getItem(KEPT) ?? "[]"), []);
  const remember = (found) => session((storage) => storage.setItem(KEPT, JSON.stringify(found.slice(-20))));
  const forget = (address) => remember(drafts().filter((one) => one !== address));

  // A duplicated tab shows the same draft and remembers the same drafts, so it is asked before one is removed.
  const channel = () => {
    try {
      return new BroadcastChannel("safe-clear:drafts");
    } catch {
      return null; // storage is switched off, so nothing is remembered
    }
  };
  const others = channel();
  others?.addEventListener("message", ({ data }) => {
    if (data.asked && data.asked === dockOf(document)?.dataset.discard) others.postMessage({ shown: data.asked });
  });
  const isShownElsewhere = (address) => new Promise((resolve) => {
    if (!others) return void resolve(false);
    const answer = ({ data }) => data.shown === address && settle(true);
    const settle = (isShown) => {
      others.removeEventListener("message", answer);
      resolve(isShown);
    };
    others.addEventListener("message", answer);
    others.postMessage({ asked: address });
    setTimeout(settle, ANSWERED, false);
  });

  // A replaced draft is removed. The server keeps a draft that was confirmed in the meantime.
  const discard = async (address, token) => {
    const isKept = await isShownElsewhere(address);
    forget(address);
    if (isKept) return;
    const headers = { Accept: "application/json", "X-CSRF-Token": token };
    fetch(address, { method: "POST", headers, keepalive: true }).catch(() => {});
  };

  const dockOf = (page) => page.querySelector(".plan-dock");
  const trouble = () => document.querySelector("[data-preview-trouble]");
  const status = document.createElement("p");
  status.className = "vh";
  status.setAttribute("role", "status");
  document.body.append(status);

  const say = (text, ...more) => {
    const place = trouble();
    if (!place) return;
    place.replaceChildren(...(text ? [Object.assign(document.createElement("span"), { textContent: text }), ...more] : []));
    place.hidden = text === "";
  };

  // Ticks made now would not be in the requested plan, and would be lost with this page.
  let focused = "";
  const setBusy = (busy) => {
    const { activeElement, body } = document;
    if (busy || activeElement !== body) focused = activeElement?.id ?? "";
    body.toggleAttribute("data-previewing", busy);
    for (const part of document.querySelectorAll("#task-instances, .plan-dock .acks")) part.inert = busy;
    if (!busy && focused && document.activeElement === body) document.getElementById(focused)?.focus({ preventScroll: true });
    document.querySelector("main").setAttribute("aria-busy", String(busy));
    document.dispatchEvent(new Event("safe-clear:previewing"));
  };

  // The switches show what the plan on the page was made with.
  const reset = () => document.querySelectorAll("form[data-on-change]").forEach((form) => form.reset());

  const texts = (page) => [...page.querySelectorAll("[data-problem]")].map((one) => one.textContent.trim());

  // An opening page has no plan yet.
  const unchanged = (text) => (dockOf(document) ? `${text} The plan on this page is as it was.` : text);

  const words = (found, page) => {
    if (!found) return unchanged("No answer from the server.");
    const told = page ? texts(page).join(" ") : "";
    if (found.status === 401 || !page?.querySelector(".top .brand")) {
      return found.status >= 500
        ? unchanged(`The preview failed (HTTP ${found.status}).`)
        : "You are logged out. Log in to Airflow in another tab, then try again.";
    }
    return told || unchanged(`The preview failed (HTTP ${found.status}).`);
  };

  const again = (send) => {
    const button = document.createElement("button");
    Object.assign(button, { type: "button", className: "btn small", textContent: "Try again" });
    button.addEventListener("click", send);
    return button;
  };

  // Unticked rows that are not previewed yet stay out of the next plan too.
  const EXCLUDED = { row: "exclude_task_instance", task: "exclude_task_id", run: "exclude_run_id" };
  const exclude = (body) => {
    for (const { name, value } of window.safeClear.unticked?.values() ?? []) body.append(EXCLUDED[name], value);
  };

  const typed = () => document.querySelector('.plan-dock [name="reason"]')?.value ?? "";

  // The chosen waves are copied to the next plan, also if a plan in between has no fields for them. The next
  // plan keeps its own limit on clearing all at once.
  const waves = new Map();
  const paceFields = () => [...document.querySelectorAll(".plan-dock [data-pace] :is(input:not([type=checkbox]), select)")];
  const keepWaves = () => paceFields().forEach(({ name, value }) => waves.set(name, value));
  const restoreWaves = () => {
    for (const field of paceFields()) {
      if (!waves.has(field.name) || field.value === waves.get(field.name)) continue;
      field.value = waves.get(field.name);
      field.dispatchEvent(new Event("change", { bubbles: true }));
    }
  };

  // Replaces this page with the page of another plan, or of a refusal.
  const show = (page, url) => {
    const reason = typed();
    const isFirst = !dockOf(document);
    keepWaves();
    window.safeClear.turn(() => {
      document.title = page.title;
      document.querySelector("main").replaceWith(page.querySelector("main"));
      dockOf(document)?.remove();
      const dock = dockOf(page);
      if (dock) document.querySelector("main").after(dock);
      if (url) history.replaceState(history.state, "", url);
    });
    const field = document.querySelector('.plan-dock [name="reason"]');
    if (field && reason) field.value = reason;
    restoreWaves();
    document.dispatchEvent(new Event("safe-clear:shown"));
    const heading = document.querySelector("h1");
    const place = !isFirst && focused && document.getElementById(focused);
    if (place) place.focus({ preventScroll: true });
    else heading.focus({ preventScroll: !isFirst });
    status.textContent = isFirst ? "" : heading.textContent;
  };

  const shown = (page, url) => {
    const before = dockOf(document);
    const after = dockOf(page).dataset;
    const replaced = before ? [before.dataset.discard].filter((one) => drafts().includes(one)) : drafts();
    if (window.safeClear.fits(page)) show(page, url);
    else location.assign(url);
    for (const address of replaced) if (address !== after.discard) discard(address, after.token);
    remember([...drafts(), after.discard]);
  };

  const ask = async (url, body) => {
    try {
      const answer = await fetch(url, { method: "POST", body, headers: { Accept: "text/html" }, signal: AbortSignal.timeout(LONGEST) });
      return { ok: answer.ok && answer.redirected, status: answer.status, url: answer.url, text: await answer.text() };
    } catch {
      return null; // no network, or no answer in time
    }
  };

  const preview = async (form, submitter) => {
    const mine = (latest += 1);
    const body = new URLSearchParams(new FormData(form, submitter));
    if (form.matches("#switches")) {
      if (typed().trim()) body.set("reason", typed());
      exclude(body);
    }
    const isOpening = form.matches("[data-at-once]");
    const send = async () => {
      say("");
      setBusy(true);
      const slow = setTimeout(() => mine === latest && say(unchanged("The server is slow to answer.")), isOpening ? LONGEST : SLOW);
      const found = await ask(form.action, body);
      clearTimeout(slow);
      const page = found && new DOMParser().parseFromString(found.text, "text/html");
      const dock = page && dockOf(page);
      // The answer to an earlier question: its plan is removed again.
      if (mine !== latest) {
        if (found?.ok && dock) discard(dock.dataset.discard, dock.dataset.token);
        return;
      }
      setBusy(false);
      if (found?.ok && dock) {
        shown(page, found.url);
        return;
      }
      if (isOpening && page?.querySelector("[data-refused]")) {
        show(page, "");
        return;
      }
      reset();
      const offers = page ? [...page.querySelectorAll("[data-refused] form[data-preview]")] : [];
      // A selection without a plan will have none the next time either.
      const isFinal = found?.status === 422 && texts(page).length > 0;
      say(words(found, page), ...(offers.length || isFinal ? offers : [again(send)]));
      status.textContent = "";
    };
    await send();
  };

  // The Dags that wait for the plan are planned with it as it was previewed, and for the reason in the bar.
  const include = (event) => {
    const form = event.target;
    if (event.defaultPrevented) return;
    if (window.safeClear.unticked?.size) {
      event.preventDefault();
      window.safeClear.setBusy(form, false);
      say("Preview without the unticked rows first.");
      return;
    }
    const { discard: address, plan } = dockOf(document)?.dataset ?? {};
    forget(address);
    if (typed().trim()) form.elements.reason.value = typed();
    // For the page that asks for times first.
    session((storage) => storage.setItem(REASON_KEY, JSON.stringify({ plan, reason: typed() })));
  };

  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (form.matches("#confirm, #ask")) forget(dockOf(document)?.dataset.discard);
    if (form.matches("#include-waiting")) include(event);
    if (event.defaultPrevented || !form.matches("[data-preview]")) return;
    event.preventDefault();
    window.safeClear.setBusy(form, false);
    preview(form, event.submitter);
  });
  document.addEventListener("change", (event) => {
    const form = event.target.closest("form[data-on-change]");
    if (form) preview(form);
  });

  // A user who copies the link of a draft wants to keep it.
  document.addEventListener("click", (event) => {
    if (event.target.closest("main [data-copy]")) forget(dockOf(document)?.dataset.discard);
  });

  // When the browser restores a page, the switches show the selection of its plan.
  window.addEventListener("pageshow", reset);

  const opening = document.querySelector("form[data-at-once]");
  if (opening && !window.safeClear.isLeaving) preview(opening);
})();
