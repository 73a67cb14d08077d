"use strict";
document.documentElement.classList.add("scripted");

// A cell's column, which a narrow screen writes next to it.
for (const table of document.querySelectorAll("table.measures")) {
  const names = [...table.tHead.rows[0].cells].map((cell) => cell.textContent);
  for (const row of table.tBodies[0].rows) [...row.cells].forEach((cell, column) => { if (column) cell.dataset.name = names[column]; });
  table.classList.add("named");
}

// Query by query: any two systems, sorted by any value.
for (const box of document.querySelectorAll(".queries")) {
  const list = box.querySelector(".list");
  const items = [...list.children].map((node) => ({ node, values: JSON.parse(node.dataset.values) }));
  const show = (value) => (value > 0 ? "+" : value < 0 ? "−" : "") + Math.abs(value).toFixed(3);
  const gain = ({ values }) => (values[box.dataset.right] ?? 0) - (values[box.dataset.left] ?? 0);
  const update = () => {
    for (const item of items) {
      const mark = item.node.querySelector(".difference"), value = gain(item);
      mark.textContent = show(value);
      mark.className = "difference " + (value > 0 ? "win" : value < 0 ? "loss" : "");
      for (const ranking of item.node.querySelectorAll(".ranking")) {
        ranking.hidden = ranking.dataset.system !== box.dataset.left && ranking.dataset.system !== box.dataset.right;
      }
    }
    const by = box.querySelector(".sort").value;
    const orders = {
      gain: (a, b) => gain(b) - gain(a),
      loss: (a, b) => gain(a) - gain(b),
      query: (a, b) => a.node.textContent.localeCompare(b.node.textContent),
    };
    items.sort(orders[by] ?? ((a, b) => (b.values[by] ?? 0) - (a.values[by] ?? 0)));
    const nodes = items.map((item) => item.node);
    list.append(...nodes.filter((node) => !node.hidden), ...nodes.filter((node) => node.hidden));
  };
  const words = box.querySelector(".search"), found = box.querySelector(".found");
  words.addEventListener("input", () => {
    const wanted = words.value.toLowerCase().split(/\s+/).filter(Boolean);
    list.classList.toggle("short", !wanted.length && Boolean(box.querySelector(".more")));
    let number = 0;
    for (const item of items) {
      const text = item.node.querySelector(".text").textContent.toLowerCase();
      const hit = wanted.every((word) => text.includes(word));
      item.node.hidden = wanted.length ? !hit : item.node.matches(".query-row");
      number += hit;
    }
    found.textContent = wanted.length ? `${number} of ${items.length} queries` : "";
  });
  const more = box.querySelector(".more");
  if (more) {
    list.classList.add("short");
    more.addEventListener("click", () => { list.classList.remove("short"); more.parentNode.remove(); });
  }
  box.addEventListener("change", (event) => {
    const side = event.target.dataset.side;
    if (side) box.dataset[side] = event.target.value;
    update();
  });
}

// Traces to read: one group at a time.
for (const box of document.querySelectorAll(".samples")) {
  const buttons = box.querySelectorAll("button[data-group]");
  const choose = (id) => {
    for (const group of box.querySelectorAll(".group")) group.hidden = group.id !== id;
    for (const button of buttons) button.setAttribute("aria-pressed", String(button.dataset.group === id));
  };
  for (const button of buttons) button.addEventListener("click", () => choose(button.dataset.group));
  if (buttons.length) choose(buttons[0].dataset.group);
}

// The section that is being read.
const links = new Map([...document.querySelectorAll("nav a")].map((a) => [a.hash.slice(1), a]));
const seen = new IntersectionObserver((entries) => {
  for (const entry of entries) if (entry.isIntersecting) {
    for (const [name, link] of links) link.classList.toggle("here", name === entry.target.id);
  }
}, { rootMargin: "-20% 0px -70% 0px" });
for (const section of document.querySelectorAll("main > section")) seen.observe(section);
