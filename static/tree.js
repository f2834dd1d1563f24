"use strict";
// A press on a task or a group in the list of tasks selects it, or leaves it out, by means of the form's fields.
(() => {
  const form = document.getElementById("selection");
  if (!form) return;
  const regex = form.elements.namedItem("task_regex");
  const named = form.elements.namedItem("task_ids");
  const excluded = form.elements.namedItem("exclude_task_id");
  const PART = /^\^(?:\\.|[\w-])+(?:\$|\\\.)$/; // what a press writes: a task, or the tasks of a group

  const escape = (id) => id.replace(/[^\w-]/g, "\\$&");
  const tell = (field) => field.dispatchEvent(new Event("input", { bubbles: true }));
  const write = (field, value) => {
    field.value = value;
    tell(field);
  };
  const parts = () => {
    const found = regex.value ? regex.value.split("|") : [];
    return found.every((part) => PART.test(part)) ? found : null;
  };
  const lines = (field) => field.value.split("\n").map((line) => line.trim()).filter(Boolean);

  const press = (part, kind, id) => {
    const known = parts();
    if (known?.includes(part)) return write(regex, known.filter((one) => one !== part).join("|"));
    if (kind === "excluded") return write(excluded, lines(excluded).filter((one) => one !== id).join("\n"));
    // A task that a wider expression matches is left out by its id.
    if (kind === "matched" && regex.value) return write(excluded, [...lines(excluded), id].join("\n"));
    return write(regex, regex.value ? `${regex.value}|${part}` : part);
  };

  // Where the tasks are listed by their ids, a press changes that list.
  const listed = (ids) => {
    const known = lines(named);
    const all = ids.every((id) => known.includes(id));
    const rest = known.filter((one) => !ids.includes(one));
    write(named, (all ? rest : [...rest, ...ids]).join("\n"));
  };
  const members = (button) =>
    [...button.closest("li").querySelectorAll("button[data-task]")].map((one) => one.dataset.task);

  form.addEventListener("click", (event) => {
    const button = event.target.closest("button.chosen");
    const { task, taskGroup: group, kind } = button?.dataset ?? {};
    if (button && named.value.trim() && kind !== "excluded") return listed(task ? [task] : members(button));
    if (task) press(`^${escape(task)}$`, kind, task);
    if (group) press(`^${escape(group)}\\.`, "group", group);
  });
})();
