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
    form.dispatchEvent(new CustomEvent("answered"));
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

  // A half-typed id is not a Dag yet, so only the combobox asks the server.
  form.addEventListener("input", (event) => {
    if (event.target.name !== "dag_id" && chosen()) askSoon();
  });
  form.addEventListener("change", (event) => {
    if (event.target.name === "dag_id") askSoon();
  });
  retry.addEventListener("click", ask);
  window.addEventListener("pageshow", (event) => {
    if (event.persisted && chosen()) askSoon();
  });
  // The page was made without knowing the browser's time zone.
  if (chosen()) askSoon();
})();
