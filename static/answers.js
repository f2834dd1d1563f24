"use strict";
// Live answers: asks the server what the form selects so far and shows the answers beside the fields.
(() => {
  const form = document.getElementById("selection");
  if (!form) return;
  const DELAY = 300;
  const SLOW = 5_000;
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone ?? "";
  const trouble = document.querySelector("[data-trouble]");
  const retry = document.querySelector("[data-retry]");
  const places = () => [...document.querySelectorAll("[data-answer]")];
  const shown = new Map(places().map((place) => [place.dataset.answer, place.innerHTML]));

  let timer = 0;
  let slow = 0;
  let latest = 0; // only the answers to the latest question are shown
  let underway = null;

  const setBusy = (busy) => {
    for (const place of places()) place.setAttribute("aria-busy", String(busy));
  };

  const say = (text, { again = false } = {}) => {
    if (trouble.textContent !== text) trouble.textContent = text;
    trouble.hidden = !text;
    if (retry.contains(document.activeElement) && !again) document.querySelector(".dock .btn.go").focus();
    retry.hidden = !again;
  };

  // What the user opened stays open, and the focus stays on what it was on.
  const put = (place, fresh) => {
    const open = [...place.querySelectorAll("details[open][data-key]")].map((one) => one.dataset.key);
    const focused = place.contains(document.activeElement) ? document.activeElement.dataset.key : undefined;
    place.replaceChildren(...fresh.childNodes);
    const keyed = [...place.querySelectorAll("[data-key]")];
    for (const one of keyed) if (open.includes(one.dataset.key)) one.open = true;
    if (focused) keyed.find((one) => one.dataset.key === focused)?.focus();
  };

  // What is wrong stands below its field. A field that someone still types into is not marked before it is left.
  let errors = new Map();
  const describe = (control, id, yes) => {
    const ids = new Set((control.getAttribute("aria-describedby") ?? "").split(" ").filter(Boolean));
    if (yes) ids.add(id);
    else ids.delete(id);
    if (ids.size) control.setAttribute("aria-describedby", [...ids].join(" "));
    else control.removeAttribute("aria-describedby");
  };
  const markField = (control, fresh) => {
    const old = document.getElementById(`${control.id}-errors`);
    if (!fresh && !old) return;
    if (fresh && !old && document.activeElement === control) return;
    if (fresh && old?.textContent === fresh.textContent) return;
    old?.remove();
    const holder = control.closest(".field, .option");
    if (fresh) {
      holder.append(fresh.cloneNode(true));
      const fold = control.closest("details.more");
      if (fold) fold.open = true;
    }
    holder.classList.toggle("wrong", Boolean(fresh));
    control.toggleAttribute("aria-invalid", false);
    if (fresh && control.matches("input, select, textarea")) control.setAttribute("aria-invalid", "true");
    describe(control, `${control.id}-errors`, Boolean(fresh));
  };
  const markFields = () => {
    for (const control of form.querySelectorAll(".field [id], .option > input[id]")) {
      if (control.matches("input, select, textarea, [role=group], [role=radiogroup]")) markField(control, errors.get(control.id));
    }
  };
  form.addEventListener("focusout", () => setTimeout(markFields));

  const show = (html) => {
    const answers = new DOMParser().parseFromString(html, "text/html");
    for (const fresh of answers.querySelectorAll("[data-answer]")) {
      const name = fresh.dataset.answer;
      const place = document.querySelector(`[data-answer="${name}"]`);
      const text = fresh.innerHTML;
      if (!place || shown.get(name) === text) continue;
      put(place, fresh);
      shown.set(name, text);
    }
    errors = new Map([...answers.querySelectorAll("[data-field-errors] [data-field]")].map((one) => [one.dataset.field, one]));
    markFields();
    form.dispatchEvent(new CustomEvent("answered", { bubbles: true }));
  };

  // The address holds what the form says, for Back, a reload and a bookmark.
  const DEFAULTS = { timezone: "UTC", date_field: "logical_date", running: "leave_out", reset_dag_runs: "true" };
  const LONGEST_ADDRESS = 4_000;
  const keepInAddress = (body) => {
    const query = new URLSearchParams();
    for (const name of new Set(body.keys())) {
      if (name === "csrf_token" || name === "browser_timezone") continue;
      // Before a ticked box a hidden field says "false".
      const values = body.getAll(name).filter((value, index, all) => value.trim() && !(all.length > 1 && value === "false"));
      if (values.length === 1 && values[0] === (DEFAULTS[name] ?? "false")) continue;
      for (const value of values) query.append(name, value);
    }
    const address = `${form.dataset.page}?${query}`;
    if (address.length <= LONGEST_ADDRESS) history.replaceState(history.state, "", address);
  };

  const words = (status, text) => {
    if (status === 0) return "Can’t reach the server. Check your connection, then try again.";
    if (status === 401) return "You are logged out. Log in to Airflow in another tab, then try again.";
    try {
      const { error, remedy, errors } = JSON.parse(text);
      if (error) return `${error} ${remedy ?? ""}`.trim();
      if (errors) return Object.values(errors).flat().join(" ");
    } catch {
      // not ours: a proxy's page
    }
    return `Counting failed (HTTP ${status}). Try again; you can still use Preview.`;
  };

  const ask = async () => {
    clearTimeout(timer);
    clearTimeout(slow);
    underway?.abort();
    underway = new AbortController();
    const mine = ++latest;
    const body = new URLSearchParams(new FormData(form));
    body.set("browser_timezone", zone);
    setBusy(true);
    slow = setTimeout(() => say("The server is slow to respond. These are the previous counts."), SLOW);
    const { status, text } = await send(body, underway.signal);
    if (mine !== latest) return;
    clearTimeout(slow);
    if (status === 200) {
      keepInAddress(body);
      show(text);
      say("");
      setBusy(false);
    } else {
      say(words(status, text), { again: true });
    }
  };

  const send = async (body, signal) => {
    try {
      const headers = { Accept: "application/json" };
      const response = await fetch(form.dataset.answers, { method: "POST", body, headers, signal });
      return { status: response.status, text: await response.text() };
    } catch {
      return { status: 0, text: "" }; // no network, or taken back for a newer question
    }
  };

  const askSoon = () => {
    clearTimeout(timer);
    setBusy(true);
    timer = setTimeout(ask, DELAY);
  };

  const chosen = () => form.elements.namedItem("dag_id").value.trim() !== "";

  const unfold = () => form.toggleAttribute("data-unchosen", !chosen());
  form.addEventListener("input", unfold);
  window.addEventListener("pageshow", unfold);
  unfold();

  // A half-typed id is not a Dag yet, so only the combobox asks the server.
  form.addEventListener("input", (event) => {
    if (event.target.name !== "dag_id" && chosen()) askSoon();
  });
  form.addEventListener("change", (event) => {
    if (event.target.name === "dag_id") askSoon();
  });
  form.addEventListener("submit", () => {
    if (chosen()) keepInAddress(new URLSearchParams(new FormData(form)));
  });
  retry.addEventListener("click", ask);
  window.addEventListener("pageshow", (event) => {
    if (event.persisted && chosen()) askSoon();
  });
  // The page was made without knowing the browser's time zone.
  if (chosen()) askSoon();
})();
